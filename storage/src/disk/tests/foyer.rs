//! What foyer does to bodies, and what of it a client may notice: misses, and nothing else.

use std::fs;
use std::os::unix::fs::FileExt;

use super::*;

fn place() -> Place {
    let mut place = Place::new();
    place.settings.volumes[0] = VolumeSettings {
        size: 16 * 1024 * 1024,
        engine: Engine::Foyer,
        ..place.settings.volumes[0].clone()
    };
    place.settings.segment = 8 * SEGMENT;
    place.settings.object_max = u64::MAX;
    place
}

fn bodies(place: &Place) -> PathBuf {
    settings::bodies_dir(&place.file())
}

fn files(place: &Place) -> Vec<PathBuf> {
    let entries = fs::read_dir(bodies(place)).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn content(key: u64) -> Content {
    Content::of(key, 1000 + (key * 7919 % 60_000) as usize)
}

/// How many are found; what is found is right.
fn check(disk: &Disk, keys: Range<u64>) -> usize {
    keys.filter_map(|key| Some((key, disk.get(key, 1)?)))
        .map(|(key, got)| assert!(got == content(key), "wrong bytes for {key}"))
        .count()
}

#[test]
fn what_foyer_evicts_is_a_miss_and_the_volume_never_grows() {
    let place = place();
    let disk = place.open();
    for key in 0..1500 {
        disk.put(key, 1, &content(key));
    }
    disk.settle();
    let found = check(&disk, 0..1500);
    assert!((100..600).contains(&found), "{found}");
    assert!(check(&disk, 1400..1500) > 90, "the latest are there");
    // What was not there is not looked for again.
    assert_eq!(disk.stats().objects, found as u64);
    let stats = disk.stats().volumes.remove(0);
    assert_eq!(stats.faults_read, 0, "that is no fault");
    // Each of them was missed once: here, or when it was to be read back.
    assert!(stats.bodies_forgotten > 0);
    assert!(stats.bodies_forgotten + stats.bodies_lost + found as u64 >= 1500 - stats.evicted);

    let lengths = files(&place).into_iter().chain([place.file()]);
    let bytes: u64 = lengths.map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(bytes <= place.settings.volumes[0].size, "{bytes}");
}

#[test]
fn a_flipped_bit_in_a_file_of_foyers_is_never_served() {
    let place = place();
    let disk = place.open();
    (0..200).for_each(|key| disk.put(key, 1, &content(key)));
    block_on(disk.close());
    drop(disk);
    for path in files(&place) {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .unwrap();
        for at in (0..file.metadata().unwrap().len()).step_by(20_011) {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 4], at).unwrap();
        }
    }
    let disk = place.open();
    let found = check(&disk, 0..200);
    assert!(found < 200, "{found}");
    (300..320).for_each(|key| disk.put(key, 1, &content(key)));
    disk.settle();
    assert_eq!(check(&disk, 300..320), 20);
}

#[test]
fn files_of_foyers_that_are_gone_cost_their_bodies() {
    let place = place();
    let disk = place.open();
    (0..100).for_each(|key| disk.put(key, 1, &content(key)));
    disk.put(500, 1, &Content::of(500, 0));
    block_on(disk.close());
    drop(disk);
    files(&place)
        .iter()
        .for_each(|path| fs::remove_file(path).unwrap());
    let disk = place.open();
    assert_eq!(check(&disk, 0..100), 0);
    assert_eq!(
        disk.get(500, 1),
        Some(Content::of(500, 0)),
        "that one has no body"
    );
}

#[test]
fn removed_bodies_do_not_come_back_though_foyer_has_them() {
    let place = place();
    for stop in [Phase::Closing, Phase::Abandoned, Phase::Closing] {
        let disk = place.open();
        (0..100).for_each(|key| disk.put(key, 1, &content(key)));
        disk.settle();
        // Few enough that they do not become one of everything.
        let removed: u64 = (0..10).map(|key| disk.remove(key_of(key)).objects).sum();
        assert_eq!((removed, check(&disk, 0..10)), (10, 0));
        block_on(disk.sync()).unwrap();
        if stop == Phase::Closing {
            block_on(disk.close());
        }
        drop(disk);
        let disk = place.open();
        assert_eq!(check(&disk, 0..10), 0, "{stop:?}");
        assert_eq!(check(&disk, 10..100), 90, "{stop:?}");
        block_on(disk.close());
    }
}

#[test]
fn a_body_that_is_too_long_for_foyer_is_not_stored() {
    let place = place();
    let disk = place.open();
    let longest = disk.shared.volumes[0].bodies.as_ref().unwrap().longest() as usize;
    disk.put(1, 1, &Content::of(1, longest));
    disk.settle();
    assert_eq!(disk.get(1, 1), Some(Content::of(1, longest)));
    let refused = disk.try_put(2, 1, &Content::of(2, longest + 1));
    assert_eq!(refused, Err(Refused::TooLong));
}

#[test]
fn another_engine_on_the_same_path_begins_anew_and_leaves_no_files() {
    let mut place = place();
    let disk = place.open();
    (0..20).for_each(|key| disk.put(key, 1, &content(key)));
    block_on(disk.close());
    drop(disk);
    place.settings.volumes[0].engine = Engine::Log;
    let disk = place.open();
    assert_eq!(disk.stats().objects, 0);
    assert!(!bodies(&place).exists());
    disk.put(1, 1, &content(1));
    assert_eq!(disk.get(1, 1), Some(content(1)));
}
