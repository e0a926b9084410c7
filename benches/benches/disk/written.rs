//! What is written for each byte that is stored, once the volume is full.

use std::path::Path;

use bytes::Bytes;
use storage::disk::Engine;

use crate::{HEAD, Volume, get, key, put, runtime, scatter};

const SIZE: u64 = 512 << 20;

pub(crate) fn run(dir: &Path) {
    println!();
    one(dir, "nothing is asked for again", |_| None);
    // As popular contents are: the chance falls with the age.
    one(dir, "every object is asked for now and then", |number| {
        let back = scatter(number) % 16_384;
        number.checked_sub(back * back / 16_384)
    });
}

fn one(dir: &Path, name: &str, asked: impl Fn(u64) -> Option<u64>) {
    let volume = Volume::new(dir, SIZE, Engine::Log);
    let runtime = runtime();
    let longest = Bytes::from(vec![7; 256 * 1024]);
    let (mut stored, mut number) = (0, 0);
    while stored < 4 * SIZE {
        // From 1 to 256 KiB, most of them short.
        let len = 1024 << (scatter(number) % 9);
        put(&volume.disk, number, &longest.slice(..len));
        stored += (len + HEAD) as u64;
        for request in 0..2 {
            let again = asked(number * 2 + request).map(|again| again / 2);
            if let Some(again) = again
                && !volume.disk.find(key(again)).is_empty()
            {
                runtime.block_on(get(&volume.disk, again));
            }
        }
        number += 1;
    }
    let stats = volume.disk.stats();
    let written = stats.volumes[0].bytes_written as f64 / stored as f64;
    let kept = stats.volumes[0].kept;
    println!("write amplification {written:.3}: {name} ({number} objects stored, {kept} moved on)");
}
