//! `[memory]`.

use crate::kinds::{Bytes, Choice};
use crate::model::{Eviction, Memory};
use crate::problems::{Fault, quote};
use crate::setting::{Reading, Row, Rows, Section, Setting, Unset};
use crate::units::print_size;

const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

/// The share of the tier one response may take: as much as all fills under way together. Small memories lose bytes with
/// less, and next to no requests, since what is long and seldom asked for leaves first (`benches/RESULTS.md`).
const OBJECT_SHARE: u64 = 2;

const OBJECT_MAX_BYTES: u64 = 64 * MIB;

/// The share of memory that one response takes where disks have the longer ones. Memory that keeps to what is short
/// answers more requests.
const OBJECT_SHARE_ABOVE_DISKS: u64 = 64;

/// Slices of the default length are stored in every memory.
const OBJECT_LEAST_ABOVE_DISKS: u64 = MIB;

const SIZE: Setting<Bytes<u64>> = Setting {
    key: "size",
    unset: Unset::Is("\"512MiB\""),
    about: "Memory for stored responses, their heads included.",
    read: Bytes::new(MIB, 16 * TIB),
};

const OBJECT_MAX: Setting<Bytes<u64>> = Setting {
    key: "object_max",
    unset: Unset::Means {
        example: "\"64MiB\"",
        means: "\"64MiB\", or half of `size` if that is less; with a disk, a 64th of `size`, from \"1MiB\" to \"64MiB\"",
    },
    about: "The largest response that is stored in memory; at most half of `size`.",
    read: Bytes::new(1 << 10, 4 * TIB),
};

const EVICTION: Setting<Choice<Eviction>> = Setting {
    key: "eviction",
    unset: Unset::Is("\"gdsf\""),
    about: "Who leaves when it is full: \"gdsf\" keeps what is small and often used, \"lru\" what was used last.",
    read: Choice(&[("gdsf", Eviction::Gdsf), ("lru", Eviction::Lru)]),
};

pub(crate) const MEMORY: Rows = Rows {
    path: "memory",
    about: "The cache in memory.",
    rows: &[&SIZE as &dyn Row, &OBJECT_MAX, &EVICTION],
};

/// What is below memory.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Below {
    Disks,
    Nothing,
}

/// Reads `[memory]`.
pub(crate) fn memory(section: &Section<'_>, below: Below, reading: &mut Reading) -> Option<Memory> {
    let size = section.value(&SIZE, reading);
    let object_max = section.value(&OBJECT_MAX, reading);
    let eviction = section.value(&EVICTION, reading);

    let share = size? / OBJECT_SHARE;
    if let Some(object_max) = object_max
        && object_max > share
    {
        let message = format!(
            "{} is more than half of `size`",
            quote(&print_size(object_max))
        );
        let hint = format!("write at most \"{}\", or raise `size`", print_size(share));
        reading.refuse(section.span_of(&OBJECT_MAX), Fault::new(message).hint(hint));
    }
    let unset = match below {
        Below::Nothing => OBJECT_MAX_BYTES,
        Below::Disks => {
            (size? / OBJECT_SHARE_ABOVE_DISKS).clamp(OBJECT_LEAST_ABOVE_DISKS, OBJECT_MAX_BYTES)
        }
    };
    let object_max = object_max.unwrap_or_else(|| unset.min(share));
    Some(Memory {
        size: size?,
        object_max,
        eviction: eviction?,
    })
}
