//! The reading end of a body, and what it shares with the writing end.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, watch};

use super::Cut;
use super::progress::{Next, Progress};
use crate::disk::TrailReader;
use crate::{Derived, Head, Key, Variant};

/// What the writer and the readers of one body share. The lock is held for a few pointers at a
/// time, never for a copy, an eviction or a wait.
pub(super) struct Shared<H: Head> {
    pub(super) name: (Key, Variant),
    pub(super) head: Arc<H>,
    pub(super) announced: Option<u64>,
    /// What is made of the body while it comes in, and stays with it.
    pub(super) derived: Arc<Derived<H>>,
    progress: Mutex<Progress>,
    /// Wakes the readers.
    changed: watch::Sender<()>,
    /// Wakes the writer.
    pub(super) room: Notify,
}

impl<H: Head> Shared<H> {
    pub(super) fn new(name: (Key, Variant), head: H, announced: Option<u64>) -> Arc<Self> {
        Arc::new(Self {
            name,
            head: Arc::new(head),
            announced,
            derived: Derived::none(),
            progress: Mutex::new(Progress::new(announced)),
            changed: watch::Sender::new(()),
            room: Notify::new(),
        })
    }

    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock()
    }

    /// Changes the progress and wakes the readers.
    pub(super) fn change(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.progress());
        self.changed.send_replace(());
    }
}

/// The reading end of a body. A clone starts at the first byte.
///
/// The head is known from the beginning. A reader of a body that no tier takes has to keep up: see
/// [`Settings::window`](crate::Settings::window).
pub struct Reader<H: Head> {
    shared: Arc<Shared<H>>,
    changed: watch::Receiver<()>,
    at: u64,
    /// While it is behind what memory keeps.
    behind: Option<TrailReader>,
    /// Whether the writer takes this reader into account.
    seated: AtomicBool,
}

impl<H: Head> Reader<H> {
    pub(super) fn join(shared: &Arc<Shared<H>>) -> Self {
        Self {
            changed: shared.changed.subscribe(),
            seated: AtomicBool::new(shared.progress().enter()),
            shared: Arc::clone(shared),
            at: 0,
            behind: None,
        }
    }

    /// The head of the response.
    pub fn head(&self) -> &Arc<H> {
        &self.shared.head
    }

    /// The key it is filled under.
    pub fn key(&self) -> Key {
        self.shared.name.0
    }

    /// Which variant of its key.
    pub fn variant(&self) -> Variant {
        self.shared.name.1
    }

    /// What is made of the body.
    pub fn derived(&self) -> &Arc<Derived<H>> {
        &self.shared.derived
    }

    /// The length of the body, if it was announced.
    pub fn announced(&self) -> Option<u64> {
        self.shared.announced
    }

    /// The length of the body, once it is complete.
    pub fn complete_len(&self) -> Option<u64> {
        self.shared.progress().complete_len()
    }

    /// The next bytes; none at the end. Cancel-safe: a dropped future takes nothing with it.
    ///
    /// # Errors
    ///
    /// If the rest will not come: the body is incomplete, and must not look complete to anyone.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Cut> {
        loop {
            // What changes from here on will wake us.
            self.changed.mark_unchanged();
            match self.look() {
                Next::Piece(bytes) => {
                    self.behind = None;
                    return Ok(Some(bytes));
                }
                Next::Behind { until } => return self.catch_up(until).await.map(Some),
                Next::End => return Ok(None),
                Next::Cut(cut) => return Err(cut),
                Next::Wait => {}
            }
            if self.changed.changed().await.is_err() {
                return Err(Cut::GivenUp);
            }
        }
    }

    /// The next bytes, where they are in memory by now.
    pub fn more(&mut self) -> Option<Bytes> {
        match self.look() {
            Next::Piece(bytes) => {
                self.behind = None;
                Some(bytes)
            }
            Next::Behind { .. } | Next::End | Next::Cut(_) | Next::Wait => None,
        }
    }

    /// Goes on with the byte at `at`, which is not behind what was read already: what comes before it is not wanted.
    pub fn skip_to(&mut self, at: u64) {
        if at > self.at {
            self.behind = None;
            self.shared.progress().pass(&mut self.at, at);
            self.shared.room.notify_one();
        }
    }

    /// Bytes of the body that have arrived so far.
    pub fn arrived(&self) -> u64 {
        self.shared.progress().end()
    }

    /// Reads what memory has let go of from the disk that it goes to.
    async fn catch_up(&mut self, until: u64) -> Result<Bytes, Cut> {
        if self.behind.is_none() {
            let trail = self.shared.progress().trail().map(TrailReader::new);
            self.behind = trail;
        }
        let behind = self.behind.as_mut().ok_or(Cut::Lagged)?;
        let read = behind.read(self.at).await;
        let mut bytes = read.map_err(|error| {
            tracing::debug!(%error, at = self.at, "a body that was late cannot be read");
            Cut::Disk
        })?;
        let wanted = usize::try_from(until - self.at).unwrap_or(usize::MAX);
        bytes.truncate(wanted);
        let to = self.at + bytes.len() as u64;
        self.shared.progress().pass(&mut self.at, to);
        Ok(bytes)
    }

    fn look(&mut self) -> Next {
        let next = self.shared.progress().next(&mut self.at);
        if let Next::Piece(_) = next {
            self.shared.room.notify_one();
        }
        next
    }

    /// Whether one that joins now can read everything.
    pub(crate) fn is_joinable(&self) -> bool {
        self.shared.progress().is_open_from_start()
    }

    /// Whether it was let in at the first byte.
    pub(crate) fn is_seated(&self) -> bool {
        self.seated.load(Ordering::Relaxed)
    }

    /// How many read this body.
    pub(crate) fn readers(&self) -> usize {
        self.shared.progress().readers()
    }

    /// Stays only to be cloned: the writer no longer takes it into account.
    pub(crate) fn park(&self) {
        if self.seated.swap(false, Ordering::Relaxed) {
            self.shared.progress().leave(self.at);
            self.shared.room.notify_one();
        }
    }
}

impl<H: Head> Clone for Reader<H> {
    fn clone(&self) -> Self {
        Self::join(&self.shared)
    }
}

impl<H: Head> Drop for Reader<H> {
    fn drop(&mut self) {
        self.park();
    }
}

impl<H: Head> fmt::Debug for Reader<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("key", &self.shared.name.0)
            .field("variant", &self.shared.name.1)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}
