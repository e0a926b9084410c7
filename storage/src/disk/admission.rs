//! Which responses are worth a place on the disks: those that were asked for before.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::index::scale;

/// The access that a response is written to the disks at.
///
/// Most of what is asked for once is never asked for again. Written anyway, it wears the device and
/// pushes out what is. A disk that holds nearly everything has no such worry: there it costs hits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Admit {
    /// The first.
    Always,
    /// The first while a third of the volume is free, and the second from then on: an empty disk has no worry.
    #[default]
    Auto,
    /// The second.
    Second,
    /// The third.
    Third,
}

impl Admit {
    /// How often it must have been asked for before.
    pub(crate) const fn needed(self) -> u32 {
        match self {
            Self::Always => 0,
            Self::Auto | Self::Second => 1,
            Self::Third => 2,
        }
    }
}

/// What was asked for lately, by two generations of traces in fixed room. A trace that is lost, or
/// taken for another, costs a write or a miss and nothing else.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Buckets of [`WAYS`], each with the latest trace first.
    traces: Box<[AtomicU32]>,
    /// Traces that were new, since the beginning.
    begun: AtomicU64,
    /// When the present generation began, and which one it is.
    turned: AtomicU64,
    generation: AtomicU32,
}

/// Traces that compete for one place.
const WAYS: usize = 4;

/// The most traces: 64 MiB of memory.
const TRACES_MAX: u64 = 1 << 24;

const TRACES_MIN: u64 = 1 << 12;

/// A generation ends after this many new traces for each object on the disks.
const TRACES_PER_OBJECT: u64 = 1;

const COUNT_BITS: u32 = 2;
const COUNT_MAX: u32 = (1 << COUNT_BITS) - 1;
const GENERATION_BITS: u32 = 6;
const GENERATIONS: u32 = 1 << GENERATION_BITS;
const MARK_SHIFT: u32 = COUNT_BITS + GENERATION_BITS;

/// How many traces there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traces(u64);

impl Traces {
    /// For disks of this many bytes, with a trace for so many of them.
    pub(crate) fn of(bytes: u64, bytes_per_trace: u64) -> Self {
        let count = (bytes / bytes_per_trace.max(1)).clamp(TRACES_MIN, TRACES_MAX);
        Self(count.next_multiple_of(WAYS as u64))
    }

    /// New ones until a generation ends, while there are so many objects on the disks.
    pub(crate) fn per_generation(self, objects: u64) -> u64 {
        let wanted = objects.saturating_mul(TRACES_PER_OBJECT);
        wanted.clamp(TRACES_MIN / 2, self.0 / 2)
    }
}

impl Asked {
    /// For disks of this many bytes, with a trace for so many of them.
    pub(crate) fn new(bytes: u64, bytes_per_trace: u64) -> Self {
        let Traces(count) = Traces::of(bytes, bytes_per_trace);
        Self {
            traces: (0..count).map(|_| AtomicU32::new(0)).collect(),
            begun: AtomicU64::new(0),
            turned: AtomicU64::new(0),
            generation: AtomicU32::new(0),
        }
    }

    /// Whether it is time to write what has this tag, while there are so many objects on the disks.
    /// That it was asked for now is remembered.
    pub(crate) fn admits(&self, tag: u64, admit: Admit, objects: u64) -> bool {
        let needed = admit.needed();
        needed == 0 || self.count(tag, objects) >= needed
    }

    /// How often it was asked for before, as far as is remembered.
    fn count(&self, tag: u64, objects: u64) -> u32 {
        let bucket = self.bucket(tag);
        let generation = self.generation(objects);
        let mark = mark_of(tag);
        let known = bucket.iter().position(|slot| {
            let trace = slot.load(Ordering::Relaxed);
            trace >> MARK_SHIFT == mark && is_recent(trace, generation)
        });
        let before = known.map_or(0, |at| bucket[at].load(Ordering::Relaxed) & COUNT_MAX);
        if known.is_none() {
            self.begun.fetch_add(1, Ordering::Relaxed);
        }
        // The others move on by one; the last goes.
        for at in (1..=known.unwrap_or(WAYS - 1)).rev() {
            let moved = bucket[at - 1].load(Ordering::Relaxed);
            bucket[at].store(moved, Ordering::Relaxed);
        }
        let count = (before + 1).min(COUNT_MAX);
        let trace = mark << MARK_SHIFT | generation << COUNT_BITS | count;
        bucket[0].store(trace, Ordering::Relaxed);
        before
    }

    /// The present generation, a new one if this one is complete.
    fn generation(&self, objects: u64) -> u32 {
        let window = Traces(self.traces.len() as u64).per_generation(objects);
        let (begun, turned) = (&self.begun, &self.turned);
        let (now, then) = (
            begun.load(Ordering::Relaxed),
            turned.load(Ordering::Relaxed),
        );
        let is_complete = now.saturating_sub(then) >= window;
        // One of those that see it at once turns the page.
        let turn = || turned.compare_exchange(then, now, Ordering::Relaxed, Ordering::Relaxed);
        if is_complete && turn().is_ok() {
            self.generation.fetch_add(1, Ordering::Relaxed);
        }
        self.generation.load(Ordering::Relaxed) % GENERATIONS
    }

    fn bucket(&self, tag: u64) -> &[AtomicU32] {
        let at = scale(tag, self.traces.len() / WAYS) * WAYS;
        &self.traces[at..at + WAYS]
    }
}

/// The low bits of a tag, since the high ones are the place; never 0, which is no trace.
fn mark_of(tag: u64) -> u32 {
    let low = u32::try_from(tag & u64::from(u32::MAX >> MARK_SHIFT)).unwrap_or(1);
    low.max(1)
}

fn is_recent(trace: u32, generation: u32) -> bool {
    let of = trace >> COUNT_BITS & (GENERATIONS - 1);
    (GENERATIONS + generation - of) % GENERATIONS <= 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(number: u64) -> u64 {
        number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17) ^ number
    }

    #[test]
    fn each_rule_admits_at_its_access() {
        let asked = Asked::new(1 << 30, 16 * 1024);
        assert!(asked.admits(tag(1), Admit::Always, 0));
        let second = [(); 3].map(|()| asked.admits(tag(2), Admit::Second, 0));
        assert_eq!(second, [false, true, true]);
        let third = [(); 4].map(|()| asked.admits(tag(3), Admit::Third, 0));
        assert_eq!(third, [false, false, true, true]);
    }

    #[test]
    fn what_was_asked_for_long_ago_is_forgotten() {
        let asked = Asked::new(1 << 30, 16 * 1024);
        let objects = 5000;
        assert!(!asked.admits(tag(1), Admit::Second, objects));
        for other in 0..TRACES_PER_OBJECT * objects / 2 {
            asked.admits(tag(10 + other), Admit::Second, objects);
        }
        assert!(asked.admits(tag(1), Admit::Second, objects), "lately");

        assert!(!asked.admits(tag(2), Admit::Second, objects));
        for other in 0..3 * TRACES_PER_OBJECT * objects {
            asked.admits(tag(100_000 + other), Admit::Second, objects);
        }
        assert!(!asked.admits(tag(2), Admit::Second, objects));
    }

    #[test]
    fn few_are_taken_for_another() {
        let asked = Asked::new(1 << 32, 16 * 1024);
        let mistaken = (0..100_000).filter(|number| asked.admits(tag(*number), Admit::Second, 1));
        let mistaken = mistaken.count();
        assert!(mistaken < 20, "{mistaken} of 100000");
    }
}
