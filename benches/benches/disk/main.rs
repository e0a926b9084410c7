//! The disk tier: hits that are in the page cache, hits that are not, starts, and what is written.
//!
//! ```text
//! cargo bench -p larder-benches --bench disk --features foyer -- [DIRECTORY] [OBJECTS] [PART]
//! ```
//!
//! DIRECTORY is where the volumes are made, a temporary one if it is not said; OBJECTS are those of the start, a million.
//! PART is one of `hits`, `cold` (a minute), `start` and `written`, all of them if it is not said.
//! Without the feature there is no baseline. Processor time is of the whole process: what other threads do for a hit
//! counts. Compare ratios of one run, not figures of two.

#![expect(clippy::print_stdout, reason = "it prints what it measured")]
#![expect(clippy::disallowed_methods, reason = "it measures how long it takes")]

mod cold;
mod hits;
mod restart;
mod thread;
mod written;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use storage::disk::{Disk, Engine, NewRecord, Recovery, Refused, Settings, VolumeSettings};
use storage::{Key, Variant};

/// The length of a head, about that of a response's fields.
const HEAD: usize = 400;

fn main() {
    // Cargo adds options of its own.
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'));
    let temporary = tempfile::tempdir().expect("a directory");
    let dir = arguments
        .next()
        .map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    let objects = arguments
        .next()
        .map_or(1_000_000, |count| count.parse().expect("a number"));
    let part = arguments.next();
    let is_wanted = |name: &str| part.as_deref().is_none_or(|part| part == name);
    if is_wanted("hits") {
        hits::run(&dir);
    }
    if is_wanted("cold") {
        cold::run(&dir);
    }
    if is_wanted("start") {
        restart::run(&dir, objects);
    }
    if is_wanted("written") {
        written::run(&dir);
    }
}

fn runtime() -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime")
}

fn monotonic() -> Duration {
    static BEGIN: OnceLock<Instant> = OnceLock::new();
    BEGIN.get_or_init(Instant::now).elapsed()
}

/// A volume that is removed when this is dropped.
struct Volume {
    disk: Arc<Disk>,
    path: PathBuf,
}

impl Volume {
    fn new(dir: &Path, size: u64, engine: Engine) -> Self {
        let path = dir.join("bench.volume");
        let volume = Self {
            disk: open(&path, size, engine),
            path,
        };
        while matches!(volume.disk.recovered(), Recovery::Running { .. }) {
            std::thread::yield_now();
        }
        volume
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        runtime().block_on(self.disk.close());
        std::fs::remove_file(&self.path).expect("the volume");
        let bodies = self.path.with_file_name("bench.volume.bodies");
        std::fs::remove_dir_all(bodies).unwrap_or_default();
    }
}

fn open(path: &Path, size: u64, engine: Engine) -> Arc<Disk> {
    let volume = VolumeSettings {
        engine,
        ..VolumeSettings::new(path.to_owned(), size)
    };
    Disk::open(Settings::new(vec![volume], monotonic)).expect("a volume")
}

fn key(number: u64) -> Key {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    key[8..].copy_from_slice(&number.to_le_bytes());
    Key(key)
}

/// A number that says nothing about the next one.
fn scatter(number: u64) -> u64 {
    let mixed = number
        .wrapping_add(0x1234_5678)
        .wrapping_mul(0xd6e8_feb8_6659_fd93);
    (mixed ^ mixed >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93) >> 20
}

/// Stores an object, however long the disk takes.
fn put(disk: &Disk, number: u64, body: &Bytes) {
    while number.is_multiple_of(16) && disk.stats().write_memory > 32 << 20 {
        std::thread::sleep(Duration::from_micros(200));
    }
    loop {
        let record = NewRecord {
            key: key(number),
            variant: Variant([0; 16]),
            born: 1,
            stored_at: 1,
            head: Bytes::from_static(&[b'h'; HEAD]),
            body_len: Some(body.len() as u64),
        };
        let mut writer = disk.writer(record).expect("a writer");
        match writer.write(body.clone()).and_then(|()| writer.commit()) {
            Ok(()) => return,
            Err(Refused::Busy) => std::thread::sleep(Duration::from_millis(1)),
            Err(other) => panic!("{other}"),
        }
    }
}

/// Reads an object whole; none if it is not there.
async fn get(disk: &Disk, number: u64) -> Option<usize> {
    get_each(disk, number, |_| {}).await
}

/// The same, where something is done with each piece.
async fn get_each(disk: &Disk, number: u64, mut each: impl FnMut(&[u8])) -> Option<usize> {
    let found = disk.find(key(number)).pop()?;
    disk.accessed(&found);
    let head = disk.head(&found).await.ok()?;
    let mut len = head.len();
    let mut reader = disk.body(&found, 0..found.body_len());
    while let Some(bytes) = reader.next().await.ok()? {
        each(&bytes);
        len += bytes.len();
    }
    Some(len)
}

fn until_written(disk: &Disk) {
    let mut before = None;
    loop {
        let stats = disk.stats();
        let now = (stats.write_memory, stats.volumes[0].bytes_written);
        if before == Some(now) {
            return;
        }
        before = Some(now);
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// Seconds that the threads of this process have run.
fn process_cpu() -> f64 {
    let threads = std::fs::read_dir("/proc/self/task").expect("Linux");
    let nanoseconds = threads.filter_map(|thread| {
        let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    });
    nanoseconds.sum::<f64>() / 1e9
}
