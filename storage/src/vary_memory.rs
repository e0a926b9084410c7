//! What a key's responses were selected by.

use std::fmt;

use parking_lot::RwLock;

use crate::Key;
use crate::recent::Recent;

/// Remembers, per key, by which fields its last response was selected, so that a request knows its
/// variant before there is a response. `S` is whatever describes the fields.
///
/// It is bounded: beyond its size it forgets those that were remembered longest ago.
pub struct VaryMemory<S> {
    keys: RwLock<Recent<Key, S>>,
}

impl<S: Clone> VaryMemory<S> {
    /// Remembers at most so many keys.
    pub fn new(entries_max: usize) -> Self {
        Self {
            keys: RwLock::new(Recent::new(entries_max)),
        }
    }

    /// The last response for `key` was selected by `fields`.
    pub fn learn(&self, key: Key, fields: S) {
        self.keys.write().insert(key, fields);
    }

    /// By which fields it was selected, if that is still known.
    pub fn recall(&self, key: Key) -> Option<S> {
        self.keys.read().get(&key).cloned()
    }

    /// Forgets about `key`.
    pub fn forget(&self, key: Key) {
        self.keys.write().remove(&key);
    }
}

impl<S> fmt::Debug for VaryMemory<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaryMemory").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_fields_of_a_key_are_recalled() {
        let memory = VaryMemory::new(100);
        let (one, other) = (Key([1; 16]), Key([2; 16]));

        memory.learn(one, "accept");
        memory.learn(one, "accept-encoding");
        assert_eq!(memory.recall(one), Some("accept-encoding"));
        assert_eq!(memory.recall(other), None);

        memory.forget(one);
        assert_eq!(memory.recall(one), None);
    }

    #[test]
    fn it_is_bounded() {
        let memory = VaryMemory::new(10);
        (0..=255).for_each(|number| memory.learn(Key([number; 16]), number));

        assert_eq!(memory.recall(Key([255; 16])), Some(255));
        assert_eq!(memory.recall(Key([0; 16])), None);
        assert!(memory.keys.read().len() <= 10);
    }
}
