//! A complete body.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::lasting::{LONG_MIN, Lasting, Long};
use super::pieces::{Kept, Piece};
use crate::disk::{self, DiskError, Found, Pace};

/// The bytes of a stored response, in memory or on a disk. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Body {
    len: u64,
    pieces: Pieces,
}

#[derive(Clone, Debug)]
enum Pieces {
    Kept(Kept),
    Long(Arc<Long>),
    OnDisk(Found),
}

/// A body, or a part of it, piece by piece.
#[derive(Debug)]
pub struct BodyReader(Source);

#[derive(Debug)]
enum Source {
    Memory {
        kept: Kept,
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
            Source::Memory { kept, rest, next } => {
                while let Some(bytes) = kept.within(*next, rest) {
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

impl Body {
    /// A body of one piece.
    pub(crate) fn contiguous_from(bytes: Bytes) -> Self {
        Self::kept_in(bytes.len() as u64, Kept::One(bytes))
    }

    /// A body of pieces that follow one another without a gap, from 0.
    pub(crate) fn from_pieces(pieces: Vec<Piece>) -> Self {
        let len = pieces.last().map_or(0, Piece::end);
        match <[Piece; 1]>::try_from(pieces) {
            Ok([piece]) => Self::contiguous_from(piece.bytes),
            Err(none) if none.is_empty() => Self::contiguous_from(Bytes::new()),
            Err(many) => Self::kept_in(len, Kept::Many(many.into())),
        }
    }

    fn kept_in(len: u64, kept: Kept) -> Self {
        let pieces = match kept {
            kept if len >= LONG_MIN as u64 => Pieces::Long(Arc::new(Long::new(kept))),
            kept => Pieces::Kept(kept),
        };
        Self { len, pieces }
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
            Pieces::Kept(_) | Pieces::Long(_) => None,
        }
    }

    /// It, if it is long and in memory.
    pub(super) fn long(&self) -> Option<&Arc<Long>> {
        match &self.pieces {
            Pieces::Long(long) => Some(long),
            Pieces::Kept(_) | Pieces::OnDisk(_) => None,
        }
    }

    /// The pages of `range`, if it has come to have some: see [`Memory::sends`](super::Memory::sends). What lies beyond
    /// the end is left out.
    pub fn lasting(&self, range: Range<u64>) -> Option<Lasting> {
        self.long()?.lasting(range)
    }

    /// How it is kept at the moment, in memory.
    fn kept(&self) -> Option<Kept> {
        match &self.pieces {
            Pieces::Kept(kept) => Some(kept.clone()),
            Pieces::Long(long) => Some(long.kept()),
            Pieces::OnDisk(_) => None,
        }
    }

    /// Whether it is read from a disk.
    pub fn is_on_disk(&self) -> bool {
        self.found().is_some()
    }

    /// The bytes of `range`, wherever they are. What lies beyond the end is left out.
    pub fn reader(&self, range: Range<u64>) -> BodyReader {
        let rest = range.start..range.end.min(self.len);
        let source = |kept: Kept| Source::Memory {
            next: kept.first_within(&rest),
            kept,
            rest: rest.clone(),
        };
        BodyReader(match &self.pieces {
            Pieces::OnDisk(found) => Source::Disk(found.body(rest)),
            Pieces::Kept(kept) => source(kept.clone()),
            Pieces::Long(long) => source(long.kept()),
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

    /// All of it in one piece, if it is kept so in memory and stays so: what is long may come to be kept otherwise.
    pub fn contiguous(&self) -> Option<&Bytes> {
        match &self.pieces {
            Pieces::Kept(Kept::One(bytes)) => Some(bytes),
            Pieces::Kept(_) | Pieces::Long(_) | Pieces::OnDisk(_) => None,
        }
    }

    /// All of it, piece by piece, without copying, if it is in memory.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = Bytes> + Send + use<> {
        self.slice(0..self.len)
    }

    /// The bytes of `range`, piece by piece, without copying, if they are in memory.
    pub fn slice(&self, range: Range<u64>) -> impl Iterator<Item = Bytes> + Send + use<> {
        let range = range.start..range.end.min(self.len);
        let kept = self.kept().into_iter();
        kept.flat_map(move |kept| kept.slice(range.clone()))
    }

    /// What the budget pays for it.
    pub(crate) fn cost(&self) -> usize {
        match &self.pieces {
            Pieces::Kept(kept) => kept.cost(),
            Pieces::Long(long) => long.cost(),
            Pieces::OnDisk(_) => 0,
        }
    }
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
