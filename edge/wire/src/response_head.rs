//! Reading the head of an origin's response (RFC 9112 §2).
//!
//! Requests are refused for the least doubt, as nobody can be held to account for them. Origins are the operator's: what
//! old ones get wrong, and what has one meaning all the same, is read. White space before a colon goes, folded lines become
//! one, a line may end with LF alone. What makes two framings possible is [`check_response`](crate::check_response)'s.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};

use crate::Lie;

/// Bytes of a response's head.
pub const RESPONSE_HEAD_MAX: usize = 1 << 20;
/// Field lines of a response's head.
pub const RESPONSE_FIELDS_MAX: usize = 256;

/// The head of a response, as it came.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// From 100 to 999.
    pub status: StatusCode,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// All fields, those of the connection as well. Their values are parts of one block of memory that holds no more
    /// than the head.
    pub headers: HeaderMap,
}

/// Reads heads out of bytes that arrive in pieces.
#[derive(Clone, Debug, Default)]
pub struct ResponseParser {
    /// Bytes in which no head ends.
    scanned: usize,
}

impl ResponseParser {
    /// Takes a head from the front of `input`; none if its end has not arrived. Between calls `input` may only grow.
    ///
    /// # Errors
    ///
    /// A [`Lie`], where it is no head of HTTP/1.x, or is longer than [`RESPONSE_HEAD_MAX`] or [`RESPONSE_FIELDS_MAX`].
    pub fn parse(&mut self, input: &mut BytesMut) -> Result<Option<ResponseHead>, Lie> {
        while let Some(end) = self.end(input) {
            let mut fields = [httparse::EMPTY_HEADER; RESPONSE_FIELDS_MAX];
            let mut response = httparse::Response::new(&mut fields);
            match config().parse_response(&mut response, &input[..end]) {
                Ok(httparse::Status::Complete(length)) => {
                    let head = head(&response, &input[..length])?;
                    drop(input.split_to(length));
                    self.scanned = 0;
                    return Ok(Some(head));
                }
                // Empty lines before the status line end nothing.
                Ok(httparse::Status::Partial) => {}
                Err(httparse::Error::TooManyHeaders) => return Err(Lie::TooLong),
                Err(_) => return Err(Lie::Syntax),
            }
        }
        match input.len() > RESPONSE_HEAD_MAX {
            true => Err(Lie::TooLong),
            false => Ok(None),
        }
    }

    /// Behind the first empty line that was not there before. Every byte is looked at once.
    fn end(&mut self, input: &[u8]) -> Option<usize> {
        let mut from = self.scanned;
        while let Some(at) = input[from..].iter().position(|&byte| byte == b'\n') {
            let behind = from + at + 1;
            let length = match &input[behind..] {
                [b'\n', ..] => 1,
                [b'\r', b'\n', ..] => 2,
                // It may go on with either.
                [] | [b'\r'] => {
                    self.scanned = behind - 1;
                    return None;
                }
                _ => {
                    from = behind;
                    continue;
                }
            };
            self.scanned = behind;
            return Some(behind + length);
        }
        self.scanned = input.len();
        None
    }
}

fn config() -> httparse::ParserConfig {
    let mut config = httparse::ParserConfig::default();
    config
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true);
    config
}

fn head(response: &httparse::Response<'_, '_>, bytes: &[u8]) -> Result<ResponseHead, Lie> {
    let status = response.code.and_then(|it| StatusCode::from_u16(it).ok());
    let version = match response.version {
        Some(1) => Version::HTTP_11,
        Some(0) => Version::HTTP_10,
        _ => return Err(Lie::Version),
    };
    let block = Bytes::copy_from_slice(bytes);
    let mut headers = HeaderMap::with_capacity(response.headers.len());
    for field in response.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let value = value(field.value, (bytes, &block)).ok_or(Lie::FieldValue)?;
        let appended = headers.try_append(name.ok().ok_or(Lie::Syntax)?, value);
        appended.ok().ok_or(Lie::TooLong)?;
    }
    Ok(ResponseHead {
        status: status.ok_or(Lie::Status)?,
        version,
        headers,
    })
}

/// A value as a part of the copy of the bytes in which it is.
fn value(value: &[u8], (bytes, block): (&[u8], &Bytes)) -> Option<HeaderValue> {
    if value.contains(&b'\n') {
        return unfolded(value);
    }
    let from = value.as_ptr().addr().checked_sub(bytes.as_ptr().addr());
    let part = from.filter(|from| from + value.len() <= bytes.len());
    match part {
        Some(from) => HeaderValue::from_maybe_shared(block.slice(from..from + value.len())).ok(),
        None => HeaderValue::from_bytes(value).ok(),
    }
}

/// RFC 9112 §5.2: a folded line is one line, with spaces where it was folded.
fn unfolded(value: &[u8]) -> Option<HeaderValue> {
    let lines = value.split(|&byte| byte == b'\n');
    let lines: Vec<&[u8]> = lines.map(<[u8]>::trim_ascii).collect();
    HeaderValue::from_bytes(&lines.join(&b' ')).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A head that comes as a whole, and byte by byte.
    #[track_caller]
    fn read(bytes: &[u8]) -> Result<Option<(ResponseHead, BytesMut)>, Lie> {
        let mut input = BytesMut::from(bytes);
        let whole = ResponseParser::default().parse(&mut input);
        let (mut parser, mut part) = (ResponseParser::default(), BytesMut::new());
        for (number, byte) in bytes.iter().enumerate() {
            part.extend_from_slice(&[*byte]);
            match parser.parse(&mut part) {
                Ok(None) => {}
                Ok(Some(head)) => {
                    let whole = whole.as_ref().expect("a head").as_ref().expect("complete");
                    assert_eq!(head.headers, whole.headers);
                    assert_eq!(bytes.len() - number - 1, input.len(), "what follows it");
                    assert!(part.is_empty());
                    break;
                }
                Err(lie) => {
                    assert_eq!(Some(lie), whole.as_ref().err().copied());
                    break;
                }
            }
        }
        whole.map(|head| head.map(|head| (head, input)))
    }

    #[track_caller]
    fn fields(bytes: &[u8], expected: &[(&str, &str)]) {
        let (head, _) = read(bytes).expect("a head").expect("complete");
        let found = head.headers.iter();
        let found: Vec<(&str, &str)> = found
            .map(|(name, value)| (name.as_str(), value.to_str().expect("text")))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_head_ends_with_an_empty_line_and_leaves_what_follows() {
        let (head, rest) = read(b"HTTP/1.1 404 Not Found\r\nA: b\r\n\r\nbody")
            .expect("a head")
            .expect("complete");
        assert_eq!(head.status, StatusCode::NOT_FOUND);
        assert_eq!(head.version, Version::HTTP_11);
        assert_eq!(rest, "body");
        let (head, _) = read(b"HTTP/1.0 200\r\n\r\n").expect("a head").expect("one");
        assert_eq!(head.version, Version::HTTP_10);
    }

    #[test]
    #[rustfmt::skip]
    fn old_origins_are_understood() {
        fields(b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",           &[("a", "b")]);
        fields(b"HTTP/1.1 200 OK\nA: b\nC:d\n\n",             &[("a", "b"), ("c", "d")]);
        fields(b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nD: e\r\n\r\n", &[("a", "b c"), ("d", "e")]);
        fields(b"\r\nHTTP/1.1 200 OK\r\nA: b\r\n\r\n",        &[("a", "b")]);
        fields(b"\r\n\r\n\nHTTP/1.1 200 OK\r\nA: b\r\n\r\n", &[("a", "b")]);
        fields(b"HTTP/1.1 200 OK\r\nA: b\r\nA: c\r\n\r\n",    &[("a", "b"), ("a", "c")]);
    }

    #[test]
    #[rustfmt::skip]
    fn what_is_no_head_is_a_lie() {
        let lie = |bytes: &[u8]| read(bytes).err();
        assert_eq!(lie(b"HTTP/2.0 200 OK\r\n\r\n"),           Some(Lie::Syntax));
        assert_eq!(lie(b"SSH-2.0-OpenSSH\r\n\r\n"),           Some(Lie::Syntax));
        assert_eq!(lie(b"HTTP/1.1 20 OK\r\n\r\n"),            Some(Lie::Syntax));
        assert_eq!(lie(b"HTTP/1.1 099 OK\r\n\r\n"),           Some(Lie::Status));
        assert_eq!(lie(b"HTTP/1.1 200 OK\r\nA\r\n\r\n"),      Some(Lie::Syntax));
        assert_eq!(lie(b"HTTP/1.1 200 OK\r\nA b: c\r\n\r\n"), Some(Lie::Syntax));
        assert!(lie(b"HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n").is_some());
        assert!(lie(b"HTTP/1.1 200 OK\r\nA: b\x7fc\r\n\r\n").is_some());
    }

    #[test]
    fn what_has_no_end_is_given_up_at_the_limit() {
        let mut parser = ResponseParser::default();
        let mut input = BytesMut::from("HTTP/1.1 200 OK\r\nA: ");
        input.resize(RESPONSE_HEAD_MAX, b'b');
        assert!(parser.parse(&mut input).expect("not yet").is_none());
        input.extend_from_slice(b"b");
        assert_eq!(parser.parse(&mut input).err(), Some(Lie::TooLong));
    }

    #[test]
    fn there_are_only_so_many_fields() {
        let head = |count: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(count));
        let parse =
            |count| ResponseParser::default().parse(&mut BytesMut::from(head(count).as_str()));
        let full = parse(RESPONSE_FIELDS_MAX).expect("a head").expect("whole");
        assert_eq!(full.headers.len(), RESPONSE_FIELDS_MAX);
        assert_eq!(parse(RESPONSE_FIELDS_MAX + 1).err(), Some(Lie::TooLong));
    }

    #[test]
    fn an_interim_head_is_followed_by_the_next() {
        let mut input =
            BytesMut::from("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\n\r\n");
        let mut parser = ResponseParser::default();
        let statuses = [103, 200].map(|_| {
            let head = parser.parse(&mut input).expect("a head").expect("whole");
            head.status.as_u16()
        });
        assert_eq!(statuses, [103, 200]);
        assert!(input.is_empty());
    }
}
