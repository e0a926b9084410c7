//! The first bytes of a volume: what it is, and how it is divided.

use bytes::{Buf, BufMut};

use super::{REMOVAL, round_up, seal, sealed};
use crate::disk::settings::{Engine, SEGMENT_MAX, SEGMENT_MIN, SEGMENTS_MAX, SEGMENTS_MIN};

/// A block of the file.
pub(crate) const BLOCK: u64 = 4096;

/// Where the copies of the superblock are: a flipped bit in one must not cost the volume.
pub(crate) const SUPERBLOCKS: [u64; 2] = [0, BLOCK];

const MAGIC: [u8; 8] = *b"LARDERv\n";
const FORMAT: u32 = 1;
const LEN: usize = 64;

/// Flags.
const FAILED: u32 = 1;
const FOYER: u32 = 2;

/// The highest number that a start may begin with: what follows can be counted without an overflow.
/// It leaves a quarter of a million starts.
pub(crate) const NUMBERS_MAX: u64 = u64::MAX - (1 << 48);

/// How a volume is divided. It follows from its size and the size of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) size: u64,
    pub(crate) segment: u64,
    /// How many segments there are.
    pub(crate) count: u32,
    /// The longest part of a body that lies in one piece.
    pub(crate) chunk: u32,
    /// The length of both halves of the log of removals.
    pub(crate) removals: u64,
}

impl Geometry {
    /// None if there would be too few segments.
    pub(crate) fn new(size: u64, segment: u64) -> Option<Self> {
        let segment = segment / BLOCK * BLOCK;
        if !(SEGMENT_MIN..=SEGMENT_MAX).contains(&segment) {
            return None;
        }
        let removals = round_up((size / 256).clamp(2 * BLOCK, 32 * 1024 * 1024), 2 * BLOCK);
        let begin = 2 * BLOCK + removals;
        let count = (size.checked_sub(begin)? / segment).min(SEGMENTS_MAX);
        if count < SEGMENTS_MIN {
            return None;
        }
        Some(Self {
            size,
            segment,
            count: u32::try_from(count).ok()?,
            chunk: chunk_of(segment),
            removals,
        })
    }

    /// The part of a chunk that has a checksum of its own.
    pub(crate) fn block(&self) -> u32 {
        self.chunk / 4
    }

    /// Where the log of removals begins.
    pub(crate) const fn removals_at() -> u64 {
        2 * BLOCK
    }

    /// How many removals a half of the log holds.
    pub(crate) fn removals_max(&self) -> usize {
        usize::try_from(self.removals / 2).unwrap_or(0) / REMOVAL
    }

    /// Where a position of a segment is in the file.
    pub(crate) fn offset(&self, segment: u32, at: u64) -> u64 {
        Self::removals_at() + self.removals + u64::from(segment) * self.segment + at
    }
}

/// 256 KiB, or less if a segment would not hold at least sixteen of them.
fn chunk_of(segment: u64) -> u32 {
    let sixteenth = u32::try_from(segment / 16).unwrap_or(u32::MAX);
    (1 << sixteenth.ilog2()).min(256 * 1024)
}

/// The superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Superblock {
    pub(crate) geometry: Geometry,
    /// Chosen when the volume was formatted.
    pub(crate) nonce: u64,
    /// No number below this may be given out: a start takes a range of them, used or not.
    pub(crate) next: u64,
    /// The volume failed too often, and what it holds may miss removals.
    pub(crate) failed: bool,
    pub(crate) engine: Engine,
}

/// What the first block of a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    Valid(Superblock),
    /// A volume, but damaged or of another format.
    Other,
    Foreign,
}

impl Superblock {
    pub(crate) fn encode(&self) -> [u8; LEN] {
        let mut block = [0; LEN];
        let mut to = &mut block[..];
        to.put_slice(&MAGIC);
        to.put_u32_le(FORMAT);
        let engine = match self.engine {
            Engine::Log => 0,
            Engine::Foyer => FOYER,
        };
        to.put_u32_le(u32::from(self.failed) | engine);
        to.put_u64_le(self.geometry.size);
        to.put_u64_le(self.geometry.segment);
        to.put_u64_le(self.nonce);
        to.put_u64_le(self.next);
        seal(0, block)
    }

    pub(crate) fn parse(bytes: &[u8]) -> Reading {
        let Some(mut from) = bytes.get(..LEN) else {
            return Reading::Foreign;
        };
        if !from.starts_with(&MAGIC) {
            return Reading::Foreign;
        }
        if !sealed(0, from) {
            return Reading::Other;
        }
        from.advance(MAGIC.len());
        if from.get_u32_le() != FORMAT {
            return Reading::Other;
        }
        let flags = from.get_u32_le();
        let (size, segment) = (from.get_u64_le(), from.get_u64_le());
        let Some(geometry) = Geometry::new(size, segment) else {
            return Reading::Other;
        };
        let (nonce, next) = (from.get_u64_le(), from.get_u64_le());
        if !(1..=NUMBERS_MAX).contains(&next) {
            return Reading::Other;
        }
        Reading::Valid(Self {
            geometry,
            nonce,
            next,
            failed: flags & FAILED != 0,
            engine: if flags & FOYER == 0 {
                Engine::Log
            } else {
                Engine::Foyer
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_superblock_reads_back_and_no_flipped_bit_passes() {
        let superblock = Superblock {
            geometry: Geometry::new(1 << 30, 1 << 20).unwrap(),
            nonce: 7,
            next: 9,
            failed: false,
            engine: Engine::Log,
        };
        let bytes = superblock.encode();
        assert_eq!(Superblock::parse(&bytes), Reading::Valid(superblock));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(Superblock::parse(&flipped), Reading::Valid(_)));
        }
    }

    #[test]
    fn numbers_that_are_used_up_are_of_another_format() {
        for (next, valid) in [
            (0, false),
            (1, true),
            (NUMBERS_MAX, true),
            (NUMBERS_MAX + 1, false),
            (u64::MAX, false),
        ] {
            let superblock = Superblock {
                geometry: Geometry::new(1 << 30, 1 << 20).unwrap(),
                nonce: 7,
                next,
                failed: false,
                engine: Engine::Foyer,
            };
            let read = Superblock::parse(&superblock.encode());
            assert_eq!(matches!(read, Reading::Valid(_)), valid, "{next}");
        }
    }

    #[test]
    fn a_volume_is_never_longer_than_its_size() {
        for size in [200_000, 1 << 20, (1 << 30) + 17, 1 << 44] {
            for segment in [16 << 10, 1 << 20, (64 << 20) + 5, 1 << 30] {
                let Some(geometry) = Geometry::new(size, segment) else {
                    continue;
                };
                let end = geometry.offset(geometry.count - 1, geometry.segment);
                assert!(end <= size, "{geometry:?}");
            }
        }
    }
}
