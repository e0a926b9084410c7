//! What HTTP/2 asks of fields before they may become those of an HTTP/1.1 request (RFC 9113 §8.2).

use http::header::{CONNECTION, COOKIE, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::connection::{KEEP_ALIVE, PROXY_CONNECTION};
use crate::field::check_lookalike;
use crate::grammar::{is_control, is_token, is_whitespace};
use crate::limits::METHOD_BYTES_MAX;
use crate::{Limits, Refusal, trailers};

/// Checks one field of an HTTP/2 request.
///
/// # Errors
///
/// Names that are no tokens, or only look like `Content-Length`; values with control bytes or with
/// whitespace around them (RFC 9113 §8.2.1); fields that speak of the connection (§8.2.2).
pub fn check_field(name: &HeaderName, value: &HeaderValue) -> Result<(), Refusal> {
    let is_lower_case = !name.as_str().bytes().any(|byte| byte.is_ascii_uppercase());
    if !is_lower_case || !is_token(name.as_str().as_bytes()) {
        return Err(Refusal::FieldName);
    }
    check_lookalike(name)?;

    let value = value.as_bytes();
    let ends = [value.first(), value.last()];
    let is_padded = ends.into_iter().flatten().copied().any(is_whitespace);
    if is_padded || value.iter().copied().any(is_control) {
        return Err(Refusal::FieldValue);
    }

    let of_connection = [
        CONNECTION,
        PROXY_CONNECTION,
        KEEP_ALIVE,
        TRANSFER_ENCODING,
        UPGRADE,
    ];
    if of_connection.contains(name) || (*name == TE && value != b"trailers") {
        return Err(Refusal::FieldNotAllowed);
    }
    Ok(())
}

/// Checks the size of an HTTP/2 request by the limits that a head of HTTP/1.1 has, once its cookies
/// are joined: the frames that brought it count bytes, and nothing else.
///
/// # Errors
///
/// [`Refusal::MethodTooLong`], [`Refusal::TargetTooLong`] and [`Refusal::TooManyFields`].
pub fn check_size(
    method: &Method,
    target: &str,
    headers: &HeaderMap,
    limits: &Limits,
) -> Result<(), Refusal> {
    if method.as_str().len() > METHOD_BYTES_MAX {
        return Err(Refusal::MethodTooLong);
    }
    if target.len() > limits.target_bytes {
        return Err(Refusal::TargetTooLong);
    }
    if headers.len() > limits.fields {
        return Err(Refusal::TooManyFields);
    }
    Ok(())
}

/// Checks the trailer section of an HTTP/2 request.
///
/// # Errors
///
/// As [`check_field`], and [`Refusal::TrailerField`] for fields that frame or route the message.
pub fn check_trailers(fields: HeaderMap) -> Result<(), Refusal> {
    for (name, value) in &fields {
        check_field(name, value)?;
    }
    trailers::accept(fields).map(drop)
}

/// Joins `Cookie` fields into one, as they must be outside HTTP/2 (RFC 9113 §8.2.3).
pub fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if crumbs.len() < 2 {
        return;
    }
    // What is made of field values and `; ` is a field value.
    if let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, cookie);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &'static str, value: &[u8], expected: Result<(), Refusal>) {
        let value = HeaderValue::from_bytes(value).unwrap();
        let found = check_field(&HeaderName::from_static(name), &value);
        assert_eq!(found, expected, "{name}: {value:?}");
    }

    #[test]
    #[rustfmt::skip]
    fn fields_of_http2_meet_the_rules_of_http1() {
        check("accept",            b"*/*",        Ok(()));
        check("accept",            b"",           Ok(()));
        check("x-latin",           b"caf\xe9 b",  Ok(()));
        check("te",                b"trailers",   Ok(()));
        check("te",                b"gzip",       Err(Refusal::FieldNotAllowed));
        check("connection",        b"close",      Err(Refusal::FieldNotAllowed));
        check("keep-alive",        b"5",          Err(Refusal::FieldNotAllowed));
        check("proxy-connection",  b"close",      Err(Refusal::FieldNotAllowed));
        check("transfer-encoding", b"chunked",    Err(Refusal::FieldNotAllowed));
        check("upgrade",           b"websocket",  Err(Refusal::FieldNotAllowed));
        check("content_length",    b"5",          Err(Refusal::FieldLookalike));
        check("x",                 b" a",         Err(Refusal::FieldValue));
        check("x",                 b"a\t",        Err(Refusal::FieldValue));
    }

    #[test]
    fn requests_of_http2_are_as_large_as_those_of_http1() {
        let limits = Limits {
            fields: 2,
            target_bytes: 4,
            ..Limits::default()
        };
        let fields = |count| {
            let field = (COOKIE, HeaderValue::from_static("x"));
            let mut headers = HeaderMap::new();
            for (name, value) in std::iter::repeat_n(field, count) {
                headers.append(name, value);
            }
            headers
        };
        let check = |method: &str, target: &str, count, expected| {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(
                check_size(&method, target, &fields(count), &limits),
                expected
            );
        };
        check("GET", "/abc", 2, Ok(()));
        check("GET", "/abcd", 2, Err(Refusal::TargetTooLong));
        check("GET", "/abc", 3, Err(Refusal::TooManyFields));
        let long = "X".repeat(METHOD_BYTES_MAX + 1);
        check(&long, "/abc", 2, Err(Refusal::MethodTooLong));
        check(&long[1..], "/abc", 2, Ok(()));
    }

    #[test]
    fn cookie_crumbs_become_one_cookie() {
        let crumbs = ["a=b", "c=d", "e=\u{e9}"];
        let mut headers = HeaderMap::new();
        for crumb in crumbs {
            headers.append(COOKIE, HeaderValue::from_bytes(crumb.as_bytes()).unwrap());
        }
        join_cookies(&mut headers);
        let joined: Vec<_> = headers
            .get_all(COOKIE)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        assert_eq!(joined, ["a=b; c=d; e=\u{e9}".as_bytes()]);
    }
}
