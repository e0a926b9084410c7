//! Applying what the log says: first to the file, then here, then the cursor; and telling the others.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use policy::time::Timestamp;
use storage::purge::Sequence;
use tiered::landmark::{Landmark, Print};

use super::cursor::Cursor;
use super::follow::Interruption;
use super::ledger::Ledger;
use super::message::{Meaning, everything};
use super::proof::{Continuity, Found, Start};
use super::reading::Read;
use super::{Place, Shared};
use crate::access_log;
use crate::purges::log::{Event, Placed, Sink};
use crate::purges::record::{self, Reason};

/// Applies what the log says.
pub(super) struct Applier {
    shared: Arc<Shared>,
    ledger: Ledger,
    sink: Sink,
}

impl Applier {
    pub(super) fn new(shared: Arc<Shared>, place: Place, sink: Sink) -> Self {
        let ledger = Ledger::new(place, Arc::clone(&shared.outlived));
        Self {
            shared,
            ledger,
            sink,
        }
    }

    /// Where this node goes on in a log.
    pub(super) async fn start(&self, found: &Found<'_>) -> Result<Start, Interruption> {
        let start = found.start(self.ledger.cursor(), &self.sink.trail).await?;
        let continuity = match start.continuity {
            // The file lost what it had.
            Continuity::Proven if self.ledger.would_repeat(start.cursor.place) => {
                Continuity::Broken(Reason::Damage)
            }
            continuity => continuity,
        };
        Ok(Start {
            continuity,
            ..start
        })
    }

    /// Goes on there.
    pub(super) fn begin(&mut self, start: Start) {
        if let Continuity::Broken(reason) = start.continuity {
            self.shared.view.incomplete();
            self.doubt(reason, start.cursor);
        }
    }

    /// Everything stored may have been purged: from here on it has to be validated before it is used.
    fn doubt(&mut self, reason: Reason, cursor: Cursor) {
        let place = cursor.place;
        match reason {
            Reason::Joined => tracing::info!(
                place,
                "joined the purge log; what is stored from before is validated"
            ),
            reason => tracing::error!(
                ?reason,
                place,
                "purges may have been missed: everything stored is validated before it is used"
            ),
        }
        let Shared {
            metrics,
            members,
            clock,
            ..
        } = &*self.shared;
        // What they said of places may be of others.
        members.doubt();
        let sequence = self.ledger.doubt(reason, &cursor);
        let behind = cursor.landmark();
        (self.sink.hear)(vec![Event::Doubt { sequence, behind }]);
        self.ledger.reached(cursor);
        self.ledger.keep(clock.instant());
        // Whoever sees it counted finds everything in doubt, and this node where it goes on.
        metrics.resets.with_label_values(&[reason.as_str()]).inc();
    }

    /// Applies messages in their order.
    pub(super) fn apply_all(&mut self, all: Vec<Read>, log: &str) {
        let mut batch: Vec<Read> = Vec::with_capacity(all.len());
        for read in all {
            let before = batch.last().map(|it| it.place);
            let before = before.or_else(|| self.ledger.cursor().map(|it| it.place));
            if before.is_some_and(|before| read.place > before + 1) {
                // Messages were taken out of the log before they came here.
                self.apply_batch(std::mem::take(&mut batch), log);
                let cursor = Cursor {
                    log: log.to_owned(),
                    place: read.place - 1,
                    id: String::new(),
                    stamp: None,
                };
                self.doubt(Reason::Gap, cursor);
            }
            batch.push(read);
        }
        self.apply_batch(batch, log);
    }

    fn apply_batch(&mut self, batch: Vec<Read>, log: &str) {
        let Some(last) = batch.last() else {
            return;
        };
        let cursor = Cursor {
            log: log.to_owned(),
            place: last.place,
            id: last.id.clone(),
            stamp: nanos(last.stamp),
        };
        let (stamp, pending) = (last.stamp, last.pending);
        let ticked = batch.iter().any(|read| read.meaning == Meaning::Nothing);
        let events: Vec<_> = batch.into_iter().map(|read| self.event(read)).collect();
        self.ledger.write(&self.unwritten(&events));
        let purges = purges(&events);
        (self.sink.hear)(events);
        self.tell(&purges, cursor.place);
        let now = self.shared.clock.instant();
        self.shared.view.applied(cursor.place, stamp, pending, now);
        self.ledger.reached(cursor);
        if ticked && self.ledger.is_time_to_keep(pending, now) {
            self.ledger.keep(now);
        }
    }

    fn event(&self, read: Read) -> Event {
        let (place, stamp) = (read.place, nanos(read.stamp));
        let print = Some(Print::of(&read.id, read.stamp));
        let (order, site) = match read.meaning {
            Meaning::Nothing => return Event::Passed(Landmark { place, print }),
            Meaning::Purge { order, site } => (order, site),
            Meaning::Unknown { order, site } => {
                self.unknown(place, &read.id);
                (order, site)
            }
        };
        let order = match site {
            Some(site) if !(self.sink.is_within)(&order, &site) => {
                self.unknown(place, &read.id);
                everything(&order.id, Some(site))
            }
            _ => order,
        };
        Event::Purge(Placed {
            sequence: self.ledger.sequence(place),
            place,
            print,
            stamp,
            order,
        })
    }

    fn unknown(&self, place: u64, id: &str) {
        self.shared.metrics.unknown.inc();
        tracing::error!(
            place,
            id,
            "a message of the purge log is not understood: it counts as a purge of all it could touch"
        );
    }

    /// What the file does not have yet.
    fn unwritten(&self, events: &[Event]) -> Vec<(Sequence, Bytes)> {
        let records = events.iter().filter_map(|event| match event {
            Event::Purge(placed) if !self.ledger.has(placed.sequence) => {
                let payload = record::payload(&placed.order, placed.stamp);
                Some((placed.sequence, payload))
            }
            _ => None,
        });
        records.collect()
    }

    /// Tells the others, and the metrics, of purges that are applied.
    fn tell(&self, purges: &[Accepted], place: u64) {
        let Shared {
            clock,
            members,
            metrics,
            last_purges,
            view,
            ..
        } = &*self.shared;
        let now = clock.now();
        members.applied(place, purges.iter().map(|it| (it.place, now)));
        // What was missed while this node was away says nothing of the way from the others to here.
        if view.is_complete() {
            for at in purges.iter().filter_map(|it| it.at) {
                let took = now.since(at);
                metrics.propagation.observe(took.as_secs_f64());
                last_purges.note(took);
            }
        }
    }
}

/// A purge that is applied here, and was accepted somewhere.
struct Accepted {
    place: u64,
    /// By the clock of the node that accepted it, where that can be read.
    at: Option<Timestamp>,
}

fn purges(events: &[Event]) -> Vec<Accepted> {
    let purges = events.iter().filter_map(|event| match event {
        Event::Purge(Placed { place, order, .. }) => Some(Accepted {
            place: *place,
            at: access_log::time_of(&order.accepted_at),
        }),
        Event::Doubt { .. } | Event::Passed(_) => None,
    });
    purges.collect()
}

/// A stamp, as files have it.
fn nanos(stamp: Duration) -> Option<u64> {
    u64::try_from(stamp.as_nanos()).ok()
}
