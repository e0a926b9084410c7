//! Keys whose last answer could not be stored.

use std::fmt;

use parking_lot::RwLock;

use crate::recent::Recent;
use crate::{Key, Moment, Variant};

/// How many variants of one key are remembered one by one. The one remembered first makes room.
const VARIANTS_MAX: usize = 16;

/// Remembers for a while which requests had an answer that others could not use, so that the next
/// ones do not wait for each other in vain ("hit for miss").
///
/// It is bounded: beyond its size it forgets those that were remembered longest ago, and a forgotten
/// one only costs a wait.
pub struct Uncacheable<R> {
    keys: RwLock<Recent<Key, Marks<R>>>,
}

/// Newest last.
type Marks<R> = Vec<Mark<R>>;

#[derive(Clone, Copy)]
struct Mark<R> {
    /// None means all of them.
    variant: Option<Variant>,
    until: Moment,
    reason: R,
}

impl<R: Copy> Uncacheable<R> {
    /// Remembers at most so many keys.
    pub fn new(entries_max: usize) -> Self {
        Self {
            keys: RwLock::new(Recent::new(entries_max)),
        }
    }

    /// The answer for `key` and `variant` could not be stored, for this reason. Without a variant, this
    /// is so for all of them.
    pub fn remember(&self, key: Key, variant: Option<Variant>, until: Moment, reason: R) {
        let mut keys = self.keys.write();
        let mut marks = keys.remove(&key).unwrap_or_default();
        marks.retain(|mark| mark.variant != variant);
        if marks.len() >= VARIANTS_MAX {
            marks.remove(0);
        }
        marks.push(Mark {
            variant,
            until,
            reason,
        });
        keys.insert(key, marks);
    }

    /// Why the last answer for `key` and `variant` could not be stored, as is remembered until
    /// before the moment it was given.
    pub fn remembered(&self, key: Key, variant: Option<Variant>, now: Moment) -> Option<R> {
        let keys = self.keys.read();
        let concerns = |mark: &&Mark<R>| {
            now < mark.until && (mark.variant.is_none() || mark.variant == variant)
        };
        let mark = keys.get(&key)?.iter().rev().find(concerns)?;
        Some(mark.reason)
    }

    /// Forgets all about `key`.
    pub fn forget(&self, key: Key) {
        self.keys.write().remove(&key);
    }
}

impl<R> fmt::Debug for Uncacheable<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uncacheable").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key([1; 16]);

    fn variant(number: u8) -> Option<Variant> {
        Some(Variant([number; 16]))
    }

    #[track_caller]
    fn check(
        remembered: Option<Variant>,
        until: u64,
        asked: Option<Variant>,
        now: u64,
        expected: bool,
    ) {
        let table = Uncacheable::new(100);
        table.remember(KEY, remembered, Moment(until), ());
        assert_eq!(
            table.remembered(KEY, asked, Moment(now)).is_some(),
            expected
        );
        let other = table.remembered(Key([2; 16]), asked, Moment(now));
        assert_eq!(other, None);
    }

    #[test]
    #[rustfmt::skip]
    fn a_mark_holds_for_its_variant_until_its_moment() {
        //    remembered    until  asked        now
        check(variant(1),   100,   variant(1),   99, true);
        check(variant(1),   100,   variant(1),  100, false);
        check(variant(1),   100,   variant(2),   99, false);
        check(variant(1),   100,   None,         99, false);
        check(None,         100,   variant(2),   99, true);
        check(None,         100,   None,         99, true);
        check(None,         100,   None,        100, false);
    }

    #[test]
    fn the_last_mark_counts_and_can_be_forgotten() {
        let table = Uncacheable::new(100);
        table.remember(KEY, variant(1), Moment(10), 1);
        table.remember(KEY, variant(1), Moment(20), 2);
        assert_eq!(table.remembered(KEY, variant(1), Moment(15)), Some(2));

        table.remember(KEY, None, Moment(20), 3);
        assert_eq!(table.remembered(KEY, variant(1), Moment(15)), Some(3));
        table.forget(KEY);
        assert_eq!(table.remembered(KEY, variant(1), Moment(15)), None);
    }

    #[test]
    fn keys_and_variants_are_bounded() {
        let table = Uncacheable::new(8);
        for number in 0..=255 {
            table.remember(KEY, variant(number), Moment(1), ());
            table.remember(Key([number; 16]), None, Moment(1), ());
        }
        assert!(table.keys.read().len() <= 8);

        let table = Uncacheable::new(8);
        (0..=255).for_each(|number| table.remember(KEY, variant(number), Moment(1), ()));
        assert_eq!(table.keys.read().get(&KEY).unwrap().len(), VARIANTS_MAX);
        let remembered = |number| table.remembered(KEY, variant(number), Moment(0));
        assert_eq!(remembered(255), Some(()));
        assert_eq!(remembered(0), None);
    }
}
