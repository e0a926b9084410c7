//! The thread of a volume that reclaims: the oldest segment goes, and what of it is asked for moves
//! on.
//!
//! ```text
//!            full, or more than its share            asked for again
//!   Fresh ──────────────────────────────▶ reclaim ─────────────────────▶ Kept ──┐
//!                                            │  ▲                               │ full
//!                                            ▼  └───────────────────────────────┘
//!                              forgotten, and remembered by the ghost
//! ```
//!
//! That is S3-FIFO (Yang et al., SOSP 2023), by bytes and in segments.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::Shared;
use super::error::{DiskError, Refused};
use super::format::{ELSEWHERE, Extent, Header, Kind, MARK, Name, Stream, checksum, table};
use super::front::{self, BodyPlace, Front};
use super::health::Fault;
use super::index::tag_of;
use super::life::Life;
use super::log::{Log, Phase, Record};
use super::place::Place;
use super::recovery::{self, Footer};
use super::table::Entry;
use super::volume::Volume;

/// How long until it looks again whether readers have let go.
const PAUSE: Duration = Duration::from_millis(50);

/// How often an object must have been asked for while its segment went through the queue. Over four traces of a day
/// (`examples/replay`), with two it is half a point of the bytes served less: what is moved on for fewer requests takes
/// the place of what is asked for more often.
pub(crate) const HITS_TO_STAY: u8 = 3;

/// How often it looks before it goes on without a free segment.
const PAUSES_MAX: u32 = 20;

/// The segments that slow readers may keep from being written over, in percent of all.
const PINNED_MAX_PERCENT: u64 = 50;

/// The life of the thread.
pub(crate) fn serve(shared: &Shared, volume: &Volume) {
    recovery::recover(shared, volume);
    let mut budget = Budget::new(shared, volume);
    let mut outlived = false;
    let mut pauses = 0;
    loop {
        collect(volume);
        if volume.health.is_offline() && !outlived {
            outlived = true;
            shared.forget_volume(volume.id);
            volume.mark_failed();
        }
        let Some(victim) = wait_for_victim(volume, shared.settings.fresh_percent, &mut pauses)
        else {
            return;
        };
        if let Some(victim) = victim {
            reclaim(shared, volume, &victim, &mut budget);
        }
    }
}

/// The next segment to reclaim. None inside if there is none yet; none outside at the end.
fn wait_for_victim(
    volume: &Volume,
    fresh_percent: u32,
    pauses: &mut u32,
) -> Option<Option<Arc<Life>>> {
    let mut log = volume.log.lock();
    if log.phase != Phase::Open {
        return None;
    }
    if log.free.len() >= volume.free_min() || volume.health.is_offline() {
        let pause = if log.leaving.is_empty() {
            PAUSE * 20
        } else {
            PAUSE
        };
        volume.reclaim.wait_for(&mut log, pause);
        return Some(None);
    }
    // Readers may hold a part of the volume. Beyond it, it is they that are waited for.
    if log.leaving.len() as u64 >= u64::from(volume.geometry.count) * PINNED_MAX_PERCENT / 100 {
        volume.reclaim.wait_for(&mut log, PAUSE);
        return Some(None);
    }
    // What is to be kept needs a segment to go to. Before it is given up, readers get some time.
    if log.free.is_empty() && !log.leaving.is_empty() && *pauses < PAUSES_MAX {
        *pauses += 1;
        volume.reclaim.wait_for(&mut log, PAUSE);
        return Some(None);
    }
    *pauses = 0;
    let victim = victim(&mut log, volume, fresh_percent);
    if victim.is_none() {
        volume.reclaim.wait_for(&mut log, PAUSE);
    }
    Some(victim)
}

fn victim(log: &mut Log, volume: &Volume, fresh_percent: u32) -> Option<Arc<Life>> {
    let fresh_max = u64::from(volume.geometry.count) * u64::from(fresh_percent) / 100;
    let [fresh, kept] = &log.sealed;
    let first = if fresh.len() as u64 > fresh_max || kept.is_empty() {
        Stream::Fresh
    } else {
        Stream::Kept
    };
    // A segment whose end is not on the disk yet is too young to go.
    let written = |life: &Arc<Life>| life.written() >= volume.geometry.segment;
    let queue = &mut log.sealed[first as usize];
    if queue.front().is_some_and(written) {
        return queue.pop_front();
    }
    None
}

/// Frees the segments that nobody reads any more.
fn collect(volume: &Volume) {
    let mut log = volume.log.lock();
    let (mut idle, mut read) = (Vec::new(), Vec::new());
    for mut life in std::mem::take(&mut log.leaving) {
        // Nobody else has it, and all that the last one read has been read.
        let is_idle = Arc::get_mut(&mut life).is_some();
        if is_idle { &mut idle } else { &mut read }.push(life);
    }
    log.leaving = read;
    // While they are wiped, they still count as not wiped.
    log.leaving.extend(idle.iter().cloned());
    drop(log);

    for life in idle {
        if volume.health.is_offline() {
            return;
        }
        let at = volume.geometry.offset(life.segment, 0);
        if let Err(error) = volume.medium.write(&[0; MARK], at) {
            volume.health.fault(Fault::Write, &error);
            continue;
        }
        let mut log = volume.log.lock();
        log.leaving.retain(|other| !Arc::ptr_eq(other, &life));
        log.free.push_back(life.segment);
    }
}

/// The bytes that may be written to keep objects: a share of what is reclaimed. What was not used
/// is saved up, since what is asked for comes in bunches.
pub(crate) struct Budget {
    bytes: u64,
    per_segment: u64,
    max: u64,
}

impl Budget {
    pub(crate) fn new(shared: &Shared, volume: &Volume) -> Self {
        let percent = u64::from(shared.settings.kept_percent.min(90));
        let per_segment = volume.geometry.segment / 100 * percent;
        let max = per_segment * u64::from(volume.geometry.count);
        Self {
            bytes: max,
            per_segment,
            max,
        }
    }

    fn earn(&mut self) {
        self.bytes = (self.bytes + self.per_segment).min(self.max);
    }

    fn spend(&mut self, bytes: u64) -> Option<()> {
        self.bytes = self.bytes.checked_sub(bytes)?;
        Some(())
    }
}

/// Empties a segment.
fn reclaim(shared: &Shared, volume: &Volume, victim: &Arc<Life>, budget: &mut Budget) {
    budget.earn();
    let reclaim = Reclaim {
        shared,
        volume,
        victim,
    };
    let footer = volume.footer_of(victim);
    if let Some(footer) = &footer {
        reclaim.run(footer.headers(), budget);
    }
    reclaim.leave(footer.as_ref());
}

/// How much of an object went through the queue with a segment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    Partial,
    Complete,
}

/// An object that has a part in a segment.
struct Resident {
    entry: Entry,
    name: Name,
    /// Of the record that it exists by.
    number: u64,
}

/// One segment on its way out.
pub(crate) struct Reclaim<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) volume: &'a Volume,
    pub(crate) victim: &'a Arc<Life>,
}

impl Reclaim<'_> {
    /// Moves on what is to stay, and has the index let go of the rest.
    pub(crate) fn run(&self, headers: impl Iterator<Item = Header>, budget: &mut Budget) {
        let mut residents = self.residents(headers);
        // Those asked for most come first: the budget may not suffice for all.
        residents.sort_by_key(|resident| std::cmp::Reverse(resident.entry.hits()));
        for resident in residents {
            let entry = resident.entry;
            if entry.hits() >= HITS_TO_STAY && self.move_on(&entry, budget).is_some() {
                self.volume.counters.kept.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            if let Some(gone) = self.shared.index.take(entry.tag, entry.place()) {
                self.volume.counters.evicted.fetch_add(1, Ordering::Relaxed);
                self.volume.ghost.remember(entry.tag);
                self.shared.evicted(gone.stored_at);
                if gone.is_replacing() {
                    self.shared.bury_older(resident.name, resident.number);
                }
            }
        }
    }

    /// Ends the life: the index has nobody there from now on.
    pub(crate) fn leave(&self, footer: Option<&Footer<'_>>) {
        // It leaves before it ends: in between it must not look as if it had been wiped.
        self.volume.log.lock().leaving.push(Arc::clone(self.victim));
        self.volume.lives.end(self.victim.segment);
        match footer.filter(|footer| footer.is_intact()) {
            // Those who wrote there long ago, and told the index only now: see `Shared::enter`.
            Some(footer) => footer.headers().for_each(|header| {
                let place = Place::of(self.volume.id, self.victim.segment, header.at);
                self.shared.index.take(tag_of(header.name.key), place);
            }),
            // Who lived there is not known: whoever points there goes.
            None => self
                .shared
                .forget_segment(self.volume.id, self.victim.segment),
        }
    }

    /// The objects that have a part in the segment.
    fn residents(&self, headers: impl Iterator<Item = Header>) -> Vec<Resident> {
        let mut seen: HashSet<Place> = HashSet::new();
        headers
            .filter_map(|header| self.resident(&header))
            .filter(|resident| seen.insert(resident.entry.place()))
            .collect()
    }

    /// The object that this record is, or belongs to.
    fn resident(&self, header: &Header) -> Option<Resident> {
        let tag = tag_of(header.name.key);
        let place = Place::of(self.volume.id, self.victim.segment, header.at);
        let resident = |entry, number| Resident {
            entry,
            name: header.name,
            number,
        };
        if let Some(entry) = self.shared.index.at(tag, place) {
            return Some(resident(entry, header.number));
        }
        if header.kind == Kind::Spread {
            return None;
        }
        // Its head may have been written later: after all of the body, or by a 304.
        let others = self.shared.index.find(tag);
        let entry = *others.iter().find(|other| {
            other.place().volume == self.volume.id
                && other.sizes().spread
                && self.shared.has_variant(other, header.name.variant)
        })?;
        match front::load_waiting(self.volume, &*self.shared.life_of(&entry)?, &entry) {
            Ok(front) => {
                let part = self.is_part(&front);
                part.then(|| resident(entry, front.header.number))
            }
            // Its own number is not known: the next one is later than all that were written.
            Err(_) => Some(resident(entry.with_hits(0), self.shared.numbers.next())),
        }
    }

    fn is_part(&self, front: &Front) -> bool {
        match &front.body {
            BodyPlace::Here { .. } => false,
            BodyPlace::Spread(extents) => extents.iter().any(|extent| self.has(extent)),
        }
    }

    fn has(&self, extent: &Extent) -> bool {
        extent.segment == self.victim.segment && extent.life == self.victim.number
    }

    /// Writes what the segment has of an object once more; none if it is to go.
    fn move_on(&self, entry: &Entry, budget: &mut Budget) -> Option<()> {
        let life = self.shared.life_of(entry)?;
        let class = life.class(entry.class)?;
        let front = front::load_waiting(self.volume, &life, entry).ok()?;
        let is_alive = self.shared.is_alive(&front.header.name.key, class.born);
        if !is_alive || !self.shared.is_worth_keeping(&front.head, entry.is_proven()) {
            return None;
        }
        budget.spend(self.cost(&front))?;
        let moved = match &front.body {
            BodyPlace::Here { .. } => self.rewrite_whole(entry, &front, &life),
            BodyPlace::Spread(extents) => self.rewrite_parts(entry, &front, extents),
        };
        moved.ok()
    }

    fn cost(&self, front: &Front) -> u64 {
        let own = front.header.len();
        match &front.body {
            BodyPlace::Here { .. } => own,
            BodyPlace::Spread(extents) => {
                let here = extents.iter().filter(|extent| self.has(extent)).count() as u64;
                own + here * u64::from(self.volume.geometry.chunk)
            }
        }
    }

    fn rewrite_whole(&self, entry: &Entry, front: &Front, life: &Life) -> Result<(), Lost> {
        let header = &front.header;
        let len = front::chunk_len(self.volume, header.body_len, 0);
        let body = self.volume.read_waiting(life, header.body_at(), len)?;
        front::check_blocks(self.volume, &body, 0, &header.sums)?;
        self.replace(
            entry,
            front,
            *header,
            [&front.head, &[], &body],
            Pass::Complete,
        )
    }

    fn rewrite_parts(&self, entry: &Entry, front: &Front, old: &[Extent]) -> Result<(), Lost> {
        let mut extents = Vec::with_capacity(old.len());
        for (number, extent) in old.iter().enumerate() {
            extents.push(if self.has(extent) {
                self.move_chunk(front, number as u64, extent)?
            } else {
                *extent
            });
        }
        let (table, table_sum) = table(self.volume.nonce, &extents);
        let header = Header {
            table_sum,
            ..front.header
        };
        // An object may lie in many segments, which go one after the other. Only with the last of
        // them has it been through the queue.
        let pass = match old.last() {
            Some(last) if last.segment != ELSEWHERE && !self.has(last) => Pass::Partial,
            _ => Pass::Complete,
        };
        self.replace(entry, front, header, [&front.head, &table, &[]], pass)
    }

    fn move_chunk(&self, front: &Front, number: u64, extent: &Extent) -> Result<Extent, Lost> {
        let len = front::chunk_len(self.volume, front.header.body_len, number);
        let bytes: Bytes = self
            .volume
            .read_waiting(self.victim, u64::from(extent.at), len)?;
        front::check_blocks(self.volume, &bytes, 0, &extent.sums)?;
        front::append_chunk(
            self.volume,
            Stream::Kept,
            &front.header,
            &bytes,
            extent.sums,
        )
        .map_err(Lost::from)
    }

    /// Writes the object's record again, if the object is still the same.
    fn replace(
        &self,
        entry: &Entry,
        front: &Front,
        header: Header,
        parts: [&[u8]; 3],
        pass: Pass,
    ) -> Result<(), Lost> {
        debug_assert_eq!(header.head_sum, checksum(self.volume.nonce, &front.head));
        let _order = self.shared.order(entry.tag);
        let current = self.shared.index.at(entry.tag, entry.place()).ok_or(Lost)?;
        let appended = self.volume.append(Stream::Kept, Record { header, parts })?;
        // From the fresh queue it starts anew; in the other it lives as often as it was asked for.
        let hits = match (pass, self.victim.stream) {
            (Pass::Partial, _) => current.hits(),
            (Pass::Complete, Stream::Fresh) => 0,
            (Pass::Complete, Stream::Kept) => current.hits().saturating_sub(1),
        };
        let is_there = self.shared.enter(self.volume, &appended, |moved| {
            let moved = moved.with_hits(hits);
            let moved = moved.proven_like(&current).replacing_like(&current);
            self.shared.index.swap(entry.place(), moved)
        });
        is_there.then_some(()).ok_or(Lost)
    }
}

/// It cannot be moved, and goes.
#[derive(Debug)]
struct Lost;

impl From<DiskError> for Lost {
    fn from(_: DiskError) -> Self {
        Self
    }
}

impl From<Refused> for Lost {
    fn from(_: Refused) -> Self {
        Self
    }
}
