//! The disk tier without bodies: queues in which objects go round while they are asked for.

use std::collections::VecDeque;

use super::DiskShape;
use super::names::{Names, bytes, units};
use super::sample::{Sampled, Sampler};
use crate::disk::{Admit, HITS_TO_STAY};

/// Where counting hits ends, as on the disk.
const HITS_MAX: u8 = 7;

/// What is remembered of what was asked for, at least.
const TRACES_MIN: usize = 512;

/// A disk of a few objects that stand for all.
#[derive(Debug)]
pub(super) struct DiskShadow {
    admit: Admit,
    capacity: f64,
    fresh_share: f64,
    kept_share: f64,
    residents: Names<Resident>,
    /// What was written for the first time, and what was written again.
    fresh: Queue,
    kept: Queue,
    /// What may be written again.
    budget: f64,
    /// How often what is not on the disk was asked for: lately, and before.
    traces: [Names<u8>; 2],
    written: u32,
}

/// Objects in the order in which they were written.
#[derive(Debug, Default)]
struct Queue {
    places: VecDeque<Place>,
    used: f64,
}

/// Where an object was written. It may have gone since, and have been written again.
#[derive(Clone, Copy, Debug)]
struct Place {
    name: u64,
    number: u32,
}

#[derive(Clone, Copy, Debug)]
struct Resident {
    cost: u32,
    until: u32,
    /// Of its place.
    number: u32,
    hits: u8,
    part: Part,
}

/// The parts of a disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Part {
    Fresh,
    Kept,
}

impl DiskShadow {
    pub(super) fn new(shape: &DiskShape, factor: f64) -> Self {
        Self {
            admit: shape.admit,
            capacity: shape.bytes as f64 * factor,
            fresh_share: f64::from(shape.fresh_percent) / 100.0,
            kept_share: f64::from(shape.kept_percent) / 100.0,
            residents: Names::default(),
            fresh: Queue::default(),
            kept: Queue::default(),
            budget: 0.0,
            traces: Default::default(),
            written: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.residents.len()
    }

    /// Objects and what is remembered of others.
    pub(super) fn entries(&self) -> usize {
        // A trace takes a third of what an object takes.
        let traces: usize = self.traces.iter().map(Names::len).sum();
        self.len() + traces / 3
    }

    /// Whether it has what is asked for, and may use it, where memory has not answered already.
    pub(super) fn asked(&mut self, sampled: &Sampled, in_memory: bool, sampler: &Sampler) -> bool {
        if let Some(resident) = self.residents.get_mut(&sampled.name) {
            let fresh = sampled.is_answered_by(resident.until);
            resident.until = sampled.until;
            if !in_memory {
                resident.hits = resident.hits.saturating_add(1);
            }
            return fresh;
        }
        // What memory answers for is written late: as if it were not.
        let is_due = !in_memory || self.admit != Admit::Auto;
        if self.admits(sampled.name) && is_due {
            self.write(sampled, sampler);
        }
        false
    }

    pub(super) fn forget(&mut self, name: u64, sampler: &Sampler) {
        if let Some(gone) = self.residents.remove(&name) {
            self.queue(gone.part).used -= sampler.taken(bytes(gone.cost));
        }
    }

    /// Keeps those that are sampled still.
    pub(super) fn thin(&mut self, sampler: &Sampler) {
        let residents = &mut self.residents;
        residents.retain(|name, it| sampler.keeps(*name, bytes(it.cost)));
        for queue in [&mut self.fresh, &mut self.kept] {
            let holds = |place: &Place| holds(residents, *place);
            queue.places.retain(holds);
            let costs = queue
                .places
                .iter()
                .filter_map(|place| residents.get(&place.name));
            queue.used = costs.map(|it| sampler.taken(bytes(it.cost))).sum();
        }
        for traces in &mut self.traces {
            // They have no cost: as if they were small.
            traces.retain(|name, _| sampler.keeps(*name, 0));
        }
        let most = self.capacity * sampler.rate() * self.kept_share;
        self.budget = self.budget.min(most);
        self.make_room(sampler);
    }

    fn queue(&mut self, part: Part) -> &mut Queue {
        match part {
            Part::Fresh => &mut self.fresh,
            Part::Kept => &mut self.kept,
        }
    }

    fn admits(&mut self, name: u64) -> bool {
        let needed = match self.admit {
            Admit::Always => return true,
            // That a disk fills up sooner is soon over.
            Admit::Auto | Admit::Second => 1,
            Admit::Third => 2,
        };
        let [lately, before] = &mut self.traces;
        let count = lately.get(&name).or_else(|| before.get(&name)).copied();
        let count = count.unwrap_or(0);
        lately.insert(name, count.saturating_add(1));
        if lately.len() >= self.residents.len().max(TRACES_MIN) {
            self.traces.swap(0, 1);
            self.traces[0].clear();
        }
        count >= needed
    }

    fn write(&mut self, sampled: &Sampled, sampler: &Sampler) {
        let cost = units(sampled.cost);
        if sampler.taken(bytes(cost)) > self.capacity * sampler.rate() * self.fresh_share {
            return;
        }
        let resident = Resident {
            cost,
            until: sampled.until,
            number: 0,
            hits: 0,
            part: Part::Fresh,
        };
        self.append(sampled.name, resident, Part::Fresh, sampler);
        self.make_room(sampler);
    }

    fn append(&mut self, name: u64, resident: Resident, part: Part, sampler: &Sampler) {
        self.written = self.written.wrapping_add(1);
        let number = self.written;
        let queue = self.queue(part);
        queue.places.push_back(Place { name, number });
        queue.used += sampler.taken(bytes(resident.cost));
        let resident = Resident {
            number,
            part,
            ..resident
        };
        self.residents.insert(name, resident);
    }

    fn make_room(&mut self, sampler: &Sampler) {
        let capacity = self.capacity * sampler.rate();
        while self.fresh.used + self.kept.used > capacity {
            let full = self.fresh.used > capacity * self.fresh_share;
            let part = match full || self.kept.places.is_empty() {
                true => Part::Fresh,
                false => Part::Kept,
            };
            let queue = self.queue(part);
            let Some(place) = queue.places.pop_front() else {
                queue.used = 0.0; // what rounding has left of the sum
                continue;
            };
            if !holds(&self.residents, place) {
                continue;
            }
            if let Some(resident) = self.residents.remove(&place.name) {
                let takes = sampler.taken(bytes(resident.cost));
                self.queue(part).used -= takes;
                let most = capacity * self.kept_share;
                self.budget = (self.budget + takes * self.kept_share).min(most);
                if resident.hits >= HITS_TO_STAY && self.budget >= takes {
                    self.budget -= takes;
                    let hits = match part {
                        Part::Fresh => 0,
                        Part::Kept => resident.hits.min(HITS_MAX) - 1,
                    };
                    let resident = Resident { hits, ..resident };
                    self.append(place.name, resident, Part::Kept, sampler);
                }
            }
        }
    }
}

/// Whether an object is still where it was written.
fn holds(residents: &Names<Resident>, place: Place) -> bool {
    let resident = residents.get(&place.name);
    resident.is_some_and(|it| it.number == place.number)
}
