//! Reading the index back: each segment's end tells its records. It runs while requests are served.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::Shared;
use super::error::DiskError;
use super::format::{Geometry, HEADER, Header, Kind, MARK, Mark, Name, SEAL, Seal, UNIT, length};
use super::index::{Index, tag_of};
use super::life::{Class, Life};
use super::place::Place;
use super::table::{Entry, Sizes};
use super::volume::Volume;

/// How far a start has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recovery {
    /// The index is being read. What has been read is already served.
    Running {
        /// Segments read so far, on all volumes.
        segments: u64,
        /// Segments there are.
        of: u64,
    },
    /// Everything that can be found is.
    Done {
        /// Objects in the index when it was complete.
        objects: u64,
        /// Bytes of their bodies.
        bytes: u64,
        /// How long it took.
        took: Duration,
        /// Records that were damaged.
        dropped: u64,
    },
}

/// The recovery of all volumes.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    segments: AtomicU64,
    dropped: AtomicU64,
    volumes: AtomicU32,
    done: Mutex<Option<Recovery>>,
}

impl Progress {
    pub(crate) fn now(&self, shared: &Shared) -> Recovery {
        let all = |volume: &Arc<Volume>| u64::from(volume.geometry.count);
        self.done.lock().unwrap_or_else(|| Recovery::Running {
            segments: self.segments.load(Ordering::Relaxed),
            of: shared.volumes.iter().map(all).sum(),
        })
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done.lock().is_some()
    }

    fn volume_done(&self, shared: &Shared) {
        let volumes = self.volumes.fetch_add(1, Ordering::AcqRel) + 1;
        if (volumes as usize) < shared.volumes.len() {
            return;
        }
        let (objects, bytes) = (shared.index.objects(), shared.index.bytes());
        let dropped = self.dropped.load(Ordering::Relaxed);
        let took = (shared.settings.monotonic)().saturating_sub(shared.opened);
        tracing::info!(objects, bytes, ?took, dropped, "the disk tier is complete");
        *self.done.lock() = Some(Recovery::Done {
            objects,
            bytes,
            took,
            dropped,
        });
    }
}

/// A record that was found.
struct Proposed {
    entry: Entry,
    name: Name,
    number: u64,
}

/// One volume's recovery.
struct Recoverer<'a> {
    shared: &'a Shared,
    volume: &'a Volume,
    /// The first number of this run.
    begin: u64,
    next: AtomicU32,
    found: Mutex<Vec<Arc<Life>>>,
    /// What may be older or newer than the one found for its name: segments that were open at the same time do not say.
    disputed: Mutex<Vec<Proposed>>,
    stop: &'a AtomicBool,
}

/// Reads all segments of a volume.
pub(crate) fn recover(shared: &Shared, volume: &Volume) {
    let recoverer = Recoverer {
        shared,
        volume,
        begin: shared.begin,
        next: AtomicU32::new(if volume.is_new {
            volume.geometry.count
        } else {
            0
        }),
        found: Mutex::default(),
        disputed: Mutex::default(),
        stop: &shared.stopping,
    };
    std::thread::scope(|scope| {
        for _ in 1..shared.settings.recovery_threads.max(1) {
            // With fewer threads it takes longer, and that is all.
            drop(std::thread::Builder::new().spawn_scoped(scope, || recoverer.run()));
        }
        recoverer.run();
    });
    recoverer.settle_disputes();
    recoverer.hand_over();
    shared.progress.volume_done(shared);
}

impl Recoverer<'_> {
    fn run(&self) {
        while !self.stop.load(Ordering::Acquire) && !self.volume.health.is_offline() {
            let segment = self.next.fetch_add(1, Ordering::Relaxed);
            if segment >= self.volume.geometry.count {
                return;
            }
            match self.load(segment) {
                Ok(Some(life)) => self.found.lock().push(life),
                Ok(None) => self.volume.log.lock().free.push_back(segment),
                // It stays as it is, out of use, and no removal is forgotten for its sake.
                Err(_) => self.volume.unread.store(true, Ordering::Release),
            }
            self.shared
                .progress
                .segments
                .fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Reads one segment; none if nobody lives there.
    fn load(&self, segment: u32) -> Result<Option<Arc<Life>>, DiskError> {
        let mark = self.volume.read_segment(segment, 0, MARK)?;
        // A life from the future was never begun here.
        let mark = Mark::parse(self.volume.nonce, &mark).filter(|mark| mark.life < self.begin);
        let Some(mark) = mark else {
            return Ok(None);
        };
        let life = Arc::new(Life::new(mark.life, segment, mark.stream));
        life.has_written(self.volume.geometry.segment);
        self.volume.lives.begin(&life);

        if let Some(footer) = self.volume.footer_of(&life) {
            let read = self.admit(&life, footer.headers());
            let damaged = (footer.len() - read) as u64;
            let dropped = &self.shared.progress.dropped;
            dropped.fetch_add(damaged, Ordering::Relaxed);
        } else {
            self.admit(&life, self.volume.scan(&life).into_iter());
        }
        life.finished();
        Ok(Some(life))
    }

    /// Puts the objects of a segment into the index; returns how many records there are.
    fn admit(&self, life: &Arc<Life>, headers: impl Iterator<Item = Header>) -> usize {
        let mut classes: HashMap<Class, u32> = HashMap::new();
        let mut found = Vec::new();
        let mut count = 0;
        for header in headers {
            count += 1;
            if header.kind == Kind::Chunk {
                continue;
            }
            life.reached(header.number);
            if self.shared.was_removed(header.name, header.number) {
                continue;
            }
            let class = Class {
                variant: header.name.variant,
                born: header.born,
            };
            let class = *classes
                .entry(class)
                .or_insert_with(|| life.add_class(class));
            found.push(Proposed {
                entry: entry_of(self.volume, life, &header, class),
                name: header.name,
                number: header.number,
            });
        }
        // One part of the index after the other: each fits the processor's caches, and all of it does not.
        found.sort_unstable_by_key(|one| Index::order(one.entry.tag));
        found.into_iter().for_each(|one| self.propose(one));
        count
    }

    /// Puts a record into the index, unless there is a newer one.
    fn propose(&self, proposed: Proposed) {
        let Proposed { entry, name, .. } = proposed;
        let mut disputed = false;
        let mut newer = None;
        self.shared.index.put(entry, |others| {
            let rival = others
                .iter()
                .find(|other| self.shared.has_variant(other, name.variant));
            match rival.map(|rival| self.is_newer(&entry, rival)) {
                Some(Some(false)) => {
                    newer = rival.copied();
                    None
                }
                Some(None) => {
                    disputed = true;
                    None
                }
                Some(Some(true)) | None => Some(self.shared.displaced_by(name.variant, others)),
            }
        });
        if let Some(newer) = newer {
            self.shared.index.note_replaced(newer.tag, newer.place());
        }
        if disputed {
            self.disputed.lock().push(proposed);
        }
    }

    /// None if their segments were open at the same time.
    fn is_newer(&self, entry: &Entry, rival: &Entry) -> Option<bool> {
        let ours = self.shared.life_of(entry)?;
        let Some(theirs) = self.shared.life_of(rival) else {
            return Some(true);
        };
        if ours.number == theirs.number {
            return Some(entry.place().at() > rival.place().at());
        }
        if ours.last() < theirs.number {
            return Some(false);
        }
        (theirs.last() < ours.number).then_some(true)
    }

    fn settle_disputes(&self) {
        let disputed = std::mem::take(&mut *self.disputed.lock());
        for Proposed {
            entry,
            name,
            number,
        } in disputed
        {
            let others = self.shared.index.find(entry.tag);
            let rival = others
                .iter()
                .find(|other| self.shared.has_variant(other, name.variant));
            let newer = rival.is_none_or(|rival| {
                self.shared
                    .number_at(rival)
                    .is_none_or(|theirs| number > theirs)
            });
            if newer {
                self.shared.index.put(entry, |others| {
                    Some(self.shared.displaced_by(name.variant, others))
                });
            } else if let Some(rival) = rival {
                self.shared.index.note_replaced(rival.tag, rival.place());
            }
        }
    }

    /// From here on the segments are the log's.
    fn hand_over(&self) {
        let mut found = std::mem::take(&mut *self.found.lock());
        found.sort_by_key(|life| life.number);
        let mut log = self.volume.log.lock();
        for life in found.into_iter().rev() {
            log.sealed[life.stream as usize].push_front(life);
        }
        self.volume.note_free(&log);
        drop(log);
        self.volume.reclaim.notify_one();
    }
}

/// The index's entry for a record.
pub(crate) fn entry_of(volume: &Volume, life: &Life, header: &Header, class: u32) -> Entry {
    let sizes = Sizes {
        head: u64::from(header.head_len),
        body: header.body_len,
        spread: header.kind == Kind::Spread,
    };
    let place = Place::of(volume.id, life.segment, header.at);
    Entry::new(
        tag_of(header.name.key),
        place,
        sizes,
        header.stored_at,
        class,
    )
}

impl Volume {
    /// The headers at the end of a segment; none if it was never finished.
    pub(crate) fn footer_of<'a>(&'a self, life: &'a Life) -> Option<Footer<'a>> {
        let segment = self.geometry.segment;
        let seal = self.read_waiting(life, segment - SEAL as u64, SEAL).ok()?;
        let seal = Seal::parse(self.nonce, &seal).filter(|seal| seal.life == life.number)?;
        let len = (seal.records as usize).checked_mul(HEADER)?;
        let at = (segment - SEAL as u64).checked_sub(len as u64)?;
        let bytes = self.read_waiting(life, at, len).ok()?;
        life.reached(seal.last);
        Some(Footer {
            volume: self,
            life,
            bytes,
        })
    }

    /// Looks for records in a segment that was never finished, and finishes it.
    fn scan(&self, life: &Life) -> Vec<Header> {
        let segment = length(self.geometry.segment);
        let Ok(bytes) = self.read_segment(life.segment, 0, segment) else {
            return Vec::new();
        };
        let headers = headers_in(self.nonce, &self.geometry, life.number, &bytes);
        headers
            .iter()
            .for_each(|header| life.reached(header.number));
        let encoded = headers
            .iter()
            .flat_map(|header| header.encode(self.nonce))
            .collect();
        let (at, footer) = self.footer(life, encoded);
        // Without it, the next start looks once more.
        if let Err(error) = self
            .medium
            .write(&footer, self.geometry.offset(life.segment, at))
        {
            self.health.fault(super::Fault::Write, &error);
        }
        headers
    }
}

/// The headers at the end of a segment.
pub(crate) struct Footer<'a> {
    volume: &'a Volume,
    life: &'a Life,
    bytes: Bytes,
}

impl Footer<'_> {
    /// How many there should be.
    fn len(&self) -> usize {
        self.bytes.len() / HEADER
    }

    pub(crate) fn is_intact(&self) -> bool {
        self.headers().count() == self.len()
    }

    /// Those that are intact.
    pub(crate) fn headers(&self) -> impl Iterator<Item = Header> + '_ {
        let Volume {
            nonce, geometry, ..
        } = self.volume;
        self.bytes
            .chunks_exact(HEADER)
            .filter_map(|bytes| Header::parse(*nonce, geometry, bytes))
            .filter(|header| header.life == self.life.number)
    }
}

/// The headers of all records of this life in the bytes of a segment.
pub(crate) fn headers_in(
    nonce: u64,
    geometry: &Geometry,
    life: u64,
    segment: &[u8],
) -> Vec<Header> {
    let mut headers = Vec::new();
    let mut at = MARK;
    while let Some(bytes) = segment.get(at..).filter(|bytes| bytes.len() >= HEADER) {
        // Elsewhere stand copies of headers, and what an earlier life left.
        let here = |header: &Header| header.life == life && header.at as usize == at;
        match Header::parse(nonce, geometry, bytes).filter(here) {
            Some(header) => {
                at += usize::try_from(header.len()).unwrap_or(HEADER);
                headers.push(header);
            }
            None => at += length(UNIT),
        }
    }
    headers
}
