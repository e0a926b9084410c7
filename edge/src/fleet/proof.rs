//! Where a node goes on in its log: behind what it applied last, if that still stands there; else behind the last purge
//! that it has in common with the log, or before the first message, with everything stored in doubt.

use std::time::Duration;

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{Info, LastRawMessageErrorKind, Stream};

use super::cursor::Cursor;
use super::follow::Interruption;
use crate::purges::log::Trace;
use crate::purges::record::Reason;

/// Where a node goes on.
#[derive(Debug)]
pub(super) struct Start {
    /// Everything up to here is applied, or behind this node for good. Its id is empty where it is not known.
    pub cursor: Cursor,
    /// When that message was stamped, or, where it is not there any more, the log's first.
    pub stamp: Duration,
    pub continuity: Continuity,
}

/// Whether a node may have missed purges.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Continuity {
    /// It goes on where it was.
    Proven,
    /// It may.
    Broken(Reason),
}

/// Whether a cursor's message stands where it stood.
enum Proof {
    /// It does: from there it goes on.
    Proven(Start),
    /// It does not, for all that is known, and why.
    No(Reason),
}

/// A log as it was found.
pub(super) struct Found<'a> {
    /// The stream that it is.
    pub stream: &'a Stream,
    /// How that was when it was asked.
    pub info: &'a Info,
    /// Its id.
    pub log: &'a str,
}

impl Found<'_> {
    /// Where to go on. `trail` is what was applied before the cursor, in the log of the cursor.
    pub(super) async fn start(
        &self,
        cursor: Option<&Cursor>,
        trail: impl FnOnce() -> Vec<Trace>,
    ) -> Result<Start, Interruption> {
        let Some(cursor) = cursor else {
            return self.joining().await;
        };
        if cursor.log != self.log {
            // All of it is new to this node.
            return Ok(self.before_the_first(Reason::Replaced));
        }
        let reason = match self.prove(cursor).await? {
            Proof::Proven(start) => return Ok(start),
            Proof::No(reason) => reason,
        };
        let common = self.last_in_common(&self.within(trail())).await?;
        Ok(match common {
            Some((Trace { place, id, .. }, stamp)) => {
                self.behind((place, id), stamp, Continuity::Broken(reason))
            }
            None => self.before_the_first(reason),
        })
    }

    /// The end of a log that this node has nothing of: nothing that it fetches from now on was purged before.
    async fn joining(&self) -> Result<Start, Interruption> {
        let place = self.info.state.last_sequence;
        let message = message_at(self.stream, place).await?;
        let last = self.info.state.last_timestamp.unix_timestamp_nanos();
        let stamp = message.as_ref().map_or_else(|| stamp(last), stamp_of);
        let id = message.as_ref().map(id_of).unwrap_or_default();
        Ok(self.behind((place, id), stamp, Continuity::Broken(Reason::Joined)))
    }

    /// Goes on behind a message that has this id, or is not known, and was stamped so.
    fn behind(&self, (place, id): (u64, String), stamp: Duration, continuity: Continuity) -> Start {
        Start {
            cursor: Cursor {
                log: self.log.to_owned(),
                place,
                stamp: u64::try_from(stamp.as_nanos()).ok(),
                id,
            },
            stamp,
            continuity,
        }
    }

    /// Whether the cursor's message stands where it stood.
    async fn prove(&self, cursor: &Cursor) -> Result<Proof, Interruption> {
        let state = &self.info.state;
        if cursor.place > state.last_sequence {
            return Ok(Proof::No(Reason::Rewound));
        }
        // An id that is not known proves nothing.
        if cursor.place < state.first_sequence || cursor.id.is_empty() {
            return Ok(Proof::No(Reason::Expired));
        }
        Ok(match message_at(self.stream, cursor.place).await? {
            None => Proof::No(Reason::Expired),
            Some(message) if cursor.is(&id_of(&message), stamp_of(&message)) => {
                let place = (cursor.place, cursor.id.clone());
                let start = self.behind(place, stamp_of(&message), Continuity::Proven);
                Proof::Proven(start)
            }
            Some(_) => Proof::No(Reason::Rewound),
        })
    }

    /// What of a trail can be in the log.
    fn within(&self, mut trail: Vec<Trace>) -> Vec<Trace> {
        let there = self.info.state.first_sequence..=self.info.state.last_sequence;
        trail.retain(|trace| there.contains(&trace.place));
        trail
    }

    /// The last of a trail that stands where it stood, and its stamp. A log is the same up to where it lost its end.
    async fn last_in_common(
        &self,
        trail: &[Trace],
    ) -> Result<Option<(Trace, Duration)>, Interruption> {
        let (mut known, mut unknown) = (0, trail.len());
        let mut last = None;
        while known < unknown {
            let middle = known.midpoint(unknown);
            let trace = &trail[middle];
            match message_at(self.stream, trace.place).await? {
                Some(message) if trace.is(&id_of(&message), stamp_of(&message)) => {
                    last = Some((trace.clone(), stamp_of(&message)));
                    known = middle + 1;
                }
                Some(_) | None => unknown = middle,
            }
        }
        Ok(last)
    }

    fn before_the_first(&self, reason: Reason) -> Start {
        let state = &self.info.state;
        let nothing = (state.first_sequence.saturating_sub(1), String::new());
        let stamp = stamp(state.first_timestamp.unix_timestamp_nanos());
        self.behind(nothing, stamp, Continuity::Broken(reason))
    }
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

/// When the server took a message.
fn stamp_of(message: &StreamMessage) -> Duration {
    stamp(message.time.unix_timestamp_nanos())
}

/// A time of the server since its epoch.
pub(super) fn stamp(nanos: i128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or_default())
}
