//! `Proxy-Status` (RFC 9209): what became of a request beyond this node.

use std::fmt::Write as _;
use std::net::SocketAddr;

use http::StatusCode;
use http::header::HeaderName;
use parking_lot::Mutex;

pub(crate) const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// How much a site tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Telling {
    /// Nothing.
    Off,
    /// Errors, by their names.
    Errors,
    /// Where every request went, what came back, and errors with their details: it shows addresses.
    Everything,
}

/// Who is at an address.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Whose {
    #[default]
    Origin,
    /// Another node, of this tier or the next one.
    Node,
}

/// Who had the answer to a request that went beyond this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Supplier {
    /// A node beside this one had it stored.
    Sibling,
    /// A parent had it stored.
    Parent,
    /// A node further on had it, or asked for it for somebody else already.
    Further,
    Origin,
}

/// The last step of a request's way.
#[derive(Debug, Default)]
pub(crate) struct Trail(Mutex<Step>);

#[derive(Clone, Copy, Debug, Default)]
struct Step {
    next_hop: Option<SocketAddr>,
    whose: Whose,
    supplier: Option<Supplier>,
    received: Option<StatusCode>,
}

impl Trail {
    /// The request is sent to this address.
    pub(crate) fn goes_to(&self, address: SocketAddr, whose: Whose) {
        *self.0.lock() = Step {
            next_hop: Some(address),
            whose,
            supplier: None,
            received: None,
        };
    }

    /// What came is of this one.
    pub(crate) fn supplied_by(&self, supplier: Supplier) {
        self.0.lock().supplier = Some(supplier);
    }

    /// Of whom the answer is, as far as it is known.
    pub(crate) fn supplier(&self) -> Option<Supplier> {
        self.0.lock().supplier
    }

    /// Who was asked last, if anybody was.
    pub(crate) fn whose(&self) -> Option<Whose> {
        let step = self.0.lock();
        step.next_hop.map(|_| step.whose)
    }

    /// Where the request was sent last.
    pub(crate) fn next_hop(&self) -> Option<SocketAddr> {
        self.0.lock().next_hop
    }

    /// This status came back.
    pub(crate) fn received(&self, status: StatusCode) {
        self.0.lock().received = Some(status);
    }
}

/// The member for a response that the node made up because of an error.
pub(crate) fn of_error(
    name: &str,
    error: &str,
    (telling, trail): (Telling, Option<&Trail>),
    details: &str,
) -> Option<String> {
    let mut member = match telling {
        Telling::Off => return None,
        Telling::Errors | Telling::Everything => format!("{name}; error={error}"),
    };
    let step = trail.map(|trail| *trail.0.lock()).unwrap_or_default();
    if telling == Telling::Everything {
        step.write(&mut member);
        push(&mut member, format_args!("; details={}", quoted(details)));
    } else if let Some(status) = step.received {
        // RFC 9209 §2.1.5: what the origin said in place of what the client sees.
        push(
            &mut member,
            format_args!("; received-status={}", status.as_u16()),
        );
    }
    Some(member)
}

/// The member for a response that came from the next hop.
pub(crate) fn of_response(name: &str, telling: Telling, trail: &Trail) -> Option<String> {
    let step = *trail.0.lock();
    if telling != Telling::Everything || step.next_hop.is_none() {
        return None;
    }
    let mut member = name.to_owned();
    step.write(&mut member);
    Some(member)
}

impl Step {
    fn write(self, out: &mut String) {
        if let Some(address) = self.next_hop {
            push(
                out,
                format_args!("; next-hop={}", quoted(&address.to_string())),
            );
        }
        if let Some(status) = self.received {
            push(out, format_args!("; received-status={}", status.as_u16()));
        }
    }
}

/// A structured string (RFC 9651 §4.1.6).
fn quoted(text: &str) -> String {
    let text: String = text
        .chars()
        .filter(|it| it.is_ascii_graphic() || *it == ' ')
        .collect();
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn push(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    out.write_fmt(arguments)
        .expect("writing to a string does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_tells_as_much_as_the_site_allows() {
        let trail = Trail::default();
        let told = |telling| of_error("n", "dns_error", (telling, Some(&trail)), "no \"x\"");
        assert_eq!(told(Telling::Off), None);
        assert_eq!(told(Telling::Errors).unwrap(), "n; error=dns_error");
        assert_eq!(of_response("n", Telling::Everything, &trail), None);
        trail.goes_to("[::1]:80".parse().unwrap(), Whose::Origin);
        trail.received(StatusCode::IM_A_TEAPOT);
        assert_eq!(
            told(Telling::Errors).unwrap(),
            "n; error=dns_error; received-status=418"
        );
        assert_eq!(
            told(Telling::Everything).unwrap(),
            "n; error=dns_error; next-hop=\"[::1]:80\"; received-status=418; details=\"no \\\"x\\\"\""
        );
        assert_eq!(
            of_response("n", Telling::Everything, &trail).unwrap(),
            "n; next-hop=\"[::1]:80\"; received-status=418"
        );
        assert_eq!(of_response("n", Telling::Errors, &trail), None);
        trail.goes_to("[::1]:81".parse().unwrap(), Whose::Node);
        assert!(!told(Telling::Errors).unwrap().contains("received"));
    }
}
