//! Purging by numbers.
//!
//! Every purge has a [`Sequence`] in one ordered log. Every stored response has a [`Membership`]: the labels that a
//! purge may name, and the sequence that it was born at, known applied *before the request that produced it was sent*.
//! It is purged iff a purge of one of its labels has a higher sequence. So a purge costs the same whatever its reach,
//! nothing is deleted on arrival, and a response that was on its way while the purge came is purged like any other.

mod index;
mod label;
mod labels;
mod log;
mod membership;
mod recent;
mod witness;

pub use index::{Life, Mode, PurgeIndex};
pub use label::{Label, Labeller};
pub use log::{Damage, LogError, LogFile, LogId, RECORD_MAX, Recovered};
pub use membership::Membership;
pub use witness::{Testimony, Witness};

/// A place in the order of purges. Zero comes before all of them.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}
