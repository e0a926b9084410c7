//! From a key to its variants, and to who is about to store some.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::BuildHasher;

use parking_lot::{RwLock, RwLockWriteGuard};

use super::keyed::Keyed;
use super::variants::Variants;
use crate::{Head, Key};

/// The map, spread over locks. The hash is keyed: nobody outside can aim at one shard.
pub(super) struct Index<H: Head> {
    shards: Box<[RwLock<Shard<H>>]>,
    hasher: Keyed,
}

/// What lies under one lock.
pub(super) struct Shard<H: Head> {
    pub(super) stored: HashMap<Key, Variants<H>, Keyed>,
    /// Keys for which something has been asked and not yet stored: as many as there are fills.
    pub(super) claims: Claims,
}

impl<H: Head> Default for Shard<H> {
    fn default() -> Self {
        Self {
            stored: HashMap::default(),
            claims: Claims::default(),
        }
    }
}

impl<H: Head> Index<H> {
    pub(super) fn new(shards: usize) -> Self {
        Self {
            shards: (0..shards.max(1)).map(|_| RwLock::default()).collect(),
            hasher: Keyed::default(),
        }
    }

    pub(super) fn lookup(&self, key: Key) -> Variants<H> {
        let shard = self.shard(key).read();
        let stored = shard.stored.get(&key);
        stored.cloned().unwrap_or_else(Variants::none)
    }

    /// As [`Self::lookup`], with all that an answer is made of brought near, where there is one that may answer.
    pub(super) fn look_up_near(&self, key: Key) -> Variants<H> {
        let shard = self.shard(key).read();
        let Some(stored) = shard.stored.get(&key) else {
            return Variants::none();
        };
        // Before it is counted as shared: what counts waits for all that was read before.
        stored.bring_near();
        stored.clone()
    }

    pub(super) fn write(&self, key: Key) -> RwLockWriteGuard<'_, Shard<H>> {
        self.shard(key).write()
    }

    /// The keys under one of the locks; none beyond the last.
    pub(super) fn keys(&self, shard: usize) -> Option<Vec<Key>> {
        let shard = self.shards.get(shard)?.read();
        Some(shard.stored.keys().copied().collect())
    }

    /// Whether a claim to `key` of this generation has not been voided.
    pub(super) fn holds(&self, key: Key, generation: u64) -> bool {
        self.shard(key).read().claims.hold(key, generation)
    }

    fn shard(&self, key: Key) -> &RwLock<Shard<H>> {
        let count = self.shards.len() as u64;
        let number = self.hasher.hash_one(key) % count;
        &self.shards[usize::try_from(number).unwrap_or_default()]
    }
}

/// How often each key was invalidated while somebody was about to store it.
#[derive(Debug, Default)]
pub(super) struct Claims(HashMap<Key, Claimed>);

#[derive(Debug, Default)]
struct Claimed {
    claimants: usize,
    generation: u64,
}

impl Claims {
    /// One more is about to store something under `key`. Returns what it has to show later.
    pub(super) fn enter(&mut self, key: Key) -> u64 {
        let claimed = self.0.entry(key).or_default();
        claimed.claimants += 1;
        claimed.generation
    }

    /// It has done so, or has given up.
    pub(super) fn leave(&mut self, key: Key) {
        let Entry::Occupied(mut claimed) = self.0.entry(key) else {
            return;
        };
        claimed.get_mut().claimants -= 1;
        if claimed.get().claimants == 0 {
            claimed.remove();
        }
    }

    /// Nobody who has entered may store any more.
    pub(super) fn void(&mut self, key: Key) {
        if let Some(claimed) = self.0.get_mut(&key) {
            claimed.generation += 1;
        }
    }

    /// Whether who entered with this generation may still store.
    pub(super) fn hold(&self, key: Key, generation: u64) -> bool {
        let claimed = self.0.get(&key);
        claimed.is_some_and(|claimed| claimed.generation == generation)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key([1; 16]);

    #[test]
    fn claims_made_before_are_void_and_those_made_after_hold() {
        let mut claims = Claims::default();
        let before = claims.enter(KEY);
        claims.void(KEY);
        let after = claims.enter(KEY);
        assert!(!claims.hold(KEY, before));
        assert!(claims.hold(KEY, after));

        claims.leave(KEY);
        assert!(claims.hold(KEY, after));
    }

    #[test]
    fn nothing_is_kept_of_keys_that_nobody_claims() {
        let mut claims = Claims::default();
        claims.void(KEY);
        assert_eq!(claims.len(), 0);
        claims.enter(KEY);
        claims.void(KEY);
        claims.leave(KEY);
        assert_eq!(claims.len(), 0);
        claims.leave(KEY);
    }
}
