use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::*;
use crate::{Fill, Keep, Memory, Settings};

const KEY: Key = Key([1; 16]);
const V: Variant = Variant([0; 16]);

fn flights(followers_max: usize, flights_max: usize) -> Flights<usize> {
    Flights::new(FlightSettings {
        followers_max,
        flights_max,
    })
}

fn memory() -> Arc<Memory<usize>> {
    Memory::new(Settings::new(100 << 20))
}

fn fill(memory: &Arc<Memory<usize>>, keep: Keep) -> Fill<usize> {
    memory.begin(KEY, V, 0, None, keep)
}

#[track_caller]
fn lead(flights: &Flights<usize>) -> Lead<usize> {
    match flights.board(KEY, None) {
        Boarding::Lead(lead) => lead,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn follow(flights: &Flights<usize>) -> Follower<usize> {
    match flights.board(KEY, None) {
        Boarding::Follow(follower) => follower,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn crowded(flights: &Flights<usize>) {
    assert!(matches!(flights.board(KEY, None), Boarding::Crowded));
}

fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

async fn read(mut reader: Reader<usize>) -> usize {
    let mut len = 0;
    while let Some(bytes) = reader.next().await.unwrap() {
        len += bytes.len();
    }
    len
}

#[test]
fn one_leads_and_the_others_follow() {
    let flights = flights(10, 10);
    let lead = lead(&flights);
    let mut followers = [follow(&flights), follow(&flights)];

    assert_eq!(lead.followers(), 2);
    assert_eq!(flights.count(), 1);
    assert!(
        followers
            .iter_mut()
            .all(|follower| now(follower.landing()).is_none())
    );
}

#[test]
fn variants_fly_apart() {
    let flights = flights(10, 10);
    let boarding = |variant: Option<u8>| flights.board(KEY, variant.map(|v| Variant([v; 16])));
    let _leads = [None, Some(1), Some(2)].map(|variant| match boarding(variant) {
        Boarding::Lead(lead) => lead,
        other => panic!("{other:?}"),
    });
    assert!(matches!(boarding(Some(1)), Boarding::Follow(_)));
    assert_eq!(flights.count(), 3);
}

#[tokio::test]
async fn a_leader_that_dies_wakes_every_follower() {
    let flights = flights(1000, 10);
    let lead = lead(&flights);
    let following = (0..1000).map(|_| follow(&flights));
    let waiting: Vec<_> = following
        .map(|mut follower| tokio::spawn(async move { follower.landing().await }))
        .collect();
    tokio::task::yield_now().await;
    drop(lead);

    for follower in waiting {
        assert!(matches!(follower.await.unwrap(), Landing::Failed));
    }
    assert_eq!(flights.count(), 0);
}

#[test]
fn a_landing_without_a_body_ends_the_flight() {
    for landing in [Landing::Refreshed, Landing::NotShareable, Landing::Failed] {
        let flights = flights(10, 10);
        let first = lead(&flights);
        let mut follower = follow(&flights);
        let expected = format!("{landing:?}");
        let _airborne = first.land(landing);

        assert_eq!(flights.count(), 0);
        assert_eq!(format!("{:?}", now(follower.landing()).unwrap()), expected);
        assert!(
            matches!(now(follower.landing()), Some(Landing::Failed)),
            "told once"
        );
        drop(lead(&flights));
    }
}

#[tokio::test]
async fn a_thousand_followers_share_one_fill() {
    let (flights, memory) = (flights(1000, 10), memory());
    let lead = lead(&flights);
    let boarded = (0..500).map(|_| follow(&flights));
    let mut waiting: Vec<_> = boarded.map(spawn_follower).collect();
    tokio::task::yield_now().await;

    let mut fill = fill(&memory, Keep::Store);
    let airborne = lead.land(Landing::Streaming(fill.reader()));
    for part in 0..100 {
        fill.write(Bytes::from(vec![7; 10_000])).await.unwrap();
        waiting.extend((0..5).map(|_| spawn_follower(follow(&flights))));
        assert!(memory.stats().bytes < 11_000 * (part + 1) + 20_000);
        tokio::task::yield_now().await;
    }
    fill.finish().unwrap();
    drop(airborne);
    for follower in waiting {
        assert_eq!(follower.await.unwrap(), 1_000_000);
    }
    assert_eq!(flights.count(), 0);
    assert_eq!(memory.stats().bytes, memory.lookup(KEY)[0].cost());
}

fn spawn_follower(mut follower: Follower<usize>) -> tokio::task::JoinHandle<usize> {
    tokio::spawn(async move {
        match follower.landing().await {
            Landing::Streaming(reader) => read(reader).await,
            other => panic!("{other:?}"),
        }
    })
}

#[test]
fn followers_are_limited_and_leaving_makes_room() {
    let flights = flights(2, 10);
    let _lead = lead(&flights);
    let (one, _other) = (follow(&flights), follow(&flights));
    crowded(&flights);
    drop(one);
    let _third = follow(&flights);
    crowded(&flights);
}

#[test]
fn readers_of_an_airborne_flight_are_limited() {
    let (flights, memory) = (flights(3, 10), memory());
    let fill = fill(&memory, Keep::Store);
    let own = fill.reader();
    let _airborne = lead(&flights).land(Landing::Streaming(fill.reader()));

    let mut late = [follow(&flights), follow(&flights)];
    crowded(&flights);
    drop(now(late[0].landing()));
    drop(own);
    let _another = follow(&flights);
}

#[test]
fn flights_are_limited() {
    let flights = flights(10, 2);
    let board = |number| flights.board(Key([number; 16]), None);
    let (one, _other) = (board(1), board(2));
    assert!(matches!(board(3), Boarding::Crowded));
    assert!(matches!(board(2), Boarding::Follow(_)));
    drop(one);
    assert!(matches!(board(3), Boarding::Lead(_)));
}

#[test]
fn no_followers_are_allowed_if_the_limit_is_none() {
    let flights = flights(0, 1);
    let _lead = lead(&flights);
    crowded(&flights);
}

#[test]
fn the_flight_itself_does_not_hold_up_a_window() {
    let (flights, memory) = (flights(10, 10), memory());
    let mut fill = fill(&memory, Keep::PassOn);
    let mut own = fill.reader();
    let lead = lead(&flights);
    let mut follower = follow(&flights);
    let _airborne = lead.land(Landing::Streaming(fill.reader()));

    // Until the follower has its reader, the beginning is kept for it.
    now(fill.write(Bytes::from_static(b"1"))).unwrap().unwrap();
    now(own.next()).unwrap().unwrap();
    let Some(Landing::Streaming(mut reader)) = now(follower.landing()) else {
        panic!("it is streaming");
    };
    assert_eq!(now(reader.next()).unwrap().unwrap().unwrap(), "1");

    // Then it is not: who comes now goes alone.
    crowded(&flights);
    drop((own, reader));
    assert!(!fill.has_readers());
    assert!(now(fill.write(Bytes::from_static(b"1"))).unwrap().is_err());
}

#[test]
fn a_follower_that_gives_up_does_not_hold_up_a_window() {
    let (flights, memory) = (flights(10, 10), memory());
    let fill = fill(&memory, Keep::PassOn);
    let lead = lead(&flights);
    let follower = follow(&flights);
    let _airborne = lead.land(Landing::Streaming(fill.reader()));

    assert!(fill.has_readers());
    drop(follower);
    assert!(!fill.has_readers());
}

#[test]
fn nobody_boards_a_flight_whose_body_was_cut() {
    let (flights, memory) = (flights(10, 10), memory());
    let fill = fill(&memory, Keep::Store);
    let airborne = lead(&flights).land(Landing::Streaming(fill.reader()));
    drop(fill);
    crowded(&flights);
    drop(airborne);
    drop(lead(&flights));
}

#[tokio::test(start_paused = true)]
async fn a_follower_can_stop_waiting() {
    let flights = flights(10, 10);
    let lead = lead(&flights);
    let mut follower = follow(&flights);
    let second = std::time::Duration::from_secs(1);

    assert!(
        tokio::time::timeout(second, follower.landing())
            .await
            .is_err()
    );
    let _airborne = lead.land(Landing::Refreshed);
    let told = tokio::time::timeout(second, follower.landing()).await;
    assert!(
        matches!(told, Ok(Landing::Refreshed)),
        "waiting again is allowed"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_misses_the_flight_finds_the_object() {
    for _ in 0..200 {
        let (flights, memory) = (Arc::new(flights(100, 10)), memory());
        let fetches = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let requests: Vec<_> = (0..20)
            .map(|_| {
                let (flights, memory) = (Arc::clone(&flights), Arc::clone(&memory));
                let fetches = Arc::clone(&fetches);
                tokio::spawn(async move { request(&flights, &memory, &fetches).await })
            })
            .collect();
        for request in requests {
            assert_eq!(request.await.unwrap(), 300);
        }
        assert_eq!(fetches.load(std::sync::atomic::Ordering::Relaxed), 1);
    }
}

/// A request as the edge makes it; returns the length of the body it got.
async fn request(
    flights: &Flights<usize>,
    memory: &Arc<Memory<usize>>,
    fetches: &std::sync::atomic::AtomicUsize,
) -> u64 {
    let found = || memory.lookup(KEY).first().map(|object| object.body().len());
    if let Some(len) = found() {
        return len;
    }
    let lead = match flights.board(KEY, None) {
        Boarding::Lead(lead) => lead,
        Boarding::Follow(mut follower) => match follower.landing().await {
            Landing::Streaming(reader) => return read(reader).await as u64,
            Landing::Refreshed => return found().unwrap(),
            other => panic!("{other:?}"),
        },
        Boarding::Crowded => panic!("nobody is turned away"),
    };
    if let Some(len) = found() {
        let _airborne = lead.land(Landing::Refreshed);
        return len;
    }
    fetches.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let mut fill = fill(memory, Keep::Store);
    let airborne = lead.land(Landing::Streaming(fill.reader()));
    for _ in 0..3 {
        fill.write(Bytes::from(vec![7; 100])).await.unwrap();
        tokio::task::yield_now().await;
    }
    let object = fill.finish().unwrap();
    drop(airborne);
    object.body().len()
}

#[test]
fn who_comes_after_a_flight_was_dissolved_does_not_follow_it() {
    let flights = flights(10, 10);
    let before = lead(&flights);
    let mut follower = follow(&flights);
    flights.dissolve(KEY);
    assert_eq!(flights.count(), 0);

    let after = lead(&flights);
    drop(before.land(Landing::Refreshed));
    assert!(matches!(now(follower.landing()), Some(Landing::Refreshed)));
    assert_eq!(flights.count(), 1, "the one that landed was not this one");
    drop(follow(&flights));
    drop(after);
    assert_eq!(flights.count(), 0);
}
