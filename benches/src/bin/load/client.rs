//! A driver of our own: requests that differ from each other, as fast as the server answers or at a constant rate.
//!
//! At a rate, every request has a time at which it is due, whatever became of those before it. Its latency counts from then
//! on: while a server does not answer, requests are late, and are told so.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};

use crate::answer::Answer;

/// How long answers are waited for after the last request.
const PATIENCE: Duration = Duration::from_secs(2);
/// Of the time, what is told by itself.
const PART: Duration = Duration::from_millis(100);
/// One read.
const READ_SIZE: usize = 64 << 10;

/// When requests are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// When a connection is free.
    Full,
    /// So many a second.
    Rate(f64),
}

/// When it ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    Time(Duration),
    Count(u64),
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) requests: u64,
    /// How many were due.
    pub(crate) due: u64,
    pub(crate) took: Duration,
    /// In nanoseconds, the shortest first. Nothing at full speed.
    latencies: Vec<u64>,
    /// The same, of what was due in each [`PART`] of the time by itself.
    parts: Vec<Vec<u64>>,
}

impl Ran {
    fn new(pace: Pace, until: Until, (done, took): (u64, Duration), all: &[Late]) -> Self {
        let sorted = |mut latencies: Vec<u64>| {
            latencies.sort_unstable();
            latencies
        };
        let mut parts: Vec<Vec<u64>> = Vec::new();
        for late in all {
            let number = (late.due.as_nanos() / PART.as_nanos()) as usize;
            if parts.len() <= number {
                parts.resize(number + 1, Vec::new());
            }
            parts[number].push(late.nanoseconds);
        }
        Self {
            requests: done,
            due: match (pace, until) {
                (Pace::Rate(rate), Until::Time(time)) => whole(rate * time.as_secs_f64()),
                _ => done,
            },
            took,
            latencies: sorted(all.iter().map(|late| late.nanoseconds).collect()),
            parts: parts.into_iter().map(sorted).collect(),
        }
    }

    /// The latency that so many of a thousand do not exceed, in microseconds.
    pub(crate) fn at(&self, of_a_thousand: usize) -> f64 {
        quantile(&self.latencies, of_a_thousand)
    }

    /// The same in each tenth of a second. Where the host of the machine takes a processor away for a while, that is a few
    /// of them.
    pub(crate) fn in_parts(&self, of_a_thousand: usize) -> impl Iterator<Item = f64> {
        let parts = self.parts.iter();
        parts.map(move |part| quantile(part, of_a_thousand))
    }
}

/// Of sorted nanoseconds, in microseconds.
fn quantile(sorted: &[u64], of_a_thousand: usize) -> f64 {
    let place = sorted.len() * of_a_thousand / 1_000;
    let last = sorted.len().saturating_sub(1);
    let nanoseconds = sorted.get(place.min(last)).copied();
    nanoseconds.unwrap_or(0) as f64 / 1_000.0
}

/// When a request was due, counted from the start, and how much later it was answered.
#[derive(Clone, Copy, Debug)]
struct Late {
    due: Duration,
    nanoseconds: u64,
}

/// Connections to one server.
#[derive(Debug)]
pub(crate) struct Client {
    epoll: OwnedFd,
    connections: Vec<Connection>,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    due: Instant,
    answer: Answer,
}

impl Client {
    /// # Errors
    /// Where the server takes no connection.
    pub(crate) fn connect(address: SocketAddr, connections: usize) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let connect = |number| {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let data = EventData::new_u64(number);
            epoll::add(&epoll, &stream, data, EventFlags::IN)?;
            Ok(Connection {
                stream,
                due: Instant::now(),
                answer: Answer::default(),
            })
        };
        let connections = (0..connections as u64).map(connect);
        let connections = connections.collect::<io::Result<_>>()?;
        Ok(Self { epoll, connections })
    }

    /// Asks. `ask` writes one request after the other.
    ///
    /// # Errors
    /// Where an answer is no success, or does not come.
    pub(crate) fn run(
        &mut self,
        pace: Pace,
        until: Until,
        ask: &mut dyn FnMut(&mut Vec<u8>),
    ) -> io::Result<Ran> {
        let mut free: VecDeque<usize> = (0..self.connections.len()).collect();
        let mut events = Vec::with_capacity(self.connections.len());
        let (mut request, mut read) = (Vec::new(), vec![0; READ_SIZE]);
        let mut latencies = Vec::new();
        let (mut sent, mut done) = (0, 0);
        let begun = Instant::now();
        let due = |number: u64| match pace {
            Pace::Full => None,
            Pace::Rate(rate) => Some(begun + Duration::from_secs_f64(number as f64 / rate)),
        };
        let mut now = begun;
        loop {
            let goes_on = match until {
                Until::Time(time) => now < begun + time,
                Until::Count(count) => sent < count,
            };
            let next = due(sent).unwrap_or(now);
            if goes_on
                && next <= now
                && let Some(number) = free.pop_front()
            {
                request.clear();
                ask(&mut request);
                let connection = &mut self.connections[number];
                connection.due = next;
                (&connection.stream).write_all(&request)?;
                sent += 1;
                continue;
            }
            if !goes_on && sent == done {
                break;
            }
            let patience = match goes_on && !free.is_empty() {
                true => next.saturating_duration_since(now),
                false => PATIENCE,
            };
            let patience = Timespec::try_from(patience).map_err(io::Error::other)?;
            events.clear();
            epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                Some(&patience),
            )?;
            now = Instant::now();
            if events.is_empty() && (!goes_on || free.is_empty()) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            for event in &events {
                let data = event.data;
                let number = usize::try_from(data.u64()).map_err(io::Error::other)?;
                let connection = &mut self.connections[number];
                if !connection.read(&mut read)? {
                    continue;
                }
                done += 1;
                free.push_back(number);
                if let Pace::Rate(_) = pace {
                    let late = now.saturating_duration_since(connection.due);
                    latencies.push(Late {
                        due: connection.due - begun,
                        nanoseconds: u64::try_from(late.as_nanos()).unwrap_or(u64::MAX),
                    });
                }
            }
        }
        Ok(Ran::new(pace, until, (done, begun.elapsed()), &latencies))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count of requests"
)]
fn whole(count: f64) -> u64 {
    count as u64
}

impl Connection {
    /// Reads once. True at the end of an answer.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        match (&self.stream).read(buffer) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => self.answer.take(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}
