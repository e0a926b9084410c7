//! Dropping the oldest records of a log: it would grow for ever.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use bytes::Bytes;

use super::{HEADER, LogError, LogFile, State, frame, header, read_records};
use crate::purge::Sequence;

impl LogFile {
    /// Its length in bytes.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.end
    }

    /// Drops some of the oldest records, as many as `choose` says of all. A record with the payload that it gives takes
    /// their place, at the last sequence that is dropped: it says to whoever opens the log that they are missing. It
    /// blocks while all that is left is written anew; a crash leaves the log as it was, or as it is to be.
    ///
    /// # Errors
    /// [`LogError`]; the log is as it was then, and goes on.
    pub fn shorten(
        &mut self,
        choose: impl FnOnce(&[Record]) -> Option<(usize, Bytes)>,
    ) -> Result<(), LogError> {
        self.sync()?;
        if self.file.is_none() || self.state == State::Broken {
            return Ok(());
        }
        let shortened = self.shortened(choose);
        let shortened = shortened.map_err(|source| LogError::Io {
            path: self.path.clone(),
            source,
        })?;
        if let Some((file, end)) = shortened {
            self.file = Some(file);
            self.end = end;
        }
        Ok(())
    }

    /// The new file and its length, or none where there is nothing to drop.
    fn shortened(
        &self,
        choose: impl FnOnce(&[Record]) -> Option<(usize, Bytes)>,
    ) -> io::Result<Option<(File, u64)>> {
        let bytes = Bytes::from(fs::read(&self.path)?);
        let records = read_records(bytes.slice(HEADER.min(bytes.len())..), self.id).records;
        let Some((count, instead)) = choose(&records) else {
            return Ok(None);
        };
        let (dropped, kept) = records.split_at(count.min(records.len()));
        let Some((at, _)) = dropped.last() else {
            return Ok(None);
        };
        let mut bytes = header(self.id, self.last).to_vec();
        frame(*at, &instead, &mut bytes);
        for (sequence, payload) in kept {
            frame(*sequence, payload, &mut bytes);
        }
        let draft = self.path.with_extension("new");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        let mut file = options.open(&draft)?;
        // Before it has the log's name: the log never is without an owner.
        file.try_lock().map_err(io::Error::from)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&draft, &self.path)?;
        let folder = self.path.parent().unwrap_or_else(|| Path::new("."));
        File::open(folder)?.sync_all()?;
        Ok(Some((file, bytes.len() as u64)))
    }
}

/// A record and its sequence.
type Record = (Sequence, Bytes);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::purge::{Damage, LogId};

    #[test]
    fn a_shortened_log_tells_that_it_is_and_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("purges.log");
        let (mut log, _) = LogFile::open(&path, LogId(1)).unwrap();
        for number in 0..10_u8 {
            log.append(&[Bytes::from(vec![number; 100])]).unwrap();
        }
        let before = log.length();
        let instead = Bytes::from_static(b"missing");
        log.shorten(|records| Some((records.len() - 3, instead.clone())))
            .unwrap();
        assert!(log.length() < before);
        assert!(LogFile::open(&path, LogId(2)).is_err(), "it has its owner");
        log.append(&[Bytes::from_static(b"next")]).unwrap();
        drop(log);
        let (mut log, found) = LogFile::open(&path, LogId(3)).unwrap();
        assert_eq!((log.id(), found.damage), (LogId(1), Damage::None));
        let sequences: Vec<_> = found
            .records
            .iter()
            .map(|(sequence, _)| sequence.0)
            .collect();
        assert_eq!(sequences, [7, 8, 9, 10, 11]);
        assert_eq!(found.records[0].1, instead);
        assert_eq!(found.records[4].1, "next");
        // There is nothing to drop.
        log.shorten(|_| None).unwrap();
        log.shorten(|_| Some((0, instead.clone()))).unwrap();
        drop(log);
        let (_, found) = LogFile::open(&path, LogId(4)).unwrap();
        assert_eq!(found.records.len(), 5);
    }
}
