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
pub struct Uncacheable {
    keys: RwLock<Recent<Key, Marks>>,
}

/// Newest last.
type Marks = Vec<Mark>;

#[derive(Clone, Copy)]
struct Mark {
    /// None means all of them.
    variant: Option<Variant>,
    until: Moment,
}

impl Uncacheable {
    /// Remembers at most so many keys.
    pub fn new(entries_max: usize) -> Self {
        Self {
            keys: RwLock::new(Recent::new(entries_max)),
        }
    }

    /// The answer for `key` and `variant` could not be stored. Without a variant, this is so for all
    /// of them.
    pub fn remember(&self, key: Key, variant: Option<Variant>, until: Moment) {
        let mut keys = self.keys.write();
        let mut marks = keys.remove(&key).unwrap_or_default();
        marks.retain(|mark| mark.variant != variant);
        if marks.len() >= VARIANTS_MAX {
            marks.remove(0);
        }
        marks.push(Mark { variant, until });
        keys.insert(key, marks);
    }

    /// Whether the last answer for `key` and `variant` could not be stored, as is remembered until
    /// before the moment it was given.
    pub fn remembered(&self, key: Key, variant: Option<Variant>, now: Moment) -> bool {
        let keys = self.keys.read();
        let concerns = |mark: &Mark| mark.variant.is_none() || mark.variant == variant;
        keys.get(&key)
            .is_some_and(|marks| marks.iter().any(|mark| concerns(mark) && now < mark.until))
    }

    /// Forgets all about `key`.
    pub fn forget(&self, key: Key) {
        self.keys.write().remove(&key);
    }
}

impl fmt::Debug for Uncacheable {
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
        table.remember(KEY, remembered, Moment(until));
        assert_eq!(table.remembered(KEY, asked, Moment(now)), expected);
        assert!(!table.remembered(Key([2; 16]), asked, Moment(now)));
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
        table.remember(KEY, variant(1), Moment(10));
        table.remember(KEY, variant(1), Moment(20));
        assert!(table.remembered(KEY, variant(1), Moment(15)));

        table.remember(KEY, None, Moment(20));
        table.forget(KEY);
        assert!(!table.remembered(KEY, variant(1), Moment(15)));
    }

    #[test]
    fn keys_and_variants_are_bounded() {
        let table = Uncacheable::new(8);
        for number in 0..=255 {
            table.remember(KEY, variant(number), Moment(1));
            table.remember(Key([number; 16]), None, Moment(1));
        }
        assert!(table.keys.read().len() <= 8);

        let table = Uncacheable::new(8);
        (0..=255).for_each(|number| table.remember(KEY, variant(number), Moment(1)));
        assert_eq!(table.keys.read().get(&KEY).unwrap().len(), VARIANTS_MAX);
        assert!(table.remembered(KEY, variant(255), Moment(0)));
        assert!(!table.remembered(KEY, variant(0), Moment(0)));
    }
}
