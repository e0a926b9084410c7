//! What the shadows of the disks have and remember, in one table for all of them: most of what one has, others have too.

#![expect(
    clippy::cast_possible_truncation,
    reason = "there are fewer objects than places: they have a limit"
)]

use super::names::{Names, bytes, units};
use super::sample::{Sampled, Sampler};
use super::{CHANGES, OBJECTS_BELOW_MAX};

/// Nobody's place.
const NOBODY: u32 = u32::MAX;

/// In the place of a neighbour: a disk has forgotten it.
const FORGOTTEN: u32 = u32::MAX - 1;

/// The queues of a disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Part {
    /// What was written for the first time.
    Fresh,
    /// What was written again, since it was asked for.
    Kept,
}

/// What an object is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub name: u64,
    pub cost: u32,
    pub until: u32,
}

impl Known {
    pub(super) fn of(sampled: &Sampled) -> Self {
        Self {
            name: sampled.name,
            cost: units(sampled.cost),
            until: sampled.until,
        }
    }
}

/// An object that some of the disks have, or remember.
#[derive(Clone, Copy, Debug)]
pub(super) struct Object {
    pub name: u64,
    pub cost: u32,
    pub until: u32,
    pub on: [OnDisk; CHANGES],
}

/// By disk, whether it has a copy of what is in memory.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Copies(u8);

impl Copies {
    pub(super) const fn on(self, disk: usize) -> bool {
        self.0 >> disk & 1 == 1
    }

    pub(super) fn set(&mut self, disk: usize, is_there: bool) {
        self.0 = self.0 & !(1 << disk) | u8::from(is_there) << disk;
    }
}

/// What one disk knows of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct OnDisk {
    /// Its neighbours in the queue. While it is in none, the second one is when it was forgotten.
    older: u32,
    newer: u32,
    /// Where it is, if it is there.
    pub part: Option<Part>,
    /// Requests since it was written.
    pub hits: u8,
    /// When it was asked for last that the disk did not have it, and how often.
    pub trace: Trace,
}

/// That something was asked for in a generation of traces, so many times.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Trace {
    pub generation: u8,
    pub count: u8,
}

impl Trace {
    /// How often, as far as is remembered in this generation.
    pub(super) fn recalled(self, generation: u8) -> u8 {
        match generation.wrapping_sub(self.generation) {
            0 | 1 => self.count,
            _ => 0,
        }
    }
}

/// An order of objects on one disk, and what they take there, in bytes.
#[derive(Clone, Copy, Debug)]
struct Queue {
    oldest: u32,
    newest: u32,
    used: f64,
}

/// All objects, by name and by their order on each disk.
#[derive(Debug)]
pub(super) struct Objects {
    places: Names<u32>,
    objects: Vec<Object>,
    queues: [[Queue; 2]; CHANGES],
    /// Objects that are on each disk, those included that a sampled one stands for.
    resident: [f64; CHANGES],
}

impl Objects {
    pub(super) fn new() -> Self {
        let empty = Queue {
            oldest: NOBODY,
            newest: NOBODY,
            used: 0.0,
        };
        Self {
            // All of their room at once: what is not used takes no memory, and nothing is left over from growing.
            places: Names::with_capacity_and_hasher(2 * OBJECTS_BELOW_MAX, Default::default()),
            objects: Vec::with_capacity(OBJECTS_BELOW_MAX + 1),
            queues: [[empty; 2]; CHANGES],
            resident: [0.0; CHANGES],
        }
    }

    pub(super) fn len(&self) -> usize {
        self.objects.len()
    }

    pub(super) fn find(&self, name: u64) -> Option<u32> {
        self.places.get(&name).copied()
    }

    pub(super) fn object(&self, place: u32) -> &Object {
        &self.objects[place as usize]
    }

    pub(super) fn on(&mut self, disk: usize, place: u32) -> &mut OnDisk {
        &mut self.objects[place as usize].on[disk]
    }

    /// Bytes on a disk.
    pub(super) fn used(&self, disk: usize, part: Part) -> f64 {
        self.queues[disk][part as usize].used
    }

    pub(super) fn resident(&self, disk: usize) -> f64 {
        self.resident[disk]
    }

    pub(super) fn oldest(&self, disk: usize, part: Part) -> Option<u32> {
        let oldest = self.queues[disk][part as usize].oldest;
        (oldest != NOBODY).then_some(oldest)
    }

    /// The place of an object, with what is known of it now.
    pub(super) fn enter(&mut self, known: Known, sampler: &Sampler) -> u32 {
        let Known { name, cost, until } = known;
        let Some(place) = self.find(name) else {
            let place = self.objects.len() as u32;
            self.objects.push(Object {
                name,
                cost,
                until,
                on: [OnDisk::nowhere(); CHANGES],
            });
            self.places.insert(name, place);
            return place;
        };
        let object = self.objects[place as usize];
        if object.cost != cost {
            let more = stands_for(cost, sampler) - stands_for(object.cost, sampler);
            for (on, queues) in object.on.iter().zip(&mut self.queues) {
                if let Some(part) = on.part {
                    queues[part as usize].used += more;
                }
            }
            self.objects[place as usize].cost = cost;
        }
        self.objects[place as usize].until = until;
        place
    }

    /// Puts what is nowhere on a disk to the end of a queue.
    pub(super) fn push(
        &mut self,
        disk: usize,
        part: Part,
        (place, hits): (u32, u8),
        sampler: &Sampler,
    ) {
        let newest = self.queues[disk][part as usize].newest;
        let cost = self.object(place).cost;
        *self.on(disk, place) = OnDisk {
            part: Some(part),
            hits,
            ..*self.on(disk, place)
        };
        self.join((disk, part), newest, place);
        self.join((disk, part), place, NOBODY);
        self.queues[disk][part as usize].used += stands_for(cost, sampler);
        self.resident[disk] += weight(cost, sampler);
    }

    /// Takes an object off a disk that forgets it now, at a time of its own.
    pub(super) fn forget(&mut self, disk: usize, place: u32, now: u32) {
        let on = self.on(disk, place);
        debug_assert!(on.part.is_none(), "it has been taken");
        (on.older, on.newer) = (FORGOTTEN, now);
    }

    /// Takes an object off a disk.
    pub(super) fn take(&mut self, disk: usize, place: u32, sampler: &Sampler) {
        let cost = self.object(place).cost;
        let on = *self.on(disk, place);
        let Some(part) = on.part else {
            return;
        };
        let gone = self.on(disk, place);
        (gone.part, gone.older) = (None, NOBODY);
        self.join((disk, part), on.older, on.newer);
        let queue = &mut self.queues[disk][part as usize];
        queue.used -= stands_for(cost, sampler);
        self.resident[disk] -= weight(cost, sampler);
        if queue.oldest == NOBODY {
            queue.used = 0.0; // what rounding has left of the sum
        }
    }

    /// Lets go of what nobody knows any more, and of what is not sampled any more. The sums begin anew.
    pub(super) fn sweep(&mut self, sampler: &Sampler, is_known: impl Fn(&Object) -> bool) {
        let mut place = 0;
        while let Some(object) = self.objects.get(place) {
            if sampler.keeps(object.name, bytes(object.cost)) && is_known(object) {
                place += 1;
            } else {
                self.remove(place as u32, sampler);
            }
        }
        self.sum(sampler);
    }

    /// Lets go of an object altogether.
    pub(super) fn remove(&mut self, place: u32, sampler: &Sampler) {
        for disk in 0..CHANGES {
            self.take(disk, place, sampler);
        }
        let gone = self.objects.swap_remove(place as usize);
        self.places.remove(&gone.name);
        let Some(moved) = self.objects.get(place as usize).copied() else {
            return;
        };
        self.places.insert(moved.name, place);
        for (disk, on) in moved.on.into_iter().enumerate() {
            if let Some(part) = on.part {
                self.join((disk, part), on.older, place);
                self.join((disk, part), place, on.newer);
            }
        }
    }

    /// Has the disks remember nothing that they do not have.
    pub(super) fn forget_all_others(&mut self) {
        let all = self.objects.iter_mut().flat_map(|object| &mut object.on);
        all.filter(|on| on.part.is_none())
            .for_each(|on| *on = OnDisk::nowhere());
    }

    fn sum(&mut self, sampler: &Sampler) {
        self.resident = [0.0; CHANGES];
        self.queues
            .iter_mut()
            .flatten()
            .for_each(|queue| queue.used = 0.0);
        for object in &self.objects {
            for (disk, on) in object.on.iter().enumerate() {
                if let Some(part) = on.part {
                    self.queues[disk][part as usize].used += stands_for(object.cost, sampler);
                    self.resident[disk] += weight(object.cost, sampler);
                }
            }
        }
    }

    /// Makes two neighbours; nobody's neighbour is at an end.
    fn join(&mut self, (disk, part): (usize, Part), older: u32, newer: u32) {
        let queue = &mut self.queues[disk][part as usize];
        match self.objects.get_mut(older as usize) {
            Some(object) => object.on[disk].newer = newer,
            None => queue.oldest = newer,
        }
        match self.objects.get_mut(newer as usize) {
            Some(object) => object.on[disk].older = older,
            None => queue.newest = older,
        }
    }
}

impl OnDisk {
    /// When the disk has forgotten it, if it once had it.
    pub(super) fn forgotten(&self) -> Option<u32> {
        (self.part.is_none() && self.older == FORGOTTEN).then_some(self.newer)
    }

    const fn nowhere() -> Self {
        Self {
            older: NOBODY,
            newer: NOBODY,
            part: None,
            hits: 0,
            trace: Trace {
                generation: 0,
                count: 0,
            },
        }
    }
}

/// The bytes of all objects that a sampled one stands for.
pub(super) fn stands_for(cost: u32, sampler: &Sampler) -> f64 {
    bytes(cost) as f64 * weight(cost, sampler)
}

/// How many objects a sampled one stands for.
pub(super) fn weight(cost: u32, sampler: &Sampler) -> f64 {
    1.0 / sampler.chance(bytes(cost))
}
