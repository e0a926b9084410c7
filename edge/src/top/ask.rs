//! Asks a node, through its admin API.

use std::time::Duration;

use purge_api::Token;
use serde_json::Value;

use super::facts::Facts;
use super::screen::Scope;
use crate::admin_client::{Answer, Client};

/// How long a node may take to accept a connection, and again for each part of its answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Sites, rules and URLs that are asked for: as many as a node tells of.
const LISTED: usize = 256;

/// Asks one node, again and again.
#[derive(Debug)]
pub(super) struct Asker {
    admin: String,
    token: Token,
    origins: Optional,
    status: Optional,
    curve: Optional,
}

/// A part of the API that not every node has.
#[derive(Debug)]
struct Optional {
    path: &'static str,
    there: There,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum There {
    Perhaps,
    /// Asking again would change nothing, and every refusal stands in the node's audit trail.
    No,
}

/// Why there is nothing to show.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// Later, there may be.
    ForNow(String),
    /// There will not be, until somebody does something about it.
    Ever(String),
}

impl NoAnswer {
    pub(super) fn into_text(self) -> String {
        match self {
            Self::ForNow(text) | Self::Ever(text) => text,
        }
    }
}

impl Asker {
    pub(super) fn new(admin: String, token: Token) -> Self {
        let optional = |path| Optional {
            path,
            there: There::Perhaps,
        };
        Self {
            admin,
            token,
            origins: optional("/v1/origins"),
            status: optional("/v1/status"),
            curve: optional("/v1/curve"),
        }
    }

    /// Everything that the node tells of `scope`.
    pub(super) fn facts(&mut self, scope: &Scope) -> Result<Facts, NoAnswer> {
        let query = query(scope);
        let answer = get(&self.admin, &self.token, &format!("/v1/stats?{query}"));
        let answer = answer.map_err(NoAnswer::ForNow)?;
        let mut facts = match answer.status {
            200 => Facts::read(answer.document).map_err(NoAnswer::Ever)?,
            _ => return Err(refused(&self.admin, &answer)),
        };
        let Self {
            admin,
            token,
            origins,
            status,
            curve,
        } = self;
        facts.origins = origins.ask(admin, token);
        let mut status = status.ask(admin, token);
        facts.tiers = status.as_mut().map(|it| it["tier"].take());
        facts.curve = curve.ask(admin, token);
        Ok(facts)
    }
}

impl Optional {
    fn ask(&mut self, admin: &str, token: &Token) -> Option<Value> {
        if self.there == There::No {
            return None;
        }
        let answer = get(admin, token, self.path).ok()?;
        match answer.status {
            200 => Some(answer.document),
            400..500 if answer.status != 429 => {
                self.there = There::No;
                None
            }
            _ => None,
        }
    }
}

fn query(scope: &Scope) -> String {
    let Scope { window, site, rule } = scope;
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("window", &window.as_secs().to_string());
    query.append_pair("limit", &LISTED.to_string());
    for (name, value) in [("site", site), ("rule", rule)] {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    query.finish()
}

fn refused(admin: &str, answer: &Answer) -> NoAnswer {
    match answer.status {
        401 => NoAnswer::Ever(format!(
            "{admin} does not know this token: name the file with the right one with --admin-token-file"
        )),
        404 => NoAnswer::Ever(format!(
            "the node at {admin} tells no figures: it is of an older version"
        )),
        400..500 if answer.status != 429 => NoAnswer::Ever(answer.problem()),
        _ => NoAnswer::ForNow(answer.problem()),
    }
}

fn get(admin: &str, token: &Token, target: &str) -> Result<Answer, String> {
    let answer = Client { admin, token }.get_within(target, PATIENCE);
    answer.map_err(|error| format!("{error}; --admin names where the node's admin API listens"))
}
