//! Whether the other end of a connection lives: by what comes from it, and by the signs of life that it owes.
//!
//! Who waits for a slow origin says nothing for long, and lives. So it is asked for a sign of life, which costs it nothing
//! and takes it no time: who owes that is gone, frozen or cut off, whatever its origin does.

use std::time::Duration;

use crate::Moment;

/// Of the silence: quiet for so long while something is waited for, the other end is asked for a sign of life.
const ASK: u32 = 7;
/// Of the silence: it owes a sign of life for so long, and others had better be asked, too.
const DOUBT: u32 = 3;
/// The least part of the silence that a sign of life is owed when the connection is given up.
const OWED: u32 = 2;
/// An answer that usually takes long is waited for so many times as long before there is doubt.
const ROUND_TRIPS: u32 = 3;
/// How much the last round trip counts in what they usually take: an eighth.
const SMOOTHING: u32 = 8;
/// Signs of life that nothing else comes between, after which they are asked for half as often.
const OFTEN: u32 = 32;
/// Times that the time between them doubles at the most.
const DOUBLINGS: u32 = 8;
/// Who looks later by so many times than it should was asleep itself, and has yet to read what came.
const ASLEEP: u32 = 4;

/// The signs of life of one connection.
///
/// ```text
///               quiet for a while              it owes a sign          ... for as long as the silence
///   Well ─────────────────────▶ it is asked ──────────────▶ Doubtful ──────────────────────────────▶ Dead
///    ▲                               │                          │
///    └───────────────────────────────┴── something comes ───────┘
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Pulse {
    silence: Duration,
    /// When something came last, or was waited for again after a rest.
    quiet_since: Moment,
    /// When it was asked, where nothing has come since.
    asked: Option<Moment>,
    /// How often it was asked since something was asked of it.
    asks: u32,
    /// What a sign of life usually takes.
    round_trip: Duration,
    looked: Moment,
}

/// How a connection looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Nothing is to be done.
    Well,
    /// It is well so far, and is to be asked for a sign of life now.
    Ask,
    /// What waits for it had better ask somebody else, too.
    Doubtful,
    /// It is given up.
    Dead,
}

impl Pulse {
    /// Of a connection that is given up when it owes a sign of life and was not heard for `silence`.
    #[must_use]
    pub const fn new(silence: Duration, now: Moment) -> Self {
        Self {
            silence,
            quiet_since: now,
            asked: None,
            asks: 0,
            round_trip: Duration::ZERO,
            looked: now,
        }
    }

    /// How often it is to be looked at while something is waited for.
    #[must_use]
    pub fn every(&self) -> Duration {
        self.silence / (ASK * 2)
    }

    /// How long a sign of life may be owed until there is doubt.
    #[must_use]
    pub fn doubt(&self) -> Duration {
        let usual = self.round_trip.saturating_mul(ROUND_TRIPS);
        usual.max(self.silence / DOUBT)
    }

    /// Something is waited for again, after a rest.
    pub const fn woke(&mut self, now: Moment) {
        self.quiet_since = now;
        self.looked = now;
        self.asked = None;
    }

    /// Something more is asked of it.
    pub const fn began(&mut self) {
        self.asks = 0;
    }

    /// Something came.
    pub fn heard(&mut self, now: Moment) {
        if let Some(asked) = self.asked.take() {
            let took = now.since(asked);
            self.round_trip = match self.round_trip {
                Duration::ZERO => took,
                usual => (usual * (SMOOTHING - 1) + took) / SMOOTHING,
            };
        }
        self.quiet_since = now;
    }

    /// Looks at it while something is waited for.
    pub fn look(&mut self, now: Moment) -> Look {
        let asleep = now.since(self.looked) > self.every() * ASLEEP;
        self.looked = now;
        if asleep {
            self.quiet_since = now;
            self.asked = self.asked.map(|_| now);
        }
        let quiet = now.since(self.quiet_since);
        let Some(asked) = self.asked else {
            if quiet < self.ask_after() {
                return Look::Well;
            }
            self.asked = Some(now);
            self.asks = self.asks.saturating_add(1);
            return Look::Ask;
        };
        let owed = now.since(asked);
        if quiet >= self.silence && owed >= self.silence / OWED {
            Look::Dead
        } else if owed >= self.doubt() {
            Look::Doubtful
        } else {
            Look::Well
        }
    }

    /// What is waited for as long as that is hardly later for being asked for less often.
    fn ask_after(&self) -> Duration {
        let doublings = (self.asks / OFTEN).min(DOUBLINGS);
        self.silence / ASK * 2_u32.pow(doublings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Duration = Duration::from_millis(700);

    fn at(millis: u64) -> Moment {
        Moment(Duration::from_millis(millis))
    }

    fn pulse() -> Pulse {
        Pulse::new(SILENCE, at(0))
    }

    /// Looks as often as it should, and says when it looked otherwise than before.
    fn looks(pulse: &mut Pulse, from: u64, to: u64) -> Vec<(u64, Look)> {
        let mut seen = vec![];
        for now in (from..=to).step_by(50) {
            let look = pulse.look(at(now));
            if seen.last().is_none_or(|(_, last)| *last != look) {
                seen.push((now, look));
            }
        }
        seen
    }

    #[test]
    fn who_owes_a_sign_of_life_is_doubted_and_then_given_up() {
        let all = [
            (50, Look::Well),
            (100, Look::Ask),
            (150, Look::Well),
            (350, Look::Doubtful),
            (700, Look::Dead),
        ];
        assert_eq!(looks(&mut pulse(), 50, 700), all);
    }

    #[test]
    fn who_answers_is_well_however_long_it_takes_otherwise() {
        let mut pulse = pulse();
        for now in (50..60_000).step_by(50) {
            let look = pulse.look(at(now));
            assert!(matches!(look, Look::Well | Look::Ask), "{now}: {look:?}");
            if look == Look::Ask {
                pulse.heard(at(now + 1));
            }
        }
        // Less and less often: fewer than once in a second by now.
        assert!(pulse.asks < 200, "{}", pulse.asks);
        assert!(pulse.ask_after() >= Duration::from_secs(1));
        pulse.began();
        assert_eq!(pulse.ask_after(), SILENCE / ASK);
    }

    #[test]
    fn who_is_heard_in_doubt_is_well_again() {
        let mut pulse = pulse();
        assert_eq!(
            looks(&mut pulse, 50, 600).last(),
            Some(&(350, Look::Doubtful))
        );
        pulse.heard(at(620));
        assert_eq!(pulse.look(at(650)), Look::Well);
    }

    #[test]
    fn who_is_far_away_is_not_doubted_for_it() {
        let mut pulse = pulse();
        for begin in (0..10_000).step_by(500) {
            pulse.woke(at(begin));
            let all = looks(&mut pulse, begin + 50, begin + 350);
            assert!(
                begin == 0 || all.iter().all(|(_, it)| *it != Look::Doubtful),
                "{all:?}"
            );
            pulse.heard(at(begin + 400));
        }
        assert_eq!(pulse.doubt(), Duration::from_millis(900));
    }

    #[test]
    fn who_was_asleep_blames_nobody() {
        let mut pulse = pulse();
        assert_eq!(pulse.look(at(50)), Look::Well);
        assert_eq!(pulse.look(at(100)), Look::Ask);
        assert_eq!(pulse.look(at(5_000)), Look::Well);
        // From then on as from the beginning.
        assert_eq!(
            looks(&mut pulse, 5_050, 5_700).last(),
            Some(&(5_700, Look::Dead))
        );
    }

    #[test]
    fn a_rest_is_no_silence() {
        let mut pulse = pulse();
        pulse.woke(at(60_000));
        assert_eq!(pulse.look(at(60_050)), Look::Well);
        assert_eq!(pulse.look(at(60_100)), Look::Ask);
    }
}
