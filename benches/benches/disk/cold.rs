//! Hits that have to wait for the disk, beside hits in memory on the same thread: whether the second notice.
//!
//! A hit in memory is measured twice: looked up, and as a client gets it, with its head and body copied, as those from the
//! disk are. What of the difference is the bytes themselves, in the caches of the processor, shows beside as many copies
//! from memory, without any disk; and what is any read's doing, whoever reads, beside as many reads of the same file by
//! threads that have nothing to do with the disk tier. All that at full load, where the thread never rests, and at a part of it.

use std::fs::File;
use std::future::Future;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use storage::disk::{Disk, Engine};
use storage::{Memory, Variant};

use crate::thread::{Account, Accounts, ran};
use crate::{HEAD, Volume, get_each, key, put, runtime, scatter, until_written};

const LEN: usize = 65_536;
const OBJECTS: u64 = 8_000;

/// What a hit in memory has.
const SHORT: usize = 16 * 1024;

/// Requests to the disk at once.
const READERS: u64 = 16;

/// Threads of a stranger, as many as the disk tier has for its reads.
const STRANGERS: u64 = 4;

/// How long each part takes.
const TIME: Duration = Duration::from_secs(2);

/// How often the page cache forgets the volume.
const FORGET_EVERY: Duration = Duration::from_millis(20);

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

/// How much is asked for.
#[derive(Clone, Copy)]
enum Load {
    /// As much as the thread can do.
    Full,
    /// So many hits in memory in each millisecond, and hits on the disk in a second.
    Part { hits: u64, disk_hits: u64 },
}

/// Hits in memory take about an eighth of the thread, and those on the disk less than a fifth.
const PART: Load = Load::Part {
    hits: 60,
    disk_hits: 4_000,
};

/// What goes on beside the hits in memory.
#[derive(Clone, Copy)]
enum Beside {
    Nothing,
    DiskHits,
    /// The same, with the accounts of the thread looked at around each poll: that itself is in the way of the others.
    WatchedDiskHits,
    /// So many copies in the time.
    Copies(u64),
    /// So many reads of the volume by strangers.
    Reads(u64),
}

/// One figure of a part.
type Figure = fn(&Part) -> f64;

pub(crate) fn run(dir: &Path) {
    let volume = Volume::new(dir, 2 << 30, Engine::Log);
    let body = Bytes::from(vec![7; LEN]);
    (0..OBJECTS).for_each(|number| put(&volume.disk, number, &body));
    until_written(&volume.disk);
    let file = File::open(&volume.path).expect("the volume");
    file.sync_all().expect("no dirty pages");

    at_load("all it can", &volume, Load::Full);
    at_load("a part of it", &volume, PART);
}

fn at_load(name: &str, volume: &Volume, load: Load) {
    println!(
        "\none thread does {name:<14}   looked up p50, p99 (µs)   sent p50, p99 (µs)   busy   beside   waited"
    );
    let runtime = runtime();
    let bytes = vec![7; 256 << 20];
    let turn = |name: &str, beside| {
        let waited = || volume.disk.stats().volumes[0].reads_waited;
        let before = waited();
        let forgetter = Forgetter::start(&volume.path);
        let mut part = runtime.block_on(part(volume, load, beside, &bytes));
        drop(forgetter);
        part.waited = waited() - before;
        part.print(name);
        part
    };
    let mut all: [Vec<Part>; 4] = Default::default();
    for _ in 0..ROUNDS {
        all[0].push(turn("alone", Beside::Nothing));
        let disk_hits = turn("beside cold disk hits", Beside::DiskHits);
        let count = disk_hits.count;
        all[1].push(disk_hits);
        all[2].push(turn("beside as many copies", Beside::Copies(count)));
        all[3].push(turn("beside a stranger's reads", Beside::Reads(count)));
    }
    compare(&all);
    turn("watched", Beside::WatchedDiskHits).print_stalls();
}

/// As with far more on the disk than in memory: the page cache has nothing. It goes on until this is dropped.
struct Forgetter {
    done: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Forgetter {
    fn start(volume: &Path) -> Self {
        let path: PathBuf = volume.to_owned();
        let done = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&done);
        let thread = std::thread::spawn(move || {
            let file = File::open(path).expect("the volume");
            while !until.load(Ordering::Relaxed) {
                rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("advice");
                std::thread::sleep(FORGET_EVERY);
            }
        });
        let thread = Some(thread);
        Self { done, thread }
    }
}

impl Drop for Forgetter {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(std::thread::JoinHandle::join);
        assert!(ended.is_some_and(|ended| ended.is_ok()));
    }
}

/// The medians of the rounds, as ratios.
fn compare(all: &[Vec<Part>; 4]) {
    let middle = |parts: &[Part], figure: Figure| {
        let mut figures: Vec<f64> = parts.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    };
    let figures: [(&str, Figure); 4] = [
        ("looked up, p50", |part| at(&part.looked_up, 50)),
        ("looked up, p99", |part| at(&part.looked_up, 99)),
        ("sent, p50", |part| at(&part.sent, 50)),
        ("sent, p99", |part| at(&part.sent, 99)),
    ];
    for (name, figure) in figures {
        let [alone, disk, copies, reads] = all.each_ref().map(|parts| middle(parts, figure));
        println!(
            "{name:<16} alone {alone:.2} µs, beside disk hits {:.2} times that, copies {:.2}, a stranger's reads {:.2}",
            disk / alone,
            copies / alone,
            reads / alone
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
    /// The share of the time in which the thread ran.
    busy: f64,
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

async fn part(volume: &Volume, load: Load, beside: Beside, bytes: &[u8]) -> Part {
    let polls = Arc::new(Mutex::new(Polls::default()));
    let begun = ran();
    let until = Instant::now() + TIME;
    let readers = match beside {
        Beside::DiskHits | Beside::WatchedDiskHits => READERS,
        Beside::Nothing | Beside::Copies(_) | Beside::Reads(_) => 0,
    };
    let mut tasks = Vec::new();
    for reader in 0..readers {
        let watched = matches!(beside, Beside::WatchedDiskHits);
        tasks.push(tokio::spawn(Timed {
            inner: Box::pin(read(Arc::clone(&volume.disk), reader, load, until)),
            polls: Arc::clone(&polls),
            accounts: watched.then(Accounts::open),
        }));
    }
    let copies = match beside {
        Beside::Copies(count) => Some(Copies::new(count, bytes)),
        Beside::Nothing | Beside::DiskHits | Beside::WatchedDiskHits | Beside::Reads(_) => None,
    };
    let strangers = match beside {
        Beside::Reads(count) => strangers(&volume.path, count, until),
        Beside::Nothing | Beside::DiskHits | Beside::WatchedDiskHits | Beside::Copies(_) => vec![],
    };
    let mut part = memory_hits(load, copies, until).await;
    let read = strangers.into_iter().map(std::thread::JoinHandle::join);
    part.count += read.map(|read| read.expect("a stranger")).sum::<u64>();
    for task in tasks {
        part.count += task.await.expect("a reader");
    }
    part.polls = std::mem::take(&mut *polls.lock());
    part.busy = (ran() - begun).as_secs_f64() / TIME.as_secs_f64();
    part
}

/// One client after the other asks for what is on the disk.
async fn read(disk: Arc<Disk>, reader: u64, load: Load, until: Instant) -> u64 {
    let mut hits = 0;
    let mut client = vec![0; LEN];
    let mut pace = match load {
        Load::Full => None,
        Load::Part { disk_hits, .. } => {
            let each = Duration::from_secs(READERS) / u32::try_from(disk_hits).expect("a rate");
            Some(tokio::time::interval(each))
        }
    };
    while Instant::now() < until {
        let number = scatter(reader << 32 | hits) % OBJECTS;
        let got = get_each(&disk, number, |piece| {
            client[..piece.len()].copy_from_slice(piece);
            std::hint::black_box(&client);
        });
        assert_eq!(got.await, Some(LEN + HEAD));
        hits += 1;
        match &mut pace {
            Some(pace) => drop(pace.tick().await),
            None => tokio::task::yield_now().await,
        }
    }
    hits
}

/// Threads that read as many pieces of a file, look at each byte and copy it, evenly over the time.
fn strangers(file: &Path, count: u64, until: Instant) -> Vec<std::thread::JoinHandle<u64>> {
    let pause =
        TIME * u32::try_from(STRANGERS).expect("few") / u32::try_from(count.max(1)).expect("fewer");
    let stranger = |number: u64| {
        let file = File::open(file).expect("the volume");
        std::thread::spawn(move || stranger(number, &file, pause, until))
    };
    (0..STRANGERS).map(stranger).collect()
}

fn stranger(number: u64, file: &File, pause: Duration, until: Instant) -> u64 {
    let (mut from, mut to) = (vec![0; LEN], vec![0; LEN]);
    let mut next = Instant::now();
    let mut done = 0;
    while next < until {
        let place = scatter(number << 32 | done) % OBJECTS * LEN as u64;
        file.read_exact_at(&mut from, place)
            .expect("a piece of the volume");
        let sum = from.iter().map(|byte| u64::from(*byte)).sum::<u64>();
        std::hint::black_box(sum);
        to.copy_from_slice(&from);
        std::hint::black_box(&to);
        done += 1;
        next += pause;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    done
}

/// Copies of as many bytes as a disk hit has, evenly over the time, from memory that is in no cache of the core.
struct Copies<'a> {
    from: &'a [u8],
    to: Vec<u8>,
    pause: Duration,
    next: Instant,
    done: u64,
}

impl<'a> Copies<'a> {
    fn new(count: u64, from: &'a [u8]) -> Self {
        let nanoseconds = TIME.as_nanos() / u128::from(count.max(1));
        Self {
            from,
            to: vec![0; LEN],
            pause: Duration::from_nanos(u64::try_from(nanoseconds).expect("some seconds")),
            next: Instant::now(),
            done: 0,
        }
    }

    /// One of them, if it is time.
    fn turn(&mut self, now: Instant) {
        if now < self.next {
            return;
        }
        let at = usize::try_from(scatter(self.done)).expect("64 bits") % (self.from.len() - LEN);
        self.to.copy_from_slice(&self.from[at..at + LEN]);
        std::hint::black_box(&self.to);
        self.next += self.pause;
        self.done += 1;
    }
}

/// What a hit in memory takes; between hits, others have their turn.
async fn memory_hits(load: Load, mut copies: Option<Copies<'_>>, until: Instant) -> Part {
    let memory = Memory::new(storage::Settings::new(64 << 20));
    let body = Bytes::from(vec![7; SHORT]);
    for number in 0..1024 {
        let stored = memory.insert_ready(key(number), Variant([0; 16]), NoHead, body.clone());
        assert!(stored.is_ok());
    }
    let mut client = vec![0; HEAD + SHORT];
    let mut part = Part::default();
    let mut pause = tokio::time::interval(Duration::from_millis(1));
    for number in 0.. {
        let begin = Instant::now();
        if begin > until {
            break;
        }
        if let Some(copies) = &mut copies {
            copies.turn(begin);
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
        match load {
            Load::Part { hits, .. } if number.is_multiple_of(hits) => drop(pause.tick().await),
            Load::Part { .. } | Load::Full => tokio::task::yield_now().await,
        }
    }
    part.count = copies.map_or(0, |copies| copies.done);
    part.looked_up.sort();
    part.sent.sort();
    part
}

/// A future, and how long it held the thread each time.
struct Timed {
    inner: Pin<Box<dyn Future<Output = u64> + Send>>,
    polls: Arc<Mutex<Polls>>,
    accounts: Option<Accounts>,
}

impl Future for Timed {
    type Output = u64;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<u64> {
        // What is asked of the system is not a part of the time.
        let before = self.accounts.as_ref().map(Accounts::now);
        let begin = (Instant::now(), ran());
        let polled = self.inner.as_mut().poll(context);
        let took = (begin.0.elapsed(), ran().saturating_sub(begin.1));
        let accounts = self.accounts.as_ref().zip(before);
        let stalled = accounts.filter(|_| took.0 > STALL);
        let stalled = stalled.map(|(accounts, before)| accounts.now().since(before));
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
            "{name:<30} {:>14.2}  {:>9.2}  {:>13.2}  {:>8.2}   {:>4.2}   {:>6}   {:>6}",
            at(&self.looked_up, 50),
            at(&self.looked_up, 99),
            at(&self.sent, 50),
            at(&self.sent, 99),
            self.busy,
            self.count,
            self.waited,
        );
    }

    /// A stall of the disk's is one in which the thread ran so long, or waited for something of its own accord. In the
    /// others it could have run, and something else did.
    fn print_stalls(&self) {
        let Polls {
            count,
            longest,
            longest_ran,
            stalls,
        } = &self.polls;
        let is_own = |account: &Account| account.ran > STALL || account.blocked > 0;
        let own: Vec<_> = stalls
            .iter()
            .filter(|(_, account)| is_own(account))
            .collect();
        println!(
            "{count} polls of disk hits: the longest {:.2} ms; the thread ran at most {:.2} ms in one; {} above 1 ms, {} of \
             them its own",
            longest.as_secs_f64() * 1e3,
            longest_ran.as_secs_f64() * 1e3,
            stalls.len(),
            own.len(),
        );
        for (took, account) in own {
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
