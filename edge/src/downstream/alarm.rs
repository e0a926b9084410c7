//! What an idle connection waits for besides its client: the end of its patience, and of the node.
//!
//! A connection waits between any two requests. A timer for each wait, and a place among those who hear that the node
//! stops, would cost as much as an answer: so both are kept as long as the connection.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep};

/// A timer that is set later far more often than it rings: setting it costs nothing.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    due: Option<Instant>,
}

impl Alarm {
    /// Lets it ring after so long, and not before.
    pub(crate) fn set(&mut self, patience: Duration, now: Instant) {
        let due = now + patience;
        self.due = Some(due);
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep(patience)));
        // One that rings too early is set again when it does.
        if due < sleep.deadline() {
            sleep.as_mut().reset(due);
        }
    }

    /// Ready once it has rung.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (Some(sleep), Some(due)) = (&mut self.sleep, self.due) else {
            return Poll::Pending;
        };
        while sleep.as_mut().poll(cx).is_ready() {
            if sleep.deadline() >= due {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
        Poll::Pending
    }
}

/// Hears that the node stops.
pub(crate) struct Stopping {
    receiver: watch::Receiver<bool>,
    /// From the beginning.
    stopped: bool,
    heard: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Whether the connection's task is among those who are told.
    waits: bool,
}

impl std::fmt::Debug for Stopping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stopping")
            .field("waits", &self.waits)
            .finish_non_exhaustive()
    }
}

impl Stopping {
    pub(crate) fn new(receiver: watch::Receiver<bool>) -> Self {
        let mut hearing = receiver.clone();
        let stopped = *receiver.borrow();
        let heard = Box::pin(async move {
            // A sender that is gone stops the node as well.
            drop(hearing.wait_for(|stop| *stop).await);
        });
        Self {
            receiver,
            stopped,
            heard,
            waits: false,
        }
    }

    /// Whether it does by now.
    pub(crate) fn is_set(&self) -> bool {
        self.stopped || self.receiver.has_changed().unwrap_or(true)
    }

    /// Ready once it does. To be polled by one task only: the first time, that has itself told.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_set() {
            return Poll::Ready(());
        }
        if self.waits {
            return Poll::Pending;
        }
        self.waits = true;
        self.heard.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::clock::timer;

    #[tokio::test(start_paused = true)]
    async fn an_alarm_rings_when_it_was_set_to_last() {
        let begun = timer();
        let mut alarm = Alarm::default();
        alarm.set(Duration::from_secs(10), begun);
        alarm.set(Duration::from_secs(60), begun);
        poll_fn(|cx| alarm.poll(cx)).await;
        assert_eq!(begun.elapsed().as_secs(), 60);
        let later = timer();
        alarm.set(Duration::from_secs(60), later);
        alarm.set(Duration::from_secs(5), later);
        poll_fn(|cx| alarm.poll(cx)).await;
        assert_eq!(later.elapsed().as_secs(), 5);
    }

    #[tokio::test]
    async fn whoever_waits_hears_that_the_node_stops() {
        let (stop, receiver) = watch::channel(false);
        let mut stopping = Stopping::new(receiver);
        let waiting = tokio::spawn(async move {
            for _ in 0..3 {
                let now = poll_fn(|cx| Poll::Ready(stopping.poll(cx))).await;
                assert!(now.is_pending());
            }
            poll_fn(|cx| stopping.poll(cx)).await;
            stopping.is_set()
        });
        tokio::task::yield_now().await;
        stop.send_replace(true);
        assert!(waiting.await.unwrap());
    }
}
