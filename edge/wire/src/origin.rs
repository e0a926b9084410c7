//! Response heads from an origin, before they are believed (RFC 9112 §6).

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Version};

use crate::framing::{is_chunked, parse_length};
use crate::grammar::{elements, first_control};

/// How the content of a response is delimited, if its request was not HEAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseFraming {
    /// No content, by its status: 1xx, 204 and 304.
    None,
    /// As many bytes as `Content-Length` says.
    Length(u64),
    /// Chunks.
    Chunked,
    /// All that comes before the connection is closed. If it is not closed properly, the
    /// response is incomplete.
    UntilClose,
}

/// What to do about a response with a transfer coding other than `chunked`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownCoding {
    /// It is a [`Lie`].
    #[default]
    Refuse,
    /// Its content is read until the connection is closed, if the field is alone; the caller
    /// drops the field.
    UntilClose,
}

/// Why a response head is not believed. Its connection is not used again, and the response
/// neither stored nor passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Lie {
    /// No head of HTTP/1.x.
    #[error("malformed head")]
    Syntax,
    /// A head of more than [`RESPONSE_HEAD_MAX`](crate::RESPONSE_HEAD_MAX) bytes or
    /// [`RESPONSE_FIELDS_MAX`](crate::RESPONSE_FIELDS_MAX) field lines.
    #[error("head too long")]
    TooLong,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    #[error("protocol version is not HTTP/1.0 or HTTP/1.1")]
    Version,
    /// A status outside 100 to 999.
    #[error("status is not from 100 to 999")]
    Status,
    /// A control byte in a field value.
    #[error("control byte in a field value")]
    FieldValue,
    /// A `Content-Length` that is not a number below 2⁶³.
    #[error("malformed Content-Length")]
    ContentLength,
    /// `Content-Length` with two values.
    #[error("different Content-Length values")]
    ContentLengths,
    /// Both ways to frame at once.
    #[error("both Content-Length and Transfer-Encoding")]
    ContentLengthAndTransferEncoding,
    /// A transfer coding other than `chunked`, or `chunked` twice.
    #[error("transfer coding other than chunked")]
    TransferCoding,
    /// `Transfer-Encoding` in HTTP/1.0.
    #[error("Transfer-Encoding in HTTP/1.0")]
    TransferEncodingInHttp10,
}

impl Lie {
    /// The reason as one word, for logs and the `detail` of `Cache-Status`.
    #[must_use]
    pub fn token(&self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::TooLong => "too-long",
            Self::Version => "version",
            Self::Status => "status",
            Self::FieldValue => "field-value",
            Self::ContentLength => "content-length",
            Self::ContentLengths => "content-lengths",
            Self::ContentLengthAndTransferEncoding => "content-length-and-transfer-encoding",
            Self::TransferCoding => "transfer-coding",
            Self::TransferEncodingInHttp10 => "transfer-encoding-in-http10",
        }
    }
}

/// Checks a response head and tells how its content is framed (RFC 9112 §6.3).
///
/// Repeated `Content-Length` values that agree are one value (RFC 9110 §8.6).
///
/// # Errors
///
/// A [`Lie`], if two readers of the head could disagree on where the response ends.
pub fn check_response(
    status: u16,
    headers: &HeaderMap,
    version: Version,
    unknown_coding: UnknownCoding,
) -> Result<ResponseFraming, Lie> {
    if !matches!(version, Version::HTTP_10 | Version::HTTP_11) {
        return Err(Lie::Version);
    }
    if !(100..=999).contains(&status) {
        return Err(Lie::Status);
    }
    if headers
        .values()
        .any(|value| first_control(value.as_bytes()).is_some())
    {
        return Err(Lie::FieldValue);
    }

    let framing = framing(headers, version, unknown_coding)?;
    if matches!(status, 100..=199 | 204 | 304) {
        return Ok(ResponseFraming::None);
    }
    Ok(framing)
}

fn framing(
    headers: &HeaderMap,
    version: Version,
    unknown_coding: UnknownCoding,
) -> Result<ResponseFraming, Lie> {
    let length = content_length(headers)?;
    if !headers.contains_key(TRANSFER_ENCODING) {
        return Ok(length.map_or(ResponseFraming::UntilClose, ResponseFraming::Length));
    }
    if length.is_some() {
        return Err(Lie::ContentLengthAndTransferEncoding);
    }
    if version == Version::HTTP_10 {
        return Err(Lie::TransferEncodingInHttp10);
    }

    let mut codings = elements(headers, TRANSFER_ENCODING);
    match (codings.next(), codings.next()) {
        (Some(coding), None) if is_chunked(coding) => Ok(ResponseFraming::Chunked),
        _ => match unknown_coding {
            UnknownCoding::UntilClose if !mentions_chunked(headers) => {
                Ok(ResponseFraming::UntilClose)
            }
            UnknownCoding::UntilClose | UnknownCoding::Refuse => Err(Lie::TransferCoding),
        },
    }
}

fn mentions_chunked(headers: &HeaderMap) -> bool {
    elements(headers, TRANSFER_ENCODING).any(is_chunked)
}

fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Lie> {
    let mut length = None;
    for value in elements(headers, CONTENT_LENGTH) {
        let value = parse_length(value).ok().ok_or(Lie::ContentLength)?;
        if length.is_some_and(|length| length != value) {
            return Err(Lie::ContentLengths);
        }
        length = Some(value);
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    const CL: &str = "content-length";
    const TE: &str = "transfer-encoding";

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let field = |&(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        fields.iter().map(field).collect()
    }

    #[track_caller]
    fn check(
        status: u16,
        fields: &[(&'static str, &'static str)],
        expected: Result<ResponseFraming, Lie>,
    ) {
        let found = check_response(
            status,
            &headers(fields),
            Version::HTTP_11,
            UnknownCoding::Refuse,
        );
        assert_eq!(found, expected, "{status} {fields:?}");
    }

    #[test]
    #[rustfmt::skip]
    fn honest_heads_say_where_they_end() {
        use ResponseFraming::*;
        check(200, &[],                               Ok(UntilClose));
        check(200, &[(CL, "5")],                      Ok(Length(5)));
        check(200, &[(CL, "0")],                      Ok(Length(0)));
        check(200, &[(CL, "5"), (CL, "5")],           Ok(Length(5)));
        check(200, &[(CL, "5, 5")],                   Ok(Length(5)));
        check(200, &[(TE, "chunked")],                Ok(Chunked));
        check(200, &[(TE, "Chunked")],                Ok(Chunked));
        check(204, &[],                               Ok(None));
        check(304, &[(CL, "5")],                      Ok(None));
        check(100, &[],                               Ok(None));
        check(999, &[(CL, "5")],                      Ok(Length(5)));
    }

    #[test]
    #[rustfmt::skip]
    fn lies_are_told_apart() {
        check(99,   &[],                              Err(Lie::Status));
        check(0,    &[],                              Err(Lie::Status));
        check(1000, &[],                              Err(Lie::Status));
        check(200, &[(CL, "5"), (CL, "6")],           Err(Lie::ContentLengths));
        check(200, &[(CL, "5, 6")],                   Err(Lie::ContentLengths));
        check(200, &[(CL, "-5")],                     Err(Lie::ContentLength));
        check(200, &[(CL, "+5")],                     Err(Lie::ContentLength));
        check(200, &[(CL, "5,")],                     Err(Lie::ContentLength));
        check(200, &[(CL, "abc")],                    Err(Lie::ContentLength));
        check(200, &[(CL, "")],                       Err(Lie::ContentLength));
        check(200, &[(CL, "0x5")],                    Err(Lie::ContentLength));
        check(200, &[(CL, "18446744073709551616")],   Err(Lie::ContentLength));
        check(304, &[(CL, "x")],                      Err(Lie::ContentLength));
        check(200, &[(CL, "5"), (TE, "chunked")],     Err(Lie::ContentLengthAndTransferEncoding));
        check(200, &[(TE, "xchunked")],               Err(Lie::TransferCoding));
        check(200, &[(TE, "identity")],               Err(Lie::TransferCoding));
        check(200, &[(TE, "gzip, chunked")],          Err(Lie::TransferCoding));
        check(200, &[(TE, "chunked, chunked")],       Err(Lie::TransferCoding));
        check(200, &[(TE, "chunked"), (TE, "chunked")], Err(Lie::TransferCoding));
        check(200, &[(TE, "chunked,")],               Err(Lie::TransferCoding));
        check(200, &[(TE, "")],                       Err(Lie::TransferCoding));
    }

    #[test]
    fn versions_other_than_1_0_and_1_1_are_lies() {
        let in_version = |version, fields: &[_]| {
            check_response(200, &headers(fields), version, UnknownCoding::Refuse)
        };
        let v10 = Version::HTTP_10;
        assert_eq!(
            in_version(v10, &[(CL, "5")]),
            Ok(ResponseFraming::Length(5))
        );
        assert_eq!(
            in_version(v10, &[(TE, "chunked")]),
            Err(Lie::TransferEncodingInHttp10)
        );
        assert_eq!(in_version(Version::HTTP_09, &[]), Err(Lie::Version));
        assert_eq!(in_version(Version::HTTP_2, &[]), Err(Lie::Version));
    }

    #[test]
    fn unknown_codings_may_be_read_until_close_but_not_with_chunked_or_a_length() {
        let lenient = |fields: &[_]| {
            let unknown = UnknownCoding::UntilClose;
            check_response(200, &headers(fields), Version::HTTP_11, unknown)
        };
        assert_eq!(
            lenient(&[(TE, "xchunked")]),
            Ok(ResponseFraming::UntilClose)
        );
        assert_eq!(lenient(&[(TE, "gzip, chunked")]), Err(Lie::TransferCoding));
        assert_eq!(
            lenient(&[(TE, "chunked"), (TE, "x")]),
            Err(Lie::TransferCoding)
        );
        let both = lenient(&[(TE, "x"), (CL, "5")]);
        assert_eq!(both, Err(Lie::ContentLengthAndTransferEncoding));
    }
}
