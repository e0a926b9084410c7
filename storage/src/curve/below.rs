//! The disk tier without bodies, of each size and below each memory: queues in which objects go round while they are asked
//! for.
//!
//! What decides here is what decides there: [`Admission`](crate::Admission) and `tiers::moves` when something is
//! written, `disk::keep` what stays.

use std::cmp::Ordering;

use super::disk::{At, Behind, DiskShadow};
use super::names::units;
use super::objects::{Copies, Known, Object, Objects};
use super::rate::FULL;
use super::sample::{Name, Sampled, Sampler};
use super::seed::{Resident, Residents};
use super::shadow::{Above, Victim};
use super::{CHANGES, DISKS, DiskShape, FACTORS, MEMORIES, PRESENT};

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
                Above::Answered {
                    asked,
                    is_told,
                    copies,
                } => match copies.on(number) {
                    true if is_told => disk.tell(&mut at),
                    true => true,
                    false => disk.answered_above(&mut at, asked),
                },
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

    /// What they begin with.
    pub(super) fn seed(&mut self, residents: &Residents) {
        let sampler = &residents.sampler;
        for resident in &residents.objects {
            let place = self.objects.enter(known(resident), sampler);
            for disk in &self.disks {
                disk.begin_with(&mut self.objects, place, resident.queue, sampler);
            }
        }
        let present = self.disks[PRESENT].capacity;
        for disk in &mut self.disks {
            disk.make_room(&mut self.objects, sampler);
            // As a disk that is opened again.
            (disk.is_filling, disk.forgotten) = (false, 0.0);
            disk.behind = match disk.capacity.total_cmp(&present) {
                // Which ones a smaller disk would have kept is not known: it has to go round once.
                Ordering::Less if disk.was_full => Some(Behind::of(disk.capacity)),
                Ordering::Greater if residents.had_no_room => {
                    Some(Behind::of(disk.capacity - disk.used(&self.objects)))
                }
                _ => None,
            };
        }
        self.objects.forget_all_others();
        self.let_go(sampler);
    }

    /// How far a disk has come of which nothing can be said yet.
    pub(super) fn filling(&self, disk: usize) -> Option<f64> {
        let behind = self.disks[disk].behind.as_ref()?;
        Some((1.0 - behind.left / behind.of).clamp(0.0, 1.0))
    }

    pub(super) fn is_settled(&self) -> bool {
        let is_settled =
            |disk: &DiskShadow| !disk.was_full || disk.used(&self.objects) >= disk.capacity * FULL;
        self.disks.iter().all(is_settled)
    }

    /// Keeps those that are sampled still.
    pub(super) fn resample(&mut self, sampler: &Sampler) {
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

fn known(resident: &Resident) -> Known {
    let Name(name) = resident.name;
    Known {
        name,
        cost: units(resident.cost),
        until: resident.until,
    }
}

/// Where all memories have answered, and nothing is to be said to the disks: where their copies are.
fn settled(above: &[Above; MEMORIES]) -> Option<Copies> {
    let mut all = Copies::default();
    for change in 0..CHANGES {
        match above[memory_above(change)] {
            Above::Answered {
                is_told: false,
                copies,
                ..
            } if copies.on(change) => all.set(change, true),
            Above::Answered { .. } | Above::Missed => return None,
        }
    }
    Some(all)
}
