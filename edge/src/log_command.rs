//! `larder log`: the requests of a node as they end.

use serde_json::Value;

use crate::admin_client::{Client, query, text};

/// Follows the log of a node, and hands over each line that `filter` wants, as it is to be shown.
///
/// # Errors
/// A sentence that says why there are no more.
pub fn follow(
    node: Client<'_>,
    filter: Option<&str>,
    form: Form,
    mut show: impl FnMut(&str) -> Result<(), String>,
) -> Result<(), String> {
    let parameters = match filter {
        Some(filter) => query(&[("where", filter)]),
        None => String::new(),
    };
    node.follow(&format!("/v1/log?{parameters}"), |line| match form {
        Form::Json => show(line),
        Form::Text => match serde_json::from_str(line) {
            Ok(value) => show(&told(&value)),
            Err(_) => show(&plain(line)),
        },
    })
}

/// How a line is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// For people.
    Text,
    /// As the node sends it.
    Json,
}

fn told(line: &Value) -> String {
    if line["kind"] == "dropped" {
        return format!("({} lines were dropped: they came too fast)", line["lines"]);
    }
    let reason = match line["reason"].as_str() {
        Some(reason) => format!("({reason})"),
        None => String::new(),
    };
    let took = line["duration_ms"].as_f64().unwrap_or_default();
    plain(&format!(
        "{} {} {:<24} {:>6} {:>9} B {:>9.3} ms  {} {}{}",
        text(&line["ts"]),
        text(&line["status"]),
        format!("{}{reason}", text(&line["outcome"])),
        text(&line["tier"]).replace("null", "-"),
        text(&line["bytes"]),
        took,
        text(&line["method"]),
        text(&line["host"]),
        text(&line["path"]),
    ))
}

/// What came from clients cannot move a terminal's cursor.
fn plain(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).collect()
}
