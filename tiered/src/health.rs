//! Whether one peer is fit to be asked: by what became of requests (passive), and of probes (active).
//!
//! A peer is asked while both say so. A peer of which nothing is known is fit.

use std::time::Duration;

use crate::Moment;

/// What puts a peer out, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct HealthSettings {
    /// Requests in a row that failed.
    pub failures: u32,
    /// How long it is out the first time. Each time after it is twice as long.
    pub pause: Duration,
    /// How long it is out at the most.
    pub pause_max: Duration,
    /// Probes in a row that failed.
    pub probes_failed: u32,
    /// Probes in a row that passed, and bring it back.
    pub probes_passed: u32,
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self {
            failures: 3,
            pause: Duration::from_secs(5),
            pause_max: Duration::from_secs(60),
            probes_failed: 3,
            probes_passed: 2,
        }
    }
}

/// What is known of one peer's health.
#[derive(Clone, Debug, Default)]
pub struct Health {
    requests: Requests,
    probes: Probes,
}

/// What may be done with a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is asked, since then. One that was never out is up since the beginning of time.
    Up {
        /// When it came back.
        since: Moment,
    },
    /// One request may find out whether it is back.
    Trial,
    /// It is not asked.
    Out(Out),
}

/// Why a peer is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Out {
    /// Requests failed; a trial is due then.
    Requests {
        /// The end of the pause.
        until: Moment,
    },
    /// A request is finding out whether it is back.
    OnTrial,
    /// Probes failed.
    Probes,
}

/// A turn for which there are metrics and a line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was asked and is not any more.
    WentOut,
    /// It was out and is asked again.
    CameBack,
}

/// ```text
///           failures in a row             pause is over, one request goes there
///   Up ───────────────────────────▶ Out ────────────────────────────────────────▶ Trial
///    ▲                               ▲                                              │
///    │                               └──────────── it fails: twice the pause ───────┤
///    └───────────────────────────────────────────── it succeeds ────────────────────┘
/// ```
#[derive(Clone, Copy, Debug)]
enum Requests {
    Up {
        failures: u32,
        since: Moment,
        /// Of the last time it was out: who comes back and fails again soon is out for longer.
        last_pause: Duration,
    },
    Out {
        until: Moment,
        pause: Duration,
    },
    Trial {
        since: Moment,
        pause: Duration,
    },
}

impl Default for Requests {
    fn default() -> Self {
        Self::Up {
            failures: 0,
            since: Moment::default(),
            last_pause: Duration::ZERO,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Probes {
    Up { failed: u32, since: Moment },
    Down { passed: u32 },
}

impl Default for Probes {
    fn default() -> Self {
        Self::Up {
            failed: 0,
            since: Moment::default(),
        }
    }
}

impl Health {
    /// Of a peer that has come to others now: it is up since then, as one that came back.
    #[must_use]
    pub fn joined(now: Moment) -> Self {
        Self {
            requests: Requests::Up {
                failures: 0,
                since: now,
                last_pause: Duration::ZERO,
            },
            probes: Probes::default(),
        }
    }

    /// What may be done with the peer at `now`.
    #[must_use]
    pub fn standing(&self, now: Moment) -> Standing {
        let Probes::Up { since: probed, .. } = self.probes else {
            return Standing::Out(Out::Probes);
        };
        match self.requests {
            Requests::Up { since, .. } => Standing::Up {
                since: since.max(probed),
            },
            Requests::Out { until, .. } if until <= now => Standing::Trial,
            Requests::Out { until, .. } => Standing::Out(Out::Requests { until }),
            // Who tries may vanish without a word: another one tries after as long.
            Requests::Trial { since, pause } if since + pause <= now => Standing::Trial,
            Requests::Trial { .. } => Standing::Out(Out::OnTrial),
        }
    }

    /// It is not probed any more: what probes have said does not hold for ever.
    pub fn forget_probes(&mut self) {
        self.probes = Probes::default();
    }

    /// A request goes to the peer. Where a trial is due, it is this one.
    pub fn begin(&mut self, now: Moment) {
        if self.standing(now) != Standing::Trial {
            return;
        }
        if let Requests::Out { pause, .. } | Requests::Trial { pause, .. } = self.requests {
            self.requests = Requests::Trial { since: now, pause };
        }
    }

    /// A request brought a response.
    pub fn succeeded(&mut self, now: Moment) -> Option<Change> {
        match &mut self.requests {
            Requests::Up { failures, .. } => {
                *failures = 0;
                None
            }
            // It was sent before the peer went out.
            Requests::Out { .. } => None,
            Requests::Trial { pause, .. } => {
                self.requests = Requests::Up {
                    failures: 0,
                    since: now,
                    last_pause: *pause,
                };
                Some(Change::CameBack)
            }
        }
    }

    /// A request failed by the peer's fault: no connection, no response in time, a response that is none.
    pub fn failed(&mut self, now: Moment, settings: &HealthSettings) -> Option<Change> {
        match &mut self.requests {
            Requests::Up { failures, .. } => {
                *failures = failures.saturating_add(1);
                (*failures >= settings.failures).then(|| self.put_out(now, settings))?
            }
            // It was sent before the peer went out.
            Requests::Out { .. } => None,
            Requests::Trial { pause, .. } => {
                let pause = longer(*pause, settings);
                let until = now + pause;
                self.requests = Requests::Out { until, pause };
                None
            }
        }
    }

    /// Takes the peer out for a reason that the caller has.
    pub fn put_out(&mut self, now: Moment, settings: &HealthSettings) -> Option<Change> {
        let Requests::Up {
            since, last_pause, ..
        } = self.requests
        else {
            return None;
        };
        let relapsed = !last_pause.is_zero() && now.since(since) < settings.pause_max;
        let pause = match relapsed {
            true => longer(last_pause, settings),
            false => settings.pause.min(settings.pause_max),
        };
        let until = now + pause;
        self.requests = Requests::Out { until, pause };
        Some(Change::WentOut)
    }

    /// A probe passed.
    pub fn probe_passed(&mut self, now: Moment, settings: &HealthSettings) -> Option<Change> {
        match &mut self.probes {
            Probes::Up { failed, .. } => {
                *failed = 0;
                None
            }
            Probes::Down { passed } => {
                *passed = passed.saturating_add(1);
                if *passed < settings.probes_passed {
                    return None;
                }
                self.probes = Probes::Up {
                    failed: 0,
                    since: now,
                };
                Some(Change::CameBack)
            }
        }
    }

    /// A probe failed.
    pub fn probe_failed(&mut self, settings: &HealthSettings) -> Option<Change> {
        match &mut self.probes {
            Probes::Up { failed, .. } => {
                *failed = failed.saturating_add(1);
                if *failed < settings.probes_failed {
                    return None;
                }
                self.probes = Probes::Down { passed: 0 };
                Some(Change::WentOut)
            }
            Probes::Down { passed } => {
                *passed = 0;
                None
            }
        }
    }
}

fn longer(pause: Duration, settings: &HealthSettings) -> Duration {
    pause.saturating_mul(2).min(settings.pause_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: HealthSettings = HealthSettings {
        failures: 3,
        pause: Duration::from_secs(5),
        pause_max: Duration::from_secs(60),
        probes_failed: 3,
        probes_passed: 2,
    };

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    /// Fails as often as puts a peer out.
    fn break_down(health: &mut Health, now: Moment) {
        for _ in 0..SETTINGS.failures {
            health.begin(now);
            health.failed(now, &SETTINGS);
        }
    }

    #[track_caller]
    fn is_out_until(health: &Health, now: u64, until: u64) {
        let until = at(until);
        assert_eq!(
            health.standing(at(now)),
            Standing::Out(Out::Requests { until })
        );
    }

    #[test]
    fn who_has_joined_others_is_up_since_then_and_has_no_past() {
        let mut health = Health::joined(at(7));
        assert_eq!(health.standing(at(9)), Standing::Up { since: at(7) });
        break_down(&mut health, at(10));
        assert!(matches!(health.standing(at(10)), Standing::Out(_)));
    }

    #[test]
    fn three_failures_in_a_row_put_a_peer_out() {
        let mut health = Health::default();
        assert_eq!(health.failed(at(1), &SETTINGS), None);
        assert_eq!(health.failed(at(1), &SETTINGS), None);
        health.succeeded(at(1));
        assert_eq!(health.failed(at(2), &SETTINGS), None);
        assert_eq!(health.failed(at(2), &SETTINGS), None);
        assert_eq!(
            health.standing(at(2)),
            Standing::Up {
                since: Moment::default()
            }
        );
        assert_eq!(health.failed(at(2), &SETTINGS), Some(Change::WentOut));
        is_out_until(&health, 2, 7);
    }

    #[test]
    fn one_request_finds_out_whether_it_is_back() {
        let mut health = Health::default();
        break_down(&mut health, at(0));
        assert_eq!(health.standing(at(5)), Standing::Trial);
        health.begin(at(5));
        assert_eq!(health.standing(at(5)), Standing::Out(Out::OnTrial));
        assert_eq!(health.succeeded(at(6)), Some(Change::CameBack));
        assert_eq!(health.standing(at(6)), Standing::Up { since: at(6) });
    }

    #[test]
    fn a_trial_that_fails_doubles_the_pause_up_to_its_limit() {
        let mut health = Health::default();
        break_down(&mut health, at(0));
        let mut now = 5;
        for pause in [10, 20, 40, 60, 60] {
            health.begin(at(now));
            assert_eq!(health.failed(at(now), &SETTINGS), None);
            is_out_until(&health, now, now + pause);
            now += pause;
        }
    }

    #[test]
    fn a_trial_without_an_end_is_followed_by_another() {
        let mut health = Health::default();
        break_down(&mut health, at(0));
        health.begin(at(5));
        assert_eq!(health.standing(at(9)), Standing::Out(Out::OnTrial));
        assert_eq!(health.standing(at(10)), Standing::Trial);
        health.begin(at(10));
        assert_eq!(health.standing(at(11)), Standing::Out(Out::OnTrial));
    }

    #[test]
    fn who_relapses_soon_is_out_for_longer() {
        let mut health = Health::default();
        break_down(&mut health, at(0));
        health.begin(at(5));
        health.succeeded(at(5));
        break_down(&mut health, at(10));
        is_out_until(&health, 10, 20);
        health.begin(at(20));
        health.succeeded(at(20));
        // It was well for as long as the longest pause.
        break_down(&mut health, at(80));
        is_out_until(&health, 80, 85);
    }

    #[test]
    fn what_was_sent_before_it_went_out_changes_nothing() {
        let mut health = Health::default();
        break_down(&mut health, at(0));
        assert_eq!(health.succeeded(at(1)), None);
        assert_eq!(health.failed(at(1), &SETTINGS), None);
        is_out_until(&health, 1, 5);
    }

    #[test]
    fn probes_put_it_out_and_bring_it_back() {
        let mut health = Health::default();
        assert_eq!(health.probe_failed(&SETTINGS), None);
        assert_eq!(health.probe_failed(&SETTINGS), None);
        assert_eq!(health.probe_passed(at(1), &SETTINGS), None);
        for _ in 1..SETTINGS.probes_failed {
            assert_eq!(health.probe_failed(&SETTINGS), None);
        }
        assert_eq!(health.probe_failed(&SETTINGS), Some(Change::WentOut));
        assert_eq!(health.standing(at(2)), Standing::Out(Out::Probes));
        assert_eq!(health.probe_passed(at(3), &SETTINGS), None);
        assert_eq!(health.probe_failed(&SETTINGS), None);
        assert_eq!(health.probe_passed(at(4), &SETTINGS), None);
        assert_eq!(
            health.probe_passed(at(5), &SETTINGS),
            Some(Change::CameBack)
        );
        assert_eq!(health.standing(at(5)), Standing::Up { since: at(5) });
    }

    #[test]
    fn probes_that_pass_do_not_excuse_requests_that_fail() {
        let mut health = Health::default();
        break_down(&mut health, at(0));
        health.probe_passed(at(1), &SETTINGS);
        is_out_until(&health, 1, 5);
    }
}
