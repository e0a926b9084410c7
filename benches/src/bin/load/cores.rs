//! What a hit costs with one worker, and with two.

use std::io;

use crate::Bench;
use crate::driver::{Driver, Paths, Protocol};
use crate::server::{Kind, Server, Setting};
use crate::table::{Table, lacking, median};

const PEERS: &[Kind] = &[Kind::Echo { h2: false }, Kind::Haproxy, Kind::Nginx];
const PATH: &str = "/stored/1024/a";

/// Everybody's costs, with servers on one core and on both. Drivers are on the other, and share both.
pub(crate) fn measure(bench: &Bench<'_>, table: &mut Table) -> io::Result<()> {
    let mut lines = Vec::new();
    let head = ["server", "one worker, µs", "two workers, µs", "ratio"];
    for (number, kind) in bench.options.kinds(PEERS).enumerate() {
        let line = compared(bench, kind, number);
        let line =
            line.unwrap_or_else(|error| lacking(&kind.label(), head.len(), &error.to_string()));
        lines.push(line);
    }
    table.section(
        "1 KiB hit, HTTP/1.1, with one worker and with two (`cores`)",
        "CPU per request. Two workers and their driver share two cores, so rates would say nothing; what workers do to each \
         other (locks, lines of the cache that both write) shows as a cost, beside what the kernel adds, for which the echo \
         stands.",
        &head,
        lines,
    );
    Ok(())
}

fn compared(bench: &Bench<'_>, kind: &Kind, number: usize) -> io::Result<Vec<String>> {
    let start = |workers, cores| {
        let setting = Setting {
            workers,
            cores,
            length: 1024,
            ..bench.setting
        };
        let folder = bench.folder.join(format!("cores-{number}-{workers}"));
        Server::start(kind.clone(), &folder, &setting)
    };
    let one = start(1, crate::SERVERS)?;
    let two = start(2, "0,1")?;
    let driver = |cores, seconds| Driver {
        cores,
        seconds,
        connections: 64,
    };
    let mut costs = Vec::new();
    for turn in 0..=bench.options.turns {
        let seconds = if turn == 0 { 1 } else { bench.options.seconds };
        let cost = |server, cores| {
            let told = driver(cores, seconds).run(server, Protocol::H1, Paths::One(PATH))?;
            io::Result::Ok(told.cpu / 1_000.0)
        };
        let turned = (cost(&one, crate::DRIVERS)?, cost(&two, "0,1")?);
        if turn > 0 {
            costs.push(turned);
        }
    }
    let of = |value: fn(&(f64, f64)) -> f64| {
        let all = costs.iter().map(value).collect();
        format!("{:.2}", median(all))
    };
    Ok(vec![
        kind.label(),
        of(|it| it.0),
        of(|it| it.1),
        of(|it| it.1 / it.0),
    ])
}
