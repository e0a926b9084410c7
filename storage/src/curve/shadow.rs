//! The memory tier without bodies: names, costs, and the order in which they go.

#![expect(
    clippy::cast_possible_truncation,
    reason = "there are fewer residents than places: the entries have a limit"
)]

use super::RESIDENTS_MAX;
use super::names::{Names, bytes, units};
use super::objects::{Copies, Known};
use super::rate::FULL;
use super::sample::{Sampled, Sampler};
use crate::Eviction;
use crate::tiers::TOLD_EVERY;

/// How many residents are compared for one eviction, as in the memory tier.
const SAMPLE: usize = 64;

/// Nobody's place.
const NOBODY: u32 = u32::MAX;

/// A cache of a few objects that stand for all.
#[derive(Debug)]
pub(super) struct Shadow {
    eviction: Eviction,
    /// Of the cache that it stands for.
    capacity: f64,
    /// At most the capacity times the rate of sampling.
    used: f64,
    residents: Vec<Resident>,
    places: Names<u32>,
    /// The priority of whom went last.
    age: f64,
    /// The ends of the list by last use.
    oldest: u32,
    newest: u32,
    random: u64,
    /// Whether there was no room for something.
    was_full: bool,
    /// Whom it has let go of, where somebody asks.
    victims: Option<Vec<Victim>>,
}

/// What memory did with a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Above {
    /// It answered, as so many times since the object is there, and it may be time to tell the disks so.
    Answered {
        asked: u16,
        is_told: bool,
        copies: Copies,
    },
    /// It did not.
    Missed,
}

impl Above {
    pub(super) const fn is_answered(&self) -> bool {
        matches!(self, Self::Answered { .. })
    }
}

/// Who has left memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Victim {
    pub object: Known,
    /// Requests that it answered.
    pub asked: u16,
    pub copies: Copies,
}

/// An object.
#[derive(Clone, Copy, Debug)]
struct Resident {
    name: u64,
    /// By sampled GDSF.
    priority: f64,
    cost: u32,
    until: u32,
    hits: u32,
    /// Requests that it answered, and which disks have a copy.
    asked: u16,
    copies: Copies,
    /// By last use.
    older: u32,
    newer: u32,
}

impl From<Resident> for Victim {
    fn from(resident: Resident) -> Self {
        let Resident {
            name,
            cost,
            until,
            asked,
            copies,
            ..
        } = resident;
        Self {
            object: Known { name, cost, until },
            asked,
            copies,
        }
    }
}

impl Shadow {
    pub(super) fn new(capacity: f64, eviction: Eviction) -> Self {
        Self {
            eviction,
            capacity,
            used: 0.0,
            // All of their room at once: what is not used takes no memory, and nothing is left over from growing.
            residents: Vec::with_capacity(RESIDENTS_MAX + 1),
            places: Names::default(),
            age: 0.0,
            oldest: NOBODY,
            newest: NOBODY,
            random: 0,
            was_full: false,
            victims: None,
        }
    }

    /// The same, which says whom it lets go of.
    pub(super) fn with_victims(self) -> Self {
        Self {
            victims: Some(Vec::new()),
            ..self
        }
    }

    /// Whom it has let go of since this was asked last.
    pub(super) fn victims(&mut self) -> Vec<Victim> {
        self.victims
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// Notes where an object has copies.
    pub(super) fn copied(&mut self, name: u64, copies: Copies) {
        if let Some(&place) = self.places.get(&name) {
            self.residents[place as usize].copies = copies;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.residents.len()
    }

    /// Whether it has what is asked for, and may use it. Afterwards it has it, where it `fits` a cache at all.
    pub(super) fn asked(&mut self, sampled: &Sampled, fits: bool, sampler: &Sampler) -> Above {
        let cost = units(sampled.cost);
        let Some(&place) = self.places.get(&sampled.name) else {
            if fits {
                self.admit(sampled, cost, sampler);
            }
            return Above::Missed;
        };
        let resident = &mut self.residents[place as usize];
        let fresh = sampled.is_answered_by(resident.until);
        resident.until = sampled.until;
        let before = resident.asked;
        let times = u16::try_from(sampled.times).unwrap_or(u16::MAX);
        resident.asked = match fresh {
            true => before.saturating_add(times),
            false => 0, // it is another one
        };
        let is_told = u32::from(before) / TOLD_EVERY != u32::from(resident.asked) / TOLD_EVERY;
        if resident.cost != cost {
            self.used -= sampler.taken(bytes(resident.cost));
            self.used += sampler.taken(bytes(cost));
            resident.cost = cost;
        }
        let (asked, copies) = (resident.asked, resident.copies);
        self.accessed(place, sampled.times);
        self.make_room(0.0, sampler);
        match fresh {
            true => Above::Answered {
                asked,
                is_told,
                copies,
            },
            false => Above::Missed,
        }
    }

    pub(super) fn forget(&mut self, name: u64, sampler: &Sampler) {
        if let Some(&place) = self.places.get(&name) {
            self.used -= sampler.taken(bytes(self.residents[place as usize].cost));
            self.remove(place);
        }
    }

    /// Whether it is full, if there ever was no room for something.
    pub(super) fn is_settled(&self, sampler: &Sampler) -> bool {
        !self.was_full || self.used >= self.capacity * sampler.rate() * FULL
    }

    /// Keeps those that are sampled still.
    pub(super) fn resample(&mut self, sampler: &Sampler) {
        let mut place = 0;
        while let Some(resident) = self.residents.get(place) {
            if sampler.keeps(resident.name, bytes(resident.cost)) {
                place += 1;
            } else {
                self.remove(place as u32);
            }
        }
        let costs = self.residents.iter().map(|it| bytes(it.cost));
        self.used = costs.map(|cost| sampler.taken(cost)).sum();
        self.make_room(0.0, sampler);
    }

    fn admit(&mut self, sampled: &Sampled, cost: u32, sampler: &Sampler) {
        let takes = sampler.taken(bytes(cost));
        if !self.make_room(takes, sampler) {
            return;
        }
        let place = self.residents.len() as u32;
        self.residents.push(Resident {
            name: sampled.name,
            priority: 0.0,
            cost,
            until: sampled.until,
            hits: 0,
            asked: 0,
            copies: Copies::default(),
            older: NOBODY,
            newer: NOBODY,
        });
        self.places.insert(sampled.name, place);
        self.used += takes;
        self.link(place);
        self.accessed(place, sampled.times);
    }

    /// Lets objects go until there is room; whether there is.
    fn make_room(&mut self, takes: f64, sampler: &Sampler) -> bool {
        let capacity = self.capacity * sampler.rate();
        if takes > capacity {
            return false;
        }
        while self.used + takes > capacity {
            self.was_full = true;
            let Some(victim) = self.victim() else {
                self.used = 0.0; // what rounding has left of the sum
                return true;
            };
            let resident = self.residents[victim as usize];
            self.age = self.age.max(resident.priority);
            self.used -= sampler.taken(bytes(resident.cost));
            self.remove(victim);
            if let Some(victims) = &mut self.victims {
                victims.push(resident.into());
            }
        }
        true
    }

    fn accessed(&mut self, place: u32, times: u32) {
        if self.eviction == Eviction::Lru {
            self.unlink(place);
            self.link(place);
            return;
        }
        let resident = &mut self.residents[place as usize];
        resident.hits = resident.hits.saturating_add(times);
        resident.priority = self.age + f64::from(resident.hits) / bytes(resident.cost) as f64;
    }

    fn victim(&mut self) -> Option<u32> {
        match self.eviction {
            Eviction::Lru => (self.oldest != NOBODY).then_some(self.oldest),
            Eviction::SampledGdsf => self.lowest_of_a_sample(),
        }
    }

    fn lowest_of_a_sample(&mut self) -> Option<u32> {
        let all = self.residents.len();
        let mut lowest = None;
        for number in 0..SAMPLE.min(all) {
            let place = if all <= SAMPLE {
                number
            } else {
                self.draw(all)
            };
            let priority = self.residents[place].priority;
            if lowest.is_none_or(|(least, _)| priority < least) {
                lowest = Some((priority, place));
            }
        }
        lowest.map(|(_, place)| place as u32)
    }

    /// A number below `limit` (`SplitMix64`; Steele, Lea and Flood 2014).
    fn draw(&mut self, limit: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = self.random;
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let drawn = z ^ (z >> 31);
        ((u128::from(drawn) * limit as u128) >> 64) as usize
    }

    fn remove(&mut self, place: u32) {
        self.unlink(place);
        let gone = self.residents.swap_remove(place as usize);
        self.places.remove(&gone.name);
        let Some(moved) = self.residents.get(place as usize) else {
            return;
        };
        self.places.insert(moved.name, place);
        let (older, newer) = (moved.older, moved.newer);
        self.join(older, place);
        self.join(place, newer);
    }

    /// Makes it the newest.
    fn link(&mut self, place: u32) {
        if self.eviction != Eviction::Lru {
            return;
        }
        let before = self.newest;
        self.join(before, place);
        self.join(place, NOBODY);
    }

    fn unlink(&mut self, place: u32) {
        if self.eviction == Eviction::Lru {
            let Resident { older, newer, .. } = self.residents[place as usize];
            self.join(older, newer);
        }
    }

    /// Makes two neighbours; nobody's neighbour is at an end.
    fn join(&mut self, older: u32, newer: u32) {
        if self.eviction != Eviction::Lru {
            return;
        }
        match self.residents.get_mut(older as usize) {
            Some(resident) => resident.newer = newer,
            None => self.oldest = newer,
        }
        match self.residents.get_mut(newer as usize) {
            Some(resident) => resident.older = older,
            None => self.newest = older,
        }
    }
}
