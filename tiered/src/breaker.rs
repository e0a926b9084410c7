//! A circuit breaker: a peer that fails most of its requests is left alone for a while, whoever else is there.

use std::time::Duration;

use crate::Moment;
use crate::window::{Ending, Window};

/// When a circuit breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Requests of the last while before it is judged.
    pub requests: u64,
    /// Hundredths of them that failed.
    pub percent: u8,
    /// How long the last while is.
    pub window: Duration,
    /// How long the peer is left alone before one request tries.
    pub pause: Duration,
}

/// The circuit of one peer.
#[derive(Clone, Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    window: Window,
    circuit: Circuit,
}

/// ```text
///            too many fail              pause is over, one request goes
///   Closed ────────────────▶ Open ──────────────────────────────────────▶ Trial
///     ▲                       ▲                                             │
///     │                       └──────────────────────── it fails ───────────┤
///     └──────────────────────────────────────────────── it succeeds ────────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Circuit {
    Closed,
    Open { until: Moment },
    Trial { since: Moment },
}

/// What a circuit lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lets {
    /// Every request.
    All,
    /// One.
    One,
    /// None.
    None,
}

impl Breaker {
    /// A closed circuit.
    #[must_use]
    pub fn new(settings: BreakerSettings) -> Self {
        Self {
            settings,
            window: Window::new(settings.window),
            circuit: Circuit::Closed,
        }
    }

    /// The same circuit, as open as it is, from now on by other settings.
    pub fn renew(&mut self, settings: BreakerSettings) {
        if self.settings.window != settings.window {
            self.window = Window::new(settings.window);
        }
        self.settings = settings;
    }

    /// What goes through at `now`.
    #[must_use]
    pub fn lets(&self, now: Moment) -> Lets {
        match self.circuit {
            Circuit::Closed => Lets::All,
            Circuit::Open { until } if until <= now => Lets::One,
            // Who tries may vanish without a word: another one tries after as long.
            Circuit::Trial { since } if since + self.settings.pause <= now => Lets::One,
            Circuit::Open { .. } | Circuit::Trial { .. } => Lets::None,
        }
    }

    /// A request goes to the peer.
    pub fn begin(&mut self, now: Moment) {
        if self.lets(now) == Lets::One {
            self.circuit = Circuit::Trial { since: now };
        }
    }

    /// A request ended. True where the circuit breaks by it.
    pub fn ended(&mut self, ending: Ending, now: Moment) -> bool {
        match (self.circuit, ending) {
            // It was sent before the circuit broke.
            (Circuit::Open { .. }, _) => false,
            (Circuit::Trial { .. }, Ending::Answered) => {
                self.circuit = Circuit::Closed;
                self.window.clear();
                false
            }
            (Circuit::Trial { .. }, Ending::Failed) => {
                self.open(now);
                false
            }
            (Circuit::Closed, ending) => {
                self.window.count(ending, now);
                let BreakerSettings {
                    requests, percent, ..
                } = self.settings;
                let breaks = self.window.sum(now).reaches(requests, percent);
                if breaks {
                    self.open(now);
                }
                breaks
            }
        }
    }

    fn open(&mut self, now: Moment) {
        let until = now + self.settings.pause;
        self.circuit = Circuit::Open { until };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: BreakerSettings = BreakerSettings {
        requests: 4,
        percent: 50,
        window: Duration::from_secs(10),
        pause: Duration::from_secs(5),
    };

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    fn broken() -> Breaker {
        let mut breaker = Breaker::new(SETTINGS);
        for _ in 0..4 {
            breaker.ended(Ending::Failed, at(1));
        }
        breaker
    }

    #[test]
    fn it_breaks_when_half_of_enough_requests_failed() {
        let mut breaker = Breaker::new(SETTINGS);
        for (ending, breaks) in [
            (Ending::Failed, false),
            (Ending::Answered, false),
            (Ending::Answered, false),
            (Ending::Failed, true),
        ] {
            assert_eq!(breaker.lets(at(1)), Lets::All);
            assert_eq!(breaker.ended(ending, at(1)), breaks);
        }
        assert_eq!(breaker.lets(at(1)), Lets::None);
    }

    #[test]
    fn one_request_tries_and_closes_it() {
        let mut breaker = broken();
        assert_eq!(breaker.lets(at(6)), Lets::One);
        breaker.begin(at(6));
        assert_eq!(breaker.lets(at(6)), Lets::None);
        breaker.ended(Ending::Answered, at(7));
        assert_eq!(breaker.lets(at(7)), Lets::All);
        // What failed before is forgotten.
        assert!(!breaker.ended(Ending::Failed, at(7)));
    }

    #[test]
    fn a_trial_that_fails_opens_it_again() {
        let mut breaker = broken();
        breaker.begin(at(6));
        breaker.ended(Ending::Failed, at(7));
        assert_eq!(breaker.lets(at(11)), Lets::None);
        assert_eq!(breaker.lets(at(12)), Lets::One);
    }

    #[test]
    fn a_trial_without_an_end_is_followed_by_another() {
        let mut breaker = broken();
        breaker.begin(at(6));
        assert_eq!(breaker.lets(at(10)), Lets::None);
        assert_eq!(breaker.lets(at(11)), Lets::One);
    }
}
