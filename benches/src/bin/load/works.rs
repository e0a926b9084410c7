//! What is measured at full speed.

use std::io;
use std::path::Path;

use crate::Bench;
use crate::driver::{Driver, Paths, Protocol};
use crate::server::{CACHES, Kind, Room, Server, Setting};
use crate::table::Row;

/// One part of the table: the same requests to all.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    /// A word to choose it by.
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) paths: Paths<'static>,
    pub(crate) length: usize,
    pub(crate) protocol: Protocol,
    pub(crate) logs: bool,
    pub(crate) room: Room,
    pub(crate) peers: &'static [Kind],
}

const ECHO: Kind = Kind::Echo { h2: false };
const ECHO_H2: Kind = Kind::Echo { h2: true };
const ALL: &[Kind] = &[
    ECHO,
    Kind::Haproxy,
    Kind::Nginx,
    Kind::Varnish,
    Kind::TrafficServer,
];
const ALL_H2: &[Kind] = &[
    ECHO_H2,
    Kind::Haproxy,
    Kind::Nginx,
    Kind::Varnish,
    Kind::TrafficServer,
];

impl Work {
    const fn hit(
        name: &'static str,
        about: &'static str,
        (path, length): (&'static str, usize),
        protocol: Protocol,
        peers: &'static [Kind],
    ) -> Self {
        Self {
            name,
            about,
            paths: Paths::One(path),
            length,
            protocol,
            logs: false,
            room: Room::Plenty,
            peers,
        }
    }

    const fn many(self, path: &'static str) -> Self {
        let paths = Paths::Many(path);
        Self { paths, ..self }
    }

    /// Nothing is asked for twice, and everything is stored.
    const fn unseen(self, path: &'static str) -> Self {
        let (paths, room) = (Paths::Unseen(path), Room::Turnover);
        Self {
            paths,
            room,
            ..self
        }
    }

    const fn logged(self) -> Self {
        let logs = true;
        Self { logs, ..self }
    }

    const fn on_disk(self) -> Self {
        let room = Room::Disk;
        Self { room, ..self }
    }
}

const KIB: (&str, usize) = ("/stored/1024/a", 1 << 10);
const KIB_64: (&str, usize) = ("/stored/65536/a", 64 << 10);
const KIB_100: (&str, usize) = ("/stored/102400/a", 100 << 10);
const MIB: (&str, usize) = ("/stored/1048576/a", 1 << 20);
const MIB_10: (&str, usize) = ("/stored/10485760/a", 10 << 20);

/// All of them, in the order of the table.
#[rustfmt::skip]
pub(crate) const WORKS: &[Work] = &[
    Work::hit("h1", "1 KiB hit, HTTP/1.1", KIB, Protocol::H1, ALL),
    Work::hit("h1-many", "1 KiB hits, HTTP/1.1, a thousand URLs in turns", KIB, Protocol::H1, ALL).many("/stored/1024/"),
    Work::hit("h1-log", "1 KiB hit, HTTP/1.1, access logs on", KIB, Protocol::H1, ALL).logged(),
    Work::hit("h2", "1 KiB hit, HTTP/2 in clear text, 8 × 32 streams", KIB, Protocol::H2, ALL_H2),
    Work::hit("h2-many", "1 KiB hits, HTTP/2 in clear text, a thousand URLs in turns", KIB, Protocol::H2, ALL_H2).many("/stored/1024/"),
    Work::hit("h1-tls", "1 KiB hit, HTTP/1.1 over TLS 1.3", KIB, Protocol::H1Tls, CACHES),
    Work::hit("h2-tls", "1 KiB hit, HTTP/2 over TLS 1.3, 8 × 32 streams", KIB, Protocol::H2Tls, CACHES),
    Work::hit("100k", "100 KiB hit, HTTP/1.1", KIB_100, Protocol::H1, ALL),
    Work::hit("10m", "10 MiB hit, HTTP/1.1", MIB_10, Protocol::H1, ALL),
    Work::hit("disk", "64 KiB hit on a disk, in the page cache", KIB_64, Protocol::H1, CACHES).on_disk(),
    Work::hit("disk-1m", "1 MiB hit on a disk, in the page cache", MIB, Protocol::H1, CACHES).on_disk(),
    Work::hit("miss", "1 KiB miss to a local origin, stored", KIB, Protocol::H1, CACHES).unseen("/stored/1024/"),
    Work::hit("miss-1m", "1 MiB miss to a local origin, stored", MIB, Protocol::H1, CACHES).unseen("/stored/1048576/"),
    Work::hit("pass", "1 KiB from a local origin that may not be stored, a thousand URLs in turns", KIB, Protocol::H1, CACHES).many("/passed/1024/"),
    Work::hit("pass-1m", "1 MiB from a local origin that may not be stored, a thousand URLs in turns", MIB, Protocol::H1, CACHES).many("/passed/1048576/"),
];

/// One server that takes part, or why it does not.
struct Part {
    kind: Kind,
    server: Option<Server>,
    row: Row,
}

/// Everybody's turns at one work.
pub(crate) fn measure(bench: &Bench<'_>, work: &Work) -> Vec<Row> {
    let setting = Setting {
        logs: work.logs,
        length: work.length,
        room: work.room,
        ..bench.setting
    };
    let driver = Driver {
        cores: crate::DRIVERS,
        seconds: bench.options.seconds,
        connections: 32,
    };
    let kinds = bench.options.kinds(work.peers);
    let mut parts: Vec<Part> = kinds
        .enumerate()
        .map(|(number, kind)| {
            let folder = bench.folder.join(format!("{}-{number}", work.name));
            start(kind, work, &folder, &setting)
        })
        .collect();
    let warm = Driver {
        seconds: 1,
        ..driver
    };
    for turn in 0..=bench.options.turns {
        for part in &mut parts {
            // The first turn fills the caches.
            let driver = if turn == 0 { warm } else { driver };
            if let Err(error) = take_turn(bench, work, part, &driver, turn) {
                part.row.failed(&part.kind, &error);
                part.server = None;
            }
        }
    }
    parts.into_iter().map(|part| part.row).collect()
}

fn start(kind: &Kind, work: &Work, folder: &Path, setting: &Setting<'_>) -> Part {
    let mut row = Row::new(kind.label());
    let server = match kind.lacks(work.protocol, work.room) {
        Some(why) => Err(io::Error::other(why)),
        None => Server::start(kind.clone(), folder, setting),
    };
    let server = server.map_err(|error| row.failed(kind, &error)).ok();
    let kind = kind.clone();
    Part { kind, server, row }
}

fn take_turn(
    bench: &Bench<'_>,
    work: &Work,
    part: &mut Part,
    driver: &Driver,
    turn: usize,
) -> io::Result<()> {
    let Some(server) = &part.server else {
        return Ok(());
    };
    let before = bench.origin.asked();
    let told = driver.run(server, work.protocol, work.paths)?;
    let asked = bench.origin.asked().requests - before.requests;
    if turn > 0 {
        part.row.push(told, asked, server.memory());
    }
    Ok(())
}
