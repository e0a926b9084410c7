//! Following the log: prove where we are, read on from there, apply, and remember.

use std::sync::Arc;
use std::time::Duration;

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::message::Message;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{Info, LastRawMessageErrorKind, Stream};
use bytes::Bytes;
use futures::StreamExt as _;
use storage::purge::{LogFile, Sequence};
use tokio::sync::watch;
use tokio::time::sleep;

use super::cursor::{Cursor, CursorFile};
use super::message::{Meaning, everything};
use super::{Place, Shared, setup};
use crate::purges::log::{Event, Placed, Sink};
use crate::purges::record::{Doubt, Reason};

/// Messages under way at once.
const BATCH_MAX: usize = 1000;
/// Messages that are written to the file together.
const WRITTEN_MAX: usize = 256;
/// While there is nothing to send, the server says so. Two missing ones end a session.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long the server keeps a request for messages.
const EXPIRES: Duration = Duration::from_secs(30);
/// How long the server keeps what it knows of a reader that has gone.
const INACTIVE: Duration = Duration::from_secs(30);
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
    sink: Sink,
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
            offset,
            cursor: cursor_file,
        } = place;
        Self {
            shared,
            file,
            offset,
            cursor: cursor_file.read(),
            cursor_file,
            sink,
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
        let context = self.shared.context().await;
        let connections = self.shared.connections.subscribe();
        let name = self.shared.settings.stream.clone();
        let stream = context.get_stream(&name).await;
        let stream = stream.map_err(|error| Interruption::Stream(error.to_string()))?;
        let info = stream.cached_info().clone();
        let log = setup::log_id(&info.config).ok_or(Interruption::NotALog(name))?;
        let applied = self.resume(&stream, &info, &log).await?;
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
    ) -> Result<u64, Interruption> {
        let last = info.state.last_sequence;
        let reason = match &self.cursor {
            None => Reason::Joined,
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
        (self.sink.hear)(Event::Doubt { sequence, place });
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
        let ticked = batch.iter().any(|read| read.meaning == Meaning::Nothing);
        let events: Vec<_> = batch
            .into_iter()
            .map(|read| (read.place, read.stamp, read.pending, self.event(read)))
            .collect();
        let known = self.file.last();
        let records: Vec<(Sequence, Bytes)> = events
            .iter()
            .filter_map(|(.., event)| match event {
                Event::Purge(placed) if placed.sequence > known => {
                    Some((placed.sequence, placed.order.to_log().into()))
                }
                _ => None,
            })
            .collect();
        self.remember(|file| file.write(&records));
        for (place, stamp, pending, event) in events {
            let is_purge = matches!(event, Event::Purge(_));
            (self.sink.hear)(event);
            let Shared { clock, members, .. } = &*self.shared;
            members.applied(place, is_purge.then(|| clock.now()));
            self.applied(place, stamp, pending);
        }
        self.cursor = Some(cursor);
        if ticked {
            self.save();
        }
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
        let sequence = signed(place).wrapping_add(self.offset);
        Event::Purge(Placed {
            sequence: Sequence(sequence.cast_unsigned()),
            place,
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

    /// Makes what is applied durable, and then where we are.
    fn save(&mut self) {
        self.remember(LogFile::sync);
        let Some(cursor) = self.cursor.as_ref().filter(|_| !self.is_forgetful) else {
            return;
        };
        if let Err(error) = tokio::task::block_in_place(|| self.cursor_file.write(cursor)) {
            tracing::warn!(%error, "the place in the purge log cannot be kept");
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
