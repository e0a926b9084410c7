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
        let traces = (volume / bytes_per_trace.max(1)).clamp(64, 1 << 26);
        Self {
            traces: (0..traces).map(|_| AtomicU32::new(0)).collect(),
        }
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
