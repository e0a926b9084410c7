//! Entity tags and their two comparisons (RFC 9110 §8.8.3).

use http::header::{AsHeaderName, HeaderMap};

use super::trim;

use crate::packed::Fields;

/// An entity tag: `"xyzzy"`, `W/"xyzzy"`, or whatever else was sent in its place.
///
/// A malformed tag is compared as the bytes it consists of, and only weakly: the client that echoes
/// it gets its 304, and nothing that needs a strong validator relies on it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct EntityTag<'a> {
    strength: Strength,
    /// With its quotes, so that a malformed tag without any never equals a well-formed one.
    opaque: &'a [u8],
}

/// Whether equal tags promise equal bytes (RFC 9110 §8.8.1).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Strength {
    Strong,
    Weak,
}

impl<'a> EntityTag<'a> {
    /// Reads one entity tag; `None` if there is nothing to read.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let value = trim(value);
        if value.is_empty() {
            return None;
        }
        Some(match value.strip_prefix(b"W/") {
            Some(opaque) if is_opaque_tag(opaque) => Self::weak(opaque),
            _ if is_opaque_tag(value) => Self {
                strength: Strength::Strong,
                opaque: value,
            },
            _ => Self::weak(value),
        })
    }

    /// The entity tag of a response; `None` if it has no `ETag`, or several.
    pub fn of(response: &'a impl Fields) -> Option<Self> {
        super::sole(response, http::header::ETAG).and_then(Self::parse)
    }

    const fn weak(opaque: &'a [u8]) -> Self {
        Self {
            strength: Strength::Weak,
            opaque,
        }
    }

    pub(crate) const fn strength(self) -> Strength {
        self.strength
    }

    /// Strong comparison: equal, and neither is weak (RFC 9110 §8.8.3.2).
    pub fn strong_eq(self, other: Self) -> bool {
        self.strength == Strength::Strong && self == other
    }

    /// Weak comparison: equal, whether weak or not (RFC 9110 §8.8.3.2).
    pub fn weak_eq(self, other: Self) -> bool {
        self.opaque == other.opaque
    }
}

/// `opaque-tag = DQUOTE *etagc DQUOTE`
fn is_opaque_tag(value: &[u8]) -> bool {
    let [b'"', inner @ .., b'"'] = value else {
        return false;
    };
    inner
        .iter()
        .all(|byte| matches!(byte, 0x21 | 0x23..=0x7e | 0x80..))
}

/// The entity tags listed in a field of a request.
///
/// Unlike in quoted strings, a backslash within a tag escapes nothing.
pub(crate) fn entity_tags<'a, K: AsHeaderName>(
    headers: &'a HeaderMap,
    name: K,
) -> impl Iterator<Item = EntityTag<'a>> {
    headers
        .get_all(name)
        .into_iter()
        .flat_map(|line| split_tags(line.as_bytes()))
        .filter_map(EntityTag::parse)
}

fn split_tags(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    line.split(move |&byte| {
        quoted ^= byte == b'"';
        byte == b',' && !quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[derive(PartialEq)]
    enum Equal {
        Strongly,
        Weakly,
        Not,
    }

    #[track_caller]
    fn check(one: &str, other: &str, equal: Equal) {
        let one = EntityTag::parse(one.as_bytes()).unwrap();
        let other = EntityTag::parse(other.as_bytes()).unwrap();
        assert_eq!(one.strong_eq(other), equal == Equal::Strongly);
        assert_eq!(one.weak_eq(other), equal != Equal::Not);
    }

    #[test]
    #[rustfmt::skip]
    fn the_table_of_the_rfc() {
        check(r#"W/"1""#, r#"W/"1""#, Equal::Weakly);
        check(r#"W/"1""#, r#"W/"2""#, Equal::Not);
        check(r#"W/"1""#, r#""1""#, Equal::Weakly);
        check(r#""1""#,   r#""1""#, Equal::Strongly);
    }

    #[test]
    #[rustfmt::skip]
    fn malformed_tags_equal_themselves_and_weakly() {
        check("abc",        "abc", Equal::Weakly);
        check("abc",        r#""abc""#, Equal::Not);
        check(r#"w/"abc""#, r#"w/"abc""#, Equal::Weakly);
        check(r#"w/"abc""#, r#"W/"abc""#, Equal::Not);
        check(r#"W"abc""#,  r#"W"abc""#, Equal::Weakly);
        check(r#""a b""#,   r#""a b""#, Equal::Weakly);
        check(r#"""#,       r#"""#, Equal::Weakly);
    }

    #[test]
    fn tags_are_split_outside_quotes() {
        let mut headers = HeaderMap::new();
        headers.append(
            "if-none-match",
            HeaderValue::from_static(r#""a,b", W/"c\","#),
        );
        headers.append(
            "if-none-match",
            HeaderValue::from_bytes(b"\"d\xfc\"").unwrap(),
        );

        let found: Vec<_> = entity_tags(&headers, "if-none-match")
            .map(|tag| tag.opaque)
            .collect();
        assert_eq!(found, [&br#""a,b""#[..], br#""c\""#, b"\"d\xfc\""]);
    }
}
