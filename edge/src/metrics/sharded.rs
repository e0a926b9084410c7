//! Counters that threads add to without meeting each other.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::available_parallelism;

/// The most places that a counter has; beyond it, threads share some.
const SHARDS_MAX: usize = 16;

/// `N` counters. Each thread adds to its own copy of them, and who reads them adds the copies up.
#[derive(Debug)]
pub(crate) struct Sharded<const N: usize>(Box<[Shard<N>]>);

/// Two lines of a processor's cache: some fetch them in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Shard<const N: usize>([AtomicU64; N]);

/// What one thread adds to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mine<'a>(&'a [AtomicU64]);

impl Mine<'_> {
    pub(crate) fn add(self, counter: usize, amount: u64) {
        if let Some(counter) = self.0.get(counter) {
            counter.fetch_add(amount, Ordering::Relaxed);
        }
    }
}

impl<const N: usize> Default for Sharded<N> {
    fn default() -> Self {
        let threads = available_parallelism().map_or(1, std::num::NonZero::get);
        let zeros = || Shard(std::array::from_fn(|_| AtomicU64::new(0)));
        Self((0..threads.min(SHARDS_MAX)).map(|_| zeros()).collect())
    }
}

impl<const N: usize> Sharded<N> {
    /// The copy of this thread.
    pub(crate) fn mine(&self) -> Mine<'_> {
        Mine(&self.0[place() % self.0.len()].0)
    }

    /// What was counted so far. The numbers are read one after the other, not at one moment.
    pub(crate) fn sums(&self) -> [u64; N] {
        let mut sums = [0; N];
        for Shard(shard) in &self.0 {
            for (sum, counter) in sums.iter_mut().zip(shard) {
                *sum = counter.load(Ordering::Relaxed).wrapping_add(*sum);
            }
        }
        sums
    }
}

/// The number of this thread.
fn place() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static PLACE: Cell<Option<usize>> = const { Cell::new(None) };
    }
    PLACE.with(|place| {
        place.get().unwrap_or_else(|| {
            let number = THREADS.fetch_add(1, Ordering::Relaxed);
            place.set(Some(number));
            number
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_between_threads() {
        let counters = Sharded::<3>::default();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..1000).for_each(|number| counters.mine().add(1, number)));
            }
        });
        counters.mine().add(2, 7);
        counters.mine().add(3, 7);
        assert_eq!(counters.sums(), [0, 8 * 499_500, 7]);
    }
}
