//! How many requests an origin has at once, and how many wait for their turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tiered::balance::Room;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::error::UpstreamError;

/// The requests of one origin.
#[derive(Debug)]
pub(crate) struct Slots {
    counts: Arc<Counts>,
    cap: Option<Cap>,
    connections: Option<Connections>,
}

#[derive(Debug, Default)]
struct Counts {
    under_way: AtomicU32,
    waiting: AtomicU32,
}

/// Places, of which there may be more or fewer one day.
#[derive(Debug)]
struct Places {
    free: Arc<Semaphore>,
    /// How many there are, those that are taken among them.
    all: Mutex<usize>,
}

/// The most connections at once.
#[derive(Debug)]
pub(crate) struct Connections {
    places: Arc<Places>,
    most: usize,
    /// How long a new one waits for another one's end.
    patience: Duration,
}

/// The most requests at once.
#[derive(Debug)]
pub(crate) struct Cap {
    places: Arc<Places>,
    most: usize,
    /// The most that wait.
    queue: u32,
    /// How long one waits.
    patience: Duration,
}

/// Whether a request waits for its turn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Queueing {
    /// It does.
    Wait,
    /// It has something else to go on with.
    Never,
}

/// A request that is under way. Its place is free when this is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    _place: Option<OwnedSemaphorePermit>,
}

/// Whoever waits is counted, however the wait ends.
struct Waiting<'a>(&'a AtomicU32);

impl Places {
    fn new(all: usize) -> Arc<Self> {
        Arc::new(Self {
            free: Arc::new(Semaphore::new(all)),
            all: Mutex::new(all),
        })
    }

    /// From now on there are so many. Where more are taken, those that become free first are the ones that go.
    fn resize(&self, to: usize) {
        let from = std::mem::replace(&mut *self.all.lock(), to);
        self.free.add_permits(to.saturating_sub(from));
        let excess = from.saturating_sub(to);
        let taken = excess - self.free.forget_permits(excess);
        if taken > 0 {
            let free = Arc::clone(&self.free);
            tokio::spawn(async move {
                for _ in 0..taken {
                    if let Ok(place) = free.acquire().await {
                        place.forget();
                    }
                }
            });
        }
    }
}

impl Connections {
    pub(crate) fn new(most: usize, patience: Duration) -> Self {
        Self {
            places: Places::new(most),
            most,
            patience,
        }
    }
}

impl Cap {
    pub(crate) fn new(requests: usize, queue: u32, patience: Duration) -> Self {
        Self {
            places: Places::new(requests),
            most: requests,
            queue,
            patience,
        }
    }
}

impl Slots {
    pub(crate) fn new(cap: Option<Cap>, connections: Option<Connections>) -> Arc<Self> {
        Arc::new(Self {
            counts: Arc::default(),
            cap,
            connections,
        })
    }

    /// The same by other limits: what is under way counts for both. [`Self::fit`] gives them their size.
    pub(crate) fn by(
        &self,
        mut cap: Option<Cap>,
        mut connections: Option<Connections>,
    ) -> Arc<Self> {
        if let (Some(new), Some(old)) = (&mut cap, &self.cap) {
            new.places = Arc::clone(&old.places);
        }
        if let (Some(new), Some(old)) = (&mut connections, &self.connections) {
            new.places = Arc::clone(&old.places);
        }
        Arc::new(Self {
            counts: Arc::clone(&self.counts),
            cap,
            connections,
        })
    }

    /// Its limits hold from now on.
    pub(crate) fn fit(&self) {
        if let Some(cap) = &self.cap {
            cap.places.resize(cap.most);
        }
        if let Some(connections) = &self.connections {
            connections.places.resize(connections.most);
        }
    }

    /// How long a new connection waits for another one's end.
    pub(crate) fn connection_patience(&self) -> Duration {
        let connections = self.connections.as_ref();
        connections.map_or(Duration::ZERO, |connections| connections.patience)
    }

    /// Whether unused connections are in the way of new ones.
    pub(crate) const fn are_connections_few(&self) -> bool {
        self.connections.is_some()
    }

    /// A place for a connection; none is needed where there is no limit.
    ///
    /// # Errors
    /// [`UpstreamError::Full`] where none became free in time.
    pub(crate) async fn connection(&self) -> Result<Option<OwnedSemaphorePermit>, UpstreamError> {
        let Some(Connections {
            places, patience, ..
        }) = &self.connections
        else {
            return Ok(None);
        };
        match timeout(*patience, Arc::clone(&places.free).acquire_owned()).await {
            Ok(Ok(place)) => Ok(Some(place)),
            Ok(Err(_)) | Err(_) => Err(UpstreamError::Full),
        }
    }

    /// Requests that are under way.
    pub(crate) fn under_way(&self) -> u32 {
        self.counts.under_way.load(Ordering::Relaxed)
    }

    /// Requests that wait.
    pub(crate) fn waiting(&self) -> u32 {
        self.counts.waiting.load(Ordering::Relaxed)
    }

    /// Whether a request would be under way at once.
    pub(crate) fn room(&self) -> Room {
        match &self.cap {
            Some(cap) if cap.places.free.available_permits() == 0 => Room::Full,
            _ => Room::Free,
        }
    }

    /// A place for a request, perhaps after a wait.
    ///
    /// # Errors
    /// [`UpstreamError::Full`] where there is none, or none in time.
    pub(crate) async fn take(self: &Arc<Self>, queueing: Queueing) -> Result<Slot, UpstreamError> {
        let place = match &self.cap {
            None => None,
            Some(cap) => Some(self.place(cap, queueing).await?),
        };
        self.counts.under_way.fetch_add(1, Ordering::Relaxed);
        Ok(Slot {
            slots: Arc::clone(self),
            _place: place,
        })
    }

    async fn place(
        &self,
        cap: &Cap,
        queueing: Queueing,
    ) -> Result<OwnedSemaphorePermit, UpstreamError> {
        if let Ok(place) = Arc::clone(&cap.places.free).try_acquire_owned() {
            return Ok(place);
        }
        let _waiting = match queueing {
            Queueing::Never => return Err(UpstreamError::Full),
            Queueing::Wait => self.queue_up(cap.queue).ok_or(UpstreamError::Full)?,
        };
        let free = Arc::clone(&cap.places.free);
        match timeout(cap.patience, free.acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(UpstreamError::Full),
        }
    }

    fn queue_up(&self, most: u32) -> Option<Waiting<'_>> {
        let longer = |waiting| (waiting < most).then_some(waiting + 1);
        let waiting = &self.counts.waiting;
        let queued = waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, longer);
        queued.ok().map(|_| Waiting(waiting))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.counts.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(requests: usize, queue: u32) -> Arc<Slots> {
        Slots::new(
            Some(Cap::new(requests, queue, Duration::from_secs(60))),
            None,
        )
    }

    #[tokio::test]
    async fn who_finds_no_place_waits_for_one() {
        let slots = slots(1, 1);
        let first = slots.take(Queueing::Wait).await.unwrap();
        assert_eq!(slots.room(), Room::Full);
        let second = tokio::spawn({
            let slots = Arc::clone(&slots);
            async move { slots.take(Queueing::Wait).await }
        });
        while slots.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        let third = slots.take(Queueing::Wait).await;
        assert_eq!(third.unwrap_err(), UpstreamError::Full, "the queue is full");
        drop(first);
        let second = second.await.unwrap().unwrap();
        assert_eq!((slots.under_way(), slots.waiting()), (1, 0));
        drop(second);
        assert_eq!((slots.under_way(), slots.room()), (0, Room::Free));
    }

    #[tokio::test]
    async fn limits_change_under_those_who_are_under_way() {
        let before = slots(2, 0);
        let first = before.take(Queueing::Never).await.unwrap();
        let second = before.take(Queueing::Never).await.unwrap();
        let fewer = before.by(Some(Cap::new(1, 0, Duration::from_secs(60))), None);
        assert_eq!(fewer.under_way(), 2, "they count for both");
        fewer.fit();
        drop(first);
        // The place that became free is the one that goes.
        while fewer.cap.as_ref().unwrap().places.free.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let refused = fewer.take(Queueing::Never).await;
        assert_eq!(refused.unwrap_err(), UpstreamError::Full);
        drop(second);
        let third = fewer.take(Queueing::Never).await.unwrap();
        assert_eq!(fewer.room(), Room::Full);
        let more = fewer.by(Some(Cap::new(3, 0, Duration::from_secs(60))), None);
        more.fit();
        let _fourth = more.take(Queueing::Never).await.unwrap();
        let _fifth = more.take(Queueing::Never).await.unwrap();
        assert_eq!((more.under_way(), more.room()), (3, Room::Full));
        drop(third);
        assert_eq!((more.under_way(), more.room()), (2, Room::Free));
    }

    #[tokio::test]
    async fn who_has_something_else_does_not_wait() {
        let slots = slots(1, 10);
        let _first = slots.take(Queueing::Never).await.unwrap();
        let second = slots.take(Queueing::Never).await;
        assert_eq!(second.unwrap_err(), UpstreamError::Full);
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends() {
        let slots = slots(1, 10);
        let _first = slots.take(Queueing::Wait).await.unwrap();
        let second = slots.take(Queueing::Wait).await;
        assert_eq!(second.unwrap_err(), UpstreamError::Full);
        assert_eq!(slots.waiting(), 0);
    }
}
