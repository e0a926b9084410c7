//! The client's own preconditions (RFC 9110 §13, RFC 9111 §4.3.2).

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName};
use http::method::Method;

use crate::fields::{self, EntityTag};
use crate::packed::Fields;
use crate::time::Timestamp;

/// What the preconditions of a request make of its answer.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// Send the response.
    Proceed,
    /// Send 304 (Not Modified) with [`not_modified_headers`].
    NotModified,
    /// Send 412 (Precondition Failed).
    Failed,
}

/// Evaluates the preconditions of a request against the response that would answer it, which was
/// received at `received`.
///
/// `If-Range` is evaluated with the range.
///
//= https://www.rfc-editor.org/rfc/rfc9111#section-4.3.2
//= type=exception
//= reason=A gateway is the origin server to its clients (RFC 9110 §3.7), and what it may send without asking is the current representation: If-Match and If-Unmodified-Since are evaluated as well, in the order of RFC 9110 §13.2.2.
//# A cache MUST NOT evaluate conditional header fields that only apply to an origin server
//
//= https://www.rfc-editor.org/rfc/rfc9111#section-4.3.2
//# If a cache receives a request that can be satisfied by reusing a stored 200 (OK) or 206 (Partial
//# Content) response, as per Section 4, the cache SHOULD evaluate any applicable conditional header
//# field preconditions received in that request with respect to the corresponding validators
//# contained within the stored response.
pub fn evaluate(
    method: &Method,
    request: &HeaderMap,
    status: StatusCode,
    response: &impl Fields,
    received: Timestamp,
) -> Precondition {
    //= https://www.rfc-editor.org/rfc/rfc9110#section-13.2.1
    //# A server MUST ignore all received preconditions if its response to the same request without
    //# those conditions, prior to processing the request content, would have been a status code other
    //# than a 2xx (Successful) or 412 (Precondition Failed).
    let applicable = matches!(method.as_str(), "GET" | "HEAD" | "QUERY") && status.is_success();
    if !applicable {
        return Precondition::Proceed;
    }
    if !is_expected(request, response, received) {
        return Precondition::Failed;
    }
    if is_modified(request, response, received) {
        Precondition::Proceed
    } else {
        Precondition::NotModified
    }
}

/// Steps 1 and 2 of RFC 9110 §13.2.2: `If-Match`, or else `If-Unmodified-Since`.
fn is_expected(request: &HeaderMap, response: &impl Fields, received: Timestamp) -> bool {
    if request.contains_key(header::IF_MATCH) {
        //= https://www.rfc-editor.org/rfc/rfc9110#section-13.1.1
        //# An origin server MUST use the strong comparison function when comparing entity tags for
        //# If-Match
        return is_any(request, header::IF_MATCH)
            || EntityTag::of(response).is_some_and(|tag| {
                fields::entity_tags(request, header::IF_MATCH).any(|listed| listed.strong_eq(tag))
            });
    }
    //= https://www.rfc-editor.org/rfc/rfc9110#section-13.1.4
    //# A recipient MUST ignore the If-Unmodified-Since header field if the resource does not have a
    //# modification date available.
    let since = date(request, header::IF_UNMODIFIED_SINCE, received);
    let modified = date(response, header::LAST_MODIFIED, received);
    match (modified, since) {
        (Some(modified), Some(since)) => modified <= since,
        _ => true,
    }
}

/// Steps 3 and 4 of RFC 9110 §13.2.2: `If-None-Match`, or else `If-Modified-Since`.
fn is_modified(request: &HeaderMap, response: &impl Fields, received: Timestamp) -> bool {
    //= https://www.rfc-editor.org/rfc/rfc9110#section-13.1.3
    //# A recipient MUST ignore If-Modified-Since if the request contains an If-None-Match header field
    if request.contains_key(header::IF_NONE_MATCH) {
        //= https://www.rfc-editor.org/rfc/rfc9110#section-13.1.2
        //# A recipient MUST use the weak comparison function when comparing entity tags for
        //# If-None-Match
        let matches = is_any(request, header::IF_NONE_MATCH)
            || EntityTag::of(response).is_some_and(|tag| {
                fields::entity_tags(request, header::IF_NONE_MATCH)
                    .any(|listed| listed.weak_eq(tag))
            });
        return !matches;
    }
    //= https://www.rfc-editor.org/rfc/rfc9110#section-13.1.3
    //# A recipient MUST ignore the If-Modified-Since header field if the received field value is not a
    //# valid HTTP-date, the field value has more than one member, or if the request method is neither
    //# GET nor HEAD.
    match date(request, header::IF_MODIFIED_SINCE, received) {
        Some(since) => modification_date(response, received) > since,
        None => true,
    }
}

//= https://www.rfc-editor.org/rfc/rfc9111#section-4.3.2
//# If a request contains an If-Modified-Since header field and the Last-Modified header field is not
//# present in a stored response, a cache SHOULD use the stored response's Date field value (or, if no
//# Date field is present, the time that the stored response was received) to evaluate the conditional.
fn modification_date(response: &impl Fields, received: Timestamp) -> Timestamp {
    date(response, header::LAST_MODIFIED, received)
        .or_else(|| date(response, header::DATE, received))
        .unwrap_or(received)
}

fn is_any(request: &HeaderMap, name: HeaderName) -> bool {
    fields::sole(request, name) == Some(b"*")
}

fn date(headers: &impl Fields, name: HeaderName, now: Timestamp) -> Option<Timestamp> {
    fields::sole(headers, name).and_then(|value| fields::http_date(value, now))
}

/// Representation metadata, which a client that validates its copy has already.
const REPRESENTATION_METADATA: [&str; 10] = [
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-range",
    "content-type",
    "content-digest",
    "repr-digest",
    "accept-ranges",
    "trailer",
];

/// Representation metadata that a 304 can correct in a cache, because it does not depend on the stored bytes.
const CORRECTABLE: [&str; 2] = ["content-language", "content-type"];

/// The header fields of a 304 that stands for this response (RFC 9110 §15.4.5), as an answer to this request.
///
/// A cache that has forwarded the request updates what it has stored by them (RFC 9111 §4.3.4). It gets what the origin
/// may have corrected; a client does without.
///
//= https://www.rfc-editor.org/rfc/rfc9110#section-15.4.5
//# Since the goal of a 304 response is to minimize information transfer when the recipient already
//# has one or more cached representations, a sender SHOULD NOT generate representation metadata other
//# than the above listed fields unless said metadata exists for the purpose of guiding cache updates
//# (e.g., Last-Modified might be useful if the response does not have an ETag field).
pub fn not_modified_headers(request: &HeaderMap, response: &HeaderMap) -> HeaderMap {
    let forwarded = request.contains_key(header::VIA);
    let mut headers = response.clone();
    for name in REPRESENTATION_METADATA {
        if !(forwarded && CORRECTABLE.contains(&name)) {
            headers.remove(name);
        }
    }
    if headers.contains_key(header::ETAG) {
        headers.remove(header::LAST_MODIFIED);
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, headers};

    const EARLIER: &str = "Tue, 31 Dec 2019 00:00:00 GMT";
    const DATE: &str = "Wed, 01 Jan 2020 00:00:00 GMT";
    const DATE_850: &str = "Wednesday, 01-Jan-20 00:00:00 GMT";
    const LATER: &str = "Thu, 02 Jan 2020 00:00:00 GMT";

    #[track_caller]
    fn check(request: &[(&str, &str)], response: &[(&str, &str)], expected: Precondition) {
        for method in [Method::GET, Method::HEAD] {
            let found = evaluate(
                &method,
                &headers(request),
                StatusCode::OK,
                &headers(response),
                at(0),
            );
            assert_eq!(found, expected, "{method} {request:?} {response:?}");
        }
    }

    use Precondition::{Failed, NotModified, Proceed};

    #[test]
    fn if_none_match_compares_weakly() {
        let check =
            |value, etag, expected| check(&[("if-none-match", value)], &[("etag", etag)], expected);
        check("\"abcdef\"", "\"abcdef\"", NotModified);
        check("W/\"abcdef\"", "W/\"abcdef\"", NotModified);
        check("W/\"abcdef\"", "\"abcdef\"", NotModified);
        check("\"abcdef\"", "W/\"abcdef\"", NotModified);
        check("\"abcdef\", \"1234\", \"5678\"", "\"abcdef\"", NotModified);
        check("\"1234\", \"abcdef\", \"5678\"", "\"abcdef\"", NotModified);
        check("\"1234\", \"5678\", \"abcdef\"", "\"abcdef\"", NotModified);
        check("*", "\"abcdef\"", NotModified);
        check("\"abcdefü\"", "\"abcdefü\"", NotModified);
        check("\"1234\"", "\"abcdef\"", Proceed);
        check("\"*\"", "\"abcdef\"", Proceed);
        check("abcdef", "\"abcdef\"", Proceed);
        check("\"abcdef\"", "abcdef", Proceed);
        check("abcdef", "abcdef", NotModified);
        check("", "\"abcdef\"", Proceed);
    }

    #[test]
    fn if_none_match_without_an_etag() {
        check(&[("if-none-match", "*")], &[], NotModified);
        check(&[("if-none-match", "\"a\"")], &[], Proceed);
    }

    #[test]
    fn if_none_match_comes_before_if_modified_since() {
        let response = [("etag", "\"a\""), ("last-modified", DATE)];
        check(
            &[("if-none-match", "\"a\""), ("if-modified-since", EARLIER)],
            &response,
            NotModified,
        );
        check(
            &[("if-none-match", "\"b\""), ("if-modified-since", LATER)],
            &response,
            Proceed,
        );
    }

    #[test]
    fn if_modified_since_compares_dates() {
        let check = |since, expected| {
            check(
                &[("if-modified-since", since)],
                &[("last-modified", DATE), ("date", LATER)],
                expected,
            );
        };
        check(EARLIER, Proceed);
        check(DATE, NotModified);
        check(DATE_850, NotModified);
        check(LATER, NotModified);
        check("yesterday", Proceed);
        check(&format!("{LATER}, {LATER}"), Proceed);
    }

    #[test]
    fn without_last_modified_date_counts_and_then_reception() {
        check(
            &[("if-modified-since", EARLIER)],
            &[("date", DATE)],
            Proceed,
        );
        check(
            &[("if-modified-since", LATER)],
            &[("date", DATE)],
            NotModified,
        );
        check(&[("if-modified-since", LATER)], &[], Proceed);
        check(
            &[("if-modified-since", &at(0).http_date())],
            &[],
            NotModified,
        );
        check(
            &[("if-modified-since", LATER), ("if-modified-since", LATER)],
            &[("date", DATE)],
            Proceed,
        );
    }

    #[test]
    fn if_match_compares_strongly() {
        let check =
            |value, etag, expected| check(&[("if-match", value)], &[("etag", etag)], expected);
        check("\"a\"", "\"a\"", Proceed);
        check("\"b\", \"a\"", "\"a\"", Proceed);
        check("*", "\"a\"", Proceed);
        check("\"b\"", "\"a\"", Failed);
        check("W/\"a\"", "W/\"a\"", Failed);
        check("W/\"a\"", "\"a\"", Failed);
    }

    #[test]
    fn if_unmodified_since_compares_dates() {
        let response = [("last-modified", DATE)];
        check(&[("if-unmodified-since", EARLIER)], &response, Failed);
        check(&[("if-unmodified-since", DATE)], &response, Proceed);
        check(&[("if-unmodified-since", "x")], &response, Proceed);
        check(
            &[("if-unmodified-since", EARLIER)],
            &[("date", DATE)],
            Proceed,
        );
        check(
            &[("if-unmodified-since", EARLIER), ("if-match", "*")],
            &response,
            Proceed,
        );
    }

    #[test]
    fn the_expected_state_comes_first() {
        let response = [("etag", "\"a\"")];
        check(
            &[("if-match", "\"b\""), ("if-none-match", "\"a\"")],
            &response,
            Failed,
        );
        check(
            &[("if-match", "\"a\""), ("if-none-match", "\"a\"")],
            &response,
            NotModified,
        );
    }

    #[test]
    fn other_statuses_and_methods_have_no_preconditions() {
        let request = headers(&[("if-none-match", "*"), ("if-match", "\"b\"")]);
        for (method, status) in [
            (Method::GET, StatusCode::NOT_FOUND),
            (Method::GET, StatusCode::MOVED_PERMANENTLY),
            (Method::POST, StatusCode::OK),
        ] {
            let found = evaluate(&method, &request, status, &HeaderMap::new(), at(0));
            assert_eq!(found, Proceed);
        }
    }

    #[test]
    fn a_304_says_what_a_cache_needs() {
        let response = headers(&[
            ("cache-control", "max-age=60"),
            ("content-length", "5"),
            ("content-location", "/x"),
            ("content-type", "text/plain"),
            ("date", DATE),
            ("expires", LATER),
            ("last-modified", DATE),
            ("vary", "a"),
            ("access-control-allow-origin", "*"),
        ]);
        let names = |request: &[(&str, &str)]| {
            let headers = not_modified_headers(&headers(request), &response);
            let mut names: Vec<_> = headers
                .keys()
                .map(|name| name.as_str().to_owned())
                .collect();
            names.sort_unstable();
            names
        };
        assert_eq!(
            names(&[]),
            [
                "access-control-allow-origin",
                "cache-control",
                "content-location",
                "date",
                "expires",
                "last-modified",
                "vary"
            ]
        );
        assert_eq!(
            names(&[("via", "1.1 edge")]),
            [
                "access-control-allow-origin",
                "cache-control",
                "content-location",
                "content-type",
                "date",
                "expires",
                "last-modified",
                "vary"
            ]
        );

        let tagged = headers(&[("etag", "\"a\""), ("last-modified", DATE)]);
        assert_eq!(
            not_modified_headers(&HeaderMap::new(), &tagged),
            headers(&[("etag", "\"a\"")])
        );
    }
}
