//! In which order the addresses of an upstream are tried.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Remembers which of several alternatives worked last: it comes first, the others follow in their own order.
#[derive(Debug, Default)]
pub struct Rotation {
    good: AtomicUsize,
}

impl Rotation {
    /// The indices below `count`, the last good one first.
    pub fn order(&self, count: usize) -> impl Iterator<Item = usize> + use<> {
        let good = self.good.load(Ordering::Relaxed);
        let first = if good < count { good } else { 0 };
        (0..count).map(move |step| (first + step) % count)
    }

    /// The alternative `index` worked.
    pub fn worked(&self, index: usize) {
        if self.good.load(Ordering::Relaxed) != index {
            self.good.store(index, Ordering::Relaxed);
        }
    }

    /// The first of `count` alternatives did not work: the one after it comes first.
    pub fn next(&self, count: usize) {
        let good = self.good.load(Ordering::Relaxed);
        self.worked((good + 1) % count.max(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rotation: &Rotation, count: usize, expected: &[usize]) {
        assert_eq!(rotation.order(count).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_worked_comes_first() {
        let rotation = Rotation::default();
        check(&rotation, 0, &[]);
        check(&rotation, 3, &[0, 1, 2]);
        rotation.worked(1);
        check(&rotation, 3, &[1, 2, 0]);
        rotation.next(3);
        check(&rotation, 3, &[2, 0, 1]);
        rotation.next(3);
        check(&rotation, 3, &[0, 1, 2]);
        rotation.worked(1);
        // Fewer alternatives than before: the one that worked may be gone.
        check(&rotation, 1, &[0]);
    }
}
