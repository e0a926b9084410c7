//! A log in one file: appended and synced before anybody hears that a purge is accepted.
//!
//! ```text
//! header   8 bytes of magic, with the format's version in the last · id u64 · mark u64 · check u64
//! record   length u32 · sequence u64 · check u64 · payload        (little endian)
//! ```
//! The checks are over what stands before them and, in a record, the payload. The mark is the last sequence that was
//! synced: a log that ends before it has lost what somebody relies on. A torn tail behind it, which a crash leaves, was
//! never acknowledged and is cut off. Anything else that does not check is damage, and said so.

mod shorten;

use std::fs::{File, OpenOptions, TryLockError};
use std::hash::Hasher as _;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use bytes::{Buf as _, Bytes};
use siphasher::sip::SipHasher24;

use super::Sequence;

const MAGIC: &[u8; 8] = b"LRDPURG\x02";
/// Magic, id, mark and check.
const HEADER: usize = 8 + 8 + 8 + 8;
/// Length, sequence and check.
const FRAME: usize = 4 + 8 + 8;
/// The longest payload of a record.
pub const RECORD_MAX: usize = 1 << 20;
/// A log is read into memory as a whole; beyond this it takes nothing more, and is refused.
const LOG_MAX: u64 = 1 << 30;

/// Tells a log from every other one, also from one that had its name before. Sequences of different logs cannot be
/// compared.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct LogId(pub u64);

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
    #[error(
        "{0}: this is no purge log that this version can read; once it is moved away, the next start begins another"
    )]
    Foreign(PathBuf),
    /// Another process has the log open.
    #[error("{0}: another node uses this purge log")]
    InUse(PathBuf),
    /// The payload is longer than [`RECORD_MAX`].
    #[error("a purge of {0} bytes is too long to be logged")]
    TooLong(usize),
    /// The file has reached its limit.
    #[error("{0}: the purge log is full")]
    Full(PathBuf),
    /// A sequence that does not follow the last one.
    #[error("sequence {0:?} is not beyond the last one of the purge log")]
    Order(Sequence),
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
    /// Whether something that was synced is lost.
    pub damage: Damage,
}

/// Whether the log can be trusted to be complete.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Damage {
    /// It can.
    None,
    /// It cannot: everything stored has to be validated. The log has got another id.
    Found,
}

/// The log, open for appending.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    /// None keeps nothing.
    file: Option<File>,
    id: LogId,
    last: Sequence,
    /// The last sequence that the header vouches for.
    mark: Sequence,
    /// Where the next record goes.
    end: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Sound,
    /// A failed write or sync leaves it open what the disk holds.
    Broken,
}

impl LogFile {
    /// Opens a log, or makes one, and reads what is in it. One that is made, or damaged, takes the id `fresh`, which
    /// no log had before.
    ///
    /// # Errors
    /// [`LogError::Foreign`] for a file that is something else, [`LogError::InUse`] where it has an owner,
    /// [`LogError::Io`] otherwise.
    pub fn open(path: &Path, fresh: LogId) -> Result<(Self, Recovered), LogError> {
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
        let bytes = Bytes::from(bytes);
        let Some(read) = read_log(&bytes, fresh) else {
            return Err(LogError::Foreign(path.to_owned()));
        };
        let log = Self {
            path: path.to_owned(),
            file: Some(file),
            id: read.id,
            last: read.last,
            mark: read.last,
            end: (HEADER + read.sound) as u64,
            state: State::Sound,
        };
        log.begin().map_err(failed)?;
        let recovered = Recovered {
            records: read.records,
            torn: read.torn as u64,
            damage: read.damage,
        };
        Ok((log, recovered))
    }

    /// Cuts off what is not sound, and writes the header.
    fn begin(&self) -> io::Result<()> {
        if let Some(file) = &self.file {
            file.set_len(self.end.max(HEADER as u64))?;
            file.write_all_at(&header(self.id, self.mark), 0)?;
            file.sync_all()?;
        }
        Ok(())
    }

    /// A log that counts and keeps nothing: enough where nothing that is stored outlives the process either.
    #[must_use]
    pub fn volatile(id: LogId) -> Self {
        Self {
            path: PathBuf::new(),
            file: None,
            id,
            last: Sequence(0),
            mark: Sequence(0),
            end: 0,
            state: State::Sound,
        }
    }

    /// Which log it is.
    #[must_use]
    pub const fn id(&self) -> LogId {
        self.id
    }

    /// Makes it another log: what was born under it before can no longer be compared with it. For one that was found to
    /// have lost records. It blocks.
    ///
    /// # Errors
    /// [`LogError::Io`]; it takes nothing more then.
    pub fn renew(&mut self, fresh: LogId) -> Result<(), LogError> {
        self.id = fresh;
        let begun = self.begin();
        self.or_broken(begun)
    }

    /// The last sequence given.
    #[must_use]
    pub const fn last(&self) -> Sequence {
        self.last
    }

    /// Appends records with the sequences that follow, and waits until the disk has them all. It blocks.
    ///
    /// # Errors
    /// [`LogError`]; after an [`LogError::Io`] the log takes nothing more until it is opened again.
    pub fn append(&mut self, payloads: &[Bytes]) -> Result<(), LogError> {
        let first = self.last.next().0;
        let numbered: Vec<_> = (first..)
            .map(Sequence)
            .zip(payloads.iter().cloned())
            .collect();
        self.write(&numbered)?;
        self.sync()
    }

    /// Appends records whose sequences another log gave, each beyond the one before. The system writes them when it
    /// likes, or at [`sync`](Self::sync).
    ///
    /// # Errors
    /// [`LogError`], as for [`append`](Self::append).
    pub fn write(&mut self, records: &[(Sequence, Bytes)]) -> Result<(), LogError> {
        if self.state == State::Broken {
            return Err(LogError::Broken);
        }
        let mut bytes = Vec::new();
        let mut last = self.last;
        for (sequence, payload) in records {
            if payload.len() > RECORD_MAX {
                return Err(LogError::TooLong(payload.len()));
            }
            if *sequence <= last {
                return Err(LogError::Order(*sequence));
            }
            last = *sequence;
            frame(*sequence, payload, &mut bytes);
        }
        if self.end + bytes.len() as u64 > LOG_MAX {
            return Err(LogError::Full(self.path.clone()));
        }
        let file = self.file.as_ref();
        let written = file.map_or(Ok(()), |file| file.write_all_at(&bytes, self.end));
        self.or_broken(written)?;
        self.end += bytes.len() as u64;
        self.last = last;
        Ok(())
    }

    /// Waits until the disk has everything. It blocks.
    ///
    /// # Errors
    /// [`LogError`], as for [`append`](Self::append).
    pub fn sync(&mut self) -> Result<(), LogError> {
        if self.state == State::Broken {
            return Err(LogError::Broken);
        }
        if self.mark == self.last {
            return Ok(());
        }
        let header = header(self.id, self.last);
        let synced = self.file.as_ref().map_or(Ok(()), |file| {
            file.write_all_at(&header, 0)?;
            file.sync_data()
        });
        self.or_broken(synced)?;
        self.mark = self.last;
        Ok(())
    }

    fn or_broken(&mut self, done: io::Result<()>) -> Result<(), LogError> {
        done.map_err(|source| {
            self.state = State::Broken;
            LogError::Io {
                path: self.path.clone(),
                source,
            }
        })
    }
}

fn header(id: LogId, mark: Sequence) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(MAGIC);
    header[8..16].copy_from_slice(&id.0.to_le_bytes());
    header[16..24].copy_from_slice(&mark.0.to_le_bytes());
    let mut hasher = SipHasher24::new();
    hasher.write(&header[..24]);
    header[24..].copy_from_slice(&hasher.finish().to_le_bytes());
    header
}

fn frame(sequence: Sequence, payload: &[u8], to: &mut Vec<u8>) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    to.extend_from_slice(&length.to_le_bytes());
    to.extend_from_slice(&sequence.0.to_le_bytes());
    to.extend_from_slice(&check(length, sequence, payload).to_le_bytes());
    to.extend_from_slice(payload);
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
    id: LogId,
    records: Vec<(Sequence, Bytes)>,
    last: Sequence,
    /// How many bytes of records are sound.
    sound: usize,
    torn: usize,
    damage: Damage,
}

/// Nothing where it is another file.
fn read_log(bytes: &Bytes, fresh: LogId) -> Option<Read> {
    let start = bytes.get(..MAGIC.len()).unwrap_or(bytes);
    if !MAGIC.starts_with(start) {
        return None;
    }
    if bytes.len() < HEADER {
        // New, or torn while it was made.
        return Some(Read {
            id: fresh,
            records: Vec::new(),
            last: Sequence(0),
            sound: 0,
            torn: 0,
            damage: Damage::None,
        });
    }
    let mut head = &bytes[MAGIC.len()..HEADER];
    let (id, mark) = (LogId(head.get_u64_le()), Sequence(head.get_u64_le()));
    let is_sound = bytes[..HEADER] == header(id, mark);
    let mut read = read_records(bytes.slice(HEADER..), id);
    if !is_sound || (mark > read.last) {
        read.damage = Damage::Found;
    }
    if read.damage == Damage::Found {
        read.id = fresh;
        if is_sound {
            // What was given is not given again.
            read.last = read.last.max(mark);
        }
    }
    Some(read)
}

fn read_records(bytes: Bytes, id: LogId) -> Read {
    let mut read = Read {
        id,
        records: Vec::new(),
        last: Sequence(0),
        sound: 0,
        torn: 0,
        damage: Damage::None,
    };
    let mut rest = bytes;
    while !rest.is_empty() {
        let Some((sequence, payload)) = next_record(&mut rest, read.last) else {
            // A crash tears the last write only. Where a later record is sound, the one before it is damaged.
            if any_record(&rest) {
                read.damage = Damage::Found;
            }
            read.torn = rest.len();
            break;
        };
        read.last = sequence;
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

    const ID: LogId = LogId(7);
    const OTHER: LogId = LogId(8);

    fn open(path: &Path) -> (LogFile, Recovered) {
        LogFile::open(path, OTHER).unwrap()
    }

    fn log_of(path: &Path, payloads: &[&'static [u8]]) -> LogFile {
        let (mut log, _) = LogFile::open(path, ID).unwrap();
        for payload in payloads {
            log.append(&[Bytes::from_static(payload)]).unwrap();
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
        let (mut log, recovered) = open(&path);
        assert_eq!(payloads(&recovered), [&b"one"[..], b"", b"three"]);
        assert_eq!((recovered.torn, recovered.damage), (0, Damage::None));
        assert_eq!(log.id(), ID);
        log.append(&[Bytes::from_static(b"four"), Bytes::from_static(b"five")])
            .unwrap();
        assert_eq!(log.last(), Sequence(5));
    }

    #[test]
    fn sequences_of_another_log_are_kept_and_never_go_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("purges");
        let (mut log, _) = open(&path);
        let record = |sequence| (Sequence(sequence), Bytes::from_static(b"x"));
        log.write(&[record(5), record(9)]).unwrap();
        log.sync().unwrap();
        for wrong in [[record(9)], [record(3)]] {
            assert!(matches!(log.write(&wrong), Err(LogError::Order(_))));
        }
        drop(log);
        let (log, recovered) = open(&path);
        let sequences: Vec<_> = recovered.records.iter().map(|(it, _)| it.0).collect();
        assert_eq!((sequences, log.last()), (vec![5, 9], Sequence(9)));
    }

    #[test]
    fn a_log_cut_at_any_byte_keeps_every_whole_record_and_knows_what_it_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("purges");
        drop(log_of(&path, &[b"one", b"second", b"3"]));
        let whole = std::fs::read(&path).unwrap();
        let ends = [FRAME + 3, 2 * FRAME + 9, 3 * FRAME + 10].map(|end| HEADER + end);
        for cut in HEADER..=whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let (mut log, recovered) = open(&path);
            let complete = ends.iter().filter(|end| **end <= cut).count();
            assert_eq!(recovered.records.len(), complete, "cut at {cut}");
            let (damage, id) = match complete {
                3 => (Damage::None, ID),
                _ => (Damage::Found, OTHER),
            };
            assert_eq!((recovered.damage, log.id()), (damage, id), "cut at {cut}");
            // What was torn is gone: an append does not follow garbage, and no number is given twice.
            log.append(&[Bytes::from_static(b"next")]).unwrap();
            assert_eq!(log.last(), Sequence(4), "cut at {cut}");
            drop(log);
            let (_, again) = open(&path);
            assert_eq!(payloads(&again).last(), Some(&&b"next"[..]), "cut at {cut}");
            assert_eq!(again.damage, Damage::None, "cut at {cut}");
        }
        for cut in 0..HEADER {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let (log, recovered) = open(&path);
            assert!(recovered.records.is_empty(), "cut at {cut}");
            assert_eq!(log.id(), OTHER, "cut at {cut}");
        }
    }

    #[test]
    fn what_was_never_synced_may_be_torn() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("purges");
        drop(log_of(&path, &[b"one"]));
        let mut bytes = std::fs::read(&path).unwrap();
        let mut torn = Vec::new();
        frame(Sequence(2), b"two", &mut torn);
        for length in 0..torn.len() {
            bytes.truncate(HEADER + FRAME + 3);
            bytes.extend_from_slice(&torn[..length]);
            std::fs::write(&path, &bytes).unwrap();
            let (log, recovered) = open(&path);
            assert_eq!((recovered.damage, log.id()), (Damage::None, ID));
            assert_eq!(recovered.torn, length as u64);
        }
    }

    #[test]
    fn a_flipped_bit_is_never_read_as_a_purge_and_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("purges");
        drop(log_of(&path, &[b"one", b"second", b"3"]));
        let whole = std::fs::read(&path).unwrap();
        for at in MAGIC.len()..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            std::fs::write(&path, &flipped).unwrap();
            let (log, recovered) = open(&path);
            assert_eq!(recovered.damage, Damage::Found, "flipped at {at}");
            assert_eq!(log.id(), OTHER, "flipped at {at}");
            assert!(
                recovered.records.len() < 3 || at < HEADER,
                "flipped at {at}"
            );
        }
    }

    #[test]
    fn a_log_that_is_renewed_keeps_its_records_under_another_id() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("purges");
        let mut log = log_of(&path, &[b"one"]);
        log.renew(LogId(77)).unwrap();
        log.append(&[Bytes::from_static(b"two")]).unwrap();
        drop(log);
        let (log, recovered) = open(&path);
        assert_eq!(log.id(), LogId(77));
        assert_eq!(payloads(&recovered), [&b"one"[..], b"two"]);
    }

    #[test]
    fn a_log_has_one_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("purges");
        let owner = log_of(&path, &[b"one"]);
        assert!(matches!(
            LogFile::open(&path, OTHER),
            Err(LogError::InUse(_))
        ));
        drop(owner);
        assert_eq!(open(&path).0.last(), Sequence(1));
    }

    #[test]
    fn another_file_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        for text in ["dear diary", "LRDPURG\x01 of another version"] {
            std::fs::write(&path, text).unwrap();
            let opened = LogFile::open(&path, OTHER);
            assert!(matches!(opened, Err(LogError::Foreign(_))));
            assert_eq!(std::fs::read(&path).unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn a_payload_has_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = log_of(&folder.path().join("purges"), &[]);
        log.append(&[vec![0; RECORD_MAX].into()]).unwrap();
        let error = log.append(&[vec![0; RECORD_MAX + 1].into()]).unwrap_err();
        assert!(matches!(error, LogError::TooLong(_)));
        assert_eq!(log.last(), Sequence(1));
    }
}
