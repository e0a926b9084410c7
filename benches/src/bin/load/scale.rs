//! What a hit costs Larder with few and many objects, purges and sites; and others with few, for comparison.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use crate::client::{Client, Pace, Until};
use crate::server::{CACHES, Kind, Room, Server, Setting};
use crate::table::{Table, median};
use crate::{Bench, admin, told};

const CONNECTIONS: usize = 32;
const FEW: u64 = 1_000;
const MANY: u64 = 1_000_000;
const PURGES: u64 = 100_000;
const SITES: u64 = 1_000;
/// Enough for a million objects of a KiB.
const MEMORY: u64 = 3 << 30;
/// Purges are remembered while something on a disk needs them: a response that was purged softly.
const KEPT: &str = "\n[[cache.disk]]\npath = \"disk\"\nsize = \"64MiB\"\n\n[[site]]\nname = \"kept\"\nhosts = [\"kept.example\"]\n\
                    disk = \"always\"\norigins = [\"http://{origin}\"]\n";

/// What a node holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holding {
    Few,
    Many,
    Purges,
    Sites,
}

const ALL: &[Holding] = &[Holding::Few, Holding::Many, Holding::Purges, Holding::Sites];

/// One line: a node, and how many of its objects are asked for.
struct Case {
    about: &'static str,
    holding: Holding,
    asked: u64,
}

const fn case(about: &'static str, holding: Holding, asked: u64) -> Case {
    Case {
        about,
        holding,
        asked,
    }
}

/// The first is what the others are compared with.
const CASES: &[Case] = &[
    case("1,000 objects", Holding::Few, FEW),
    case("1,000 of 1,000,000 objects", Holding::Many, FEW),
    case("1,000,000 objects, all alike", Holding::Many, MANY),
    case(
        "1,000 objects, 100,000 purges remembered",
        Holding::Purges,
        FEW,
    ),
    case("1,000 objects of as many sites", Holding::Sites, FEW),
];

/// Every case in turns, for each build.
pub(crate) fn measure(bench: &Bench<'_>, table: &mut Table) -> io::Result<()> {
    let mut lines = Vec::new();
    for (number, kind) in bench.options.kinds(CACHES).enumerate() {
        let start = |holding| start(bench, kind, number, holding).map(|node| (holding, node));
        let nodes = match kind {
            Kind::Larder { .. } => ALL,
            _ => &ALL[..1],
        };
        let nodes = nodes.iter().copied().map(start);
        let nodes = nodes.collect::<io::Result<Vec<_>>>()?;
        lines.extend(compared(bench, kind, &nodes)?);
    }
    table.section(
        "1 KiB hit, HTTP/1.1, among few and many (`scale`)",
        "CPU per request; what is asked for is drawn from so many objects, each as often as the others: no connection asks for \
         the same twice in a row.",
        &["server", "with", "µs of CPU per request", "ratio", "memory, MiB"],
        lines,
    );
    Ok(())
}

fn compared(
    bench: &Bench<'_>,
    kind: &Kind,
    nodes: &[(Holding, Server)],
) -> io::Result<Vec<Vec<String>>> {
    let mut costs = vec![Vec::new(); CASES.len()];
    for turn in 0..=bench.options.turns {
        let seconds = if turn == 0 { 1 } else { bench.options.seconds };
        let time = Until::Time(Duration::from_secs(seconds.into()));
        for (case, costs) in CASES.iter().zip(&mut costs) {
            let node = nodes.iter().find(|(holding, _)| *holding == case.holding);
            let Some((_, node)) = node else { continue };
            let asked = bench.origin.asked();
            let before = node.cpu();
            let requests = ask(node, case.holding, time, Order::Drawn(case.asked))?;
            let cost = (node.cpu() - before) as f64 / requests.max(1) as f64;
            if bench.origin.asked() != asked {
                return Err(io::Error::other(format!("{}: not all hits", case.about)));
            }
            if turn > 0 {
                costs.push(cost / 1_000.0);
            }
        }
    }
    let base = costs.first().cloned().unwrap_or_default();
    let cases = CASES
        .iter()
        .zip(costs)
        .filter(|(_, costs)| !costs.is_empty());
    let lines = cases.map(|(case, costs)| {
        let node = nodes.iter().find(|(holding, _)| *holding == case.holding);
        let memory = node.map_or(0, |(_, node)| node.memory());
        let ratios = costs.iter().zip(&base).map(|(cost, base)| cost / base);
        vec![
            kind.label(),
            case.about.to_owned(),
            format!("{:.2}", median(costs.clone())),
            format!("{:.2}", median(ratios.collect())),
            (memory >> 20).to_string(),
        ]
    });
    let lines = lines.collect();
    let purged = nodes
        .iter()
        .find(|(holding, _)| *holding == Holding::Purges);
    if let Some((_, node)) = purged {
        // They were there all the time.
        admin::wait_for(node, "larder_purge_labels", PURGES as f64)?;
    }
    Ok(lines)
}

fn start(bench: &Bench<'_>, kind: &Kind, number: usize, holding: Holding) -> io::Result<Server> {
    let origin = bench.origin.address;
    let mut tables = KEPT.replace("{origin}", &origin.to_string());
    if holding == Holding::Sites {
        for site in 0..SITES {
            // Strings grow.
            write!(
                tables,
                "\n[[site]]\nname = \"site-{site}\"\nhosts = [\"{site}.example\"]\norigins = [\"http://{origin}\"]\n"
            )
            .unwrap_or_default();
        }
    }
    let room = match kind {
        Kind::Larder { .. } => Room::Memory(MEMORY),
        _ => Room::Plenty,
    };
    let setting = Setting {
        room,
        tables: &tables,
        ..bench.setting
    };
    let folder = bench.folder.join(format!("scale-{number}-{holding:?}"));
    let node = Server::start(kind.clone(), &folder, &setting)?;
    told(&format!("{} is filled: {holding:?}", kind.label()));
    let objects = if holding == Holding::Many { MANY } else { FEW };
    ask(&node, holding, Until::Count(objects), Order::Each)?;
    if holding == Holding::Purges {
        let mut client = Client::connect(node.address(), 1)?;
        client.run(Pace::Full, Until::Count(2), &mut |request| {
            request
                .extend_from_slice(b"GET /stored/1024/kept HTTP/1.1\r\nHost: kept.example\r\n\r\n");
        })?;
        admin::wait_for(&node, "larder_disk_objects", 1.0)?;
        admin::purge(
            &node,
            r#"{"urls":["http://kept.example/stored/1024/kept"],"mode":"soft"}"#,
        )?;
        admin::purge_tags(&node, PURGES)?;
        admin::wait_for(&node, "larder_purge_labels", PURGES as f64)?;
    }
    Ok(node)
}

/// In which order objects are asked for.
#[derive(Clone, Copy, Debug)]
enum Order {
    Each,
    /// Any of so many, each with the same chance.
    Drawn(u64),
}

fn ask(node: &Server, holding: Holding, until: Until, order: Order) -> io::Result<u64> {
    let mut client = Client::connect(node.address(), CONNECTIONS)?;
    let mut next = 0;
    let mut drawn = Drawn(0x9e37_79b9_7f4a_7c15);
    let mut text = String::new();
    let told = client.run(Pace::Full, until, &mut |request| {
        let number = match order {
            Order::Each => next,
            Order::Drawn(of) => drawn.below(of),
        };
        next += 1;
        text.clear();
        let host = if holding == Holding::Sites { number } else { 0 };
        // Strings grow.
        write!(
            text,
            "GET /stored/1024/{number} HTTP/1.1\r\nHost: {host}.example\r\n\r\n"
        )
        .unwrap_or_default();
        request.extend_from_slice(text.as_bytes());
    })?;
    Ok(told.requests)
}

/// Numbers that follow no order (xorshift).
struct Drawn(u64);

impl Drawn {
    const fn below(&mut self, count: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % count
    }
}
