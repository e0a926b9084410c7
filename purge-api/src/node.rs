//! The node behind the API.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::filter::Filter;
use crate::fleet::Fleet;
use crate::order::{Order, Patience, Scope};
use crate::problem::Problem;
use crate::receipt::{Preview, Receipt, RefusedRequest};
use crate::reload::Configuration;
use crate::upstreams::{EgressList, OriginList};

/// The node behind the API.
pub trait Node: Sync {
    /// Whether it takes requests of clients.
    fn readiness(&self) -> Readiness;
    /// All metrics in the text format of Prometheus.
    fn metrics(&self) -> String;
    /// What it is doing.
    fn status(&self) -> Status;
    /// The origins that it asks.
    fn origins(&self) -> OriginList;
    /// The pools of local addresses that it asks them from.
    fn egress(&self) -> EgressList;
    /// Now, in RFC 3339.
    fn now(&self) -> String;
    /// Now, for measuring.
    fn instant(&self) -> Instant;
    /// An identifier that nobody else has.
    fn new_id(&self) -> String;
    /// The site that answers for what a scope names, where that is one.
    fn site_of(&self, scope: &Scope) -> Option<String>;
    /// Makes a purge durable and applies it. A purge whose identifier is known already is not applied again.
    ///
    /// # Errors
    /// [`Refused`] where nothing was purged.
    fn purge(
        &self,
        order: Order,
        patience: Patience,
    ) -> impl Future<Output = Result<Receipt, Refused>> + Send;
    /// What a purge would name.
    ///
    /// # Errors
    /// [`Refused`] where it names what the node does not serve, or another one is under way.
    fn preview(&self, order: &Order) -> impl Future<Output = Result<Preview, Refused>> + Send;
    /// The last purges that `filter` admits and `sees` lets through, the newest first: one more than the page has, to
    /// know whether there are more.
    fn purges(&self, filter: &Filter, sees: &dyn Fn(&Order) -> bool) -> Vec<Receipt>;
    /// One purge.
    fn purge_by_id(&self, id: &str) -> Option<Receipt>;
    /// Something was refused: for the audit trail.
    fn refused(&self, refusal: &Refusal<'_>);
    /// At most so many of the last refusals that `sees` lets through, the newest first.
    fn refusals(&self, most: usize, sees: &dyn Fn(&RefusedRequest) -> bool) -> Vec<RefusedRequest>;
}

/// Why nothing was purged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Refused {
    /// The purge names what the node does not serve.
    Invalid(String),
    /// Something of its kind is under way.
    Busy,
    /// The log cannot be written.
    Unavailable(String),
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Invalid(why) => Self::Invalid(why),
            Refused::Busy => Self::Busy,
            Refused::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

/// A request that was refused.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    /// The name of its token, or of its dialect; none where it had neither.
    pub by: Option<&'a str>,
    /// Where it came from.
    pub client: IpAddr,
    /// Its method.
    pub method: &'a str,
    /// Its path.
    pub path: &'a str,
    /// What was wrong with it.
    pub problem: &'a Problem,
}

/// Whether a node takes requests of clients.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Readiness {
    /// Its listeners are open.
    Ready,
    /// They are open, too, and what is on its disks is found step by step.
    Recovering {
        /// Segments read so far.
        segments: u64,
        /// Segments there are.
        of: u64,
    },
    /// It finishes what is under way, and stops.
    Draining,
    /// It has not reached the purge log since it was started.
    Apart,
    /// It has still to apply so many purges.
    Replaying(u64),
    /// For so long it may have missed purges, which is more than is allowed.
    Lagging(Duration),
}

/// A node in figures.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The node's name.
    pub node: String,
    /// The program's version.
    pub version: &'static str,
    /// Since it was started.
    pub uptime_seconds: u64,
    /// The sites, by name.
    pub sites: Vec<String>,
    /// Responses in the memory tier.
    pub objects: u64,
    /// Bytes charged to the memory tier: bodies, heads, index, fills.
    pub bytes: u64,
    /// The most that may be charged.
    pub bytes_max: u64,
    /// Connections of clients.
    pub connections: u64,
    /// What it runs by.
    pub configuration: Configuration,
    /// The tiers of nodes that it is one of, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// The fleet that it shares its purges with, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fleet: Option<Fleet>,
}

/// A node's place in the tiers.
#[derive(Clone, Debug, Serialize)]
pub struct Tier {
    /// Whether other nodes may ask it: `edge` or `parent`.
    pub role: &'static str,
    /// Requests that went to another parent because the first did not answer.
    pub failovers: u64,
    /// Requests that went to the origin because no parent answered.
    pub direct: u64,
    /// Requests that went nowhere because no parent answered and the budget for the origin was spent.
    pub refused: u64,
    /// Whose the answers were that its clients got.
    pub answers: TierAnswers,
    /// Requests that origins got for what it was asked, from it and from the nodes beyond as they say.
    pub origin_requests: u64,
    /// Who is asked instead of the origin.
    pub parents: Vec<Parent>,
    /// The other nodes that share the keys with it.
    pub siblings: Vec<Parent>,
}

/// Answers that clients of a node got, without those of other nodes, by whose they were.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct TierAnswers {
    /// Stored here, or said by the node itself.
    pub here: u64,
    /// Another request's, which asked for the same.
    pub shared: u64,
    /// Stored by a sibling.
    pub sibling: u64,
    /// Stored by a parent.
    pub parent: u64,
    /// Had by a node beyond the one that was asked.
    pub further: u64,
    /// The origin's.
    pub origin: u64,
    /// There was none.
    pub nobody: u64,
}

/// A parent as a node sees it.
#[derive(Clone, Debug, Serialize)]
pub struct Parent {
    /// What it is called in the hash.
    pub id: String,
    /// What it calls itself, once it was heard.
    pub node: Option<String>,
    /// Its share of the keys against the others'.
    pub weight: u32,
    /// `up`, `trial` while one request finds out whether it is back, `out` after requests failed, `down` after a probe did.
    pub state: &'static str,
    /// Why it was found unfit the last time.
    pub fault: Option<String>,
    /// Requests that wait for it.
    pub in_flight: u64,
    /// Open connections.
    pub connections: u64,
    /// Connections opened so far.
    pub opened: u64,
    /// Requests sent so far, probes included.
    pub requests: u64,
    /// Its answers so far, without those to probes.
    pub answers: u64,
    /// How many of them it had stored.
    pub hits: u64,
    /// From a request to the head of its answer on average, in milliseconds; none before the first.
    pub hop_ms: Option<f64>,
    /// A site that it cuts into other slices than this node, and which.
    pub differs: Option<String>,
}
