//! When this node accepted the purges that it has not applied yet.

use std::collections::HashMap;
use std::time::Instant;

use parking_lot::Mutex;

/// Purges under way; of one more nobody is told how long it took.
const BEGUN_MAX: usize = 20_000;

/// Purges that were accepted here, by their identifiers.
#[derive(Debug, Default)]
pub(super) struct Begun(Mutex<HashMap<String, Instant>>);

impl Begun {
    /// A purge was accepted. Of one that is repeated, the first time counts.
    pub(super) fn note(&self, id: &str, at: Instant) {
        let mut begun = self.0.lock();
        if begun.len() < BEGUN_MAX {
            begun.entry(id.to_owned()).or_insert(at);
        }
    }

    /// When it was, if it was here. It is not under way any more.
    pub(super) fn take(&self, id: &str) -> Option<Instant> {
        self.0.lock().remove(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purges_under_way_have_a_limit() {
        let (begun, now) = (Begun::default(), crate::clock::Clock::default().instant());
        for id in 0..=BEGUN_MAX {
            begun.note(&id.to_string(), now);
        }
        begun.note("0", now + std::time::Duration::from_secs(1));
        assert_eq!(begun.take("0"), Some(now));
        assert_eq!(begun.take("0"), None);
        assert_eq!(begun.take(&BEGUN_MAX.to_string()), None, "one too many");
    }
}
