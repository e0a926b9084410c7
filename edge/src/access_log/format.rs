//! What a line looks like.

use std::net::IpAddr;

use serde::Serialize;

use super::{Line, civil, json};

/// What a line looks like.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Format {
    /// A JSON object.
    Json,
    /// The Combined Log Format, with the outcome behind it.
    Combined,
    /// As it, with the host before it, and behind it how the cache fared, and the seconds: what `GoAccess` reads as `%C`
    /// and `%T`.
    CombinedWithHost,
    /// Fields between tabs, as `CloudFront` writes them, which analysers read by that name.
    CloudFront,
    /// There is no line.
    Off,
}

pub(super) fn append(buffer: &mut Vec<u8>, format: Format, line: &Line<'_>) {
    let text = match format {
        Format::Json => {
            json::append(buffer, line);
            return buffer.push(b'\n');
        }
        Format::Combined => combined(line),
        Format::CombinedWithHost => with_host(line),
        Format::CloudFront => cloudfront(line),
        Format::Off => return,
    };
    buffer.extend_from_slice(text.as_bytes());
    buffer.push(b'\n');
}

pub(super) fn append_json(buffer: &mut Vec<u8>, line: &impl Serialize) {
    let start = buffer.len();
    match serde_json::to_writer(&mut *buffer, line) {
        Ok(()) => buffer.push(b'\n'),
        Err(_) => buffer.truncate(start),
    }
}

/// The Combined Log Format.
pub(super) fn combined(line: &Line<'_>) -> String {
    format!("{} {}", common(line), line.outcome)
}

fn common(line: &Line<'_>) -> String {
    let time = civil(line.received);
    let time = time.strftime("%d/%b/%Y:%H:%M:%S +0000");
    let referer = line.referer.as_deref().unwrap_or("-");
    let agent = line.user_agent.as_deref().unwrap_or("-");
    format!(
        "{} - - [{time}] \"{} {} {}\" {} {} \"{}\" \"{}\"",
        line.client,
        escaped(line.method),
        escaped(line.path),
        line.protocol,
        line.status,
        line.bytes,
        escaped(referer),
        escaped(agent),
    )
}

fn with_host(line: &Line<'_>) -> String {
    let host = match line.host {
        Some(host) => escaped(&host.host),
        None => "-".to_owned(),
    };
    let port = line.host.and_then(|host| host.port);
    let port = port.unwrap_or(if line.scheme == "https" { 443 } else { 80 });
    let seconds = line.duration_ms / 1000.0;
    format!(
        "{host}:{port} {} {} {seconds:.6}",
        common(line),
        word(line.outcome)
    )
}

/// How the cache fared, in the words that analysers know.
fn word(outcome: &str) -> &'static str {
    match outcome {
        "hit" => "HIT",
        "stale" => "STALE",
        "updating" => "UPDATING",
        "revalidated" => "REVALIDATED",
        "expired" => "EXPIRED",
        "bypass" | "pass" | "purge" | "refused" => "BYPASS",
        _ => "MISS",
    }
}

/// Date, time, location, bytes, client, method, host, path, status, referer, agent, query, cookie, result, id, host,
/// scheme, request bytes, seconds, forwarded for, TLS, cipher, result, protocol, and two that are never known here.
fn cloudfront(line: &Line<'_>) -> String {
    let time = civil(line.received);
    let (date, clock) = (time.strftime("%Y-%m-%d"), time.strftime("%H:%M:%S"));
    let host = line.host.map_or("-", |host| host.host.as_str());
    let (path, query) = line.path.split_once('?').unwrap_or((line.path, "-"));
    let seconds = line.duration_ms / 1000.0;
    [
        date.to_string(),
        clock.to_string(),
        "-".to_owned(),
        line.bytes.to_string(),
        line.client.to_string(),
        coded(line.method),
        coded(host),
        coded(path),
        line.status.to_string(),
        coded(line.referer.as_deref().unwrap_or("-")),
        coded(line.user_agent.as_deref().unwrap_or("-")),
        coded(query),
        "-".to_owned(),
        word(line.outcome).to_owned(),
        line.id.to_string(),
        coded(host),
        line.scheme.to_owned(),
        "-".to_owned(),
        format!("{seconds:.3}"),
        "-".to_owned(),
        line.tls.unwrap_or("-").to_owned(),
        line.cipher.unwrap_or("-").to_owned(),
        word(line.outcome).to_owned(),
        line.protocol.to_owned(),
        "-".to_owned(),
        "-".to_owned(),
    ]
    .join("\t")
}

/// Text that cannot end its field: spaces, quotes, controls and what is not ASCII are percent-encoded.
fn coded(text: &str) -> String {
    let mut coded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'!'..=b'~' if !matches!(byte, b'"' | b'\\') => coded.push(char::from(byte)),
            byte => coded.push_str(&format!("%{byte:02X}")),
        }
    }
    coded
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

/// What is not told of a request.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Redaction(u8);

/// Something of a request that may be left out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Redacted {
    /// The client's address, but for its network: 24 bits of IPv4, 48 of IPv6.
    Client = 1,
    /// The query.
    Query = 2,
    Referer = 4,
    UserAgent = 8,
}

impl Redaction {
    pub(crate) fn of(all: impl IntoIterator<Item = Redacted>) -> Self {
        Self(all.into_iter().fold(0, |sum, it| sum | it as u8))
    }

    const fn has(self, what: Redacted) -> bool {
        self.0 & what as u8 != 0
    }

    /// Leaves it out.
    pub(crate) fn apply(self, line: &mut Line<'_>) {
        if self.has(Redacted::Client) {
            line.client = network(line.client);
        }
        if self.has(Redacted::Query) {
            line.path = line.path.split('?').next().unwrap_or_default();
        }
        if self.has(Redacted::Referer) {
            line.referer = None;
        }
        if self.has(Redacted::UserAgent) {
            line.user_agent = None;
        }
    }

    /// A path as it may be told.
    pub(crate) fn path(self, path: &str) -> &str {
        match self.has(Redacted::Query) {
            true => path.split('?').next().unwrap_or_default(),
            false => path,
        }
    }
}

fn network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            IpAddr::from([a, b, c, 0])
        }
        IpAddr::V6(address) => {
            let mut octets = address.octets();
            octets[6..].fill(0);
            IpAddr::from(octets)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::line;
    use super::*;

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
    fn lines_are_what_analysers_read() {
        let told = |format, path| {
            let mut out = Vec::new();
            append(&mut out, format, &line(path));
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            told(Format::Combined, "/x"),
            "192.0.2.1 - - [14/Nov/2023:22:13:20 +0000] \"GET /x HTTP/1.1\" 200 5 \"-\" \"a\\\"b\\n\" hit\n"
        );
        assert_eq!(
            told(Format::CombinedWithHost, "/x"),
            "-:80 192.0.2.1 - - [14/Nov/2023:22:13:20 +0000] \"GET /x HTTP/1.1\" 200 5 \"-\" \"a\\\"b\\n\" HIT 0.000500\n"
        );
        let cloudfront = told(Format::CloudFront, "/x\ty?q=1");
        assert_eq!(
            cloudfront,
            "2023-11-14\t22:13:20\t-\t5\t192.0.2.1\tGET\t-\t/x%09y\t200\t-\ta%22b%0A\tq=1\t-\tHIT\t\
             0000000000000007\t-\thttp\t-\t0.001\t-\t-\t-\tHIT\tHTTP/1.1\t-\t-\n"
        );
        assert_eq!(told(Format::Off, "/x"), "");
    }

    #[test]
    fn what_is_redacted_is_not_told() {
        let mut line = line("/a?secret=1");
        line.referer = Some("http://r/".into());
        Redaction::default().apply(&mut line);
        assert_eq!(line.path, "/a?secret=1");
        let all = [
            Redacted::Client,
            Redacted::Query,
            Redacted::Referer,
            Redacted::UserAgent,
        ];
        Redaction::of(all).apply(&mut line);
        assert_eq!(line.client.to_string(), "192.0.2.0");
        assert_eq!(
            (line.path, line.referer, line.user_agent),
            ("/a", None, None)
        );
        let six = network("2001:db8:1:2:3::4".parse().unwrap());
        assert_eq!(six.to_string(), "2001:db8:1::");
    }
}
