//! Who asks: wrk and h2load, on a core of their own, or our own driver where each request is another one.

use std::io::{self, Write as _};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::client::{Client, Pace, Until};
use crate::server::Server;

/// How clients ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    H1,
    H1Tls,
    H2,
    H2Tls,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Paths<'a> {
    /// The same again and again.
    One(&'a str),
    /// A thousand below one, in turns: no connection asks for the same twice in a row.
    Many(&'a str),
    /// What nobody has asked for before, below one.
    Unseen(&'a str),
}

/// How many [`Paths::Many`] are.
const MANY: usize = 1_000;
/// How many of [`Paths::Unseen`] there were.
static ASKED: AtomicU64 = AtomicU64::new(0);
/// Connections and streams of HTTP/2.
const H2: &[&str] = &["-c8", "-m32"];

/// Requests of one turn, and what they took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    pub(crate) requests: u64,
    /// The server's, in nanoseconds for each request.
    pub(crate) cpu: f64,
}

/// What drives, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Driver {
    /// As `taskset` writes them.
    pub(crate) cores: &'static str,
    pub(crate) seconds: u32,
    pub(crate) connections: u32,
}

impl Driver {
    /// As many requests as the server takes.
    ///
    /// # Errors
    /// Where the tool is not there, or an answer was not a success.
    pub(crate) fn run(
        &self,
        server: &Server,
        protocol: Protocol,
        paths: Paths<'_>,
    ) -> io::Result<Turn> {
        let before = server.cpu();
        let requests = match (paths, protocol) {
            (Paths::One(path), Protocol::H1 | Protocol::H1Tls) => {
                self.wrk(&url(server, protocol, path))?
            }
            (Paths::One(path), Protocol::H2 | Protocol::H2Tls) => {
                self.h2load(&[H2, &[&url(server, protocol, path)]].concat())?
            }
            (Paths::Many(path), _) => self.many(server, protocol, path)?,
            (Paths::Unseen(path), _) => self.unseen(server, path)?,
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

    /// A list of paths in turns, on every connection.
    fn many(&self, server: &Server, protocol: Protocol, path: &str) -> io::Result<u64> {
        let urls = (0..MANY).map(|number| url(server, protocol, &format!("{path}{number}")));
        let urls = urls.collect::<Vec<_>>().join("\n");
        let mut list = tempfile::NamedTempFile::new()?;
        list.write_all(urls.as_bytes())?;
        let list = list.path().display().to_string();
        let connections = self.connections.to_string();
        let how: &[&str] = match protocol {
            Protocol::H1 | Protocol::H1Tls => &["--h1", "-m1", "-c", &connections],
            Protocol::H2 | Protocol::H2Tls => H2,
        };
        self.h2load(&[how, &["-i", &list]].concat())
    }

    /// Another path each time, on HTTP/1.1 in clear text.
    fn unseen(&self, server: &Server, path: &str) -> io::Result<u64> {
        let connections = self.connections.try_into().map_err(io::Error::other)?;
        let mut client = Client::connect(server.address(), connections)?;
        let until = Until::Time(Duration::from_secs(self.seconds.into()));
        let ran = client.run(Pace::Full, until, &mut |request| {
            let number = ASKED.fetch_add(1, Ordering::Relaxed);
            let head = format_args!("GET {path}{number} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
            // Vectors grow.
            drop(request.write_fmt(head));
        })?;
        Ok(ran.requests)
    }

    fn h2load(&self, how: &[&str]) -> io::Result<u64> {
        let seconds = self.seconds.to_string();
        let words = [&["-t1", "-D", &seconds], how].concat();
        let told = self.told("h2load", &words)?;
        succeeded(&told).ok_or_else(|| io::Error::other(told))
    }

    fn told(&self, program: &str, words: &[&str]) -> io::Result<String> {
        let output = Command::new("taskset")
            .args(["-c", self.cores, program])
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
