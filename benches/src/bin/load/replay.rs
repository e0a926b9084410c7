//! A trace through everybody, with the same bytes of memory.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;

use crate::answer::Answer;
use crate::options::Replay;
use crate::origin::Asked;
use crate::server::{CACHES, Kind, Room, Server, Setting};
use crate::table::{Table, lacking};
use crate::{Bench, told};

/// One read.
const READ_SIZE: usize = 256 << 10;
/// So many requests from one look at the memory of a server to the next.
const LOOK: usize = 2_000;
/// Connections that a server may close before it has answered.
const CLOSED_MAX: u32 = 100;

/// One request of a trace.
#[derive(Clone, Copy, Debug)]
struct Request {
    key: u64,
    size: u64,
}

/// What came of it.
#[derive(Debug, Default)]
struct Score {
    requests: u64,
    /// Requests of which the origin saw nothing.
    hits: u64,
    bytes: u64,
    origin: Asked,
    /// The most that was seen, of processes and of files in memory.
    memory: u64,
    files: u64,
}

/// The hit ratios of everybody.
pub(crate) fn measure(bench: &Bench<'_>, replay: &Replay, table: &mut Table) -> io::Result<()> {
    let requests = read(replay)?;
    let mut objects = HashMap::new();
    for request in &requests {
        objects.insert(request.key, request.size);
    }
    let footprint: u64 = objects.values().sum();
    let head = [
        "server",
        "hits, %",
        "bytes from the cache, %",
        "requests to the origin",
        "bytes from it, MiB",
        "process, MiB",
        "files, MiB",
    ];
    let kinds = bench.options.kinds(CACHES);
    let all = kinds.flat_map(|kind| {
        let lru = matches!(kind, Kind::Larder { .. }).then_some((kind, "lru"));
        [Some((kind, "gdsf")), lru].into_iter().flatten()
    });
    let mut lines = Vec::new();
    for (number, (kind, eviction)) in all.enumerate() {
        let label = match eviction {
            "lru" => format!("{}, eviction = \"lru\"", kind.label()),
            _ => kind.label(),
        };
        let folder = bench.folder.join(format!("replay-{number}"));
        let setting = Setting {
            room: Room::Memory(replay.memory),
            eviction,
            ..bench.setting
        };
        let line = play(bench, kind, &requests, (&folder, &setting));
        told(&format!("{label} has played it"));
        lines.push(match line {
            Ok(score) => score.line(label),
            Err(error) => lacking(&label, head.len(), &error.to_string()),
        });
    }
    let name = replay.trace.file_stem().unwrap_or_default();
    table.section(
        &format!("Replay of `{}` (`--replay`)", name.to_string_lossy()),
        &format!(
            "{} requests for {} objects of {} MiB, sizes divided by {}, one after the other, with {} MiB each: {:.1} %. \
             A hit is a request of which the origin saw nothing.",
            requests.len(),
            objects.len(),
            footprint >> 20,
            replay.scale,
            replay.memory >> 20,
            100.0 * replay.memory as f64 / footprint.max(1) as f64,
        ),
        &head,
        lines,
    );
    Ok(())
}

impl Score {
    fn line(&self, label: String) -> Vec<String> {
        let share = |part: u64, all: u64| format!("{:.2}", 100.0 * part as f64 / all.max(1) as f64);
        vec![
            label,
            share(self.hits, self.requests),
            share(self.bytes.saturating_sub(self.origin.bytes), self.bytes),
            self.origin.requests.to_string(),
            (self.origin.bytes >> 20).to_string(),
            (self.memory >> 20).to_string(),
            (self.files >> 20).to_string(),
        ]
    }
}

/// Lines of `time,key,size` under a header.
fn read(replay: &Replay) -> io::Result<Vec<Request>> {
    let text = fs::read_to_string(&replay.trace)?;
    let request = |line: &str| {
        let mut parts = line.split(',').skip(1);
        let key = parts.next()?.parse().ok()?;
        let size: u64 = parts.next()?.trim().parse().ok()?;
        let size = (size / replay.scale).max(1);
        Some(Request { key, size })
    };
    let lines = text.lines().skip(1).take(replay.requests);
    let requests: Option<Vec<Request>> = lines.map(request).collect();
    requests.ok_or_else(|| io::Error::other("not a trace of time,key,size"))
}

fn play(
    bench: &Bench<'_>,
    kind: &Kind,
    requests: &[Request],
    (folder, setting): (&std::path::Path, &Setting<'_>),
) -> io::Result<Score> {
    let server = Server::start(kind.clone(), folder, setting)?;
    let mut score = Score::default();
    let begun = bench.origin.asked();
    let mut seen = begun;
    let mut stream = connect(&server)?;
    let mut closed = 0;
    let mut buffer = vec![0; READ_SIZE];
    for (number, request) in requests.iter().enumerate() {
        while let Err(error) = ask(&mut stream, *request, &mut buffer) {
            closed += 1;
            if closed > CLOSED_MAX {
                return Err(error);
            }
            stream = connect(&server)?;
        }
        let now = bench.origin.asked();
        score.requests += 1;
        score.hits += u64::from(now.requests == seen.requests);
        score.bytes += request.size;
        seen = now;
        if number % LOOK == 0 {
            score.memory = score.memory.max(server.memory());
            score.files = score.files.max(server.files());
        }
    }
    score.origin = Asked {
        requests: seen.requests - begun.requests,
        bytes: seen.bytes - begun.bytes,
    };
    Ok(score)
}

fn connect(server: &Server) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(server.address())?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn ask(stream: &mut TcpStream, request: Request, buffer: &mut [u8]) -> io::Result<()> {
    let Request { key, size } = request;
    let head = format!("GET /stored/{size}/{key} HTTP/1.1\r\nHost: bench.example\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let mut answer = Answer::default();
    loop {
        let length = stream.read(buffer)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if answer.take(&buffer[..length])? {
            return match answer.length == size {
                true => Ok(()),
                false => Err(io::Error::other("an answer of another length")),
            };
        }
    }
}
