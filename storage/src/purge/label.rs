//! What a purge can name: sixty-four bits for a URL, a tag, a host.

use std::hash::{BuildHasher as _, RandomState};

/// One of the names that a stored response can be purged by.
///
/// Two names may share a label, with one chance in 2⁶⁴ for each pair: then a purge of the one purges the other, too,
/// which costs a request to the origin and no correctness. The hash is keyed, so nobody can make them meet.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Label(pub(super) u64);

/// Makes labels. Those of different makers have nothing to do with each other.
#[derive(Clone, Debug, Default)]
pub struct Labeller {
    hasher: RandomState,
}

impl Labeller {
    /// The label of a name: of what kind, and its parts in their order.
    #[must_use]
    pub fn label(&self, kind: u8, parts: &[&[u8]]) -> Label {
        Label(self.hasher.hash_one((kind, parts)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_the_borders_of_parts_count() {
        let labeller = Labeller::default();
        let label = |kind, parts: &[&[u8]]| labeller.label(kind, parts);
        assert_eq!(label(1, &[b"a", b"b"]), label(1, &[b"a", b"b"]));
        assert_ne!(label(1, &[b"a", b"b"]), label(2, &[b"a", b"b"]));
        assert_ne!(label(1, &[b"a", b"b"]), label(1, &[b"ab"]));
        assert_ne!(label(1, &[b"a", b"b"]), label(1, &[b"ab", b""]));
        assert_ne!(label(1, &[b"a"]), Labeller::default().label(1, &[b"a"]));
    }
}
