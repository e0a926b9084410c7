//! What one run of a test wrote down, without what is another in each run.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;

use serde_json::Value;

/// Answers, requests to origins, and lines of the log; however often, and in whatever order.
pub(crate) type Entries = HashSet<String>;

/// How much of the beginning of a text is of one kind.
type Length = fn(&[u8]) -> usize;

/// What stands before something that is another one in each run, and how long that is. All else is compared byte for byte.
///
/// Tests whose clock stands compare dates and ages to the second (`short_way`).
const MOVING: &[(&str, Length)] = &[
    ("date: ", http_date),
    ("age: ", digits),
    ("ttl=", number),
    ("127.0.0.", address),
    ("[", log_time),
];

/// The same of a line of the log.
const MOVING_MEMBERS: &[&str] = &[
    "ts",
    "id",
    "age",
    "ttl",
    "duration_ms",
    "ttfb_ms",
    "origin",
    "origin_ms",
];

/// What an operator asks is told with the numbers of the moment.
const OPERATORS: [&str; 4] = [" /metrics", " /readyz", " /healthz", " /v1/"];

/// The entries of a file; none where there is no file.
pub(crate) fn read(path: &Path) -> Result<Entries, String> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        text => text.map_err(|error| format!("{}: {error}", path.display()))?,
    };
    let mut entries = Entries::new();
    // Many are the same as they are.
    let lines: HashSet<&str> = text.lines().collect();
    for line in lines {
        let entry: Vec<String> =
            serde_json::from_str(line).map_err(|error| format!("{}: {error}", path.display()))?;
        entries.extend(compared(&entry));
    }
    Ok(entries)
}

/// An entry as it is compared, if it is.
fn compared(entry: &[String]) -> Option<String> {
    let (first, rest) = entry.split_first()?;
    if first == "client" && rest.first().is_some_and(|asked| is_operators(asked)) {
        return None;
    }
    let rest = rest.iter().map(|text| match first.as_str() {
        "said" => resting(&without_members(text)),
        _ => resting(text),
    });
    let all: Vec<String> = [first.clone()].into_iter().chain(rest).collect();
    Some(all.join("\n"))
}

fn without_members(line: &str) -> String {
    let Ok(Value::Object(mut members)) = serde_json::from_str(line) else {
        return line.to_owned();
    };
    members.retain(|name, _| !MOVING_MEMBERS.contains(&name.as_str()));
    Value::Object(members).to_string()
}

fn is_operators(asked: &str) -> bool {
    let line = asked.lines().next().unwrap_or_default();
    let target = line.find(' ').map_or("", |space| &line[space..]);
    OPERATORS.iter().any(|start| target.starts_with(start))
        || asked.contains("\nAuthorization: Bearer ")
}

/// A text without what moves: a `#` is in its place.
fn resting(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let word = rest
            .find(|it: char| !it.is_ascii_alphanumeric())
            .unwrap_or(rest.len());
        let (kept, moving) = match MOVING.iter().find(|(before, _)| starts(rest, before)) {
            Some((before, length)) => (before.len(), length(&rest.as_bytes()[before.len()..])),
            None if is_drawn(&rest[..word]) => (0, word),
            None => (word, 0),
        };
        // What is between two words belongs to neither.
        let kept = match kept + moving {
            0 => rest.chars().next().map_or(1, char::len_utf8),
            _ => kept,
        };
        out.push_str(&rest[..kept]);
        if moving > 0 {
            out.push('#');
        }
        rest = &rest[kept + moving..];
    }
    out
}

fn starts(text: &str, before: &str) -> bool {
    let start = text.as_bytes().get(..before.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(before.as_bytes()))
}

/// Whether a word is a number that is drawn, or the moment of one: of an instance, a request, a purge, a boundary of parts.
fn is_drawn(word: &str) -> bool {
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    matches!(word.len(), 12 | 16 | 32) && word.bytes().all(is_hex)
}

fn digits(rest: &[u8]) -> usize {
    rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

fn number(rest: &[u8]) -> usize {
    match rest {
        [b'-', behind @ ..] => 1 + digits(behind),
        _ => digits(rest),
    }
}

/// The last number of an address, and its port, if it has one.
fn address(rest: &[u8]) -> usize {
    let host = digits(rest);
    match rest.get(host) {
        Some(b':') => host + 1 + digits(&rest[host + 1..]),
        _ => 0,
    }
}

/// The length of a time in the Common Log Format, behind its bracket.
fn log_time(rest: &[u8]) -> usize {
    const LENGTH: usize = "23/Nov/2026:06:25:20 +0000".len();
    match rest.get(..LENGTH) {
        Some(time) if time.ends_with(b" +0000") => LENGTH,
        _ => 0,
    }
}

/// The length of an HTTP date in the form that nodes send (RFC 9110 §5.6.7).
fn http_date(rest: &[u8]) -> usize {
    const LENGTH: usize = "Mon, 23 Nov 2026 06:25:20 GMT".len();
    match rest.get(..LENGTH) {
        Some(date) if date.ends_with(b" GMT") => LENGTH,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: &str, text: &str, expected: Option<&str>) {
        let entry = [kind.to_owned(), text.to_owned()];
        let expected = expected.map(|text| format!("{kind}\n{text}"));
        assert_eq!(compared(&entry), expected);
    }

    #[test]
    fn what_moves_is_left_out_and_all_else_stays() {
        check(
            "client",
            "Date: Mon, 23 Nov 2026 06:25:20 GMT\r\nage: 17\r\nCache-Status: larder; hit; ttl=-5; detail=disk",
            Some("Date: #\r\nage: #\r\nCache-Status: larder; hit; ttl=#; detail=disk"),
        );
        check(
            "origin",
            "Host: 127.0.0.1:43771\r\nCDN-Loop: larder; instance=5a1741034de2a30b",
            Some("Host: 127.0.0.#\r\nCDN-Loop: larder; instance=#"),
        );
        check(
            "client",
            "boundary=9bbefcd6c4dfd785cd3f9a990b4b48ce, \"01a2072c4d33-5a1741034de2a30b\", ETag: \"abc123\"",
            Some("boundary=#, \"#-#\", ETag: \"abc123\""),
        );
        check(
            "said",
            r#"{"age":1,"status":200,"ttl":59,"ts":"2026","outcome":"hit"}"#,
            Some(r#"{"outcome":"hit","status":200}"#),
        );
        check(
            "said",
            "127.0.0.1 - - [23/Nov/2026:06:39:31 +0000] \"GET /a HTTP/1.1\" 200 5",
            Some("127.0.0.1 - - [#] \"GET /a HTTP/1.1\" 200 5"),
        );
        check("said", "caf\u{e9} date: now", Some("caf\u{e9} date: now"));
    }

    #[test]
    fn what_an_operator_asks_is_not_compared() {
        check("client", "GET /metrics HTTP/1.1\r\n\r\n", None);
        check(
            "client",
            "PURGE /a HTTP/1.1\r\nAuthorization: Bearer x\r\n\r\n",
            None,
        );
        check(
            "client",
            "GET /a HTTP/1.1\r\n\r\n",
            Some("GET /a HTTP/1.1\r\n\r\n"),
        );
    }

    #[test]
    fn a_test_that_wrote_nothing_has_no_entries_and_what_is_broken_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.b");
        assert_eq!(read(&path), Ok(Entries::new()));
        fs::write(&path, "[\"origin\",\"x\"]\n[\"origin\",\"x\"]\n").expect("a folder");
        assert_eq!(read(&path), Ok(Entries::from(["origin\nx".to_owned()])));
        fs::write(&path, "[\"origin\"").expect("a folder");
        assert!(read(&path).is_err());
    }
}
