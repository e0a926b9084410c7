//! Bodies of requests: one that is malformed or cut never looks complete to the origin, and one
//! that nobody reads never becomes the next request.

use std::time::Duration;

use larder_tests::{Client, End, Gate, Node, Origin, Reply, eventually, settled};

use crate::framing::{Bench, SMUGGLED};
use crate::{A_WHILE, SOON};

#[tokio::test]
async fn malformed_chunks_never_end_as_a_complete_upload() {
    let bench = Bench::new().await;
    let bodies = [
        ("not a number", "x\r\nhello\r\n0\r\n\r\n"),
        ("a prefix", "0x5\r\nhello\r\n0\r\n\r\n"),
        ("a sign", "+5\r\nhello\r\n0\r\n\r\n"),
        ("a leading space", " 5\r\nhello\r\n0\r\n\r\n"),
        ("a trailing space", "5 \r\nhello\r\n0\r\n\r\n"),
        ("an empty size", "\r\nhello\r\n0\r\n\r\n"),
        ("2^64 + 5", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("a bare line feed", "5\nhello\r\n0\r\n\r\n"),
        ("a bare carriage return", "5\rhello\r\n0\r\n\r\n"),
        ("no line end after the data", "5\r\nhello0\r\n\r\n"),
        ("a line feed after the data", "5\r\nhello\n0\r\n\r\n"),
        ("too much data", "3\r\nhello\r\n0\r\n\r\n"),
        (
            "a bare line feed in an extension",
            "5;a\nb\r\nhello\r\n0\r\n\r\n",
        ),
        ("a NUL in an extension", "5;a\0\r\nhello\r\n0\r\n\r\n"),
        (
            "a line end in a quoted extension",
            "5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n",
        ),
        ("a bare line feed at the end", "5\r\nhello\r\n0\n\n"),
        ("a trailer without a colon", "5\r\nhello\r\n0\r\nX\r\n\r\n"),
        ("a trailer with a space", "5\r\nhello\r\n0\r\nX : y\r\n\r\n"),
    ];
    for (name, body) in bodies {
        let target = format!("/{}", name.replace([' ', '^', '+'], "-"));
        let mut client = bench.node.client().await;
        client.send(format!("POST {target} HTTP/1.1\r\nHost: www.example.com\r\nTransfer-Encoding: chunked\r\n\r\n{body}{SMUGGLED}")).await;
        if let Some(answer) = client.answer_to("POST").await {
            assert!(
                (400..503).contains(&answer.status),
                "{name}: {}",
                answer.status
            );
        }
        assert!(
            client.closes_within(SOON).await,
            "{name}: the connection stays open"
        );
        uploads_end_cut(&bench.origin, &target).await;
    }
    assert_eq!(bench.origin.count("/smuggled"), 0);
}

#[tokio::test]
async fn an_upload_that_is_cut_never_looks_complete() {
    let bench = Bench::new().await;
    for (target, fields, body) in [
        ("/length", "Content-Length: 10\r\n", "hello"),
        ("/chunk", "Transfer-Encoding: chunked\r\n", "a\r\nhello"),
        (
            "/between-chunks",
            "Transfer-Encoding: chunked\r\n",
            "5\r\nhello\r\n",
        ),
        (
            "/last-chunk",
            "Transfer-Encoding: chunked\r\n",
            "5\r\nhello\r\n0\r\n",
        ),
    ] {
        let mut client = bench.node.client().await;
        let head = format!("POST {target} HTTP/1.1\r\nHost: www.example.com\r\n{fields}\r\n");
        client.send(head + body).await;
        client.finish().await;
        drop(client);
        uploads_end_cut(&bench.origin, target).await;
    }
}

/// Whatever of it reached the origin was seen to be cut there.
async fn uploads_end_cut(origin: &Origin, target: &str) {
    settled(Duration::from_millis(30), || true).await;
    let finished = || {
        let requests = origin.requests();
        requests
            .iter()
            .filter(|seen| seen.target == target)
            .all(|seen| seen.end.is_some())
    };
    eventually(SOON, finished).await;
    for seen in origin
        .requests()
        .iter()
        .filter(|seen| seen.target == target)
    {
        assert_eq!(
            seen.end,
            Some(End::Cut),
            "{target} looks complete: {seen:?}"
        );
    }
}

/// CVE-2025-4366: a cache hit was answered without reading the request's body, whose bytes then
/// became the next request.
#[tokio::test]
async fn the_unread_body_of_a_hit_never_becomes_a_request() {
    let bench = Bench::new().await;
    bench.node.get("/x").await;
    one_answer_only(&bench, "GET", "/x").await;
}

#[tokio::test]
async fn the_unread_body_of_a_refused_request_never_becomes_a_request() {
    let bench = Bench::new().await;
    one_answer_only(&bench, "TRACE", "/x").await;
    let only = format!(
        "GET /unknown HTTP/1.1\r\nHost: www.example.com\r\nCache-Control: only-if-cached\r\n\
         Content-Length: {}\r\n\r\n{SMUGGLED}",
        SMUGGLED.len(),
    );
    let mut client = bench.node.client().await;
    client.send(only).await;
    assert_eq!(client.answer().await.status, 504);
    no_second_answer(&bench, client).await;
}

async fn one_answer_only(bench: &Bench, method: &str, target: &str) {
    let mut client = bench.node.client().await;
    client.send(format!(
        "{method} {target} HTTP/1.1\r\nHost: www.example.com\r\nContent-Length: {}\r\n\r\n{SMUGGLED}",
        SMUGGLED.len(),
    ))
    .await;
    client.answer().await;
    no_second_answer(bench, client).await;
}

/// The body was read to its end, or the connection closes; either way it was not a request.
async fn no_second_answer(bench: &Bench, mut client: Client) {
    client.ask("GET", "/after", &[]).await;
    if let Some(second) = client.answer_to("GET").await {
        assert_eq!(second.status, 200);
        assert_eq!(bench.origin.count("/after"), 1);
    }
    assert_eq!(bench.origin.count("/smuggled"), 0);
}

/// CVE-2026-2833: bytes after the head of a request for an upgrade were passed on before the
/// origin had agreed.
#[tokio::test]
async fn nothing_behind_an_upgrade_reaches_the_origin_before_it_agrees() {
    let gate = Gate::closed();
    let answer = gate.clone();
    let origin = Origin::start(move |_| Reply::ok("no").after(&answer)).await;
    let node = Node::before(&origin.url()).await;
    for upgrade in ["websocket", "h2c", "frob"] {
        let mut client = node.client().await;
        client.send(format!(
            "GET /{upgrade} HTTP/1.1\r\nHost: www.example.com\r\nConnection: Upgrade, HTTP2-Settings\r\n\
             Upgrade: {upgrade}\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n{SMUGGLED}"
        ))
        .await;
        settled(A_WHILE, || origin.count("/smuggled") == 0).await;
    }
    gate.open();
    settled(A_WHILE, || true).await;
    // Once it has declined, what followed is at most a request like any other, of its own.
    let strays: Vec<_> = origin
        .requests()
        .into_iter()
        .filter(|seen| seen.method.is_empty())
        .collect();
    assert!(strays.is_empty(), "{strays:?}");
    for target in ["/h2c", "/frob"] {
        let requests = origin.requests();
        let forwarded = requests.iter().filter(|seen| seen.target == target);
        assert!(
            forwarded
                .clone()
                .all(|seen| seen.field("Upgrade").is_none()),
            "{target}"
        );
        assert!(
            forwarded
                .clone()
                .all(|seen| seen.field("HTTP2-Settings").is_none()),
            "{target}"
        );
    }
}

/// CVE-2025-31699: an origin that answered early was still owed a body, and its connection was
/// used again.
#[tokio::test]
async fn a_connection_on_which_a_body_is_owed_is_not_used_again() {
    let origin = Origin::start(|seen| {
        if seen.method == "POST" {
            Reply::status(413).early()
        } else {
            Reply::ok("ok")
        }
    })
    .await;
    let node = Node::before(&origin.url()).await;

    let mut client = node.client().await;
    client
        .ask("POST", "/early", &[("Content-Length", "100")])
        .await;
    client.send("hello").await;
    assert_eq!(
        client.answer_to("POST").await.map(|answer| answer.status),
        Some(413)
    );
    for n in 0..5 {
        assert_eq!(node.get(&format!("/{n}")).await.text(), "ok");
    }
    let early = origin.last("/early");
    let after = origin.requests();
    assert!(
        after
            .iter()
            .all(|seen| seen.target == "/early" || seen.connection != early.connection)
    );
}
