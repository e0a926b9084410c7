//! Chunk-size lines with their extensions, byte by byte (RFC 9112 §7.1, §7.1.1).

use crate::Refusal;
use crate::grammar::{is_control, is_qdtext, is_tchar, is_whitespace};
use crate::limits::{CHUNK_SIZE_DIGITS_MAX, LENGTH_MAX};

/// A chunk-size line as far as it has arrived.
///
/// ```text
/// chunk-size *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] ) CRLF
/// ```
#[derive(Clone, Debug)]
pub(crate) struct ChunkLine {
    part: Part,
    size: u64,
    digits: usize,
    len: usize,
}

/// The part of the line that the last byte belonged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Size,
    /// Whitespace that only a semicolon can end.
    BeforeSemicolon,
    /// A semicolon and perhaps whitespace.
    BeforeName,
    Name,
    /// Whitespace that a semicolon or an equals sign can end.
    AfterName,
    /// An equals sign and perhaps whitespace.
    BeforeValue,
    Token,
    Quoted,
    /// A backslash in a quoted string.
    Escape,
    AfterQuoted,
    CarriageReturn,
}

impl ChunkLine {
    pub(crate) fn new() -> Self {
        Self {
            part: Part::Size,
            size: 0,
            digits: 0,
            len: 0,
        }
    }

    /// Takes the next byte; answers the chunk's size at the line's end.
    pub(crate) fn push(&mut self, byte: u8) -> Result<Option<u64>, Refusal> {
        self.len += 1;
        match (self.part, byte) {
            (Part::CarriageReturn, b'\n') => return Ok(Some(self.size)),
            (Part::CarriageReturn, _) => return Err(Refusal::BareCr),
            (_, b'\n') => return Err(Refusal::BareLf),
            (Part::Size, _) if byte.is_ascii_hexdigit() => self.push_digit(byte)?,
            (Part::Size, _) if self.digits == 0 => return Err(Refusal::ChunkSize),
            _ => self.part = self.part.next(byte)?,
        }
        Ok(None)
    }

    /// Bytes taken so far.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes taken beyond what the size alone needs.
    pub(crate) fn extension_len(&self) -> usize {
        self.len.saturating_sub(self.digits + "\r\n".len())
    }

    fn push_digit(&mut self, byte: u8) -> Result<(), Refusal> {
        let digit = char::from(byte).to_digit(16).ok_or(Refusal::ChunkSize)?;
        self.digits += 1;
        let size = self.size.checked_mul(16);
        match size.and_then(|size| size.checked_add(u64::from(digit))) {
            Some(size) if size <= LENGTH_MAX && self.digits <= CHUNK_SIZE_DIGITS_MAX => {
                self.size = size;
                Ok(())
            }
            _ => Err(Refusal::ChunkSizeTooLarge),
        }
    }
}

impl Part {
    /// The part that `byte` belongs to after this one.
    fn next(self, byte: u8) -> Result<Self, Refusal> {
        use Part::*;
        let may_end = matches!(self, Size | Name | Token | AfterQuoted);
        Ok(match (self, byte) {
            (_, b'\r') if may_end => CarriageReturn,
            (Size | BeforeSemicolon | Name | AfterName | Token | AfterQuoted, b';') => BeforeName,
            (Name | AfterName, b'=') => BeforeValue,
            (BeforeValue, b'"') => Quoted,
            (Quoted, b'"') => AfterQuoted,
            (Quoted, b'\\') => Escape,
            (Quoted, _) if is_qdtext(byte) => Quoted,
            (Escape, _) if !is_control(byte) => Quoted,
            (BeforeName | Name, _) if is_tchar(byte) => Name,
            (BeforeValue | Token, _) if is_tchar(byte) => Token,
            (Size | BeforeSemicolon | Token | AfterQuoted, _) if is_whitespace(byte) => {
                BeforeSemicolon
            }
            (BeforeName | BeforeValue, _) if is_whitespace(byte) => self,
            (Name | AfterName, _) if is_whitespace(byte) => AfterName,
            (Size, _) => return Err(Refusal::ChunkSize),
            _ => return Err(Refusal::ChunkExtension),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: Result<Option<u64>, Refusal>) {
        let mut line = ChunkLine::new();
        let pushed = bytes.iter().map(|&byte| line.push(byte));
        let verdict = pushed.into_iter().find(|pushed| *pushed != Ok(None));
        assert_eq!(
            verdict.unwrap_or(Ok(None)),
            expected,
            "{}",
            bytes.escape_ascii()
        );
    }

    #[test]
    #[rustfmt::skip]
    fn sizes_are_hexadecimal() {
        check(b"5\r\n",                 Ok(Some(5)));
        check(b"aF\r\n",                Ok(Some(0xaf)));
        check(b"0000000000000005\r\n",  Ok(Some(5)));
        check(b"7fffffffffffffff\r\n",  Ok(Some(LENGTH_MAX)));
        check(b"5\r",                   Ok(None));
        check(b"00000000000000005\r\n", Err(Refusal::ChunkSizeTooLarge));
        check(b"8000000000000000\r\n",  Err(Refusal::ChunkSizeTooLarge));
        check(b"ffffffffffffffff\r\n",  Err(Refusal::ChunkSizeTooLarge));
        check(b"10000000000000005\r\n", Err(Refusal::ChunkSizeTooLarge));
        check(b"\r\n",                  Err(Refusal::ChunkSize));
        check(b" 5\r\n",                Err(Refusal::ChunkSize));
        check(b"\t5\r\n",               Err(Refusal::ChunkSize));
        check(b"+5\r\n",                Err(Refusal::ChunkSize));
        check(b"-5\r\n",                Err(Refusal::ChunkSize));
        check(b"0x5\r\n",               Err(Refusal::ChunkSize));
        check(b"5_0\r\n",               Err(Refusal::ChunkSize));
        check(b"5g\r\n",                Err(Refusal::ChunkSize));
        check(b"5,\r\n",                Err(Refusal::ChunkSize));
        check(b"5\0\r\n",               Err(Refusal::ChunkSize));
        check(b"5\x0b\r\n",             Err(Refusal::ChunkSize));
        check(b";a=b\r\n",              Err(Refusal::ChunkSize));
        check(b"5\n",                   Err(Refusal::BareLf));
        check(b"\n",                    Err(Refusal::BareLf));
        check(b"5\r5",                  Err(Refusal::BareCr));
        check(b"5\r\r\n",               Err(Refusal::BareCr));
        check(b"5 5\r\n",               Err(Refusal::ChunkExtension));
        check(b"5 \r\n",                Err(Refusal::ChunkExtension));
    }

    #[test]
    #[rustfmt::skip]
    fn extensions_are_names_with_optional_values() {
        check(b"5;a\r\n",               Ok(Some(5)));
        check(b"5;a=b\r\n",             Ok(Some(5)));
        check(b"5;a;b=c;d\r\n",         Ok(Some(5)));
        check(b"5;a=\"\"\r\n",          Ok(Some(5)));
        check(b"5;a=\"b;c=\xff \t\"\r\n", Ok(Some(5)));
        check(b"5;a=\"b\\\"c\\\\\"\r\n", Ok(Some(5)));
        check(b"5 ; a = b ; c\r\n",     Ok(Some(5)));
        check(b"5\t;\ta\t=\t\"b\"\t;c\r\n", Ok(Some(5)));
        check(b"5;\r\n",                Err(Refusal::ChunkExtension));
        check(b"5;;a\r\n",              Err(Refusal::ChunkExtension));
        check(b"5;a;\r\n",              Err(Refusal::ChunkExtension));
        check(b"5;=b\r\n",              Err(Refusal::ChunkExtension));
        check(b"5;a=\r\n",              Err(Refusal::ChunkExtension));
        check(b"5;a=b=c\r\n",           Err(Refusal::ChunkExtension));
        check(b"5;a b\r\n",             Err(Refusal::ChunkExtension));
        check(b"5;a \r\n",              Err(Refusal::ChunkExtension));
        check(b"5;a=b \r\n",            Err(Refusal::ChunkExtension));
        check(b"5;a=\"b\" \r\n",        Err(Refusal::ChunkExtension));
        check(b"5;a=\"b\"c\r\n",        Err(Refusal::ChunkExtension));
        check(b"5;a=\"b\r\n",           Err(Refusal::ChunkExtension));
        check(b"5;a=\"b\\\r\n",         Err(Refusal::ChunkExtension));
        check(b"5;a=b\"c\"\r\n",        Err(Refusal::ChunkExtension));
        check(b"5;a\0=b\r\n",           Err(Refusal::ChunkExtension));
        check(b"5;a=\"\0\"\r\n",        Err(Refusal::ChunkExtension));
        check(b"5;a=\"\\\0\"\r\n",      Err(Refusal::ChunkExtension));
        check(b"5;\xe9=b\r\n",          Err(Refusal::ChunkExtension));
        check(b"5;a\n",                 Err(Refusal::BareLf));
        check(b"5;a=\"b\n\"\r\n",       Err(Refusal::BareLf));
        check(b"5;a\rb\r\n",            Err(Refusal::BareCr));
    }

    #[test]
    fn only_what_is_beyond_the_size_counts_as_extension() {
        let mut line = ChunkLine::new();
        for &byte in b"1f;ab\r\n" {
            line.push(byte).unwrap();
        }
        assert_eq!((line.len(), line.extension_len()), (7, 3));
    }
}
