//! The memory of the index: 32 bytes per object and hardly more.
//!
//! A table of the standard kind doubles, so that just after it did, half of it is empty. This one
//! keeps its entries sorted by tag, each near the place that its tag points to, and grows by a
//! quarter: between 72 and 90 percent of it are in use.

use super::index::scale;
use super::place::Place;

/// One object, as the index knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Stands for the key. Two keys may share a tag; the record on the disk has the whole key.
    pub(crate) tag: u64,
    place_and_hits: u64,
    sizes: u64,
    pub(crate) stored_at: u32,
    /// Which of the classes of its segment: variant and birth.
    pub(crate) class: u32,
}

const HITS_BITS: u32 = 3;
const SPREAD_BIT: u64 = 1 << HITS_BITS;
const PROVEN_BIT: u64 = 1 << (HITS_BITS + 1);
const REPLACING_BIT: u64 = 1 << (HITS_BITS + 2);
const FLAG_BITS: u32 = HITS_BITS + 3;
const HITS_MASK: u64 = Entry::HITS_MAX as u64;

/// Bits of `sizes` for the length of the body; the others are for the head.
const BODY_BITS: u32 = 42;

/// The longest head that an entry can tell the length of.
pub(crate) const HEAD_MAX: u64 = (1 << (64 - BODY_BITS)) - 1;

/// The longest body that an entry can tell the length of: 4 TiB.
pub(crate) const BODY_MAX: u64 = (1 << BODY_BITS) - 1;

const FREE: Entry = Entry {
    tag: 0,
    place_and_hits: 0,
    sizes: 0,
    stored_at: 0,
    class: 0,
};

/// The lengths of an object's parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) head: u64,
    pub(crate) body: u64,
    /// Whether the body lies elsewhere than the head.
    pub(crate) spread: bool,
}

impl Entry {
    /// Where counting hits ends.
    pub(crate) const HITS_MAX: u8 = (1 << HITS_BITS) - 1;

    pub(crate) fn new(tag: u64, place: Place, sizes: Sizes, stored_at: u32, class: u32) -> Self {
        let flags = if sizes.spread { SPREAD_BIT } else { 0 };
        Self {
            tag,
            place_and_hits: place.bits() << FLAG_BITS | flags,
            sizes: sizes.head.min(HEAD_MAX) << BODY_BITS | sizes.body.min(BODY_MAX),
            stored_at,
            class,
        }
    }

    pub(crate) fn place(&self) -> Place {
        Place::from_bits(self.place_and_hits >> FLAG_BITS)
    }

    pub(crate) fn sizes(&self) -> Sizes {
        Sizes {
            head: self.sizes >> BODY_BITS,
            body: self.sizes & BODY_MAX,
            spread: self.place_and_hits & SPREAD_BIT != 0,
        }
    }

    /// How often it was asked for, up to [`Entry::HITS_MAX`].
    pub(crate) fn hits(&self) -> u8 {
        (self.place_and_hits & HITS_MASK) as u8
    }

    pub(crate) fn with_hits(mut self, hits: u8) -> Self {
        self.place_and_hits &= !HITS_MASK;
        self.place_and_hits |= u64::from(hits.min(Self::HITS_MAX));
        self
    }

    /// Whether an older record with this name may still be on a disk. A start would find that one where this one has gone.
    pub(crate) fn is_replacing(&self) -> bool {
        self.place_and_hits & REPLACING_BIT != 0
    }

    pub(crate) fn replacing(mut self) -> Self {
        self.place_and_hits |= REPLACING_BIT;
        self
    }

    /// The same, replacing what `other` replaces.
    pub(crate) fn replacing_like(mut self, other: &Self) -> Self {
        self.place_and_hits |= other.place_and_hits & REPLACING_BIT;
        self
    }

    /// Whether a walk has looked at this head.
    pub(crate) fn is_proven(&self) -> bool {
        self.place_and_hits & PROVEN_BIT != 0
    }

    /// The same, looked at as far as `other` is: it has the same head.
    pub(crate) fn proven_like(mut self, other: &Self) -> Self {
        self.place_and_hits |= other.place_and_hits & PROVEN_BIT;
        self
    }

    pub(crate) fn prove(&mut self) {
        self.place_and_hits |= PROVEN_BIT;
    }

    fn is_free(&self) -> bool {
        self.place_and_hits == 0
    }
}

/// Entries by tag. Several may have one tag: a key's variants.
#[derive(Debug, Default)]
pub(crate) struct Table {
    slots: Vec<Entry>,
    /// How many of the slots a tag can point to. Those behind are for what found no place.
    homes: usize,
    len: usize,
}

/// Slots behind the homes.
const SLACK: usize = 64;

const HOMES_MIN: usize = 64;

impl Table {
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The bytes it holds.
    pub(crate) fn memory(&self) -> usize {
        self.slots.capacity() * size_of::<Entry>()
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.slots.iter().filter(|entry| !entry.is_free())
    }

    /// All entries with this tag.
    pub(crate) fn find(&self, tag: u64) -> &[Entry] {
        let begin = self.position(tag);
        let same = self.slots[begin..]
            .iter()
            .take_while(|entry| !entry.is_free() && entry.tag == tag);
        let count = same.count();
        &self.slots[begin..begin + count]
    }

    /// The entry with this tag and place.
    pub(crate) fn find_at(&mut self, tag: u64, place: Place) -> Option<&mut Entry> {
        let begin = self.position(tag);
        self.slots[begin..]
            .iter_mut()
            .take_while(|entry| !entry.is_free() && entry.tag == tag)
            .find(|entry| entry.place() == place)
    }

    pub(crate) fn insert(&mut self, entry: Entry) {
        if (self.len + 1) * 10 > self.homes * 9 {
            let homes = (self.homes + self.homes / 4).max(HOMES_MIN);
            self.resize(homes, SLACK);
        }
        if !self.shift_in(entry) {
            // So many tags at the very end: room for all of them there.
            self.resize(self.homes, SLACK + self.len);
            let fits = self.shift_in(entry);
            debug_assert!(fits, "the slack holds every entry");
        }
        self.len += 1;
    }

    /// Takes out the entry with this tag and place.
    pub(crate) fn take(&mut self, tag: u64, place: Place) -> Option<Entry> {
        let begin = self.position(tag);
        let offset = self.slots[begin..]
            .iter()
            .take_while(|entry| !entry.is_free() && entry.tag == tag)
            .position(|entry| entry.place() == place)?;
        let taken = self.slots[begin + offset];
        self.shift_out(begin + offset);
        self.len -= 1;
        Some(taken)
    }

    /// Keeps what `keep` says, and returns the rest.
    pub(crate) fn extract(&mut self, keep: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let gone: Vec<Entry> = self
            .entries()
            .filter(|entry| !keep(entry))
            .copied()
            .collect();
        for entry in &gone {
            self.take(entry.tag, entry.place());
        }
        gone
    }

    /// Where an entry with this tag would stand if all places were free.
    fn home(&self, tag: u64) -> usize {
        scale(tag, self.homes)
    }

    /// The first slot from its home on that does not have a lower tag.
    fn position(&self, tag: u64) -> usize {
        let home = self.home(tag);
        let lower = self.slots[home..]
            .iter()
            .take_while(|entry| !entry.is_free() && entry.tag < tag);
        home + lower.count()
    }

    /// Puts it in order; false if the end of the table is in the way.
    fn shift_in(&mut self, entry: Entry) -> bool {
        let at = self.position(entry.tag);
        let Some(run) = self.slots[at..].iter().position(Entry::is_free) else {
            return false;
        };
        self.slots.copy_within(at..at + run, at + 1);
        self.slots[at] = entry;
        true
    }

    fn shift_out(&mut self, at: usize) {
        let mut end = at + 1;
        while self.slots.get(end).is_some_and(|entry| !entry.is_free())
            && self.home(self.slots[end].tag) < end
        {
            end += 1;
        }
        self.slots.copy_within(at + 1..end, at);
        self.slots[end - 1] = FREE;
    }

    fn resize(&mut self, homes: usize, slack: usize) {
        let mut resized = Self {
            slots: vec![FREE; homes + slack],
            homes,
            len: self.len,
        };
        if self.entries().all(|entry| resized.shift_in(*entry)) {
            *self = resized;
        } else {
            self.resize(homes, SLACK + self.len);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(tag: u64, unit: u32) -> Entry {
        let sizes = Sizes {
            head: 5,
            body: 6,
            spread: true,
        };
        Entry::new(tag, Place::new(1, 2, unit), sizes, 7, 8)
    }

    #[test]
    fn an_entry_keeps_what_it_is_told() {
        assert_eq!(size_of::<Entry>(), 32);
        let entry = entry(9, 3).with_hits(2);
        assert_eq!(entry.place(), Place::new(1, 2, 3));
        assert_eq!(entry.hits(), 2);
        assert_eq!(entry.with_hits(200).hits(), Entry::HITS_MAX);
        assert_eq!((entry.sizes().head, entry.sizes().body), (5, 6));
        assert!(entry.sizes().spread);
        assert!(!entry.is_proven());
        let mut proven = entry;
        proven.prove();
        assert!(proven.is_proven() && entry.proven_like(&proven).is_proven());
        assert_eq!((proven.place(), proven.hits()), (entry.place(), 2));
        assert!(!entry.is_replacing() && entry.replacing().is_replacing());
        assert!(entry.replacing_like(&entry.replacing()).is_replacing());
        assert!(!entry.replacing().with_hits(7).is_proven());
    }

    #[test]
    fn a_large_table_is_never_less_than_seven_tenths_full() {
        let mut table = Table::default();
        for number in 0..50_000_u64 {
            table.insert(entry(number.wrapping_mul(0x9e37_79b9_7f4a_7c15), 1));
            let used = table.len() as f64 / table.slots.len() as f64;
            assert!(number < 10_000 || used > 0.7, "{used}");
        }
    }

    proptest! {
        #[test]
        fn a_table_is_a_map_from_tag_and_place(
            steps in prop::collection::vec((any::<bool>(), 0..40_u64, 1..4_u32, 0..3_u32), 0..600),
        ) {
            let mut table = Table::default();
            let mut model: Vec<(u64, u32)> = Vec::new();
            for (insert, low, unit, spread) in steps {
                let tag = match spread { 0 => low, 1 => u64::MAX - low, _ => low << 58 };
                let known = model.contains(&(tag, unit));
                if insert && !known {
                    table.insert(entry(tag, unit));
                    model.push((tag, unit));
                } else if !insert {
                    let taken = table.take(tag, Place::new(1, 2, unit));
                    prop_assert_eq!(taken.is_some(), known);
                    model.retain(|other| *other != (tag, unit));
                }
                prop_assert_eq!(table.len(), model.len());
            }
            for (tag, unit) in &model {
                let found = table.find(*tag);
                let same = model.iter().filter(|other| other.0 == *tag).count();
                prop_assert_eq!(found.len(), same);
                prop_assert!(table.find_at(*tag, Place::new(1, 2, *unit)).is_some());
            }
            let tags: Vec<u64> = table.entries().map(|entry| entry.tag).collect();
            prop_assert!(tags.is_sorted());
        }
    }
}
