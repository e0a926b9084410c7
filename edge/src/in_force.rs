//! The configuration in force, made ready: what a reload puts another one in the place of.
//!
//! A request keeps the site that it was found to be for, and with it everything of its configuration: it ends under the
//! one it began with. What a node has beside that (what is stored, connections, counters) outlives all of them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use config::Config;
use policy::time::Timestamp;
use purge_api::{Api, Configuration};
use sha2::{Digest as _, Sha256};
use tiered::forwarded::Trust;

use crate::access_log;
use crate::downstream::Limits;
use crate::egress::Pool;
use crate::node::Node;
use crate::sites::Sites;
use crate::tier::Tier;
use crate::tls::Handshakes;

/// Bytes of a configuration's hash that are told.
const HASH_BYTES: usize = 8;

/// The configuration in force.
pub(crate) struct InForce {
    pub common: Arc<Common>,
    pub sites: Sites,
    /// Who may use the admin API, and purge.
    pub api: Api,
    /// Of connections that are made from now on.
    pub limits: Arc<Limits>,
    /// What TLS listeners shake hands with from now on, where there are some.
    pub tls: Option<Handshakes>,
    /// Bytes of a QUERY's content that are read before its way is decided.
    pub query_content: usize,
    /// The pools that connections to origins may leave from, in the order of their names.
    pub egress: Vec<Arc<Pool>>,
    /// The settings, as a document.
    pub settings: Bytes,
    pub since: Timestamp,
    pub hash: String,
    /// What it was made of: the next one is compared with it.
    pub config: Config,
}

/// What all sites of one configuration have in common.
#[derive(Debug)]
pub(crate) struct Common {
    /// How many configurations the node has had, this one among them.
    pub generation: u64,
    /// Which proxies are believed who a client is.
    pub trust: Trust,
    /// The nodes before and behind this one.
    pub tier: Option<Arc<Tier>>,
    /// How long a request waits for another one's fill.
    pub follower_wait: Duration,
    /// Ranges that are answered in one response.
    pub ranges_max: usize,
}

impl InForce {
    /// How it is told.
    pub(crate) fn told(&self) -> Configuration {
        Configuration {
            generation: self.common.generation,
            hash: self.hash.clone(),
            since: access_log::rfc3339(self.since),
        }
    }
}

/// A hash of what a configuration says, however it is written.
pub(crate) fn hash(config: &Config) -> String {
    let said = format!("{:?}", config);
    let digest = Sha256::digest(said);
    let shown = digest.iter().take(HASH_BYTES);
    shown.map(|byte| format!("{byte:02x}")).collect()
}

impl Node {
    /// The configuration in force. Who is to keep it for longer than a moment takes [`Self::in_force_now`].
    pub(crate) fn in_force(&self) -> arc_swap::Guard<Arc<InForce>> {
        self.in_force.load()
    }

    /// The same, to keep.
    pub(crate) fn in_force_now(&self) -> Arc<InForce> {
        self.in_force.load_full()
    }

    /// Whether what sites have in common is of the configuration in force.
    pub(crate) fn is_in_force(&self, common: &Common) -> bool {
        self.generation() == common.generation
    }
}
