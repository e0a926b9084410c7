//! From `[[cache.disk]]` to the disk tier.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::model;
use storage::curve::DiskShape;
use storage::disk::{Admit, Disk, Engine, OpenError, Settings, VolumeSettings};

use crate::clock;
use crate::run::StartError;

/// foyer's own progress is not told: what matters of it is told by the disk tier.
pub const DISK_QUIET: &str = "foyer=warn,foyer_storage=warn,foyer_memory=warn";

const MIB: usize = 1 << 20;

/// The disk tier before it is put below memory.
pub(super) struct Below {
    pub disk: Arc<Disk>,
    /// Where it is noted which purges were acknowledged.
    pub witness: PathBuf,
    /// How it keeps what it has.
    pub shape: DiskShape,
}

/// Opens the volumes; none if there are none, or none that can be used and may be done without.
pub(super) fn open(
    disks: Vec<model::Disk>,
    memory: &model::Memory,
    limits: &model::Limits,
) -> Result<Option<Below>, StartError> {
    let required = disks
        .iter()
        .any(|disk| disk.on_failure == model::OnFailure::Stop);
    let volumes: Vec<VolumeSettings> = disks.into_iter().map(volume).collect();
    let Some(first) = volumes.first() else {
        return Ok(None);
    };
    make_directories(&volumes);
    let witness = witness(first);
    let settings = settings(volumes, memory, limits);
    let shape = DiskShape {
        bytes: settings.volumes.iter().map(|volume| volume.size).sum(),
        object_max: settings.object_max,
        bytes_per_trace: settings.bytes_per_trace,
        // As sites have it unless they say otherwise.
        admit: Admit::default(),
        fresh_percent: settings.fresh_percent,
        kept_percent: settings.kept_percent,
    };
    match Disk::open(settings) {
        Ok(disk) => Ok(Some(Below {
            disk,
            witness,
            shape,
        })),
        Err(error) if required => Err(StartError::Disk(explained(&error))),
        Err(error) => {
            let error = explained(&error);
            tracing::error!(%error, "what is stored will end with the process");
            Ok(None)
        }
    }
}

fn volume(disk: model::Disk) -> VolumeSettings {
    let model::Disk {
        path,
        size,
        engine,
        on_failure: _, // of all together: see `open`
    } = disk;
    VolumeSettings {
        path,
        size,
        engine: match engine {
            model::Engine::Log => Engine::Log,
            model::Engine::Foyer => Engine::Foyer,
        },
    }
}

fn settings(
    volumes: Vec<VolumeSettings>,
    memory: &model::Memory,
    limits: &model::Limits,
) -> Settings {
    let memory = usize::try_from(memory.size).unwrap_or(usize::MAX);
    let each = 4 * MIB;
    let write_buffer =
        (memory / 8).clamp(each * volumes.len(), (64 * MIB).max(each * volumes.len()));
    Settings {
        write_buffer,
        variants_max: limits.variants,
        ..Settings::new(volumes, clock::monotonic)
    }
}

/// A path that does not look like a file, and is not there, becomes a directory.
fn make_directories(volumes: &[VolumeSettings]) {
    for VolumeSettings { path, .. } in volumes {
        let directory = match path.extension() {
            None => Some(path.as_path()),
            Some(_) => path.parent(),
        };
        if let Some(directory) = directory.filter(|_| !path.exists())
            && let Err(error) = std::fs::create_dir_all(directory)
        {
            // Opening the volume says what is wrong, in its own words.
            tracing::debug!(%error, "a directory for a volume cannot be made");
        }
    }
}

fn witness(first: &VolumeSettings) -> PathBuf {
    let mut name = first.file().into_os_string();
    name.push(".purges");
    name.into()
}

/// Another witness beside the one of the purges.
pub(super) fn witness_of(witness: &Path, what: &str) -> PathBuf {
    witness.with_extension(what)
}

/// An error and all its causes in one line, with what can be done.
fn explained(error: &OpenError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    let hint = match error {
        OpenError::InUse { .. } => {
            "; give each node a volume of its own with --disk PATH:SIZE, or --no-disk"
        }
        OpenError::NoRoom { .. } => "; choose a smaller size",
        _ => "",
    };
    text + hint
}
