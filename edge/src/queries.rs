//! Requests with QUERY (RFC 10008): safe, with content that is part of what is asked.
//!
//! Responses are stored under the target and the content. An unsafe request invalidates all of a target's, which no
//! list says where to find: each target has an epoch instead, which is part of the keys.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, HeaderMap, HeaderName};
use parking_lot::Mutex;
use std::collections::HashMap;
use storage::Key;

/// Targets whose invalidation is remembered; with one more, everything counts as invalidated.
const TARGETS_MAX: usize = 64 * 1024;
/// The fields that say what the content means.
pub(crate) const ABOUT_CONTENT: [HeaderName; 3] =
    [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LANGUAGE];

/// Whether a method is QUERY.
pub(crate) fn is_query(method: &Method) -> bool {
    method.as_str() == "QUERY"
}

/// What was read of a request's content before its way was decided.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) enum Content {
    /// Nothing: it passes through.
    #[default]
    Unread,
    /// All of it.
    Whole(Bytes),
    /// It is longer than what may be read.
    Beginning(Bytes),
}

impl Content {
    /// What was read and has to be read again by who forwards it.
    pub(crate) fn read(&self) -> Option<Bytes> {
        match self {
            Self::Unread => None,
            Self::Whole(content) | Self::Beginning(content) => Some(content.clone()),
        }
    }

    /// All of it, where that is known.
    pub(crate) const fn whole(&self) -> Option<&Bytes> {
        match self {
            Self::Whole(content) => Some(content),
            Self::Unread | Self::Beginning(_) => None,
        }
    }
}

/// The fields of a request that say what its content means.
pub(crate) fn about_content(headers: &HeaderMap) -> Vec<Option<&[u8]>> {
    let values = ABOUT_CONTENT.iter().map(|name| headers.get(name));
    values
        .map(|value| value.map(http::HeaderValue::as_bytes))
        .collect()
}

/// How often the targets of queries were invalidated.
pub(crate) struct Epochs {
    targets: Mutex<HashMap<Key, u64>>,
    next: AtomicU64,
    /// Of targets that are not listed.
    base: AtomicU64,
    /// Whether there was any query: else nothing is to be invalidated.
    any: AtomicBool,
}

impl Epochs {
    /// `start` differs between processes: what another one has stored is not found again.
    pub(crate) fn new(start: u64) -> Self {
        Self {
            targets: Mutex::default(),
            next: AtomicU64::new(start.wrapping_add(1)),
            base: AtomicU64::new(start),
            any: AtomicBool::new(false),
        }
    }

    /// The epoch of a target's queries.
    pub(crate) fn of(&self, target: Key) -> u64 {
        self.any.store(true, Ordering::Relaxed);
        let targets = self.targets.lock();
        let listed = targets.get(&target).copied();
        listed.unwrap_or_else(|| self.base.load(Ordering::Relaxed))
    }

    /// What was stored of a target's queries is not found any more.
    pub(crate) fn invalidate(&self, target: Key) {
        if !self.any.load(Ordering::Relaxed) {
            return;
        }
        let mut targets = self.targets.lock();
        let epoch = self.next.fetch_add(1, Ordering::Relaxed);
        if targets.len() >= TARGETS_MAX && !targets.contains_key(&target) {
            targets.clear();
            self.base.store(epoch, Ordering::Relaxed);
        } else {
            targets.insert(target, epoch);
        }
    }
}

impl fmt::Debug for Epochs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Epochs").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Key {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&(number as u64).to_le_bytes());
        Key(key)
    }

    #[test]
    fn an_invalidated_target_has_another_epoch() {
        let epochs = Epochs::new(7);
        assert_eq!((epochs.of(key(1)), epochs.of(key(2))), (7, 7));
        epochs.invalidate(key(1));
        assert_ne!(epochs.of(key(1)), 7);
        assert_eq!(epochs.of(key(2)), 7);
        let first = epochs.of(key(1));
        epochs.invalidate(key(1));
        assert_ne!(epochs.of(key(1)), first);
    }

    #[test]
    fn beyond_the_limit_everything_is_invalidated_and_nothing_comes_back() {
        let epochs = Epochs::new(0);
        let mut seen = std::collections::HashSet::from([epochs.of(key(0))]);
        for number in 1..=TARGETS_MAX {
            epochs.invalidate(key(number));
        }
        assert_eq!(epochs.of(key(0)), 0);
        assert!(seen.insert(epochs.of(key(1))));
        epochs.invalidate(key(TARGETS_MAX + 1));
        assert!(epochs.targets.lock().is_empty());
        assert!(seen.insert(epochs.of(key(0))));
        assert!(!seen.contains(&epochs.of(key(1))) || epochs.of(key(1)) == epochs.of(key(0)));
    }
}
