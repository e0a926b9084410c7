//! An object on its way to a disk.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::Shared;
use super::allowance::Held;
use super::bodies::Bodies;
use super::error::Refused;
use super::format::{ELSEWHERE, Extent, Header, Kind, Name, Stream, Sums, checksum, table};
use super::front;
use super::index::tag_of;
use super::log::Record;
use super::table::{BODY_MAX, HEAD_MAX};
use super::volume::Volume;
use crate::{Key, Variant};

/// What is to be stored, before its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRecord {
    /// The key.
    pub key: Key,
    /// Which of its variants.
    pub variant: Variant,
    /// What [`Liveness`](super::Liveness) will be asked about it.
    pub born: u64,
    /// When, in seconds since 1970. It is told, not used.
    pub stored_at: u64,
    /// The head, never looked into.
    pub head: Bytes,
    /// The length of the body, if it is known.
    pub body_len: Option<u64>,
}

/// Takes a body piece by piece. It never waits: what the disk cannot keep up with is refused.
///
/// Dropped without [`Writer::commit`], it leaves nothing behind.
pub struct Writer {
    shared: Arc<Shared>,
    volume: Arc<Volume>,
    record: NewRecord,
    body_max: u64,
    stream: Stream,
    /// No removal that came later is undone by this object.
    begun: u64,
    /// The beginning of the next chunk.
    staged: Vec<u8>,
    held: Held,
    extents: Vec<Extent>,
    taken: u64,
    refused: Option<Refused>,
}

impl Writer {
    pub(crate) fn new(shared: &Arc<Shared>, record: NewRecord) -> Result<Self, Refused> {
        let tag = tag_of(record.key);
        let volume = shared.home(tag).ok_or(Refused::Offline)?;
        let body_max = volume
            .bodies
            .as_ref()
            .map_or(u64::MAX, |bodies| bodies.longest());
        let body_max = body_max.min(shared.body_max());
        let too_long = record.body_len.is_some_and(|len| len > body_max);
        if too_long || record.head.len() as u64 > HEAD_MAX {
            return Err(Refused::TooLong);
        }
        let stream = stream_of(shared, &volume, tag);
        Ok(Self {
            begun: shared.numbers.take(1),
            held: Held::none(&shared.allowance),
            shared: Arc::clone(shared),
            volume,
            record,
            body_max,
            stream,
            staged: Vec::new(),
            extents: Vec::new(),
            taken: 0,
            refused: None,
        })
    }

    /// The next bytes of the body.
    ///
    /// # Errors
    ///
    /// If they cannot be taken. The object is not stored then, whatever follows.
    pub fn write(&mut self, bytes: Bytes) -> Result<(), Refused> {
        if let Some(refused) = self.refused {
            return Err(refused);
        }
        self.take(&bytes)
            .inspect_err(|refused| self.refuse(*refused))
    }

    /// The body is complete: from now on the object is found.
    ///
    /// # Errors
    ///
    /// If it was not stored.
    pub fn commit(mut self) -> Result<(), Refused> {
        if let Some(refused) = self.refused {
            return Err(refused);
        }
        if self.record.body_len.is_some_and(|len| len != self.taken) {
            return Err(Refused::WrongLength);
        }
        self.finish().inspect_err(|refused| self.refuse(*refused))
    }

    fn refuse(&mut self, refused: Refused) {
        self.refused = Some(refused);
        self.staged = Vec::new();
        self.held.release();
        if refused == Refused::Busy {
            self.volume
                .counters
                .busy
                .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }

    fn take(&mut self, mut bytes: &[u8]) -> Result<(), Refused> {
        self.taken += bytes.len() as u64;
        if self.taken > self.body_max {
            return Err(Refused::TooLong);
        }
        if self.record.body_len.is_some_and(|len| self.taken > len) {
            return Err(Refused::WrongLength);
        }
        if self.volume.bodies.is_some() {
            return self.stage(bytes);
        }
        let chunk = self.volume.geometry.chunk as usize;
        while !bytes.is_empty() {
            if self.staged.len() == chunk {
                self.write_staged()?;
            }
            // The last bytes are always staged: whether they are all of the body, the end will tell.
            if self.staged.is_empty() && bytes.len() > chunk {
                let (now, later) = bytes.split_at(chunk);
                self.write_chunk(now)?;
                bytes = later;
                continue;
            }
            let (now, later) = bytes.split_at(bytes.len().min(chunk - self.staged.len()));
            self.stage(now)?;
            bytes = later;
        }
        Ok(())
    }

    fn stage(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        if !self.held.grow(bytes.len()) {
            return Err(Refused::Busy);
        }
        self.staged.extend_from_slice(bytes);
        Ok(())
    }

    /// Gives the body, which is all staged, to the engine that keeps it.
    fn give(&mut self, bodies: &dyn Bodies) -> Result<(), Refused> {
        let id = self.volume.numbers.take(1);
        let chunk = self.volume.geometry.chunk;
        let chunks = (0..)
            .step_by(chunk as usize)
            .zip(self.staged.chunks(chunk as usize));
        let extents = chunks.map(|(at, chunk)| Extent {
            life: id,
            segment: ELSEWHERE,
            at,
            sums: front::sums_of(&self.volume, chunk),
        });
        self.extents = extents.collect();
        let held = std::mem::replace(&mut self.held, Held::none(&self.shared.allowance));
        bodies.put(id, std::mem::take(&mut self.staged).into(), held)
    }

    fn write_staged(&mut self) -> Result<(), Refused> {
        let mut staged = std::mem::take(&mut self.staged);
        self.write_chunk(&staged)?;
        staged.clear();
        self.staged = staged;
        self.held.release();
        Ok(())
    }

    fn write_chunk(&mut self, chunk: &[u8]) -> Result<(), Refused> {
        let sums = front::sums_of(&self.volume, chunk);
        let like = self.header(Kind::Chunk, sums);
        let extent = front::append_chunk(&self.volume, self.stream, &like, chunk, sums)?;
        self.extents.push(extent);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Refused> {
        if let Some(bodies) = self.volume.bodies.clone()
            && !self.staged.is_empty()
        {
            self.give(&*bodies)?;
        }
        if self.extents.is_empty() {
            let sums = front::sums_of(&self.volume, &self.staged);
            let header = self.header(Kind::Inline, sums);
            return self.publish(header, &[]);
        }
        if !self.staged.is_empty() {
            self.write_staged()?;
        }
        let (table, table_sum) = table(self.volume.nonce, &self.extents);
        let header = Header {
            table_sum,
            extents: u32::try_from(self.extents.len()).unwrap_or(u32::MAX),
            ..self.header(Kind::Spread, Sums::default())
        };
        self.publish(header, &table)
    }

    /// Writes the record that the object exists by.
    fn publish(&self, header: Header, table: &[u8]) -> Result<(), Refused> {
        let tag = tag_of(self.record.key);
        let _order = self.shared.order(tag);
        if self.shared.was_removed(header.name, self.begun) {
            return Err(Refused::Gone);
        }
        let record = Record {
            header,
            parts: [&self.record.head, table, &self.staged],
        };
        let appended = self.volume.append(self.stream, record)?;
        let is_there = self.shared.enter(&self.volume, &appended, |entry| {
            self.shared.index.put(entry, |others| {
                Some(self.shared.displaced_by(self.record.variant, others))
            });
            true
        });
        is_there.then_some(()).ok_or(Refused::Gone)
    }

    fn header(&self, kind: Kind, sums: Sums) -> Header {
        Header {
            kind,
            life: 0,
            number: 0,
            name: Name {
                key: self.record.key,
                variant: self.record.variant,
            },
            born: self.record.born,
            stored_at: u32::try_from(self.record.stored_at).unwrap_or(u32::MAX),
            body_len: self.taken.min(BODY_MAX),
            // Checked when the writer began.
            head_len: u32::try_from(self.record.head.len()).unwrap_or(u32::MAX),
            extents: 0,
            head_sum: checksum(self.volume.nonce, &self.record.head),
            table_sum: 0,
            sums,
            at: 0,
        }
    }
}

/// What was asked for before is not fresh: it was forgotten lately, or an older one has stayed. That one goes first then,
/// as it should.
fn stream_of(shared: &Shared, volume: &Volume, tag: u64) -> Stream {
    let has_stayed = |entry| {
        let life = shared.life_of(entry);
        life.is_some_and(|life| life.stream == Stream::Kept)
    };
    if volume.ghost.remembers(tag) || shared.index.find(tag).iter().any(has_stayed) {
        Stream::Kept
    } else {
        Stream::Fresh
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("key", &self.record.key)
            .field("taken", &self.taken)
            .field("refused", &self.refused)
            .finish_non_exhaustive()
    }
}
