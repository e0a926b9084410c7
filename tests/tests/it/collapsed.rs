//! One fill at a time: who waits, what the others see, and what a bad client can do to it.

use std::time::Duration;

use larder_tests::{Client, End, Gate, Node, Origin, Reply, Response, eventually, settled};
use tokio::task::JoinSet;

use crate::{A_WHILE, SOON, seconds};

const CROWD: usize = 50;

/// Asks for `target` many times at once.
fn crowd(node: &Node, target: &'static str, count: usize) -> JoinSet<Response> {
    let address = node.address();
    (0..count)
        .map(|_| async move { Client::connect(address).await.get(target).await })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_on_a_cold_key_costs_one_request() {
    let gate = Gate::closed();
    let answer = gate.clone();
    let origin = Origin::start(move |_| Reply::fresh(60, "x").after(&answer)).await;
    let node = Node::before(&origin.url()).await;

    let crowd = crowd(&node, "/a", CROWD);
    eventually(SOON, || origin.count("/a") == 1).await;
    settled(A_WHILE, || origin.count("/a") == 1).await;
    gate.open();
    let answers = crowd.join_all().await;
    assert!(
        answers
            .iter()
            .all(|answer| (answer.status, answer.end) == (200, End::Complete))
    );
    let collapsed = answers
        .iter()
        .filter(|a| a.cache_parameter("collapsed").is_some())
        .count();
    assert!(collapsed > 0, "{}", answers[1].cache_status());
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test]
async fn followers_read_what_has_come_while_the_rest_is_on_its_way() {
    let gate = Gate::closed();
    let rest = gate.clone();
    let origin = Origin::start(move |_| Reply::fresh(60, "first").wait(&rest).then("second")).await;
    let node = Node::before(&origin.url()).await;

    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = node.client().await;
        client.ask("GET", "/a", &[]).await;
        assert_eq!(client.answer_head().await.unwrap().status, 200);
        assert_eq!(client.at_least(5).await, b"first");
        clients.push(client);
    }
    gate.open();
    for client in &mut clients {
        assert_eq!(client.at_least(6).await, b"second");
    }
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test]
async fn a_crowd_on_a_stale_key_costs_one_validation() {
    let gate = Gate::closed();
    let answer = gate.clone();
    let origin = Origin::start(move |seen| {
        if seen.is_conditional() {
            Reply::status(304)
                .with("Cache-Control", "max-age=60")
                .after(&answer)
        } else {
            Reply::fresh(60, "x").with("ETag", "\"1\"")
        }
    })
    .await;
    let mut node = Node::before(&origin.url()).await;
    node.get("/a").await;
    node.advance(seconds(61));

    let crowd = crowd(&node, "/a", 10);
    eventually(SOON, || origin.count("/a") == 2).await;
    settled(A_WHILE, || origin.count("/a") == 2).await;
    gate.open();
    assert!(
        crowd
            .join_all()
            .await
            .iter()
            .all(|answer| answer.text() == "x")
    );
    assert_eq!(origin.count("/a"), 2);
}

#[tokio::test]
async fn a_client_that_leaves_before_the_head_does_not_kill_the_fill() {
    let gate = Gate::closed();
    let answer = gate.clone();
    let origin = Origin::start(move |_| Reply::fresh(60, "x").after(&answer)).await;
    let node = Node::before(&origin.url()).await;

    let mut leader = node.client().await;
    leader.ask("GET", "/a", &[]).await;
    eventually(SOON, || origin.count("/a") == 1).await;
    let followers = crowd(&node, "/a", 5);
    settled(A_WHILE, || origin.count("/a") == 1).await;
    drop(leader);
    settled(A_WHILE, || true).await;
    gate.open();
    assert!(
        followers
            .join_all()
            .await
            .iter()
            .all(|answer| answer.text() == "x")
    );
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test]
async fn a_client_that_leaves_mid_body_does_not_kill_the_fill() {
    let gate = Gate::closed();
    let rest = gate.clone();
    let origin = Origin::start(move |_| Reply::fresh(60, "first").wait(&rest).then("second")).await;
    let node = Node::before(&origin.url()).await;

    let mut leader = node.client().await;
    leader.ask("GET", "/a", &[]).await;
    leader.answer_head().await.unwrap();
    leader.at_least(5).await;
    let followers = crowd(&node, "/a", 5);
    drop(leader);
    settled(A_WHILE, || origin.count("/a") == 1).await;
    gate.open();
    assert!(
        followers
            .join_all()
            .await
            .iter()
            .all(|answer| answer.text() == "firstsecond")
    );
    assert!(node.get("/a").await.is_hit());
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_stops_reading_slows_nobody_else() {
    const SIZE: usize = 8 << 20;
    let body = vec![b'x'; SIZE];
    let gate = Gate::closed();
    let rest = gate.clone();
    let origin = Origin::start(move |_| Reply::fresh(60, "x").wait(&rest).then(body.clone())).await;
    let node = Node::before(&origin.url()).await;

    let mut stalled = node.client().await;
    stalled.ask("GET", "/big", &[]).await;
    stalled.answer_head().await.unwrap();
    let others = crowd(&node, "/big", 5);
    gate.open();
    let answers = tokio::time::timeout(SOON, others.join_all())
        .await
        .expect("nobody waits");
    assert!(answers.iter().all(|answer| answer.body.len() == SIZE + 1));
    assert_eq!(origin.count("/big"), 1);
    assert_eq!(stalled.at_least(SIZE).await.len().min(SIZE), SIZE);
}

#[tokio::test]
async fn a_fill_that_dies_never_ends_as_a_short_answer() {
    let gate = Gate::closed();
    let rest = gate.clone();
    let origin = Origin::start(move |_| {
        Reply::ok("first")
            .with("Cache-Control", "max-age=60")
            .chunked()
            .wait(&rest)
            .cut()
    })
    .await;
    let node = Node::before(&origin.url()).await;

    let followers = crowd(&node, "/a", 10);
    eventually(SOON, || origin.count("/a") >= 1).await;
    settled(A_WHILE, || true).await;
    gate.open();
    for answer in followers.join_all().await {
        let short = answer.status == 200 && answer.end == End::Complete;
        assert!(!short, "{}", answer.cache_status());
    }
    assert!(!node.get("/a").await.is_hit());
}

#[tokio::test]
async fn an_origin_that_hangs_up_on_the_leader_fails_the_followers_too() {
    let gate = Gate::closed();
    let answer = gate.clone();
    let origin = Origin::start(move |_| Reply::hang_up().after(&answer)).await;
    let node = Node::before(&origin.url()).await;
    let followers = crowd(&node, "/a", 5);
    eventually(SOON, || origin.total() >= 1).await;
    gate.open();
    let answers = tokio::time::timeout(SOON, followers.join_all())
        .await
        .expect("nobody waits");
    assert!(
        answers
            .iter()
            .all(|answer| matches!(answer.status, 502 | 504))
    );
}

#[tokio::test]
async fn an_uncacheable_key_is_remembered_and_queues_nobody() {
    let gate = Gate::closed();
    let answer = gate.clone();
    let origin = Origin::start(move |seen| {
        let reply = Reply::ok("x").with("Cache-Control", "no-store");
        if seen.nth == 1 {
            reply
        } else {
            reply.after(&answer)
        }
    })
    .await;
    let node = Node::before(&origin.url()).await;
    node.get("/a").await;

    // None of them is answered yet, and all of them have reached the origin.
    let crowd = crowd(&node, "/a", 10);
    eventually(SOON, || origin.count("/a") == 11).await;
    gate.open();
    assert!(
        crowd
            .join_all()
            .await
            .iter()
            .all(|answer| answer.status == 200)
    );
}

#[tokio::test]
async fn waiters_of_an_answer_that_proves_uncacheable_go_on_together() {
    let first = Gate::closed();
    let others = Gate::closed();
    let (one, rest) = (first.clone(), others.clone());
    let origin = Origin::start(move |seen| {
        let reply = Reply::ok("x").with("Cache-Control", "private");
        reply.after(if seen.nth == 1 { &one } else { &rest })
    })
    .await;
    let node = Node::before(&origin.url()).await;

    let crowd = crowd(&node, "/a", 10);
    eventually(SOON, || origin.count("/a") == 1).await;
    settled(A_WHILE, || true).await;
    first.open();
    eventually(SOON, || origin.count("/a") == 10).await;
    others.open();
    assert!(
        crowd
            .join_all()
            .await
            .iter()
            .all(|answer| answer.status == 200)
    );
    assert_eq!(origin.count("/a"), 10);
}

#[tokio::test]
async fn an_uncacheable_key_is_tried_again_after_a_while() {
    let origin = Origin::start(|seen| match seen.nth {
        1 => Reply::ok("x").with("Cache-Control", "no-store"),
        _ => Reply::fresh(600, "x"),
    })
    .await;
    let settings = larder_tests::Settings::origins(&[&origin.url()]).site("uncacheable = \"10s\"");
    let mut node = Node::start(settings).await;
    node.get("/a").await;
    node.advance(Duration::from_secs(11));
    node.get("/a").await;
    assert!(node.get("/a").await.is_hit());
}
