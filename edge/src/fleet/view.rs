//! How a node stands to its log: what it has applied, what it knows of, and whether that is enough.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::OnLag;
use super::lag::Lag;
use crate::purges::log::{LogState, LogStatus, Trust};

/// A node that starts is not held back for ever by a log that it cannot reach or follow.
const START_GRACE: Duration = Duration::from_secs(30);

/// A message's place, and its stamp by the log's server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamped {
    pub place: u64,
    /// Since the server's epoch.
    pub stamp: Duration,
}

/// What a node knows of its log.
#[derive(Debug)]
pub(crate) struct View {
    max_lag: Duration,
    on_lag: OnLag,
    started: Instant,
    /// Applied up to here.
    applied: AtomicU64,
    /// The last place that was heard of.
    last: AtomicU64,
    /// What there was when the node connected: until that is applied, it replays.
    goal: AtomicU64,
    connected: AtomicBool,
    /// Since the start, and since something was missing, everything there was had been applied at least once.
    complete: AtomicBool,
    lag: Mutex<Lag>,
    /// Until then the lag is small enough, in milliseconds since the start; zero is never.
    good_until: AtomicU64,
}

impl View {
    pub(crate) fn new(max_lag: Duration, on_lag: OnLag, started: Instant) -> Self {
        Self {
            max_lag,
            on_lag,
            started,
            applied: AtomicU64::new(0),
            last: AtomicU64::new(0),
            goal: AtomicU64::new(u64::MAX),
            connected: AtomicBool::new(false),
            complete: AtomicBool::new(false),
            lag: Mutex::default(),
            good_until: AtomicU64::new(0),
        }
    }

    /// A connection was made: this is applied, that is the last there is.
    pub(crate) fn connected(&self, applied: Stamped, last: Stamped, now: Instant) {
        self.applied.store(applied.place, Ordering::Release);
        self.last.store(last.place, Ordering::Release);
        self.goal.store(last.place, Ordering::Release);
        self.connected.store(true, Ordering::Release);
        self.check_complete(applied.place);
        let mut lag = self.lag.lock();
        lag.applied(applied.stamp, now);
        lag.heard(last.stamp, now);
        let until = lag.within(self.max_lag);
        drop(lag);
        self.extend(until);
    }

    /// Something may have been missed: until everything that there is was applied, nothing is good.
    pub(crate) fn incomplete(&self) {
        self.complete.store(false, Ordering::Release);
        self.good_until.store(0, Ordering::Release);
    }

    /// Whether the log was ever found, and a place in it to go on from.
    pub(crate) fn has_found(&self) -> bool {
        self.goal.load(Ordering::Acquire) != u64::MAX
    }

    pub(crate) fn disconnected(&self) {
        self.connected.store(false, Ordering::Release);
    }

    /// A message was applied; so many more are known to wait.
    pub(crate) fn applied(&self, place: u64, stamp: Duration, pending: u64, now: Instant) {
        self.applied.store(place, Ordering::Release);
        let last = place.saturating_add(pending);
        self.last.fetch_max(last, Ordering::AcqRel);
        let mut lag = self.lag.lock();
        lag.applied(stamp, now);
        let until = lag.within(self.max_lag);
        drop(lag);
        self.check_complete(place);
        self.extend(until);
    }

    /// Before everything that there was is applied, nothing is good.
    fn extend(&self, until: Option<Instant>) {
        if self.complete.load(Ordering::Acquire) {
            let until = until.map_or(0, |until| self.millis(until));
            self.good_until.store(until, Ordering::Release);
        }
    }

    fn check_complete(&self, applied: u64) {
        if applied >= self.goal.load(Ordering::Acquire) {
            self.complete.store(true, Ordering::Release);
        }
    }

    /// Whether everything that there was has been applied at least once since the start, and since something was missing.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    /// The place up to which everything is applied.
    pub(crate) fn place(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// The clock of the log's server, where it was heard of.
    pub(crate) fn server_time(&self, now: Instant) -> Option<Duration> {
        self.lag.lock().server_time(now)
    }

    /// How this node stands to its log, in a word.
    pub(crate) fn word(&self) -> &'static str {
        match self.connected.load(Ordering::Acquire) {
            false => "apart",
            true if self.place() < self.goal.load(Ordering::Acquire) => "replaying",
            true => "following",
        }
    }

    /// How long what was applied last is ago.
    pub(crate) fn lag(&self, now: Instant) -> Option<Duration> {
        self.lag.lock().lag(now)
    }

    /// What may be done with what is stored.
    pub(crate) fn trust(&self, now: Instant) -> Trust {
        if self.is_good(now) {
            return Trust::Full;
        }
        match self.on_lag {
            OnLag::Serve => Trust::Full,
            OnLag::Revalidate | OnLag::Unready => Trust::Validate,
            OnLag::Pass => Trust::Nothing,
        }
    }

    fn is_good(&self, now: Instant) -> bool {
        self.millis(now) <= self.good_until.load(Ordering::Acquire)
    }

    pub(crate) fn status(&self, now: Instant) -> LogStatus {
        LogStatus {
            last: self.last.load(Ordering::Acquire).max(self.place()),
            state: self.state(now),
        }
    }

    fn state(&self, now: Instant) -> LogState {
        if self.is_good(now) {
            return LogState::Current;
        }
        let goal = self.goal.load(Ordering::Acquire);
        let left = match goal {
            u64::MAX => 0,
            goal => goal.saturating_sub(self.place()),
        };
        let is_replaying = left > 0 && self.connected.load(Ordering::Acquire);
        let may_hold_back = self.on_lag == OnLag::Unready || now - self.started < START_GRACE;
        if is_replaying {
            // It will be done soon, and others are further.
            return LogState::Replaying(left);
        }
        if !self.complete.load(Ordering::Acquire) && may_hold_back {
            return LogState::Unknown;
        }
        match self.on_lag {
            OnLag::Unready => LogState::Lagging(self.lag(now).unwrap_or(now - self.started)),
            OnLag::Serve | OnLag::Revalidate | OnLag::Pass => LogState::Current,
        }
    }

    /// Rounded up: a limit of zero is none.
    fn millis(&self, instant: Instant) -> u64 {
        let since = instant.saturating_duration_since(self.started);
        u64::try_from(since.as_millis())
            .unwrap_or(u64::MAX)
            .saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_secs(10);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn stamped(place: u64, at: u64) -> Stamped {
        let stamp = seconds(at);
        Stamped { place, stamp }
    }

    fn view(on_lag: OnLag) -> (View, Instant) {
        let start = crate::clock::Clock::default().instant();
        (View::new(MAX, on_lag, start), start)
    }

    #[test]
    fn a_node_is_ready_when_it_has_replayed_what_there_was() {
        let (view, start) = view(OnLag::Revalidate);
        let at = |at| start + seconds(at);
        assert_eq!(view.state(at(0)), LogState::Unknown);
        assert_eq!(view.trust(at(0)), Trust::Validate);
        view.connected(stamped(5, 98), stamped(8, 101), at(1));
        assert_eq!(view.state(at(1)), LogState::Replaying(3));
        view.applied(7, seconds(100), 1, at(1));
        assert_eq!(view.state(at(1)), LogState::Replaying(1));
        assert_eq!(view.trust(at(1)), Trust::Validate);
        view.applied(8, seconds(101), 0, at(2));
        assert_eq!(view.state(at(2)), LogState::Current);
        assert_eq!(view.trust(at(2)), Trust::Full);
    }

    #[test]
    fn what_was_missing_is_replayed_before_anything_is_good() {
        let (view, start) = view(OnLag::Revalidate);
        let at = |at| start + seconds(at);
        assert!(!view.has_found());
        view.connected(stamped(8, 100), stamped(8, 100), at(0));
        assert!(view.has_found());
        assert_eq!(view.trust(at(0)), Trust::Full);
        assert_eq!(view.word(), "following");
        view.disconnected();
        assert_eq!(view.word(), "apart");
        // The log was set back, and has grown since.
        view.incomplete();
        view.connected(stamped(4, 60), stamped(6, 101), at(1));
        assert_eq!(view.lag(at(1)), Some(seconds(41)));
        assert_eq!(view.trust(at(1)), Trust::Validate);
        view.applied(5, seconds(70), 1, at(1));
        assert_eq!(view.state(at(1)), LogState::Replaying(1));
        assert_eq!(view.word(), "replaying");
        assert!(!view.is_complete());
        view.applied(6, seconds(101), 0, at(1));
        assert_eq!(view.state(at(1)), LogState::Current);
        assert_eq!(view.trust(at(1)), Trust::Full);
    }

    #[test]
    fn a_log_that_is_out_of_reach_holds_a_start_up_for_a_while_only() {
        for (on_lag, later) in [
            (OnLag::Serve, LogState::Current),
            (OnLag::Revalidate, LogState::Current),
            (OnLag::Pass, LogState::Current),
            (OnLag::Unready, LogState::Unknown),
        ] {
            let (view, start) = view(on_lag);
            assert_eq!(view.state(start), LogState::Unknown);
            assert_eq!(view.state(start + START_GRACE), later);
        }
    }

    #[test]
    fn what_is_done_beyond_the_lag_is_the_operators_choice() {
        for (on_lag, trust, state) in [
            (OnLag::Serve, Trust::Full, LogState::Current),
            (OnLag::Revalidate, Trust::Validate, LogState::Current),
            (OnLag::Pass, Trust::Nothing, LogState::Current),
            (
                OnLag::Unready,
                Trust::Validate,
                LogState::Lagging(seconds(11)),
            ),
        ] {
            let (view, start) = view(on_lag);
            let at = |at| start + seconds(at);
            view.connected(stamped(8, 99), stamped(8, 99), at(0));
            view.applied(9, seconds(100), 0, at(0));
            assert_eq!(
                (view.trust(at(10)), view.state(at(10))),
                (Trust::Full, LogState::Current)
            );
            view.disconnected();
            assert_eq!(
                (view.trust(at(11)), view.state(at(11))),
                (trust, state),
                "{on_lag:?}"
            );
            // Connected again, with much to do: what is applied on the way is old.
            view.connected(stamped(9, 100), stamped(1009, 160), at(60));
            view.applied(500, seconds(105), 509, at(60));
            assert_eq!(view.trust(at(60)), trust, "{on_lag:?}");
            assert_eq!(view.state(at(60)), LogState::Replaying(509), "{on_lag:?}");
            view.applied(1009, seconds(160), 0, at(60));
            assert_eq!(
                (view.trust(at(60)), view.state(at(60))),
                (Trust::Full, LogState::Current)
            );
        }
    }
}
