//! `larder origins` and `larder egress list`: what a node says of itself, through its admin API.

use crate::admin_client::Client;
use crate::origins;

/// What is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shown {
    /// The origins and how they fare.
    Origins,
    /// The egress pools and what is in use of them.
    Egress,
}

/// How it is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// A line for each, for people.
    Lines,
    /// The document of the API.
    Json,
}

/// Asks a node.
///
/// # Errors
/// A sentence that says why there is nothing to show.
pub fn show(node: Client<'_>, shown: Shown, form: Form) -> Result<String, String> {
    let path = match shown {
        Shown::Origins => "/v1/origins",
        Shown::Egress => "/v1/egress",
    };
    let document = node.get(path)?.document()?;
    Ok(match (form, shown) {
        (Form::Json, _) => format!("{document}\n"),
        (Form::Lines, Shown::Origins) => origins::status::lines(&document),
        (Form::Lines, Shown::Egress) => origins::status::egress_lines(&document),
    })
}
