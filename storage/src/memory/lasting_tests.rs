use std::time::Duration;

use bytes::BytesMut;
use proptest::prelude::*;

use super::super::budget::{Budget, paid};
use super::super::pieces::Piece;
use super::*;
use crate::{Key, Settings, Variant};

const VARIANT: Variant = Variant([0; 16]);
const CAPACITY: usize = 16 * 1024 * 1024;

fn text(len: usize, seed: usize) -> Bytes {
    (0..len)
        .map(|at| (at / 7 + at + seed).to_le_bytes()[0])
        .collect::<Vec<_>>()
        .into()
}

fn memory() -> Arc<Memory<usize>> {
    Memory::new(Settings::new(CAPACITY))
}

/// What is read, in the pieces that it comes in.
fn read(body: &Body, range: Range<u64>) -> Bytes {
    let all: BytesMut = body.slice(range).flatten().collect();
    all.freeze()
}

fn key(number: u8) -> Key {
    Key([number; 16])
}

/// As [`Memory::sends`], on this thread.
fn send(memory: &Arc<Memory<usize>>, body: &Body) {
    let long = body.long().unwrap();
    if long.count() {
        memory.make_last(long, usize::try_from(body.len()).unwrap());
    }
}

#[test]
fn a_long_body_lasts_once_it_was_sent_twice() {
    let memory = memory();
    let bytes = text(LONG_MIN + 1, 1);
    let object = memory
        .insert_ready(key(1), VARIANT, 0, bytes.clone())
        .unwrap();
    let body = object.body();
    let before = memory.stats();
    assert_eq!((before.bytes, before.lasting_bytes), (object.cost(), 0));

    send(&memory, body);
    assert!(body.lasting(0..body.len()).is_none());
    let early = body.slice(0..body.len()).next().unwrap();
    send(&memory, body);
    let lasting = body.lasting(0..body.len()).unwrap();
    assert_eq!(lasting.bytes(), &bytes);
    assert_eq!(
        early,
        bytes[..early.len()],
        "who reads the old pieces has them"
    );

    // The heap's share goes with the last who reads there.
    drop(early);
    let after = memory.stats();
    assert_eq!(after.bytes, object.cost());
    assert_eq!(after.lasting_bytes, cost(bytes.len()));
    assert_eq!(
        after.lasting_bytes,
        bytes.len().next_multiple_of(PAGE) + PIECE_OVERHEAD
    );

    // Whoever sends it has it to its last byte, whatever becomes of the object.
    memory.remove(key(1));
    drop(object);
    assert_eq!(lasting.bytes(), &bytes);
    assert_eq!(memory.stats().bytes, cost(bytes.len()));
    drop(lasting);
    assert_eq!((memory.stats().bytes, memory.stats().lasting_bytes), (0, 0));
}

#[test]
fn what_is_short_never_does() {
    let memory = memory();
    let bytes = text(LONG_MIN - 1, 1);
    let object = memory.insert_ready(key(1), VARIANT, 0, bytes).unwrap();
    for _ in 0..9 {
        memory.sends(object.body());
    }
    assert!(object.body().long().is_none());
    assert!(object.body().lasting(0..9).is_none());
    assert!(object.body().contiguous().is_some());
}

#[test]
fn a_body_is_copied_where_both_copies_have_room() {
    let memory = Memory::<usize>::new(Settings {
        object_max: u64::MAX,
        ..Settings::new(4 * LONG_MIN)
    });
    let first = memory
        .insert_ready(key(1), VARIANT, 0, text(LONG_MIN, 1))
        .unwrap();
    let second = memory
        .insert_ready(key(2), VARIANT, 0, text(LONG_MIN, 2))
        .unwrap();
    let body = first.body().clone();
    // All that is stored is in use: nothing can be evicted.
    let rest = memory.stats().capacity - memory.stats().bytes;
    assert!(memory.reserve(rest - LONG_MIN));
    send(&memory, &body);
    send(&memory, &body);
    assert!(body.lasting(0..1).is_none());
    assert!(memory.stats().bytes <= memory.stats().capacity);

    // There is room when others have gone, and it is not asked for at once.
    drop(second);
    for _ in 1..AGAIN_AFTER {
        send(&memory, &body);
        assert!(body.lasting(0..1).is_none());
    }
    send(&memory, &body);
    assert!(body.lasting(0..1).is_some());
    assert!(memory.lookup(key(2)).is_empty(), "it made room");
    assert!(memory.stats().bytes <= memory.stats().capacity);
}

#[tokio::test]
async fn a_thread_of_its_own_makes_the_copy() {
    let memory = memory();
    let object = memory
        .insert_ready(key(1), VARIANT, 0, text(LONG_MIN, 1))
        .unwrap();
    for _ in 0..WORTH_AFTER {
        memory.sends(object.body());
    }
    while object.body().lasting(0..1).is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // Too long for this capacity.
    let longest = CAPACITY / LASTING_PART;
    let long = memory
        .insert_ready(key(2), VARIANT, 0, text(longest, 1))
        .unwrap();
    let pieces = vec![
        Piece {
            start: 0,
            bytes: text(longest, 1),
        },
        Piece {
            start: longest as u64,
            bytes: text(1, 1),
        },
    ];
    let too_long = Body::from_pieces(pieces);
    for body in [&too_long, long.body()] {
        for _ in 0..WORTH_AFTER {
            memory.sends(body);
        }
    }
    while memory.mappings.turn().is_none() || long.body().lasting(0..1).is_none() {
        memory.sends(long.body());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(too_long.lasting(0..1).is_none());
}

#[test]
fn there_are_only_so_many_mappings_and_one_is_made_at_a_time() {
    let mappings = Arc::new(Mappings::default());
    let turn = mappings.turn().unwrap();
    assert!(mappings.turn().is_none());
    drop(turn);
    mappings.count.store(MAPPINGS_MAX - 1, Ordering::Relaxed);
    drop(mappings.turn().unwrap());
    mappings.count.store(MAPPINGS_MAX, Ordering::Relaxed);
    assert!(mappings.turn().is_none());
}

#[test]
fn a_mapping_that_cannot_be_made_costs_nothing() {
    let budget = Budget::new(usize::MAX, 0);
    let mappings = Arc::new(Mappings::default());
    let kept = Kept::One(paid(text(10, 1), budget.try_charge(10).unwrap()));
    let charge = budget.try_charge(cost(11)).unwrap();
    assert!(Lasting::copy_of(&kept, usize::MAX / 2, charge, &mappings).is_none());
    // Nor one that is longer than what it is made of.
    let charge = budget.try_charge(cost(11)).unwrap();
    assert!(Lasting::copy_of(&kept, 11, charge, &mappings).is_none());
    assert_eq!((budget.used(), mappings.bytes()), (10, 0));
    assert_eq!(mappings.count.load(Ordering::Relaxed), 0);
}

/// What may happen to bodies.
#[derive(Clone, Debug)]
enum Step {
    Insert {
        number: u8,
        len: usize,
        cuts: Vec<usize>,
    },
    Send(u8),
    Read {
        number: u8,
        from: u32,
        to: u32,
    },
    Hold {
        number: u8,
        from: u32,
    },
    LetGo,
    Remove(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let number = 0_u8..4;
    let len = prop_oneof![LONG_MIN - 2..LONG_MIN + 2, LONG_MIN..3 * LONG_MIN];
    prop_oneof![
        2 => (number.clone(), len, prop::collection::vec(1_usize..70_000, 0..4))
            .prop_map(|(number, len, cuts)| Step::Insert { number, len, cuts }),
        4 => number.clone().prop_map(Step::Send),
        3 => (number.clone(), any::<u32>(), any::<u32>())
            .prop_map(|(number, from, to)| Step::Read { number, from, to }),
        2 => (number.clone(), any::<u32>()).prop_map(|(number, from)| Step::Hold { number, from }),
        1 => Just(Step::LetGo),
        1 => number.prop_map(Step::Remove),
    ]
}

/// A body of pieces that were cut so, each of them paid for.
fn stored(memory: &Arc<Memory<usize>>, bytes: &Bytes, cuts: &[usize]) -> Body {
    let mut rest = bytes.clone();
    let mut start = 0;
    let mut pieces = Vec::new();
    let sizes = cuts.iter().copied().chain([usize::MAX]);
    for size in sizes {
        let piece = rest.split_to(size.min(rest.len()));
        let charge = memory.charge(piece.len() + PIECE_OVERHEAD).unwrap();
        let bytes = paid(piece.to_vec(), charge);
        let piece = Piece { start, bytes };
        start = piece.end();
        pieces.push(piece);
    }
    Body::from_pieces(pieces)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bodies_are_what_they_were_however_they_are_kept(steps in prop::collection::vec(step(), 1..60)) {
        let memory = memory();
        let mut bodies: [Option<(Body, Bytes)>; 4] = Default::default();
        let mut held: Vec<(Lasting, Bytes)> = Vec::new();
        for (seed, step) in steps.into_iter().enumerate() {
            match step {
                Step::Insert { number, len, cuts } => {
                    let bytes = text(len, seed);
                    let body = stored(&memory, &bytes, &cuts);
                    bodies[usize::from(number)] = Some((body, bytes));
                }
                Step::Send(number) => {
                    if let Some((body, _)) = &bodies[usize::from(number)] && body.long().is_some() {
                        send(&memory, body);
                    }
                }
                Step::Read { number, from, to } => {
                    if let Some((body, bytes)) = &bodies[usize::from(number)] {
                        let len = bytes.len();
                        let (from, to) = (from as usize % (len + 9), to as usize % (len + 9));
                        let expected = bytes.slice(from.min(len)..to.min(len).max(from.min(len)));
                        let range = from as u64..to as u64;
                        prop_assert_eq!(read(body, range.clone()), expected.clone());
                        if let Some(lasting) = body.lasting(range) {
                            prop_assert_eq!(lasting.bytes(), &expected);
                        }
                    }
                }
                Step::Hold { number, from } => {
                    if let Some((body, bytes)) = &bodies[usize::from(number)]
                        && let Some(mut lasting) = body.lasting(0..body.len())
                    {
                        let from = from as usize % bytes.len();
                        lasting.advance(from);
                        held.push((lasting, bytes.slice(from..)));
                    }
                }
                Step::LetGo => drop(held.pop()),
                Step::Remove(number) => bodies[usize::from(number)] = None,
            }
            for (lasting, bytes) in &held {
                prop_assert_eq!(lasting.bytes(), bytes);
            }
            let stats = memory.stats();
            prop_assert!(stats.bytes <= CAPACITY && stats.lasting_bytes <= stats.bytes);
            let stored: usize = bodies.iter().flatten().map(|(body, _)| body.cost()).sum();
            prop_assert!(stats.bytes >= stored);
            if held.is_empty() {
                prop_assert_eq!(stats.bytes, stored);
            }
        }
        drop((bodies, held));
        prop_assert_eq!((memory.stats().bytes, memory.stats().lasting_bytes), (0, 0));
        prop_assert_eq!(memory.mappings.count.load(Ordering::Relaxed), 0);
    }
}
