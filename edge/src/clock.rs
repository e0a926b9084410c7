//! The one place that reads the clock.

#[cfg(debug_assertions)]
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use policy::time::Timestamp;

/// Where a node gets its time from.
///
/// Caching decisions use the wall clock, because `Date`, `Expires` and `Age` do. How long something took is measured on
/// the monotonic clock, which never steps back.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    /// A file that holds milliseconds to add to the wall clock, or with a `@` before them, to take its place. Debug builds
    /// only: a test moves time by rewriting it, or has it stand.
    #[cfg(debug_assertions)]
    offset: Option<PathBuf>,
}

/// Time since it was first asked for, for those that measure how long something takes.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub(crate) fn monotonic() -> Duration {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    FIRST.get_or_init(Instant::now).elapsed()
}

/// Now, as timers count.
pub(crate) fn timer() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

impl Clock {
    /// The machine's clock, or, in a debug build, the clock that `LARDER_TEST_CLOCK` names.
    #[must_use]
    pub(crate) fn from_environment() -> Self {
        Self {
            #[cfg(debug_assertions)]
            offset: std::env::var_os("LARDER_TEST_CLOCK").map(PathBuf::from),
        }
    }

    /// The wall clock.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub(crate) fn now(&self) -> Timestamp {
        // A clock before 1970 counts as 1970.
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let told = self.told(wall);
        Timestamp::from_unix_millis(u64::try_from(told.as_millis()).unwrap_or(u64::MAX))
    }

    /// The monotonic clock.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub(crate) fn instant(&self) -> Instant {
        Instant::now()
    }

    #[cfg(debug_assertions)]
    fn told(&self, wall: Duration) -> Duration {
        let text = self
            .offset
            .as_ref()
            .and_then(|path| std::fs::read_to_string(path).ok());
        let text = text.as_deref().map_or("", str::trim);
        let (wall, millis) = match text.strip_prefix('@') {
            Some(millis) => (Duration::ZERO, millis),
            None => (wall, text),
        };
        wall.saturating_add(Duration::from_millis(millis.parse().unwrap_or(0)))
    }

    #[cfg(not(debug_assertions))]
    #[expect(clippy::unused_self, reason = "a debug build reads its file")]
    const fn told(&self, wall: Duration) -> Duration {
        wall
    }
}
