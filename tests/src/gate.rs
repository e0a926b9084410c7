//! A gate that a test opens: how an origin is made to wait without sleeping.

use std::sync::Arc;

use tokio::sync::watch;

/// Closed until it is opened; then open for ever and for everybody.
#[derive(Clone, Debug)]
pub struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn closed() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// Lets everybody through who waits or will wait.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    /// Whether it is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the gate is open.
    pub async fn passed(&self) {
        let mut state = self.0.subscribe();
        // The sender lives in `self`, so the channel cannot close meanwhile.
        let opened = state.wait_for(|open| *open).await;
        drop(opened);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_and_who_comes_later_both_pass() {
        let gate = Gate::closed();
        let early = tokio::spawn({
            let gate = gate.clone();
            async move { gate.passed().await }
        });
        gate.open();
        early.await.unwrap();
        gate.passed().await;
    }
}
