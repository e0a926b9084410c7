//! Bodies that memory has no place for, and readers that are behind what it keeps of them.

use super::*;
use crate::{Cut, Reader};

const LENGTH: usize = 5_000_000;

/// Begins to receive a body that goes to the disk alone.
fn begin(tiers: &Tiers<usize>, length: Option<u64>) -> Fill<usize> {
    let claim = tiers.memory.claim(KEY);
    tiers.begin(claim, V, 1, length, Destination::Disk)
}

async fn write(fill: &mut Fill<usize>, bytes: &[u8]) {
    for piece in bytes.chunks(30_000) {
        fill.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
}

/// Reads up to `until`, and no further.
async fn read_to(reader: &mut Reader<usize>, read: &mut Vec<u8>, until: usize) {
    while read.len() < until {
        read.extend_from_slice(&reader.next().await.unwrap().expect("more"));
    }
}

async fn rest(reader: &mut Reader<usize>) -> Result<Vec<u8>, Cut> {
    let mut rest = Vec::new();
    while let Some(bytes) = reader.next().await? {
        rest.extend_from_slice(&bytes);
    }
    Ok(rest)
}

#[tokio::test]
async fn a_late_reader_gets_what_has_arrived_and_what_follows() {
    let place = Place::new();
    let tiers = place.open();
    let content = body(LENGTH, 3);
    let before = tiers.memory.stats().bytes;
    for length in [Some(LENGTH as u64), None] {
        let mut fill = begin(&tiers, length);
        let mut early = fill.reader();
        for (number, part) in content.chunks(1_111_111).enumerate() {
            write(&mut fill, part).await;
            // Memory has the last bytes of it, if that.
            assert!(tiers.memory.stats().bytes <= before + 200_000);
            let arrived = (LENGTH - 1).min((number + 1) * 1_111_111);
            for mut late in [fill.reader(), fill.reader()] {
                let mut read = Vec::new();
                // The last byte is held back until the body is stored.
                let until = arrived - 70_000;
                read_to(&mut late, &mut read, until).await;
                assert!(content.starts_with(&read));
            }
        }
        let mut late = fill.reader();
        let mut behind = fill.reader();
        behind.skip_to(2_000_000);
        fill.finish();
        for reader in [&mut early, &mut late] {
            assert!(rest(reader).await.unwrap() == content);
        }
        assert!(rest(&mut behind).await.unwrap() == content[2_000_000..]);
        let stored = tiers.find(V).await.unwrap();
        assert!(read(&stored, 0..LENGTH as u64).await == content);
        tiers.remove(KEY);
    }
}

#[tokio::test]
async fn no_reader_is_waited_for_longer_than_a_moment() {
    let place = Place::new();
    let tiers = place.open();
    let content = body(LENGTH, 4);
    let mut fill = begin(&tiers, Some(LENGTH as u64));
    let mut idle = fill.reader();
    // Nothing else runs here: who waited for the reader to the end would wait for ever.
    write(&mut fill, &content).await;
    fill.finish();
    assert!(rest(&mut idle).await.unwrap() == content);
}

#[tokio::test]
async fn a_busy_disk_is_waited_for_where_nobody_else_has_the_body() {
    let place = Place {
        write_buffer: 2 << 20,
        ..Place::new()
    };
    let tiers = place.open();
    let content = body(12 << 20, 5);
    let mut fill = begin(&tiers, Some(content.len() as u64));
    let mut late = fill.reader();
    for piece in content.chunks(4 << 20) {
        fill.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    fill.finish();
    assert!(rest(&mut late).await.unwrap() == content);
    assert_eq!(tiers.disk_objects(), 1);
    assert_eq!(tiers.disk().unwrap().stats().volumes[0].refused_busy, 0);
}

#[tokio::test]
async fn what_is_not_stored_after_all_is_read_to_its_end() {
    type End = fn(&Tiers<usize>, Fill<usize>);
    let ends: [End; 2] = [
        |_, fill| fill.finish_unstored(),
        |tiers, fill| {
            tiers.remove(KEY);
            assert!(fill.finish().is_none());
        },
    ];
    for end in ends {
        let place = Place::new();
        let tiers = place.open();
        let content = body(LENGTH, 6);
        let mut fill = begin(&tiers, Some(LENGTH as u64));
        let mut late = fill.reader();
        write(&mut fill, &content).await;
        end(&tiers, fill);
        assert_eq!(tiers.disk_objects(), 0);
        assert!(rest(&mut late).await.unwrap() == content);
    }
}

#[tokio::test]
async fn a_fill_that_breaks_cuts_those_who_are_behind_as_well() {
    let place = Place::new();
    let tiers = place.open();
    let mut fill = begin(&tiers, Some(LENGTH as u64));
    let mut late = fill.reader();
    write(&mut fill, &body(1_000_000, 7)).await;
    assert!(late.next().await.unwrap().is_some());
    fill.fail(Cut::Origin);
    assert_eq!(rest(&mut late).await, Err(Cut::Origin));
    assert_eq!(tiers.disk_objects(), 0);
}

#[tokio::test]
async fn who_is_behind_a_disk_that_refuses_is_cut_and_who_keeps_up_is_not() {
    let place = Place::new();
    let tiers = place.open();
    // Longer than the disk takes, which shows only now.
    let content = body(17 << 20, 8);
    let mut fill = begin(&tiers, None);
    let (mut behind, mut keeping_up) = (fill.reader(), fill.reader());
    let reading = tokio::spawn(async move { rest(&mut keeping_up).await });
    for piece in content.chunks(30_000) {
        fill.write(Bytes::copy_from_slice(piece)).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert!(!fill.is_kept());
    assert_eq!(fill.reader().next().await, Err(Cut::Lagged), "it is gone");
    assert!(fill.finish().is_none());
    assert!(reading.await.unwrap().unwrap() == content);
    assert!(matches!(
        rest(&mut behind).await,
        Err(Cut::Lagged | Cut::Disk)
    ));
    assert_eq!(tiers.disk_objects(), 0);
}
