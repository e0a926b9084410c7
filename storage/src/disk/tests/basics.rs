use super::*;

/// Empty, short, about a block, about a chunk, several chunks.
const LENGTHS: [usize; 9] = [0, 1, 1023, 1024, 4095, 4096, 4097, 20_000, 130_001];

fn contents() -> impl Iterator<Item = (u64, Content)> {
    let numbered = (1..).zip(LENGTHS);
    numbered.map(|(key, len)| (key, Content::of(key, len)))
}

#[track_caller]
fn check_all(disk: &Disk) {
    for (key, content) in contents() {
        assert_eq!(disk.get(key, 1), Some(content), "key {key}");
    }
}

fn store_all(disk: &Disk) {
    contents().for_each(|(key, content)| disk.put(key, 1, &content));
}

#[test]
fn what_is_stored_is_found_before_and_after_it_is_on_the_disk() {
    let place = Place::new();
    let disk = place.open();
    store_all(&disk);
    check_all(&disk);
    disk.settle();
    check_all(&disk);
    assert_eq!(disk.stats().objects, LENGTHS.len() as u64);
    assert_eq!(disk.get(99, 1), None);
    assert_eq!(disk.get(1, 2), None, "another variant");
}

#[test]
fn a_cache_outlives_a_clean_stop() {
    let place = Place::new();
    let disk = place.open();
    store_all(&disk);
    block_on(disk.close());
    assert_eq!(
        disk.try_put(1, 1, &Content::of(1, 1)),
        Err(Refused::Offline)
    );
    drop(disk);

    let disk = place.open();
    check_all(&disk);
    let Recovery::Done {
        objects, dropped, ..
    } = disk.recovered()
    else {
        panic!("still running");
    };
    assert_eq!((objects, dropped), (LENGTHS.len() as u64, 0));
    assert_eq!(disk.stats().volumes[0].faults_damaged, 0);
}

#[test]
fn a_cache_outlives_a_kill() {
    let place = Place::new();
    let disk = place.open();
    store_all(&disk);
    disk.settle();
    drop(disk);
    let disk = place.open();
    check_all(&disk);
}

#[test]
fn a_writer_that_is_dropped_leaves_nothing() {
    let place = Place::new();
    let disk = place.open();
    let record = NewRecord {
        key: key_of(1),
        variant: Variant([1; 16]),
        born: 0,
        stored_at: 0,
        head: Bytes::new(),
        body_len: Some(50_000),
    };
    let mut writer = disk.writer(record).unwrap();
    writer.write(vec![1; 40_000].into()).unwrap();
    drop(writer);
    disk.settle();
    assert!(disk.find(key_of(1)).is_empty());
    drop(disk);
    assert_eq!(place.open().stats().objects, 0);
}

#[test]
fn a_body_that_is_not_as_long_as_announced_is_not_stored() {
    let place = Place::new();
    let disk = place.open();
    let record = |body_len| NewRecord {
        key: key_of(1),
        variant: Variant([1; 16]),
        born: 0,
        stored_at: 0,
        head: Bytes::new(),
        body_len: Some(body_len),
    };
    let mut short = disk.writer(record(10)).unwrap();
    short.write(vec![1; 9].into()).unwrap();
    assert_eq!(short.commit(), Err(Refused::WrongLength));

    let mut long = disk.writer(record(10)).unwrap();
    assert_eq!(long.write(vec![1; 11].into()), Err(Refused::WrongLength));
    assert_eq!(long.commit(), Err(Refused::WrongLength));

    let too_long = disk.writer(record(place.settings.object_max + 1));
    assert!(matches!(too_long, Err(Refused::TooLong)));
    assert_eq!(disk.stats().objects, 0);
}

#[test]
fn any_range_of_a_body_is_the_same_bytes() {
    let place = Place::new();
    let disk = place.open();
    store_all(&disk);
    disk.settle();
    for (key, content) in contents() {
        let found = disk.found(key, 1).unwrap();
        let len = content.body.len() as u64;
        for (from, to) in [
            (0, len),
            (0, 1),
            (len / 2, len / 2 + 1),
            (len / 3, len),
            (1000, 5000),
        ] {
            let (from, to) = (from.min(len), to.min(len));
            let read = block_on(disk.read_range(&found, from..to));
            assert_eq!(read.unwrap(), content.body[from as usize..to as usize]);
        }
    }
}

#[test]
fn a_range_reads_no_more_than_its_blocks() {
    if !bodies_are_in_the_log() {
        return;
    }
    let place = Place::new();
    let disk = place.open();
    disk.put(1, 1, &Content::of(1, 130_001));
    disk.settle();
    let found = disk.found(1, 1).unwrap();
    block_on(disk.head(&found)).unwrap();
    let before = disk.stats().volumes[0].bytes_read;
    block_on(disk.read_range(&found, 100_000..100_001)).unwrap();
    assert_eq!(disk.stats().volumes[0].bytes_read - before, 1024);
}

#[test]
fn another_head_leaves_the_body_where_it_is() {
    let place = Place::new();
    let disk = place.open();
    store_all(&disk);
    disk.settle();
    let before = disk.stats().volumes[0].bytes_written;
    let updated = |content: Content| Content {
        head: Bytes::from_static(b"another head"),
        ..content
    };
    for (key, content) in contents() {
        let found = disk.found(key, 1).unwrap();
        let old_id = found.id();
        block_on(disk.head(&found)).unwrap();
        disk.update_head(&found, &Bytes::from_static(b"another head"))
            .unwrap();
        assert_eq!(
            disk.update_head(&found, &Bytes::new()),
            Err(Refused::Gone),
            "not current"
        );
        assert_ne!(disk.found(key, 1).unwrap().id(), old_id);
        assert_eq!(disk.get(key, 1), Some(updated(content)));
    }
    disk.settle();
    let written = disk.stats().volumes[0].bytes_written - before;
    assert!(written < 256 * LENGTHS.len() as u64 + 40 * 32, "{written}");
    drop(disk);

    let disk = place.open();
    for (key, content) in contents() {
        assert_eq!(disk.get(key, 1), Some(updated(content)));
    }
}

#[test]
fn an_object_takes_the_place_of_the_one_before() {
    let place = Place::new();
    let disk = place.open();
    for seed in 0..20 {
        disk.put(1, 1, &Content::of(seed, 3000));
    }
    assert_eq!(disk.stats().objects, 1);
    disk.settle();
    drop(disk);
    let disk = place.open();
    assert_eq!(disk.stats().objects, 1);
    assert_eq!(disk.get(1, 1), Some(Content::of(19, 3000)));
}

#[test]
fn a_key_has_only_so_many_variants() {
    let mut place = Place::new();
    place.settings.variants_max = 3;
    let disk = place.open();
    for variant in 0..10 {
        disk.put(1, variant, &Content::of(u64::from(variant), 10));
    }
    assert_eq!(disk.find(key_of(1)).len(), 3);
    assert_eq!(disk.get(1, 9), Some(Content::of(9, 10)), "the latest stays");
}

#[test]
fn a_removed_object_does_not_come_back() {
    let place = Place::new();
    let disk = place.open();
    store_all(&disk);
    disk.put(1, 2, &Content::of(100, 5));
    disk.settle();
    assert_eq!(disk.remove(key_of(7)).objects, 1);
    assert_eq!(disk.remove_variant(key_of(1), Variant([1; 16])).objects, 1);
    block_on(disk.sync()).unwrap();
    assert_eq!(disk.get(7, 1), None);
    drop(disk);

    let disk = place.open();
    assert_eq!(disk.get(7, 1), None);
    assert_eq!(disk.get(1, 1), None);
    assert_eq!(
        disk.get(1, 2),
        Some(Content::of(100, 5)),
        "the other variant stays"
    );
    disk.put(7, 1, &Content::of(700, 70));
    disk.settle();
    drop(disk);
    assert_eq!(
        place.open().get(7, 1),
        Some(Content::of(700, 70)),
        "stored after it was removed"
    );
}

#[test]
fn an_object_that_was_begun_before_a_removal_is_not_stored_after_it() {
    let place = Place::new();
    let disk = place.open();
    let writer = disk.writer(NewRecord {
        key: key_of(1),
        variant: Variant([1; 16]),
        born: 0,
        stored_at: 0,
        head: Bytes::new(),
        body_len: Some(0),
    });
    disk.remove(key_of(1));
    assert_eq!(writer.unwrap().commit(), Err(Refused::Gone));
}

#[test]
fn only_what_is_alive_is_found() {
    let place = Place::new();
    let disk = place.open();
    store_all(&disk);
    disk.set_liveness(Arc::new(|key, born| *key != key_of(3) || born > 0));
    assert!(disk.found(3, 1).is_none());
    assert!(disk.found(4, 1).is_some());
}

#[test]
fn two_nodes_cannot_share_a_volume() {
    let place = Place::new();
    let first = place.open();
    let second = Disk::open(place.settings.clone());
    assert!(matches!(second, Err(OpenError::InUse { .. })), "{second:?}");
    drop(first);
    place.open();
}

#[test]
fn somebody_elses_file_stays_as_it_is() {
    let place = Place::new();
    std::fs::write(place.file(), "my only copy").unwrap();
    let refused = Disk::open(place.settings.clone());
    assert!(
        matches!(refused, Err(OpenError::Foreign { .. })),
        "{refused:?}"
    );
    assert_eq!(std::fs::read(place.file()).unwrap(), b"my only copy");
}

#[test]
fn a_volume_of_another_size_is_formatted_anew() {
    let mut place = Place::new();
    let disk = place.open();
    store_all(&disk);
    block_on(disk.close());
    drop(disk);
    place.settings.volumes[0].size += 1024 * 1024;
    let disk = place.open();
    assert_eq!(disk.stats().objects, 0);
    store_all(&disk);
    check_all(&disk);
}

#[test]
fn an_inspection_tells_what_a_start_would_find() {
    let place = Place::new();
    let disk = place.open();
    store_all(&disk);
    disk.remove(key_of(2));
    block_on(disk.sync()).unwrap();
    block_on(disk.close());
    for report in [inspect(&place.file()), verify(&place.file())] {
        let report = report.unwrap().volumes.remove(0);
        assert_eq!(report.objects, LENGTHS.len() as u64 - 1);
        assert_eq!((report.damaged, report.removals), (0, 1));
        assert_eq!(report.newest, Some(1_700_000_000));
    }
    assert!(verify(&place.file()).unwrap().volumes[0].verified >= LENGTHS.len() as u64);
    assert!(matches!(
        inspect(&place.dir()),
        Err(InspectError::Unreadable { .. })
    ));
}

#[test]
fn a_new_volume_takes_what_comes_before_it_is_looked_through() {
    let place = Place::new();
    for round in 0..20 {
        let volume = place.file();
        // Not `Place::open`, which waits.
        let disk = Disk::open(place.settings.clone()).unwrap();
        disk.try_put(round, 1, &Content::of(round, 1000)).unwrap();
        disk.wait_until_recovered();
        let free = disk.stats().volumes[0].segments_free;
        assert_eq!(free, disk.stats().volumes[0].segments - 1);
        drop(disk);
        std::fs::remove_file(volume).unwrap();
    }
}
