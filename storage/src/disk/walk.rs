//! Going through the heads of all that is on the disks, a few at a time.

use std::sync::Arc;

use bytes::Bytes;

use super::Disk;
use super::error::DiskError;
use super::format::{HEADER, length};
use super::front;
use super::life::Life;
use super::recovery::Recovery;
use super::table::Entry;
use super::volume::{Reading, Span, Volume};
use crate::{Key, Variant};

/// Objects that moved while they were looked at, and are looked at again, in one walk.
const AGAIN_MAX: usize = 10_000;

/// A walk through the disks, from one step to the next.
///
/// It sees every object that is on the disks when it begins and when it ends. It holds the places of a 64th of all.
#[derive(Debug)]
pub struct Walk {
    shard: usize,
    entries: Vec<Entry>,
    again: usize,
    complete: bool,
}

/// An object on the way of a walk. Its segment is not written over while this lives.
#[derive(Debug)]
pub struct Seen {
    /// The key it is stored under.
    pub key: Key,
    /// Which variant of its key.
    pub variant: Variant,
    /// What it was stored with, as it is.
    pub head: Bytes,
    entry: Entry,
    /// Holds it fast.
    _life: Arc<Life>,
}

impl Seen {
    /// The bytes of its head and body.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let sizes = self.entry.sizes();
        sizes.head + sizes.body
    }

    /// The bytes of its body.
    #[must_use]
    pub fn body_len(&self) -> u64 {
        self.entry.sizes().body
    }

    /// Whether [`Disk::prove`] was told of it.
    pub(crate) fn is_proven(&self) -> bool {
        self.entry.is_proven()
    }
}

impl Walk {
    /// Whether nothing was passed over so far: the disks were read back before, and every head could be read or was
    /// dropped.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.complete
    }
}

impl Disk {
    /// A walk at its beginning.
    pub fn walk(&self) -> Walk {
        Walk {
            shard: 0,
            entries: Vec::new(),
            again: 0,
            complete: matches!(self.recovered(), Recovery::Done { .. }),
        }
    }

    /// Reads the heads of at most `most` more objects, without a thread of the caller waiting for it. None once there is
    /// nothing left.
    pub async fn step(&self, walk: &mut Walk, most: usize) -> Option<Vec<Seen>> {
        if walk.entries.is_empty() {
            walk.entries = self.shared.index.entries(walk.shard)?;
            // As they lie on the disks, from behind.
            walk.entries
                .sort_unstable_by_key(|entry| std::cmp::Reverse(entry.place().bits()));
            walk.shard += 1;
        }
        let rest = walk.entries.len().saturating_sub(most);
        let mut seen = Vec::new();
        for entry in walk.entries.split_off(rest).into_iter().rev() {
            match self.look(entry).await {
                Ok(one) => seen.push(one),
                Err(DiskError::Busy | DiskError::Slow | DiskError::Offline) => {
                    walk.complete = false;
                }
                Err(DiskError::Gone | DiskError::Damaged | DiskError::Failed(_)) => {
                    self.drop_entry(walk, &entry);
                }
            }
        }
        Some(seen)
    }

    pub(super) async fn look(&self, entry: Entry) -> Result<Seen, DiskError> {
        let held = self.shared.hold(&entry).ok_or(DiskError::Gone)?;
        let (volume, life, entry) = held;
        let span = Span {
            at: entry.place().at(),
            len: HEADER + length(entry.sizes().head),
            ahead: 0,
        };
        let held = Arc::clone(&life);
        let parse =
            move |volume: &Volume, bytes: Bytes| front::parse_head(volume, &held, &entry, &bytes);
        let (header, head) = match volume.read_unasked(&life, span, parse)? {
            Reading::Ready(parsed) => parsed,
            Reading::Waiting(answer) => {
                let patience = self.shared.settings.patience;
                match tokio::time::timeout(patience, answer).await {
                    Ok(Ok(outcome)) => outcome?,
                    Ok(Err(_closed)) => return Err(DiskError::Offline),
                    Err(_elapsed) => return Err(DiskError::Slow),
                }
            }
        };
        Ok(Seen {
            key: header.name.key,
            variant: header.name.variant,
            head,
            entry,
            _life: life,
        })
    }

    /// Takes out what a walk has seen, wherever it has moved meanwhile. Nobody finds it any more, until a start finds it
    /// again: see [`Disk::forget`].
    pub fn drop_seen(&self, walk: &mut Walk, seen: &Seen) {
        self.drop_entry(walk, &seen.entry);
    }

    /// Notes of what a walk has seen that it was looked at. It is remembered as long as this head is, also where reclaim
    /// moves it.
    pub fn prove(&self, walk: &mut Walk, seen: &Seen) {
        let Entry { tag, .. } = seen.entry;
        if !self.shared.index.prove(tag, seen.entry.place()) {
            self.look_again(walk, tag);
        }
    }

    fn drop_entry(&self, walk: &mut Walk, entry: &Entry) {
        let taken = self.shared.index.take(entry.tag, entry.place());
        if taken.is_none() {
            self.look_again(walk, entry.tag);
        }
    }

    /// It is not where it was: gone, replaced, or moved.
    fn look_again(&self, walk: &mut Walk, tag: u64) {
        walk.again += 1;
        if walk.again > AGAIN_MAX {
            walk.complete = false;
            return;
        }
        walk.entries.extend(self.shared.index.find(tag));
    }
}
