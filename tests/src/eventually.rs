//! Waiting for what happens a little later, with a deadline instead of a guess.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How often a condition is looked at while it is awaited.
const INTERVAL: Duration = Duration::from_millis(5);

/// Waits until `condition` holds.
///
/// # Panics
///
/// When it still does not hold at the deadline; the message names the caller.
#[track_caller]
pub fn eventually(
    deadline: Duration,
    mut condition: impl FnMut() -> bool,
) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let end = Instant::now() + deadline;
        while !condition() {
            assert!(
                Instant::now() < end,
                "still not so after {deadline:?}: {caller}"
            );
            sleep(INTERVAL).await;
        }
    }
}

/// Watches that `condition` keeps holding for the whole of `duration`: for what must *not*
/// happen, such as a second request at the origin.
#[track_caller]
pub fn settled(
    duration: Duration,
    mut condition: impl FnMut() -> bool,
) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let end = Instant::now() + duration;
        while Instant::now() < end {
            assert!(condition(), "no longer so: {caller}");
            sleep(INTERVAL).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_condition_that_comes_true_ends_the_wait() {
        let mut looks = 0;
        eventually(Duration::from_secs(1), || {
            looks += 1;
            looks == 4
        })
        .await;
        assert_eq!(looks, 4);
    }

    #[tokio::test]
    #[should_panic(expected = "still not so after 20ms")]
    async fn a_condition_that_never_comes_true_fails_at_the_deadline() {
        eventually(Duration::from_millis(20), || false).await;
    }
}
