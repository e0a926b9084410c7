//! A segment that is reclaimed between a record's last byte and the index's knowledge of it.

use super::*;
use crate::disk::format::{Name, Stream, Sums};
use crate::disk::keep::{Budget, Reclaim};
use crate::disk::life::Life;
use crate::disk::log::Appended;

/// A record without a body, written and not entered.
fn append(disk: &Disk, key: u64) -> Appended {
    let head = b"late";
    let volume = &disk.shared.volumes[0];
    let header = Header {
        kind: Kind::Inline,
        life: 0,
        number: 0,
        name: Name {
            key: key_of(key),
            variant: Variant([1; 16]),
        },
        born: 0,
        stored_at: 0,
        body_len: 0,
        head_len: head.len() as u32,
        extents: 0,
        head_sum: checksum(volume.nonce, head),
        table_sum: 0,
        sums: Sums::default(),
        at: 0,
    };
    let record = Record {
        header,
        parts: [head, &[], &[]],
    };
    volume.append(Stream::Fresh, record).unwrap()
}

fn enter(disk: &Disk, appended: &Appended) -> bool {
    let shared = &disk.shared;
    shared.enter(&shared.volumes[0], appended, |entry| {
        shared.index.put(entry, |_| Some(Default::default()));
        true
    })
}

#[test]
fn a_record_is_not_found_where_its_segment_went_before_the_index_knew_of_it() {
    let place = Place::new();
    let disk = place.open();
    let volume = &disk.shared.volumes[0];
    let appended = append(&disk, 1);
    for key in 1000.. {
        disk.put(key, 1, &Content::of(key, 3000));
        if !volume.lives.has(&appended.life) {
            break;
        }
    }
    let objects = disk.stats().objects;
    assert!(!enter(&disk, &appended));
    assert!(disk.found(1, 1).is_none());
    assert_eq!(disk.stats().objects, objects);

    // As long as somebody might enter it, its segment is not written over; and then it is.
    let segment = appended.life.segment;
    assert!(volume.lives.pin(segment).is_none());
    drop(appended);
    for key in 5000.. {
        disk.put(key, 1, &Content::of(key, 3000));
        if volume.lives.pin(segment).is_some() {
            break;
        }
    }
    assert_eq!(disk.stats().volumes[0].faults_damaged, 0);
}

#[test]
fn a_record_is_not_found_where_the_index_knew_of_it_while_its_segment_went() {
    let place = Place::new();
    let disk = place.open();
    let (shared, volume) = (&disk.shared, &disk.shared.volumes[0]);
    disk.put(1, 1, &Content::of(1, 1000));
    let appended = append(&disk, 2);
    let victim = Arc::clone(&appended.life);
    let mut log = volume.log.lock();
    volume.seal_all(&mut log);
    log.sealed
        .iter_mut()
        .for_each(std::collections::VecDeque::clear);
    drop(log);
    disk.settle();

    let reclaim = Reclaim {
        shared,
        volume,
        victim: &victim,
    };
    let footer = volume.footer_of(&victim).unwrap();
    reclaim.run(footer.headers(), &mut Budget::new(shared, volume));
    assert!(enter(&disk, &appended));
    reclaim.leave(Some(&footer));
    assert!(disk.found(1, 1).is_none());
    assert!(disk.found(2, 1).is_none());
    assert_eq!(disk.stats().objects, 0);
}

/// The segment that an object is in now, ended and out of the log's queues.
fn ended(disk: &Disk, key: u64) -> Arc<Life> {
    let volume = &disk.shared.volumes[0];
    let entry = disk.shared.index.find(tag_of(key_of(key))).remove(0);
    let life = disk.shared.life_of(&entry).unwrap();
    let mut log = volume.log.lock();
    volume.seal_all(&mut log);
    log.sealed
        .iter_mut()
        .for_each(|queue| queue.retain(|other| !Arc::ptr_eq(other, &life)));
    drop(log);
    disk.settle();
    life
}

fn reclaim(disk: &Disk, victim: &Arc<Life>) {
    let (shared, volume) = (&disk.shared, &disk.shared.volumes[0]);
    let reclaim = Reclaim {
        shared,
        volume,
        victim,
    };
    let footer = volume.footer_of(victim).unwrap();
    reclaim.run(footer.headers(), &mut Budget::new(shared, volume));
    reclaim.leave(Some(&footer));
}

fn stream_of(disk: &Disk, key: u64) -> Stream {
    let entry = disk.shared.index.find(tag_of(key_of(key))).remove(0);
    disk.shared.life_of(&entry).unwrap().stream
}

/// The first version is in one queue, the second in the other, which is reclaimed sooner.
#[test]
fn what_was_replaced_does_not_come_back_when_what_replaced_it_goes_first() {
    for restarted in [false, true] {
        let place = Place::new();
        let mut disk = place.open();
        disk.put(1, 1, &Content::of(1, 700));
        disk.settle();
        let volume = &disk.shared.volumes[0];
        volume.ghost.remember(tag_of(key_of(1)));
        disk.put(1, 1, &Content::of(2, 700));
        assert_eq!(stream_of(&disk, 1), Stream::Kept);
        disk.put(5, 1, &Content::of(5, 700));
        disk.settle();
        if restarted {
            block_on(disk.close());
            drop(disk);
            disk = place.open();
            assert_eq!(disk.get(1, 1), Some(Content::of(2, 700)));
        }
        let victim = ended(&disk, 1);
        reclaim(&disk, &victim);
        assert!(disk.found(1, 1).is_none(), "it is gone");
        block_on(disk.sync()).unwrap();
        drop(victim);
        drop(disk);

        let disk = place.open();
        assert_eq!(disk.get(1, 1), None, "restarted: {restarted}");
        assert_eq!(disk.get(5, 1), Some(Content::of(5, 700)));
        disk.put(1, 1, &Content::of(3, 700));
        disk.settle();
        drop(disk);
        assert_eq!(place.open().get(1, 1), Some(Content::of(3, 700)));
    }
}

#[test]
fn what_replaces_something_that_stayed_is_not_fresh() {
    let place = Place::new();
    let disk = place.open();
    let volume = &disk.shared.volumes[0];
    volume.ghost.remember(tag_of(key_of(1)));
    disk.put(1, 1, &Content::of(1, 700));
    // The ghost remembers one key in each of its places.
    volume.ghost.remember(tag_of(key_of(1)) ^ 1 << 31);
    assert!(!volume.ghost.remembers(tag_of(key_of(1))));
    disk.put(1, 1, &Content::of(2, 700));
    disk.put(2, 1, &Content::of(2, 700));
    assert_eq!(stream_of(&disk, 1), Stream::Kept);
    assert_eq!(stream_of(&disk, 2), Stream::Fresh);
}
