//! Lines that end with CRLF, found in bytes that arrive in pieces.

use crate::Refusal;
use crate::grammar::first_control;

/// Where the search for line ends stands. It looks at every byte once, however many calls it takes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines {
    /// The first byte of the current line.
    start: usize,
    /// The first byte not looked at.
    scanned: usize,
}

impl Lines {
    /// Lines from `start` on.
    pub(crate) fn from(start: usize) -> Self {
        Self {
            start,
            scanned: start,
        }
    }

    /// The first byte of the current line; after an empty line, what follows the section.
    pub(crate) fn start(&self) -> usize {
        self.start
    }

    /// The next line without its end, or nothing if its end has not arrived.
    ///
    /// `bytes` is everything received so far, from the same first byte at every call.
    pub(crate) fn next<'b>(&mut self, bytes: &'b [u8]) -> Result<Option<&'b [u8]>, Refusal> {
        let unseen = bytes.get(self.scanned..).unwrap_or_default();
        let Some(offset) = first_control(unseen) else {
            self.scanned = self.scanned.max(bytes.len());
            return Ok(None);
        };

        let end = self.scanned + offset;
        match (bytes[end], bytes.get(end + 1)) {
            (b'\r', Some(b'\n')) => {
                let line = &bytes[self.start..end];
                *self = Self::from(end + 2);
                Ok(Some(line))
            }
            (b'\r', Some(_)) => Err(Refusal::BareCr),
            (b'\r', None) => {
                self.scanned = end;
                Ok(None)
            }
            (b'\n', _) => Err(Refusal::BareLf),
            _ => Err(Refusal::ControlByte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: Result<Option<&[u8]>, Refusal>) {
        assert_eq!(Lines::default().next(bytes), expected, "whole");

        let mut lines = Lines::default();
        let found = (0..=bytes.len()).map(|len| lines.next(&bytes[..len]));
        let verdict = found.into_iter().find(|found| *found != Ok(None));
        assert_eq!(verdict.unwrap_or(Ok(None)), expected, "byte by byte");
    }

    #[test]
    #[rustfmt::skip]
    fn a_line_ends_with_crlf_and_nothing_else() {
        check(b"",            Ok(None));
        check(b"abc",         Ok(None));
        check(b"abc\r",       Ok(None));
        check(b"abc\r\n",     Ok(Some(b"abc")));
        check(b"\r\nabc",     Ok(Some(b"")));
        check(b"a\tb\xff\r\n", Ok(Some(b"a\tb\xff")));
        check(b"abc\n",       Err(Refusal::BareLf));
        check(b"abc\rd\r\n",  Err(Refusal::BareCr));
        check(b"abc\r\r\n",   Err(Refusal::BareCr));
        check(b"a\0bc\r\n",   Err(Refusal::ControlByte));
        check(b"a\x0bc\r\n",  Err(Refusal::ControlByte));
        check(b"a\x7fc\r\n",  Err(Refusal::ControlByte));
    }

    #[test]
    fn bytes_that_were_taken_back_are_not_an_accident() {
        let mut lines = Lines::default();
        assert_eq!(lines.next(b"abc"), Ok(None));
        assert_eq!(lines.next(b"a"), Ok(None));
    }
}
