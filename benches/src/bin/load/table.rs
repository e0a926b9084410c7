//! One table of everything.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::Command;

use crate::driver::{Latency, Turn};
use crate::works::Work;

/// One server's turns at one work.
#[derive(Debug)]
pub(crate) struct Row {
    label: String,
    turns: Vec<Turn>,
    memory: u64,
    error: Option<String>,
}

impl Row {
    pub(crate) const fn new(label: String) -> Self {
        Self {
            label,
            turns: Vec::new(),
            memory: 0,
            error: None,
        }
    }

    pub(crate) fn push(&mut self, turn: Turn, memory: u64) {
        self.turns.push(turn);
        self.memory = self.memory.max(memory);
    }

    pub(crate) fn failed(&mut self, error: &io::Error) {
        let told = error.to_string();
        self.error = Some(told.lines().next().unwrap_or_default().to_owned());
    }

    fn costs(&self) -> Vec<f64> {
        self.turns.iter().map(|turn| turn.cpu / 1_000.0).collect()
    }
}

/// What was measured so far.
#[derive(Debug)]
pub(crate) struct Table {
    text: String,
    last: usize,
}

impl Table {
    pub(crate) const fn new() -> Self {
        Self {
            text: String::new(),
            last: 0,
        }
    }

    /// Adds a work. The first row is who the others are compared with.
    pub(crate) fn push(&mut self, work: &Work, rows: Vec<Row>) {
        self.last = self.text.len();
        let own = rows.first().map(Row::costs).unwrap_or_default();
        let first = rows.first().map_or("", |row| &row.label);
        self.line(&format!("\n### {} (`{}`)\n", work.about, work.name));
        self.line(&format!(
            "| server | µs of CPU per request | least | {first} ÷ it | requests | memory, MiB |"
        ));
        self.line("| --- | --- | --- | --- | --- | --- |");
        for row in &rows {
            if let Some(error) = &row.error {
                self.line(&format!("| {} | – | – | – | – | {error} |", row.label));
                continue;
            }
            let costs = row.costs();
            let ratios = own.iter().zip(&costs).map(|(own, cost)| own / cost);
            let requests: u64 = row.turns.iter().map(|turn| turn.requests).sum();
            self.line(&format!(
                "| {} | {:.2} | {:.2} | {:.2} | {requests} | {} |",
                row.label,
                median(costs.clone()),
                costs.iter().copied().fold(f64::INFINITY, f64::min),
                median(ratios.collect()),
                row.memory >> 20,
            ));
        }
    }

    /// Adds how long answers took at a fixed rate.
    pub(crate) fn latencies(&mut self, rate: u32, all: Vec<(String, Vec<Latency>)>) {
        self.line(&format!(
            "\n### Nine hits to one miss of 1 KiB at {rate} requests a second (`rate`)\n"
        ));
        self.line("| server | p50, µs | p99, µs | p99.9, µs |");
        self.line("| --- | --- | --- | --- |");
        for (label, latencies) in all {
            let of = |part: fn(&Latency) -> u64| {
                median(latencies.iter().map(|it| part(it) as f64).collect())
            };
            let (p50, p99, p999) = (of(|it| it.p50), of(|it| it.p99), of(|it| it.p999));
            self.line(&format!("| {label} | {p50:.0} | {p99:.0} | {p999:.0} |"));
        }
    }

    fn line(&mut self, line: &str) {
        // Strings grow.
        writeln!(self.text, "{line}").unwrap_or_default();
    }

    pub(crate) fn show_last(&self) -> io::Result<()> {
        io::stdout().write_all(&self.text.as_bytes()[self.last..])
    }

    /// Puts everything under what it was measured with and on.
    pub(crate) fn finish(&self, out: Option<&Path>) -> io::Result<()> {
        let command: Vec<String> = std::env::args().skip(1).collect();
        let date = said("date", &["-u", "+%F %R UTC"]);
        let commit = said("git", &["describe", "--always", "--dirty"]);
        let machine = said(
            "sh",
            &["-c", "grep -m1 'model name' /proc/cpuinfo | cut -d: -f2"],
        );
        let cores = said("nproc", &[]);
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let head = format!(
            "- Date: {date}\n- Commit: `{commit}`\n- Machine: {cores} cores, {machine}; load at the end: {}\n\
             - Command: `load {}`\n",
            load.trim(),
            command.join(" ")
        );
        let text = format!("{head}{}", self.text);
        match out {
            Some(file) => fs::write(file, text),
            None => io::stdout().write_all(&text.as_bytes()[..head.len()]),
        }
    }
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

fn said(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output();
    let told = output.map(|it| String::from_utf8_lossy(&it.stdout).trim().to_owned());
    told.unwrap_or_default()
}
