//! Where the readers of a body are.

use std::collections::BTreeMap;

/// How many readers stand at which offset.
#[derive(Debug, Default)]
pub(super) struct Positions(BTreeMap<u64, usize>);

impl Positions {
    pub(super) fn enter(&mut self, at: u64) {
        *self.0.entry(at).or_default() += 1;
    }

    /// One reader at `at` leaves; nothing happens if none is known there.
    pub(super) fn leave(&mut self, at: u64) {
        if let Some(count) = self.0.get_mut(&at) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&at);
            }
        }
    }

    /// Forgets those before `start`: what they have to read next is gone.
    pub(super) fn forget_before(&mut self, start: u64) {
        while self.slowest().is_some_and(|slowest| slowest < start) {
            self.0.pop_first();
        }
    }

    pub(super) fn slowest(&self) -> Option<u64> {
        self.0.first_key_value().map(|(at, _)| *at)
    }

    pub(super) fn fastest(&self) -> Option<u64> {
        self.0.last_key_value().map(|(at, _)| *at)
    }

    pub(super) fn count(&self) -> usize {
        self.0.values().sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_come_move_and_go() {
        let mut positions = Positions::default();
        assert_eq!((positions.slowest(), positions.fastest()), (None, None));

        [0, 0, 5, 9].into_iter().for_each(|at| positions.enter(at));
        assert_eq!(
            (positions.slowest(), positions.fastest(), positions.count()),
            (Some(0), Some(9), 4)
        );

        positions.leave(0);
        positions.leave(9);
        assert_eq!(
            (positions.slowest(), positions.fastest(), positions.count()),
            (Some(0), Some(5), 2)
        );

        positions.forget_before(5);
        assert_eq!((positions.slowest(), positions.count()), (Some(5), 1));
        positions.leave(0);
        positions.leave(5);
        assert!(positions.is_empty());
    }
}
