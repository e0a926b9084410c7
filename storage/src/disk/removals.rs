//! The log of removals: what must never come back, whatever happens to the node.
//!
//! It has two halves. Lines go to the end of one; when that is full, the lines that still matter go
//! to the other. At a start the lines of both are taken together: a line is a fact, and a fact that
//! is told twice or too long changes nothing.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::oneshot;

use super::Shared;
use super::error::DiskError;
use super::format::{Geometry, Name, REMOVAL, Removal, Slot, Target, length};
use super::health::Fault;
use super::medium::Medium;
use super::volume::Volume;

type Waiter = oneshot::Sender<Result<(), DiskError>>;

/// The removals of one volume.
#[derive(Debug, Default)]
pub(crate) struct Removals {
    state: Mutex<State>,
    work: Condvar,
    /// The number of the last one: what is younger need not be looked up.
    latest: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    known: Known,
    /// Not in the log yet.
    pending: Vec<Removal>,
    waiters: Vec<Waiter>,
    end: End,
    /// The last attempt failed: the next one is made when something changes.
    failed: bool,
    closed: bool,
}

/// Where the next line goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct End {
    half: usize,
    line: usize,
}

/// What is gone, by the number before which it is gone.
#[derive(Debug, Default)]
pub(crate) struct Known {
    everything: u64,
    targets: HashMap<Target, u64>,
}

impl Known {
    pub(crate) fn add(&mut self, removal: Removal) {
        if removal.target == Target::Everything {
            self.everything = self.everything.max(removal.number);
            return;
        }
        let number = self.targets.entry(removal.target).or_default();
        *number = removal.number.max(*number);
    }

    /// Whether a record with this name and number is gone.
    pub(crate) fn covers(&self, name: Name, number: u64) -> bool {
        let targets = [
            Target::Key(name.key),
            Target::Variant(name.key, name.variant),
        ];
        let gone = |target| self.targets.get(target).is_some_and(|gone| *gone > number);
        self.everything > number || targets.iter().any(gone)
    }

    pub(crate) fn len(&self) -> usize {
        self.targets.len()
    }

    fn latest(&self) -> u64 {
        let targets = self.targets.values().copied();
        targets.chain([self.everything]).max().unwrap_or(0)
    }

    /// Forgets what no record on any disk is older than.
    fn forget(&mut self, oldest: u64) {
        self.targets.retain(|_, number| *number > oldest);
    }

    /// If there is more than `max`: gives up everything up to a number that leaves half of it.
    fn give_up(&mut self, max: usize) -> Option<u64> {
        if self.targets.len() <= max {
            return None;
        }
        let mut numbers: Vec<u64> = self.targets.values().copied().collect();
        let (_, number, _) = numbers.select_nth_unstable(self.targets.len() - max / 2);
        self.everything = self.everything.max(*number);
        self.targets.retain(|_, other| *other > *number);
        Some(self.everything)
    }

    fn lines(&self) -> impl Iterator<Item = Removal> + '_ {
        let everything = (self.everything > 0).then_some(Removal {
            target: Target::Everything,
            number: self.everything,
        });
        let targets = self.targets.iter().map(|(target, number)| Removal {
            target: *target,
            number: *number,
        });
        everything.into_iter().chain(targets)
    }
}

impl Removals {
    /// Whether a record with this name and number was removed after it was written.
    pub(crate) fn cover(&self, name: Name, number: u64) -> bool {
        self.latest.load(Ordering::Acquire) > number && self.state.lock().known.covers(name, number)
    }

    pub(crate) fn len(&self) -> usize {
        self.state.lock().known.len()
    }

    /// It holds in memory at once; on the disk when [`Removals::durable`] says so.
    pub(crate) fn add(&self, removal: Removal) {
        let mut state = self.state.lock();
        state.known.add(removal);
        self.latest.fetch_max(removal.number, Ordering::AcqRel);
        state.pending.push(removal);
        state.failed = false;
        drop(state);
        self.work.notify_one();
    }

    /// Told when all that was added before is durable.
    pub(crate) fn durable(&self) -> oneshot::Receiver<Result<(), DiskError>> {
        let (waiter, receiver) = oneshot::channel();
        let mut state = self.state.lock();
        if state.closed {
            drop(waiter);
        } else {
            state.waiters.push(waiter);
        }
        drop(state);
        self.work.notify_one();
        receiver
    }

    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.work.notify_all();
    }

    /// Reads the log of a volume. `next` is a number that none of its records has reached.
    pub(crate) fn load(
        &self,
        medium: &dyn Medium,
        geometry: &Geometry,
        nonce: u64,
        next: u64,
    ) -> io::Result<()> {
        let mut log = vec![0; length(geometry.removals)];
        medium.read(&mut log, Geometry::removals_at())?;
        let (lines, _) = log.as_chunks::<REMOVAL>();
        let slots: Vec<Slot> = lines
            .iter()
            .map(|line| Removal::parse(nonce, line))
            .collect();

        let mut state = self.state.lock();
        let half_len = geometry.removals_max();
        let halves = slots.chunks(half_len.max(1));
        halves.for_each(|half| read_half(&mut state.known, half, next));
        self.latest
            .fetch_max(state.known.latest(), Ordering::AcqRel);
        state.end = end_of(&slots, half_len);
        Ok(())
    }

    /// The life of the thread that writes the log.
    pub(crate) fn serve(shared: &Shared, volume: &Volume) {
        let removals = &volume.removals;
        while let Some((pending, waiters)) = removals.next() {
            let written = removals.write(shared, volume, &pending);
            if let Err(error) = &written {
                volume.health.fault(Fault::Removal, error);
                let mut state = removals.state.lock();
                state.pending.splice(0..0, pending);
                state.failed = true;
            }
            let answer = written.map_err(|error| DiskError::Failed(error.kind()));
            for waiter in waiters {
                // An answer comes back if whoever waited has gone.
                waiter.send(answer).err();
            }
        }
    }

    fn next(&self) -> Option<(Vec<Removal>, Vec<Waiter>)> {
        let mut state = self.state.lock();
        loop {
            let asked = !state.waiters.is_empty();
            let due = !state.pending.is_empty() && !state.failed;
            if asked || due {
                let pending = std::mem::take(&mut state.pending);
                return Some((pending, std::mem::take(&mut state.waiters)));
            }
            if state.closed {
                return None;
            }
            self.work.wait(&mut state);
        }
    }

    fn write(&self, shared: &Shared, volume: &Volume, pending: &[Removal]) -> io::Result<()> {
        if pending.is_empty() {
            return Ok(());
        }
        let max = volume.geometry.removals_max();
        let end = self.state.lock().end;
        if end.line + pending.len() > max {
            return self.start_over(shared, volume);
        }
        let lines: Vec<u8> = pending
            .iter()
            .flat_map(|removal| removal.encode(volume.nonce))
            .collect();
        volume.medium.write_durably(&lines, offset(volume, end))?;
        self.state.lock().end.line += pending.len();
        Ok(())
    }

    /// Writes all that still matters to the other half.
    fn start_over(&self, shared: &Shared, volume: &Volume) -> io::Result<()> {
        shared.wait_until_recovered();
        // A segment that was wiped must stay wiped before we forget what was removed from it.
        let oldest = shared.oldest_life();
        shared.sync_media()?;

        let max = volume.geometry.removals_max();
        let mut state = self.state.lock();
        state.known.forget(oldest);
        if let Some(number) = state.known.give_up(max / 4 * 3) {
            MutexGuard::unlocked(&mut state, || shared.forget_older(number));
        }
        let mut lines: Vec<u8> = state
            .known
            .lines()
            .flat_map(|removal| removal.encode(volume.nonce))
            .collect();
        let count = lines.len() / REMOVAL;
        // What was added meanwhile and stands in these lines may be written once more: no harm.
        let end = End {
            half: 1 - state.end.half,
            line: 0,
        };
        drop(state);

        lines.resize(max * REMOVAL, 0);
        volume.medium.write_durably(&lines, offset(volume, end))?;
        self.state.lock().end = End { line: count, ..end };
        Ok(())
    }
}

fn offset(volume: &Volume, end: End) -> u64 {
    let line = end.half * volume.geometry.removals_max() + end.line;
    Geometry::removals_at() + (line * REMOVAL) as u64
}

fn read_half(known: &mut Known, half: &[Slot], next: u64) {
    let mut after_damage = false;
    for slot in half {
        match slot {
            Slot::Removal(removal) => {
                known.add(*removal);
                if after_damage {
                    known.add(everything_before(removal.number));
                }
                after_damage = false;
            }
            Slot::Damaged => after_damage = true,
            Slot::Empty => {}
        }
    }
    if after_damage {
        known.add(everything_before(next));
    }
}

/// Nobody knows what a damaged line removed: everything that was there when it was written.
fn everything_before(number: u64) -> Removal {
    Removal {
        target: Target::Everything,
        number,
    }
}

/// Behind the last line of the half that has the latest one.
fn end_of(slots: &[Slot], half_len: usize) -> End {
    let latest = slots
        .iter()
        .enumerate()
        .filter_map(|(line, slot)| match slot {
            Slot::Removal(removal) => Some((removal.number, line)),
            Slot::Empty | Slot::Damaged => None,
        })
        .max();
    let Some((_, line)) = latest else {
        return End::default();
    };
    let half = line / half_len;
    let used = slots[half * half_len..(half + 1) * half_len]
        .iter()
        .rposition(|slot| *slot != Slot::Empty);
    End {
        half,
        line: used.map_or(0, |used| used + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Key, Variant};

    fn name(key: u8) -> Name {
        Name {
            key: Key([key; 16]),
            variant: Variant([9; 16]),
        }
    }

    fn gone(key: u8, number: u64) -> Removal {
        Removal {
            target: Target::Key(Key([key; 16])),
            number,
        }
    }

    #[test]
    fn a_removal_covers_what_was_before_it() {
        let mut known = Known::default();
        known.add(gone(1, 10));
        known.add(gone(1, 5));
        assert!(known.covers(name(1), 9));
        assert!(!known.covers(name(1), 10), "stored again");
        assert!(!known.covers(name(2), 9));
    }

    #[test]
    fn a_damaged_line_removes_everything_before_the_next_one() {
        let mut known = Known::default();
        let half = [
            Slot::Removal(gone(1, 10)),
            Slot::Damaged,
            Slot::Removal(gone(3, 30)),
        ];
        read_half(&mut known, &half, 100);
        assert!(known.covers(name(7), 29));
        assert!(!known.covers(name(7), 30));
    }

    #[test]
    fn a_damaged_last_line_removes_everything() {
        let mut known = Known::default();
        read_half(
            &mut known,
            &[Slot::Removal(gone(1, 10)), Slot::Damaged, Slot::Empty],
            100,
        );
        assert!(known.covers(name(7), 99));
        assert!(!known.covers(name(7), 100));
    }

    #[test]
    fn too_many_removals_become_one_of_everything_older() {
        let mut known = Known::default();
        (1..=100).for_each(|key| known.add(gone(key, u64::from(key))));
        let number = known.give_up(50).unwrap();
        assert!(known.targets.len() <= 25);
        assert!((1..=100).all(|key| known.covers(name(key), u64::from(key) - 1)));
        assert!(!known.covers(name(200), number));
    }

    #[test]
    fn lines_go_behind_the_latest_one() {
        let slots = [
            Slot::Removal(gone(1, 10)),
            Slot::Empty,
            Slot::Removal(gone(1, 20)),
            Slot::Removal(gone(1, 15)),
        ];
        assert_eq!(end_of(&slots, 2), End { half: 1, line: 2 });
        assert_eq!(end_of(&slots[..2], 2), End { half: 0, line: 1 });
        assert_eq!(end_of(&[Slot::Empty], 1), End::default());
    }
}
