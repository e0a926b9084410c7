//! Memory and disks as one.
//!
//! ```text
//!                 asked for again, or admitted at once
//!   fill ──▶ memory ──────────────────────────────────▶ disk
//!                ▲   evicted, and wanted there before     │
//!                └────────────────────────────────────────┘
//!                      asked for, and short enough
//! ```
//!
//! ## What holds
//!
//! * Memory is asked first, and a disk never has an older response for a key and variant than memory: where a newer one
//!   does not reach the disk, the old one leaves it.
//! * What is removed voids the claims of whoever is about to store, and of whoever is moving between the tiers.
//! * What was stored under another epoch is not found: whoever opens the disks says by it whether the purges that are
//!   known are all there were.
//! * The memory that the disks take is charged to the budget of memory.

mod admission;
mod moves;
mod record;
mod walk;
mod writing;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::sync::Semaphore;

pub(crate) use admission::ASKED_ABOVE;
pub use admission::Admission;
pub use record::Durable;
pub use walk::{DiskWalk, OnDisk};

use crate::disk::{self, Disk, Found, NewRecord, Recovery};
use crate::fill::Beside;
use crate::memory::{Body, Claim, Memory, Object, Variants};
use crate::purge::Sequence;
use crate::{Fate, Fill, Keep, Key, Variant};
use moves::MOVES_MAX;
pub(crate) use moves::TOLD_EVERY;
pub use moves::Tier;
pub(crate) use writing::{Place, Writing};

/// Stored responses in memory and, where there are any, on disks.
pub struct Tiers<H: Durable> {
    memory: Arc<Memory<H>>,
    lower: Option<Lower>,
}

/// The tier below memory.
struct Lower {
    disk: Arc<Disk>,
    epoch: u64,
    /// The purges that those objects outlived which a walk has looked at.
    swept: Arc<AtomicU64>,
    /// Moves between the tiers that may be under way at once.
    moves: Arc<Semaphore>,
    writing: Arc<Writing>,
}

/// Where a response that is about to be received will be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// In memory.
    Memory,
    /// In memory, and on a disk from the beginning.
    Both,
    /// On a disk: it has no place in memory.
    Disk,
    /// Nowhere.
    Nowhere(Why),
}

/// Why a response is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is longer than any tier takes.
    TooLong,
    /// It has no place in memory, and was not asked for often enough to be written to a disk.
    NotYet,
}

/// How far a removal went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// There was nothing to remove beyond memory.
    InMemory,
    /// Disks may have had something: see [`Tiers::sync`].
    OnDisks,
}

impl<H: Durable> Tiers<H> {
    /// Memory alone.
    pub fn memory_only(memory: Arc<Memory<H>>) -> Arc<Self> {
        let lower = None;
        Arc::new(Self { memory, lower })
    }

    /// Memory above disks. What was stored under another epoch is not found.
    pub fn above(memory: Arc<Memory<H>>, disk: Arc<Disk>, epoch: u64) -> Arc<Self> {
        let tiers = Arc::new(Self {
            memory,
            lower: Some(Lower {
                disk,
                epoch,
                swept: Arc::default(),
                moves: Arc::new(Semaphore::new(MOVES_MAX)),
                writing: Arc::default(),
            }),
        });
        let below = Arc::downgrade(&tiers);
        tiers.memory.on_eviction(move |victim, claim| {
            if let Some(tiers) = below.upgrade() {
                tiers.evicted(victim, claim);
            }
        });
        tiers.account();
        tiers
    }

    /// The memory tier.
    pub fn memory(&self) -> &Arc<Memory<H>> {
        &self.memory
    }

    /// The disk tier, where there is one.
    pub fn disk(&self) -> Option<&Arc<Disk>> {
        self.lower.as_ref().map(|lower| &lower.disk)
    }

    /// How far the disks' index has been read back; none without disks.
    pub fn recovered(&self) -> Option<Recovery> {
        self.disk().map(|disk| disk.recovered())
    }

    /// The stored responses of `key` that are in memory. This does not count as an access.
    pub fn in_memory(&self, key: Key) -> Variants<H> {
        self.memory.lookup(key)
    }

    /// As [`Tiers::in_memory`], for a request that they are to answer now.
    pub fn in_memory_near(&self, key: Key) -> Variants<H> {
        self.memory.look_up_near(key)
    }

    /// The stored responses of `key` that are on disks only: of the variants that are not among `known`. Their heads are
    /// read; what cannot be read is not there.
    pub async fn on_disk(&self, key: Key, known: &Variants<H>) -> Vec<Arc<Object<H>>> {
        let Some(lower) = &self.lower else {
            return Vec::new();
        };
        let mut objects = Vec::new();
        // Before the index is asked: what it says is of this walk, or of a later one.
        let swept = lower.swept();
        for found in lower.disk.find(key) {
            if known.find(found.variant()).is_none()
                && let Some(object) = self.read(lower, key, &found, swept).await
            {
                objects.push(object);
            }
        }
        objects
    }

    /// The length of the body that a disk has under this key and variant, as far as the index knows: without a read. It
    /// may be purged, or damaged.
    pub fn length_on_disk(&self, key: Key, variant: Variant) -> Option<u64> {
        let found = self.disk()?.find(key).into_iter();
        let mut found = found.filter(|found| found.variant() == variant);
        Some(found.next()?.body_len())
    }

    async fn read(
        &self,
        lower: &Lower,
        key: Key,
        found: &Found,
        swept: Sequence,
    ) -> Option<Arc<Object<H>>> {
        let bytes = lower.disk.head(found).await.ok()?;
        let Some((id, head)) = record::decode::<H>(lower.epoch, &bytes) else {
            lower.disk.forget(found);
            return None;
        };
        let traces = self.memory.traces();
        if traces.recall(key).is_none() {
            // Of an earlier process.
            traces.stored(key);
        }
        if found.is_proven() {
            head.outlive(swept);
        }
        let name = (key, found.variant());
        let body = Body::on_disk(found.clone());
        Some(self.memory.elsewhere(id, name, Arc::new(head), body))
    }

    /// Whether `object` is still what is stored under its key and variant.
    pub fn is_current(&self, object: &Arc<Object<H>>) -> bool {
        let in_memory = self.memory.lookup(object.key());
        match (in_memory.find(object.variant()), object.body().found()) {
            (Some(current), None) => Arc::ptr_eq(current, object),
            // It may have been promoted since.
            (Some(current), Some(_)) => current.id() == object.id(),
            (None, Some(found)) => self.is_on_disk(found, object.key()),
            (None, None) => false,
        }
    }

    fn is_on_disk(&self, found: &Found, key: Key) -> bool {
        self.disk().is_some_and(|disk| {
            let current = disk.find(key);
            current.iter().any(|it| it.id() == found.id())
        })
    }

    /// Where a response to a request for `key`, with a body of this length, will be stored. It counts as a request.
    pub fn destination(&self, key: Key, length: Option<u64>, admission: Admission) -> Destination {
        let in_memory = length.is_none_or(|length| self.memory.is_storable(length));
        let Some(lower) = &self.lower else {
            return match in_memory {
                true => Destination::Memory,
                false => Destination::Nowhere(Why::TooLong),
            };
        };
        let admitted = admission.admits(&lower.disk, key);
        // What takes the place of something on the disk was worth writing before.
        let admitted =
            admitted || admission != Admission::Never && !lower.disk.find(key).is_empty();
        let on_disk = length.is_none_or(|length| lower.disk.is_storable(length));
        match (in_memory, on_disk && admitted) {
            (true, true) => Destination::Both,
            (true, false) => Destination::Memory,
            (false, true) => Destination::Disk,
            (false, false) if on_disk && admission != Admission::Never => {
                Destination::Nowhere(Why::NotYet)
            }
            (false, false) => Destination::Nowhere(Why::TooLong),
        }
    }

    /// Begins to receive a body of this announced length.
    pub fn begin(
        &self,
        claim: Claim<H>,
        variant: Variant,
        head: H,
        length: Option<u64>,
        destination: Destination,
    ) -> Fill<H> {
        let key = claim.key();
        let keep = match destination {
            Destination::Memory | Destination::Both => Keep::Store,
            Destination::Disk | Destination::Nowhere(_) => Keep::PassOn,
        };
        let Some(lower) = &self.lower else {
            return claim.begin(variant, head, length, keep);
        };
        let record = match destination {
            Destination::Both | Destination::Disk => Some((head.encode(), head.stored_at())),
            Destination::Memory => None,
            Destination::Nowhere(_) => return claim.begin(variant, head, length, keep),
        };
        let mut fill = claim.begin(variant, head, length, keep);
        let place = Writing::enter(&lower.writing, key);
        let writer = record.and_then(|(head, stored_at)| {
            let head = record::encode(lower.epoch, fill.id(), &head);
            let record = new_record((key, variant), stored_at, head, length);
            lower.disk.writer(record).ok()
        });
        fill.also(Beside::new(&lower.disk, writer, place));
        fill
    }

    /// The same body under a head that is for one answer only: nothing of it is stored.
    pub fn once(&self, object: &Object<H>, head: Arc<H>) -> Arc<Object<H>> {
        self.memory.once(object, head)
    }

    /// Gives a stored body another head, as a 304 does (RFC 9111 §4.3.4). The body is shared, and not written again.
    ///
    /// None if `object` is no longer the current one of its key and variant, or if there is no room for the new head.
    pub async fn update_head(
        self: &Arc<Self>,
        object: &Arc<Object<H>>,
        head: Arc<H>,
    ) -> Option<Arc<Object<H>>> {
        let in_memory = self.update_in_memory(object, &head);
        let on_disk = self.update_on_disk(object, &head).await;
        if let Some(updated) = &in_memory {
            moves::copied(updated, on_disk);
        }
        let elsewhere = || self.memory.once(object, head);
        in_memory.or_else(|| (on_disk == Found304::Updated).then(elsewhere))
    }

    fn update_in_memory(&self, object: &Arc<Object<H>>, head: &Arc<H>) -> Option<Arc<Object<H>>> {
        if !object.body().is_on_disk() {
            return self.memory.update_head(object, Arc::clone(head));
        }
        let in_memory = self.memory.lookup(object.key());
        let promoted = in_memory.find(object.variant())?;
        let same = promoted.id() == object.id();
        same.then(|| self.memory.update_head(promoted, Arc::clone(head)))?
    }

    async fn update_on_disk(&self, object: &Arc<Object<H>>, head: &Arc<H>) -> Found304 {
        let Some(lower) = &self.lower else {
            return Found304::Nothing;
        };
        let (key, variant) = (object.key(), object.variant());
        let found = lower.disk.find(key);
        let Some(found) = found.into_iter().find(|it| it.variant() == variant) else {
            return Found304::Nothing;
        };
        let stored = lower.disk.head(&found).await;
        let same = stored.is_ok_and(|stored| record::id(lower.epoch, &stored) == Some(object.id()));
        let head = record::encode(lower.epoch, object.id(), &head.encode());
        if same && lower.disk.update_head(&found, &head.into()).is_ok() {
            return Found304::Updated;
        }
        // What the old head says does not hold any more.
        lower.disk.remove_variant(key, variant);
        Found304::Removed
    }

    /// Removes all variants of `key`, and voids the claims to it: what was asked for before and has not been stored by
    /// now will not be.
    pub fn remove(&self, key: Key) -> Removal {
        self.memory.remove(key);
        let Some(lower) = &self.lower else {
            return Removal::InMemory;
        };
        // A removal is written down for ever: not where there is nothing that it could keep from coming back.
        let recovered = matches!(lower.disk.recovered(), Recovery::Done { .. });
        let nothing = recovered && !lower.writing.has(key);
        if nothing && lower.disk.find(key).is_empty() {
            return Removal::InMemory;
        }
        lower.disk.remove(key);
        Removal::OnDisks
    }

    /// Removes this object from all tiers, if it is still the current one of its key and variant.
    pub fn remove_object(&self, object: &Arc<Object<H>>) {
        self.memory.traces().amend(object.key(), Fate::Removed);
        self.take_out(object);
        let (key, variant) = (object.key(), object.variant());
        if let Some(disk) = self.disk()
            && disk.find(key).iter().any(|it| it.variant() == variant)
        {
            disk.remove_variant(key, variant);
        }
    }

    /// Frees the room of what is stored under `key`, and voids the claims to it, where its coming back would do no harm:
    /// unlike a removal, it is not written down.
    pub fn release(&self, key: Key) {
        self.memory.remove(key);
        if let Some(disk) = self.disk() {
            disk.find(key).iter().for_each(|found| disk.forget(found));
        }
    }

    /// Takes out an object that is known to be dead, and would be known to be wherever it is found; with its copy.
    pub fn forget(&self, object: &Arc<Object<H>>, fate: Fate) {
        self.memory.traces().note(object.key(), fate);
        self.take_out(object);
        let Some(disk) = self.disk().filter(|_| !object.body().is_on_disk()) else {
            return;
        };
        let copies = disk.find(object.key()).into_iter();
        copies
            .filter(|copy| copy.variant() == object.variant())
            .for_each(|copy| disk.forget(&copy));
    }

    /// From the tier that it is of.
    fn take_out(&self, object: &Arc<Object<H>>) {
        match (object.body().found(), self.disk()) {
            (Some(found), Some(disk)) => disk.forget(found),
            _ => self.memory.remove_object(object),
        }
    }

    /// Returns when everything that was removed before stays removed, even without power.
    ///
    /// # Errors
    ///
    /// If a disk could not write it down. It holds until the process ends.
    pub async fn sync(&self) -> Result<(), disk::DiskError> {
        match self.disk() {
            Some(disk) => disk.sync().await,
            None => Ok(()),
        }
    }

    /// Charges the memory that the disks take now. False if there is no room for all of it.
    pub fn account(&self) -> bool {
        let Some(lower) = &self.lower else {
            return true;
        };
        let stats = lower.disk.stats();
        let tables = usize::try_from(stats.index_memory).unwrap_or(usize::MAX);
        // Buffers are kept once they were needed.
        let writes = lower.disk.write_buffer();
        self.memory.reserve(tables.saturating_add(writes))
    }

    /// Ends the disk tier in order.
    pub async fn close(&self) {
        if let Some(disk) = self.disk() {
            disk.close().await;
        }
    }
}

/// What became of a disk's copy when its head was renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found304 {
    Nothing,
    Updated,
    Removed,
}

fn new_record(
    (key, variant): (Key, Variant),
    stored_at: u64,
    head: Vec<u8>,
    body_len: Option<u64>,
) -> NewRecord {
    NewRecord {
        key,
        variant,
        // Whether it is alive is told by its head.
        born: 0,
        stored_at,
        head: head.into(),
        body_len,
    }
}

impl<H: Durable> fmt::Debug for Tiers<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tiers")
            .field("memory", &self.memory)
            .field("disk", &self.disk())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
