//! Values that threads have for themselves, and somebody reads together.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;

/// The most values that there are; where there are more threads, some share one.
const PLACES_MAX: usize = 16;

/// A value for each thread, as far as the machine runs several at once.
#[derive(Debug)]
pub(crate) struct PerThread<T>(Box<[Apart<T>]>);

/// Two lines of a processor's cache: some fetch them in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Apart<T>(T);

impl<T> PerThread<T> {
    pub(crate) fn new(make: impl Fn() -> T) -> Self {
        let threads = available_parallelism().map_or(1, std::num::NonZero::get);
        let places = 0..threads.min(PLACES_MAX);
        Self(places.map(|_| Apart(make())).collect())
    }

    /// The value of this thread.
    pub(crate) fn mine(&self) -> &T {
        &self.0[place() % self.0.len()].0
    }

    /// Those of all threads.
    pub(crate) fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|apart| &apart.0)
    }
}

/// The number of this thread.
fn place() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static PLACE: Cell<Option<usize>> = const { Cell::new(None) };
    }
    PLACE.with(|place| {
        place.get().unwrap_or_else(|| {
            let number = THREADS.fetch_add(1, Ordering::Relaxed);
            place.set(Some(number));
            number
        })
    })
}
