//! How old stored responses are when others take their place.

use prometheus::core::Collector;
use prometheus::{HistogramOpts, HistogramVec};
use storage::Tier;

/// Bounds of the histogram, in seconds: from a moment to a month.
const AGES: [f64; 10] = [
    1.0,
    10.0,
    60.0,
    600.0,
    3600.0,
    21_600.0,
    86_400.0,
    259_200.0,
    604_800.0,
    2_592_000.0,
];

/// Ages by tier.
#[derive(Clone, Debug)]
pub(crate) struct Ages(HistogramVec);

impl Ages {
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let options = HistogramOpts::new(
            "cache_age_at_eviction_seconds",
            "How long ago what left a tier for others was received, or last validated.",
        );
        let options = options.buckets(AGES.to_vec());
        let ages = HistogramVec::new(options, &["tier"])?;
        // There always is memory.
        drop(ages.with_label_values(&["memory"]));
        Ok(Self(ages))
    }

    /// Something of this age, in seconds, left a tier.
    pub(crate) fn evicted(&self, tier: Tier, age: u64) {
        let tier = match tier {
            Tier::Memory => "memory",
            Tier::Disk => "disk",
        };
        let age = u32::try_from(age).unwrap_or(u32::MAX);
        self.0.with_label_values(&[tier]).observe(f64::from(age));
    }

    pub(super) fn all(&self) -> [Box<dyn Collector>; 1] {
        [Box::new(self.0.clone())]
    }
}
