//! Which flights there are.

use std::collections::HashMap;
use std::collections::hash_map::{self, RandomState};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::joined::{Flight, count_up};
use crate::{Head, Key, Variant};

/// How many locks the table is spread over.
const SHARDS: usize = 32;

pub(super) type Route = (Key, Option<Variant>);

pub(super) struct Table<H: Head> {
    shards: Box<[Shard<H>]>,
    hasher: RandomState,
    count: AtomicUsize,
    max: usize,
}

type Shard<H> = Mutex<HashMap<Route, Arc<Flight<H>>>>;

/// What there is for a route.
pub(super) enum Entry<H: Head> {
    Listed(Arc<Flight<H>>),
    New(Arc<Flight<H>>, Listing<H>),
    /// Nothing, and no place for another flight.
    Full,
}

impl<H: Head> Table<H> {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            count: AtomicUsize::new(0),
            max,
        })
    }

    /// The flight for `route`, listed from now on if it was not.
    pub(super) fn enter(table: &Arc<Self>, route: Route) -> Entry<H> {
        let mut shard = table.shard(&route.0).lock();
        match shard.entry(route) {
            hash_map::Entry::Occupied(listed) => Entry::Listed(Arc::clone(listed.get())),
            hash_map::Entry::Vacant(place) => {
                if !count_up(&table.count, table.max) {
                    return Entry::Full;
                }
                let flight = Arc::clone(place.insert(Flight::new()));
                let listing = Listing {
                    table: Arc::clone(table),
                    route,
                    flight: Arc::clone(&flight),
                };
                Entry::New(flight, listing)
            }
        }
    }

    /// The flight for `route`, if it is listed.
    pub(super) fn find(&self, route: &Route) -> Option<Arc<Flight<H>>> {
        self.shard(&route.0).lock().get(route).cloned()
    }

    /// Takes all flights for `key` off the table.
    pub(super) fn clear(&self, key: Key) {
        let mut shard = self.shard(&key).lock();
        let cleared: Vec<_> = shard.extract_if(|(of, _), _| *of == key).collect();
        drop(shard);
        self.count.fetch_sub(cleared.len(), Ordering::Relaxed);
    }

    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// All flights for a key are in one shard.
    fn shard(&self, key: &Key) -> &Shard<H> {
        let number = self.hasher.hash_one(key) % self.shards.len() as u64;
        &self.shards[usize::try_from(number).unwrap_or_default()]
    }
}

/// A flight's entry in the table; dropped, it is off the table.
pub(super) struct Listing<H: Head> {
    table: Arc<Table<H>>,
    route: Route,
    flight: Arc<Flight<H>>,
}

impl<H: Head> Drop for Listing<H> {
    fn drop(&mut self) {
        let mut shard = self.table.shard(&self.route.0).lock();
        // It may have been taken off before, and another put in its place.
        let listed = shard.get(&self.route);
        if !listed.is_some_and(|flight| Arc::ptr_eq(flight, &self.flight)) {
            return;
        }
        let flight = shard.remove(&self.route);
        drop(shard);
        self.table.count.fetch_sub(1, Ordering::Relaxed);
        // Not under the lock: this may free a body.
        drop(flight);
    }
}
