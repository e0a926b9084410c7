//! `[[cache.disk]]`.

use std::path::PathBuf;

use super::Tables;
use crate::kinds::{Bytes, Choice, Truth, text};
use crate::model::{Disk, Engine, Memory, OnFailure};
use crate::problems::{Fault, quote};
use crate::raw::Value;
use crate::setting::{Read, Reading, Row, Rows, Section, Setting, Unset};
use crate::units::print_size;

const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

/// Memory that the buffers and the index of each volume need at least.
const MEMORY_LEAST: u64 = 16 * MIB;

/// The most volumes.
const VOLUMES_MAX: usize = 64;

pub(crate) const DISK_KEY: Setting<Tables> = Setting {
    key: "disk",
    unset: Unset::Means {
        example: "[]",
        means: "no disk: what is stored ends with the process",
    },
    about: DISK.about,
    read: Tables { accepts: "tables" },
};

/// `[cache]` has nothing of its own.
pub(crate) const CACHE: Rows = Rows {
    path: "cache",
    about: "What is stored below memory.",
    rows: &[&DISK_KEY as &dyn Row],
};

const PATH: Setting<Place> = Setting {
    key: "path",
    unset: Unset::Required {
        example: "\"/var/cache/larder\"",
    },
    about: "The file, or the directory to keep it in; it is made where it is missing. It belongs to one node alone.",
    read: Place,
};

const SIZE: Setting<Bytes<u64>> = Setting {
    key: "size",
    unset: Unset::Required {
        example: "\"20GiB\"",
    },
    about: "What it takes from the file system, all of it from the beginning. With another size it begins empty.",
    read: Bytes::new(16 * MIB, 1_024 * TIB),
};

const ENGINE: Setting<Choice<Engine>> = Setting {
    key: "engine",
    unset: Unset::Is("\"log\""),
    about: "What keeps the bodies: Larder's own log, or foyer, which takes up to 4 MiB each and has to be built in.",
    read: Choice(&[("log", Engine::Log), ("foyer", Engine::Foyer)]),
};

const REQUIRED: Setting<Truth> = Setting {
    key: "required",
    unset: Unset::Is("true"),
    about: "Whether the node does not start where the volume cannot be used; otherwise it says so and goes on without.",
    read: Truth,
};

pub(crate) const DISK: Rows = Rows {
    path: "cache.disk",
    about: "A volume: stored responses that outlive the process, in one file as large as configured.",
    rows: &[&PATH as &dyn Row, &SIZE, &ENGINE, &REQUIRED],
};

/// Reads all volumes.
pub(crate) fn disks(
    volumes: &[Value],
    memory: Option<&Memory>,
    reading: &mut Reading,
) -> Option<Vec<Disk>> {
    let mut disks: Vec<Disk> = Vec::with_capacity(volumes.len());
    let mut complete = true;
    for value in volumes {
        let Some(section) = Section::open(value, &DISK, reading) else {
            complete = false;
            continue;
        };
        let Some(disk) = disk(&section, reading) else {
            complete = false;
            continue;
        };
        if disks.iter().any(|other| other.path == disk.path) {
            let message = format!(
                "{} is another volume's",
                quote(&disk.path.to_string_lossy())
            );
            reading.refuse(section.span_of(&PATH), Fault::new(message));
        }
        disks.push(disk);
    }
    if let (Some(first), Some(memory)) = (volumes.first(), memory) {
        fits(first, volumes.len(), memory, reading);
    }
    complete.then_some(disks)
}

fn disk(section: &Section<'_>, reading: &mut Reading) -> Option<Disk> {
    let (path, size) = (section.value(&PATH, reading), section.value(&SIZE, reading));
    let engine = section.value(&ENGINE, reading);
    let required = section.value(&REQUIRED, reading);
    Some(Disk {
        path: path?,
        size: size?,
        engine: engine?,
        on_failure: match required? {
            true => OnFailure::Stop,
            false => OnFailure::GoOn,
        },
    })
}

/// The disks' own memory is a part of `memory.size`.
fn fits(first: &Value, volumes: usize, memory: &Memory, reading: &mut Reading) {
    if volumes > VOLUMES_MAX {
        let message = format!("{volumes} volumes are more than {VOLUMES_MAX}");
        return reading.refuse(first.span, Fault::new(message));
    }
    let least = MEMORY_LEAST * volumes as u64;
    if memory.size < least {
        let (size, least) = (print_size(memory.size), print_size(least));
        let message = format!(
            "a memory of {} is too small for so many disks",
            quote(&size)
        );
        let hint = format!("in [memory], write size = \"{least}\" or more");
        reading.refuse(first.span, Fault::new(message).hint(hint));
    }
}

/// A path of something that may not be there yet.
#[derive(Copy, Clone, Debug)]
struct Place;

impl Read for Place {
    type Output = PathBuf;

    fn read(&self, value: &Value, reading: &mut Reading) -> Option<PathBuf> {
        let text = text(value, &self.accepts(), reading)?;
        let place = match text {
            "" => Err(Fault::new("expected a path, found ``")),
            text => Ok(reading.base.join(text)),
        };
        reading.keep(value.span, place)
    }

    fn accepts(&self) -> String {
        "the path of a file or directory".to_owned()
    }
}
