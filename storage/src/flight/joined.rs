//! One flight as its leader and its followers share it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::watch;

use super::{Boarding, Follower, Following, Landing, Sign};
use crate::{Head, Reader};

pub(super) struct Flight<H: Head> {
    /// A `watch` lets all followers read at once, and spreads their waiting over several locks.
    landing: watch::Sender<Option<Landing<H>>>,
    followers: AtomicUsize,
    sign: Arc<OnceLock<Sign>>,
}

impl<H: Head> Flight<H> {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            landing: watch::Sender::new(None),
            followers: AtomicUsize::new(0),
            sign: Arc::default(),
        })
    }

    pub(super) fn follow(self: Arc<Self>, max: usize) -> Boarding<H> {
        if !count_up(&self.followers, max) {
            return Boarding::Crowded;
        }
        // The seat is taken before the landing is read, and the landing is written before the seats
        // are counted: a reader is never parked while somebody waits for it.
        let seat = Seat {
            flight: Arc::clone(&self),
        };
        let landed = self.landing.borrow();
        let following = match &*landed {
            None => Following::Waiting {
                landing: self.landing.subscribe(),
                _seat: seat,
            },
            Some(Landing::Streaming(reader)) if !has_room(reader, max) => return Boarding::Crowded,
            Some(landing) => Following::Late(landing.told()),
        };
        Boarding::Follow(Follower {
            following,
            sign: Arc::clone(&self.sign),
        })
    }

    pub(super) fn land(&self, landing: Landing<H>) {
        self.landing.send_replace(Some(landing));
        self.park_if_nobody_waits();
    }

    pub(super) fn sign(&self, sign: Sign) {
        self.sign.set(sign).unwrap_or_default();
    }

    pub(super) fn followers(&self) -> usize {
        self.followers.load(Ordering::Relaxed)
    }

    /// The reader that followers clone must not hold up the writer when no more of them wait.
    fn park_if_nobody_waits(&self) {
        if self.followers.load(Ordering::Acquire) > 0 {
            return;
        }
        if let Some(Landing::Streaming(reader)) = &*self.landing.borrow() {
            reader.park();
        }
    }
}

/// Whether one more can read from the start.
fn has_room<H: Head>(reader: &Reader<H>, max: usize) -> bool {
    reader.is_joinable() && reader.readers() < max
}

/// A follower's place in its flight.
pub(super) struct Seat<H: Head> {
    flight: Arc<Flight<H>>,
}

impl<H: Head> Drop for Seat<H> {
    fn drop(&mut self) {
        self.flight.followers.fetch_sub(1, Ordering::AcqRel);
        self.flight.park_if_nobody_waits();
    }
}

/// Adds one to `counter` unless it is at `limit`.
pub(super) fn count_up(counter: &AtomicUsize, limit: usize) -> bool {
    let add = |count| (count < limit).then_some(count + 1);
    counter
        .fetch_update(Ordering::AcqRel, Ordering::Acquire, add)
        .is_ok()
}
