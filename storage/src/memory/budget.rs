//! One number for all the memory, and what proves that a part of it was paid for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// What a piece of a body costs beside its bytes: the shared owner (64), the allocator's headers
/// (2 × 16) and its place in a list (40, with room to grow).
pub(crate) const PIECE_OVERHEAD: usize = 144;

/// The byte budget. `used` never exceeds `capacity`.
#[derive(Debug)]
pub(crate) struct Budget {
    capacity: usize,
    used: AtomicUsize,
    in_flight: AtomicUsize,
    in_flight_max: usize,
}

impl Budget {
    pub(crate) fn new(capacity: usize, in_flight_max: usize) -> Arc<Self> {
        Arc::new(Self {
            capacity,
            used: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            in_flight_max,
        })
    }

    /// Takes `bytes`, if they are free now.
    pub(crate) fn try_charge(self: &Arc<Self>, bytes: usize) -> Option<Charge> {
        take(&self.used, bytes, self.capacity).then(|| Charge {
            budget: Arc::clone(self),
            bytes,
        })
    }

    /// What is worth nothing.
    pub(crate) fn nothing(self: &Arc<Self>) -> Charge {
        Charge {
            budget: Arc::clone(self),
            bytes: 0,
        }
    }

    /// An empty account of one fill that is to be stored.
    pub(crate) fn in_flight(self: &Arc<Self>) -> InFlight {
        InFlight {
            budget: Arc::clone(self),
            bytes: 0,
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn in_flight_bytes(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }
}

/// Adds `bytes` to `counter` unless it would pass `limit`.
fn take(counter: &AtomicUsize, bytes: usize, limit: usize) -> bool {
    counter
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|used| *used <= limit)
        })
        .is_ok()
}

/// Bytes taken from the budget; they go back when this is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Charge {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes over another one.
    pub(crate) fn join(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Hands over at most `bytes` of it.
    pub(crate) fn split(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self {
            budget: Arc::clone(&self.budget),
            bytes,
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The body bytes of one fill under way. They are charged piece by piece as well; this only bounds
/// how much of the capacity unfinished work may hold.
#[derive(Debug)]
pub(crate) struct InFlight {
    budget: Arc<Budget>,
    bytes: usize,
}

impl InFlight {
    /// Adds `bytes`; false if all fills together would hold too much.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let taken = take(&self.budget.in_flight, bytes, self.budget.in_flight_max);
        if taken {
            self.bytes += bytes;
        }
        taken
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.budget
            .in_flight
            .fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Memory together with what it was paid with.
struct Paid<T> {
    data: T,
    _charge: Charge,
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for Paid<T> {
    fn as_ref(&self) -> &[u8] {
        self.data.as_ref()
    }
}

/// `data` as bytes whose charge ends with the last handle to any part of them.
pub(crate) fn paid<T>(data: T, charge: Charge) -> Bytes
where
    T: AsRef<[u8]> + Send + 'static,
{
    Bytes::from_owner(Paid {
        data,
        _charge: charge,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_beyond_the_capacity_is_refused() {
        let budget = Budget::new(10, 10);
        let first = budget.try_charge(6).unwrap();

        assert!(budget.try_charge(5).is_none());
        assert!(budget.try_charge(usize::MAX).is_none());
        assert!(budget.try_charge(4).is_some(), "returned at once");
        drop(first);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_slice_of_a_body_keeps_the_whole_charge() {
        let budget = Budget::new(1000, 0);
        let body = paid(
            vec![7; 100],
            budget.try_charge(100 + PIECE_OVERHEAD).unwrap(),
        );
        let slice = body.slice(10..11);

        drop(body);
        assert_eq!(budget.used(), 100 + PIECE_OVERHEAD);
        drop(slice);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_charge_is_split_without_a_byte_lost() {
        let budget = Budget::new(100, 0);
        let mut charge = budget.try_charge(50).unwrap();
        let part = charge.split(20);
        let rest = charge.split(31);

        assert_eq!((charge.bytes(), part.bytes(), rest.bytes()), (0, 20, 30));
        assert_eq!(budget.used(), 50);
        drop(part);
        assert_eq!(budget.used(), 30);
    }

    #[test]
    fn fills_in_flight_share_a_limit_of_their_own() {
        let budget = Budget::new(100, 50);
        let (mut one, mut other) = (budget.in_flight(), budget.in_flight());

        assert!(one.grow(30));
        assert!(!other.grow(21));
        assert!(other.grow(20));
        drop(one);
        assert!(other.grow(30));
        assert_eq!(budget.in_flight_bytes(), 50);
    }
}
