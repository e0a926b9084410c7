//! Who asks: wrk and h2load, on a core of their own.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use crate::server::Server;

/// How clients ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    H1,
    H1Tls,
    H2,
    H2Tls,
}

/// Requests of one turn, and what they took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    pub(crate) requests: u64,
    /// The server's, in nanoseconds for each request.
    pub(crate) cpu: f64,
}

/// How long answers took, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latency {
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
}

/// What drives, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Driver {
    pub(crate) core: usize,
    pub(crate) seconds: u32,
    pub(crate) connections: u32,
}

impl Driver {
    /// As many requests as the server takes.
    ///
    /// # Errors
    /// Where the tool is not there, or an answer was not a success.
    pub(crate) fn run(&self, server: &Server, protocol: Protocol, path: &str) -> io::Result<Turn> {
        let before = server.cpu();
        let requests = match protocol {
            Protocol::H1 | Protocol::H1Tls => self.wrk(&url(server, protocol, path))?,
            Protocol::H2 | Protocol::H2Tls => self.h2load(&url(server, protocol, path))?,
        };
        let used = server.cpu() - before;
        let cpu = used as f64 / requests.max(1) as f64;
        Ok(Turn { requests, cpu })
    }

    fn wrk(&self, url: &str) -> io::Result<u64> {
        let (connections, seconds) = (self.connections.to_string(), format!("{}s", self.seconds));
        let told = self.told("wrk", &["-t1", "-c", &connections, "-d", &seconds, url])?;
        if told.contains("Non-2xx") {
            return Err(io::Error::other(told));
        }
        let line = told.lines().find(|line| line.contains(" requests in "));
        let count = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        count.ok_or_else(|| io::Error::other(told))
    }

    fn h2load(&self, url: &str) -> io::Result<u64> {
        let seconds = self.seconds.to_string();
        let told = self.told("h2load", &["-t1", "-c8", "-m32", "-D", &seconds, url])?;
        succeeded(&told).ok_or_else(|| io::Error::other(told))
    }

    /// So many requests a second over HTTP/1.1, for these paths in turns.
    ///
    /// # Errors
    /// Where the tool is not there, or the server did not answer.
    pub(crate) fn at_rate(
        &self,
        server: &Server,
        paths: &[String],
        rate: u32,
        folder: &Path,
    ) -> io::Result<Latency> {
        let urls = paths.iter().map(|path| url(server, Protocol::H1, path));
        let (list, log) = (folder.join("urls"), folder.join("latencies"));
        fs::write(&list, urls.collect::<Vec<_>>().join("\n"))?;
        fs::write(&log, "")?;
        let each = (rate / self.connections).max(1).to_string();
        let (connections, seconds) = (self.connections.to_string(), self.seconds.to_string());
        let (list, file) = (list.display().to_string(), log.display().to_string());
        let told = self.told(
            "h2load",
            &[
                "--h1",
                "-t1",
                "-c",
                &connections,
                "-m1",
                "-D",
                &seconds,
                "--rps",
                &each,
                "-i",
                &list,
                "--log-file",
                &file,
            ],
        )?;
        succeeded(&told).ok_or_else(|| io::Error::other(told))?;
        let mut took: Vec<u64> = fs::read_to_string(&log)?
            .lines()
            .filter_map(|line| line.split('\t').nth(2)?.parse().ok())
            .collect();
        took.sort_unstable();
        let at = |of_a_thousand: usize| {
            let place = took.len() * of_a_thousand / 1_000;
            took.get(place.min(took.len().saturating_sub(1)))
                .copied()
                .unwrap_or(0)
        };
        Ok(Latency {
            p50: at(500),
            p99: at(990),
            p999: at(999),
        })
    }

    fn told(&self, program: &str, words: &[&str]) -> io::Result<String> {
        let output = Command::new("taskset")
            .args(["-c", &self.core.to_string(), program])
            .args(words)
            .output()?;
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(io::Error::other(format!("{program}: {error}")));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

fn url(server: &Server, protocol: Protocol, path: &str) -> String {
    match protocol {
        Protocol::H1 => format!("http://127.0.0.1:{}{path}", server.plain),
        Protocol::H2 => format!("http://127.0.0.1:{}{path}", server.h2),
        Protocol::H1Tls | Protocol::H2Tls => format!("https://127.0.0.1:{}{path}", server.tls),
    }
}

/// Of `requests: 9 total, 9 started, 9 done, 9 succeeded, 0 failed, …`. Nothing if some failed.
fn succeeded(told: &str) -> Option<u64> {
    let line = told.lines().find(|line| line.starts_with("requests: "))?;
    let number = |word: &str| {
        let part = line.split(", ").find(|part| part.ends_with(word))?;
        part.split_whitespace().next()?.parse::<u64>().ok()
    };
    number("succeeded").filter(|&count| count > 0 && number("failed") == Some(0))
}
