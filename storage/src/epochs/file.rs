//! The file of epochs: a header, and a record for each invalidation.
//!
//! An older copy of the file looks as sound as the file. So the greatest number is written down once more, beside what is
//! stored: a file that does not reach it has lost invalidations, and nothing of it holds.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::hash::Hasher as _;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use siphasher::sip::SipHasher24;

use super::KEYS_MAX;
use crate::Key;
use crate::purge::{LogId, Sequence, Testimony, Witness};

const MAGIC: &[u8; 8] = b"LRDEPOC\x01";
/// A header: magic, log, base, check. A record: key, number, check.
const RECORD: usize = 32;
const CHECKED: usize = RECORD - 8;

/// Records after which the file is written anew, with what is in force: at most 8 MiB of them.
const RECORDS_MAX: usize = 4 * KEYS_MAX;

pub(super) struct EpochsFile {
    path: PathBuf,
    log: LogId,
    state: Mutex<State>,
    /// What it says last is the greatest number.
    witness: Mutex<Option<Witness>>,
}

/// What a new file outlives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lasts {
    TheProcess,
    PowerCuts,
}

enum State {
    /// There is no file yet.
    NotBegun,
    Open {
        file: File,
        saved: Saved,
        records: usize,
    },
    /// It could not be written, and was taken away.
    Failed,
}

/// What is in a file.
pub(super) struct Saved {
    pub(super) base: u64,
    pub(super) listed: HashMap<Key, u64>,
}

impl Saved {
    fn new(base: u64) -> Self {
        let listed = HashMap::new();
        Self { base, listed }
    }

    fn greatest(&self) -> u64 {
        self.listed.values().copied().fold(self.base, u64::max)
    }

    /// False if a later one came first: the greater number is in force.
    fn add(&mut self, key: Key, number: u64) -> bool {
        let known = self.listed.get(&key).copied().unwrap_or(self.base);
        let is_later = number > known;
        if is_later {
            self.listed.insert(key, number);
        }
        is_later
    }
}

impl EpochsFile {
    /// The file, and what is in it if all of that can be believed.
    pub(super) fn open(path: &Path, witness: &Path, log: LogId) -> (Self, Option<Saved>) {
        let read = fs::read(path).ok();
        let witness = Witness::open(witness)
            .inspect_err(|error| tracing::warn!(%error, "no witness of the epochs"))
            .ok();
        let said = witness.as_ref().and_then(Witness::said);
        let reached = |saved: &Saved| {
            said.is_some_and(|said| said.log == log && said.last.0 <= saved.greatest())
        };
        let saved = read.as_deref().and_then(|bytes| parse(bytes, log));
        let saved = saved.filter(reached);
        let file = Self {
            path: path.to_path_buf(),
            log,
            state: Mutex::new(State::NotBegun),
            witness: Mutex::new(witness),
        };
        let Some(saved) = saved else {
            if read.is_some() {
                tracing::warn!(path = %path.display(), "the file of epochs is not this log's, an older one, or damaged: what is stored of queries is not found");
                file.discard();
            }
            return (file, None);
        };
        // What is known is written once more: nothing is appended to what was not read.
        let known = Saved {
            base: saved.base,
            listed: saved.listed.clone(),
        };
        if let Err(error) = file.replace(known) {
            tracing::warn!(%error, "the file of epochs cannot be written: what is stored of queries is not found");
            return (file, None);
        }
        (file, Some(saved))
    }

    /// Makes the file, if there is none.
    pub(super) fn begin(&self, base: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        match *state {
            // Nothing was invalidated yet: without the file, the next start finds nothing.
            State::NotBegun => self.replace_in(&mut state, Saved::new(base), Lasts::TheProcess),
            State::Open { .. } | State::Failed => Ok(()),
        }
    }

    /// Forgets all records that are not later.
    pub(super) fn renew(&self, base: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        let mut renewed = Saved::new(base);
        match &*state {
            State::Failed => return Ok(()),
            State::NotBegun => {}
            State::Open { saved, .. } => {
                let later = saved.listed.iter().filter(|(_, number)| **number > base);
                renewed.listed = later.map(|(key, number)| (*key, *number)).collect();
                renewed.base = base.max(saved.base);
            }
        }
        self.replace_in(&mut state, renewed, Lasts::PowerCuts)
    }

    /// Adds a record; it survives a power cut when this returns. A file that is not there yet begins with `base`.
    pub(super) fn append(&self, (key, number): (Key, u64), base: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        if let State::NotBegun = *state {
            self.replace_in(&mut state, Saved::new(base), Lasts::PowerCuts)?;
        }
        let State::Open {
            file,
            saved,
            records,
        } = &mut *state
        else {
            // Without a file, the next start finds nothing.
            return Ok(());
        };
        if !saved.add(key, number) {
            return Ok(());
        }
        *records += 1;
        let written = file
            .write_all(&record(key, number))
            .and_then(|()| file.sync_data())
            .and_then(|()| self.say(number));
        if let Err(error) = written {
            *state = State::Failed;
            self.discard();
            return Err(error);
        }
        if *records > RECORDS_MAX {
            let saved = Saved {
                base: saved.base,
                listed: std::mem::take(&mut saved.listed),
            };
            return self.replace_in(&mut state, saved, Lasts::PowerCuts);
        }
        Ok(())
    }

    fn replace(&self, saved: Saved) -> io::Result<()> {
        self.replace_in(&mut self.state.lock(), saved, Lasts::PowerCuts)
    }

    /// Writes a new file in the place of the old one.
    fn replace_in(&self, state: &mut State, saved: Saved, lasts: Lasts) -> io::Result<()> {
        // The witness first: who finds the file finds it believed.
        let written = self.say(saved.greatest());
        match written.and_then(|()| self.write_new(&saved, lasts)) {
            Ok(file) => {
                let records = saved.listed.len();
                *state = State::Open {
                    file,
                    saved,
                    records,
                };
                Ok(())
            }
            Err(error) => {
                *state = State::Failed;
                self.discard();
                Err(error)
            }
        }
    }

    fn write_new(&self, saved: &Saved, lasts: Lasts) -> io::Result<File> {
        let beside = self.path.with_extension("new");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&beside)?;
        let mut bytes = header(self.log, saved.base).to_vec();
        for (key, number) in &saved.listed {
            bytes.extend_from_slice(&record(*key, *number));
        }
        file.write_all(&bytes)?;
        if lasts == Lasts::PowerCuts {
            file.sync_data()?;
        }
        fs::rename(&beside, &self.path)?;
        if lasts == Lasts::PowerCuts {
            let folder = self.path.parent().unwrap_or_else(|| Path::new("."));
            File::open(folder)?.sync_all()?;
        }
        Ok(file)
    }

    /// Tells the witness of a number that the file has, or is about to have.
    fn say(&self, number: u64) -> io::Result<()> {
        let mut witness = self.witness.lock();
        let Some(witness) = &mut *witness else {
            // The next start believes nothing.
            return Ok(());
        };
        // Two numbers may come in another order than they were given.
        let said = witness.said().filter(|said| said.log == self.log);
        let last = Sequence(number.max(said.map_or(0, |said| said.last.0)));
        witness.say(Testimony {
            log: self.log,
            last,
        })
    }

    fn discard(&self) {
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::error!(%error, path = %self.path.display(), "a file of epochs that must not be believed cannot be removed");
        }
    }
}

fn header(log: LogId, base: u64) -> [u8; RECORD] {
    let mut bytes = [0; RECORD];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..16].copy_from_slice(&log.0.to_le_bytes());
    bytes[16..24].copy_from_slice(&base.to_le_bytes());
    checked(bytes)
}

fn record(key: Key, number: u64) -> [u8; RECORD] {
    let mut bytes = [0; RECORD];
    bytes[..16].copy_from_slice(&key.0);
    bytes[16..24].copy_from_slice(&number.to_le_bytes());
    checked(bytes)
}

fn checked(mut bytes: [u8; RECORD]) -> [u8; RECORD] {
    let check = check(&bytes[..CHECKED]);
    bytes[CHECKED..].copy_from_slice(&check);
    bytes
}

fn check(bytes: &[u8]) -> [u8; 8] {
    let mut hasher = SipHasher24::new();
    hasher.write(bytes);
    hasher.finish().to_le_bytes()
}

/// All of it, or nothing: what is missing might be an invalidation.
fn parse(bytes: &[u8], log: LogId) -> Option<Saved> {
    let (blocks, torn) = bytes.as_chunks::<RECORD>();
    let sound = |block: &[u8; RECORD]| check(&block[..CHECKED]) == block[CHECKED..];
    let fits = blocks.len() <= RECORDS_MAX + KEYS_MAX + 2;
    if !torn.is_empty() || !fits || !blocks.iter().all(sound) {
        return None;
    }
    let (head, records) = blocks.split_first()?;
    if !head.starts_with(MAGIC) || head[8..16] != log.0.to_le_bytes() {
        return None;
    }
    let mut saved = Saved::new(u64::from_le_bytes(head[16..24].try_into().ok()?));
    for block in records {
        let key = Key(block[..16].try_into().ok()?);
        saved.add(key, u64::from_le_bytes(block[16..24].try_into().ok()?));
    }
    Some(saved)
}
