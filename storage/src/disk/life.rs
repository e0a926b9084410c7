//! One use of a segment, from its first record to its reclaim.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use std::sync::Arc;

use super::format::Stream;
use crate::Variant;

/// Whoever holds one reads from its segment: it is not written over before the last one lets go.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) number: u64,
    pub(crate) segment: u32,
    pub(crate) stream: Stream,
    last: AtomicU64,
    written: AtomicU64,
    classes: RwLock<Vec<Class>>,
}

/// What many records of a segment have in common, kept once for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Class {
    pub(crate) variant: Variant,
    pub(crate) born: u64,
}

impl Life {
    pub(crate) fn new(number: u64, segment: u32, stream: Stream) -> Self {
        Self {
            number,
            segment,
            stream,
            last: AtomicU64::new(number),
            written: AtomicU64::new(0),
            classes: RwLock::default(),
        }
    }

    /// The number of its last record.
    pub(crate) fn last(&self) -> u64 {
        self.last.load(Ordering::Acquire)
    }

    pub(crate) fn reached(&self, number: u64) {
        self.last.fetch_max(number, Ordering::AcqRel);
    }

    /// Up to where the file has its bytes.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    pub(crate) fn has_written(&self, until: u64) {
        self.written.fetch_max(until, Ordering::AcqRel);
    }

    pub(crate) fn class(&self, class: u32) -> Option<Class> {
        self.classes.read().get(class as usize).copied()
    }

    pub(crate) fn add_class(&self, class: Class) -> u32 {
        let mut classes = self.classes.write();
        classes.push(class);
        u32::try_from(classes.len() - 1).unwrap_or(u32::MAX)
    }

    /// No class is added any more.
    pub(crate) fn finished(&self) {
        self.classes.write().shrink_to_fit();
    }

    pub(crate) fn memory(&self) -> usize {
        size_of::<Self>() + self.classes.read().capacity() * size_of::<Class>()
    }
}

/// Who lives in which segment.
#[derive(Debug)]
pub(crate) struct Lives(Box<[Mutex<Option<Arc<Life>>>]>);

impl Lives {
    pub(crate) fn new(segments: u32) -> Self {
        Self((0..segments).map(|_| Mutex::default()).collect())
    }

    /// Who lives there now. The segment stays as it is while the answer is held.
    pub(crate) fn pin(&self, segment: u32) -> Option<Arc<Life>> {
        self.0.get(segment as usize)?.lock().clone()
    }

    /// The same, if it is this one.
    pub(crate) fn pin_life(&self, segment: u32, number: u64) -> Option<Arc<Life>> {
        self.pin(segment).filter(|life| life.number == number)
    }

    /// Whether it has not ended.
    pub(crate) fn has(&self, life: &Arc<Life>) -> bool {
        let slot = self.0.get(life.segment as usize);
        slot.is_some_and(|slot| {
            slot.lock()
                .as_ref()
                .is_some_and(|other| Arc::ptr_eq(other, life))
        })
    }

    pub(crate) fn begin(&self, life: &Arc<Life>) {
        if let Some(slot) = self.0.get(life.segment as usize) {
            *slot.lock() = Some(Arc::clone(life));
        }
    }

    /// Nobody finds it any more; who holds it goes on.
    pub(crate) fn end(&self, segment: u32) -> Option<Arc<Life>> {
        self.0.get(segment as usize)?.lock().take()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = Arc<Life>> + '_ {
        self.0.iter().filter_map(|slot| slot.lock().clone())
    }
}
