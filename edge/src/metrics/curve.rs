//! What other sizes of the tiers would do, as gauges.

use prometheus::core::Collector;
use prometheus::{Gauge, GaugeVec, IntGauge, Opts};

use crate::capacity::Told;

/// Gauges of the curve. They have no values before there is something to tell.
#[derive(Clone, Debug)]
pub(super) struct CurveMetrics {
    ratio: GaugeVec,
    error: GaugeVec,
    filled: GaugeVec,
    rate: Gauge,
    objects: IntGauge,
    requests: IntGauge,
    lost: IntGauge,
}

const LABELS: [&str; 3] = ["of", "change", "to"];

impl CurveMetrics {
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let gauges = |name, help| GaugeVec::new(Opts::new(name, help), &LABELS);
        Ok(Self {
            ratio: gauges(
                "curve_hit_ratio",
                "The hit ratio, of requests or of bytes, that there would be with so many times the memory or disk, \
                 or another policy.",
            )?,
            error: gauges(
                "curve_hit_ratio_error",
                "How far off the estimated hit ratio may be, in 95 of 100 cases.",
            )?,
            filled: GaugeVec::new(
                Opts::new(
                    "curve_filled_ratio",
                    "How much the shadow of a disk of another size has taken of what it lacks since the start; at 1 it is told.",
                ),
                &["change", "to"],
            )?,
            rate: Gauge::new(
                "curve_sampling_rate",
                "The share of small responses that is sampled; 0 while the disks are being read back.",
            )?,
            objects: IntGauge::new(
                "curve_sampled_objects",
                "Objects that the estimated hit ratios rest on.",
            )?,
            requests: IntGauge::new(
                "curve_sampled_requests_total",
                "Sampled requests that were looked at.",
            )?,
            lost: IntGauge::new(
                "curve_lost_total",
                "Sampled requests that were not looked at because there were too many at once.",
            )?,
        })
    }

    pub(super) fn all(&self) -> Vec<Box<dyn Collector>> {
        vec![
            Box::new(self.ratio.clone()),
            Box::new(self.error.clone()),
            Box::new(self.filled.clone()),
            Box::new(self.rate.clone()),
            Box::new(self.objects.clone()),
            Box::new(self.requests.clone()),
            Box::new(self.lost.clone()),
        ]
    }

    pub(super) fn set(&self, told: &Told) {
        self.ratio.reset();
        self.error.reset();
        for point in &told.points {
            let factor = point.factor.to_string();
            let to = point.policy.as_deref().unwrap_or(&factor);
            let (ratio, error) = (point.request_hit_ratio, point.request_hit_ratio_error);
            self.tell(["requests", &point.change, to], ratio, error);
            let (ratio, error) = (point.byte_hit_ratio, point.byte_hit_ratio_error);
            self.tell(["bytes", &point.change, to], ratio, error);
        }
        self.filled.reset();
        for it in &told.filling {
            let labels = [&*it.change, &*it.factor.to_string()];
            self.filled.with_label_values(&labels).set(it.filled);
        }
        self.rate.set(told.sampling_rate);
        self.objects.set(super::gauge(told.sampled_objects));
        self.requests.set(super::gauge(told.sampled_requests));
        self.lost.set(super::gauge(told.lost));
    }

    fn tell(&self, labels: [&str; 3], ratio: f64, error: f64) {
        self.ratio.with_label_values(&labels).set(ratio);
        self.error.with_label_values(&labels).set(error);
    }
}
