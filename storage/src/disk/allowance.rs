//! Memory for what is on its way to the disks: a bounded sum, and the buffers that it pays for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use memmap2::MmapMut;
use parking_lot::Mutex;

/// The bytes that all writes together may hold.
#[derive(Debug)]
pub(crate) struct Allowance {
    max: usize,
    used: AtomicUsize,
}

impl Allowance {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            used: AtomicUsize::new(0),
        })
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|used| *used <= self.max)
            })
            .is_ok()
    }
}

/// A part of the allowance. It goes back when this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    of: Arc<Allowance>,
    bytes: usize,
}

impl Held {
    pub(crate) fn none(of: &Arc<Allowance>) -> Self {
        Self {
            of: Arc::clone(of),
            bytes: 0,
        }
    }

    /// Holds `bytes` more; false if there are none.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let taken = self.of.take(bytes);
        if taken {
            self.bytes += bytes;
        }
        taken
    }

    pub(crate) fn release(&mut self) {
        self.of.used.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = 0;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release();
    }
}

/// Buffers of one length, whole pages, used again and again.
#[derive(Debug)]
pub(crate) struct Buffers {
    allowance: Arc<Allowance>,
    len: usize,
    spare: Mutex<Vec<MmapMut>>,
}

/// Buffers kept for the next need. A new one costs a page fault for each of its pages.
const SPARE_MAX: usize = 8;

impl Buffers {
    pub(crate) fn new(allowance: &Arc<Allowance>, len: usize) -> Arc<Self> {
        Arc::new(Self {
            allowance: Arc::clone(allowance),
            len,
            spare: Mutex::default(),
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// None if the allowance is used up.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Buffer> {
        let mut held = Held::none(&self.allowance);
        if !held.grow(self.len) {
            return None;
        }
        let spare = self.spare.lock().pop();
        let map = spare.or_else(|| MmapMut::map_anon(self.len).ok())?;
        Some(Buffer {
            map: Some(map),
            home: Arc::clone(self),
            _held: held,
        })
    }
}

/// Memory outside of the heap, page by page, for one large write.
#[derive(Debug)]
pub(crate) struct Buffer {
    map: Option<MmapMut>,
    home: Arc<Buffers>,
    _held: Held,
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        self.map.as_deref_mut().unwrap_or_default()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut spare = self.home.spare.lock();
        if spare.len() < SPARE_MAX {
            spare.extend(self.map.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_never_hold_more_than_the_allowance() {
        let allowance = Allowance::new(10_000);
        let buffers = Buffers::new(&allowance, 4096);
        let first = buffers.take().unwrap();
        let second = buffers.take().unwrap();
        assert!(buffers.take().is_none());

        drop(first);
        assert!(buffers.take().is_some(), "returned at once");
        drop(second);
        assert_eq!(allowance.used(), 0);
    }
}
