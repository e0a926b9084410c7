//! How long a window waits for the readers that are behind.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Sleep, sleep};

/// For every stretch of a body, in bytes, a window waits anew.
const STRETCH: u64 = 1024 * 1024;

/// How long it waits within one stretch.
const STRETCH_TIME: Duration = Duration::from_millis(500);

/// Readers that are equally fast are not equally fast at every moment, so a window waits for those
/// behind. When the time for a stretch is over, they are left behind for good; the wait for the next
/// ones begins anew. However slow they are, the others get a stretch in about this time.
#[derive(Debug, Default)]
pub(super) struct Patience(Option<Waiting>);

#[derive(Debug)]
struct Waiting {
    /// It is renewed when the body has come so far.
    until: u64,
    time: Pin<Box<Sleep>>,
}

impl Patience {
    /// Ends when the time for the stretch at `end` is over. If it is dropped before, that time goes on.
    pub(super) async fn exhausted(&mut self, end: u64) {
        if self.0.as_ref().is_none_or(|waiting| waiting.until <= end) {
            self.0 = Some(Waiting {
                until: end.saturating_add(STRETCH),
                time: Box::pin(sleep(STRETCH_TIME)),
            });
        }
        if let Some(waiting) = &mut self.0 {
            waiting.time.as_mut().await;
        }
        self.0 = None;
    }
}
