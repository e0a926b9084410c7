//! `larder fleet status`: how the nodes of a fleet stand to their log, by the admin API of one of them.

use std::fmt::Write as _;

use serde_json::Value;

use crate::admin_client::Client;

/// Asks a node.
///
/// # Errors
/// A sentence that says why there is no answer, or that the node is in no fleet.
pub fn status(node: Client<'_>) -> Result<Value, String> {
    let document = node.get("/v1/status")?.document()?;
    match document["fleet"].clone() {
        Value::Null => {
            let node = document["node"].as_str().unwrap_or_default();
            Err(format!("{node} is in no fleet"))
        }
        fleet => Ok(fleet),
    }
}

/// What to tell people: a line for each node, and two for all.
#[must_use]
pub fn lines(fleet: &Value) -> String {
    let nodes = fleet["nodes"].as_array().map_or(&[][..], Vec::as_slice);
    let name = |node: &Value| node["node"].as_str().unwrap_or_default().to_owned();
    let width = nodes.iter().map(|node| name(node).len()).max();
    let width = width.unwrap_or(0).max("node".len());
    let last = fleet["last"].as_u64().unwrap_or_default();
    let mut lines = String::new();
    push(
        &mut lines,
        format_args!(
            "{:width$}  {:>12}  {:>8}  heard",
            "node", "applied", "behind"
        ),
    );
    for node in nodes {
        let applied = node["applied"].as_u64();
        let behind = applied.map(|applied| last.saturating_sub(applied));
        let heard = match node["heard_ms"].as_f64() {
            None => "it was asked".to_owned(),
            Some(millis) => format!("{:.1} s ago", millis / 1000.0),
        };
        push(
            &mut lines,
            format_args!(
                "{:width$}  {:>12}  {:>8}  {heard}",
                name(node),
                number(applied),
                number(behind)
            ),
        );
    }
    let (log, state) = (fleet["log"].as_str(), fleet["state"].as_str());
    push(
        &mut lines,
        format_args!(
            "log {}: {}, lag {}, {} purges wait here for it",
            log.filter(|log| !log.is_empty()).unwrap_or("not found yet"),
            state.unwrap_or_default(),
            millis(&fleet["lag_ms"]),
            fleet["queued"].as_u64().unwrap_or_default(),
        ),
    );
    let ways = &fleet["propagation"];
    push(
        &mut lines,
        format_args!(
            "from acceptance anywhere to application here, the last {} purges: p50 {}, p99 {}, max {}",
            ways["purges"].as_u64().unwrap_or_default(),
            millis(&ways["p50_ms"]),
            millis(&ways["p99_ms"]),
            millis(&ways["max_ms"]),
        ),
    );
    lines
}

fn push(out: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(out, "{line}").expect("writing to a string does not fail");
}

fn number(value: Option<u64>) -> String {
    value.map_or_else(|| "-".to_owned(), |it| it.to_string())
}

fn millis(value: &Value) -> String {
    let millis = value.as_f64();
    millis.map_or_else(|| "-".to_owned(), |it| format!("{it:.0} ms"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_a_line() {
        let fleet = serde_json::json!({
            "log": "0a1b", "state": "following", "applied": 1042, "last": 1042, "lag_ms": 412.3, "queued": 0,
            "propagation": { "purges": 1000, "p50_ms": 1.2, "p99_ms": 4.0, "max_ms": 9.0 },
            "nodes": [
                { "node": "fra-1", "applied": 1042, "heard_ms": null },
                { "node": "fra-22", "applied": 1040, "heard_ms": 260.0 },
                { "node": "lon", "applied": null, "heard_ms": 31000.0 },
            ],
        });
        let expected = "\
node         applied    behind  heard
fra-1           1042         0  it was asked
fra-22          1040         2  0.3 s ago
lon                -         -  31.0 s ago
log 0a1b: following, lag 412 ms, 0 purges wait here for it
from acceptance anywhere to application here, the last 1000 purges: p50 1 ms, p99 4 ms, max 9 ms
";
        assert_eq!(lines(&fleet), expected);
        let nothing = lines(&Value::Null);
        assert!(nothing.contains("log not found yet"), "{nothing}");
    }
}
