//! `larder origins`: what a node says of itself, through its admin API.

use purge_api::Token;

use crate::origins;
use crate::purge_command::{Outcome, ask};

/// What is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shown {
    /// The origins and how they fare.
    Origins,
}

/// How it is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// A line for each, for people.
    Lines,
    /// The document of the API.
    Json,
}

/// Asks the node whose admin listener is at `admin`.
///
/// # Errors
/// A sentence that says why there is nothing to show.
pub fn show(admin: &str, token: &Token, shown: Shown, form: Form) -> Result<String, String> {
    let path = match shown {
        Shown::Origins => "/v1/origins",
    };
    let answer = ask(admin, token, path)?;
    if answer.outcome() != Outcome::Done {
        return Err(answer.lines());
    }
    Ok(match (form, shown) {
        (Form::Json, _) => format!("{}\n", answer.document),
        (Form::Lines, Shown::Origins) => origins::status::lines(&answer.document),
    })
}
