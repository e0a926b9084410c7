//! Purging: what a response can be purged by, and what a purge does.

mod begun;
mod former;
#[cfg(test)]
mod former_tests;
mod groups;
mod journal;
mod labels;
mod local;
pub(crate) mod log;
mod names;
mod names_file;
mod naming;
mod open;
pub(crate) mod position;
mod preview;
pub(crate) mod record;
mod sweep;
mod tags;
pub(crate) mod upkeep;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use policy::time::Timestamp;
use purge_api::{Filter, Fleet, Mode, Order};
use storage::Moment;
use storage::purge::{
    self, Labeller, Life, LogFile, LogId, Membership, PurgeIndex, Sequence, Testimony, Witness,
};
use tiered::landmark::Landmark;
use tiered::voucher::Born;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::sites::Sites;
use crate::tier::Source;

use begun::Begun;
use former::Former;
use journal::Journal;
pub(crate) use journal::{Applied, Logged};
use labels::Kind;
pub(crate) use labels::PREFIX_DEPTH_MAX;
pub(crate) use local::LocalLog;
use log::{Event, Placed, PublishError, Published, PurgeLog, Trace};
pub(crate) use log::{LogState, LogStatus, Reach, Reached, Sink, Trust};
pub(crate) use names::{host_of, is_within, only_site};
#[cfg(test)]
pub(crate) use open::Last;
pub(crate) use open::Tail;
use open::{Opened, applied_at_start};
use position::Position;
pub(crate) use preview::preview;
use record::Record;
pub(crate) use sweep::{Matched, Sweeper, start as sweep};
pub(crate) use tags::TagField;

/// Names with purges that are remembered.
const LABELS_MAX: usize = 1_000_000;
/// Dry runs under way at once.
const PREVIEWS_MAX: usize = 1;

/// The purges of a node.
#[derive(Debug)]
pub(crate) struct Purges {
    labeller: Labeller,
    index: PurgeIndex,
    log: Box<dyn PurgeLog>,
    log_id: LogId,
    journal: Mutex<Journal>,
    begun: Begun,
    /// The place in the log up to which everything is applied.
    applied: watch::Sender<u64>,
    /// Where that is in the log, for other nodes.
    pub position: Arc<Position>,
    /// Beside what is stored on disks.
    witness: Option<Mutex<Witness>>,
    pub sweeper: Sweeper,
    /// Dry runs that may be begun.
    pub previews: Semaphore,
    /// What configurations have called things, before this one and now.
    former: Former,
    /// How often purges were found to be missing since the node was started: everything is validated then.
    resets: AtomicU64,
}

/// What the file had that is still to be applied.
#[must_use]
pub(crate) struct Unapplied(Vec<(Sequence, Bytes)>);

/// A purge that is applied.
#[derive(Clone, Debug)]
pub(crate) enum Accepted {
    /// By now, or already: then this was a repetition.
    Applied(Logged),
    /// Not yet: it is in the log, and that is all that was waited for, or for long enough.
    Later(Logged),
    /// Nowhere: it is durable here, and waits until the log can be reached.
    Queued(Order),
}

/// Why a purge was not applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PurgeError {
    /// It names a host or site that the node does not serve.
    #[error("no site answers for `{0}`")]
    UnknownHost(String),
    /// It is no name and no address of a host.
    #[error("`{0}` is no host")]
    Host(String),
    /// It is not an absolute URL, or a prefix with a host.
    #[error("`{0}` is no absolute http or https URL")]
    Url(String),
    /// More segments than [`PREFIX_DEPTH_MAX`].
    #[error("`{0}` has more than {PREFIX_DEPTH_MAX} path segments")]
    Depth(String),
    /// It is no key's hash.
    #[error("`{0}` is no key: a key is 32 hexadecimal digits")]
    Key(String),
    /// Its identifier is that of a purge of something else.
    #[error("`{0}` is the identifier of another purge: a purge that is repeated purges the same")]
    OtherPurge(String),
    /// It could not be made durable. Nothing was purged.
    #[error(transparent)]
    Log(#[from] PublishError),
}

impl Purges {
    /// Opens the file in a folder, which is made where there is none. `log` makes the log that is followed from there, of
    /// the file and what its end tells. What is in it is to be applied: [`Purges::apply_again`].
    ///
    /// Where there is no file, purges are counted and not kept: the audit trail is lost with the process, and what disks
    /// have of it is not used again. A `witness` beside the disks says whether the file is all there was.
    pub(crate) fn open(
        folder: Option<&Path>,
        witness: Option<&Path>,
        log: impl FnOnce(LogFile, Tail) -> Box<dyn PurgeLog>,
    ) -> (Self, Unapplied) {
        let open::Start {
            opened,
            witness,
            former,
        } = open::begin(folder, witness);
        let Opened {
            file,
            records,
            resets,
        } = opened;
        let log_id = file.id();
        let tail = Tail::of(&records);
        let offset = tail.offset;
        let log = log(file, tail);
        let purges = Self {
            labeller: Labeller::of(log_id),
            witness: witness.map(Mutex::new),
            index: PurgeIndex::new(LABELS_MAX),
            log_id,
            applied: watch::Sender::new(applied_at_start(&*log)),
            position: Arc::new(Position::new(log.name(), offset)),
            log,
            journal: Mutex::default(),
            begun: Begun::default(),
            sweeper: Sweeper::default(),
            previews: Semaphore::new(PREVIEWS_MAX),
            former,
            resets: AtomicU64::new(resets),
        };
        (purges, Unapplied(records))
    }

    /// Applies what was in the file.
    pub(crate) fn apply_again(&self, Unapplied(records): Unapplied, sites: &Sites, now: Moment) {
        let mut offset = 0;
        for (sequence, payload) in records {
            self.reapply(sequence, &payload, &mut offset, sites, now);
        }
    }

    fn reapply(
        &self,
        sequence: Sequence,
        payload: &[u8],
        offset: &mut i64,
        sites: &Sites,
        now: Moment,
    ) {
        match Record::read(payload) {
            Record::Purge(order) => {
                let place = sequence.0.cast_signed().wrapping_sub(*offset);
                let placed = Placed {
                    sequence,
                    place: place.cast_unsigned(),
                    print: None,
                    stamp: record::stamp(payload),
                    order,
                };
                let since = accepted(&placed.order).map_or(now, |at| Moment(at.0.min(now.0)));
                self.apply(placed, sites, (since, None));
            }
            Record::Doubt(doubt) => {
                *offset = doubt.offset;
                self.index.doubt(sequence);
            }
            Record::Unknown => {
                let all = [self.label(Kind::All, &[])];
                self.index.apply(sequence, &all, purge::Mode::Hard, now);
            }
        }
    }

    /// Begins to follow the log: `sink` is to call [`Purges::hear`].
    pub(crate) fn start(&self, sink: Sink) {
        self.log.start(sink);
    }

    /// Applies what the log tells, at a moment that both clocks name; `tell` hears of each purge.
    pub(crate) fn hear(
        &self,
        events: Vec<Event>,
        sites: &Sites,
        (now, instant): (Moment, Instant),
        tell: &dyn Fn(&Placed, &Applied),
    ) {
        let Some(reached) = events.last().map(Event::place) else {
            return;
        };
        for event in events {
            match event {
                Event::Purge(placed) => {
                    let begun = self.begun.take(&placed.order.id);
                    let applied = Applied {
                        at: Timestamp::from_unix_millis(now.0),
                        took: begun.map(|begun| instant.saturating_duration_since(begun)),
                    };
                    let (place, print) = (placed.place, placed.print);
                    let (at, sequence) = (Landmark { place, print }, placed.sequence);
                    tell(&placed, &applied);
                    self.apply(placed, sites, (now, Some(applied)));
                    self.position.moved(self.log.name(), at, sequence);
                }
                Event::Doubt { sequence, behind } => {
                    self.index.doubt(sequence);
                    self.resets.fetch_add(1, Ordering::Relaxed);
                    self.position.doubted(behind, sequence);
                }
                Event::Passed(at) => self.position.passed(self.log.name(), at),
            }
        }
        self.testify();
        self.applied.send_replace(reached);
    }

    /// Before a purge is acknowledged, the witness knows of it.
    fn testify(&self) {
        let Some(witness) = &self.witness else {
            return;
        };
        let now = Testimony {
            log: self.log_id,
            last: self.latest(),
        };
        if let Err(error) = witness.lock().say(now) {
            tracing::error!(%error, "should purges go missing from the log, a restart might not notice");
        }
    }

    fn apply(&self, placed: Placed, sites: &Sites, (now, applied): (Moment, Option<Applied>)) {
        let Placed {
            sequence,
            place,
            stamp,
            order,
            ..
        } = placed;
        // Until it is in the journal: see `former`.
        let names = self.former.names.read();
        let labels = self.all_labels(&order, sites, &names);
        self.index.apply(sequence, &labels, mode(order.mode), now);
        self.journal.lock().keep(Logged {
            sequence: Sequence(place),
            own: sequence,
            stamp,
            order,
            matched: None,
            applied,
        });
        drop(names);
        if applied.is_some() {
            self.sweeper.applied(sequence, labels);
        }
    }

    /// Makes a purge durable that was accepted at `begun`, and waits until it is applied here, if at all for so long. A
    /// purge with the identifier of one of the last is that one, if it purges the same.
    pub(crate) async fn purge(
        &self,
        order: Order,
        sites: &Sites,
        begun: Instant,
        patience: Option<Duration>,
    ) -> Result<Accepted, PurgeError> {
        self.check(&order, sites)?;
        if let Some(known) = self.find(&order.id) {
            the_same(&known.order, &order)?;
            return Ok(Accepted::Applied(known));
        }
        if let Some(known) = self.log.queued(&order.id) {
            the_same(&known, &order)?;
            return Ok(Accepted::Queued(known));
        }
        let site = only_site(&order, sites);
        self.begun.note(&order.id, begun);
        let published = self.log.publish(&order, site.as_deref()).await;
        if published.is_err() {
            self.begun.take(&order.id);
        }
        let place = match published? {
            Published::At(place) => place,
            Published::Queued => return Ok(Accepted::Queued(order)),
        };
        // Who does not wait is told what is so already.
        let waiting = self.applied_here(&order.id, place);
        Ok(match timeout(patience.unwrap_or_default(), waiting).await {
            Ok(logged) => {
                the_same(&logged.order, &order)?;
                Accepted::Applied(logged)
            }
            Err(_elapsed) => Accepted::Later(Logged {
                sequence: Sequence(place),
                own: self.latest(),
                stamp: None,
                order,
                matched: None,
                applied: None,
            }),
        })
    }

    /// Waits until a purge is applied here. Its place alone does not tell: a log that lost its end gives places again.
    async fn applied_here(&self, id: &str, place: u64) -> Logged {
        let mut applied = self.applied.subscribe();
        loop {
            let reached = *applied.borrow_and_update() >= place;
            if let Some(logged) = reached.then(|| self.find(id)).flatten() {
                return logged;
            }
            // The sender is a part of this.
            drop(applied.changed().await);
        }
    }

    /// The place in the log up to which everything is applied.
    pub(crate) fn applied(&self) -> u64 {
        *self.applied.borrow()
    }

    /// What may be done with what is stored.
    pub(crate) fn trust(&self) -> Trust {
        self.log.trust()
    }

    /// How far the other nodes are with a purge.
    pub(crate) fn reach(&self, place: u64) -> Vec<Reach> {
        self.log.reach(place)
    }

    /// The fleet that purges are shared with.
    pub(crate) fn fleet(&self) -> Option<Fleet> {
        self.log.fleet()
    }

    /// Returns when all nodes have applied the purge at a place.
    pub(crate) async fn reached_by_all(&self, place: u64) {
        self.log.reached_by_all(place).await;
    }

    /// The node stops.
    pub(crate) async fn leave(&self) {
        self.log.leave().await;
    }

    /// How often purges were found to be missing.
    pub(crate) fn resets(&self) -> u64 {
        self.resets.load(Ordering::Relaxed)
    }

    /// Nothing that outlives the process was born before that sequence.
    pub(crate) fn outlived(&self, upto: Sequence) {
        self.log.outlived(upto);
    }

    /// How the log stands.
    pub(crate) fn log_status(&self) -> LogStatus {
        self.log.status()
    }

    /// The log that sequences are of. What was born under another one has to be validated before it is used: the two
    /// cannot be compared.
    pub(crate) const fn log_id(&self) -> LogId {
        self.log_id
    }

    /// The last purges that are asked for and may be seen, the newest first: one more than the page has.
    pub(crate) fn last(&self, filter: &Filter, sees: &dyn Fn(&Order) -> bool) -> Vec<Logged> {
        let journal = self.journal.lock();
        let before = |it: &&Logged| filter.before.is_none_or(|before| it.sequence.0 < before);
        let newest_first = journal.newest_first().filter(before);
        let found = newest_first.filter(|it| filter.admits(&it.order) && sees(&it.order));
        found.take(filter.limit + 1).cloned().collect()
    }

    /// Where the last purges stood in the log, since some were last found missing.
    pub(crate) fn trail(&self) -> Vec<Trace> {
        self.journal.lock().trail(self.index.doubted())
    }

    /// A purge that waits until the log can be reached.
    pub(crate) fn queued(&self, id: &str) -> Option<Order> {
        self.log.queued(id)
    }

    /// One of the last purges.
    pub(crate) fn find(&self, id: &str) -> Option<Logged> {
        self.journal.lock().find(id)
    }

    /// The sequence that a response is born at whose request is sent now.
    pub(crate) fn latest(&self) -> Sequence {
        self.index.latest()
    }

    /// The sequence up to which everything was swept.
    pub(crate) fn forgotten(&self) -> Sequence {
        self.index.forgotten()
    }

    /// What another node, which follows the same log and has read it up to `asker`, can hold a response against purges by.
    pub(crate) fn vouch(&self, membership: &Membership, asker: Option<Landmark>) -> Option<Born> {
        self.position.vouch(&self.index, membership, asker)
    }

    /// The same for a response that is not stored, and was asked for at `begun`.
    pub(crate) fn vouch_passed(&self, begun: Sequence, asker: Option<Landmark>) -> Option<Born> {
        self.position.vouch_passed(&self.index, begun, asker)
    }

    /// When a response was born that was asked for at `begun`, and came from where `source` says.
    pub(crate) fn born(&self, begun: Sequence, source: &Source) -> Sequence {
        match source {
            Source::Origin => begun,
            Source::Tier(born) | Source::Sibling(born, _) => {
                self.position.born(&self.index, begun, born.as_deref())
            }
        }
    }

    /// What the purges leave of a response.
    pub(crate) fn life(&self, membership: &Membership) -> Life {
        self.index.life(membership)
    }

    /// Labels with purges that are remembered.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }
}

/// A purge that is repeated is the one that has its identifier, if it says the same.
fn the_same(known: &Order, order: &Order) -> Result<(), PurgeError> {
    if known.scopes == order.scopes && known.mode == order.mode {
        return Ok(());
    }
    Err(PurgeError::OtherPurge(order.id.clone()))
}

/// When a purge was accepted: what it made stale is as old after a restart as it was before.
fn accepted(order: &Order) -> Option<Moment> {
    let at: jiff::Timestamp = order.accepted_at.parse().ok()?;
    u64::try_from(at.as_millisecond()).ok().map(Moment)
}

const fn mode(mode: Mode) -> purge::Mode {
    match mode {
        Mode::Hard => purge::Mode::Hard,
        Mode::Soft => purge::Mode::Soft,
    }
}
