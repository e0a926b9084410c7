//! What can go wrong, by what the caller does about it.

use std::io;
use std::path::PathBuf;

/// Why a disk tier was not opened. Each is for the operator to put right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No volume was named, or more than 64.
    #[error("a disk tier has 1 to 64 volumes, not {0}")]
    Volumes(usize),
    /// The settings make no usable volume.
    #[error(
        "{path}: a volume of {size} bytes is too small for segments of {segment} bytes; it needs at least {needed}"
    )]
    TooSmall {
        /// Which volume.
        path: PathBuf,
        /// Its configured size.
        size: u64,
        /// The configured segment size.
        segment: u64,
        /// The smallest size that works.
        needed: u64,
    },
    /// The segment size is out of range.
    #[error("a segment has 16 KiB to 1 GiB, not {0} bytes")]
    Segment(u64),
    /// This program has no such engine.
    #[error(
        "{path}: engine = \"foyer\" is not built into this program; build it with `--features foyer`, or leave the engine out"
    )]
    NotBuilt {
        /// Which volume asks for it.
        path: PathBuf,
    },
    /// The file cannot be opened or made.
    #[error("{path}: cannot open the volume")]
    Unusable {
        /// Which volume.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file system has less room than was promised.
    #[error("{path}: the file system has no room for {size} bytes")]
    NoRoom {
        /// Which volume.
        path: PathBuf,
        /// Its configured size.
        size: u64,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process, or another volume of this one, has the file.
    #[error("{path}: the volume is in use by another process")]
    InUse {
        /// Which volume.
        path: PathBuf,
    },
    /// The file is not empty and not a volume: it is somebody's data, and stays as it is.
    #[error("{path}: the file is not a volume; remove it or choose another path")]
    Foreign {
        /// Which file.
        path: PathBuf,
    },
    /// A thread could not be started.
    #[error("cannot start a thread for the disk tier")]
    Threads(#[source] io::Error),
}

/// Why an object, or the rest of it, cannot be read. To a request, each is a miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// Its segment has been reclaimed, or it was not the object that was asked for.
    #[error("the object is no longer there")]
    Gone,
    /// A checksum does not match. The object has been dropped.
    #[error("the stored bytes are damaged")]
    Damaged,
    /// The device failed.
    #[error("the disk failed: {0}")]
    Failed(io::ErrorKind),
    /// Too many reads wait for the disk.
    #[error("too many reads wait for the disk")]
    Busy,
    /// The disk did not answer in time.
    #[error("the disk did not answer in time")]
    Slow,
    /// The volume has been taken out after too many faults, or the tier was closed.
    #[error("the volume is out of service")]
    Offline,
}

/// Why nothing was written. To a request, none of them matters: it has its response already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The head or the body is longer than may be stored.
    #[error("too long to be stored")]
    TooLong,
    /// The body is not as long as was announced.
    #[error("not the announced length")]
    WrongLength,
    /// The disk cannot keep up, or has no segment free yet.
    #[error("the disk cannot keep up")]
    Busy,
    /// The volume has been taken out, or the tier was closed.
    #[error("the volume is out of service")]
    Offline,
    /// What was to be updated has been replaced, removed or reclaimed, or was never read.
    #[error("no longer the stored object")]
    Gone,
}

/// What cannot be inspected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// The file cannot be read.
    #[error("{path}: cannot read the volume")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is not a volume of this format.
    #[error("{path}: not a volume of this format")]
    NotAVolume {
        /// Which file.
        path: PathBuf,
    },
}
