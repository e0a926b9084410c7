//! Wall-clock time as the policy sees it.

use std::ops::Add;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// The last second that an HTTP-date can name: the end of the year 9999.
const LAST_HTTP_DATE_SECS: u64 = 253_402_300_799;

/// A moment of the wall clock, in milliseconds since the Unix epoch.
///
/// Wall clocks step backwards. Every operation therefore saturates: what would be negative is zero.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The Unix epoch, the earliest moment that can be named.
    pub const EPOCH: Self = Self(0);

    /// The moment `millis` milliseconds after the Unix epoch.
    pub const fn from_unix_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// The moment `secs` seconds after the Unix epoch.
    pub const fn from_unix_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since the Unix epoch.
    pub const fn unix_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch.
    pub const fn unix_secs(self) -> u64 {
        self.0 / 1000
    }

    /// The time that has passed since `earlier`; zero if `earlier` is the later one.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// This moment as an IMF-fixdate (RFC 9110 §5.6.7); fractions of a second are dropped.
    pub fn http_date(self) -> String {
        let secs = self.unix_secs().min(LAST_HTTP_DATE_SECS);
        httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(secs))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis))
    }
}

/// Drops the fraction of a second, the resolution of `Age` and `Date`.
pub(crate) const fn whole_secs(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_steps_back_gives_zero() {
        let earlier = Timestamp::from_unix_secs(100);
        let later = Timestamp::from_unix_secs(160);

        assert_eq!(later.since(earlier), Duration::from_secs(60));
        assert_eq!(earlier.since(later), Duration::ZERO);
    }

    #[test]
    fn arithmetic_saturates() {
        let end = Timestamp::from_unix_millis(u64::MAX);

        assert_eq!(end + Duration::MAX, end);
        assert_eq!(Timestamp::from_unix_secs(u64::MAX), end);
        assert_eq!(end.since(Timestamp::EPOCH), Duration::from_millis(u64::MAX));
    }

    #[test]
    fn http_dates_are_imf_fixdates() {
        let example = Timestamp::from_unix_millis(784_111_777_999);
        assert_eq!(example.http_date(), "Sun, 06 Nov 1994 08:49:37 GMT");

        let beyond = Timestamp::from_unix_millis(u64::MAX);
        assert_eq!(beyond.http_date(), "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
