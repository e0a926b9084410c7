//! A stored response and its rank among the others.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use super::below::Below;
use super::body::Body;
use super::budget::Charge;
use crate::{Derived, Head, Key, Variant};

/// A stored response: an opaque head and a body, both shared.
///
/// Whoever sends the body should hold on to the `Arc` of the object meanwhile: eviction passes over
/// objects in use, because evicting them frees nothing yet.
pub struct Object<H: Head> {
    key: Key,
    variant: Variant,
    head: Arc<H>,
    body: Body,
    derived: Arc<Derived<H>>,
    charge: Charge,
    /// Never used twice by different key, variant and body.
    pub(super) id: u64,
    pub(super) rank: Rank,
    below: Below,
}

/// What eviction knows about an object.
#[derive(Debug, Default)]
pub(super) struct Rank {
    /// Accesses so far, saturating.
    pub(super) frequency: AtomicU32,
    /// The bits of a non-negative `f64`; they sort like the numbers.
    pub(super) priority: AtomicU64,
    /// Where in its list of residents. Written under that list's lock.
    pub(super) place: AtomicUsize,
}

impl<H: Head> Object<H> {
    pub(super) fn new(
        id: u64,
        (key, variant): (Key, Variant),
        head: Arc<H>,
        (body, derived): (Body, Arc<Derived<H>>),
        charge: Charge,
    ) -> Self {
        Self {
            key,
            variant,
            head,
            body,
            derived,
            charge,
            id,
            rank: Rank::default(),
            below: Below::default(),
        }
    }

    /// The same body under another head.
    pub(super) fn with_head(&self, head: Arc<H>, charge: Charge) -> Self {
        Self {
            key: self.key,
            variant: self.variant,
            head,
            body: self.body.clone(),
            derived: Arc::clone(&self.derived),
            charge,
            id: self.id,
            rank: self.rank.copied(),
            below: self.below.copied(),
        }
    }

    /// Reads of each line that it lies in: see [`super::near`].
    pub(super) fn bring_near(&self) -> u8 {
        let key = self.key.0[0] ^ self.variant.0[0];
        let rank = self.rank.frequency.load(Ordering::Relaxed);
        let near = rank as usize ^ self.charge.bytes() ^ self.derived.cost();
        key ^ near.to_le_bytes()[0]
    }

    /// Which body it is, whatever its head: no other of its key and variant ever had this number.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn below(&self) -> &Below {
        &self.below
    }

    /// The key it is stored under.
    pub fn key(&self) -> Key {
        self.key
    }

    /// Which variant of its key.
    pub fn variant(&self) -> Variant {
        self.variant
    }

    /// The head.
    pub fn head(&self) -> &Arc<H> {
        &self.head
    }

    /// The body.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// What was made of the body.
    pub fn derived(&self) -> &Arc<Derived<H>> {
        &self.derived
    }

    /// What the budget pays for it, in bytes: body and what was made of it, head, and the places in the tables.
    pub fn cost(&self) -> usize {
        let bodies = self.body.cost().saturating_add(self.derived.cost());
        self.charge.bytes().saturating_add(bodies)
    }
}

impl Rank {
    fn copied(&self) -> Self {
        let rank = Self::default();
        rank.inherit(self);
        rank
    }

    /// Takes over what was learnt about a predecessor.
    pub(super) fn inherit(&self, other: &Self) {
        self.frequency
            .store(other.frequency.load(Ordering::Relaxed), Ordering::Relaxed);
        self.priority
            .store(other.priority.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

impl<H: Head> fmt::Debug for Object<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object")
            .field("key", &self.key)
            .field("variant", &self.variant)
            .field("body_len", &self.body.len())
            .finish_non_exhaustive()
    }
}
