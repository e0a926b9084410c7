//! The bearer token of the admin API (RFC 6750).

use std::fmt;

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
}

/// The credentials of the scheme `Bearer`, whose name is case-insensitive (RFC 9110 §11.1).
pub(crate) fn bearer(field: &[u8]) -> Option<&[u8]> {
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
    use super::*;

    #[test]
    fn credentials_follow_their_scheme() {
        let credentials = |field: &'static str| bearer(field.as_bytes());
        assert_eq!(credentials("Bearer abc"), Some(b"abc".as_slice()));
        assert_eq!(credentials("bEARER   abc "), Some(b"abc".as_slice()));
        for other in ["Basic abc", "abc", "Bearer", "", "Bearerabc"] {
            assert_eq!(credentials(other), None, "{other}");
        }
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
