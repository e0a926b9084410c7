//! How a volume is doing, and when it has done badly too often.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// A read failed.
    Read,
    /// A write failed.
    Write,
    /// A removal could not be made durable.
    Removal,
    /// A checksum did not match.
    Damaged,
    /// A read was not answered in time.
    Slow,
}

const FAULTS: usize = 5;

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Self::Read => "a read failed",
            Self::Write => "a write failed",
            Self::Removal => "a removal could not be made durable",
            Self::Damaged => "stored bytes are damaged",
            Self::Slow => "a read was not answered in time",
        }
    }

    /// What it adds to the score. Damage is an object's, not the device's, unless there is a lot.
    fn weight(self) -> u32 {
        match self {
            Self::Read | Self::Write | Self::Removal => 16,
            Self::Slow => 8,
            Self::Damaged => 2,
        }
    }
}

/// The score that a volume is taken out at: eight failures with no success between. Each success
/// takes one off, so that a device that fails every hundredth time stays in.
const SCORE_MAX: u32 = 128;

#[derive(Debug)]
pub(crate) struct Health {
    path: PathBuf,
    score: AtomicU32,
    counts: [AtomicU64; FAULTS],
    offline: AtomicBool,
}

impl Health {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            score: AtomicU32::new(0),
            counts: Default::default(),
            offline: AtomicBool::new(false),
        }
    }

    pub(crate) fn is_offline(&self) -> bool {
        self.offline.load(Ordering::Acquire)
    }

    pub(crate) fn count(&self, fault: Fault) -> u64 {
        self.counts[fault as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn fine(&self) {
        if self.score.load(Ordering::Relaxed) > 0 {
            let less = |score: u32| score.checked_sub(1);
            // Zero already is as fine as it gets.
            self.score
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
                .unwrap_or_default();
        }
    }

    pub(crate) fn fault(&self, fault: Fault, detail: &dyn fmt::Display) {
        let count = self.counts[fault as usize].fetch_add(1, Ordering::Relaxed) + 1;
        // The 1st, 2nd, 4th, 8th …: a failing disk must not fill the log on another one.
        if count.is_power_of_two() {
            let (volume, what) = (self.path.display(), fault.name());
            tracing::warn!(%volume, count, "{what}: {detail}");
        }
        let score = self.score.fetch_add(fault.weight(), Ordering::Relaxed) + fault.weight();
        if score >= SCORE_MAX && !self.offline.swap(true, Ordering::AcqRel) {
            let volume = self.path.display();
            tracing::error!(%volume, "the volume failed too often and is taken out");
        }
    }
}
