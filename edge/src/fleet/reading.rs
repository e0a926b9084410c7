//! A message of the log as it was read.

use std::time::Duration;

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::message::Message;

use super::follow::Interruption;
use super::message::{Meaning, Subjects};
use super::proof::stamp;

/// A message of the log, and what is left of it to do.
#[derive(Debug)]
pub(super) struct Read {
    pub place: u64,
    pub id: String,
    /// Since the server's epoch.
    pub stamp: Duration,
    /// How many more wait behind it.
    pub pending: u64,
    pub meaning: Meaning,
}

/// Reads what the server delivers, and notices what was lost on its way.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    subjects: &'a Subjects,
    /// Messages that were delivered.
    delivered: u64,
    /// The place of the last one.
    last: u64,
}

impl<'a> Reader<'a> {
    /// Reads behind a place.
    pub(super) const fn behind(place: u64, subjects: &'a Subjects) -> Self {
        Self {
            subjects,
            delivered: 0,
            last: place,
        }
    }

    pub(super) fn read(&mut self, message: &Message) -> Result<Read, Interruption> {
        let info = message.info();
        let info = info.map_err(|error| Interruption::Read(error.to_string()))?;
        self.delivered += 1;
        if info.consumer_sequence != self.delivered {
            return Err(Interruption::Lost);
        }
        if info.stream_sequence <= self.last {
            // Places are given again: the log has lost its end.
            return Err(Interruption::Back);
        }
        self.last = info.stream_sequence;
        let headers = message.headers.as_ref();
        let id = headers.and_then(|headers| headers.get(NATS_MESSAGE_ID));
        let id = id.map(|id| id.as_str()).unwrap_or_default();
        Ok(Read {
            place: info.stream_sequence,
            id: id.to_owned(),
            stamp: stamp(info.published.unix_timestamp_nanos()),
            pending: info.pending,
            meaning: self
                .subjects
                .meaning(&message.subject, &message.payload, id),
        })
    }
}
