//! The last requests that were no hits, as their lines in the log would tell them.

use std::collections::VecDeque;

use bytes::Bytes;
use parking_lot::Mutex;
use storage::Key;

use crate::ids::Id;
use crate::outcome::Reason;

/// Requests that are remembered.
pub(super) const MISSES_MAX: usize = 4096;
/// Bytes of their lines.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// A request that was no hit.
#[derive(Clone, Debug)]
pub(crate) struct Missed {
    pub id: Id,
    pub key: Option<Key>,
    pub site: Box<str>,
    pub reason: Reason,
    /// In JSON.
    pub line: Bytes,
}

/// The last of them, as long as there is room.
#[derive(Debug, Default)]
pub(crate) struct Recent(Mutex<Misses>);

#[derive(Debug, Default)]
struct Misses {
    oldest_first: VecDeque<Missed>,
    bytes: usize,
}

impl Recent {
    pub(crate) fn remember(&self, missed: Missed) {
        if missed.line.len() > BYTES_MAX {
            return;
        }
        let mut misses = self.0.lock();
        misses.bytes += missed.line.len();
        misses.oldest_first.push_back(missed);
        while misses.oldest_first.len() > MISSES_MAX || misses.bytes > BYTES_MAX {
            let Some(oldest) = misses.oldest_first.pop_front() else {
                return;
            };
            misses.bytes -= oldest.line.len();
        }
    }

    /// The request with this number.
    pub(super) fn by_id(&self, id: &str) -> Option<Missed> {
        let misses = self.0.lock();
        let mut all = misses.oldest_first.iter().rev();
        all.find(|missed| missed.id.to_string() == id).cloned()
    }

    /// The last request for a key.
    pub(super) fn last_of(&self, key: Key) -> Option<Missed> {
        let misses = self.0.lock();
        let mut all = misses.oldest_first.iter().rev();
        all.find(|missed| missed.key == Some(key)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missed(number: u64, length: usize) -> Missed {
        Missed {
            id: Id(number),
            key: Some(Key([u8::try_from(number % 256).unwrap(); 16])),
            site: "s".into(),
            reason: Reason::Cold,
            line: vec![b'x'; length].into(),
        }
    }

    #[test]
    fn the_last_ones_are_there() {
        let recent = Recent::default();
        (0..10_000).for_each(|number| recent.remember(missed(number, 10)));
        assert!(recent.by_id(&Id(9_999).to_string()).is_some());
        assert!(
            recent
                .by_id(&Id(10_000 - MISSES_MAX as u64).to_string())
                .is_some()
        );
        assert!(
            recent
                .by_id(&Id(9_999 - MISSES_MAX as u64).to_string())
                .is_none()
        );
        let last = recent.last_of(Key([7; 16])).unwrap();
        assert_eq!(last.id, Id(9_991));
    }

    #[test]
    fn long_lines_make_room_sooner() {
        let recent = Recent::default();
        (0..100).for_each(|number| recent.remember(missed(number, BYTES_MAX / 10)));
        assert_eq!(recent.0.lock().oldest_first.len(), 10);
        recent.remember(missed(100, BYTES_MAX + 1));
        assert_eq!(recent.0.lock().oldest_first.len(), 10);
        assert!(recent.0.lock().bytes <= BYTES_MAX);
    }
}
