//! How an origin fares, by what came of its requests and probes.

use http::StatusCode;
use parking_lot::Mutex;
use tiered::balance::Fitness;
use tiered::breaker::Lets;
use tiered::health::{Change, Out, Standing};
use tiered::window::{Count, Ending, Window};
use tiered::{Breaker, Health, HealthSettings, Moment};
use tokio::time::Instant;

use super::servers::Watching;
use crate::metrics::OriginTally;

/// How an origin fares.
#[derive(Debug)]
pub(crate) struct Condition {
    watched: Mutex<Watched>,
    last_probe: Mutex<Option<Instant>>,
    pub tally: OriginTally,
}

#[derive(Debug)]
struct Watched {
    health: Health,
    breaker: Option<Breaker>,
    recent: Window,
    by: Watching,
}

/// What came of a request, as far as the origin is to blame.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Verdict {
    /// It answered, with this status.
    Answered(StatusCode),
    /// It did not; the word says why.
    Failed(&'static str),
    /// It did not at one of its addresses, and others are fit.
    Spared(&'static str),
}

/// How an origin fares, in words; the best first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum State {
    Up,
    /// It came back, and one request finds out for how long.
    Trial,
    /// Its requests failed.
    Failing,
    /// Its probes failed.
    Unwell,
    /// Its circuit is open.
    Broken,
}

impl State {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Trial => "trial",
            Self::Failing => "failing",
            Self::Unwell => "unwell",
            Self::Broken => "broken",
        }
    }
}

impl State {
    /// Of a server whose addresses stand so: the best of them counts.
    pub(crate) fn of(lets: Lets, standings: impl Iterator<Item = Standing>) -> Self {
        let of = |standing| match (lets, standing) {
            (Lets::None, _) => Self::Broken,
            (_, Standing::Out(Out::Probes)) => Self::Unwell,
            (_, Standing::Out(Out::Requests { .. })) => Self::Failing,
            (_, Standing::Out(Out::OnTrial) | Standing::Trial) | (Lets::One, _) => Self::Trial,
            (Lets::All, Standing::Up { .. }) => Self::Up,
        };
        standings.map(of).min().unwrap_or(Self::Up)
    }
}

impl Verdict {
    /// How the request ended.
    pub(crate) fn ending(self) -> Ending {
        match self {
            Self::Answered(status) if !status.is_server_error() => Ending::Answered,
            Self::Answered(_) | Self::Failed(_) | Self::Spared(_) => Ending::Failed,
        }
    }
}

impl Condition {
    pub(crate) fn new(by: Watching, tally: OriginTally) -> Self {
        Self {
            watched: Mutex::new(Watched {
                health: Health::default(),
                breaker: by.breaker.map(Breaker::new),
                recent: Window::new(by.recent),
                by,
            }),
            last_probe: Mutex::default(),
            tally,
        }
    }

    /// It has come to others that are asked already: it begins slowly, where the site says so.
    pub(crate) fn join(&self, now: Moment) {
        self.watched.lock().health = Health::joined(now);
    }

    /// It is watched by other settings from now on. What is known stays.
    pub(crate) fn watch_by(&self, by: Watching) {
        let mut watched = self.watched.lock();
        match (&mut watched.breaker, by.breaker) {
            (Some(breaker), Some(settings)) => breaker.renew(settings),
            (breaker, settings) => *breaker = settings.map(Breaker::new),
        }
        if watched.by.recent != by.recent {
            watched.recent = Window::new(by.recent);
        }
        watched.by = by;
    }

    /// It is not probed any more: what probes said of it does not count.
    pub(crate) fn forget_probes(&self) {
        self.watched.lock().health.forget_probes();
    }

    /// When it was probed last.
    pub(crate) fn last_probe(&self) -> Option<Instant> {
        *self.last_probe.lock()
    }

    /// It is probed at this moment.
    pub(crate) fn probe_begins(&self, now: Instant) {
        *self.last_probe.lock() = Some(now);
    }

    /// Whether a request may go there.
    pub(crate) fn fitness(&self, now: Moment) -> Fitness {
        let watched = self.watched.lock();
        let standing = watched.health.standing(now);
        match (watched.lets(now), standing) {
            (Lets::None, _) => Fitness::Barred,
            (Lets::All, Standing::Up { since }) => Fitness::Up { since },
            (Lets::One, Standing::Up { .. }) | (_, Standing::Trial) => Fitness::Trial,
            (_, Standing::Out(_)) => Fitness::Out,
        }
    }

    /// The same in words.
    pub(crate) fn state(&self, now: Moment) -> State {
        let watched = self.watched.lock();
        let standing = watched.health.standing(now);
        State::of(watched.lets(now), std::iter::once(standing))
    }

    pub(crate) fn is_out(&self, now: Moment) -> bool {
        matches!(self.fitness(now), Fitness::Out | Fitness::Barred)
    }

    /// What came of its requests lately.
    pub(crate) fn count(&self, now: Moment) -> Count {
        self.watched.lock().recent.sum(now)
    }

    /// A request goes there.
    pub(crate) fn begin(&self, now: Moment) {
        self.tally.requests.inc();
        let mut watched = self.watched.lock();
        watched.health.begin(now);
        if let Some(breaker) = &mut watched.breaker {
            breaker.begin(now);
        }
    }

    /// A request ended.
    pub(crate) fn ended(
        &self,
        origin: &str,
        verdict: Verdict,
        now: Moment,
        settings: &HealthSettings,
    ) {
        let ending = verdict.ending();
        let mut watched = self.watched.lock();
        watched.recent.count(ending, now);
        let broke = match &mut watched.breaker {
            Some(breaker) => breaker.ended(ending, now),
            None => false,
        };
        let change = match verdict {
            // A server that answers is there, whatever it says.
            Verdict::Answered(_) => watched.health.succeeded(now),
            Verdict::Failed(_) => watched.health.failed(now, settings),
            Verdict::Spared(_) => None,
        };
        drop(watched);
        if let Verdict::Failed(why) | Verdict::Spared(why) = verdict {
            self.tally.failed(why);
        }
        if broke {
            self.tally.went_out("breaker");
            tracing::warn!(
                origin,
                "an origin's circuit is open: most of its requests failed"
            );
        }
        self.changed(origin, change, "failures");
    }

    /// A probe ended.
    pub(crate) fn probed(
        &self,
        origin: &str,
        ending: Ending,
        now: Moment,
        settings: &HealthSettings,
    ) {
        let health = &mut self.watched.lock().health;
        let change = match ending {
            Ending::Answered => health.probe_passed(now, settings),
            Ending::Failed => health.probe_failed(settings),
        };
        self.tally.probed(ending);
        self.changed(origin, change, "probes");
    }

    /// Puts it out: it fails more than others do.
    pub(crate) fn eject(&self, origin: &str, now: Moment, settings: &HealthSettings) {
        let mut watched = self.watched.lock();
        let change = watched.health.put_out(now, settings);
        if change.is_some() {
            watched.recent.clear();
        }
        drop(watched);
        self.changed(origin, change, "ejection");
    }

    fn changed(&self, origin: &str, change: Option<Change>, by: &'static str) {
        match change {
            Some(Change::WentOut) => {
                self.tally.went_out(by);
                tracing::warn!(origin, by, "an origin is out");
            }
            Some(Change::CameBack) => tracing::info!(origin, "an origin is back"),
            None => {}
        }
    }
}

impl Watched {
    fn lets(&self, now: Moment) -> Lets {
        let breaker = self.breaker.as_ref();
        breaker.map_or(Lets::All, |breaker| breaker.lets(now))
    }
}
