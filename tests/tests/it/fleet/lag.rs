//! Nodes that are cut off from their log: the lag shows as it is, and the operator's choice holds.

use std::time::Duration;

use larder_tests::{Metrics, Nats, Node, Origin, Relay};
use tokio::time::Instant;

use super::{counting, has_applied, init, member, readiness, through};

/// Nodes whose way to the log can be cut, by what they do then.
async fn cut_off(nats: &Nats, origin: &Origin) -> (Relay, Vec<Node>) {
    let relay = Relay::to(nats.address()).await;
    let servers = format!("[\"nats://{}\"]", relay.address());
    let mut nodes = Vec::new();
    for on_lag in ["serve", "revalidate", "pass", "unready"] {
        let settings = through(origin, &servers, on_lag)
            .table("fleet", &format!("on_lag = \"{on_lag}\""))
            .table("fleet", "max_lag = \"3s\"");
        nodes.push(Node::start(settings).await);
    }
    (relay, nodes)
}

/// What a node would do with a request, and why.
async fn explained(node: &Node, does: &str, reason: Option<&str>) {
    let answer = node.api("GET", "/v1/explain?url=http://www.example.com/x", "");
    let told: serde_json::Value = serde_json::from_slice(&answer.await.body).expect("JSON");
    let decision = &told["decision"];
    assert_eq!(decision["does"], does, "{told:#}");
    assert_eq!(decision["reason"].as_str(), reason, "{told:#}");
    let clause = reason.map_or("RFC 9111 section 4.2", |_| "[fleet] on_lag");
    assert_eq!(decision["clause"], clause);
}

async fn lag(node: &Node) -> f64 {
    node.metrics().await.sum("larder_purge_lag_seconds", &[])
}

/// The lag, and the span in which it was so, since `start`.
async fn sampled(node: &Node, start: Instant) -> (f64, [f64; 2]) {
    let before = start.elapsed().as_secs_f64();
    let lag = lag(node).await;
    (lag, [before, start.elapsed().as_secs_f64()])
}

#[tokio::test]
async fn while_the_log_is_cut_off_the_lag_shows_and_the_operators_choice_holds() {
    let (nats, origin) = (Nats::start(), counting().await);
    init(&member(&origin, &nats, "any")).await;
    let near = Node::start(member(&origin, &nats, "near")).await;
    let (relay, nodes) = cut_off(&nats, &origin).await;
    for node in &nodes {
        node.get("/x").await;
        assert!(node.get("/x").await.is_hit());
    }
    let cut = Instant::now();
    relay.cut();
    let receipt = near.purge(r#"{"tags":["x"],"timeout_ms":20000}"#).await;
    for node in &nodes {
        node.metrics_when(|it: &Metrics| it.sum("larder_purge_lag_seconds", &[]) > 3.1)
            .await;
        // It is as long ago as it is, and passes like time does.
        let (first, [_, first_end]) = sampled(node, cut).await;
        tokio::time::sleep(Duration::from_millis(700)).await;
        let (second, [second_begin, second_end]) = sampled(node, cut).await;
        let grown = second - first;
        assert!(grown >= second_begin - first_end - 0.01, "{grown}");
        assert!(grown <= second_end - first_end + 0.5, "{grown}");
        // What was applied last was stamped before the cut.
        assert!(
            second >= second_begin - 0.5,
            "{second}, cut for {second_begin}"
        );
    }
    assert!(lag(&near).await < 3.0, "nobody else is behind");
    let [serve, revalidate, pass, unready] = &nodes[..] else {
        panic!("four nodes");
    };
    explained(serve, "hit", None).await;
    for node in [revalidate, pass, unready] {
        explained(node, "forward", Some("purges-missing")).await;
    }
    // What was purged is served where the operator wants that, and nowhere else.
    assert!(serve.get("/x").await.is_hit());
    for node in [revalidate, unready] {
        assert_eq!(node.get("/x").await.forwarded(), Some("stale"));
    }
    let answer = pass.get("/x").await;
    assert_eq!(answer.forwarded(), Some("bypass"));
    assert_eq!(answer.cache_parameter("detail"), Some("purges-missing"));
    for node in [serve, revalidate, pass] {
        assert_eq!(readiness(node).await.0, 200);
    }
    let (status, why) = readiness(unready).await;
    assert_eq!(status, 503);
    assert!(why.starts_with("lagging"), "{why}");
    relay.heal();
    for node in &nodes {
        has_applied(node, &receipt).await;
        node.metrics_when(|it| it.sum("larder_purge_lag_seconds", &[]) < 2.0)
            .await;
    }
    for node in [serve, pass] {
        assert!(!node.get("/x").await.is_hit(), "it was purged");
    }
    assert_eq!(readiness(unready).await.0, 200);
    for node in &nodes {
        node.get("/x").await;
        assert!(node.get("/x").await.is_hit());
    }
}

#[tokio::test]
async fn a_server_that_is_frozen_counts_as_cut_off() {
    let (nats, origin) = (Nats::start(), counting().await);
    init(&member(&origin, &nats, "any")).await;
    let settings = member(&origin, &nats, "a").table("fleet", "max_lag = \"3s\"");
    let node = Node::start(settings).await;
    node.get("/x").await;
    nats.signal("STOP");
    node.metrics_when(|it: &Metrics| it.sum("larder_purge_lag_seconds", &[]) > 3.1)
        .await;
    assert_eq!(node.get("/x").await.forwarded(), Some("stale"));
    nats.signal("CONT");
    node.metrics_when(|it| it.sum("larder_purge_lag_seconds", &[]) < 2.0)
        .await;
    assert!(node.get("/x").await.is_hit());
}
