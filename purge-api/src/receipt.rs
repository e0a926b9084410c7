//! What a node answers to a purge.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::node::Refusal;
use crate::order::Order;

/// A purge that was accepted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Receipt {
    /// What was asked.
    #[serde(flatten)]
    pub order: Order,
    /// Its place in the order of purges.
    pub sequence: u64,
    /// How far it got while the answer waited.
    pub state: State,
    /// What it named of what the node had stored; none while that is not counted.
    pub matched: Option<Matched>,
    /// The nodes that have applied it.
    pub nodes: Vec<Applied>,
    /// The nodes that are known and did not tell that they have.
    pub missing: Vec<String>,
}

/// How far a purge got.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is durable on the node that was asked, and is applied nowhere until it is in the log.
    Queued,
    /// It is durable, and not every node that was waited for has told that it applied it.
    Logged,
    /// It is applied where it was waited for.
    Applied,
}

/// What a purge named.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Matched {
    /// Stored responses.
    pub objects: u64,
    /// Their bytes, as the memory tier counts them.
    pub bytes: u64,
}

/// A node's part in a purge.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Applied {
    /// The node.
    pub node: String,
    /// When it applied the purge, in RFC 3339; none for one that was applied again when the node started.
    pub applied_at: Option<String>,
    /// From the acceptance to there, in milliseconds; for another node by the clocks of both.
    pub latency_ms: Option<f64>,
}

/// What a purge would name, were it meant.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Preview {
    /// Always true: nothing was purged.
    pub dry_run: bool,
    /// How much.
    #[serde(flatten)]
    pub matched: Matched,
    /// A few of them.
    pub samples: Vec<Sample>,
}

/// A stored response.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Sample {
    /// Host and target.
    pub uri: String,
    /// The hash of its cache key, for `keys`.
    pub key: String,
    /// Its status.
    pub status: u16,
    /// Its bytes, as the memory tier counts them.
    pub bytes: u64,
}

/// Samples in a preview.
pub const SAMPLES_MAX: usize = 10;

/// A part of the audit trail, the newest first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Page {
    /// The purges.
    pub purges: Vec<Receipt>,
    /// What to send as `before` for the next page; none on the last.
    pub next: Option<u64>,
}

/// A request that was refused, as the audit trail has it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RefusedRequest {
    /// When, in RFC 3339.
    pub at: String,
    /// The name of its token, or of its dialect; none where it had neither.
    pub by: Option<String>,
    /// Where it came from.
    pub client: IpAddr,
    /// Its method.
    pub method: String,
    /// Its path.
    pub path: String,
    /// What was wrong with it, in a word.
    pub code: String,
    /// And in a sentence.
    pub detail: String,
    /// Refusals before it that were left out, because there were too many at once.
    pub silenced: u64,
}

/// Bytes of a text in the audit trail that a client may have chosen; what is longer is cut.
const TEXT_MAX: usize = 512;

impl RefusedRequest {
    /// What is kept of a refusal.
    #[must_use]
    pub fn new(refusal: &Refusal<'_>, at: String, silenced: u64) -> Self {
        Self {
            at,
            by: refusal.by.map(str::to_owned),
            client: refusal.client.to_canonical(),
            method: cut(refusal.method),
            path: cut(refusal.path),
            code: refusal.problem.code().to_owned(),
            detail: cut(&refusal.problem.detail()),
            silenced,
        }
    }
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(TEXT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

/// The last refusals, the newest first.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Refusals {
    /// The refusals.
    pub refusals: Vec<RefusedRequest>,
}
