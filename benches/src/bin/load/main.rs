//! The load harness: starts builds of Larder and the real peers, drives them in turns, and writes one table.
//!
//! ```text
//! cargo build --release -p larder -p larder-benches
//! target/release/load --larder new=target/release/larder [--larder old=…] [--only h1,h2] [--turns 5] [--seconds 4]
//! ```
//!
//! The figure is the server's processor time for each request, user and system, from the scheduler's own accounts: other
//! work on the machine makes it less exact, not wrong. Turns are interleaved, and ratios are of one turn.

#![expect(
    clippy::disallowed_methods,
    reason = "it waits for servers, and dates what its origin sends"
)]

mod account;
mod driver;
mod origin;
mod rates;
mod server;
mod table;
mod works;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use driver::Driver;
use server::{Kind, Server, Setting};
use table::{Row, Table};
use works::{WORKS, Work};

/// What was asked for.
struct Options {
    larders: Vec<Kind>,
    only: Vec<String>,
    turns: usize,
    seconds: u32,
    rate: u32,
    configurations: PathBuf,
    out: Option<PathBuf>,
}

impl Options {
    fn read() -> io::Result<Self> {
        let mut options = Self {
            larders: Vec::new(),
            only: Vec::new(),
            turns: 5,
            seconds: 4,
            rate: 4_000,
            configurations: "benches/peers".into(),
            out: None,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| wrong(&word))?;
            match &*word {
                "--larder" => options.larders.push(larder(&value)?),
                "--only" => options.only = value.split(',').map(str::to_owned).collect(),
                "--turns" => options.turns = value.parse().map_err(|_number| wrong(&word))?,
                "--seconds" => options.seconds = value.parse().map_err(|_number| wrong(&word))?,
                "--rate" => options.rate = value.parse().map_err(|_number| wrong(&word))?,
                "--peers" => options.configurations = value.into(),
                "--out" => options.out = Some(value.into()),
                _ => return Err(wrong(&word)),
            }
        }
        if options.larders.is_empty() {
            let binary = std::env::current_exe()?.with_file_name("larder");
            let label = "Larder".to_owned();
            options.larders.push(Kind::Larder { label, binary });
        }
        Ok(options)
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }
}

fn larder(value: &str) -> io::Result<Kind> {
    let (label, binary) = value.split_once('=').ok_or_else(|| wrong(value))?;
    let binary = fs::canonicalize(binary)?;
    let label = label.to_owned();
    Ok(Kind::Larder { label, binary })
}

fn wrong(word: &str) -> io::Error {
    io::Error::other(format!("{word}: not understood"))
}

fn main() -> io::Result<()> {
    let options = Options::read()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let origin = runtime.block_on(origin::start())?;
    let folder = tempfile::tempdir()?;
    let (cert, key) = (
        folder.path().join("cert.pem"),
        folder.path().join("key.pem"),
    );
    self_signed(&cert, &key)?;
    let setting = Setting {
        origin,
        logs: false,
        length: 0,
        disk: false,
        cert: &cert,
        key: &key,
        configurations: &options.configurations,
        core: 0,
    };
    let mut table = Table::new();
    for work in WORKS.iter().filter(|work| options.wants(work.name)) {
        let row = measure(work, &options, &setting, folder.path());
        table.push(work, row);
        table.show_last()?;
    }
    if options.wants("rate") {
        let latencies = rates::measure(&options, &setting, folder.path());
        table.latencies(options.rate, latencies);
    }
    table.finish(options.out.as_deref())
}

/// A certificate that nobody has to trust.
fn self_signed(cert: &Path, key: &Path) -> io::Result<()> {
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args(["-nodes", "-days", "30", "-subj", "/CN=localhost"])
        .args([
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-out",
        ])
        .arg(cert)
        .arg("-keyout")
        .arg(key)
        .output()?;
    match made.status.success() {
        true => Ok(()),
        false => Err(io::Error::other(String::from_utf8_lossy(&made.stderr))),
    }
}

/// Everybody's turns at one work.
fn measure(work: &Work, options: &Options, setting: &Setting<'_>, folder: &Path) -> Vec<Row> {
    let setting = Setting {
        logs: work.logs,
        length: work.length,
        disk: work.disk,
        ..*setting
    };
    let driver = Driver {
        core: 1,
        seconds: options.seconds,
        connections: 32,
    };
    let kinds = options.larders.iter().chain(work.peers);
    let mut rows: Vec<(Option<Server>, Row)> = kinds
        .enumerate()
        .map(|(number, kind)| {
            let folder = folder.join(format!("{}-{number}", work.name));
            let mut row = Row::new(kind.label());
            match Server::start(kind.clone(), &folder, &setting) {
                Ok(server) => (Some(server), row),
                Err(error) => {
                    row.failed(&error);
                    (None, row)
                }
            }
        })
        .collect();
    let warm = Driver {
        seconds: 1,
        ..driver
    };
    for turn in 0..=options.turns {
        for (server, row) in &mut rows {
            let Some(running) = server else { continue };
            // The first turn fills the caches.
            let driver = if turn == 0 { warm } else { driver };
            match driver.run(running, work.protocol, work.path) {
                Ok(_) if turn == 0 => {}
                Ok(turn) => row.push(turn, running.memory()),
                Err(error) => {
                    row.failed(&error);
                    *server = None;
                }
            }
        }
    }
    rows.into_iter().map(|(_, row)| row).collect()
}
