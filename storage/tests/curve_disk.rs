//! What the shadows say of other disks, and of other memory above a disk, held against the real tiers of those sizes.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "they are made to be small"
)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use larder_storage::curve::{
    Access, Change, Curve, DiskShape, Measured, Name, Point, Resident, Residents, Sampler, Seen,
    Shape,
};
use larder_storage::disk::{self, Admit, Disk, Picked, Recovery, VolumeSettings};
use larder_storage::purge::Sequence;
use larder_storage::{Admission, Durable, Eviction, Head, Key, Memory, Settings, Tiers, Variant};

const MIB: u64 = 1 << 20;
const MEMORY: u64 = MIB;
const DISK: u64 = 12 * MIB;
const REQUESTS: usize = 40_000;
const V: Variant = Variant([0; 16]);

struct NoHead;

impl Head for NoHead {
    fn weight(&self) -> usize {
        0
    }
}

impl Durable for NoHead {
    fn encode(&self) -> Vec<u8> {
        Vec::new()
    }

    fn decode(_: &[u8]) -> Option<Self> {
        Some(Self)
    }

    fn outlive(&self, _: Sequence) {}

    fn stored_at(&self) -> u64 {
        0
    }
}

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

/// Numbers from 0 to 1, always the same ones.
fn random() -> impl FnMut() -> f64 {
    let mut state = 7_u64;
    move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as f64 / f64::from(1_u32 << 31)
    }
}

#[derive(Clone, Copy)]
struct Request {
    number: u64,
    bytes: u64,
}

fn request(number: u64) -> Request {
    let Key(key) = key(number);
    let bytes = 400 + 30 * u64::from(key[0]) + u64::from(key[1]);
    Request { number, bytes }
}

/// As the web has them: few objects are asked for often.
fn web() -> Vec<Request> {
    let mut random = random();
    let numbers = (0..REQUESTS).map(|_| (30_000_f64.powf(random()) * random()) as u64);
    numbers.map(request).collect()
}

/// What is popular changes, and something reads much that nobody else asks for.
fn changing() -> Vec<Request> {
    let mut random = random();
    let numbers = (0..REQUESTS as u64).map(|at| match at % 8 {
        0 => 1_000_000 + at,
        _ => at / 10_000 * 300 + 20_000_f64.powf(random()) as u64,
    });
    numbers.map(request).collect()
}

fn segment(disk: u64) -> u64 {
    (disk / 256).next_power_of_two().max(16 * 1024)
}

fn disk_of(folder: &tempfile::TempDir, size: u64) -> Arc<Disk> {
    let volume = VolumeSettings::new(folder.path().join("volume"), size);
    let disk = Disk::open(disk::Settings {
        segment: segment(size),
        write_buffer: 8 << 20,
        io_threads: 1,
        ..disk::Settings::new(vec![volume], || Duration::ZERO)
    });
    let disk = disk.expect("there is room");
    while !matches!(disk.recovered(), Recovery::Done { .. }) {
        std::thread::yield_now();
    }
    disk
}

fn tiers_of(folder: &tempfile::TempDir, memory: u64, disk: u64) -> Arc<Tiers<NoHead>> {
    let memory = Memory::new(Settings::new(memory as usize));
    Tiers::above(memory, disk_of(folder, disk), 1)
}

/// What the real tiers of these sizes do.
async fn measured(requests: &[Request], memory: u64, disk: u64) -> Measured {
    let folder = tempfile::tempdir().expect("a directory");
    let tiers = tiers_of(&folder, memory, disk);
    let measured = replay(requests, &tiers).await;
    tiers.close().await;
    measured
}

async fn replay(requests: &[Request], tiers: &Arc<Tiers<NoHead>>) -> Measured {
    let mut measured = Measured::default();
    for request in requests {
        measured.requests += 1;
        measured.bytes += request.bytes;
        if answer(tiers, *request).await {
            measured.hits += 1;
            measured.hit_bytes += request.bytes;
        } else {
            measured.misses += 1;
            measured.missed_bytes += request.bytes;
            wait_for_room(tiers);
        }
        // What moves between the tiers has a task of its own.
        tokio::task::yield_now().await;
    }
    let refused = tiers.disk().expect("it is there").stats().volumes[0].refused_busy;
    assert!(refused < 20, "{refused} were refused, which no shadow does");
    measured
}

async fn answer(tiers: &Arc<Tiers<NoHead>>, request: Request) -> bool {
    let key = key(request.number);
    let known = tiers.in_memory(key);
    let found = match known.first() {
        Some(object) => Some(Arc::clone(object)),
        None => tiers.on_disk(key, &known).await.pop(),
    };
    if let Some(object) = found {
        tiers.accessed(&object, Admission::Auto);
        return true;
    }
    let claim = tiers.memory().claim(key);
    let length = Some(request.bytes);
    let destination = tiers.destination(key, length, Admission::Auto);
    let mut fill = tiers.begin(claim, V, NoHead, length, destination);
    let body = Bytes::from(vec![0; request.bytes as usize]);
    fill.write(body).await.expect("somebody reads or keeps it");
    fill.finish();
    false
}

/// Requests come faster here than any disk works.
fn wait_for_room(tiers: &Tiers<NoHead>) {
    for _ in 0..1_000_000 {
        let stats = tiers.disk().expect("it is there").stats();
        if stats.volumes[0].segments_free >= 2 && stats.write_memory < 6 << 20 {
            return;
        }
        std::thread::yield_now();
    }
}

/// Requests come so fast here that half of a disk may be on its way to it.
fn wait_until_written(tiers: &Tiers<NoHead>) {
    let unwritten = || {
        let stats = tiers.disk().expect("it is there").stats();
        stats.volumes[0].bytes_unwritten
    };
    while unwritten() > 0 {
        std::thread::yield_now();
    }
}

fn overhead() -> u64 {
    Memory::<NoHead>::new(Settings::new(MEMORY as usize)).object_overhead() as u64
}

fn empty() -> Curve {
    let memory = Settings::new(MEMORY as usize);
    let defaults = disk::Settings::new(vec![VolumeSettings::new("volume".into(), DISK)], || {
        Duration::ZERO
    });
    Curve::new(Shape {
        memory: MEMORY,
        object_max: memory.object_max,
        eviction: Eviction::SampledGdsf,
        disk: Some(DiskShape {
            bytes: DISK,
            object_max: defaults.object_max,
            bytes_per_trace: defaults.bytes_per_trace,
            admit: Admit::Auto,
            fresh_percent: defaults.fresh_percent,
            kept_percent: defaults.kept_percent,
        }),
    })
}

fn foretold(requests: &[Request], rate: f64) -> Curve {
    let mut curve = empty();
    while curve.sampler().rate() > rate {
        curve.thin();
    }
    record(&mut curve, requests);
    curve
}

fn record(curve: &mut Curve, requests: &[Request]) {
    let overhead = overhead();
    for request in requests {
        curve.record(&Access {
            name: Name::of(key(request.number), V),
            bytes: request.bytes,
            cost: request.bytes + overhead,
            now: 0,
            until: u32::MAX,
            seen: Seen::Fetched,
            times: 1,
        });
    }
}

async fn check(requests: Vec<Request>) {
    let present = measured(&requests, MEMORY, DISK).await;
    let mut truths = Vec::new();
    for factor in [0.5, 2.0] {
        let times = |size: u64| (size as f64 * factor) as u64;
        let disk = measured(&requests, MEMORY, times(DISK)).await;
        truths.push((Change::Disk(factor), disk));
        let memory = measured(&requests, times(MEMORY), DISK).await;
        truths.push((Change::Memory(factor), memory));
    }
    for rate in [1.0, 0.6] {
        let points = foretold(&requests, rate).points(&present);
        for (change, truth) in &truths {
            let mut points = points.iter();
            let point = points.find(|point| point.change == *change);
            let point = point.expect("something is said of it");
            let hits = truth.hits as f64 / truth.requests as f64;
            let off = (point.requests.ratio - hits).abs();
            assert!(
                off < 0.015,
                "{rate}: {point:?}, and it is {hits}, {present:?}"
            );
            let hits = truth.hit_bytes as f64 / truth.bytes as f64;
            let off = (point.bytes.ratio - hits).abs();
            assert!(
                off < 0.03,
                "{rate}: {point:?}, and it is {hits}, {present:?}"
            );
        }
    }
}

#[tokio::test]
async fn half_and_twice_the_tiers_are_foretold_for_requests_as_the_web_has_them() {
    check(web()).await;
}

#[tokio::test]
async fn they_are_foretold_where_what_is_popular_changes() {
    check(changing()).await;
}

/// What is on the disks, all of it or a part.
async fn residents(tiers: &Tiers<NoHead>, sampler: Sampler) -> Residents {
    let disk = tiers.disk().expect("it is there");
    let pick = |part| disk.pick(part, |name, bytes| sampler.takes(name, bytes + overhead()));
    let mut picked: Vec<Picked> = (0..).map_while(pick).flatten().collect();
    picked.sort_by_key(|one| one.age);
    let mut objects = Vec::new();
    for one in &picked {
        let found = tiers.look_at(one).await.expect("it can be read");
        objects.push(Resident {
            name: one.name,
            cost: found.body_len() + overhead(),
            until: u32::MAX,
            queue: one.queue,
        });
    }
    Residents {
        sampler,
        objects,
        had_no_room: disk.has_no_room(),
    }
}

/// What the tiers do after a start with what they were left with, as if the process had been killed.
async fn restarted(
    (before, after): (&[Request], &[Request]),
    (memory, disk): (u64, u64),
    rate: f64,
) -> (Measured, Residents) {
    let folder = tempfile::tempdir().expect("a directory");
    let tiers = tiers_of(&folder, memory, disk);
    replay(before, &tiers).await;
    wait_until_written(&tiers);
    drop(tiers);
    let tiers = tiers_of(&folder, memory, disk);
    let residents = residents(&tiers, Sampler::of_rate(rate)).await;
    let measured = replay(after, &tiers).await;
    tiers.close().await;
    (measured, residents)
}

fn ratio(measured: &Measured) -> f64 {
    measured.hits as f64 / measured.requests as f64
}

fn told(points: &[Point], change: Change) -> Option<&Point> {
    points.iter().find(|point| point.change == change)
}

#[tokio::test]
async fn what_outlived_the_process_is_known_to_the_shadows() {
    let requests = web();
    let halves = requests.split_at(REQUESTS * 5 / 8);
    let (present, residents) = restarted(halves, (MEMORY, DISK), 0.8).await;
    assert!(residents.had_no_room && residents.objects.len() > 500);
    let (more_memory, _) = restarted(halves, (2 * MEMORY, DISK), 0.8).await;

    let mut curve = empty();
    curve.seed(&residents);
    let untold: Vec<Change> = curve.untold().iter().map(|it| it.0).collect();
    assert_eq!(untold, [0.5, 2.0, 4.0].map(Change::Disk));
    record(&mut curve, halves.1);
    let points = curve.points(&present);
    check_point(&points, Change::Memory(2.0), &more_memory);
    // It is not full, and will not be with so few requests.
    assert_eq!(told(&points, Change::Disk(4.0)), None);
}

fn check_point(points: &[Point], change: Change, truth: &Measured) {
    let point = told(points, change).expect("it is told");
    let off = (point.requests.ratio - ratio(truth)).abs();
    assert!(off < 0.015, "{point:?}, and it is {truth:?}");
    let bytes = truth.hit_bytes as f64 / truth.bytes as f64;
    let off = (point.bytes.ratio - bytes).abs();
    assert!(off < 0.03, "{point:?}, and it is {truth:?}");
}

/// Where nobody comes back, the shadows have what they lack after a while, and are told from then on.
#[tokio::test]
async fn what_was_lacking_is_told_once_it_has_come_again() {
    let requests = changing();
    let (before, after) = requests.split_at(REQUESTS * 5 / 8);
    let (_, residents) = restarted((before, &[]), (MEMORY, DISK), 1.0).await;
    let mut curve = empty();
    curve.seed(&residents);
    let mut before = curve.untold();
    assert_eq!(before.len(), 3);
    for round in 0..12 {
        if before.is_empty() {
            break;
        }
        let again = after
            .iter()
            .map(|it| request(it.number + round * 1_000_000));
        record(&mut curve, &again.collect::<Vec<_>>());
        let now = curve.untold();
        for (change, filled) in &now {
            let found = before.iter().find(|it| it.0 == *change);
            assert!(
                found.is_some_and(|it| it.1 <= *filled),
                "{before:?}, {now:?}"
            );
        }
        before = now;
    }
    assert_eq!(before, []);
}

#[tokio::test]
async fn a_disk_that_never_was_full_says_what_a_larger_one_would_do_at_once() {
    let requests = web();
    let halves = requests.split_at(2000);
    let (_, residents) = restarted(halves, (MEMORY, DISK), 1.0).await;
    assert!(!residents.had_no_room && !residents.objects.is_empty());
    let mut curve = empty();
    curve.seed(&residents);
    assert_eq!(curve.untold(), []);
}
