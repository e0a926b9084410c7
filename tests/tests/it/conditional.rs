//! The client's own preconditions (RFC 9110 §13), answered from the cache.

use std::time::Duration;

use larder_tests::{Gate, Node, Origin, Reply, Settings};

const MODIFIED: &str = "Mon, 01 Jan 2024 00:00:00 GMT";
const BEFORE: &str = "Sun, 31 Dec 2023 00:00:00 GMT";
const AFTER: &str = "Tue, 02 Jan 2024 00:00:00 GMT";

#[tokio::test]
async fn preconditions_are_evaluated_in_the_order_of_the_standard() {
    let origin = Origin::start(|_| {
        Reply::fresh(60, "x")
            .with("ETag", "\"1\"")
            .with("Last-Modified", MODIFIED)
    })
    .await;
    let node = Node::before(&origin.url()).await;
    node.get("/a").await;

    #[rustfmt::skip]
    let rows: [(u16, &[(&str, &str)]); 12] = [
        (304, &[("If-None-Match", "\"1\"")]),
        (304, &[("If-None-Match", "W/\"1\"")]),
        (304, &[("If-None-Match", "\"0\", \"1\"")]),
        (304, &[("If-None-Match", "*")]),
        (200, &[("If-None-Match", "\"2\"")]),
        (304, &[("If-Modified-Since", MODIFIED)]),
        (304, &[("If-Modified-Since", AFTER)]),
        (200, &[("If-Modified-Since", BEFORE)]),
        (200, &[("If-None-Match", "\"2\""), ("If-Modified-Since", AFTER)]),
        (200, &[("If-Match", "\"1\"")]),
        (412, &[("If-Match", "\"2\"")]),
        (412, &[("If-Unmodified-Since", BEFORE)]),
    ];
    for (status, fields) in rows {
        let answer = node.get_with("/a", fields).await;
        assert_eq!(answer.status, status, "{fields:?}");
        if status == 304 {
            assert_eq!(answer.header("ETag"), Some("\"1\""), "{fields:?}");
            assert!(answer.body.is_empty());
        }
    }
    assert_eq!(origin.total(), 1);
}

#[tokio::test]
async fn what_an_origin_corrects_reaches_a_cache_behind_the_cache() {
    let origin = Origin::start(|seen| {
        let reply = match seen.field("If-None-Match") {
            Some(_) => Reply::status(304).with("Content-Type", "text/html"),
            None => Reply::ok("x").with("Content-Type", "text/plain"),
        };
        reply
            .with("Cache-Control", "max-age=60")
            .with("ETag", "\"1\"")
    })
    .await;
    let parent = Settings::origins(&[&origin.url()]).table("node", "name = \"parent\"");
    let mut parent = Node::start(parent).await;
    let mut edge = Node::before(&format!("http://{}", parent.address())).await;

    let first = edge.get("/a").await;
    assert_eq!(first.header("Content-Type"), Some("text/plain"));
    parent.advance(Duration::from_secs(61));
    edge.advance(Duration::from_secs(61));
    let validated = edge.get("/a").await;
    assert_eq!(validated.status, 200);
    assert_eq!(validated.header("Content-Type"), Some("text/html"));
    assert_eq!(origin.total(), 2);

    let to_a_client = parent.get_with("/a", &[("If-None-Match", "\"1\"")]).await;
    assert_eq!(to_a_client.status, 304);
    assert_eq!(to_a_client.header("Content-Type"), None);
}

#[tokio::test]
async fn a_condition_on_a_miss_leaves_a_whole_response_behind() {
    let origin = Origin::start(|seen| {
        if seen
            .field("If-None-Match")
            .is_some_and(|tags| tags.contains("\"1\""))
        {
            return Reply::status(304)
                .with("ETag", "\"1\"")
                .with("Cache-Control", "max-age=60");
        }
        Reply::fresh(60, "x").with("ETag", "\"1\"")
    })
    .await;
    let node = Node::before(&origin.url()).await;
    assert_eq!(
        node.get_with("/a", &[("If-None-Match", "\"1\"")])
            .await
            .status,
        304
    );
    let plain = node.get("/a").await;
    assert_eq!((plain.status, plain.text().as_str()), (200, "x"));
}

#[tokio::test]
async fn a_condition_on_what_is_still_on_its_way_is_answered_at_once() {
    let gate = Gate::closed();
    let rest = gate.clone();
    let origin = Origin::start(move |_| {
        Reply::fresh(60, "01234")
            .with("ETag", "\"1\"")
            .wait(&rest)
            .then("56789")
    })
    .await;
    let node = Node::before(&origin.url()).await;
    let mut leader = node.client().await;
    leader.ask("GET", "/a", &[]).await;
    leader.answer_head().await.unwrap();

    #[rustfmt::skip]
    let rows: [(u16, &[(&str, &str)]); 4] = [
        (304, &[("If-None-Match", "\"1\"")]),
        (412, &[("If-Match", "\"2\"")]),
        (206, &[("Range", "bytes=1-3"), ("If-Range", "\"1\"")]),
        (416, &[("Range", "bytes=10-")]),
    ];
    for (status, fields) in rows {
        let answer = node.get_with("/a", fields).await;
        assert_eq!(answer.status, status, "{fields:?}");
        assert!(status != 206 || answer.text() == "123");
    }
    gate.open();
    let other = [("Range", "bytes=1-3"), ("If-Range", "\"2\"")];
    let whole = node.get_with("/a", &other).await;
    assert_eq!((whole.status, whole.text().as_str()), (200, "0123456789"));
    assert_eq!(origin.count("/a"), 1);
}
