//! What a purge costs: until it is acknowledged, and those who are answered meanwhile.
//!
//! ```sh
//! cargo run --release -p larder-storage --example purge_bench
//! ```
//! A million objects carry one tag among a dozen names. Purges of that tag are written to a log on the disk, synced and
//! applied; lookups are timed with no purge remembered and with 100,000.

#![expect(clippy::print_stdout, reason = "a program for the command line")]
#![expect(clippy::disallowed_methods, reason = "it measures how long it takes")]

use std::fs::File;
use std::hint::black_box;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use larder_storage::purge::{
    Label, Labeller, Life, LogFile, LogId, Membership, Mode, PurgeIndex, Sequence,
};
use larder_storage::{Head, Key, Memory, Moment, Object, Settings, Variant, Walk};

const OBJECTS: u64 = 1_000_000;
/// What is looked up: the objects, and a few that are not there.
const PLACES: u64 = OBJECTS.next_power_of_two();
const ENTRIES: u64 = 100_000;
const PURGES: u64 = 2_000;
/// Each object is looked up once in a round; the best round counts, what disturbs others does not.
const ROUNDS: usize = 7;
/// Beside the tag that all carry.
const NAMES: u64 = 12;

struct Stored(Membership);

impl Head for Stored {
    fn weight(&self) -> usize {
        self.0.weight()
    }
}

fn key(number: u64) -> Key {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number.to_le_bytes());
    Key(key)
}

fn label(labeller: &Labeller, kind: u8, number: u64) -> Label {
    labeller.label(kind, &[&number.to_le_bytes()])
}

fn fill(memory: &Arc<Memory<Stored>>, labeller: &Labeller, tag: Label, born: Sequence) {
    for number in 0..OBJECTS {
        let own = (0..NAMES).map(|name| label(labeller, 2, number * NAMES + name));
        let labels = own.chain([tag]).collect();
        let head = Stored(Membership::new(born, labels));
        let stored = memory.insert_ready(key(number), Variant([0; 16]), head, Bytes::new());
        assert!(stored.is_ok(), "there is room");
    }
}

fn quantile(sorted: &[Duration], share: usize) -> Duration {
    let last = sorted.len() - 1;
    sorted[last * share / 100]
}

fn tell(what: &str, mut all: Vec<Duration>) {
    all.sort_unstable();
    let [half, most, worst] = [50, 99, 100].map(|share| quantile(&all, share));
    println!("{what:<56} p50 {half:>10.2?}  p99 {most:>10.2?}  max {worst:>10.2?}");
}

/// What the disk alone takes, and whoever else keeps it and the processor busy.
fn bare(folder: &Path, payload: &[u8]) -> Vec<Duration> {
    let mut file = File::create(folder.join("bare")).expect("a file");
    let each = (0..PURGES).map(|_| {
        let began = Instant::now();
        file.write_all(payload).expect("a disk");
        file.sync_data().expect("a disk");
        began.elapsed()
    });
    each.collect()
}

/// The mean time of a lookup and its judgement, in the best of some rounds in which each object is looked up once, in no
/// order that the processor could guess. `before` comes before each.
fn lookups(
    memory: &Memory<Stored>,
    index: &PurgeIndex,
    rounds: usize,
    before: impl Fn(),
) -> Duration {
    let round = || {
        before();
        let began = Instant::now();
        let mut number = 1_u64;
        for _ in 0..PLACES {
            // Of full period below a power of two (Knuth, volume 2, 3.2.1.2).
            number = number
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let found = memory.lookup(key(number % PLACES));
            let alive = found
                .iter()
                .filter(|it| index.life(&it.head().0) != Life::Gone);
            black_box(alive.count());
        }
        began.elapsed() / u32::try_from(PLACES).expect("few")
    };
    (0..rounds).map(|_| round()).min().expect("some rounds")
}

fn sweep(memory: &Memory<Stored>, index: &PurgeIndex) -> (u64, Vec<Duration>) {
    let (mut walk, mut removed, mut steps) = (Walk::new(), 0, Vec::new());
    let upto = index.latest();
    loop {
        let began = Instant::now();
        let more = walk.step(memory, 256, |object: &Arc<Object<Stored>>| {
            if index.life(&object.head().0) == Life::Gone {
                memory.remove_object(object);
                removed += 1;
            }
        });
        steps.push(began.elapsed());
        if !more {
            break;
        }
    }
    index.forget(upto);
    (removed, steps)
}

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("purges");
    let (mut log, _) = LogFile::open(&path, LogId(1)).expect("a log");
    let labeller = Labeller::of(LogId(7));
    let tag = label(&labeller, 1, 0);
    let index = PurgeIndex::new(1_000_000);
    let memory = Memory::new(Settings::new(4 << 30));
    fill(&memory, &labeller, tag, Sequence(0));
    println!("{OBJECTS} objects, each with {} names", NAMES + 1);

    let none = lookups(&memory, &index, ROUNDS, || ());
    println!("{:<56} {none:.1?}", "a lookup, nothing purged");
    for number in 0..ENTRIES {
        let other = label(&labeller, 3, number);
        let sequence = index.latest().next();
        index.apply(sequence, &[other], Mode::Hard, Moment(1));
    }
    println!("{:<56} {}", "names with purges", index.len());
    let one_more = || {
        let other = label(&labeller, 3, 0);
        index.apply(index.latest().next(), &[other], Mode::Hard, Moment(1));
    };
    let long = lookups(&memory, &index, 1, || ());
    println!(
        "{:<56} {long:.1?}",
        "a lookup, the first since all of these"
    );
    let first = lookups(&memory, &index, ROUNDS, one_more);
    println!(
        "{:<56} {first:.1?}",
        "a lookup, the first of its object since a purge"
    );
    let proven = lookups(&memory, &index, ROUNDS, || ());
    println!("{:<56} {proven:.1?}", "a lookup, no purge since the last");

    let payload = Bytes::from(vec![b'x'; 200]);
    let [mut acknowledged, mut synced, mut applied] = [const { Vec::new() }; 3];
    for _ in 0..PURGES {
        let began = Instant::now();
        log.append(std::slice::from_ref(&payload)).expect("a disk");
        let written = began.elapsed();
        index.apply(index.latest().next(), &[tag], Mode::Hard, Moment(1));
        acknowledged.push(began.elapsed());
        synced.push(written);
        applied.push(began.elapsed() - written);
    }
    tell(
        "a purge of the tag that all carry, synced and applied",
        acknowledged,
    );
    tell("  of it: written and synced", synced);
    tell("  of it: applied", applied);
    tell(
        "for comparison: so many bytes written and synced, no more",
        bare(folder.path(), &payload),
    );
    let gone = memory.lookup(key(7));
    assert!(gone.iter().all(|it| index.life(&it.head().0) == Life::Gone));

    let began = Instant::now();
    let (removed, steps) = sweep(&memory, &index);
    let took = began.elapsed();
    println!(
        "{:<56} {took:.1?}, {removed} removed, {} names left",
        "a sweep",
        index.len()
    );
    tell("a step of the sweep", steps);
    fill(&memory, &labeller, tag, index.latest());
    index.apply(
        index.latest().next(),
        &[label(&labeller, 3, 0)],
        Mode::Hard,
        Moment(1),
    );
    let began = Instant::now();
    let (removed, _) = sweep(&memory, &index);
    let took = began.elapsed();
    println!(
        "{:<56} {took:.1?}, {removed} removed",
        "a sweep that finds nothing"
    );
}
