//! What the memory tier does for a tier below it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use bytes::Bytes;

use super::budget::{PIECE_OVERHEAD, paid};
use super::eviction::Order;
use super::{Body, Claim, Memory, Object};
use crate::{Derived, Head, Key, Variant};

/// What is known of an object's copy on a disk.
#[derive(Debug, Default)]
pub(crate) struct Below {
    state: AtomicU8,
    /// How often it was asked for here.
    asked: AtomicU32,
}

/// Whether an object in memory has a copy on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Copy {
    None = 0,
    /// It should have one: there was no place for it so far.
    Wanted = 1,
    /// It is on its way.
    Writing = 2,
    /// It has one, or a disk will never take it.
    Settled = 3,
    /// It was replaced or removed: nobody may find a copy any more.
    Superseded = 4,
}

impl Below {
    pub(crate) fn copy(&self) -> Copy {
        match self.state.load(Ordering::Acquire) {
            0 => Copy::None,
            1 => Copy::Wanted,
            2 => Copy::Writing,
            3 => Copy::Settled,
            _ => Copy::Superseded,
        }
    }

    /// Takes the step, unless the state is another one by now.
    pub(crate) fn step(&self, from: Copy, to: Copy) -> bool {
        let (from, to) = (from as u8, to as u8);
        let stepped = self
            .state
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
        stepped.is_ok()
    }

    pub(crate) fn supersede(&self) {
        self.state.store(Copy::Superseded as u8, Ordering::Release);
    }

    /// Counts a request, and says how many there were.
    pub(crate) fn ask(&self) -> u32 {
        self.asked.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }

    /// For the same body under another head. A copy that is on its way has the old one.
    pub(super) fn copied(&self) -> Self {
        let copy = match self.copy() {
            Copy::Writing | Copy::Superseded => Copy::Wanted,
            copy => copy,
        };
        Self {
            state: AtomicU8::new(copy as u8),
            asked: AtomicU32::new(self.asked.load(Ordering::Relaxed)),
        }
    }
}

/// What was read from a disk, on its way into memory.
pub(crate) struct Promotion<H> {
    pub(crate) id: u64,
    pub(crate) variant: Variant,
    pub(crate) head: Arc<H>,
    /// All of it, in pieces.
    pub(crate) body: Vec<Bytes>,
}

impl<H: Head> Memory<H> {
    /// From now on, `on_eviction` is told of every victim, and has a claim from before it left. Once.
    pub fn on_eviction(
        &self,
        on_eviction: impl Fn(Arc<Object<H>>, Claim<H>) + Send + Sync + 'static,
    ) {
        // There is one tier below at most.
        self.on_eviction
            .set(Box::new(on_eviction))
            .unwrap_or_default();
    }

    /// From now on, `evicting` is shown every victim. Once.
    pub fn watch_evictions(&self, evicting: impl Fn(&Object<H>) + Send + Sync + 'static) {
        self.evicting.set(Box::new(evicting)).unwrap_or_default();
    }

    pub(super) fn evict(self: &Arc<Self>, victim: Arc<Object<H>>) {
        let below = self.on_eviction.get();
        // Before it leaves: who removes the key afterwards finds this claim.
        let below = below.map(|on_eviction| (on_eviction, self.claim(victim.key())));
        if !self.take(&victim, Order::evicted) {
            return;
        }
        self.evictions.fetch_add(1, Ordering::Relaxed);
        if let Some(evicting) = self.evicting.get() {
            evicting(&victim);
        }
        if let Some((on_eviction, claim)) = below {
            on_eviction(victim, claim);
        }
    }

    /// Charges so many bytes for what others keep in memory, in the place of those reserved before. False if no room
    /// could be made for all of them.
    pub(crate) fn reserve(self: &Arc<Self>, bytes: usize) -> bool {
        let mut reserved = self.reserved.lock();
        let held = reserved.as_ref().map_or(0, super::Charge::bytes);
        if bytes <= held {
            if let Some(charge) = &mut *reserved {
                drop(charge.split(held - bytes));
            }
            return true;
        }
        let Some(more) = self.charge(bytes - held) else {
            return false;
        };
        match &mut *reserved {
            Some(charge) => charge.join(more),
            none => *none = Some(more),
        }
        true
    }

    /// A stored response that is not in memory.
    pub(crate) fn elsewhere(
        &self,
        id: u64,
        name: (Key, Variant),
        head: Arc<H>,
        body: Body,
    ) -> Arc<Object<H>> {
        let bodies = (body, Derived::none());
        Arc::new(Object::new(id, name, head, bodies, self.budget.nothing()))
    }

    /// Whether a body of this length has a place here.
    pub(crate) fn has_place_for(&self, length: u64) -> bool {
        length <= self.settings.object_max
    }

    /// Puts what was read from a disk into the index, unless there is something newer: the claim was voided, memory has
    /// the variant, or it is not `current` any more.
    pub(crate) fn promote(
        self: &Arc<Self>,
        claim: &Claim<H>,
        promotion: Promotion<H>,
        current: impl FnOnce() -> bool,
    ) -> Option<Arc<Object<H>>> {
        let Promotion {
            id,
            variant,
            head,
            body,
        } = promotion;
        let name = (claim.key(), variant);
        let fixed = self.charge(self.overhead().saturating_add(head.weight()))?;
        let body = self.pay_for(body)?;
        let bodies = (body, Derived::none());
        let object = self.object(id, name, head, bodies, fixed);
        object.below().step(Copy::None, Copy::Settled);

        let mut shard = self.index.write(claim.key());
        let stored = shard.stored.get(&claim.key());
        let is_new = stored.is_none_or(|variants| variants.find(variant).is_none());
        if !is_new || !shard.claims.hold(claim.key(), claim.generation()) || !current() {
            return None;
        }
        self.put(&mut shard, &object);
        Some(object)
    }

    /// Copies pieces, so that they cost what is charged and hold nothing else.
    fn pay_for(self: &Arc<Self>, pieces: Vec<Bytes>) -> Option<Body> {
        let mut start = 0;
        let mut paid_for = Vec::with_capacity(pieces.len());
        for piece in pieces {
            let charge = self.charge(piece.len() + PIECE_OVERHEAD)?;
            let bytes = paid(Box::<[u8]>::from(&piece[..]), charge);
            let piece = super::Piece { start, bytes };
            start = piece.end();
            paid_for.push(piece);
        }
        Some(Body::from_pieces(paid_for))
    }

    /// Takes out what is stored under a variant: something newer is stored elsewhere.
    pub(crate) fn displace(&self, key: Key, variant: Variant) {
        if let Some(object) = self.lookup(key).find(variant) {
            self.remove_object(object);
        }
    }
}
