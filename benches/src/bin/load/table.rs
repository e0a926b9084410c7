//! One table of everything.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::Command;

use crate::account;
use crate::driver::Turn;
use crate::server::Kind;
use crate::works::Work;

/// One server's turns at one work.
#[derive(Debug)]
pub(crate) struct Row {
    label: String,
    turns: Vec<Turn>,
    /// Requests that reached the origin.
    asked: u64,
    memory: u64,
    error: Option<String>,
}

impl Row {
    pub(crate) const fn new(label: String) -> Self {
        Self {
            label,
            turns: Vec::new(),
            asked: 0,
            memory: 0,
            error: None,
        }
    }

    pub(crate) fn push(&mut self, turn: Turn, asked: u64, memory: u64) {
        self.turns.push(turn);
        self.asked += asked;
        self.memory = self.memory.max(memory);
    }

    pub(crate) fn failed(&mut self, kind: &Kind, error: &io::Error) {
        let told = error.to_string();
        let line = told.lines().next().unwrap_or_default();
        let line = line.strip_prefix(&kind.label()).unwrap_or(line);
        self.error = Some(line.trim().to_owned());
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
    /// All ticks of the machine and those that its host took, at the start.
    begun: (u64, u64),
}

impl Table {
    pub(crate) fn new() -> Self {
        Self {
            text: String::new(),
            last: 0,
            begun: account::ticks(),
        }
    }

    /// Adds a work. The first row is who the others are compared with.
    pub(crate) fn push(&mut self, work: &Work, rows: Vec<Row>) {
        let own = rows.first().map(Row::costs).unwrap_or_default();
        let first = rows.first().map_or("", |row| &row.label);
        let ratio = format!("{first} ÷ it");
        let head = [
            "server",
            "µs of CPU per request",
            "least",
            &ratio,
            "requests",
            "to the origin, %",
            "memory, MiB",
        ];
        let line = |row: &Row| {
            if let Some(error) = &row.error {
                return lacking(&row.label, head.len(), error);
            }
            let costs = row.costs();
            let ratios = own.iter().zip(&costs).map(|(own, cost)| own / cost);
            let requests: u64 = row.turns.iter().map(|turn| turn.requests).sum();
            let asked = 100.0 * row.asked as f64 / requests.max(1) as f64;
            vec![
                row.label.clone(),
                format!("{:.2}", median(costs.clone())),
                format!("{:.2}", costs.iter().copied().fold(f64::INFINITY, f64::min)),
                format!("{:.2}", median(ratios.collect())),
                requests.to_string(),
                format!("{asked:.1}"),
                (row.memory >> 20).to_string(),
            ]
        };
        let title = format!("{} (`{}`)", work.about, work.name);
        let lines = rows.iter().map(line).collect();
        self.section(&title, "", &head, lines);
    }

    /// Adds a part of the table, and shows it.
    pub(crate) fn section(
        &mut self,
        title: &str,
        about: &str,
        head: &[&str],
        lines: Vec<Vec<String>>,
    ) {
        self.last = self.text.len();
        self.line(&format!("\n### {title}\n"));
        if !about.is_empty() {
            self.line(&format!("{about}\n"));
        }
        self.line(&format!("| {} |", head.join(" | ")));
        self.line(&format!("|{}", " --- |".repeat(head.len())));
        for line in lines {
            self.line(&format!("| {} |", line.join(" | ")));
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
        let kernel = said("uname", &["-sr"]);
        let cores = said("nproc", &["--all"]);
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let (all, stolen) = account::ticks();
        let all = all.saturating_sub(self.begun.0).max(1);
        let stolen = 100.0 * stolen.saturating_sub(self.begun.1) as f64 / all as f64;
        let head = format!(
            "- Date: {date}\n- Commit: `{commit}`\n- Machine: {cores} cores, {machine}; {kernel}; load at the end: {}; taken by its host \
             meanwhile: {stolen:.1} % of the processors\n- Peers: {}\n- Command: `load {}`\n",
            load.trim(),
            peers(),
            command.join(" ")
        );
        let text = format!("{head}{}", self.text);
        match out {
            Some(file) => fs::write(file, text),
            None => io::stdout().write_all(head.as_bytes()),
        }
    }
}

/// The line of who does not take part.
pub(crate) fn lacking(label: &str, columns: usize, why: &str) -> Vec<String> {
    let mut line = vec![label.to_owned()];
    line.resize(columns.saturating_sub(1), "–".to_owned());
    line.push(why.to_owned());
    line
}

pub(crate) fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Their versions, as they tell them.
fn peers() -> String {
    let scripts = [
        "/usr/sbin/nginx -v 2>&1 | sed 's:.*nginx/:nginx :; s: (.*::'",
        "/usr/sbin/haproxy -v | sed -n 's:^HAProxy version \\([0-9.]*\\).*:HAProxy \\1:p'",
        "/usr/sbin/varnishd -V 2>&1 | sed -n 's:.*varnish-\\([0-9.]*\\).*:Varnish \\1:p' | head -1",
        "traffic_server -V 2>/dev/null | sed -n 's:^\\(Traffic Server [0-9.]*\\).*:\\1:p'",
    ];
    let told = scripts.map(|script| said("sh", &["-c", script]));
    told.join(", ")
}

fn said(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output();
    let told = output.map(|it| String::from_utf8_lossy(&it.stdout).trim().to_owned());
    told.unwrap_or_default()
}
