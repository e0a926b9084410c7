//! The disk tier without bodies: queues in which objects go round while they are asked for.

use std::collections::VecDeque;

use super::names::{Names, bytes, units};
use super::sample::{Sampled, Sampler};
use super::{DiskShape, Seen};
use crate::disk::Admit;

/// How often an object must have been asked for to stay, as on the disk.
const HITS_TO_STAY: u8 = 2;

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
    /// Names in the order in which they were written: for the first time, or again.
    fresh: Queue,
    kept: Queue,
    /// What may be written again.
    budget: f64,
    /// How often what is not on the disk was asked for: lately, and before.
    traces: [Names<u8>; 2],
}

#[derive(Debug, Default)]
struct Queue {
    names: VecDeque<u64>,
    used: f64,
}

#[derive(Clone, Copy, Debug)]
struct Resident {
    cost: u32,
    until: u32,
    hits: u8,
}

impl DiskShadow {
    pub(super) fn new(shape: &DiskShape, factor: f64) -> Self {
        let capacity = shape.bytes as f64 * factor;
        let kept_share = f64::from(shape.kept_percent) / 100.0;
        Self {
            admit: shape.admit,
            capacity,
            fresh_share: f64::from(shape.fresh_percent) / 100.0,
            kept_share,
            residents: Names::default(),
            fresh: Queue::default(),
            kept: Queue::default(),
            budget: 0.0,
            traces: Default::default(),
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
            let fresh = sampled.seen == Seen::Usual && sampled.now < resident.until;
            resident.until = sampled.until;
            if !in_memory {
                resident.hits = resident.hits.saturating_add(1);
            }
            return fresh;
        }
        if self.admits(sampled.name) {
            self.write(sampled, sampler);
        }
        false
    }

    fn admits(&mut self, name: u64) -> bool {
        let needed = match self.admit {
            Admit::Always => return true,
            Admit::Second => 1,
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
        let takes = sampler.taken(bytes(cost));
        if takes > self.capacity * sampler.rate() * self.fresh_share {
            return;
        }
        let resident = Resident {
            cost,
            until: sampled.until,
            hits: 0,
        };
        self.residents.insert(sampled.name, resident);
        self.fresh.names.push_back(sampled.name);
        self.fresh.used += takes;
        self.make_room(sampler);
    }

    fn make_room(&mut self, sampler: &Sampler) {
        let capacity = self.capacity * sampler.rate();
        while self.fresh.used + self.kept.used > capacity {
            let full = self.fresh.used > capacity * self.fresh_share;
            let queue = match full || self.kept.names.is_empty() {
                true => &mut self.fresh,
                false => &mut self.kept,
            };
            let Some(name) = queue.names.pop_front() else {
                queue.used = 0.0; // what rounding has left of the sum
                continue;
            };
            let Some(resident) = self.residents.get_mut(&name) else {
                continue;
            };
            let takes = sampler.taken(bytes(resident.cost));
            queue.used -= takes;
            let most = capacity * self.kept_share;
            self.budget = (self.budget + takes * self.kept_share).min(most);
            if resident.hits >= HITS_TO_STAY && self.budget >= takes {
                resident.hits = 0;
                self.budget -= takes;
                self.kept.names.push_back(name);
                self.kept.used += takes;
            } else {
                self.residents.remove(&name);
            }
        }
    }

    /// Keeps those that are sampled still.
    pub(super) fn thin(&mut self, sampler: &Sampler) {
        let residents = &mut self.residents;
        residents.retain(|name, it| sampler.keeps(*name, bytes(it.cost)));
        for queue in [&mut self.fresh, &mut self.kept] {
            queue.names.retain(|name| residents.contains_key(name));
            let costs = queue.names.iter().filter_map(|name| residents.get(name));
            queue.used = costs.map(|it| sampler.taken(bytes(it.cost))).sum();
        }
        for traces in &mut self.traces {
            // They have no cost: as if they were small.
            traces.retain(|name, _| sampler.keeps(*name, 0));
        }
        self.budget = self
            .budget
            .min(self.capacity * sampler.rate() * self.kept_share);
        self.make_room(sampler);
    }
}
