//! Field lines (RFC 9112 §5), one at a time and by the section.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::Refusal;
use crate::grammar::{is_whitespace, trim};
use crate::line::Lines;

/// Fields that most heads have at most.
const FIELDS_USUAL: usize = 16;

/// The field lines of a head or a trailer section, up to the empty line, as far as they arrived.
#[derive(Clone, Debug)]
pub(crate) struct FieldSection {
    lines: Lines,
    /// Field lines read, which are more than names.
    count: usize,
    /// At most this many field lines.
    count_max: usize,
    fields: HeaderMap,
}

impl FieldSection {
    /// A section whose first line starts at `start`.
    pub(crate) fn new(start: usize, count_max: usize) -> Self {
        Self {
            lines: Lines::from(start),
            count: 0,
            count_max,
            // Growing costs more than room: few heads have more.
            fields: HeaderMap::with_capacity(FIELDS_USUAL.min(count_max)),
        }
    }

    /// Reads the lines that are complete; answers where the section ends, once it does.
    ///
    /// `bytes` is everything received so far, from the same first byte at every call.
    pub(crate) fn parse(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        loop {
            // RFC 9112 §2.2 and §5.2: neither after the start line nor after a field.
            let first = bytes.get(self.lines.start());
            if first.is_some_and(|&byte| is_whitespace(byte)) {
                return Err(Refusal::ObsFold);
            }
            match self.lines.next(bytes)? {
                None => return Ok(None),
                Some([]) => return Ok(Some(self.lines.start())),
                Some(line) => self.push(line)?,
            }
        }
    }

    /// The fields read; the values of one name are in the order of the wire.
    pub(crate) fn into_fields(self) -> HeaderMap {
        self.fields
    }

    fn push(&mut self, line: &[u8]) -> Result<(), Refusal> {
        if self.count == self.count_max {
            return Err(Refusal::TooManyFields);
        }
        self.count += 1;
        let (name, value) = parse_line(line)?;
        let appended = self.fields.try_append(name, value);
        appended.map(drop).ok().ok_or(Refusal::TooManyFields)
    }
}

/// Reads a field line, given without its line end.
fn parse_line(line: &[u8]) -> Result<(HeaderName, HeaderValue), Refusal> {
    let colon = line.iter().position(|&byte| byte == b':');
    let colon = colon.ok_or(Refusal::FieldColon)?;
    let value = HeaderValue::from_bytes(trim(&line[colon + 1..]));
    let value = value.ok().ok_or(Refusal::FieldValue)?;
    Ok((parse_name(&line[..colon])?, value))
}

fn parse_name(name: &[u8]) -> Result<HeaderName, Refusal> {
    // RFC 9112 §5.1: no whitespace between name and colon, on pain of 400.
    if name.last().is_some_and(|&byte| is_whitespace(byte)) {
        return Err(Refusal::SpaceBeforeColon);
    }
    // It takes tokens and nothing else.
    let name = HeaderName::from_bytes(name).ok();
    let name = name.ok_or(Refusal::FieldName)?;
    check_lookalike(&name)?;
    Ok(name)
}

/// Refuses `Content_Length` and `Transfer_Encoding`.
///
/// Gateways of the CGI family turn `-` into `_` and so take them for the real ones.
pub(crate) fn check_lookalike(name: &HeaderName) -> Result<(), Refusal> {
    let name = name.as_str();
    if !name.as_bytes().contains(&b'_') {
        return Ok(());
    }
    let meant = name.replace('_', "-");
    if CONTENT_LENGTH == *meant || TRANSFER_ENCODING == *meant {
        return Err(Refusal::FieldLookalike);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &[u8], expected: Result<(&str, &[u8]), Refusal>) {
        let found = parse_line(line);
        let found = found
            .as_ref()
            .map(|(name, value)| (name.as_str(), value.as_bytes()));
        assert_eq!(
            found,
            expected.as_ref().map(|&pair| pair),
            "{}",
            line.escape_ascii()
        );
    }

    #[test]
    #[rustfmt::skip]
    fn a_field_line_is_a_name_a_colon_and_a_value() {
        check(b"A: b",            Ok(("a", b"b")));
        check(b"A:b",             Ok(("a", b"b")));
        check(b"A: \t b c \t",    Ok(("a", b"b c")));
        check(b"A:",              Ok(("a", b"")));
        check(b"A: ",             Ok(("a", b"")));
        check(b"A: b:c",          Ok(("a", b"b:c")));
        check(b"!#$%&'*+.^_`|~: b", Ok(("!#$%&'*+.^_`|~", b"b")));
        check(b"A: \xe9\xff",     Ok(("a", b"\xe9\xff")));
        check(b"X_Y: b",          Ok(("x_y", b"b")));
        check(b"A",               Err(Refusal::FieldColon));
        check(b": b",             Err(Refusal::FieldName));
        check(b"A : b",           Err(Refusal::SpaceBeforeColon));
        check(b"A\t: b",          Err(Refusal::SpaceBeforeColon));
        check(b"A b: c",          Err(Refusal::FieldName));
        check(b"A\xc3\xa9: b",    Err(Refusal::FieldName));
        check(b"A(): b",          Err(Refusal::FieldName));
        check(b"\"A\": b",        Err(Refusal::FieldName));
        check(b"A/B: c",          Err(Refusal::FieldName));
        check(b"GET / HTTP/1.1",  Err(Refusal::FieldColon));
        check(b"GET http://a/ HTTP/1.1", Err(Refusal::FieldName));
        check(b"Content_Length: 5", Err(Refusal::FieldLookalike));
        check(b"transfer_encoding: chunked", Err(Refusal::FieldLookalike));
    }

    #[test]
    fn a_name_longer_than_the_map_can_hold_is_refused() {
        let line = format!("{}: b", "a".repeat(70_000));
        check(line.as_bytes(), Err(Refusal::FieldName));
    }
}
