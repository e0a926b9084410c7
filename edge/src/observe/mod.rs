//! What operators ask a node beyond its metrics: how the last hour went, why a request is or was no hit, and what passes
//! by right now.

mod clauses;
mod explain;
mod figures;
mod filter;
mod follow;
mod history;
mod past;
mod question;
mod recent;
mod stats;
mod tops;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use policy::time::Timestamp;
use purge_api::{Asked, Problem, Reader};
use serde::Serialize;

use crate::exchange::Request;
use crate::metrics::{NO_SITE, OTHER, Requests};
use crate::node::Node;
use filter::Filter;
pub(crate) use follow::Following;
use follow::{Crowded, Followers};
use history::History;
pub(crate) use past::of as explain_line;
use question::{Question, Wanted};
pub(crate) use recent::Missed;
use recent::{MISSES_MAX, Recent};
use tops::Tops;

/// How often the history looks at the clock.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a node remembers of the requests that it has answered.
#[derive(Debug)]
pub(crate) struct Observed {
    pub history: History,
    pub tops: Tops,
    pub recent: Recent,
    pub followers: Followers,
}

impl Observed {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            history: History::new(now),
            tops: Tops::new(now),
            recent: Recent::default(),
            followers: Followers::default(),
        }
    }

    fn tick(&self, requests: &Requests, now: Timestamp) {
        self.history.tick(requests, now);
        self.tops.tick(now);
    }
}

/// Keeps the history, until the node ends.
pub(crate) async fn keep(node: Arc<Node>) {
    let mut stopping = node.stopping.clone();
    while tokio::time::timeout(LOOK_EVERY, stopping.changed())
        .await
        .is_err()
    {
        node.observed.tick(&node.metrics.requests, node.clock.now());
    }
}

/// Answers a request to the admin API that is about what the node has seen; none if it is about something else.
pub(crate) async fn answer(node: &Node, asked: &Asked<'_>) -> Option<Response<Bytes>> {
    let (path, query) = match asked.target.split_once('?') {
        Some((path, query)) => (path, query),
        None => (asked.target, ""),
    };
    match path {
        "/v1/stats" => Some(stats(node, asked, query)),
        "/v1/curve" => Some(curve(node, asked)),
        "/v1/explain" => Some(explain(node, asked, query).await),
        _ => None,
    }
}

fn is_read(method: &Method) -> Result<(), Problem> {
    match *method {
        Method::GET | Method::HEAD => Ok(()),
        _ => Err(Problem::Method),
    }
}

fn stats(node: &Node, asked: &Asked<'_>, query: &str) -> Response<Bytes> {
    node.in_force_now().api.read(asked, node, |reader| {
        is_read(asked.method)?;
        let wanted = stats::Wanted::parse(query).map_err(Problem::Question)?;
        if let Some(site) = wanted.site()
            && !is_told(node, site)
        {
            return Err(Problem::Question(format!("there is no site {site:?}")));
        }
        json(&stats::answer(node, &wanted, reader))
    })
}

/// Whether figures are kept under this name.
fn is_told(node: &Node, site: &str) -> bool {
    let in_force = node.in_force();
    [NO_SITE, OTHER].contains(&site) || in_force.sites.names().any(|name| name == site)
}

/// It is of all sites together.
fn curve(node: &Node, asked: &Asked<'_>) -> Response<Bytes> {
    node.in_force_now().api.read(asked, node, |reader| {
        is_read(asked.method)?;
        if !reader.sees_all() {
            return Err(Problem::Forbidden("the curve is of all sites".to_owned()));
        }
        json(&node.capacity.told(&node.metrics.requests))
    })
}

/// A past request, or one that might come.
enum Explained {
    Past(Bytes),
    WhatIf(Wanted, Box<Request>),
}

async fn explain(node: &Node, asked: &Asked<'_>, query: &str) -> Response<Bytes> {
    let explained = node.in_force_now().api.reading(asked, node, |reader| {
        is_read(asked.method)?;
        match Question::parse(query).map_err(Problem::Question)? {
            Question::Past(id) => {
                let missed = node.observed.recent.by_id(&id);
                let missed = missed.filter(|missed| sees(reader, &missed.site));
                let missed = missed.ok_or_else(|| Problem::Question(not_remembered(&id)))?;
                let line = serde_json::from_slice(&missed.line).unwrap_or_default();
                json(&explain_line(line)).map(Explained::Past)
            }
            Question::WhatIf(wanted) => {
                let request = wanted.request(node).map_err(Problem::Question)?;
                if !reader.sees(&request.site.name) {
                    return Err(Problem::NotFound);
                }
                Ok(Explained::WhatIf(wanted, Box::new(request)))
            }
        }
    });
    match explained {
        Err(refused) => *refused,
        Ok(Explained::Past(body)) => purge_api::document(StatusCode::OK, body),
        Ok(Explained::WhatIf(wanted, request)) => {
            match json(&explain::answer(node, &wanted, &request).await) {
                Ok(body) => purge_api::document(StatusCode::OK, body),
                Err(problem) => problem.response(),
            }
        }
    }
}

/// Whether a request to the admin API is to follow the log.
pub(crate) fn is_following(asked: &Asked<'_>) -> bool {
    let path = asked.target.split('?').next();
    path == Some("/v1/log") && *asked.method == Method::GET
}

/// Begins to follow the log.
///
/// # Errors
/// The answer to who may not.
pub(crate) fn follow(node: &Node, asked: &Asked<'_>) -> Result<Following, Box<Response<Bytes>>> {
    let query = asked.target.split_once('?').map_or("", |(_, query)| query);
    node.in_force_now().api.reading(asked, node, |reader| {
        let mut filter = Filter::All;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "where" => filter = Filter::parse(&value).map_err(Problem::Question)?,
                other => {
                    return Err(Problem::Question(format!(
                        "there is no parameter {other:?}"
                    )));
                }
            }
        }
        let in_force = node.in_force_now();
        let sites = in_force.sites.names();
        let followed = node.observed.followers.follow(filter, reader, sites);
        followed.map_err(|Crowded| Problem::Crowded(CROWDED))
    })
}

/// Those who are gone are noticed by the next line that they are sent.
const CROWDED: &str = "as many follow the log as may; try again in a moment";

fn not_remembered(id: &str) -> String {
    format!(
        "no request {id:?} is remembered: only the last {MISSES_MAX} that were no hits are; \
         larder explain --id {id} --log FILE looks for it in the access log"
    )
}

/// A token for some sites sees no other, nor what is for none.
fn sees(reader: Reader<'_>, site: &str) -> bool {
    reader.sees(site) && (site != NO_SITE || reader.sees_all())
}

fn json(value: &impl Serialize) -> Result<Bytes, Problem> {
    let written = serde_json::to_vec(value);
    let written = written.map_err(|error| Problem::Unavailable(error.to_string()))?;
    Ok(written.into())
}
