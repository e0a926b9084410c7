//! Outlier ejection: of several peers, those that fail far more requests than the others do.
//!
//! Where all of them fail, it is not the peers, and none is an outlier.

use std::time::Duration;

use crate::window::Count;

/// Who is an outlier.
#[derive(Clone, Copy, Debug)]
pub struct EjectionSettings {
    /// Requests of the last while before a peer is judged.
    pub requests: u64,
    /// Hundredths of them that failed.
    pub percent: u8,
    /// How long the last while is.
    pub window: Duration,
}

/// Whether `judged` is an outlier among `others`, all counted over the last while.
#[must_use]
pub fn is_outlier(judged: Count, others: Count, settings: &EjectionSettings) -> bool {
    if !judged.reaches(settings.requests, settings.percent) || others.requests == 0 {
        return false;
    }
    // It fails at least twice as often as the others do.
    let (own, theirs) = (
        judged.failures * others.requests,
        others.failures * judged.requests,
    );
    own >= theirs.saturating_mul(2)
}

/// Whether another of `all` peers may be ejected while so many are out: more than half stay.
#[must_use]
pub const fn may_eject(out: usize, all: usize) -> bool {
    (out + 1) * 2 <= all
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: EjectionSettings = EjectionSettings {
        requests: 10,
        percent: 50,
        window: Duration::from_secs(10),
    };

    #[track_caller]
    fn check(what: &str, judged: (u64, u64), others: (u64, u64), expected: bool) {
        let count = |(requests, failures)| Count { requests, failures };
        let outlier = is_outlier(count(judged), count(others), &SETTINGS);
        assert_eq!(outlier, expected, "{what}");
    }

    #[test]
    fn who_fails_more_than_the_others_is_an_outlier() {
        check("half fail, none elsewhere", (10, 5), (30, 0), true);
        check("too few requests", (9, 9), (30, 0), false);
        check("too few failures", (10, 4), (30, 0), false);
        check("everybody fails", (10, 9), (30, 27), false);
        check("twice as often", (10, 8), (10, 4), true);
        check("there is nobody to compare with", (10, 10), (0, 0), false);
    }

    #[test]
    fn at_most_half_are_ejected() {
        let rows = [
            (0, 1, false),
            (0, 2, true),
            (1, 2, false),
            (1, 3, false),
            (1, 4, true),
        ];
        for (out, all, expected) in rows {
            assert_eq!(may_eject(out, all), expected, "{out} of {all} are out");
        }
    }
}
