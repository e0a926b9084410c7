//! Going through what is on disks, to see what purges have left of it.
//!
//! ## How purges are forgotten
//!
//! The index of purges may forget what everything stored has outlived. A response in memory remembers itself how far it
//! was looked at; for one on a disk the disk's index does, in one bit: it is set when a walk has found it alive, moves
//! with it when its segment is reclaimed, and begins anew with a new head. What has the bit has outlived the purges that
//! the last whole walk was told of ([`Tiers::swept`]); what has not is only as old as its head says. All of this is
//! memory: after a start the whole log is applied again, and whatever it names is dead.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::record::{self, Durable};
use super::{Lower, Tiers};
use crate::disk::{Picked, Seen, Walk};
use crate::purge::Sequence;
use crate::{Fate, Key, Variant};

/// A walk through the disks, from one step to the next.
#[derive(Debug)]
pub struct DiskWalk {
    walk: Walk,
    swept: Sequence,
}

/// An object on a disk, as a walk sees it.
#[derive(Debug)]
pub struct OnDisk<H> {
    /// Its head, as it was read.
    pub head: H,
    seen: Seen,
}

impl<H> OnDisk<H> {
    /// The key it is stored under.
    #[must_use]
    pub fn key(&self) -> Key {
        self.seen.key
    }

    /// Which variant of its key.
    #[must_use]
    pub fn variant(&self) -> Variant {
        self.seen.variant
    }

    /// The bytes of its head and body.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.seen.bytes()
    }

    /// The bytes of its body.
    #[must_use]
    pub fn body_len(&self) -> u64 {
        self.seen.body_len()
    }
}

impl Lower {
    pub(super) fn swept(&self) -> Sequence {
        Sequence(self.swept.load(Ordering::Acquire))
    }
}

impl<H: Durable> Tiers<H> {
    /// A walk through the disks at its beginning; none without disks.
    #[must_use]
    pub fn walk_disks(&self) -> Option<DiskWalk> {
        let lower = self.lower.as_ref()?;
        // Before the index is asked: what it says is of this walk, or of a later one.
        let swept = lower.swept();
        let walk = lower.disk.walk();
        Some(DiskWalk { walk, swept })
    }

    /// Reads the heads of at most `most` more objects. What cannot be understood is dropped. None once there is nothing
    /// left.
    pub async fn step(&self, walk: &mut DiskWalk, most: usize) -> Option<Vec<OnDisk<H>>> {
        let disk = &self.lower.as_ref()?.disk;
        let step = disk.step(&mut walk.walk, most).await?;
        Some(
            step.into_iter()
                .filter_map(|seen| self.understand(walk, seen))
                .collect(),
        )
    }

    fn understand(&self, walk: &mut DiskWalk, seen: Seen) -> Option<OnDisk<H>> {
        let lower = self.lower.as_ref()?;
        let Some((_, head)) = record::decode::<H>(lower.epoch, &seen.head) else {
            lower.disk.drop_seen(&mut walk.walk, &seen);
            return None;
        };
        if seen.is_proven() {
            head.outlive(walk.swept);
        }
        Some(OnDisk { head, seen })
    }

    /// Reads the head of what was picked on the disks; none if it is gone, or cannot be used.
    pub async fn look_at(&self, picked: &Picked) -> Option<OnDisk<H>> {
        let lower = self.lower.as_ref()?;
        // Before the index is asked: what it says is of this walk, or of a later one.
        let swept = lower.swept();
        let seen = lower.disk.look_at(picked).await.ok()?;
        let (_, head) = record::decode::<H>(lower.epoch, &seen.head)?;
        if seen.is_proven() {
            head.outlive(swept);
        }
        Some(OnDisk { head, seen })
    }

    /// From now on the disks move on only those heads that this says are alive, where they reclaim room. What is purged
    /// is not written once more.
    pub fn keep_only(&self, is_alive: impl Fn(&H) -> bool + Send + Sync + 'static)
    where
        H: 'static,
    {
        let Some(lower) = &self.lower else {
            return;
        };
        let (epoch, swept) = (lower.epoch, Arc::clone(&lower.swept));
        lower.disk.set_worth(Arc::new(move |bytes, is_proven| {
            let Some((_, head)) = record::decode::<H>(epoch, bytes) else {
                return false;
            };
            // What a walk took out after this was asked is not moved either: its place in the index is gone.
            if is_proven {
                head.outlive(Sequence(swept.load(Ordering::Acquire)));
            }
            is_alive(&head)
        }));
    }

    /// Takes out what a walk has found dead. It would be known to be dead wherever it is found.
    pub fn bury(&self, walk: &mut DiskWalk, dead: &OnDisk<H>) {
        if let Some(disk) = self.disk() {
            self.memory.traces().note(dead.key(), Fate::Purged);
            disk.drop_seen(&mut walk.walk, &dead.seen);
        }
    }

    /// Notes that a walk has found this alive.
    pub fn prove(&self, walk: &mut DiskWalk, alive: &OnDisk<H>) {
        if let Some(disk) = self.disk() {
            disk.prove(&mut walk.walk, &alive.seen);
        }
    }

    /// Ends a walk. True if it saw everything: then all that was on disks when it began and is there now has outlived
    /// the purges up to `upto`, or is known not to be older than they are.
    ///
    /// To be called with every object of the walk either proven at `upto` or later, buried, or stored with all those
    /// purges known to it.
    #[must_use]
    pub fn swept(&self, walk: &DiskWalk, upto: Sequence) -> bool {
        let complete = walk.walk.is_complete();
        if let Some(lower) = self.lower.as_ref().filter(|_| complete) {
            lower.swept.fetch_max(upto.0, Ordering::AcqRel);
        }
        complete
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use tempfile::TempDir;

    use super::*;
    use crate::disk::{self, Disk, Recovery, VolumeSettings};
    use crate::memory::{Memory, Object};
    use crate::purge::{Label, Life, Membership, Mode, PurgeIndex};
    use crate::{Destination, Moment, Settings};

    const NOW: Moment = Moment(1_000);
    const V: Variant = Variant([0; 16]);

    /// What it can be purged by, and nothing else.
    struct Named(Membership);

    impl crate::Head for Named {
        fn weight(&self) -> usize {
            self.0.weight()
        }
    }

    impl Durable for Named {
        fn encode(&self) -> Vec<u8> {
            let labels = self.0.labels().iter().map(|label| label.0);
            let numbers = std::iter::once(self.0.reborn().0).chain(labels);
            numbers.flat_map(u64::to_le_bytes).collect()
        }

        fn decode(bytes: &[u8]) -> Option<Self> {
            let (born, labels) = bytes.split_first_chunk()?;
            let labels = labels.chunks_exact(8).map(|label| label.try_into());
            let labels: Vec<[u8; 8]> = labels.collect::<Result<_, _>>().ok()?;
            let labels = labels.into_iter().map(u64::from_le_bytes).map(Label);
            let born = Sequence(u64::from_le_bytes(*born));
            Some(Self(Membership::new(born, labels.collect())))
        }

        fn outlive(&self, upto: Sequence) {
            self.0.outlive(upto);
        }

        fn stored_at(&self) -> u64 {
            0
        }
    }

    /// Objects on a disk, each named by its own number, and the purges.
    struct Node {
        folder: TempDir,
        tiers: Arc<Tiers<Named>>,
        purges: PurgeIndex,
        /// All that were ever given: what a log has.
        log: Vec<(u64, Mode)>,
    }

    fn open(folder: &TempDir) -> Arc<Tiers<Named>> {
        let volume = VolumeSettings::new(folder.path().join("volume"), 64 << 20);
        let settings = disk::Settings {
            write_buffer: 32 << 20,
            io_threads: 1,
            ..disk::Settings::new(vec![volume], || Duration::ZERO)
        };
        let disk = Disk::open(settings).unwrap();
        while !matches!(disk.recovered(), Recovery::Done { .. }) {
            std::thread::yield_now();
        }
        Tiers::above(Memory::new(Settings::new(16 << 20)), disk, 1)
    }

    fn key(number: u64) -> Key {
        let mut key = [7; 16];
        key[..8].copy_from_slice(&number.to_le_bytes());
        Key(key)
    }

    impl Node {
        async fn with(numbers: std::ops::Range<u64>) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let node = Self {
                tiers: open(&folder),
                folder,
                purges: PurgeIndex::new(100_000),
                log: Vec::new(),
            };
            for number in numbers {
                node.store(number, node.purges.latest()).await;
            }
            node
        }

        async fn store(&self, number: u64, born: Sequence) {
            let head = Named(Membership::new(born, vec![Label(number)]));
            let claim = self.tiers.memory().claim(key(number));
            let body = Bytes::from_static(b"body");
            let length = Some(body.len() as u64);
            let mut fill = self.tiers.begin(claim, V, head, length, Destination::Disk);
            fill.write(body).await.unwrap();
            fill.finish();
        }

        fn purge(&mut self, number: u64, mode: Mode) {
            self.log.push((number, mode));
            let sequence = Sequence(self.log.len() as u64);
            self.purges.apply(sequence, &[Label(number)], mode, NOW);
        }

        async fn object(&self, number: u64) -> Option<Arc<Object<Named>>> {
            let known = self.tiers.in_memory(key(number));
            self.tiers.on_disk(key(number), &known).await.pop()
        }

        async fn life(&self, number: u64) -> Option<Life> {
            let object = self.object(number).await?;
            Some(self.purges.life(&object.head().0))
        }

        /// As the sweeper does.
        async fn sweep(&self) -> usize {
            let upto = self.purges.latest();
            let mut walk = self.tiers.walk_disks().unwrap();
            let (mut seen, mut outlived) = (0, upto);
            while let Some(step) = self.tiers.step(&mut walk, 7).await {
                assert!(step.len() <= 7);
                seen += step.len();
                for object in &step {
                    match self.purges.life(&object.head.0) {
                        Life::Alive => self.tiers.prove(&mut walk, object),
                        Life::Gone => self.tiers.bury(&mut walk, object),
                        Life::Stale { .. } | Life::Doubtful => {
                            outlived = outlived.min(object.head.0.born());
                        }
                    }
                }
            }
            let outlived = outlived.max(self.purges.forgotten());
            assert!(self.tiers.swept(&walk, outlived));
            self.purges.forget(outlived);
            seen
        }

        async fn restart(self) -> Self {
            self.tiers.close().await;
            drop(self.tiers);
            let mut node = Self {
                tiers: open(&self.folder),
                folder: self.folder,
                purges: PurgeIndex::new(100_000),
                log: Vec::new(),
            };
            for (number, mode) in self.log {
                node.purge(number, mode);
            }
            node
        }
    }

    #[tokio::test]
    async fn a_walk_sees_everything_once_and_leaves_what_it_is_not_told_of() {
        let node = Node::with(0..1_000).await;
        for _ in 0..2 {
            assert_eq!(node.sweep().await, 1_000);
        }
    }

    #[tokio::test]
    async fn what_a_walk_has_seen_outlives_the_purges_that_are_forgotten() {
        let mut node = Node::with(0..20).await;
        for round in 0..5 {
            node.purge(round, Mode::Hard);
            node.purge(1_000 + round, Mode::Hard);
            node.sweep().await;
            assert!(node.purges.is_empty());
            for number in 0..20 {
                let expected = (number > round).then_some(Life::Alive);
                assert_eq!(node.life(number).await, expected, "{number} in {round}");
            }
        }
        let node = node.restart().await;
        for number in 0..20 {
            let expected = if number < 5 { Life::Gone } else { Life::Alive };
            // What was taken out may be found again, and is known to be dead.
            let life = node.life(number).await.unwrap_or(Life::Gone);
            assert_eq!(life, expected, "{number}");
        }
    }

    #[tokio::test]
    async fn what_no_walk_has_seen_is_only_as_old_as_it_says() {
        let mut node = Node::with(0..3).await;
        node.purge(9, Mode::Hard);
        node.sweep().await;
        // A fill that was under way for all of it, and that a purge of its own may have named.
        node.store(9, Sequence(0)).await;
        assert_eq!(node.life(9).await, Some(Life::Gone));
        node.sweep().await;
        assert_eq!(node.life(9).await, None);

        // A new head may have other labels, which purges have named that are forgotten.
        let object = node.object(1).await.unwrap();
        node.purge(77, Mode::Hard);
        node.sweep().await;
        let relabelled = object.head().0.relabelled(vec![Label(77)]);
        let head = Arc::new(Named(relabelled));
        assert!(node.tiers.update_head(&object, head).await.is_some());
        assert_eq!(node.life(1).await, Some(Life::Gone));
        assert_eq!(node.life(2).await, Some(Life::Alive));
    }

    #[tokio::test]
    async fn what_is_written_down_knows_what_it_has_outlived() {
        let mut node = Node::with(0..0).await;
        let head = Named(Membership::new(Sequence(0), vec![Label(1)]));
        node.purge(2, Mode::Hard);
        assert_eq!(node.purges.life(&head.0), Life::Alive);
        let born = |head: &Named| Named::decode(&head.encode()).unwrap().0.born();
        assert_eq!(born(&head), Sequence(1));
        node.purge(1, Mode::Soft);
        assert_eq!(node.purges.life(&head.0), Life::Stale { since: NOW });
        assert_eq!(born(&head), Sequence(0));
        let relabelled = Membership::new(Sequence(1), vec![Label(3)]);
        assert_eq!(node.purges.life(&relabelled), Life::Alive);
        let relabelled = Named(relabelled.relabelled(vec![Label(1)]));
        assert_eq!(born(&relabelled), Sequence(1));
    }

    #[tokio::test]
    async fn what_is_stale_on_a_disk_keeps_the_purge_that_says_so() {
        let mut node = Node::with(0..3).await;
        node.purge(5, Mode::Hard);
        node.sweep().await;
        node.purge(1, Mode::Soft);
        node.purge(6, Mode::Hard);
        for _ in 0..3 {
            node.sweep().await;
            assert_eq!(node.purges.len(), 2);
            assert_eq!(node.life(1).await, Some(Life::Stale { since: NOW }));
            assert_eq!(node.life(0).await, Some(Life::Alive));
        }
        node.purge(1, Mode::Hard);
        node.sweep().await;
        assert!(node.purges.is_empty());
        assert_eq!(node.life(1).await, None);
        assert_eq!(node.life(0).await, Some(Life::Alive));
    }
}
