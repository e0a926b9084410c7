//! Parents come and go while a node runs, and its links to those that stay are kept.

use larder_tests::{Node, Origin, Reply, Settings, Tiers, eventually};
use serde_json::Value;

use crate::SOON;

async fn parents(edge: &Node) -> Vec<Value> {
    let status = edge.api("GET", "/v1/status", "").await;
    let status: Value = serde_json::from_slice(&status.body).expect("a document");
    let parents = status["tier"]["parents"].as_array();
    parents.cloned().unwrap_or_default()
}

/// Waits until all of so many parents were heard.
async fn heard(edge: &Node, count: usize) {
    let up = "larder_tiered_parent_up";
    edge.metrics_when(|metrics| metrics.sum(up, &[]) == count as f64)
        .await;
    loop {
        let all = parents(edge).await;
        if all.len() == count && all.iter().all(|it| it["node"].is_string()) {
            return;
        }
        tokio::task::yield_now().await;
    }
}

async fn take(edge: &Node, settings: &Settings) {
    let answer = edge.reload(settings).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn links_to_parents_stay_up() {
    let origin = Origin::start(|_| Reply::ok("x")).await;
    let tiers = Tiers::before(&origin.url());
    let parent = Node::start(tiers.parent("parent")).await;
    let settings = tiers.edge("edge", &[&parent]);
    let edge = Node::start(settings.clone()).await;
    heard(&edge, 1).await;
    for number in 0..4 {
        assert_eq!(edge.get(&format!("/{number}")).await.status, 200);
    }
    let opened = parents(&edge).await[0]["opened"].clone();
    for round in 0..5 {
        let direct = format!("direct_per_second = {}", 50 + round);
        take(&edge, &settings.clone().table("tier", &direct)).await;
        for number in 0..4 {
            assert_eq!(edge.get(&format!("/{round}/{number}")).await.status, 200);
        }
    }
    let after = parents(&edge).await;
    assert_eq!((after.len(), &after[0]["opened"]), (1, &opened));
    assert_eq!(after[0]["state"], "up");
    let metrics = edge.metrics().await;
    assert_eq!(metrics.sum("larder_tiered_direct_total", &[]), 0.0);
}

#[tokio::test]
async fn a_parent_is_taken_away_and_brought_back_under_load() {
    let origin = Origin::start(|_| Reply::ok("x")).await;
    let tiers = Tiers::before(&origin.url());
    let (one, two) = (
        Node::start(tiers.parent("one")).await,
        Node::start(tiers.parent("two")).await,
    );
    let both = tiers.edge("edge", &[&one, &two]);
    let alone = tiers.edge("edge", &[&one]);
    let edge = Node::start(both.clone()).await;
    heard(&edge, 2).await;
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut clients = Vec::new();
    for number in 0..4 {
        let mut client = edge.client().await;
        let stop = std::sync::Arc::clone(&stop);
        clients.push(tokio::spawn(async move {
            let mut asked = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let answer = client.get(&format!("/{number}/{asked}")).await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                asked += 1;
            }
        }));
    }
    for _ in 0..3 {
        take(&edge, &alone).await;
        assert_eq!(parents(&edge).await.len(), 1);
        let seen = origin.total();
        eventually(SOON, || origin.total() > seen + 20).await;
        take(&edge, &both).await;
        heard(&edge, 2).await;
    }
    // Without any tier, too.
    take(
        &edge,
        &Settings::origins(&[&origin.url()]).table("node", "name = \"edge\""),
    )
    .await;
    let seen = origin.total();
    eventually(SOON, || origin.total() > seen + 20).await;
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for client in clients {
        client.await.expect("no request fails");
    }
    let metrics = edge.metrics().await;
    let mut up = metrics.samples("larder_tiered_parent_up");
    assert_eq!(up.next(), None);
}
