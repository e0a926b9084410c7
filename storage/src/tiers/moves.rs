//! Objects on their way between memory and disks.

use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;

use super::record::{self, Durable};
use super::{Admission, Found304, Lower, Tiers, Writing, new_record};
use crate::disk::{Refused, Writer};
use crate::fill::settle;
use crate::memory::{Claim, Copy, Object, Promotion};

/// A tier of stored responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tier {
    /// Memory.
    Memory,
    /// The disks.
    Disk,
}

/// Moves under way at once. What comes beyond it stays where it is until it is asked for again.
pub(super) const MOVES_MAX: usize = 64;

/// At every so manieth request for an object in memory the disk hears of it, or it would take it for forgotten.
pub(crate) const TOLD_EVERY: u32 = 16;

/// Bytes that are copied to a disk's buffers before others have a turn.
const TURN: usize = 1024 * 1024;

impl<H: Durable> Tiers<H> {
    /// From now on this is told of everything that leaves a tier for others: which tier, and when it was received
    /// ([`Durable::stored_at`]). Once.
    pub fn watch_evictions(&self, evicting: impl Fn(Tier, u64) + Clone + Send + Sync + 'static) {
        if let Some(lower) = &self.lower {
            let evicting = evicting.clone();
            let evicting = move |stored_at| evicting(Tier::Disk, stored_at);
            lower.disk.watch_evictions(Arc::new(evicting));
        }
        let evicting = move |victim: &Object<H>| evicting(Tier::Memory, victim.head().stored_at());
        self.memory.watch_evictions(evicting);
    }

    /// `object` answers a request. It may move to the other tier for that; returns where it is best sent from.
    pub fn accessed(
        self: &Arc<Self>,
        object: &Arc<Object<H>>,
        admission: Admission,
    ) -> Arc<Object<H>> {
        let Some(lower) = &self.lower else {
            self.memory.accessed(object);
            return Arc::clone(object);
        };
        if let Some(found) = object.body().found() {
            lower.disk.accessed(found);
            let promoted = self.promote(lower, object);
            return promoted.unwrap_or_else(|| Arc::clone(object));
        }
        self.copy_below(lower, object, admission);
        Arc::clone(object)
    }

    /// Counts a request that memory answers, and has a copy made where it is time.
    fn copy_below(self: &Arc<Self>, lower: &Lower, object: &Arc<Object<H>>, admission: Admission) {
        self.memory.accessed(object);
        let asked = object.below().ask();
        match object.below().copy() {
            Copy::None if admission.admits_copy(&lower.disk, object.key(), asked) => {
                object.below().step(Copy::None, Copy::Wanted);
                self.write_down(lower, object);
            }
            Copy::Wanted => self.write_down(lower, object),
            Copy::Settled if asked.is_multiple_of(TOLD_EVERY) => self.tell(lower, object),
            Copy::None | Copy::Writing | Copy::Settled | Copy::Superseded => {}
        }
    }

    /// `victim` has left memory.
    pub(super) fn evicted(self: &Arc<Self>, victim: Arc<Object<H>>, claim: Claim<H>) {
        let Some(lower) = &self.lower else {
            return;
        };
        if victim.below().copy() == Copy::Settled && victim.below().ask() > 1 {
            self.tell(lower, &victim);
        }
        match victim.below().copy() {
            Copy::None | Copy::Settled | Copy::Superseded => {}
            Copy::Wanted | Copy::Writing => self.write_down_under(lower, victim, claim),
        }
    }

    /// Says to the disk that its copy is asked for. If it has let go of it, it gets it again.
    fn tell(self: &Arc<Self>, lower: &Lower, object: &Arc<Object<H>>) {
        let found = lower.disk.find(object.key());
        match found.iter().find(|it| it.variant() == object.variant()) {
            Some(found) => lower.disk.accessed(found),
            None => {
                object.below().step(Copy::Settled, Copy::Wanted);
            }
        }
    }

    fn write_down(self: &Arc<Self>, lower: &Lower, object: &Arc<Object<H>>) {
        let claim = self.memory.claim(object.key());
        // What was removed before the claim is not in memory any more.
        if self.is_current(object) {
            self.write_down_under(lower, Arc::clone(object), claim);
        }
    }

    fn write_down_under(self: &Arc<Self>, lower: &Lower, object: Arc<Object<H>>, claim: Claim<H>) {
        let Some((runtime, permit)) = lower.place() else {
            return;
        };
        if object.below().step(Copy::Wanted, Copy::Writing) {
            let tiers = Arc::clone(self);
            runtime.spawn(async move {
                tiers.write(&object, &claim).await;
                drop(permit);
            });
        }
    }

    async fn write(&self, object: &Object<H>, claim: &Claim<H>) {
        let Some(lower) = &self.lower else {
            return;
        };
        let place = Writing::enter(&lower.writing, object.key());
        let written = match lower.writer(object) {
            Ok(writer) => pour(object, writer, claim).await,
            Err(refused) => Err(refused),
        };
        if written == Err(Refused::TooLong) {
            // It will not be asked again.
            object.below().step(Copy::Writing, Copy::Settled);
        }
        settle(&lower.disk, object, written.is_ok());
        drop(place);
    }

    /// Reads an object on a disk into memory, if it has a place there. Returns the one in memory, if that is there at
    /// once.
    fn promote(self: &Arc<Self>, lower: &Lower, object: &Arc<Object<H>>) -> Option<Arc<Object<H>>> {
        if !self.memory.has_place_for(object.body().len()) {
            return None;
        }
        // From before it is known to be current.
        let claim = self.memory.claim(object.key());
        let along = object.body().found().and_then(|found| found.read_along());
        if let Some(body) = along {
            return self.put_above(object, &claim, vec![body]);
        }
        let (runtime, permit) = lower.place()?;
        let (tiers, object) = (Arc::clone(self), Arc::clone(object));
        runtime.spawn(async move {
            if let Some(body) = read_whole(&object).await {
                tiers.put_above(&object, &claim, body);
            }
            drop(permit);
        });
        None
    }

    fn put_above(
        self: &Arc<Self>,
        object: &Arc<Object<H>>,
        claim: &Claim<H>,
        body: Vec<Bytes>,
    ) -> Option<Arc<Object<H>>> {
        let promotion = Promotion {
            id: object.id(),
            variant: object.variant(),
            head: Arc::clone(object.head()),
            body,
        };
        let found = object.body().found();
        let current = || found.is_some_and(|found| self.is_on_disk(found, object.key()));
        self.memory.promote(claim, promotion, current)
    }
}

impl Lower {
    /// A place for one more move.
    fn place(&self) -> Option<(Handle, OwnedSemaphorePermit)> {
        let runtime = Handle::try_current().ok()?;
        let permit = Arc::clone(&self.moves).try_acquire_owned().ok()?;
        Some((runtime, permit))
    }

    fn writer<H: Durable>(&self, object: &Object<H>) -> Result<Writer, Refused> {
        let head = object.head();
        let bytes = record::encode(self.epoch, object.id(), &head.encode());
        let name = (object.key(), object.variant());
        let length = Some(object.body().len());
        self.disk
            .writer(new_record(name, head.stored_at(), bytes, length))
    }
}

/// Copies a body from memory to a disk, in turns.
async fn pour<H: Durable>(
    object: &Object<H>,
    mut writer: Writer,
    claim: &Claim<H>,
) -> Result<(), Refused> {
    let mut turn = 0;
    for piece in object.body().chunks() {
        turn += piece.len();
        writer.write(piece)?;
        if turn >= TURN {
            turn = 0;
            tokio::task::yield_now().await;
        }
    }
    // A removal voids claims first, and then asks the disk, which refuses a writer that began before.
    if claim.holds() && object.below().copy() != Copy::Superseded {
        writer.commit()
    } else {
        Err(Refused::Gone)
    }
}

async fn read_whole<H: Durable>(object: &Object<H>) -> Option<Vec<Bytes>> {
    let length = object.body().len();
    let mut reader = object.body().reader(0..length);
    let mut pieces = Vec::new();
    loop {
        match reader.next().await {
            Ok(Some(piece)) => pieces.push(piece),
            Ok(None) => return Some(pieces),
            Err(_) => return None,
        }
    }
}

/// Notes whether an object with a new head has a copy.
pub(super) fn copied<H: Durable>(updated: &Object<H>, on_disk: Found304) {
    let (from, to) = match on_disk {
        Found304::Updated => (Copy::Wanted, Copy::Settled),
        Found304::Nothing | Found304::Removed => (Copy::Settled, Copy::Wanted),
    };
    updated.below().step(from, to);
}
