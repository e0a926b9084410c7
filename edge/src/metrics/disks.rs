//! The disk tier in the metrics. Its volumes are labels: there are as many as the operator configured.

use prometheus::core::Collector;
use prometheus::{IntGauge, IntGaugeVec, Opts};
use storage::disk::{Recovery, Stats, VolumeStats};

use super::gauge;

/// The disk tier when the metrics are read.
#[derive(Debug)]
pub(crate) struct OnDisks {
    pub stats: Stats,
    pub recovered: Recovery,
}

/// The gauges of the disk tier. Without one, they have no values.
#[derive(Debug)]
pub(super) struct DiskMetrics {
    objects: IntGauge,
    bytes: IntGauge,
    memory: IntGauge,
    recovering: IntGauge,
    limit: IntGaugeVec,
    offline: IntGaugeVec,
    read: IntGaugeVec,
    written: IntGaugeVec,
    unwritten: IntGaugeVec,
    evicted: IntGaugeVec,
    kept: IntGaugeVec,
    refused: IntGaugeVec,
    missing: IntGaugeVec,
    faults: IntGaugeVec,
    free: IntGaugeVec,
}

impl DiskMetrics {
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let one = IntGauge::new;
        let each = |name, help| IntGaugeVec::new(Opts::new(name, help), &["volume"]);
        Ok(Self {
            objects: one("disk_objects", "Responses on disks.")?,
            bytes: one("disk_bytes", "Content bytes of the responses on disks.")?,
            memory: one(
                "disk_memory_bytes",
                "Memory of the disks' index and buffers; a part of the memory's limit.",
            )?,
            recovering: one(
                "disk_recovering",
                "Whether the disks' index is still being read back after the start.",
            )?,
            limit: each("disk_limit_bytes", "Bytes of a volume.")?,
            offline: each(
                "disk_offline",
                "Whether a volume was taken out after faults.",
            )?,
            read: each("disk_read_bytes_total", "Bytes read from a volume.")?,
            written: each("disk_written_bytes_total", "Bytes written to a volume.")?,
            unwritten: each(
                "disk_unwritten_bytes",
                "Bytes that were stored on a volume and are not in its file yet.",
            )?,
            evicted: each(
                "disk_evictions_total",
                "Responses that left a volume for others.",
            )?,
            kept: each(
                "disk_kept_total",
                "Responses that were written again rather than evicted.",
            )?,
            refused: each(
                "disk_refused_total",
                "Responses that were not written because a volume could not keep up.",
            )?,
            missing: IntGaugeVec::new(
                Opts::new(
                    "disk_engine_misses_total",
                    "Bodies that the engine of a volume did not take, or had forgotten when they were asked for.",
                ),
                &["volume", "kind"],
            )?,
            faults: IntGaugeVec::new(
                Opts::new("disk_faults_total", "What a volume did wrong."),
                &["volume", "kind"],
            )?,
            free: each(
                "disk_free_segments",
                "Segments of a volume without content.",
            )?,
        })
    }

    pub(super) fn all(&self) -> [Box<dyn Collector>; 15] {
        [
            Box::new(self.objects.clone()),
            Box::new(self.bytes.clone()),
            Box::new(self.memory.clone()),
            Box::new(self.recovering.clone()),
            Box::new(self.limit.clone()),
            Box::new(self.offline.clone()),
            Box::new(self.read.clone()),
            Box::new(self.written.clone()),
            Box::new(self.unwritten.clone()),
            Box::new(self.evicted.clone()),
            Box::new(self.kept.clone()),
            Box::new(self.refused.clone()),
            Box::new(self.missing.clone()),
            Box::new(self.faults.clone()),
            Box::new(self.free.clone()),
        ]
    }

    pub(super) fn set(&self, disks: &OnDisks) {
        let OnDisks { stats, recovered } = disks;
        self.objects.set(gauge(stats.objects));
        self.bytes.set(gauge(stats.bytes));
        self.memory
            .set(gauge(stats.index_memory + stats.write_memory));
        let recovering = matches!(recovered, Recovery::Running { .. });
        self.recovering.set(i64::from(recovering));
        stats.volumes.iter().for_each(|volume| self.volume(volume));
    }

    fn volume(&self, stats: &VolumeStats) {
        let path = stats.path.to_string_lossy();
        let set = |metric: &IntGaugeVec, value| {
            metric.with_label_values(&[&*path]).set(gauge(value));
        };
        set(&self.limit, stats.capacity);
        set(&self.offline, u64::from(stats.offline));
        set(&self.read, stats.bytes_read);
        set(&self.written, stats.bytes_written);
        set(&self.unwritten, stats.bytes_unwritten);
        set(&self.evicted, stats.evicted);
        set(&self.kept, stats.kept);
        set(&self.refused, stats.refused_busy);
        set(&self.free, stats.segments_free);
        for (kind, count) in [
            ("not_taken", stats.bodies_lost),
            ("forgotten", stats.bodies_forgotten),
        ] {
            let missing = self.missing.with_label_values(&[&*path, kind]);
            missing.set(gauge(count));
        }
        for (kind, count) in [
            ("read", stats.faults_read),
            ("write", stats.faults_write),
            ("removal", stats.faults_removal),
            ("damaged", stats.faults_damaged),
            ("slow", stats.faults_slow),
        ] {
            let faults = self.faults.with_label_values(&[&*path, kind]);
            faults.set(gauge(count));
        }
    }
}
