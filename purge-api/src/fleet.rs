//! A node's place in its fleet, as the API shows it.

use serde::Serialize;

/// A node's place in its fleet, and what it knows of the others.
#[derive(Clone, Debug, Serialize)]
pub struct Fleet {
    /// The log that it follows; empty before it was found.
    pub log: String,
    /// `following`; `replaying` until what there was is applied; `apart` while the log cannot be reached.
    pub state: &'static str,
    /// Up to where in the log it has applied everything.
    pub applied: u64,
    /// The last place in the log that it knows of.
    pub last: u64,
    /// How long what it applied last is ago; none before anything was.
    pub lag_ms: Option<f64>,
    /// Purges that wait here for the log.
    pub queued: u64,
    /// How long purges took from their acceptance, on any node, to here.
    pub propagation: Propagation,
    /// The nodes that it knows of, itself among them, by name.
    pub nodes: Vec<FleetNode>,
}

/// How long the last purges took, in milliseconds by the clocks of the nodes; none without purges.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Propagation {
    /// So many purges.
    pub purges: u64,
    /// Half of them were as quick.
    pub p50_ms: Option<f64>,
    /// 99 of 100 were as quick.
    pub p99_ms: Option<f64>,
    /// The slowest.
    pub max_ms: Option<f64>,
}

/// A node of a fleet.
#[derive(Clone, Debug, Serialize)]
pub struct FleetNode {
    /// Its name.
    pub node: String,
    /// Up to where in the log it has applied everything; none where it follows another log, or told nothing since places
    /// were given again.
    pub applied: Option<u64>,
    /// How long ago it was heard; none for the node that is asked.
    pub heard_ms: Option<f64>,
}
