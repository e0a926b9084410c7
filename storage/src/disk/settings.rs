//! What an operator decides about the disk tier, and the limits of everything in it.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// The settings of a [`Disk`](super::Disk).
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the bytes are kept. A key has one home among them.
    pub volumes: Vec<VolumeSettings>,
    /// The unit of reclaim, in bytes: objects leave a volume a segment at a time.
    pub segment: u64,
    /// Bytes of memory for everything that is on its way to the disks. What does not fit is refused.
    pub write_buffer: usize,
    /// The longest body that is stored, in bytes.
    pub object_max: u64,
    /// The most variants of one key; the one stored longest ago makes room.
    pub variants_max: usize,
    /// Threads per volume that read what is not in the page cache.
    pub io_threads: usize,
    /// The most reads per volume that wait for such a thread. Further ones are a miss at once.
    pub io_queue: usize,
    /// How long a reader waits for the disk before it takes the object for lost.
    pub patience: Duration,
    /// How long a clean stop waits for the disks.
    pub close_max: Duration,
    /// Threads per volume that read the index back at start.
    pub recovery_threads: usize,
    /// The share of a full volume, in percent, that objects get before they must have been asked
    /// for again.
    pub fresh_percent: u32,
    /// The most bytes kept when a segment is reclaimed, in percent of the segment.
    pub kept_percent: u32,
    /// Bytes of the disks for which the key of one object is remembered that was asked for lately, and half of one that
    /// was forgotten: less than what an object takes.
    pub bytes_per_trace: u64,
    /// Time since any fixed moment. The crate reads no clock of its own.
    pub monotonic: fn() -> Duration,
}

/// One volume: a file that is as large as it will ever be from the beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeSettings {
    /// The file, or an existing directory to keep it in.
    pub path: PathBuf,
    /// Bytes that it takes from the file system, exactly.
    pub size: u64,
    /// What keeps the bodies.
    pub engine: Engine,
}

/// What keeps the bodies of a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Engine {
    /// The log that keeps everything else.
    #[default]
    Log,
    /// foyer, in a directory beside the log. It takes bodies up to 4 MiB, reads them as a whole, and
    /// evicts in an order of its own. The crate's feature `foyer` builds it in.
    Foyer,
}

/// The share of a volume that the log gets where another engine keeps the bodies.
const LOG_SHARE: u64 = 8;

impl VolumeSettings {
    /// A volume of the default engine.
    pub fn new(path: PathBuf, size: u64) -> Self {
        Self {
            path,
            size,
            engine: Engine::default(),
        }
    }

    /// The bytes of the log.
    pub(crate) fn log_size(&self) -> u64 {
        match self.engine {
            Engine::Log => self.size,
            Engine::Foyer => self.size / LOG_SHARE,
        }
    }

    /// The segment of the log, if that is the segment of a whole volume.
    pub(crate) fn log_segment(&self, segment: u64) -> u64 {
        match self.engine {
            Engine::Log => segment,
            Engine::Foyer => (segment / LOG_SHARE).clamp(SEGMENT_MIN, SEGMENT_MAX),
        }
    }

    /// The file that holds the volume.
    pub fn file(&self) -> PathBuf {
        if self.path.is_dir() {
            self.path.join(FILE_NAME)
        } else {
            self.path.clone()
        }
    }
}

/// Where another engine keeps the bodies of the volume with this file.
pub(crate) fn bodies_dir(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".bodies");
    name.into()
}

/// What the file is called if only a directory was named.
const FILE_NAME: &str = "larder.volume";

/// Segments that a volume has at least; with fewer, reclaiming one would forget too much at once.
pub(crate) const SEGMENTS_MIN: u64 = 8;

/// The most segments of a volume: what 24 bits can number.
pub(crate) const SEGMENTS_MAX: u64 = (1 << 24) - 1;

/// The longest segment: positions in it are counted in 24 bits of 64 bytes.
pub(crate) const SEGMENT_MAX: u64 = 1 << 30;

/// The shortest segment.
pub(crate) const SEGMENT_MIN: u64 = 16 * 1024;

/// The most volumes: what 6 bits can number.
pub(crate) const VOLUMES_MAX: usize = 64;

impl Settings {
    /// The defaults for these volumes and this clock.
    pub fn new(volumes: Vec<VolumeSettings>, monotonic: fn() -> Duration) -> Self {
        let smallest = volumes.iter().map(|volume| volume.size).min().unwrap_or(0);
        Self {
            volumes,
            segment: segment_for(smallest),
            write_buffer: 64 * 1024 * 1024,
            object_max: smallest / 16,
            variants_max: 64,
            io_threads: 8,
            io_queue: 256,
            patience: Duration::from_secs(2),
            close_max: Duration::from_secs(20),
            recovery_threads: 4,
            fresh_percent: 5,
            kept_percent: 31,
            bytes_per_trace: 16 * 1024,
            monotonic,
        }
    }
}

/// A 256th of the volume, but at least 1 MiB and at most 64 MiB.
fn segment_for(size: u64) -> u64 {
    const MIB: u64 = 1024 * 1024;
    (size / 256)
        .clamp(MIB, 64 * MIB)
        .next_power_of_two()
        .min(64 * MIB)
}
