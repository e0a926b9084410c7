//! The servers that a node asks, as the API shows them.

use serde::Serialize;

/// All egress pools of a node.
#[derive(Clone, Debug, Serialize)]
pub struct EgressList {
    /// A row for each address of each pool, by pool.
    pub egress: Vec<EgressStatus>,
}

/// One address of one pool.
#[derive(Clone, Debug, Serialize)]
pub struct EgressStatus {
    /// The pool's name.
    pub pool: String,
    /// The country that it stands for.
    pub country: Option<String>,
    /// What it is for.
    pub purpose: Option<String>,
    /// A local address.
    pub address: String,
    /// The first and the last port that is used; none leaves it to the system.
    pub ports: Option<(u16, u16)>,
    /// Connections from there.
    pub in_use: u32,
    /// The most connections to one destination.
    pub limit: Option<u32>,
    /// How often the pool had no port left.
    pub exhausted: u64,
}

/// All origins of a node.
#[derive(Clone, Debug, Serialize)]
pub struct OriginList {
    /// By site, in the order of the configuration.
    pub origins: Vec<OriginStatus>,
}

/// One origin of one site.
#[derive(Clone, Debug, Serialize)]
pub struct OriginStatus {
    /// The site's name.
    pub site: String,
    /// Its URL.
    pub origin: String,
    /// One of its servers, where SRV records name them: its name and port.
    pub server: Option<String>,
    /// `primary`, or `backup`.
    pub role: &'static str,
    /// Its share compared with that of the others.
    pub weight: u32,
    /// `up`, or why it is not asked: `failing`, `unwell`, `broken`; `trial` where a request finds out.
    pub state: &'static str,
    /// Requests that it has now.
    pub under_way: u32,
    /// Requests that wait for it.
    pub waiting: u32,
    /// Requests of the last while.
    pub recent_requests: u64,
    /// How many of those failed.
    pub recent_failures: u64,
}
