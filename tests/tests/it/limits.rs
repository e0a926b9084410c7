//! Limits: on heads, on time, on connections, on memory.

use std::time::Duration;

use larder_tests::{Client, H2Client, Node, Origin, Reply, Settings, settled};
use tokio::time::Instant;

use crate::{A_WHILE, SOON};

async fn node_with(limit: &str) -> (Origin, Node) {
    let origin = Origin::start(|_| Reply::fresh(600, "x")).await;
    let node = Node::start(Settings::origins(&[&origin.url()]).table("limits", limit)).await;
    (origin, node)
}

#[tokio::test]
async fn heads_beyond_a_limit_are_refused_with_its_own_status() {
    let (origin, node) = node_with("").await;
    let many = "X: y\r\n".repeat(5_000);
    let long = format!("X: {}\r\n", "y".repeat(1 << 20));
    let target = "x".repeat(64 << 10);
    let get = |target: &str, fields: &str| {
        format!("GET /{target} HTTP/1.1\r\nHost: www.example.com\r\n{fields}\r\n")
    };
    for (name, bytes, statuses) in [
        ("many fields", get("", &many), [431, 431]),
        ("a long field", get("", &long), [431, 431]),
        ("a long target", get(&target, ""), [414, 431]),
    ] {
        let answer = node.exchange(bytes).await.expect(name);
        assert!(
            statuses.contains(&answer.status),
            "{name}: {}",
            answer.status
        );
    }
    assert_eq!(origin.total(), 0);
}

#[tokio::test]
async fn at_the_limit_of_fields_a_request_is_served_and_one_beyond_it_is_not() {
    let (_origin, node) = node_with("fields = 20").await;
    let get = |fields: usize| {
        let more = "X: y\r\n".repeat(fields - 1);
        format!("GET / HTTP/1.1\r\nHost: www.example.com\r\n{more}\r\n")
    };
    assert_eq!(node.exchange(get(20)).await.unwrap().status, 200);
    assert_eq!(node.exchange(get(21)).await.unwrap().status, 431);
}

#[tokio::test]
async fn a_head_has_a_deadline_however_steadily_it_drips() {
    let (_origin, node) = node_with("head_timeout = \"400ms\"").await;
    let mut client = node.client().await;
    let start = Instant::now();
    for byte in "GET / HTTP/1.1\r\nHost: www.example.com\r\nX: "
        .chars()
        .chain("y".repeat(200).chars())
    {
        client.send(byte.to_string()).await;
        if client.closes_within(Duration::from_millis(20)).await {
            break;
        }
    }
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let (_origin, node) = node_with("idle_timeout = \"300ms\"").await;
    let mut client = node.client().await;
    assert_eq!(client.get("/").await.status, 200);
    assert!(client.closes_within(SOON).await);
    let mut silent = node.client().await;
    assert!(silent.closes_within(Duration::from_secs(12)).await);
}

#[tokio::test]
async fn who_was_silent_for_a_while_is_answered_as_before() {
    // Connections let go of what they remember after a second, by a clock that nothing moves.
    const A_REST: Duration = Duration::from_millis(1300);
    let (origin, node) = node_with("").await;
    let mut first = node.client().await;
    let mut second = H2Client::connect_wide(node.address()).await;
    for turn in 0..2 {
        // Asked so often, it is known how it is answered.
        for _ in 0..3 {
            assert_eq!(first.get("/").await.text(), "x", "{turn}");
            assert_eq!(second.get("/").await.text(), "x", "{turn}");
        }
        assert!(!first.closes_within(A_REST).await, "{turn}");
    }
    assert_eq!(first.get("/").await.text(), "x");
    assert_eq!(origin.total(), 1);
}

#[tokio::test]
async fn an_upload_that_stops_is_given_up() {
    let (_origin, node) = node_with("body_timeout = \"300ms\"").await;
    let mut client = node.client().await;
    client.ask("POST", "/", &[("Content-Length", "10")]).await;
    client.send("hello").await;
    if let Some(answer) = client.answer_to("POST").await {
        assert_eq!(answer.status, 408);
    }
    assert!(client.closes_within(SOON).await);
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_given_up() {
    let body = vec![b'x'; 12 << 20];
    let origin = Origin::start(move |_| Reply::fresh(600, body.clone())).await;
    let settings = Settings::origins(&[&origin.url()]).table("limits", "write_timeout = \"500ms\"");
    let node = Node::start(settings).await;
    node.get("/big").await;
    let mut client = node.client().await;
    client.ask("GET", "/big", &[]).await;
    settled(Duration::from_millis(1500), || true).await;
    assert!(client.rest().await.len() < 12 << 20);
}

#[tokio::test]
async fn beyond_the_cap_connections_wait_or_are_refused_and_recover() {
    let (_origin, node) = node_with("connections = 10").await;
    let mut held = Vec::new();
    for _ in 0..10 {
        let mut client = node.client().await;
        assert_eq!(client.get("/").await.status, 200);
        held.push(client);
    }
    let mut late = Client::connect(node.address()).await;
    late.ask("GET", "/", &[]).await;
    let early = tokio::time::timeout(A_WHILE, late.answer_to("GET")).await;
    if let Ok(Some(answer)) = early {
        assert_eq!(answer.status, 503);
    }
    drop(held);
    let end = Instant::now() + SOON;
    loop {
        let mut client = node.client().await;
        client.ask("GET", "/", &[]).await;
        if client
            .answer_to("GET")
            .await
            .is_some_and(|answer| answer.status == 200)
        {
            break;
        }
        assert!(Instant::now() < end, "it never recovers");
    }
}

#[tokio::test]
async fn memory_stays_within_its_budget() {
    let body = vec![b'x'; 256 << 10];
    let origin = Origin::start(move |_| Reply::fresh(600, body.clone())).await;
    let settings = Settings::origins(&[&origin.url()])
        .table("memory", "size = \"32MiB\"")
        .table("memory", "object_max = \"1MiB\"");
    let node = Node::start(settings).await;
    let base = node.resident_bytes();
    let mut client = node.client().await;
    for n in 0..600 {
        assert_eq!(client.get(&format!("/{n}")).await.body.len(), 256 << 10);
    }
    let grown = node.resident_bytes().saturating_sub(base);
    assert!(
        grown < 32 * 11 / 10 * (1 << 20) + (24 << 20),
        "{grown} bytes"
    );
    let mut hits = 0;
    for n in 500..600 {
        hits += u32::from(client.get(&format!("/{n}")).await.is_hit());
    }
    assert!(hits > 0);
}
