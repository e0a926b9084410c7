//! What operators ask a node beyond its metrics: how the last hour went, why a request is or was no hit, and what passes
//! by right now.

mod figures;
mod history;
mod stats;
mod tops;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response};
use policy::time::Timestamp;
use purge_api::{Asked, Problem};
use serde::Serialize;

use crate::metrics::Requests;
use crate::node::Node;
use history::History;
use tops::Tops;

/// How often the history looks at the clock.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a node remembers of the requests that it has answered.
#[derive(Debug)]
pub(crate) struct Observed {
    pub history: History,
    pub tops: Tops,
}

impl Observed {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            history: History::new(now),
            tops: Tops::new(now),
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

/// What can be asked for.
#[derive(Clone, Copy, Debug)]
enum What {
    Stats,
    Curve,
}

/// Answers a request to the admin API that is about what the node has seen; none if it is about something else.
pub(crate) fn answer(node: &Node, asked: &Asked<'_>) -> Option<Response<Bytes>> {
    let (path, query) = match asked.target.split_once('?') {
        Some((path, query)) => (path, query),
        None => (asked.target, ""),
    };
    let what = match path {
        "/v1/stats" => What::Stats,
        "/v1/curve" => What::Curve,
        _ => return None,
    };
    Some(node.api.read(asked, node, |reader| {
        if !matches!(*asked.method, Method::GET | Method::HEAD) {
            return Err(Problem::Method);
        }
        match what {
            What::Stats => {
                let wanted = stats::Wanted::parse(query).map_err(Problem::Invalid)?;
                json(&stats::answer(node, &wanted, reader))
            }
            // It is of all sites together.
            What::Curve if !reader.sees_all() => {
                Err(Problem::Forbidden("the curve is of all sites".to_owned()))
            }
            What::Curve => json(&node.capacity.told(&node.metrics.requests)),
        }
    }))
}

fn json(value: &impl Serialize) -> Result<Bytes, Problem> {
    let written = serde_json::to_vec(value);
    let written = written.map_err(|error| Problem::Unavailable(error.to_string()))?;
    Ok(written.into())
}
