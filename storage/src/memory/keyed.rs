//! A hash of keys for tables in memory.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// Hashes keys under a secret of its own: whoever can compute keys cannot aim at one place of a table.
///
/// Keys are hashes already. Two folded multiplications spread them as far as tables need, at a tenth of what the
/// library's hash costs, which is for all that is not.
#[derive(Clone, Debug)]
pub(super) struct Keyed([u64; 4]);

/// What was hashed so far.
pub(super) struct Folding {
    secret: [u64; 4],
    state: u64,
}

impl Default for Keyed {
    fn default() -> Self {
        let random = RandomState::new();
        Self(std::array::from_fn(|number| random.hash_one(number)))
    }
}

impl BuildHasher for Keyed {
    type Hasher = Folding;

    fn build_hasher(&self) -> Folding {
        Folding {
            secret: self.0,
            state: 0,
        }
    }
}

/// The two halves of a product, one upon the other.
fn folded(one: u64, other: u64) -> u64 {
    let (low, high) = halves(u128::from(one) * u128::from(other));
    low ^ high
}

fn halves(whole: u128) -> (u64, u64) {
    let low = u64::try_from(whole & u128::from(u64::MAX));
    let high = u64::try_from(whole >> 64);
    (low.unwrap_or_default(), high.unwrap_or_default())
}

impl Hasher for Folding {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<16>();
        let mut last = [0; 16];
        last[..rest.len()].copy_from_slice(rest);
        for word in words.iter().chain((!rest.is_empty()).then_some(&last)) {
            let (low, high) = halves(u128::from_le_bytes(*word));
            let [one, other, ..] = self.secret;
            self.state ^= folded(low ^ one ^ self.state, high ^ other);
        }
    }

    /// All keys are of one length.
    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        let [_, _, one, other] = self.secret;
        folded(self.state ^ one, other | 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Key;

    #[test]
    fn keys_that_differ_little_are_spread() {
        let keyed = Keyed::default();
        let key = |number: u64| {
            let mut key = [0; 16];
            key[..8].copy_from_slice(&number.to_le_bytes());
            Key(key)
        };
        let mut places = [0_u32; 64];
        for number in 0..64_000 {
            let hash = keyed.hash_one(key(number));
            places[usize::try_from(hash % 64).unwrap()] += 1;
        }
        // A thousand each: five deviations are 160.
        assert!(
            places.iter().all(|count| (800..1200).contains(count)),
            "{places:?}"
        );
        let tops: std::collections::BTreeSet<u64> = (0..1000)
            .map(|number| keyed.hash_one(key(number)) >> 57)
            .collect();
        assert!(tops.len() > 120, "{}", tops.len());
    }

    #[test]
    fn another_table_has_another_secret() {
        let (one, other) = (Keyed::default(), Keyed::default());
        let key = Key([7; 16]);
        let copy = one.clone();
        assert_eq!(one.hash_one(key), copy.hash_one(key));
        assert_ne!(one.hash_one(key), other.hash_one(key));
    }
}
