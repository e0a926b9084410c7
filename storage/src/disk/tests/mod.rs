//! The engine as a whole, on files of its own. What every test needs is here.

#![expect(clippy::cast_possible_truncation, reason = "test volumes are small")]

mod basics;
mod faults;
#[cfg(feature = "foyer")]
mod foyer;
mod image;
mod kill;
mod late;
mod model;
mod mutations;
mod reclaim;
mod recovery;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::disk::format::Geometry;

/// A volume in a directory that goes with it.
pub(super) struct Place {
    dir: TempDir,
    pub(super) settings: Settings,
}

/// A clock that ticks when it is read.
pub(super) fn ticking() -> Duration {
    static TICKS: AtomicU64 = AtomicU64::new(0);
    Duration::from_millis(TICKS.fetch_add(1, Ordering::Relaxed))
}

/// What keeps the bodies: all of these tests are for each of the engines.
///
/// ```text
/// LARDER_TEST_ENGINE=foyer cargo test -p larder-storage --features foyer disk
/// ```
pub(super) fn engine() -> Engine {
    match std::env::var("LARDER_TEST_ENGINE").as_deref() {
        Ok("foyer") => Engine::Foyer,
        Ok(other) => panic!("no such engine: {other}"),
        Err(_) => Engine::Log,
    }
}

/// Whether it is of the log how bodies are stored.
pub(super) fn bodies_are_in_the_log() -> bool {
    engine() == Engine::Log
}

pub(super) const SEGMENT: u64 = 64 * 1024;

impl Place {
    /// One volume of 2 MiB with segments of 64 KiB: chunks of 4 KiB and blocks of 1 KiB.
    pub(super) fn new() -> Self {
        Self::of(2 * 1024 * 1024, SEGMENT)
    }

    pub(super) fn of(size: u64, segment: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = engine();
        // A log of the same size, whoever keeps the bodies.
        let share = if engine == Engine::Log { 1 } else { 8 };
        let volume = VolumeSettings {
            path: dir.path().join("volume"),
            size: share * size,
            engine,
        };
        let segment = share * segment;
        let settings = Settings {
            segment,
            object_max: size / 4,
            io_threads: 2,
            ..Settings::new(vec![volume], ticking)
        };
        Self { dir, settings }
    }

    /// A second volume like the first.
    pub(super) fn add_volume(&mut self) -> VolumeSettings {
        let second = VolumeSettings {
            path: self.dir().join("second"),
            ..self.settings.volumes[0].clone()
        };
        self.settings.volumes.push(second.clone());
        second
    }

    /// The length of the file of the log.
    pub(super) fn file_len(&self) -> u64 {
        self.settings.volumes[0].log_size()
    }

    pub(super) fn geometry(&self) -> Geometry {
        let volume = &self.settings.volumes[0];
        let segment = volume.log_segment(self.settings.segment);
        Geometry::new(volume.log_size(), segment).unwrap()
    }

    pub(super) fn file(&self) -> PathBuf {
        self.settings.volumes[0].file()
    }

    pub(super) fn dir(&self) -> PathBuf {
        self.dir.path().to_path_buf()
    }

    /// Opens it, and waits for the recovery.
    pub(super) fn open(&self) -> Arc<Disk> {
        let disk = Disk::open(self.settings.clone()).unwrap();
        disk.wait_until_recovered();
        disk
    }
}

impl Disk {
    pub(super) fn wait_until_recovered(&self) {
        while !self.shared.progress.is_done() {
            std::thread::yield_now();
        }
    }

    /// Waits until all that was stored is in the file.
    pub(super) fn settle(&self) {
        let volumes = self.shared.volumes.iter();
        volumes.for_each(|volume| flush::settle(volume));
    }

    /// Stores an object; waits while the disk is busy.
    pub(super) fn put(&self, key: u64, variant: u8, content: &Content) {
        loop {
            match self.try_put(key, variant, content) {
                Err(Refused::Busy) => std::thread::yield_now(),
                other => return other.unwrap(),
            }
        }
    }

    pub(super) fn try_put(&self, key: u64, variant: u8, content: &Content) -> Result<(), Refused> {
        let mut writer = self.writer(NewRecord {
            key: key_of(key),
            variant: Variant([variant; 16]),
            born: 0,
            stored_at: 1_700_000_000,
            head: content.head.clone(),
            body_len: None,
        })?;
        for piece in content.body.chunks(700) {
            writer.write(Bytes::copy_from_slice(piece))?;
        }
        writer.commit()
    }

    /// Reads one variant whole; none if it is not there or cannot be read.
    pub(super) fn get(&self, key: u64, variant: u8) -> Option<Content> {
        self.try_get(key, variant)?.ok()
    }

    pub(super) fn try_get(&self, key: u64, variant: u8) -> Option<Result<Content, DiskError>> {
        let found = self.found(key, variant)?;
        Some(block_on(self.read(&found)))
    }

    pub(super) fn found(&self, key: u64, variant: u8) -> Option<Found> {
        let all = self.find(key_of(key));
        let variant = Variant([variant; 16]);
        all.into_iter().find(|found| found.variant() == variant)
    }

    pub(super) async fn read(&self, found: &Found) -> Result<Content, DiskError> {
        let head = self.head(found).await?;
        let body = self.read_range(found, 0..found.body_len()).await?;
        Ok(Content { head, body })
    }

    pub(super) async fn read_range(
        &self,
        found: &Found,
        range: Range<u64>,
    ) -> Result<Vec<u8>, DiskError> {
        let mut reader = self.body(found, range);
        let mut body = Vec::new();
        while let Some(bytes) = reader.next().await? {
            body.extend_from_slice(&bytes);
        }
        Ok(body)
    }
}

pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.unwrap().block_on(future)
}

pub(super) fn key_of(number: u64) -> Key {
    let mut key = [0x5a; 16];
    key[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    key[8..].copy_from_slice(&number.to_le_bytes());
    Key(key)
}

/// A head and a body.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) head: Bytes,
    pub(super) body: Vec<u8>,
}

impl Content {
    /// Bytes that no other seed has.
    pub(super) fn of(seed: u64, body_len: usize) -> Self {
        let mut state = seed ^ 0x1234_5678;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8
        };
        Self {
            head: Bytes::from(format!("head of {seed}, body of {body_len}")),
            body: (0..body_len).map(|_| next()).collect(),
        }
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} and {} bytes", self.head, self.body.len())
    }
}
