//! Validation (RFC 9111 §4.3): the conditional request that a cache makes of its own.

use http::header::{self, HeaderMap, HeaderName};

use crate::fields;
use crate::packed::Fields;
use crate::store::Stored;

/// The preconditions of RFC 9110 §13.1.
pub(crate) const PRECONDITIONS: [HeaderName; 5] = [
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::IF_RANGE,
];

/// Makes a request ask whether `stored` is still current (RFC 9111 §4.3.1).
///
/// The client's own preconditions and range are taken away: they are about the client's copy, and
/// are answered from the outcome. Validators are sent as they were received.
pub fn add_validators(stored: &Stored<impl Fields>, request: &mut HeaderMap) {
    strip_preconditions(request);
    //= https://www.rfc-editor.org/rfc/rfc9111#section-4.3.1
    //# MUST send the relevant entity tags (using If-Match, If-None-Match, or If-Range) if the entity
    //# tags were provided in the stored response(s) being validated.
    //
    //= https://www.rfc-editor.org/rfc/rfc9111#section-4.3.1
    //# SHOULD send the Last-Modified value (using If-Modified-Since) if the request is not for a
    //# subrange, a single stored response is being validated, and that response contains a
    //# Last-Modified value.
    for (condition, validator) in [
        (header::IF_NONE_MATCH, header::ETAG),
        (header::IF_MODIFIED_SINCE, header::LAST_MODIFIED),
    ] {
        if fields::sole(&stored.headers, &validator).is_some_and(|value| !value.is_empty()) {
            let value = stored.headers.first(validator);
            request.extend(value.map(|value| (condition, value)));
        }
    }
}

/// Makes a request ask for the whole representation unconditionally, as a fill has to.
pub fn strip_preconditions(request: &mut HeaderMap) {
    for name in PRECONDITIONS {
        request.remove(name);
    }
    request.remove(header::RANGE);
}

/// Whether it is one of the fields that [`strip_preconditions`] takes away.
#[must_use]
pub fn is_precondition(name: &HeaderName) -> bool {
    // By text: names that are compared as values are made and dropped each time.
    matches!(
        name.as_str(),
        "if-match"
            | "if-none-match"
            | "if-modified-since"
            | "if-unmodified-since"
            | "if-range"
            | "range"
    )
}

/// Whether [`add_validators`] finds anything to ask with.
pub(crate) fn has_validator(response: &HeaderMap) -> bool {
    [header::ETAG, header::LAST_MODIFIED]
        .iter()
        .any(|name| fields::sole(response, name).is_some_and(|value| !value.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_precondition_is_taken_away() {
        for name in PRECONDITIONS.iter().chain(&[header::RANGE, header::HOST]) {
            let mut request = HeaderMap::new();
            request.insert(name, header::HeaderValue::from_static("x"));
            strip_preconditions(&mut request);
            assert_eq!(is_precondition(name), request.is_empty(), "{name}");
        }
    }
    use crate::testing::{Given, headers};

    #[track_caller]
    fn check(stored: &[(&str, &str)], request: &[(&str, &str)], expected: &[(&str, &str)]) {
        let stored = Given::response(stored)
            .and("cache-control", "max-age=60")
            .stored();
        let mut request = headers(request);
        add_validators(&stored, &mut request);
        assert_eq!(request, headers(expected));
    }

    #[test]
    fn validators_are_sent_as_received() {
        let date = "Wed, 01 Jan 2020 00:00:00 GMT";
        check(&[], &[], &[]);
        check(&[("etag", "\"a\"")], &[], &[("if-none-match", "\"a\"")]);
        check(&[("etag", "W/\"a\"")], &[], &[("if-none-match", "W/\"a\"")]);
        check(
            &[("last-modified", date)],
            &[],
            &[("if-modified-since", date)],
        );
        check(
            &[("etag", "\"a\""), ("last-modified", date)],
            &[],
            &[("if-none-match", "\"a\""), ("if-modified-since", date)],
        );
        check(&[("etag", "\"a\""), ("etag", "\"b\"")], &[], &[]);
    }

    #[test]
    fn the_clients_own_conditions_do_not_reach_the_origin() {
        check(
            &[("etag", "\"a\"")],
            &[
                ("if-match", "*"),
                ("if-none-match", "\"mine\""),
                ("if-modified-since", "x"),
                ("if-unmodified-since", "x"),
                ("if-range", "x"),
                ("range", "bytes=0-1"),
                ("accept", "x"),
            ],
            &[("accept", "x"), ("if-none-match", "\"a\"")],
        );
    }
}
