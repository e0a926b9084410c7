//! The request line: a method, a target and a version (RFC 9112 §3).

use http::{Method, Version};

use crate::grammar::is_token;
use crate::limits::METHOD_BYTES_MAX;
use crate::target::{self, Target};
use crate::{Limits, Refusal};

/// A request line that has been understood.
#[derive(Clone, Debug)]
pub(crate) struct RequestLine {
    pub(crate) method: Method,
    pub(crate) target: Target,
    /// 1.0 or 1.1.
    pub(crate) version: Version,
}

/// The longest request line within `limits`, with its line end.
pub(crate) fn len_max(limits: &Limits) -> usize {
    const AROUND_TARGET: usize = METHOD_BYTES_MAX + " ".len() + " HTTP/1.1\r\n".len();
    limits.target_bytes.saturating_add(AROUND_TARGET)
}

/// Reads a request line, given without its line end.
pub(crate) fn parse(line: &[u8], limits: &Limits) -> Result<RequestLine, Refusal> {
    let mut parts = line.split(|&byte| byte == b' ');
    let method = parse_method(parts.next().unwrap_or_default())?;
    let target = parts.next().ok_or(Refusal::RequestLine)?;
    if target.len() > limits.target_bytes {
        return Err(Refusal::TargetTooLong);
    }
    let version = parts.next().ok_or(Refusal::RequestLine)?;
    if parts.next().is_some() {
        return Err(Refusal::RequestLine);
    }

    let version = parse_version(version)?;
    if method == Method::CONNECT {
        return Err(Refusal::Connect);
    }
    let target = str::from_utf8(target).ok().ok_or(Refusal::Target)?;
    let target = target::parse(&method, target)?;
    Ok(RequestLine {
        method,
        target,
        version,
    })
}

/// Why a line that is longer than [`len_max`] is refused, told from its beginning.
pub(crate) fn overlong(beginning: &[u8], limits: &Limits) -> Refusal {
    let mut parts = beginning.split(|&byte| byte == b' ');
    if let Err(refusal) = parse_method(parts.next().unwrap_or_default()) {
        return refusal;
    }
    match parts.next() {
        Some(target) if target.len() > limits.target_bytes => Refusal::TargetTooLong,
        _ => Refusal::RequestLine,
    }
}

/// Methods are case-sensitive, and unknown ones are the origin's to judge (RFC 9110 §9.1).
fn parse_method(method: &[u8]) -> Result<Method, Refusal> {
    if !is_token(method) {
        return Err(Refusal::Method);
    }
    if method.len() > METHOD_BYTES_MAX {
        return Err(Refusal::MethodTooLong);
    }
    Method::from_bytes(method).ok().ok_or(Refusal::Method)
}

/// A higher minor version is read as the highest this node speaks (RFC 9110 §2.5).
fn parse_version(version: &[u8]) -> Result<Version, Refusal> {
    match version {
        b"HTTP/1.1" => Ok(Version::HTTP_11),
        b"HTTP/1.0" => Ok(Version::HTTP_10),
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9'] => Ok(Version::HTTP_11),
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
            Err(Refusal::VersionNotSupported)
        }
        _ => Err(Refusal::Version),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_at_every_limit_is_read() {
        let limits = Limits {
            target_bytes: 5,
            ..Limits::default()
        };
        let line = format!("{} /abcd HTTP/1.1", "M".repeat(METHOD_BYTES_MAX));
        assert_eq!(line.len() + 2, len_max(&limits));
        assert!(parse(line.as_bytes(), &limits).is_ok());

        let target = parse(b"GET /abcde HTTP/1.1", &limits);
        assert_eq!(target.err(), Some(Refusal::TargetTooLong));
        let method = parse(format!("M{line}").as_bytes(), &limits);
        assert_eq!(method.err(), Some(Refusal::MethodTooLong));
    }

    #[test]
    fn an_overlong_line_is_blamed_on_its_longest_part() {
        let limits = Limits::default();
        let long = "a".repeat(len_max(&limits));
        for (beginning, expected) in [
            (format!("GET /{long}"), Refusal::TargetTooLong),
            (format!("GET / {long}"), Refusal::RequestLine),
            (
                format!("GET {}", " ".repeat(long.len())),
                Refusal::RequestLine,
            ),
            (long.clone(), Refusal::MethodTooLong),
            (format!("({long}"), Refusal::Method),
        ] {
            assert_eq!(overlong(beginning.as_bytes(), &limits), expected);
        }
    }
}
