//! Which label was purged last, and how.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{RwLock, RwLockUpgradableReadGuard};

use super::labels::{Labels, Purged};
use super::membership::Known;
use super::recent::{Named, Recent};
use super::{Label, Membership, Sequence};
use crate::Moment;

/// Labels that are forgotten under one lock.
const FORGET_STEP: usize = 512;

/// How a purge is meant.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Mode {
    /// What matches is gone.
    Hard,
    /// What matches is stale.
    Soft,
}

/// What the purges leave of a stored response.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Life {
    /// Nothing that was purged after it was born names it.
    Alive,
    /// It counts as stale since that moment.
    Stale {
        /// When the purge was applied here.
        since: Moment,
    },
    /// Purges may have been missed that name it: it must not be used before it is validated.
    Doubtful,
    /// It must not be used.
    Gone,
}

/// The purges that were applied, by label.
///
/// Purges may be applied more than once and in any order: only the highest sequence counts. Labels that nothing stored
/// can be older than are forgotten by [`PurgeIndex::forget`].
#[derive(Debug)]
pub struct PurgeIndex {
    applied: RwLock<Applied>,
    labels_max: usize,
    latest: AtomicU64,
    /// What was born before and not proven since is gone: the labels that could tell were forgotten.
    floor: AtomicU64,
    /// What was born before has to be validated: purges may have been missed.
    doubt: AtomicU64,
}

/// What was applied.
#[derive(Debug, Default)]
struct Applied {
    labels: Labels,
    recent: Recent,
}

impl PurgeIndex {
    /// An index that remembers purges of at most so many labels. With the one too many the index begins anew, and
    /// everything that was born before it has to be validated.
    #[must_use]
    pub fn new(labels_max: usize) -> Self {
        Self {
            applied: RwLock::default(),
            labels_max,
            latest: AtomicU64::default(),
            floor: AtomicU64::default(),
            doubt: AtomicU64::default(),
        }
    }

    /// The highest sequence applied: what a request that is sent now makes is born at it.
    #[must_use]
    pub fn latest(&self) -> Sequence {
        Sequence(self.latest.load(Ordering::Acquire))
    }

    /// Applies a purge. When it returns, nothing that it names and that was born before is alive.
    pub fn apply(&self, sequence: Sequence, labels: &[Label], mode: Mode, now: Moment) {
        let mut applied = self.applied.write();
        applied.recent.keep(sequence, labels, self.latest());
        for label in labels {
            let entry = applied.labels.enter(*label);
            match mode {
                Mode::Hard => entry.hard = entry.hard.max(sequence),
                Mode::Soft if sequence > entry.soft => {
                    entry.soft = sequence;
                    entry.soft_at = now;
                }
                Mode::Soft => {}
            }
        }
        if applied.labels.len() > self.labels_max {
            let (most, upto) = (self.labels_max, sequence.0);
            tracing::warn!(
                most,
                upto,
                "more names are purged than are remembered: everything stored before is validated before it is used"
            );
            applied.labels.clear();
            self.doubt.fetch_max(sequence.0, Ordering::Release);
        }
        // Under the lock: who sees the new number finds the labels.
        self.latest.fetch_max(sequence.0, Ordering::Release);
    }

    /// Casts doubt on everything that was born before: some purges up to this sequence are not known.
    pub fn doubt(&self, sequence: Sequence) {
        let _applied = self.applied.write();
        self.doubt.fetch_max(sequence.0, Ordering::Release);
        self.latest.fetch_max(sequence.0, Ordering::Release);
    }

    /// What the purges leave of a response. One comparison unless there were purges since it was last asked about.
    #[must_use]
    pub fn life(&self, membership: &Membership) -> Life {
        if membership.is_proven(self.latest()) {
            return known_life(membership);
        }
        self.examine(membership)
    }

    fn examine(&self, membership: &Membership) -> Life {
        let applied = self.applied.read();
        let latest = self.latest();
        let floor = Sequence(self.floor.load(Ordering::Acquire));
        if !membership.is_proven(floor) {
            return Life::Gone;
        }
        let labels = match applied.recent.names(membership) {
            Named::No => &[],
            Named::Perhaps => membership.labels(),
        };
        for entry in labels.iter().filter_map(|it| applied.labels.get(it)) {
            if entry.hard > membership.born() {
                return Life::Gone;
            }
            if entry.soft > membership.born() {
                membership.soften(entry.soft_at);
            }
        }
        let doubt = Sequence(self.doubt.load(Ordering::Acquire));
        if !membership.is_proven(doubt) {
            membership.doubt();
        }
        membership.prove(latest);
        known_life(membership)
    }

    /// What was born before this has to be validated, unless it was since.
    #[must_use]
    pub fn doubted(&self) -> Sequence {
        Sequence(self.doubt.load(Ordering::Acquire))
    }

    /// Labels with purges that are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.applied.read().labels.len()
    }

    /// Whether no purge is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets the purges up to `sequence`. From now on, what was born before it is gone unless [`PurgeIndex::life`] was
    /// asked for it since that purge was applied: whoever forgets goes through what is stored before.
    pub fn forget(&self, sequence: Sequence) {
        let outlived = |purged: &Purged| purged.last() <= sequence;
        self.floor.fetch_max(sequence.0, Ordering::Release);
        let applied = self.applied.read();
        let outlived_labels = applied.labels.iter().filter(|(_, purged)| outlived(purged));
        let all: Vec<Label> = outlived_labels.map(|(label, _)| *label).collect();
        drop(applied);
        // In steps: who is being answered waits for one of them at most.
        for some in all.chunks(FORGET_STEP) {
            let labels = &mut self.applied.write().labels;
            for label in some {
                if labels.get(label).is_some_and(outlived) {
                    labels.remove(label);
                }
            }
        }
        if !all.is_empty() {
            // Purges wait for the new filter, those who are answered do not.
            let applied = self.applied.upgradable_read();
            let filter = applied.labels.filter_anew();
            let mut applied = RwLockUpgradableReadGuard::upgrade(applied);
            applied.labels.tidy(filter);
        }
    }

    /// The sequence up to which purges were forgotten.
    #[must_use]
    pub fn forgotten(&self) -> Sequence {
        Sequence(self.floor.load(Ordering::Acquire))
    }
}

/// What is left of a response by the purges that are accounted for.
fn known_life(membership: &Membership) -> Life {
    match membership.known() {
        Known::Fresh => Life::Alive,
        Known::Stale(since) => Life::Stale { since },
        Known::Doubtful => Life::Doubtful,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Moment = Moment(1_000);

    fn member(born: u64, labels: &[u64]) -> Membership {
        let labels = labels.iter().map(|label| Label(*label)).collect();
        Membership::new(Sequence(born), labels)
    }

    #[track_caller]
    fn check(why: &str, index: &PurgeIndex, born: u64, labels: &[u64], life: Life) {
        let member = member(born, labels);
        assert_eq!(index.life(&member), life, "{why}");
        assert_eq!(index.life(&member), life, "{why}, asked again");
    }

    #[test]
    fn only_what_is_named_and_older_is_purged() {
        let index = PurgeIndex::new(100);
        check("nothing was purged", &index, 0, &[1], Life::Alive);
        index.apply(Sequence(5), &[Label(1)], Mode::Hard, NOW);
        check("older", &index, 4, &[1], Life::Gone);
        check("older, with other labels", &index, 4, &[7, 1], Life::Gone);
        check("born at it", &index, 5, &[1], Life::Alive);
        check("other labels", &index, 0, &[2], Life::Alive);
        index.apply(Sequence(6), &[Label(2)], Mode::Soft, NOW);
        let stale = Life::Stale { since: NOW };
        check("softly purged", &index, 5, &[2], stale);
        check("softly and hard", &index, 4, &[2, 1], Life::Gone);
        index.apply(Sequence(7), &[Label(2)], Mode::Soft, Moment(2_000));
        check(
            "twice: since the last purge of that label",
            &index,
            5,
            &[2],
            Life::Stale {
                since: Moment(2_000),
            },
        );
    }

    #[test]
    fn a_response_on_its_way_while_the_purge_comes_is_purged() {
        let index = PurgeIndex::new(100);
        let born = index.latest();
        index.apply(Sequence(1), &[Label(1)], Mode::Hard, NOW);
        let fill = Membership::new(born, vec![Label(1)]);
        assert_eq!(index.life(&fill), Life::Gone);
        let next = Membership::new(index.latest(), vec![Label(1)]);
        assert_eq!(index.life(&next), Life::Alive);
    }

    #[test]
    fn an_index_that_is_full_has_everything_older_validated() {
        let index = PurgeIndex::new(2);
        let proven = member(0, &[9]);
        index.apply(Sequence(1), &[Label(1)], Mode::Hard, NOW);
        index.apply(Sequence(2), &[Label(2)], Mode::Hard, NOW);
        check("there is room", &index, 0, &[3], Life::Alive);
        index.apply(Sequence(3), &[Label(3)], Mode::Hard, NOW);
        assert!(index.is_empty());
        check("nothing tells any more", &index, 2, &[4], Life::Doubtful);
        check("nor of what was purged", &index, 0, &[1], Life::Doubtful);
        assert_eq!(index.life(&proven), Life::Doubtful);
        check("born since", &index, 3, &[3], Life::Alive);
        index.apply(Sequence(4), &[Label(3)], Mode::Hard, NOW);
        check("purged since", &index, 3, &[3], Life::Gone);
    }

    #[test]
    fn what_was_born_before_a_doubt_has_to_be_validated() {
        let index = PurgeIndex::new(100);
        let proven = member(0, &[1]);
        index.apply(Sequence(1), &[Label(9)], Mode::Hard, NOW);
        assert_eq!(index.life(&proven), Life::Alive);
        index.doubt(Sequence(4));
        assert_eq!(index.latest(), Sequence(4));
        assert_eq!(index.life(&proven), Life::Doubtful);
        check("before it", &index, 3, &[1], Life::Doubtful);
        check("known to be purged", &index, 0, &[9], Life::Gone);
        check("born since", &index, 4, &[1], Life::Alive);
        index.apply(Sequence(5), &[Label(1)], Mode::Hard, NOW);
        check("purged since", &index, 4, &[1], Life::Gone);
    }

    #[test]
    fn what_is_outlived_is_forgotten() {
        let index = PurgeIndex::new(100);
        let (proven, soft) = (member(0, &[99]), member(0, &[50]));
        for label in 1..=10 {
            index.apply(Sequence(label), &[Label(label)], Mode::Hard, NOW);
        }
        index.apply(Sequence(11), &[Label(50)], Mode::Soft, NOW);
        assert_eq!(index.life(&proven), Life::Alive);
        assert_eq!(index.life(&soft), Life::Stale { since: NOW });
        index.forget(Sequence(7));
        assert_eq!(index.len(), 4);
        check("a later purge stays", &index, 7, &[8], Life::Gone);
        index.forget(Sequence(11));
        assert!(index.is_empty());
        check("nobody looked at it in time", &index, 10, &[98], Life::Gone);
        assert_eq!(index.life(&proven), Life::Alive);
        assert_eq!(index.life(&soft), Life::Stale { since: NOW });
        let relabelled = soft.relabelled(vec![Label(51)]);
        assert_eq!(index.life(&relabelled), Life::Stale { since: NOW });
        index.apply(Sequence(12), &[Label(51)], Mode::Hard, NOW);
        assert_eq!(index.life(&relabelled), Life::Gone);
    }

    proptest! {
        /// However purges are ordered and repeated, the outcome is the same, and that of the plain rule.
        #[test]
        fn order_and_repetition_do_not_matter(
            mut purges in prop::collection::vec((1u64..50, 0u64..6, any::<bool>()), 0..40),
            seed in any::<u64>(),
            members in prop::collection::vec((0u64..50, prop::collection::vec(0u64..6, 0..4)), 0..20),
        ) {
            let apply = |purges: &[(u64, u64, bool)]| {
                let index = PurgeIndex::new(100);
                for (sequence, label, hard) in purges {
                    let mode = if *hard { Mode::Hard } else { Mode::Soft };
                    index.apply(Sequence(*sequence), &[Label(*label)], mode, NOW);
                }
                index
            };
            let straight = apply(&purges);
            if !purges.is_empty() {
                let turn = usize::try_from(seed % purges.len() as u64).unwrap();
                purges.rotate_left(turn);
            }
            purges.reverse();
            purges.extend_from_within(..);
            let shuffled = apply(&purges);
            for (born, labels) in members {
                let hit = |hard| purges.iter().any(|(sequence, label, is_hard)| {
                    *is_hard == hard && *sequence > born && labels.contains(label)
                });
                let expected = match (hit(true), hit(false)) {
                    (true, _) => Life::Gone,
                    (false, true) => Life::Stale { since: NOW },
                    (false, false) => Life::Alive,
                };
                prop_assert_eq!(straight.life(&member(born, &labels)), expected);
                prop_assert_eq!(shuffled.life(&member(born, &labels)), expected);
            }
        }

        /// Whatever is swept when, nothing that a purge names survives, and what was looked at in time does.
        #[test]
        fn sweeping_changes_nothing_for_what_is_looked_at(
            steps in prop::collection::vec((0u64..6, any::<bool>(), any::<bool>()), 1..30),
            members in prop::collection::vec(prop::collection::vec(0u64..6, 0..4), 1..10),
        ) {
            let (swept, plain) = (PurgeIndex::new(100), PurgeIndex::new(100));
            let new = |labels: &Vec<u64>| (member(0, labels), member(0, labels));
            let members: Vec<_> = members.iter().map(new).collect();
            for (number, (label, hard, sweep)) in (1..).zip(steps) {
                let mode = if hard { Mode::Hard } else { Mode::Soft };
                for index in [&swept, &plain] {
                    index.apply(Sequence(number), &[Label(label)], mode, NOW);
                }
                if sweep {
                    let upto = swept.latest();
                    for (member, _) in &members {
                        prop_assert_ne!(swept.life(member), Life::Doubtful);
                    }
                    swept.forget(upto);
                    prop_assert!(swept.is_empty());
                }
            }
            for (one, other) in &members {
                prop_assert_eq!(swept.life(one), plain.life(other));
            }
        }
    }
}
