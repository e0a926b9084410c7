//! The ends of a volume that are written to: two open segments, and what of them is not on the
//! disk yet.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::allowance::Buffer;
use super::error::Refused;
use super::format::{HEADER, Header, MARK, Mark, SEAL, Seal, Stream, UNIT, length, round_up};
use super::life::{Class, Life};
use super::volume::Volume;

/// What a volume is writing. Under one lock, since numbers rise with positions.
#[derive(Debug, Default)]
pub(crate) struct Log {
    open: [Option<Open>; 2],
    /// Full buffers, in the order in which they are written.
    pub(super) queue: VecDeque<Frozen>,
    pub(super) free: VecDeque<u32>,
    /// Full segments, oldest first.
    pub(super) sealed: [VecDeque<Arc<Life>>; 2],
    /// Segments that nobody finds any more and that somebody may still read.
    pub(super) leaving: Vec<Arc<Life>>,
    pub(super) phase: Phase,
}

/// The life of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    #[default]
    Open,
    /// Nothing more is taken; what is there is written.
    Closing,
    /// Everything is as if the process had been killed here.
    Abandoned,
}

/// A segment that is being filled.
#[derive(Debug)]
struct Open {
    life: Arc<Life>,
    /// What will stand at its end.
    headers: Vec<u8>,
    classes: HashMap<Class, u32>,
    buffer: Filling,
}

/// The buffer of an open segment.
#[derive(Debug)]
struct Filling {
    buffer: Buffer,
    /// Where in the segment it begins.
    at: u64,
    len: usize,
}

/// Bytes that no longer change, and are not on the disk yet.
#[derive(Clone, Debug)]
pub(crate) struct Frozen {
    pub(crate) life: Arc<Life>,
    pub(crate) at: u64,
    pub(crate) bytes: Bytes,
    /// Nothing follows in this segment.
    pub(crate) is_last: bool,
}

/// A record to append: a header that does not know its place yet, and what follows it.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    pub(crate) header: Header,
    pub(crate) parts: [&'a [u8]; 3],
}

/// Where a record went.
#[derive(Debug)]
pub(crate) struct Appended {
    pub(crate) life: Arc<Life>,
    pub(crate) header: Header,
    pub(crate) class: u32,
}

impl Filling {
    fn end(&self) -> u64 {
        self.at + self.len as u64
    }

    fn put(&mut self, bytes: &[u8]) {
        self.buffer.as_mut()[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn pad(&mut self) {
        let padded = length(round_up(self.len as u64, UNIT));
        // A buffer is used again: what stood there before must not reach the disk.
        self.buffer.as_mut()[self.len..padded].fill(0);
        self.len = padded;
    }

    fn freeze(self, life: &Arc<Life>) -> Frozen {
        Frozen {
            life: Arc::clone(life),
            at: self.at,
            bytes: Bytes::from_owner(self.buffer).slice(..self.len),
            is_last: false,
        }
    }
}

impl Frozen {
    /// What of it is not on the disk: its beginning may have been written while it was filling.
    pub(crate) fn rest(&self) -> Self {
        let written = self.life.written().saturating_sub(self.at);
        let from = usize::try_from(written)
            .unwrap_or(usize::MAX)
            .min(self.bytes.len());
        Self {
            life: Arc::clone(&self.life),
            at: self.at + from as u64,
            bytes: self.bytes.slice(from..),
            is_last: self.is_last,
        }
    }

    pub(crate) fn is_written(&self) -> bool {
        self.at + self.bytes.len() as u64 <= self.life.written()
    }
}

impl Open {
    /// Whether a record of this length fits, with its header at the end of the segment.
    fn has_room(&self, len: u64, segment: u64) -> bool {
        let tail = (self.headers.len() + HEADER + SEAL) as u64;
        self.buffer.end() + len + tail <= segment
    }
}

impl Volume {
    /// Writes a record at the end of a stream. It is found in memory until it is on the disk.
    pub(crate) fn append(&self, stream: Stream, record: Record<'_>) -> Result<Appended, Refused> {
        if self.health.is_offline() {
            return Err(Refused::Offline);
        }
        let len = record.header.len();
        if len > self.buffers.len() as u64 - MARK as u64 {
            return Err(Refused::TooLong);
        }
        let mut log = self.log.lock();
        if log.phase != Phase::Open {
            return Err(Refused::Offline);
        }
        self.make_room(&mut log, stream, len)?;
        let Some(open) = &mut log.open[stream as usize] else {
            return Err(Refused::Busy);
        };
        let appended = self.write_into(open, record);
        drop(log);
        self.dirty.notify_one();
        Ok(appended)
    }

    /// Makes a segment with a buffer ready that takes `len` more bytes.
    fn make_room(&self, log: &mut Log, stream: Stream, len: u64) -> Result<(), Refused> {
        let segment = self.geometry.segment;
        let current = &log.open[stream as usize];
        if current
            .as_ref()
            .is_some_and(|open| !open.has_room(len, segment))
        {
            self.seal(log, stream);
        }
        let Some(open) = &mut log.open[stream as usize] else {
            return self.open_segment(log, stream);
        };
        if open.buffer.len as u64 + len <= self.buffers.len() as u64 {
            return Ok(());
        }
        let fresh = Filling {
            buffer: self.buffers.take().ok_or(Refused::Busy)?,
            at: open.buffer.end(),
            len: 0,
        };
        let full = std::mem::replace(&mut open.buffer, fresh);
        log.queue.push_back(full.freeze(&open.life));
        Ok(())
    }

    fn open_segment(&self, log: &mut Log, stream: Stream) -> Result<(), Refused> {
        // What is asked for often must find a segment to move to, or nothing can be reclaimed.
        let reserved = match stream {
            Stream::Fresh => 1,
            Stream::Kept => 0,
        };
        if log.free.len() <= reserved {
            self.reclaim.notify_one();
            return Err(Refused::Busy);
        }
        let buffer = self.buffers.take().ok_or(Refused::Busy)?;
        let segment = log.free.pop_front().ok_or(Refused::Busy)?;
        self.note_free(log);
        if log.free.len() < self.free_min() {
            self.reclaim.notify_one();
        }
        // A life and a position in it make a number of their own: that many are set aside.
        let number = self.numbers.take(self.geometry.segment / UNIT);
        let life = Arc::new(Life::new(number, segment, stream));
        self.lives.begin(&life);

        let mut filling = Filling {
            buffer,
            at: 0,
            len: 0,
        };
        let mark = Mark {
            life: number,
            stream,
        };
        filling.put(&mark.encode(self.nonce));
        log.open[stream as usize] = Some(Open {
            life,
            headers: Vec::new(),
            classes: HashMap::new(),
            buffer: filling,
        });
        Ok(())
    }

    fn write_into(&self, open: &mut Open, record: Record<'_>) -> Appended {
        let class = Class {
            variant: record.header.name.variant,
            born: record.header.born,
        };
        let life = &open.life;
        let class = *open
            .classes
            .entry(class)
            .or_insert_with(|| life.add_class(class));
        let header = Header {
            life: life.number,
            number: self.numbers.take(1),
            at: u32::try_from(open.buffer.end()).unwrap_or(u32::MAX),
            ..record.header
        };
        let encoded = header.encode(self.nonce);
        open.buffer.put(&encoded);
        record.parts.iter().for_each(|part| open.buffer.put(part));
        open.buffer.pad();
        open.headers.extend_from_slice(&encoded);
        life.reached(header.number);
        Appended {
            life: Arc::clone(life),
            header,
            class,
        }
    }

    /// Ends the open segment of a stream: its headers go to its end.
    fn seal(&self, log: &mut Log, stream: Stream) {
        let Some(open) = log.open[stream as usize].take() else {
            return;
        };
        let life = open.life;
        log.queue.push_back(open.buffer.freeze(&life));
        let (at, footer) = self.footer(&life, open.headers);
        log.queue.push_back(Frozen {
            life: Arc::clone(&life),
            at,
            bytes: footer,
            is_last: true,
        });
        life.finished();
        log.sealed[stream as usize].push_back(life);
    }

    /// What stands at the end of a segment with these headers, and where.
    pub(crate) fn footer(&self, life: &Life, mut headers: Vec<u8>) -> (u64, Bytes) {
        let seal = Seal {
            life: life.number,
            last: life.last(),
            records: u32::try_from(headers.len() / HEADER).unwrap_or(0),
        };
        headers.extend_from_slice(&seal.encode(self.nonce));
        (self.geometry.segment - headers.len() as u64, headers.into())
    }

    pub(crate) fn seal_all(&self, log: &mut Log) {
        self.seal(log, Stream::Fresh);
        self.seal(log, Stream::Kept);
    }

    /// Takes out a segment that cannot be written. Its number, if it was there.
    pub(super) fn drop_life(log: &mut Log, life: &Arc<Life>) {
        log.queue.retain(|frozen| !Arc::ptr_eq(&frozen.life, life));
        for open in &mut log.open {
            if open
                .as_ref()
                .is_some_and(|open| Arc::ptr_eq(&open.life, life))
            {
                *open = None;
            }
        }
        for sealed in &mut log.sealed {
            sealed.retain(|other| !Arc::ptr_eq(other, life));
        }
    }
}

impl Log {
    /// The bytes at this position, if they are still in memory.
    pub(crate) fn in_memory(&self, life: &Life, at: u64, len: usize) -> Option<Bytes> {
        let within = |begin: u64, length: usize| {
            let from = usize::try_from(at.checked_sub(begin)?).ok()?;
            let to = from.checked_add(len)?;
            (to <= length).then_some(from..to)
        };
        let open = self.open[life.stream as usize].as_ref();
        if let Some(open) = open.filter(|open| open.life.number == life.number)
            && let Some(range) = within(open.buffer.at, open.buffer.len)
        {
            return Some(Bytes::copy_from_slice(&open.buffer.buffer.as_ref()[range]));
        }
        self.queue
            .iter()
            .filter(|frozen| frozen.life.number == life.number)
            .find_map(|frozen| Some(frozen.bytes.slice(within(frozen.at, frozen.bytes.len())?)))
    }

    /// A copy of what of an open segment is not on the disk, at most `max` bytes.
    pub(crate) fn unwritten(&self, max: usize) -> Option<Frozen> {
        self.open.iter().flatten().find_map(|open| {
            let written = open.life.written().max(open.buffer.at);
            let from = usize::try_from(written - open.buffer.at).ok()?;
            let to = open.buffer.len.min(from.saturating_add(max));
            (from < to).then(|| Frozen {
                life: Arc::clone(&open.life),
                at: written,
                bytes: Bytes::copy_from_slice(&open.buffer.buffer.as_ref()[from..to]),
                is_last: false,
            })
        })
    }

    /// The bytes that are not on the disk yet.
    pub(crate) fn bytes_unwritten(&self) -> u64 {
        let queued = self
            .queue
            .iter()
            .map(|frozen| (&frozen.life, frozen.at, frozen.bytes.len()));
        let open = self.open.iter().flatten();
        let filling = open.map(|open| (&open.life, open.buffer.at, open.buffer.len));
        let unwritten = |(life, at, len): (&Arc<Life>, u64, usize)| {
            (at + len as u64).saturating_sub(life.written().max(at))
        };
        queued.chain(filling).map(unwritten).sum()
    }

    /// The number of the oldest segment that has not been wiped.
    pub(crate) fn oldest_leaving(&self) -> Option<u64> {
        self.leaving.iter().map(|life| life.number).min()
    }
}
