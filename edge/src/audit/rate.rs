//! How many refusals are told one by one: who floods a node fills no disk with it.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Lines in one span.
const LINES_MAX: u64 = 20;
const SPAN: Duration = Duration::from_secs(1);

/// Counts lines, and those that were left out.
#[derive(Debug, Default)]
pub(super) struct Rate(Mutex<Option<Span>>);

#[derive(Debug)]
struct Span {
    began: Instant,
    refusals: u64,
}

impl Rate {
    /// Whether to write a line, and how many were left out in the span before; none is left out silently.
    pub(super) fn line(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock();
        let span = state.get_or_insert(Span {
            began: now,
            refusals: 0,
        });
        let mut silenced = 0;
        if now.saturating_duration_since(span.began) >= SPAN {
            silenced = span.refusals.saturating_sub(LINES_MAX);
            *span = Span {
                began: now,
                refusals: 0,
            };
        }
        span.refusals += 1;
        (span.refusals <= LINES_MAX).then_some(silenced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_in_a_few_lines_and_a_number() {
        let audit = Rate::default();
        let start = crate::clock::Clock::default().instant();
        let written = (0..100).filter(|_| audit.line(start) == Some(0)).count();
        assert_eq!(written as u64, LINES_MAX);
        assert_eq!(audit.line(start + SPAN), Some(100 - LINES_MAX));
        assert_eq!(audit.line(start + SPAN), Some(0));
    }
}
