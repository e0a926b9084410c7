//! What a purge can name: sixty-four bits for a URL, a tag, a host.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;

use super::LogId;

/// One of the names that a stored response can be purged by.
///
/// Two names may share a label, with one chance in 2⁶⁴ for each pair: then a purge of the one purges the other, too,
/// which costs a request to the origin and no correctness. The hash is keyed, so nobody can make them meet.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Label(pub u64);

/// Makes labels. Those of one log are the same in every process; those of different logs have nothing to do with each
/// other.
#[derive(Clone, Debug)]
pub struct Labeller {
    hasher: SipHasher13,
}

impl Labeller {
    /// The labeller of a log of purges.
    #[must_use]
    pub fn of(log: LogId) -> Self {
        Self {
            hasher: SipHasher13::new_with_keys(log.0, !log.0),
        }
    }

    /// The label of a name: of what kind, and its parts in their order.
    #[must_use]
    pub fn label(&self, kind: u8, parts: &[&[u8]]) -> Label {
        let mut hasher = self.hasher;
        hasher.write_u8(kind);
        for part in parts {
            hasher.write_u64(part.len() as u64);
            hasher.write(part);
        }
        Label(hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_the_borders_of_parts_count() {
        let labeller = Labeller::of(LogId(7));
        let label = |kind, parts: &[&[u8]]| labeller.label(kind, parts);
        assert_eq!(label(1, &[b"a", b"b"]), label(1, &[b"a", b"b"]));
        assert_ne!(label(1, &[b"a", b"b"]), label(2, &[b"a", b"b"]));
        assert_ne!(label(1, &[b"a", b"b"]), label(1, &[b"ab"]));
        assert_ne!(label(1, &[b"a", b"b"]), label(1, &[b"ab", b""]));
        let other = Labeller::of(LogId(8));
        assert_ne!(label(1, &[b"a"]), other.label(1, &[b"a"]));
    }

    #[test]
    fn labels_outlive_the_process() {
        let labeller = Labeller::of(LogId(7));
        assert_eq!(labeller.label(3, &[b"a", b"bc"]), Label(GOLDEN));
    }

    const GOLDEN: u64 = 2_703_545_895_757_814_041;
}
