//! One line per request, written by a thread of its own: a slow reader of the log slows no request.
//!
//! A request's line is formatted where it waits ([`queue`]).

mod format;
mod json;
mod moment;
mod output;
mod queue;

use std::borrow::Cow;
use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::header::{REFERER, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use policy::time::Timestamp;
use prometheus::IntCounter;
use serde::{Serialize, Serializer};
use tiered::TraceId;
use wire::Authority;

use crate::ids::Id;
use crate::outcome::{Outcome, Word};
pub(crate) use format::{Format, Redacted, Redaction};
use format::{append, append_json};
pub(crate) use json::in_json;
pub(crate) use output::{Output, Rotated, Server, Syslog};
use queue::{Full, Queue};

/// What is told of a request.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Line<'a> {
    /// When its head was read, in RFC 3339.
    #[serde(rename = "ts", serialize_with = "timestamp")]
    pub received: Timestamp,
    /// By which one request is told from others.
    pub id: Id,
    /// The node.
    pub node: &'a str,
    /// The trace that it belongs to, where traces are sent.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "trace")]
    pub trace_id: Option<TraceId>,
    pub client: IpAddr,
    pub site: &'a str,
    /// The first of the site's rules that matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<&'a str>,
    pub method: &'a str,
    pub scheme: &'static str,
    #[serde(serialize_with = "authority")]
    pub host: Option<&'a Authority>,
    pub path: &'a str,
    pub protocol: &'static str,
    /// The version of TLS, and the cipher suite.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cipher: Option<&'static str>,
    pub status: u16,
    /// Content bytes sent.
    pub bytes: u64,
    /// How many of them came from what was stored.
    pub cached_bytes: u64,
    pub outcome: &'static str,
    /// How many hits this one stands for, where not all are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<u32>,
    /// Why it was no hit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// Why the request went towards the origin (RFC 9211 §2.2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fwd: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'static str>,
    /// How far the request went: `memory`, `disk`, `parent`, `origin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<i64>,
    /// The `Age` that the client was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age: Option<u64>,
    #[serde(skip_serializing_if = "is_false")]
    pub collapsed: bool,
    /// The hash of the cache key.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "digest")]
    pub key: Option<storage::Key>,
    /// The coding that the node converted the response to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coding: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slices: Option<Parts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<Cow<'a, str>>,
    /// Whom the node asked last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin_status: Option<u16>,
    /// Requests to origins until the client was served, attempts included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin_requests: Option<u64>,
    /// Content bytes from origins until the client was served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin_bytes: Option<u64>,
    /// What the nodes beyond this one said of it (RFC 9211), where it went there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Cow<'a, str>>,
    /// From the last request to an origin to the head of its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin_ms: Option<f64>,
    pub duration_ms: f64,
    /// Until the response began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttfb_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub referer: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<Cow<'a, str>>,
    /// The fields that are told beside all this.
    #[serde(skip_serializing_if = "Fields::is_empty")]
    pub request_fields: Fields<'a>,
    #[serde(skip_serializing_if = "Fields::is_empty")]
    pub response_fields: Fields<'a>,
}

/// Some fields of a message: a member for each that is there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields<'a>(Vec<(&'a HeaderName, Cow<'a, str>)>);

impl<'a> Fields<'a> {
    /// The first value of each of these fields.
    pub(crate) fn of(names: &'a [HeaderName], headers: &'a HeaderMap) -> Self {
        let told = names.iter();
        let told = told.filter_map(|name| Some((name, field(headers, name)?)));
        Self(told.collect())
    }

    const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let members = self.0.iter();
        out.collect_map(members.map(|(name, value)| (name.as_str(), value)))
    }
}

/// What came from origins and is told by no request's line: a validation in the background, or what came after the
/// client had gone.
#[derive(Debug, Serialize)]
pub(crate) struct Behind<'a> {
    /// When it was over.
    #[serde(rename = "ts", serialize_with = "timestamp")]
    pub ended: Timestamp,
    /// `background`; no other line has it.
    pub kind: &'static str,
    pub id: Id,
    pub site: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<&'a str>,
    #[serde(serialize_with = "host")]
    pub host: &'a Authority,
    pub path: &'a str,
    #[serde(serialize_with = "key")]
    pub key: storage::Key,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<SocketAddr>,
    pub origin_requests: u64,
    pub origin_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin_ms: Option<f64>,
}

/// The slices that an answer was made of.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Parts {
    /// Those that were stored.
    pub hit: u64,
    /// Those that the origin was asked for.
    pub miss: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// RFC 3339 with milliseconds.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    format!("{:.3}", civil(time))
}

/// The time that was written so; none where that is no time.
pub(crate) fn time_of(text: &str) -> Option<Timestamp> {
    let time: jiff::Timestamp = text.parse().ok()?;
    let millis = u64::try_from(time.as_millisecond()).ok()?;
    Some(Timestamp::from_unix_millis(millis))
}

fn timestamp<S: Serializer>(time: &Timestamp, out: S) -> Result<S::Ok, S::Error> {
    let text = moment::rfc3339(*time);
    match str::from_utf8(&text) {
        Ok(text) => out.serialize_str(text),
        Err(_) => out.collect_str(&format_args!("{:.3}", civil(*time))),
    }
}

fn authority<S: Serializer>(host: &Option<&Authority>, out: S) -> Result<S::Ok, S::Error> {
    match host {
        Some(name) => self::host(name, out),
        None => out.serialize_str("-"),
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn host<S: Serializer>(host: &&Authority, out: S) -> Result<S::Ok, S::Error> {
    match host.port {
        None => out.serialize_str(&host.host),
        Some(_) => out.collect_str(host),
    }
}

fn trace<S: Serializer>(trace: &Option<TraceId>, out: S) -> Result<S::Ok, S::Error> {
    match trace {
        Some(trace) => out.collect_str(trace),
        None => out.serialize_none(),
    }
}

fn digest<S: Serializer>(key: &Option<storage::Key>, out: S) -> Result<S::Ok, S::Error> {
    match key {
        Some(key) => out.collect_str(&format_args!("{key:?}")),
        None => out.serialize_none(),
    }
}

fn key<S: Serializer>(key: &storage::Key, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(&format_args!("{key:?}"))
}

fn civil(time: Timestamp) -> jiff::Timestamp {
    let millis = i64::try_from(time.unix_millis()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).unwrap_or_default()
}

/// What the log tells, and how.
#[derive(Debug)]
pub(crate) struct Manner {
    pub format: Format,
    /// One of so many hits is told.
    pub sample_hits: u32,
    pub redaction: Redaction,
    pub request_fields: Box<[HeaderName]>,
    pub response_fields: Box<[HeaderName]>,
}

/// Where lines go.
#[derive(Debug)]
pub(crate) struct AccessLog {
    queue: Option<Arc<Queue>>,
    manner: Manner,
    dropped: IntCounter,
}

/// Whether a request is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Telling {
    No,
    Yes,
    /// For so many.
    For(u32),
}

impl AccessLog {
    /// A log to `out`. The thread that writes it ends with the log.
    pub(crate) fn new(manner: Manner, out: Output, dropped: IntCounter) -> Self {
        let wanted = manner.format != Format::Off;
        let queue = wanted.then(|| Queue::start(out, dropped.clone())).flatten();
        Self {
            queue,
            manner,
            dropped,
        }
    }

    /// Whether a request that ended so is told.
    pub(crate) fn tells(&self, word: Word) -> Telling {
        thread_local! {
            static HITS: Cell<u32> = const { Cell::new(0) };
        }
        let every = self.manner.sample_hits;
        if self.queue.is_none() {
            return Telling::No;
        }
        if every <= 1 || word != Word::Hit {
            return Telling::Yes;
        }
        let hits = HITS.get() + 1;
        HITS.set(hits % every);
        match hits % every {
            0 => Telling::For(every),
            _ => Telling::No,
        }
    }

    /// Whether the log has lines at all.
    pub(crate) const fn is_on(&self) -> bool {
        self.queue.is_some()
    }

    /// What no line tells.
    pub(crate) const fn redaction(&self) -> Redaction {
        self.manner.redaction
    }

    /// Fields of requests that lines tell.
    pub(crate) const fn request_fields(&self) -> &[HeaderName] {
        &self.manner.request_fields
    }

    /// Fields of responses that lines tell.
    pub(crate) const fn response_fields(&self) -> &[HeaderName] {
        &self.manner.response_fields
    }

    /// Waits until every line handed over before is written, for two seconds at most. It blocks.
    pub(crate) fn flush(&self) {
        if let Some(queue) = &self.queue {
            queue.flush();
        }
    }

    /// Hands a line over, or drops it where too many wait.
    pub(crate) fn write(&self, line: &Line<'_>) {
        self.hand_over(|buffer| append(buffer, self.manner.format, line));
    }

    /// As [`Self::write`], of a line that is there `in_json` already.
    pub(crate) fn write_kept(&self, line: &Line<'_>, in_json: &[u8]) {
        if self.manner.format != Format::Json {
            return self.write(line);
        }
        self.hand_over(|buffer| {
            buffer.extend_from_slice(in_json);
            buffer.push(b'\n');
        });
    }

    /// Hands a line over of what no request's line tells. Only JSON has it.
    pub(crate) fn write_behind(&self, behind: &Behind<'_>) {
        if self.manner.format == Format::Json {
            self.hand_over(|buffer| append_json(buffer, behind));
        }
    }

    fn hand_over(&self, line: impl FnOnce(&mut Vec<u8>)) {
        if let Some(queue) = &self.queue
            && let Err(Full) = queue.append(line)
        {
            self.dropped.inc();
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        if let Some(queue) = &self.queue {
            queue.close();
        }
    }
}

/// A field for the log: as text, whatever bytes it has.
fn field<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Cow<'a, str>> {
    headers.get(name).map(text)
}

/// A value as text, whatever bytes it has.
pub(crate) fn text(value: &HeaderValue) -> Cow<'_, str> {
    // Nearly every value is text.
    match str::from_utf8(value.as_bytes()) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(value.as_bytes()),
    }
}

/// The fields of every log format that come from the request's header.
pub(crate) fn referer_and_agent(headers: &HeaderMap) -> [Option<Cow<'_, str>>; 2] {
    [field(headers, &REFERER), field(headers, &USER_AGENT)]
}

/// The protocol as logs write it.
pub(crate) const fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}

/// What the log tells of an outcome beside its word.
pub(crate) fn origin_status(outcome: &Outcome) -> Option<StatusCode> {
    match outcome {
        Outcome::Forwarded(forwarded) => forwarded.status,
        Outcome::Hit { .. } | Outcome::Local(_) => None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;
    use std::sync::mpsc;

    use super::queue::LANE_MAX;
    use super::*;

    pub(super) fn line(path: &str) -> Line<'_> {
        Line {
            received: Timestamp::from_unix_millis(1_700_000_000_123),
            id: Id(7),
            trace_id: None,
            node: "n",
            tls: None,
            cipher: None,
            upstream: None,
            request_fields: Fields::default(),
            response_fields: Fields::default(),
            client: IpAddr::from([192, 0, 2, 1]),
            site: "s",
            rule: None,
            method: "GET",
            scheme: "http",
            host: None,
            path,
            protocol: "HTTP/1.1",
            status: 200,
            bytes: 5,
            cached_bytes: 5,
            outcome: "hit",
            sample: None,
            reason: None,
            fwd: None,
            detail: None,
            tier: Some("memory"),
            ttl: Some(9),
            age: Some(51),
            collapsed: false,
            key: None,
            content_type: None,
            origin: None,
            origin_requests: None,
            origin_bytes: None,
            origin_ms: None,
            ttfb_ms: None,
            slices: None,
            coding: None,
            origin_status: None,
            duration_ms: 0.5,
            referer: None,
            user_agent: Some("a\"b\n".into()),
        }
    }

    /// A place that takes one write at a time.
    struct Stuck {
        released: mpsc::Receiver<()>,
        taken: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.released.recv().map_err(std::io::Error::other)?;
            self.taken
                .send(bytes.to_vec())
                .map_err(std::io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn stuck() -> (
        AccessLog,
        IntCounter,
        mpsc::Sender<()>,
        mpsc::Receiver<Vec<u8>>,
    ) {
        let dropped = IntCounter::new("dropped", "test").unwrap();
        let (release, released) = mpsc::channel();
        let (taken, written) = mpsc::channel();
        let manner = Manner {
            format: Format::Json,
            sample_hits: 1,
            redaction: Redaction::default(),
            request_fields: Box::default(),
            response_fields: Box::default(),
        };
        let out = Output::Stream(Box::new(Stuck { released, taken }));
        let log = AccessLog::new(manner, out, dropped.clone());
        (log, dropped, release, written)
    }

    #[test]
    fn lines_that_nobody_takes_are_dropped_and_counted() {
        let (log, dropped, release, _written) = stuck();
        let path = "x".repeat(1000);
        let lines = 3 * LANE_MAX / path.len();
        for _ in 0..lines {
            log.write(&line(&path));
        }
        drop(release);
        // One lot may be with the writer, and be lost, too; another one waits.
        let kept = lines - usize::try_from(dropped.get()).unwrap();
        assert!(kept > LANE_MAX / 2 / path.len());
        assert!(kept <= 2 * LANE_MAX / path.len());
    }

    #[test]
    fn lines_are_written_in_the_order_in_which_they_came_whichever_thread_they_are_of() {
        let (log, dropped, release, written) = stuck();
        std::thread::spawn(move || while release.send(()).is_ok() {});
        let turn = std::sync::Mutex::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        let mut turn = turn.lock().unwrap();
                        log.write(&line(&format!("/{turn}")));
                        *turn += 1;
                    }
                });
            }
        });
        log.flush();
        assert_eq!(dropped.get(), 0);
        let written = written.try_iter().collect::<Vec<_>>().concat();
        let paths: Vec<String> = str::from_utf8(&written)
            .unwrap()
            .lines()
            .map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                line["path"].as_str().unwrap().to_owned()
            })
            .collect();
        let expected: Vec<String> = (0..8_000).map(|turn| format!("/{turn}")).collect();
        assert_eq!(paths, expected);
    }

    #[test]
    fn every_line_is_written_by_the_end_of_a_flush() {
        let (log, _, release, written) = stuck();
        std::thread::spawn(move || while release.send(()).is_ok() {});
        for number in 0..10_000 {
            log.write(&line(&number.to_string()));
        }
        log.flush();
        let written = written.try_iter().collect::<Vec<_>>().concat();
        assert_eq!(written.split(|byte| *byte == b'\n').count(), 10_001);
    }
}
