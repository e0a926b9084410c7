#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "they are made to be small"
)]

use std::sync::Arc;

use super::*;
use crate::{Head, Key, Memory, Settings, Variant};
use bytes::Bytes;

struct NoHead;

impl Head for NoHead {
    fn weight(&self) -> usize {
        0
    }
}

const MIB: usize = 1 << 20;

/// A key from a number, spread as a hash is.
fn key(number: u64) -> Key {
    let mut state = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state = (state ^ (state >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state ^ (state >> 29)
    };
    let number = u128::from(next()) << 64 | u128::from(next());
    Key(number.to_le_bytes())
}

fn name(number: u64) -> Name {
    Name::of(key(number), Variant([0; 16]))
}

fn shape(memory: usize, eviction: Eviction) -> Shape {
    Shape {
        memory: memory as u64,
        object_max: (memory / 16) as u64,
        eviction,
        disk: None,
    }
}

fn access(number: u64, bytes: u64) -> Access {
    Access {
        name: name(number),
        bytes,
        cost: bytes + 500,
        now: 0,
        until: u32::MAX,
        seen: Seen::Fetched,
        times: 1,
    }
}

/// Requests as the web has them: few objects are asked for often, most are short, a few are long.
fn requests() -> Vec<(u64, usize)> {
    requests_of(80_000)
}

fn requests_of(count: usize) -> Vec<(u64, usize)> {
    let mut state = 7_u64;
    let mut random = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as f64 / f64::from(1_u32 << 31)
    };
    let request = |_| {
        // By its inverse: the popularity of rank n is about 1/n.
        let number = (40_000_f64.powf(random()) * random()) as u64;
        let uneven = (key(number).0[0] as usize, key(number).0[1] as usize);
        let size = match uneven.0 {
            0..240 => 500 + 20 * uneven.0 + uneven.1,
            _ => 20_000 + 300 * uneven.1,
        };
        (number, size)
    };
    (0..count).map(request).collect()
}

fn tier(capacity: usize, eviction: Eviction) -> Arc<Memory<NoHead>> {
    Memory::new(Settings {
        eviction,
        // The same at any size: what is compared is the size.
        object_max: MIB as u64 / 2,
        ..Settings::new(capacity)
    })
}

fn measured(requests: &[(u64, usize)], capacity: usize, eviction: Eviction) -> Measured {
    let mut measured = Measured::default();
    measure(&tier(capacity, eviction), requests, &mut measured);
    measured
}

fn measure(memory: &Arc<Memory<NoHead>>, requests: &[(u64, usize)], measured: &mut Measured) {
    let zeros = Bytes::from(vec![0; MIB]);
    for (number, size) in requests {
        measured.requests += 1;
        measured.bytes += *size as u64;
        if let Some(object) = memory.lookup(key(*number)).first() {
            memory.accessed(object);
            measured.hits += 1;
            measured.hit_bytes += *size as u64;
        } else {
            measured.misses += 1;
            measured.missed_bytes += *size as u64;
            let body = zeros.slice(..*size);
            drop(memory.insert_ready(key(*number), Variant([0; 16]), NoHead, body));
        }
    }
}

fn ratios(measured: &Measured) -> (f64, f64) {
    (
        measured.hits as f64 / measured.requests as f64,
        measured.hit_bytes as f64 / measured.bytes as f64,
    )
}

/// What the real memory tier does at a size.
struct Truth {
    eviction: Eviction,
    factor: f64,
    measured: Measured,
}

impl Truth {
    /// At the present size and at all others, under both policies.
    fn all(requests: &[(u64, usize)]) -> Vec<Self> {
        let mut all = Vec::new();
        for eviction in [Eviction::SampledGdsf, Eviction::Lru] {
            for factor in [1.0].into_iter().chain(FACTORS) {
                let capacity = (CAPACITY as f64 * factor) as usize;
                let measured = measured(requests, capacity, eviction);
                all.push(Self {
                    eviction,
                    factor,
                    measured,
                });
            }
        }
        all
    }
}

const CAPACITY: usize = 16 * MIB;

fn foretold(requests: &[(u64, usize)], eviction: Eviction, rate: f64) -> Curve {
    let mut curve = Curve::new(Shape {
        object_max: MIB as u64 / 2,
        ..shape(CAPACITY, eviction)
    });
    while curve.sampler().rate() > rate {
        curve.thin();
    }
    play(&mut curve, requests);
    curve
}

fn play(curve: &mut Curve, requests: &[(u64, usize)]) {
    let overhead = Memory::<NoHead>::new(Settings::new(CAPACITY)).object_overhead() as u64;
    for (number, size) in requests {
        let bytes = *size as u64;
        curve.record(&Access {
            cost: bytes + overhead,
            ..access(*number, bytes)
        });
    }
}

/// Estimates at one size are held against the real memory tier at the others.
#[test]
fn other_sizes_and_the_other_policy_are_foretold() {
    let requests = requests();
    let truths = Truth::all(&requests);
    let truth = |eviction, factor| {
        let found = |it: &&Truth| it.eviction == eviction && it.factor == factor;
        truths.iter().find(found).unwrap().measured
    };
    for eviction in [Eviction::SampledGdsf, Eviction::Lru] {
        for rate in [1.0, 0.6] {
            let points = foretold(&requests, eviction, rate).points(&truth(eviction, 1.0));
            assert_eq!(points.len(), FACTORS.len() + 1);
            for point in points {
                let (hits, bytes) = ratios(&match point.change {
                    Change::Memory(factor) => truth(eviction, factor),
                    Change::Policy(other) => truth(other, 1.0),
                    Change::Disk(_) => unreachable!("there is none"),
                });
                let off = (point.requests.ratio - hits).abs();
                assert!(off < 0.015, "{rate}: {point:?}, and it is {hits}");
                let off = (point.bytes.ratio - bytes).abs();
                assert!(off < 0.03, "{rate}: {point:?}, and it is {bytes}");
            }
        }
    }
}

#[test]
fn nothing_is_said_of_few_objects() {
    let mut curve = Curve::new(shape(MIB, Eviction::SampledGdsf));
    let measured = Measured {
        requests: 10,
        hits: 5,
        bytes: 10,
        hit_bytes: 5,
        misses: 5,
        missed_bytes: 5,
    };
    for number in 0..OBJECTS_MIN as u64 - 1 {
        curve.record(&access(number, 10));
    }
    assert_eq!(curve.points(&measured), []);
    curve.record(&access(u64::MAX, 10));
    assert_ne!(curve.points(&measured), []);
    assert_eq!(
        curve.points(&Measured::default()),
        [],
        "nothing was measured"
    );
}

#[test]
fn there_are_never_more_entries_than_the_limit() {
    let disk = DiskShape {
        bytes: 1 << 40,
        object_max: u64::MAX / 8,
        bytes_per_trace: 16 * 1024,
        admit: Admit::Second,
        fresh_percent: 5,
        kept_percent: 20,
    };
    let mut curve = Curve::new(Shape {
        disk: Some(disk),
        ..shape(1 << 40, Eviction::Lru)
    });
    for number in 0..40_000 {
        curve.record(&access(number % 20_000, 1000));
        assert!(curve.entries() <= RESIDENTS_MAX + OBJECTS_BELOW_MAX);
    }
    assert!(curve.sampler().rate() < 1.0);
    let passed_over = (0..20_000).filter(|number| !curve.sampler().takes(name(*number), 1500));
    let share = passed_over.count() as f64 / 20_000.0;
    assert!((share - (1.0 - curve.sampler().rate())).abs() < 0.02);
    let takes_long = curve.sampler().takes(name(1), 1 << 40);
    assert!(takes_long, "what is long is always sampled");
}

#[test]
fn what_expires_or_is_purged_is_missed_at_any_size() {
    let disk = DiskShape {
        bytes: MIB as u64,
        object_max: u64::MAX / 8,
        bytes_per_trace: 16 * 1024,
        admit: Admit::Always,
        fresh_percent: 50,
        kept_percent: 0,
    };
    let mut curve = Curve::new(Shape {
        disk: Some(disk),
        ..shape(MIB, Eviction::Lru)
    });
    let missed = |curve: &mut Curve, now, until| {
        curve.record(&Access {
            now,
            until,
            ..access(1, 10)
        });
        [PRESENT, LARGEST, DISKS].map(|change| curve.tally.missed(change))
    };
    assert_eq!(missed(&mut curve, 0, 10), [1.0; 3], "it was not there");
    assert_eq!(missed(&mut curve, 9, 10), [1.0; 3], "fresh");
    assert_eq!(missed(&mut curve, 10, 20), [2.0; 3], "expired");
    assert_eq!(missed(&mut curve, 11, 20), [2.0; 3], "fresh again");
    curve.forget(name(1));
    assert_eq!(missed(&mut curve, 12, 20), [3.0; 3], "purged");
    assert_eq!(missed(&mut curve, 13, 20), [3.0; 3], "stored again");
    curve.record(&Access {
        now: 30,
        seen: Seen::Stored,
        ..access(1, 10)
    });
    assert_eq!(curve.tally.missed(PRESENT), 3.0, "expired, and validated");
}

#[test]
fn more_disk_keeps_what_goes_round() {
    let disk = DiskShape {
        bytes: MIB as u64,
        object_max: u64::MAX / 8,
        bytes_per_trace: 16 * 1024,
        admit: Admit::Always,
        fresh_percent: 50,
        kept_percent: 0,
    };
    let mut curve = Curve::new(Shape {
        disk: Some(disk),
        ..shape(MIB / 16, Eviction::Lru)
    });
    // A loop over one and a half times the disk: the present one never has what comes next, a larger one has it all.
    let number = 1500;
    let rounds = 4;
    for round in 0..rounds * number {
        curve.record(&access(round % number, 500));
    }
    let measured = Measured {
        requests: rounds * number,
        bytes: rounds * number * 500,
        misses: rounds * number,
        missed_bytes: rounds * number * 500,
        ..Measured::default()
    };
    let points = curve.points(&measured);
    let ratio = |change| {
        let found = points.iter().find(|point| point.change == change).unwrap();
        (found.requests.ratio, found.bytes.ratio)
    };
    // What comes back goes to the other queue, so that the loop is not quite one.
    let expected = [
        (Change::Disk(0.5), 0.0),
        (Change::Disk(2.0), 0.75),
        (Change::Memory(2.0), 0.0),
    ];
    for (change, expected) in expected {
        let (requests, bytes) = ratio(change);
        assert_eq!(requests, bytes);
        let off = (requests - expected).abs();
        assert!(off < 0.001, "{change:?}: {requests}");
    }
}

#[test]
fn what_is_said_is_of_the_last_two_windows() {
    let mut curve = Curve::new(shape(MIB, Eviction::Lru));
    curve.record(&access(1, 10));
    curve.turn();
    assert_eq!(curve.tally.missed(PRESENT), 1.0);
    curve.turn();
    assert_eq!(curve.tally.missed(PRESENT), 0.0);
}

/// What was measured between two moments.
fn between(then: &Measured, now: &Measured) -> Measured {
    Measured {
        requests: now.requests - then.requests,
        hits: now.hits - then.hits,
        bytes: now.bytes - then.bytes,
        hit_bytes: now.hit_bytes - then.hit_bytes,
        misses: now.misses - then.misses,
        missed_bytes: now.missed_bytes - then.missed_bytes,
    }
}

/// What is measured up to the end of each window.
fn by_window(requests: &[(u64, usize)], capacity: f64, each: usize) -> Vec<Measured> {
    let tier = tier(capacity as usize, Eviction::SampledGdsf);
    let mut all = vec![Measured::default()];
    for window in requests.chunks(each) {
        let mut measured = all[all.len() - 1];
        measure(&tier, window, &mut measured);
        all.push(measured);
    }
    all
}

#[test]
fn the_rate_rises_again_window_by_window_and_what_is_said_stays_true() {
    let requests = requests_of(200_000);
    let each = requests.len() / WINDOWS;
    let truths: Vec<Vec<Measured>> = [0.5, 1.0, 2.0, 4.0]
        .map(|factor| by_window(&requests, CAPACITY as f64 * factor, each))
        .into();
    let mut curve = foretold(&[], Eviction::SampledGdsf, 0.2);
    let lowest = curve.sampler().rate();
    for (number, window) in requests.chunks(each).enumerate() {
        play(&mut curve, window);
        let of_two = |factor: usize| {
            let then = truths[factor][number.saturating_sub(1)];
            between(&then, &truths[factor][number + 1])
        };
        let points = curve.points(&of_two(1)).into_iter();
        for (point, factor) in points.zip([0, 2, 3]) {
            let (hits, bytes) = ratios(&of_two(factor));
            let off = (point.requests.ratio - hits).abs();
            let error = point.requests.error.max(0.015);
            assert!(off < error, "{number}: {point:?}, and it is {hits}");
            let off = (point.bytes.ratio - bytes).abs();
            let error = point.bytes.error.max(0.03);
            assert!(off < error, "{number}: {point:?}, and it is {bytes}");
        }
        curve.turn();
        curve.raise();
    }
    let rate = curve.sampler().rate();
    assert!(rate > 1.5 * lowest, "{rate}");
}

const WINDOWS: usize = 14;

#[test]
fn the_rate_does_not_rise_where_it_would_fall_again() {
    let mut curve = Curve::new(shape(1 << 40, Eviction::Lru));
    for number in 0..20_000 {
        curve.record(&access(number, 1000));
    }
    let rate = curve.sampler().rate();
    assert!(rate < 1.0);
    curve.turn();
    curve.raise();
    assert_eq!(curve.sampler().rate(), rate, "there is no room");
}

#[test]
fn requests_that_come_at_once_count_as_they_would_one_by_one() {
    let run = |times: u32| {
        let mut curve = Curve::new(shape(64 * 1024, Eviction::SampledGdsf));
        let mut state = 7_u64;
        for number in 0..4000 {
            curve.record(&access(number, 1000));
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let again = Access {
                seen: Seen::Stored,
                times,
                ..access(state >> 33 & 31, 1000)
            };
            for _ in 0..12 / times {
                curve.record(&again);
            }
        }
        curve.tally.missed(PRESENT)
    };
    assert_eq!(run(1), run(12));
}
