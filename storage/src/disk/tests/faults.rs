use std::io;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::disk::medium::Medium;

/// A medium that fails when it is told to.
struct Faulty {
    inner: Arc<dyn Medium>,
    faults: Arc<Faults>,
}

#[derive(Default)]
struct Faults {
    /// Every how many-th call of each kind fails; 0 is never.
    reads: AtomicU64,
    writes: AtomicU64,
    removals: AtomicU64,
    /// Nothing is in the page cache.
    cold: AtomicBool,
    /// Reads hang until this is cleared.
    hangs: AtomicBool,
    /// The second half of every write is lost, and nobody says so.
    tears: AtomicBool,
    calls: AtomicU64,
    /// Bytes that were to be brought to the page cache.
    ahead: AtomicU64,
}

impl Faults {
    fn strike(&self, every: &AtomicU64, kind: io::ErrorKind) -> io::Result<()> {
        let every = every.load(Ordering::Relaxed);
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        if every > 0 && call.is_multiple_of(every) {
            return Err(kind.into());
        }
        Ok(())
    }

    fn set(&self, every: &AtomicU64, value: u64) {
        every.store(value, Ordering::Relaxed);
    }
}

impl Medium for Faulty {
    fn read_cached(&self, to: &mut [u8], offset: u64) -> io::Result<usize> {
        if self.faults.cold.load(Ordering::Relaxed) {
            return Ok(0);
        }
        self.faults
            .strike(&self.faults.reads, io::ErrorKind::Other)?;
        self.inner.read_cached(to, offset)
    }

    fn read(&self, to: &mut [u8], offset: u64) -> io::Result<()> {
        while self.faults.hangs.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        self.faults
            .strike(&self.faults.reads, io::ErrorKind::Other)?;
        self.inner.read(to, offset)
    }

    fn will_read(&self, offset: u64, len: u64) {
        self.faults.ahead.fetch_add(len, Ordering::Relaxed);
        self.inner.will_read(offset, len);
    }

    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.faults
            .strike(&self.faults.writes, io::ErrorKind::StorageFull)?;
        let torn = self.faults.tears.load(Ordering::Relaxed);
        let len = if torn { bytes.len() / 2 } else { bytes.len() };
        self.inner.write(&bytes[..len], offset)
    }

    fn write_durably(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.faults
            .strike(&self.faults.removals, io::ErrorKind::Other)?;
        self.inner.write_durably(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.inner.sync()
    }
}

fn open(place: &Place) -> (Arc<Disk>, Arc<Faults>) {
    let faults = Arc::new(Faults::default());
    let prepared = open::prepare(&place.settings).unwrap();
    let faulty = prepared.into_iter().map(|prepared| Prepared {
        medium: Arc::new(Faulty {
            inner: prepared.medium,
            faults: Arc::clone(&faults),
        }),
        ..prepared
    });
    let disk = Disk::open_prepared(place.settings.clone(), faulty.collect()).unwrap();
    disk.wait_until_recovered();
    (disk, faults)
}

fn fill(disk: &Disk, keys: Range<u64>) {
    for key in keys {
        // A sick disk may refuse; that is all it may do.
        disk.try_put(key, 1, &Content::of(key, 3000))
            .unwrap_or_default();
    }
}

/// Nothing that is read is wrong; returns how much is right.
fn check(disk: &Disk, keys: Range<u64>) -> usize {
    keys.filter_map(|key| Some((key, disk.get(key, 1)?)))
        .map(|(key, got)| assert!(got == Content::of(key, 3000), "wrong bytes for {key}"))
        .count()
}

#[test]
fn failing_reads_are_misses() {
    let place = Place::new();
    let (disk, faults) = open(&place);
    fill(&disk, 0..200);
    disk.settle();
    faults.set(&faults.reads, 50);
    let right = check(&disk, 0..200);
    assert!((100..200).contains(&right), "{right}");
    let stats = disk.stats().volumes.remove(0);
    assert!(stats.faults_read > 0 && !stats.offline, "{stats:?}");
}

#[test]
fn a_volume_that_keeps_failing_is_taken_out_and_formatted_at_the_next_start() {
    let place = Place::new();
    let (disk, faults) = open(&place);
    fill(&disk, 0..200);
    disk.settle();
    faults.set(&faults.reads, 1);
    assert_eq!(check(&disk, 0..200), 0);
    assert!(disk.stats().volumes[0].offline);
    assert!(disk.find(key_of(150)).is_empty());
    assert_eq!(
        disk.try_put(1, 1, &Content::of(1, 1)),
        Err(Refused::Offline)
    );
    disk.remove(key_of(5));
    block_on(disk.sync()).unwrap();
    while disk.stats().objects > 0 {
        std::thread::yield_now();
    }
    faults.set(&faults.reads, 0);
    // Whether it was marked is seen at the next start.
    while !inspect(&place.file()).unwrap().volumes[0].failed {
        std::thread::yield_now();
    }
    drop(disk);
    let disk = place.open();
    assert_eq!(disk.stats().objects, 0);
    fill(&disk, 0..10);
    assert_eq!(check(&disk, 0..10), 10);
}

#[test]
fn another_volume_serves_on_when_one_is_taken_out() {
    let mut place = Place::new();
    place.add_volume();
    let disk = place.open();
    fill(&disk, 0..300);
    let on = |volume: u8| {
        let on = |key: &u64| {
            disk.found(*key, 1)
                .is_some_and(|found| found.0.volume.id == volume)
        };
        (0..300).filter(on).count()
    };
    assert!(on(0) > 50 && on(1) > 50, "{} {}", on(0), on(1));
    for _ in 0..20 {
        disk.shared.volumes[0].health.fault(Fault::Read, &"as if");
    }
    assert!(disk.stats().volumes[0].offline);
    let second = on(1);
    assert_eq!(check(&disk, 0..300), second);
    fill(&disk, 300..400);
    assert_eq!(
        check(&disk, 300..400),
        100,
        "its keys have a home on the other one"
    );
}

#[test]
fn failing_writes_lose_objects_and_nothing_else() {
    let place = Place::new();
    let (disk, faults) = open(&place);
    faults.set(&faults.writes, 7);
    for round in 0..40 {
        fill(&disk, round * 20..round * 20 + 20);
        disk.settle();
        if round % 8 == 7 {
            check(&disk, 0..round * 20 + 20);
        }
    }
    let stats = disk.stats().volumes.remove(0);
    assert!(stats.faults_write > 0, "{stats:?}");
    faults.set(&faults.writes, 0);
    drop(disk);
    check(&place.open(), 0..800);
}

#[test]
fn torn_writes_are_never_served_after_a_start() {
    let place = Place::new();
    let (disk, faults) = open(&place);
    fill(&disk, 0..100);
    disk.settle();
    faults.tears.store(true, Ordering::Relaxed);
    fill(&disk, 100..400);
    disk.settle();
    check(&disk, 0..400);
    drop(disk);
    let disk = place.open();
    check(&disk, 0..400);
    fill(&disk, 400..500);
    check(&disk, 0..500);
}

#[test]
fn what_is_not_in_the_page_cache_is_read_by_other_threads() {
    let place = Place::new();
    let (disk, faults) = open(&place);
    fill(&disk, 0..100);
    disk.put(500, 1, &Content::of(500, 100_000));
    disk.settle();
    faults.cold.store(true, Ordering::Relaxed);
    assert_eq!(check(&disk, 0..100), 100);
    assert_eq!(disk.get(500, 1), Some(Content::of(500, 100_000)));
    assert!(disk.stats().volumes[0].reads_waited >= 100);
}

#[test]
fn a_range_that_is_not_in_the_page_cache_is_read_ahead_to_its_end_and_no_further() {
    if !bodies_are_in_the_log() {
        return;
    }
    let place = Place::new();
    let (disk, faults) = open(&place);
    let content = Content::of(1, 100_000);
    disk.put(1, 1, &content);
    disk.settle();
    let found = disk.found(1, 1).unwrap();
    block_on(disk.head(&found)).unwrap();
    faults.cold.store(true, Ordering::Relaxed);

    // The second and third of four blocks of 1 KiB.
    let read = block_on(disk.read_range(&found, 1024..3072)).unwrap();
    assert!(read == content.body[1024..3072]);
    assert_eq!(faults.ahead.swap(0, Ordering::Relaxed), 1024);
    block_on(disk.read_range(&found, 0..1)).unwrap();
    assert_eq!(faults.ahead.load(Ordering::Relaxed), 0);
}

#[test]
fn who_takes_all_at_once_gets_longer_pieces_of_the_same_body() {
    if !bodies_are_in_the_log() {
        return;
    }
    let place = Place::new();
    let (disk, faults) = open(&place);
    let content = Content::of(1, 100_000);
    disk.put(1, 1, &content);
    disk.settle();
    let found = disk.found(1, 1).unwrap();
    for (pace, cold) in [
        (Pace::Slow, false),
        (Pace::Fast, false),
        (Pace::Slow, true),
        (Pace::Fast, true),
    ] {
        faults.cold.store(cold, Ordering::Relaxed);
        for range in [0..100_000, 1023..99_999, 4095..4097, 50_000..50_001] {
            let mut reader = disk.body(&found, range.clone());
            let (mut body, mut longest) = (Vec::new(), 0);
            while let Some(piece) = block_on(reader.next()).unwrap() {
                longest = longest.max(piece.len());
                body.extend_from_slice(&piece);
                reader.suit(pace);
            }
            let range = range.start as usize..range.end as usize;
            assert!(body == content.body[range.clone()], "{pace:?} {range:?}");
            // Blocks of 1 KiB in chunks of 4.
            let most = if pace == Pace::Fast { 4096 } else { 1024 };
            assert_eq!(longest == most, range.len() > 2, "{pace:?} {range:?}");
        }
    }
}

#[test]
fn a_disk_that_hangs_is_a_miss_and_does_not_stop_the_caller() {
    let mut place = Place::new();
    place.settings.patience = Duration::from_millis(20);
    place.settings.io_queue = 4;
    let (disk, faults) = open(&place);
    fill(&disk, 0..20);
    disk.settle();
    faults.cold.store(true, Ordering::Relaxed);
    faults.hangs.store(true, Ordering::Relaxed);
    let found = disk.found(1, 1).unwrap();
    assert_eq!(block_on(disk.head(&found)), Err(DiskError::Slow));

    let others: Vec<Found> = (2..20).filter_map(|key| disk.found(key, 1)).collect();
    let outcomes = block_on(async {
        let mut outcomes = Vec::new();
        for found in &others {
            outcomes.push(disk.head(found).await);
        }
        outcomes
    });
    assert!(outcomes.iter().all(Result::is_err));
    faults.hangs.store(false, Ordering::Relaxed);
}

#[test]
fn a_reader_dropped_in_the_middle_of_a_read_goes_on_where_it_was() {
    let place = Place::new();
    let (disk, faults) = open(&place);
    let content = Content::of(1, 60_000);
    disk.put(1, 1, &content);
    disk.settle();
    faults.cold.store(true, Ordering::Relaxed);
    let found = disk.found(1, 1).unwrap();
    let body = block_on(async {
        let mut reader = disk.body(&found, 0..found.body_len());
        let mut body = Vec::new();
        loop {
            // Polled once and dropped, as a `select!` does.
            let polled = std::future::poll_fn(|context| {
                let next = std::pin::pin!(reader.next());
                std::task::Poll::Ready(next.poll(context))
            });
            match polled.await {
                std::task::Poll::Ready(Ok(Some(bytes))) => body.extend_from_slice(&bytes),
                std::task::Poll::Ready(Ok(None)) => return body,
                std::task::Poll::Ready(Err(error)) => panic!("{error}"),
                std::task::Poll::Pending => tokio::task::yield_now().await,
            }
        }
    });
    assert!(body == content.body);
}

#[test]
fn a_removal_that_cannot_be_made_durable_is_not_acknowledged() {
    let place = Place::new();
    let (disk, faults) = open(&place);
    fill(&disk, 0..10);
    disk.settle();
    faults.set(&faults.removals, 1);
    disk.remove(key_of(1));
    assert!(matches!(block_on(disk.sync()), Err(DiskError::Failed(_))));
    assert!(
        disk.found(1, 1).is_none(),
        "it holds as long as the process lives"
    );
    faults.set(&faults.removals, 0);
    block_on(disk.sync()).unwrap();
    drop(disk);
    assert!(
        place.open().found(1, 1).is_none(),
        "written when it could be"
    );
}

#[test]
fn a_file_system_without_room_is_one_clear_error() {
    let place = Place::new();
    let refuses = |size: u64| {
        let mut settings = place.settings.clone();
        settings.volumes[0].size = size;
        settings.segment = 64 << 20;
        let refused = Disk::open(settings);
        let text = refused.unwrap_err().to_string();
        assert!(
            text.contains("no room for") || text.contains("cannot open"),
            "{text}"
        );
    };
    for size in [1 << 43, 1 << 46] {
        refuses(size);
        assert!(!place.file().exists(), "what was made in vain is gone");
    }

    // What there was before is still there.
    let disk = place.open();
    fill(&disk, 0..10);
    block_on(disk.close());
    drop(disk);
    for size in [1 << 43, 1 << 46] {
        refuses(size);
    }
    assert_eq!(check(&place.open(), 0..10), 10);
}

#[test]
fn a_volume_that_missed_a_run_missed_removals_and_is_formatted_anew() {
    let mut place = Place::new();
    let second = place.add_volume();
    let disk = place.open();
    fill(&disk, 0..100);
    block_on(disk.close());
    drop(disk);

    place.settings.volumes.pop();
    let disk = place.open();
    let on_first = check(&disk, 0..100);
    assert!((10..90).contains(&on_first), "{on_first}");
    (0..100).for_each(|key| assert!(disk.remove(key_of(key)).objects <= 1));
    block_on(disk.close());
    drop(disk);

    place.settings.volumes.push(second);
    let disk = place.open();
    assert_eq!(check(&disk, 0..100), 0);
    fill(&disk, 200..300);
    assert_eq!(check(&disk, 200..300), 100);
    block_on(disk.close());
    drop(disk);
    assert_eq!(check(&place.open(), 200..300), 100, "both were there");
}

#[test]
fn a_segment_that_cannot_be_read_at_a_start_is_left_alone() {
    let place = Place::new();
    let disk = place.open();
    fill(&disk, 0..200);
    disk.remove(key_of(1));
    block_on(disk.close());
    drop(disk);
    {
        let faults = Arc::new(Faults::default());
        let prepared = open::prepare(&place.settings).unwrap();
        let faulty = prepared.into_iter().map(|prepared| Prepared {
            medium: Arc::new(Faulty {
                inner: prepared.medium,
                faults: Arc::clone(&faults),
            }),
            ..prepared
        });
        faults.set(&faults.reads, 19);
        let disk = Disk::open_prepared(place.settings.clone(), faulty.collect()).unwrap();
        disk.wait_until_recovered();
        faults.set(&faults.reads, 0);
        assert!(disk.shared.volumes[0].unread.load(Ordering::Relaxed));
        assert_eq!(disk.shared.oldest_life(), 0, "no removal is forgotten");
        check(&disk, 0..200);
    }
    let disk = place.open();
    assert!(disk.found(1, 1).is_none());
    assert!(check(&disk, 0..200) > 100);
}
