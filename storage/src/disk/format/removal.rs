//! A line of the log of removals.

use bytes::{Buf, BufMut};

use super::{seal, sealed};
use crate::{Key, Variant};

/// The length of a [`Removal`].
pub(crate) const REMOVAL: usize = 64;

const MAGIC: u16 = u16::from_le_bytes(*b"LR");

/// Everything that it names and that has an earlier number is gone for good.
///
/// It is a fact: it may stand in the log twice, or longer than needed, and nothing changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Removal {
    pub(crate) target: Target,
    pub(crate) number: u64,
}

/// What is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    Everything,
    Key(Key),
    Variant(Key, Variant),
}

/// A place for a removal in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    Removal(Removal),
    Empty,
    /// There was a removal, and nobody knows of what.
    Damaged,
}

impl Removal {
    pub(crate) fn encode(&self, nonce: u64) -> [u8; REMOVAL] {
        let (kind, key, variant) = match self.target {
            Target::Everything => (0, [0; 16], [0; 16]),
            Target::Key(key) => (1, key.0, [0; 16]),
            Target::Variant(key, variant) => (2, key.0, variant.0),
        };
        let mut block = [0; REMOVAL];
        let mut to = &mut block[..];
        to.put_u16_le(MAGIC);
        to.put_u16_le(kind);
        to.put_u32_le(0);
        to.put_u64_le(self.number);
        to.put_slice(&key);
        to.put_slice(&variant);
        seal(nonce, block)
    }

    pub(crate) fn parse(nonce: u64, bytes: &[u8; REMOVAL]) -> Slot {
        if bytes == &[0; REMOVAL] {
            return Slot::Empty;
        }
        let mut from = &bytes[..];
        if !sealed(nonce, from) || from.get_u16_le() != MAGIC {
            return Slot::Damaged;
        }
        let kind = from.get_u16_le();
        from.advance(4);
        let number = from.get_u64_le();
        let (mut key, mut variant) = ([0; 16], [0; 16]);
        from.copy_to_slice(&mut key);
        from.copy_to_slice(&mut variant);
        let target = match kind {
            0 => Target::Everything,
            1 => Target::Key(Key(key)),
            2 => Target::Variant(Key(key), Variant(variant)),
            _ => return Slot::Damaged,
        };
        Slot::Removal(Self { target, number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removal_reads_back_and_no_flipped_bit_passes() {
        let removal = Removal {
            target: Target::Variant(Key([3; 16]), Variant([4; 16])),
            number: 77,
        };
        let bytes = removal.encode(5);
        assert_eq!(Removal::parse(5, &bytes), Slot::Removal(removal));
        assert_eq!(Removal::parse(5, &[0; REMOVAL]), Slot::Empty);
        for bit in 0..REMOVAL * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Removal::parse(5, &flipped), Slot::Damaged);
        }
    }
}
