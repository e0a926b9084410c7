use std::pin::pin;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;

use super::*;
use crate::{Key, Settings};

const KEY: Key = Key([1; 16]);
const V: Variant = Variant([0; 16]);
const MIB: usize = 1024 * 1024;
const KIB: usize = 1024;

fn settings(capacity: usize) -> Settings {
    Settings {
        object_max: u64::MAX,
        in_flight_percent: 100,
        window: 64 * KIB,
        ..Settings::new(capacity)
    }
}

fn fill(memory: &Arc<Memory<usize>>, length: Option<u64>) -> Fill<usize> {
    memory.begin(KEY, V, 0, length, Keep::Store)
}

/// What a future gives without waiting.
fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

fn write(fill: &mut Fill<usize>, len: usize) {
    now(fill.write(Bytes::from(vec![7; len]))).unwrap().unwrap();
}

/// All that can be read now.
fn drain(reader: &mut Reader<usize>) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(Ok(Some(bytes))) = now(reader.next()) {
        all.extend_from_slice(&bytes);
    }
    all
}

fn cut(reader: &mut Reader<usize>) -> Cut {
    now(reader.next()).unwrap().unwrap_err()
}

#[test]
fn a_reader_gets_what_is_written_as_it_is_written() {
    let memory = Memory::new(settings(MIB));
    let mut fill = fill(&memory, None);
    let (mut early, mut idle) = (fill.reader(), fill.reader());

    assert!(now(early.next()).is_none());
    now(fill.write(Bytes::from_static(b"hello ")))
        .unwrap()
        .unwrap();
    assert_eq!(drain(&mut early), b"hello ");
    now(fill.write(Bytes::from_static(b"world")))
        .unwrap()
        .unwrap();
    let mut late = fill.reader();
    assert_eq!(early.complete_len(), None);
    let object = fill.finish().unwrap();

    assert_eq!(drain(&mut early), b"world");
    assert_eq!(drain(&mut late), b"hello world");
    assert_eq!(drain(&mut idle), b"hello world");
    assert_eq!(drain(&mut idle.clone()), b"hello world");
    assert_eq!(now(early.next()), Some(Ok(None)), "the end stays the end");
    assert_eq!(now(early.next()), Some(Ok(None)));
    assert_eq!(late.complete_len(), Some(11));
    assert_eq!(object.body().contiguous().unwrap(), "hello world");
}

#[test]
fn who_has_the_last_announced_byte_finds_the_object_stored() {
    for keep in [Keep::Store, Keep::PassOn] {
        let memory = Memory::new(settings(MIB));
        let mut fill = memory.begin(KEY, V, 0, Some(11), keep);
        let mut reader = fill.reader();
        now(fill.write(Bytes::from_static(b"hello ")))
            .unwrap()
            .unwrap();
        assert_eq!(drain(&mut reader), b"hello ");
        now(fill.write(Bytes::from_static(b"world")))
            .unwrap()
            .unwrap();
        assert!(now(reader.next()).is_none(), "not before it is stored");
        fill.finish();
        assert_eq!(drain(&mut reader), b"world");
        assert_eq!(now(reader.next()), Some(Ok(None)));
    }
}

#[test]
fn who_skips_gets_what_follows_and_the_others_everything() {
    for keep in [Keep::Store, Keep::PassOn] {
        let memory = Memory::new(settings(MIB));
        let mut fill = memory.begin(KEY, V, 0, None, keep);
        let (mut all, mut ahead, mut within) = (fill.reader(), fill.reader(), fill.reader());
        ahead.skip_to(8);
        now(fill.write(Bytes::from_static(b"hello ")))
            .unwrap()
            .unwrap();
        within.skip_to(4);
        assert!(now(ahead.next()).is_none());
        now(fill.write(Bytes::from_static(b"world")))
            .unwrap()
            .unwrap();
        assert_eq!(fill.reader().arrived(), 11);
        fill.finish();
        assert_eq!(drain(&mut all), b"hello world");
        assert_eq!(drain(&mut ahead), b"rld");
        assert_eq!(drain(&mut within), b"o world");
        all.skip_to(99);
        assert_eq!(now(all.next()), Some(Ok(None)));
    }
    // The only reader of a window: nothing that it still wants may go.
    let memory = Memory::new(settings(MIB));
    let mut fill = memory.begin(KEY, V, 0, None, Keep::PassOn);
    let mut only = fill.reader();
    write(&mut fill, 1000);
    only.skip_to(400);
    assert_eq!(drain(&mut only).len(), 600);
}

#[test]
fn an_empty_body_is_a_body() {
    let memory = Memory::new(settings(MIB));
    let fill = fill(&memory, Some(0));
    let mut reader = fill.reader();
    assert!(fill.finish().unwrap().body().is_empty());
    assert_eq!(now(reader.next()), Some(Ok(None)));
}

#[tokio::test]
async fn the_object_is_in_the_index_before_any_reader_sees_the_end() {
    let memory = Memory::new(settings(MIB));
    let mut fill = fill(&memory, None);
    let mut reader = fill.reader();
    let reading = tokio::spawn({
        let memory = Arc::clone(&memory);
        async move {
            while reader.next().await.unwrap().is_some() {}
            memory.lookup(KEY).len()
        }
    });
    for _ in 0..10 {
        fill.write(Bytes::from_static(b"1")).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert!(memory.lookup(KEY).is_empty());
    fill.finish().unwrap();
    assert_eq!(reading.await.unwrap(), 1);
}

#[test]
fn a_fill_that_is_given_up_cuts_its_readers_and_stores_nothing() {
    type End = fn(Fill<usize>);
    let ends: [(End, Cut); 2] = [
        (drop, Cut::GivenUp),
        (|fill| fill.fail(Cut::Origin), Cut::Origin),
    ];
    for (end, expected) in ends {
        let memory = Memory::new(settings(MIB));
        let mut fill = fill(&memory, None);
        let (mut waiting, mut behind) = (fill.reader(), fill.reader());
        write(&mut fill, 100);
        drain(&mut waiting);
        end(fill);

        assert_eq!(cut(&mut waiting), expected);
        assert_eq!(cut(&mut behind), expected, "a part must not look whole");
        assert!(memory.lookup(KEY).is_empty());
        assert_eq!(memory.stats().bytes, 0);
        assert_eq!(memory.stats().in_flight_bytes, 0);
    }
}

#[test]
fn a_body_that_is_shorter_than_announced_is_cut() {
    let memory = Memory::new(settings(MIB));
    for keep in [Keep::Store, Keep::PassOn] {
        let mut fill = memory.begin(KEY, V, 0, Some(11), keep);
        let mut reader = fill.reader();
        write(&mut fill, 10);
        assert_eq!(drain(&mut reader).len(), 10);
        assert!(fill.finish().is_none());
        assert_eq!(cut(&mut reader), Cut::Length { announced: 11 });
        assert!(memory.lookup(KEY).is_empty());
    }
}

#[test]
fn a_body_that_is_longer_than_announced_is_cut_before_anyone_sees_it() {
    let memory = Memory::new(settings(MIB));
    let mut fill = fill(&memory, Some(10));
    let mut reader = fill.reader();
    write(&mut fill, 10);
    let more = now(fill.write(Bytes::from_static(b"1"))).unwrap();

    assert_eq!(more, Err(WriteError::TooLong));
    assert!(fill.finish().is_none());
    assert_eq!(cut(&mut reader), Cut::Length { announced: 10 });
}

#[test]
fn a_body_that_arrives_byte_by_byte_costs_little_more() {
    let memory = Memory::new(settings(10 * MIB));
    let mut fill = fill(&memory, None);
    let mut reader = fill.reader();
    let mut read = 0;
    for written in 1..=50_000 {
        write(&mut fill, 1);
        read += if written % 3 == 0 {
            drain(&mut reader).len()
        } else {
            0
        };
        assert!(memory.stats().bytes < written + written / 10 + 8 * KIB);
    }
    let object = fill.finish().unwrap();
    read += drain(&mut reader).len();
    drop(reader);

    assert_eq!(read, 50_000);
    assert_eq!(memory.stats().bytes, 50_000 + memory.object_overhead());
    assert_eq!(object.cost(), memory.stats().bytes);
    assert!(object.body().contiguous().is_some());
}

#[test]
fn a_long_body_is_kept_in_long_pieces() {
    let memory = Memory::new(settings(10 * MIB));
    for len in [1, 1000, 16 * KIB, 40 * KIB, 200 * KIB] {
        let mut fill = fill(&memory, None);
        let mut reader = fill.reader();
        for _ in 0..300 * KIB / len {
            write(&mut fill, len);
        }
        let object = fill.finish().unwrap();
        assert!(object.body().contiguous().is_none());
        assert!(object.body().chunks().count() <= 10, "in writes of {len}");
        assert_eq!(drain(&mut reader).len() as u64, object.body().len());
        drop((reader, object));
        assert_eq!(memory.stats().bytes, memory.remove(KEY).bytes);
    }
}

#[test]
fn a_small_write_does_not_hold_the_network_buffer() {
    let memory = Memory::new(settings(MIB));
    let mut fill = fill(&memory, None);
    let buffer = Bytes::from(vec![7; 64 * KIB]);
    now(fill.write(buffer.slice(..10))).unwrap().unwrap();
    assert!(buffer.try_into_mut().is_ok(), "nobody else holds it");
}

#[test]
fn a_long_body_read_by_a_thousand_is_kept_once() {
    const LEN: usize = 10 * MIB;
    let memory = Memory::new(settings(100 * MIB));
    let mut fill = fill(&memory, Some(LEN as u64));
    let mut readers: Vec<_> = (0..1000).map(|_| fill.reader()).collect();
    let mut held = Vec::new();
    for _ in 0..LEN / (100 * KIB) {
        write(&mut fill, 100 * KIB);
        held.extend(readers.iter_mut().filter_map(|reader| now(reader.next())));
        assert!(memory.stats().bytes < LEN + LEN / 100);
    }
    write(&mut fill, LEN % (100 * KIB));
    let object = fill.finish().unwrap();
    for mut reader in readers {
        while let Some(Ok(Some(bytes))) = now(reader.next()) {
            held.push(Ok(Some(bytes)));
        }
    }
    let read: usize = held.iter().flatten().flatten().map(Bytes::len).sum();
    assert_eq!(read, 1000 * LEN);
    assert_eq!(memory.stats().bytes, object.cost());
    assert!(memory.stats().bytes < LEN + LEN / 100);
}

// === the window ===

/// Bytes written without waiting, in writes of `len`.
fn written_without_waiting(fill: &mut Fill<usize>, len: usize) -> usize {
    let mut written = 0;
    while written < 10 * MIB && now(fill.write(Bytes::from(vec![7; len]))) == Some(Ok(())) {
        written += len;
    }
    written
}

#[test]
fn what_is_too_long_is_passed_on() {
    let memory = Memory::new(Settings {
        object_max: 1000,
        ..settings(MIB)
    });
    assert!(fill(&memory, Some(1000)).is_storing());
    assert!(!fill(&memory, Some(1001)).is_storing());

    let mut fill = fill(&memory, None);
    let mut reader = fill.reader();
    write(&mut fill, 1000);
    assert!(fill.is_storing());
    assert_eq!(memory.stats().in_flight_bytes, 1000);
    write(&mut fill, 1);
    assert!(!fill.is_storing());
    assert_eq!(memory.stats().in_flight_bytes, 0);

    assert_eq!(drain(&mut reader).len(), 1001);
    assert!(fill.finish().is_none());
    assert_eq!(now(reader.next()), Some(Ok(None)));
    assert!(memory.lookup(KEY).is_empty());
    assert_eq!(memory.stats().rejected, 2);
}

#[test]
fn passing_on_is_not_a_rejection() {
    let memory = Memory::new(settings(MIB));
    let mut fill = memory.begin(KEY, V, 0, None, Keep::PassOn);
    let mut reader = fill.reader();
    write(&mut fill, 10);
    assert_eq!(drain(&mut reader).len(), 10);
    assert!(fill.finish().is_none());
    assert_eq!(now(reader.next()), Some(Ok(None)));
    assert_eq!(memory.stats().rejected, 0);
}

#[tokio::test(start_paused = true)]
async fn a_window_bears_with_a_reader_that_stalls_for_so_long() {
    let memory = Memory::new(settings(10 * MIB));
    let mut fill = memory.begin(KEY, V, 0, None, Keep::PassOn);
    let (mut fast, mut stalled) = (fill.reader(), fill.reader());

    assert_eq!(written_without_waiting(&mut fill, 8 * KIB), 64 * KIB);
    assert_eq!(now(fast.next()).unwrap().unwrap().unwrap().len(), 8 * KIB);
    assert_eq!(written_without_waiting(&mut fill, 8 * KIB), 0);

    let mut read = 8 * KIB;
    for _ in 0..1000 {
        read += drain(&mut fast).len();
        fill.write(Bytes::from(vec![7; 8 * KIB])).await.unwrap();
        assert!(memory.stats().bytes < 140 * KIB);
    }
    assert_eq!(read + drain(&mut fast).len(), 64 * KIB + 1000 * 8 * KIB);
    assert_eq!(cut(&mut stalled), Cut::Lagged);
}

#[tokio::test(start_paused = true)]
async fn readers_that_take_turns_are_all_served_to_the_end() {
    let memory = Memory::new(settings(10 * MIB));
    let mut fill = memory.begin(KEY, V, 0, None, Keep::PassOn);
    // The others do not pay for one that stalls.
    let mut stalled = fill.reader();
    let reading: Vec<_> = (0..5_u64)
        .map(|number| (number, fill.reader()))
        .map(|(number, mut reader)| async move {
            let mut read = 0;
            while let Some(bytes) = reader.next().await.unwrap() {
                read += bytes.len();
                let pause = std::time::Duration::from_millis((read as u64 / 8192 + number) % 5);
                tokio::time::sleep(pause).await;
            }
            read
        })
        .map(tokio::spawn)
        .collect();
    for _ in 0..1000 {
        fill.write(Bytes::from(vec![7; 8 * KIB])).await.unwrap();
        assert!(memory.stats().bytes < 140 * KIB);
    }
    fill.finish();
    for read in reading {
        assert_eq!(read.await.unwrap(), 1000 * 8 * KIB);
    }
    assert_eq!(cut(&mut stalled), Cut::Lagged);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_turns_out_too_long_is_still_read_to_its_end_by_who_is_behind() {
    let memory = Memory::new(Settings {
        object_max: MIB as u64,
        ..settings(10 * MIB)
    });
    let mut fill = fill(&memory, None);
    let (mut fast, mut slow) = (fill.reader(), fill.reader());
    while fill.is_storing() {
        assert!(now(fill.write(Bytes::from(vec![7; 8 * KIB]))).is_none_or(|it| it.is_ok()));
        drain(&mut fast);
    }
    let mut read = drain(&mut slow).len();
    write(&mut fill, 8 * KIB);
    read += drain(&mut slow).len();
    assert!(read > MIB);
    assert_eq!(drain(&mut fast).len(), 8 * KIB);
    fill.finish();
    assert_eq!(now(fast.next()), Some(Ok(None)));
    assert_eq!(now(slow.next()), Some(Ok(None)));
}

#[tokio::test]
async fn a_waiting_write_goes_on_when_the_reader_does() {
    let memory = Memory::new(settings(10 * MIB));
    let mut fill = memory.begin(KEY, V, 0, None, Keep::PassOn);
    let mut reader = fill.reader();
    let writing = tokio::spawn(async move {
        for _ in 0..1000 {
            fill.write(Bytes::from(vec![7; 10_000])).await.unwrap();
        }
        fill.finish()
    });
    let mut read = 0;
    while let Some(bytes) = reader.next().await.unwrap() {
        read += bytes.len();
    }
    assert_eq!(read, 10_000_000);
    assert!(writing.await.unwrap().is_none());
    drop(reader);
    assert_eq!(memory.stats().bytes, 0);
}

#[test]
fn a_slow_client_alone_is_never_cut() {
    let memory = Memory::new(Settings {
        object_max: MIB as u64,
        ..settings(10 * MIB)
    });
    let mut fill = fill(&memory, None);
    let mut reader = fill.reader();
    // It has read nothing when the body turns out to be too long.
    assert_eq!(written_without_waiting(&mut fill, 10_000), 1_040_000);
    assert!(!fill.is_storing());

    let mut read = 0;
    for _ in 0..10 {
        read += now(reader.next()).unwrap().unwrap().unwrap().len();
        assert!(now(fill.write(Bytes::from(vec![7; 10_000]))).is_none());
    }
    read += drain(&mut reader).len();
    assert_eq!(read, 1_040_000);
    assert_eq!(written_without_waiting(&mut fill, 10_000), 60_000);
}

#[test]
fn a_window_that_nobody_reads_says_so() {
    let memory = Memory::new(settings(MIB));
    let mut fill = memory.begin(KEY, V, 0, None, Keep::PassOn);
    let reader = fill.reader();
    write(&mut fill, 10);
    assert!(fill.has_readers());
    drop(reader);

    assert!(!fill.has_readers());
    let written = now(fill.write(Bytes::from_static(b"1"))).unwrap();
    assert_eq!(written, Err(WriteError::NoReaders));
}

#[tokio::test]
async fn a_waiting_write_learns_that_the_last_reader_left() {
    let memory = Memory::new(settings(MIB));
    let mut fill = memory.begin(KEY, V, 0, None, Keep::PassOn);
    let reader = fill.reader();
    let writing = tokio::spawn(async move {
        loop {
            if let Err(error) = fill.write(Bytes::from(vec![7; 10_000])).await {
                return error;
            }
        }
    });
    tokio::task::yield_now().await;
    drop(reader);
    assert_eq!(writing.await.unwrap(), WriteError::NoReaders);
    assert_eq!(memory.stats().bytes, 0);
}

#[test]
fn a_fill_that_is_stored_needs_no_reader() {
    let memory = Memory::new(settings(MIB));
    let mut fill = fill(&memory, None);
    write(&mut fill, 100_000);
    assert_eq!(fill.finish().unwrap().body().len(), 100_000);
}

#[test]
fn a_reader_that_comes_too_late_for_the_first_byte_is_told() {
    let memory = Memory::new(settings(MIB));
    let mut fill = memory.begin(KEY, V, 0, None, Keep::PassOn);
    let mut reader = fill.reader();
    write(&mut fill, 10);
    drain(&mut reader);
    write(&mut fill, 10);

    assert_eq!(cut(&mut fill.reader()), Cut::Lagged);
    assert_eq!(cut(&mut reader.clone()), Cut::Lagged);
    assert_eq!(drain(&mut reader).len(), 10);
    // The refused are not waited for.
    assert_eq!(written_without_waiting(&mut fill, 8 * KIB), 64 * KIB);
}

#[test]
fn a_window_of_single_bytes_is_as_small() {
    let memory = Memory::new(settings(MIB));
    let mut fill = memory.begin(KEY, V, 0, None, Keep::PassOn);
    let mut reader = fill.reader();
    assert_eq!(written_without_waiting(&mut fill, 1), 64 * KIB);
    assert!(memory.stats().bytes < 80 * KIB);
    assert_eq!(drain(&mut reader).len(), 64 * KIB);
}

// === the budget ===

#[tokio::test(start_paused = true)]
async fn a_full_budget_passes_one_piece_at_a_time() {
    let memory = Memory::new(settings(100 * KIB));
    let held = Bytes::from(vec![7; 98 * KIB]);
    let _held = memory.insert_ready(Key([2; 16]), V, 0, held).unwrap();

    let mut fill = fill(&memory, None);
    let (mut fast, mut slow) = (fill.reader(), fill.reader());
    for _ in 0..100 {
        fill.write(Bytes::from(vec![7; 8 * KIB])).await.unwrap();
        assert_eq!(drain(&mut fast).len(), 8 * KIB);
        assert!(memory.stats().bytes <= 100 * KIB);
    }
    assert!(!fill.is_storing());
    assert_eq!(cut(&mut slow), Cut::Lagged);
    assert_eq!(memory.stats().rejected, 1);
}

#[test]
fn a_growing_fill_evicts() {
    let memory = Memory::new(settings(100 * KIB));
    let old = Bytes::from(vec![7; 50 * KIB]);
    drop(memory.insert_ready(Key([2; 16]), V, 0, old).unwrap());

    let mut fill = fill(&memory, None);
    write(&mut fill, 40 * KIB);
    assert_eq!(memory.stats().objects, 1);
    write(&mut fill, 40 * KIB);
    assert_eq!(memory.stats().objects, 0);
    assert!(fill.finish().is_some());
}

#[test]
fn unfinished_fills_cannot_push_everything_out() {
    let memory = Memory::new(Settings {
        in_flight_percent: 50,
        ..settings(100 * KIB)
    });
    let old = Bytes::from(vec![7; 30 * KIB]);
    drop(memory.insert_ready(Key([2; 16]), V, 0, old).unwrap());

    let mut fills: Vec<_> = (0..10).map(|_| fill(&memory, None)).collect();
    let readers: Vec<_> = fills.iter().map(Fill::reader).collect();
    fills.iter_mut().for_each(|fill| write(fill, 10 * KIB));

    let storing = fills.iter().filter(|fill| fill.is_storing()).count();
    assert_eq!(storing, 5);
    assert_eq!(memory.stats().in_flight_bytes, 50 * KIB);
    drop((fills, readers));
    assert_eq!(memory.stats().in_flight_bytes, 0);
}

#[test]
fn a_finished_body_is_in_one_piece_if_it_is_short() {
    let memory = Memory::new(settings(100 * MIB));
    for (len, contiguous) in [
        (CONTIGUOUS_BELOW - 1, true),
        (CONTIGUOUS_BELOW, false),
        (MIB, false),
    ] {
        let mut fill = fill(&memory, None);
        let mut reader = fill.reader();
        write(&mut fill, len);
        now(reader.next()).unwrap().unwrap().unwrap();
        let object = fill.finish().unwrap();

        assert_eq!(object.body().chunks().count() == 1, contiguous);
        assert_eq!(drain(&mut reader).len(), len - PIECE_MAX);
        assert_eq!(memory.stats().bytes, object.cost());
        memory.remove(KEY);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_fills_and_readers_at_once_stay_within_the_budget() {
    const CAPACITY: usize = 500 * KIB;
    let memory = Memory::new(Settings {
        in_flight_percent: 60,
        ..settings(CAPACITY)
    });
    let mut tasks = Vec::new();
    for number in 0..200_u8 {
        let mut fill = memory.begin(Key([number; 16]), V, 100, None, Keep::Store);
        for _ in 0..5 {
            let (mut reader, memory) = (fill.reader(), Arc::clone(&memory));
            tasks.push(tokio::spawn(async move {
                let mut at = 0;
                while let Ok(Some(bytes)) = reader.next().await {
                    assert!(bytes.iter().all(|byte| *byte == number));
                    assert!(memory.stats().bytes <= CAPACITY);
                    at += bytes.len();
                }
                assert!(at <= 100 * 700);
            }));
        }
        tasks.push(tokio::spawn(async move {
            for _ in 0..100 {
                let data = Bytes::from(vec![number; 700]);
                if fill.write(data).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
            if let Some(object) = fill.finish() {
                assert_eq!(object.body().len(), 100 * 700);
                assert!(
                    object
                        .body()
                        .chunks()
                        .all(|bytes| bytes.iter().all(|b| *b == number))
                );
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    for number in 0..200_u8 {
        memory.remove(Key([number; 16]));
    }
    let stats = memory.stats();
    assert_eq!(
        (stats.objects, stats.bytes, stats.in_flight_bytes),
        (0, 0, 0)
    );
}

// === any order of events ===

#[derive(Clone, Debug)]
enum Move {
    Write { len: usize },
    Read { reader: usize },
    Join,
    Leave { reader: usize },
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        4 => (0..1500_usize).prop_map(|len| Move::Write { len }),
        2 => (0..5_usize).prop_map(|len| Move::Write { len }),
        6 => (0..8_usize).prop_map(|reader| Move::Read { reader }),
        1 => Just(Move::Join),
        1 => (0..8_usize).prop_map(|reader| Move::Leave { reader }),
    ];
    prop::collection::vec(one, 1..300)
}

/// A body in which every byte tells where it belongs.
fn bytes_at(start: usize, len: usize) -> Bytes {
    let byte = |at| u8::try_from(at % 251).unwrap();
    (start..start + len).map(byte).collect::<Vec<u8>>().into()
}

/// A reader, and how much it has read.
type Reading = (Reader<usize>, usize);

/// Reads once, unless the reader was left behind.
fn read_once((reader, at): &mut Reading, written: usize) {
    match now(reader.next()) {
        Some(Ok(Some(bytes))) => {
            assert_eq!(bytes, bytes_at(*at, bytes.len()));
            *at += bytes.len();
        }
        Some(Err(cut)) => assert_eq!(cut, Cut::Lagged),
        Some(Ok(None)) | None => assert_eq!(*at, written),
    }
}

proptest! {
    #[test]
    fn every_reader_gets_the_bytes_in_order_or_is_left_behind(moves in moves(), store in any::<bool>()) {
        const WINDOW: usize = 2000;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _entered = runtime.enter();
        let memory = Memory::new(Settings { window: WINDOW, object_max: 9000, ..settings(MIB) });
        let keep = if store { Keep::Store } else { Keep::PassOn };
        let mut fill = memory.begin(KEY, V, 0, None, keep);
        let mut readers: Vec<Reading> = vec![(fill.reader(), 0)];
        let mut written = 0;

        for step in moves {
            match step {
                Move::Write { len } => match now(fill.write(bytes_at(written, len))) {
                    Some(Ok(())) => written += len,
                    Some(Err(error)) => {
                        prop_assert_eq!(error, WriteError::NoReaders);
                        prop_assert!(!fill.has_readers());
                    }
                    None => prop_assert!(fill.has_readers()),
                },
                Move::Read { reader } => {
                    if let Some(reading) = readers.get_mut(reader) {
                        read_once(reading, written);
                    }
                }
                Move::Join => readers.push((fill.reader(), 0)),
                Move::Leave { reader } if reader < readers.len() => drop(readers.remove(reader)),
                Move::Leave { .. } => {}
            }
            let kept = if fill.is_storing() { 9000 } else { 9000_usize.max(2 * WINDOW + 1500) };
            prop_assert!(memory.stats().bytes <= kept + 40 * PIECE_OVERHEAD + 2000);
        }
        let stored = fill.finish();
        for (mut reader, at) in readers {
            let rest = drain(&mut reader);
            prop_assert_eq!(&rest, &bytes_at(at, rest.len()));
            match now(reader.next()) {
                Some(Ok(None)) => prop_assert_eq!(at + rest.len(), written),
                other => {
                    prop_assert_eq!(other, Some(Err(Cut::Lagged)));
                    prop_assert!(stored.is_none());
                }
            }
        }
        let body = stored.map(|object| object.body().chunks().collect::<Vec<_>>().concat());
        prop_assert!(body.is_none_or(|body| body == bytes_at(0, written)));
        memory.remove(KEY);
        prop_assert_eq!(memory.stats().bytes, 0);
    }
}
