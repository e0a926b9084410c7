//! Fields that end at the next hop (RFC 9110 §7.6.1), and those that must not be stored.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::fields;

/// Fields "that are known to require removal before forwarding, whether or not they appear as a
/// connection-option" (RFC 9110 §7.6.1).
const HOP_BY_HOP: [&str; 6] = [
    "connection",
    "proxy-connection",
    "keep-alive",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Fields that belong to a proxy, and one that announces trailers, which are not stored.
///
//= https://www.rfc-editor.org/rfc/rfc9111#section-3.1
//# Header fields that are specific to the proxy that a cache uses when forwarding a request MUST NOT
//# be stored, unless the cache incorporates the identity of the proxy into the cache key.
const NOT_STORED: [&str; 4] = [
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "trailer",
];

/// Removes `Connection`, what it nominates, and the other hop-by-hop fields.
///
//= https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1
//# Intermediaries MUST parse a received Connection header field before a message is forwarded and,
//# for each connection-option in this field, remove any header or trailer field(s) from the message
//# with the same name as the connection-option, and then remove the Connection header field itself
pub fn remove(headers: &mut HeaderMap) {
    for name in nominated(headers) {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Whether a field ends at the next hop, whether or not it is nominated.
pub fn is_one(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(&name.as_str())
}

/// Removes from a response everything that may not be stored, whatever its directives say.
pub(crate) fn remove_unstorable(headers: &mut HeaderMap) {
    remove(headers);
    for name in NOT_STORED {
        headers.remove(name);
    }
}

/// The fields that [`remove`] leaves.
pub fn kept(headers: &HeaderMap) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    let nominated = nominated(headers);
    let stays = move |name: &HeaderName| !is_one(name) && !nominated.contains(name);
    headers.iter().filter(move |(name, _)| stays(name))
}

fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    fields::list(headers, header::CONNECTION)
        .filter_map(|option| HeaderName::from_bytes(option).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response() -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "a, B"),
            ("connection", "close, , not a name"),
            ("a", "1"),
            ("b", "2"),
            ("c", "3"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("proxy-authenticate", "Basic"),
            ("proxy-authentication-info", "x"),
            ("proxy-authorization", "x"),
            ("trailer", "x"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[track_caller]
    fn check(headers: &HeaderMap, left: &[&str]) {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, left);
    }

    #[test]
    fn what_ends_at_the_next_hop() {
        let mut headers = response();
        let kept = response();
        let kept = super::kept(&kept).map(|(name, value)| (name.clone(), value.clone()));
        let kept: HeaderMap = kept.collect();
        remove(&mut headers);
        assert_eq!(kept, headers);
        check(
            &headers,
            &[
                "c",
                "proxy-authenticate",
                "proxy-authentication-info",
                "proxy-authorization",
                "trailer",
            ],
        );
    }

    #[test]
    fn what_is_never_stored() {
        let mut headers = response();
        remove_unstorable(&mut headers);
        check(&headers, &["c"]);
    }
}
