//! The bearer token of the admin API (RFC 6750).

use std::fmt;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use subtle::ConstantTimeEq as _;

/// Fewer characters can be guessed.
pub(crate) const TOKEN_MIN: usize = 16;
/// More cannot be meant.
pub(crate) const TOKEN_MAX: usize = 512;

/// A secret that opens the admin API.
#[derive(Clone)]
pub struct Token(String);

/// Why a text is no token.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TokenError {
    /// Not between the least and the most characters that a token has.
    #[error("a token has {TOKEN_MIN} to {TOKEN_MAX} characters, not {0}")]
    Length(usize),
    /// A character that cannot stand in `Authorization`.
    #[error("a token has no spaces and only visible ASCII characters")]
    Characters,
}

impl Token {
    /// Takes a token from a file or variable; white space around it does not count.
    ///
    /// # Errors
    /// [`TokenError`] where the text is none.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        if !(TOKEN_MIN..=TOKEN_MAX).contains(&text.len()) {
            return Err(TokenError::Length(text.len()));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Characters);
        }
        Ok(Self(text.to_owned()))
    }

    /// The token's text, for who sends it.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// Whether a request carries the token. The comparison takes as long for a wrong one as for the right one.
    #[must_use]
    pub fn admits(&self, headers: &HeaderMap) -> bool {
        let mut fields = headers.get_all(AUTHORIZATION).iter();
        let (Some(field), None) = (fields.next(), fields.next()) else {
            return false;
        };
        bearer(field.as_bytes())
            .is_some_and(|credentials| credentials.ct_eq(self.0.as_bytes()).into())
    }
}

/// The credentials of the scheme `Bearer`, whose name is case-insensitive (RFC 9110 §11.1).
fn bearer(field: &[u8]) -> Option<&[u8]> {
    let (scheme, credentials) = field.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| credentials.trim_ascii())
}

impl fmt::Debug for Token {
    /// Shows that there is a token, and not which.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[track_caller]
    fn check(why: &str, fields: &[&'static str], admitted: bool) {
        let token = Token::parse("0123456789abcdef\n").unwrap();
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(AUTHORIZATION, HeaderValue::from_static(field));
        }
        assert_eq!(token.admits(&headers), admitted, "{why}");
    }

    #[test]
    #[rustfmt::skip]
    fn only_the_whole_token_opens() {
        check("the token",             &["Bearer 0123456789abcdef"],                              true);
        check("another case",          &["bEARER   0123456789abcdef"],                            true);
        check("nothing",               &[],                                                       false);
        check("another token",         &["Bearer 0123456789abcdeg"],                              false);
        check("its beginning",         &["Bearer 0123456789abcde"],                               false);
        check("more than it",          &["Bearer 0123456789abcdef0"],                             false);
        check("another scheme",        &["Basic 0123456789abcdef"],                               false);
        check("no scheme",             &["0123456789abcdef"],                                     false);
        check("the scheme alone",      &["Bearer"],                                               false);
        check("two fields, one right", &["Bearer 0123456789abcdef", "Bearer wrong"],              false);
    }

    #[test]
    fn a_token_has_its_limits() {
        let length = |length: usize| Token::parse(&"x".repeat(length)).err();
        assert_eq!(
            length(TOKEN_MIN - 1),
            Some(TokenError::Length(TOKEN_MIN - 1))
        );
        assert_eq!(length(TOKEN_MIN), None);
        assert_eq!(length(TOKEN_MAX), None);
        assert_eq!(
            length(TOKEN_MAX + 1),
            Some(TokenError::Length(TOKEN_MAX + 1))
        );
        let spaced = Token::parse("0123456789 abcdef");
        assert_eq!(spaced.err(), Some(TokenError::Characters));
    }

    #[test]
    fn a_token_does_not_show_itself() {
        let token = Token::parse("0123456789abcdef").unwrap();
        assert_eq!(format!("{token:?}"), "Token(…)");
    }
}
