//! Counters of a node in a fleet.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts};

/// Seconds: from nodes beside each other to a log that was cut off.
const PROPAGATIONS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];

/// Counters of a node in a fleet.
#[derive(Clone, Debug)]
pub(crate) struct FleetMetrics {
    lag: Gauge,
    nodes: IntGauge,
    queued: IntGauge,
    pub resets: IntCounterVec,
    pub publish_failures: IntCounter,
    pub publish_retries: IntCounter,
    pub reconnects: IntCounter,
    pub unknown: IntCounter,
    pub propagation: Histogram,
}

impl FleetMetrics {
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        Ok(Self {
            lag: Gauge::new(
                "purge_lag_seconds",
                "How long what was applied last of the purge log is ago; -1 before anything was.",
            )?,
            nodes: IntGauge::new(
                "fleet_nodes",
                "Nodes of the fleet that were heard of, this one too.",
            )?,
            queued: IntGauge::new(
                "purge_queued",
                "Purges that wait in the outbox for the log.",
            )?,
            resets: IntCounterVec::new(
                Opts::new(
                    "fleet_resets_total",
                    "How often everything stored had to be validated because purges may have been missed.",
                ),
                &["reason"],
            )?,
            publish_failures: IntCounter::new(
                "purge_publish_failures_total",
                "Purges that the log did not confirm in time.",
            )?,
            publish_retries: IntCounter::new(
                "purge_publish_retries_total",
                "Further attempts to bring a purge into the log.",
            )?,
            reconnects: IntCounter::new(
                "fleet_connections_total",
                "Connections made to the log's servers.",
            )?,
            unknown: IntCounter::new(
                "purge_unknown_messages_total",
                "Messages of the log that were not understood and counted as purges of a whole site, or of all.",
            )?,

            propagation: Histogram::with_opts(
                HistogramOpts::new(
                    "purge_propagation_seconds",
                    "From a purge's acceptance, on whichever node, to its application on this one, by the clocks of both.",
                )
                .buckets(PROPAGATIONS.to_vec()),
            )?,        })
    }

    pub(crate) fn collectors(&self) -> [Box<dyn Collector>; 9] {
        [
            Box::new(self.lag.clone()),
            Box::new(self.nodes.clone()),
            Box::new(self.queued.clone()),
            Box::new(self.resets.clone()),
            Box::new(self.publish_failures.clone()),
            Box::new(self.publish_retries.clone()),
            Box::new(self.reconnects.clone()),
            Box::new(self.unknown.clone()),
            Box::new(self.propagation.clone()),
        ]
    }

    /// Sets what is read rather than counted.
    pub(crate) fn tell(&self, lag: Option<Duration>, nodes: usize, queued: usize) {
        self.lag.set(lag.map_or(-1.0, |lag| lag.as_secs_f64()));
        self.nodes.set(i64::try_from(nodes).unwrap_or(i64::MAX));
        self.queued.set(i64::try_from(queued).unwrap_or(i64::MAX));
    }
}
