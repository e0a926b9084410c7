//! The last purges of a node, for those who ask about them or repeat one.

use std::collections::VecDeque;
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
    pub last: VecDeque<Logged>,
}

/// A purge and its place in the order.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    /// In the log.
    pub sequence: Sequence,
    /// In this node's own order.
    pub own: Sequence,
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
        let mut newest_first = self.last.iter().rev();
        newest_first.find(|it| it.order.id == id).cloned()
    }

    /// The purge at a place of this node's own order.
    pub(super) fn at(&mut self, own: Sequence) -> Option<&mut Logged> {
        let place = self.last.binary_search_by_key(&own, |it| it.own);
        self.last.get_mut(place.ok()?)
    }

    /// Where the purges stood in the log that have a place in this node's own order behind that one.
    pub(super) fn trail(&self, behind: Sequence) -> Vec<Trace> {
        let first = self.last.partition_point(|it| it.own <= behind);
        let traces = self.last.range(first..).map(|it| Trace {
            place: it.sequence.0,
            id: it.order.id.clone(),
        });
        traces.collect()
    }

    pub(super) fn keep(&mut self, logged: Logged) {
        // A log tells at least once: what was in the file may come again.
        if self.last.back().is_some_and(|last| logged.own <= last.own) {
            return;
        }
        if self.last.len() >= KEPT_MAX {
            self.last.pop_front();
        }
        self.last.push_back(logged);
    }
}
