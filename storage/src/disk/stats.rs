//! How a disk tier stands.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Shared;
use super::health::Fault;
use super::volume::Volume;

/// The state of a disk tier. The numbers are read one after the other, not at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Objects in the index.
    pub objects: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Memory of the index, in bytes.
    pub index_memory: u64,
    /// Memory that writes hold, in bytes: at most [`Settings::write_buffer`](super::Settings).
    pub write_memory: u64,
    /// Each volume.
    pub volumes: Vec<VolumeStats>,
}

/// The state of a volume. Counts are since it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VolumeStats {
    /// The file.
    pub path: PathBuf,
    /// Its size in bytes.
    pub capacity: u64,
    /// Segments that are neither full nor being filled.
    pub segments_free: u64,
    /// All segments.
    pub segments: u64,
    /// Segments that wait for their last readers.
    pub segments_pinned: u64,
    /// Out of service after too many faults.
    pub offline: bool,
    /// Bytes read from the file.
    pub bytes_read: u64,
    /// Bytes written to the file, but for the log of removals.
    pub bytes_written: u64,
    /// Bytes that were stored, and are not in the file yet.
    pub bytes_unwritten: u64,
    /// Reads that other threads did: what was not in the page cache, or was not expected to be.
    pub reads_waited: u64,
    /// Objects that were refused because the disk could not keep up.
    pub refused_busy: u64,
    /// Objects that went with their segment.
    pub evicted: u64,
    /// Objects that were moved on from a segment that went.
    pub kept: u64,
    /// Bodies that another engine than the log took, and did not have when they were read back.
    pub bodies_lost: u64,
    /// Bodies that another engine than the log had, and did not have any more when they were asked for.
    pub bodies_forgotten: u64,
    /// Removals that are remembered.
    pub removals: u64,
    /// Failed reads.
    pub faults_read: u64,
    /// Failed writes.
    pub faults_write: u64,
    /// Removals that could not be made durable.
    pub faults_removal: u64,
    /// Objects dropped because of a checksum.
    pub faults_damaged: u64,
    /// Reads given up on.
    pub faults_slow: u64,
}

impl Stats {
    pub(crate) fn of(shared: &Shared) -> Self {
        let lives = |volume: &Volume| volume.lives.all().map(|life| life.memory()).sum::<usize>();
        let classes: usize = shared.volumes.iter().map(|volume| lives(volume)).sum();
        Self {
            objects: shared.index.objects(),
            bytes: shared.index.bytes(),
            index_memory: (shared.index.memory() + classes) as u64,
            write_memory: shared.allowance.used() as u64,
            volumes: shared
                .volumes
                .iter()
                .map(|volume| VolumeStats::of(volume))
                .collect(),
        }
    }
}

impl VolumeStats {
    fn of(volume: &Volume) -> Self {
        let now = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (counters, health) = (&volume.counters, &volume.health);
        let bodies = volume.bodies.as_ref();
        let elsewhere = bodies.map_or((0, 0), |bodies| {
            (bodies.bytes_written(), bodies.bytes_unwritten())
        });
        let log = volume.log.lock();
        let (free, pinned) = (log.free.len() as u64, log.leaving.len() as u64);
        let unwritten = log.bytes_unwritten();
        drop(log);
        Self {
            path: volume.path.clone(),
            capacity: volume.size,
            segments_free: free,
            segments: u64::from(volume.geometry.count),
            segments_pinned: pinned,
            offline: health.is_offline(),
            bytes_read: now(&counters.bytes_read),
            bytes_written: now(&counters.bytes_written) + elsewhere.0,
            bytes_unwritten: unwritten + elsewhere.1,
            reads_waited: now(&counters.waited),
            refused_busy: now(&counters.busy),
            evicted: now(&counters.evicted),
            kept: now(&counters.kept),
            bodies_lost: bodies.map_or(0, |bodies| bodies.lost()),
            bodies_forgotten: now(&counters.forgotten),
            removals: volume.removals.len() as u64,
            faults_read: health.count(Fault::Read),
            faults_write: health.count(Fault::Write),
            faults_removal: health.count(Fault::Removal),
            faults_damaged: health.count(Fault::Damaged),
            faults_slow: health.count(Fault::Slow),
        }
    }
}
