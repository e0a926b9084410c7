//! What a request cost beyond the node: so many requests to origins, so many bytes, so much time.
//!
//! Every byte from an origin is told by exactly one line of the access log. A client's line tells what came until the
//! client was served; what a fill goes on to receive after that, or for nobody, is told by a line of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::metrics::{Asked, Tally};

/// What was spent for one request, or for one validation in the background.
#[derive(Debug)]
pub(crate) struct Spent {
    tally: Arc<Tally>,
    behind: bool,
    requests: AtomicU64,
    /// The same, and those of nodes beyond this one, as they say; not only what is still to be told.
    at_origins: AtomicU64,
    bytes: AtomicU64,
    /// Microseconds until the last answer began, and one more; 0 if none did.
    answered: AtomicU64,
    /// The line of the client was written, or there is none.
    told: AtomicBool,
}

/// What a line of the log has to tell.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Bill {
    /// Requests to origins.
    pub requests: u64,
    /// Content bytes from origins.
    pub bytes: u64,
    /// Until the last answer began.
    pub answered: Option<Duration>,
}

impl Spent {
    /// For a client's request.
    pub(crate) fn new(tally: &Arc<Tally>) -> Self {
        Self {
            tally: Arc::clone(tally),
            behind: false,
            requests: AtomicU64::new(0),
            at_origins: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            told: AtomicBool::new(false),
        }
    }

    /// For nobody who waits.
    pub(crate) fn behind(tally: &Arc<Tally>) -> Self {
        Self {
            behind: true,
            told: AtomicBool::new(true),
            ..Self::new(tally)
        }
    }

    /// Whether nobody waits.
    pub(crate) const fn is_behind(&self) -> bool {
        self.behind
    }

    /// A request is sent to an origin.
    pub(crate) fn asked(&self, kind: Asked) {
        self.tally.asked(kind);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.at_origins.fetch_add(1, Ordering::Relaxed);
    }

    /// Another node has sent so many requests to origins for it.
    pub(crate) fn asked_beyond(&self, requests: u64) {
        self.at_origins.fetch_add(requests, Ordering::Relaxed);
    }

    /// Requests that origins got for it so far, from this node and those beyond.
    pub(crate) fn at_origins(&self) -> u64 {
        self.at_origins.load(Ordering::Relaxed)
    }

    /// Its answer began.
    pub(crate) fn answered(&self, took: Duration) {
        self.tally.answered(took);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX - 1);
        self.answered
            .store(micros.saturating_add(1), Ordering::Relaxed);
    }

    /// Content came.
    pub(crate) fn received(&self, kind: Asked, bytes: usize) {
        self.tally.received(kind, bytes as u64);
        self.bytes.fetch_add(bytes as u64, Ordering::SeqCst);
    }

    /// What the client's line tells. What comes later is for [`Spent::rest`].
    pub(crate) fn bill(&self) -> Bill {
        self.told.store(true, Ordering::SeqCst);
        self.take()
    }

    /// What is left to be told when nothing more comes: nothing, if the client's line will tell it.
    pub(crate) fn rest(&self) -> Option<Bill> {
        let bill = self.told.load(Ordering::SeqCst).then(|| self.take())?;
        (bill.requests > 0 || bill.bytes > 0).then_some(bill)
    }

    fn take(&self) -> Bill {
        let micros = self.answered.load(Ordering::Relaxed).checked_sub(1);
        Bill {
            requests: self.requests.swap(0, Ordering::SeqCst),
            bytes: self.bytes.swap(0, Ordering::SeqCst),
            answered: micros.map(Duration::from_micros),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(new: fn(&Arc<Tally>) -> Spent) -> Spent {
        let spent = new(&Arc::new(Tally::new("s", "-")));
        spent.asked(Asked::Fill);
        spent.received(Asked::Fill, 5);
        spent.answered(Duration::from_micros(7));
        spent
    }

    #[test]
    fn a_byte_is_told_once() {
        let spent = spent(Spent::new);
        assert_eq!(spent.rest(), None, "the client is not served yet");
        let bill = Bill {
            requests: 1,
            bytes: 5,
            answered: Some(Duration::from_micros(7)),
        };
        assert_eq!(spent.bill(), bill);
        assert_eq!(spent.rest(), None, "everything is told");
        spent.received(Asked::Fill, 3);
        assert_eq!(
            spent.rest().map(|bill| (bill.requests, bill.bytes)),
            Some((0, 3))
        );
        assert_eq!(spent.rest(), None);
    }

    #[test]
    fn what_nobody_waits_for_is_told_at_its_end() {
        let spent = spent(Spent::behind);
        assert!(spent.is_behind());
        assert_eq!(spent.rest().map(|bill| bill.bytes), Some(5));
    }
}
