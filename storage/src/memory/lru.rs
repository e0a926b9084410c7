//! Least recently used first.

use std::sync::Arc;

use pingora_lru::Lru;

use super::object::Object;
use crate::Head;

/// How many objects in use are passed over before there is no victim.
const IN_USE_MAX: usize = 64;

/// References to a resident that is not in use, once a candidate: index, list, candidate.
const OWN_REFERENCES: usize = 3;

/// One list, not several: with 16 lists the hit ratio falls by half a point.
pub(super) struct Recency<H: Head>(Lru<Arc<Object<H>>, 1>);

impl<H: Head> Recency<H> {
    pub(super) fn new() -> Self {
        // The budget limits, not the list.
        Self(Lru::with_capacity(usize::MAX, 0))
    }

    pub(super) fn admitted(&self, object: &Arc<Object<H>>) {
        self.0.admit(object.id, Arc::clone(object), 1);
    }

    pub(super) fn accessed(&self, object: &Object<H>) {
        self.0.promote(object.id);
    }

    pub(super) fn removed(&self, object: &Arc<Object<H>>) {
        self.0.remove(object.id);
    }

    pub(super) fn victim(&self) -> Option<Arc<Object<H>>> {
        for _ in 0..IN_USE_MAX {
            let (object, _) = self.0.peek_lru(0)?;
            if Arc::strong_count(&object) <= OWN_REFERENCES {
                return Some(object);
            }
            self.0.promote(object.id);
        }
        None
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    #[cfg(test)]
    pub(super) fn contains(&self, object: &Arc<Object<H>>) -> bool {
        self.0.peek(object.id)
    }
}
