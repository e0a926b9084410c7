//! Which fields may come in a trailer section (RFC 9110 §6.5.1).

use http::{HeaderMap, HeaderName};

use crate::Refusal;

/// The fields of a received trailer section that may be passed on.
///
/// Fields that frame or route the message are refused: nobody sends them there in good faith.
/// Others that come too late to be heeded are left out, as the RFC lets a recipient do.
pub(crate) fn accept(mut trailers: HeaderMap) -> Result<HeaderMap, Refusal> {
    if trailers
        .keys()
        .any(|name| is_one_of(name, FRAMING_OR_ROUTING))
    {
        return Err(Refusal::TrailerField);
    }
    let late: Vec<HeaderName> = trailers
        .keys()
        .filter(|name| !is_allowed(name))
        .cloned()
        .collect();
    for name in late {
        trailers.remove(name);
    }
    Ok(trailers)
}

/// Whether a field may come in a trailer section.
pub(crate) fn is_allowed(name: &HeaderName) -> bool {
    let is_about_content = name.as_str().starts_with("content-") && name != "content-digest";
    let is_condition = name.as_str().starts_with("if-");
    let is_too_late = is_one_of(name, FRAMING_OR_ROUTING) || is_one_of(name, TOO_LATE);
    !is_about_content && !is_condition && !is_too_late
}

fn is_one_of(name: &HeaderName, names: &[&str]) -> bool {
    names.contains(&name.as_str())
}

#[rustfmt::skip]
const FRAMING_OR_ROUTING: &[&str] = &[
    "cdn-loop", "connection", "content-length", "expect", "forwarded", "host", "http2-settings",
    "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "via",
    "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto",
];

#[rustfmt::skip]
const TOO_LATE: &[&str] = &[
    // controls and modifiers
    "age", "cache-control", "date", "expires", "location", "max-forwards", "pragma", "range",
    "retry-after", "vary", "warning",
    // authentication and state
    "authorization", "cookie", "proxy-authenticate", "proxy-authorization", "set-cookie",
    "www-authenticate",
];

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[track_caller]
    fn check(names: &[&'static str], expected: Result<&[&str], Refusal>) {
        let field =
            |name: &&'static str| (HeaderName::from_static(name), HeaderValue::from_static("x"));
        let accepted = accept(names.iter().map(field).collect());
        let accepted = accepted
            .as_ref()
            .map(|fields| fields.keys().map(HeaderName::as_str).collect());
        assert_eq!(accepted, expected.as_ref().map(|names| names.to_vec()));
    }

    #[test]
    fn trailers_cannot_take_back_what_the_head_said() {
        check(
            &["x-sum", "etag", "content-digest"],
            Ok(&["x-sum", "etag", "content-digest"]),
        );
        check(&["x-sum", "content-type", "if-match"], Ok(&["x-sum"]));
        check(TOO_LATE, Ok(&[]));
        for name in FRAMING_OR_ROUTING {
            check(&["x-sum", name], Err(Refusal::TrailerField));
            assert!(!is_allowed(&HeaderName::from_static(name)));
        }
    }
}
