//! The file of names, beside that of purges: what is on disks is called by them.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use storage::purge::LogId;

use super::naming::{Known, Names};

/// Where names are kept.
#[derive(Debug)]
pub(super) struct NamesFile {
    path: PathBuf,
    log: LogId,
}

/// What is in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    /// The log of purges that what is named was stored under, in hexadecimal digits.
    log: String,
    names: Names,
}

/// The same, to be written.
#[derive(Serialize)]
struct Written<'a> {
    log: String,
    names: &'a Names,
}

fn digits(log: LogId) -> String {
    format!("{:016x}", log.0)
}

impl NamesFile {
    /// In a folder, of what is stored under a log of purges.
    pub(super) fn new(folder: &Path, log: LogId) -> Self {
        Self {
            path: folder.join("purges.names"),
            log,
        }
    }

    /// All names since that log began, if it is known that they are all.
    pub(super) fn read(&self) -> Option<Names> {
        let bytes = fs::read(&self.path).ok()?;
        let Read { log, names } = serde_json::from_slice(&bytes).ok()?;
        let all = log == digits(self.log) && names.is_sound() && names.known() == Known::All;
        all.then_some(names)
    }

    /// Writes names in the place of those before. It blocks until the disk has them.
    ///
    /// # Errors
    /// As the system has them; the file is as it was then.
    pub(super) fn write(&self, names: &Names) -> io::Result<()> {
        let log = digits(self.log);
        let draft = self.path.with_extension("names-new");
        let mut file = File::create(&draft)?;
        file.write_all(&serde_json::to_vec(&Written { log, names })?)?;
        file.sync_data()?;
        fs::rename(&draft, &self.path)?;
        match self.path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_of_this_log_or_not_whole_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let of = |log| NamesFile::new(folder.path(), LogId(log));
        assert!(of(7).read().is_none(), "none was written");
        of(7).write(&Names::default()).unwrap();
        assert_eq!(of(7).read(), Some(Names::default()));
        assert!(of(8).read().is_none(), "another log");
        let path = folder.path().join("purges.names");
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(of(7).read().is_none(), "cut");
    }
}
