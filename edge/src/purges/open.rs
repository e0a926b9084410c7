//! The file of a node's purges when it starts: what is in it, and whether that is all there was.

use std::path::Path;

use bytes::Bytes;
use storage::purge::{self, LogError, LogFile, LogId, Sequence, Testimony, Witness};

use super::former::{Former, Stored};
use super::log::{LogState, LogStatus, PurgeLog};
use super::record::{self, Reason, Record};

/// A log's file, and what was in it.
pub(super) struct Opened {
    pub file: LogFile,
    pub records: Vec<(Sequence, Bytes)>,
    /// How often something was found to be missing.
    pub resets: u64,
}

impl Opened {
    pub(super) fn volatile(id: LogId) -> Self {
        Self {
            file: LogFile::volatile(id),
            records: Vec::new(),
            resets: 0,
        }
    }
}

/// The log in a folder and its records. Where some may be missing, the last one says so.
pub(super) fn open_log(folder: &Path, fresh: LogId) -> Result<Opened, LogError> {
    if let Err(error) = std::fs::create_dir_all(folder) {
        tracing::debug!(%error, "no folder for the purge log");
    }
    let (file, recovered) = LogFile::open(&folder.join("purges.log"), fresh)?;
    let mut opened = Opened {
        file,
        records: recovered.records,
        resets: 0,
    };
    if recovered.damage == purge::Damage::Found {
        tracing::error!(
            "the purge log is damaged: purges may be missing from it, and everything stored is validated"
        );
        opened.doubt(Reason::Damage)?;
    }
    Ok(opened)
}

/// What is known of purges when a node starts.
pub(super) struct Start {
    pub opened: Opened,
    pub witness: Option<Witness>,
    pub former: Former,
}

/// Reads the purges in a folder, and what was named how. What cannot be kept there is not kept beyond the process, and then
/// nothing of before is used again.
pub(super) fn begin(folder: Option<&Path>, witness: Option<&Path>) -> Start {
    let fresh = LogId(crate::token::number());
    let begun = folder.map(|folder| begin_in(folder, witness, fresh));
    let volatile = || {
        let mut opened = Opened::volatile(fresh);
        let witness = witness.and_then(|path| hear_witness(path, &mut opened.file));
        let former = Former::default();
        Start {
            opened,
            witness,
            former,
        }
    };
    match begun {
        Some(Ok(begun)) => begun,
        Some(Err(error)) => {
            tracing::warn!(%error, "purges are not kept beyond this process");
            volatile()
        }
        None => volatile(),
    }
}

fn begin_in(folder: &Path, witness: Option<&Path>, fresh: LogId) -> Result<Start, LogError> {
    let mut opened = open_log(folder, fresh)?;
    let Some(path) = witness else {
        return Ok(Start {
            opened,
            witness: None,
            former: Former::default(),
        });
    };
    let before = opened.file.id();
    let witness = hear_witness(path, &mut opened.file);
    let stored = match opened.file.id() == before {
        true => Stored::Under,
        false => Stored::Nothing,
    };
    let former = Former::open(folder, &mut opened, stored)?;
    Ok(Start {
        opened,
        witness,
        former,
    })
}

/// Up to where a log is applied when its file was read; one that others share is to tell.
pub(super) fn applied_at_start(log: &dyn PurgeLog) -> u64 {
    let LogStatus { last, state } = log.status();
    match state {
        LogState::Current => last,
        LogState::Unknown | LogState::Replaying(_) | LogState::Lagging(_) => 0,
    }
}

/// What the end of a log's file tells of the log.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Tail {
    /// What has to be taken from a sequence behind the last record for its place in the log.
    pub offset: i64,
    /// The last record, if it is a purge.
    pub last: Option<Last>,
}

/// The last purge of a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Last {
    pub sequence: Sequence,
    pub id: String,
    /// When the log's server took it, in nanoseconds since the server's epoch, where that is known.
    pub stamp: Option<u64>,
}

impl Tail {
    pub(super) fn of(records: &[(Sequence, Bytes)]) -> Self {
        let last = records.last().and_then(|(sequence, payload)| {
            let Record::Purge(order) = Record::read(payload) else {
                return None;
            };
            Some(Last {
                sequence: *sequence,
                id: order.id,
                stamp: record::stamp(payload),
            })
        });
        Self {
            offset: last_offset(records),
            last,
        }
    }
}

/// What a sequence behind the last record has to be taken from for its place.
pub(super) fn last_offset(records: &[(Sequence, Bytes)]) -> i64 {
    let newest_first = records.iter().rev();
    let mut offsets = newest_first.filter_map(|(_, payload)| match Record::read(payload) {
        Record::Doubt(doubt) => Some(doubt.offset),
        Record::Purge(_) | Record::Unknown => None,
    });
    offsets.next().unwrap_or_default()
}

/// Asks the witness whether this log is the one that the disks' responses were born under, and all of it. If it is not,
/// none of them may be used again: the log becomes another one.
pub(super) fn hear_witness(path: &Path, file: &mut LogFile) -> Option<Witness> {
    let opened = Witness::open(path);
    let mut witness = opened
        .inspect_err(|error| {
            let path = path.display();
            tracing::error!(%path, %error, "no witness of the purges: the disks begin empty");
        })
        .ok();
    let (log, last) = (file.id(), file.last());
    let trusted = match witness.as_ref().and_then(Witness::said) {
        None => false,
        Some(said) if said.log != log => {
            tracing::error!("the purge log is not the one that the disks know: they begin empty");
            false
        }
        Some(said) if said.last > last => {
            let (said, last) = (said.last.0, last.0);
            tracing::error!(
                said,
                last,
                "purges are missing from the log: the disks begin empty"
            );
            false
        }
        Some(_) => true,
    };
    if !trusted && let Err(error) = file.renew(LogId(crate::token::number())) {
        tracing::error!(%error, "the purge log cannot be renewed");
        return None;
    }
    let log = file.id();
    let now = Testimony { log, last };
    if let Some(Err(error)) = witness.as_mut().map(|witness| witness.say(now)) {
        tracing::error!(%error, "the witness of the purges cannot be written");
    }
    witness
}
