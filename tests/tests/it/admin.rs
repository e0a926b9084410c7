//! The admin listener: health, readiness, metrics, and the token for everything else.

use std::os::unix::fs::PermissionsExt as _;

use larder_tests::{Client, Metrics, Node, Origin, Reply};

async fn started() -> (Origin, Node) {
    let origin = Origin::start(|_| Reply::fresh(600, "x")).await;
    let node = Node::before(&origin.url()).await;
    (origin, node)
}

async fn ask(node: &Node, method: &str, target: &str, authorization: Option<&str>) -> u16 {
    let fields: Vec<_> = authorization
        .map(|value| ("Authorization", value))
        .into_iter()
        .collect();
    let mut client = Client::connect(node.admin()).await;
    client.request(method, target, &fields).await.status
}

#[tokio::test]
async fn health_readiness_and_metrics_need_no_token() {
    let (_origin, node) = started().await;
    for target in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(ask(&node, "GET", target, None).await, 200, "{target}");
    }
}

#[tokio::test]
async fn every_other_route_needs_the_token() {
    let (_origin, node) = started().await;
    let right = format!("Bearer {}", node.token());
    let short = &right[..right.len() - 1];
    for target in [
        "/v1/purge",
        "/",
        "/unknown",
        "/v1/../healthz/../v1",
        "//v1",
        "/metrics/x",
    ] {
        for wrong in [
            None,
            Some("Bearer wrong"),
            Some("Bearer "),
            Some("Basic eDp4"),
            Some(short),
        ] {
            let status = ask(&node, "POST", target, wrong).await;
            assert!(matches!(status, 400 | 401), "{target} {wrong:?}: {status}");
        }
    }
    assert!(matches!(
        ask(&node, "GET", "/unknown", Some(&right)).await,
        404
    ));
}

#[tokio::test]
async fn the_public_port_serves_no_admin_route_and_purges_nothing() {
    let (origin, node) = started().await;
    node.get("/metrics").await;
    assert_eq!(origin.count("/metrics"), 1);
    node.get("/a").await;
    let purge = node.request("PURGE", "/a", &[]).await;
    assert!(matches!(purge.status, 400 | 405 | 501), "{}", purge.status);
    assert!(node.get("/a").await.is_hit());
}

#[tokio::test]
async fn a_token_is_made_where_none_is_given() {
    let origin = Origin::start(|_| Reply::ok("x")).await;
    let node = Node::with_flags(&["--origin", &origin.url()]).await;
    let file = node.folder().join("admin-token");
    let mode = std::fs::metadata(file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn metrics_count_requests_bytes_and_what_reached_the_origin() {
    let (_origin, node) = started().await;
    node.get("/a").await;
    node.get("/a").await;
    node.get("/b").await;
    let three = |metrics: &Metrics| metrics.sum("larder_requests_total", &[]) >= 3.0;
    let metrics = node.metrics_when(three).await;
    assert_eq!(
        metrics.sum("larder_requests_total", &[("site", "main")]),
        3.0
    );
    assert_eq!(
        metrics.sum("larder_requests_total", &[("outcome", "hit")]),
        1.0
    );
    assert_eq!(
        metrics.sum("larder_origin_requests_total", &[("site", "main")]),
        2.0
    );
    assert!(metrics.sum("larder_response_bytes_total", &[("site", "main")]) >= 3.0);
    assert!(metrics.sum("larder_origin_bytes_total", &[]) >= 2.0);
}
