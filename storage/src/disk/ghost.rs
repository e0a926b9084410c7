//! Whom the disk has forgotten lately.

use std::sync::atomic::{AtomicU32, Ordering};

use super::index::scale;

/// Traces of keys, in fixed room. A trace goes when another key needs its place.
#[derive(Debug)]
pub(crate) struct Ghost {
    traces: Box<[AtomicU32]>,
}

impl Ghost {
    /// With a trace for this many bytes of a volume.
    pub(crate) fn new(volume: u64, bytes_per_trace: u64) -> Self {
        Self {
            traces: (0..Self::places(volume, bytes_per_trace))
                .map(|_| AtomicU32::new(0))
                .collect(),
        }
    }

    /// How many there is room for. With as many others since, one of three is still remembered.
    pub(crate) fn places(volume: u64, bytes_per_trace: u64) -> u64 {
        (volume / bytes_per_trace.max(1)).clamp(64, 1 << 26)
    }

    pub(crate) fn remember(&self, tag: u64) {
        self.slot(tag).store(trace(tag), Ordering::Relaxed);
    }

    pub(crate) fn remembers(&self, tag: u64) -> bool {
        self.slot(tag).load(Ordering::Relaxed) == trace(tag)
    }

    fn slot(&self, tag: u64) -> &AtomicU32 {
        &self.traces[scale(tag, self.traces.len())]
    }
}

/// The low half of the tag, since the high half is the place; never 0.
fn trace(tag: u64) -> u32 {
    (tag & 0xffff_ffff) as u32 | 1
}
