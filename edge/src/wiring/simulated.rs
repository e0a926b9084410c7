//! From a configuration to what a log is replayed with.

use std::sync::Arc;

use config::model;
use tiered::forwarded::{Field, Trust};

use super::egress::Pools;
use super::site::{Around, sites_by_host};
use crate::in_force::Common;
use crate::metrics::Metrics;
use crate::sites::Sites;

/// What a configuration says of sites and tiers, without a node.
#[derive(Debug)]
pub struct Simulated {
    pub(crate) sites: Sites,
    /// Bytes.
    pub(crate) memory: u64,
    pub(crate) eviction: storage::Eviction,
    /// Bytes of all disks.
    pub(crate) disk: u64,
}

/// Takes a configuration for a replay.
///
/// # Errors
/// A sentence about a file that it names.
pub fn simulated(config: model::Config) -> Result<Simulated, String> {
    let metrics = Metrics::new().map_err(|error| error.to_string())?;
    let model::Memory { size, eviction, .. } = config.memory;
    // Nothing is sent to anybody.
    let pools = Pools::new();
    let common = Arc::new(Common {
        generation: 0,
        trust: Trust::new(Vec::new(), Field::XForwarded),
        tier: None,
        follower_wait: config.limits.follower_wait,
        ranges_max: config.limits.ranges,
    });
    let around = Around {
        metrics: &metrics,
        pools: &pools,
        common: &common,
        before: None,
    };
    let sites = sites_by_host(config.sites, around);
    Ok(Simulated {
        sites: sites.map_err(|error| error.to_string())?,
        memory: size,
        eviction: match eviction {
            model::Eviction::Gdsf => storage::Eviction::SampledGdsf,
            model::Eviction::Lru => storage::Eviction::Lru,
        },
        disk: config.disks.iter().map(|disk| disk.size).sum(),
    })
}

/// The sites of a configuration's text.
#[cfg(test)]
pub(crate) fn sites_of(text: &str) -> Sites {
    let config = config::parse("larder.toml", text).unwrap();
    simulated(config).unwrap().sites
}
