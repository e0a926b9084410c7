//! The disk tier without bodies, of each size and below each memory: queues in which objects go round while they are asked
//! for.
//!
//! What decides here is what decides there: [`Admission`](crate::Admission) and `tiers::moves` when something is
//! written, `disk::keep` what stays.

use super::names::bytes;
use super::objects::{Copies, Known, Object, Objects, OnDisk, Part, Trace, stands_for, weight};
use super::sample::{Sampled, Sampler};
use super::shadow::{Above, Victim};
use super::{CHANGES, DISKS, DiskShape, FACTORS, MEMORIES, PRESENT};
use crate::disk::{Admit, Entry, Ghost, HITS_TO_STAY, Traces};
use crate::tiers::{ASKED_ABOVE, TOLD_EVERY};

/// What a disk reclaims at a time, as a share of it, if its segments are as many as it has by default.
const SEGMENT: f64 = 1.0 / 256.0;

/// Segments that are free or half full while others are reclaimed.
const SEGMENTS_FREE: f64 = 5.0;

/// A disk of which so much is in use is not one that fills up any more.
const FILLED: f64 = 2.0 / 3.0;

/// What the disks did with it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Below {
    /// Whether it was found, and may be used.
    pub answered: [bool; CHANGES],
    /// Where it is now.
    pub copies: Copies,
}

/// The disks as they are below memory as it is and with each change to it, and with each change to the disks.
#[derive(Debug)]
pub(super) struct DiskShadows {
    objects: Objects,
    disks: [DiskShadow; CHANGES],
}

/// A disk of a few objects that stand for all.
#[derive(Debug)]
struct DiskShadow {
    /// Which one of them.
    number: usize,
    admit: Admit,
    /// Bytes, as all others that are not said to be of a sample.
    capacity: f64,
    object_max: f64,
    fresh_share: f64,
    kept_share: f64,
    /// What may be written again.
    budget: f64,
    /// How much is remembered of what it does not have.
    traces: Traces,
    generation: u8,
    /// New traces in this generation, those included that a sampled one stands for.
    begun: f64,
    /// Whether it never was nearly full.
    is_filling: bool,
    /// Places of those that were forgotten, and how many were.
    ghosts: f64,
    forgotten: f64,
}

impl DiskShadows {
    pub(super) fn new(shape: &DiskShape) -> Self {
        let factor = |change: usize| {
            let factor = change.checked_sub(DISKS).and_then(|it| FACTORS.get(it));
            factor.copied().unwrap_or(1.0)
        };
        Self {
            objects: Objects::new(),
            disks: std::array::from_fn(|change| DiskShadow::new(change, shape, factor(change))),
        }
    }

    /// Objects that any of them has or remembers.
    pub(super) fn entries(&self) -> usize {
        self.objects.len()
    }

    /// A request, and what each memory did with it: whether the disks have what is asked for, and what they have
    /// afterwards.
    pub(super) fn asked(
        &mut self,
        sampled: &Sampled,
        above: &[Above; MEMORIES],
        sampler: &Sampler,
    ) -> Below {
        if let Some(copies) = settled(above) {
            let answered = [true; CHANGES];
            return Below { answered, copies };
        }
        let known = self.objects.find(sampled.name);
        let fresh = known.is_some_and(|place| {
            let until = self.objects.object(place).until;
            sampled.is_answered_by(until)
        });
        let place = self.objects.enter(Known::of(sampled), sampler);
        let mut below = Below::default();
        for disk in &mut self.disks {
            let number = disk.number;
            let mut at = At {
                objects: &mut self.objects,
                place,
                sampler,
            };
            below.answered[number] = fresh && at.on(number).part.is_some();
            let copied = match above[memory_above(number)] {
                Above::Answered { asked, copies } => {
                    disk.answered_above(&mut at, asked, copies.on(number))
                }
                Above::Missed => disk.asked(&mut at, fresh),
            };
            below.copies.set(number, copied);
        }
        self.sweep(sampler);
        below
    }

    /// An object has left one of the memories.
    pub(super) fn evicted(&mut self, memory: usize, victim: &Victim, sampler: &Sampler) {
        let is_copied = |disk: &&mut DiskShadow| {
            memory_above(disk.number) == memory && victim.copies.on(disk.number)
        };
        if victim.asked == 0 || victim.copies == Copies::default() {
            return;
        }
        let place = self.objects.enter(victim.object, sampler);
        for disk in self.disks.iter_mut().filter(is_copied) {
            let mut at = At {
                objects: &mut self.objects,
                place,
                sampler,
            };
            disk.tell(&mut at);
        }
    }

    pub(super) fn forget(&mut self, name: u64, sampler: &Sampler) {
        if let Some(place) = self.objects.find(name) {
            self.objects.remove(place, sampler);
        }
    }

    /// Keeps those that are sampled still.
    pub(super) fn thin(&mut self, sampler: &Sampler) {
        self.let_go(sampler);
        for disk in &mut self.disks {
            disk.make_room(&mut self.objects, sampler);
        }
    }

    /// Lets go of what nobody remembers, when the largest of them has begun another generation: it remembers longest.
    fn sweep(&mut self, sampler: &Sampler) {
        let mut turned = false;
        for disk in &mut self.disks {
            turned = disk.turn(&self.objects); // the last one is the largest
        }
        if turned {
            self.let_go(sampler);
        }
    }

    fn let_go(&mut self, sampler: &Sampler) {
        let is_known = |object: &Object| {
            let mut disks = self.disks.iter();
            disks.any(|disk| disk.knows(object))
        };
        self.objects.sweep(sampler, is_known);
    }
}

/// The memory that a disk is below.
const fn memory_above(change: usize) -> usize {
    if change < MEMORIES { change } else { PRESENT }
}

/// Where all memories have answered, and nothing is to be said to the disks: where their copies are.
fn settled(above: &[Above; MEMORIES]) -> Option<Copies> {
    let mut all = Copies::default();
    for change in 0..CHANGES {
        match above[memory_above(change)] {
            Above::Answered { asked, copies }
                if copies.on(change) && !u32::from(asked).is_multiple_of(TOLD_EVERY) =>
            {
                all.set(change, true);
            }
            Above::Answered { .. } | Above::Missed => return None,
        }
    }
    Some(all)
}

/// An object among all others.
struct At<'a> {
    objects: &'a mut Objects,
    place: u32,
    sampler: &'a Sampler,
}

impl At<'_> {
    fn on(&mut self, disk: usize) -> &mut OnDisk {
        self.objects.on(disk, self.place)
    }

    fn cost(&self) -> u32 {
        self.objects.object(self.place).cost
    }
}

impl DiskShadow {
    fn new(number: usize, shape: &DiskShape, factor: f64) -> Self {
        let capacity = shape.bytes as f64 * factor;
        let kept_share = f64::from(shape.kept_percent) / 100.0;
        Self {
            number,
            admit: shape.admit,
            capacity: capacity * (1.0 - SEGMENTS_FREE * SEGMENT),
            // A share of the disk, if nothing else is said.
            object_max: shape.object_max as f64 * factor,
            fresh_share: f64::from(shape.fresh_percent) / 100.0,
            kept_share,
            budget: capacity * kept_share,
            traces: Traces::of(whole(capacity), shape.bytes_per_trace),
            generation: 0,
            begun: 0.0,
            is_filling: true,
            ghosts: Ghost::places(whole(capacity), 2 * shape.bytes_per_trace) as f64,
            forgotten: 0.0,
        }
    }

    /// Whether it has an object, or remembers it.
    fn knows(&self, object: &Object) -> bool {
        let on = &object.on[self.number];
        on.part.is_some()
            || on.trace.recalled(self.generation) > 0
            || self.remembers(object.name, on)
    }

    /// Whether it remembers having forgotten an object: nobody has taken its place since, out of so many.
    fn remembers(&self, name: u64, on: &OnDisk) -> bool {
        on.forgotten().is_some_and(|then| {
            let others = number_of(self.forgotten).wrapping_sub(then);
            f64::from(others) < -even(name).ln() * self.ghosts
        })
    }

    /// A request that memory does not answer; whether the disk has it then.
    fn asked(&mut self, at: &mut At<'_>, fresh: bool) -> bool {
        let on = at.on(self.number);
        let had = on.part;
        if had.is_some() && fresh {
            on.hits = on.hits.saturating_add(1).min(Entry::HITS_MAX);
            return true;
        }
        let admitted = self.admits(at);
        match had {
            // What takes the place of something was worth writing before.
            Some(part) => {
                at.objects.take(self.number, at.place, at.sampler);
                self.write_to(part, at)
            }
            None => admitted && self.write(at),
        }
    }

    /// A request that memory answers, as `Tiers::accessed`.
    fn answered_above(&mut self, at: &mut At<'_>, asked: u16, copied: bool) -> bool {
        if copied {
            if u32::from(asked).is_multiple_of(TOLD_EVERY) {
                self.tell(at);
            }
            return true;
        }
        let is_due = self.admit != Admit::Auto || u32::from(asked) >= ASKED_ABOVE;
        let admitted = self.admits(at);
        admitted && is_due && (at.on(self.number).part.is_some() || self.write(at))
    }

    /// What memory has is asked for. If the disk has let go of it, it gets it again.
    fn tell(&mut self, at: &mut At<'_>) {
        let on = at.on(self.number);
        if on.part.is_some() {
            on.hits = on.hits.saturating_add(1).min(Entry::HITS_MAX);
        } else {
            self.write(at);
        }
    }

    /// Counts a request for what it does not have, and says whether that is worth writing.
    fn admits(&mut self, at: &mut At<'_>) -> bool {
        let needed = self.admit.needed();
        if needed == 0 {
            return true;
        }
        let (cost, generation) = (at.cost(), self.generation);
        let trace = &mut at.on(self.number).trace;
        let before = trace.recalled(generation);
        *trace = Trace {
            generation,
            count: before.saturating_add(1),
        };
        if before == 0 {
            self.begun += weight(cost, at.sampler);
        }
        u32::from(before) >= needed || self.admit == Admit::Auto && self.is_filling
    }

    /// Begins another generation, if this one is complete; whether it did.
    fn turn(&mut self, objects: &Objects) -> bool {
        let complete = self.begun
            >= self
                .traces
                .per_generation(whole(objects.resident(self.number))) as f64;
        if complete {
            self.begun = 0.0;
            self.generation = self.generation.wrapping_add(1);
        }
        complete
    }

    /// Writes it to where it stays for longer, if it was there before.
    fn write(&mut self, at: &mut At<'_>) -> bool {
        let name = at.objects.object(at.place).name;
        let part = match self.remembers(name, at.on(self.number)) {
            true => Part::Kept,
            false => Part::Fresh,
        };
        self.write_to(part, at)
    }

    fn write_to(&mut self, part: Part, at: &mut At<'_>) -> bool {
        let takes = bytes(at.cost()) as f64;
        if takes > self.object_max || takes > self.capacity {
            return false;
        }
        at.objects
            .push(self.number, part, (at.place, 0), at.sampler);
        self.make_room(at.objects, at.sampler);
        true
    }

    fn make_room(&mut self, objects: &mut Objects, sampler: &Sampler) {
        loop {
            let [fresh, kept] = [Part::Fresh, Part::Kept].map(|it| objects.used(self.number, it));
            self.is_filling &= fresh + kept < self.capacity * FILLED;
            if fresh + kept <= self.capacity {
                return;
            }
            let is_full = fresh > self.capacity * self.fresh_share;
            let part = match is_full || objects.oldest(self.number, Part::Kept).is_none() {
                true => Part::Fresh,
                false => Part::Kept,
            };
            self.reclaim(part, objects, sampler);
        }
    }

    /// A segment goes; what was asked for often is written once more, that which was asked for most first.
    fn reclaim(&mut self, part: Part, objects: &mut Objects, sampler: &Sampler) {
        let mut segment = Vec::new();
        let mut freed = 0.0;
        while freed < self.capacity * SEGMENT
            && let Some(place) = objects.oldest(self.number, part)
        {
            freed += stands_for(objects.object(place).cost, sampler);
            segment.push((place, objects.on(self.number, place).hits));
            objects.take(self.number, place, sampler);
        }
        let most = self.capacity * self.kept_share;
        self.budget = (self.budget + freed * self.kept_share).min(most);
        segment.sort_by_key(|(_, hits)| std::cmp::Reverse(*hits));
        for (place, hits) in segment {
            let takes = stands_for(objects.object(place).cost, sampler);
            if hits >= HITS_TO_STAY && self.budget >= takes {
                self.budget -= takes;
                let hits = match part {
                    Part::Fresh => 0,
                    Part::Kept => hits - 1,
                };
                objects.push(self.number, Part::Kept, (place, hits), sampler);
            } else {
                self.forgotten += weight(objects.object(place).cost, sampler);
                objects.forget(self.number, place, number_of(self.forgotten));
            }
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts and bytes are positive"
)]
fn whole(number: f64) -> u64 {
    number as u64
}

/// Counts may begin anew: only how far they are apart matters.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "its low bits"
)]
fn number_of(count: f64) -> u32 {
    count as u64 as u32
}

/// A number from 0 to 1 that a name always has.
fn even(name: u64) -> f64 {
    let bits = name.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    (bits + 1) as f64 / (1_u64 << 24) as f64
}
