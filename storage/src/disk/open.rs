//! From settings to volumes.

use std::hash::{BuildHasher, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::{Condvar, Mutex};

use super::allowance::{Allowance, Buffers};
#[cfg(not(feature = "foyer"))]
use super::bodies::none as keeper;
use super::error::OpenError;
use super::format::{self, BLOCK, Geometry, SUPERBLOCKS, Superblock, length, round_up};
#[cfg(feature = "foyer")]
use super::foyer as keeper;
use super::ghost::Ghost;
use super::health::Health;
use super::life::Lives;
use super::log::Log;
use super::medium::{Medium, NoFile, VolumeFile};
use super::pool::Pool;
use super::removals::Removals;
use super::settings::{
    Engine, SEGMENT_MAX, SEGMENT_MIN, SEGMENTS_MIN, Settings, VOLUMES_MAX, VolumeSettings,
    bodies_dir,
};
use super::volume::{Counters, Numbers, Volume};
use super::warmth::Warmth;

/// Numbers that one run of the program may use, enough for petabytes. It takes them when it starts.
const NUMBERS_PER_START: u64 = 1 << 46;

/// The first number of a volume that was just formatted.
const FIRST_NUMBER: u64 = 1;

/// The largest buffer that records are gathered in.
const BUFFER_MAX: u64 = 4 * 1024 * 1024;

/// A file with its superblock read or made, and all of its room reserved.
pub(crate) struct Prepared {
    pub(crate) path: PathBuf,
    /// Of the whole volume.
    pub(crate) size: u64,
    pub(crate) medium: Arc<dyn Medium>,
    pub(crate) superblock: Superblock,
}

/// Opens the files of all volumes.
pub(crate) fn prepare(settings: &Settings) -> Result<Vec<Prepared>, OpenError> {
    let count = settings.volumes.len();
    if count == 0 || count > VOLUMES_MAX {
        return Err(OpenError::Volumes(count));
    }
    if !(SEGMENT_MIN..=SEGMENT_MAX).contains(&settings.segment) {
        return Err(OpenError::Segment(settings.segment));
    }
    let is_built = |volume: &&VolumeSettings| match volume.engine {
        Engine::Log => true,
        Engine::Foyer => cfg!(feature = "foyer"),
    };
    if let Some(volume) = settings.volumes.iter().find(|volume| !is_built(volume)) {
        let path = volume.path.clone();
        return Err(OpenError::NotBuilt { path });
    }
    let mut prepared = Vec::with_capacity(count);
    for volume in &settings.volumes {
        prepared.push(prepare_one(volume, settings.segment)?);
    }
    format_the_absent(&mut prepared)?;
    Ok(prepared)
}

/// A volume that was not there when the others were last opened has missed removals.
fn format_the_absent(prepared: &mut [Prepared]) -> Result<(), OpenError> {
    let latest = prepared.iter().map(|one| one.superblock.next).max();
    let absent = |one: &&mut Prepared| {
        one.superblock.next > FIRST_NUMBER && Some(one.superblock.next) < latest
    };
    for one in prepared.iter_mut().filter(absent) {
        let volume = one.path.display();
        tracing::warn!(%volume, "the volume was not there in the last run; it is formatted anew");
        one.superblock.nonce = nonce();
        format(&one.path, &*one.medium, &one.superblock)
            .map_err(|source| unusable(&one.path, source))?;
    }
    Ok(())
}

fn prepare_one(settings: &VolumeSettings, segment: u64) -> Result<Prepared, OpenError> {
    let path = settings.file();
    let segment = settings.log_segment(segment);
    let size = settings.log_size();
    let geometry = Geometry::new(size, segment).ok_or_else(|| OpenError::TooSmall {
        path: path.clone(),
        size,
        segment,
        needed: size_for(segment),
    })?;
    let was_there = path.exists();
    let (file, is_new) =
        VolumeFile::open(&path).map_err(|error| refused(&path, &geometry, error))?;
    let found = if is_new {
        None
    } else {
        read_superblock(&file, &path, &geometry, settings.engine)?
    };
    let reserved = file.reserve(geometry.size);
    if let Err(error) = reserved {
        if !was_there && let Err(error) = std::fs::remove_file(&path) {
            tracing::warn!(path = %path.display(), %error, "a file that was made in vain stays");
        }
        return Err(refused(&path, &geometry, error));
    }

    let superblock = found.unwrap_or_else(|| Superblock {
        geometry,
        nonce: nonce(),
        next: FIRST_NUMBER,
        failed: false,
        engine: settings.engine,
    });
    if found.is_none() {
        format(&path, &file, &superblock).map_err(|source| unusable(&path, source))?;
    }
    Ok(Prepared {
        path,
        size: settings.size,
        medium: Arc::new(file),
        superblock,
    })
}

/// A size that makes the fewest segments there may be.
fn size_for(segment: u64) -> u64 {
    let mut size = SEGMENTS_MIN * segment;
    while Geometry::new(size, segment).is_none() {
        size += round_up(segment / 16, BLOCK);
    }
    size
}

/// The superblock of a volume that can be used as it is; none if it has to be formatted.
fn read_superblock(
    file: &VolumeFile,
    path: &Path,
    geometry: &Geometry,
    engine: Engine,
) -> Result<Option<Superblock>, OpenError> {
    let len = file.len().map_err(|source| unusable(path, source))?;
    let mut blocks = vec![0; usize::try_from(len.min(2 * BLOCK)).unwrap_or(0)];
    file.read(&mut blocks, 0)
        .map_err(|source| unusable(path, source))?;
    if blocks.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let copies = SUPERBLOCKS.map(|at| {
        let at = length(at);
        Superblock::parse(blocks.get(at..).unwrap_or_default())
    });
    let valid = copies.iter().find_map(|copy| match copy {
        format::Reading::Valid(superblock) => Some(*superblock),
        format::Reading::Other | format::Reading::Foreign => None,
    });
    let volume = path.display();
    match valid {
        Some(superblock) if superblock.failed => {
            tracing::warn!(%volume, "the volume failed in an earlier run; it is formatted anew");
        }
        Some(superblock) if superblock.engine != engine => {
            tracing::warn!(%volume, "the volume was of another engine; it is formatted anew");
        }
        Some(superblock) if superblock.geometry == *geometry => return Ok(Some(superblock)),
        Some(_) => tracing::warn!(%volume, "the volume has another size; it is formatted anew"),
        None if copies.contains(&format::Reading::Other) => {
            tracing::warn!(%volume, "the volume is damaged or of another format; it is formatted anew");
        }
        None => {
            return Err(OpenError::Foreign {
                path: path.to_path_buf(),
            });
        }
    }
    Ok(None)
}

fn format(path: &Path, file: &dyn Medium, superblock: &Superblock) -> std::io::Result<()> {
    // Numbers begin anew: no body of before may be found by one of them.
    let bodies = bodies_dir(path);
    if bodies.is_dir() {
        std::fs::remove_dir_all(bodies)?;
    }
    // Written, not only reserved: a later write there must change no metadata, or it would have to
    // wait for the journal of the file system.
    let zeros = vec![0; length(superblock.geometry.removals)];
    file.write(&zeros, Geometry::removals_at())?;
    file.sync()?;
    SUPERBLOCKS
        .iter()
        .try_for_each(|at| file.write_durably(&superblock.encode(), *at))
}

/// A number that no earlier formatting had. Hash maps are seeded with good randomness.
fn nonce() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

fn refused(path: &Path, geometry: &Geometry, error: NoFile) -> OpenError {
    let path = path.to_path_buf();
    match error {
        NoFile::Unusable(source) => OpenError::Unusable { path, source },
        NoFile::InUse => OpenError::InUse { path },
        NoFile::NoRoom(source) => OpenError::NoRoom {
            path,
            size: geometry.size,
            source,
        },
    }
}

fn unusable(path: &Path, source: std::io::Error) -> OpenError {
    OpenError::Unusable {
        path: path.to_path_buf(),
        source,
    }
}

/// Makes volumes of what was prepared, and takes the numbers for this run.
pub(crate) fn assemble(
    settings: &Settings,
    prepared: Vec<Prepared>,
    allowance: &Arc<Allowance>,
) -> Result<(Vec<Arc<Volume>>, Arc<Numbers>), OpenError> {
    let next = prepared
        .iter()
        .map(|one| one.superblock.next)
        .max()
        .unwrap_or(1);
    let numbers = Arc::new(Numbers::new(next));
    let mut volumes = Vec::with_capacity(prepared.len());
    for (id, one) in (0..).zip(prepared) {
        let (path, size) = (one.path.clone(), one.size);
        let volume = assemble_one(settings, id, one, &numbers, allowance);
        let refused = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::StorageFull => OpenError::NoRoom { path, size, source },
            _ => unusable(&path, source),
        };
        volumes.push(Arc::new(volume.map_err(refused)?));
    }
    Ok((volumes, numbers))
}

fn assemble_one(
    settings: &Settings,
    id: u8,
    prepared: Prepared,
    numbers: &Arc<Numbers>,
    allowance: &Arc<Allowance>,
) -> std::io::Result<Volume> {
    let Prepared {
        path,
        size,
        medium,
        superblock,
    } = prepared;
    let geometry = superblock.geometry;
    let taken = Superblock {
        next: numbers.next() + NUMBERS_PER_START,
        ..superblock
    };
    SUPERBLOCKS
        .iter()
        .try_for_each(|at| medium.write_durably(&taken.encode(), *at))?;
    let is_new = superblock.next == FIRST_NUMBER;
    let mut log = Log::default();
    if is_new {
        log.free.extend(0..geometry.count);
    }
    let removals = Removals::default();
    removals.load(&*medium, &geometry, superblock.nonce, numbers.next())?;
    let bodies = match superblock.engine {
        Engine::Log => None,
        Engine::Foyer => {
            let (dir, size) = (bodies_dir(&path), size - geometry.size);
            Some(keeper::open(&dir, size, settings)?)
        }
    };
    Ok(Volume {
        id,
        size,
        bodies,
        engine: superblock.engine,
        health: Health::new(path.clone()),
        path,
        pool: Pool::new(settings.io_queue),
        warmth: Warmth::default(),
        medium,
        geometry,
        nonce: superblock.nonce,
        numbers: Arc::clone(numbers),
        lives: Lives::new(geometry.count),
        log: Mutex::new(log),
        dirty: Condvar::new(),
        clean: Condvar::new(),
        reclaim: Condvar::new(),
        buffers: Buffers::new(allowance, buffer_len(&geometry, settings)),
        removals,
        ghost: Ghost::new(geometry.size, 2 * settings.bytes_per_trace),
        counters: Counters::default(),
        is_new,
        is_filling: AtomicBool::new(is_new),
        unread: AtomicBool::new(false),
    })
}

/// Several buffers must fit into the allowance, and into a segment.
fn buffer_len(geometry: &Geometry, settings: &Settings) -> usize {
    let share = settings.write_buffer as u64 / (8 * settings.volumes.len() as u64);
    let len = BUFFER_MAX.min(geometry.segment / 2).min(share);
    usize::try_from(round_up(len.max(BLOCK), BLOCK)).unwrap_or(0)
}
