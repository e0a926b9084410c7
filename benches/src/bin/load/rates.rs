//! How long answers take at a fixed rate, nine hits to one miss.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use crate::client::{Client, Pace, Ran, Until};
use crate::server::{CACHES, Server, Setting};
use crate::table::{Table, lacking, median};
use crate::{Bench, account};

const CONNECTIONS: usize = 32;
/// Of ten requests, one is a miss.
const OF: usize = 10;
/// What the others ask for.
const STORED: [&str; 3] = ["stored/1024/a", "stored/1024/b", "stored/1024/c"];
/// What follows a path.
const END: &str = " HTTP/1.1\r\nHost: bench.example\r\n\r\n";
/// Of what a server can do.
const SHARE: f64 = 0.8;

/// One server, and what came of it.
struct Part {
    server: Server,
    /// Requests a second at full speed.
    capacity: f64,
    own: Vec<Turn>,
    alike: Vec<Turn>,
}

/// One turn at a rate.
struct Turn {
    p50: f64,
    p99: f64,
    p999: f64,
    /// The p99 of each tenth of a second.
    parts: Vec<f64>,
    /// The share of the core that the server took.
    busy: f64,
    /// The share of what was due that was answered in time.
    kept: f64,
}

/// Everybody's latencies, at 80 % of what each can do and at the same rate.
pub(crate) fn measure(bench: &Bench<'_>, table: &mut Table) -> io::Result<()> {
    let setting = Setting {
        logs: true,
        ..bench.setting
    };
    let mut lines = Vec::new();
    let mut parts = Vec::new();
    let head = [
        "server",
        "capacity, 1/s",
        "rate, 1/s",
        "p50, µs",
        "p99",
        "p99.9",
        "p99 of a tenth of a second",
        "busy, %",
        "kept, %",
        "p50 at the same rate",
        "p99",
        "p99.9",
        "p99 of a tenth of a second",
    ];
    for (number, kind) in bench.options.kinds(CACHES).enumerate() {
        let folder = bench.folder.join(format!("rate-{number}"));
        let part = Server::start(kind.clone(), &folder, &setting)
            .and_then(|server| Part::new(server, bench.options.seconds));
        match part {
            Ok(part) => parts.push(part),
            Err(error) => lines.push(lacking(&kind.label(), head.len(), &error.to_string())),
        }
    }
    let slowest = parts.iter().map(|part| part.capacity);
    let alike = SHARE * slowest.fold(f64::INFINITY, f64::min);
    for _ in 0..bench.options.turns {
        for part in &mut parts {
            let own = bench.options.rate.unwrap_or(SHARE * part.capacity);
            let turn = part.turn(own, bench.options.seconds);
            part.own.extend(turn.ok());
            let turn = part.turn(alike, bench.options.seconds);
            part.alike.extend(turn.ok());
        }
    }
    let told = parts.iter().map(|part| {
        let rate = bench.options.rate.unwrap_or(SHARE * part.capacity);
        let mut line = vec![
            part.server.kind.label(),
            format!("{:.0}", part.capacity),
            format!("{rate:.0}"),
        ];
        line.extend(latencies(&part.own));
        let values: [fn(&Turn) -> f64; 2] = [|it| 100.0 * it.busy, |it| 100.0 * it.kept];
        line.extend(values.map(|value| told(&part.own, value)));
        line.extend(latencies(&part.alike));
        line
    });
    lines.splice(0..0, told);
    table.section(
        "Nine hits to one miss of 1 KiB at 80 % of capacity, access logs on (`rate`)",
        &format!(
            "Capacity is what was answered at full speed; medians of turns. Requests are due at a constant rate on \
             {CONNECTIONS} connections, and latencies count from when they are due. The last columns are at \
             {alike:.0} requests a second for everybody: 80 % of what the slowest can do. {}",
            account::interruptions()
        ),
        &head,
        lines,
    );
    Ok(())
}

/// What the columns of a rate tell.
fn latencies(turns: &[Turn]) -> [String; 4] {
    let parts = turns.iter().flat_map(|turn| turn.parts.iter().copied());
    [
        told(turns, |it| it.p50),
        told(turns, |it| it.p99),
        told(turns, |it| it.p999),
        format!("{:.0}", median(parts.collect())),
    ]
}

fn told(turns: &[Turn], value: fn(&Turn) -> f64) -> String {
    match turns.is_empty() {
        true => "–".to_owned(),
        false => format!("{:.0}", median(turns.iter().map(value).collect())),
    }
}

impl Part {
    /// Fills a server, and finds out what it can do.
    fn new(server: Server, seconds: u32) -> io::Result<Self> {
        ran(&server, Pace::Full, 1)?;
        let told = ran(&server, Pace::Full, seconds)?;
        Ok(Self {
            server,
            capacity: told.requests as f64 / told.took.as_secs_f64(),
            own: Vec::new(),
            alike: Vec::new(),
        })
    }

    fn turn(&self, rate: f64, seconds: u32) -> io::Result<Turn> {
        let before = self.server.cpu();
        let told = ran(&self.server, Pace::Rate(rate), seconds)?;
        let used = (self.server.cpu() - before) as f64 / 1e9;
        Ok(Turn {
            p50: told.at(500),
            p99: told.at(990),
            p999: told.at(999),
            parts: told.in_parts(990).collect(),
            busy: used / told.took.as_secs_f64(),
            kept: told.requests as f64 / told.due.max(1) as f64,
        })
    }
}

fn ran(server: &Server, pace: Pace, seconds: u32) -> io::Result<Ran> {
    let mut client = Client::connect(server.address(), CONNECTIONS)?;
    let mut number = 0;
    let mut text = String::new();
    let time = Duration::from_secs(seconds.into());
    client.run(pace, Until::Time(time), &mut |request| {
        number += 1;
        text.clear();
        // Strings grow. Nobody waits for another's miss.
        match number % OF {
            0 => write!(text, "GET /passed/1024/{number}{END}"),
            hit => write!(text, "GET /{}{END}", STORED[hit % 3]),
        }
        .unwrap_or_default();
        request.extend_from_slice(text.as_bytes());
    })
}
