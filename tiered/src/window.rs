//! How many requests of the last while failed.

use std::time::Duration;

use crate::Moment;

/// Parts of a window that are forgotten one by one.
const PARTS: u32 = 10;

/// Requests and failures of the last while.
#[derive(Clone, Debug)]
pub struct Window {
    part: Duration,
    counts: [Count; PARTS as usize],
    /// The number of the part that is counted in.
    current: u64,
}

/// Requests, and how many of them failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// All of them.
    pub requests: u64,
    /// Those that failed.
    pub failures: u64,
}

impl Count {
    /// Whether there were at least so many requests, of which at least so many hundredths failed.
    #[must_use]
    pub const fn reaches(self, requests: u64, percent: u8) -> bool {
        self.requests > 0
            && self.requests >= requests
            && self.failures * 100 >= self.requests * percent as u64
    }

    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            failures: self.failures + other.failures,
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With a response.
    Answered,
    /// By the peer's fault.
    Failed,
}

impl Window {
    /// A window of this length.
    #[must_use]
    pub fn new(length: Duration) -> Self {
        Self {
            part: (length / PARTS).max(Duration::from_millis(1)),
            counts: [Count::default(); PARTS as usize],
            current: 0,
        }
    }

    /// Counts a request.
    pub fn count(&mut self, ending: Ending, now: Moment) {
        self.forget(now);
        let index = self.current % u64::from(PARTS);
        if let Some(count) = usize::try_from(index)
            .ok()
            .and_then(|index| self.counts.get_mut(index))
        {
            count.requests += 1;
            count.failures += u64::from(ending == Ending::Failed);
        }
    }

    /// What was counted within the window that ends at `now`.
    pub fn sum(&mut self, now: Moment) -> Count {
        self.forget(now);
        self.counts
            .iter()
            .fold(Count::default(), |sum, &count| sum.and(count))
    }

    /// Begins anew.
    pub fn clear(&mut self) {
        self.counts = [Count::default(); PARTS as usize];
    }

    fn forget(&mut self, now: Moment) {
        let now = now.0.as_millis() / self.part.as_millis().max(1);
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        let passed = now.saturating_sub(self.current).min(u64::from(PARTS));
        for step in 1..=passed {
            let index = self.current.wrapping_add(step) % u64::from(PARTS);
            if let Some(count) = usize::try_from(index)
                .ok()
                .and_then(|index| self.counts.get_mut(index))
            {
                *count = Count::default();
            }
        }
        // Where more has passed than there are parts, the rest of them is empty, too.
        if passed == u64::from(PARTS) {
            self.clear();
        }
        self.current = self.current.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment(Duration::from_millis(millis))
    }

    #[test]
    fn what_is_older_than_the_window_does_not_count() {
        let mut window = Window::new(Duration::from_secs(10));
        window.count(Ending::Failed, at(0));
        window.count(Ending::Answered, at(5_000));
        let sum = |window: &mut Window, now| {
            let Count { requests, failures } = window.sum(at(now));
            (requests, failures)
        };
        assert_eq!(sum(&mut window, 9_999), (2, 1));
        assert_eq!(sum(&mut window, 10_000), (1, 0));
        assert_eq!(sum(&mut window, 1_000_000), (0, 0));
        window.count(Ending::Failed, at(1_000_000));
        assert_eq!(sum(&mut window, 1_009_999), (1, 1));
    }

    #[test]
    fn a_share_is_of_enough_requests() {
        let count = |requests, failures| Count { requests, failures };
        assert!(!count(0, 0).reaches(0, 0));
        assert!(!count(19, 19).reaches(20, 50));
        assert!(count(20, 10).reaches(20, 50));
        assert!(!count(20, 9).reaches(20, 50));
    }
}
