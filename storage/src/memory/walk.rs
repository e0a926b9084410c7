//! Going through all that is stored, a few objects at a time.

use std::sync::Arc;

use super::Memory;
use crate::{Head, Key, Object};

/// A walk through the memory tier, from one step to the next.
///
/// It sees every object that is stored when it begins and when it ends; of those that come or go meanwhile, some. No
/// lock is held while an object is looked at, and a step copies the keys of one shard at most.
#[derive(Debug, Default)]
pub struct Walk {
    shard: usize,
    keys: Vec<Key>,
}

impl Walk {
    /// At the beginning.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Shows the variants of at most `most` more keys. False once there is nothing left.
    pub fn step<H: Head>(
        &mut self,
        memory: &Memory<H>,
        most: usize,
        mut visit: impl FnMut(&Arc<Object<H>>),
    ) -> bool {
        if self.keys.is_empty() {
            let Some(keys) = memory.index.keys(self.shard) else {
                return false;
            };
            self.keys = keys;
            self.shard += 1;
        }
        let rest = self.keys.len().saturating_sub(most);
        for key in self.keys.split_off(rest) {
            memory.lookup(key).iter().for_each(&mut visit);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use bytes::Bytes;

    use super::*;
    use crate::{Settings, Variant};

    #[test]
    fn a_walk_sees_everything_once_in_bounded_steps() {
        let memory = Memory::<usize>::new(Settings::new(16 << 20));
        for number in 0..1000u16 {
            let mut key = [0; 16];
            key[..2].copy_from_slice(&number.to_le_bytes());
            let variant = Variant([u8::from(number % 2 == 0); 16]);
            let stored = memory.insert_ready(Key(key), variant, 0, Bytes::from_static(b"x"));
            assert!(stored.is_ok());
        }
        let (mut walk, mut seen) = (Walk::new(), HashSet::new());
        loop {
            let mut step = 0;
            let more = walk.step(&memory, 7, |object| {
                assert!(seen.insert(object.key()));
                memory.remove_object(object); // what is seen may be removed
                step += 1;
            });
            assert!(step <= 7);
            if !more {
                break;
            }
        }
        assert_eq!((seen.len(), memory.stats().objects), (1000, 0));
    }
}
