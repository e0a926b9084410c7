//! `Forwarded` (RFC 7239) and `X-Forwarded-For`: who sent a request, by the word of proxies that are trusted.
//!
//! Anybody can write these fields. What they say counts only as far as each hop was added by a proxy that is trusted;
//! the first that is not is the client.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Hops that are looked at, the nearest first. Who is behind more stays behind the last.
pub const HOPS_MAX: usize = 32;

/// Which proxies are believed, and where they write.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    networks: Vec<IpNet>,
    field: Field,
}

/// The field that the trusted proxies write. Another one may have come from the client, and says nothing.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Field {
    /// `X-Forwarded-For`, with `X-Forwarded-Proto`.
    #[default]
    XForwarded,
    /// `Forwarded`.
    Forwarded,
}

/// Who sent a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sender {
    /// The client's address.
    pub client: IpAddr,
    /// The scheme by which the client asked, where a trusted proxy says so.
    pub scheme: Option<Scheme>,
    /// The proxies between the client and the peer, the client first, and the peer. Alone, it is the client.
    pub path: Vec<IpAddr>,
}

/// A scheme that a proxy names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    /// http
    Http,
    /// https
    Https,
}

impl Scheme {
    /// The scheme as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// One hop, as the proxy that received it tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Hop {
    /// None where it is hidden or malformed.
    address: Option<IpAddr>,
    scheme: Option<Scheme>,
}

impl Trust {
    /// Believes proxies in these networks, as far as they write `field`.
    #[must_use]
    pub const fn new(networks: Vec<IpNet>, field: Field) -> Self {
        Self { networks, field }
    }

    /// Whether who connects from this address is believed.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.covers(address)
    }

    fn covers(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks
            .iter()
            .any(|network| network.contains(&address))
    }

    /// Who sent a request that came from `peer`.
    #[must_use]
    pub fn sender(&self, peer: IpAddr, request: &HeaderMap) -> Sender {
        let peer = peer.to_canonical();
        let mut sender = Sender {
            client: peer,
            scheme: None,
            path: vec![peer],
        };
        if !self.covers(peer) {
            return sender;
        }
        for hop in self.hops(request).take(HOPS_MAX) {
            if !self.covers(sender.client) {
                break;
            }
            if hop.scheme.is_some() {
                sender.scheme = hop.scheme;
            }
            // RFC 7239 §6: "unknown" and obfuscated identifiers hide who it was.
            let Some(address) = hop.address else {
                break;
            };
            sender.client = address;
            sender.path.insert(0, address);
        }
        sender
    }

    /// The hops, the nearest first.
    fn hops(&self, request: &HeaderMap) -> Box<dyn Iterator<Item = Hop>> {
        match self.field {
            Field::XForwarded => Box::new(x_forwarded(request).into_iter().rev()),
            Field::Forwarded => Box::new(forwarded(request).into_iter().rev()),
        }
    }
}

fn x_forwarded(request: &HeaderMap) -> Vec<Hop> {
    let mut protos = request.get_all(X_FORWARDED_PROTO).iter();
    let scheme = match (protos.next(), protos.next()) {
        (Some(proto), None) => scheme(proto.as_bytes()),
        _ => None,
    };
    let lines = request.get_all(X_FORWARDED_FOR).iter();
    let members = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    members
        .map(|member| Hop {
            address: node(member.trim_ascii()),
            scheme,
        })
        .collect()
}

fn forwarded(request: &HeaderMap) -> Vec<Hop> {
    let lines = request.get_all(FORWARDED).iter();
    let elements = lines.flat_map(|line| split(line.as_bytes(), b','));
    elements.map(element).collect()
}

/// `[ forwarded-pair ] *( ";" [ forwarded-pair ] )` (RFC 7239 §4). A parameter that is there twice is malformed.
fn element(element: &[u8]) -> Hop {
    let (mut address, mut proto) = (None, None);
    let (mut fors, mut protos) = (0, 0);
    for pair in split(element, b';') {
        let Some(at) = pair.iter().position(|byte| *byte == b'=') else {
            continue;
        };
        let (name, value) = (
            pair[..at].trim_ascii(),
            unquoted(pair[at + 1..].trim_ascii()),
        );
        if name.eq_ignore_ascii_case(b"for") {
            fors += 1;
            address = node(&value);
        } else if name.eq_ignore_ascii_case(b"proto") {
            protos += 1;
            proto = scheme(&value);
        }
    }
    Hop {
        address: address.filter(|_| fors == 1),
        scheme: proto.filter(|_| protos == 1),
    }
}

/// The parts between separators outside of quotes.
fn split(line: &[u8], separator: u8) -> Vec<&[u8]> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, byte) in line.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            byte if *byte == separator && !quoted => {
                parts.push(line[start..at].trim_ascii());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(line[start..].trim_ascii());
    parts
}

fn unquoted(value: &[u8]) -> Vec<u8> {
    let Some(inner) = value
        .strip_prefix(b"\"")
        .and_then(|it| it.strip_suffix(b"\""))
    else {
        return value.to_vec();
    };
    let mut plain = Vec::with_capacity(inner.len());
    let mut escaped = false;
    for byte in inner {
        if *byte == b'\\' && !escaped {
            escaped = true;
        } else {
            escaped = false;
            plain.push(*byte);
        }
    }
    plain
}

/// An address with or without a port, IPv6 in brackets or bare (RFC 7239 §6).
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return Some(socket.ip().to_canonical());
    }
    let bare = text.strip_prefix('[')?.strip_suffix(']')?;
    bare.parse::<IpAddr>().ok().map(|it| it.to_canonical())
}

fn scheme(text: &[u8]) -> Option<Scheme> {
    let text = text.trim_ascii();
    if text.eq_ignore_ascii_case(b"https") {
        Some(Scheme::Https)
    } else if text.eq_ignore_ascii_case(b"http") {
        Some(Scheme::Http)
    } else {
        None
    }
}

/// Most addresses are no longer as text, with what is between them.
const ADDRESS_USUAL: usize = "255.255.255.255, ".len();

/// A path as `X-Forwarded-For` has it.
#[must_use]
pub fn x_forwarded_for(path: &[IpAddr]) -> Option<HeaderValue> {
    let mut text = String::with_capacity(path.len() * ADDRESS_USUAL);
    for (place, address) in path.iter().enumerate() {
        text.push_str(if place > 0 { ", " } else { "" });
        write!(text, "{address}").ok()?;
    }
    HeaderValue::try_from(text).ok()
}

/// A path as `Forwarded` has it, with the host and scheme that the client asked for.
#[must_use]
pub fn forwarded_field(path: &[IpAddr], host: &str, scheme: &str) -> Option<HeaderValue> {
    let element = |address: &IpAddr| match address {
        IpAddr::V4(address) => format!("for={address}"),
        // RFC 7239 §4: an IPv6 address is quoted, and in brackets.
        IpAddr::V6(address) => format!("for=\"[{address}]\""),
    };
    let mut elements: Vec<_> = path.iter().map(element).collect();
    let first = elements.first_mut()?;
    let host = host.replace('\\', "\\\\").replace('"', "\\\"");
    first.push_str(&format!(";host=\"{host}\";proto={scheme}"));
    HeaderValue::try_from(elements.join(", ")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXY: &str = "10.0.0.1";

    fn trust(field: Field) -> Trust {
        let networks = ["10.0.0.0/8", "2001:db8::/32"].map(|it| it.parse().unwrap());
        Trust::new(networks.to_vec(), field)
    }

    #[track_caller]
    fn check(
        field: Field,
        peer: &str,
        lines: &[&'static str],
        client: &str,
        scheme: Option<Scheme>,
    ) {
        let name = match field {
            Field::XForwarded => X_FORWARDED_FOR,
            Field::Forwarded => FORWARDED,
        };
        let mut request = HeaderMap::new();
        for line in lines {
            request.append(&name, HeaderValue::from_static(line));
        }
        let sender = trust(field).sender(peer.parse().unwrap(), &request);
        assert_eq!(sender.client.to_string(), client, "{peer} {lines:?}");
        assert_eq!(sender.scheme, scheme, "{peer} {lines:?}");
        assert_eq!(sender.path.first(), Some(&sender.client));
    }

    #[test]
    #[rustfmt::skip]
    fn the_client_is_the_nearest_who_is_not_trusted() {
        let x = |peer, lines: &[&'static str], client| check(Field::XForwarded, peer, lines, client, None);
        x(PROXY,        &["192.0.2.1"],                          "192.0.2.1");
        x(PROXY,        &["192.0.2.9, 192.0.2.1"],               "192.0.2.1");
        x(PROXY,        &["192.0.2.9, 192.0.2.1, 10.9.9.9"],     "192.0.2.1");
        x(PROXY,        &["192.0.2.9", "192.0.2.1", "10.9.9.9"], "192.0.2.1");
        x(PROXY,        &["10.1.1.1, 10.2.2.2"],                 "10.1.1.1");
        x(PROXY,        &["192.0.2.1:4711"],                     "192.0.2.1");
        x(PROXY,        &["2001:db9::1, 2001:db8::1"],           "2001:db9::1");
        x(PROXY,        &["[2001:db9::1]:80"],                   "2001:db9::1");
        x(PROXY,        &["::ffff:192.0.2.1"],                   "192.0.2.1");
        x("::ffff:10.0.0.1", &["192.0.2.1"],                     "192.0.2.1");
        x(PROXY,        &[],                                     PROXY);
        // What an untrusted peer says is nothing.
        x("192.0.2.66", &["192.0.2.1"],                          "192.0.2.66");
        // What cannot be read ends the path.
        x(PROXY,        &["192.0.2.1, unknown"],                 PROXY);
        x(PROXY,        &["192.0.2.1, , 10.2.2.2"],              "10.2.2.2");
        x(PROXY,        &["<script>"],                           PROXY);
    }

    #[test]
    #[rustfmt::skip]
    fn forwarded_is_read_as_rfc_7239_has_it() {
        use Scheme::{Http, Https};
        let f = |lines: &[&'static str], client, scheme| check(Field::Forwarded, PROXY, lines, client, scheme);
        f(&["for=192.0.2.43"],                                        "192.0.2.43",  None);
        f(&["For=\"[2001:db9:cafe::17]:4711\""],                      "2001:db9:cafe::17", None);
        f(&["for=192.0.2.60;proto=https;by=203.0.113.43"],            "192.0.2.60",  Some(Https));
        f(&["for=192.0.2.1;proto=http, for=10.2.2.2;proto=https"],    "192.0.2.1",   Some(Http));
        f(&["for=192.0.2.9;proto=https, for=192.0.2.1"],              "192.0.2.1",   None);
        f(&["for=192.0.2.1;host=\"a,b;for=10.0.0.9\""],               "192.0.2.1",   None);
        f(&["for=\"_hidden\";proto=https"],                           PROXY,         Some(Https));
        f(&["for=unknown"],                                           PROXY,         None);
        f(&["for=192.0.2.1;for=192.0.2.2"],                           PROXY,         None);
        f(&["proto=gopher;for=192.0.2.1"],                            "192.0.2.1",   None);
    }

    #[test]
    fn a_field_that_the_proxies_do_not_write_says_nothing() {
        let mut request = HeaderMap::new();
        request.insert(
            FORWARDED,
            HeaderValue::from_static("for=192.0.2.1;proto=https"),
        );
        let peer: IpAddr = PROXY.parse().unwrap();
        let sender = trust(Field::XForwarded).sender(peer, &request);
        assert_eq!((sender.client, sender.scheme), (peer, None));
        assert_eq!(Trust::default().sender(peer, &request).path, [peer]);
    }

    #[test]
    fn hops_have_a_limit() {
        let long = vec!["10.2.2.2"; HOPS_MAX + 9].join(", ");
        let mut request = HeaderMap::new();
        request.insert(X_FORWARDED_FOR, HeaderValue::try_from(long).unwrap());
        let sender = trust(Field::XForwarded).sender(PROXY.parse().unwrap(), &request);
        assert_eq!(sender.path.len(), HOPS_MAX + 1);
    }

    #[test]
    fn a_path_is_written_in_both_ways() {
        let path = ["192.0.2.1", "2001:db8::1"].map(|it| it.parse().unwrap());
        assert_eq!(x_forwarded_for(&path).unwrap(), "192.0.2.1, 2001:db8::1");
        let expected = "for=192.0.2.1;host=\"a:81\";proto=https, for=\"[2001:db8::1]\"";
        assert_eq!(forwarded_field(&path, "a:81", "https").unwrap(), expected);
        assert_eq!(forwarded_field(&[], "a", "http"), None);
    }
}
