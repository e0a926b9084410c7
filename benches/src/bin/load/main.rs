//! The load harness: starts builds of Larder and the real peers, drives them in turns, and writes one table.
//!
//! ```text
//! cargo build --release -p larder -p larder-benches
//! target/release/load [--larder new=target/release/larder] [--larder old=…] [--only h1,h2] [--turns 5] [--seconds 4]
//! target/release/load --only rate,cores,scale,held
//! target/release/load --replay TRACE.csv [--scale 8] [--memory-mib 128] [--requests 100000]
//! ```
//!
//! Most figures are the server's processor time for each request, user and system, from the scheduler's own accounts: other
//! work on the machine makes them less exact, not wrong. Turns are interleaved, and ratios are of one turn. Servers are on
//! one core, and drivers on the other with the origin; as root, all of them go before what else runs there. That hits are none of the origin's is counted there.
//!
//! - `rate` finds out what each server can do with nine hits to one miss, and asks for 80 % of it at a constant rate.
//! - `cold` asks for hits in memory at a constant rate, beside hits that wait for a disk.
//! - `scale` compares the cost of a hit with few and many objects, purges and sites.
//! - `cores` compares the cost of a hit with one worker and with two.
//! - `held` counts the memory of connections that wait.
//! - `--replay` plays a trace, lines of `time,key,size` under a header, through everybody with the same bytes of memory.

#![expect(
    clippy::disallowed_methods,
    reason = "it waits for servers, and dates what its origin sends"
)]

mod account;
mod admin;
mod answer;
mod client;
mod cold;
mod cores;
mod driver;
mod held;
mod options;
mod origin;
mod peers;
mod rates;
mod replay;
mod scale;
mod server;
mod table;
mod works;

use std::io::{self, Write as _};
use std::path::Path;
use std::process::Command;

use options::Options;
use origin::Origin;
use server::{Room, Setting};
use table::Table;
use works::WORKS;

/// Where servers run, and where drivers and the origin do.
const SERVERS: &str = "0";
const DRIVERS: &str = "1";

/// What all measurements share.
struct Bench<'a> {
    options: &'a Options,
    origin: Origin,
    setting: Setting<'a>,
    /// Of all that is written on the way.
    folder: &'a Path,
}

/// A part of the table that is more than a work.
type Measure = fn(&Bench<'_>, &mut Table) -> io::Result<()>;

fn main() -> io::Result<()> {
    let options = Options::read()?;
    // Threads that are started from now on stay here: the origin's, and our own driver.
    let own = std::process::id().to_string();
    said_well("taskset", &["-c", "-p", DRIVERS, &own])?;
    // What else there is on the machine waits for us, and for the servers, if we may say so.
    drop(said_well("renice", &["-n", "-20", "-p", &own]));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let origin = runtime.block_on(Origin::start())?;
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    self_signed(&cert, &key)?;
    let bench = Bench {
        setting: Setting {
            origin: origin.address,
            logs: false,
            length: 0,
            room: Room::Plenty,
            eviction: "gdsf",
            workers: 1,
            connections: 4096,
            tables: "",
            cert: &cert,
            key: &key,
            configurations: &options.configurations,
            cores: SERVERS,
        },
        options: &options,
        origin,
        folder,
    };
    let mut table = Table::new();
    for work in WORKS.iter().filter(|work| options.wants(work.name)) {
        table.push(work, works::measure(&bench, work));
        table.show_last()?;
    }
    let others: [(&str, Measure); 5] = [
        ("rate", rates::measure),
        ("cold", cold::measure),
        ("cores", cores::measure),
        ("scale", scale::measure),
        ("held", held::measure),
    ];
    for (_, measure) in others.iter().filter(|(name, _)| options.wants(name)) {
        measure(&bench, &mut table)?;
        table.show_last()?;
    }
    if let Some(replay) = &options.replay {
        replay::measure(&bench, replay, &mut table)?;
        table.show_last()?;
    }
    table.finish(options.out.as_deref())
}

/// Tells whoever waits how far it is.
fn told(what: &str) {
    // Nobody may be there to read it.
    drop(writeln!(io::stderr(), "{what}"));
}

/// A certificate that nobody has to trust.
fn self_signed(cert: &Path, key: &Path) -> io::Result<()> {
    let (cert, key) = (cert.display().to_string(), key.display().to_string());
    let mut words = vec!["req", "-x509", "-newkey", "ec", "-nodes", "-days", "30"];
    words.extend(["-pkeyopt", "ec_paramgen_curve:P-256"]);
    words.extend(["-subj", "/CN=localhost"]);
    words.extend(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
    words.extend(["-out", &cert, "-keyout", &key]);
    said_well("openssl", &words)
}

/// Runs a program that has to succeed.
fn said_well(program: &str, words: &[&str]) -> io::Result<()> {
    let output = Command::new(program).args(words).output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(io::Error::other(String::from_utf8_lossy(&output.stderr))),
    }
}
