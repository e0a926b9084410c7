//! The two tiers together, on a volume of their own.

mod late;

use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::Settings;
use crate::disk::VolumeSettings;

/// A head is its own weight.
impl Durable for usize {
    fn encode(&self) -> Vec<u8> {
        self.to_le_bytes().to_vec()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self::from_le_bytes(bytes.try_into().ok()?))
    }

    fn outlive(&self, _upto: Sequence) {}

    fn stored_at(&self) -> u64 {
        1_700_000_000
    }
}

const MIB: u64 = 1 << 20;
const KEY: Key = Key([7; 16]);
const V: Variant = Variant([0; 16]);
const OTHER: Variant = Variant([1; 16]);
const EPOCH: u64 = 1;

fn still() -> Duration {
    Duration::ZERO
}

/// A volume, and tiers above it, as often as wanted one after the other.
struct Place {
    folder: TempDir,
    memory: Settings,
    write_buffer: usize,
}

impl Place {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            memory: Settings {
                object_max: MIB,
                ..Settings::new(16 << 20)
            },
            write_buffer: 32 << 20,
        }
    }

    fn open(&self) -> Arc<Tiers<usize>> {
        self.open_under(EPOCH)
    }

    fn open_under(&self, epoch: u64) -> Arc<Tiers<usize>> {
        let volume = VolumeSettings::new(self.folder.path().join("volume"), 64 * MIB);
        let settings = disk::Settings {
            write_buffer: self.write_buffer,
            object_max: 16 * MIB,
            io_threads: 1,
            ..disk::Settings::new(vec![volume], still)
        };
        let disk = Disk::open(settings).unwrap();
        while !matches!(disk.recovered(), Recovery::Done { .. }) {
            std::thread::yield_now();
        }
        Tiers::above(Memory::new(self.memory), disk, epoch)
    }
}

impl Tiers<usize> {
    /// Receives a response, if anything is to become of it.
    async fn fill(&self, variant: Variant, head: usize, body: &Bytes, admission: Admission) {
        let length = Some(body.len() as u64);
        let claim = self.memory.claim(KEY);
        let destination = self.destination(KEY, length, admission);
        let mut fill = self.begin(claim, variant, head, length, destination);
        let mut reader = fill.reader();
        let reading = tokio::spawn(async move { while let Ok(Some(_)) = reader.next().await {} });
        for piece in body.chunks(50_000) {
            fill.write(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        fill.finish();
        reading.await.unwrap();
    }

    async fn find(&self, variant: Variant) -> Option<Arc<Object<usize>>> {
        let known = self.in_memory(KEY);
        if let Some(object) = known.find(variant) {
            return Some(Arc::clone(object));
        }
        let lower = self.on_disk(KEY, &known).await;
        lower.into_iter().find(|it| it.variant() == variant)
    }

    /// Asks, as a request does that the response answers.
    async fn ask(self: &Arc<Self>, admission: Admission) -> Option<Arc<Object<usize>>> {
        let object = self.find(V).await?;
        drop(self.accessed(&object, admission));
        Some(object)
    }

    fn disk_objects(&self) -> u64 {
        self.disk().unwrap().stats().objects
    }

    /// Waits until nothing moves any more.
    async fn settle(&self) {
        let moves = &self.lower.as_ref().unwrap().moves;
        let all = moves.acquire_many(u32::try_from(MOVES_MAX).unwrap());
        drop(all.await.unwrap());
    }

    async fn restart(self: Arc<Self>, place: &Place) -> Arc<Self> {
        self.settle().await;
        self.close().await;
        drop(self);
        place.open()
    }
}

async fn read(object: &Object<usize>, range: std::ops::Range<u64>) -> Vec<u8> {
    let mut reader = object.body().reader(range);
    let mut bytes = Vec::new();
    while let Some(piece) = reader.next().await.unwrap() {
        bytes.extend_from_slice(&piece);
    }
    bytes
}

fn body(len: usize, seed: usize) -> Bytes {
    (0..len)
        .map(|at| u8::try_from((at / 7 + seed) % 251).unwrap())
        .collect()
}

#[tokio::test]
async fn the_second_request_writes_it_down_and_a_restart_keeps_it() {
    let place = Place::new();
    let tiers = place.open();
    let content = body(100_000, 1);
    tiers.fill(V, 5, &content, Admission::Second).await;
    assert_eq!(tiers.disk_objects(), 0);
    tiers.ask(Admission::Second).await.unwrap();
    tiers.settle().await;
    assert_eq!(tiers.disk_objects(), 1);

    let tiers = tiers.restart(&place).await;
    assert!(tiers.in_memory(KEY).is_empty());
    let object = tiers.ask(Admission::Second).await.unwrap();
    assert!(object.body().is_on_disk());
    assert_eq!(**object.head(), 5);
    assert_eq!(read(&object, 0..100_000).await, content);
    assert_eq!(read(&object, 70_000..70_010).await, content[70_000..70_010]);

    tiers.settle().await;
    let promoted = tiers.ask(Admission::Second).await.unwrap();
    assert!(!promoted.body().is_on_disk());
    assert_eq!(read(&promoted, 0..100_000).await, content);
    assert_eq!(promoted.id(), object.id());
}

#[tokio::test]
async fn a_short_body_is_in_memory_after_one_hit_on_the_disk() {
    let place = Place::new();
    let tiers = place.open();
    tiers.fill(V, 0, &body(1_000, 0), Admission::Always).await;
    let tiers = tiers.restart(&place).await;
    assert!(
        tiers
            .ask(Admission::Always)
            .await
            .unwrap()
            .body()
            .is_on_disk()
    );
    assert!(
        !tiers
            .ask(Admission::Always)
            .await
            .unwrap()
            .body()
            .is_on_disk()
    );
}

#[tokio::test]
async fn the_rule_decides_what_is_written_at_which_request() {
    for (admission, expected) in [
        (Admission::Always, [1, 1, 1]),
        (Admission::Second, [0, 1, 1]),
        (Admission::Third, [0, 0, 1]),
        (Admission::Never, [0, 0, 0]),
    ] {
        let tiers = Place::new().open();
        let mut written = [0; 3];
        tiers.fill(V, 0, &body(10, 0), admission).await;
        for (request, written) in written.iter_mut().enumerate() {
            if request > 0 {
                tiers.ask(admission).await.unwrap();
            }
            tiers.settle().await;
            *written = tiers.disk_objects();
        }
        assert_eq!(written, expected, "{admission:?}");
    }
}

#[tokio::test]
async fn what_has_no_place_in_memory_is_written_when_it_is_received_again() {
    let place = Place::new();
    let tiers = place.open();
    let content = body(5 << 20, 3);
    let length = Some(content.len() as u64);
    let destination = tiers.destination(KEY, length, Admission::Second);
    assert_eq!(destination, Destination::Nowhere(Why::NotYet));

    tiers.fill(V, 9, &content, Admission::Second).await;
    assert!(tiers.in_memory(KEY).is_empty());
    let object = tiers.ask(Admission::Second).await.unwrap();
    assert!(object.body().is_on_disk());
    assert_eq!(read(&object, 0..5 << 20).await, content);
    drop(object);
    let tiers = tiers.restart(&place).await;
    let object = tiers.find(V).await.unwrap();
    assert_eq!(
        read(&object, 1 << 20..2 << 20).await,
        content[1 << 20..2 << 20]
    );

    let beyond = tiers.destination(Key([9; 16]), Some(17 * MIB), Admission::Always);
    assert_eq!(beyond, Destination::Nowhere(Why::TooLong));
}

#[tokio::test]
async fn a_body_goes_on_to_the_disk_when_all_readers_have_gone() {
    let tiers = Place::new().open();
    let content = body(3 << 20, 3);
    let claim = tiers.memory().claim(KEY);
    let mut fill = tiers.begin(claim, V, 0, None, Destination::Disk);
    for piece in content.chunks(50_000) {
        fill.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    fill.finish();
    let object = tiers.find(V).await.unwrap();
    assert_eq!(read(&object, 0..3 << 20).await, content);
}

#[tokio::test]
async fn a_fill_that_breaks_off_leaves_nothing() {
    let tiers = Place::new().open();
    for destination in [Destination::Both, Destination::Disk] {
        let claim = tiers.memory().claim(KEY);
        let mut fill = tiers.begin(claim, V, 0, Some(3 << 20), destination);
        fill.write(body(2 << 20, 0)).await.unwrap();
        fill.fail(crate::Cut::Origin);
        assert!(tiers.find(V).await.is_none());
        let claim = tiers.memory().claim(KEY);
        let mut fill = tiers.begin(claim, V, 0, Some(3 << 20), destination);
        fill.write(body(2 << 20, 0)).await.unwrap();
        assert!(fill.finish().is_none(), "too short");
        assert!(tiers.find(V).await.is_none());
    }
}

#[tokio::test]
async fn a_newer_response_takes_the_place_on_both_tiers() {
    let place = Place::new();
    let tiers = place.open();
    let (old, new) = (body(5 << 20, 1), body(1_000, 2));
    tiers.fill(V, 1, &old, Admission::Always).await;
    tiers.fill(V, 2, &new, Admission::Second).await;
    let tiers = tiers.restart(&place).await;
    let object = tiers.find(V).await.unwrap();
    assert_eq!(
        (**object.head(), read(&object, 0..MIB).await),
        (2, new.to_vec())
    );

    // The other way round: what is only on the disk is newer than what is in memory.
    tiers.ask(Admission::Always).await.unwrap();
    assert!(!tiers.find(V).await.unwrap().body().is_on_disk());
    tiers.fill(V, 3, &old, Admission::Always).await;
    let object = tiers.find(V).await.unwrap();
    assert_eq!(**object.head(), 3);
    assert!(object.body().is_on_disk());
}

#[tokio::test]
async fn a_response_that_does_not_reach_the_disk_removes_the_older_one_there() {
    let place = Place::new();
    let tiers = place.open();
    tiers.fill(V, 1, &body(10, 1), Admission::Always).await;
    tiers.fill(V, 2, &body(10, 2), Admission::Never).await;
    assert_eq!(tiers.disk_objects(), 0);
    let tiers = tiers.restart(&place).await;
    assert!(tiers.find(V).await.is_none());
}

#[tokio::test]
async fn a_304_renews_the_head_on_both_tiers_and_writes_no_body() {
    let place = Place::new();
    let mut tiers = place.open();
    let content = body(900_000, 1);
    tiers.fill(V, 1, &content, Admission::Always).await;
    for head in 2..5 {
        let object = tiers.find(V).await.unwrap();
        let written = tiers.disk().unwrap().stats();
        let updated = tiers.update_head(&object, Arc::new(head)).await.unwrap();
        assert_eq!(**updated.head(), head);
        assert!(tiers.is_current(&tiers.find(V).await.unwrap()));
        assert_eq!(**tiers.find(V).await.unwrap().head(), head);
        drop((object, updated));

        tiers.settle().await;
        let now = tiers.disk().unwrap().stats();
        tiers = tiers.restart(&place).await;
        let object = tiers.find(V).await.unwrap();
        assert_eq!(**object.head(), head);
        assert_eq!(read(&object, 0..900_000).await, content);
        assert_eq!(now.objects, written.objects);
        if head == 3 {
            // From now on it is in memory as well.
            tiers.ask(Admission::Always).await.unwrap();
            tiers.settle().await;
        }
    }
}

#[tokio::test]
async fn what_is_removed_is_gone_from_both_tiers_for_ever() {
    let place = Place::new();
    let tiers = place.open();
    tiers.fill(V, 1, &body(10, 1), Admission::Always).await;
    tiers.fill(OTHER, 1, &body(10, 1), Admission::Always).await;
    tiers.remove(KEY);
    assert!(tiers.find(V).await.is_none());
    let tiers = tiers.restart(&place).await;
    assert!(tiers.find(V).await.is_none() && tiers.find(OTHER).await.is_none());
}

#[tokio::test]
async fn what_was_asked_for_before_a_removal_is_stored_nowhere() {
    let tiers = Place::new().open();
    for destination in [Destination::Both, Destination::Disk] {
        let claim = tiers.memory().claim(KEY);
        let mut fill = tiers.begin(claim, V, 0, None, destination);
        fill.write(body(10, 0)).await.unwrap();
        tiers.remove(KEY);
        assert!(fill.finish().is_none());
        assert!(tiers.find(V).await.is_none(), "{destination:?}");

        let claim = tiers.memory().claim(KEY);
        tiers.remove(KEY);
        let mut fill = tiers.begin(claim, V, 0, None, destination);
        fill.write(body(10, 0)).await.unwrap();
        assert!(fill.finish().is_none());
        assert!(tiers.find(V).await.is_none(), "{destination:?}");
    }
}

#[tokio::test]
async fn an_object_that_was_removed_is_not_written_down_by_who_still_has_it() {
    let tiers = Place::new().open();
    tiers.fill(V, 1, &body(10, 1), Admission::Second).await;
    let object = tiers.find(V).await.unwrap();
    tiers.remove(KEY);
    drop(tiers.accessed(&object, Admission::Second));
    tiers.settle().await;
    assert_eq!(tiers.disk_objects(), 0);
}

#[tokio::test]
async fn a_removed_object_is_not_promoted_by_who_still_reads_it() {
    let place = Place::new();
    let tiers = place.open();
    tiers.fill(V, 1, &body(10, 1), Admission::Always).await;
    let tiers = tiers.restart(&place).await;
    let object = tiers.find(V).await.unwrap();
    tiers.remove(KEY);
    drop(tiers.accessed(&object, Admission::Always));
    assert!(tiers.in_memory(KEY).is_empty());
}

#[tokio::test]
async fn removing_an_object_leaves_the_other_variants() {
    let place = Place::new();
    let tiers = place.open();
    tiers.fill(V, 1, &body(10, 1), Admission::Always).await;
    tiers.fill(OTHER, 2, &body(10, 2), Admission::Always).await;
    tiers.remove_object(&tiers.find(V).await.unwrap());
    assert!(tiers.find(V).await.is_none());
    let tiers = tiers.restart(&place).await;
    assert!(tiers.find(V).await.is_none());
    assert!(tiers.find(OTHER).await.is_some());
}

#[tokio::test]
async fn nothing_of_another_epoch_is_found() {
    let place = Place::new();
    let tiers = place.open();
    tiers.fill(V, 1, &body(10, 1), Admission::Always).await;
    tiers.close().await;
    drop(tiers);
    let tiers = place.open_under(EPOCH + 1);
    assert!(tiers.find(V).await.is_none());
    assert_eq!(tiers.disk_objects(), 0, "it is forgotten");
    tiers.close().await;
    drop(tiers);
    assert!(place.open().find(V).await.is_some());
}

#[tokio::test]
async fn what_memory_evicts_is_found_on_the_disk_if_it_was_asked_for_twice() {
    let mut place = Place::new();
    place.memory = Settings::new(12 << 20);
    let tiers = place.open();
    tiers.fill(V, 1, &body(1_000, 1), Admission::Second).await;
    tiers.ask(Admission::Second).await.unwrap();
    tiers.settle().await;
    let mut others = 0;
    while !tiers.in_memory(KEY).is_empty() {
        others += 1;
        let key = Key([others; 16]);
        // Read often, so that it stays longer than the one in question.
        let object = tiers.memory().insert_ready(key, V, 0, body(400_000, 0));
        for _ in 0..100_000 {
            tiers.memory().accessed(object.as_ref().unwrap());
        }
        assert!(others < 200);
    }
    let object = tiers.find(V).await.unwrap();
    assert_eq!(read(&object, 0..MIB).await, body(1_000, 1));
}

#[tokio::test]
async fn the_memory_of_the_disks_is_a_part_of_the_budget() {
    let mut place = Place::new();
    place.memory = Settings::new(64 << 20);
    let tiers = place.open();
    assert!(tiers.account());
    let before = tiers.memory().stats().bytes;
    assert!(before > 0, "tables");
    for number in 0..1_000_u64 {
        let key = Key(u128::from(number).to_be_bytes());
        let claim = tiers.memory().claim(key);
        let mut fill = tiers.begin(claim, V, 0, None, Destination::Both);
        fill.write(body(10, 0)).await.unwrap();
        fill.finish();
    }
    let objects = tiers.memory().stats().bytes;
    assert!(tiers.account());
    let stats = tiers.disk().unwrap().stats();
    let grown = tiers.memory().stats().bytes - objects;
    assert!(grown as u64 <= stats.index_memory);
    assert!(grown > 0);
    assert!(tiers.memory().stats().bytes <= tiers.memory().stats().capacity);
}
