//! Which keys the shadows see, and what each stands for.

use super::rate::THINNING;
use super::{Access, Seen};
use crate::disk::tag_of;
use crate::{Key, Variant};

/// Responses that cost up to this are sampled alike; a larger one in proportion to its cost.
const SMALL: f64 = 32.0 * 1024.0;

/// What an object is called here: the index of the disks knows as much of it without a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Name(pub(super) u64);

impl Name {
    /// Of what is stored under this key and variant.
    pub fn of(key: Key, variant: Variant) -> Self {
        Self::of_tag(tag_of(key), variant)
    }

    /// It as a number, spread evenly.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    pub(crate) fn of_tag(tag: u64, Variant(variant): Variant) -> Self {
        let mut half = [0; 8];
        half.copy_from_slice(&variant[..8]);
        Self(tag ^ u64::from_le_bytes(half))
    }
}

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
    pub times: u32,
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

    /// None, for the time in which nothing is to be told.
    pub const fn none() -> Self {
        Self { rate: 0.0 }
    }

    /// Keys at that rate, for whoever carries it from one thread to another.
    pub const fn of_rate(rate: f64) -> Self {
        Self { rate }
    }

    /// The chance of a small response, from 0 to 1.
    pub const fn rate(&self) -> f64 {
        self.rate
    }

    /// Fewer of them.
    #[must_use]
    pub fn thinned(self) -> Self {
        self.times(THINNING)
    }

    /// At another rate, of all at most.
    pub(super) fn times(self, factor: f64) -> Self {
        Self {
            rate: (self.rate * factor).min(1.0),
        }
    }

    /// That of the two which takes less.
    pub(super) fn least(self, other: Self) -> Self {
        Self {
            rate: self.rate.min(other.rate),
        }
    }

    /// Whether a request is to be told to the shadows: the one question for each request.
    pub fn takes(&self, Name(name): Name, cost: u64) -> bool {
        self.keeps(name, cost)
    }

    pub(super) fn sample(&self, access: &Access) -> Option<Sampled> {
        let (Name(name), cost) = (access.name, access.cost);
        self.keeps(name, cost).then_some(Sampled {
            name,
            cost,
            bytes: access.bytes,
            now: access.now,
            until: access.until,
            seen: access.seen,
            times: access.times,
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

/// From 0 to 1, evenly.
fn lot(name: u64) -> f64 {
    (name >> LOT_SHIFT & (LOTS - 1)) as f64 / LOTS as f64
}
