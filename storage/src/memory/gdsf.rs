//! Greedy-Dual-Size-Frequency over random samples.
//!
//! An object's priority is `age + frequency / cost`, set when it is admitted and at every access.
//! The victim is the lowest of a sample, and the age rises to its priority: what was popular long
//! ago sinks below what is popular now. (Cao and Irani 1997; Cherkasova 1998; sampling as in Redis.)

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use super::object::Object;
use crate::Head;

/// How many residents are compared for one eviction.
const SAMPLE: usize = 64;

/// How many lists, each with a lock, the residents are spread over. A sample takes its share from
/// each of them. If it came from a few of many lists instead, these would be drained below the
/// others for a while, the age would rise too fast, and the hit ratio would fall by a point.
const LISTS: usize = 8;

/// How many samples are drawn when all the objects in them are in use.
const SAMPLES_MAX: usize = 4;

/// Where counting accesses ends.
const FREQUENCY_MAX: u32 = 1 << 16;

/// References to a resident that is not in use: index and residents.
const OWN_REFERENCES: usize = 2;

type Residents<H> = Vec<Arc<Object<H>>>;

pub(super) struct SampledGdsf<H: Head> {
    lists: [RwLock<Residents<H>>; LISTS],
    /// The bits of the age, a non-negative `f64`. It only rises.
    age: AtomicU64,
    random: Random,
}

impl<H: Head> SampledGdsf<H> {
    pub(super) fn new() -> Self {
        Self {
            lists: std::array::from_fn(|_| RwLock::default()),
            age: AtomicU64::new(0),
            random: Random::new(),
        }
    }

    pub(super) fn admitted(&self, object: &Arc<Object<H>>) {
        self.accessed(object);
        let mut residents = self.list(object.id).write();
        object.rank.place.store(residents.len(), Ordering::Relaxed);
        residents.push(Arc::clone(object));
    }

    pub(super) fn swapped(&self, old: &Arc<Object<H>>, new: &Arc<Object<H>>) {
        let mut residents = self.list(old.id).write();
        if let Some(place) = place(&residents, old) {
            new.rank.place.store(place, Ordering::Relaxed);
            residents[place] = Arc::clone(new);
        }
    }

    pub(super) fn removed(&self, object: &Arc<Object<H>>) {
        let mut residents = self.list(object.id).write();
        let Some(place) = place(&residents, object) else {
            return;
        };
        residents.swap_remove(place);
        if let Some(moved) = residents.get(place) {
            moved.rank.place.store(place, Ordering::Relaxed);
        }
    }

    /// Counts an access. Two at once may count as one; nobody waits.
    pub(super) fn accessed(&self, object: &Object<H>) {
        let rank = &object.rank;
        let counted = rank.frequency.load(Ordering::Relaxed);
        let frequency = counted.saturating_add(1).min(FREQUENCY_MAX);
        if frequency != counted {
            rank.frequency.store(frequency, Ordering::Relaxed);
        }

        let age = f64::from_bits(self.age.load(Ordering::Relaxed));
        let priority = age + f64::from(frequency) / object.cost() as f64;
        // Under many hits at once the line stays shared if there is nothing new to say.
        if rank.priority.load(Ordering::Relaxed) != priority.to_bits() {
            rank.priority.store(priority.to_bits(), Ordering::Relaxed);
        }
    }

    /// The victim's priority becomes the age.
    pub(super) fn age(&self, victim: &Object<H>) {
        let priority = victim.rank.priority.load(Ordering::Relaxed);
        self.age.fetch_max(priority, Ordering::Relaxed);
    }

    pub(super) fn victim(&self) -> Option<Arc<Object<H>>> {
        (0..SAMPLES_MAX).find_map(|_| self.lowest_of_a_sample())
    }

    fn lowest_of_a_sample(&self) -> Option<Arc<Object<H>>> {
        let mut lowest = Lowest::default();
        let mut draws = self.random.draws();
        for list in &self.lists {
            lowest.consider_some(&list.read(), SAMPLE / LISTS, &mut draws);
        }
        lowest.object
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lists.iter().map(|list| list.read().len()).sum()
    }

    #[cfg(test)]
    pub(super) fn contains(&self, object: &Arc<Object<H>>) -> bool {
        place(&self.list(object.id).read(), object).is_some()
    }

    fn list(&self, id: u64) -> &RwLock<Residents<H>> {
        let number = id % LISTS as u64;
        &self.lists[usize::try_from(number).unwrap_or_default()]
    }
}

/// Where `object` is among the residents, if it is.
fn place<H: Head>(residents: &Residents<H>, object: &Arc<Object<H>>) -> Option<usize> {
    let place = object.rank.place.load(Ordering::Relaxed);
    let found = residents.get(place)?;
    Arc::ptr_eq(found, object).then_some(place)
}

/// The lowest so far among the sampled that are not in use.
struct Lowest<H: Head> {
    priority: u64,
    object: Option<Arc<Object<H>>>,
}

impl<H: Head> Default for Lowest<H> {
    fn default() -> Self {
        Self {
            priority: u64::MAX,
            object: None,
        }
    }
}

impl<H: Head> Lowest<H> {
    /// Looks at `count` random residents, or at each once if there are no more.
    fn consider_some(&mut self, residents: &Residents<H>, count: usize, draws: &mut Draws) {
        if residents.len() <= count {
            residents.iter().for_each(|object| self.consider(object));
        } else {
            (0..count).for_each(|_| self.consider(&residents[draws.below(residents.len())]));
        }
    }

    fn consider(&mut self, object: &Arc<Object<H>>) {
        let priority = object.rank.priority.load(Ordering::Relaxed);
        // The candidate itself is held once more by `self`.
        if priority < self.priority && Arc::strong_count(object) <= OWN_REFERENCES {
            self.priority = priority;
            self.object = Some(Arc::clone(object));
        }
    }
}

/// Random numbers (`SplitMix64`; Steele, Lea and Flood 2014) that any thread may draw.
struct Random(AtomicU64);

/// A run of random numbers for one thread.
struct Draws(u64);

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Random {
    fn new() -> Self {
        Self(AtomicU64::new(RandomState::new().hash_one(0)))
    }

    fn draws(&self) -> Draws {
        Draws(mix(self.0.fetch_add(GOLDEN, Ordering::Relaxed)))
    }
}

impl Draws {
    /// A number from 0 to `limit` − 1; 0 if `limit` is 0.
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(GOLDEN);
        // The high half of the product: Lemire's reduction, without a division.
        let product = u128::from(mix(self.0)) * limit as u128;
        usize::try_from(product >> 64).unwrap_or_default()
    }
}

fn mix(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
