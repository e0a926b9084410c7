//! What becomes of what is sent.

use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, Opts};

/// Counters of a node that sends telemetry.
#[derive(Clone, Debug)]
pub(crate) struct TelemetryMetrics {
    spans: IntCounterVec,
    exports: IntCounterVec,
}

impl TelemetryMetrics {
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(Opts::new(name, help), labels)
        };
        let metrics = Self {
            spans: counters(
                "telemetry_spans_total",
                "Spans of recorded traces, by what became of them: dropped are those that found the queue full, failed \
                 those that the collector did not take.",
                &["result"],
            )?,
            exports: counters(
                "telemetry_exports_total",
                "Requests to the collector, further attempts included.",
                &["signal", "result"],
            )?,
        };
        for result in ["sent", "dropped", "failed"] {
            metrics.spans(result);
        }
        Ok(metrics)
    }

    pub(crate) fn spans(&self, result: &str) -> IntCounter {
        self.spans.with_label_values(&[result])
    }

    pub(super) fn export(&self, signal: &str, result: &str) {
        self.exports.with_label_values(&[signal, result]).inc();
    }

    pub(crate) fn collectors(&self) -> [Box<dyn Collector>; 2] {
        [Box::new(self.spans.clone()), Box::new(self.exports.clone())]
    }
}
