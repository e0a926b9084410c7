//! What one run of a test wrote down, without what is another in each run.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

/// Answers, requests to origins, and lines of the log; however often, and in whatever order.
pub(crate) type Entries = HashSet<String>;

/// What tells the moment, the place, or a number that is drawn. Everything else is compared byte for byte.
const MOVING: &[(&str, &str)] = &[
    // Tests whose clock stands compare these to the second (`short_way`).
    (
        r"(?i-u)\b(date: )\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT",
        "$1#",
    ),
    (r"(?i-u)\b(age: )\d+", "$1#"),
    (r"(?-u)\b(ttl=)-?\d+", "$1#"),
    (r"(?-u)\[\d\d/\w{3}/\d{4}:[\d:]{8} \+0000\]", "[#]"),
    (r"(?-u)\b(127\.0\.0\.\d+):\d+", "$1:#"),
    // Numbers of instances, requests and purges, and boundaries of parts.
    (r"(?-u)\b[0-9a-f]{12}(-?[0-9a-f]{16})?\b", "#"),
    (r"(?-u)\b[0-9a-f]{16}([0-9a-f]{16})?\b", "#"),
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
const OPERATORS: &str = r"(?-u)^[A-Z]+ /(metrics|readyz|healthz|v1/)|\r\nAuthorization: Bearer ";

static PATTERNS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let compiled = |&(pattern, by)| (Regex::new(pattern).expect("a pattern"), by);
    MOVING.iter().map(compiled).collect()
});
static OPERATOR: LazyLock<Regex> = LazyLock::new(|| Regex::new(OPERATORS).expect("a pattern"));

/// The entries of a file; none where there is no file.
pub(crate) fn read(path: &Path) -> Result<Entries, String> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        text => text.map_err(|error| format!("{}: {error}", path.display()))?,
    };
    let mut entries = Entries::new();
    for line in text.lines() {
        let entry: Vec<String> =
            serde_json::from_str(line).map_err(|error| format!("{}: {error}", path.display()))?;
        entries.extend(compared(&entry));
    }
    Ok(entries)
}

/// An entry as it is compared, if it is.
fn compared(entry: &[String]) -> Option<String> {
    let (first, rest) = entry.split_first()?;
    if first == "client" && rest.first().is_some_and(|asked| OPERATOR.is_match(asked)) {
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

fn resting(text: &str) -> String {
    let mut text = text.to_owned();
    for (pattern, by) in &*PATTERNS {
        text = pattern.replace_all(&text, *by).into_owned();
    }
    text
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
            Some("Host: 127.0.0.1:#\r\nCDN-Loop: larder; instance=#"),
        );
        check(
            "client",
            "boundary=9bbefcd6c4dfd785cd3f9a990b4b48ce, \"01a2072c4d33-5a1741034de2a30b\", ETag: \"abc123\"",
            Some("boundary=#, \"#\", ETag: \"abc123\""),
        );
        check(
            "said",
            r#"{"age":1,"status":200,"ttl":59,"ts":"2026","outcome":"hit"}"#,
            Some(r#"{"outcome":"hit","status":200}"#),
        );
        check("said", "no line of the log", Some("no line of the log"));
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
