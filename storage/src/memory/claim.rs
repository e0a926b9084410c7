//! The right to store what is about to be asked for.

use std::fmt;
use std::sync::Arc;

use super::Memory;
use crate::{Fill, Head, Keep, Key, Variant};

/// Taken before a response is asked for, and shown when it is stored: [`Memory::remove`] voids it,
/// because the answer may tell how things were before. What was claimed afterwards is not touched.
pub struct Claim<H: Head> {
    memory: Arc<Memory<H>>,
    key: Key,
    generation: u64,
}

impl<H: Head> Claim<H> {
    pub(super) fn new(memory: &Arc<Memory<H>>, key: Key) -> Self {
        Self {
            generation: memory.index.write(key).claims.enter(key),
            memory: Arc::clone(memory),
            key,
        }
    }

    /// What is claimed.
    pub fn key(&self) -> Key {
        self.key
    }

    /// Whether what was asked for may be stored, as things stand.
    pub fn holds(&self) -> bool {
        self.memory.index.holds(self.key, self.generation)
    }

    /// Whether nothing but one removal came between `earlier`, which is not dropped yet, and this claim: whoever made
    /// that knows that it has seen all there was.
    pub fn follows(&self, earlier: &Self) -> bool {
        self.key == earlier.key && self.generation == earlier.generation.wrapping_add(1)
    }

    /// Begins to receive a body of this announced length.
    pub fn begin(self, variant: Variant, head: H, length: Option<u64>, keep: Keep) -> Fill<H> {
        Fill::new(self, variant, head, length, keep)
    }

    pub(crate) fn memory(&self) -> &Arc<Memory<H>> {
        &self.memory
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }
}

impl<H: Head> Drop for Claim<H> {
    fn drop(&mut self) {
        self.memory.index.write(self.key).claims.leave(self.key);
    }
}

impl<H: Head> fmt::Debug for Claim<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim")
            .field("key", &self.key)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}
