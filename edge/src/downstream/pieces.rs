//! Content in pieces that are written together.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// Pieces of one write: the head of a response is one more.
pub(crate) const PIECES_MAX: usize = 63;

/// Content that is stored in pieces, and leaves in their order.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    /// None of them is empty.
    all: VecDeque<Bytes>,
    left: usize,
}

impl Pieces {
    /// As many as one write takes.
    pub(crate) fn next_of(all: &mut impl Iterator<Item = Bytes>) -> Self {
        let all = all.filter(|piece| !piece.is_empty());
        let all: VecDeque<_> = all.take(PIECES_MAX).collect();
        Self {
            left: all.iter().map(Bytes::len).sum(),
            all,
        }
    }
}

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.left
    }

    fn chunk(&self) -> &[u8] {
        self.all.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let pairs = slices.iter_mut().zip(&self.all);
        pairs
            .map(|(slice, piece)| *slice = IoSlice::new(piece))
            .count()
    }

    fn advance(&mut self, mut length: usize) {
        self.left -= length;
        while length > 0
            && let Some(first) = self.all.front_mut()
        {
            let taken = length.min(first.len());
            first.advance(taken);
            length -= taken;
            if first.is_empty() {
                self.all.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_taken_in_order_however_much_is_written() {
        let text: Vec<u8> = (0..=255).collect();
        for size in [1, 3, 7, 64, 300] {
            let all = || text.chunks(5).map(Bytes::copy_from_slice);
            let mut all = all().chain([Bytes::new()]).chain(all());
            let mut read = Vec::new();
            loop {
                let mut pieces = Pieces::next_of(&mut all);
                if !pieces.has_remaining() {
                    break;
                }
                while pieces.has_remaining() {
                    let mut slices = [IoSlice::new(&[]); 4];
                    let count = pieces.chunks_vectored(&mut slices);
                    let shown: Vec<u8> =
                        slices[..count].iter().flat_map(|it| it.to_vec()).collect();
                    assert!(shown.starts_with(pieces.chunk()) && !shown.is_empty());
                    let length = size.min(shown.len());
                    read.extend_from_slice(&shown[..length]);
                    pieces.advance(length);
                }
            }
            assert_eq!(read, [&text[..], &text].concat());
        }
    }

    #[test]
    fn one_write_has_so_many() {
        let mut all = std::iter::repeat_n(Bytes::from_static(b"x"), PIECES_MAX + 2);
        assert_eq!(Pieces::next_of(&mut all).remaining(), PIECES_MAX);
        assert_eq!(Pieces::next_of(&mut all).remaining(), 2);
    }
}
