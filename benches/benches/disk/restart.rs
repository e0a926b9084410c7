//! A start: how long until the index is back, until the first hit, and what the index takes.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use storage::disk::{Engine, Recovery};

use crate::{HEAD, get, open, put, runtime};

pub(crate) fn run(dir: &Path, objects: u64) {
    let path = dir.join("bench.volume");
    let size = (objects * 900).max(256 << 20);
    let disk = open(&path, size, Engine::Log);
    while matches!(disk.recovered(), Recovery::Running { .. }) {
        std::thread::yield_now();
    }
    let body = Bytes::from_static(&[7; 64]);
    let mut worst = 0.0_f64;
    for number in 0..objects {
        put(&disk, number, &body);
        if number > 100_000 && number.is_multiple_of(1000) {
            let stats = disk.stats();
            worst = worst.max(stats.index_memory as f64 / stats.objects as f64);
        }
    }
    runtime().block_on(disk.close());
    drop(disk);

    let (begin, cpu) = (Instant::now(), all_cpu());
    let disk = open(&path, size, Engine::Log);
    let mut first = None;
    let found = loop {
        let hit = || runtime().block_on(get(&disk, objects - 1)) == Some(HEAD + 64);
        if first.is_none() && hit() {
            first = Some(begin.elapsed());
        }
        if let Recovery::Done { objects, .. } = disk.recovered() {
            break objects;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let took = begin.elapsed();
    let cpu = (all_cpu() - cpu) / found as f64 * 1e6;
    println!(
        "\nstart: {found} of {objects} objects in {took:?}, a hit on the last one after {:?}; {cpu:.2} s of CPU per million",
        first.unwrap_or_default(),
    );
    let memory = disk.stats().index_memory as f64 / found as f64;
    println!(
        "memory per object: {memory:.1} bytes after a start, at most {worst:.1} while it was filled"
    );
    runtime().block_on(disk.close());
    drop(disk);
    std::fs::remove_file(path).expect("the volume");
}

/// Seconds that this process has run, with the threads that have ended: those that read the index back.
fn all_cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields = text.rsplit(')').next().expect("fields").split_whitespace();
    let ticks = fields
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}
