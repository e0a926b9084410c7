//! `larder tier status`: how a node and its parents stand, by its admin API.

use std::fmt::Write as _;

use serde_json::Value;

use crate::admin_client::Client;

/// Asks a node.
///
/// # Errors
/// A sentence that says why there is no answer, or that the node is in no tier.
pub fn status(node: Client<'_>) -> Result<Value, String> {
    let document = node.get("/v1/status")?.document()?;
    match document["tier"].clone() {
        Value::Null => Err(format!("{} is in no tier", text(&document["node"]))),
        tier => Ok(tier),
    }
}

/// What to tell people: a line for each parent, and one for all.
#[must_use]
pub fn lines(tier: &Value) -> String {
    let mut lines = String::new();
    table(&mut lines, "parent", nodes(&tier["parents"]));
    table(&mut lines, "sibling", nodes(&tier["siblings"]));
    push(
        &mut lines,
        format_args!(
            "{}: {} failovers, {} requests past the tier, {} refused for want of budget",
            text(&tier["role"]),
            number(&tier["failovers"]),
            number(&tier["direct"]),
            number(&tier["refused"]),
        ),
    );
    answers(
        &mut lines,
        &tier["answers"],
        number(&tier["origin_requests"]),
    );
    lines
}

/// Whose the answers were, and what they cost origins.
fn answers(lines: &mut String, answers: &Value, at_origins: u64) {
    const WORDS: [(&str, &str); 7] = [
        ("here", "here"),
        ("shared", "with another request"),
        ("sibling", "by a sibling"),
        ("parent", "by a parent"),
        ("further", "further on"),
        ("origin", "by the origin"),
        ("nobody", "not at all"),
    ];
    let all: u64 = WORDS.iter().map(|(key, _)| number(&answers[key])).sum();
    let whole = all.max(1) as f64;
    let parts = WORDS.iter().filter(|(key, _)| number(&answers[key]) > 0);
    let parts = parts.map(|(key, words)| {
        let percent = number(&answers[key]) as f64 * 100.0 / whole;
        format!("{percent:.1}% {words}")
    });
    let parts: Vec<_> = parts.collect();
    if all > 0 {
        let parts = parts.join(", ");
        push(
            lines,
            format_args!("{all} requests of clients answered: {parts}"),
        );
        let each = at_origins as f64 / whole;
        push(
            lines,
            format_args!("{at_origins} requests at origins: {each:.3} for each of them"),
        );
    }
}

fn nodes(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

fn table(lines: &mut String, what: &str, parents: &[Value]) {
    let width = parents.iter().map(|parent| text(&parent["id"]).len()).max();
    let width = width.unwrap_or(0).max(what.len());
    let all: u64 = parents.iter().map(|parent| number(&parent["weight"])).sum();
    if !parents.is_empty() {
        push(
            lines,
            format_args!(
                "{what:width$}  state  share  in flight  connections  requests   hits    hop  node"
            ),
        );
    }
    for parent in parents {
        let percent = number(&parent["weight"]) * 100 / all.max(1);
        push(
            lines,
            format_args!(
                "{:width$}  {:5}  {:>4}%  {:>9}  {:>11}  {:>8}  {:>5}  {:>5}  {}{}",
                text(&parent["id"]),
                text(&parent["state"]),
                percent,
                number(&parent["in_flight"]),
                number(&parent["connections"]),
                number(&parent["requests"]),
                hits(parent),
                hop(parent),
                match (&parent["fault"], text(&parent["state"]).as_str()) {
                    (Value::String(fault), "down" | "out" | "trial") => fault.clone(),
                    _ => text(&parent["node"]),
                },
                match &parent["differs"] {
                    Value::String(differs) => format!(" (other slices, {differs})"),
                    _ => String::new(),
                },
            ),
        );
    }
}

/// How much of what it was asked for it had stored.
fn hits(parent: &Value) -> String {
    match number(&parent["answers"]) {
        0 => "-".to_owned(),
        answers => format!("{}%", number(&parent["hits"]) * 100 / answers),
    }
}

/// How long its answers take to begin.
fn hop(parent: &Value) -> String {
    match parent["hop_ms"].as_f64() {
        Some(millis) => format!("{millis:.1}ms"),
        None => "-".to_owned(),
    }
}

fn push(out: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(out, "{line}").expect("writing to a string does not fail");
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_has_a_line() {
        let tier = serde_json::json!({
            "role": "edge", "failovers": 3, "direct": 2, "refused": 1,
            "parents": [
                {"id": "p-1", "node": "fra", "weight": 3, "state": "up", "fault": "old", "in_flight": 4, "connections": 1, "requests": 50,
                 "answers": 40, "hits": 30, "hop_ms": 2.25, "differs": null},
                {"id": "p-22222", "node": null, "weight": 1, "state": "down", "fault": "no connection", "in_flight": 0, "connections": 0, "requests": 7,
                 "answers": 0, "hits": 0, "hop_ms": null, "differs": "main: no slices"},
            ],
            "siblings": [
                {"id": "s", "node": "ams", "weight": 1, "state": "up", "fault": null, "in_flight": 0, "connections": 2, "requests": 9},
            ],
            "answers": {"here": 75, "shared": 0, "sibling": 1, "parent": 20, "further": 0, "origin": 4, "nobody": 0},
            "origin_requests": 5,
        });
        let expected = "\
parent   state  share  in flight  connections  requests   hits    hop  node
p-1      up       75%          4            1        50    75%  2.2ms  fra
p-22222  down     25%          0            0         7      -      -  no connection (other slices, main: no slices)
sibling  state  share  in flight  connections  requests   hits    hop  node
s        up      100%          0            2         9      -      -  ams
edge: 3 failovers, 2 requests past the tier, 1 refused for want of budget
100 requests of clients answered: 75.0% here, 1.0% by a sibling, 20.0% by a parent, 4.0% by the origin
5 requests at origins: 0.050 for each of them
";
        assert_eq!(lines(&tier), expected);
    }
}
