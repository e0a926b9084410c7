//! Lines on their way to the thread that writes them.
//!
//! Each thread that serves has a lane of its own, so that none waits for another one. The writer takes what all lanes have
//! at a moment, and writes it in the order in which it came. Then it pauses, so that it is not woken for every line: for
//! [`PAUSE`], or until a lane has a [`LOT`]. More than that is not left to gather: what is written soon is still in the
//! processor's cache, and the writer holds nobody up for long.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use prometheus::IntCounter;

use super::output::Output;
use crate::clock::monotonic;
use crate::per_thread::PerThread;

/// Bytes that wait in a lane to be written; lines beyond it are dropped and counted.
pub(super) const LANE_MAX: usize = 2 * 1024 * 1024;
/// Bytes in a lane that are not left to gather.
const LOT: usize = 64 * 1024;
/// Between two writes, where there is less.
const PAUSE: Duration = Duration::from_millis(10);
/// How long the end of a node waits for the last lines.
const FLUSH_TIME: Duration = Duration::from_secs(2);

/// What requests and the writing thread share.
#[derive(Debug)]
pub(super) struct Queue {
    lanes: PerThread<Mutex<Lane>>,
    writer: Mutex<Writer>,
    /// Wakes the thread, which waits or pauses.
    called: Condvar,
    /// Wakes those who wait until it has written.
    written: Condvar,
}

/// The lines of a thread.
#[derive(Debug, Default)]
struct Lane {
    bytes: Vec<u8>,
    /// When each line came, and where it ends.
    lines: Vec<(Duration, usize)>,
}

#[derive(Debug, Default)]
struct Writer {
    call: Call,
    /// Rounds through all lanes so far.
    rounds: u64,
    state: State,
}

/// What the thread has to know of the lanes.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
enum Call {
    #[default]
    None,
    /// There are lines, which may wait for others.
    Lines,
    /// There are many.
    Lot,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum State {
    #[default]
    Open,
    /// Somebody waits for the last line.
    Flushing,
    Closed,
}

/// That there is no room for a line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Full;

impl Queue {
    /// A queue, and the thread that writes to `out` what is in it until it is closed. None if there can be no thread.
    pub(super) fn start(out: Output, dropped: IntCounter) -> Option<Arc<Self>> {
        let queue = Arc::new(Self {
            lanes: PerThread::new(Mutex::default),
            writer: Mutex::default(),
            called: Condvar::new(),
            written: Condvar::new(),
        });
        let written = Arc::clone(&queue);
        let writer = std::thread::Builder::new().name("access-log".to_owned());
        match writer.spawn(move || written.write_to(out, &dropped)) {
            Ok(_) => Some(queue),
            Err(error) => {
                tracing::error!(%error, "no access log: its thread cannot be started");
                None
            }
        }
    }

    /// Has a line written behind what waits.
    ///
    /// # Errors
    /// [`Full`], and the line is gone.
    pub(super) fn append(&self, line: impl FnOnce(&mut Vec<u8>)) -> Result<(), Full> {
        let mut lane = self.lanes.mine().lock();
        let before = lane.bytes.len();
        line(&mut lane.bytes);
        let after = lane.bytes.len();
        if after > LANE_MAX {
            lane.bytes.truncate(before);
            return Err(Full);
        }
        // Whatever comes after this in another lane has a later time.
        lane.lines.push((monotonic(), after));
        drop(lane);
        if before < LOT && after >= LOT {
            self.call(Call::Lot);
        } else if before == 0 {
            self.call(Call::Lines);
        }
        Ok(())
    }

    fn call(&self, call: Call) {
        let mut writer = self.writer.lock();
        writer.call = writer.call.max(call);
        drop(writer);
        self.called.notify_one();
    }

    /// Waits until every line handed over before is written, at most for [`FLUSH_TIME`]. It blocks.
    pub(super) fn flush(&self) {
        let mut writer = self.writer.lock();
        writer.state = State::Flushing;
        // What is being written now was taken before; the next round has the rest.
        let until = writer.rounds + 2;
        self.called.notify_one();
        let late = |writer: &mut Writer| writer.rounds < until;
        let waited = self.written.wait_while_for(&mut writer, late, FLUSH_TIME);
        if waited.timed_out() {
            tracing::warn!("the access log is not read: its last lines are lost");
        }
        if writer.state == State::Flushing {
            writer.state = State::Open;
        }
    }

    /// Its thread ends when it has written what waits.
    pub(super) fn close(&self) {
        self.writer.lock().state = State::Closed;
        self.called.notify_one();
    }

    /// Takes what is in all lanes at one moment: what is left came after it.
    fn take(&self, taken: &mut [Lane]) {
        for lane in &mut *taken {
            lane.empty();
        }
        let lanes: Vec<_> = self.lanes.all().map(Mutex::lock).collect();
        for (mut lane, taken) in lanes.into_iter().zip(taken) {
            std::mem::swap(&mut *lane, taken);
        }
    }

    fn write_to(&self, mut out: Output, dropped: &IntCounter) {
        let mut taken: Vec<Lane> = self.lanes.all().map(|_| Lane::default()).collect();
        let mut broken = false;
        loop {
            let mut writer = self.writer.lock();
            let idle =
                |writer: &mut Writer| writer.call == Call::None && writer.state == State::Open;
            self.called.wait_while(&mut writer, idle);
            // Whoever calls from here on has lines that this round may miss.
            writer.call = Call::None;
            let closed = writer.state == State::Closed;
            drop(writer);
            self.take(&mut taken);
            let lost = out.write(&in_order(&taken));
            // A log that nobody reads any more is no reason to stop serving.
            dropped.inc_by(lost);
            if lost > 0 && !broken {
                tracing::warn!(lost, "the access log cannot be written");
            }
            broken = lost > 0;
            if closed {
                return;
            }
            let mut writer = self.writer.lock();
            writer.rounds += 1;
            self.written.notify_all();
            let gathers =
                |writer: &mut Writer| writer.call != Call::Lot && writer.state == State::Open;
            self.called.wait_while_for(&mut writer, gathers, PAUSE);
        }
    }
}

impl Lane {
    /// Some room stays.
    fn empty(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(2 * LOT);
        self.lines.clear();
        self.lines.shrink_to(LOT / 64);
    }
}

/// The lines of some lanes, as they came.
fn in_order(lanes: &[Lane]) -> Cow<'_, [u8]> {
    let mut full = lanes.iter().filter(|lane| !lane.bytes.is_empty());
    match (full.next(), full.next()) {
        (None, _) => return Cow::default(),
        (Some(only), None) => return Cow::Borrowed(&only.bytes),
        (Some(_), Some(_)) => {}
    }
    let lines = lanes.iter().flat_map(|lane| {
        let starts = std::iter::once(0).chain(lane.lines.iter().map(|(_, end)| *end));
        let lines = starts.zip(&lane.lines);
        lines.map(|(start, (came, end))| (*came, &lane.bytes[start..*end]))
    });
    let mut lines: Vec<_> = lines.collect();
    lines.sort_by_key(|(came, _)| *came);
    let mut bytes = Vec::with_capacity(lanes.iter().map(|lane| lane.bytes.len()).sum());
    for (_, line) in lines {
        bytes.extend_from_slice(line);
    }
    Cow::Owned(bytes)
}
