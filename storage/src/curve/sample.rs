//! Which keys the shadows see, and what each stands for.

use super::{Access, Seen};
use crate::Key;

/// Responses that cost up to this are sampled alike; a larger one in proportion to its cost.
const SMALL: f64 = 32.0 * 1024.0;

/// Which keys are sampled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// The chance of a small response.
    rate: f64,
}

/// A request that was sampled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sampled {
    pub name: u64,
    /// What it costs in memory.
    pub cost: u64,
    pub bytes: u64,
    pub now: u32,
    pub until: u32,
    pub seen: Seen,
    /// The chance that it was sampled.
    pub chance: f64,
}

impl Sampled {
    /// Whether what is kept until then may answer it.
    pub(super) fn is_answered_by(&self, until: u32) -> bool {
        self.seen == Seen::Stored || self.now < until
    }
}

impl Sampler {
    /// All keys.
    pub const fn all() -> Self {
        Self { rate: 1.0 }
    }

    /// Keys at that rate, for whoever carries it from one thread to another.
    pub const fn of_rate(rate: f64) -> Self {
        Self { rate }
    }

    /// The chance of a small response, from 0 to 1.
    pub const fn rate(&self) -> f64 {
        self.rate
    }

    pub(super) fn thinned(self, by: f64) -> Self {
        Self {
            rate: self.rate * by,
        }
    }

    /// Whether a request is to be told to the shadows: the one question for each request.
    pub fn takes(&self, key: Key, cost: u64) -> bool {
        self.keeps(name(key), cost)
    }

    pub(super) fn sample(&self, access: &Access) -> Option<Sampled> {
        let (name, cost) = (name(access.key), access.cost);
        self.keeps(name, cost).then(|| Sampled {
            name,
            cost,
            bytes: access.bytes,
            now: access.now,
            until: access.until,
            seen: access.seen,
            chance: self.chance(cost),
        })
    }

    pub(super) fn keeps(&self, name: u64, cost: u64) -> bool {
        lot(name) < self.chance(cost)
    }

    /// What an object takes of a shadow, of which a cache has as much more as the rate says.
    pub(super) fn taken(&self, cost: u64) -> f64 {
        cost as f64 * self.rate / self.chance(cost)
    }

    pub(super) fn chance(&self, cost: u64) -> f64 {
        (self.rate * (cost as f64 / SMALL).max(1.0)).min(1.0)
    }
}

/// The bits of a name that are its lot: not those that maps look at.
const LOT_SHIFT: u32 = 24;
const LOTS: u64 = 1 << 24;

/// What a key is called here.
pub(super) fn name(key: Key) -> u64 {
    (u128::from_le_bytes(key.0) >> 64) as u64
}

/// From 0 to 1, evenly.
fn lot(name: u64) -> f64 {
    (name >> LOT_SHIFT & (LOTS - 1)) as f64 / LOTS as f64
}
