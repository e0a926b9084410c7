//! A budget of retries: a share of the requests, and a few in any case. When an upstream fails as a whole, retries
//! would only be more load for what is left of it.

use std::time::Duration;

use crate::Moment;

/// Retries that are there in any case, each second.
const RETRIES_FLOOR: u64 = 10;
/// For how long what is not spent is kept.
const KEPT_FOR: Duration = Duration::from_secs(10);
/// The most that is kept.
const RETRIES_KEPT_MAX: u64 = 1_000;
/// The unit that is counted in: a request earns as many as there are hundredths in its share.
const RETRY: u64 = 100;

/// What may be spent on retries.
#[derive(Clone, Debug)]
pub struct RetryBudget {
    percent: u64,
    left: u64,
    filled: Moment,
}

impl RetryBudget {
    /// A budget of this share of the requests, in hundredths.
    #[must_use]
    pub fn new(percent: u8) -> Self {
        Self {
            percent: u64::from(percent),
            left: RETRIES_FLOOR * RETRY,
            filled: Moment::default(),
        }
    }

    /// A request, not counting its retries.
    pub fn request(&mut self) {
        self.earn(self.percent);
    }

    /// Whether there is a retry left, and it is spent.
    pub fn spend(&mut self, now: Moment) -> bool {
        let passed = now.since(self.filled).min(KEPT_FOR).as_millis();
        let earned = u64::try_from(passed).unwrap_or(0) * RETRIES_FLOOR * RETRY / 1_000;
        if earned > 0 {
            // What was kept without requests is not more than one second's.
            let floor = RETRIES_FLOOR * RETRY;
            if self.left < floor {
                self.left = (self.left + earned).min(floor);
            }
            self.filled = now;
        }
        let enough = self.left >= RETRY;
        if enough {
            self.left -= RETRY;
        }
        enough
    }

    fn earn(&mut self, units: u64) {
        self.left = (self.left + units).min(RETRIES_KEPT_MAX * RETRY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment(Duration::from_millis(millis))
    }

    fn spend_all(budget: &mut RetryBudget, now: Moment) -> u64 {
        let mut spent = 0;
        while budget.spend(now) {
            spent += 1;
        }
        spent
    }

    #[test]
    fn a_few_are_there_in_any_case() {
        let mut budget = RetryBudget::new(0);
        assert_eq!(spend_all(&mut budget, at(0)), 10);
        assert_eq!(spend_all(&mut budget, at(500)), 5);
        assert_eq!(spend_all(&mut budget, at(100_000)), 10);
    }

    #[test]
    fn requests_earn_a_share() {
        let mut budget = RetryBudget::new(20);
        spend_all(&mut budget, at(0));
        for _ in 0..1_000 {
            budget.request();
        }
        assert_eq!(spend_all(&mut budget, at(0)), 200);
    }

    #[test]
    fn what_is_kept_has_a_limit() {
        let mut budget = RetryBudget::new(100);
        for _ in 0..10_000 {
            budget.request();
        }
        assert_eq!(spend_all(&mut budget, at(0)), RETRIES_KEPT_MAX);
    }
}
