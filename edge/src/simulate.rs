//! `larder simulate`: the requests of an access log through the policy and the storage that serve traffic, at several
//! sizes and under several policies and configurations.
//!
//! A log tells no header fields. What Larder's own log tells of freshness is used; else a lifetime is assumed, and the
//! rules of the configuration are applied to it. A log tells bytes that were sent: what answered a condition or a range
//! counts with these, and is stored with the size that its URL had before.

mod lines;
mod log;
mod replay;

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
pub use storage::Eviction;

use crate::sites::Sites;
pub use crate::wiring::Simulated as Configured;
use log::{Log, Reading};
pub use replay::Score;
use replay::{DiskSetup, Run, Setup};

/// Runs of one command.
const RUNS_MAX: usize = 64;
/// The file of a disk is not longer, unless told otherwise.
const SCRATCH_MAX: u64 = 512 << 20;
/// Smaller volumes are no volumes.
const SCRATCH_MIN: u64 = 8 << 20;

/// What to simulate.
#[derive(Debug)]
pub struct Simulation {
    /// The log; `-` is standard input.
    pub file: PathBuf,
    /// Configurations, each with the name that it is told under. Their sizes hold where none are given here.
    pub configurations: Vec<(String, Configured)>,
    /// Sizes of memory in bytes.
    pub memory: Vec<u64>,
    /// Sizes of the disk in bytes; 0 is none.
    pub disk: Vec<u64>,
    /// Eviction policies of memory.
    pub policies: Vec<Eviction>,
    /// How long a response is fresh of which nothing else says it.
    pub lifetime: Duration,
    /// Whose requests those are that do not tell.
    pub host: String,
    /// The folder for the file that stands for a disk.
    pub scratch: PathBuf,
    /// What sizes on a disk are divided by; chosen so that its file is small if none is given.
    pub scale: Option<u64>,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Simulated {
    /// Lines that are requests.
    pub requests: usize,
    /// Lines that could not be read, or are for no site of the first configuration.
    pub skipped: u64,
    /// One for each configuration, policy and size.
    pub runs: Vec<Told>,
}

/// One run.
#[derive(Debug, Serialize)]
pub struct Told {
    /// Its configuration.
    pub configuration: String,
    /// `gdsf` or `lru`.
    pub policy: &'static str,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes of disk.
    pub disk: u64,
    /// The request hit ratio; none if no request counts.
    pub request_hit_ratio: Option<f64>,
    /// The byte hit ratio.
    pub byte_hit_ratio: Option<f64>,
    /// One less the share of all content bytes that come from the origin.
    pub origin_offload: Option<f64>,
    /// Bytes written to the disk for each byte served.
    pub disk_writes: Option<f64>,
    /// What was counted.
    pub score: Score,
}

impl Simulation {
    /// Runs all of it. A bar on standard error shows how far it is, where that is a terminal.
    ///
    /// # Errors
    /// A sentence that says what cannot be read, written or made.
    pub fn run(&self) -> Result<Simulated, String> {
        let runs = self.runs();
        if runs.len() > RUNS_MAX {
            return Err(format!("{} runs are more than {RUNS_MAX}", runs.len()));
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|error| error.to_string())?;
        let mut told = Vec::new();
        let (mut requests, mut skipped) = (0, 0);
        let mut bar = Bar::new();
        for (number, (name, config)) in self.configurations.iter().enumerate() {
            if number > 0 && self.file == Path::new("-") {
                return Err("standard input is read once: name one configuration".to_owned());
            }
            let log = self.read(&config.sites, &mut bar)?;
            if number == 0 {
                (requests, skipped) = (log.requests.len(), log.skipped);
            }
            for setup in runs.iter().map(|run| self.setup(run, config)) {
                let score = runtime.block_on(replay(&setup, &log, &mut bar))?;
                told.push(Told::new(name, &setup, score));
            }
        }
        bar.end();
        Ok(Simulated {
            requests,
            skipped,
            runs: told,
        })
    }

    /// Sizes and policies; none of a kind means what the configuration says.
    fn runs(&self) -> Vec<Sizes> {
        let or_none = |given: &[u64]| match given {
            [] => vec![None],
            given => given.iter().copied().map(Some).collect(),
        };
        let policies: Vec<Option<Eviction>> = match &*self.policies {
            [] => vec![None],
            given => given.iter().copied().map(Some).collect(),
        };
        let mut runs = Vec::new();
        for policy in policies {
            for memory in or_none(&self.memory) {
                for disk in or_none(&self.disk) {
                    runs.push(Sizes {
                        policy,
                        memory,
                        disk,
                    });
                }
            }
        }
        runs
    }

    fn setup(&self, sizes: &Sizes, configured: &Configured) -> Setup {
        let bytes = sizes.disk.unwrap_or(configured.disk);
        let scale = bytes.div_ceil(SCRATCH_MAX).max(1);
        let scale = self.scale.unwrap_or(scale).max(1);
        Setup {
            memory: sizes.memory.unwrap_or(configured.memory),
            eviction: sizes.policy.unwrap_or(configured.eviction),
            disk: (bytes / scale >= SCRATCH_MIN).then(|| DiskSetup {
                bytes,
                file: self
                    .scratch
                    .join(format!("larder-simulate-{}.volume", std::process::id())),
                scale,
            }),
            lifetime: self.lifetime,
        }
    }

    fn read(&self, sites: &Sites, bar: &mut Bar) -> Result<Log, String> {
        let reading = Reading {
            sites,
            host: &self.host,
        };
        let named = |error| format!("{}: {error}", self.file.display());
        if self.file == Path::new("-") {
            return reading.read(std::io::stdin().lock(), |_| {}).map_err(named);
        }
        let file = std::fs::File::open(&self.file).map_err(|error| named(error.to_string()))?;
        let length = file.metadata().map_or(0, |it| it.len());
        let from: Box<dyn BufRead> = Box::new(BufReader::new(file));
        let log = reading.read(from, |done| bar.show("reading", done, length));
        let log = log.map_err(named)?;
        if log.requests.is_empty() {
            return Err(named(
                "no line is a request in a format that is known".to_owned(),
            ));
        }
        Ok(log)
    }
}

/// What one run has of its own.
struct Sizes {
    policy: Option<Eviction>,
    memory: Option<u64>,
    disk: Option<u64>,
}

async fn replay(setup: &Setup, log: &Log, bar: &mut Bar) -> Result<Score, String> {
    let mut run = Run::new(setup, log.longest)?;
    let all = log.requests.len() as u64;
    for (number, asked) in log.requests.iter().enumerate() {
        run.request(asked).await;
        bar.show("replaying", number as u64 + 1, all);
    }
    Ok(run.end().await)
}

impl Told {
    fn new(configuration: &str, setup: &Setup, score: Score) -> Self {
        let part = |some: u64, all: u64| (all > 0).then(|| some as f64 / all as f64);
        let served = score.bytes + score.passed_bytes;
        let disk = setup.disk.as_ref();
        Self {
            configuration: configuration.to_owned(),
            policy: match setup.eviction {
                Eviction::SampledGdsf => "gdsf",
                Eviction::Lru => "lru",
            },
            memory: setup.memory,
            disk: disk.map_or(0, |disk| disk.bytes),
            request_hit_ratio: part(score.hits, score.requests),
            byte_hit_ratio: part(score.hit_bytes, score.bytes),
            origin_offload: part(score.hit_bytes, served),
            disk_writes: part(score.written, served).filter(|_| disk.is_some()),
            score,
        }
    }
}

impl Simulated {
    /// A table for people.
    #[must_use]
    pub fn lines(&self) -> String {
        let mut lines = format!(
            "{:<20}{:>6}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}\n",
            "configuration", "policy", "memory", "disk", "requests", "bytes", "offload", "written"
        );
        let share = |share: Option<f64>| {
            share.map_or_else(|| "-".to_owned(), |it| format!("{:.2} %", it * 100.0))
        };
        for run in &self.runs {
            let _infallible = writeln!(
                lines,
                "{:<20}{:>6}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}",
                run.configuration,
                run.policy,
                size(run.memory),
                size(run.disk),
                share(run.request_hit_ratio),
                share(run.byte_hit_ratio),
                share(run.origin_offload),
                share(run.disk_writes),
            );
        }
        let _infallible = writeln!(
            lines,
            "of {} requests; {} lines were skipped",
            self.requests, self.skipped
        );
        lines
    }
}

/// A number of bytes in the largest binary unit below it.
fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut size = bytes as f64;
    while size >= 1024.0 && unit + 1 < units.len() {
        size /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(size.fract() > 0.0);
    format!("{size:.digits$} {}", units[unit])
}

/// How far it is, on one line of a terminal.
struct Bar {
    percent: u64,
    what: &'static str,
    is_shown: bool,
}

impl Bar {
    const WIDTH: usize = 40;

    fn new() -> Self {
        Self {
            percent: u64::MAX,
            what: "",
            is_shown: std::io::stderr().is_terminal(),
        }
    }

    fn show(&mut self, what: &'static str, done: u64, all: u64) {
        let percent = done.saturating_mul(100) / all.max(1);
        if !self.is_shown || (percent, what) == (self.percent, self.what) {
            return;
        }
        (self.percent, self.what) = (percent, what);
        let filled = usize::try_from(percent).unwrap_or(100).min(100) * Self::WIDTH / 100;
        let bar = "#".repeat(filled);
        let width = Self::WIDTH;
        // A terminal that is gone shows nothing.
        let _gone = write!(
            std::io::stderr(),
            "\r{what:<10}[{bar:<width$}] {percent:>3} %"
        );
    }

    fn end(&self) {
        if self.is_shown {
            let _gone = write!(std::io::stderr(), "\r{:<60}\r", "");
        }
    }
}
