//! Hits that have to wait for the disk, beside hits in memory on the same thread: whether the second notice.

use std::fs::File;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use storage::disk::{Disk, Engine};
use storage::{Memory, Variant};

use crate::{HEAD, Volume, get, key, put, runtime, scatter, until_written};

const LEN: usize = 65_536;
const OBJECTS: u64 = 8_000;

/// Requests to the disk at once.
const READERS: u64 = 16;

/// How long each part takes.
const TIME: Duration = Duration::from_secs(4);

/// What holds the thread longer is a stall, unless the thread had no processor meanwhile.
const STALL: Duration = Duration::from_millis(1);

struct NoHead;

impl storage::Head for NoHead {
    fn weight(&self) -> usize {
        0
    }
}

pub(crate) fn run(dir: &Path) {
    let volume = Volume::new(dir, 2 << 30, Engine::Log);
    let body = Bytes::from(vec![7; LEN]);
    (0..OBJECTS).for_each(|number| put(&volume.disk, number, &body));
    until_written(&volume.disk);
    let file = File::open(&volume.path).expect("the volume");
    file.sync_all().expect("no dirty pages");

    println!(
        "\nmemory hits on one thread        p50 (µs)   p99 (µs)   disk hits   waited   longest poll (µs)   stalls"
    );
    let runtime = runtime();
    let rounds = [
        ("alone", false),
        ("with cold disk hits", true),
        ("alone again", false),
    ];
    for (name, with_disk) in rounds {
        let before = volume.disk.stats().volumes[0].reads_waited;
        let part = runtime.block_on(part(&volume.disk, &file, with_disk));
        let waited = volume.disk.stats().volumes[0].reads_waited - before;
        part.print(name, waited);
    }
}

/// What was seen.
struct Part {
    memory: Vec<Duration>,
    polls: Vec<Duration>,
    disk_hits: u64,
}

async fn part(disk: &Arc<Disk>, file: &File, with_disk: bool) -> Part {
    let polls = Arc::new(Mutex::new(Vec::new()));
    let until = Instant::now() + TIME;
    let mut readers = Vec::new();
    for reader in 0..if with_disk { READERS } else { 0 } {
        let reading = read(Arc::clone(disk), reader, until);
        readers.push(tokio::spawn(Timed {
            inner: Box::pin(reading),
            polls: Arc::clone(&polls),
        }));
    }
    let memory = memory_hits(file, with_disk, until).await;
    let mut disk_hits = 0;
    for reader in readers {
        disk_hits += reader.await.expect("a reader");
    }
    let polls = std::mem::take(&mut *polls.lock());
    Part {
        memory,
        polls,
        disk_hits,
    }
}

/// One client after the other asks for what is on the disk.
async fn read(disk: Arc<Disk>, reader: u64, until: Instant) -> u64 {
    let mut hits = 0;
    while Instant::now() < until {
        let number = scatter(reader << 32 | hits) % OBJECTS;
        assert_eq!(get(&disk, number).await, Some(LEN + HEAD));
        hits += 1;
        tokio::task::yield_now().await;
    }
    hits
}

/// What a hit in memory takes; between hits, others have their turn.
async fn memory_hits(file: &File, forget: bool, until: Instant) -> Vec<Duration> {
    let memory = Memory::new(storage::Settings::new(64 << 20));
    let body = Bytes::from(vec![7; 16 * 1024]);
    for number in 0..1024 {
        let stored = memory.insert_ready(key(number), Variant([0; 16]), NoHead, body.clone());
        assert!(stored.is_ok());
    }
    let mut took = Vec::new();
    let mut forgotten = Instant::now();
    for number in 0.. {
        let begin = Instant::now();
        if begin > until {
            break;
        }
        // As with far more on the disk than in memory: the page cache has nothing.
        if forget && begin - forgotten > Duration::from_millis(20) {
            rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed).expect("advice");
            forgotten = Instant::now();
        }
        let begin = Instant::now();
        let found = memory.lookup(key(number % 1024));
        let object = found.first().expect("an object");
        memory.accessed(object);
        std::hint::black_box(object.body().len());
        took.push(begin.elapsed());
        tokio::task::yield_now().await;
    }
    took
}

/// A future, and how long it held the thread each time.
struct Timed {
    inner: Pin<Box<dyn Future<Output = u64> + Send>>,
    polls: Arc<Mutex<Vec<Duration>>>,
}

impl Future for Timed {
    type Output = u64;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<u64> {
        let (begin, scheduled) = (Instant::now(), scheduled());
        let polled = self.inner.as_mut().poll(context);
        let took = begin.elapsed();
        self.polls.lock().push(if took > STALL {
            took.saturating_sub(self::scheduled().waited - scheduled.waited)
        } else {
            took
        });
        polled
    }
}

/// What the scheduler says of this thread.
struct Scheduled {
    /// For a processor.
    waited: Duration,
}

fn scheduled() -> Scheduled {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let waited = text.split(' ').nth(1).and_then(|field| field.parse().ok());
    Scheduled {
        waited: Duration::from_nanos(waited.expect("a number")),
    }
}

impl Part {
    fn print(mut self, name: &str, waited: u64) {
        self.memory.sort();
        let at =
            |percent: usize| self.memory[self.memory.len() * percent / 100].as_secs_f64() * 1e6;
        let longest = self
            .polls
            .iter()
            .max()
            .copied()
            .unwrap_or_default()
            .as_secs_f64()
            * 1e6;
        let stalls = self.polls.iter().filter(|poll| **poll > STALL).count();
        println!(
            "{name:<30} {:>9.2}  {:>9.2}   {:>9}   {waited:>6}   {longest:>17.0}   {stalls} of {}",
            at(50),
            at(99),
            self.disk_hits,
            self.polls.len(),
        );
    }
}
