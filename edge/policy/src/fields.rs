//! The pieces that field values are made of: lists, delta-seconds, dates and entity tags.

mod entity_tag;
mod http_date;

use std::borrow::Cow;
use std::time::Duration;

use http::header::HeaderName;

use crate::packed::Fields;
pub use entity_tag::EntityTag;
pub(crate) use entity_tag::{Strength, entity_tags};
pub use http_date::http_date;

/// What stands for infinity among delta-seconds (RFC 9111 §1.2.2): 2³¹ seconds, 68 years.
pub const DELTA_SECONDS_MAX: Duration = Duration::from_secs(1 << 31);

/// Parses delta-seconds (RFC 9111 §1.2.2): digits and nothing else.
///
//= https://www.rfc-editor.org/rfc/rfc9111#section-1.2.2
//# If a cache receives a delta-seconds value greater than the greatest integer it can represent, or
//# if any of its subsequent calculations overflows, the cache MUST consider the value to be
//# 2147483648 (2^31) or the greatest positive integer it can conveniently represent.
pub fn delta_seconds(value: &[u8]) -> Option<Duration> {
    let secs = decimal(value)?;
    Some(Duration::from_secs(secs).min(DELTA_SECONDS_MAX))
}

/// Parses `1*DIGIT` of any length; a number beyond `u64` becomes `u64::MAX`.
pub(crate) fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        Some(number.saturating_mul(10).saturating_add(digit))
    })
}

/// Removes optional whitespace (`OWS`, RFC 9110 §5.6.3) from both ends.
pub(crate) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// The value of a field that occurs exactly once.
pub(crate) fn sole(headers: &impl Fields, name: impl Into<HeaderName>) -> Option<&[u8]> {
    let mut lines = headers.lines(name.into());
    match (lines.next(), lines.next()) {
        (Some(value), None) => Some(trim(value)),
        _ => None,
    }
}

/// The members of a list field over all its lines (RFC 9110 §5.6.1).
///
/// Commas within quoted strings do not separate, and empty members do not count.
pub(crate) fn list<F: Fields>(
    headers: &F,
    name: impl Into<HeaderName>,
) -> impl Iterator<Item = &[u8]> {
    headers.lines(name.into()).flat_map(members)
}

/// The members of one line of a list field.
pub(crate) fn members(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    split(line, b',')
        .map(trim)
        .filter(|member| !member.is_empty())
}

/// The parts of `line` between `separator`s that stand outside quoted strings.
pub(crate) fn split(line: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        let end = end_of_part(line, separator);
        rest = line.get(end + 1..);
        line.get(..end)
    })
}

/// Where the first part of `line` ends.
///
/// A quote that is never closed opens nothing: otherwise a stray one would hide every directive
/// behind it.
fn end_of_part(line: &[u8], separator: u8) -> usize {
    let mut at = 0;
    while let Some(&byte) = line.get(at) {
        match byte {
            _ if byte == separator => return at,
            b'"' => at += quoted_len(&line[at..]).unwrap_or(1),
            _ => at += 1,
        }
    }
    line.len()
}

/// The length of the quoted string at the start of `line`, quotes included.
pub(crate) fn quoted_len(line: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match line.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// What a token or quoted string says (RFC 9110 §5.6.4): quotes and escapes are taken away.
///
/// Anything else is returned as it is, for the caller to find it wrong.
pub(crate) fn unquote(value: &[u8]) -> Cow<'_, [u8]> {
    let [b'"', inner @ .., b'"'] = value else {
        return Cow::Borrowed(value);
    };
    if !inner.contains(&b'\\') {
        return Cow::Borrowed(inner);
    }

    let mut plain = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(&byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => bytes.next().copied().unwrap_or(byte),
            _ => byte,
        });
    }
    Cow::Owned(plain)
}

/// A list of field names; `None` if it is empty or a member is not a field name.
pub(crate) fn field_names(list: &[u8]) -> Option<Vec<HeaderName>> {
    let names: Option<Vec<_>> = members(list)
        .map(|name| HeaderName::from_bytes(name).ok())
        .collect();
    names.filter(|names| !names.is_empty())
}

#[cfg(test)]
mod tests {
    use http::header::{self, HeaderMap};

    use super::*;
    use http::HeaderValue;

    #[test]
    fn delta_seconds_are_digits() {
        #[track_caller]
        fn check(value: &str, secs: Option<u64>) {
            assert_eq!(
                delta_seconds(value.as_bytes()),
                secs.map(Duration::from_secs)
            );
        }
        check("0", Some(0));
        check("3600", Some(3600));
        check("003600", Some(3600));
        check("2147483647", Some(2_147_483_647));
        check("2147483648", Some(2_147_483_648));
        check("99999999999", Some(2_147_483_648));
        check("99999999999999999999999999999999", Some(2_147_483_648));
        for garbage in [
            "", "-1", "+1", "1.0", " 1", "1 ", "a1", "1a", "'1'", "0x1", "١",
        ] {
            check(garbage, None);
        }
    }

    #[test]
    fn members_are_separated_by_commas_outside_quotes() {
        #[track_caller]
        fn check(line: &str, expected: &[&str]) {
            let found: Vec<_> = members(line.as_bytes())
                .map(String::from_utf8_lossy)
                .collect();
            assert_eq!(found, expected, "{line}");
        }
        check("", &[]);
        check(" , ,\t", &[]);
        check("a", &["a"]);
        check(" a ,\tb,c", &["a", "b", "c"]);
        check(r#"a="1, 2", b"#, &[r#"a="1, 2""#, "b"]);
        check(r#"a="1\", 2", b"#, &[r#"a="1\", 2""#, "b"]);
        check(r#"a="1, b"#, &[r#"a="1"#, "b"]);
        check(r#"a="1\"#, &[r#"a="1\"#]);
    }

    #[test]
    fn a_list_goes_over_all_lines() {
        let mut headers = HeaderMap::new();
        headers.append("vary", HeaderValue::from_static("a, b"));
        headers.append("vary", HeaderValue::from_static(""));
        headers.append("vary", HeaderValue::from_static("c"));

        let found: Vec<_> = list(&headers, header::VARY).collect();
        assert_eq!(found, [b"a", b"b", b"c"]);
    }

    #[test]
    fn a_field_with_two_lines_is_not_sole() {
        let mut headers = HeaderMap::new();
        assert_eq!(sole(&headers, header::EXPIRES), None);
        headers.append("expires", HeaderValue::from_static("x "));
        assert_eq!(sole(&headers, header::EXPIRES), Some(&b"x"[..]));
        headers.append("expires", HeaderValue::from_static("x"));
        assert_eq!(sole(&headers, header::EXPIRES), None);
    }

    #[test]
    fn quotes_and_escapes_are_taken_away() {
        assert_eq!(&*unquote(b"token"), b"token");
        assert_eq!(&*unquote(br#""quoted""#), b"quoted");
        assert_eq!(&*unquote(br#""a\"b\\c""#), br#"a"b\c"#);
        assert_eq!(&*unquote(br#"""#), br#"""#);
        assert_eq!(&*unquote(b"'3600'"), b"'3600'");
    }

    #[test]
    fn field_names_are_all_or_nothing() {
        assert_eq!(field_names(b"Set-Cookie, x").unwrap().len(), 2);
        assert_eq!(field_names(b""), None);
        assert_eq!(field_names(b" , "), None);
        assert_eq!(field_names(b"a, b c"), None);
    }
}
