//! How long purges took from their acceptance, on whichever node, to their application on this one.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use purge_api::Propagation;

/// The last purges, of which quantiles are told exactly.
const LAST_MAX: usize = 1000;

/// How long the last purges took.
#[derive(Debug, Default)]
pub(super) struct LastPurges(Mutex<VecDeque<Duration>>);

impl LastPurges {
    /// One took so long.
    pub(super) fn note(&self, took: Duration) {
        let mut last = self.0.lock();
        if last.len() >= LAST_MAX {
            last.pop_front();
        }
        last.push_back(took);
    }

    /// Their quantiles.
    pub(super) fn told(&self) -> Propagation {
        let mut sorted: Vec<_> = self.0.lock().iter().copied().collect();
        sorted.sort_unstable();
        let at = |percent: usize| {
            let place = (sorted.len() * percent).div_ceil(100).checked_sub(1)?;
            sorted.get(place).map(|took| took.as_secs_f64() * 1000.0)
        };
        Propagation {
            purges: sorted.len() as u64,
            p50_ms: at(50),
            p99_ms: at(99),
            max_ms: at(100),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_last_purges() {
        let last = LastPurges::default();
        let told = last.told();
        assert_eq!((told.purges, told.p50_ms, told.max_ms), (0, None, None));
        last.note(Duration::from_secs(9));
        let told = last.told();
        assert_eq!((told.p50_ms, told.p99_ms), (Some(9000.0), Some(9000.0)));
        for millis in 1..=LAST_MAX as u64 {
            last.note(Duration::from_millis(millis));
        }
        let told = last.told();
        assert_eq!(told.purges, LAST_MAX as u64);
        let quantiles = (told.p50_ms, told.p99_ms, told.max_ms);
        assert_eq!(quantiles, (Some(500.0), Some(990.0), Some(1000.0)));
    }
}
