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
        let mut shard = table.shard(&route).lock();
        match shard.entry(route) {
            hash_map::Entry::Occupied(listed) => Entry::Listed(Arc::clone(listed.get())),
            hash_map::Entry::Vacant(place) => {
                if !count_up(&table.count, table.max) {
                    return Entry::Full;
                }
                let flight = Arc::clone(place.insert(Flight::new()));
                let table = Arc::clone(table);
                Entry::New(flight, Listing { table, route })
            }
        }
    }

    /// The flight for `route`, if it is listed.
    pub(super) fn find(&self, route: &Route) -> Option<Arc<Flight<H>>> {
        self.shard(route).lock().get(route).cloned()
    }

    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn shard(&self, route: &Route) -> &Shard<H> {
        let number = self.hasher.hash_one(route) % self.shards.len() as u64;
        &self.shards[usize::try_from(number).unwrap_or_default()]
    }
}

/// A flight's entry in the table; dropped, it is off the table. Only its owner removes it, so what
/// is listed for the route is this flight.
pub(super) struct Listing<H: Head> {
    table: Arc<Table<H>>,
    route: Route,
}

impl<H: Head> Drop for Listing<H> {
    fn drop(&mut self) {
        let flight = self.table.shard(&self.route).lock().remove(&self.route);
        self.table.count.fetch_sub(1, Ordering::Relaxed);
        // Not under the lock: this may free a body.
        drop(flight);
    }
}
