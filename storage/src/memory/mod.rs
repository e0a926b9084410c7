//! The memory tier.

mod below;
mod body;
mod budget;
mod claim;
mod eviction;
mod gdsf;
mod index;
mod keyed;
mod lasting;
mod lru;
mod near;
mod object;
mod pieces;
mod variants;
mod walk;

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher as _;
use std::mem::size_of;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;

pub(crate) use below::{Copy, Promotion};
pub use body::{Body, BodyReader};
pub(crate) use budget::{Charge, InFlight, PIECE_OVERHEAD, paid};
pub use claim::Claim;
pub use lasting::Lasting;
pub use near::bring_near;
pub use object::Object;
pub(crate) use pieces::Piece;
pub use variants::Variants;
pub use walk::Walk;

use crate::{Derived, Fate, Fill, Head, Keep, Key, Settings, Traces, Variant};
use budget::Budget;
use eviction::Order;
use index::{Index, Shard};
use lasting::Mappings;

/// Two counters before each shared value, and the allocator's header.
const SHARED: usize = 32;

/// A key and its variants in a map between half and fully loaded.
const INDEX_SLOT: usize = 80;

/// Evictions for one charge beyond those that suffice when each frees its share: for victims whose
/// bytes are still being sent, and for room that another thread took first.
const FRUITLESS_EVICTIONS_MAX: usize = 64;

/// Stored responses by key and variant, under one byte budget.
///
/// All methods take `&self`. Those that need room evict at once, on the caller's thread.
pub struct Memory<H: Head> {
    settings: Settings,
    budget: Arc<Budget>,
    index: Index<H>,
    order: Order<H>,
    traces: Traces,
    next_id: AtomicU64,
    objects: AtomicUsize,
    evictions: AtomicU64,
    rejected: AtomicU64,
    mappings: Arc<Mappings>,
    /// What is charged for others than objects and fills.
    reserved: Mutex<Option<Charge>>,
    on_eviction: OnceLock<OnEviction<H>>,
    evicting: OnceLock<Evicting<H>>,
}

/// Told of each victim, and given a claim from before it left.
type OnEviction<H> = Box<dyn Fn(Arc<Object<H>>, Claim<H>) + Send + Sync>;

/// Shown each victim.
type Evicting<H> = Box<dyn Fn(&Object<H>) + Send + Sync>;

/// Why a response was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Its body is longer than [`Settings::object_max`].
    #[error("the body is longer than may be stored")]
    TooLong,
    /// There is no room, and none could be made: what is left is in use.
    #[error("there is no room")]
    NoRoom,
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// How many objects.
    pub objects: usize,
    /// What the budget paid for them. It gets them back when their last readers let go.
    pub bytes: usize,
}

/// The state of the memory tier. The numbers are read one after the other, not at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Objects in the index; parts of one count as one with it.
    pub objects: usize,
    /// Bytes charged, at most `capacity`.
    pub bytes: usize,
    /// The byte budget.
    pub capacity: usize,
    /// Objects evicted so far.
    pub evictions: u64,
    /// Responses that should have been stored and were not: too long, or no room.
    pub rejected: u64,
    /// Body bytes of fills that will be stored when they are complete.
    pub in_flight_bytes: usize,
    /// Of `bytes`, those of long bodies whose pages sockets can be given: see [`Memory::sends`].
    pub lasting_bytes: usize,
}

impl<H: Head> Memory<H> {
    /// An empty cache.
    pub fn new(settings: Settings) -> Arc<Self> {
        let capacity = settings.capacity;
        Arc::new(Self {
            budget: Budget::new(settings.capacity, settings.in_flight_max()),
            index: Index::new(settings.shards),
            order: Order::new(settings.eviction),
            traces: Traces::new(settings.traces),
            // Numbers go to disks, too, and those of another process are others.
            next_id: AtomicU64::new(RandomState::new().hash_one(capacity)),
            objects: AtomicUsize::new(0),
            evictions: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            mappings: Arc::default(),
            reserved: Mutex::default(),
            on_eviction: OnceLock::new(),
            evicting: OnceLock::new(),
            settings,
        })
    }

    /// What became of what is not stored any more.
    pub fn traces(&self) -> &Traces {
        &self.traces
    }

    /// The stored objects of `key`. This does not count as an access.
    pub fn lookup(&self, key: Key) -> Variants<H> {
        self.index.lookup(key)
    }

    /// As [`Memory::lookup`], for a request that they are to answer now.
    pub fn look_up_near(&self, key: Key) -> Variants<H> {
        self.index.look_up_near(key)
    }

    /// `object` answered a request.
    pub fn accessed(&self, object: &Arc<Object<H>>) {
        self.order.accessed(object);
    }

    /// Gives a stored body another head, as a 304 does (RFC 9111 §4.3.4). The body is shared.
    ///
    /// None if `object` is no longer the current one of its key and variant, or if there is no room
    /// for the new head.
    pub fn update_head(
        self: &Arc<Self>,
        object: &Arc<Object<H>>,
        head: Arc<H>,
    ) -> Option<Arc<Object<H>>> {
        let charge = self.charge(self.overhead().saturating_add(head.weight()))?;
        let updated = Arc::new(object.with_head(head, charge));

        let mut shard = self.index.write(object.key());
        let variants = shard.stored.get_mut(&object.key())?;
        let swapped = variants.swap(object, &updated);
        if swapped {
            self.order.swapped(object, &updated);
            object.below().supersede();
        }
        drop(shard);
        swapped.then_some(updated)
    }

    /// The same body under a head that is for one answer only: nothing of it is stored.
    pub fn once(&self, object: &Object<H>, head: Arc<H>) -> Arc<Object<H>> {
        Arc::new(object.with_head(head, self.budget.nothing()))
    }

    /// Stores a complete response. The body is kept as it is: a slice keeps all it is a slice of.
    ///
    /// # Errors
    ///
    /// If the body is too long, or if no room could be made for it.
    pub fn insert_ready(
        self: &Arc<Self>,
        key: Key,
        variant: Variant,
        head: H,
        body: Bytes,
    ) -> Result<Arc<Object<H>>, Refused> {
        let stored = self.admit(head, body).inspect_err(|_| self.reject());
        let (head, body, charge) = stored?;
        let bodies = (body, Derived::none());
        let object = self.object(self.new_id(), (key, variant), head, bodies, charge);
        self.put(&mut self.index.write(key), &object);
        Ok(object)
    }

    fn admit(self: &Arc<Self>, head: H, body: Bytes) -> Result<(Arc<H>, Body, Charge), Refused> {
        if body.len() as u64 > self.settings.object_max {
            return Err(Refused::TooLong);
        }
        let pieces = body.len() + PIECE_OVERHEAD;
        let all = self
            .overhead()
            .saturating_add(head.weight())
            .saturating_add(pieces);
        let mut fixed = self.charge(all).ok_or(Refused::NoRoom)?;
        let bytes = fixed.split(pieces);
        let body = Body::contiguous_from(paid(body, bytes));
        Ok((Arc::new(head), body, fixed))
    }

    /// Removes all variants of `key`, and voids the claims to it: what was asked for before and has
    /// not been stored by now will not be.
    pub fn remove(&self, key: Key) -> Removed {
        let mut shard = self.index.write(key);
        shard.claims.void(key);
        self.traces.amend(key, Fate::Removed);
        let Some(variants) = shard.stored.remove(&key) else {
            return Removed::default();
        };
        for object in variants.iter() {
            object.below().supersede();
            self.order.removed(object);
        }
        drop(shard);

        let objects = counted(&variants);
        self.objects.fetch_sub(objects, Ordering::Relaxed);
        Removed {
            objects,
            bytes: variants.iter().map(|object| object.cost()).sum(),
        }
    }

    /// Removes this object, if it is still the current one of its key and variant.
    pub fn remove_object(&self, object: &Arc<Object<H>>) {
        object.below().supersede();
        self.take(object, Order::removed);
    }

    /// How it stands.
    pub fn stats(&self) -> Stats {
        Stats {
            objects: self.objects.load(Ordering::Relaxed),
            bytes: self.budget.used(),
            capacity: self.budget.capacity(),
            evictions: self.evictions.load(Ordering::Relaxed),
            rejected: self.rejected.load(Ordering::Relaxed),
            in_flight_bytes: self.budget.in_flight_bytes(),
            lasting_bytes: self.mappings.bytes(),
        }
    }

    /// Whether a body of this length may be stored.
    pub fn is_storable(&self, length: u64) -> bool {
        length <= self.settings.storable_max()
    }

    /// A claim to store what will be asked for from now on.
    pub fn claim(self: &Arc<Self>, key: Key) -> Claim<H> {
        Claim::new(self, key)
    }

    /// Begins to receive a body of this announced length that was asked for just now.
    pub fn begin(
        self: &Arc<Self>,
        key: Key,
        variant: Variant,
        head: H,
        length: Option<u64>,
        keep: Keep,
    ) -> Fill<H> {
        self.claim(key).begin(variant, head, length, keep)
    }

    /// What an object costs beside its body and what its head owns, in bytes.
    pub fn object_overhead(&self) -> usize {
        self.overhead() + PIECE_OVERHEAD
    }

    fn overhead(&self) -> usize {
        size_of::<Object<H>>()
            + size_of::<H>()
            + size_of::<Derived<H>>()
            + 3 * SHARED
            + INDEX_SLOT
            + Order::<H>::overhead(self.settings.eviction)
    }
}

/// What fills need.
impl<H: Head> Memory<H> {
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes bytes from the budget, evicting until there is room. None if no room can be made.
    pub(crate) fn charge(self: &Arc<Self>, bytes: usize) -> Option<Charge> {
        if bytes > self.settings.capacity {
            return None;
        }
        // Each victim that is not in use frees at least the overhead.
        let evictions_max = bytes / self.overhead() + FRUITLESS_EVICTIONS_MAX;
        for _ in 0..evictions_max {
            if let Some(charge) = self.budget.try_charge(bytes) {
                return Some(charge);
            }
            let victim = self.order.victim()?;
            self.evict(victim);
        }
        self.budget.try_charge(bytes)
    }

    /// Takes what an object with this head costs before its first byte.
    pub(crate) fn charge_head(self: &Arc<Self>, head: &H) -> Option<Charge> {
        self.charge(self.overhead().saturating_add(head.weight()))
    }

    pub(crate) fn in_flight(&self) -> InFlight {
        self.budget.in_flight()
    }

    /// Counts a response that should have been stored.
    pub(crate) fn reject(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }

    /// Puts a complete response into the index, where it replaces its key and variant. None if the
    /// claim to the key was voided.
    pub(crate) fn publish(
        &self,
        claim: &Claim<H>,
        (id, variant): (u64, Variant),
        head: Arc<H>,
        bodies: (Body, Arc<Derived<H>>),
        charge: Charge,
    ) -> Option<Arc<Object<H>>> {
        let object = self.object(id, (claim.key(), variant), head, bodies, charge);
        // Under the lock that whoever voids it takes: it is voided before, or removes the object after.
        let mut shard = self.index.write(claim.key());
        if !shard.claims.hold(claim.key(), claim.generation()) {
            return None;
        }
        self.put(&mut shard, &object);
        Some(object)
    }

    /// A number for a body, that no other body of its key and variant has.
    pub(crate) fn new_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    fn object(
        &self,
        id: u64,
        name: (Key, Variant),
        head: Arc<H>,
        bodies: (Body, Arc<Derived<H>>),
        charge: Charge,
    ) -> Arc<Object<H>> {
        Arc::new(Object::new(id, name, head, bodies, charge))
    }

    fn put(&self, shard: &mut Shard<H>, object: &Arc<Object<H>>) {
        let variants = shard.stored.entry(object.key());
        let variants = variants.or_insert_with(Variants::none);
        let displaced = variants.put(object, self.settings.variants_max);
        self.traces.stored(object.key());
        self.traces.restored(object.key(), object.variant());
        for old in &displaced {
            self.order.removed(old);
            if old.variant() == object.variant() {
                object.rank.inherit(&old.rank);
                old.below().supersede();
            } else {
                self.traces.displaced(old.key(), old.variant());
            }
        }
        self.order.admitted(object);
        // Counted under the lock, or whoever removes it at once would count below zero.
        self.objects
            .fetch_add(counted(std::slice::from_ref(object)), Ordering::Relaxed);
        self.objects
            .fetch_sub(counted(&displaced), Ordering::Relaxed);
    }

    /// Takes `object` out of the index and tells the order by `how`; false if it was not there.
    fn take(&self, object: &Arc<Object<H>>, how: fn(&Order<H>, &Arc<Object<H>>)) -> bool {
        let mut shard = self.index.write(object.key());
        let Some(variants) = shard.stored.get_mut(&object.key()) else {
            return false;
        };
        let taken = variants.take(object);
        if variants.is_empty() {
            shard.stored.remove(&object.key());
        }
        if taken {
            how(&self.order, object);
            self.objects
                .fetch_sub(counted(std::slice::from_ref(object)), Ordering::Relaxed);
        }
        taken
    }
}

/// How many of them are objects by themselves.
fn counted<H: Head>(objects: &[Arc<Object<H>>]) -> usize {
    let whole = objects.iter().filter(|object| !object.head().is_part());
    whole.count()
}

impl<H: Head> fmt::Debug for Memory<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("settings", &self.settings)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests;
