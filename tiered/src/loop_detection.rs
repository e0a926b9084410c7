//! `CDN-Loop` (RFC 8586): a request that has been here is refused instead of sent around again.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Nodes of this kind that a request may pass before it counts as looping even if none of them is this one.
pub const HOPS_MAX: usize = 16;

const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");
/// The product's name in the field; each node adds itself as a parameter.
const CDN_ID: &str = "larder";

/// Knows this node in `CDN-Loop`.
#[derive(Clone, Debug)]
pub struct LoopGuard {
    instance: String,
    entry: HeaderValue,
}

/// Why a request is refused (RFC 8586 §2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Looped {
    /// This very node forwarded it before.
    SeenHere,
    /// It passed more than [`HOPS_MAX`] nodes.
    TooManyHops,
}

impl LoopGuard {
    /// A guard for the process `instance`, a token that no other process shares.
    ///
    /// # Panics
    /// Never for a token: names that are not made of token characters are a bug of the caller.
    #[must_use]
    pub fn new(instance: &str) -> Self {
        let entry = format!("{CDN_ID}; instance={instance}");
        Self {
            instance: instance.to_owned(),
            entry: HeaderValue::try_from(entry).expect("an instance is a token"),
        }
    }

    /// Whether a request with these fields may be forwarded.
    ///
    /// # Errors
    /// [`Looped`] where it must not be.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), Looped> {
        let mut hops = 0;
        for entry in entries(headers) {
            let mut parts = entry.split(';').map(str::trim);
            if !parts
                .next()
                .is_some_and(|id| id.eq_ignore_ascii_case(CDN_ID))
            {
                continue;
            }
            hops += 1;
            if parts.any(|parameter| parameter.strip_prefix("instance=") == Some(&self.instance)) {
                return Err(Looped::SeenHere);
            }
        }
        if hops >= HOPS_MAX {
            return Err(Looped::TooManyHops);
        }
        Ok(())
    }

    /// Adds this node to the field of a request that is forwarded. What others wrote stays (RFC 8586 §2).
    pub fn mark(&self, headers: &mut HeaderMap) {
        headers.append(CDN_LOOP, self.entry.clone());
    }
}

fn entries(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(CDN_LOOP)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(why: &str, fields: &[&str], verdict: Result<(), Looped>) {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(CDN_LOOP, HeaderValue::from_str(field).unwrap());
        }
        assert_eq!(LoopGuard::new("a1").check(&headers), verdict, "{why}");
    }

    #[test]
    #[rustfmt::skip]
    fn a_request_that_was_here_is_refused() {
        check("nothing was said",            &[],                                         Ok(()));
        check("other networks",              &["example.net, other; v=1"],                Ok(()));
        check("another node of ours",        &["larder; instance=b2"],                    Ok(()));
        check("this node",                   &["larder; instance=a1"],                    Err(Looped::SeenHere));
        check("this node, in a second line", &["x", "y, Larder;  instance=a1 ; z=1"],     Err(Looped::SeenHere));
        check("as many nodes as may be",     &["larder; instance=b"; HOPS_MAX - 1],       Ok(()));
        check("one more",                    &["larder; instance=b"; HOPS_MAX],           Err(Looped::TooManyHops));
    }

    #[test]
    fn a_marked_request_is_recognised() {
        let guard = LoopGuard::new("a1");
        let mut headers = HeaderMap::new();
        headers.insert(CDN_LOOP, HeaderValue::from_static("example.net"));
        guard.mark(&mut headers);
        assert_eq!(guard.check(&headers), Err(Looped::SeenHere));
        assert_eq!(headers.get_all(CDN_LOOP).iter().count(), 2);
    }
}
