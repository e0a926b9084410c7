//! Bodies that are made from a stored one, and belong to it.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::memory::Body;
use crate::{Fill, Head, Reader};

/// Bodies made from one; more ways to make some are refused.
pub const DERIVED_MAX: usize = 8;

/// Says how a body was made. What the numbers mean is the caller's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Making(pub u8);

/// What was made of a body, and how.
///
/// It is kept with the body, whatever head that has, and goes when the body goes: an object and all that was made of
/// it are one. Each is made once, however many want it; who comes meanwhile reads along.
pub struct Derived<H: Head>(OnceLock<Box<Made<H>>>);

/// All that was made, once anything is. Of most bodies nothing ever is.
struct Made<H: Head> {
    all: Mutex<Vec<(Making, State<H>)>>,
    /// Read where the lock may be held: making one evicts others.
    cost: AtomicUsize,
}

enum State<H: Head> {
    Underway(Reader<H>),
    Ready(Body),
    Refused,
}

/// What there is for somebody who wants a body made.
#[derive(Debug)]
pub enum Turn<H: Head> {
    /// It is there.
    Ready(Body),
    /// It is being made.
    Underway(Reader<H>),
    /// It is not to be had: making it failed, or there was no room for it.
    Refused,
}

impl<H: Head> Derived<H> {
    pub(crate) fn none() -> Arc<Self> {
        Arc::new(Self(OnceLock::new()))
    }

    fn made(&self) -> &Made<H> {
        let nothing = || {
            Box::new(Made {
                all: Mutex::new(Vec::new()),
                cost: AtomicUsize::new(0),
            })
        };
        self.0.get_or_init(nothing)
    }

    /// The body made in this way, if there is one already.
    pub fn ready(&self, making: Making) -> Option<Body> {
        let all = self.0.get()?.all.lock();
        all.iter().find_map(|(other, state)| match state {
            State::Ready(body) if *other == making => Some(body.clone()),
            State::Ready(_) | State::Underway(_) | State::Refused => None,
        })
    }

    /// The body made in this way. The first who wants it has it made by `begin`, which does not wait, and may refuse.
    pub fn turn(&self, making: Making, begin: impl FnOnce() -> Option<Reader<H>>) -> Turn<H> {
        let mut all = self.made().all.lock();
        if let Some((_, state)) = all.iter().find(|(other, _)| *other == making) {
            return state.turn();
        }
        if all.len() >= DERIVED_MAX {
            return Turn::Refused;
        }
        let Some(reader) = begin() else {
            return Turn::Refused;
        };
        let kept = reader.clone();
        kept.park();
        all.push((making, State::Underway(kept)));
        Turn::Underway(reader)
    }

    /// Ends `fill`, and keeps its body. Where it is not complete, or there was no room for it, it is not made again.
    pub fn finish(&self, making: Making, fill: Fill<H>) {
        let state = fill.finish_apart().map_or(State::Refused, State::Ready);
        self.settle(making, state);
    }

    /// The body cannot be made in this way.
    pub fn refuse(&self, making: Making) {
        self.settle(making, State::Refused);
    }

    fn settle(&self, making: Making, state: State<H>) {
        if let State::Ready(body) = &state {
            self.made().cost.fetch_add(body.cost(), Ordering::Relaxed);
        }
        let mut all = self.made().all.lock();
        if let Some((_, old)) = all.iter_mut().find(|(other, _)| *other == making) {
            *old = state;
        }
    }

    /// What the budget pays for all of them.
    pub(crate) fn cost(&self) -> usize {
        let made = self.0.get();
        made.map_or(0, |made| made.cost.load(Ordering::Relaxed))
    }
}

impl<H: Head> State<H> {
    fn turn(&self) -> Turn<H> {
        match self {
            Self::Ready(body) => Turn::Ready(body.clone()),
            Self::Refused => Turn::Refused,
            Self::Underway(reader) => {
                let reader = reader.clone();
                if reader.is_seated() {
                    Turn::Underway(reader)
                } else {
                    Turn::Refused
                }
            }
        }
    }
}

impl<H: Head> fmt::Debug for Derived<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let made = self.0.get();
        let count = made.map_or(0, |made| made.all.lock().len());
        f.debug_struct("Derived").field("count", &count).finish()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{Cut, Keep, Key, Memory, Settings, Variant};

    const MAKING: Making = Making(1);

    fn memory() -> Arc<Memory<usize>> {
        Memory::new(Settings::new(1 << 20))
    }

    fn begin(memory: &Arc<Memory<usize>>) -> Fill<usize> {
        memory.begin(Key([1; 16]), Variant([0; 16]), 0, None, Keep::Store)
    }

    async fn all(mut reader: Reader<usize>) -> Result<Vec<u8>, Cut> {
        let mut all = Vec::new();
        while let Some(data) = reader.next().await? {
            all.extend_from_slice(&data);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn a_body_is_made_once_and_shared_while_it_is_made() {
        let memory = memory();
        let derived = Derived::none();
        let mut fill = begin(&memory);
        let Turn::Underway(first) = derived.turn(MAKING, || Some(fill.reader())) else {
            panic!("the first has it made");
        };
        fill.write(Bytes::from_static(b"ab")).await.unwrap();
        let Turn::Underway(second) = derived.turn(MAKING, || panic!("it is being made")) else {
            panic!("the second reads along");
        };
        fill.write(Bytes::from_static(b"cd")).await.unwrap();
        assert!(derived.ready(MAKING).is_none());
        derived.finish(MAKING, fill);
        assert_eq!(all(first).await.unwrap(), b"abcd");
        assert_eq!(all(second).await.unwrap(), b"abcd");
        let Turn::Ready(body) = derived.turn(MAKING, || panic!("it is there")) else {
            panic!("the third finds it");
        };
        assert_eq!(body.contiguous().unwrap(), "abcd");
        // It is no object of its own.
        assert_eq!(memory.stats().objects, 0);
        assert_eq!(memory.stats().bytes, derived.cost());
        drop((body, derived));
        assert_eq!(memory.stats().bytes, 0);
    }

    #[tokio::test]
    async fn what_could_not_be_made_is_not_tried_again() {
        let memory = memory();
        let derived = Derived::none();
        let fill = begin(&memory);
        let turn = derived.turn(MAKING, || Some(fill.reader()));
        fill.fail(Cut::Origin);
        derived.refuse(MAKING);
        let Turn::Underway(reader) = turn else {
            panic!("it was begun");
        };
        assert_eq!(all(reader).await, Err(Cut::Origin));
        let again = derived.turn(MAKING, || panic!("it is not begun again"));
        assert!(matches!(again, Turn::Refused));
        let other = derived.turn(Making(2), || None);
        assert!(matches!(other, Turn::Refused));
    }

    #[test]
    fn there_are_so_many_and_no_more() {
        let memory = memory();
        let derived = Derived::none();
        for number in 0..=DERIVED_MAX {
            let making = Making(u8::try_from(number).unwrap());
            let turn = derived.turn(making, || Some(begin(&memory).reader()));
            let made = matches!(turn, Turn::Underway(_));
            assert_eq!(made, number < DERIVED_MAX);
        }
    }
}
