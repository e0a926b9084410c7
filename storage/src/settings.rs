//! What an operator decides about the memory tier.

/// One trace per this many bytes of capacity: several for each object that fits.
const BYTES_PER_TRACE: usize = 4 * 1024;

/// What is remembered in any case.
const TRACES_MIN: usize = 4 * 1024;

/// The settings of [`Memory`](crate::Memory).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Bytes for everything: bodies, heads, index entries and fills in flight.
    pub capacity: usize,
    /// The longest body that is stored, in bytes. Longer ones are passed on.
    pub object_max: u64,
    /// Who goes when room is needed.
    pub eviction: Eviction,
    /// How many locks the index is spread over. The capacity is not divided by them.
    pub shards: usize,
    /// The most variants of one key; the one stored longest ago makes room.
    pub variants_max: usize,
    /// How far, in bytes, a fill that is not stored runs ahead of its readers: of all of them for a
    /// while, then of the fastest.
    pub window: usize,
    /// The most that the bodies of all unfinished fills that are to be stored may take, in percent of
    /// the capacity. Without it, many slow fills could push everything else out.
    pub in_flight_percent: usize,
    /// How many keys are remembered beyond their stay, at 8 bytes each that are not charged: see
    /// [`Traces`](crate::Traces).
    pub traces: usize,
}

impl Settings {
    /// The defaults for this many bytes.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            object_max: (capacity / 16) as u64,
            eviction: Eviction::SampledGdsf,
            shards: 64,
            variants_max: 64,
            window: 64 * 1024,
            in_flight_percent: 50,
            traces: (capacity / BYTES_PER_TRACE).max(TRACES_MIN),
        }
    }

    /// The most body bytes of unfinished fills.
    pub(crate) fn in_flight_max(&self) -> usize {
        let percent = self.in_flight_percent.min(100);
        self.capacity / 100 * percent + self.capacity % 100 * percent / 100
    }

    /// The longest body that a fill can store.
    pub(crate) fn storable_max(&self) -> u64 {
        self.object_max.min(self.in_flight_max() as u64)
    }
}

impl Default for Settings {
    /// 256 MiB.
    fn default() -> Self {
        Self::new(256 * 1024 * 1024)
    }
}

/// Who goes when room is needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Eviction {
    /// The lowest of 64 random objects by frequency per byte, aged: Greedy-Dual-Size-Frequency
    /// (Cherkasova 1998), sampled. A hit takes no lock.
    #[default]
    SampledGdsf,
    /// The object used longest ago, exactly. All hits share one lock.
    Lru,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(capacity: usize, in_flight_percent: usize, expected: usize) {
        let settings = Settings {
            in_flight_percent,
            ..Settings::new(capacity)
        };
        assert_eq!(settings.in_flight_max(), expected);
    }

    #[test]
    fn unfinished_fills_take_their_percentage() {
        check(1000, 50, 500);
        check(999, 50, 499);
        check(99, 10, 9);
        check(99, 100, 99);
        check(99, 1000, 99);
        check(99, 0, 0);
        check(usize::MAX, 100, usize::MAX);
    }
}
