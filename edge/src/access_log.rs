//! One line per request, written by a thread of its own: a slow reader of the log slows no request.

use std::io::Write;
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use http::header::{REFERER, USER_AGENT};
use http::{HeaderMap, StatusCode, Version};
use policy::time::Timestamp;
use prometheus::IntCounter;
use serde::Serialize;

use crate::outcome::Outcome;

/// Lines that wait to be written; more are dropped and counted.
const WAITING_MAX: usize = 16 * 1024;

/// Lines are written in pieces of about this size where many wait.
const WRITE_SIZE: usize = 64 * 1024;
/// How long the end of a node waits for the last lines.
const FLUSH_TIME: Duration = Duration::from_secs(2);

/// What a line looks like.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Format {
    /// A JSON object.
    Json,
    /// The Combined Log Format, with the outcome behind it.
    Combined,
    /// There is no line.
    Off,
}

/// What is told of a request.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    /// When its head was read, in RFC 3339.
    pub ts: String,
    pub client: IpAddr,
    pub site: String,
    pub method: String,
    pub scheme: &'static str,
    pub host: String,
    pub path: String,
    pub protocol: &'static str,
    pub status: u16,
    /// Content bytes sent.
    pub bytes: u64,
    pub outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<i64>,
    #[serde(skip_serializing_if = "is_false")]
    pub collapsed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin_status: Option<u16>,
    pub duration_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub referer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    #[serde(skip)]
    pub received: Timestamp,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// Where lines go.
#[derive(Debug)]
pub(crate) struct AccessLog {
    lines: Option<SyncSender<Entry>>,
    dropped: IntCounter,
}

/// What the writing thread is given.
#[derive(Debug)]
enum Entry {
    Line(Box<Line>),
    /// Everything before it is to be written by the time that it is answered.
    Flush(SyncSender<()>),
}

impl AccessLog {
    /// A log to `out`. The thread that writes it ends with the log.
    pub(crate) fn new(
        format: Format,
        out: impl Write + Send + 'static,
        dropped: IntCounter,
    ) -> Self {
        if format == Format::Off {
            return Self {
                lines: None,
                dropped,
            };
        }
        let (lines, waiting) = sync_channel(WAITING_MAX);
        let writer = std::thread::Builder::new().name("access-log".to_owned());
        let started = writer.spawn(move || write_lines(&waiting, format, out));
        if let Err(error) = &started {
            tracing::error!(%error, "no access log: its thread cannot be started");
        }
        Self {
            lines: started.is_ok().then_some(lines),
            dropped,
        }
    }

    /// Whether anybody wants a line.
    pub(crate) const fn is_on(&self) -> bool {
        self.lines.is_some()
    }

    /// Waits until every line handed over before is written, at most for [`FLUSH_TIME`]. It blocks.
    pub(crate) fn flush(&self) {
        let Some(lines) = &self.lines else {
            return;
        };
        let (done, flushed) = sync_channel(1);
        let asked = lines.try_send(Entry::Flush(done)).is_ok();
        if !asked || flushed.recv_timeout(FLUSH_TIME).is_err() {
            tracing::warn!("the access log is not read: its last lines are lost");
        }
    }

    /// Hands a line over, or drops it where too many wait.
    pub(crate) fn write(&self, line: Line) {
        if let Some(lines) = &self.lines
            && lines.try_send(Entry::Line(Box::new(line))).is_err()
        {
            self.dropped.inc();
        }
    }
}

fn write_lines(waiting: &Receiver<Entry>, format: Format, mut out: impl Write) {
    let mut buffer = Vec::with_capacity(2 * WRITE_SIZE);
    while let Ok(first) = waiting.recv() {
        let mut next = Some(first);
        let mut flushed = None;
        // Whatever waits goes out in one write.
        while let Some(entry) = next {
            match entry {
                Entry::Line(line) => append(&mut buffer, format, &line),
                Entry::Flush(done) => flushed = Some(done),
            }
            let full = buffer.len() >= WRITE_SIZE || flushed.is_some();
            next = if full { None } else { waiting.try_recv().ok() };
        }
        // A log that nobody reads any more is no reason to stop serving, and who waited may be gone.
        drop(out.write_all(&buffer).and_then(|()| out.flush()));
        buffer.clear();
        if flushed.is_some_and(|done| done.send(()).is_err()) {
            return; // who waited is gone, and so is the node
        }
    }
}

fn append(buffer: &mut Vec<u8>, format: Format, line: &Line) {
    match format {
        Format::Json => {
            let start = buffer.len();
            if serde_json::to_writer(&mut *buffer, line).is_err() {
                buffer.truncate(start);
                return;
            }
        }
        Format::Combined => buffer.extend_from_slice(combined(line).as_bytes()),
        Format::Off => return,
    }
    buffer.push(b'\n');
}

/// The Combined Log Format.
fn combined(line: &Line) -> String {
    let millis = i64::try_from(line.received.unix_millis()).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_millisecond(millis).unwrap_or_default();
    let time = time.strftime("%d/%b/%Y:%H:%M:%S +0000");
    let referer = line.referer.as_deref().unwrap_or("-");
    let agent = line.user_agent.as_deref().unwrap_or("-");
    format!(
        "{} - - [{time}] \"{} {} {}\" {} {} \"{}\" \"{}\" {}",
        line.client,
        escaped(&line.method),
        escaped(&line.path),
        line.protocol,
        line.status,
        line.bytes,
        escaped(referer),
        escaped(agent),
        line.outcome,
    )
}

/// Text that cannot end its quotes or its line.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '"' | '\\' => {
                escaped.push('\\');
                escaped.push(char);
            }
            char if char.is_control() => escaped.extend(char.escape_default()),
            char => escaped.push(char),
        }
    }
    escaped
}

/// RFC 3339 with milliseconds.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    let millis = i64::try_from(time.unix_millis()).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_millisecond(millis).unwrap_or_default();
    format!("{time:.3}")
}

/// A field for the log: as text, whatever bytes it has.
pub(crate) fn field(headers: &HeaderMap, name: &http::HeaderName) -> Option<String> {
    let value = headers.get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// The fields of every log format that come from the request's header.
pub(crate) fn referer_and_agent(headers: &HeaderMap) -> [Option<String>; 2] {
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
mod tests {
    use super::*;

    fn line(path: &str) -> Line {
        let received = Timestamp::from_unix_millis(1_700_000_000_123);
        Line {
            ts: rfc3339(received),
            client: IpAddr::from([192, 0, 2, 1]),
            site: "s".to_owned(),
            method: "GET".to_owned(),
            scheme: "http",
            host: "h".to_owned(),
            path: path.to_owned(),
            protocol: "HTTP/1.1",
            status: 200,
            bytes: 5,
            outcome: "hit",
            detail: None,
            ttl: Some(9),
            collapsed: false,
            origin_status: None,
            duration_ms: 0.5,
            referer: None,
            user_agent: Some("a\"b\n".to_owned()),
            received,
        }
    }

    #[test]
    fn a_json_line_is_one_line() {
        let mut out = Vec::new();
        append(&mut out, Format::Json, &line("/a\u{7f}\n\"b"));
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), 1);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["ts"], "2023-11-14T22:13:20.123Z");
        assert_eq!(value["path"], "/a\u{7f}\n\"b");
        assert_eq!(value["ttl"], 9);
    }

    #[test]
    fn a_combined_line_is_what_analysers_read() {
        assert_eq!(
            combined(&line("/x")),
            r#"192.0.2.1 - - [14/Nov/2023:22:13:20 +0000] "GET /x HTTP/1.1" 200 5 "-" "a\"b\n" hit"#
        );
    }

    #[test]
    fn lines_that_nobody_takes_are_dropped_and_counted() {
        struct Stuck(Receiver<()>);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.recv().map_or(Ok(bytes.len()), |()| Ok(bytes.len()))
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let dropped = IntCounter::new("dropped", "test").unwrap();
        let (release, stuck) = std::sync::mpsc::channel();
        let log = AccessLog::new(Format::Json, Stuck(stuck), dropped.clone());
        for _ in 0..2 * WAITING_MAX + 2000 {
            log.write(line("/"));
        }
        drop(release);
        // One batch of 64 KiB may be with the writer, and the queue is full.
        assert!(dropped.get() > 0);
        assert!(dropped.get() <= WAITING_MAX as u64 + 2000);
    }
}
