//! What was stored once, and what became of it: the difference between a response that was never asked for and one
//! that was pushed out.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::{Key, Variant};

/// The most keys that are remembered, at 8 bytes each.
pub const TRACES_MAX: usize = 1 << 20;

/// Traces that lie together: a line of a processor's cache.
const BUCKET: usize = 8;

/// How a fate is written in a trace.
const FATE_MASK: u64 = 0b111;

/// What is known of a stored response that is not found any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was stored, and nobody took it out: it made room for others.
    Evicted,
    /// It was purged.
    Purged,
    /// It was removed because of what somebody else did to the resource.
    Removed,
    /// It could not be read back.
    Unreadable,
    /// Other variants of its key took its place.
    Displaced,
}

impl Fate {
    const ALL: [Self; 5] = [
        Self::Evicted,
        Self::Purged,
        Self::Removed,
        Self::Unreadable,
        Self::Displaced,
    ];

    const fn code(self) -> u64 {
        self as u64 + 1
    }

    fn of(trace: u64) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|fate| fate.code() == trace & FATE_MASK)
    }
}

/// Fingerprints of keys, in fixed room. One goes when another needs its place, and is taken for unknown then.
///
/// It is written when something is stored or taken out, and read where nothing is found: a hit does not touch it.
pub struct Traces {
    buckets: Box<[Bucket]>,
    /// Who makes room next.
    turn: AtomicUsize,
}

#[repr(align(64))]
#[derive(Default)]
struct Bucket([AtomicU64; BUCKET]);

impl Traces {
    /// Room for about so many keys, but at most [`TRACES_MAX`].
    pub fn new(keys: usize) -> Self {
        let buckets = keys.clamp(BUCKET, TRACES_MAX).div_ceil(BUCKET);
        Self {
            buckets: (0..buckets).map(|_| Bucket::default()).collect(),
            turn: AtomicUsize::new(0),
        }
    }

    /// Something was stored under `key`. If it is not found later, nor anything noted of it, it was evicted.
    pub fn stored(&self, key: Key) {
        self.note(key, Fate::Evicted);
    }

    /// This became of what was stored under `key`.
    pub fn note(&self, key: Key, fate: Fate) {
        let (bucket, print) = self.place(key);
        let slot = self.slot_for(bucket, print);
        slot.store(print | fate.code(), Ordering::Relaxed);
    }

    /// As [`Traces::note`], if anything was known to be stored.
    pub fn amend(&self, key: Key, fate: Fate) {
        let (bucket, print) = self.place(key);
        if let Some(slot) = bucket.find(print) {
            slot.store(print | fate.code(), Ordering::Relaxed);
        }
    }

    /// What became of what was stored under `key`; none if nothing is remembered.
    pub fn recall(&self, key: Key) -> Option<Fate> {
        let (bucket, print) = self.place(key);
        Fate::of(bucket.find(print)?.load(Ordering::Relaxed))
    }

    /// Other variants took the place of this one.
    pub(crate) fn displaced(&self, key: Key, variant: Variant) {
        self.note(both(key, variant), Fate::Displaced);
    }

    /// This one is back.
    pub(crate) fn restored(&self, key: Key, variant: Variant) {
        self.amend(both(key, variant), Fate::Evicted);
    }

    /// Whether other variants took the place of this one.
    pub fn was_displaced(&self, key: Key, variant: Variant) -> bool {
        self.recall(both(key, variant)) == Some(Fate::Displaced)
    }

    fn place(&self, Key(key): Key) -> (&Bucket, u64) {
        let (high, low) = (&key[..8], &key[8..]);
        let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, it| sum << 8 | u64::from(*it));
        let at = (u128::from(number(high)) * self.buckets.len() as u128) >> 64;
        let at = usize::try_from(at).unwrap_or_default();
        // Never all zeros, which is nobody's.
        (&self.buckets[at], number(low) & !FATE_MASK | 1 << 63)
    }

    fn slot_for<'a>(&self, bucket: &'a Bucket, print: u64) -> &'a AtomicU64 {
        let free = || bucket.0.iter().find(|it| it.load(Ordering::Relaxed) == 0);
        bucket.find(print).or_else(free).unwrap_or_else(|| {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            &bucket.0[turn % BUCKET]
        })
    }
}

impl Bucket {
    fn find(&self, print: u64) -> Option<&AtomicU64> {
        let mut slots = self.0.iter();
        slots.find(|slot| slot.load(Ordering::Relaxed) & !FATE_MASK == print)
    }
}

fn both(Key(mut key): Key, Variant(variant): Variant) -> Key {
    key.iter_mut()
        .zip(variant)
        .for_each(|(byte, other)| *byte ^= other);
    Key(key)
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traces")
            .field("keys", &(self.buckets.len() * BUCKET))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys are hashes: all of their bits count.
    fn key(number: u64) -> Key {
        let high = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        let low = number.wrapping_mul(0xc2b2_ae3d_27d4_eb4f).to_be_bytes();
        let mut key = [0; 16];
        key[..8].copy_from_slice(&high);
        key[8..].copy_from_slice(&low);
        Key(key)
    }

    #[test]
    fn a_fate_is_remembered_until_the_next() {
        let traces = Traces::new(64);
        assert_eq!(traces.recall(key(1)), None);
        traces.amend(key(1), Fate::Purged);
        assert_eq!(traces.recall(key(1)), None, "nothing was stored");
        traces.stored(key(1));
        assert_eq!(traces.recall(key(1)), Some(Fate::Evicted));
        for fate in Fate::ALL {
            traces.amend(key(1), fate);
            assert_eq!(traces.recall(key(1)), Some(fate));
        }
        traces.stored(key(1));
        assert_eq!(traces.recall(key(1)), Some(Fate::Evicted));
        assert_eq!(traces.recall(key(2)), None);
    }

    #[test]
    fn a_variant_is_told_from_its_key_and_from_others() {
        let traces = Traces::new(64);
        let variant = |number| Variant([number; 16]);
        traces.displaced(key(1), variant(1));
        assert!(traces.was_displaced(key(1), variant(1)));
        assert!(!traces.was_displaced(key(1), variant(2)));
        assert!(!traces.was_displaced(key(2), variant(1)));
        assert_eq!(traces.recall(key(1)), None);
    }

    #[test]
    fn the_room_is_bounded_and_the_latest_are_in_it() {
        let traces = Traces::new(1024);
        let mut known = 0;
        for number in 1..=100_000 {
            traces.stored(key(number));
            assert_eq!(traces.recall(key(number)), Some(Fate::Evicted));
        }
        for number in 1..=100_000 {
            known += usize::from(traces.recall(key(number)).is_some());
        }
        assert!(known <= 1024, "{known}");
        assert!(known > 900, "{known}");
        assert_eq!(Traces::new(usize::MAX).buckets.len() * BUCKET, TRACES_MAX);
    }
}
