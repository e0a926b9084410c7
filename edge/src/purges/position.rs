//! Where a node is in the log of purges that it follows, and what that says of responses from other nodes.

use parking_lot::RwLock;
use storage::purge::{Life, Membership, PurgeIndex, Sequence};
use tiered::landmark::{Landmark, Landmarks, Seen};
use tiered::voucher::{Born, Reading};

use super::log::LogName;

/// A node's place in its log.
#[derive(Debug)]
pub(crate) struct Position(RwLock<At>);

#[derive(Debug)]
struct At {
    log: LogName,
    /// What was read last: everything up to there is applied.
    read: Landmarks,
    /// What a sequence of this node's own order has to be taken from for its place.
    offset: i64,
}

impl At {
    const fn place_of(&self, sequence: Sequence) -> u64 {
        sequence.0.saturating_add_signed(self.offset.wrapping_neg())
    }

    const fn sequence_of(&self, place: u64) -> Sequence {
        Sequence(place.saturating_add_signed(self.offset))
    }

    fn place(&self) -> u64 {
        self.read.last().map_or(0, |it| it.place)
    }
}

/// Whether two nodes can tell each other where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Common {
    /// They follow the same log, for all that is known here, or the other one follows none.
    Yes,
    /// They follow different ones, or one of them reads a copy that is gone.
    No,
}

impl Position {
    pub(super) fn new(log: LogName, offset: i64) -> Self {
        let read = Landmarks::default();
        Self(RwLock::new(At { log, read, offset }))
    }

    /// Everything up to a message is applied.
    pub(super) fn passed(&self, log: LogName, at: Landmark) {
        let mut own = self.0.write();
        own.log = log;
        own.read.read(at);
    }

    /// As [`Self::passed`], with a sequence of this node's own order for that message.
    pub(super) fn moved(&self, log: LogName, at: Landmark, sequence: Sequence) {
        let mut own = self.0.write();
        own.log = log;
        own.read.read(at);
        own.offset = offset(at, sequence);
    }

    /// It goes on behind a message, with that sequence in this node's own order, and nothing else is as it was: which log
    /// that is the next message tells.
    pub(super) fn doubted(&self, behind: Landmark, sequence: Sequence) {
        let mut own = self.0.write();
        own.log = LogName::Unknown;
        own.read.restart(behind);
        own.offset = offset(behind, sequence);
    }

    /// The log that other nodes may follow as well, where it is known.
    pub(crate) fn log(&self) -> Option<String> {
        match &self.0.read().log {
            LogName::Own | LogName::Unknown => None,
            LogName::Shared(log) => Some(log.clone()),
        }
    }

    /// Up to where everything is applied.
    pub(crate) fn here(&self) -> Landmark {
        let last = self.0.read().read.last();
        last.unwrap_or_else(|| Landmark::unknown(0))
    }

    /// What is known here of a message that another node names, which follows the same log.
    pub(crate) fn compare(&self, named: Landmark) -> Seen {
        self.0.read().read.compare(named)
    }

    /// Whether what a node says in places of `log` is understood here, which has read it up to `here`.
    pub(crate) fn has_in_common(&self, log: Option<&str>, here: Option<Landmark>) -> Common {
        let own = self.0.read();
        match (log, &own.log) {
            (None, _) => Common::Yes,
            (Some(log), LogName::Shared(known)) if log == known => {
                match here.map(|here| own.read.compare(here)) {
                    Some(Seen::Other) => Common::No,
                    Some(Seen::Same | Seen::Ahead | Seen::Unknown) | None => Common::Yes,
                }
            }
            (Some(_), _) => Common::No,
        }
    }

    /// The sequence of this node that a purge at a place of its log has, or will have.
    pub(crate) fn sequence_of(&self, place: u64) -> Sequence {
        self.0.read().sequence_of(place)
    }

    /// What a response can be held against purges by, for a node that follows the same log and has read it up to `asker`.
    /// No purge up to that place names it, of those that this node knows.
    pub(crate) fn vouch(
        &self,
        index: &PurgeIndex,
        membership: &Membership,
        asker: Option<Landmark>,
    ) -> Option<Born> {
        // Before the look at the purges: it is proven up to there at least.
        let (born, here) = {
            let own = self.0.read();
            (own.born(index, membership.born(), asker)?, own.place())
        };
        let place = match index.life(membership) {
            Life::Alive => born.place.max(here),
            Life::Stale { .. } | Life::Doubtful | Life::Gone => born.place,
        };
        Some(Born { place, ..born })
    }

    /// The same for a response that is not stored, and was asked for at `begun`.
    pub(crate) fn vouch_passed(
        &self,
        index: &PurgeIndex,
        begun: Sequence,
        asker: Option<Landmark>,
    ) -> Option<Born> {
        self.0.read().born(index, begun, asker)
    }

    /// When a response was born in this node's order that another node vouches for; it was asked for at `begun`.
    pub(crate) fn born(
        &self,
        index: &PurgeIndex,
        begun: Sequence,
        born: Option<&Born>,
    ) -> Sequence {
        let own = self.0.read();
        let (log, born) = match (&own.log, born) {
            // Each node has its own purges: the other one is an origin like others.
            (LogName::Own, _) => return begun,
            (LogName::Unknown, _) | (LogName::Shared(_), None) => return Sequence(0),
            (LogName::Shared(log), Some(born)) => (log, born),
        };
        if *log != born.log {
            return Sequence(0);
        }
        if index.doubted() > begun {
            // The log was another one when it was asked for.
            return begun;
        }
        if !own.is_proven(born) {
            return Sequence(0);
        }
        // What this node does not know yet cannot be proven here.
        own.sequence_of(born.place).min(index.latest())
    }
}

/// What a sequence has to be taken from for its place.
const fn offset(at: Landmark, sequence: Sequence) -> i64 {
    let (sequence, place) = (sequence.0.cast_signed(), at.place.cast_signed());
    sequence.wrapping_sub(place)
}

impl At {
    fn born(
        &self,
        index: &PurgeIndex,
        sequence: Sequence,
        asker: Option<Landmark>,
    ) -> Option<Born> {
        let LogName::Shared(log) = &self.log else {
            return None;
        };
        let place = match sequence >= index.doubted() {
            true => self.place_of(sequence),
            // It is of a time when places meant something else.
            false => 0,
        };
        Some(Born {
            log: log.clone(),
            place,
            here: self.read.last(),
            asker: match asker.map(|asker| self.read.compare(asker)) {
                Some(Seen::Same) => Reading::Common,
                Some(Seen::Other | Seen::Ahead | Seen::Unknown) | None => Reading::Unknown,
            },
        })
    }

    /// Whether the places that another node speaks of are those of this one: whoever of the two is further along knows the
    /// message that the other has read last.
    fn is_proven(&self, born: &Born) -> bool {
        match born.here.map(|here| self.read.compare(here)) {
            Some(Seen::Same) => true,
            Some(Seen::Ahead) => born.asker == Reading::Common,
            Some(Seen::Other | Seen::Unknown) | None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use storage::Moment;
    use storage::purge::{Label, Mode};
    use tiered::landmark::Print;

    use super::*;

    const NOW: Moment = Moment(1);

    fn shared(log: &str) -> LogName {
        LogName::Shared(log.to_owned())
    }

    /// The message at a place, in the history of the log that everybody has read.
    fn at(place: u64) -> Landmark {
        let print = Some(Print::of("one", Duration::from_secs(place)));
        Landmark { place, print }
    }

    /// Another one at that place.
    fn gone(place: u64) -> Landmark {
        let print = Some(Print::of("other", Duration::from_secs(place)));
        Landmark { place, print }
    }

    /// What a node says that has read up to 115.
    fn born(log: &str, place: u64) -> Born {
        Born {
            log: log.to_owned(),
            place,
            here: Some(at(115)),
            asker: Reading::Unknown,
        }
    }

    fn member(born: u64) -> Membership {
        Membership::new(Sequence(born), vec![Label(1)])
    }

    /// A node that joined the log at place 100, which is 5 in its own order, and applied a purge of label 1 at 110.
    fn node() -> (Position, PurgeIndex) {
        let (position, index) = (Position::new(LogName::Unknown, 0), PurgeIndex::new(100));
        index.doubt(Sequence(5));
        position.doubted(at(100), Sequence(5));
        for place in 101..=120 {
            match place {
                110 => {
                    index.apply(Sequence(15), &[Label(1)], Mode::Hard, NOW);
                    position.moved(shared("x"), at(place), Sequence(15));
                }
                _ => position.passed(shared("x"), at(place)),
            }
        }
        (position, index)
    }

    #[test]
    fn what_is_alive_is_vouched_for_up_to_what_is_known() {
        let (position, index) = node();
        let vouch = |it: &Membership| position.vouch(&index, it, None).unwrap();
        let place = |membership: &Membership| vouch(membership).place;
        assert_eq!(place(&member(15)), 120);
        assert_eq!(
            place(&member(40)),
            135,
            "asked for because of a later purge"
        );
        assert_eq!(place(&member(14)), 109, "purged");
        assert_eq!(place(&member(4)), 0, "from before the node joined");
        let passed = position.vouch_passed(&index, Sequence(9), None).unwrap();
        assert_eq!(
            passed,
            Born {
                here: Some(at(120)),
                ..born("x", 104)
            }
        );
        for (asker, reading) in [
            (at(118), Reading::Common),
            (gone(118), Reading::Unknown),
            (at(121), Reading::Unknown),
            (Landmark::unknown(118), Reading::Unknown),
        ] {
            let passed = position.vouch_passed(&index, Sequence(9), Some(asker));
            assert_eq!(passed.unwrap().asker, reading, "{asker}");
        }
    }

    #[test]
    fn what_others_vouch_for_is_as_old_as_they_say() {
        let (position, index) = node();
        let begun = Sequence(15);
        let found = |it: Option<&Born>| position.born(&index, begun, it);
        assert_eq!(
            found(Some(&born("x", 109))),
            Sequence(14),
            "before the purge"
        );
        assert_eq!(found(Some(&born("x", 110))), Sequence(15));
        assert_eq!(
            found(Some(&born("x", 999))),
            Sequence(15),
            "what is not known here"
        );
        assert_eq!(found(Some(&born("y", 110))), Sequence(0), "of another log");
        assert_eq!(found(None), Sequence(0), "nothing is said");
        let further = |here, asker| Born {
            here,
            asker,
            ..born("x", 119)
        };
        for (here, asker, sequence) in [
            (Some(at(119)), Reading::Unknown, 15),
            (Some(gone(119)), Reading::Common, 0),
            (Some(at(99)), Reading::Common, 0),
            (Some(gone(130)), Reading::Common, 15),
            (Some(gone(130)), Reading::Unknown, 0),
            (None, Reading::Common, 0),
        ] {
            let said = further(here, asker);
            assert_eq!(found(Some(&said)), Sequence(sequence), "{said:?}");
        }
        index.doubt(Sequence(16));
        assert_eq!(
            found(Some(&born("x", 130))),
            begun,
            "of a log that was replaced"
        );
    }

    #[test]
    fn a_node_with_purges_of_its_own_takes_others_for_origins() {
        let (position, index) = (Position::new(LogName::Own, 0), PurgeIndex::new(100));
        let begun = Sequence(3);
        assert_eq!(position.born(&index, begun, None), begun);
        assert_eq!(position.born(&index, begun, Some(&born("x", 1))), begun);
        assert_eq!(position.vouch(&index, &member(1), None), None);
        assert_eq!(position.log(), None);
    }

    #[test]
    fn only_one_log_is_common() {
        let (position, _) = node();
        let common = |log, here| position.has_in_common(log, here);
        assert_eq!(common(Some("x"), None), Common::Yes);
        assert_eq!(common(None, None), Common::Yes);
        assert_eq!(common(Some("y"), None), Common::No);
        let unknown = Position::new(LogName::Unknown, 0);
        assert_eq!(unknown.has_in_common(Some("x"), None), Common::No);
        // And only one copy of it.
        for (here, expected) in [
            (at(110), Common::Yes),
            (gone(110), Common::No),
            (gone(121), Common::Yes),
            (gone(99), Common::Yes),
        ] {
            assert_eq!(common(Some("x"), Some(here)), expected, "{here}");
        }
    }
}
