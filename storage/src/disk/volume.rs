//! One disk: a file divided into segments, and everything that is known of it.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use super::allowance::Buffers;
use super::bodies::{Bodies, Elsewhere};
use super::error::DiskError;
use super::format::{Geometry, SUPERBLOCKS, Superblock};
use super::ghost::Ghost;
use super::health::{Fault, Health};
use super::life::{Life, Lives};
use super::log::Log;
use super::medium::Medium;
use super::pool::{Answer, Pool, Tried, Wanted};
use super::removals::Removals;
use super::settings::Engine;
use super::warmth::Warmth;

/// The order of everything that is stored or removed, on all volumes.
#[derive(Debug)]
pub(crate) struct Numbers(AtomicU64);

impl Numbers {
    pub(crate) fn new(first: u64) -> Self {
        Self(AtomicU64::new(first))
    }

    /// Takes this many; the first of them.
    pub(crate) fn take(&self, count: u64) -> u64 {
        self.0.fetch_add(count, Ordering::AcqRel)
    }

    pub(crate) fn next(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// A volume.
pub(crate) struct Volume {
    pub(crate) id: u8,
    pub(crate) path: PathBuf,
    pub(crate) medium: Arc<dyn Medium>,
    /// The bytes of everything it may take.
    pub(crate) size: u64,
    pub(crate) geometry: Geometry,
    pub(crate) nonce: u64,
    pub(crate) numbers: Arc<Numbers>,
    pub(crate) lives: Lives,
    pub(crate) log: Mutex<Log>,
    /// Something is to be written.
    pub(crate) dirty: Condvar,
    /// Everything has been written.
    pub(crate) clean: Condvar,
    /// Segments are to be reclaimed.
    pub(crate) reclaim: Condvar,
    pub(crate) buffers: Arc<Buffers>,
    pub(crate) removals: Removals,
    pub(crate) pool: Pool,
    pub(crate) warmth: Warmth,
    /// Who keeps the bodies, if it is not the log.
    pub(crate) bodies: Option<Arc<dyn Bodies>>,
    pub(crate) engine: Engine,
    pub(crate) ghost: Ghost,
    pub(crate) health: Health,
    /// It was made for this run: there is nothing to read back.
    pub(crate) is_new: bool,
    /// A third of it is free.
    pub(crate) is_filling: AtomicBool,
    /// A segment could not be read at the start: nobody knows what it holds.
    pub(crate) unread: AtomicBool,
    pub(crate) counters: Counters,
}

/// What happened on a volume since it was opened.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) bytes_read: AtomicU64,
    pub(crate) bytes_written: AtomicU64,
    pub(crate) waited: AtomicU64,
    pub(crate) busy: AtomicU64,
    pub(crate) evicted: AtomicU64,
    pub(crate) kept: AtomicU64,
    /// Bodies that another engine did not have any more.
    pub(crate) forgotten: AtomicU64,
}

/// The answer to a read.
pub(crate) enum Reading<T> {
    Ready(T),
    Waiting(Answer<T>),
}

/// How the page cache is asked.
type Look = fn(&Volume, u64, usize) -> Result<Option<Bytes>, DiskError>;

/// Bytes of a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) at: u64,
    pub(crate) len: usize,
    /// Bytes behind them that will be asked for next.
    pub(crate) ahead: u64,
}

impl Volume {
    /// Reads from a segment without waiting, or has it read; what `make` makes of it.
    pub(crate) fn read<T: Send + 'static>(
        &self,
        life: &Life,
        span: Span,
        make: impl FnOnce(&Self, Bytes) -> Result<T, DiskError> + Send + 'static,
    ) -> Result<Reading<T>, DiskError> {
        match self.warmth.is_worth_a_look() {
            true => self.read_after(Some(Self::look_and_note), life, span, make),
            false => self.read_after(None, life, span, make),
        }
    }

    /// The same of what no request is for: whether it is in the page cache says nothing of what is asked for.
    pub(crate) fn read_unasked<T: Send + 'static>(
        &self,
        life: &Life,
        span: Span,
        make: impl FnOnce(&Self, Bytes) -> Result<T, DiskError> + Send + 'static,
    ) -> Result<Reading<T>, DiskError> {
        self.read_after(Some(Self::look), life, span, make)
    }

    fn read_after<T: Send + 'static>(
        &self,
        look: Option<Look>,
        life: &Life,
        span: Span,
        make: impl FnOnce(&Self, Bytes) -> Result<T, DiskError> + Send + 'static,
    ) -> Result<Reading<T>, DiskError> {
        let Span { at, len, ahead } = span;
        if self.health.is_offline() {
            return Err(DiskError::Offline);
        }
        if let Some(bytes) = self.not_yet_written(life, at, len) {
            return make(self, bytes).map(Reading::Ready);
        }
        let offset = self.geometry.offset(life.segment, at);
        if let Some(look) = look
            && let Some(bytes) = look(self, offset, len)?
        {
            return make(self, bytes).map(Reading::Ready);
        }
        self.counters.waited.fetch_add(1, Ordering::Relaxed);
        let wanted = Wanted {
            offset,
            len,
            ahead,
            tried: look.map_or(Tried::No, |_| Tried::Yes),
        };
        self.pool.read(wanted, make).map(Reading::Waiting)
    }

    /// The bytes, if the page cache has them all.
    fn look(&self, offset: u64, len: usize) -> Result<Option<Bytes>, DiskError> {
        let mut buffer = vec![0; len];
        let cached = self.medium.read_cached(&mut buffer, offset);
        let is_there = cached.map_err(|error| self.read_failed(&error))? == len;
        Ok(is_there.then(|| self.have_read(buffer)))
    }

    fn look_and_note(&self, offset: u64, len: usize) -> Result<Option<Bytes>, DiskError> {
        let found = self.look(offset, len)?;
        self.warmth.note(found.is_some());
        Ok(found)
    }

    /// Reads on a thread of the pool.
    pub(crate) fn read_for_others(&self, wanted: Wanted) -> Result<Bytes, DiskError> {
        let Wanted {
            offset,
            len,
            ahead,
            tried,
        } = wanted;
        if ahead > 0 {
            self.medium.will_read(offset + len as u64, ahead);
        }
        if tried == Tried::No
            && let Some(bytes) = self.look_and_note(offset, len)?
        {
            return Ok(bytes);
        }
        self.read_at(offset, len)
    }

    /// Reads from a segment, on a thread that may wait.
    pub(crate) fn read_waiting(
        &self,
        life: &Life,
        at: u64,
        len: usize,
    ) -> Result<Bytes, DiskError> {
        if let Some(bytes) = self.not_yet_written(life, at, len) {
            return Ok(bytes);
        }
        self.read_segment(life.segment, at, len)
    }

    /// The same for a segment of which it is not known who lives there.
    pub(crate) fn read_segment(
        &self,
        segment: u32,
        at: u64,
        len: usize,
    ) -> Result<Bytes, DiskError> {
        self.read_at(self.geometry.offset(segment, at), len)
    }

    fn read_at(&self, offset: u64, len: usize) -> Result<Bytes, DiskError> {
        let mut buffer = vec![0; len];
        let read = self.medium.read(&mut buffer, offset);
        read.map_err(|error| self.read_failed(&error))?;
        Ok(self.have_read(buffer))
    }

    /// Waits for a read, but no longer than `patience`.
    pub(crate) async fn wait<T>(
        &self,
        answer: &mut Answer<T>,
        patience: Duration,
    ) -> Result<T, DiskError> {
        match tokio::time::timeout(patience, answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_closed)) => Err(DiskError::Offline),
            Err(_elapsed) => Err(self.given_up()),
        }
    }

    fn given_up(&self) -> DiskError {
        self.health.fault(Fault::Slow, &"given up");
        DiskError::Slow
    }

    /// Waits for another engine, but no longer than `patience`.
    pub(crate) async fn wait_elsewhere(
        &self,
        answer: &mut Elsewhere,
        patience: Duration,
    ) -> Result<Bytes, DiskError> {
        match tokio::time::timeout(patience, answer).await {
            Ok(Ok(Ok(buffer))) => Ok(self.have_read(buffer)),
            // It has forgotten it. No disk fails so.
            Ok(Ok(Err(error))) if error.kind() == ErrorKind::NotFound => {
                self.counters.forgotten.fetch_add(1, Ordering::Relaxed);
                Err(DiskError::Gone)
            }
            Ok(Ok(Err(error))) if error.kind() == ErrorKind::WouldBlock => Err(DiskError::Busy),
            Ok(Ok(Err(error))) => Err(self.read_failed(&error)),
            Ok(Err(_closed)) => Err(DiskError::Offline),
            Err(_elapsed) => Err(self.given_up()),
        }
    }

    fn not_yet_written(&self, life: &Life, at: u64, len: usize) -> Option<Bytes> {
        if at + len as u64 <= life.written() {
            return None;
        }
        self.log.lock().in_memory(life, at, len)
    }

    pub(crate) fn have_read(&self, buffer: Vec<u8>) -> Bytes {
        self.health.fine();
        let read = buffer.len() as u64;
        self.counters.bytes_read.fetch_add(read, Ordering::Relaxed);
        buffer.into()
    }

    pub(crate) fn read_failed(&self, error: &std::io::Error) -> DiskError {
        self.health.fault(Fault::Read, error);
        DiskError::Failed(error.kind())
    }

    /// Looks how much is free.
    pub(crate) fn note_free(&self, log: &Log) {
        let is_filling = 3 * log.free.len() >= self.geometry.count as usize;
        if self.is_filling.load(Ordering::Relaxed) != is_filling {
            self.is_filling.store(is_filling, Ordering::Relaxed);
        }
    }

    /// The free segments that reclaim keeps ready.
    pub(crate) fn free_min(&self) -> usize {
        (self.geometry.count as usize / 64).clamp(2, 16)
    }

    /// Leaves word for the next start that this volume must not be believed.
    pub(crate) fn mark_failed(&self) {
        let superblock = Superblock {
            geometry: self.geometry,
            nonce: self.nonce,
            next: self.numbers.next(),
            failed: true,
            engine: self.engine,
        };
        for at in SUPERBLOCKS {
            if let Err(error) = self.medium.write_durably(&superblock.encode(), at) {
                let volume = self.path.display();
                tracing::warn!(%volume, "the volume cannot be marked as failed: {error}");
            }
        }
    }

    /// The oldest life whose records a start would find.
    pub(crate) fn oldest_life(&self) -> Option<u64> {
        if self.unread.load(Ordering::Acquire) {
            return Some(0);
        }
        let leaving = self.log.lock().oldest_leaving();
        let living = self.lives.all().map(|life| life.number).min();
        leaving.into_iter().chain(living).min()
    }
}

impl std::fmt::Debug for Volume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Volume")
            .field("path", &self.path)
            .field("geometry", &self.geometry)
            .finish_non_exhaustive()
    }
}
