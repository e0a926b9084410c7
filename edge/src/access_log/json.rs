//! A request's line as JSON, written straight into what waits.
//!
//! Nothing is looked up, no name is escaped and no text made on the way. A test holds it against what the line's own
//! [`Serialize`](serde::Serialize) gives.

use std::fmt::Display;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tiered::TraceId;
use wire::Authority;

use super::{Fields, Line, Parts, moment};
use crate::digits::Digits;
use crate::ids::Id;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// As long as most lines are, in bytes.
const USUAL: usize = 512;

/// A line, without its end.
pub(crate) fn in_json(line: &Line<'_>) -> Box<[u8]> {
    let mut out = Vec::with_capacity(USUAL);
    append(&mut out, line);
    out.into_boxed_slice()
}

/// Appends a line, without its end.
pub(super) fn append(out: &mut Vec<u8>, line: &Line<'_>) {
    let Line {
        received,
        id,
        node,
        trace_id,
        client,
        site,
        rule,
        method,
        scheme,
        host,
        path,
        protocol,
        tls,
        cipher,
        status,
        bytes,
        cached_bytes,
        outcome,
        sample,
        reason,
        fwd,
        detail,
        tier,
        ttl,
        age,
        collapsed,
        key,
        coding,
        slices,
        content_type,
        origin,
        origin_status,
        origin_requests,
        origin_bytes,
        upstream,
        origin_ms,
        duration_ms,
        ttfb_ms,
        referer,
        user_agent,
        request_fields,
        response_fields,
    } = line;
    out.extend_from_slice(b"{\"ts\":\"");
    out.extend_from_slice(&moment::rfc3339(*received));
    put_id(out, *id);
    text(out, b",\"node\":\"", node);
    if let Some(trace) = trace_id {
        put_trace(out, *trace);
    }
    put_client(out, *client);
    text(out, b",\"site\":\"", site);
    some_text(out, b",\"rule\":\"", *rule);
    text(out, b",\"method\":\"", method);
    text(out, b",\"scheme\":\"", scheme);
    put_host(out, *host);
    text(out, b",\"path\":\"", path);
    text(out, b",\"protocol\":\"", protocol);
    some_text(out, b",\"tls\":\"", *tls);
    some_text(out, b",\"cipher\":\"", *cipher);
    number(out, b",\"status\":", u64::from(*status));
    number(out, b",\"bytes\":", *bytes);
    number(out, b",\"cached_bytes\":", *cached_bytes);
    text(out, b",\"outcome\":\"", outcome);
    some_number(out, b",\"sample\":", sample.map(u64::from));
    some_text(out, b",\"reason\":\"", *reason);
    some_text(out, b",\"fwd\":\"", *fwd);
    some_text(out, b",\"detail\":\"", *detail);
    some_text(out, b",\"tier\":\"", *tier);
    if let Some(ttl) = ttl {
        out.extend_from_slice(if *ttl < 0 {
            b",\"ttl\":-"
        } else {
            b",\"ttl\":"
        });
        out.extend_from_slice(Digits::of(ttl.unsigned_abs()).text());
    }
    some_number(out, b",\"age\":", *age);
    if *collapsed {
        out.extend_from_slice(b",\"collapsed\":true");
    }
    if let Some(key) = key {
        put_key(out, *key);
    }
    some_text(out, b",\"coding\":\"", *coding);
    if let Some(Parts { hit, miss }) = slices {
        number(out, b",\"slices\":{\"hit\":", *hit);
        number(out, b",\"miss\":", *miss);
        out.push(b'}');
    }
    some_text(out, b",\"content_type\":\"", content_type.as_deref());
    if let Some(origin) = origin {
        put_origin(out, *origin);
    }
    some_number(out, b",\"origin_status\":", origin_status.map(u64::from));
    some_number(out, b",\"origin_requests\":", *origin_requests);
    some_number(out, b",\"origin_bytes\":", *origin_bytes);
    some_text(out, b",\"upstream\":\"", upstream.as_deref());
    some_float(out, b",\"origin_ms\":", *origin_ms);
    some_float(out, b",\"duration_ms\":", Some(*duration_ms));
    some_float(out, b",\"ttfb_ms\":", *ttfb_ms);
    some_text(out, b",\"referer\":\"", referer.as_deref());
    some_text(out, b",\"user_agent\":\"", user_agent.as_deref());
    fields(out, b",\"request_fields\":{", request_fields);
    fields(out, b",\"response_fields\":{", response_fields);
    out.push(b'}');
}

// The names are arrays, not slices: their lengths are known where they are copied.

fn text<const N: usize>(out: &mut Vec<u8>, name: &[u8; N], value: &str) {
    out.extend_from_slice(name);
    escape(out, value);
    out.push(b'"');
}

fn some_text<const N: usize>(out: &mut Vec<u8>, name: &[u8; N], value: Option<&str>) {
    if let Some(value) = value {
        text(out, name, value);
    }
}

fn number<const N: usize>(out: &mut Vec<u8>, name: &[u8; N], value: u64) {
    out.extend_from_slice(name);
    out.extend_from_slice(Digits::of(value).text());
}

fn some_number<const N: usize>(out: &mut Vec<u8>, name: &[u8; N], value: Option<u64>) {
    if let Some(value) = value {
        number(out, name, value);
    }
}

fn some_float<const N: usize>(out: &mut Vec<u8>, name: &[u8; N], value: Option<f64>) {
    if let Some(value) = value {
        out.extend_from_slice(name);
        if serde_json::to_writer(&mut *out, &value).is_err() {
            out.extend_from_slice(b"null");
        }
    }
}

/// What writes itself in characters that need no escaping.
fn shown<const N: usize>(out: &mut Vec<u8>, name: &[u8; N], value: impl Display) {
    out.extend_from_slice(name);
    // Memory takes all that is written to it.
    drop(write!(out, "{value}"));
    out.push(b'"');
}

fn put_id(out: &mut Vec<u8>, Id(id): Id) {
    out.extend_from_slice(b"\",\"id\":\"");
    out.extend_from_slice(&hex::<8, 16>(id.to_be_bytes()));
    out.push(b'"');
}

fn put_trace(out: &mut Vec<u8>, trace: TraceId) {
    shown(out, b",\"trace_id\":\"", trace);
}

fn put_key(out: &mut Vec<u8>, storage::Key(key): storage::Key) {
    out.extend_from_slice(b",\"key\":\"");
    out.extend_from_slice(&hex::<16, 32>(key));
    out.push(b'"');
}

fn put_client(out: &mut Vec<u8>, client: IpAddr) {
    let IpAddr::V4(address) = client else {
        return shown(out, b",\"client\":\"", client);
    };
    out.extend_from_slice(b",\"client\":\"");
    put_octets(out, address);
    out.push(b'"');
}

fn put_origin(out: &mut Vec<u8>, origin: SocketAddr) {
    let SocketAddr::V4(address) = origin else {
        return shown(out, b",\"origin\":\"", origin);
    };
    out.extend_from_slice(b",\"origin\":\"");
    put_octets(out, *address.ip());
    number(out, b":", u64::from(address.port()));
    out.push(b'"');
}

fn put_octets(out: &mut Vec<u8>, address: Ipv4Addr) {
    for (place, octet) in address.octets().into_iter().enumerate() {
        if place > 0 {
            out.push(b'.');
        }
        out.extend_from_slice(Digits::of(u64::from(octet)).text());
    }
}

fn put_host(out: &mut Vec<u8>, host: Option<&Authority>) {
    match host {
        None => text(out, b",\"host\":\"", "-"),
        Some(Authority { host, port: None }) => text(out, b",\"host\":\"", host),
        Some(Authority {
            host,
            port: Some(port),
        }) => {
            out.extend_from_slice(b",\"host\":\"");
            escape(out, host);
            number(out, b":", u64::from(*port));
            out.push(b'"');
        }
    }
}

fn fields<const N: usize>(out: &mut Vec<u8>, name: &[u8; N], Fields(fields): &Fields<'_>) {
    if fields.is_empty() {
        return;
    }
    out.extend_from_slice(name);
    for (place, (name, value)) in fields.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        text(out, b"\"", name.as_str());
        text(out, b":\"", value);
    }
    out.push(b'}');
}

fn hex<const BYTES: usize, const DIGITS: usize>(bytes: [u8; BYTES]) -> [u8; DIGITS] {
    let mut digits = [b'0'; DIGITS];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair[0] = HEX[usize::from(byte >> 4)];
        pair[1] = HEX[usize::from(byte & 0xf)];
    }
    digits
}

/// Appends a text, with those characters escaped that end it or are no part of one (RFC 8259 §7).
fn escape(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    if is_plain(bytes) {
        return out.extend_from_slice(bytes);
    }
    for byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            0..0x20 => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&hex::<1, 2>([*byte]));
            }
            _ => out.push(*byte),
        }
    }
}

/// Whether nothing in it has to be escaped.
fn is_plain(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    words.iter().all(|word| is_plain_word(*word))
        && rest
            .iter()
            .all(|byte| *byte >= 0x20 && !matches!(byte, b'"' | b'\\'))
}

/// As [`is_plain`], of eight bytes at once.
const fn is_plain_word(word: [u8; 8]) -> bool {
    const LOW: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGH: u64 = LOW << 7;
    /// The high bit of a byte is set if one is below the limit: of the lowest such byte at least.
    const fn has_below(word: u64, limit: u64) -> u64 {
        word.wrapping_sub(LOW * limit) & !word & HIGH
    }
    let word = u64::from_ne_bytes(word);
    let quote = has_below(word ^ (LOW * b'"' as u64), 1);
    let backslash = has_below(word ^ (LOW * b'\\' as u64), 1);
    (has_below(word, 0x20) | quote | backslash) == 0
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::super::tests::line;
    use super::*;

    #[track_caller]
    fn check(line: &Line<'_>) {
        let mut out = Vec::new();
        append(&mut out, line);
        let written = String::from_utf8(out).unwrap();
        assert_eq!(written, serde_json::to_string(line).unwrap());
    }

    /// Texts with each byte of ASCII at each place of a word, and with others.
    fn texts() -> Vec<String> {
        let mut texts = vec![String::new(), "é\u{7f}\u{80}漢字".repeat(3)];
        for char in (0..0x80_u8).map(char::from) {
            for place in 0..17 {
                texts.push(format!(
                    "{}{char}{}",
                    "x".repeat(place),
                    "é".repeat(17 - place)
                ));
                texts.push(format!(
                    "{}{char}{}",
                    "~".repeat(place),
                    " ".repeat(17 - place)
                ));
            }
        }
        texts
    }

    #[test]
    fn a_line_is_what_serde_would_write() {
        for text in texts() {
            check(&line(&text));
        }
    }

    #[test]
    fn a_line_with_everything_is_what_serde_would_write() {
        let name = [
            HeaderName::from_static("x-a"),
            HeaderName::from_static("x-b"),
        ];
        let mut headers = HeaderMap::new();
        headers.insert("x-a", HeaderValue::from_static("a\"b"));
        headers.insert("x-b", HeaderValue::from_bytes(b"\xff\t").unwrap());
        let host = Authority {
            host: "h.example".to_owned(),
            port: None,
        };
        let with_port = Authority {
            port: Some(8443),
            ..host.clone()
        };
        let full = Line {
            id: Id(u64::MAX - 5),
            client: "2001:db8::1".parse().unwrap(),
            rule: Some("r\\"),
            host: Some(&with_port),
            tls: Some("TLSv1.3"),
            cipher: Some("TLS13_AES_256_GCM_SHA384"),
            sample: Some(100),
            reason: Some("stale"),
            fwd: Some("stale"),
            detail: Some("d"),
            ttl: Some(i64::MIN),
            age: Some(u64::MAX),
            collapsed: true,
            key: Some(storage::Key([0xa5; 16])),
            coding: Some("br"),
            slices: Some(Parts { hit: 1, miss: 0 }),
            content_type: Some("text/html".into()),
            origin: Some("[2001:db8::2]:80".parse().unwrap()),
            origin_status: Some(503),
            origin_requests: Some(2),
            origin_bytes: Some(0),
            upstream: Some("n; hit".into()),
            origin_ms: Some(1e-7),
            duration_ms: 123_456_789.25,
            ttfb_ms: Some(0.0),
            referer: Some("http://r/\u{1}".into()),
            request_fields: Fields::of(&name, &headers),
            response_fields: Fields::of(&name[..1], &headers),
            ..line("/x")
        };
        check(&full);
        check(&Line {
            host: Some(&host),
            origin: Some("192.0.2.200:8080".parse().unwrap()),
            ttl: Some(-1),
            tier: None,
            ..full
        });
    }
}
