//! Replays a trace of requests through the memory tier and prints the hit ratios.
//!
//! ```text
//! replay --trace FILE.csv [--capacity 1%] [--policy gdsf|lru] [--charge bodies|all] [--shards 64]
//! ```
//!
//! The trace has a line `time,key,size` per request, under a header; `FILE` may be `-`. The capacity
//! is a number of bytes, or a share of the bytes of all objects of the trace. With `--charge bodies`
//! (the default) an object takes its size and no more, as in published simulations; with `all` it
//! takes what it takes in the running node. No body is allocated.

#![expect(clippy::print_stdout, reason = "a program for the command line")]
#![expect(clippy::disallowed_methods, reason = "it measures how long it takes")]

use std::collections::HashMap;
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use larder_storage::{Eviction, Head, Key, Memory, Settings, Variant};

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
}

#[derive(Default)]
struct Score {
    requests: usize,
    hits: usize,
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
        object_max: u64::MAX,
        shards: options.shards,
        ..Settings::new(capacity)
    });

    let began = Instant::now();
    let score = run(&memory, &requests, options.charged);
    let took = began.elapsed();

    let stats = memory.stats();
    println!(
        "object hit ratio {:.2}  byte hit ratio {:.2}  ({} requests, {} ns each; {capacity} bytes, {} objects, {} evictions)",
        percent(score.hits, score.requests),
        percent(score.bytes_hit, score.bytes),
        score.requests,
        took.as_nanos() / score.requests.max(1) as u128,
        stats.objects,
        stats.evictions,
    );
    Ok(())
}

fn run(memory: &Arc<Memory<NoHead>>, requests: &[Request], charged: Charged) -> Score {
    let longest = requests
        .iter()
        .map(|request| request.size)
        .max()
        .unwrap_or(0);
    let zeros = Bytes::from(vec![0; longest]);
    let free = match charged {
        Charged::Bodies => memory.object_overhead(),
        Charged::All => 0,
    };
    let mut score = Score::default();
    for request in requests {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&request.key.to_le_bytes());

        score.requests += 1;
        score.bytes += request.size;
        if let Some(object) = memory.lookup(Key(key)).first() {
            memory.accessed(object);
            score.hits += 1;
            score.bytes_hit += request.size;
            continue;
        }
        let body = zeros.slice(..request.size.saturating_sub(free));
        // One that does not fit is not stored, as behind any other cache.
        let _refused = memory
            .insert_ready(Key(key), Variant([0; 16]), NoHead, body)
            .is_err();
    }
    score
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
