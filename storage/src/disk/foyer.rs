//! foyer as the keeper of bodies (<https://docs.rs/foyer>): a block cache that forgets as it likes.
//!
//! What it is used for, and not used for, follows from what it promises. It may drop a write without
//! a word, so each is read back. Deleting is neither prompt nor durable, so nothing is deleted: a
//! number that nobody asks for any more is dead. It cannot hold a body fast, nor read a part of one,
//! so each body is one entry that is read as a whole before its first byte is sent. Its reads block
//! threads of its own runtime.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use foyer::{
    BlockEngineConfig, DeviceBuilder, FsDeviceBuilder, HybridCache, HybridCacheBuilder,
    HybridCachePolicy, Load, PsyncIoEngineConfig,
};
use parking_lot::Mutex;
use rustix::fs::FallocateFlags;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::allowance::Held;
use super::bodies::{Bodies, Elsewhere, Ending};
use super::error::{DiskError, Refused};
use super::settings::Settings;

type Cache = HybridCache<u64, Bytes>;

/// The longest body: all of it is in memory while it is read.
const BODY_MAX: u64 = 4 * 1024 * 1024;

/// The bytes of a block that are not for a body: foyer's index of the block, a header, and padding.
const BLOCK_RESERVE: u64 = 16 * 1024;

/// The shortest block, and the longest: each is a file that stays open.
const BLOCK_MIN: u64 = 128 * 1024;
const BLOCK_MAX: u64 = 1024 * 1024 * 1024;

/// foyer's own memory for writes. What does not fit is dropped by it.
const WRITE_POOL: usize = 32 * 1024 * 1024;

/// Bytes that are given to foyer at once; a fraction of what it can hold.
const BATCH_MAX: usize = 8 * 1024 * 1024;

/// Entries that are given to foyer at once.
const BATCH_ENTRIES_MAX: usize = 1024;

/// How often a body is given to foyer before it counts as lost.
const ATTEMPTS: usize = 3;

/// How long foyer may take to write a batch before it is asked for what it has.
const WRITE_MAX: Duration = Duration::from_secs(10);

/// How long foyer's own end, and reads that are under way may take when everything ends.
const SHUTDOWN: Duration = Duration::from_secs(1);

/// Bodies that are not known to be on the disk.
type Pending = Mutex<HashMap<u64, (Bytes, Held)>>;

pub(crate) struct Foyer {
    cache: Cache,
    runtime: Handle,
    longest: u64,
    pending: Arc<Pending>,
    work: Mutex<Option<mpsc::UnboundedSender<u64>>>,
    lost: Arc<AtomicBool>,
    reads: Arc<Semaphore>,
    not_taken: Arc<AtomicU64>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Opens a directory of foyer's, or makes it, with all of its `size` bytes reserved.
pub(crate) fn open(dir: &Path, size: u64, settings: &Settings) -> io::Result<Arc<dyn Bodies>> {
    let block = block_for(size);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(settings.io_threads.max(1) + 1)
        .thread_name("disk-foyer")
        .enable_all()
        .build()?;
    let (handle, dir) = (runtime.handle().clone(), dir.to_path_buf());
    let (opened, opening) = std::sync::mpsc::channel();
    let (work, queue) = mpsc::unbounded_channel();
    let (pending, lost) = (
        Arc::new(Pending::default()),
        Arc::new(AtomicBool::new(false)),
    );
    let not_taken = Arc::new(AtomicU64::new(0));
    let worker = Worker {
        queue,
        pending: Arc::clone(&pending),
        lost: Arc::clone(&lost),
        not_taken: Arc::clone(&not_taken),
    };
    // Whoever opens it may be inside of another runtime, where one must not wait for this one.
    let thread = std::thread::Builder::new()
        .name("disk-foyer-write".to_owned())
        .spawn(move || worker.live(runtime, &dir, size, block, &opened))?;
    let cache = opening.recv().map_err(io::Error::other)??;
    Ok(Arc::new(Foyer {
        cache,
        runtime: handle,
        longest: BODY_MAX.min(block - BLOCK_RESERVE),
        pending,
        work: Mutex::new(Some(work)),
        lost,
        reads: Arc::new(Semaphore::new(settings.io_queue.max(1))),
        thread: Mutex::new(Some(thread)),
        not_taken,
    }))
}

/// The unit that foyer evicts: a 256th of everything, but large enough for the longest body where a
/// sixteenth is.
fn block_for(size: u64) -> u64 {
    let wanted = (size / 256).max((size / 16).min(BODY_MAX + BLOCK_RESERVE));
    wanted.clamp(BLOCK_MIN, BLOCK_MAX) / 4096 * 4096
}

async fn build(dir: &Path, size: u64, block: u64) -> io::Result<Cache> {
    let length = |bytes: u64| usize::try_from(bytes).map_err(io::Error::other);
    let device = FsDeviceBuilder::new(dir)
        .with_capacity(length(size / block * block)?)
        .build()
        .map_err(told)?;
    let engine = BlockEngineConfig::new(device)
        .with_block_size(length(block)?)
        .with_buffer_pool_size(WRITE_POOL)
        .with_submit_queue_size_threshold(2 * WRITE_POOL)
        .with_tombstone_log(false);
    // Its memory is not used: what is put goes to the disk only.
    let cache = HybridCacheBuilder::new()
        .with_name("larder")
        .with_policy(HybridCachePolicy::WriteOnInsertion)
        .with_flush_on_close(false)
        .memory(1)
        .with_shards(1)
        .storage()
        .with_io_engine_config(PsyncIoEngineConfig::new())
        .with_engine_config(engine)
        .build()
        .await
        .map_err(told)?;
    if let Err(error) = reserve(dir) {
        // What was taken in vain goes back at once.
        fs::remove_dir_all(dir)?;
        return Err(error);
    }
    Ok(cache)
}

/// Takes the room of all blocks from the file system now.
fn reserve(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path: PathBuf = entry?.path();
        let file = fs::OpenOptions::new().write(true).open(path)?;
        let len = file.metadata()?.len();
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, len.max(1)) {
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn told(error: foyer::Error) -> io::Error {
    io::Error::other(error.to_string())
}

async fn load(cache: &Cache, id: u64) -> io::Result<Vec<u8>> {
    match cache.storage().load(&id).await.map_err(told)? {
        Load::Entry { value, .. } => Ok(value.into()),
        Load::Piece { piece, .. } => Ok(piece.value().to_vec()),
        Load::Throttled => Err(io::ErrorKind::WouldBlock.into()),
        Load::Miss => Err(io::ErrorKind::NotFound.into()),
    }
}

/// The thread that gives bodies to foyer.
struct Worker {
    queue: mpsc::UnboundedReceiver<u64>,
    pending: Arc<Pending>,
    lost: Arc<AtomicBool>,
    /// Bodies so far that foyer did not take.
    not_taken: Arc<AtomicU64>,
}

impl Worker {
    fn live(
        mut self,
        runtime: Runtime,
        dir: &Path,
        size: u64,
        block: u64,
        opened: &std::sync::mpsc::Sender<io::Result<Cache>>,
    ) {
        runtime.block_on(async {
            let cache = match build(dir, size, block).await {
                Ok(cache) => cache,
                // Nobody waits any more if this fails.
                Err(error) => return opened.send(Err(error)).unwrap_or_default(),
            };
            if opened.send(Ok(cache.clone())).is_err() {
                return;
            }
            self.work(&cache).await;
            if self.lost.load(Ordering::Acquire) {
                return;
            }
            // It has been seen to wait for ever here, and all that matters has been read back.
            match timeout(SHUTDOWN, cache.close()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!("foyer did not end in order: {error}"),
                Err(_elapsed) => tracing::debug!("foyer did not end in time"),
            }
        });
        runtime.shutdown_timeout(SHUTDOWN);
    }

    async fn work(&mut self, cache: &Cache) {
        while let Some(first) = self.queue.recv().await {
            let batch = self.batch(first);
            if self.lost.load(Ordering::Acquire) {
                return;
            }
            let unconfirmed = write(cache, batch).await;
            self.tell_lost(unconfirmed as u64);
        }
    }

    /// Bodies that foyer does not answer with after all attempts: misses from now on.
    fn tell_lost(&self, bodies: u64) {
        let before = self.not_taken.fetch_add(bodies, Ordering::Relaxed);
        let bodies = before + bodies;
        // At the 1st, the 2nd, the 4th, the 8th …: as faults of a volume are told.
        if bodies.checked_ilog2() != before.checked_ilog2() {
            tracing::warn!(bodies, "foyer did not take bodies: they are misses");
        }
    }

    /// What is to be written together. It stays pending until that is done.
    fn batch(&mut self, first: u64) -> Vec<Unwritten> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(id) = next {
            if let Some((body, _)) = self.pending.lock().get(&id) {
                bytes += body.len();
                batch.push(Unwritten {
                    id,
                    body: body.clone(),
                    pending: Arc::clone(&self.pending),
                });
            }
            let has_room = bytes < BATCH_MAX && batch.len() < BATCH_ENTRIES_MAX;
            next = has_room.then(|| self.queue.try_recv().ok()).flatten();
        }
        batch
    }
}

/// A body that foyer is to take. When this is dropped, it is foyer's alone.
struct Unwritten {
    id: u64,
    body: Bytes,
    pending: Arc<Pending>,
}

impl Drop for Unwritten {
    fn drop(&mut self) {
        self.pending.lock().remove(&self.id);
    }
}

/// Gives bodies to foyer until it answers with them. How many it did not take.
async fn write(cache: &Cache, mut batch: Vec<Unwritten>) -> usize {
    for _ in 0..ATTEMPTS {
        for one in &batch {
            drop(
                cache
                    .storage_writer(one.id)
                    .force()
                    .insert(one.body.clone()),
            );
        }
        if timeout(WRITE_MAX, cache.storage().wait()).await.is_err() {
            // What is not there is found out below.
            tracing::warn!("foyer has not written in time");
        }
        let mut missing = Vec::new();
        for one in batch {
            if load(cache, one.id).await.is_ok_and(|read| read == one.body) {
                continue;
            }
            missing.push(one);
        }
        batch = missing;
        if batch.is_empty() {
            return 0;
        }
    }
    batch.len()
}

impl Bodies for Foyer {
    fn longest(&self) -> u64 {
        self.longest
    }

    fn put(&self, id: u64, body: Bytes, held: Held) -> Result<(), Refused> {
        let work = self.work.lock();
        let work = work.as_ref().ok_or(Refused::Offline)?;
        self.pending.lock().insert(id, (body, held));
        if work.send(id).is_err() {
            self.pending.lock().remove(&id);
            return Err(Refused::Offline);
        }
        Ok(())
    }

    fn get(&self, id: u64) -> Result<Elsewhere, DiskError> {
        let (answer, receiver) = oneshot::channel();
        let pending = self.pending.lock().get(&id).map(|(body, _)| body.to_vec());
        if let Some(body) = pending {
            // Whoever asked is still here.
            answer.send(Ok(body)).unwrap_or_default();
            return Ok(receiver);
        }
        let reads = Arc::clone(&self.reads);
        let Ok(permit) = reads.try_acquire_owned() else {
            return Err(DiskError::Busy);
        };
        let cache = self.cache.clone();
        self.runtime.spawn(async move {
            let read = load(&cache, id).await;
            drop(permit);
            // An answer comes back if whoever asked has gone.
            drop(answer.send(read));
        });
        Ok(receiver)
    }

    fn bytes_written(&self) -> u64 {
        let written = self.cache.storage().statistics().disk_write_bytes();
        u64::try_from(written).unwrap_or(u64::MAX)
    }

    fn close(&self, how: Ending) {
        self.lost.fetch_or(how == Ending::Lost, Ordering::AcqRel);
        drop(self.work.lock().take());
    }

    fn thread(&self) -> Option<JoinHandle<()>> {
        self.thread.lock().take()
    }

    fn lost(&self) -> u64 {
        self.not_taken.load(Ordering::Relaxed)
    }

    fn bytes_unwritten(&self) -> u64 {
        let pending = self.pending.lock();
        pending.values().map(|(body, _)| body.len() as u64).sum()
    }
}
