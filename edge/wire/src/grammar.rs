//! The classes of bytes that HTTP's grammar is made of (RFC 9110 §5.5, §5.6).

use http::{HeaderMap, HeaderName};

/// `tchar`, what tokens are made of (RFC 9110 §5.6.2).
pub(crate) fn is_tchar(byte: u8) -> bool {
    matches!(byte,
        b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z'
        | b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}

/// `token` (RFC 9110 §5.6.2).
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().copied().all(is_tchar)
}

/// Optional whitespace, `OWS` and `BWS` (RFC 9110 §5.6.3).
pub(crate) fn is_whitespace(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// A byte that no line may contain: every control but the tab. The line end is made of two.
pub(crate) fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}

/// Where the first control byte is.
///
/// Heads are searched by this from end to end. Whole blocks without a branch are what compilers
/// turn into vector instructions: a head of a kilobyte takes a tenth of a microsecond, not one.
pub(crate) fn first_control(bytes: &[u8]) -> Option<usize> {
    let (blocks, _) = bytes.as_chunks::<32>();
    let has_control = |block: &[u8; 32]| {
        block
            .iter()
            .fold(false, |any, &byte| any | is_control(byte))
    };
    let clean = blocks
        .iter()
        .take_while(|block| !has_control(block))
        .count()
        * 32;
    let offset = bytes[clean..].iter().position(|&byte| is_control(byte))?;
    Some(clean + offset)
}

/// A byte of `quoted-string` between its quotes, other than a backslash (RFC 9110 §5.6.4).
pub(crate) fn is_qdtext(byte: u8) -> bool {
    !is_control(byte) && byte != b'"' && byte != b'\\'
}

/// `bytes` without the optional whitespace around them.
///
/// Only spaces and tabs go: `trim_ascii` would also forgive form feeds and line ends.
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    let start = bytes
        .iter()
        .position(|&byte| !is_whitespace(byte))
        .unwrap_or(bytes.len());
    let end = bytes
        .iter()
        .rposition(|&byte| !is_whitespace(byte))
        .map_or(start, |last| last + 1);
    &bytes[start..end]
}

/// The elements of a list field, over all its lines, trimmed; empty ones included
/// (RFC 9110 §5.6.1).
///
/// Quoted strings are not known here: no field that is read through this has them.
pub(crate) fn elements(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(name)
        .into_iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .map(trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_characters_are_those_of_the_grammar() {
        let allowed: Vec<u8> = (0..=255).filter(|&byte| is_tchar(byte)).collect();
        let listed =
            b"!#$%&'*+-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ^_`abcdefghijklmnopqrstuvwxyz|~";
        assert_eq!(allowed, listed);
    }

    #[test]
    fn names_are_checked_alike_by_the_crate_that_keeps_them() {
        for byte in 0..=255 {
            let is_name = HeaderName::from_bytes(&[b'a', byte]).is_ok();
            assert_eq!(is_name, is_tchar(byte), "{byte:#x}");
            let is_method = http::Method::from_bytes(&[b'a', byte]).is_ok();
            assert_eq!(is_method, is_tchar(byte), "{byte:#x}");
            let is_value = http::HeaderValue::from_bytes(&[byte]).is_ok();
            assert_eq!(is_value, !is_control(byte), "{byte:#x}");
        }
    }

    #[test]
    fn a_control_byte_is_found_wherever_it_is() {
        for len in 0..100 {
            let mut bytes = vec![b'a'; len];
            assert_eq!(first_control(&bytes), None);
            for at in (0..len).rev() {
                bytes[at] = b'\r';
                assert_eq!(first_control(&bytes), Some(at), "{len}");
            }
        }
    }

    #[test]
    fn only_spaces_and_tabs_are_trimmed() {
        assert_eq!(trim(b" \t a b\t "), b"a b");
        assert_eq!(trim(b"\x0ba\x0c"), b"\x0ba\x0c");
        assert_eq!(trim(b" \t "), b"");
        assert_eq!(trim(b""), b"");
    }
}
