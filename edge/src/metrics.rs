//! Counters of a node. Labels are sites and fixed words; nothing of a request becomes one.

mod ages;
mod curve;
mod disks;
mod egress;
mod origins;
mod poured;
mod purges;
mod requests;
mod sharded;
mod tally;

use std::sync::{Arc, OnceLock};

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

/// The site of requests that were for none.
pub(crate) const NO_SITE: &str = "-";

use policy::coding::Coding;

use crate::cache::Slices;
use crate::capacity::Told;
use crate::downstream::outpour;
use crate::tier::TierMetrics;
use ages::Ages;
use disks::DiskMetrics;
pub(crate) use disks::OnDisks;
pub(crate) use egress::{EgressMetrics, PoolTally};
pub(crate) use origins::{OriginMetrics, OriginTally, RetryTally, set as set_origins};
use poured::Poured;
pub(crate) use requests::{KnownTallies, OTHER, Requests, to_float};
pub(crate) use tally::{
    Asked, BUCKETS, Counted, DURATIONS, Durations, NO_RULE, OfOrigin, Row, Tally,
};

/// The memory tier when the metrics are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    pub objects: u64,
    pub bytes: u64,
    pub bytes_max: u64,
    pub evictions: u64,
    pub rejected: u64,
    pub in_flight: u64,
    pub lasting: u64,
}

/// The purges when the metrics are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Purged {
    pub sequence: u64,
    pub last: u64,
    pub forgotten: u64,
    pub resets: u64,
    pub labels: u64,
    pub removed: u64,
}

/// What was counted for all sites together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    /// Requests, those of other nodes among them.
    pub requests: u64,
    /// Requests to origins.
    pub asked: u64,
}

/// All metrics of a node.
pub(crate) struct Metrics {
    registry: Registry,
    pub requests: Requests,
    /// Requests that were for no site.
    pub nobody: Arc<Tally>,
    forwarded: IntCounterVec,
    unkeyed_vary: IntCounterVec,
    slices: IntCounterVec,
    slice_bytes: IntCounterVec,
    coded_responses: IntCounterVec,
    coder_bytes: IntCounterVec,
    pub connections: IntGauge,
    pub connections_refused: IntCounter,
    pub log_dropped: IntCounter,
    objects: IntGauge,
    bytes: IntGaugeVec,
    bytes_max: IntGauge,
    evictions: IntGauge,
    rejected: IntGauge,
    pub ages: Ages,
    pub purges: purges::Purges,
    disks: DiskMetrics,
    poured: Poured,
    curve: curve::CurveMetrics,
    pub origins: OriginMetrics,
    pub egress: EgressMetrics,
    /// Those of a node with others before or behind it, once it is one.
    tier: OnceLock<TierMetrics>,
}

impl Metrics {
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new_custom(Some("larder".to_owned()), None)?;
        let metrics = Self {
            requests: Requests::new()?,
            nobody: Arc::new(Tally::new(NO_SITE, NO_RULE)),
            forwarded: counters(
                "forwarded_total",
                "Requests that went towards an origin, by why, and by what else Cache-Status says of them.",
                &["site", "why", "detail"],
            )?,
            unkeyed_vary: counters(
                "unkeyed_vary_total",
                "Responses stored that vary on a field which the site neither normalises nor has in its key, \
                 or ignores.",
                &["site", "care"],
            )?,
            slices: counters(
                "slices_total",
                "Slices that answers were made of, by whether they were stored.",
                &["site", "from"],
            )?,
            slice_bytes: counters(
                "slice_bytes_total",
                "Content bytes sent to clients from slices, by whether they were stored.",
                &["site", "from"],
            )?,
            coded_responses: counters(
                "coded_responses_total",
                "Responses sent in another content coding than they are stored in.",
                &["site", "coding"],
            )?,
            coder_bytes: counters(
                "coder_bytes_total",
                "Content bytes converted to another coding, before and after.",
                &["coding", "side"],
            )?,
            connections: IntGauge::new("connections", "Connections of clients.")?,
            connections_refused: IntCounter::new(
                "connections_refused_total",
                "Connections closed at once because there were too many.",
            )?,
            log_dropped: IntCounter::new(
                "access_log_dropped_total",
                "Lines of the access log that were dropped because it could not be written fast enough.",
            )?,
            objects: IntGauge::new("cache_objects", "Responses in the memory tier.")?,
            bytes: IntGaugeVec::new(
                Opts::new("cache_bytes", "Bytes charged to the memory tier."),
                &["kind"],
            )?,
            bytes_max: IntGauge::new(
                "cache_limit_bytes",
                "The most bytes that may be charged to the memory tier.",
            )?,
            evictions: IntGauge::new(
                "cache_evictions_total",
                "Responses that left the memory tier for others.",
            )?,
            rejected: IntGauge::new(
                "cache_rejected_total",
                "Responses that the memory tier had no room for.",
            )?,
            ages: Ages::new()?,
            purges: purges::Purges::new()?,
            disks: DiskMetrics::new()?,
            poured: Poured::new()?,
            curve: curve::CurveMetrics::new()?,
            origins: OriginMetrics::new()?,
            egress: EgressMetrics::new()?,
            tier: OnceLock::new(),
            registry,
        };
        metrics.register()?;
        metrics.requests.watch([Arc::clone(&metrics.nobody)]);
        Ok(metrics)
    }

    fn register(&self) -> Result<(), prometheus::Error> {
        let build = IntGaugeVec::new(
            Opts::new("build_info", "The program's version."),
            &["version"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let all: Vec<Box<dyn Collector>> = vec![
            Box::new(build),
            Box::new(self.requests.clone()),
            Box::new(self.forwarded.clone()),
            Box::new(self.unkeyed_vary.clone()),
            Box::new(self.slices.clone()),
            Box::new(self.slice_bytes.clone()),
            Box::new(self.coded_responses.clone()),
            Box::new(self.coder_bytes.clone()),
            Box::new(self.connections.clone()),
            Box::new(self.connections_refused.clone()),
            Box::new(self.log_dropped.clone()),
            Box::new(self.objects.clone()),
            Box::new(self.bytes.clone()),
            Box::new(self.bytes_max.clone()),
            Box::new(self.evictions.clone()),
            Box::new(self.rejected.clone()),
        ];
        all.into_iter()
            .chain(self.ages.all())
            .chain(self.disks.all())
            .chain(self.poured.all())
            .chain(self.curve.all())
            .chain(self.origins.all())
            .chain(self.egress.all())
            .chain(self.purges.collectors())
            .try_for_each(|metric| self.registry.register(metric))
    }

    /// Adds what a part of the node counts that not every node has.
    pub(crate) fn add(&self, collectors: impl IntoIterator<Item = Box<dyn Collector>>) {
        for collector in collectors {
            if let Err(error) = self.registry.register(collector) {
                tracing::error!(%error, "a metric is missing");
            }
        }
    }

    /// Those of a node with others before or behind it.
    pub(crate) fn tier(&self) -> Result<TierMetrics, prometheus::Error> {
        if let Some(there) = self.tier.get() {
            return Ok(there.clone());
        }
        let new = TierMetrics::new()?;
        let kept = self.tier.get_or_init(|| {
            self.add(new.collectors());
            new
        });
        Ok(kept.clone())
    }

    /// A request that went towards an origin.
    pub(crate) fn forwarded(&self, site: &str, why: &str, detail: &str) {
        self.forwarded.with_label_values(&[site, why, detail]).inc();
    }

    /// A stored response that varies on a field without the operator's care.
    pub(crate) fn unkeyed_vary(&self, site: &str, care: &str) {
        self.unkeyed_vary.with_label_values(&[site, care]).inc();
    }

    /// Where the slices of an answer came from.
    pub(crate) fn slices(&self, site: &str, slices: &Slices) {
        for (from, count, bytes) in [
            ("cache", slices.hits, slices.hit_bytes),
            ("origin", slices.misses, slices.miss_bytes),
        ] {
            let labels = [site, from];
            self.slices.with_label_values(&labels).inc_by(count);
            self.slice_bytes.with_label_values(&labels).inc_by(bytes);
        }
    }

    /// A response that was sent in another coding than it is stored in.
    pub(crate) fn coded_response(&self, site: &str, coding: Coding) {
        let labels = [site, coding.as_str()];
        self.coded_responses.with_label_values(&labels).inc();
    }

    /// Content that was converted to another coding.
    pub(crate) fn coded(&self, coding: Coding, before: usize, after: usize) {
        for (side, bytes) in [("before", before), ("after", after)] {
            let labels = [coding.as_str(), side];
            self.coder_bytes
                .with_label_values(&labels)
                .inc_by(bytes as u64);
        }
    }

    /// What other sizes of the tiers would do.
    pub(crate) fn set_curve(&self, told: &Told) {
        self.curve.set(told);
    }

    /// Everything in the text format of Prometheus.
    pub(crate) fn text(families: &[MetricFamily]) -> String {
        TextEncoder::new()
            .encode_to_string(families)
            .unwrap_or_default()
    }

    /// Everything.
    pub(crate) fn families(
        &self,
        stored: Stored,
        purged: Purged,
        on_disks: Option<&OnDisks>,
    ) -> Vec<MetricFamily> {
        if let Some(on_disks) = on_disks {
            self.disks.set(on_disks);
        }
        self.purges.set(purged);
        self.objects.set(gauge(stored.objects));
        let held = stored.bytes.saturating_sub(stored.in_flight);
        self.bytes.with_label_values(&["stored"]).set(gauge(held));
        self.bytes
            .with_label_values(&["in_flight"])
            .set(gauge(stored.in_flight));
        self.poured.set(stored.lasting, outpour::Told::now());
        self.bytes_max.set(gauge(stored.bytes_max));
        self.evictions.set(gauge(stored.evictions));
        self.rejected.set(gauge(stored.rejected));
        self.registry.gather()
    }
}

fn counters(name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
    IntCounterVec::new(Opts::new(name, help), labels)
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
