//! `larder origins` and `larder egress list`: what a node says of itself, through its admin API.

use purge_api::Token;

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

/// Asks the node whose admin listener is at `admin`.
///
/// # Errors
/// A sentence that says why there is nothing to show.
pub fn show(admin: &str, token: &Token, shown: Shown, form: Form) -> Result<String, String> {
    let path = match shown {
        Shown::Origins => "/v1/origins",
        Shown::Egress => "/v1/egress",
    };
    let client = Client { admin, token };
    let document = client.get(path)?.document()?;
    Ok(match (form, shown) {
        (Form::Json, _) => format!("{document}\n"),
        (Form::Lines, Shown::Origins) => origins::status::lines(&document),
        (Form::Lines, Shown::Egress) => origins::status::egress_lines(&document),
    })
}
