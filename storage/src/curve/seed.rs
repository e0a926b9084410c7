//! What the shadows of disks begin with: a disk outlives the process, and its shadows do not.

use super::{Curve, Name, OBJECTS_BELOW_MAX, Sampler};
use crate::disk::Queue;

/// Objects that the shadows begin with at most: there has to be room for more.
pub const RESIDENTS_PICKED_MAX: usize = OBJECTS_BELOW_MAX / 2;

/// An object that is on a disk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Resident {
    /// What it is stored under.
    pub name: Name,
    /// What it would cost in memory, in bytes.
    pub cost: u64,
    /// Until when it may be used, on the clock of [`Access::now`](super::Access).
    pub until: u32,
    /// Where it waits for its turn to go.
    pub queue: Queue,
}

/// A sample of what is on the disks.
#[derive(Debug)]
pub struct Residents {
    /// Which ones these are.
    pub sampler: Sampler,
    /// From the oldest on, in each queue.
    pub objects: Vec<Resident>,
    /// Whether the disks had no room left: they have let go of what larger ones would have.
    pub had_no_room: bool,
}

impl Curve {
    /// Puts what is on the disks into their shadows. To be called once, before the first request.
    ///
    /// Which of it a smaller disk would have kept is not known, nor what a larger one would have beside it, where the disks
    /// had no room left. Nothing is said of them before their shadows have taken as much again.
    pub fn seed(&mut self, residents: &Residents) {
        let Some(disks) = &mut self.disks else {
            return;
        };
        (self.sampler, self.counted) = (residents.sampler, residents.sampler);
        disks.seed(residents);
    }
}
