//! Counters of purges.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge};
use purge_api::{Mode, Order};

use super::{Purged, counters, gauge};

/// Seconds: from one write to a disk that is in trouble, or to nodes far away.
const LATENCIES: [f64; 12] = [
    0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5, 10.0,
];

/// All of them.
pub(crate) struct Purges {
    purges: IntCounterVec,
    refusals: IntCounterVec,
    latency: Histogram,
    sequence: IntGauge,
    last: IntGauge,
    forgotten: IntGauge,
    labels: IntGauge,
    removed: IntGauge,
    /// Responses that were purged while they were received.
    pub fills: IntCounter,
    /// Times that everything stored had to be validated because the log could not tell.
    resets: IntGauge,
}

impl Purges {
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        Ok(Self {
            purges: counters(
                "purges_total",
                "Purges that were applied here, whoever accepted them, once for each kind of key in them.",
                &["scope", "mode"],
            )?,
            refusals: counters(
                "admin_refusals_total",
                "Requests to the admin API, and to purge, that were refused.",
                &["reason"],
            )?,
            latency: Histogram::with_opts(
                HistogramOpts::new(
                    "purge_latency_seconds",
                    "From a purge's acceptance by this node to its application here.",
                )
                .buckets(LATENCIES.to_vec()),
            )?,
            sequence: IntGauge::new("purge_sequence", "The last purge that was applied.")?,
            last: IntGauge::new(
                "purge_log_sequence",
                "The last place in the purge log that this node knows of.",
            )?,
            forgotten: IntGauge::new(
                "purge_swept_sequence",
                "The last purge whose objects were swept: the index has forgotten it.",
            )?,
            labels: IntGauge::new("purge_labels", "Names with purges that are remembered.")?,
            removed: IntGauge::new(
                "purge_swept_objects_total",
                "Stored responses that the sweeper removed.",
            )?,
            fills: IntCounter::new(
                "purge_discarded_fills_total",
                "Responses that were not stored because they were purged on their way.",
            )?,
            resets: IntGauge::new(
                "purge_resets_total",
                "Times that everything had to be validated because the log of purges could not tell.",
            )?,
        })
    }

    pub(super) fn collectors(&self) -> Vec<Box<dyn Collector>> {
        vec![
            Box::new(self.purges.clone()),
            Box::new(self.refusals.clone()),
            Box::new(self.latency.clone()),
            Box::new(self.sequence.clone()),
            Box::new(self.last.clone()),
            Box::new(self.forgotten.clone()),
            Box::new(self.labels.clone()),
            Box::new(self.removed.clone()),
            Box::new(self.fills.clone()),
            Box::new(self.resets.clone()),
        ]
    }

    /// A purge that was applied; how long that took, where this node had accepted it.
    pub(crate) fn applied(&self, order: &Order, took: Option<Duration>) {
        let mode = match order.mode {
            Mode::Hard => "hard",
            Mode::Soft => "soft",
        };
        let mut words: Vec<_> = order.scopes.iter().map(purge_api::Scope::word).collect();
        words.sort_unstable();
        words.dedup();
        for word in words {
            self.purges.with_label_values(&[word, mode]).inc();
        }
        if let Some(took) = took {
            self.latency.observe(took.as_secs_f64());
        }
    }

    /// A request that was refused for this reason.
    pub(crate) fn refused(&self, reason: &str) {
        self.refusals.with_label_values(&[reason]).inc();
    }

    pub(super) fn set(&self, purged: Purged) {
        self.sequence.set(gauge(purged.sequence));
        self.last.set(gauge(purged.last));
        self.forgotten.set(gauge(purged.forgotten));
        self.labels.set(gauge(purged.labels));
        self.resets.set(gauge(purged.resets));
        self.removed.set(gauge(purged.removed));
    }
}
