//! What others build on: the names of metrics, their types and labels, and the members of
//! `Cache-Status`. A change here is a change for every dashboard.

use std::collections::BTreeSet;

use larder_tests::{Metrics, Node, Origin, Reply, Settings};

/// Families that dashboards rely on: name, type, labels.
const FAMILIES: [(&str, &str, &[&str]); 6] = [
    (
        "larder_requests_total",
        "counter",
        &["outcome", "rule", "site", "tier"],
    ),
    (
        "larder_response_bytes_total",
        "counter",
        &["outcome", "rule", "site", "tier"],
    ),
    (
        "larder_cached_bytes_total",
        "counter",
        &["outcome", "rule", "site", "tier"],
    ),
    (
        "larder_misses_total",
        "counter",
        &["reason", "rule", "site"],
    ),
    (
        "larder_origin_requests_total",
        "counter",
        &["kind", "rule", "site"],
    ),
    (
        "larder_origin_bytes_total",
        "counter",
        &["kind", "rule", "site"],
    ),
];

#[tokio::test]
async fn the_families_keep_their_names_types_and_labels() {
    let origin = Origin::start(|_| Reply::fresh(60, "x")).await;
    let node = Node::before(&origin.url()).await;
    node.get("/a").await;
    node.get("/a").await;
    let two = |metrics: &Metrics| metrics.sum("larder_requests_total", &[]) >= 2.0;
    let metrics = node.metrics_when(two).await;
    for (name, kind, labels) in FAMILIES {
        assert_eq!(
            metrics.types().get(name).map(String::as_str),
            Some(kind),
            "{name}"
        );
        assert!(
            metrics
                .labels(name)
                .is_superset(&labels.iter().copied().collect()),
            "{name}"
        );
    }
    let types: BTreeSet<&String> = metrics.types().keys().collect();
    assert_eq!(
        types,
        metrics.help().iter().collect(),
        "every family explains itself"
    );
    assert!(
        types.iter().all(|name| name.starts_with("larder_")),
        "{types:?}"
    );
}

#[tokio::test]
async fn nothing_from_a_request_becomes_a_label() {
    let origin = Origin::start(|_| Reply::ok("x")).await;
    let node = Node::before(&origin.url()).await;
    node.request(
        "FROB",
        "/secret-path",
        &[("Host", "secret-host"), ("User-Agent", "secret-client")],
    )
    .await;
    let mut client = larder_tests::Client::connect(node.admin()).await;
    let text = client.get("/metrics").await.text();
    for word in ["secret", "FROB"] {
        assert!(!text.contains(word), "{word}");
    }
}

#[tokio::test]
async fn cache_status_in_every_situation() {
    let origin = Origin::start(|seen| match seen.target.as_str() {
        "/no-store" => Reply::ok("x").with("Cache-Control", "no-store"),
        _ => Reply::fresh(60, "x"),
    })
    .await;
    let settings =
        Settings::origins(&[&origin.url()]).rule("match = { path = \"/bypassed\" }\ncache = false");
    let mut node = Node::start(settings).await;

    let miss = node.get("/a").await;
    assert!(
        miss.cache_status()
            .starts_with("larder; fwd=uri-miss; fwd-status=200")
    );
    let hit = node.get("/a").await;
    assert!(
        hit.cache_status().starts_with("larder; hit; ttl="),
        "{}",
        hit.cache_status()
    );
    node.advance(crate::seconds(61));
    assert_eq!(node.get("/a").await.forwarded(), Some("stale"));
    let uncacheable = node.get("/no-store").await;
    assert_eq!(uncacheable.cache_parameter("stored"), None);
    assert_eq!(node.get("/bypassed").await.forwarded(), Some("bypass"));
    let post = node.client().await.upload("POST", "/a", &[], b"x").await;
    assert_eq!(post.forwarded(), Some("method"));
    // The key is a matter of debugging only.
    assert_eq!(hit.cache_parameter("key"), None);
}

#[tokio::test]
async fn the_key_is_shown_when_debugging() {
    let origin = Origin::start(|_| Reply::fresh(60, "x")).await;
    let settings = Settings::origins(&[&origin.url()]).site("debug = true");
    let node = Node::start(settings).await;
    assert!(node.get("/a").await.cache_parameter("key").is_some());
}
