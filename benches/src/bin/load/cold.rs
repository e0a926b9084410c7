//! Hits in memory beside hits that wait for a disk: whether the clients of the first notice.
//!
//! What takes the processor's time takes it from somebody. So the hits on the disk are compared with as many of the same
//! length from memory, and both with nothing: what is dearer than the bytes themselves is the disk's doing.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::fs::{Advice, fadvise};

use crate::Bench;
use crate::client::{Client, Pace, Ran, Until};
use crate::server::{Kind, Room, Server, Setting};
use crate::table::{Table, median};

const CONNECTIONS: usize = 32;
/// Those that ask for what is long.
const LONG_CONNECTIONS: usize = 16;
/// Objects in memory, and long ones.
const SHORT: u64 = 1_000;
const LONG: u64 = 4_000;
/// How often the page cache forgets the volume.
const FORGET_EVERY: Duration = Duration::from_millis(20);
/// What is in the page cache is on the disk by then.
const WRITTEN: Duration = Duration::from_secs(1);

/// How much is asked for.
struct Load {
    /// Of what the node can do, hits in memory.
    share: f64,
    /// Long ones in a second.
    long: f64,
}

const LOADS: [Load; 2] = [
    Load {
        share: 0.25,
        long: 1_000.0,
    },
    Load {
        share: 0.6,
        long: 2_000.0,
    },
];

/// What is beside the hits in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    Nothing,
    Memory,
    Disk,
}

const ALL: [(Beside, &str); 3] = [
    (Beside::Nothing, "nothing"),
    (Beside::Memory, "hits in memory of 64 KiB"),
    (Beside::Disk, "cold hits on the disk of 64 KiB"),
];

/// The turns of one line.
#[derive(Default)]
struct Line {
    p50: Vec<f64>,
    p99: Vec<f64>,
    p999: Vec<f64>,
    busy: Vec<f64>,
    long_p50: Vec<f64>,
}

/// Every build, alone and beside both.
pub(crate) fn measure(bench: &Bench<'_>, table: &mut Table) -> io::Result<()> {
    let mut lines = Vec::new();
    for (number, kind) in bench.options.kinds(&[]).enumerate() {
        let start = |room, name: &str| {
            let setting = Setting {
                room,
                ..bench.setting
            };
            let folder = bench.folder.join(format!("cold-{number}-{name}"));
            Node::start(kind, &folder, &setting)
        };
        let (memory, disk) = (start(Room::Plenty, "memory")?, start(Room::Disk, "disk")?);
        let capacity = disk.short(Pace::Full, bench.options.seconds)?;
        let capacity = capacity.requests as f64 / capacity.took.as_secs_f64();
        for load in &LOADS {
            lines.extend(compared(bench, (&memory, &disk), load, capacity)?);
        }
    }
    table.section(
        "Hits in memory of 1 KiB beside others of 64 KiB, HTTP/1.1 (`cold`)",
        "Requests are due at constant rates, and latencies count from when they are due; medians of turns. The node has one \
         core with all of its threads, those that read from the disk among them.",
        &[
            "server",
            "hits in memory, 1/s",
            "beside, 1/s",
            "of",
            "p50, µs",
            "p99",
            "ratio of p99",
            "p99.9",
            "busy, %",
            "p50 of the others, µs",
        ],
        lines,
    );
    Ok(())
}

fn compared(
    bench: &Bench<'_>,
    (memory, disk): (&Node, &Node),
    load: &Load,
    capacity: f64,
) -> io::Result<Vec<Vec<String>>> {
    let rate = load.share * capacity;
    let mut all: [Line; 3] = Default::default();
    for _ in 0..bench.options.turns {
        for ((beside, _), line) in ALL.iter().zip(&mut all) {
            let node = if *beside == Beside::Memory {
                memory
            } else {
                disk
            };
            let long = (*beside != Beside::Nothing).then_some(load.long);
            let asked = bench.origin.asked();
            node.turn(rate, long, bench.options.seconds, line)?;
            if bench.origin.asked() != asked {
                return Err(io::Error::other("not all were hits"));
            }
        }
    }
    let alone = all[0].p99.clone();
    let lines = ALL.iter().zip(all).map(|((beside, name), line)| {
        let ratios = line.p99.iter().zip(&alone).map(|(own, alone)| own / alone);
        let ratio = median(ratios.collect());
        let long = if *beside == Beside::Nothing {
            0.0
        } else {
            load.long
        };
        vec![
            disk.server.kind.label(),
            format!("{rate:.0}"),
            format!("{long:.0}"),
            (*name).to_owned(),
            format!("{:.0}", median(line.p50)),
            format!("{:.0}", median(line.p99)),
            format!("{ratio:.2}"),
            format!("{:.0}", median(line.p999)),
            format!("{:.0}", median(line.busy)),
            match line.long_p50.is_empty() {
                true => "–".to_owned(),
                false => format!("{:.0}", median(line.long_p50)),
            },
        ]
    });
    Ok(lines.collect())
}

/// A node that has everything, and its volume if it has one.
struct Node {
    server: Server,
    volume: Option<File>,
}

impl Node {
    fn start(kind: &Kind, folder: &std::path::Path, setting: &Setting<'_>) -> io::Result<Self> {
        let server = Server::start(kind.clone(), folder, setting)?;
        let volume = match setting.room {
            Room::Disk => Some(File::open(folder.join("disk").join("larder.volume"))?),
            Room::Plenty | Room::Turnover | Room::Memory(_) => None,
        };
        let node = Self { server, volume };
        for _ in 0..3 {
            // The disk stores what is asked for again.
            let full = Pace::Full;
            ask(
                &node.server,
                full,
                Until::Count(SHORT),
                Objects::short().each(),
            )?;
            ask(
                &node.server,
                full,
                Until::Count(LONG),
                Objects::long().each(),
            )?;
        }
        if let Some(volume) = &node.volume {
            thread::sleep(WRITTEN);
            volume.sync_all()?;
        }
        Ok(node)
    }

    fn short(&self, pace: Pace, seconds: u32) -> io::Result<Ran> {
        let time = Until::Time(Duration::from_secs(seconds.into()));
        ask(&self.server, pace, time, Objects::short())
    }

    fn turn(&self, rate: f64, long: Option<f64>, seconds: u32, line: &mut Line) -> io::Result<()> {
        let done = AtomicBool::new(false);
        let before = self.server.cpu();
        let (short, beside) = thread::scope(|scope| {
            let beside = long.map(|rate| {
                let time = Until::Time(Duration::from_secs(seconds.into()));
                scope.spawn(move || ask(&self.server, Pace::Rate(rate), time, Objects::long()))
            });
            scope.spawn(|| self.forget(&done));
            let short = self.short(Pace::Rate(rate), seconds);
            done.store(true, Ordering::Relaxed);
            (short, beside.map(|beside| beside.join()))
        });
        let used = (self.server.cpu() - before) as f64 / 1e9;
        let short = short?;
        line.p50.push(short.at(500));
        line.p99.push(short.at(990));
        line.p999.push(short.at(999));
        line.busy.push(100.0 * used / short.took.as_secs_f64());
        if let Some(beside) = beside {
            let beside = beside.map_err(|_panicked| io::Error::other("a driver broke off"))??;
            line.long_p50.push(beside.at(500));
        }
        Ok(())
    }

    /// As with far more on the disk than there is memory: the page cache has nothing.
    fn forget(&self, done: &AtomicBool) {
        while let Some(volume) = &self.volume
            && !done.load(Ordering::Relaxed)
        {
            // It is advice.
            fadvise(volume, 0, None, Advice::DontNeed).unwrap_or_default();
            thread::sleep(FORGET_EVERY);
        }
    }
}

/// Which objects are asked for.
struct Objects {
    length: u64,
    count: u64,
    connections: usize,
    next: u64,
    step: u64,
}

impl Objects {
    /// In an order that comes to each of them.
    fn short() -> Self {
        Self {
            length: 1_024,
            count: SHORT,
            connections: CONNECTIONS,
            next: 0,
            step: 619,
        }
    }

    fn long() -> Self {
        Self {
            length: 65_536,
            count: LONG,
            connections: LONG_CONNECTIONS,
            next: 0,
            step: 1_597,
        }
    }

    /// One after the other.
    fn each(self) -> Self {
        Self { step: 1, ..self }
    }
}

fn ask(server: &Server, pace: Pace, until: Until, mut objects: Objects) -> io::Result<Ran> {
    let mut client = Client::connect(server.address(), objects.connections)?;
    client.run(pace, until, &mut |request| {
        let (length, number) = (objects.length, objects.next % objects.count);
        objects.next += objects.step;
        let text = format!("GET /stored/{length}/{number} HTTP/1.1\r\nHost: bench.example\r\n\r\n");
        request.extend_from_slice(text.as_bytes());
    })
}
