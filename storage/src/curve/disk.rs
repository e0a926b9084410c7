//! One disk of a few objects that stand for all: queues in which they go round while they are asked for.

use super::DiskShape;
use super::names::bytes;
use super::objects::{Object, Objects, OnDisk, Part, Trace, stands_for, weight};
use super::sample::Sampler;
use crate::disk::{Admit, Entry, Ghost, HITS_TO_STAY, Queue, Traces};
use crate::tiers::ASKED_ABOVE;

/// What a disk reclaims at a time, as a share of it, if its segments are as many as it has by default.
const SEGMENT: f64 = 1.0 / 256.0;

/// Segments that are free or half full while others are reclaimed.
const SEGMENTS_FREE: f64 = 5.0;

/// A disk of which so much is in use is not one that fills up any more.
const FILLED: f64 = 2.0 / 3.0;

/// A disk of a few objects that stand for all.
#[derive(Debug)]
pub(super) struct DiskShadow {
    /// Which one of them.
    pub(super) number: usize,
    admit: Admit,
    /// Bytes, as all others that are not said to be of a sample.
    pub(super) capacity: f64,
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
    pub(super) is_filling: bool,
    /// Whether there was no room for something.
    pub(super) was_full: bool,
    /// What it has to take before it has what it would have kept from before the start.
    pub(super) behind: Option<Behind>,
    /// Places of those that were forgotten, and how many were.
    ghosts: f64,
    pub(super) forgotten: f64,
}

/// Bytes that a disk has to take before something is said of it: those that are left, of so many.
#[derive(Debug)]
pub(super) struct Behind {
    pub(super) left: f64,
    pub(super) of: f64,
}

impl Behind {
    pub(super) fn of(bytes: f64) -> Self {
        Self {
            left: bytes,
            of: bytes,
        }
    }
}

/// An object among all others.
pub(super) struct At<'a> {
    pub(super) objects: &'a mut Objects,
    pub(super) place: u32,
    pub(super) sampler: &'a Sampler,
}

impl At<'_> {
    pub(super) fn on(&mut self, disk: usize) -> &mut OnDisk {
        self.objects.on(disk, self.place)
    }

    fn cost(&self) -> u32 {
        self.objects.object(self.place).cost
    }
}

impl DiskShadow {
    pub(super) fn new(number: usize, shape: &DiskShape, factor: f64) -> Self {
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
            was_full: false,
            behind: None,
            ghosts: Ghost::places(whole(capacity), 2 * shape.bytes_per_trace) as f64,
            forgotten: 0.0,
        }
    }

    /// Bytes on it.
    pub(super) fn used(&self, objects: &Objects) -> f64 {
        let parts = [Part::Fresh, Part::Kept].into_iter();
        parts.map(|part| objects.used(self.number, part)).sum()
    }

    /// Has an object from the start, as the newest in its queue.
    pub(super) fn begin_with(
        &self,
        objects: &mut Objects,
        place: u32,
        queue: Queue,
        sampler: &Sampler,
    ) {
        let part = match queue {
            Queue::Fresh => Part::Fresh,
            Queue::Kept => Part::Kept,
        };
        let takes = bytes(objects.object(place).cost) as f64;
        if objects.on(self.number, place).part.is_none() && takes <= self.object_max {
            objects.push(self.number, part, (place, 0), sampler);
        }
    }

    /// Whether it has an object, or remembers it.
    pub(super) fn knows(&self, object: &Object) -> bool {
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
    pub(super) fn asked(&mut self, at: &mut At<'_>, fresh: bool) -> bool {
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

    /// A request that memory answers, of what has no copy here, as `Tiers::accessed`.
    pub(super) fn answered_above(&mut self, at: &mut At<'_>, asked: u16) -> bool {
        let is_due = self.admit != Admit::Auto || u32::from(asked) >= ASKED_ABOVE;
        let admitted = self.admits(at);
        admitted && is_due && (at.on(self.number).part.is_some() || self.write(at))
    }

    /// What memory has a copy of is asked for. If the disk has let go of it, it gets it again.
    pub(super) fn tell(&mut self, at: &mut At<'_>) -> bool {
        let on = at.on(self.number);
        if on.part.is_some() {
            on.hits = on.hits.saturating_add(1).min(Entry::HITS_MAX);
        } else {
            self.write(at);
        }
        true
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
    pub(super) fn turn(&mut self, objects: &Objects) -> bool {
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
        self.behind = self.behind.take().and_then(|it| {
            let left = it.left - stands_for(at.cost(), at.sampler);
            (left > 0.0).then_some(Behind { left, ..it })
        });
        at.objects
            .push(self.number, part, (at.place, 0), at.sampler);
        self.make_room(at.objects, at.sampler);
        true
    }

    pub(super) fn make_room(&mut self, objects: &mut Objects, sampler: &Sampler) {
        loop {
            let used = self.used(objects);
            self.is_filling &= used < self.capacity * FILLED;
            if used <= self.capacity {
                return;
            }
            self.was_full = true;
            let fresh = objects.used(self.number, Part::Fresh);
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
