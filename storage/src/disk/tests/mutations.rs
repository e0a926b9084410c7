//! Volumes whose bytes were changed, also by somebody who puts the checksums right. The first must
//! never be served; neither may stop or break the node.
//!
//! ```text
//! LARDER_MUTATIONS=100000 cargo test -p larder-storage mutations
//! ```

use proptest::prelude::*;

use super::image::{open_image, superblock_of};
use super::*;
use crate::disk::format::{Geometry, HEADER, MARK, Mark, REMOVAL, SEAL, Seal, Superblock};
use crate::disk::recovery::headers_in;

const MUTATIONS: &str = "LARDER_MUTATIONS";
const KEYS: u64 = 30;

/// Random numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        ((self.0 >> 33) as usize) % limit.max(1)
    }
}

fn content(key: u64) -> Content {
    Content::of(key, (key * 613 % 5000) as usize)
}

/// A volume with every kind of record, in full and in open segments, and with removals.
fn volume(place: &Place) -> Vec<u8> {
    let disk = place.open();
    for round in 0..3 {
        for key in 0..KEYS {
            disk.put(key, 1, &content(key));
            if let Some(found) = disk.found(key, 1)
                && key % 4 == round
            {
                disk.accessed(&found);
                let head = block_on(disk.head(&found)).unwrap();
                disk.update_head(&found, &head).unwrap();
            }
        }
        disk.remove(key_of(round));
    }
    block_on(disk.sync()).unwrap();
    disk.settle();
    drop(disk);
    std::fs::read(place.file()).unwrap()
}

/// Where something with a checksum of its own begins, and how long it is.
fn sealed_blocks(image: &[u8], superblock: &Superblock) -> Vec<(usize, usize)> {
    let geometry = &superblock.geometry;
    let mut blocks: Vec<(usize, usize)> = vec![(0, 64), (4096, 64)];
    let removals = Geometry::removals_at() as usize;
    blocks.extend((0..8).map(|line| (removals + line * REMOVAL, REMOVAL)));
    for segment in 0..geometry.count {
        let begin = geometry.offset(segment, 0) as usize;
        let bytes = &image[begin..begin + geometry.segment as usize];
        let Some(mark) = Mark::parse(superblock.nonce, bytes) else {
            continue;
        };
        blocks.push((begin, MARK));
        let headers = headers_in(superblock.nonce, geometry, mark.life, bytes);
        blocks.extend(
            headers
                .iter()
                .map(|header| (begin + header.at as usize, HEADER)),
        );
        let end = geometry.segment as usize - SEAL;
        if let Some(seal) = Seal::parse(superblock.nonce, &bytes[end..]) {
            blocks.push((begin + end, SEAL));
            let copies = 1..=seal.records as usize;
            blocks.extend(copies.map(|back| (begin + end - back * HEADER, HEADER)));
        }
    }
    blocks
}

/// Changes a field or two, and puts the checksum right.
fn forge(image: &mut [u8], (at, len): (usize, usize), nonce: u64, random: &mut Random) {
    let nonce = if len == 64 && at <= 4096 { 0 } else { nonce };
    let block = &mut image[at..at + len];
    for _ in 0..=random.below(2) {
        let field = random.below(len / 4 - 1) * 4;
        let value = [0, 1, 0x7f, 0xff, random.below(256) as u8][random.below(5)];
        let width = [1, 2, 4, 8][random.below(4)].min(len - 4 - field);
        block[field..field + width].fill(value);
    }
    let sum = checksum(nonce, &block[..len - 4]);
    block[len - 4..].copy_from_slice(&sum.to_le_bytes());
}

/// Changes bytes as a failing device might: a bit, a stretch of zeros, or what belongs elsewhere.
fn damage(image: &mut [u8], random: &mut Random) {
    let at = random.below(image.len());
    let len = (1 << random.below(13)).min(image.len() - at);
    match random.below(3) {
        0 => image[at] ^= 1 << random.below(8),
        1 => image[at..at + len].fill(0),
        _ => {
            let from = random.below(image.len() - len) / 64 * 64;
            image.copy_within(from..from + len, at / 64 * 64);
        }
    }
}

/// Everything that a node does with a volume.
fn use_it(disk: &Disk) {
    for key in 0..KEYS {
        for found in disk.find(key_of(key)) {
            disk.accessed(&found);
            let read = block_on(disk.read(&found));
            if let Ok(read) = read {
                // It may have been replaced meanwhile by nobody but a forger.
                disk.update_head(&found, &read.head).unwrap_or_default();
            }
        }
    }
    for key in 100..160 {
        disk.try_put(key, 1, &Content::of(key, 3000))
            .unwrap_or_default();
    }
    disk.remove(key_of(5));
    block_on(disk.close());
}

fn mutations() -> u64 {
    std::env::var(MUTATIONS).map_or(150, |count| count.parse().unwrap())
}

#[test]
fn damage_anywhere_is_never_served() {
    if !bodies_are_in_the_log() {
        return;
    }
    let place = Place::of(320 * 1024, 16 * 1024);
    let image = volume(&place);
    let mut served = 0;
    for seed in 0..mutations() {
        let mut random = Random(seed);
        let mut damaged = image.clone();
        (0..=random.below(4)).for_each(|_| damage(&mut damaged, &mut random));
        let Some(disk) = open_image(&place, damaged) else {
            continue;
        };
        for key in 0..KEYS {
            if let Some(got) = disk.get(key, 1) {
                assert!(got == content(key), "seed {seed}: wrong bytes for {key}");
                served += 1;
            }
        }
        use_it(&disk);
    }
    assert!(served > mutations(), "{served} objects");
}

#[test]
fn a_forged_volume_neither_stops_nor_breaks_the_node() {
    if !bodies_are_in_the_log() {
        return;
    }
    let place = Place::of(320 * 1024, 16 * 1024);
    let image = volume(&place);
    let superblock = superblock_of(&image).unwrap();
    let blocks = sealed_blocks(&image, &superblock);
    assert!(blocks.len() > 60, "{}", blocks.len());
    let mut opened = 0;
    for seed in 0..mutations() {
        let mut random = Random(seed);
        let mut forged = image.clone();
        for _ in 0..=random.below(6) {
            let block = blocks[random.below(blocks.len())];
            forge(&mut forged, block, superblock.nonce, &mut random);
        }
        if let Some(disk) = open_image(&place, forged) {
            use_it(&disk);
            opened += 1;
        }
    }
    assert!(opened > mutations() / 2, "{opened} opened");
}

proptest! {
    #[test]
    fn any_bytes_are_a_volume_or_not_but_nothing_panics(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        magic in 0..5_usize,
    ) {
        let mut bytes = bytes;
        let magic = [&b"LARDERv\n"[..], b"LMRK", b"LSEA", b"LREC", b"LR"][magic];
        let len = magic.len().min(bytes.len());
        bytes[..len].copy_from_slice(&magic[..len]);
        for len in [64, HEADER] {
            if let Some(block) = bytes.get_mut(..len) {
                let sum = checksum(0, &block[..len - 4]);
                block[len - 4..].copy_from_slice(&sum.to_le_bytes());
            }
            let geometry = Geometry::new(1 << 22, 1 << 18).unwrap();
            let (_, _) = (Superblock::parse(&bytes), Mark::parse(0, &bytes));
            let (_, _) = (Seal::parse(0, &bytes), Header::parse(0, &geometry, &bytes));
            if let Some((line, _)) = bytes.split_first_chunk::<REMOVAL>() {
                let _ = Removal::parse(0, line);
            }
            let found = headers_in(0, &geometry, 0, &bytes);
            prop_assert!(found.len() <= bytes.len() / HEADER);
        }
    }
}
