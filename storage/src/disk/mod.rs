//! The disk tier: stored responses that outlive the process.
//!
//! [`Disk`] is a log in segments on one file per disk. What is stored goes to the end of the log in
//! large writes; an index in memory, 32 bytes per object, knows where everything is; the oldest
//! segment is reclaimed when room is needed, and what was asked for again moves on. Everything read
//! back is checked: key, position, and a checksum for each 64 KiB.
//!
//! It decides nothing about HTTP: a head is bytes, and whether an object is still alive is asked of
//! [`Liveness`]. It is not the memory tier's store either: it holds no body in memory.
//!
//! ```text
//!   Writer ─▶ log: buffer ─▶ (flush thread) ─▶ file ◀─ (read, or a pool that waits) ◀─ BodyReader
//!               │                               ▲
//!             index ◀────── recovery ───────────┤
//!               ▲                               │
//!            removals ─▶ (own thread, durable) ─┘  (reclaim thread: oldest segment ─▶ end of the log)
//! ```
//!
//! ## What holds
//!
//! * No thread of the caller waits for a disk. What is not in the page cache is read, and checked, by other threads.
//! * A removed object does not come back: removals are numbered in one order with everything that is
//!   stored, and are durable when [`Disk::sync`] returns.
//! * Every fault ends in a miss. Bytes that differ from those stored are never returned.
//! * The files are as long as configured, from the beginning.
//!
//! ## Order of locks
//!
//! The order of a key (`Shared::order`), then the log of a volume, then a shard of the index, then
//! who lives in a segment, then the classes of a life.

mod admission;
mod allowance;
mod bodies;
mod error;
mod flush;
mod format;
mod found;
#[cfg(feature = "foyer")]
mod foyer;
mod front;
#[cfg(any(feature = "fuzzing", test))]
pub mod fuzzing;
mod ghost;
mod health;
mod index;
mod inspect;
mod keep;
mod life;
mod log;
mod medium;
mod open;
mod place;
mod pool;
mod recovery;
mod removals;
mod sample;
mod settings;
mod shared;
mod stats;
mod table;
mod trail;
mod volume;
mod walk;
mod warmth;
mod writer;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use bytes::Bytes;
use parking_lot::Mutex;

pub use admission::Admit;
pub(crate) use admission::Traces;
pub use error::{DiskError, InspectError, OpenError, Refused};
pub use found::{BodyReader, Found, Pace};
pub(crate) use ghost::Ghost;
pub use health::Fault;
pub(crate) use index::tag_of;
pub use inspect::{Report, VolumeReport, inspect, verify};
pub(crate) use keep::HITS_TO_STAY;
pub use recovery::Recovery;
pub use sample::{Picked, Queue};
pub use settings::{Engine, Settings, VolumeSettings};
pub use shared::{Evicting, Liveness, Worth};
pub use stats::{Stats, VolumeStats};
pub(crate) use table::Entry;
pub(crate) use trail::{Trail, TrailReader};
pub use walk::{Seen, Walk};
pub use writer::{NewRecord, Writer};

use crate::{Key, Variant};
use allowance::Allowance;
use bodies::Ending;
use format::{Extent, Header, Kind, Removal, Target, checksum, table};
use found::{Body, Loaded};
use log::{Phase, Record};
use open::Prepared;
use removals::Removals;
use shared::Shared;
use volume::Volume;

/// Stored responses on disks.
pub struct Disk {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// How many objects.
    pub objects: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
}

impl Disk {
    /// Opens the volumes, or makes them, and begins to read the index back.
    ///
    /// # Errors
    ///
    /// If a volume cannot be used as it was configured.
    pub fn open(settings: Settings) -> Result<Arc<Self>, OpenError> {
        let prepared = open::prepare(&settings)?;
        Self::open_prepared(settings, prepared)
    }

    fn open_prepared(settings: Settings, prepared: Vec<Prepared>) -> Result<Arc<Self>, OpenError> {
        let allowance = Allowance::new(settings.write_buffer);
        let (volumes, numbers) = open::assemble(&settings, prepared, &allowance)?;
        let shared = Shared::new(settings, volumes, numbers, allowance);
        let disk = Arc::new(Self {
            shared,
            threads: Mutex::default(),
        });
        disk.start().map_err(OpenError::Threads)?;
        Ok(disk)
    }

    fn start(&self) -> std::io::Result<()> {
        for volume in &self.shared.volumes {
            self.spawn("write", volume, flush::serve)?;
            self.spawn("reclaim", volume, keep::serve)?;
            self.spawn("remove", volume, Removals::serve)?;
            for _ in 0..self.shared.settings.io_threads.max(1) {
                self.spawn("read", volume, |_, volume| volume.pool.serve(volume))?;
            }
            let bodies = volume.bodies.as_ref();
            self.threads
                .lock()
                .extend(bodies.and_then(|bodies| bodies.thread()));
        }
        Ok(())
    }

    fn spawn(
        &self,
        what: &str,
        volume: &Arc<Volume>,
        serve: fn(&Shared, &Volume),
    ) -> std::io::Result<()> {
        let (shared, volume) = (Arc::clone(&self.shared), Arc::clone(volume));
        let named = std::thread::Builder::new().name(format!("disk{}-{what}", volume.id));
        let thread = named.spawn(move || serve(&shared, &volume))?;
        self.threads.lock().push(thread);
        Ok(())
    }

    /// How far the index has been read back.
    pub fn recovered(&self) -> Recovery {
        self.shared.progress.now(&self.shared)
    }

    /// From now on only what this says is alive is found.
    pub fn set_liveness(&self, liveness: Liveness) {
        self.shared.set_liveness(liveness);
    }

    /// From now on reclaim moves on only what this says is worth it.
    pub fn set_worth(&self, worth: Worth) {
        self.shared.set_worth(worth);
    }

    /// From now on this is told of everything that leaves for others.
    pub fn watch_evictions(&self, evicting: Evicting) {
        self.shared.set_evicting(evicting);
    }

    /// The stored objects of `key`, as far as the index knows: without a read.
    pub fn find(&self, key: Key) -> Vec<Found> {
        let entries = self.shared.index.find(tag_of(key));
        entries
            .into_iter()
            .filter_map(|entry| {
                let (volume, life, entry) = self.shared.hold(&entry)?;
                let class = life.class(entry.class)?;
                let usable = !volume.health.is_offline() && self.shared.is_alive(&key, class.born);
                usable.then(|| Found::new(&self.shared, volume, life, key, entry, class))
            })
            .collect()
    }

    /// The head that an object was stored with. When this returns, all of the body is held fast.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or is not what was stored. That is a miss.
    pub async fn head(&self, found: &Found) -> Result<Bytes, DiskError> {
        Ok(found.0.load().await?.head.clone())
    }

    /// A reader of a part of the body. It reads whole blocks of 64 KiB and nothing else.
    pub fn body(&self, found: &Found, range: Range<u64>) -> BodyReader {
        found.body(range)
    }

    /// Whether a body of this length may be stored.
    pub fn is_storable(&self, length: u64) -> bool {
        length <= self.shared.body_max()
    }

    /// The most memory for everything that is on its way to the disks, in bytes.
    pub fn write_buffer(&self) -> usize {
        self.shared.settings.write_buffer
    }

    /// Drops an object from the index: nobody finds it any more, until a start finds it again. For what is known to be
    /// dead by other means; see [`Disk::remove`].
    pub fn forget(&self, found: &Found) {
        let entry = &found.0.entry;
        self.shared.index.take(entry.tag, entry.place());
    }

    /// A response for `key` comes from elsewhere, from memory or from an origin: whether it is time to
    /// write it here too. That it was asked for is remembered.
    pub fn asked(&self, key: Key, admit: Admit) -> bool {
        let (tag, objects) = (tag_of(key), self.shared.index.objects());
        let admitted = self.shared.asked.admits(tag, admit, objects);
        let is_filling = || {
            let home = self.shared.home(tag);
            home.is_some_and(|volume| volume.is_filling.load(Ordering::Relaxed))
        };
        admitted || admit == Admit::Auto && is_filling()
    }

    /// Begins to store an object.
    ///
    /// # Errors
    ///
    /// If it is too long, or no volume is in service.
    pub fn writer(&self, record: NewRecord) -> Result<Writer, Refused> {
        Writer::new(&self.shared, record)
    }

    /// Gives an object whose head has been read another head. The body stays where it is.
    ///
    /// # Errors
    ///
    /// If the object is not the current one any more, or the disk cannot keep up.
    pub fn update_head(&self, found: &Found, head: &Bytes) -> Result<(), Refused> {
        let (object, shared) = (&found.0, &self.shared);
        let loaded = object.loaded().ok_or(Refused::Gone)?;
        if head.len() as u64 > table::HEAD_MAX {
            return Err(Refused::TooLong);
        }
        let (header, extents) = updated(&object.volume, loaded, object.life.segment, head);
        let (tag, place) = (object.entry.tag, object.entry.place());

        let _order = shared.order(tag);
        let current = shared.index.at(tag, place).ok_or(Refused::Gone)?;
        let record = Record {
            header,
            parts: [head, &extents, &[]],
        };
        // The head stays in the queue that its object has reached.
        let appended = object.volume.append(object.life.stream, record)?;
        let is_there = shared.enter(&object.volume, &appended, |entry| {
            let entry = entry.with_hits(current.hits());
            shared.index.swap(place, entry.replacing_like(&current))
        });
        is_there.then_some(()).ok_or(Refused::Gone)
    }

    /// Removes all variants of `key`. They are not found any more; see [`Disk::sync`].
    pub fn remove(&self, key: Key) -> Removed {
        self.remove_target(Target::Key(key), key, |_| true)
    }

    /// Removes one variant of `key`.
    pub fn remove_variant(&self, key: Key, variant: Variant) -> Removed {
        self.remove_target(Target::Variant(key, variant), key, |entry| {
            self.shared.has_variant(entry, variant)
        })
    }

    fn remove_target(&self, target: Target, key: Key, goes: impl Fn(&Entry) -> bool) -> Removed {
        let tag = tag_of(key);
        let _order = self.shared.order(tag);
        let number = self.shared.numbers.take(1);
        // On all volumes: the set of volumes may change, and with it where a key is at home.
        for volume in &self.shared.volumes {
            volume.removals.add(Removal { target, number });
        }
        let gone = self.shared.index.take_all(tag, goes);
        Removed {
            objects: gone.len() as u64,
            bytes: gone.iter().map(|entry| entry.sizes().body).sum(),
        }
    }

    /// Returns when everything that was removed before stays removed, even without power.
    ///
    /// # Errors
    ///
    /// If a volume that is in service could not write it down. It holds until the process ends.
    pub async fn sync(&self) -> Result<(), DiskError> {
        for volume in &self.shared.volumes {
            let durable = volume.removals.durable();
            let outcome = durable.await.unwrap_or(Err(DiskError::Offline));
            // One that was taken out is formatted before it is used again.
            if !volume.health.is_offline() {
                outcome?;
            }
        }
        Ok(())
    }

    /// An object answered a request: it is worth keeping when its segment is reclaimed.
    pub fn accessed(&self, found: &Found) {
        let entry = &found.0.entry;
        self.shared.index.hit(entry.tag, entry.place());
    }

    /// How it stands.
    pub fn stats(&self) -> Stats {
        Stats::of(&self.shared)
    }

    /// Ends it in order: all that was stored is written, with what a start needs to be quick. A disk
    /// that does not end in [`Settings::close_max`] is left to itself.
    pub async fn close(&self) {
        let (done, ended) = tokio::sync::oneshot::channel();
        self.stop(Phase::Closing);
        let threads = std::mem::take(&mut *self.threads.lock());
        let waiting = std::thread::Builder::new()
            .name("disk-close".to_owned())
            .spawn(move || {
                // Nobody may wait any more.
                done.send(join(threads)).unwrap_or_default();
            });
        if waiting.is_ok() {
            let ended = tokio::time::timeout(self.shared.settings.close_max, ended);
            match ended.await {
                Ok(panicked) => debug_assert_eq!(panicked, Ok(0), "threads panicked"),
                Err(_) => {
                    tracing::error!("the disks did not end in time; what was not written is lost");
                }
            }
        }
    }

    fn stop(&self, phase: Phase) {
        self.shared.stopping.store(true, Ordering::Release);
        for volume in &self.shared.volumes {
            let mut log = volume.log.lock();
            if log.phase == Phase::Open {
                log.phase = phase;
                if phase == Phase::Closing {
                    volume.seal_all(&mut log);
                }
            }
            drop(log);
            volume.dirty.notify_all();
            volume.reclaim.notify_all();
            volume.removals.close();
            volume.pool.close();
            if let Some(bodies) = &volume.bodies {
                bodies.close(match phase {
                    Phase::Abandoned => Ending::Lost,
                    Phase::Open | Phase::Closing => Ending::Written,
                });
            }
        }
    }
}

/// What an object's record says after it got another head.
fn updated(volume: &Volume, loaded: &Loaded, segment: u32, head: &Bytes) -> (Header, Bytes) {
    let old = &loaded.header;
    let extents: Vec<Extent> = match &loaded.body {
        Body::Read(bytes) if bytes.is_empty() => Vec::new(),
        Body::Elsewhere { extents, .. } => extents.clone(),
        Body::Read(_) => vec![Extent {
            life: old.life,
            segment,
            at: u32::try_from(old.body_at()).unwrap_or(u32::MAX),
            sums: old.sums,
        }],
        Body::Chunks(chunks) => chunks
            .iter()
            .map(|chunk| Extent {
                life: chunk.life.number,
                segment: chunk.life.segment,
                at: u32::try_from(chunk.at).unwrap_or(u32::MAX),
                sums: chunk.sums,
            })
            .collect(),
    };
    let (bytes, table_sum) = table(volume.nonce, &extents);
    let header = Header {
        kind: Kind::Spread,
        head_len: u32::try_from(head.len()).unwrap_or(u32::MAX),
        head_sum: checksum(volume.nonce, head),
        extents: u32::try_from(extents.len()).unwrap_or(u32::MAX),
        table_sum,
        sums: Default::default(),
        ..*old
    };
    (header, bytes)
}

/// Waits for the threads to end; how many of them panicked.
fn join(threads: Vec<JoinHandle<()>>) -> usize {
    let outcomes = threads.into_iter().map(JoinHandle::join);
    let panicked = outcomes.filter(Result::is_err).count();
    if panicked > 0 {
        tracing::error!(panicked, "threads of the disk tier panicked");
    }
    panicked
}

impl Drop for Disk {
    /// What has not been written by now is lost, as if the process had been killed.
    fn drop(&mut self) {
        self.stop(Phase::Abandoned);
        let panicked = join(std::mem::take(&mut *self.threads.lock()));
        debug_assert!(
            panicked == 0 || std::thread::panicking(),
            "threads panicked"
        );
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
