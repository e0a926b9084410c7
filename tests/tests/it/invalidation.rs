//! What a successful unsafe request invalidates (RFC 9111 §4.4).

use larder_tests::{Gate, Node, Origin, Reply, eventually};

use crate::{SOON, seconds};

async fn scripted() -> Origin {
    Origin::start(|seen| {
        let (method, target) = (seen.method.as_str(), seen.target.as_str());
        let host = seen.field("Host").unwrap_or_default();
        match (method, target) {
            ("GET", _) => Reply::fresh(600, seen.nth.to_string()),
            (_, "/refused") => Reply::status(403),
            (_, "/broken") => Reply::status(500),
            (_, "/points") => Reply::status(201)
                .with("Location", &format!("http://{host}/a"))
                .with("Content-Location", "/b"),
            (_, "/points-away") => {
                Reply::status(201).with("Location", "http://elsewhere.example/a")
            }
            _ => Reply::status(200),
        }
    })
    .await
}

#[tokio::test]
async fn a_successful_unsafe_request_invalidates_its_target() {
    let origin = scripted().await;
    let node = Node::before(&origin.url()).await;
    for method in ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH"] {
        let target = format!("/{method}");
        node.get(&target).await;
        assert!(node.get(&target).await.is_hit());
        node.client().await.upload(method, &target, &[], b"x").await;
        assert!(!node.get(&target).await.is_hit(), "{method}");
    }
}

#[tokio::test]
async fn safe_methods_and_errors_invalidate_nothing() {
    let origin = scripted().await;
    let node = Node::before(&origin.url()).await;
    for target in ["/refused", "/broken", "/options"] {
        node.get(target).await;
    }
    node.client()
        .await
        .upload("POST", "/refused", &[], b"x")
        .await;
    node.client()
        .await
        .upload("POST", "/broken", &[], b"x")
        .await;
    node.request("OPTIONS", "/options", &[]).await;
    for target in ["/refused", "/broken", "/options"] {
        assert!(node.get(target).await.is_hit(), "{target}");
    }
}

#[tokio::test]
async fn places_of_the_same_origin_are_invalidated_too_and_no_others() {
    let origin = scripted().await;
    let node = Node::before(&origin.url()).await;
    let elsewhere = || async {
        node.client()
            .await
            .host("elsewhere.example")
            .get("/a")
            .await
    };
    for target in ["/a", "/b", "/c"] {
        node.get(target).await;
    }
    elsewhere().await;

    node.client()
        .await
        .upload("POST", "/points-away", &[], b"x")
        .await;
    assert!(elsewhere().await.is_hit());
    node.client()
        .await
        .upload("POST", "/points", &[], b"x")
        .await;
    assert!(!node.get("/a").await.is_hit());
    assert!(!node.get("/b").await.is_hit());
    assert!(node.get("/c").await.is_hit());
}

/// An origin whose first answer about `/a`, and whose first validation of it, wait at a gate.
async fn slow_at_first(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::start(move |seen| match (seen.method.as_str(), seen.nth) {
        ("GET", 1) => Reply::fresh(60, "before")
            .with("ETag", "\"before\"")
            .after(&gate),
        ("GET", _) => Reply::fresh(60, "after").with("ETag", "\"after\""),
        _ => Reply::status(204),
    })
    .await
}

#[tokio::test]
async fn what_was_asked_for_before_an_invalidation_answers_nobody_who_comes_after_it() {
    let gate = Gate::closed();
    let origin = slow_at_first(&gate).await;
    let node = Node::before(&origin.url()).await;

    let mut early = node.client().await;
    early.ask("GET", "/a", &[]).await;
    eventually(SOON, || origin.count("/a") == 1).await;
    node.client().await.upload("PUT", "/a", &[], b"x").await;

    // It does not wait for the fill from before, and that one does not replace what it brings.
    assert_eq!(node.get("/a").await.text(), "after");
    gate.open();
    assert_eq!(early.answer_to("GET").await.unwrap().text(), "before");
    let late = node.get("/a").await;
    assert_eq!((late.text().as_str(), late.is_hit()), ("after", true));
}

#[tokio::test]
async fn a_fill_from_before_an_invalidation_leaves_nothing_behind() {
    let gate = Gate::closed();
    let origin = slow_at_first(&gate).await;
    let node = Node::before(&origin.url()).await;

    let mut early = node.client().await;
    early.ask("GET", "/a", &[]).await;
    eventually(SOON, || origin.count("/a") == 1).await;
    node.client().await.upload("PUT", "/a", &[], b"x").await;
    gate.open();
    assert_eq!(early.answer_to("GET").await.unwrap().text(), "before");
    let late = node.get("/a").await;
    assert_eq!((late.text().as_str(), late.is_hit()), ("after", false));
}

#[tokio::test]
async fn a_validation_from_before_an_invalidation_does_not_bring_the_old_back() {
    let gate = Gate::closed();
    let validation = gate.clone();
    let origin = Origin::start(move |seen| match (seen.method.as_str(), seen.nth) {
        ("GET", 1) => Reply::fresh(60, "before").with("ETag", "\"before\""),
        ("GET", _) if seen.is_conditional() => Reply::status(304)
            .with("ETag", "\"before\"")
            .with("Cache-Control", "max-age=60")
            .after(&validation),
        ("GET", _) => Reply::fresh(60, "after"),
        _ => Reply::status(204),
    })
    .await;
    let mut node = Node::before(&origin.url()).await;
    node.get("/a").await;
    node.advance(seconds(61));

    let mut early = node.client().await;
    early.ask("GET", "/a", &[]).await;
    eventually(SOON, || origin.count("/a") == 2).await;
    node.client().await.upload("PUT", "/a", &[], b"x").await;
    gate.open();
    let answer = early.answer_to("GET").await.unwrap();
    assert_eq!(answer.text(), "before");
    assert_eq!(answer.cache_parameter("detail"), Some("displaced"));
    assert_eq!(node.get("/a").await.text(), "after");
}
