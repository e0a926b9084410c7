//! A complete body.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::budget::PIECE_OVERHEAD;
use crate::disk::{self, DiskError, Found, Pace};

/// The bytes of a stored response, in memory or on a disk. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Body {
    len: u64,
    pieces: Pieces,
}

#[derive(Clone, Debug)]
enum Pieces {
    One(Bytes),
    Many(Arc<[Piece]>),
    OnDisk(Found),
}

/// A body, or a part of it, piece by piece.
#[derive(Debug)]
pub struct BodyReader(Source);

#[derive(Debug)]
enum Source {
    Memory {
        body: Body,
        rest: Range<u64>,
        next: usize,
    },
    Disk(disk::BodyReader),
}

impl BodyReader {
    /// Tells how the last piece was taken: of what is on a disk, the next ones are as long as suits that.
    pub fn suit(&mut self, pace: Pace) {
        if let Source::Disk(reader) = &mut self.0 {
            reader.suit(pace);
        }
    }

    /// The next bytes of the range, none at its end. Those in memory are there at once, and not copied. It may be
    /// dropped and called again.
    ///
    /// # Errors
    ///
    /// If a disk does not give them, or not as they were stored. What was returned before is right.
    pub async fn next(&mut self) -> Result<Option<Bytes>, DiskError> {
        match &mut self.0 {
            Source::Disk(reader) => reader.next().await,
            Source::Memory { body, rest, next } => {
                while let Some(bytes) = body.within(*next, rest) {
                    *next += 1;
                    if !bytes.is_empty() {
                        return Ok(Some(bytes));
                    }
                }
                Ok(None)
            }
        }
    }
}

/// A run of bytes and where in the body it starts.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) start: u64,
    pub(crate) bytes: Bytes,
}

impl Piece {
    pub(crate) fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

impl Body {
    /// A body of one piece.
    pub(crate) fn contiguous_from(bytes: Bytes) -> Self {
        Self {
            len: bytes.len() as u64,
            pieces: Pieces::One(bytes),
        }
    }

    /// A body of pieces that follow one another without a gap, from 0.
    pub(crate) fn from_pieces(pieces: Vec<Piece>) -> Self {
        let len = pieces.last().map_or(0, Piece::end);
        match <[Piece; 1]>::try_from(pieces) {
            Ok([piece]) => Self::contiguous_from(piece.bytes),
            Err(none) if none.is_empty() => Self::contiguous_from(Bytes::new()),
            Err(many) => Self {
                len,
                pieces: Pieces::Many(many.into()),
            },
        }
    }

    /// The body of what was found on a disk.
    pub(crate) fn on_disk(found: Found) -> Self {
        Self {
            len: found.body_len(),
            pieces: Pieces::OnDisk(found),
        }
    }

    /// What was found on a disk, if it is not in memory.
    pub(crate) fn found(&self) -> Option<&Found> {
        match &self.pieces {
            Pieces::OnDisk(found) => Some(found),
            Pieces::One(_) | Pieces::Many(_) => None,
        }
    }

    /// Whether it is read from a disk.
    pub fn is_on_disk(&self) -> bool {
        self.found().is_some()
    }

    /// The bytes of `range`, wherever they are. What lies beyond the end is left out.
    pub fn reader(&self, range: Range<u64>) -> BodyReader {
        let rest = range.start..range.end.min(self.len);
        BodyReader(match &self.pieces {
            Pieces::OnDisk(found) => Source::Disk(found.body(rest)),
            Pieces::One(_) | Pieces::Many(_) => Source::Memory {
                next: self.first_within(&rest),
                body: self.clone(),
                rest,
            },
        })
    }

    /// The length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All of it in one piece, if it is kept so in memory.
    pub fn contiguous(&self) -> Option<&Bytes> {
        match &self.pieces {
            Pieces::One(bytes) => Some(bytes),
            Pieces::Many(_) | Pieces::OnDisk(_) => None,
        }
    }

    /// All of it, piece by piece, without copying, if it is in memory.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = Bytes> + Send + '_ {
        self.slice(0..self.len)
    }

    /// The bytes of `range`, piece by piece, without copying, if they are in memory.
    pub fn slice(&self, range: Range<u64>) -> impl Iterator<Item = Bytes> + Send + '_ {
        let range = range.start..range.end.min(self.len);
        (self.first_within(&range)..self.count())
            .map_while(move |number| self.within(number, &range))
            .filter(|bytes| !bytes.is_empty())
    }

    /// The number of the first piece in memory that may have bytes of `range`.
    fn first_within(&self, range: &Range<u64>) -> usize {
        match &self.pieces {
            Pieces::One(_) | Pieces::OnDisk(_) => 0,
            Pieces::Many(pieces) => pieces.partition_point(|piece| piece.end() <= range.start),
        }
    }

    /// What the budget pays for it.
    pub(crate) fn cost(&self) -> usize {
        if self.is_on_disk() {
            return 0;
        }
        let len = usize::try_from(self.len).unwrap_or(usize::MAX);
        len.saturating_add(self.count() * PIECE_OVERHEAD)
    }

    /// How many pieces there are in memory.
    fn count(&self) -> usize {
        match &self.pieces {
            Pieces::One(_) => 1,
            Pieces::Many(pieces) => pieces.len(),
            Pieces::OnDisk(_) => 0,
        }
    }

    /// The part of piece `number` that lies in `range`; none if it starts behind it.
    fn within(&self, number: usize, range: &Range<u64>) -> Option<Bytes> {
        let (start, bytes) = match &self.pieces {
            Pieces::One(bytes) if number == 0 => (0, bytes),
            Pieces::Many(pieces) => pieces.get(number).map(|it| (it.start, &it.bytes))?,
            Pieces::One(_) | Pieces::OnDisk(_) => return None,
        };
        if start >= range.end {
            return None;
        }
        let from = offset(range.start, start).min(bytes.len());
        let to = offset(range.end, start).min(bytes.len());
        Some(bytes.slice(from..to.max(from)))
    }
}

/// How far `position` lies behind `start`, 0 if it lies before it.
fn offset(position: u64, start: u64) -> usize {
    usize::try_from(position.saturating_sub(start)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(parts: &[&'static str]) -> Body {
        let mut start = 0;
        let pieces = parts.iter().map(|part| {
            let piece = Piece {
                start,
                bytes: Bytes::from_static(part.as_bytes()),
            };
            start = piece.end();
            piece
        });
        Body::from_pieces(pieces.collect())
    }

    #[track_caller]
    fn check(parts: &[&'static str], range: Range<u64>, expected: &[&str]) {
        let body = body(parts);
        let expected: Vec<_> = expected.iter().map(|s| s.as_bytes()).collect();
        let slices: Vec<Bytes> = body.slice(range.clone()).collect();
        assert_eq!(slices, expected);

        let mut reader = body.reader(range);
        let mut read = Vec::new();
        while let Some(bytes) = at_once(reader.next()).unwrap() {
            read.push(bytes);
        }
        assert_eq!(read, expected);
    }

    fn at_once<T>(future: impl Future<Output = T>) -> T {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::pin!(future).poll(&mut context) {
            std::task::Poll::Ready(value) => value,
            std::task::Poll::Pending => panic!("nobody waits for memory"),
        }
    }

    #[test]
    #[rustfmt::skip]
    fn a_range_is_cut_from_the_pieces_it_touches() {
        check(&[],                    0..10, &[]);
        check(&["hello"],             0..5,  &["hello"]);
        check(&["hello"],             1..3,  &["el"]);
        check(&["hello"],             4..99, &["o"]);
        check(&["hello"],             5..9,  &[]);
        check(&["hello"],             3..3,  &[]);
        check(&["ab", "cde", "f"],    0..6,  &["ab", "cde", "f"]);
        check(&["ab", "cde", "f"],    1..4,  &["b", "cd"]);
        check(&["ab", "cde", "f"],    2..5,  &["cde"]);
        check(&["ab", "cde", "f"],    5..6,  &["f"]);
        check(&["ab", "cde", "f"],    6..7,  &[]);
        check(&["ab", "cde", "f"], 9..10000, &[]);
    }

    #[test]
    #[expect(clippy::reversed_empty_ranges, reason = "this is what is tested")]
    fn a_reversed_range_is_empty() {
        check(&["ab", "cde"], 4..1, &[]);
        check(&["abcde"], 4..1, &[]);
    }

    #[test]
    fn one_piece_is_contiguous() {
        assert_eq!(body(&["abc"]).contiguous().unwrap(), "abc");
        assert_eq!(body(&[]).contiguous().unwrap(), "");
        assert!(body(&["a", "b"]).contiguous().is_none());
        assert_eq!(body(&["a", "b"]).len(), 2);
    }
}
