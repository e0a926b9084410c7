use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;

use super::image::{self, open_image};
use super::*;

fn flip(place: &Place, byte: u64, bit: u32) {
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(place.file())
        .unwrap();
    let mut value = [0];
    file.read_exact_at(&mut value, byte).unwrap();
    file.write_all_at(&[value[0] ^ 1 << bit], byte).unwrap();
}

fn image_of(place: &Place) -> Vec<u8> {
    std::fs::read(place.file()).unwrap()
}

fn objects() -> BTreeMap<u64, Content> {
    let lengths = [0, 40, 900, 1500, 2048, 2500];
    (1..)
        .zip(lengths)
        .map(|(key, len)| (key, Content::of(key, len)))
        .collect()
}

/// A volume of the smallest kind: segments of 16 KiB, chunks of 1 KiB, blocks of 256 bytes.
fn small() -> Place {
    Place::of(160 * 1024, 16 * 1024)
}

/// What is found is right; returns how many there were.
#[track_caller]
fn check(disk: &Disk, objects: &BTreeMap<u64, Content>) -> usize {
    let mut found = 0;
    for (key, content) in objects {
        if let Some(got) = disk.get(*key, 1) {
            assert!(got == *content, "wrong bytes for {key}");
            found += 1;
        }
    }
    found
}

#[test]
fn a_segment_cut_at_any_byte_loses_what_was_cut_and_nothing_else() {
    let place = small();
    let disk = place.open();
    let objects = objects();
    let mut ends = Vec::new();
    for (key, content) in &objects {
        disk.put(*key, 1, content);
        let found = disk.found(*key, 1).unwrap();
        let extent = found.0.entry;
        let front = front::load_waiting(&found.0.volume, &found.0.life, &extent).unwrap();
        ends.push(front.header.at as u64 + HEADER_AND_FRONT + front.header.len());
    }
    disk.settle();
    let begin = disk.shared.volumes[0]
        .geometry
        .offset(disk.found(1, 1).unwrap().0.life.segment, 0);
    drop(disk);
    let image = image_of(&place);

    let end = *ends.iter().max().unwrap();
    for cut in (0..end).step_by(image::step(1)) {
        let mut cut_image = image.clone();
        let (from, to) = ((begin + cut) as usize, (begin + 16 * 1024) as usize);
        cut_image[from..to].fill(0);
        let disk = open_image(&place, cut_image).unwrap();
        let found = check(&disk, &objects);
        let whole = ends.iter().filter(|end| **end <= cut).count();
        assert!(found >= whole, "cut at {cut}: {found} of at least {whole}");
    }
}

#[test]
fn a_segment_cut_at_any_byte_over_an_older_one_is_not_taken_for_that() {
    // What was cut off is not empty: it is what an earlier use of the segment left there.
    let place = small();
    let disk = place.open();
    let old: BTreeMap<u64, Content> = (100..170).map(|key| (key, Content::of(key, 900))).collect();
    old.iter()
        .for_each(|(key, content)| disk.put(*key, 1, content));
    disk.settle();
    let before = image_of(&place);
    let new: BTreeMap<u64, Content> = (200..270).map(|key| (key, Content::of(key, 700))).collect();
    for (key, content) in &new {
        disk.put(*key, 1, content);
    }
    disk.settle();
    let at = disk.found(269, 1).unwrap().0.life.segment;
    let begin = disk.shared.volumes[0].geometry.offset(at, 0) as usize;
    drop(disk);
    let after = image_of(&place);

    for cut in (begin..begin + 16 * 1024).step_by(image::step(7)) {
        let mut torn = after.clone();
        torn[cut..begin + 16 * 1024].copy_from_slice(&before[cut..begin + 16 * 1024]);
        let disk = open_image(&place, torn).unwrap();
        check(&disk, &old);
        check(&disk, &new);
    }
}

/// Records are counted as whole a little late, so that padding needs no thought.
const HEADER_AND_FRONT: u64 = 64;

#[test]
fn a_torn_record_is_never_taken_for_a_whole_one() {
    // The write of the last record got as far as any byte; behind it stands what was there before.
    let place = small();
    let disk = place.open();
    disk.put(1, 1, &Content::of(1, 700));
    disk.settle();
    let found = disk.found(1, 1).unwrap();
    let at = found.0.entry.place().at();
    let begin = disk.shared.volumes[0]
        .geometry
        .offset(found.0.life.segment, at) as usize;
    drop(found);
    drop(disk);
    let whole = image_of(&place);
    for cut in (0..1000).step_by(image::step(1)) {
        let mut torn = whole.clone();
        torn[begin + cut..begin + 1100].fill(0xa5);
        let disk = open_image(&place, torn).unwrap();
        if let Some(content) = disk.get(1, 1) {
            assert!(content == Content::of(1, 700));
            assert!(cut > 128 + 700 || !bodies_are_in_the_log(), "cut at {cut}");
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_is_never_served() {
    let place = small();
    let disk = place.open();
    let objects = objects();
    objects
        .iter()
        .for_each(|(key, content)| disk.put(*key, 1, content));
    disk.remove(key_of(3));
    block_on(disk.sync()).unwrap();
    block_on(disk.close());
    drop(disk);
    let image = image_of(&place);

    let mut whole = 0;
    let mut starts = 0;
    for byte in (0..image.len() as u64)
        .filter(|byte| image[*byte as usize] != 0)
        .step_by(image::step(3))
    {
        let mut flipped = image.clone();
        flipped[byte as usize] ^= 1 << (byte % 8);
        let disk = open_image(&place, flipped).unwrap();
        whole += check(&disk, &objects);
        assert_eq!(
            disk.get(3, 1),
            None,
            "a removed object came back: byte {byte}"
        );
        starts += 1;
    }
    assert!(starts > 5);
    assert!(whole >= starts * 3, "{whole} objects in {starts} starts");
}

#[test]
fn a_flipped_bit_under_a_running_node_is_a_miss_and_then_gone() {
    let place = Place::new();
    let disk = place.open();
    for (key, len) in [(1, 2000), (2, 40_000)] {
        disk.put(key, 1, &Content::of(key, len));
    }
    disk.settle();
    for (key, end) in [(1, 1), (2, 35_000)] {
        let found = disk.found(key, 1).unwrap();
        block_on(disk.head(&found)).unwrap();
        let (segment, at) = match &found.0.loaded().unwrap().body {
            Body::Read(_) => (found.0.life.segment, found.0.entry.place().at() + 500),
            Body::Chunks(chunks) => {
                let chunk = &chunks[end / 4096];
                (chunk.life.segment, chunk.at + 10)
            }
            // Those files are damaged by a test of their own.
            Body::Elsewhere { .. } => return,
        };
        drop(found);
        flip(
            &place,
            disk.shared.volumes[0].geometry.offset(segment, at),
            3,
        );
        assert_eq!(disk.try_get(key, 1), Some(Err(DiskError::Damaged)));
        assert!(disk.found(key, 1).is_none(), "dropped");
    }
    assert_eq!(disk.stats().volumes[0].faults_damaged, 2);
}

#[test]
fn records_that_were_written_while_two_segments_were_open_keep_their_order() {
    let place = Place::new();
    let disk = place.open();
    // Key 1 is kept, and replaced in the fresh segment while the kept one is still open.
    let tag = tag_of(key_of(1));
    disk.put(1, 1, &Content::of(1, 100));
    disk.shared.volumes[0].ghost.remember(tag);
    for round in 2..30 {
        if round % 2 == 0 {
            disk.shared.volumes[0].ghost.remember(tag);
        } else {
            disk.shared.volumes[0].ghost.remember(tag ^ 1);
        }
        disk.put(1, 1, &Content::of(round, 100));
    }
    disk.settle();
    drop(disk);
    for _ in 0..3 {
        assert_eq!(place.open().get(1, 1), Some(Content::of(29, 100)));
    }
}

#[test]
fn a_volume_file_that_was_cut_short_is_made_whole() {
    let place = Place::new();
    let disk = place.open();
    let size = place.file_len();
    (0..100).for_each(|key| disk.put(key, 1, &Content::of(key, 4000)));
    block_on(disk.close());
    drop(disk);
    let file = std::fs::File::options()
        .write(true)
        .open(place.file())
        .unwrap();
    file.set_len(size / 10).unwrap();

    let disk = place.open();
    assert_eq!(std::fs::metadata(place.file()).unwrap().len(), size);
    let found = (0..100)
        .filter(|key| disk.get(*key, 1) == Some(Content::of(*key, 4000)))
        .count();
    assert!((10..=100).contains(&found), "{found}");
    assert!(found < 100 || !bodies_are_in_the_log(), "{found}");
    (200..300).for_each(|key| disk.put(key, 1, &Content::of(key, 4000)));
}

#[test]
fn garbage_in_every_segment_is_no_object() {
    let place = Place::new();
    block_on(place.open().close());
    let mut image = image_of(&place);
    let noise = Content::of(7, image.len()).body;
    image[8192..].copy_from_slice(&noise[8192..]);
    std::fs::write(place.file(), &image).unwrap();
    let disk = place.open();
    assert_eq!(disk.stats().objects, 0);
    disk.put(1, 1, &Content::of(1, 100));
    assert_eq!(disk.get(1, 1), Some(Content::of(1, 100)));
}
