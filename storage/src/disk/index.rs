//! What is on the disks, by key: in memory, and without a read.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use super::format::length;
use super::place::Place;
use super::table::{Entry, Table};
use crate::Key;

/// Locks that the index is spread over.
const SHARDS: usize = 64;

/// What makes room for an entry.
#[derive(Debug, Default)]
pub(crate) struct Displaced {
    /// Of the same name: what it replaces.
    pub(crate) same: Vec<Entry>,
    pub(crate) others: Vec<Entry>,
}

/// All objects of all volumes.
#[derive(Debug)]
pub(crate) struct Index {
    shards: Box<[RwLock<Table>]>,
    objects: AtomicU64,
    bytes: AtomicU64,
}

/// What stands for a key in the index. Keys are hashes already, but nothing here relies on it.
pub(crate) fn tag_of(key: Key) -> u64 {
    let [low, high] = [0, 8].map(|at| {
        let mut half = [0; 8];
        half.copy_from_slice(&key.0[at..at + 8]);
        u64::from_le_bytes(half)
    });
    let folded = fold(low ^ 0x9e37_79b9_7f4a_7c15, high ^ 0xd6e8_feb8_6659_fd93);
    folded ^ low.rotate_left(32) ^ high
}

/// Both halves of a product.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    let half = |half: u128| u64::try_from(half & u128::from(u64::MAX)).unwrap_or(0);
    half(product) ^ half(product >> 64)
}

/// One of `count` places, in the order of the tags.
pub(crate) fn scale(tag: u64, count: usize) -> usize {
    usize::try_from((u128::from(tag) * count as u128) >> 64).unwrap_or(usize::MAX)
}

/// One of `count` places, by the low bits of a tag: the high ones order a table.
pub(crate) fn spread(tag: u64, count: usize) -> usize {
    length(tag % count as u64)
}

impl Index {
    pub(crate) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            objects: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// In this order, neighbours in the index follow each other.
    pub(crate) fn order(tag: u64) -> (usize, u64) {
        (spread(tag, SHARDS), tag)
    }

    pub(crate) fn objects(&self) -> u64 {
        self.objects.load(Ordering::Relaxed)
    }

    /// Body bytes of all objects.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn memory(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().memory()).sum()
    }

    /// The objects that may have this key.
    pub(crate) fn find(&self, tag: u64) -> Vec<Entry> {
        self.shard(tag).read().find(tag).to_vec()
    }

    pub(crate) fn at(&self, tag: u64, place: Place) -> Option<Entry> {
        let shard = self.shard(tag).read();
        shard
            .find(tag)
            .iter()
            .find(|entry| entry.place() == place)
            .copied()
    }

    /// Puts it in the place of those that `displaced` picks among the entries of its tag; not at
    /// all if that is none.
    pub(crate) fn put(&self, entry: Entry, displaced: impl FnOnce(&[Entry]) -> Option<Displaced>) {
        let mut shard = self.shard(entry.tag).write();
        let Some(displaced) = displaced(shard.find(entry.tag)) else {
            return;
        };
        for old in displaced.same.iter().chain(&displaced.others) {
            self.discount(shard.take(old.tag, old.place()).as_ref());
        }
        self.count(&entry);
        shard.insert(if displaced.same.is_empty() {
            entry
        } else {
            entry.replacing()
        });
    }

    /// Notes that a record which this one has replaced is still on a disk.
    pub(crate) fn note_replaced(&self, tag: u64, place: Place) {
        if let Some(entry) = self.shard(tag).write().find_at(tag, place) {
            *entry = entry.replacing();
        }
    }

    /// Puts `entry` where `place` was, with these hits; false if nothing is there any more.
    pub(crate) fn swap(&self, place: Place, entry: Entry) -> bool {
        let mut shard = self.shard(entry.tag).write();
        let Some(old) = shard.take(entry.tag, place) else {
            return false;
        };
        self.discount(Some(&old));
        self.count(&entry);
        shard.insert(entry);
        true
    }

    pub(crate) fn take(&self, tag: u64, place: Place) -> Option<Entry> {
        let taken = self.shard(tag).write().take(tag, place);
        self.discount(taken.as_ref());
        taken
    }

    /// Takes out those entries of this tag that are to go.
    pub(crate) fn take_all(&self, tag: u64, goes: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let mut shard = self.shard(tag).write();
        let gone: Vec<Entry> = shard
            .find(tag)
            .iter()
            .filter(|entry| goes(entry))
            .copied()
            .collect();
        for entry in &gone {
            self.discount(shard.take(tag, entry.place()).as_ref());
        }
        gone
    }

    /// Goes through everything. For when it is not known what was lost.
    pub(crate) fn retain(&self, keep: impl Fn(&Entry) -> bool) {
        for shard in &self.shards {
            for entry in shard.write().extract(&keep) {
                self.discount(Some(&entry));
            }
        }
    }

    /// Notes that this head was looked at; false if nothing is there any more.
    pub(crate) fn prove(&self, tag: u64, place: Place) -> bool {
        let mut shard = self.shard(tag).write();
        let entry = shard.find_at(tag, place);
        entry.map(Entry::prove).is_some()
    }

    /// Everything in one of the shards; none behind the last.
    pub(crate) fn entries(&self, shard: usize) -> Option<Vec<Entry>> {
        let shard = self.shards.get(shard)?.read();
        Some(shard.entries().copied().collect())
    }

    /// Counts that it was asked for.
    pub(crate) fn hit(&self, tag: u64, place: Place) {
        let saturated = |entry: &Entry| entry.hits() == Entry::HITS_MAX;
        if self.at(tag, place).is_none_or(|entry| saturated(&entry)) {
            return;
        }
        if let Some(entry) = self.shard(tag).write().find_at(tag, place) {
            *entry = entry.with_hits(entry.hits() + 1);
        }
    }

    fn shard(&self, tag: u64) -> &RwLock<Table> {
        &self.shards[spread(tag, SHARDS)]
    }

    fn count(&self, entry: &Entry) {
        self.objects.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(entry.sizes().body, Ordering::Relaxed);
    }

    fn discount(&self, entry: Option<&Entry>) {
        if let Some(entry) = entry {
            self.objects.fetch_sub(1, Ordering::Relaxed);
            self.bytes.fetch_sub(entry.sizes().body, Ordering::Relaxed);
        }
    }
}
