//! A segment that is reclaimed between a record's last byte and the index's knowledge of it.

use super::*;
use crate::disk::format::{Name, Stream, Sums};
use crate::disk::keep::{Budget, Reclaim};
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
        shared.index.put(entry, |_| Some(Vec::new()));
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
