//! `larder reload`: has a node read its configuration again.

use serde_json::{Value, json};

use crate::admin_client::{Client, text};

/// What a node said to it.
#[derive(Debug)]
pub struct Told {
    /// The answer.
    pub document: Value,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a reload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The configuration is in force.
    Taken,
    /// It is wrong, or needs a restart. Nothing has changed.
    Wrong,
    /// It was not looked at. Nothing has changed.
    Refused,
}

/// Asks a node.
///
/// # Errors
/// A sentence that says why there is no answer.
pub fn reload(node: Client<'_>) -> Result<Told, String> {
    let answer = node.post("/v1/reload", &json!({}))?;
    if answer.status == 401 {
        return Err(answer.problem());
    }
    let code = answer.document["code"].as_str().unwrap_or_default();
    let outcome = match (answer.status, code) {
        (200..=299, _) => Outcome::Taken,
        (_, "configuration" | "restart") => Outcome::Wrong,
        _ => Outcome::Refused,
    };
    Ok(Told {
        document: answer.document,
        outcome,
    })
}

impl Told {
    /// What to tell people.
    #[must_use]
    pub fn lines(&self) -> String {
        let Self { document, outcome } = self;
        if *outcome != Outcome::Taken {
            return format!(
                "{}\n{}",
                text(&document["title"]),
                text(&document["detail"])
            );
        }
        let first = format!(
            "configuration {} is in force, generation {}",
            text(&document["hash"]),
            document["generation"]
        );
        let mut told = Vec::new();
        for (sites, sign) in [("sites_added", "new site"), ("sites_removed", "site gone:")] {
            for site in document[sites].as_array().into_iter().flatten() {
                told.push(format!("{sign} {}", text(site)));
            }
        }
        let changes = document["changes"].as_array();
        for change in changes.into_iter().flatten() {
            let side = |side: &str| match &change[side] {
                Value::Null => "-".to_owned(),
                value => text(value),
            };
            let (before, after) = (side("before"), side("after"));
            told.push(format!("{}: {before} -> {after}", text(&change["setting"])));
        }
        if told.is_empty() {
            told.push("no setting differs; the files that it names were read again".to_owned());
        }
        format!("{first}\n  {}\n", told.join("\n  "))
    }
}
