//! The embedded log of purges: one file, appended and synced before a purge is acknowledged.
//!
//! ```text
//! header   8 bytes of magic, with the format's version in the last
//! record   length u32 · sequence u64 · check u64 · payload        (little endian)
//! ```
//! The check is over length, sequence and payload. A torn tail, which a crash leaves, is cut off; anything else that
//! does not check is damage, and said so: what follows it cannot be trusted to be all there is.

use std::fs::{File, OpenOptions, TryLockError};
use std::hash::Hasher as _;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use bytes::{Buf as _, Bytes};
use siphasher::sip::SipHasher24;

use super::Sequence;

const MAGIC: &[u8; 8] = b"LRDPURG\x01";
/// Length, sequence and check.
const FRAME: usize = 4 + 8 + 8;
/// The longest payload of a record.
pub const RECORD_MAX: usize = 1 << 20;
/// A log is read into memory as a whole; beyond this it is refused.
const LOG_MAX: u64 = 1 << 30;

/// What went wrong with the log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The system refuses.
    #[error("{path}: {source}")]
    Io {
        /// The log's file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is no log of this format.
    #[error("{0}: this is no purge log that this version can read")]
    Foreign(PathBuf),
    /// Another process has the log open.
    #[error("{0}: another node uses this purge log")]
    InUse(PathBuf),
    /// The payload is longer than [`RECORD_MAX`].
    #[error("a purge of {0} bytes is too long to be logged")]
    TooLong(usize),
    /// An append failed before, and nothing is known of what is on the disk.
    #[error("the purge log cannot be written since an earlier error")]
    Broken,
}

/// What was found when the log was opened.
#[derive(Debug)]
pub struct Recovered {
    /// The records in their order.
    pub records: Vec<(Sequence, Bytes)>,
    /// Bytes of a torn tail that were cut off.
    pub torn: u64,
    /// Whether something in the middle was damaged: records behind it are lost.
    pub damage: Damage,
}

impl Recovered {
    /// Whether purges may be missing: then everything stored has to be validated.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        self.torn > 0 || self.damage == Damage::Found
    }
}

/// Whether the log can be trusted to be complete.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Damage {
    /// It can.
    None,
    /// It cannot: everything stored has to be validated.
    Found,
}

/// Where a record is, and what it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Appended {
    /// Its place in the order.
    pub sequence: Sequence,
}

/// The log, open for appending.
#[derive(Debug)]
pub struct PurgeLog {
    path: PathBuf,
    /// None keeps nothing.
    file: Option<File>,
    last: Sequence,
    state: State,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Sound,
    /// A failed write or sync leaves it open what the disk holds.
    Broken,
}

impl PurgeLog {
    /// Opens a log, or makes one, and reads what is in it.
    ///
    /// # Errors
    /// [`LogError::Foreign`] for a file that is something else, [`LogError::Io`] otherwise.
    pub fn open(path: &Path) -> Result<(Self, Recovered), LogError> {
        let failed = |source| LogError::Io {
            path: path.to_owned(),
            source,
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LogError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let length = file.metadata().map_err(failed)?.len();
        if length > LOG_MAX {
            return Err(LogError::Foreign(path.to_owned()));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() < MAGIC.len() && MAGIC.starts_with(&bytes) {
            // New, or torn while it was made.
            bytes = MAGIC.to_vec();
            file.set_len(0).map_err(failed)?;
            file.seek(SeekFrom::Start(0)).map_err(failed)?;
            file.write_all(MAGIC).map_err(failed)?;
            file.sync_all().map_err(failed)?;
        }
        if !bytes.starts_with(MAGIC) {
            return Err(LogError::Foreign(path.to_owned()));
        }
        let read = read_records(Bytes::from(bytes).slice(MAGIC.len()..));
        let sound = (MAGIC.len() + read.sound) as u64;
        file.set_len(sound).map_err(failed)?;
        file.seek(SeekFrom::Start(sound)).map_err(failed)?;
        let last = read.records.last().map_or(Sequence(0), |(last, _)| *last);
        let recovered = Recovered {
            records: read.records,
            torn: read.torn as u64,
            damage: read.damage,
        };
        let log = Self {
            path: path.to_owned(),
            file: Some(file),
            last,
            state: State::Sound,
        };
        Ok((log, recovered))
    }

    /// A log that counts and keeps nothing: enough where nothing that is stored outlives the process either.
    #[must_use]
    pub fn volatile() -> Self {
        Self {
            path: PathBuf::new(),
            file: None,
            last: Sequence(0),
            state: State::Sound,
        }
    }

    /// The last sequence given.
    #[must_use]
    pub const fn last(&self) -> Sequence {
        self.last
    }

    /// Appends a record and waits until the disk has it. It blocks.
    ///
    /// # Errors
    /// [`LogError`]; after an [`LogError::Io`] the log takes nothing more until it is opened again.
    pub fn append(&mut self, payload: &[u8]) -> Result<Appended, LogError> {
        if self.state == State::Broken {
            return Err(LogError::Broken);
        }
        if payload.len() > RECORD_MAX {
            return Err(LogError::TooLong(payload.len()));
        }
        let sequence = self.last.next();
        let record = frame(sequence, payload);
        let written = self.file.as_mut().map_or(Ok(()), |file| {
            file.write_all(&record).and_then(|()| file.sync_data())
        });
        if let Err(source) = written {
            self.state = State::Broken;
            return Err(LogError::Io {
                path: self.path.clone(),
                source,
            });
        }
        self.last = sequence;
        Ok(Appended { sequence })
    }
}

fn frame(sequence: Sequence, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut record = Vec::with_capacity(FRAME + payload.len());
    record.extend_from_slice(&length.to_le_bytes());
    record.extend_from_slice(&sequence.0.to_le_bytes());
    record.extend_from_slice(&check(length, sequence, payload).to_le_bytes());
    record.extend_from_slice(payload);
    record
}

fn check(length: u32, sequence: Sequence, payload: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new();
    hasher.write_u32(length);
    hasher.write_u64(sequence.0);
    hasher.write(payload);
    hasher.finish()
}

/// What the bytes of a log hold.
struct Read {
    records: Vec<(Sequence, Bytes)>,
    /// How many bytes of them are sound.
    sound: usize,
    torn: usize,
    damage: Damage,
}

fn read_records(bytes: Bytes) -> Read {
    let mut read = Read {
        records: Vec::new(),
        sound: 0,
        torn: 0,
        damage: Damage::None,
    };
    let mut rest = bytes;
    let mut last = Sequence(0);
    while !rest.is_empty() {
        let Some((sequence, payload)) = next_record(&mut rest, last) else {
            // A crash tears the last record only. Where a later one is sound, the one before it is damaged.
            read.damage = if any_record(&rest) {
                Damage::Found
            } else {
                Damage::None
            };
            read.torn = rest.len();
            break;
        };
        last = sequence;
        read.sound += FRAME + payload.len();
        read.records.push((sequence, payload));
    }
    read
}

/// Takes the next record off, if it is sound and in order.
fn next_record(rest: &mut Bytes, last: Sequence) -> Option<(Sequence, Bytes)> {
    let mut head = rest.get(..FRAME)?;
    let length = head.get_u32_le();
    let sequence = Sequence(head.get_u64_le());
    let stored = head.get_u64_le();
    let size = usize::try_from(length).ok()?;
    if size > RECORD_MAX || sequence <= last || rest.len() < FRAME + size {
        return None;
    }
    let payload = rest.slice(FRAME..FRAME + size);
    if check(length, sequence, &payload) != stored {
        return None;
    }
    rest.advance(FRAME + size);
    Some((sequence, payload))
}

/// Whether a sound record begins anywhere in the bytes.
fn any_record(bytes: &Bytes) -> bool {
    (1..bytes.len()).any(|start| next_record(&mut bytes.slice(start..), Sequence(0)).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_of(path: &Path, payloads: &[&[u8]]) -> PurgeLog {
        let (mut log, _) = PurgeLog::open(path).unwrap();
        for payload in payloads {
            log.append(payload).unwrap();
        }
        log
    }

    fn payloads(recovered: &Recovered) -> Vec<&[u8]> {
        let records = recovered.records.iter();
        records.map(|(_, payload)| &payload[..]).collect()
    }

    #[test]
    fn what_was_appended_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("purges");
        drop(log_of(&path, &[b"one", b"", b"three"]));
        let (mut log, recovered) = PurgeLog::open(&path).unwrap();
        assert_eq!(payloads(&recovered), [&b"one"[..], b"", b"three"]);
        assert_eq!((recovered.torn, recovered.damage), (0, Damage::None));
        assert_eq!(log.append(b"four").unwrap().sequence, Sequence(4));
    }

    #[test]
    fn a_log_cut_at_any_byte_keeps_every_whole_record() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("purges");
        drop(log_of(&path, &[b"one", b"second", b"3"]));
        let whole = std::fs::read(&path).unwrap();
        let ends = [8, 8 + FRAME + 3, 8 + 2 * FRAME + 9, 8 + 3 * FRAME + 10];
        for cut in 0..=whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let (mut log, recovered) = PurgeLog::open(&path).unwrap();
            let complete = ends
                .iter()
                .filter(|end| **end <= cut)
                .count()
                .saturating_sub(1);
            assert_eq!(recovered.records.len(), complete, "cut at {cut}");
            assert_eq!(recovered.damage, Damage::None, "cut at {cut}");
            // What was torn is gone: an append does not follow garbage.
            log.append(b"next").unwrap();
            drop(log);
            let (_, again) = PurgeLog::open(&path).unwrap();
            assert_eq!(payloads(&again).last(), Some(&&b"next"[..]), "cut at {cut}");
        }
    }

    #[test]
    fn a_flipped_bit_is_never_read_as_a_purge_and_damage_in_the_middle_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("purges");
        drop(log_of(&path, &[b"one", b"second", b"3"]));
        let whole = std::fs::read(&path).unwrap();
        let last = 8 + 2 * FRAME + 9;
        for at in 8..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            std::fs::write(&path, &flipped).unwrap();
            let (_, recovered) = PurgeLog::open(&path).unwrap();
            assert!(recovered.records.len() < 3, "flipped at {at}");
            let expected = if at < last {
                Damage::Found
            } else {
                Damage::None
            };
            assert_eq!(recovered.damage, expected, "flipped at {at}");
        }
    }

    #[test]
    fn a_log_has_one_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("purges");
        let owner = log_of(&path, &[b"one"]);
        assert!(matches!(PurgeLog::open(&path), Err(LogError::InUse(_))));
        drop(owner);
        assert_eq!(PurgeLog::open(&path).unwrap().0.last(), Sequence(1));
    }

    #[test]
    fn another_file_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        std::fs::write(&path, "dear diary").unwrap();
        assert!(matches!(PurgeLog::open(&path), Err(LogError::Foreign(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"dear diary");
    }

    #[test]
    fn a_payload_has_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = log_of(&folder.path().join("purges"), &[]);
        log.append(&vec![0; RECORD_MAX]).unwrap();
        let error = log.append(&vec![0; RECORD_MAX + 1]).unwrap_err();
        assert!(matches!(error, LogError::TooLong(_)));
        assert_eq!(log.last(), Sequence(1));
    }
}
