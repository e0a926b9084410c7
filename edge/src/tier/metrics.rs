//! Counters of a node that has others before or behind it.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
};

use purge_api::Parent;

use super::answers::Answers;

/// Seconds: from a hit on the same network to an origin's timeout.
const DURATIONS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0,
];

/// Counters of a node that has others before or behind it.
#[derive(Clone, Debug)]
pub(crate) struct TierMetrics {
    requests: IntCounterVec,
    turns: IntCounterVec,
    direct: IntCounterVec,
    hop: HistogramVec,
    up: IntGaugeVec,
    in_flight: IntGaugeVec,
    connections: IntGaugeVec,
    opened: IntGaugeVec,
    sent: IntGaugeVec,
    budget: IntGauge,
    peers: IntCounterVec,
    pub failovers: IntCounter,
    pub hedges: IntCounter,
    pub repeats: IntCounter,
    resumes: IntCounterVec,
    differences: IntCounterVec,
    pub(super) answers: Answers,
}

impl TierMetrics {
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let counters =
            |name, help, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        let gauges = |name, help| IntGaugeVec::new(Opts::new(name, help), &["parent"]);
        Ok(Self {
            requests: counters(
                "tiered_requests_total",
                "Requests sent to parents, by what they said: a hit, a response from further on, no answer, or that \
                 they do not take it; \"failed\" is one that did not answer.",
                &["parent", "said"],
            )?,
            turns: counters(
                "tiered_parent_turns_total",
                "How often a parent was found unfit, and fit again.",
                &["parent", "turn"],
            )?,
            direct: counters(
                "tiered_direct_total",
                "Requests that no parent answered, by whether the budget let them go to the origin.",
                &["budget"],
            )?,
            hop: HistogramVec::new(
                HistogramOpts::new(
                    "tiered_hop_seconds",
                    "From a request to a parent to the head of its response.",
                )
                .buckets(DURATIONS.to_vec()),
                &["parent"],
            )?,
            up: gauges("tiered_parent_up", "Whether a parent is asked.")?,
            in_flight: gauges(
                "tiered_in_flight",
                "Requests to a parent that wait for a response.",
            )?,
            connections: gauges("tiered_connections", "Open connections to a parent.")?,
            opened: gauges(
                "tiered_connections_opened_total",
                "Connections that were opened to a parent. Beside the requests sent on them, it tells how often one is \
                 used again.",
            )?,
            sent: gauges(
                "tiered_connection_requests_total",
                "Requests sent on connections to a parent, probes included.",
            )?,
            budget: IntGauge::new(
                "tiered_direct_budget",
                "Requests that may go to the origin now if no parent answers.",
            )?,
            peers: counters(
                "tiered_peer_requests_total",
                "Requests of other nodes, by what became of them at the border.",
                &["verdict"],
            )?,
            failovers: IntCounter::new(
                "tiered_failovers_total",
                "Requests that went to another parent because the first did not answer.",
            )?,
            hedges: IntCounter::new(
                "tiered_hedges_total",
                "Requests that went to another parent, too, because the first owed a sign of life.",
            )?,
            repeats: IntCounter::new(
                "tiered_repeats_total",
                "Requests that were sent again because the answer was older than a purge.",
            )?,
            resumes: counters(
                "tiered_resumes_total",
                "Bodies that broke off with a parent, by whether somebody else had the rest.",
                &["rest"],
            )?,
            differences: counters(
                "tiered_slices_differ_total",
                "Answers of parents that cut what was asked for into other slices than this node does: each slice costs \
                 more than one of theirs.",
                &["parent"],
            )?,
            answers: Answers::new()?,
        })
    }

    pub(crate) fn collectors(&self) -> [Box<dyn Collector>; 19] {
        [
            Box::new(self.requests.clone()),
            Box::new(self.turns.clone()),
            Box::new(self.direct.clone()),
            Box::new(self.hop.clone()),
            Box::new(self.up.clone()),
            Box::new(self.in_flight.clone()),
            Box::new(self.connections.clone()),
            Box::new(self.opened.clone()),
            Box::new(self.sent.clone()),
            Box::new(self.budget.clone()),
            Box::new(self.peers.clone()),
            Box::new(self.failovers.clone()),
            Box::new(self.hedges.clone()),
            Box::new(self.repeats.clone()),
            Box::new(self.resumes.clone()),
            Box::new(self.differences.clone()),
            Box::new(self.answers.clients.clone()),
            Box::new(self.answers.asked.clone()),
            Box::new(self.answers.peers.clone()),
        ]
    }

    pub(super) fn asked(&self, parent: &str, said: &str) {
        self.requests.with_label_values(&[parent, said]).inc();
    }

    pub(super) fn took(&self, parent: &str, took: Duration) {
        let seconds = took.as_secs_f64();
        self.hop.with_label_values(&[parent]).observe(seconds);
    }

    /// A parent cuts something otherwise.
    pub(super) fn differs(&self, parent: &str) {
        self.differences.with_label_values(&[parent]).inc();
    }

    pub(crate) fn resumed(&self, found: bool) {
        let rest = match found {
            true => "found",
            false => "missing",
        };
        self.resumes.with_label_values(&[rest]).inc();
    }

    pub(super) fn turned(&self, parent: &str, turn: &str) {
        self.turns.with_label_values(&[parent, turn]).inc();
    }

    pub(super) fn direct(&self, allowed: bool) {
        self.direct.with_label_values(&[budget_word(allowed)]).inc();
    }

    pub(super) fn directs(&self, allowed: bool) -> u64 {
        self.direct.with_label_values(&[budget_word(allowed)]).get()
    }

    pub(super) fn peer(&self, verdict: &str) {
        self.peers.with_label_values(&[verdict]).inc();
    }

    pub(super) fn tell_budget(&self, left: u64) {
        self.budget.set(i64::try_from(left).unwrap_or(i64::MAX));
    }

    pub(super) fn tell(&self, shown: &Parent) {
        let set = |gauges: &IntGaugeVec, value: u64| {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            gauges.with_label_values(&[&shown.id]).set(value);
        };
        set(&self.up, u64::from(matches!(shown.state, "up" | "trial")));
        set(&self.in_flight, shown.in_flight);
        set(&self.connections, shown.connections);
        set(&self.opened, shown.opened);
        set(&self.sent, shown.requests);
    }

    /// A parent that is none any more.
    pub(super) fn forget(&self, parent: &str) {
        for gauges in [
            &self.up,
            &self.in_flight,
            &self.connections,
            &self.opened,
            &self.sent,
        ] {
            drop(gauges.remove_label_values(&[parent]));
        }
        drop(self.hop.remove_label_values(&[parent]));
    }
}

const fn budget_word(allowed: bool) -> &'static str {
    match allowed {
        true => "allowed",
        false => "spent",
    }
}
