use std::collections::{HashMap, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::Eviction;

/// A head is its own weight.
impl Head for usize {
    fn weight(&self) -> usize {
        *self
    }
}

const EVICTIONS: [Eviction; 2] = [Eviction::SampledGdsf, Eviction::Lru];
const V: Variant = Variant([0; 16]);

pub(crate) fn object(key: u8, variant: u8) -> Arc<Object<usize>> {
    let memory = Memory::new(Settings::new(1 << 20));
    let variant = Variant([variant; 16]);
    memory
        .insert_ready(name(key), variant, 0, Bytes::new())
        .unwrap()
}

fn name(key: u8) -> Key {
    Key([key; 16])
}

fn memory(capacity: usize, eviction: Eviction) -> Arc<Memory<usize>> {
    Memory::new(Settings {
        eviction,
        object_max: u64::MAX,
        ..Settings::new(capacity)
    })
}

fn body(len: usize) -> Bytes {
    Bytes::from(vec![7; len])
}

impl Memory<usize> {
    /// The residents are exactly what is in the index, and as many as are counted.
    #[track_caller]
    fn check_order(&self, keys: impl Iterator<Item = Key>) {
        let stored: Vec<_> = keys.flat_map(|key| self.lookup(key).to_vec()).collect();
        assert_eq!(stored.len(), self.stats().objects);
        assert_eq!(self.order.len(), stored.len());
        assert!(stored.iter().all(|object| self.order.contains(object)));
    }
}

#[test]
fn what_is_stored_is_found_until_it_is_removed() {
    let memory = memory(1 << 20, Eviction::default());
    let stored = memory.insert_ready(name(1), V, 10, body(100)).unwrap();

    let found = memory.lookup(name(1));
    assert!(Arc::ptr_eq(&found[0], &stored));
    assert_eq!(found[0].body().contiguous().unwrap(), &body(100));
    assert_eq!(**found[0].head(), 10);
    assert_eq!(memory.stats().bytes, stored.cost());
    assert_eq!(stored.cost(), 110 + memory.object_overhead());

    let removed = memory.remove(name(1));
    assert_eq!((removed.objects, removed.bytes), (1, stored.cost()));
    assert!(memory.lookup(name(1)).is_empty());
    assert_eq!(memory.remove(name(1)), Removed::default());
}

#[test]
fn a_variant_replaces_itself_and_variants_are_limited() {
    let memory = Memory::new(Settings {
        variants_max: 3,
        ..Settings::new(1 << 20)
    });
    for variant in [1, 2, 3, 2, 4, 4] {
        let variant = Variant([variant; 16]);
        memory.insert_ready(name(1), variant, 0, body(1)).unwrap();
        memory.check_order([name(1)].into_iter());
    }
    let found = memory.lookup(name(1));
    let variants: Vec<u8> = found.iter().map(|object| object.variant().0[0]).collect();
    assert_eq!(variants, [4, 2, 3]);
}

#[test]
fn a_replaced_object_keeps_its_frequency() {
    let memory = memory(1 << 20, Eviction::SampledGdsf);
    let old = memory.insert_ready(name(1), V, 0, body(1)).unwrap();
    (0..5).for_each(|_| memory.accessed(&old));

    let new = memory.insert_ready(name(1), V, 0, body(2)).unwrap();
    assert_eq!(new.rank.frequency.load(Ordering::Relaxed), 7);
}

#[test]
fn a_new_head_shares_the_body() {
    for eviction in EVICTIONS {
        let memory = memory(1 << 20, eviction);
        let old = memory.insert_ready(name(1), V, 10, body(1000)).unwrap();
        let new = memory.update_head(&old, Arc::new(20)).unwrap();

        assert_eq!(**memory.lookup(name(1))[0].head(), 20);
        let bytes = |object: &Object<usize>| object.body().contiguous().unwrap().as_ptr();
        assert_eq!(bytes(&old), bytes(&new));
        memory.check_order([name(1)].into_iter());

        assert!(
            memory.update_head(&old, Arc::new(30)).is_none(),
            "no longer current"
        );
        memory.remove_object(&old);
        assert_eq!(memory.stats().objects, 1);
        drop(old);
        assert_eq!(memory.stats().bytes, new.cost());
        memory.remove_object(&new);
        assert_eq!(memory.stats().objects, 0);
    }
}

#[test]
fn what_does_not_fit_is_refused_and_counted() {
    let memory = Memory::new(Settings {
        object_max: 100,
        ..Settings::new(2000)
    });
    let refused = |head, len| {
        memory
            .insert_ready(name(1), V, head, body(len))
            .unwrap_err()
    };

    assert_eq!(refused(0, 101), Refused::TooLong);
    assert_eq!(refused(2000, 1), Refused::NoRoom);
    assert_eq!(refused(usize::MAX, 1), Refused::NoRoom);
    assert!(memory.insert_ready(name(1), V, 0, body(100)).is_ok());
    assert_eq!(memory.stats().rejected, 3);
}

#[test]
fn an_empty_budget_stores_nothing() {
    for eviction in EVICTIONS {
        let memory = memory(0, eviction);
        assert!(memory.insert_ready(name(1), V, 0, body(0)).is_err());
        assert_eq!(memory.stats().bytes, 0);
    }
}

#[test]
fn eviction_passes_over_what_is_in_use() {
    for eviction in EVICTIONS {
        let memory = memory(8000, eviction);
        let used = memory.insert_ready(name(0), V, 0, body(500)).unwrap();
        for key in 1..=100 {
            memory.insert_ready(name(key), V, 0, body(500)).unwrap();
        }
        assert_eq!(memory.lookup(name(0)).len(), 1);
        assert!(memory.stats().evictions > 50);
        drop(used);
        for key in 1..=100 {
            memory.insert_ready(name(key), V, 0, body(500)).unwrap();
        }
        assert_eq!(memory.lookup(name(0)).len(), 0);
    }
}

#[test]
fn bytes_being_sent_count_until_they_are_gone() {
    for eviction in EVICTIONS {
        let memory = memory(10_000, eviction);
        let object = memory.insert_ready(name(1), V, 0, body(6000)).unwrap();
        let sent: Vec<Bytes> = object.body().slice(10..20).collect();
        drop(object);

        // There is nothing to evict but what is being sent; that goes, and its bytes remain.
        assert!(memory.insert_ready(name(2), V, 0, body(5000)).is_err());
        assert_eq!(memory.stats().objects, 0);
        assert_eq!(memory.stats().bytes, 6000 + PIECE_OVERHEAD);
        drop(sent);
        assert_eq!(memory.stats().bytes, 0);
        assert!(memory.insert_ready(name(2), V, 0, body(5000)).is_ok());
    }
}

#[test]
fn everything_in_use_means_no_room() {
    for eviction in EVICTIONS {
        let memory = memory(8000, eviction);
        let store = |key| memory.insert_ready(name(key), V, 0, body(500)).ok();
        let used: Vec<_> = (0..=255).map_while(store).collect();

        assert!(used.len() > 3);
        assert_eq!(memory.stats().objects, used.len());
        drop(used);
        assert!(store(200).is_some());
    }
}

#[test]
fn many_threads_leave_every_byte_accounted_for() {
    const KEYS: u64 = 64;
    let key = |number: u64| Key(u128::from(number % KEYS).to_le_bytes());
    for eviction in EVICTIONS {
        let memory = memory(100_000, eviction);
        std::thread::scope(|scope| {
            for seed in 0..4 {
                let memory = &memory;
                scope.spawn(move || {
                    let mut numbers = Numbers(seed);
                    let mut held = VecDeque::new();
                    for _ in 0..20_000 {
                        act(memory, key(numbers.next()), &mut numbers, &mut held);
                        assert!(memory.stats().bytes <= 100_000);
                    }
                });
            }
        });
        memory.check_order((0..KEYS).map(key));
        for number in 0..KEYS {
            memory.remove(key(number));
        }
        let stats = memory.stats();
        assert_eq!(
            (stats.objects, stats.bytes, stats.in_flight_bytes),
            (0, 0, 0)
        );
        assert_eq!(memory.order.len(), 0);
    }
}

/// One random step of one thread.
fn act(
    memory: &Arc<Memory<usize>>,
    key: Key,
    numbers: &mut Numbers,
    held: &mut VecDeque<Arc<Object<usize>>>,
) {
    let variant = Variant([u8::from(numbers.below(2) == 0); 16]);
    match numbers.below(8) {
        0 => drop(memory.remove(key)),
        1 => held.extend(memory.lookup(key).first().cloned()),
        2 => held.iter().for_each(|object| memory.accessed(object)),
        3 => drop(
            held.front()
                .and_then(|object| memory.update_head(object, Arc::new(50))),
        ),
        4 => held.iter().for_each(|object| memory.remove_object(object)),
        _ => drop(memory.insert_ready(key, variant, 10, body(numbers.below(5000)))),
    }
    if held.len() > 4 {
        held.pop_front();
    }
}

/// Random numbers that are the same every time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }
}

/// One of a random sequence of operations.
#[derive(Clone, Debug)]
enum Step {
    Insert {
        key: u8,
        variant: u8,
        head: usize,
        len: usize,
    },
    Access {
        key: u8,
    },
    Update {
        key: u8,
        head: usize,
    },
    Remove {
        key: u8,
    },
    Hold {
        key: u8,
    },
    HoldBytes {
        key: u8,
    },
    Release,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..8_u8;
    prop_oneof![
        6 => (key.clone(), 0..3_u8, 0..100_usize, 0..3000_usize)
            .prop_map(|(key, variant, head, len)| Step::Insert { key, variant, head, len }),
        2 => key.clone().prop_map(|key| Step::Access { key }),
        2 => (key.clone(), 0..100_usize).prop_map(|(key, head)| Step::Update { key, head }),
        1 => key.clone().prop_map(|key| Step::Remove { key }),
        1 => key.clone().prop_map(|key| Step::Hold { key }),
        1 => key.prop_map(|key| Step::HoldBytes { key }),
        2 => Just(Step::Release),
    ]
}

/// What the test holds on to.
#[derive(Default)]
struct Held {
    objects: VecDeque<Arc<Object<usize>>>,
    bytes: VecDeque<Bytes>,
}

fn take(memory: &Arc<Memory<usize>>, held: &mut Held, step: &Step) {
    let newest = |key| memory.lookup(name(key)).first().cloned();
    match *step {
        Step::Insert {
            key,
            variant,
            head,
            len,
        } => {
            let variant = Variant([variant; 16]);
            drop(memory.insert_ready(name(key), variant, head, body(len)));
        }
        Step::Access { key } => newest(key).iter().for_each(|found| memory.accessed(found)),
        Step::Update { key, head } => {
            drop(newest(key).and_then(|found| memory.update_head(&found, Arc::new(head))));
        }
        Step::Remove { key } => drop(memory.remove(name(key))),
        Step::Hold { key } => held.objects.extend(newest(key)),
        Step::HoldBytes { key } => {
            held.bytes
                .extend(newest(key).and_then(|found| found.body().contiguous().cloned()));
        }
        Step::Release => {
            held.objects.pop_front();
            held.bytes.pop_front();
        }
    }
}

/// Every object that is stored or held costs once, every body once however many hold it.
fn expected_bytes(memory: &Memory<usize>, held: &Held) -> usize {
    let stored = (0..8).flat_map(|key| memory.lookup(name(key)).to_vec());
    let objects: HashMap<_, _> = stored
        .chain(held.objects.iter().cloned())
        .map(|object| (Arc::as_ptr(&object), object))
        .collect();
    let fixed: usize = objects
        .values()
        .map(|object| object.cost() - object.body().cost())
        .sum();

    let kept = objects
        .values()
        .map(|object| object.body().contiguous().unwrap());
    // Where it lies tells bodies apart; empty ones do not lie anywhere, so none is empty here.
    let bodies: HashMap<_, _> = kept
        .chain(&held.bytes)
        .map(|bytes| (bytes.as_ptr(), bytes.len() + PIECE_OVERHEAD))
        .collect();
    fixed + bodies.values().sum::<usize>()
}

proptest! {
    #[test]
    fn the_charge_is_exact_and_never_above_the_capacity(
        steps in prop::collection::vec(step(), 1..200),
        lru in any::<bool>(),
    ) {
        let eviction = if lru { Eviction::Lru } else { Eviction::SampledGdsf };
        let memory = memory(12_000, eviction);
        let mut held = Held::default();
        for step in &steps {
            let step = match step.clone() {
                Step::Insert { key, variant, head, len } => Step::Insert { key, variant, head, len: len + 1 },
                other => other,
            };
            take(&memory, &mut held, &step);
            prop_assert!(memory.stats().bytes <= 12_000);
            prop_assert_eq!(memory.stats().bytes, expected_bytes(&memory, &held));
            memory.check_order((0..8).map(name));
        }
    }
}

/// Requests as an edge sees them: few objects are popular, most are small, some are large.
fn trace(requests: usize) -> Vec<(u64, usize)> {
    const OBJECTS: usize = 3000;
    let weights: Vec<f64> = (1..=OBJECTS)
        .map(|rank| 1.0 / (rank as f64).powf(0.9))
        .collect();
    let total: f64 = weights.iter().sum();
    let steps = weights.iter().scan(0.0, |sum, weight| {
        *sum += weight / total;
        Some(*sum)
    });
    let cumulated: Vec<f64> = steps.collect();

    let mut numbers = Numbers(1);
    let mut size = |_| {
        let least = 200 << numbers.below(10);
        least + numbers.below(least)
    };
    let sizes: Vec<usize> = (0..OBJECTS).map(&mut size).collect();
    (0..requests)
        .map(|_| {
            let point = numbers.below(1 << 30) as f64 / f64::from(1 << 30);
            let rank = cumulated
                .partition_point(|sum| *sum < point)
                .min(OBJECTS - 1);
            (rank as u64, sizes[rank])
        })
        .collect()
}

/// Replays `trace` and returns how many requests were hits.
fn hits(memory: &Arc<Memory<usize>>, trace: &[(u64, usize)]) -> Vec<bool> {
    let zeros = body(1 << 20);
    let hit = |&(number, size): &(u64, usize)| {
        let key = Key(u128::from(number).to_le_bytes());
        let found = memory.lookup(key);
        match found.first() {
            Some(object) => memory.accessed(object),
            None => drop(memory.insert_ready(key, V, 0, zeros.slice(..size))),
        }
        !found.is_empty()
    };
    trace.iter().map(hit).collect()
}

/// The reference: a list, and nothing else.
fn hits_of_a_list(capacity: usize, overhead: usize, trace: &[(u64, usize)]) -> Vec<bool> {
    let (mut list, mut used) = (VecDeque::<(u64, usize)>::new(), 0);
    let hit = |&(number, size): &(u64, usize)| {
        let place = list.iter().position(|(listed, _)| *listed == number);
        let entry = place.and_then(|place| list.remove(place));
        list.push_front(entry.unwrap_or((number, size + overhead)));
        used += if entry.is_some() { 0 } else { size + overhead };
        while used > capacity {
            used -= list.pop_back().map_or(0, |(_, size)| size);
        }
        entry.is_some()
    };
    trace.iter().map(hit).collect()
}

#[test]
fn lru_is_exactly_a_list() {
    let trace = trace(20_000);
    for capacity in [300_000, 3_000_000] {
        let memory = memory(capacity, Eviction::Lru);
        let expected = hits_of_a_list(capacity, memory.object_overhead(), &trace);
        assert!(hits(&memory, &trace) == expected);
    }
}

#[test]
fn gdsf_beats_lru_by_points() {
    let trace = trace(100_000);
    let ratio = |capacity, eviction| {
        let hits = hits(&memory(capacity, eviction), &trace);
        hits.iter().filter(|hit| **hit).count() as f64 * 100.0 / hits.len() as f64
    };
    for (capacity, points) in [(1_000_000, 20.0), (10_000_000, 10.0)] {
        let lru = ratio(capacity, Eviction::Lru);
        let gdsf = ratio(capacity, Eviction::SampledGdsf);
        assert!(gdsf > lru + points, "{gdsf} and {lru} at {capacity}");
    }
}

#[test]
fn what_was_popular_long_ago_goes() {
    let memory = memory(100_000, Eviction::SampledGdsf);
    drop(memory.insert_ready(name(0), V, 0, body(1000)));
    (0..20).for_each(|_| memory.accessed(&memory.lookup(name(0))[0]));

    let mut numbers = Numbers(3);
    for _ in 0..20_000 {
        let key = Key(u128::from(numbers.next()).to_le_bytes());
        drop(memory.insert_ready(key, V, 0, body(1000)));
    }
    assert!(memory.lookup(name(0)).is_empty());
}

#[tokio::test]
async fn what_was_asked_for_before_a_removal_is_not_stored_after_it() {
    let memory = memory(1 << 20, Eviction::default());
    let claim = memory.claim(name(1));
    memory.remove(name(1));
    assert!(!claim.holds());

    let mut before = claim.begin(V, 0, None, Keep::Store);
    let mut after = memory.begin(name(1), V, 1, None, Keep::Store);
    let mut reader = before.reader();
    before.write(body(10)).await.unwrap();
    assert!(before.finish().is_none());
    assert_eq!(reader.next().await.unwrap(), Some(body(10)));
    assert_eq!(reader.next().await.unwrap(), None);
    assert!(memory.lookup(name(1)).is_empty());

    after.write(body(20)).await.unwrap();
    let stored = after.finish().unwrap();
    assert!(Arc::ptr_eq(&memory.lookup(name(1))[0], &stored));
    memory.check_order([name(1)].into_iter());
}

#[test]
fn who_makes_a_removal_knows_whether_it_was_the_only_one() {
    let memory = memory(1 << 20, Eviction::default());
    let before = memory.claim(name(1));
    assert!(!memory.claim(name(1)).follows(&before));
    memory.remove(name(2));
    assert!(!memory.claim(name(1)).follows(&before));
    memory.remove(name(1));
    assert!(memory.claim(name(1)).follows(&before));
    assert!(!memory.claim(name(2)).follows(&before));
    memory.remove(name(1));
    assert!(!memory.claim(name(1)).follows(&before));
}

#[test]
fn a_head_for_one_answer_leaves_what_is_stored_alone() {
    let memory = memory(1 << 20, Eviction::default());
    let stored = memory.insert_ready(name(1), V, 10, body(100)).unwrap();
    let bytes = memory.stats().bytes;

    let once = memory.once(&stored, Arc::new(99));
    assert_eq!((**once.head(), once.body().len()), (99, 100));
    assert!(Arc::ptr_eq(&memory.lookup(name(1))[0], &stored));
    assert_eq!(memory.stats().bytes, bytes);
}
