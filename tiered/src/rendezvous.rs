//! Which of several nodes a key belongs to: weighted rendezvous hashing over ids that do not change.
//!
//! Every node gets a number for every key, and the highest wins. So a node that goes takes only its own keys with it,
//! and the second highest is who comes next: a key's candidates are in an order that everybody computes alike.

use std::hash::Hasher as _;
use std::hint::select_unpredictable;

use siphasher::sip::SipHasher13;

/// How much more than the mean a node may have under way before a key goes to its next candidate.
const LOAD_MAX: (usize, usize) = (5, 4);
/// Nobody's place.
const NOBODY: usize = usize::MAX;
/// Below that many, nobody is crowded: keys stay where they are.
const LOAD_FLOOR: usize = 128;

/// A node as the ring knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Stays the same wherever the node is and whoever names it.
    pub id: String,
    /// Its share of the keys against the others'; zero counts as one.
    pub weight: u32,
}

/// The nodes that share the keys.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    /// Nodes of one weight together: among them the hash alone decides, and only the best of each compare weights.
    classes: Vec<Class>,
}

#[derive(Clone, Debug)]
struct Class {
    weight: u32,
    /// In ascending order, so that everybody goes through them alike.
    seeds: Vec<u64>,
    /// Whose they are: places among the members.
    places: Vec<usize>,
}

/// Whom a key belongs to, by their places among the members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidates {
    /// Its owner.
    pub first: usize,
    /// Who has it when the owner is gone.
    pub second: Option<usize>,
}

/// The number that a node gets for a key.
#[derive(Clone, Copy, Debug)]
struct Draw {
    number: u64,
    place: usize,
}

/// How a node does for a key: the lower the better.
#[derive(Clone, Copy, Debug)]
struct Standing {
    score: f64,
    place: usize,
}

impl Ring {
    /// A ring of these members, in any order.
    #[must_use]
    pub fn new(members: &[Member]) -> Self {
        let seeded = members.iter().enumerate();
        let mut seeded: Vec<_> = seeded
            .map(|(place, member)| (member.weight.max(1), seed(&member.id), place))
            .collect();
        seeded.sort_unstable();
        let of_a_weight = seeded.chunk_by(|(one, ..), (other, ..)| one == other);
        let classes = of_a_weight.map(|members| Class {
            weight: members[0].0,
            seeds: members.iter().map(|(_, seed, _)| *seed).collect(),
            places: members.iter().map(|(.., place)| *place).collect(),
        });
        Self {
            classes: classes.collect(),
        }
    }

    /// The two best nodes for a key; none where there is no node.
    #[must_use]
    pub fn candidates(&self, key: u64) -> Option<Candidates> {
        if let [class] = &self.classes[..] {
            let [first, second] = class.best(key);
            return Some(Candidates {
                first: first?.place,
                second: second.map(|second| second.place),
            });
        }
        let mut first: Option<Standing> = None;
        let mut second: Option<Standing> = None;
        for class in &self.classes {
            for Draw { number, place } in class.best(key).into_iter().flatten() {
                let score = score(number, class.weight);
                let standing = Some(Standing { score, place });
                if first.is_none_or(|first| score < first.score) {
                    second = first;
                    first = standing;
                } else if second.is_none_or(|second| score < second.score) {
                    second = standing;
                }
            }
        }
        Some(Candidates {
            first: first?.place,
            second: second.map(|second| second.place),
        })
    }
}

impl Class {
    /// The two highest numbers of a key, and whose they are.
    fn best(&self, key: u64) -> [Option<Draw>; 2] {
        // Who leads changes at random: choosing costs less than guessing wrong.
        let (mut first, mut second) = ((0, NOBODY), (0, NOBODY));
        for (at, seed) in self.seeds.iter().enumerate() {
            let drawn = (mix(seed ^ key), at);
            let leads = drawn.0 >= first.0;
            let behind = select_unpredictable(leads, first, drawn);
            first = select_unpredictable(leads, drawn, first);
            second = select_unpredictable(behind.0 >= second.0, behind, second);
        }
        [first, second].map(|(number, at)| {
            let place = *self.places.get(at)?;
            Some(Draw { number, place })
        })
    }
}

/// Whether a node with `own` requests under way may take another one, where `nodes` have `all` together.
#[must_use]
pub const fn may_take(own: usize, all: usize, nodes: usize) -> bool {
    let (more, than) = LOAD_MAX;
    // Rounded up: the mean counts the new one.
    let bound = ((all + 1) * more).div_ceil(than * if nodes == 0 { 1 } else { nodes });
    own < bound || own < LOAD_FLOOR
}

/// What a node's id is in the hash. It is the same in every version, or a key would have several owners.
fn seed(id: &str) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(0x6c61_7264_6572_2d74, 0x6965_7265_642d_7631);
    hasher.write(id.as_bytes());
    hasher.finish()
}

/// Every bit of the outcome depends on every bit of `number` (the finalizer of `MurmurHash3`).
const fn mix(number: u64) -> u64 {
    let mut mixed = number;
    mixed ^= mixed >> 33;
    mixed = mixed.wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^= mixed >> 33;
    mixed = mixed.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^ (mixed >> 33)
}

/// Makes the highest number win as often as the weight says.
#[expect(
    clippy::cast_precision_loss,
    reason = "53 bits are kept, and a double has as many"
)]
fn score(number: u64, weight: u32) -> f64 {
    let uniform = ((number >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    -uniform.ln() / f64::from(weight)
}

#[cfg(test)]
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a test are far below what a double holds"
)]
mod tests {
    use super::*;

    fn members(weights: &[u32]) -> Vec<Member> {
        let named = weights.iter().enumerate();
        named
            .map(|(number, weight)| Member {
                id: format!("10.0.0.{number}:8080"),
                weight: *weight,
            })
            .collect()
    }

    fn keys(count: u64) -> impl Iterator<Item = u64> {
        (0..count).map(|number| mix(number ^ 0x5eed))
    }

    fn shares(ring: &Ring, nodes: usize, count: u64) -> Vec<u64> {
        let mut shares = vec![0; nodes];
        for key in keys(count) {
            shares[ring.candidates(key).unwrap().first] += 1;
        }
        shares
    }

    #[track_caller]
    fn check_balance(nodes: usize, keys: u64, imbalance: f64) {
        let ring = Ring::new(&members(&vec![1; nodes]));
        let shares = shares(&ring, nodes, keys);
        let most = *shares.iter().max().unwrap() as f64;
        let found = most * nodes as f64 / keys as f64;
        assert!(found <= imbalance, "{nodes} nodes: {found}");
    }

    #[test]
    fn every_node_has_its_share() {
        check_balance(2, 500_000, 1.01);
        check_balance(8, 1_000_000, 1.01);
        // More of them take longer than a test should: see `benches`.
        check_balance(64, 200_000, 1.06);
    }

    #[test]
    fn a_share_is_as_large_as_its_weight() {
        let weights = [1, 2, 1, 4];
        let shares = shares(&Ring::new(&members(&weights)), 4, 400_000);
        for (weight, share) in weights.into_iter().zip(shares) {
            let fair = f64::from(weight) / 8.0 * 400_000.0;
            let off = (share as f64 - fair).abs() / fair;
            assert!(off < 0.02, "weight {weight}: {share} of {fair}");
        }
    }

    #[test]
    fn a_node_that_goes_takes_only_its_own_keys_along() {
        for weights in [vec![1; 8], vec![1, 3, 1, 2, 1, 3, 1, 1]] {
            let all = members(&weights);
            let (gone, left) = (3, [&all[..3], &all[4..]].concat());
            let (before, after) = (Ring::new(&all), Ring::new(&left));
            for key in keys(50_000) {
                let old = before.candidates(key).unwrap();
                let new = &left[after.candidates(key).unwrap().first].id;
                let expected = match old.first == gone {
                    true => &all[old.second.unwrap()].id,
                    false => &all[old.first].id,
                };
                assert_eq!(new, expected);
            }
        }
    }

    #[test]
    fn the_order_of_the_members_does_not_matter() {
        let all = members(&[1, 2, 1, 1]);
        let turned: Vec<_> = all.iter().rev().cloned().collect();
        let (one, other) = (Ring::new(&all), Ring::new(&turned));
        for key in keys(10_000) {
            let (one, other) = (one.candidates(key), other.candidates(key));
            let id = |all: &[Member], it: Option<Candidates>| all[it.unwrap().first].id.clone();
            assert_eq!(id(&all, one), id(&turned, other));
        }
    }

    /// If this fails, nodes of two versions do not agree who has a key.
    #[test]
    fn owners_are_the_same_in_every_version() {
        let ring = Ring::new(&members(&[1, 1, 2, 1, 1]));
        let owners: Vec<_> = (0..12)
            .map(|key| ring.candidates(key).unwrap().first)
            .collect();
        assert_eq!(owners, OWNERS);
    }

    const OWNERS: [usize; 12] = [1, 4, 2, 0, 1, 0, 2, 2, 0, 1, 2, 2];

    #[test]
    fn one_node_has_everything_and_none_has_nothing() {
        assert_eq!(Ring::new(&[]).candidates(1), None);
        let alone = Candidates {
            first: 0,
            second: None,
        };
        assert_eq!(Ring::new(&members(&[7])).candidates(1), Some(alone));
    }

    #[test]
    fn a_node_is_crowded_at_a_quarter_above_the_mean() {
        assert!(may_take(127, 127, 8), "few are never a crowd");
        assert!(may_take(249, 399, 2));
        assert!(!may_take(250, 399, 2));
        assert!(!may_take(1_000, 1_000, 2));
        assert!(may_take(10_000, 10_000, 1), "nobody else is there");
        assert!(may_take(0, 0, 0));
    }
}
