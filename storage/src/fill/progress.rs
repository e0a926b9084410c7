//! How far a body has come: its pieces, its readers, its end.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::positions::Positions;
use super::{Cut, PIECE_MAX};
use crate::disk::Trail;
use crate::memory::Piece;

/// When pieces at the end of a body are joined: those that are each shorter than `shorter_than`, once
/// they are so many, or so long together.
struct Joining {
    shorter_than: usize,
    count: usize,
    len: usize,
}

/// A body that arrives byte by byte costs little more than one that does not.
const CRUMBS: Joining = Joining {
    shorter_than: 4 * 1024,
    count: 16,
    len: usize::MAX,
};

/// A body that is stored is sent in long pieces, however it arrived.
const SLICES: Joining = Joining {
    shorter_than: PIECE_MAX / 2,
    count: usize::MAX,
    len: PIECE_MAX / 4 * 3,
};

/// When there will be no more pieces.
const REST: Joining = Joining {
    shorter_than: PIECE_MAX / 2,
    count: 2,
    len: usize::MAX,
};

/// So many pieces are considered for joining: if there was no room for the copy, there may be more.
const JOINED_MAX: usize = 64;

pub(super) struct Progress {
    /// They follow one another without a gap, up to `end`.
    pieces: VecDeque<Piece>,
    end: u64,
    /// Where the body ends, if that was announced.
    announced: Option<u64>,
    phase: Phase,
    /// Of the readers that are not behind what is kept.
    positions: Positions,
    /// How many are.
    behind: usize,
    retention: Retention,
    /// What is on its way to a disk, while all of it is.
    trail: Option<Arc<Trail>>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Open,
    Complete,
    Cut(Cut),
}

/// What is kept once it has been read.
#[derive(Clone, Copy, Debug)]
enum Retention {
    Everything,
    /// What one of the readers has still to read.
    Window,
}

/// What a reader finds.
#[derive(Debug)]
pub(super) enum Next {
    Piece(Bytes),
    End,
    Cut(Cut),
    /// What memory has let go of, up to here.
    Behind {
        until: u64,
    },
    /// Nothing yet.
    Wait,
}

/// Whether a window can take another piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outlook {
    /// All readers have read everything.
    AllRead,
    Room,
    /// There is no room, and even the fastest reader has not made any.
    Full,
    /// There is no room, because some are far behind the fastest.
    Behind,
    NoReaders,
}

/// Pieces at the end of a body that should be joined.
#[derive(Debug)]
pub(super) struct ShortRun {
    pub(super) len: usize,
    pub(super) pieces: Vec<Bytes>,
}

impl Progress {
    pub(super) fn new(announced: Option<u64>) -> Self {
        Self {
            pieces: VecDeque::new(),
            end: 0,
            announced,
            phase: Phase::Open,
            positions: Positions::default(),
            behind: 0,
            retention: Retention::Everything,
            trail: None,
        }
    }

    // For the writer.

    /// How many bytes have been written.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    pub(super) fn push(&mut self, bytes: Bytes) {
        let start = self.end;
        self.end += bytes.len() as u64;
        self.pieces.push_back(Piece { start, bytes });
    }

    /// From now on, what memory lets go of is found on a disk; or not any more.
    pub(super) fn back(&mut self, trail: Option<Arc<Trail>>) {
        self.trail = trail;
    }

    /// Counts bytes that nobody will read here.
    pub(super) fn skip(&mut self, bytes: u64) {
        self.pieces.clear();
        self.end += bytes;
        self.leave_before(self.end);
    }

    /// From now on a window: can it take `more` bytes?
    pub(super) fn outlook(&mut self, more: u64, window: u64) -> Outlook {
        self.retention = Retention::Window;
        self.trim();
        let (slowest, fastest) = (self.positions.slowest(), self.positions.fastest());
        let (Some(slowest), Some(fastest)) = (slowest, fastest) else {
            return Outlook::NoReaders;
        };
        let has_room = |reader| self.end.saturating_sub(reader) + more <= window;
        if slowest >= self.end {
            Outlook::AllRead
        } else if has_room(slowest) {
            Outlook::Room
        } else if has_room(fastest) || fastest >= self.end {
            Outlook::Behind
        } else {
            Outlook::Full
        }
    }

    /// Whether one reader has read everything.
    pub(super) fn somebody_waits(&self) -> bool {
        self.positions.fastest().is_some_and(|at| at >= self.end)
    }

    /// Does without the readers that are `lag` bytes and more behind the end.
    pub(super) fn leave_behind(&mut self, lag: u64) {
        let floor = (self.end + 1).saturating_sub(lag);
        self.leave_before(floor);
        self.trim();
    }

    /// Drops everything for `bytes`. Readers that had not yet read it all are left behind.
    pub(super) fn replace(&mut self, bytes: Bytes) {
        self.pieces.clear();
        self.leave_before(self.end);
        self.push(bytes);
    }

    /// Readers before `at` are behind from now on.
    fn leave_before(&mut self, at: u64) {
        let before = self.positions.count();
        self.positions.forget_before(at);
        self.behind += before - self.positions.count();
    }

    /// The short pieces at the end, if they should be joined.
    pub(super) fn short_run(&self) -> Option<ShortRun> {
        let crumbs = self.run(&CRUMBS);
        match self.retention {
            Retention::Everything => crumbs.or_else(|| self.run(&SLICES)),
            Retention::Window => crumbs,
        }
    }

    /// The short pieces at the end of a body that is complete.
    pub(super) fn last_run(&self) -> Option<ShortRun> {
        self.run(&REST)
    }

    fn run(&self, joining: &Joining) -> Option<ShortRun> {
        let (mut count, mut len) = (0, 0);
        for piece in self.pieces.iter().rev().take(JOINED_MAX) {
            let more = piece.bytes.len();
            if more >= joining.shorter_than || len + more > PIECE_MAX {
                break;
            }
            (count, len) = (count + 1, len + more);
        }
        let due = count >= joining.count || len >= joining.len;
        due.then(|| ShortRun {
            len,
            pieces: self.last(count),
        })
    }

    fn last(&self, count: usize) -> Vec<Bytes> {
        let last = self.pieces.range(self.pieces.len() - count..);
        last.map(|piece| piece.bytes.clone()).collect()
    }

    /// Puts `bytes` in the place of the pieces at the end that it was joined from. Some may have
    /// been read and dropped meanwhile; they stay away.
    pub(super) fn merge(&mut self, bytes: Bytes) {
        let joined_from = self.end - bytes.len() as u64;
        let start = self.start().max(joined_from);
        while self.pieces.back().is_some_and(|piece| piece.start >= start) {
            self.pieces.pop_back();
        }
        let dropped = usize::try_from(start - joined_from).unwrap_or_default();
        if dropped < bytes.len() {
            let bytes = bytes.slice(dropped..);
            self.pieces.push_back(Piece { start, bytes });
        }
    }

    /// Puts `bytes`, the whole body, in the place of its pieces.
    pub(super) fn join(&mut self, bytes: Bytes) {
        self.pieces = VecDeque::from([Piece { start: 0, bytes }]);
    }

    pub(super) fn pieces(&self) -> Vec<Piece> {
        self.pieces.iter().cloned().collect()
    }

    pub(super) fn complete(&mut self) {
        if let Phase::Open = self.phase {
            self.phase = Phase::Complete;
        }
    }

    /// Nobody gets any more of it.
    pub(super) fn cut(&mut self, cut: Cut) {
        if let Phase::Open = self.phase {
            self.phase = Phase::Cut(cut);
            self.pieces.clear();
        }
    }

    pub(super) fn has_readers(&self) -> bool {
        !self.positions.is_empty() || self.behind > 0
    }

    // For the readers.

    /// Lets a reader in at the first byte; false if that is gone.
    pub(super) fn enter(&mut self) -> bool {
        let whole = self.is_whole();
        if whole {
            self.stand(0);
        }
        whole
    }

    /// Whether everything so far can be read, wherever it is.
    fn is_whole(&self) -> bool {
        self.start() == 0 || self.trail.is_some()
    }

    /// Where those find what is behind who were not told before.
    pub(super) fn trail(&self) -> Option<&Arc<Trail>> {
        self.trail.as_ref()
    }

    fn stand(&mut self, at: u64) {
        if at < self.start() {
            self.behind += 1;
        } else {
            self.positions.enter(at);
        }
    }

    pub(super) fn leave(&mut self, at: u64) {
        self.rise(at);
        self.trim();
    }

    fn rise(&mut self, at: u64) {
        if at < self.start() {
            self.behind = self.behind.saturating_sub(1);
        } else {
            self.positions.leave(at);
        }
    }

    /// A reader has read elsewhere, or wants nothing, up to `to`.
    pub(super) fn pass(&mut self, at: &mut u64, to: u64) {
        self.rise(*at);
        self.stand(to);
        *at = to;
        self.trim();
    }

    /// What follows `at`, to where the reader moves.
    pub(super) fn next(&mut self, at: &mut u64) -> Next {
        match self.phase {
            Phase::Cut(cut) => Next::Cut(cut),
            _ if *at < self.start() => self.behind(*at),
            Phase::Complete if *at >= self.end => Next::End,
            Phase::Open if *at >= self.end || self.is_last(*at) => Next::Wait,
            Phase::Open | Phase::Complete => Next::Piece(self.read(at)),
        }
    }

    /// The last byte of an announced body is held back here as well.
    fn behind(&self, at: u64) -> Next {
        let held_back = match self.phase {
            Phase::Open => self.announced == Some(self.start()),
            Phase::Complete | Phase::Cut(_) => false,
        };
        let until = self.start() - u64::from(held_back);
        if at < until {
            Next::Behind { until }
        } else {
            Next::Wait
        }
    }

    /// Whether the piece at `at` ends the body. It is held back for the moment until the body is in the index: who has
    /// read it to the announced end, and asks again, finds it stored.
    fn is_last(&self, at: u64) -> bool {
        self.announced == Some(self.end) && self.pieces.back().is_some_and(|last| last.start <= at)
    }

    /// The rest of the piece at `at`, which lies between the first byte kept and the end.
    fn read(&mut self, at: &mut u64) -> Bytes {
        let number = self.pieces.partition_point(|piece| piece.end() <= *at);
        let piece = &self.pieces[number];
        let skipped = usize::try_from(*at - piece.start).unwrap_or_default();
        let (bytes, end) = (piece.bytes.slice(skipped..), piece.end());

        self.positions.leave(*at);
        self.positions.enter(end);
        *at = end;
        self.trim();
        bytes
    }

    pub(super) fn complete_len(&self) -> Option<u64> {
        matches!(self.phase, Phase::Complete).then_some(self.end)
    }

    /// Whether a reader that comes now can still read everything.
    pub(super) fn is_open_from_start(&self) -> bool {
        !matches!(self.phase, Phase::Cut(_)) && self.is_whole()
    }

    pub(super) fn readers(&self) -> usize {
        self.positions.count() + self.behind
    }

    /// Drops what no reader will read.
    fn trim(&mut self) {
        let Retention::Window = self.retention else {
            return;
        };
        let floor = self.positions.slowest().unwrap_or(self.end);
        while self
            .pieces
            .front()
            .is_some_and(|piece| piece.end() <= floor)
        {
            self.pieces.pop_front();
        }
        self.leave_before(self.start());
    }

    /// The first byte that is kept.
    fn start(&self) -> u64 {
        self.pieces.front().map_or(self.end, |piece| piece.start)
    }
}
