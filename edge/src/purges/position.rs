//! Where a node is in the log of purges that it follows, and what that says of responses from other nodes.

use parking_lot::RwLock;
use storage::purge::{Life, Membership, PurgeIndex, Sequence};
use tiered::voucher::Born;

use super::log::LogName;

/// A node's place in its log.
#[derive(Debug)]
pub(crate) struct Position(RwLock<At>);

#[derive(Clone, Debug)]
struct At {
    log: LogName,
    /// Up to where everything is applied.
    place: u64,
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
}

/// Whether two nodes can tell each other where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Common {
    /// They follow the same log, or the other one follows none.
    Yes,
    No,
}

impl Position {
    pub(super) const fn new(log: LogName, offset: i64) -> Self {
        let place = 0;
        Self(RwLock::new(At { log, place, offset }))
    }

    /// Everything up to a place is applied.
    pub(super) fn passed(&self, log: LogName, place: u64) {
        let mut at = self.0.write();
        at.log = log;
        at.place = place;
    }

    /// As [`Self::passed`], with a sequence of this node's own order for that place.
    pub(super) fn moved(&self, log: LogName, place: u64, sequence: Sequence) {
        let offset = sequence.0.cast_signed().wrapping_sub(place.cast_signed());
        *self.0.write() = At { log, place, offset };
    }

    /// The log that other nodes may follow as well, where it is known.
    pub(crate) fn log(&self) -> Option<String> {
        match &self.0.read().log {
            LogName::Own | LogName::Unknown => None,
            LogName::Shared(log) => Some(log.clone()),
        }
    }

    /// Up to where everything is applied.
    pub(crate) fn place(&self) -> u64 {
        self.0.read().place
    }

    /// Whether what is said in places of `log` is understood here.
    pub(crate) fn has_in_common(&self, log: Option<&str>) -> Common {
        match (log, &self.0.read().log) {
            (None, _) => Common::Yes,
            (Some(log), LogName::Shared(own)) if log == own => Common::Yes,
            (Some(_), _) => Common::No,
        }
    }

    /// The sequence of this node that a purge at a place of its log has, or will have.
    pub(crate) fn sequence_of(&self, place: u64) -> Sequence {
        self.0.read().sequence_of(place)
    }

    /// What a response can be held against purges by, for a node that follows the same log. No purge up to that place
    /// names it, of those that this node knows.
    pub(crate) fn vouch(&self, index: &PurgeIndex, membership: &Membership) -> Option<Born> {
        // Before the look at the purges: it is proven up to there at least.
        let at = self.0.read().clone();
        let born = at.born(index, membership.born())?;
        let place = match index.life(membership) {
            Life::Alive => born.place.max(at.place),
            Life::Stale { .. } | Life::Doubtful | Life::Gone => born.place,
        };
        Some(Born { place, ..born })
    }

    /// The same for a response that is not stored, and was asked for at `begun`.
    pub(crate) fn vouch_passed(&self, index: &PurgeIndex, begun: Sequence) -> Option<Born> {
        self.0.read().born(index, begun)
    }

    /// When a response was born in this node's order that another node vouches for; it was asked for at `begun`.
    pub(crate) fn born(
        &self,
        index: &PurgeIndex,
        begun: Sequence,
        born: Option<&Born>,
    ) -> Sequence {
        let at = self.0.read().clone();
        let (log, born) = match (&at.log, born) {
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
        // What this node does not know yet cannot be proven here.
        at.sequence_of(born.place).min(index.latest())
    }
}

impl At {
    fn born(&self, index: &PurgeIndex, sequence: Sequence) -> Option<Born> {
        let LogName::Shared(log) = &self.log else {
            return None;
        };
        let place = match sequence >= index.doubted() {
            true => self.place_of(sequence),
            // It is of a time when places meant something else.
            false => 0,
        };
        let log = log.clone();
        Some(Born { log, place })
    }
}

#[cfg(test)]
mod tests {
    use storage::Moment;
    use storage::purge::{Label, Mode};

    use super::*;

    const NOW: Moment = Moment(1);

    fn shared(log: &str) -> LogName {
        LogName::Shared(log.to_owned())
    }

    fn born(log: &str, place: u64) -> Born {
        let log = log.to_owned();
        Born { log, place }
    }

    fn member(born: u64) -> Membership {
        Membership::new(Sequence(born), vec![Label(1)])
    }

    /// A node that joined the log at place 100, which is 5 in its own order, and applied a purge of label 1 at 110.
    fn node() -> (Position, PurgeIndex) {
        let (position, index) = (Position::new(LogName::Unknown, 0), PurgeIndex::new(100));
        index.doubt(Sequence(5));
        position.moved(shared("x"), 100, Sequence(5));
        index.apply(Sequence(15), &[Label(1)], Mode::Hard, NOW);
        position.moved(shared("x"), 110, Sequence(15));
        position.passed(shared("x"), 120);
        (position, index)
    }

    #[test]
    fn what_is_alive_is_vouched_for_up_to_what_is_known() {
        let (position, index) = node();
        let place = |membership: &Membership| position.vouch(&index, membership).unwrap().place;
        assert_eq!(place(&member(15)), 120);
        assert_eq!(
            place(&member(40)),
            135,
            "asked for because of a later purge"
        );
        assert_eq!(place(&member(14)), 109, "purged");
        assert_eq!(place(&member(4)), 0, "from before the node joined");
        let passed = position.vouch_passed(&index, Sequence(9)).unwrap();
        assert_eq!(passed, born("x", 104));
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
        assert_eq!(position.vouch(&index, &member(1)), None);
        assert_eq!(position.log(), None);
    }

    #[test]
    fn only_one_log_is_common() {
        let (position, _) = node();
        assert_eq!(position.has_in_common(Some("x")), Common::Yes);
        assert_eq!(position.has_in_common(None), Common::Yes);
        assert_eq!(position.has_in_common(Some("y")), Common::No);
        let unknown = Position::new(LogName::Unknown, 0);
        assert_eq!(unknown.has_in_common(Some("x")), Common::No);
    }
}
