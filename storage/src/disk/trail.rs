//! What has arrived of a body on its way to a disk. It is read before the body is committed, and if it never is.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};

use super::allowance::Held;
use super::error::{DiskError, Refused};
use super::format::{Extent, length};
use super::front;
use super::life::Life;
use super::pool::Answer;
use super::volume::{Reading, Span, Volume};

/// The bytes of a body that a [`Writer`](super::Writer) has taken.
pub(crate) struct Trail {
    volume: Arc<Volume>,
    /// How long a reader waits for the disk.
    patience: Duration,
    arrived: Mutex<Arrived>,
}

/// All of them, in their order.
pub(super) struct Arrived {
    /// Those in the log: whole chunks, but for the last one of a body.
    pub(super) extents: Vec<Extent>,
    /// How many bytes those are.
    in_log: u64,
    /// Those behind them: the beginning of the next chunk, or what another engine will get.
    pub(super) staged: Vec<u8>,
    held: Held,
    /// The whole body, since another engine has it.
    given: Option<Bytes>,
}

impl Arrived {
    pub(super) fn stage(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        if !self.held.grow(bytes.len()) {
            return Err(Refused::Busy);
        }
        self.staged.extend_from_slice(bytes);
        Ok(())
    }

    /// A chunk is in the log.
    pub(super) fn append(&mut self, extent: Extent, len: usize) {
        self.extents.push(extent);
        self.in_log += len as u64;
    }

    /// What was staged is not needed here any more.
    pub(super) fn unstage(&mut self) {
        self.staged.clear();
        self.held.release();
    }

    /// Frees the memory of what was staged.
    pub(super) fn forget(&mut self) {
        self.staged = Vec::new();
        self.held.release();
    }

    /// Takes out the staged body, with what it holds of the allowance, for another engine to keep.
    pub(super) fn give(&mut self, none: Held) -> (Bytes, Held) {
        let body = Bytes::from(std::mem::take(&mut self.staged));
        self.given = Some(body.clone());
        (body, std::mem::replace(&mut self.held, none))
    }
}

/// Where a byte is.
enum Whereabouts {
    Memory(Bytes),
    Log(Block),
}

/// A block of a chunk: what is read and checked at once.
struct Block {
    chunk: usize,
    extent: Extent,
    /// Its number in the chunk.
    number: usize,
    /// Where it begins, in the chunk and in the body.
    from: u64,
    begin: u64,
    len: usize,
    /// What follows it in the chunk.
    ahead: u64,
}

impl Trail {
    pub(super) fn new(volume: &Arc<Volume>, patience: Duration, held: Held) -> Arc<Self> {
        Arc::new(Self {
            volume: Arc::clone(volume),
            patience,
            arrived: Mutex::new(Arrived {
                extents: Vec::new(),
                in_log: 0,
                staged: Vec::new(),
                held,
                given: None,
            }),
        })
    }

    pub(super) fn arrived(&self) -> MutexGuard<'_, Arrived> {
        self.arrived.lock()
    }

    fn find(&self, at: u64) -> Option<Whereabouts> {
        let arrived = self.arrived();
        if let Some(body) = &arrived.given {
            let rest = body.get(length(at)..).filter(|rest| !rest.is_empty())?;
            return Some(Whereabouts::Memory(body.slice_ref(rest)));
        }
        let (chunk, block) = self.lengths();
        if at >= arrived.in_log {
            let rest = arrived.staged.get(length(at - arrived.in_log)..)?;
            let some = &rest[..rest.len().min(length(block))];
            return (!some.is_empty()).then(|| Whereabouts::Memory(Bytes::copy_from_slice(some)));
        }
        let number = at / chunk;
        let chunk_end = arrived.in_log.min((number + 1) * chunk);
        let begin = at / block * block;
        let end = chunk_end.min(begin + block);
        Some(Whereabouts::Log(Block {
            chunk: length(number),
            extent: *arrived.extents.get(length(number))?,
            number: length(begin % chunk / block),
            from: begin % chunk,
            begin,
            len: length(end - begin),
            ahead: chunk_end - end,
        }))
    }

    /// The lengths of a chunk and of a block.
    fn lengths(&self) -> (u64, u64) {
        let geometry = &self.volume.geometry;
        (u64::from(geometry.chunk), u64::from(geometry.block()))
    }

    /// The segments of the chunks from `first` on.
    fn segments(&self, first: usize) -> Vec<(u32, u64)> {
        let arrived = self.arrived();
        let extents = arrived.extents.iter().skip(first);
        extents.map(|it| (it.segment, it.life)).collect()
    }
}

impl Block {
    /// Reads it without waiting, or has it read and checked.
    fn read(&self, volume: &Volume, life: &Life) -> Result<Reading<Bytes>, DiskError> {
        let span = Span {
            at: u64::from(self.extent.at) + self.from,
            len: self.len,
            ahead: self.ahead,
        };
        let (first, sums) = (self.number, self.extent.sums);
        let check = move |volume: &Volume, bytes: Bytes| {
            front::check_blocks(volume, &bytes, first, &sums).map(|()| bytes)
        };
        volume.read(life, span, check)
    }

    /// What of it follows `at`.
    fn from(&self, bytes: &Bytes, at: u64) -> Result<Bytes, DiskError> {
        let skipped = at.checked_sub(self.begin).map(length);
        let skipped = skipped.filter(|skipped| *skipped < bytes.len());
        Ok(bytes.slice(skipped.ok_or(DiskError::Gone)?..))
    }
}

/// Reads a [`Trail`]. The segments of what it has still to read are not written over.
pub(crate) struct TrailReader {
    trail: Arc<Trail>,
    pins: VecDeque<Pin>,
    /// So many chunks have been looked at.
    pinned: usize,
    waiting: Option<(Block, Answer<Bytes>)>,
}

/// A segment held fast.
struct Pin {
    life: Arc<Life>,
    /// The last chunk that is known to lie there.
    chunk: usize,
}

impl TrailReader {
    pub(crate) fn new(trail: &Arc<Trail>) -> Self {
        Self {
            trail: Arc::clone(trail),
            pins: VecDeque::new(),
            pinned: 0,
            waiting: None,
        }
    }

    /// Some of the bytes from `at` on. It may be dropped and called again, for the same place.
    ///
    /// # Errors
    ///
    /// If there are none, they cannot be read, or they are not what was written.
    pub(crate) async fn read(&mut self, at: u64) -> Result<Bytes, DiskError> {
        if self.waiting.is_none()
            && let Some(bytes) = self.begin(at)?
        {
            return Ok(bytes);
        }
        let Some((_, answer)) = &mut self.waiting else {
            return Err(DiskError::Gone);
        };
        let volume = &self.trail.volume;
        let bytes = volume.wait(answer, self.trail.patience).await;
        let (block, _) = self.waiting.take().ok_or(DiskError::Gone)?;
        let bytes = bytes.inspect_err(|error| self.failed(*error))?;
        block.from(&bytes, at)
    }

    /// The bytes, if they are there without waiting.
    fn begin(&mut self, at: u64) -> Result<Option<Bytes>, DiskError> {
        let block = match self.trail.find(at).ok_or(DiskError::Gone)? {
            Whereabouts::Memory(bytes) => return Ok(Some(bytes)),
            Whereabouts::Log(block) => block,
        };
        let life = self.pin(&block).ok_or(DiskError::Gone)?;
        let volume = &self.trail.volume;
        let reading = block.read(volume, &life);
        match reading.inspect_err(|error| self.failed(*error))? {
            Reading::Ready(bytes) => block.from(&bytes, at).map(Some),
            Reading::Waiting(answer) => {
                self.waiting = Some((block, answer));
                Ok(None)
            }
        }
    }

    /// Holds fast what is in the log from this block on, and lets go of what comes before; the segment of the block.
    fn pin(&mut self, block: &Block) -> Option<Arc<Life>> {
        let lives = &self.trail.volume.lives;
        let first = self.pinned.max(block.chunk);
        for (chunk, (segment, number)) in (first..).zip(self.trail.segments(first)) {
            self.pinned = chunk + 1;
            match self.pins.back_mut() {
                Some(last) if last.life.number == number => last.chunk = chunk,
                // One that has ended is missed when it is read.
                _ => self.pins.extend(
                    lives
                        .pin_life(segment, number)
                        .map(|life| Pin { life, chunk }),
                ),
            }
        }
        while self.pins.front().is_some_and(|pin| pin.chunk < block.chunk) {
            self.pins.pop_front();
        }
        let mut pins = self.pins.iter();
        let pin = pins.find(|pin| pin.life.number == block.extent.life)?;
        Some(Arc::clone(&pin.life))
    }

    fn failed(&self, error: DiskError) {
        if error == DiskError::Damaged {
            let health = &self.trail.volume.health;
            health.fault(super::health::Fault::Damaged, &"dropped");
        }
    }
}
