//! The labels that were purged, and a quick answer for those that were not.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::{Label, Sequence};
use crate::Moment;

/// Bits of the filter for each label, at least: one of seventy that were not purged is looked up for nothing.
const BITS: usize = 16;
/// The map gives memory back when less than one place in so many is taken.
const SPARSE: usize = 4;

/// The last purges of one label.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Purged {
    pub hard: Sequence,
    pub soft: Sequence,
    pub soft_at: Moment,
}

impl Purged {
    /// The last purge of either kind.
    pub(super) fn last(&self) -> Sequence {
        self.hard.max(self.soft)
    }
}

/// The last purges by label.
///
/// Most labels of a response were never purged, and a look into a map of very many costs a miss of the processor's
/// caches: a filter of two bits for each label (Bloom, 1970) is small enough to stay in them, and answers most of it.
#[derive(Debug, Default)]
pub(super) struct Labels {
    purged: HashMap<Label, Purged, BuildHasherDefault<Hashed>>,
    filter: Filter,
}

impl Labels {
    /// The purges of a label, if there were any.
    pub(super) fn get(&self, label: &Label) -> Option<&Purged> {
        if !self.filter.may_have(label) {
            return None;
        }
        self.purged.get(label)
    }

    /// The purges of a label, to add one.
    pub(super) fn enter(&mut self, label: Label) -> &mut Purged {
        if self.purged.len() >= self.filter.room() {
            self.filter = Filter::of(self.purged.keys(), 2 * self.purged.len());
        }
        self.filter.add(&label);
        self.purged.entry(label).or_default()
    }

    /// Forgets a label. The filter goes on knowing it until [`Labels::filter_anew`].
    pub(super) fn remove(&mut self, label: &Label) {
        self.purged.remove(label);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn len(&self) -> usize {
        self.purged.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Label, &Purged)> {
        self.purged.iter()
    }

    /// A filter that knows only of what is here.
    pub(super) fn filter_anew(&self) -> Filter {
        Filter::of(self.purged.keys(), self.purged.len())
    }

    /// Takes such a filter, and gives back the memory that is not needed.
    pub(super) fn tidy(&mut self, filter: Filter) {
        self.filter = filter;
        if self.purged.len() < self.purged.capacity() / SPARSE {
            self.purged.shrink_to_fit();
        }
    }
}

/// Which labels may have been purged: all that were, and few others.
#[derive(Debug)]
pub(super) struct Filter(Box<[u64]>);

impl Default for Filter {
    fn default() -> Self {
        Self::of([].iter(), 0)
    }
}

impl Filter {
    /// Of these labels, with room for so many.
    fn of<'a>(labels: impl Iterator<Item = &'a Label>, room: usize) -> Self {
        let bits = (room * BITS).next_power_of_two().max(64);
        let mut filter = Self(vec![0; bits / 64].into_boxed_slice());
        labels.for_each(|label| filter.add(label));
        filter
    }

    /// How many labels it is good for.
    const fn room(&self) -> usize {
        self.0.len() * 64 / BITS
    }

    fn add(&mut self, label: &Label) {
        for half in halves(label) {
            let place = self.place(half);
            self.0[place] |= 1 << (half % 64);
        }
    }

    fn may_have(&self, label: &Label) -> bool {
        let is_set = |half: usize| self.0[self.place(half)] & (1 << (half % 64)) != 0;
        let [one, other] = halves(label);
        is_set(one) && is_set(other)
    }

    /// The word of a bit.
    const fn place(&self, half: usize) -> usize {
        // The length is a power of two.
        (half / 64) & (self.0.len() - 1)
    }
}

/// A label is a keyed hash: each half of it names a bit.
const fn halves(label: &Label) -> [usize; 2] {
    [(label.0 & 0xFFFF_FFFF) as usize, (label.0 >> 32) as usize]
}

/// A label is a keyed hash already: hashing it again would only take time.
#[derive(Clone, Copy, Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, label: u64) {
        self.0 = label;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::purge::{Labeller, LogId};

    #[test]
    fn the_filter_knows_all_that_is_there_and_little_else() {
        let labeller = Labeller::of(LogId(7));
        let label = |number: u64| labeller.label(1, &[&number.to_le_bytes()]);
        let mut labels = Labels::default();
        for number in 0..10_000 {
            labels.enter(label(number)).hard = Sequence(number);
            assert!(labels.filter.room() > labels.len() - 1);
        }
        assert!(
            (0..10_000).all(|it| labels.get(&label(it)).map(|it| it.hard) == Some(Sequence(it)))
        );
        let others = || (10_000..20_000).map(label);
        assert_eq!(others().filter(|it| labels.get(it).is_some()).count(), 0);
        let in_vain = others().filter(|it| labels.filter.may_have(it)).count();
        assert!(in_vain < 200, "{in_vain} of 10,000");

        (0..9_990).for_each(|it| labels.remove(&label(it)));
        assert!(labels.filter.may_have(&label(0)), "not yet");
        let filter = labels.filter_anew();
        labels.tidy(filter);
        assert!(!labels.filter.may_have(&label(0)));
        assert!((9_990..10_000).all(|it| labels.get(&label(it)).is_some()));
        assert!(labels.purged.capacity() < 100 && labels.filter.room() < 100);
        labels.clear();
        assert!(labels.get(&label(9_999)).is_none());
    }
}
