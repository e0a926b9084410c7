//! What a stored response can be purged by, and since when it is proven not to be.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Label, Sequence};

/// The labels of a stored response and the sequence that it was born at.
#[derive(Debug)]
pub struct Membership {
    born: Sequence,
    labels: Box<[Label]>,
    /// The sequence up to which no purge was found to match: most checks are one comparison with it.
    proven: AtomicU64,
}

impl Membership {
    /// A response whose request was sent when `born` was applied.
    #[must_use]
    pub fn new(born: Sequence, labels: Vec<Label>) -> Self {
        Self {
            born,
            labels: labels.into_boxed_slice(),
            proven: AtomicU64::new(born.0),
        }
    }

    /// The sequence that it was born at.
    #[must_use]
    pub const fn born(&self) -> Sequence {
        self.born
    }

    /// What it can be purged by.
    #[must_use]
    pub const fn labels(&self) -> &[Label] {
        &self.labels
    }

    /// The bytes it owns on the heap.
    #[must_use]
    pub const fn weight(&self) -> usize {
        size_of_val::<[Label]>(&self.labels)
    }

    pub(super) fn is_proven(&self, latest: Sequence) -> bool {
        self.proven.load(Ordering::Relaxed) >= latest.0
    }

    pub(super) fn prove(&self, latest: Sequence) {
        self.proven.fetch_max(latest.0, Ordering::Relaxed);
    }
}
