//! Long bodies in memory that lasts, of which sockets can be given the pages.
//!
//! A socket that is given pages instead of a copy of their bytes looks at them later: when the client takes them, and
//! when it has lost some. Memory of the heap is another's by then, as soon as its last owner has let go of it. What is
//! here has a mapping of its own, which is written once, before anybody sees it, and taken down when nobody has a handle
//! to it. The pages are never written again: who refers to them, the kernel included, has what they were.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::{Buf, Bytes};
use memmap2::{MmapMut, MmapOptions};
use parking_lot::Mutex;

use super::budget::{Charge, PIECE_OVERHEAD};
use super::pieces::Kept;
use super::{Body, Memory};
use crate::Head;

/// Shorter bodies are not worth pages of their own.
pub(super) const LONG_MIN: usize = 128 * 1024;

/// Longer ones are taken down in one go, which takes a while.
const LASTING_MAX: usize = 64 * 1024 * 1024;

/// No body whose second copy, while it is made, takes more than this part of the capacity.
const LASTING_PART: usize = 16;

/// Mappings at once. A process may have 65,530 of any kind, unless the system says otherwise.
const MAPPINGS_MAX: usize = 16 * 1024;

/// A body is worth it when it is sent for this time.
const WORTH_AFTER: u32 = 2;

/// Where there was no room, it is asked for again after so many times.
const AGAIN_AFTER: u32 = 64;

/// What the system gives memory in.
const PAGE: usize = 4 * 1024;

/// Bytes in pages that are never written again, whatever becomes of every handle to them.
#[derive(Clone)]
pub struct Lasting(Bytes);

/// A mapping, and what it was paid with.
struct Pages {
    map: MmapMut,
    charge: Charge,
    mappings: Arc<Mappings>,
}

/// The mappings of one memory.
#[derive(Debug, Default)]
pub(super) struct Mappings {
    count: AtomicUsize,
    bytes: AtomicUsize,
    /// One body is copied at a time: it is there twice meanwhile.
    busy: AtomicBool,
}

/// A body that is long enough to be worth pages of its own once it is sent often.
#[derive(Debug)]
pub(super) struct Long {
    kept: Mutex<Kept>,
    heap_cost: usize,
    lasting: OnceLock<Lasting>,
    /// How many times it is still to be sent before it is worth it.
    left: AtomicU32,
}

/// What the budget pays for so many bytes that last.
pub(super) fn cost(len: usize) -> usize {
    let pages = len.checked_next_multiple_of(PAGE).unwrap_or(usize::MAX);
    pages.saturating_add(PIECE_OVERHEAD)
}

impl Lasting {
    fn copy_of(kept: &Kept, len: usize, pages: Charge, in_all: &Arc<Mappings>) -> Option<Self> {
        let bytes = pages.bytes();
        let mut pages = Pages {
            map: MmapOptions::new().len(len).populate().map_anon().ok()?,
            charge: pages,
            mappings: Arc::clone(in_all),
        };
        in_all.count.fetch_add(1, Ordering::Relaxed);
        in_all.bytes.fetch_add(bytes, Ordering::Relaxed);
        let mut rest = &mut pages.map[..];
        for piece in kept.clone().slice(0..len as u64) {
            let (to, behind) = rest.split_at_mut_checked(piece.len())?;
            to.copy_from_slice(&piece);
            rest = behind;
        }
        rest.is_empty().then(|| Self(Bytes::from_owner(pages)))
    }

    /// The length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The bytes, in pieces as long as those of other bodies.
    pub fn pieces(self) -> impl Iterator<Item = Bytes> + Send {
        let all = 0..self.len() as u64;
        Kept::Lasting(self).slice(all)
    }

    /// Takes off the first `count` bytes, at most all.
    pub fn advance(&mut self, count: usize) {
        self.0.advance(count.min(self.0.len()));
    }

    /// The part in `range`; what lies beyond the end is left out.
    fn within(&self, range: Range<u64>) -> Self {
        let place = |at| usize::try_from(at).unwrap_or(usize::MAX).min(self.len());
        let (start, end) = (place(range.start), place(range.end));
        Self(self.0.slice(start..end.max(start)))
    }
}

impl AsRef<[u8]> for Pages {
    fn as_ref(&self) -> &[u8] {
        &self.map
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.mappings.count.fetch_sub(1, Ordering::Relaxed);
        let bytes = self.charge.bytes();
        self.mappings.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Mappings {
    /// Bytes charged for all of them.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// A turn to make another one, if it is nobody else's.
    fn turn(self: &Arc<Self>) -> Option<Turn> {
        let free = self.count.load(Ordering::Relaxed) < MAPPINGS_MAX
            && !self.busy.swap(true, Ordering::Acquire);
        free.then(|| Turn(Arc::clone(self)))
    }
}

/// The turn of who makes a mapping.
struct Turn(Arc<Mappings>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Release);
    }
}

impl Long {
    pub(super) fn new(kept: Kept) -> Self {
        Self {
            heap_cost: kept.cost(),
            kept: Mutex::new(kept),
            lasting: OnceLock::new(),
            left: AtomicU32::new(WORTH_AFTER),
        }
    }

    pub(super) fn kept(&self) -> Kept {
        match self.lasting.get() {
            Some(lasting) => Kept::Lasting(lasting.clone()),
            None => self.kept.lock().clone(),
        }
    }

    pub(super) fn cost(&self) -> usize {
        let lasting = self.lasting.get();
        lasting.map_or(self.heap_cost, |lasting| cost(lasting.len()))
    }

    pub(super) fn lasting(&self, range: Range<u64>) -> Option<Lasting> {
        Some(self.lasting.get()?.within(range))
    }

    /// Counts a time that it is sent. Whether it is worth it.
    fn count(&self) -> bool {
        let step = |left: u32| left.checked_sub(1);
        let counted = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
        counted == Ok(1)
    }

    /// Keeps it so from now on. What was read of it before stays as it is.
    fn settle(&self, lasting: Lasting) {
        let before = std::mem::replace(&mut *self.kept.lock(), Kept::Lasting(lasting.clone()));
        self.lasting.set(lasting).unwrap_or_default();
        drop(before);
    }
}

impl<H: Head> Memory<H> {
    /// Notes that a long body is sent to somebody who could be given its pages. Soon it has some: they are made by a
    /// thread of their own, on the runtime that this is called on, if there is room for two copies of it meanwhile.
    pub fn sends(self: &Arc<Self>, body: &Body) {
        let Some(long) = body.long().filter(|long| long.count()) else {
            return;
        };
        let len = usize::try_from(body.len()).unwrap_or(usize::MAX);
        if len > LASTING_MAX.min(self.settings.capacity / LASTING_PART) {
            return;
        }
        let Some(turn) = self.mappings.turn() else {
            long.left.store(1, Ordering::Relaxed);
            return;
        };
        let (memory, long) = (Arc::clone(self), Arc::clone(long));
        tokio::task::spawn_blocking(move || {
            memory.make_last(&long, len);
            drop(turn);
        });
    }

    /// Gives a body pages of its own in the place of what it is kept in, if there is room.
    fn make_last(self: &Arc<Self>, long: &Long, len: usize) {
        let copied = self
            .charge(cost(len))
            .and_then(|pages| Lasting::copy_of(&long.kept(), len, pages, &self.mappings));
        match copied {
            Some(lasting) => long.settle(lasting),
            None => long.left.store(AGAIN_AFTER, Ordering::Relaxed),
        }
    }
}

impl fmt::Debug for Lasting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lasting").field("len", &self.len()).finish()
    }
}

#[cfg(test)]
#[path = "lasting_tests.rs"]
mod tests;
