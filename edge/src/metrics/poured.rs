//! What sockets were given as pages of memory, without a copy.

use prometheus::IntGauge;
use prometheus::core::Collector;

use crate::downstream::outpour::Told;

/// It, as it is when the metrics are read.
pub(super) struct Poured {
    lasting: IntGauge,
    bytes: IntGauge,
    refused: IntGauge,
}

impl Poured {
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        Ok(Self {
            lasting: IntGauge::new(
                "cache_lasting_bytes",
                "Bytes of the memory tier, of those stored, whose pages sockets can be given.",
            )?,
            bytes: IntGauge::new(
                "poured_bytes_total",
                "Content bytes that sockets were given as pages of memory, without a copy.",
            )?,
            refused: IntGauge::new(
                "pours_refused_total",
                "Responses that were copied into their sockets because the system did not take their pages.",
            )?,
        })
    }

    pub(super) fn all(&self) -> Vec<Box<dyn Collector>> {
        vec![
            Box::new(self.lasting.clone()),
            Box::new(self.bytes.clone()),
            Box::new(self.refused.clone()),
        ]
    }

    /// Takes what there is to tell.
    pub(super) fn set(&self, lasting: u64, told: Told) {
        self.lasting.set(super::gauge(lasting));
        self.bytes.set(super::gauge(told.bytes));
        self.refused.set(super::gauge(told.refused));
    }
}
