//! Targeted fields are Dictionary Structured Fields (RFC 9213 §2.1, RFC 8941 §3.2).

use std::borrow::Cow;

use http::header::{HeaderMap, HeaderName};

use super::{Directive, Directives};

/// Digits of an Integer (RFC 8941 §3.3.1).
const INTEGER_DIGITS_MAX: usize = 15;
/// Digits of a Decimal before and after the point (RFC 8941 §3.3.2).
const DECIMAL_DIGITS_MAX: (usize, usize) = (12, 3);

/// The directives in a targeted field; `None` if there is nothing in it, or something invalid.
///
/// Unlike Structured Fields in general, where the last of several members of one name wins, all of
/// them count, and the most restrictive wins as in `Cache-Control`.
///
//= https://www.rfc-editor.org/rfc/rfc9213#section-2.1
//# If a targeted field in a given response is empty, or a parsing error is encountered, that field
//# MUST be ignored by the cache
pub(super) fn directives(response: &HeaderMap, name: &HeaderName) -> Option<Directives> {
    let lines: Vec<&[u8]> = response
        .get_all(name)
        .iter()
        .map(|line| line.as_bytes())
        .filter(|line| !line.is_empty())
        .collect();
    let value = lines.join(&b", "[..]);
    let members = Input(&value).dictionary()?;
    if members.is_empty() {
        return None;
    }
    let directives: Option<Vec<_>> = members.iter().map(Member::directive).collect();
    Some(directives?.into_iter().flatten().collect())
}

/// A member of the dictionary, without its parameters.
///
//= https://www.rfc-editor.org/rfc/rfc9213#section-2.1
//# Parameters received on directives are to be ignored, unless other handling is explicitly
//# specified.
struct Member<'a> {
    key: &'a [u8],
    value: Value<'a>,
}

enum Value<'a> {
    Integer(&'a [u8]),
    String(Cow<'a, [u8]>),
    Boolean(bool),
    /// A Decimal, a Token, a Byte Sequence or an inner list: no directive known here has one.
    Other,
}

impl<'a> Member<'a> {
    /// The member as a directive: `None` if its value has the wrong type, `Some(None)` if it says
    /// that the directive is absent.
    ///
    //= https://www.rfc-editor.org/rfc/rfc9213#section-2.1
    //# Implementations MUST NOT generate and SHOULD NOT consume values that violate these inferred
    //# constraints on the directive's value.
    fn directive(&self) -> Option<Option<Directive<'a>>> {
        let argument = match (self.kind(), &self.value) {
            (_, Value::Boolean(false)) => return Some(None),
            (Kind::Seconds, Value::Integer(digits)) => Some(Cow::Borrowed(*digits)),
            (Kind::Fields, Value::String(names)) => Some(names.clone()),
            (Kind::Fields | Kind::Flag, Value::Boolean(true)) | (Kind::Unknown, _) => None,
            _ => return None,
        };
        Some(Some(Directive {
            name: Cow::Borrowed(self.key),
            argument,
        }))
    }

    const fn kind(&self) -> Kind {
        match self.key {
            b"max-age" | b"s-maxage" | b"stale-while-revalidate" | b"stale-if-error" => {
                Kind::Seconds
            }
            b"no-cache" | b"private" => Kind::Fields,
            b"no-store" | b"must-revalidate" | b"proxy-revalidate" | b"must-understand"
            | b"public" | b"immutable" => Kind::Flag,
            _ => Kind::Unknown,
        }
    }
}

/// What a directive takes as its argument.
enum Kind {
    Seconds,
    Fields,
    Flag,
    Unknown,
}

/// What is left to parse; the methods follow the algorithms of RFC 8941 §4.2.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// §4.2.2
    fn dictionary(mut self) -> Option<Vec<Member<'a>>> {
        let mut members = Vec::new();
        self.skip(b" ");
        while !self.0.is_empty() {
            let key = self.key()?;
            let value = match self.literal(b'=') {
                Some(()) => self.item_or_inner_list()?,
                None => Value::Boolean(true),
            };
            self.parameters()?;
            members.push(Member { key, value });

            self.skip(b" \t");
            if self.0.is_empty() {
                break;
            }
            self.literal(b',')?;
            self.skip(b" \t");
            // A trailing comma is an error.
            self.0.first()?;
        }
        Some(members)
    }

    fn item_or_inner_list(&mut self) -> Option<Value<'a>> {
        match self.0.first()? {
            b'(' => self.inner_list(),
            _ => self.bare_item(),
        }
    }

    /// §4.2.1.2
    fn inner_list(&mut self) -> Option<Value<'a>> {
        self.literal(b'(')?;
        loop {
            self.skip(b" ");
            if self.literal(b')').is_some() {
                return Some(Value::Other);
            }
            self.bare_item()?;
            self.parameters()?;
            matches!(self.0.first()?, b' ' | b')').then_some(())?;
        }
    }

    /// §4.2.3.1
    fn bare_item(&mut self) -> Option<Value<'a>> {
        match self.0.first()? {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => self.string(),
            b':' => self.byte_sequence(),
            b'?' => self.boolean(),
            b'*' | b'A'..=b'Z' | b'a'..=b'z' => {
                self.take_while(|byte| is_tchar(byte) || matches!(byte, b':' | b'/'));
                Some(Value::Other)
            }
            _ => None,
        }
    }

    /// §4.2.3.2
    fn parameters(&mut self) -> Option<()> {
        while self.literal(b';').is_some() {
            self.skip(b" ");
            self.key()?;
            if self.literal(b'=').is_some() {
                self.bare_item()?;
            }
        }
        Some(())
    }

    /// §4.2.3.3
    fn key(&mut self) -> Option<&'a [u8]> {
        matches!(self.0.first()?, b'a'..=b'z' | b'*').then_some(())?;
        Some(self.take_while(
            |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'*'),
        ))
    }

    /// §4.2.4
    fn number(&mut self) -> Option<Value<'a>> {
        let start = self.0;
        self.literal(b'-');
        let whole = self.take_while(|byte| byte.is_ascii_digit()).len();
        let Some(()) = self.literal(b'.') else {
            let integer = &start[..start.len() - self.0.len()];
            let valid = (1..=INTEGER_DIGITS_MAX).contains(&whole);
            return valid.then_some(Value::Integer(integer));
        };
        let fraction = self.take_while(|byte| byte.is_ascii_digit()).len();
        let valid = (1..=DECIMAL_DIGITS_MAX.0).contains(&whole)
            && (1..=DECIMAL_DIGITS_MAX.1).contains(&fraction);
        valid.then_some(Value::Other)
    }

    /// §4.2.5
    fn string(&mut self) -> Option<Value<'a>> {
        let len = super::fields::quoted_len(self.0)?;
        let (string, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        let mut escaped = false;
        for byte in &string[1..len - 1] {
            let valid = match byte {
                b'"' | b'\\' if escaped => true,
                0x20..=0x7e => !escaped,
                _ => false,
            };
            valid.then_some(())?;
            escaped = !escaped && *byte == b'\\';
        }
        Some(Value::String(super::fields::unquote(string)))
    }

    /// §4.2.7
    fn byte_sequence(&mut self) -> Option<Value<'a>> {
        self.literal(b':')?;
        self.take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='));
        self.literal(b':')?;
        Some(Value::Other)
    }

    /// §4.2.8
    fn boolean(&mut self) -> Option<Value<'a>> {
        self.literal(b'?')?;
        match self.literal(b'1') {
            Some(()) => Some(Value::Boolean(true)),
            None => self.literal(b'0').map(|()| Value::Boolean(false)),
        }
    }

    fn literal(&mut self, expected: u8) -> Option<()> {
        let (first, rest) = self.0.split_first()?;
        (*first == expected).then_some(())?;
        self.0 = rest;
        Some(())
    }

    fn skip(&mut self, any_of: &[u8]) {
        self.take_while(|byte| any_of.contains(&byte));
    }

    fn take_while(&mut self, accept: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.0.iter().position(|&byte| !accept(byte));
        let (taken, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// `tchar` (RFC 9110 §5.6.2)
const fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &str, members: Option<usize>) {
        let found = Input(value.as_bytes()).dictionary();
        assert_eq!(found.map(|members| members.len()), members, "{value}");
    }

    #[test]
    fn dictionaries() {
        check("", Some(0));
        check("a", Some(1));
        check("  a=1 \t,\tb ", Some(2));
        check("a=1;x;y=2, b=?1;z", Some(2));
        check(r#"a="x\"y\\", b=tok/en:x, c=:YQ==:, d=-1.5"#, Some(4));
        check(r#"a=(), b=( 1 "x";p ), c=*a"#, Some(3));
        check("a=999999999999999", Some(1));
    }

    #[test]
    fn what_is_not_a_dictionary() {
        for garbage in [
            ",",
            "a,",
            "a,,b",
            "a =1",
            "a= 1",
            "A",
            "1",
            "a=",
            "a=&",
            "a=@1",
            "a=%x",
            "a=?2",
            "a=\"x",
            r#"a="\x""#,
            "a=\"\u{e9}\"",
            "a=9999999999999999",
            "a=1.",
            "a=.5",
            "a=1.2345",
            "a=1234567890123.1",
            "a=-",
            "a=:x",
            "a=(1",
            "a=(1\"x\")",
            "a;B",
            "a=1;",
            "a b",
        ] {
            check(garbage, None);
        }
    }
}
