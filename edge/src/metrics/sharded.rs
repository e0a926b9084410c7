//! Counters that threads add to without meeting each other.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::per_thread::PerThread;

/// `N` counters. Each thread adds to its own copy of them, and who reads them adds the copies up.
#[derive(Debug)]
pub(crate) struct Sharded<const N: usize>(PerThread<[AtomicU64; N]>);

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
        let zeros = || std::array::from_fn(|_| AtomicU64::new(0));
        Self(PerThread::new(zeros))
    }
}

impl<const N: usize> Sharded<N> {
    /// The copy of this thread.
    pub(crate) fn mine(&self) -> Mine<'_> {
        Mine(self.0.mine())
    }

    /// What was counted so far. The numbers are read one after the other, not at one moment.
    pub(crate) fn sums(&self) -> [u64; N] {
        let mut sums = [0; N];
        for copy in self.0.all() {
            for (sum, counter) in sums.iter_mut().zip(copy) {
                *sum = counter.load(Ordering::Relaxed).wrapping_add(*sum);
            }
        }
        sums
    }
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
