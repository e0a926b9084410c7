//! Who is asked for again while it waits to be played: a number, and no further place in the queue.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};

use storage::curve::Name;

/// Names of which it is known at once that they wait; of others, each request waits by itself.
const PLACES: usize = 512;

/// The low bits of a place count; the others are the name.
const COUNT_BITS: u32 = 20;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;

/// Nobody waits.
const FREE: u64 = 0;

/// Those that wait.
#[derive(Debug)]
pub(super) struct Repeats([AtomicU64; PLACES]);

impl Default for Repeats {
    fn default() -> Self {
        Self(array::from_fn(|_| AtomicU64::new(FREE)))
    }
}

impl Repeats {
    /// Counts a request for what is stored; whether that is all there is to do. If not, it has to wait.
    pub(super) fn count(&self, name: Name) -> bool {
        let (place, named) = self.place(name);
        let now = place.load(Ordering::Relaxed);
        let exchange = |to| {
            let exchanged = place.compare_exchange(now, to, Ordering::Relaxed, Ordering::Relaxed);
            exchanged.is_ok()
        };
        if now & !COUNT_MAX == named && now & COUNT_MAX < COUNT_MAX {
            return exchange(now + 1);
        }
        if now == FREE {
            exchange(named);
        }
        false
    }

    /// Takes what was counted since it began to wait.
    pub(super) fn take(&self, name: Name) -> u32 {
        let (place, named) = self.place(name);
        if place.load(Ordering::Relaxed) & !COUNT_MAX != named {
            return 0;
        }
        // Nobody else frees a place that is taken.
        let counted = place.swap(FREE, Ordering::Relaxed) & COUNT_MAX;
        u32::try_from(counted).unwrap_or(u32::MAX)
    }

    fn place(&self, name: Name) -> (&AtomicU64, u64) {
        let named = (name.bits() & !COUNT_MAX).max(COUNT_MAX + 1);
        (&self.0[number(name)], named)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "it is one of few places")]
const fn number(name: Name) -> usize {
    name.bits() as usize % PLACES
}

#[cfg(test)]
mod tests {
    use storage::{Key, Variant};

    use super::*;

    fn name(number: u8) -> Name {
        Name::of(Key([number; 16]), Variant([0; 16]))
    }

    #[test]
    fn each_request_is_counted_once() {
        let repeats = Repeats::default();
        let one = name(1);
        assert!(!repeats.count(one), "the first one waits");
        assert!(repeats.count(one) && repeats.count(one));
        assert_eq!(repeats.take(one), 2);
        assert_eq!(repeats.take(one), 0);
        assert!(!repeats.count(one));
        assert_eq!(repeats.take(one), 0, "the one that waits counts itself");
    }

    #[test]
    fn who_shares_a_place_waits_by_itself() {
        let repeats = Repeats::default();
        let all: Vec<Name> = (0..u8::MAX).map(name).collect();
        let sharing = |one: &Name| {
            all.iter()
                .find(|it| *it != one && number(**it) == number(*one))
        };
        let found = all.iter().find_map(|one| Some((*one, *sharing(one)?)));
        let (one, other) = found.expect("there are many names");
        assert!(!repeats.count(one) && !repeats.count(other) && !repeats.count(other));
        assert!(repeats.count(one));
        assert_eq!(repeats.take(other), 0);
        assert_eq!(repeats.take(one), 1);
    }

    #[test]
    fn a_place_that_is_full_takes_no_more() {
        let repeats = Repeats::default();
        let one = name(1);
        assert!(!repeats.count(one));
        for _ in 0..COUNT_MAX {
            assert!(repeats.count(one));
        }
        assert!(!repeats.count(one));
        assert_eq!(u64::from(repeats.take(one)), COUNT_MAX);
    }
}
