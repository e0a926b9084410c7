//! Threads that wait for a disk, so that no other thread has to.
//!
//! They do there, too, what has to be done with every byte that was read: they check it, while it is in the caches of their
//! processor. Whoever asked gets what was made of it.

use std::collections::VecDeque;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::error::DiskError;
use super::volume::Volume;

/// The answer to a read: what was made of its bytes.
pub(crate) type Answer<T> = oneshot::Receiver<Result<T, DiskError>>;

/// Which bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) offset: u64,
    pub(crate) len: usize,
    /// Bytes behind them that will be asked for next.
    pub(crate) ahead: u64,
    /// Whether the page cache has been asked for them.
    pub(crate) tried: Tried,
}

/// Whether somebody has looked into the page cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tried {
    No,
    Yes,
}

/// Who waits for a read, and what is to be made of it.
trait Job: Send {
    fn is_wanted(&self) -> bool;
    fn end(self: Box<Self>, volume: &Volume, read: Result<Bytes, DiskError>);
}

struct Asked<T, F> {
    make: F,
    answer: oneshot::Sender<Result<T, DiskError>>,
}

impl<T, F> Job for Asked<T, F>
where
    T: Send,
    F: FnOnce(&Volume, Bytes) -> Result<T, DiskError> + Send,
{
    fn is_wanted(&self) -> bool {
        !self.answer.is_closed()
    }

    fn end(self: Box<Self>, volume: &Volume, read: Result<Bytes, DiskError>) {
        let Self { make, answer } = *self;
        // An answer comes back if whoever asked has gone.
        drop(answer.send(read.and_then(|bytes| make(volume, bytes))));
    }
}

/// Reads that wait for a thread.
#[derive(Default)]
struct Queue {
    reads: VecDeque<(Wanted, Box<dyn Job>)>,
    closed: bool,
}

/// The queue of one volume. Its threads end when it is closed.
pub(crate) struct Pool {
    queue: Mutex<Queue>,
    more: Condvar,
    queue_max: usize,
}

impl Pool {
    pub(crate) fn new(queue_max: usize) -> Self {
        Self {
            queue: Mutex::default(),
            more: Condvar::new(),
            queue_max,
        }
    }

    /// Asks for bytes, and for what `make` makes of them.
    pub(crate) fn read<T: Send + 'static>(
        &self,
        wanted: Wanted,
        make: impl FnOnce(&Volume, Bytes) -> Result<T, DiskError> + Send + 'static,
    ) -> Result<Answer<T>, DiskError> {
        let (answer, receiver) = oneshot::channel();
        let mut queue = self.queue.lock();
        if queue.closed {
            return Err(DiskError::Offline);
        }
        if queue.reads.len() >= self.queue_max {
            return Err(DiskError::Busy);
        }
        let job = Box::new(Asked { make, answer });
        queue.reads.push_back((wanted, job));
        drop(queue);
        self.more.notify_one();
        Ok(receiver)
    }

    /// What waits is answered with an error; the threads end.
    pub(crate) fn close(&self) {
        let mut queue = self.queue.lock();
        queue.closed = true;
        queue.reads.clear();
        drop(queue);
        self.more.notify_all();
    }

    /// The life of one of the threads.
    pub(crate) fn serve(&self, volume: &Volume) {
        while let Some((wanted, job)) = self.next() {
            if job.is_wanted() {
                job.end(volume, volume.read_for_others(wanted));
            }
        }
    }

    fn next(&self) -> Option<(Wanted, Box<dyn Job>)> {
        let mut queue = self.queue.lock();
        loop {
            if let Some(read) = queue.reads.pop_front() {
                return Some(read);
            }
            if queue.closed {
                return None;
            }
            self.more.wait(&mut queue);
        }
    }
}
