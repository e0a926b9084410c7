//! Fields that end at the next hop (RFC 9110 §7.6.1), and those that must not be stored.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::fields;

/// Whether a field is one of those "that are known to require removal before forwarding, whether or not
/// they appear as a connection-option" (RFC 9110 §7.6.1).
pub fn is_one(name: &str) -> bool {
    matches!(
        name,
        "connection" | "proxy-connection" | "keep-alive" | "te" | "transfer-encoding" | "upgrade"
    )
}

/// Whether a field belongs to a proxy, or announces trailers, which are not stored.
///
//= https://www.rfc-editor.org/rfc/rfc9111#section-3.1
//# Header fields that are specific to the proxy that a cache uses when forwarding a request MUST NOT
//# be stored, unless the cache incorporates the identity of the proxy into the cache key.
fn is_not_stored(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "proxy-authenticate" | "proxy-authentication-info" | "proxy-authorization" | "trailer"
    )
}

/// Removes `Connection`, what it nominates, and the other hop-by-hop fields.
///
//= https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1
//# Intermediaries MUST parse a received Connection header field before a message is forwarded and,
//# for each connection-option in this field, remove any header or trailer field(s) from the message
//# with the same name as the connection-option, and then remove the Connection header field itself
pub fn remove(headers: &mut HeaderMap) {
    remove_with(headers, |name| is_one(name.as_str()));
}

/// Removes what `Connection` nominates, and what `ends` here. There are fewer fields than names to look up.
fn remove_with(headers: &mut HeaderMap, ends: impl Fn(&HeaderName) -> bool) {
    let ending = headers.keys().filter(|name| ends(name));
    let ending: Vec<_> = ending.cloned().collect();
    if ending.contains(&header::CONNECTION) {
        for name in nominated(headers) {
            headers.remove(name);
        }
    }
    for name in ending {
        headers.remove(name);
    }
}

/// Removes from a response everything that may not be stored, whatever its directives say.
pub(crate) fn remove_unstorable(headers: &mut HeaderMap) {
    remove_with(headers, |name| is_one(name.as_str()) || is_not_stored(name));
}

/// The fields that [`remove`] leaves.
pub fn kept(headers: &HeaderMap) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    let nominated = nominated(headers);
    let stays = move |name: &HeaderName| !is_one(name.as_str()) && !nominated.contains(name);
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
