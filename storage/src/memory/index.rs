//! From a key to its variants.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use parking_lot::{RwLock, RwLockWriteGuard};

use super::variants::Variants;
use crate::{Head, Key};

/// The map, spread over locks. The hash is keyed: nobody outside can aim at one shard.
pub(super) struct Index<H> {
    shards: Box<[RwLock<Shard<H>>]>,
    hasher: RandomState,
}

pub(super) type Shard<H> = HashMap<Key, Variants<H>>;

impl<H: Head> Index<H> {
    pub(super) fn new(shards: usize) -> Self {
        Self {
            shards: (0..shards.max(1)).map(|_| RwLock::default()).collect(),
            hasher: RandomState::new(),
        }
    }

    pub(super) fn lookup(&self, key: Key) -> Variants<H> {
        let shard = self.shard(key).read();
        shard.get(&key).cloned().unwrap_or_else(Variants::none)
    }

    pub(super) fn write(&self, key: Key) -> RwLockWriteGuard<'_, Shard<H>> {
        self.shard(key).write()
    }

    fn shard(&self, key: Key) -> &RwLock<Shard<H>> {
        let count = self.shards.len() as u64;
        let number = self.hasher.hash_one(key) % count;
        &self.shards[usize::try_from(number).unwrap_or_default()]
    }
}
