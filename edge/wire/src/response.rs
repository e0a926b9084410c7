//! Responses as they are written to clients, and requests to origins (RFC 9112 §3, §4, §6, §7).

use bytes::{BufMut, BytesMut};
use http::header::{TRAILER, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};

use crate::framing::content_length;
use crate::{Persistence, Refusal, trailers};

/// What ends a chunk's data.
pub const CHUNK_END: &[u8] = b"\r\n";

/// What ends chunked content that has no trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// What a head has beside its fields is no longer: the status line, and what is said of framing and connection.
const BESIDE_FIELDS: usize = 160;

/// How the content of a response is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFraming {
    /// No content, and no word about its length: 1xx, 204, 304, and HEAD where it is not known.
    None,
    /// No content; `Content-Length` tells what GET would have brought (HEAD).
    HeadOf(u64),
    /// As many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
    /// All until the connection is closed.
    UntilClose,
}

/// Chooses how to frame a response (RFC 9112 §6.3).
///
/// `length` is that of the content about to be sent, if it is known. A `Content-Length` in
/// `headers` is believed only where no content follows.
#[must_use]
pub fn choose_framing(
    request_method: &Method,
    request_version: Version,
    status: StatusCode,
    headers: &HeaderMap,
    length: Option<u64>,
) -> BodyFraming {
    if status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
    {
        return BodyFraming::None;
    }
    if *request_method == Method::HEAD {
        let length = length.or_else(|| content_length(headers).ok().flatten());
        return length.map_or(BodyFraming::None, BodyFraming::HeadOf);
    }
    match length {
        Some(length) => BodyFraming::Length(length),
        None if request_version >= Version::HTTP_11 => BodyFraming::Chunked,
        None => BodyFraming::UntilClose,
    }
}

/// A field of a head that is written, its value in up to three pieces.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// Its name, in lower case.
    pub name: &'a str,
    /// What its value is put together from. Of the empty ones nothing is written.
    pub value: [&'a [u8]; 3],
}

impl<'a> From<(&'a HeaderName, &'a HeaderValue)> for Field<'a> {
    fn from((name, value): (&'a HeaderName, &'a HeaderValue)) -> Self {
        Self {
            name: name.as_str(),
            value: [value.as_bytes(), b"", b""],
        }
    }
}

/// Writes a status line and the fields.
///
/// `request_version` is the request's; the status line always says HTTP/1.1, the version this
/// node speaks (RFC 9110 §6.2). `Content-Length`, `Transfer-Encoding` and `Connection` come from
/// `framing` and `persistence` alone, never from `headers`; other hop-by-hop fields are left out.
/// A response that ends with the connection says `close`, whatever `persistence` says.
/// With 101, `Upgrade` is written. Nothing is added beyond that, not even `Date`.
pub fn write_head(
    out: &mut BytesMut,
    request_version: Version,
    status: StatusCode,
    headers: &HeaderMap,
    framing: &BodyFraming,
    persistence: Persistence,
) {
    let fields = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4);
    out.reserve(BESIDE_FIELDS + fields.sum::<usize>());
    write_status_line(out, status);
    write_fields(out, headers.iter().map(Field::from), framing);
    write_framing(out, framing);
    if status == StatusCode::SWITCHING_PROTOCOLS {
        write_upgrade(out, headers);
    } else {
        write_persistence(out, request_version, framing, persistence);
    }
    out.put_slice(b"\r\n");
}

/// As [`write_head`], of fields that are in no map. It is for final responses.
pub fn write_head_of<'a>(
    out: &mut BytesMut,
    request_version: Version,
    status: StatusCode,
    fields: impl Iterator<Item = Field<'a>>,
    framing: &BodyFraming,
    persistence: Persistence,
) {
    write_status_line(out, status);
    write_fields(out, fields, framing);
    write_framing(out, framing);
    write_persistence(out, request_version, framing, persistence);
    out.put_slice(b"\r\n");
}

fn write_fields<'a>(
    out: &mut BytesMut,
    fields: impl Iterator<Item = Field<'a>>,
    framing: &BodyFraming,
) {
    for field in fields.filter(|field| !is_of_connection(field.name)) {
        // RFC 9110 §6.6.2: trailers are announced only where there can be some.
        if field.name != TRAILER.as_str() || *framing == BodyFraming::Chunked {
            write_field(out, field);
        }
    }
}

/// Writes the head of a request, with all of its fields: which of them are the connection's was decided before.
///
/// # Errors
///
/// Nothing is written where `target` has a byte that no target may have (RFC 9112 §3.2).
pub fn write_request(
    out: &mut BytesMut,
    method: &Method,
    target: &str,
    headers: &HeaderMap,
) -> Result<(), Refusal> {
    if target.is_empty() || target.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err(Refusal::Target);
    }
    for part in [method.as_str(), " ", target, " HTTP/1.1\r\n"] {
        out.put_slice(part.as_bytes());
    }
    for field in headers {
        write_field(out, field);
    }
    out.put_slice(b"\r\n");
    Ok(())
}

/// Writes an interim response, such as 100 (Continue) or 103 (Early Hints).
pub fn write_interim(out: &mut BytesMut, status: StatusCode, headers: &HeaderMap) {
    debug_assert!(status.is_informational(), "{status} is not interim");
    write_status_line(out, status);
    for (name, value) in headers
        .iter()
        .filter(|(name, _)| !is_of_connection(name.as_str()))
    {
        write_field(out, (name, value));
    }
    out.put_slice(b"\r\n");
}

/// Writes the line before the data of a chunk of `len` bytes. [`CHUNK_END`] goes after the data.
///
/// Nothing is written for a `len` of zero, which would end the content; nothing is to be written
/// after it either.
pub fn write_chunk_head(out: &mut BytesMut, len: usize) {
    debug_assert!(len > 0, "an empty chunk ends the content");
    if len == 0 {
        return;
    }
    let significant = usize::BITS - len.leading_zeros();
    for digit in (0..significant.div_ceil(4)).rev() {
        let nibble = (len >> (digit * 4)) & 0xf;
        out.put_u8(b"0123456789abcdef"[nibble]);
    }
    out.put_slice(b"\r\n");
}

/// Ends chunked content, with those of `trailers` that may be trailers.
pub fn write_trailers(out: &mut BytesMut, trailers: &HeaderMap) {
    out.put_slice(b"0\r\n");
    for (name, value) in trailers
        .iter()
        .filter(|(name, _)| trailers::is_allowed(name))
    {
        write_field(out, (name, value));
    }
    out.put_slice(b"\r\n");
}

/// A status without a registered reason gets none, but keeps the space (RFC 9112 §4).
fn write_status_line(out: &mut BytesMut, status: StatusCode) {
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(status.as_str().as_bytes());
    out.put_u8(b' ');
    out.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.put_slice(b"\r\n");
}

fn write_framing(out: &mut BytesMut, framing: &BodyFraming) {
    match framing {
        BodyFraming::Length(length) | BodyFraming::HeadOf(length) => {
            out.put_slice(b"Content-Length: ");
            write_decimal(out, *length);
            out.put_slice(b"\r\n");
        }
        BodyFraming::Chunked => out.put_slice(b"Transfer-Encoding: chunked\r\n"),
        BodyFraming::None | BodyFraming::UntilClose => {}
    }
}

fn write_decimal(out: &mut BytesMut, mut number: u64) {
    // As many digits as the largest has.
    let mut digits = [b'0'; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
        if number == 0 {
            return out.put_slice(&digits[start..]);
        }
    }
}

/// Says what the client would not assume by itself (RFC 9112 §9.3).
fn write_persistence(
    out: &mut BytesMut,
    request_version: Version,
    framing: &BodyFraming,
    persistence: Persistence,
) {
    match persistence {
        _ if *framing == BodyFraming::UntilClose => out.put_slice(b"Connection: close\r\n"),
        Persistence::Close => out.put_slice(b"Connection: close\r\n"),
        Persistence::KeepAlive if request_version < Version::HTTP_11 => {
            out.put_slice(b"Connection: keep-alive\r\n");
        }
        Persistence::KeepAlive => {}
    }
}

fn write_upgrade(out: &mut BytesMut, headers: &HeaderMap) {
    out.put_slice(b"Connection: upgrade\r\n");
    if let Some(protocol) = headers.get(UPGRADE) {
        write_field(out, (&UPGRADE, protocol));
    }
}

/// Whether a field frames the message or speaks of a connection.
fn is_of_connection(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "content-length"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "transfer-encoding"
            | "upgrade"
    )
}

fn write_field<'a>(out: &mut BytesMut, field: impl Into<Field<'a>>) {
    let Field { name, value } = field.into();
    write_name(out, name);
    out.put_slice(b": ");
    for piece in value.into_iter().filter(|piece| !piece.is_empty()) {
        // `HeaderValue` cannot be made of these without `unsafe`.
        debug_assert!(!piece.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
        out.put_slice(piece);
    }
    out.put_slice(b"\r\n");
}

/// Writes a name in the case that people are used to.
fn write_name(out: &mut BytesMut, name: &str) {
    match name {
        "etag" => out.put_slice(b"ETag"),
        "www-authenticate" => out.put_slice(b"WWW-Authenticate"),
        "cdn-cache-control" => out.put_slice(b"CDN-Cache-Control"),
        "sec-websocket-accept" => out.put_slice(b"Sec-WebSocket-Accept"),
        "sec-websocket-extensions" => out.put_slice(b"Sec-WebSocket-Extensions"),
        "sec-websocket-protocol" => out.put_slice(b"Sec-WebSocket-Protocol"),
        "x-xss-protection" => out.put_slice(b"X-XSS-Protection"),
        "x-ua-compatible" => out.put_slice(b"X-UA-Compatible"),
        "nel" => out.put_slice(b"NEL"),
        "sourcemap" => out.put_slice(b"SourceMap"),
        name => {
            let start = out.len();
            out.put_slice(name.as_bytes());
            capitalize(&mut out[start..]);
        }
    }
}

fn capitalize(name: &mut [u8]) {
    for part in name.split_mut(|&byte| byte == b'-') {
        if let Some(first) = part.first_mut() {
            first.make_ascii_uppercase();
        }
    }
}
