//! Threads that wait for a disk, so that no other thread has to.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::error::DiskError;
use super::medium::Medium;

/// The answer to a read: its bytes.
pub(crate) type Answer = oneshot::Receiver<io::Result<Vec<u8>>>;

struct Read {
    buffer: Vec<u8>,
    offset: u64,
    /// Bytes behind it that will be asked for next.
    ahead: u64,
    answer: oneshot::Sender<io::Result<Vec<u8>>>,
}

/// Reads that wait for a thread.
#[derive(Default)]
struct Queue {
    reads: VecDeque<Read>,
    closed: bool,
}

/// The queue of one volume. Its threads end when it is closed.
pub(crate) struct Pool {
    medium: Arc<dyn Medium>,
    queue: Mutex<Queue>,
    more: Condvar,
    queue_max: usize,
}

impl Pool {
    pub(crate) fn new(medium: Arc<dyn Medium>, queue_max: usize) -> Self {
        Self {
            medium,
            queue: Mutex::default(),
            more: Condvar::new(),
            queue_max,
        }
    }

    /// Asks for as many bytes as `buffer` is long, and has so many behind them brought to the page cache.
    pub(crate) fn read(
        &self,
        buffer: Vec<u8>,
        offset: u64,
        ahead: u64,
    ) -> Result<Answer, DiskError> {
        let (answer, receiver) = oneshot::channel();
        let mut queue = self.queue.lock();
        if queue.closed {
            return Err(DiskError::Offline);
        }
        if queue.reads.len() >= self.queue_max {
            return Err(DiskError::Busy);
        }
        queue.reads.push_back(Read {
            buffer,
            offset,
            ahead,
            answer,
        });
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
    pub(crate) fn serve(&self) {
        while let Some(mut read) = self.next() {
            if read.answer.is_closed() {
                continue;
            }
            if read.ahead > 0 {
                let behind = read.offset + read.buffer.len() as u64;
                self.medium.will_read(behind, read.ahead);
            }
            let outcome = self.medium.read(&mut read.buffer, read.offset);
            // An answer comes back if whoever asked has gone.
            drop(read.answer.send(outcome.map(|()| read.buffer)));
        }
    }

    fn next(&self) -> Option<Read> {
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
