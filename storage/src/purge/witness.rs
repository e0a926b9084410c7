//! A second witness of the log: what is stored on disks must notice when purges have gone missing from it.
//!
//! A log that lost its last records, or was replaced by an older one, looks like a sound log. So the last sequence is
//! written down once more, beside the stored responses that it concerns.

use std::fs::{File, OpenOptions};
use std::hash::Hasher as _;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use siphasher::sip::SipHasher24;

use super::{LogId, Sequence};

const MAGIC: &[u8; 8] = b"LRDWITN\x01";
/// Magic, log, sequence, check.
const LENGTH: usize = 8 + 8 + 8 + 8;

/// The file beside the stored responses.
#[derive(Debug)]
pub struct Witness {
    file: File,
    said: Option<Testimony>,
}

/// What a witness says of the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Testimony {
    /// Which log it was.
    pub log: LogId,
    /// The last sequence that was acknowledged.
    pub last: Sequence,
}

impl Witness {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.mode(0o600).open(path)?;
        let mut bytes = [0; LENGTH];
        let said = match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => parse(&bytes),
            Err(_) => None,
        };
        Ok(Self { file, said })
    }

    /// What it said last; none if it never said anything that can be understood.
    #[must_use]
    pub const fn said(&self) -> Option<Testimony> {
        self.said
    }

    /// Writes down what holds now. It survives the process at once, and a power cut a little later.
    ///
    /// # Errors
    /// What the system says.
    pub fn say(&mut self, now: Testimony) -> io::Result<()> {
        self.file.write_all_at(&encode(&now), 0)?;
        self.said = Some(now);
        Ok(())
    }
}

fn encode(testimony: &Testimony) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..16].copy_from_slice(&testimony.log.0.to_le_bytes());
    bytes[16..24].copy_from_slice(&testimony.last.0.to_le_bytes());
    let check = check(&bytes[..24]);
    bytes[24..].copy_from_slice(&check.to_le_bytes());
    bytes
}

fn parse(bytes: &[u8; LENGTH]) -> Option<Testimony> {
    let (said, stored) = bytes.split_at(24);
    let sound = said.starts_with(MAGIC) && check(said).to_le_bytes() == *stored;
    let testimony = Testimony {
        log: LogId(u64::from_le_bytes(said[8..16].try_into().ok()?)),
        last: Sequence(u64::from_le_bytes(said[16..24].try_into().ok()?)),
    };
    sound.then_some(testimony)
}

fn check(bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new();
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_it_said_last_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("witness");
        assert_eq!(Witness::open(&path).unwrap().said(), None);

        let said = Testimony {
            log: LogId(7),
            last: Sequence(9),
        };
        Witness::open(&path).unwrap().say(said).unwrap();
        assert_eq!(Witness::open(&path).unwrap().said(), Some(said));

        for at in 0..LENGTH {
            let mut bytes = encode(&said);
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(Witness::open(&path).unwrap().said(), None, "byte {at}");
        }
        std::fs::write(&path, &encode(&said)[..LENGTH - 1]).unwrap();
        assert_eq!(Witness::open(&path).unwrap().said(), None);
    }
}
