//! Who goes when room is needed.

use std::sync::Arc;

use super::gdsf::SampledGdsf;
use super::lru::Recency;
use super::object::Object;
use crate::{Eviction, Head};

/// The residents in the order of the chosen policy.
///
/// All but [`Order::victim`] and [`Order::accessed`] are called under the index lock of the
/// object's key, so that an object is a resident exactly while it is in the index.
pub(super) enum Order<H: Head> {
    SampledGdsf(SampledGdsf<H>),
    Lru(Recency<H>),
}

impl<H: Head> Order<H> {
    pub(super) fn new(eviction: Eviction) -> Self {
        match eviction {
            Eviction::SampledGdsf => Self::SampledGdsf(SampledGdsf::new()),
            Eviction::Lru => Self::Lru(Recency::new()),
        }
    }

    /// `object` is new in the index.
    pub(super) fn admitted(&self, object: &Arc<Object<H>>) {
        match self {
            Self::SampledGdsf(gdsf) => gdsf.admitted(object),
            Self::Lru(lru) => lru.admitted(object),
        }
    }

    /// `new` took the place of `old`, with the same id.
    pub(super) fn swapped(&self, old: &Arc<Object<H>>, new: &Arc<Object<H>>) {
        match self {
            Self::SampledGdsf(gdsf) => gdsf.swapped(old, new),
            Self::Lru(lru) => lru.admitted(new),
        }
    }

    /// `object` left the index.
    pub(super) fn removed(&self, object: &Arc<Object<H>>) {
        match self {
            Self::SampledGdsf(gdsf) => gdsf.removed(object),
            Self::Lru(lru) => lru.removed(object),
        }
    }

    /// `object` left the index because it was the victim.
    pub(super) fn evicted(&self, object: &Arc<Object<H>>) {
        if let Self::SampledGdsf(gdsf) = self {
            gdsf.age(object);
        }
        self.removed(object);
    }

    /// `object` answered a request.
    pub(super) fn accessed(&self, object: &Object<H>) {
        match self {
            Self::SampledGdsf(gdsf) => gdsf.accessed(object),
            Self::Lru(lru) => lru.accessed(object),
        }
    }

    /// Who should go next; none if all that were considered are in use.
    pub(super) fn victim(&self) -> Option<Arc<Object<H>>> {
        match self {
            Self::SampledGdsf(gdsf) => gdsf.victim(),
            Self::Lru(lru) => lru.victim(),
        }
    }

    /// What a resident costs here, in bytes.
    pub(super) const fn overhead(eviction: Eviction) -> usize {
        match eviction {
            // A pointer, in a vector that doubles.
            Eviction::SampledGdsf => 16,
            // Measured with a million entries.
            Eviction::Lru => 131,
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        match self {
            Self::SampledGdsf(gdsf) => gdsf.len(),
            Self::Lru(lru) => lru.len(),
        }
    }

    #[cfg(test)]
    pub(super) fn contains(&self, object: &Arc<Object<H>>) -> bool {
        match self {
            Self::SampledGdsf(gdsf) => gdsf.contains(object),
            Self::Lru(lru) => lru.contains(object),
        }
    }
}
