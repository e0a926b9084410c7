//! A log that three servers keep together, and the one that leads them killed.

use std::time::Duration;

use larder_tests::{Client, NatsCluster, Node, Settings};
use serde_json::Value;
use tokio::sync::watch;

use super::{counting, fleet_init, has_applied, through};

/// Until a new leader is chosen, nothing is acknowledged: a purge waits so long, and is sent again then.
const PATIENT: &str = "publish_timeout = \"4s\"";
/// Purges before, and after, the leader is killed.
const EACH: usize = 60;

/// Purges one after the other for as long as `enough` says; what was acknowledged.
async fn publish(
    node: (std::net::SocketAddr, &'static str),
    progress: watch::Sender<usize>,
) -> Vec<(Value, Value)> {
    let bearer = format!("Bearer {}", node.1);
    let mut client = Client::connect(node.0).await;
    let mut acknowledged = Vec::new();
    for nth in 0..2 * EACH {
        let body = format!("{{\"tags\":[\"t{nth}\"],\"timeout_ms\":4000}}");
        let id = format!("purge-{nth}");
        let fields = [
            ("Authorization", bearer.as_str()),
            ("Idempotency-Key", id.as_str()),
        ];
        let answer = loop {
            let answer = client
                .upload("POST", "/v1/purges", &fields, body.as_bytes())
                .await;
            if !matches!(answer.status, 202 | 503) {
                break answer;
            }
        };
        assert_eq!(answer.status, 200, "{}", answer.text());
        let receipt: Value = serde_json::from_slice(&answer.body).expect("a receipt");
        acknowledged.push((receipt["sequence"].clone(), receipt["id"].clone()));
        progress.send_replace(nth + 1);
    }
    acknowledged
}

#[tokio::test]
async fn a_leader_killed_under_publishing_loses_no_purge_and_doubles_none() {
    let mut nats = NatsCluster::start().await;
    let origin = counting().await;
    let member =
        |name: &str| -> Settings { through(&origin, &nats.urls(), name).table("fleet", PATIENT) };
    let made = fleet_init(&member("any"), &["--replicas", "3"]).await;
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let mut nodes = Vec::new();
    for name in ["a", "b", "c"] {
        nodes.push(Node::start(member(name)).await);
    }
    let (progress, mut seen) = watch::channel(0);
    let publishing = tokio::spawn(publish((nodes[0].admin(), nodes[0].token()), progress));
    seen.wait_for(|count| *count >= EACH).await.unwrap();
    let leader = nats.leader().await;
    nats.server(leader).kill();
    let acknowledged = tokio::time::timeout(Duration::from_secs(60), publishing).await;
    let acknowledged = acknowledged.expect("a new leader").unwrap();
    // It comes back, and nobody minds.
    nats.server(leader).begin();
    let last = &acknowledged.last().unwrap().0;
    for node in &nodes {
        has_applied(node, &serde_json::json!({ "sequence": last })).await;
        let list = node.api("GET", "/v1/purges?limit=1000", "").await;
        let list: Value = serde_json::from_slice(&list.body).unwrap();
        let receipts = list["purges"].as_array().unwrap().iter().rev();
        let applied: Vec<_> = receipts
            .map(|receipt| (receipt["sequence"].clone(), receipt["id"].clone()))
            .collect();
        assert_eq!(applied, acknowledged, "each once, in one order");
        let lost = node.metrics().await;
        for reason in ["gap", "rewound", "replaced", "expired"] {
            assert_eq!(
                lost.sum("larder_fleet_resets_total", &[("reason", reason)]),
                0.0
            );
        }
    }
}
