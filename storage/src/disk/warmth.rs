//! How much of what is asked for is in the page cache.

use std::sync::atomic::{AtomicU32, Ordering};

/// A look into the page cache that finds nothing is not free: the system begins to read, on the thread that asked. Where
/// lately it was in vain nearly always, whoever must not wait does not look.
#[derive(Debug)]
pub(crate) struct Warmth(AtomicU32);

/// All of it.
const ONE: u32 = 1 << 16;

/// The share from which on looking is worth it.
const WORTH: u32 = ONE / 4;

/// Of about so many looks it is the mean.
const MEMORY: u32 = 64;

impl Default for Warmth {
    /// What was there before a start still is.
    fn default() -> Self {
        Self(AtomicU32::new(ONE))
    }
}

impl Warmth {
    /// Whether it is worth it to look.
    pub(crate) fn is_worth_a_look(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= WORTH
    }

    /// Somebody has looked, and all of it was there, or not. Of two at once, one may be lost.
    pub(crate) fn note(&self, was_there: bool) {
        let before = self.0.load(Ordering::Relaxed);
        let towards = if was_there { ONE } else { 0 };
        let now = before - before / MEMORY + towards / MEMORY;
        if now != before {
            self.0.store(now, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_finds_nothing_stops_looking_and_begins_again_where_others_find_it() {
        let warmth = Warmth::default();
        let until = |was_there, is_worth| {
            let mut looks = 0;
            while warmth.is_worth_a_look() != is_worth {
                warmth.note(was_there);
                looks += 1;
            }
            looks
        };
        assert!((32..256).contains(&until(false, false)));
        for _ in 0..10_000 {
            warmth.note(false);
        }
        assert!((8..64).contains(&until(true, true)));
        for _ in 0..10_000 {
            warmth.note(true);
        }
        assert!((32..256).contains(&until(false, false)));
    }

    #[test]
    fn what_is_there_every_second_time_is_looked_for() {
        let warmth = Warmth::default();
        for look in 0..10_000 {
            warmth.note(look % 2 == 0);
            assert!(warmth.is_worth_a_look());
        }
    }
}
