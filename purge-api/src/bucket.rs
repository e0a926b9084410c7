//! How often a token may be used: a token bucket.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Fills at a rate, holds what fills it in one second, and gives one at a time.
#[derive(Debug)]
pub(crate) struct Bucket {
    rate: f64,
    state: Mutex<Option<Level>>,
}

#[derive(Clone, Copy, Debug)]
struct Level {
    left: f64,
    at: Instant,
}

impl Bucket {
    /// So many in a second, at least one.
    pub(crate) fn new(rate: u32) -> Self {
        Self {
            rate: f64::from(rate.max(1)),
            state: Mutex::default(),
        }
    }

    /// Takes one, or says how long to wait for it.
    pub(crate) fn take(&self, now: Instant) -> Result<(), Duration> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let full = Level {
            left: self.rate,
            at: now,
        };
        let before = state.unwrap_or(full);
        let grown = now.saturating_duration_since(before.at).as_secs_f64() * self.rate;
        let left = (before.left + grown).min(self.rate);
        let taken = left >= 1.0;
        *state = Some(Level {
            left: if taken { left - 1.0 } else { left },
            at: now,
        });
        if taken {
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - left) / self.rate))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    pub(crate) fn any_moment() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_bucket_gives_what_has_flowed_in() {
        let bucket = Bucket::new(2);
        let start = any_moment();
        assert_eq!(bucket.take(start), Ok(()));
        assert_eq!(bucket.take(start), Ok(()));
        assert_eq!(bucket.take(start), Err(Duration::from_millis(500)));
        let later = start + Duration::from_millis(500);
        assert_eq!(bucket.take(later), Ok(()));
        assert!(bucket.take(later).is_err());
        let much_later = later + Duration::from_secs(3600);
        let taken = (0..10).filter(|_| bucket.take(much_later).is_ok());
        assert_eq!(taken.count(), 2, "it holds no more than one second's worth");
    }
}
