//! What the shadows of the tiers take, in a process that has nothing else.

use std::fs;

use larder_storage::curve::{Access, Curve, DiskShape, Name, Seen, Shape};
use larder_storage::disk::Admit;
use larder_storage::{Eviction, Key, Variant};

/// Bytes of this process that are in memory, but for those of files: of the program itself.
fn resident() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").expect("Linux");
    let mut pages = pages.split(' ').skip(1).map(|it| it.parse::<u64>());
    let mut next = || {
        pages
            .next()
            .and_then(Result::ok)
            .expect("a number of pages")
    };
    (next() - next()) * 4096
}

fn key(number: u64) -> Key {
    let half = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let other = (half ^ (half >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mut key = [0; 16];
    key[..8].copy_from_slice(&other.to_le_bytes());
    key[8..].copy_from_slice(&half.to_le_bytes());
    Key(key)
}

#[test]
fn they_take_less_than_four_mebibytes_whatever_comes() {
    let before = resident();
    let mut curve = Curve::new(Shape {
        memory: 1 << 30,
        object_max: 64 << 20,
        eviction: Eviction::SampledGdsf,
        disk: Some(DiskShape {
            bytes: 64 << 30,
            object_max: 4 << 30,
            bytes_per_trace: 16 * 1024,
            admit: Admit::Auto,
            fresh_percent: 5,
            kept_percent: 20,
        }),
    });
    let mut most = 0;
    for number in 0..4_000_000_u64 {
        // Half of them come again.
        let number = if number % 2 == 0 {
            number
        } else {
            number % 200_000
        };
        let bytes = 500 + number % 50_000;
        let access = Access {
            name: Name::of(key(number), Variant([0; 16])),
            bytes,
            cost: bytes + 600,
            now: 0,
            until: u32::MAX,
            seen: Seen::Fetched,
            times: 1,
        };
        if curve.sampler().takes(access.name, access.cost) {
            curve.record(&access);
        }
        if number % 10_000 == 0 {
            most = most.max(resident());
        }
    }
    assert!(curve.entries() > 10_000, "it is as full as it gets");
    let took = most.saturating_sub(before);
    assert!(took < 4 << 20, "{took} bytes");
}
