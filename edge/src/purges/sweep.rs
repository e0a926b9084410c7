//! The sweeper: takes what was purged out of memory and off the disks' index, counts it, and lets the index of purges
//! forget.
//!
//! It saves memory, and decides nothing: what is purged is gone for requests before the sweeper knows of it.
//!
//! It has a thread of its own, which yields to all others: whoever is answered does not wait for a step of it.
//!
//! It goes through memory, and then through the heads on disks. What is stale or in doubt there stays, and with it the
//! purges that say so. What it takes out on disks a start may find again: by then the log has been applied again as well.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use std::{io, thread};

use parking_lot::Mutex;
use rustix::process::setpriority_process;
use storage::disk::Recovery;
use storage::purge::{Label, Life, Membership, Sequence};
use storage::{Fate, OnDisk, Walk};
use tokio::runtime::Builder;
use tokio::sync::{Notify, watch};

use super::{LABELS_MAX, Purges};
use crate::cache::Head;
use crate::node::Node;

/// Keys that are looked at in one step.
const STEP: usize = 256;
/// The sweeper rests so many times as long as it took: it takes a fifth of one core at most.
const REST: u32 = 4;
/// How far its thread stands behind those that serve (`nice(2)`): where all cores are busy, it has a tenth of a share.
const NICE: i32 = 10;
/// Purges that wait to be counted; more are swept without.
const UNCOUNTED_MAX: usize = 10_000;
/// Fills under way whose ends nobody looks for yet.
const FOLLOWED_MIN: usize = 64;
/// Heads on disks that are looked at in one step.
pub(super) const DISK_STEP: usize = 64;
/// With so many labels remembered, what is only stale or in doubt leaves the disks, for the purges to be forgotten: the
/// index at its end would take everything.
const CROWDED: usize = LABELS_MAX / 2;
/// How long until a sweep that could not see all of the disks is repeated.
const AGAIN: Duration = Duration::from_secs(10);
/// How long a look at the disks waits until they are read back, and how often it asks.
const RECOVERY_PATIENCE: Duration = Duration::from_secs(10);
const RECOVERY_POLL: Duration = Duration::from_millis(20);

/// What a purge named of what was stored.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Matched {
    pub objects: u64,
    /// As the memory's budget counts them; on disks, head and body.
    pub bytes: u64,
}

/// What the sweeper has to do.
#[derive(Debug)]
pub(crate) struct Sweeper {
    /// Responses that are being received: no walk through the memory sees them.
    followed: Mutex<Followed>,
    uncounted: Mutex<Vec<Uncounted>>,
    wake: Notify,
    /// Everything up to it was counted.
    counted: watch::Sender<Sequence>,
    removed: AtomicU64,
}

#[derive(Debug, Default)]
struct Followed {
    heads: Vec<Weak<Head>>,
    /// When so many are there, those that have ended are taken out.
    most: usize,
}

/// A purge that was applied and not counted yet.
#[derive(Debug)]
struct Uncounted {
    sequence: Sequence,
    labels: Vec<Label>,
}

impl Default for Sweeper {
    fn default() -> Self {
        Self {
            followed: Mutex::default(),
            uncounted: Mutex::default(),
            wake: Notify::new(),
            counted: watch::Sender::new(Sequence::default()),
            removed: AtomicU64::new(0),
        }
    }
}

impl Sweeper {
    /// A response begins to be received.
    pub(crate) fn follow(&self, head: &Arc<Head>) {
        let mut followed = self.followed.lock();
        if followed.heads.len() >= followed.most {
            followed.heads.retain(|head| head.strong_count() > 0);
            followed.most = (2 * followed.heads.len()).max(FOLLOWED_MIN);
        }
        followed.heads.push(Arc::downgrade(head));
    }

    /// A purge was applied.
    pub(super) fn applied(&self, sequence: Sequence, labels: Vec<Label>) {
        let mut uncounted = self.uncounted.lock();
        if uncounted.len() < UNCOUNTED_MAX {
            uncounted.push(Uncounted { sequence, labels });
        }
        drop(uncounted);
        self.wake.notify_one();
    }

    /// Returns when what that purge named is counted.
    pub(crate) async fn counted(&self, sequence: Sequence) {
        let mut counted = self.counted.subscribe();
        // The sender is a part of this.
        drop(counted.wait_for(|counted| *counted >= sequence).await);
    }

    /// Objects removed so far.
    pub(crate) fn removed(&self) -> u64 {
        self.removed.load(Ordering::Relaxed)
    }

    fn followed(&self) -> Vec<Arc<Head>> {
        let followed = self.followed.lock();
        followed.heads.iter().filter_map(Weak::upgrade).collect()
    }

    fn take_uncounted(&self, upto: Sequence) -> Vec<Uncounted> {
        let mut uncounted = self.uncounted.lock();
        let (now, later) = uncounted.drain(..).partition(|it| it.sequence <= upto);
        *uncounted = later;
        now
    }
}

/// Begins to sweep after purges, until the process ends.
pub(crate) fn start(node: Arc<Node>) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_time().build()?;
    let thread = thread::Builder::new().name("purge-sweep".to_owned());
    thread.spawn(move || {
        if let Err(error) = setpriority_process(None, NICE) {
            tracing::warn!(%error, "sweeping after purges is as urgent as serving");
        }
        runtime.block_on(run(node));
    })?;
    Ok(())
}

async fn run(node: Arc<Node>) {
    // What the log brought back names nothing that is in memory.
    node.purges.sweeper.wake.notify_one();
    let mut seen = Sweep::Whole;
    loop {
        let waking = node.purges.sweeper.wake.notified();
        match seen {
            Sweep::Whole => waking.await,
            // It is time, woken or not.
            Sweep::Partial => drop(tokio::time::timeout(AGAIN, waking).await),
        }
        let began = node.clock.instant();
        seen = sweep(&node).await;
        let took = node.clock.instant() - began;
        tokio::time::sleep(took.saturating_mul(REST).max(Duration::from_millis(1))).await;
    }
}

/// How much of what is stored a sweep has seen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Sweep {
    Whole,
    /// Not all of the disks: the purges are remembered until the next.
    Partial,
}

/// Goes through all that is stored, in steps.
async fn sweep(node: &Node) -> Sweep {
    let purges = &node.purges;
    recovered(node).await;
    let upto = purges.latest();
    let mut tally = Tally::of(purges.sweeper.take_uncounted(upto));
    for head in purges.sweeper.followed() {
        // Asked about by now, it is not taken for one that nobody looked at.
        head.life(purges);
    }
    let mut walk = Walk::new();
    let mut removed = 0;
    while walk.step(node.tiers.memory(), STEP, |object| {
        if let Some(membership) = object.head().membership() {
            // Slices count with the one that has their head.
            let objects = u64::from(object.head().cached().is_some());
            let bytes = object.cost() as u64;
            tally.count(membership, Matched { objects, bytes });
        }
        if object.head().life(purges) == Life::Gone {
            node.tiers.forget(object, Fate::Purged);
            removed += 1;
        }
    }) {}
    // After memory: what was evicted since knows how far it was looked at.
    let disks = sweep_disks(node, upto, &mut tally).await;
    purges
        .sweeper
        .removed
        .fetch_add(removed + disks.removed, Ordering::Relaxed);
    if let Some(outlived) = disks.outlived {
        purges.index.forget(outlived);
    }
    tracing::debug!(
        upto = upto.0,
        removed,
        on_disks = disks.removed,
        "purged responses were swept"
    );
    if let Some(oldest) = disks.oldest {
        purges.outlived(oldest);
    }
    tally.tell(purges);
    purges.sweeper.counted.send_replace(upto);
    match disks.outlived {
        Some(_) => Sweep::Whole,
        None => Sweep::Partial,
    }
}

/// What a sweep made of the disks.
#[derive(Debug)]
struct Disks {
    removed: u64,
    /// The purges that nothing there needs to be asked about any more; none if not all was seen.
    outlived: Option<Sequence>,
    /// Nothing there was born before; none if not all was seen.
    oldest: Option<Sequence>,
}

async fn sweep_disks(node: &Node, upto: Sequence, tally: &mut Tally) -> Disks {
    let purges = &node.purges;
    let mut disks = Disks {
        removed: 0,
        outlived: Some(upto),
        oldest: None,
    };
    // Where there is nothing to forget, there is nothing to find.
    if purges.forgotten() >= upto {
        return disks;
    }
    let Some(mut walk) = node.tiers.walk_disks() else {
        disks.oldest = Some(upto);
        return disks;
    };
    let labels = purges.len();
    let (mut outlived, mut oldest) = (upto, upto);
    while let Some(step) = node.tiers.step(&mut walk, DISK_STEP).await {
        for object in &step {
            let Some(membership) = object.head.membership() else {
                continue;
            };
            let life = object.head.life(purges);
            if !is_in_memory(node, object) {
                let (objects, bytes) = (1, object.bytes());
                tally.count(membership, Matched { objects, bytes });
            }
            if life != Life::Gone {
                oldest = oldest.min(membership.born());
            }
            match Verdict::on(life, labels) {
                Verdict::Prove => node.tiers.prove(&mut walk, object),
                Verdict::Leave => outlived = outlived.min(membership.born()),
                Verdict::Bury => {
                    node.tiers.bury(&mut walk, object);
                    disks.removed += 1;
                }
            }
        }
    }
    // Never less than before.
    outlived = outlived.max(purges.forgotten());
    disks.outlived = node.tiers.swept(&walk, outlived).then_some(outlived);
    disks.oldest = disks.outlived.map(|_| oldest);
    disks
}

/// What becomes of an object on a disk in a sweep.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verdict {
    /// It has outlived the purges.
    Prove,
    /// It stays, and the purges that say what it is with it.
    Leave,
    Bury,
}

impl Verdict {
    /// On what purges have left of it, while so many labels are remembered.
    fn on(life: Life, labels: usize) -> Self {
        match life {
            Life::Alive => Self::Prove,
            Life::Stale { .. } | Life::Doubtful if labels <= CROWDED => Self::Leave,
            Life::Gone | Life::Stale { .. } | Life::Doubtful => Self::Bury,
        }
    }
}

/// Whether memory answers for it.
pub(super) fn is_in_memory(node: &Node, object: &OnDisk<Head>) -> bool {
    let in_memory = node.tiers.in_memory(object.key());
    in_memory.find(object.variant()).is_some()
}

/// Waits until it is known what is on disks, in bounds.
pub(super) async fn recovered(node: &Node) {
    let mut patience = RECOVERY_PATIENCE;
    while matches!(node.tiers.recovered(), Some(recovery) if !matches!(recovery, Recovery::Done { .. }))
    {
        let Some(rest) = patience.checked_sub(RECOVERY_POLL) else {
            return;
        };
        patience = rest;
        tokio::time::sleep(RECOVERY_POLL).await;
    }
}

/// How much each of several purges names.
struct Tally {
    purges: Vec<(Sequence, Matched)>,
    /// Which of the purges name a label.
    by_label: HashMap<Label, Vec<usize>>,
}

impl Tally {
    fn of(purges: Vec<Uncounted>) -> Self {
        let mut by_label: HashMap<Label, Vec<usize>> = HashMap::new();
        for (index, purge) in purges.iter().enumerate() {
            for label in &purge.labels {
                by_label.entry(*label).or_default().push(index);
            }
        }
        let purges = purges.iter().map(|it| (it.sequence, Matched::default()));
        Self {
            purges: purges.collect(),
            by_label,
        }
    }

    fn count(&mut self, membership: &Membership, stored: Matched) {
        let named = membership.labels().iter();
        let mut named: Vec<usize> = named
            .filter_map(|label| self.by_label.get(label))
            .flatten()
            .copied()
            .collect();
        named.sort_unstable();
        named.dedup();
        for index in named {
            let (sequence, matched) = &mut self.purges[index];
            if *sequence > membership.born() {
                matched.objects += stored.objects;
                matched.bytes += stored.bytes;
            }
        }
    }

    fn tell(self, purges: &Purges) {
        let mut journal = purges.journal.lock();
        for (sequence, matched) in self.purges {
            if let Some(logged) = journal.at(sequence) {
                logged.matched = Some(matched);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use storage::Moment;

    use super::*;

    #[test]
    fn with_very_many_purges_only_what_is_alive_stays_on_disks() {
        let stale = Life::Stale { since: Moment(7) };
        let check = |life, few, many| {
            let verdicts = [0, CROWDED, CROWDED + 1].map(|labels| Verdict::on(life, labels));
            assert_eq!(verdicts, [few, few, many], "{life:?}");
        };
        check(Life::Alive, Verdict::Prove, Verdict::Prove);
        check(stale, Verdict::Leave, Verdict::Bury);
        check(Life::Doubtful, Verdict::Leave, Verdict::Bury);
        check(Life::Gone, Verdict::Bury, Verdict::Bury);
    }

    #[test]
    fn what_several_labels_name_counts_once_for_each_purge() {
        let [a, b, c] = ["a", "b", "c"].map(|name| {
            let labeller = storage::purge::Labeller::of(storage::purge::LogId(7));
            labeller.label(0, &[name.as_bytes()])
        });
        let purge = |sequence, labels: &[Label]| Uncounted {
            sequence: Sequence(sequence),
            labels: labels.to_vec(),
        };
        let mut tally = Tally::of(vec![purge(1, &[a, b]), purge(2, &[b]), purge(3, &[c])]);
        let matched = |objects, bytes| Matched { objects, bytes };
        tally.count(&Membership::new(Sequence(0), vec![a, b]), matched(1, 10));
        tally.count(&Membership::new(Sequence(1), vec![b]), matched(1, 100));
        let counted: Vec<_> = tally.purges.iter().map(|it| it.1).collect();
        assert_eq!(counted, [matched(1, 10), matched(2, 110), matched(0, 0)]);
    }
}
