//! `larder explain`: what a node would do with a request, and why.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::admin_client::{Client, query, text as plain};
use crate::observe;

/// Bytes of a line of a log; longer ones are passed over.
const LINE_MAX: u64 = 1024 * 1024;

/// What is asked about.
#[derive(Clone, Debug)]
pub enum Question {
    /// A request that might come.
    Url {
        /// Absolute.
        url: String,
        /// Its method.
        method: String,
        /// `Name: value`.
        headers: Vec<String>,
        /// How long from now it would come: `1h`.
        at: Option<String>,
    },
    /// A past request, by the `id` in the access log.
    Id(String),
}

impl Question {
    /// Asks a node.
    ///
    /// # Errors
    /// A sentence that says why there is no answer.
    pub fn ask(&self, node: Client<'_>) -> Result<Value, String> {
        let parameters = match self {
            Self::Id(id) => query(&[("id", id)]),
            Self::Url {
                url,
                method,
                headers,
                at,
            } => {
                let mut all = vec![("url", url.as_str()), ("method", method)];
                all.extend(headers.iter().map(|field| ("header", field.as_str())));
                all.extend(at.as_deref().map(|at| ("at", at)));
                query(&all)
            }
        };
        node.get(&format!("/v1/explain?{parameters}"))?.document()
    }
}

/// Explains a past request from its line in the first of these logs that has it. No node is asked.
///
/// # Errors
/// A sentence that says why it cannot be explained.
pub fn in_logs(id: &str, logs: &[PathBuf]) -> Result<Value, String> {
    let mut looked = Looked::default();
    for log in logs {
        let wrong = |error: std::io::Error| format!("{}: {error}", log.display());
        if let Some(line) = look(id, log, &mut looked).map_err(wrong)? {
            let past =
                observe::explain_line(line).ok_or_else(|| format!("{id:?} is no request"))?;
            return serde_json::to_value(past).map_err(|error| error.to_string());
        }
    }
    let Looked {
        lines,
        foreign,
        long,
    } = looked;
    Err(format!(
        "no line has the id {id:?}: of {lines} lines, {foreign} are no JSON, and {long} are longer than {LINE_MAX} bytes"
    ))
}

/// What was looked at in vain.
#[derive(Default)]
struct Looked {
    lines: u64,
    foreign: u64,
    long: u64,
}

fn look(id: &str, log: &Path, looked: &mut Looked) -> std::io::Result<Option<Value>> {
    let mut reader = BufReader::new(File::open(log)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader
            .by_ref()
            .take(LINE_MAX)
            .read_until(b'\n', &mut line)?
            == 0
        {
            return Ok(None);
        }
        looked.lines += 1;
        if line.len() as u64 == LINE_MAX && !line.ends_with(b"\n") {
            looked.long += 1;
            reader.skip_until(b'\n')?;
            continue;
        }
        match serde_json::from_slice::<Value>(&line) {
            Ok(line) if line["id"] == id => return Ok(Some(line)),
            Ok(_) => {}
            Err(_) => looked.foreign += 1,
        }
    }
}

/// The answer for people.
#[must_use]
pub fn lines(answer: &Value) -> String {
    let mut out = String::new();
    if answer["line"].is_object() {
        past(&mut out, answer);
    } else {
        what_if(&mut out, answer);
    }
    out
}

fn past(out: &mut String, answer: &Value) {
    let line = &answer["line"];
    let told = [
        "ts", "method", "host", "path", "status", "outcome", "fwd", "detail",
    ];
    for name in told {
        field(out, name, &line[name]);
    }
    field(out, "reason", &answer["reason"]);
    field(out, "because", &answer["because"]);
    field(out, "says", &answer["clause"]);
    field(out, "a hit by", &answer["would_hit"]);
}

fn what_if(out: &mut String, answer: &Value) {
    push(
        out,
        format_args!(
            "{} {}, at {}, on node {}",
            text(&answer["method"]),
            text(&answer["url"]),
            text(&answer["at"]),
            text(&answer["node"])
        ),
    );
    for step in answer["steps"].as_array().into_iter().flatten() {
        let clause = match step["clause"].as_str() {
            Some(clause) => format!("  [{clause}]"),
            None => String::new(),
        };
        push(
            out,
            format_args!(
                "  {:<10} {}{clause}",
                text(&step["step"]),
                text(&step["says"])
            ),
        );
    }
    for stored in answer["stored"].as_array().into_iter().flatten() {
        push(out, format_args!("  {:<10} {}", "stored", variant(stored)));
    }
    let decision = &answer["decision"];
    let reason = match decision["reason"].as_str() {
        Some(reason) => format!(" ({reason})"),
        None => String::new(),
    };
    push(
        out,
        format_args!(
            "{}{reason}: {}  [{}]",
            text(&decision["does"]),
            text(&decision["because"]),
            text(&decision["clause"])
        ),
    );
    if let Some(remedy) = answer["would_hit"].as_str() {
        push(out, format_args!("a hit by: {remedy}"));
    }
}

fn variant(stored: &Value) -> String {
    let freshness = &stored["freshness"];
    let selected = if stored["selected"] == true {
        "selected"
    } else {
        "not selected"
    };
    let mut told = format!(
        "{selected}: in {}, status {}, {} bytes, age {} s of {} s ({})",
        text(&stored["tier"]),
        stored["status"],
        stored["bytes"],
        freshness["current_age"],
        freshness["freshness_lifetime"],
        text(&freshness["source"]),
    );
    let varies = stored["varies_on"].as_array().into_iter().flatten();
    let varies: Vec<String> = varies.map(text).collect();
    if !varies.is_empty() {
        told = format!("{told}, varies on {}", varies.join(", "));
    }
    for name in ["differs", "etag", "last_modified"] {
        if let Some(value) = stored[name].as_str() {
            told = format!("{told}, {name} {value}");
        }
    }
    match stored["life"].as_str() {
        None | Some("alive") => told,
        Some(life) => format!("{told}, {life}"),
    }
}

fn field(out: &mut String, name: &str, value: &Value) {
    if !value.is_null() {
        push(out, format_args!("{name:<9} {}", text(value)));
    }
}

/// What came from clients and origins cannot move a terminal's cursor.
fn text(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        other => plain(other),
    };
    text.chars().filter(|char| !char.is_control()).collect()
}

fn push(out: &mut String, line: std::fmt::Arguments<'_>) {
    out.write_fmt(line)
        .and_then(|()| out.write_str("\n"))
        .expect("writing to a string does not fail");
}
