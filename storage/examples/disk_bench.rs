//! Measures the disk tier against plain files in the manner of nginx: one file per object, written
//! under another name and renamed, opened for each hit. Everything is in the page cache, so that
//! the figures are of software; compare ratios, not figures.
//!
//! ```text
//! disk_bench DIR [OBJECTS]     OBJECTS of the restart, 1000000 if it is not said
//! ```

#![expect(clippy::print_stdout, reason = "a program for the command line")]
#![expect(clippy::disallowed_methods, reason = "it measures how long it takes")]
#![expect(
    clippy::cast_possible_truncation,
    reason = "numbers of a benchmark are small"
)]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bytes::Bytes;
use larder_storage::disk::{Disk, NewRecord, Recovery, Refused, Settings, VolumeSettings};
use larder_storage::{Key, Variant};

const HEAD: usize = 400;
const HITS: usize = 40_000;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().expect("a directory to work in"));
    let objects = arguments
        .next()
        .map_or(1_000_000, |count| count.parse().expect("a number"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.expect("a runtime").block_on(async {
        println!(
            "{:>9}  {:>24}  {:>24}",
            "", "hit: CPU, p50, p99 (µs)", "store: CPU (µs), MB/s"
        );
        for (len, count) in [
            (1500, 40_000),
            (4096, 40_000),
            (65_536, 8_000),
            (1 << 20, 400),
        ] {
            compare(&dir, len, count).await;
        }
        restart(&dir, objects).await;
    });
}

async fn compare(dir: &Path, len: usize, count: u64) {
    warm_up(dir, len, count);
    let disk = open(dir, 2 << 30);
    let body = Bytes::from(vec![7; len]);
    let stored = timed(count, len, || {
        (0..count).for_each(|number| put(&disk, number, &body))
    });
    until_written(&disk);
    let mut hits = Hits::default();
    let cpu = thread_cpu();
    for hit in 0..HITS.min(count as usize * 20) {
        let number = scatter(hit) % count;
        let begin = Instant::now();
        let read = get(&disk, number).await;
        hits.wall.push(begin.elapsed());
        assert_eq!(read, len);
    }
    hits.cpu = thread_cpu() - cpu;
    let stats = disk.stats();
    let amplification =
        stats.volumes[0].bytes_written as f64 / (count as f64 * (len + HEAD) as f64);
    disk.close().await;
    drop(disk);
    fs::remove_file(dir.join("volume")).expect("the volume");

    warm_up(dir, len, count);
    let files = Files(dir.join("files"));
    let filed = timed(count, len, || {
        (0..count).for_each(|number| files.put(number, &body))
    });
    let mut file_hits = Hits::default();
    let cpu = thread_cpu();
    for hit in 0..HITS.min(count as usize * 20) {
        let number = scatter(hit) % count;
        let begin = Instant::now();
        let read = files.get(number, len);
        file_hits.wall.push(begin.elapsed());
        assert_eq!(read, len);
    }
    file_hits.cpu = thread_cpu() - cpu;
    fs::remove_dir_all(&files.0).expect("the files");

    println!("{len:>7} B  larder {}  {stored}", hits.line());
    println!("{:>9}  files  {}  {filed}", "", file_hits.line());
    let (ours, theirs) = (hits.mean(), file_hits.mean());
    println!(
        "{:>9}  ratio  {:.2} of the CPU per hit; {:.2} of the CPU per store; write amplification {amplification:.3}",
        "",
        ours / theirs,
        stored.cpu / filed.cpu,
    );
}

/// Memory that a virtual machine has not touched yet costs more than everything measured here. Each
/// contender finds as many free pages that were used before.
fn warm_up(dir: &Path, len: usize, count: u64) {
    let path = dir.join("scratch");
    let mut file = File::create(&path).expect("a file");
    let block = vec![1; 1 << 20];
    for _ in 0..((count * len as u64) >> 19).max(64) {
        file.write_all(&block).expect("a block");
    }
    drop(file);
    fs::remove_file(path).expect("the file");
}

async fn restart(dir: &Path, objects: u64) {
    let size = (objects * 900).max(256 << 20);
    let disk = open(dir, size);
    let body = Bytes::from_static(&[7; 64]);
    (0..objects).for_each(|number| put(&disk, number, &body));
    let memory = disk.stats().index_memory;
    disk.close().await;
    drop(disk);

    let cpu = process_cpu();
    let begin = Instant::now();
    let disk = open_now(dir, size);
    let mut first = None;
    let done = loop {
        if first.is_none() && disk.stats().objects > 0 {
            first = Some(begin.elapsed());
        }
        if let Recovery::Done { objects, took, .. } = disk.recovered() {
            break (objects, took);
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    println!(
        "restart: {} of {objects} objects in {:?}, first after {:?}, {:.2} s of CPU",
        done.0,
        begin.elapsed(),
        first.unwrap_or_default(),
        process_cpu() - cpu,
    );
    println!(
        "memory: {:.1} bytes per object in the index",
        memory as f64 / done.0 as f64
    );
    disk.close().await;
    drop(disk);
    fs::remove_file(dir.join("volume")).expect("the volume");
}

fn monotonic() -> Duration {
    static BEGIN: OnceLock<Instant> = OnceLock::new();
    BEGIN.get_or_init(Instant::now).elapsed()
}

fn open_now(dir: &Path, size: u64) -> Arc<Disk> {
    let volume = VolumeSettings::new(dir.join("volume"), size);
    Disk::open(Settings::new(vec![volume], monotonic)).expect("a volume")
}

fn open(dir: &Path, size: u64) -> Arc<Disk> {
    let disk = open_now(dir, size);
    while matches!(disk.recovered(), Recovery::Running { .. }) {
        std::thread::yield_now();
    }
    disk
}

fn key(number: u64) -> Key {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    key[8..].copy_from_slice(&number.to_le_bytes());
    Key(key)
}

fn scatter(hit: usize) -> u64 {
    (hit as u64).wrapping_mul(0xd6e8_feb8_6659_fd93) >> 20
}

fn put(disk: &Disk, number: u64, body: &Bytes) {
    // As much as it takes, and no more: what is refused would be begun again.
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
        let written = writer.write(body.clone()).and_then(|()| writer.commit());
        match written {
            Ok(()) => return,
            // Here all that counts is how much the disk takes.
            Err(Refused::Busy) => std::thread::sleep(Duration::from_millis(1)),
            Err(other) => panic!("{other}"),
        }
    }
}

async fn get(disk: &Disk, number: u64) -> usize {
    let found = disk.find(key(number)).pop().expect("an object");
    let head = disk.head(&found).await.expect("a head");
    assert_eq!(head.len(), HEAD);
    let mut reader = disk.body(&found, 0..found.body_len());
    let mut len = 0;
    while let Some(bytes) = reader.next().await.expect("a body") {
        len += bytes.len();
    }
    len
}

fn until_written(disk: &Disk) {
    let written = || disk.stats().volumes[0].bytes_written;
    let mut before = 0;
    while written() != before {
        before = written();
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// One file per object, two levels of directories.
struct Files(PathBuf);

impl Files {
    fn path(&self, number: u64) -> PathBuf {
        let name = format!("{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        self.0.join(&name[15..]).join(&name[13..15]).join(name)
    }

    fn put(&self, number: u64, body: &[u8]) {
        let path = self.path(number);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        let temporary = path.with_extension("tmp");
        let mut file = File::create(&temporary).expect("a file");
        file.write_all(&[b'h'; HEAD]).expect("a head");
        file.write_all(body).expect("a body");
        fs::rename(temporary, path).expect("a name");
    }

    fn get(&self, number: u64, len: usize) -> usize {
        let mut file = File::open(self.path(number)).expect("an object");
        let size = file.metadata().expect("a size").len() as usize;
        assert_eq!(size, len + HEAD);
        let mut read = 0;
        // As nginx without sendfile: buffers of its default order of size.
        let mut buffer = vec![0; size.min(64 * 1024)];
        while read < size {
            read += file.read(&mut buffer).expect("a body");
        }
        read - HEAD
    }
}

#[derive(Default)]
struct Hits {
    wall: Vec<Duration>,
    cpu: f64,
}

impl Hits {
    fn mean(&self) -> f64 {
        self.cpu * 1e6 / self.wall.len() as f64
    }

    fn line(&self) -> String {
        let mut wall = self.wall.clone();
        wall.sort();
        let at = |percent: usize| wall[wall.len() * percent / 100].as_secs_f64() * 1e6;
        format!("{:>7.2} {:>7.2} {:>7.2}", self.mean(), at(50), at(99))
    }
}

struct Stored {
    cpu: f64,
    rate: f64,
}

impl std::fmt::Display for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:>10.2} {:>10.0}", self.cpu, self.rate)
    }
}

fn timed(count: u64, len: usize, work: impl FnOnce()) -> Stored {
    let (begin, cpu) = (Instant::now(), process_cpu());
    work();
    Stored {
        cpu: (process_cpu() - cpu) * 1e6 / count as f64,
        rate: count as f64 * len as f64 / 1e6 / begin.elapsed().as_secs_f64(),
    }
}

/// Seconds that this thread has run.
fn thread_cpu() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanoseconds = text
        .split(' ')
        .next()
        .and_then(|first| first.parse::<f64>().ok());
    nanoseconds.expect("a number") / 1e9
}

/// Seconds that this process has run.
fn process_cpu() -> f64 {
    let text = fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields = text.rsplit(')').next().expect("fields").split_whitespace();
    let ticks: Vec<f64> = fields
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse().ok())
        .collect();
    ticks.iter().sum::<f64>() / 100.0
}
