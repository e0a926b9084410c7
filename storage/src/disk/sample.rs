//! A sample of what is on the disks, in the order in which it goes.

use super::error::DiskError;
use super::format::Stream;
use super::stats::Stats;
use super::table::Entry;
use super::walk::Seen;
use super::{Disk, Recovery};
use crate::curve::Name;

/// Where an object waits for its turn to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Queue {
    /// With what was written for the first time.
    Fresh,
    /// With what was written again, since it was asked for.
    Kept,
}

/// An object that was picked. It may have gone meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Picked {
    /// What the shadows call it.
    pub name: Name,
    /// Where it waits.
    pub queue: Queue,
    /// It is older than what has a higher one.
    pub age: (u64, u64),
    /// The bytes of its head and body.
    pub bytes: u64,
    entry: Entry,
}

/// Segments beside those kept free that a volume without room may have: what was being filled when it was closed.
const OPEN: u64 = 2;

impl Disk {
    /// Of one part of the index, those objects whose names are taken, given what they have in bytes, head included. No
    /// disk is read. None behind the last part.
    pub fn pick(&self, part: usize, takes: impl Fn(Name, u64) -> bool) -> Option<Vec<Picked>> {
        let entries = self.shared.index.entries(part)?.into_iter();
        let pick = |entry: Entry| {
            let life = self.shared.life_of(&entry)?;
            let name = Name::of_tag(entry.tag, life.class(entry.class)?.variant);
            let sizes = entry.sizes();
            let bytes = sizes.head + sizes.body;
            takes(name, bytes).then(|| Picked {
                name,
                queue: match life.stream {
                    Stream::Fresh => Queue::Fresh,
                    Stream::Kept => Queue::Kept,
                },
                age: (life.number, entry.place().at()),
                bytes,
                entry,
            })
        };
        Some(entries.filter_map(pick).collect())
    }

    /// Reads the head of what was picked.
    ///
    /// # Errors
    ///
    /// If it is gone, or cannot be read.
    pub async fn look_at(&self, picked: &Picked) -> Result<Seen, DiskError> {
        self.look(picked.entry).await
    }

    /// Whether the disks have no room left, so that something goes for all that comes.
    pub fn has_no_room(&self) -> bool {
        let Stats { volumes, .. } = self.stats();
        let kept_free = self.shared.volumes.iter().map(|volume| volume.free_min());
        let mut both = volumes.iter().zip(kept_free);
        both.any(|(volume, kept_free)| volume.segments_free <= kept_free as u64 + OPEN)
    }

    /// Whether the index has been read back.
    pub fn is_recovered(&self) -> bool {
        matches!(self.recovered(), Recovery::Done { .. })
    }
}
