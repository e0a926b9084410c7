//! An object on its way to a disk.

use std::fmt;
use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::Shared;
use super::allowance::Held;
use super::bodies::Bodies;
use super::error::Refused;
use super::format::{ELSEWHERE, Extent, Header, Kind, Name, Stream, Sums, checksum, table};
use super::front;
use super::index::tag_of;
use super::log::{Appended, Record};
use super::table::{BODY_MAX, HEAD_MAX};
use super::trail::{Arrived, Trail};
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
    /// What was taken of the body.
    trail: Arc<Trail>,
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
        let held = Held::none(&shared.allowance);
        Ok(Self {
            begun: shared.numbers.take(1),
            trail: Trail::new(&volume, shared.settings.patience, held),
            shared: Arc::clone(shared),
            volume,
            record,
            body_max,
            stream,
            taken: 0,
            refused: None,
        })
    }

    /// The next bytes of the body.
    ///
    /// # Errors
    ///
    /// If they cannot be taken. The object is not stored then, whatever follows.
    pub fn write(&mut self, mut bytes: Bytes) -> Result<(), Refused> {
        self.offer(&mut bytes)
            .inspect_err(|refused| self.refuse(*refused))
    }

    /// As [`Writer::write`], where a disk that is busy takes the rest later: that is what is left of `bytes` then.
    pub(crate) fn offer(&mut self, bytes: &mut Bytes) -> Result<(), Refused> {
        match self.refused {
            Some(refused) => Err(refused),
            None => self.take(bytes),
        }
    }

    /// What was taken so far, to be read meanwhile.
    pub(crate) fn trail(&self) -> &Arc<Trail> {
        &self.trail
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

    /// From now on nothing is taken, and nothing will be stored.
    pub(crate) fn refuse(&mut self, refused: Refused) {
        self.refused = Some(refused);
        if Arc::strong_count(&self.trail) == 1 {
            self.trail.arrived().forget();
        }
        if refused == Refused::Busy {
            self.volume
                .counters
                .busy
                .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }

    fn take(&mut self, bytes: &mut Bytes) -> Result<(), Refused> {
        let taken = self.taken + bytes.len() as u64;
        if taken > self.body_max {
            return Err(Refused::TooLong);
        }
        if self.record.body_len.is_some_and(|len| taken > len) {
            return Err(Refused::WrongLength);
        }
        let trail = Arc::clone(&self.trail);
        let arrived = &mut *trail.arrived();
        while !bytes.is_empty() {
            let some = match self.volume.bodies {
                Some(_) => self.stage(arrived, bytes)?,
                None => self.take_some(arrived, bytes)?,
            };
            self.taken += some as u64;
            bytes.advance(some);
        }
        // The end of a long body is written as soon as it is known to be one: a disk that is busy may be waited for.
        let is_last = self.record.body_len == Some(self.taken);
        if is_last && !arrived.extents.is_empty() && !arrived.staged.is_empty() {
            self.write_staged(arrived)?;
        }
        Ok(())
    }

    /// Takes the first bytes, up to the end of a chunk. How many.
    fn take_some(&self, arrived: &mut Arrived, bytes: &[u8]) -> Result<usize, Refused> {
        let chunk = self.volume.geometry.chunk as usize;
        if arrived.staged.len() == chunk {
            self.write_staged(arrived)?;
        }
        // The last bytes are always staged: whether they are all of the body, the end will tell.
        if arrived.staged.is_empty() && bytes.len() > chunk {
            self.write_chunk(arrived, &bytes[..chunk])?;
            return Ok(chunk);
        }
        let room = bytes.len().min(chunk - arrived.staged.len());
        self.stage(arrived, &bytes[..room])
    }

    fn stage(&self, arrived: &mut Arrived, bytes: &[u8]) -> Result<usize, Refused> {
        arrived.stage(bytes)?;
        Ok(bytes.len())
    }

    /// Gives the body, which is all staged, to the engine that keeps it.
    fn give(&self, arrived: &mut Arrived, bodies: &dyn Bodies) -> Result<(), Refused> {
        let id = self.volume.numbers.take(1);
        let chunk = self.volume.geometry.chunk;
        let chunks = (0..)
            .step_by(chunk as usize)
            .zip(arrived.staged.chunks(chunk as usize));
        let extents = chunks.map(|(at, chunk)| Extent {
            life: id,
            segment: ELSEWHERE,
            at,
            sums: front::sums_of(&self.volume, chunk),
        });
        arrived.extents = extents.collect();
        let (body, held) = arrived.give(Held::none(&self.shared.allowance));
        bodies.put(id, body, held)
    }

    fn write_staged(&self, arrived: &mut Arrived) -> Result<(), Refused> {
        let staged = std::mem::take(&mut arrived.staged);
        let written = self.write_chunk(arrived, &staged);
        arrived.staged = staged;
        written.inspect(|()| arrived.unstage())
    }

    fn write_chunk(&self, arrived: &mut Arrived, chunk: &[u8]) -> Result<(), Refused> {
        let sums = front::sums_of(&self.volume, chunk);
        let like = self.header(Kind::Chunk, sums);
        let extent = front::append_chunk(&self.volume, self.stream, &like, chunk, sums)?;
        arrived.append(extent, chunk.len());
        Ok(())
    }

    fn finish(&self) -> Result<(), Refused> {
        let arrived = &mut *self.trail.arrived();
        if let Some(bodies) = self.volume.bodies.clone()
            && !arrived.staged.is_empty()
        {
            self.give(arrived, &*bodies)?;
        }
        if arrived.extents.is_empty() {
            return self.finish_inline(arrived);
        }
        if !arrived.staged.is_empty() {
            self.write_staged(arrived)?;
        }
        let (table, table_sum) = table(self.volume.nonce, &arrived.extents);
        let header = Header {
            table_sum,
            extents: u32::try_from(arrived.extents.len()).unwrap_or(u32::MAX),
            ..self.header(Kind::Spread, Sums::default())
        };
        self.publish(header, [&self.record.head, &table, &[]])
            .map(drop)
    }

    /// The whole body goes into the record.
    fn finish_inline(&self, arrived: &mut Arrived) -> Result<(), Refused> {
        let sums = front::sums_of(&self.volume, &arrived.staged);
        let header = self.header(Kind::Inline, sums);
        let appended = self.publish(header, [&self.record.head, &[], &arrived.staged])?;
        let extent = Extent {
            life: appended.life.number,
            segment: appended.life.segment,
            at: u32::try_from(appended.header.body_at()).unwrap_or(u32::MAX),
            sums,
        };
        arrived.append(extent, arrived.staged.len());
        arrived.unstage();
        Ok(())
    }

    /// Writes the record that the object exists by.
    fn publish(&self, header: Header, parts: [&[u8]; 3]) -> Result<Appended, Refused> {
        let tag = tag_of(self.record.key);
        let _order = self.shared.order(tag);
        if self.shared.was_removed(header.name, self.begun) {
            return Err(Refused::Gone);
        }
        let record = Record { header, parts };
        let appended = self.volume.append(self.stream, record)?;
        let is_there = self.shared.enter(&self.volume, &appended, |entry| {
            self.shared.index.put(entry, |others| {
                Some(self.shared.displaced_by(self.record.variant, others))
            });
            true
        });
        is_there.then_some(appended).ok_or(Refused::Gone)
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
