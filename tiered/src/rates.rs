//! Which keys are asked for often: an estimate of each one's rate in a table of a fixed size.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::Moment;

/// Counters in a row: keys that share one in each row count together, which errs towards hot.
const COUNTERS: usize = 8_192;
const ROWS: usize = 2;
/// How long a count lasts before it counts half.
const HALF_LIFE: Duration = Duration::from_secs(1);

/// How often keys are asked for.
#[derive(Debug)]
pub struct Rates {
    rows: [Box<[AtomicU32]>; ROWS],
    /// Half-lives that have passed, as of the last look.
    halved: AtomicU64,
}

impl Default for Rates {
    fn default() -> Self {
        let row = || (0..COUNTERS).map(|_| AtomicU32::default()).collect();
        Self {
            rows: [row(), row()],
            halved: AtomicU64::default(),
        }
    }
}

impl Rates {
    /// Counts a request for a key, and says how many there were of late: under a steady load, twice as many as there are
    /// in a second.
    pub fn count(&self, key: u64, now: Moment) -> u32 {
        self.decay(now);
        let places = [key, key.rotate_left(29).wrapping_mul(0x9e37_79b9_7f4a_7c15)];
        let counts = self.rows.iter().zip(places).map(|(row, place)| {
            let place = usize::try_from(place >> 40).unwrap_or_default() % COUNTERS;
            row[place].fetch_add(1, Ordering::Relaxed).saturating_add(1)
        });
        counts.min().unwrap_or_default()
    }

    fn decay(&self, now: Moment) {
        let due = now.0.as_secs() / HALF_LIFE.as_secs();
        let before = self.halved.fetch_max(due, Ordering::Relaxed);
        let times = u32::try_from(due.saturating_sub(before))
            .unwrap_or(u32::MAX)
            .min(31);
        if times == 0 {
            return;
        }
        for counter in self.rows.iter().flat_map(|row| row.iter()) {
            let count = counter.load(Ordering::Relaxed);
            if count > 0 {
                // What is counted meanwhile may be lost: it is an estimate.
                counter.store(count >> times, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    #[test]
    fn a_key_that_is_asked_for_often_is_found() {
        let rates = Rates::default();
        let hot = 0xdead_beef_1234_5678;
        let mut last = 0;
        for second in 0..20 {
            for _ in 0..100 {
                last = rates.count(hot, at(second));
            }
            for other in 0..200_u64 {
                rates.count(
                    other.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ second,
                    at(second),
                );
            }
        }
        assert!((190..=240).contains(&last), "{last}");
        assert!(rates.count(0x0123_4567_89ab_cdef, at(20)) < 20);
        assert!(rates.count(hot, at(40)) <= 2, "it was long ago");
    }
}
