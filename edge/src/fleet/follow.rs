//! Following the log: prove where we are, read on from there, apply, and remember.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::message::Message;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{Info, LastRawMessageErrorKind, Stream};
use bytes::Bytes;
use futures::StreamExt as _;
use policy::time::Timestamp;
use storage::purge::{LogFile, Sequence};
use tokio::sync::watch;
use tokio::time::sleep;

use super::cursor::{Cursor, CursorFile};
use super::message::{Meaning, everything};
use super::{Place, Shared, setup};
use crate::access_log;
use crate::purges::Tail;
use crate::purges::log::{Event, Placed, Sink};
use crate::purges::record::{Doubt, Reason};
use crate::purges::upkeep::Upkeep;

/// Messages under way at once.
const BATCH_MAX: usize = 1000;
/// Messages that are written to the file together.
const WRITTEN_MAX: usize = 1000;
/// While there is nothing to send, the server says so. Two missing ones end a session.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long the server keeps a request for messages.
const EXPIRES: Duration = Duration::from_secs(30);
/// How long the server keeps what it knows of a reader that has gone.
const INACTIVE: Duration = Duration::from_secs(30);
/// While there is more to read, the place is not kept more often.
const KEEP: Duration = Duration::from_secs(1);
/// Between two sessions.
const PAUSE: Duration = Duration::from_millis(250);

/// Why a session with the log ended.
#[derive(Debug, thiserror::Error)]
enum Interruption {
    #[error("the stream cannot be asked: {0}")]
    Stream(String),
    #[error("stream `{0}` is no log of purges: `larder fleet init` makes one")]
    NotALog(String),
    #[error("it cannot be read: {0}")]
    Read(String),
    #[error("a message was lost on its way")]
    Lost,
    #[error("there is a new connection")]
    Reconnected,
}

/// Follows the log of a fleet.
pub(super) struct Follower {
    shared: Arc<Shared>,
    file: LogFile,
    /// What a sequence of ours has to be taken from for its place.
    offset: i64,
    cursor_file: CursorFile,
    /// What was applied last, as far as it is known.
    cursor: Option<Cursor>,
    /// When it was made durable last.
    kept: Option<Instant>,
    sink: Sink,
    upkeep: Upkeep,
    /// The file cannot be written any more: what is applied is not remembered.
    is_forgetful: bool,
}

/// Whether a cursor's message stands where it stood.
enum Proof {
    /// It does, and was stamped then.
    Proven { stamp: Duration },
    /// It does not, for all that is known, and why.
    No(Reason),
}

/// A message of the log, and what is left of it to do.
struct Read {
    place: u64,
    id: String,
    /// Since the server's epoch.
    stamp: Duration,
    pending: u64,
    meaning: Meaning,
}

impl Follower {
    pub(super) fn new(shared: Arc<Shared>, place: Place, sink: Sink) -> Self {
        let Place {
            file,
            tail,
            cursor: cursor_file,
        } = place;
        let upkeep = Upkeep::new(Arc::clone(&shared.outlived));
        Self {
            shared,
            file,
            offset: tail.offset,
            cursor: cursor_file.read().map(|kept| at_the_end(kept, tail)),
            cursor_file,
            kept: None,
            sink,
            upkeep,
            is_forgetful: false,
        }
    }

    /// Follows for ever.
    pub(super) async fn run(mut self) {
        let mut told = String::new();
        loop {
            let Err(interruption) = self.session().await;
            self.shared.view.disconnected();
            if matches!(interruption, Interruption::Reconnected) {
                continue;
            }
            let why = interruption.to_string();
            // The same again and again is told once.
            if why != told {
                tracing::warn!(reason = why, "the purge log is not followed; trying again");
                told = why;
            }
            sleep(PAUSE).await;
        }
    }

    /// One connection to the log, until it breaks.
    async fn session(&mut self) -> Result<std::convert::Infallible, Interruption> {
        let context = self.shared.connected().await;
        let connections = self.shared.line.connections();
        let name = self.shared.settings.stream.clone();
        let stream = context.get_stream(&name).await;
        let stream = stream.map_err(|error| Interruption::Stream(error.to_string()))?;
        let info = stream.cached_info().clone();
        let log = setup::log_id(&info.config).ok_or(Interruption::NotALog(name))?;
        let applied = self.resume(&stream, &info, &log, &connections).await?;
        self.shared.members.follows(&log, applied);
        self.shared
            .view
            .connected(applied, info.state.last_sequence);
        tracing::info!(
            place = applied,
            behind = info.state.last_sequence.saturating_sub(applied),
            "following the purge log"
        );
        self.read(&stream, &log, applied, connections).await
    }

    /// From where to read on: behind the cursor if that is proven, else from the end, with everything in doubt.
    async fn resume(
        &mut self,
        stream: &Stream,
        info: &Info,
        log: &str,
        connections: &watch::Receiver<u64>,
    ) -> Result<u64, Interruption> {
        let last = info.state.last_sequence;
        let reason = match &self.cursor {
            None => Reason::Joined,
            // The next purge would have a sequence that was given before.
            Some(cursor) if self.sequence(cursor.place) < self.file.last() => Reason::Damage,
            Some(cursor) => match prove(cursor, stream, info, log).await? {
                Proof::Proven { stamp } => {
                    let (place, behind) = (cursor.place, last.saturating_sub(cursor.place));
                    self.applied(place, stamp, behind);
                    return Ok(place);
                }
                Proof::No(reason) => reason,
            },
        };
        let message = message_at(stream, last).await?;
        let id = message.as_ref().map(id_of).unwrap_or_default();
        let cursor = Cursor {
            log: log.to_owned(),
            place: last,
            id,
        };
        if connections.has_changed().unwrap_or(false) {
            // What was said of the stream, and of the message, may be of different times.
            return Err(Interruption::Reconnected);
        }
        self.doubt(reason, cursor);
        if let Some(message) = message {
            self.applied(last, stamp(message.time.unix_timestamp_nanos()), 0);
        }
        Ok(last)
    }

    fn applied(&self, place: u64, stamp: Duration, pending: u64) {
        let now = self.shared.clock.instant();
        self.shared.view.applied(place, stamp, pending, now);
    }

    /// Everything stored may have been purged: from here on it has to be validated before it is used.
    fn doubt(&mut self, reason: Reason, cursor: Cursor) {
        let sequence = self.file.last().next();
        let place = cursor.place;
        self.offset = signed(sequence.0).wrapping_sub(signed(place));
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
        self.shared
            .metrics
            .resets
            .with_label_values(&[reason.as_str()])
            .inc();
        let doubt = Doubt {
            doubt: reason,
            offset: self.offset,
        };
        let record = [(sequence, doubt.payload())];
        self.remember(|file| file.write(&record));
        (self.sink.hear)(vec![Event::Doubt { sequence, place }]);
        self.cursor = Some(cursor);
        self.save();
    }

    /// Reads on behind `applied`.
    async fn read(
        &mut self,
        stream: &Stream,
        log: &str,
        applied: u64,
        mut connections: watch::Receiver<u64>,
    ) -> Result<std::convert::Infallible, Interruption> {
        let broken = |error: &dyn std::fmt::Display| Interruption::Read(error.to_string());
        let consumer = stream.create_consumer(pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: applied + 1,
            },
            ack_policy: AckPolicy::None,
            inactive_threshold: INACTIVE,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        });
        let consumer = consumer.await.map_err(|error| broken(&error))?;
        let messages = consumer
            .stream()
            .max_messages_per_batch(BATCH_MAX)
            .heartbeat(HEARTBEAT)
            .expires(EXPIRES)
            .messages();
        let messages = messages.await.map_err(|error| broken(&error))?;
        let mut batches = messages.ready_chunks(WRITTEN_MAX);
        let mut delivered = 0;
        loop {
            let batch = tokio::select! {
                batch = batches.next() => batch,
                _ = connections.changed() => return Err(Interruption::Reconnected),
            };
            let Some(batch) = batch else {
                return Err(broken(&"the server ended it"));
            };
            let mut read = Vec::with_capacity(batch.len());
            let mut end = None;
            for message in batch {
                match message
                    .map_err(|error| broken(&error))
                    .and_then(|it| self.parse(&it, &mut delivered))
                {
                    Ok(message) => read.push(message),
                    Err(error) => {
                        end = Some(error);
                        break;
                    }
                }
            }
            self.apply_all(read, log);
            if let Some(end) = end {
                return Err(end);
            }
        }
    }

    fn parse(&self, message: &Message, delivered: &mut u64) -> Result<Read, Interruption> {
        let info = message.info();
        let info = info.map_err(|error| Interruption::Read(error.to_string()))?;
        *delivered += 1;
        if info.consumer_sequence != *delivered {
            return Err(Interruption::Lost);
        }
        let headers = message.headers.as_ref();
        let id = headers.and_then(|headers| headers.get(NATS_MESSAGE_ID));
        let id = id.map(|id| id.as_str()).unwrap_or_default();
        Ok(Read {
            place: info.stream_sequence,
            id: id.to_owned(),
            stamp: stamp(info.published.unix_timestamp_nanos()),
            pending: info.pending,
            meaning: self
                .shared
                .subjects
                .meaning(&message.subject, &message.payload, id),
        })
    }

    /// Applies messages in their order: first to the file, then here, then the cursor.
    fn apply_all(&mut self, all: Vec<Read>, log: &str) {
        let mut batch: Vec<Read> = Vec::with_capacity(all.len());
        for read in all {
            let before = batch.last().map(|it| it.place);
            let before = before.or_else(|| self.cursor.as_ref().map(|it| it.place));
            if before.is_some_and(|before| read.place > before + 1) {
                // Messages were taken out of the log before they came here.
                self.apply_batch(std::mem::take(&mut batch), log);
                let cursor = Cursor {
                    log: log.to_owned(),
                    place: read.place - 1,
                    id: String::new(),
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
        };
        let (stamp, pending) = (last.stamp, last.pending);
        let ticked = batch.iter().any(|read| read.meaning == Meaning::Nothing);
        let events: Vec<_> = batch.into_iter().map(|read| self.event(read)).collect();
        let records = self.unwritten(&events);
        self.remember(|file| file.write(&records));
        let purges = purges(&events);
        (self.sink.hear)(events);
        self.tell(&purges, cursor.place);
        self.applied(cursor.place, stamp, pending);
        self.cursor = Some(cursor);
        if ticked && self.is_time_to_keep(pending) {
            self.save();
        }
    }

    /// What the file does not have yet.
    fn unwritten(&self, events: &[Event]) -> Vec<(Sequence, Bytes)> {
        let known = self.file.last();
        let records = events.iter().filter_map(|event| match event {
            Event::Purge(placed) if placed.sequence > known => {
                Some((placed.sequence, placed.order.to_log().into()))
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
            view,
            ..
        } = &*self.shared;
        let now = clock.now();
        members.applied(place, purges.iter().map(|it| (it.place, now)));
        // What was missed while this node was away says nothing of the way from the others to here.
        if view.is_complete() {
            let accepted = purges.iter().filter_map(|it| it.at);
            accepted.for_each(|at| metrics.propagation.observe(now.since(at).as_secs_f64()));
        }
    }

    /// Where there is nothing more to read, now; else once in a while.
    fn is_time_to_keep(&self, pending: u64) -> bool {
        let now = self.shared.clock.instant();
        pending == 0 || self.kept.is_none_or(|kept| now - kept >= KEEP)
    }

    fn event(&self, read: Read) -> Event {
        let place = read.place;
        let (order, site) = match read.meaning {
            Meaning::Nothing => return Event::Passed(place),
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
            sequence: self.sequence(place),
            place,
            order,
        })
    }

    /// Where a place of the log is in this node's own order.
    const fn sequence(&self, place: u64) -> Sequence {
        let sequence = signed(place).wrapping_add(self.offset);
        Sequence(sequence.cast_unsigned())
    }

    fn unknown(&self, place: u64, id: &str) {
        self.shared.metrics.unknown.inc();
        tracing::error!(
            place,
            id,
            "a message of the purge log is not understood: it counts as a purge of all it could touch"
        );
    }

    /// Makes what is applied durable, and then where we are.
    fn save(&mut self) {
        self.remember(LogFile::sync);
        let Some(cursor) = self.cursor.as_ref().filter(|_| !self.is_forgetful) else {
            return;
        };
        if let Err(error) = tokio::task::block_in_place(|| self.cursor_file.write(cursor)) {
            tracing::warn!(%error, "the place in the purge log cannot be kept");
        }
        self.kept = Some(self.shared.clock.instant());
        // The cursor is behind nothing that is dropped.
        let shortened = tokio::task::block_in_place(|| self.upkeep.shorten(&mut self.file));
        if let Err(error) = shortened {
            tracing::error!(%error, "the file of purges cannot be shortened");
        }
    }

    /// Writes to the file. Where that fails, purges are applied all the same, and read again after the next start.
    fn remember(
        &mut self,
        write: impl FnOnce(&mut LogFile) -> Result<(), storage::purge::LogError>,
    ) {
        if self.is_forgetful {
            return;
        }
        if let Err(error) = tokio::task::block_in_place(|| write(&mut self.file)) {
            tracing::error!(%error, "purges are applied and not kept: the next start reads them again");
            self.is_forgetful = true;
        }
    }
}

/// The cursor is kept once in a while, the file with every purge: where the file has more, its end is what was applied
/// last. To go by an older message would prove too little: a log that lost what follows it gives those numbers again.
fn at_the_end(kept: Cursor, tail: Tail) -> Cursor {
    let Some((sequence, id)) = tail.last else {
        return kept;
    };
    let place = signed(sequence.0).wrapping_sub(tail.offset).cast_unsigned();
    if place <= kept.place {
        return kept;
    }
    let log = kept.log;
    Cursor { log, place, id }
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

/// Whether a cursor's message stands where it stood.
async fn prove(
    cursor: &Cursor,
    stream: &Stream,
    info: &Info,
    log: &str,
) -> Result<Proof, Interruption> {
    if cursor.log != log {
        return Ok(Proof::No(Reason::Replaced));
    }
    if cursor.place > info.state.last_sequence {
        return Ok(Proof::No(Reason::Rewound));
    }
    // An id that is not known proves nothing.
    if cursor.place < info.state.first_sequence || cursor.id.is_empty() {
        return Ok(Proof::No(Reason::Expired));
    }
    Ok(match message_at(stream, cursor.place).await? {
        None => Proof::No(Reason::Expired),
        Some(message) if id_of(&message) == cursor.id => Proof::Proven {
            stamp: stamp(message.time.unix_timestamp_nanos()),
        },
        Some(_) => Proof::No(Reason::Rewound),
    })
}

/// The message at a place, if it is still there.
async fn message_at(stream: &Stream, place: u64) -> Result<Option<StreamMessage>, Interruption> {
    match stream.get_raw_message(place).await {
        Ok(message) => Ok(Some(message)),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(Interruption::Stream(error.to_string())),
    }
}

/// The id that a message was published with.
fn id_of(message: &StreamMessage) -> String {
    let id = message.headers.get(NATS_MESSAGE_ID);
    id.map(|id| id.as_str().to_owned()).unwrap_or_default()
}

/// A time of the server since its epoch.
fn stamp(nanos: i128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or_default())
}

const fn signed(number: u64) -> i64 {
    number.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is kept at a place, and the file's last purge, if it is one; then what counts.
    #[track_caller]
    fn check(why: &str, place: u64, offset: i64, last: Option<u64>, counts: (u64, &str)) {
        let kept = Cursor {
            log: "l".to_owned(),
            place,
            id: "kept".to_owned(),
        };
        let last = last.map(|sequence| (Sequence(sequence), "last".to_owned()));
        let cursor = at_the_end(kept, Tail { offset, last });
        assert_eq!((cursor.place, cursor.id.as_str()), counts, "{why}");
        assert_eq!(cursor.log, "l");
    }

    #[test]
    #[rustfmt::skip]
    fn what_was_applied_last_is_where_a_node_goes_on() {
        check("nothing in the file",          7,   0, None,     (7, "kept"));
        check("a tick came after the purge",  7,   0, Some(5),  (7, "kept"));
        check("that very purge",              7,   0, Some(7),  (7, "kept"));
        check("purges after the last tick",   7,   0, Some(9),  (9, "last"));
        check("the node joined late",        47, -40, Some(9),  (49, "last"));
        check("the log was made anew",        3,  90, Some(95), (5, "last"));
    }
}
