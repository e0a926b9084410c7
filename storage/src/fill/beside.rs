//! The copy of a body that goes to a disk while it is received.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::{Duration, sleep};

use super::patience::Patience;
use crate::disk::{Disk, Refused, Trail, Writer};
use crate::memory::{Claim, Copy, Object};
use crate::tiers::Place;
use crate::{Head, Key, Variant};

/// How often a disk that is busy is asked whether it takes more.
const PAUSE: Duration = Duration::from_millis(5);

/// What becomes of the disk's copy when a fill ends. Where the new body does not get there, the old one must go: a disk
/// never has an older response than memory.
pub(crate) struct Beside {
    disk: Arc<Disk>,
    /// None if the body does not go to the disk, or not any more.
    writer: Option<Writer>,
    _place: Place,
}

impl Beside {
    pub(crate) fn new(disk: &Arc<Disk>, writer: Option<Writer>, place: Place) -> Self {
        Self {
            disk: Arc::clone(disk),
            writer,
            _place: place,
        }
    }

    pub(super) fn is_taking(&self) -> bool {
        self.writer.is_some()
    }

    /// What the disk has taken so far, to be read meanwhile.
    pub(super) fn trail(&self) -> Option<Arc<Trail>> {
        self.writer
            .as_ref()
            .map(|writer| Arc::clone(writer.trail()))
    }

    /// Gives the disk the next bytes. It has no copy if it cannot keep up.
    pub(super) fn write(&mut self, data: &Bytes) {
        if let Some(writer) = &mut self.writer
            && writer.write(data.clone()).is_err()
        {
            self.writer = None;
        }
    }

    /// The same where nobody else keeps the body, which has come to `end`: a disk that is busy gets some time.
    pub(super) async fn write_patiently(&mut self, mut data: Bytes, end: u64, time: &mut Patience) {
        let Some(writer) = &mut self.writer else {
            return;
        };
        let refused = loop {
            match writer.offer(&mut data) {
                Ok(()) => return,
                Err(Refused::Busy) => {}
                Err(refused) => break refused,
            }
            tokio::select! {
                biased;
                () = time.exhausted(end) => break Refused::Busy,
                () = sleep(PAUSE) => {}
            }
        };
        writer.refuse(refused);
        self.writer = None;
    }

    /// The fill is in memory now.
    pub(super) fn settle_with<H: Head>(self, object: &Object<H>) {
        let Some(writer) = self.writer else {
            return remove_older(&self.disk, object.key(), object.variant());
        };
        object.below().step(Copy::None, Copy::Writing);
        let copied = writer.commit().is_ok();
        settle(&self.disk, object, copied);
        if !copied {
            remove_older(&self.disk, object.key(), object.variant());
        }
    }

    /// The fill has no place in memory.
    pub(super) fn settle_alone<H: Head>(self, claim: &Claim<H>, variant: Variant) {
        // A removal voids claims first, and then asks the disk, which refuses a writer that began before.
        if let Some(writer) = self.writer
            && claim.holds()
            && writer.commit().is_ok()
        {
            claim.memory().displace(claim.key(), variant);
            claim.memory().traces().stored(claim.key());
        }
    }
}

/// Ends the copying of an object. If something took its place meanwhile, the copy must not be found.
pub(crate) fn settle<H: Head>(disk: &Disk, object: &Object<H>, copied: bool) {
    let next = if copied { Copy::Settled } else { Copy::Wanted };
    object.below().step(Copy::Writing, next);
    if copied && object.below().copy() == Copy::Superseded {
        disk.remove_variant(object.key(), object.variant());
    }
}

fn remove_older(disk: &Disk, key: Key, variant: Variant) {
    let on_disk = disk.find(key);
    if on_disk.iter().any(|found| found.variant() == variant) {
        disk.remove_variant(key, variant);
    }
}
