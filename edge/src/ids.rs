//! Numbers by which one request is told from all others.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Serialize, Serializer};

/// Gives each request a number. Those of another process are others, with near certainty.
#[derive(Debug)]
pub(crate) struct Ids {
    next: AtomicU64,
}

/// The number of a request, as logs tell it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Id(pub u64);

impl Default for Ids {
    fn default() -> Self {
        Self {
            next: AtomicU64::new(RandomState::new().hash_one(0)),
        }
    }
}

impl Ids {
    pub(crate) fn next(&self) -> Id {
        Id(mixed(self.next.fetch_add(1, Ordering::Relaxed)))
    }
}

/// A permutation of all numbers after which neighbours are strangers (the finaliser of `SplitMix64`).
const fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_are_the_same() {
        let ids = Ids::default();
        let mut seen = std::collections::HashSet::new();
        assert!((0..10_000).all(|_| seen.insert(ids.next())));
        assert!(seen.iter().all(|id| id.to_string().len() == 16));
    }
}
