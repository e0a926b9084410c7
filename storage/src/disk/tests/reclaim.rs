use super::*;
use crate::disk::format::Stream;

const KIB: usize = 1024;

fn file_len(place: &Place) -> u64 {
    std::fs::metadata(place.file()).unwrap().len()
}

#[test]
fn a_volume_that_is_written_over_many_times_never_grows() {
    if !bodies_are_in_the_log() {
        return;
    }
    let place = Place::new();
    let size = place.settings.volumes[0].size;
    let disk = place.open();
    assert_eq!(file_len(&place), size, "reserved from the beginning");
    for key in 0..1500 {
        disk.put(key, 1, &Content::of(key, 9 * KIB));
        assert!(disk.stats().bytes <= size);
    }
    disk.settle();
    assert_eq!(file_len(&place), size);
    let stats = disk.stats();
    assert!(stats.volumes[0].evicted > 1000, "{stats:?}");
    assert!(stats.volumes[0].bytes_written > 6 * size, "{stats:?}");

    let here: Vec<u64> = (0..1500)
        .filter(|key| disk.found(*key, 1).is_some())
        .collect();
    assert!(here.len() > 100, "{}", here.len());
    for key in here {
        assert_eq!(disk.get(key, 1), Some(Content::of(key, 9 * KIB)));
    }
}

#[test]
fn what_is_asked_for_stays_when_its_segment_goes() {
    if !bodies_are_in_the_log() {
        return;
    }
    let place = Place::new();
    let disk = place.open();
    let hot: Vec<u64> = (0..20).collect();
    // Short, long, and with a head that came later.
    let length = |key: &u64| {
        if key.is_multiple_of(2) {
            2 * KIB
        } else {
            9 * KIB
        }
    };
    hot.iter()
        .for_each(|key| disk.put(*key, 1, &Content::of(*key, length(key))));
    for key in hot.iter().filter(|key| *key % 3 == 0) {
        let found = disk.found(*key, 1).unwrap();
        let head = block_on(disk.head(&found)).unwrap();
        disk.update_head(&found, &head).unwrap();
    }
    for key in 1000..3000 {
        disk.put(key, 1, &Content::of(key, 3 * KIB));
        if key % 20 == 0 {
            hot.iter()
                .filter_map(|key| disk.found(*key, 1))
                .for_each(|found| disk.accessed(&found));
        }
    }
    for key in &hot {
        assert_eq!(
            disk.get(*key, 1),
            Some(Content::of(*key, length(key))),
            "key {key}"
        );
    }
    let stats = disk.stats().volumes.remove(0);
    assert!(stats.kept >= 20, "{stats:?}");
    assert!(stats.evicted > 1000, "{stats:?}");

    disk.settle();
    drop(disk);
    let disk = place.open();
    for key in &hot {
        assert_eq!(
            disk.get(*key, 1),
            Some(Content::of(*key, length(key))),
            "after a start"
        );
    }
}

/// Stores until the segment that a key is in has been reclaimed, and keys that are asked for all the time.
fn churn(disk: &Disk, hot: Range<u64>) {
    for key in 1000..3000 {
        disk.put(key, 1, &Content::of(key, 3 * KIB));
        if key % 20 == 0 {
            hot.clone()
                .filter_map(|key| disk.found(key, 1))
                .for_each(|found| disk.accessed(&found));
        }
    }
}

#[test]
fn what_is_not_worth_it_goes_with_its_segment_however_often_it_is_asked_for() {
    if !bodies_are_in_the_log() {
        return;
    }
    let place = Place::new();
    let disk = place.open();
    (0..20).for_each(|key| disk.put(key, 1, &Content::of(key, KIB)));
    disk.set_worth(Arc::new(|head, _| !head.starts_with(b"head of 7,")));
    churn(&disk, 0..20);
    for key in 0..20 {
        let expected = (key != 7).then(|| Content::of(key, KIB));
        assert_eq!(disk.get(key, 1), expected, "key {key}");
    }
}

#[test]
fn that_a_walk_has_looked_at_a_head_is_known_wherever_reclaim_moves_it() {
    if !bodies_are_in_the_log() {
        return;
    }
    let place = Place::new();
    let disk = place.open();
    (0..4).for_each(|key| disk.put(key, 1, &Content::of(key, KIB)));
    let mut walk = disk.walk();
    while let Some(step) = block_on(disk.step(&mut walk, 10)) {
        for seen in step.iter().filter(|seen| seen.key != key_of(3)) {
            disk.prove(&mut walk, seen);
        }
    }
    let at = |key| disk.found(key, 1).unwrap().0.entry.place();
    let before: Vec<_> = (0..4).map(at).collect();
    churn(&disk, 0..4);
    for (key, before) in (0..4).zip(before) {
        let found = disk.found(key, 1).unwrap();
        assert_ne!(found.0.entry.place(), before, "it has moved");
        assert_eq!(found.is_proven(), key != 3, "key {key}");
    }
    // A new head was not looked at.
    let found = disk.found(0, 1).unwrap();
    block_on(disk.head(&found)).unwrap();
    disk.update_head(&found, &Bytes::from_static(b"new"))
        .unwrap();
    assert!(!disk.found(0, 1).unwrap().is_proven());
}

#[test]
fn a_walk_sees_everything_that_stays_while_all_of_it_moves() {
    let place = Place::new();
    let disk = place.open();
    (0..50).for_each(|key| disk.put(key, 1, &Content::of(key, 200)));
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                churn(&disk, 0..50);
            }
        });
        for _ in 0..20 {
            let mut walk = disk.walk();
            let mut seen = std::collections::HashSet::new();
            while let Some(step) = block_on(disk.step(&mut walk, 3)) {
                seen.extend(step.iter().map(|seen| seen.key));
            }
            if walk.is_complete() {
                let missing: Vec<u64> = (0..50)
                    .filter(|key| !seen.contains(&key_of(*key)))
                    .collect();
                assert!(missing.is_empty(), "{missing:?}");
            }
        }
        done.store(true, Ordering::Release);
    });
    assert_eq!(disk.stats().volumes[0].faults_damaged, 0);
}

#[test]
fn a_reader_reads_on_while_everything_else_is_written_over() {
    if !bodies_are_in_the_log() {
        return;
    }
    let place = Place::new();
    let disk = place.open();
    let content = Content::of(1, 100 * KIB);
    disk.put(1, 1, &content);
    disk.settle();
    let found = disk.found(1, 1).unwrap();
    let mut reader = disk.body(&found, 0..found.body_len());
    let mut body = block_on(reader.next()).unwrap().unwrap().to_vec();
    drop(found);

    for key in 1000..2000 {
        disk.put(key, 1, &Content::of(key, 4 * KIB));
    }
    assert!(disk.found(1, 1).is_none(), "evicted");
    assert!(disk.stats().volumes[0].segments_pinned > 0);
    while let Some(bytes) = block_on(reader.next()).unwrap() {
        body.extend_from_slice(&bytes);
    }
    assert!(body == content.body);
    drop(reader);
    while disk.stats().volumes[0].segments_pinned > 0 {
        std::thread::yield_now();
    }
}

#[test]
fn readers_that_hold_every_segment_make_writes_busy_and_nothing_else() {
    if !bodies_are_in_the_log() {
        return;
    }
    let place = Place::new();
    let disk = place.open();
    let mut held: Vec<(u64, Found)> = Vec::new();
    let mut refused = 0;
    for key in 0..3000 {
        match disk.try_put(key, 1, &Content::of(key, 4 * KIB)) {
            Ok(()) => held.extend(disk.found(key, 1).map(|found| (key, found))),
            Err(Refused::Busy) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused > 0);
    assert!(disk.stats().volumes[0].refused_busy > 0);
    let mut whole = 0;
    for (key, found) in &held {
        // Gone is what was reclaimed before it was read; a wrong byte would be another matter.
        if let Ok(content) = block_on(disk.read(found)) {
            assert_eq!(content, Content::of(*key, 4 * KIB));
            whole += 1;
        }
    }
    assert!(whole > 100);
    held.clear();
    disk.put(5000, 1, &Content::of(5000, 10));
    assert_eq!(disk.get(5000, 1), Some(Content::of(5000, 10)));
}

#[test]
fn writes_hold_no_more_memory_than_they_may() {
    let mut place = Place::of(16 * 1024 * 1024, 1024 * 1024);
    place.settings.write_buffer = 1024 * 1024;
    let disk = place.open();
    let mut writers = Vec::new();
    let mut refused = 0;
    for key in 0..100 {
        let record = NewRecord {
            key: key_of(key),
            variant: Variant([1; 16]),
            born: 0,
            stored_at: 0,
            head: Bytes::new(),
            body_len: None,
        };
        let mut writer = disk.writer(record).unwrap();
        refused += usize::from(writer.write(vec![7; 50_000].into()) == Err(Refused::Busy));
        writers.push(writer);
        assert!(disk.stats().write_memory <= 1024 * 1024);
    }
    assert!(refused > 50, "{refused}");
    drop(writers);
    disk.put(1, 1, &Content::of(1, 50_000));
    disk.settle();
}

#[test]
fn a_key_that_was_forgotten_lately_is_not_fresh_when_it_returns() {
    if !bodies_are_in_the_log() {
        return;
    }
    let place = Place::new();
    let disk = place.open();
    disk.put(1, 1, &Content::of(1, 1000));
    for key in 1000..1600 {
        disk.put(key, 1, &Content::of(key, 4 * KIB));
    }
    assert!(disk.found(1, 1).is_none());
    let tag = tag_of(key_of(1));
    let ghost = &disk.shared.volumes[0].ghost;
    // Its place among the ghosts may have gone to another; then there is nothing to see.
    if ghost.remembers(tag) {
        disk.put(1, 1, &Content::of(1, 1000));
        let found = disk.found(1, 1).unwrap();
        assert_eq!(found.0.life.stream, Stream::Kept);
    }
}

#[test]
fn removals_beyond_what_the_log_holds_still_hold() {
    let place = Place::new();
    let disk = place.open();
    let max = disk.shared.volumes[0].geometry.removals_max() as u64;
    disk.put(1, 1, &Content::of(1, 100));
    disk.settle();
    disk.remove(key_of(1));
    for key in 1000..1000 + 5 * max {
        disk.remove(key_of(key));
        if key % 50 == 0 {
            block_on(disk.sync()).unwrap();
        }
    }
    disk.put(2, 1, &Content::of(2, 100));
    disk.settle();
    block_on(disk.sync()).unwrap();
    drop(disk);
    let disk = place.open();
    assert_eq!(disk.get(1, 1), None);
    assert_eq!(disk.get(2, 1), Some(Content::of(2, 100)));
}

/// What one of several threads does to keys that only it uses: what it finds is what it stored last.
fn work(disk: &Disk, thread: u64) {
    let mut latest = std::collections::HashMap::new();
    for step in 0..4000_u64 {
        let random = Content::of(thread << 32 | step, 3).body;
        let key = thread * 1000 + u64::from(random[0] % 24);
        let found = disk.found(key, 1);
        match random[1] % 8 {
            0 => {
                disk.remove(key_of(key));
                latest.remove(&key);
                assert!(disk.found(key, 1).is_none());
            }
            1 | 2 => {
                let content = Content::of(thread << 32 | step, usize::from(random[2]) * 50);
                match disk.try_put(key, 1, &content) {
                    Ok(()) => drop(latest.insert(key, content)),
                    // So many removals in so short a log that they became one of everything.
                    Err(Refused::Busy | Refused::Gone) => {}
                    Err(refused) => panic!("{refused}"),
                }
            }
            3 => {
                let Some(found) = found else { continue };
                let head = Bytes::from(format!("head {thread} {step}"));
                let read = block_on(disk.head(&found));
                if read.is_ok() && disk.update_head(&found, &head).is_ok() {
                    latest.get_mut(&key).unwrap().head = head;
                }
            }
            _ => {
                let Some(found) = found else { continue };
                disk.accessed(&found);
                match block_on(disk.read(&found)) {
                    Ok(content) => assert!(latest.get(&key) == Some(&content), "key {key}"),
                    Err(error) => assert_eq!(error, DiskError::Gone),
                }
            }
        }
    }
}

#[test]
fn threads_that_store_read_update_and_remove_meet_only_what_they_stored() {
    let place = Place::of(1024 * 1024, 32 * 1024);
    let disk = place.open();
    std::thread::scope(|scope| {
        for thread in 1..5 {
            let disk = &disk;
            scope.spawn(move || work(disk, thread));
        }
    });
    let stats = disk.stats().volumes.remove(0);
    assert!(
        stats.kept + stats.evicted > 0 || !bodies_are_in_the_log(),
        "{stats:?}"
    );
    assert_eq!((stats.faults_damaged, stats.offline), (0, false));
    block_on(disk.close());
    assert_eq!(verify(&place.file()).unwrap().volumes[0].damaged, 0);
}
