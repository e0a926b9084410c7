//! What shows whether two nodes have read the same log: its messages, by their places and by what they are.
//!
//! A log that comes back as an older copy of itself gives its places again, to other messages. So a place means the same
//! to two nodes only where the same message stands there for both.
//!
//! ```text
//!   here: 120-a ──▶ the one that is further along: 118-x 119-y 120-a 121-b   Same: all up to 120 is common
//!   here: 120-a ──▶ the one that is further along: 118-x 119-y 120-c 121-d   Other: one of them reads what is gone
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::hash::Hasher as _;
use std::str::FromStr;
use std::time::Duration;

use siphasher::sip::SipHasher13;

use crate::parameters::Unreadable;

/// Messages that a node remembers. With one that is further behind, or further along, nothing can be compared.
pub const LANDMARKS_MAX: usize = 16_384;

/// Tells a message of a log from all others, whatever their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Print(u64);

impl Print {
    /// Of the message with that id, which the log's server stamped so. Neither alone would do: an id is sent again by
    /// who was not told that it arrived.
    #[must_use]
    pub fn of(id: &str, stamp: Duration) -> Self {
        let mut hasher = SipHasher13::new();
        hasher.write_u128(stamp.as_nanos());
        hasher.write(id.as_bytes());
        Self(hasher.finish())
    }
}

/// A message of a log, at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Landmark {
    /// Its place.
    pub place: u64,
    /// Which message it is; nobody can compare it without.
    pub print: Option<Print>,
}

impl Landmark {
    /// A place of which is not known what stands there.
    #[must_use]
    pub const fn unknown(place: u64) -> Self {
        Self { place, print: None }
    }

    /// The one that is further along.
    #[must_use]
    pub const fn further(self, other: Self) -> Self {
        match self.place < other.place {
            true => other,
            false => self,
        }
    }
}

impl fmt::Display for Landmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.print {
            Some(Print(print)) => write!(f, "{}-{print:016x}", self.place),
            None => write!(f, "{}", self.place),
        }
    }
}

impl FromStr for Landmark {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let (place, print) = match text.split_once('-') {
            Some((place, print)) => (place, Some(print)),
            None => (text, None),
        };
        let number = |text: &str, radix| {
            let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
            let number = u64::from_str_radix(text, radix).ok().filter(|_| digits);
            number.ok_or(Unreadable::Malformed)
        };
        Ok(Self {
            place: number(place, 10)?,
            print: print.map(|it| number(it, 16).map(Print)).transpose()?,
        })
    }
}

/// What a node knows of a message that another one names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It stands there for this node, too.
    Same,
    /// Another one does.
    Other,
    /// This node is not that far.
    Ahead,
    /// Nothing any more, or nothing yet.
    Unknown,
}

/// The last messages that a node has read, without a hole.
#[derive(Clone, Debug, Default)]
pub struct Landmarks {
    /// The place of the last one.
    last: u64,
    /// The oldest first.
    prints: VecDeque<Option<Print>>,
}

impl Landmarks {
    /// What was read before is of no use any more: it goes on behind a message.
    pub fn restart(&mut self, behind: Landmark) {
        self.prints.clear();
        self.last = behind.place;
        self.prints.push_back(behind.print);
    }

    /// The next message was read.
    pub fn read(&mut self, next: Landmark) {
        if self.prints.is_empty() || next.place != self.last + 1 {
            return self.restart(next);
        }
        if self.prints.len() >= LANDMARKS_MAX {
            self.prints.pop_front();
        }
        self.last = next.place;
        self.prints.push_back(next.print);
    }

    /// The last message that was read.
    #[must_use]
    pub fn last(&self) -> Option<Landmark> {
        let print = *self.prints.back()?;
        let place = self.last;
        Some(Landmark { place, print })
    }

    /// What is known of a message that another node names.
    #[must_use]
    pub fn compare(&self, named: Landmark) -> Seen {
        let Some(behind) = self.last.checked_sub(named.place) else {
            return Seen::Ahead;
        };
        let nth = usize::try_from(behind).ok();
        let own = nth.and_then(|nth| self.prints.iter().rev().nth(nth).copied());
        match (own.flatten(), named.print) {
            (Some(own), Some(print)) if own == print => Seen::Same,
            (Some(_), Some(_)) => Seen::Other,
            _ => Seen::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(place: u64, id: &str) -> Landmark {
        let print = Some(Print::of(id, Duration::from_secs(place)));
        Landmark { place, print }
    }

    #[test]
    fn a_place_means_the_same_where_the_same_message_stands_there() {
        let mut read = Landmarks::default();
        assert_eq!(read.last(), None);
        assert_eq!(read.compare(at(0, "a")), Seen::Unknown);
        assert_eq!(read.compare(at(1, "a")), Seen::Ahead);
        for (place, id) in [(7, "a"), (8, "b"), (9, "c")] {
            read.read(at(place, id));
        }
        assert_eq!(read.last(), Some(at(9, "c")));
        for (named, seen) in [
            (at(9, "c"), Seen::Same),
            (at(8, "b"), Seen::Same),
            (at(8, "c"), Seen::Other),
            (at(6, "z"), Seen::Unknown),
            (at(10, "d"), Seen::Ahead),
            (Landmark::unknown(8), Seen::Unknown),
            (Landmark::unknown(10), Seen::Ahead),
        ] {
            assert_eq!(read.compare(named), seen, "{named}");
        }
        // The log is set back, and goes on otherwise.
        read.restart(at(7, "a"));
        read.read(at(8, "other"));
        assert_eq!(read.compare(at(8, "b")), Seen::Other);
        assert_eq!(read.compare(at(7, "a")), Seen::Same);
        assert_eq!(read.compare(at(9, "c")), Seen::Ahead);
        // A hole: what is before it says nothing of what is behind it.
        read.read(at(12, "e"));
        assert_eq!(read.compare(at(8, "other")), Seen::Unknown);
    }

    #[test]
    fn the_same_id_is_another_message_at_another_time() {
        let print = |id, seconds| Print::of(id, Duration::from_secs(seconds));
        assert_eq!(print("a", 1), print("a", 1));
        assert_ne!(print("a", 1), print("a", 2));
        assert_ne!(print("a", 1), print("b", 1));
    }

    #[test]
    fn messages_that_are_remembered_have_a_limit() {
        let mut read = Landmarks::default();
        let count = LANDMARKS_MAX as u64;
        for place in 1..=count {
            read.read(at(place, "a"));
        }
        assert_eq!(read.compare(at(1, "a")), Seen::Same);
        read.read(at(count + 1, "a"));
        assert_eq!(read.prints.len(), LANDMARKS_MAX);
        assert_eq!(read.compare(at(1, "a")), Seen::Unknown);
        assert_eq!(read.compare(at(2, "a")), Seen::Same);
        assert_eq!(read.compare(at(2, "b")), Seen::Other);
    }

    #[test]
    fn what_is_written_is_read() {
        for landmark in [at(120, "a"), at(0, ""), Landmark::unknown(7)] {
            assert_eq!(landmark.to_string().parse(), Ok(landmark));
        }
        for bad in ["", "-", "7-", "-7", "+7", "7-+1", "7-x", "a-1", "7-1-2"] {
            let read: Result<Landmark, _> = bad.parse();
            assert_eq!(read, Err(Unreadable::Malformed), "{bad}");
        }
        assert_eq!(at(1, "a").further(at(2, "b")), at(2, "b"));
        assert_eq!(at(2, "b").further(at(1, "a")), at(2, "b"));
    }
}
