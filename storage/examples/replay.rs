//! Replays a trace of requests through the memory tier, or both tiers, and prints the hit ratios.
//!
//! ```text
//! replay --trace FILE.csv [--capacity 1%] [--policy gdsf|lru] [--charge bodies|all] [--shards 64]
//!        [--object-share 64] [--volume FILE [--disk 10%] [--admit auto|always|second|third] [--scale 16]
//!        [--disk-object-share 16]
//!        [--fresh-percent 5] [--kept-percent 20] [--memory-hits count|ignore]]
//!        [--curve yes|no [--seed 1]]
//! ```
//!
//! The trace has a line `time,key,size` per request, under a header; `FILE` may be `-`. The capacity
//! is a number of bytes, or a share of the bytes of all objects of the trace. With `--charge bodies`
//! (the default) an object takes its size and no more, as in published simulations; with `all` it
//! takes what it takes in the running node. No body is allocated. With `--object-share 64`, memory
//! takes nothing that is longer than a 64th of it.
//!
//! With `--volume` there is a disk tier: the real one, on that file, which is made and removed. It
//! is filled and read as the node does it: a response is written when the disk says that it was
//! asked for often enough, and what the disk answers moves to memory. `--scale` divides all sizes on
//! the disk, so that a day of traffic fits a small one, or a small trace a real one (`1/16`); the ratios stay, as long as
//! the mean object keeps some kilobytes. With `--memory-hits ignore`, hits in memory say nothing about what is worth
//! writing: then only what is fetched again is written. `amplification` is what was written for each byte that the disk
//! was given.
//!
//! With `--curve yes` it also prints what the shadows say of other sizes, and what they cost; `--seed` has them sample other
//! keys.

#![expect(clippy::print_stdout, reason = "a program for the command line")]
#![expect(clippy::disallowed_methods, reason = "it measures how long it takes")]

use std::collections::HashMap;
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use larder_storage::curve::{Access, Curve, DiskShape, Measured, Name, Point, Seen, Shape};
use larder_storage::disk::{self, Admit, Disk, NewRecord, Recovery, VolumeSettings};
use larder_storage::{Admission, Eviction, Head, Key, Memory, Settings, Variant};

struct NoHead;

impl Head for NoHead {
    fn weight(&self) -> usize {
        0
    }
}

struct Request {
    key: u64,
    size: usize,
}

/// What an object takes from the capacity.
#[derive(Clone, Copy, PartialEq)]
enum Charged {
    Bodies,
    All,
}

struct Options {
    trace: PathBuf,
    capacity: String,
    policy: Eviction,
    charged: Charged,
    shards: usize,
    scale: f64,
    volume: Option<PathBuf>,
    disk: String,
    admit: Admit,
    fresh_percent: Option<u32>,
    kept_percent: Option<u32>,
    object_share: Option<usize>,
    disk_object_share: Option<u64>,
    memory_hits: MemoryHits,
    curve: bool,
    seed: u64,
}

/// Whether a hit in memory counts as one more time that something was asked for.
#[derive(Clone, Copy, PartialEq)]
enum MemoryHits {
    Count,
    Ignore,
}

#[derive(Default)]
struct Score {
    requests: usize,
    hits: usize,
    disk_hits: usize,
    bytes: usize,
    bytes_hit: usize,
}

fn main() -> ExitCode {
    match options().and_then(|options| replay(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            println!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        trace: PathBuf::new(),
        capacity: "1%".into(),
        policy: Eviction::SampledGdsf,
        charged: Charged::Bodies,
        shards: 64,
        scale: 1.0,
        volume: None,
        disk: "10%".into(),
        admit: Admit::Auto,
        fresh_percent: None,
        kept_percent: None,
        object_share: None,
        disk_object_share: None,
        memory_hits: MemoryHits::Count,
        curve: false,
        seed: 0,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments
            .next()
            .ok_or_else(|| format!("{name} needs a value"))?;
        match (name.as_str(), value.as_str()) {
            ("--trace", file) => options.trace = file.into(),
            ("--capacity", _) => options.capacity = value,
            ("--policy", "gdsf") => options.policy = Eviction::SampledGdsf,
            ("--policy", "lru") => options.policy = Eviction::Lru,
            ("--charge", "bodies") => options.charged = Charged::Bodies,
            ("--charge", "all") => options.charged = Charged::All,
            ("--shards", count) => options.shards = number(count)?,
            ("--scale", divisor) => options.scale = ratio(divisor)?,
            ("--volume", file) => options.volume = Some(file.into()),
            ("--disk", _) => options.disk = value,
            ("--disk-object-share", share) => options.disk_object_share = Some(number(share)?),
            ("--admit", "auto") => options.admit = Admit::Auto,
            ("--admit", "always") => options.admit = Admit::Always,
            ("--admit", "second") => options.admit = Admit::Second,
            ("--admit", "third") => options.admit = Admit::Third,
            ("--fresh-percent", percent) => options.fresh_percent = Some(number(percent)?),
            ("--kept-percent", percent) => options.kept_percent = Some(number(percent)?),
            ("--object-share", share) => options.object_share = Some(number(share)?),
            ("--memory-hits", "count") => options.memory_hits = MemoryHits::Count,
            ("--memory-hits", "ignore") => options.memory_hits = MemoryHits::Ignore,
            ("--curve", "yes") => options.curve = true,
            ("--seed", seed) => options.seed = number(seed)?,
            ("--curve", "no") => options.curve = false,
            _ => return Err(format!("unknown option: {name} {value}")),
        }
    }
    Ok(options)
}

fn replay(options: &Options) -> Result<(), String> {
    let requests = trace(options)?;
    let capacity = capacity(&options.capacity, &requests)?;
    let memory = Memory::new(Settings {
        eviction: options.policy,
        object_max: options
            .object_share
            .map_or(u64::MAX, |share| (capacity / share.max(1)) as u64),
        shards: options.shards,
        ..Settings::new(capacity)
    });

    let (told, gone) = mpsc::channel();
    // Whoever hears of it lives as long as memory.
    memory.on_eviction(move |victim, _| told.send(victim.key()).unwrap_or_default());

    let mut node = Node {
        above: HashMap::new(),
        gone,
        memory,
        disk: open_disk(options, &requests)?,
        free: match options.charged {
            Charged::Bodies => memory_overhead(capacity),
            Charged::All => 0,
        },
        zeros: Bytes::from(vec![0; divided(longest(&requests), options.scale.min(1.0))]),
        admit: options.admit,
        memory_hits: options.memory_hits,
        scale: options.scale,
        admitted: 0,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|error| error.to_string())?;

    let began = Instant::now();
    let score = runtime.block_on(node.run(&requests));
    let took = began.elapsed();
    node.report(&score, took);
    if options.curve {
        node.foretell(options, &requests, &score)?;
    }
    if let (Some(disk), Some(volume)) = (&node.disk, &options.volume) {
        runtime.block_on(disk.close());
        std::fs::remove_file(volume).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn memory_overhead(capacity: usize) -> usize {
    Memory::<NoHead>::new(Settings::new(capacity)).object_overhead()
}

fn longest(requests: &[Request]) -> usize {
    let sizes = requests.iter().map(|request| request.size);
    sizes.max().unwrap_or(0)
}

/// The bytes of a record beside its body.
const RECORD_OVERHEAD: usize = 128;

/// Segments of a disk: as many as in the node, whatever the scale.
const SEGMENTS: usize = 256;

fn open_disk(options: &Options, requests: &[Request]) -> Result<Option<Arc<Disk>>, String> {
    let Some(path) = options.volume.clone() else {
        return Ok(None);
    };
    let size = divided(capacity(&options.disk, requests)?, options.scale) as u64;
    let defaults = disk::Settings::new(vec![VolumeSettings::new(path, size)], monotonic);
    let object_max = options.disk_object_share.map(|share| size / share.max(1));
    let settings = disk::Settings {
        object_max: object_max.unwrap_or(defaults.object_max),
        segment: (size / SEGMENTS as u64).next_power_of_two().max(16 * 1024),
        fresh_percent: options.fresh_percent.unwrap_or(defaults.fresh_percent),
        kept_percent: options.kept_percent.unwrap_or(defaults.kept_percent),
        bytes_per_trace: divided(length(defaults.bytes_per_trace), options.scale).max(1) as u64,
        ..defaults
    };
    let disk = Disk::open(settings).map_err(|error| error.to_string())?;
    while matches!(disk.recovered(), Recovery::Running { .. }) {
        std::thread::yield_now();
    }
    Ok(Some(disk))
}

fn length(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn monotonic() -> Duration {
    static BEGIN: OnceLock<Instant> = OnceLock::new();
    BEGIN.get_or_init(Instant::now).elapsed()
}

/// Segments that are free when there is room.
const SEGMENTS_FREE: u64 = 2;

/// Pauses of 100 µs before it goes on without room.
const PAUSES_MAX: u32 = 10_000;

/// Both tiers, and what the node does with them.
struct Node {
    memory: Arc<Memory<NoHead>>,
    disk: Option<Arc<Disk>>,
    /// What an object takes in memory and is not charged for.
    free: usize,
    zeros: Bytes,
    admit: Admit,
    memory_hits: MemoryHits,
    /// What is in memory, and what has left it.
    above: HashMap<u64, Above>,
    gone: Receiver<Key>,
    /// What sizes are divided by on the disk.
    scale: f64,
    /// The bytes that were given to the disk.
    admitted: usize,
}

/// An object in memory.
#[derive(Clone, Copy)]
struct Above {
    /// How often memory answered for it since it got there.
    asked: u32,
    /// Whether the disk was given a copy.
    copied: bool,
    size: usize,
}

/// At every so manieth request for an object in memory the disk hears of it.
const TOLD_EVERY: u32 = 16;

fn key_of(number: u64) -> Key {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number.to_le_bytes());
    Key(key)
}

fn number_of(key: Key) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&key.0[..8]);
    u64::from_le_bytes(number)
}

const VARIANT: Variant = Variant([0; 16]);

impl Node {
    async fn run(&mut self, requests: &[Request]) -> Score {
        let mut score = Score::default();
        for request in requests {
            score.requests += 1;
            score.bytes += request.size;
            if self.answer(request, &mut score).await {
                score.hits += 1;
                score.bytes_hit += request.size;
            }
        }
        score
    }

    /// Answers a request; whether from a tier.
    async fn answer(&mut self, request: &Request, score: &mut Score) -> bool {
        let key = key_of(request.key);
        if let Some(object) = self.memory.lookup(key).first() {
            self.memory.accessed(object);
            self.answered_above(key, request);
            return true;
        }
        if self.read(key).await {
            score.disk_hits += 1;
            self.remember(key, request, true);
            return true;
        }
        let copied = self.admits(key) && self.write(key, request.size);
        self.remember(key, request, copied);
        false
    }

    /// Memory answers, as in `Tiers::accessed`.
    fn answered_above(&mut self, key: Key, request: &Request) {
        let Some(above) = self.above.get_mut(&request.key) else {
            return;
        };
        above.asked += 1;
        let Above { asked, copied, .. } = *above;
        let copied = match (copied, &self.disk) {
            (true, _) if asked.is_multiple_of(TOLD_EVERY) => self.tell(key),
            (false, Some(disk)) if self.memory_hits == MemoryHits::Count => {
                let admitted = match self.admit {
                    Admit::Auto => Admission::Auto.admits_copy(disk, key, asked),
                    other => disk.asked(key, other),
                };
                admitted && self.write(key, request.size)
            }
            (copied, _) => copied,
        };
        self.above
            .entry(request.key)
            .and_modify(|above| above.copied = copied);
    }

    /// What has left memory, as in `Tiers::evicted`.
    fn evicted(&mut self) {
        let gone = self.gone.try_iter().collect::<Vec<_>>();
        for key in gone {
            let above = self.above.remove(&number_of(key));
            if let Some(above) = above.filter(|above| above.copied && above.asked > 0)
                && !self.tell(key)
            {
                self.write(key, above.size);
            }
        }
    }

    /// Says to the disk that its copy is asked for; false if it has none.
    fn tell(&self, key: Key) -> bool {
        let told = self.disk.as_ref().and_then(|disk| {
            let found = disk.find(key).pop()?;
            disk.accessed(&found);
            Some(())
        });
        told.is_some()
    }

    fn admits(&self, key: Key) -> bool {
        let disk = self.disk.as_ref();
        disk.is_some_and(|disk| disk.asked(key, self.admit))
    }

    /// Has the disk answer.
    async fn read(&self, key: Key) -> bool {
        let Some(disk) = &self.disk else {
            return false;
        };
        let Some(found) = disk.find(key).pop() else {
            return false;
        };
        disk.accessed(&found);
        disk.head(&found).await.is_ok()
    }

    fn remember(&mut self, key: Key, request: &Request, copied: bool) {
        let Request { key: number, size } = *request;
        let body = self.zeros.slice(..size.saturating_sub(self.free));
        // One that does not fit is not stored, as behind any other cache.
        let stored = self.memory.insert_ready(key, VARIANT, NoHead, body);
        if stored.is_ok() {
            let asked = 0;
            let above = Above {
                asked,
                copied,
                size,
            };
            self.above.insert(number, above);
        }
        self.evicted();
    }

    /// Whether the disk has it then.
    fn write(&mut self, key: Key, size: usize) -> bool {
        let Some(disk) = &self.disk else {
            return false;
        };
        if !disk.find(key).is_empty() {
            return true;
        }
        let free = if self.free > 0 { RECORD_OVERHEAD } else { 0 };
        let len = divided(size, self.scale).saturating_sub(free);
        let body = self.zeros.slice(..len);
        // What the disk refuses is not stored; how often is in the report.
        let written = try_write(disk, key, body).is_ok();
        if written {
            self.admitted += len + RECORD_OVERHEAD;
        }
        written
    }

    /// What the shadows say, of a second run through the trace.
    fn foretell(
        &self,
        options: &Options,
        requests: &[Request],
        score: &Score,
    ) -> Result<(), String> {
        let settings = self.memory.stats();
        let mut curve = Curve::new(Shape {
            memory: settings.capacity as u64,
            object_max: options
                .object_share
                .map_or(settings.capacity as u64 / 16, |share| {
                    (settings.capacity / share.max(1)) as u64
                }),
            eviction: options.policy,
            disk: match &self.disk {
                None => None,
                Some(_) => Some(DiskShape {
                    bytes: capacity(&options.disk, requests)? as u64,
                    object_max: capacity(&options.disk, requests)? as u64
                        / options.disk_object_share.unwrap_or(16),
                    bytes_per_trace: 16 * 1024,
                    admit: options.admit,
                    fresh_percent: options.fresh_percent.unwrap_or(5),
                    kept_percent: options.kept_percent.unwrap_or(31),
                }),
            },
        });
        let overhead = memory_overhead(settings.capacity).saturating_sub(self.free) as u64;
        let began = on_cpu();
        let mut sampled = 0;
        for request in requests {
            let access = Access {
                name: Name::of(spread(request.key ^ options.seed << 32), VARIANT),
                bytes: request.size as u64,
                cost: request.size as u64 + overhead,
                now: 0,
                until: u32::MAX,
                seen: Seen::Fetched,
                times: 1,
            };
            if curve.sampler().takes(access.name, access.cost) {
                sampled += 1;
                curve.record(&access);
            }
        }
        let took = on_cpu().saturating_sub(began);
        println!(
            "  shadows: {:.1} ns of CPU for each request, {:.0} for each that is sampled, {:.1} % of the requests, rate {:.3}, {} objects, {} entries",
            took.as_nanos() as f64 / requests.len().max(1) as f64,
            took.as_nanos() as f64 / sampled.max(1) as f64,
            percent(sampled, requests.len()),
            curve.sampler().rate(),
            curve.objects(),
            curve.entries(),
        );
        let points = curve.points(&Measured {
            requests: score.requests as u64,
            hits: score.hits as u64,
            bytes: score.bytes as u64,
            hit_bytes: score.bytes_hit as u64,
            misses: (score.requests - score.hits) as u64,
            missed_bytes: (score.bytes - score.bytes_hit) as u64,
        });
        for point in points {
            let Point {
                change,
                requests,
                bytes,
            } = point;
            println!(
                "  {:<20} objects {:.2} ± {:.2}  bytes {:.2} ± {:.2}",
                format!("{change:?}"),
                requests.ratio * 100.0,
                requests.error * 100.0,
                bytes.ratio * 100.0,
                bytes.error * 100.0,
            );
        }
        Ok(())
    }

    fn report(&self, score: &Score, took: Duration) {
        let stats = self.memory.stats();
        println!(
            "object hit ratio {:.2}  byte hit ratio {:.2}  ({} requests, {} ns each; {} bytes, {} objects, {} evictions)",
            percent(score.hits, score.requests),
            percent(score.bytes_hit, score.bytes),
            score.requests,
            took.as_nanos() / score.requests.max(1) as u128,
            stats.capacity,
            stats.objects,
            stats.evictions,
        );
        let Some(disk) = &self.disk else {
            return;
        };
        let stats = disk.stats();
        let volume = &stats.volumes[0];
        let written = usize::try_from(volume.bytes_written).unwrap_or(0);
        println!(
            "  of it from the disk {:.2}  written {:.2} of the bytes served  amplification {:.3}  ({} bytes, {} objects, {} kept, {} refused)",
            percent(score.disk_hits, score.requests),
            percent(written, divided(score.bytes, self.scale)),
            written as f64 / self.admitted.max(1) as f64,
            volume.capacity,
            stats.objects,
            volume.kept,
            volume.refused_busy,
        );
    }
}

/// The time that this thread has had a processor for.
fn on_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = stat.split(' ').next().and_then(|it| it.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

/// A key as hashes are: any part of it says which objects are sampled.
fn spread(number: u64) -> Key {
    let mut state = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state = (state ^ (state >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state ^ (state >> 29)
    };
    let number = u128::from(next()) << 64 | u128::from(next());
    Key(number.to_le_bytes())
}

fn try_write(disk: &Disk, key: Key, mut body: Bytes) -> Result<(), disk::Refused> {
    let mut writer = disk.writer(NewRecord {
        key,
        variant: VARIANT,
        born: 0,
        stored_at: 0,
        head: Bytes::new(),
        body_len: Some(body.len() as u64),
    })?;
    while !body.is_empty() {
        wait_for_room(disk);
        writer.write(body.split_to(body.len().min(PIECE)))?;
    }
    wait_for_room(disk);
    writer.commit()
}

/// Bytes that arrive at once: the smallest chunk of a segment.
const PIECE: usize = 64 * 1024;

/// A trace is replayed faster than any disk works, and a response that is refused in its middle has
/// been written for nothing.
fn wait_for_room(disk: &Disk) {
    let is_behind = |stats: &disk::Stats| {
        stats.write_memory > 32 << 20 || stats.volumes[0].segments_free < SEGMENTS_FREE
    };
    let mut stats = disk.stats();
    for _ in 0..PAUSES_MAX {
        if !is_behind(&stats) {
            return;
        }
        std::thread::sleep(Duration::from_micros(100));
        stats = disk.stats();
    }
}

fn trace(options: &Options) -> Result<Vec<Request>, String> {
    let mut text = String::new();
    let read = if options.trace.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(&options.trace).map(|read| text = read)
    };
    read.map_err(|error| format!("{}: {error}", options.trace.display()))?;
    text.lines().skip(1).map(request).collect()
}

fn request(line: &str) -> Result<Request, String> {
    let mut fields = line.split(',').skip(1);
    let (Some(key), Some(size)) = (fields.next(), fields.next()) else {
        return Err(format!("not a request: {line}"));
    };
    Ok(Request {
        key: number(key)?,
        size: number(size)?,
    })
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N, String> {
    let parsed = text.trim().parse().ok();
    parsed.ok_or_else(|| format!("not a number: {text}"))
}

/// A number, or one divided by another.
fn ratio(text: &str) -> Result<f64, String> {
    match text.split_once('/') {
        None => number(text),
        Some((of, by)) => Ok(number::<f64>(of)? / number::<f64>(by)?),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a size over a positive number is a size"
)]
fn divided(size: usize, by: f64) -> usize {
    (size as f64 / by) as usize
}

/// Bytes, or a share of the bytes of all objects.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a footprint is a footprint"
)]
fn capacity(text: &str, requests: &[Request]) -> Result<usize, String> {
    let Some(share) = text.strip_suffix('%') else {
        return number(text);
    };
    let sizes: HashMap<u64, usize> = requests.iter().map(|r| (r.key, r.size)).collect();
    let footprint: usize = sizes.values().sum();
    Ok((footprint as f64 * number::<f64>(share)? / 100.0) as usize)
}

fn percent(part: usize, whole: usize) -> f64 {
    part as f64 * 100.0 / whole.max(1) as f64
}
