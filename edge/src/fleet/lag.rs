//! How far behind the log a node is, without clocks that agree.
//!
//! The log's server stamps every message. Its clock is followed by our monotonic one: a stamp tells what time it is
//! there, at least, and from then on time passes for both. What was applied last was true when it was stamped; how long
//! that is ago is the lag. While nothing happens, ticks are stamped.

use std::time::{Duration, Instant};

/// A step back of the server's clock that is no mere disorder.
const STEP: Duration = Duration::from_millis(500);

/// What is known of the server's clock, and what was applied last.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lag {
    known: Option<Known>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    /// The server's clock, as a duration since its epoch, was at least this …
    server: Duration,
    /// … when ours was this.
    ours: Instant,
    /// The stamp of what was applied last.
    applied: Duration,
}

impl Lag {
    /// A message with this stamp was applied.
    pub(crate) fn applied(&mut self, stamp: Duration, now: Instant) {
        let Some(known) = &mut self.known else {
            self.known = Some(Known {
                server: stamp,
                ours: now,
                applied: stamp,
            });
            return;
        };
        let stepped_back = stamp + STEP < known.applied;
        if stamp > known.server + (now - known.ours) || stepped_back {
            (known.server, known.ours) = (stamp, now);
        }
        known.applied = stamp;
    }

    /// There is a message with this stamp, applied or not.
    pub(crate) fn heard(&mut self, stamp: Duration, now: Instant) {
        if let Some(known) = &mut self.known
            && stamp > known.server + (now - known.ours)
        {
            (known.server, known.ours) = (stamp, now);
        }
    }

    /// The server's clock, where it was heard of.
    pub(crate) fn server_time(&self, now: Instant) -> Option<Duration> {
        self.known.map(|known| known.server + (now - known.ours))
    }

    /// How long what was applied last is ago.
    pub(crate) fn lag(&self, now: Instant) -> Option<Duration> {
        let applied = self.known?.applied;
        Some(self.server_time(now)?.saturating_sub(applied))
    }

    /// Until when the lag is at most `most`.
    pub(crate) fn within(&self, most: Duration) -> Option<Instant> {
        let known = self.known?;
        // What was applied last may have been stamped before or after the clock was read last.
        let later = known.applied.saturating_sub(known.server);
        let earlier = known.server.saturating_sub(known.applied);
        (known.ours + most + later).checked_sub(earlier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages: stamped, applied here at; then asked at. All in seconds.
    #[track_caller]
    fn check(why: &str, messages: &[(u64, u64)], now: u64, lag: u64) {
        let start = crate::clock::Clock::default().instant();
        let ours = |at| start + Duration::from_secs(at);
        let mut known = Lag::default();
        assert_eq!(known.lag(start), None);
        for (stamp, at) in messages {
            known.applied(Duration::from_secs(*stamp), ours(*at));
        }
        let lag = Duration::from_secs(lag);
        assert_eq!(known.lag(ours(now)), Some(lag), "{why}");
        let limit = known.within(lag + Duration::from_secs(5)).unwrap();
        assert_eq!(limit, ours(now + 5), "{why}");
    }

    #[test]
    fn what_waits_to_be_applied_is_behind() {
        let start = crate::clock::Clock::default().instant();
        let mut known = Lag::default();
        known.applied(Duration::from_secs(1000), start);
        known.heard(Duration::from_secs(1030), start);
        assert_eq!(known.lag(start), Some(Duration::from_secs(30)));
        known.heard(Duration::from_secs(1020), start);
        known.applied(Duration::from_secs(1030), start);
        assert_eq!(known.lag(start), Some(Duration::ZERO));
    }

    #[test]
    #[rustfmt::skip]
    fn the_lag_is_the_age_of_what_was_applied_last() {
        check("just now",                        &[(1000, 10)],                            10,  0);
        check("nothing since",                   &[(1000, 10)],                            17,  7);
        check("a tick each second",              &[(1000, 10), (1001, 11), (1002, 12)],    12,  0);
        check("one came late",                   &[(1000, 10), (1001, 13)],                13,  2);
        check("a backlog, not yet through",      &[(1000, 10), (1001, 40), (1002, 40)],    40, 28);
        check("a backlog, through",              &[(1000, 10), (1001, 40), (1030, 40)],    40,  0);
        check("the first one had been delayed",  &[(1000, 10), (1005, 12)],                12,  0);
        check("the server's clock stepped back", &[(1000, 10), (900, 11)],                 12,  1);
    }
}
