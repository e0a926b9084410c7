//! Slow start: a peer that came back takes little at first, and more as time passes.

use std::time::Duration;

use super::Fitness;
use crate::Moment;

/// The whole of a weight.
pub(super) const WHOLE: u64 = 100;
/// What a peer takes at first.
const LEAST: u64 = 10;

/// How much of its weight a peer has, in hundredths.
pub(super) fn share(fitness: Fitness, slow_start: Duration, now: Moment) -> u64 {
    let Fitness::Up { since } = fitness else {
        return WHOLE;
    };
    let up = now.since(since);
    if since == Moment::default() || up >= slow_start {
        return WHOLE;
    }
    let grown = u128::from(WHOLE) * up.as_millis() / slow_start.as_millis().max(1);
    u64::try_from(grown).unwrap_or(WHOLE).max(LEAST)
}
