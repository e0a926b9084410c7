//! What a node has applied of its log, and where that is: the file of purges, and the cursor beside it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use bytes::Bytes;
use storage::purge::{LogError, LogFile, Sequence};

use super::Place;
use super::cursor::{Cursor, CursorFile};
use crate::purges::Tail;
use crate::purges::record::{Doubt, Reason};
use crate::purges::upkeep::Upkeep;

/// While there is more to read, the place is not kept more often.
const KEEP: Duration = Duration::from_secs(1);

/// What a node has applied.
pub(super) struct Ledger {
    file: LogFile,
    /// What a sequence of ours has to be taken from for its place.
    offset: i64,
    cursor_file: CursorFile,
    /// What was applied last, as far as it is known.
    cursor: Option<Cursor>,
    /// When it was made durable last.
    kept: Option<Instant>,
    upkeep: Upkeep,
    /// The file cannot be written any more: what is applied is not remembered.
    is_forgetful: bool,
}

impl Ledger {
    /// What was applied before the node was started. `outlived` says what need not be kept.
    pub(super) fn new(place: Place, outlived: Arc<AtomicU64>) -> Self {
        let Place {
            file,
            tail,
            cursor: cursor_file,
        } = place;
        Self {
            file,
            offset: tail.offset,
            cursor: cursor_file.read().map(|kept| at_the_end(kept, tail)),
            cursor_file,
            kept: None,
            upkeep: Upkeep::new(outlived),
            is_forgetful: false,
        }
    }

    /// What was applied last.
    pub(super) const fn cursor(&self) -> Option<&Cursor> {
        self.cursor.as_ref()
    }

    /// Where a place of the log is in this node's own order.
    pub(super) const fn sequence(&self, place: u64) -> Sequence {
        let sequence = signed(place).wrapping_add(self.offset);
        Sequence(sequence.cast_unsigned())
    }

    /// Whether the purge behind a place would have a sequence that was given before.
    pub(super) fn would_repeat(&self, place: u64) -> bool {
        self.sequence(place) < self.file.last()
    }

    /// Whether the file has it.
    pub(super) fn has(&self, sequence: Sequence) -> bool {
        sequence <= self.file.last()
    }

    /// Purges may have been missed: this node's order goes on behind a cursor. The sequence of the doubt.
    pub(super) fn doubt(&mut self, reason: Reason, cursor: &Cursor) -> Sequence {
        let sequence = self.file.last().next();
        self.offset = signed(sequence.0).wrapping_sub(signed(cursor.place));
        let doubt = Doubt {
            doubt: reason,
            offset: self.offset,
        };
        self.write(&[(sequence, doubt.payload())]);
        sequence
    }

    /// Writes purges to the file, for the next [`Self::keep`] to make them durable.
    pub(super) fn write(&mut self, records: &[(Sequence, Bytes)]) {
        self.remember(|file| file.write(records));
    }

    /// Everything up to a cursor is applied. It is made durable [`Self::keep`] by [`Self::keep`].
    pub(super) fn reached(&mut self, cursor: Cursor) {
        self.cursor = Some(cursor);
    }

    /// Where there is nothing more to read, it is always time to; else once in a while.
    pub(super) fn is_time_to_keep(&self, pending: u64, now: Instant) -> bool {
        pending == 0 || self.kept.is_none_or(|kept| now - kept >= KEEP)
    }

    /// Makes what is applied durable, and then where that is.
    pub(super) fn keep(&mut self, now: Instant) {
        self.remember(LogFile::sync);
        let Some(cursor) = self.cursor.as_ref().filter(|_| !self.is_forgetful) else {
            return;
        };
        if let Err(error) = tokio::task::block_in_place(|| self.cursor_file.write(cursor)) {
            tracing::warn!(%error, "the place in the purge log cannot be kept");
        }
        self.kept = Some(now);
        // The cursor is behind nothing that is dropped.
        let shortened = tokio::task::block_in_place(|| self.upkeep.shorten(&mut self.file));
        if let Err(error) = shortened {
            tracing::error!(%error, "the file of purges cannot be shortened");
        }
    }

    /// Writes to the file. Where that fails, purges are applied all the same, and read again after the next start.
    fn remember(&mut self, write: impl FnOnce(&mut LogFile) -> Result<(), LogError>) {
        if self.is_forgetful {
            return;
        }
        if let Err(error) = tokio::task::block_in_place(|| write(&mut self.file)) {
            tracing::error!(%error, "purges are applied and not kept: the next start reads them again");
            self.is_forgetful = true;
        }
    }
}

/// The cursor is kept once in a while, the file with every purge: where the file has more, its end is what was applied
/// last. To go by an older message would prove too little: a log that lost what follows it gives those numbers again.
fn at_the_end(kept: Cursor, tail: Tail) -> Cursor {
    let Some(last) = tail.last else {
        return kept;
    };
    let place = signed(last.sequence.0)
        .wrapping_sub(tail.offset)
        .cast_unsigned();
    if place <= kept.place {
        return kept;
    }
    Cursor {
        log: kept.log,
        place,
        id: last.id,
        stamp: last.stamp,
    }
}

const fn signed(number: u64) -> i64 {
    number.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::purges::Last;

    /// What is kept at a place, and the file's last purge, if it is one; then what counts.
    #[track_caller]
    fn check(why: &str, place: u64, offset: i64, last: Option<u64>, counts: (u64, &str)) {
        let kept = Cursor {
            log: "l".to_owned(),
            place,
            id: "kept".to_owned(),
            stamp: None,
        };
        let last = last.map(|sequence| Last {
            sequence: Sequence(sequence),
            id: "last".to_owned(),
            stamp: Some(7),
        });
        let cursor = at_the_end(kept, Tail { offset, last });
        assert_eq!((cursor.place, cursor.id.as_str()), counts, "{why}");
        let stamp = (cursor.id == "last").then_some(7);
        assert_eq!(cursor.stamp, stamp, "{why}");
        assert_eq!(cursor.log, "l");
    }

    #[test]
    #[rustfmt::skip]
    fn what_was_applied_last_is_where_a_node_goes_on() {
        check("nothing in the file",          7,   0, None,     (7, "kept"));
        check("a tick came after the purge",  7,   0, Some(5),  (7, "kept"));
        check("that very purge",              7,   0, Some(7),  (7, "kept"));
        check("purges after the last tick",   7,   0, Some(9),  (9, "last"));
        check("the node joined late",        47, -40, Some(9),  (49, "last"));
        check("the log was made anew",        3,  90, Some(95), (5, "last"));
    }
}
