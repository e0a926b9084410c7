//! The pieces that a body in memory is kept in.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::budget::PIECE_OVERHEAD;
use super::lasting::Lasting;

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

/// A body in memory as it is kept at a moment. Cloning shares it.
#[derive(Clone, Debug)]
pub(super) enum Kept {
    One(Bytes),
    Many(Arc<[Piece]>),
    Lasting(Lasting),
}

/// Pieces of what has none of its own are as long as others.
const CUT: usize = 64 * 1024;

impl Kept {
    /// What the budget pays for it.
    pub(super) fn cost(&self) -> usize {
        match self {
            Self::One(bytes) => bytes.len().saturating_add(PIECE_OVERHEAD),
            Self::Many(pieces) => {
                let len = pieces.iter().map(|piece| piece.bytes.len()).sum::<usize>();
                len.saturating_add(pieces.len() * PIECE_OVERHEAD)
            }
            Self::Lasting(lasting) => super::lasting::cost(lasting.len()),
        }
    }

    /// The bytes of `range`, piece by piece, without copying.
    pub(super) fn slice(self, range: Range<u64>) -> impl Iterator<Item = Bytes> + Send + use<> {
        (self.first_within(&range)..self.count())
            .map_while(move |number| self.within(number, &range))
            .filter(|bytes| !bytes.is_empty())
    }

    /// The number of the first piece that may have bytes of `range`.
    pub(super) fn first_within(&self, range: &Range<u64>) -> usize {
        match self {
            Self::One(_) => 0,
            Self::Many(pieces) => pieces.partition_point(|piece| piece.end() <= range.start),
            Self::Lasting(_) => usize::try_from(range.start).unwrap_or(usize::MAX) / CUT,
        }
    }

    fn count(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(pieces) => pieces.len(),
            Self::Lasting(lasting) => lasting.len().div_ceil(CUT),
        }
    }

    /// The part of piece `number` that lies in `range`; none if it starts behind it.
    pub(super) fn within(&self, number: usize, range: &Range<u64>) -> Option<Bytes> {
        match self {
            Self::One(bytes) if number == 0 => cut(bytes, 0, range),
            Self::One(_) => None,
            Self::Many(pieces) => {
                let piece = pieces.get(number)?;
                cut(&piece.bytes, piece.start, range)
            }
            Self::Lasting(lasting) => {
                let start = number.checked_mul(CUT).filter(|at| *at < lasting.len())?;
                let end = (start + CUT).min(lasting.len());
                cut(&lasting.bytes().slice(start..end), start as u64, range)
            }
        }
    }
}

/// The part in `range` of bytes that start at `start`; none if they start behind it.
fn cut(bytes: &Bytes, start: u64, range: &Range<u64>) -> Option<Bytes> {
    if start >= range.end {
        return None;
    }
    let from = offset(range.start, start).min(bytes.len());
    let to = offset(range.end, start).min(bytes.len());
    Some(bytes.slice(from..to.max(from)))
}

/// How far `position` lies behind `start`, 0 if it lies before it.
fn offset(position: u64, start: u64) -> usize {
    usize::try_from(position.saturating_sub(start)).unwrap_or(usize::MAX)
}
