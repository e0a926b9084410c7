//! The last purges in their order.

use std::collections::VecDeque;

use super::{Label, Membership, Sequence};

/// Labels that are kept. A response that was asked about before those were purged is looked up by its labels.
pub(super) const RECENT_MAX: usize = 64;

/// The labels of the last purges.
///
/// What was asked about a moment ago has to be held only against what was purged since. That is seen without a look at
/// its labels, which are somewhere else in memory.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// The oldest first.
    purged: VecDeque<(Sequence, Label)>,
    /// All that was purged behind this is here.
    since: Sequence,
}

/// What is known without a look at a response's labels.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Named {
    /// No purge since it was asked about names it.
    No,
    /// Its labels have to tell.
    Perhaps,
}

impl Recent {
    /// A purge is applied, while `latest` is the highest sequence of those before it.
    pub(super) fn keep(&mut self, sequence: Sequence, labels: &[Label], latest: Sequence) {
        if sequence <= latest || labels.len() > RECENT_MAX {
            self.purged.clear();
            self.since = sequence.max(latest);
            return;
        }
        self.purged
            .extend(labels.iter().map(|label| (sequence, *label)));
        while self.purged.len() > RECENT_MAX
            && let Some((oldest, _)) = self.purged.pop_front()
        {
            self.since = oldest;
        }
    }

    /// Whether one of them names a response.
    pub(super) fn names(&self, response: &Membership) -> Named {
        let proven = response.proven();
        if proven < self.since {
            return Named::Perhaps;
        }
        let newest_first = self.purged.iter().rev();
        let mut behind = newest_first.take_while(|(sequence, _)| *sequence > proven);
        match behind.any(|(_, label)| response.may_carry(label)) {
            true => Named::Perhaps,
            false => Named::No,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(proven: u64, labels: &[u64]) -> Membership {
        let labels = labels.iter().map(|label| Label(*label)).collect();
        Membership::new(Sequence(proven), labels)
    }

    #[test]
    fn what_was_purged_since_is_seen_and_no_more() {
        let mut recent = Recent::default();
        for sequence in 1..=10 {
            recent.keep(
                Sequence(sequence),
                &[Label(sequence)],
                Sequence(sequence - 1),
            );
        }
        assert_eq!(recent.names(&member(0, &[7])), Named::Perhaps);
        assert_eq!(recent.names(&member(6, &[7])), Named::Perhaps);
        assert_eq!(recent.names(&member(7, &[7])), Named::No);
        assert_eq!(recent.names(&member(0, &[11, 12])), Named::No);
        assert_eq!(recent.names(&member(0, &[])), Named::No);
    }

    #[test]
    fn what_is_older_than_the_last_has_to_be_looked_up() {
        let mut recent = Recent::default();
        let most = RECENT_MAX as u64;
        for sequence in 1..=most {
            recent.keep(Sequence(sequence), &[Label(0)], Sequence(sequence - 1));
        }
        assert_eq!(recent.names(&member(0, &[63])), Named::No);
        recent.keep(Sequence(most + 1), &[Label(0)], Sequence(most));
        assert_eq!(recent.purged.len(), RECENT_MAX);
        assert_eq!(recent.names(&member(0, &[63])), Named::Perhaps);
        assert_eq!(recent.names(&member(1, &[63])), Named::No);

        let many = [Label(0); RECENT_MAX + 1];
        recent.keep(Sequence(most + 2), &many, Sequence(most + 1));
        assert_eq!(recent.names(&member(most + 1, &[63])), Named::Perhaps);
        assert_eq!(recent.names(&member(most + 2, &[63])), Named::No);
        // One that comes late: who was asked about before was not held against it.
        recent.keep(Sequence(5), &[Label(0)], Sequence(most + 2));
        assert_eq!(recent.names(&member(most + 1, &[63])), Named::Perhaps);
    }

    #[test]
    fn a_purge_of_several_labels_leaves_as_a_whole() {
        let mut recent = Recent::default();
        recent.keep(Sequence(1), &[Label(0); 2], Sequence(0));
        recent.keep(Sequence(2), &[Label(0); RECENT_MAX - 1], Sequence(1));
        assert_eq!(recent.names(&member(0, &[63])), Named::Perhaps);
        assert_eq!(recent.names(&member(1, &[63])), Named::No);
    }
}
