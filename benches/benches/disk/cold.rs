//! Hits that have to wait for the disk, beside hits in memory on the same thread: whether the second notice.
//!
//! A hit in memory is measured twice: looked up, and as a client gets it, with its head and body copied. What of the
//! difference is the caches of the processor shows beside bytes that are copied instead, as many and as often as those from
//! the disk, without any disk.

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

use crate::thread::{Account, Accounts, ran};
use crate::{HEAD, Volume, get, key, put, runtime, scatter, until_written};

const LEN: usize = 65_536;
const OBJECTS: u64 = 8_000;

/// What a hit in memory has.
const SHORT: usize = 16 * 1024;

/// Requests to the disk at once.
const READERS: u64 = 16;

/// How long each part takes.
const TIME: Duration = Duration::from_secs(4);

/// How often each of them is repeated, in turns.
const ROUNDS: usize = 3;

/// What holds the thread longer is a stall.
const STALL: Duration = Duration::from_millis(1);

struct NoHead;

impl storage::Head for NoHead {
    fn weight(&self) -> usize {
        0
    }
}

/// What goes on beside the hits in memory.
#[derive(Clone, Copy)]
enum Beside {
    Nothing,
    DiskHits,
    /// So many copies in the time.
    Copies(u64),
}

pub(crate) fn run(dir: &Path) {
    let volume = Volume::new(dir, 2 << 30, Engine::Log);
    let body = Bytes::from(vec![7; LEN]);
    (0..OBJECTS).for_each(|number| put(&volume.disk, number, &body));
    until_written(&volume.disk);
    let file = File::open(&volume.path).expect("the volume");
    file.sync_all().expect("no dirty pages");

    println!(
        "\nmemory hits on one thread        looked up p50, p99 (µs)   sent p50, p99 (µs)   beside   waited"
    );
    let runtime = runtime();
    let mut all: [Vec<Part>; 3] = Default::default();
    for _ in 0..ROUNDS {
        let mut turn = |at: usize, name: &str, beside| {
            let before = volume.disk.stats().volumes[0].reads_waited;
            let mut part = runtime.block_on(part(&volume.disk, &file, beside));
            part.waited = volume.disk.stats().volumes[0].reads_waited - before;
            part.print(name);
            all[at].push(part);
        };
        turn(0, "alone", Beside::Nothing);
        turn(1, "beside cold disk hits", Beside::DiskHits);
        let copies = all[1].last().map_or(0, |part| part.count);
        let mut turn = |at: usize, name: &str, beside| {
            let part = runtime.block_on(part(&volume.disk, &file, beside));
            part.print(name);
            all[at].push(part);
        };
        turn(2, "beside as many copies", Beside::Copies(copies));
    }
    compare(&all);
    all[1].iter().for_each(Part::print_stalls);
}

/// The medians of the rounds, as ratios.
fn compare(all: &[Vec<Part>; 3]) {
    let middle = |parts: &[Part], figure: fn(&Part) -> f64| {
        let mut figures: Vec<f64> = parts.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    };
    let figures: [(&str, fn(&Part) -> f64); 4] = [
        ("looked up, p50", |part| at(&part.looked_up, 50)),
        ("looked up, p99", |part| at(&part.looked_up, 99)),
        ("sent, p50", |part| at(&part.sent, 50)),
        ("sent, p99", |part| at(&part.sent, 99)),
    ];
    for (name, figure) in figures {
        let [alone, disk, copies] = all.each_ref().map(|parts| middle(parts, figure));
        println!(
            "{name:<16} alone {alone:.2} µs, beside disk hits {:.2} times that, beside copies {:.2} times",
            disk / alone,
            copies / alone
        );
    }
}

/// What was seen.
#[derive(Default)]
struct Part {
    /// Both sorted.
    looked_up: Vec<Duration>,
    sent: Vec<Duration>,
    polls: Polls,
    /// What was done beside.
    count: u64,
    waited: u64,
}

/// How long the disk hits held the thread.
#[derive(Default)]
struct Polls {
    count: u64,
    longest: Duration,
    longest_ran: Duration,
    stalls: Vec<(Duration, Account)>,
}

async fn part(disk: &Arc<Disk>, file: &File, beside: Beside) -> Part {
    let polls = Arc::new(Mutex::new(Polls::default()));
    let until = Instant::now() + TIME;
    let mut tasks = Vec::new();
    for reader in 0..READERS {
        let inner: Pin<Box<dyn Future<Output = u64> + Send>> = match beside {
            Beside::Nothing => continue,
            Beside::DiskHits => Box::pin(read(Arc::clone(disk), reader, until)),
            Beside::Copies(count) => Box::pin(copy(count / READERS, until)),
        };
        tasks.push(tokio::spawn(Timed {
            inner,
            polls: Arc::clone(&polls),
            accounts: Accounts::open(),
        }));
    }
    let forget = matches!(beside, Beside::DiskHits).then_some(file);
    let mut part = memory_hits(forget, until).await;
    for task in tasks {
        part.count += task.await.expect("a reader");
    }
    part.polls = std::mem::take(&mut *polls.lock());
    part
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

/// As many bytes, from memory that is in no cache, evenly over the time.
async fn copy(count: u64, until: Instant) -> u64 {
    let from = vec![7_u8; 8 << 20];
    let begin = Instant::now();
    let pause = TIME.div_f64(count.max(1) as f64);
    for number in 0..count {
        while Instant::now() < begin + pause.mul_f64(number as f64) {
            tokio::task::yield_now().await;
        }
        if Instant::now() > until {
            return number;
        }
        let at = usize::try_from(scatter(number)).expect("64 bits") % (from.len() - LEN);
        std::hint::black_box(from[at..at + LEN].to_vec());
    }
    count
}

/// What a hit in memory takes; between hits, others have their turn.
async fn memory_hits(forget: Option<&File>, until: Instant) -> Part {
    let memory = Memory::new(storage::Settings::new(64 << 20));
    let body = Bytes::from(vec![7; SHORT]);
    for number in 0..1024 {
        let stored = memory.insert_ready(key(number), Variant([0; 16]), NoHead, body.clone());
        assert!(stored.is_ok());
    }
    let mut client = vec![0; HEAD + SHORT];
    let mut part = Part::default();
    let mut forgotten = Instant::now();
    for number in 0.. {
        let begin = Instant::now();
        if begin > until {
            break;
        }
        // As with far more on the disk than in memory: the page cache has nothing.
        if let Some(file) = forget
            && begin - forgotten > Duration::from_millis(20)
        {
            rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed).expect("advice");
            forgotten = Instant::now();
        }
        let begin = Instant::now();
        let found = memory.lookup(key(number % 1024));
        let object = found.first().expect("an object");
        memory.accessed(object);
        let body = object.body().contiguous().expect("one piece");
        part.looked_up.push(begin.elapsed());
        client[..HEAD].fill(b'h');
        client[HEAD..].copy_from_slice(body);
        std::hint::black_box(&client);
        part.sent.push(begin.elapsed());
        tokio::task::yield_now().await;
    }
    part.looked_up.sort();
    part.sent.sort();
    part
}

/// A future, and how long it held the thread each time.
struct Timed {
    inner: Pin<Box<dyn Future<Output = u64> + Send>>,
    polls: Arc<Mutex<Polls>>,
    accounts: Accounts,
}

impl Future for Timed {
    type Output = u64;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<u64> {
        // What is asked of the system is not a part of the time.
        let before = self.accounts.now();
        let begin = (Instant::now(), ran());
        let polled = self.inner.as_mut().poll(context);
        let took = (begin.0.elapsed(), ran().saturating_sub(begin.1));
        let stalled = (took.0 > STALL).then(|| self.accounts.now().since(before));
        let polls = &mut *self.polls.lock();
        polls.count += 1;
        polls.longest = polls.longest.max(took.0);
        polls.longest_ran = polls.longest_ran.max(took.1);
        polls.stalls.extend(stalled.map(|stalled| {
            let ran = took.1;
            (took.0, Account { ran, ..stalled })
        }));
        polled
    }
}

/// In microseconds.
fn at(sorted: &[Duration], percent: usize) -> f64 {
    sorted[sorted.len() * percent / 100].as_secs_f64() * 1e6
}

impl Part {
    fn print(&self, name: &str) {
        println!(
            "{name:<30} {:>14.2}  {:>9.2}  {:>13.2}  {:>8.2}   {:>6}   {:>6}",
            at(&self.looked_up, 50),
            at(&self.looked_up, 99),
            at(&self.sent, 50),
            at(&self.sent, 99),
            self.count,
            self.waited,
        );
    }

    /// A stall of the disk's is one in which the thread ran so long, or waited for something of its own accord.
    fn print_stalls(&self) {
        let Polls {
            count,
            longest,
            longest_ran,
            stalls,
        } = &self.polls;
        println!(
            "{count} polls of disk hits: the longest {:.2} ms, of which the thread ran at most {:.2} ms in any; {} above 1 ms",
            longest.as_secs_f64() * 1e3,
            longest_ran.as_secs_f64() * 1e3,
            stalls.len(),
        );
        for (took, account) in stalls {
            println!(
                "    {:.2} ms: ran {:.3}, waited for a processor {:.3}, blocked {} times, displaced {} times",
                took.as_secs_f64() * 1e3,
                account.ran.as_secs_f64() * 1e3,
                account.waited.as_secs_f64() * 1e3,
                account.blocked,
                account.displaced,
            );
        }
    }
}
