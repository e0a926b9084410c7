//! Following the log: prove where we are, read on from there, apply, and remember.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::message::Message;
use async_nats::jetstream::stream::Stream;
use futures::{Stream as Flow, StreamExt as _};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::apply::Applier;
use super::proof::{Found, stamp};
use super::reading::{Read, Reader};
use super::view::Stamped;
use super::{Place, Shared, setup};
use crate::purges::log::Sink;

/// Messages under way at once.
const BATCH_MAX: usize = 1000;
/// Messages that are written to the file together.
const WRITTEN_MAX: usize = 1000;
/// While there is nothing to send, the server says so. Two missing ones end a session.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Nodes tick once a second: a log without a message for so long is asked whether it is still the same.
const SILENCE: Duration = Duration::from_secs(10);
/// How long the server keeps a request for messages.
const EXPIRES: Duration = Duration::from_secs(30);
/// How long the server keeps what it knows of a reader that has gone.
const INACTIVE: Duration = Duration::from_secs(30);
/// Between two sessions.
const PAUSE: Duration = Duration::from_millis(250);

/// Why a session with the log ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Interruption {
    #[error("the stream cannot be asked: {0}")]
    Stream(String),
    #[error("stream `{0}` is no log of purges: `larder fleet init` makes one")]
    NotALog(String),
    #[error("it cannot be read: {0}")]
    Read(String),
    #[error("a message was lost on its way")]
    Lost,
    #[error("it gave a place again")]
    Back,
    #[error("no message came for {SILENCE:?}, not even a tick")]
    Silent,
    #[error("there is a new connection")]
    Reconnected,
}

/// Follows the log of a fleet.
pub(super) struct Follower {
    shared: Arc<Shared>,
    applier: Applier,
}

impl Follower {
    pub(super) fn new(shared: Arc<Shared>, place: Place, sink: Sink) -> Self {
        let applier = Applier::new(Arc::clone(&shared), place, sink);
        Self { shared, applier }
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
        let mut connections = self.shared.line.connections();
        let connection = *connections.borrow_and_update();
        let name = self.shared.settings.stream.clone();
        let stream = context.get_stream(&name).await;
        let stream = stream.map_err(|error| Interruption::Stream(error.to_string()))?;
        let info = stream.cached_info().clone();
        let log = setup::log_id(&info.config).ok_or(Interruption::NotALog(name))?;
        let found = Found {
            stream: &stream,
            info: &info,
            log: &log,
        };
        let start = self.applier.start(&found).await?;
        if connections.has_changed().unwrap_or(false) {
            // What was said of the stream, and of its messages, may be of different times.
            return Err(Interruption::Reconnected);
        }
        let applied = Stamped {
            place: start.cursor.place,
            stamp: start.stamp,
        };
        let last = Stamped {
            place: info.state.last_sequence,
            stamp: stamp(info.state.last_timestamp.unix_timestamp_nanos()),
        };
        self.applier.begin(start);
        let Shared {
            members,
            view,
            clock,
            ..
        } = &*self.shared;
        members.follows(&log, applied.place, connection);
        view.connected(applied, last, clock.instant());
        tracing::info!(
            place = applied.place,
            behind = last.place.saturating_sub(applied.place),
            "following the purge log"
        );
        self.read(&stream, &log, applied.place, connections).await
    }

    /// Reads on behind `applied`.
    async fn read(
        &mut self,
        stream: &Stream,
        log: &str,
        applied: u64,
        mut connections: watch::Receiver<u64>,
    ) -> Result<std::convert::Infallible, Interruption> {
        let mut batches = std::pin::pin!(batches(stream, applied).await?);
        let shared = Arc::clone(&self.shared);
        let mut reader = Reader::behind(applied, &shared.subjects);
        loop {
            let batch = tokio::select! {
                batch = timeout(SILENCE, batches.next()) => batch,
                _ = connections.changed() => return Err(Interruption::Reconnected),
            };
            let Some(batch) = batch.map_err(|_elapsed| Interruption::Silent)? else {
                return Err(broken(&"the server ended it"));
            };
            let (read, end) = until_broken(batch, &mut reader);
            self.applier.apply_all(read, log);
            end?;
        }
    }
}

/// What the log has behind a place, for as long as it lasts.
async fn batches(
    stream: &Stream,
    place: u64,
) -> Result<impl Flow<Item = Vec<Result<Message, Interruption>>>, Interruption> {
    let consumer = stream.create_consumer(pull::Config {
        deliver_policy: DeliverPolicy::ByStartSequence {
            start_sequence: place + 1,
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
    let messages = messages.map(|message| message.map_err(|error| broken(&error)));
    Ok(messages.ready_chunks(WRITTEN_MAX))
}

/// What can be read of a batch, and what ended it.
fn until_broken(
    batch: Vec<Result<Message, Interruption>>,
    reader: &mut Reader<'_>,
) -> (Vec<Read>, Result<(), Interruption>) {
    let mut read = Vec::with_capacity(batch.len());
    for message in batch {
        match message.and_then(|message| reader.read(&message)) {
            Ok(message) => read.push(message),
            Err(end) => return (read, Err(end)),
        }
    }
    (read, Ok(()))
}

fn broken(error: &dyn std::fmt::Display) -> Interruption {
    Interruption::Read(error.to_string())
}
