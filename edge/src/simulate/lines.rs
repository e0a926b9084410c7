//! A line of an access log: of Larder, in the Common or Combined Log Format, or in JSON as other servers write it.

use http::{Method, StatusCode};
use jiff::fmt::strtime;
use policy::time::Timestamp;
use serde_json::{Map, Value};

/// What a log tells of a request.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub at: Timestamp,
    pub method: Method,
    pub scheme: String,
    /// None where the log does not tell.
    pub host: Option<String>,
    /// Path and query.
    pub target: String,
    pub status: StatusCode,
    /// Content bytes sent.
    pub bytes: u64,
    /// What the log knows of the response's freshness.
    pub freshness: Freshness,
}

/// What a log knows of a response's freshness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    /// Nothing: it is assumed.
    Unknown,
    /// Its lifetime in seconds.
    Lifetime(u64),
    /// It could not be stored.
    NotStorable,
}

/// What is in a line.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Line {
    Request(Box<Entry>),
    /// Something that is no request of a client.
    Other,
}

/// Reads a line; none if it is in no format that is known.
pub(super) fn read(line: &str) -> Option<Line> {
    match line.trim_start().starts_with('{') {
        true => json(line),
        false => common(line),
    }
}

/// `client ident user [day/month/year:hour:minute:second zone] "method target version" status bytes …`
fn common(line: &str) -> Option<Line> {
    let (_, rest) = line.split_once('[')?;
    let (at, rest) = rest.split_once(']')?;
    let (_, rest) = rest.split_once('"')?;
    let (request, rest) = rest.split_once('"')?;
    let mut numbers = rest.split_ascii_whitespace();
    let status = numbers.next()?;
    let bytes = numbers.next().unwrap_or("-");
    entry(Told {
        at: moment(
            strtime::parse("%d/%b/%Y:%H:%M:%S %z", at)
                .ok()?
                .to_timestamp()
                .ok()?,
        )?,
        request: Request::line(request)?,
        host: None,
        status,
        bytes: bytes.parse().unwrap_or(0),
        freshness: Freshness::Unknown,
    })
}

/// A request as a log writes it.
struct Request<'a> {
    method: &'a str,
    scheme: &'a str,
    target: &'a str,
}

impl<'a> Request<'a> {
    /// A request line.
    fn line(line: &'a str) -> Option<Self> {
        let mut words = line.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        Some(Self {
            method,
            scheme: "http",
            target,
        })
    }
}

/// The parts of an entry before they are checked.
struct Told<'a> {
    at: Timestamp,
    request: Request<'a>,
    host: Option<&'a str>,
    status: &'a str,
    bytes: u64,
    freshness: Freshness,
}

fn entry(told: Told<'_>) -> Option<Line> {
    let Request {
        method,
        scheme,
        target,
    } = told.request;
    let target = match target.split_once("://") {
        // The absolute form, as proxies are asked.
        Some((_, rest)) => &rest[rest.find('/')?..],
        None => target,
    };
    Some(Line::Request(Box::new(Entry {
        at: told.at,
        method: method.parse().ok()?,
        scheme: scheme.to_owned(),
        host: told.host.map(str::to_ascii_lowercase),
        target: target.to_owned(),
        status: told.status.parse().ok()?,
        bytes: told.bytes,
        freshness: told.freshness,
    })))
}

/// The names that servers give to the same thing.
const TIMES: [&str; 6] = [
    "ts",
    "time",
    "time_iso8601",
    "@timestamp",
    "timestamp",
    "msec",
];
const HOSTS: [&str; 4] = ["host", "http_host", "server_name", "request_host"];
const TARGETS: [&str; 5] = ["path", "request_uri", "uri", "url", "request_path"];
const METHODS: [&str; 2] = ["method", "request_method"];
const BYTES: [&str; 5] = [
    "bytes",
    "body_bytes_sent",
    "bytes_sent",
    "size",
    "response_body_size",
];

fn json(line: &str) -> Option<Line> {
    let fields: Map<String, Value> = serde_json::from_str(line).ok()?;
    if fields.contains_key("kind") {
        return Some(Line::Other);
    }
    let text = |names: &[&str]| names.iter().find_map(|name| fields.get(*name)?.as_str());
    let number = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| unsigned(fields.get(*name)?))
            .unwrap_or(0)
    };
    let request = match (text(&METHODS), text(&TARGETS)) {
        (method, Some(target)) => Request {
            method: method.unwrap_or("GET"),
            scheme: text(&["scheme"]).unwrap_or("http"),
            target,
        },
        (_, None) => Request::line(text(&["request"])?)?,
    };
    let status = number(&["status", "response_status"]).to_string();
    entry(Told {
        at: TIMES.iter().find_map(|name| time(fields.get(*name)?))?,
        request,
        host: text(&HOSTS),
        status: &status,
        bytes: number(&BYTES),
        freshness: freshness(&fields),
    })
}

fn unsigned(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    }
}

/// A date in RFC 3339, or seconds since 1970.
fn time(value: &Value) -> Option<Timestamp> {
    if let Value::String(text) = value
        && let Ok(date) = text.parse()
    {
        return moment(date);
    }
    let seconds: f64 = match value {
        Value::String(text) => text.parse().ok()?,
        other => other.as_f64()?,
    };
    let seconds = jiff::SignedDuration::try_from_secs_f64(seconds).ok()?;
    moment(jiff::Timestamp::from_duration(seconds).ok()?)
}

fn moment(date: jiff::Timestamp) -> Option<Timestamp> {
    let millis = u64::try_from(date.as_millisecond()).ok()?;
    Some(Timestamp::from_unix_millis(millis))
}

/// Why a response was not stored, in Larder's own log, where that is so for every request (see OBSERVING.md).
const NOT_STORABLE: [&str; 10] = [
    "set-cookie",
    "private",
    "no-store",
    "authorization",
    "no-freshness",
    "no-validator",
    "vary-star",
    "dictionary",
    "deception",
    "status",
];

/// Larder's own log tells what is left of the lifetime, and the age.
fn freshness(fields: &Map<String, Value>) -> Freshness {
    let reason = fields.get("reason").and_then(Value::as_str);
    if reason.is_some_and(|reason| NOT_STORABLE.contains(&reason)) {
        return Freshness::NotStorable;
    }
    let Some(ttl) = fields.get("ttl").and_then(Value::as_i64) else {
        return Freshness::Unknown;
    };
    let age = fields.get("age").and_then(Value::as_i64).unwrap_or(0);
    Freshness::Lifetime(u64::try_from(ttl.saturating_add(age)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(line: &str) -> Entry {
        match read(line) {
            Some(Line::Request(entry)) => *entry,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_combined_format_is_read() {
        let entry = request(
            r#"10.0.0.1 - - [10/Oct/2024:13:55:36 -0700] "GET /a?b=1 HTTP/1.1" 200 2326 "-" "curl/8""#,
        );
        assert_eq!(entry.at.unix_millis(), 1_728_593_736_000);
        assert_eq!(
            (entry.target.as_str(), entry.bytes, entry.host),
            ("/a?b=1", 2326, None)
        );
        let empty = request(r#"h - u [10/Oct/2024:13:55:36 +0000] "HEAD /a HTTP/1.0" 304 -"#);
        assert_eq!((empty.status.as_u16(), empty.bytes), (304, 0));
    }

    #[test]
    fn the_log_of_a_node_is_read() {
        let entry = request(
            r#"{"ts":"2026-01-02T03:04:05.678Z","method":"GET","scheme":"https","host":"E.com",
                "path":"/x","status":200,"bytes":7,"outcome":"hit","ttl":50,"age":10}"#,
        );
        assert_eq!(entry.at.unix_millis() % 1000, 678);
        assert_eq!(entry.host.as_deref(), Some("e.com"));
        assert_eq!(entry.freshness, Freshness::Lifetime(60));
        let private = request(
            r#"{"ts":"2026-01-02T03:04:05Z","method":"GET","path":"/x","status":200,"reason":"private"}"#,
        );
        assert_eq!(private.freshness, Freshness::NotStorable);
        assert_eq!(read(r#"{"kind":"background"}"#), Some(Line::Other));
    }

    #[test]
    fn the_json_of_others_is_read() {
        let entry = request(
            r#"{"msec":"1700000000.250","request":"GET http://e.com/p?q HTTP/1.1","status":"200","body_bytes_sent":"9"}"#,
        );
        assert_eq!(entry.at.unix_millis(), 1_700_000_000_250);
        assert_eq!((entry.target.as_str(), entry.bytes), ("/p?q", 9));
    }

    #[test]
    fn what_is_no_request_is_not_taken_for_one() {
        for line in [
            "",
            "garbage",
            "{",
            "{}",
            r#"a [b] "c" d"#,
            r#"a - - [10/Oct/2024:13:55:36 +0000] "GET" 200 1"#,
            r#"a - - [99/Oct/2024:13:55:36 +0000] "GET / HTTP/1.1" 200 1"#,
            r#"a - - [10/Oct/2024:13:55:36 +0000] "GET / HTTP/1.1" abc 1"#,
        ] {
            assert_eq!(read(line), None, "{line}");
        }
    }
}
