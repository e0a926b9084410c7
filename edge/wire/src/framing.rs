//! Where a request's content ends (RFC 9112 §6).

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Version};

use crate::Refusal;
use crate::grammar::{is_token, trim};
use crate::limits::LENGTH_MAX;

/// How the content of a request is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no content: neither `Content-Length` nor `Transfer-Encoding`.
    None,
    /// As many bytes as `Content-Length` says, perhaps zero.
    Length(u64),
    /// Chunks, and then perhaps trailers.
    Chunked,
}

/// The framing of a request with these fields (RFC 9112 §6.3, read strictly).
pub(crate) fn of_request(version: Version, headers: &HeaderMap) -> Result<Framing, Refusal> {
    if !headers.contains_key(TRANSFER_ENCODING) {
        return Ok(content_length(headers)?.map_or(Framing::None, Framing::Length));
    }
    // RFC 9112 §6.1 lets a server reject such a message, and ties processing it to closing the
    // connection. It is the classic of request smuggling, so it is rejected.
    if headers.contains_key(CONTENT_LENGTH) {
        return Err(Refusal::ContentLengthAndTransferEncoding);
    }
    // RFC 9112 §6.1: an HTTP/1.0 message with it has faulty framing.
    if version == Version::HTTP_10 {
        return Err(Refusal::TransferEncodingInHttp10);
    }
    check_chunked(headers)?;
    Ok(Framing::Chunked)
}

/// The value of `Content-Length`, if there is one (RFC 9110 §8.6).
///
/// # Errors
///
/// Refuses repeated fields and lists, even of one value, anything but decimal digits, and numbers
/// beyond 2⁶³ − 1.
pub fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let mut values = headers.get_all(CONTENT_LENGTH).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Refusal::ContentLengthRepeated);
    }
    parse_length(value.as_bytes()).map(Some)
}

/// Reads `1*DIGIT`: no sign, no list, no separators.
pub(crate) fn parse_length(digits: &[u8]) -> Result<u64, Refusal> {
    if digits.is_empty() {
        return Err(Refusal::ContentLength);
    }
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::ContentLength);
    }
    let add = |length: u64, digit: &u8| {
        let length = length.checked_mul(10)?;
        length.checked_add(u64::from(digit - b'0'))
    };
    match digits.iter().try_fold(0, add) {
        Some(length) if length <= LENGTH_MAX => Ok(length),
        _ => Err(Refusal::ContentLengthTooLarge),
    }
}

/// Accepts one `Transfer-Encoding` whose only coding is `chunked`.
fn check_chunked(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut values = headers.get_all(TRANSFER_ENCODING).iter();
    let value = values.next().map_or(&b""[..], |value| value.as_bytes());
    if values.next().is_some() {
        return Err(Refusal::TransferEncodingRepeated);
    }
    if is_chunked(value) {
        return Ok(());
    }

    // Parameters, quotes and empty elements are not tokens. RFC 9112 §7.1 calls parameters of
    // `chunked` an error; the others are only ever sent to be read differently by somebody.
    let codings: Vec<&[u8]> = value.split(|&byte| byte == b',').map(trim).collect();
    if !codings.iter().all(|coding| is_token(coding)) {
        return Err(Refusal::TransferEncoding);
    }
    // RFC 9112 §6.1 and §6.3: `chunked` comes once, and last.
    match codings.iter().position(|coding| is_chunked(coding)) {
        Some(position) if position + 1 < codings.len() => Err(Refusal::TransferEncoding),
        _ => Err(Refusal::TransferCoding),
    }
}

/// Coding names are case-insensitive (RFC 9112 §7).
pub(crate) fn is_chunked(coding: &[u8]) -> bool {
    coding.eq_ignore_ascii_case(b"chunked")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(digits: &str, expected: Result<u64, Refusal>) {
        assert_eq!(parse_length(digits.as_bytes()), expected, "{digits:?}");
    }

    #[test]
    #[rustfmt::skip]
    fn a_length_is_decimal_digits_that_fit() {
        check("0",                                Ok(0));
        check("0005",                             Ok(5));
        check("9223372036854775807",              Ok(LENGTH_MAX));
        check("0000000000000000000000000000005",  Ok(5));
        check("9223372036854775808",              Err(Refusal::ContentLengthTooLarge));
        check("18446744073709551615",             Err(Refusal::ContentLengthTooLarge));
        check("18446744073709551621",             Err(Refusal::ContentLengthTooLarge));
        check("",                                 Err(Refusal::ContentLength));
        check("+5",                               Err(Refusal::ContentLength));
        check("-5",                               Err(Refusal::ContentLength));
        check("٥",                                Err(Refusal::ContentLength));
    }
}
