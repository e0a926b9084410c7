//! Counters of origins, by their site and URL.

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
};
use tiered::window::Ending;

use super::counters;
use crate::origins::{Origin, Origins};

/// The metrics of origins.
pub(crate) struct OriginMetrics {
    up: IntGaugeVec,
    under_way: IntGaugeVec,
    waiting: IntGaugeVec,
    attempts: IntCounterVec,
    failures: IntCounterVec,
    outs: IntCounterVec,
    probes: IntCounterVec,
    retries: IntCounterVec,
    connects: HistogramVec,
}

/// From the same machine to the end of the usual patience.
const CONNECT_BUCKETS: &[f64] = &[
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];

/// Those of one origin.
#[derive(Debug)]
pub(crate) struct OriginTally {
    labels: [String; 2],
    pub requests: IntCounter,
    failures: IntCounterVec,
    outs: IntCounterVec,
    probes: IntCounterVec,
    connects: Histogram,
    gauges: Gauges,
    telling: Mutex<Telling>,
}

/// Whether what is counted of an origin is told.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Telling {
    #[default]
    On,
    /// The origin is no more: what still ends there would bring its names back.
    Over,
}

#[derive(Debug)]
struct Gauges {
    up: IntGauge,
    under_way: IntGauge,
    waiting: IntGauge,
}

/// Further attempts of one site's requests.
#[derive(Debug)]
pub(crate) struct RetryTally {
    site: String,
    retries: IntCounterVec,
    made: OnceLock<IntCounter>,
}

impl OriginMetrics {
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let gauges = |name, help| IntGaugeVec::new(Opts::new(name, help), &["site", "origin"]);
        Ok(Self {
            up: gauges(
                "origin_up",
                "Whether an origin is asked: 1, or 0 while it is out.",
            )?,
            under_way: gauges(
                "origin_requests_under_way",
                "Requests that an origin has now.",
            )?,
            waiting: gauges(
                "origin_requests_waiting",
                "Requests that wait until an origin may have another one.",
            )?,
            attempts: counters(
                "origin_attempts_total",
                "Requests sent to an origin, or that would have been if it could be reached.",
                &["site", "origin"],
            )?,
            failures: counters(
                "origin_failures_total",
                "Attempts that failed by the origin's fault, by the error.",
                &["site", "origin", "error"],
            )?,
            outs: counters(
                "origin_outs_total",
                "How often an origin went out, by what put it out.",
                &["site", "origin", "by"],
            )?,
            probes: counters(
                "origin_probes_total",
                "Probes of an origin, by their result.",
                &["site", "origin", "result"],
            )?,
            retries: counters(
                "origin_retries_total",
                "Further attempts of requests that failed, and those that the budget did not allow.",
                &["site", "result"],
            )?,
            connects: HistogramVec::new(
                HistogramOpts::new(
                    "origin_connect_seconds",
                    "How long a new connection to an origin took, proxies on the way included, TLS not.",
                )
                .buckets(CONNECT_BUCKETS.to_vec()),
                &["site", "origin"],
            )?,
        })
    }

    pub(super) fn all(&self) -> [Box<dyn Collector>; 9] {
        [
            Box::new(self.up.clone()),
            Box::new(self.under_way.clone()),
            Box::new(self.waiting.clone()),
            Box::new(self.attempts.clone()),
            Box::new(self.failures.clone()),
            Box::new(self.outs.clone()),
            Box::new(self.probes.clone()),
            Box::new(self.retries.clone()),
            Box::new(self.connects.clone()),
        ]
    }

    /// Tells of these origins, by the names of their sites, and of no others.
    pub(crate) fn keep_only(&self, known: &HashSet<(&str, &str)>) {
        for gauges in [&self.up, &self.under_way, &self.waiting] {
            prune(gauges, known);
        }
        for counters in [&self.attempts, &self.failures, &self.outs, &self.probes] {
            prune(counters, known);
        }
        prune(&self.connects, known);
    }

    /// The counters of one origin.
    pub(crate) fn origin(&self, site: &str, origin: &str) -> OriginTally {
        let labels = [site, origin];
        let up = self.up.with_label_values(&labels);
        up.set(1);
        OriginTally {
            labels: labels.map(str::to_owned),
            requests: self.attempts.with_label_values(&labels),
            failures: self.failures.clone(),
            outs: self.outs.clone(),
            probes: self.probes.clone(),
            connects: self.connects.with_label_values(&labels),
            telling: Mutex::default(),
            gauges: Gauges {
                up,
                under_way: self.under_way.with_label_values(&labels),
                waiting: self.waiting.with_label_values(&labels),
            },
        }
    }

    /// The further attempts of a site.
    pub(crate) fn retries(&self, site: &str) -> RetryTally {
        RetryTally {
            site: site.to_owned(),
            retries: self.retries.clone(),
            made: OnceLock::new(),
        }
    }
}

/// Takes away what is told of other origins.
fn prune<T: MetricVecBuilder>(told: &MetricVec<T>, known: &HashSet<(&str, &str)>) {
    for family in told.collect() {
        for metric in family.get_metric() {
            let labels = metric.get_label().iter();
            let labels: HashMap<_, _> = labels.map(|it| (it.name(), it.value())).collect();
            let of = |name: &str| labels.get(name).copied().unwrap_or_default();
            if !known.contains(&(of("site"), of("origin"))) {
                drop(told.remove(&labels));
            }
        }
    }
}

impl OriginTally {
    /// The origin is no more.
    pub(crate) fn end(&self) {
        *self.telling.lock() = Telling::Over;
    }

    /// A connection was made.
    pub(crate) fn connected(&self, took: Duration) {
        self.connects.observe(took.as_secs_f64());
    }

    /// An attempt failed.
    pub(crate) fn failed(&self, error: &str) {
        self.count(&self.failures, error);
    }

    /// It went out.
    pub(crate) fn went_out(&self, by: &str) {
        self.count(&self.outs, by);
    }

    /// A probe ended.
    pub(crate) fn probed(&self, ending: Ending) {
        let result = match ending {
            Ending::Answered => "passed",
            Ending::Failed => "failed",
        };
        self.count(&self.probes, result);
    }

    fn count(&self, counters: &IntCounterVec, word: &str) {
        let telling = self.telling.lock();
        if *telling == Telling::Over {
            return;
        }
        let [site, origin] = &self.labels;
        counters.with_label_values(&[site, origin, word]).inc();
    }
}

impl RetryTally {
    /// A further attempt is made.
    pub(crate) fn made(&self) {
        let labels = [self.site.as_str(), "made"];
        let made = || self.retries.with_label_values(&labels);
        self.made.get_or_init(made).inc();
    }

    /// There would have been one, but for the budget.
    pub(crate) fn refused(&self) {
        let labels = [self.site.as_str(), "refused"];
        self.retries.with_label_values(&labels).inc();
    }
}

/// What an origin is like when the metrics are read.
pub(crate) fn set(origins: &Origins) {
    let now = crate::origins::moment();
    for origin in &origins.all {
        let Origin {
            condition, slots, ..
        } = &**origin;
        let Gauges {
            up,
            under_way,
            waiting,
        } = &condition.tally.gauges;
        up.set(i64::from(!condition.is_out(now)));
        under_way.set(i64::from(slots.under_way()));
        waiting.set(i64::from(slots.waiting()));
    }
}
