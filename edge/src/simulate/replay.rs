//! One run: the requests of a log through policy and storage as they serve traffic.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use policy::freshness::is_heuristically_cacheable;
use policy::partial::Extent;
use policy::request::RequestTerms;
use policy::reuse::Reuse;
use policy::store::{Exchange, Stored};
use storage::disk::{self, Disk, NewRecord, Recovery, VolumeSettings};
use storage::purge::{Membership, Sequence};
use storage::{Durable as _, Eviction, Memory, Settings, Variant};

use super::log::{Asked, Lifetime};
use crate::cache::Head;
use crate::clock::monotonic;
use crate::sites::UseCache;

/// What a run is made with.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub memory: u64,
    pub eviction: Eviction,
    pub disk: Option<DiskSetup>,
    /// The lifetime of what no log tells it of and no rule.
    pub lifetime: Duration,
}

/// The disk of a run.
#[derive(Clone, Debug)]
pub(super) struct DiskSetup {
    pub bytes: u64,
    /// The file that stands for it, and is removed afterwards.
    pub file: PathBuf,
    /// What all sizes on it are divided by: the ratios stay, and the file is small.
    pub scale: u64,
}

/// What came of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Score {
    /// Requests that count (see OBSERVING.md).
    pub requests: u64,
    /// Those answered from what is stored.
    pub hits: u64,
    /// Those of them that a disk answered.
    pub disk_hits: u64,
    /// Content bytes of them all, and of the hits.
    pub bytes: u64,
    /// Content bytes of the hits.
    pub hit_bytes: u64,
    /// Requests past the cache, and their bytes.
    pub passed: u64,
    /// Content bytes of requests past the cache.
    pub passed_bytes: u64,
    /// Bytes written to the disk.
    pub written: u64,
    /// Misses by reason: the first request for something.
    pub cold: u64,
    /// What had been stored was stale.
    pub expired: u64,
    /// What had been stored made room for other responses, or was not worth a place.
    pub evicted: u64,
    /// What came could not be stored.
    pub not_storable: u64,
}

const VARIANT: Variant = Variant([0; 16]);
/// Segments of a disk: as many as in a node, whatever its scale.
const SEGMENTS: u64 = 256;
const SEGMENT_MIN: u64 = 16 * 1024;
/// Bytes that arrive at once: the smallest chunk of a segment.
const PIECE: usize = 64 * 1024;
/// A log is replayed faster than any disk works: so much may wait to be written.
const WAITING_MAX: u64 = 32 << 20;
const SEGMENTS_FREE: u64 = 2;
const PAUSE: Duration = Duration::from_micros(100);
/// Pauses before it goes on without room.
const PAUSES_MAX: u32 = 10_000;

/// The tiers of a run.
pub(super) struct Run<'a> {
    setup: &'a Setup,
    memory: Arc<Memory<Head>>,
    disk: Option<Arc<Disk>>,
    zeros: Bytes,
    known: HashSet<storage::Key>,
    /// How often memory answered, since it was fetched.
    answered: HashMap<storage::Key, u32>,
    score: Score,
}

impl<'a> Run<'a> {
    /// Empty tiers, for bodies up to that long.
    ///
    /// # Errors
    /// A sentence about the disk's file.
    pub(super) fn new(setup: &'a Setup, longest: u64) -> Result<Self, String> {
        let capacity = usize::try_from(setup.memory).unwrap_or(usize::MAX);
        let longest = usize::try_from(longest).unwrap_or(usize::MAX);
        Ok(Self {
            memory: Memory::new(Settings {
                eviction: setup.eviction,
                ..Settings::new(capacity)
            }),
            disk: setup.disk.as_ref().map(open).transpose()?,
            setup,
            zeros: Bytes::from(vec![0; longest]),
            known: HashSet::new(),
            answered: HashMap::new(),
            score: Score::default(),
        })
    }

    /// Answers a request, as far as it counts.
    pub(super) async fn request(&mut self, asked: &Asked) {
        if asked.treatment.cache == UseCache::Never || asked.lifetime == Lifetime::Passed {
            self.score.passed += 1;
            self.score.passed_bytes += asked.bytes;
            return;
        }
        self.score.requests += 1;
        self.score.bytes += asked.bytes;
        match self.find(asked).await {
            Found::InMemory => self.hit(asked),
            Found::OnDisk => {
                self.hit(asked);
                self.score.disk_hits += 1;
            }
            Found::Stale => {
                self.score.expired += 1;
                self.fetch(asked);
            }
            Found::Nothing => {
                let new = self.known.insert(asked.key);
                let stored = self.fetch(asked);
                match (stored, new) {
                    (Fetched::NotStorable, _) => self.score.not_storable += 1,
                    (Fetched::Storable, true) => self.score.cold += 1,
                    (Fetched::Storable, false) => self.score.evicted += 1,
                }
            }
        }
    }

    /// The end of a run.
    pub(super) async fn end(mut self) -> Score {
        if let (Some(disk), Some(setup)) = (&self.disk, &self.setup.disk) {
            let written: u64 = disk.stats().volumes.iter().map(|it| it.bytes_written).sum();
            self.score.written = written.saturating_mul(setup.scale);
            disk.close().await;
            remove(setup);
        }
        self.score
    }

    fn hit(&mut self, asked: &Asked) {
        self.score.hits += 1;
        self.score.hit_bytes += asked.bytes;
    }

    async fn find(&mut self, asked: &Asked) -> Found {
        if let Some(object) = self.memory.lookup(asked.key).first() {
            if !is_usable(object.head(), asked) {
                return Found::Stale;
            }
            self.memory.accessed(object);
            let times = self.answered.entry(asked.key).or_default();
            *times += 1;
            let times = *times;
            self.write(asked, object.head(), Some(times));
            return Found::InMemory;
        }
        let Some(disk) = &self.disk else {
            return Found::Nothing;
        };
        let Some(found) = disk.find(asked.key).pop() else {
            return Found::Nothing;
        };
        disk.accessed(&found);
        let Ok(head) = disk.head(&found).await else {
            return Found::Nothing;
        };
        match Head::decode(&head) {
            Some(head) if is_usable(&head, asked) => {
                self.remember(asked, head);
                Found::OnDisk
            }
            Some(_) => Found::Stale,
            None => Found::Nothing,
        }
    }

    /// What the origin brings.
    fn fetch(&mut self, asked: &Asked) -> Fetched {
        self.answered.remove(&asked.key);
        let Some(stored) = self.decide(asked) else {
            return Fetched::NotStorable;
        };
        let head = || {
            let membership = Membership::new(Sequence(0), Vec::new());
            Head::kept(stored.clone(), membership, Extent::Whole, "")
        };
        if let Some(disk) = &self.disk {
            // What is there is replaced.
            disk.find(asked.key).iter().for_each(|it| disk.forget(it));
        }
        self.write(asked, &head(), None);
        self.remember(asked, head());
        Fetched::Storable
    }

    /// As a node decides, of a response that says how long it is fresh.
    fn decide(&self, asked: &Asked) -> Option<Stored> {
        let lifetime = match asked.lifetime {
            Lifetime::Known(seconds) => Some(seconds),
            // RFC 9110 §15.1: of others, only rules say that they may be stored.
            Lifetime::Unknown if !is_heuristically_cacheable(asked.status) => None,
            Lifetime::Unknown => Some(self.setup.lifetime.as_secs()),
            Lifetime::NotStorable | Lifetime::Passed => return None,
        };
        let mut headers = HeaderMap::new();
        if let Some(lifetime) = lifetime {
            let control = format!("max-age={lifetime}");
            headers.insert(CACHE_CONTROL, HeaderValue::try_from(control).ok()?);
        }
        let exchange = Exchange {
            method: &Method::GET,
            request: &HeaderMap::new(),
            status: asked.status,
            response: &headers,
            request_time: asked.at,
            response_time: asked.at,
            aging: policy::store::Aging::Conservative,
        };
        policy::store::decide(&exchange, &asked.treatment.settings).ok()
    }

    fn remember(&self, asked: &Asked, head: Head) {
        let Ok(length) = usize::try_from(asked.size) else {
            return;
        };
        let body = self.zeros.slice(..length.min(self.zeros.len()));
        // What does not fit is not stored, as in a node.
        let _refused = self.memory.insert_ready(asked.key, VARIANT, head, body);
    }

    /// Writes it to the disk, if it was asked for often enough and is not there; how often memory `answered` by now.
    fn write(&self, asked: &Asked, head: &Head, answered: Option<u32>) {
        let (Some(disk), Some(setup)) = (&self.disk, &self.setup.disk) else {
            return;
        };
        let admission = asked.treatment.admission;
        let admitted = match answered {
            None => admission.admits(disk, asked.key),
            Some(times) => admission.admits_copy(disk, asked.key, times),
        };
        if !admitted || !disk.find(asked.key).is_empty() {
            return;
        }
        let length = usize::try_from(asked.size / setup.scale).unwrap_or(usize::MAX);
        let body = self.zeros.slice(..length.min(self.zeros.len()));
        // What the disk refuses is not stored, as in a node.
        let _refused = write(disk, asked, head, body);
    }
}

/// What was found.
enum Found {
    InMemory,
    OnDisk,
    Stale,
    Nothing,
}

enum Fetched {
    Storable,
    NotStorable,
}

fn is_usable(head: &Head, asked: &Asked) -> bool {
    let Some(stored) = head.stored() else {
        return false;
    };
    let nothing = HeaderMap::new();
    let terms = RequestTerms::read(&Method::GET, &nothing, &asked.treatment.settings);
    !matches!(
        policy::reuse::reuse(&terms, stored, asked.at),
        Reuse::Validate(_)
    )
}

fn open(setup: &DiskSetup) -> Result<Arc<Disk>, String> {
    let size = setup.bytes / setup.scale;
    let volume = VolumeSettings::new(setup.file.clone(), size);
    let settings = disk::Settings {
        segment: (size / SEGMENTS).next_power_of_two().max(SEGMENT_MIN),
        ..disk::Settings::new(vec![volume], monotonic)
    };
    let disk = Disk::open(settings);
    let disk = disk.map_err(|error| format!("{}: {error}", setup.file.display()))?;
    while matches!(disk.recovered(), Recovery::Running { .. }) {
        std::thread::sleep(PAUSE);
    }
    Ok(disk)
}

fn remove(setup: &DiskSetup) {
    if let Err(error) = std::fs::remove_file(&setup.file) {
        tracing::warn!(%error, file = %setup.file.display(), "a scratch file stays");
    }
}

fn write(disk: &Disk, asked: &Asked, head: &Head, mut body: Bytes) -> Result<(), disk::Refused> {
    let mut writer = disk.writer(NewRecord {
        key: asked.key,
        variant: VARIANT,
        born: 0,
        stored_at: asked.at.unix_secs(),
        head: head.encode().into(),
        body_len: Some(body.len() as u64),
    })?;
    while !body.is_empty() {
        wait_for_room(disk);
        writer.write(body.split_to(body.len().min(PIECE)))?;
    }
    wait_for_room(disk);
    writer.commit()
}

/// A response that is refused in its middle has been written for nothing.
fn wait_for_room(disk: &Disk) {
    for _ in 0..PAUSES_MAX {
        let stats = disk.stats();
        let full = stats
            .volumes
            .iter()
            .any(|it| it.segments_free < SEGMENTS_FREE);
        if stats.write_memory <= WAITING_MAX && !full {
            return;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Whether a response's bytes are those of all of it.
pub(super) fn tells_size(status: StatusCode, method: &Method) -> bool {
    method == Method::GET
        && status != StatusCode::PARTIAL_CONTENT
        && status != StatusCode::NOT_MODIFIED
}
