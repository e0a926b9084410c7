//! Counters of egress pools.

use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, IntGaugeVec, Opts};

use super::counters;
use crate::egress::Pool;

/// The metrics of all pools.
pub(crate) struct EgressMetrics {
    in_use: IntGaugeVec,
    limit: IntGaugeVec,
    connections: IntCounterVec,
    exhausted: IntCounterVec,
    outside: IntCounterVec,
}

/// Those of one pool.
#[derive(Debug)]
pub(crate) struct PoolTally {
    pub connections: IntCounter,
    pub exhausted: IntCounter,
    /// Connections that the kernel gave a port that is not the pool's.
    pub outside: IntCounter,
}

impl EgressMetrics {
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let gauges = |name, help| IntGaugeVec::new(Opts::new(name, help), &["pool", "address"]);
        Ok(Self {
            in_use: gauges(
                "egress_ports_in_use",
                "Connections to origins that leave from an address of a pool.",
            )?,
            limit: gauges(
                "egress_ports",
                "Ports of an address that a pool has: so many connections to one destination.",
            )?,
            connections: counters(
                "egress_connections_total",
                "Connections made from a pool.",
                &["pool"],
            )?,
            exhausted: counters(
                "egress_exhausted_total",
                "How often a pool had no port left for a destination.",
                &["pool"],
            )?,
            outside: counters(
                "egress_port_outside_slice_total",
                "Connections that were closed because the kernel gave them a port that is not the pool's.",
                &["pool"],
            )?,
        })
    }

    pub(super) fn all(&self) -> [Box<dyn Collector>; 5] {
        [
            Box::new(self.in_use.clone()),
            Box::new(self.limit.clone()),
            Box::new(self.connections.clone()),
            Box::new(self.exhausted.clone()),
            Box::new(self.outside.clone()),
        ]
    }

    /// The counters of one pool.
    pub(crate) fn pool(&self, name: &str) -> PoolTally {
        PoolTally {
            connections: self.connections.with_label_values(&[name]),
            exhausted: self.exhausted.with_label_values(&[name]),
            outside: self.outside.with_label_values(&[name]),
        }
    }

    /// What a pool has in use when the metrics are read.
    pub(crate) fn set(&self, pool: &Pool) {
        for source in &pool.sources {
            let address = source.address.to_string();
            let labels = [pool.name.as_str(), address.as_str()];
            let in_use = self.in_use.with_label_values(&labels);
            in_use.set(i64::from(source.in_use()));
            if let Some(limit) = source.limit() {
                self.limit.with_label_values(&labels).set(i64::from(limit));
            }
        }
    }
}
