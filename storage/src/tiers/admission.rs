//! Which responses are worth writing to a disk.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::Key;

/// At which request for it a response goes to the disk.
///
/// Most responses are asked for once. Writing them costs the disk its life and others their place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Admission {
    /// At the first: when it is received.
    Always,
    /// At the second within living memory.
    #[default]
    Second,
    /// At the third.
    Third,
    /// Not at all.
    Never,
}

impl Admission {
    /// Whether a response that was asked for so often goes to the disk.
    const fn admits(self, asked: u32) -> bool {
        match self {
            Self::Always => true,
            Self::Second => asked >= 2,
            Self::Third => asked >= 3,
            Self::Never => false,
        }
    }
}

/// How often keys were asked for, in fixed room: up to three times, and until another key needs the place.
#[derive(Debug)]
pub(super) struct Sightings {
    places: Box<[AtomicU32]>,
}

/// One place per this many bytes of disk: about four for each object.
const BYTES_PER_PLACE: u64 = 8 * 1024;

/// The count is in the lowest bits of a place; the rest is a part of the key.
const COUNT: u32 = 0b11;

impl Sightings {
    /// For disks of so many bytes.
    pub(super) fn new(disk: u64) -> Self {
        let places = (disk / BYTES_PER_PLACE).clamp(1 << 10, 1 << 24);
        Self {
            places: (0..places).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    /// Memory that it takes, in bytes.
    pub(super) const fn memory(&self) -> usize {
        size_of_val::<[AtomicU32]>(&self.places)
    }

    /// Counts a request for `key`, and says whether its response is to be admitted.
    pub(super) fn admits(&self, key: Key, admission: Admission) -> bool {
        admission.admits(self.count(key))
    }

    /// Two at once may count as one; nobody waits.
    fn count(&self, key: Key) -> u32 {
        let (place, trace) = self.place(key);
        let before = place.load(Ordering::Relaxed);
        let count = match before & !COUNT == trace {
            true => (before & COUNT).saturating_add(1).min(COUNT),
            false => 1,
        };
        place.store(trace | count, Ordering::Relaxed);
        count
    }

    /// Keys are hashes: one half of them tells the place, the other is the trace.
    fn place(&self, key: Key) -> (&AtomicU32, u32) {
        let word = |at: usize| key.0[at..at + 4].try_into().map_or(0, u32::from_le_bytes);
        let place = u64::from(word(4)) * self.places.len() as u64 >> 32;
        let place = usize::try_from(place).unwrap_or(0);
        (&self.places[place], word(8) & !COUNT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> Key {
        let mut key = [number; 16];
        key[4] = 0;
        Key(key)
    }

    #[test]
    #[rustfmt::skip]
    fn a_response_is_admitted_at_its_request() {
        let check = |admission, expected: [bool; 4]| {
            let sightings = Sightings::new(0);
            let admitted = [1, 2, 3, 4].map(|_| sightings.admits(key(1), admission));
            assert_eq!(admitted, expected, "{admission:?}");
        };
        check(Admission::Always, [true,  true,  true,  true]);
        check(Admission::Second, [false, true,  true,  true]);
        check(Admission::Third,  [false, false, true,  true]);
        check(Admission::Never,  [false, false, false, false]);
    }

    #[test]
    fn another_key_takes_a_place_and_never_a_count() {
        let sightings = Sightings::new(0);
        let same_place = |number: u8| {
            let mut key = [0; 16];
            key[8] = number << 2;
            Key(key)
        };
        assert_eq!(sightings.count(same_place(1)), 1);
        assert_eq!(sightings.count(same_place(1)), 2);
        assert_eq!(sightings.count(same_place(2)), 1);
        assert_eq!(sightings.count(same_place(1)), 1, "forgotten");
    }

    #[test]
    fn its_room_is_bounded() {
        assert_eq!(Sightings::new(0).memory(), 4 << 10);
        assert_eq!(Sightings::new(u64::MAX).memory(), 4 << 24);
    }
}
