//! How long the file of a log gets: what nobody needs any more is taken out of it.
//!
//! A purge is kept for the sake of what outlives the process, that is, of what is on disks; and the last ones are kept
//! for the audit trail. Beyond a limit the oldest go, needed or not: what was born before them is then validated after the
//! next start.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use storage::purge::{LogError, LogFile, Sequence};

use super::journal::KEPT_MAX;
use super::open::last_offset;
use super::record::{Doubt, Reason};

/// Bytes of the file; beyond them, the older half of it is dropped.
const LENGTH_MAX: u64 = 256 << 20;
/// Bytes of the file below which it is left alone.
const SPARED: u64 = 16 << 20;

/// Who looks after the length of a log's file.
#[derive(Debug)]
pub(crate) struct Upkeep {
    length_max: u64,
    spared: u64,
    /// Purges that are kept for the audit trail.
    kept: usize,
    /// Nothing that outlives the process was born before.
    outlived: Arc<AtomicU64>,
    /// The file is looked at when it is so long.
    next: u64,
}

impl Upkeep {
    /// As it is for every node. What is not needed is told by `outlived`.
    pub(crate) fn new(outlived: Arc<AtomicU64>) -> Self {
        Self {
            length_max: LENGTH_MAX,
            spared: SPARED,
            kept: KEPT_MAX,
            outlived,
            next: SPARED,
        }
    }

    /// Shortens the file if it is time. It blocks while what is left is written anew, which is rare: the file has to
    /// become twice as long in between.
    ///
    /// # Errors
    /// [`LogError`]; the file is as it was then.
    pub(crate) fn shorten(&mut self, file: &mut LogFile) -> Result<(), LogError> {
        if file.length() <= self.next {
            return Ok(());
        }
        let outlived = Sequence(self.outlived.load(Ordering::Acquire));
        let before = file.length();
        let shortened = file.shorten(|records| {
            let count = self.superfluous(records, before, outlived);
            let dropped = records.get(..count).filter(|dropped| !dropped.is_empty())?;
            let (doubt, offset) = (Reason::Shortened, last_offset(dropped));
            Some((count, Doubt { doubt, offset }.payload()))
        });
        self.next = match &shortened {
            Ok(()) => self.spared.max(2 * file.length()).min(self.length_max),
            // Not at every purge.
            Err(_) => before + self.spared,
        };
        if file.length() < before {
            tracing::info!(before, after = file.length(), "shortened the purge log");
        }
        shortened
    }

    /// How many of the oldest records may go.
    fn superfluous(&self, records: &[(Sequence, Bytes)], length: u64, outlived: Sequence) -> usize {
        let needless = records.partition_point(|(sequence, _)| *sequence <= outlived);
        let audited = records.len().saturating_sub(self.kept);
        let willing = needless.min(audited);
        if length <= self.length_max {
            return willing;
        }
        let mut left = self.length_max / 2;
        let newest_first = records.iter().rev();
        let kept = newest_first.take_while(|(_, payload)| {
            let rest = left.checked_sub(payload.len() as u64);
            left = rest.unwrap_or_default();
            rest.is_some()
        });
        willing.max(records.len() - kept.count())
    }
}

#[cfg(test)]
mod tests {
    use purge_api::Order;
    use storage::purge::LogId;

    use super::*;
    use crate::purges::record::Record;

    fn payload(number: u64) -> Bytes {
        let body = format!(r#"{{"tags":["t{number}"]}}"#);
        let order = Order::parse(body.as_bytes(), number.to_string(), "now".to_owned());
        order.unwrap().to_log().into()
    }

    /// An upkeep that keeps ten purges for the audit trail.
    fn upkeep(spared: u64, length_max: u64, outlived: u64) -> Upkeep {
        Upkeep {
            length_max,
            spared,
            kept: 10,
            outlived: Arc::new(AtomicU64::new(outlived)),
            next: spared,
        }
    }

    struct Log {
        file: LogFile,
        folder: tempfile::TempDir,
        longest: u64,
    }

    impl Log {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let (file, _) = LogFile::open(&folder.path().join("purges"), LogId(1)).unwrap();
            Self {
                file,
                folder,
                longest: 0,
            }
        }

        fn grow(&mut self, upkeep: &mut Upkeep, count: u64) {
            for _ in 0..count {
                let number = self.file.last().next().0;
                self.file.append(&[payload(number)]).unwrap();
                upkeep.shorten(&mut self.file).unwrap();
                self.longest = self.longest.max(self.file.length());
            }
        }

        /// The records after a restart: their sequences, and what they are.
        fn reopened(self) -> Vec<(u64, Record)> {
            drop(self.file);
            let (_, found) = LogFile::open(&self.folder.path().join("purges"), LogId(2)).unwrap();
            let records = found.records.iter();
            records.map(|(at, it)| (at.0, Record::read(it))).collect()
        }
    }

    fn shortened(offset: i64) -> Record {
        let doubt = Reason::Shortened;
        Record::Doubt(Doubt { doubt, offset })
    }

    #[test]
    fn what_nobody_needs_goes_and_the_audit_trail_stays() {
        let (mut log, mut upkeep) = (Log::new(), upkeep(2_000, 1 << 20, u64::MAX));
        log.grow(&mut upkeep, 1_000);
        assert!(log.longest < 10_000, "{}", log.longest);
        let records = log.reopened();
        assert_eq!(records[0].1, shortened(0));
        let sequences: Vec<_> = records.iter().map(|(sequence, _)| *sequence).collect();
        let first = sequences[0];
        assert_eq!(sequences, (first..=1_000).collect::<Vec<_>>());
        assert!(sequences.len() > 10);
    }

    #[test]
    fn what_is_needed_stays_until_the_limit() {
        let (mut log, mut upkeep) = (Log::new(), upkeep(2_000, 50_000, 0));
        while log.file.length() < 49_000 {
            log.grow(&mut upkeep, 1);
        }
        let whole = log.file.last().0;
        assert_eq!(log.longest, log.file.length(), "nothing was dropped");
        log.grow(&mut upkeep, 5_000);
        assert!(log.longest <= 51_000, "{}", log.longest);
        assert!(log.file.length() > 20_000);
        let records = log.reopened();
        assert_eq!(records[0].1, shortened(0));
        assert!(records[0].0 > whole);
        assert_eq!(records.last().unwrap().0, whole + 5_000);
    }

    #[test]
    fn what_was_told_of_the_places_is_told_on() {
        let (mut log, mut upkeep) = (Log::new(), upkeep(2_000, 1 << 20, u64::MAX));
        let (doubt, offset) = (Reason::Joined, -40);
        let joined = Doubt { doubt, offset }.payload();
        log.file.append(&[joined]).unwrap();
        log.grow(&mut upkeep, 200);
        assert_eq!(log.reopened()[0].1, shortened(-40));
    }
}
