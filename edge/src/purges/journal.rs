//! The last purges of a node, for those who ask about them or repeat one.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use policy::time::Timestamp;
use purge_api::Order;
use storage::purge::Sequence;

use super::Matched;
use super::log::Trace;

/// Purges that can be asked about, and repeated without effect.
pub(super) const KEPT_MAX: usize = 10_000;

/// The last of what was applied.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// The oldest first.
    last: VecDeque<Logged>,
    /// Their places in this node's own order.
    by_id: HashMap<String, Sequence>,
}

/// A purge and its place in the order.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    /// In the log.
    pub sequence: Sequence,
    /// In this node's own order.
    pub own: Sequence,
    /// When the log's server took it, in nanoseconds since the server's epoch, where that is known.
    pub stamp: Option<u64>,
    pub order: Order,
    /// What of it was stored, once the sweeper has counted.
    pub matched: Option<Matched>,
    /// None where that was before the node was started.
    pub applied: Option<Applied>,
}

/// When a purge was applied here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Applied {
    pub at: Timestamp,
    /// Since this node accepted it; none where another one did.
    pub took: Option<Duration>,
}

impl Journal {
    pub(super) fn find(&self, id: &str) -> Option<Logged> {
        let own = self.by_id.get(id)?;
        self.last.get(self.place(*own)?).cloned()
    }

    pub(super) fn newest_first(&self) -> impl Iterator<Item = &Logged> {
        self.last.iter().rev()
    }

    /// The purge at a place of this node's own order.
    pub(super) fn at(&mut self, own: Sequence) -> Option<&mut Logged> {
        let place = self.place(own)?;
        self.last.get_mut(place)
    }

    fn place(&self, own: Sequence) -> Option<usize> {
        self.last.binary_search_by_key(&own, |it| it.own).ok()
    }

    /// Where the purges stood in the log that have a place in this node's own order behind that one.
    pub(super) fn trail(&self, behind: Sequence) -> Vec<Trace> {
        let first = self.last.partition_point(|it| it.own <= behind);
        let traces = self.last.range(first..).map(|it| Trace {
            place: it.sequence.0,
            id: it.order.id.clone(),
            stamp: it.stamp,
        });
        traces.collect()
    }

    pub(super) fn keep(&mut self, logged: Logged) {
        // A log tells at least once: what was in the file may come again.
        if self.last.back().is_some_and(|last| logged.own <= last.own) {
            return;
        }
        if self.last.len() >= KEPT_MAX
            && let Some(oldest) = self.last.pop_front()
            && self.by_id.get(&oldest.order.id) == Some(&oldest.own)
        {
            self.by_id.remove(&oldest.order.id);
        }
        self.by_id.insert(logged.order.id.clone(), logged.own);
        self.last.push_back(logged);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(own: u64, id: &str) -> Logged {
        Logged {
            sequence: Sequence(own + 100),
            own: Sequence(own),
            stamp: None,
            order: Order::parse(br#"{"all":true}"#, id.to_owned(), "now".to_owned()).unwrap(),
            matched: None,
            applied: None,
        }
    }

    #[test]
    fn the_last_purges_are_found_and_older_ones_are_forgotten() {
        let mut journal = Journal::default();
        // The log had it twice, as a set back one may.
        journal.keep(logged(1, "twice"));
        for own in 2..KEPT_MAX as u64 {
            journal.keep(logged(own, &own.to_string()));
        }
        let last = KEPT_MAX as u64;
        journal.keep(logged(last, "twice"));
        assert_eq!(journal.find("twice").unwrap().own, Sequence(last));
        assert_eq!(journal.find("2").unwrap().own, Sequence(2));
        journal.keep(logged(last + 1, "one more"));
        journal.keep(logged(last + 2, "and another"));
        assert_eq!(journal.find("twice").unwrap().own, Sequence(last));
        assert!(journal.find("2").is_none());
        assert_eq!(
            (journal.last.len(), journal.by_id.len()),
            (KEPT_MAX, KEPT_MAX)
        );
        journal.keep(logged(last + 2, "told again"));
        assert!(journal.find("told again").is_none());
    }
}
