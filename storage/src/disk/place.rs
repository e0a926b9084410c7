//! Where a record is, in 54 bits.

use super::format::{UNIT, UNIT_SHIFT};

/// A volume, a segment of it and a position in that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) volume: u8,
    pub(crate) segment: u32,
    /// In units of 64 bytes. No record is at 0: the segment's mark is there.
    unit: u32,
}

const UNIT_BITS: u32 = 24;
const SEGMENT_BITS: u32 = 24;

impl Place {
    pub(crate) fn new(volume: u8, segment: u32, unit: u32) -> Self {
        Self {
            volume,
            segment,
            unit,
        }
    }

    /// The place of the record at this position of its segment.
    pub(crate) fn of(volume: u8, segment: u32, at: u32) -> Self {
        Self::new(volume, segment, at >> UNIT_SHIFT)
    }

    /// Where the record begins in its segment, in bytes.
    pub(crate) fn at(self) -> u64 {
        u64::from(self.unit) * UNIT
    }

    pub(crate) fn unit(self) -> u32 {
        self.unit
    }

    pub(crate) fn bits(self) -> u64 {
        u64::from(self.volume) << (UNIT_BITS + SEGMENT_BITS)
            | u64::from(self.segment) << UNIT_BITS
            | u64::from(self.unit)
    }

    pub(crate) fn from_bits(bits: u64) -> Self {
        Self {
            volume: (bits >> (UNIT_BITS + SEGMENT_BITS) & 0x3f) as u8,
            segment: (bits >> UNIT_BITS & ((1 << SEGMENT_BITS) - 1)) as u32,
            unit: (bits & ((1 << UNIT_BITS) - 1)) as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_fits_its_bits() {
        for place in [
            Place::new(0, 0, 1),
            Place::new(63, (1 << 24) - 1, (1 << 24) - 1),
            Place::of(3, 77, 64 * 5),
        ] {
            assert_eq!(Place::from_bits(place.bits()), place);
            assert!(place.bits() < 1 << 54);
        }
        assert_eq!(Place::of(3, 77, 64 * 5).at(), 320);
    }
}
