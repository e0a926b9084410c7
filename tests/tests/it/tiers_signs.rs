//! Signs of life between tiers: a parent that owes one is not waited for, and one that is slow because its origin is gives
//! them.

use std::time::Duration;

use larder_tests::{End, Gate, Metrics, Node, Origin, Reply, Tiers, eventually};

use crate::SOON;

fn hedges(metrics: &Metrics) -> f64 {
    metrics.sum("larder_tiered_hedges_total", &[])
}

/// Two parents, and an edge that waits so long for signs of life.
async fn tiers(origin: &Origin, silence: &str) -> (Tiers, Vec<Node>, Node) {
    let tiers = Tiers::before(&origin.url());
    let parents = vec![
        Node::start(tiers.parent("p0")).await,
        Node::start(tiers.parent("p1")).await,
    ];
    let edge = tiers
        .edge("edge", &[&parents[0], &parents[1]])
        .table("tier", &format!("silence = \"{silence}\""));
    let edge = Node::start(edge).await;
    edge.metrics_when(|metrics| metrics.sum("larder_tiered_parent_up", &[]) == 2.0)
        .await;
    (tiers, parents, edge)
}

/// Which parent asked for something.
fn who_asked(origin: &Origin, target: &str) -> usize {
    let way = origin.last(target).values("Via").join(", ");
    usize::from(way.contains("p1"))
}

#[tokio::test]
async fn a_parent_whose_origin_is_slow_is_left_alone() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |_| Reply::fresh(600, "slow").after(&held)).await;
    let (_tiers, _parents, edge) = tiers(&origin, "6s").await;
    let mut client = edge.client().await;
    client.ask("GET", "/slow", &[]).await;
    // There would be doubt after less than three seconds.
    tokio::time::sleep(Duration::from_secs(4)).await;
    gate.open();
    assert_eq!(client.answer().await.text(), "slow");
    let metrics = edge.metrics().await;
    assert_eq!(hedges(&metrics), 0.0);
    assert_eq!(metrics.sum("larder_tiered_failovers_total", &[]), 0.0);
    assert_eq!(origin.total(), 1);
}

#[tokio::test]
async fn another_parent_is_asked_too_before_one_is_given_up() {
    let origin = Origin::start(|seen| Reply::fresh(600, seen.target.clone())).await;
    // Longer than the test may take: nobody is given up.
    let (_tiers, parents, edge) = tiers(&origin, "6s").await;
    parents[0].signal("STOP");
    let mut asking = Vec::new();
    for number in 0..20 {
        let mut client = edge.client().await;
        client.ask("GET", &format!("/{number}"), &[]).await;
        asking.push(client);
    }
    for (number, client) in asking.iter_mut().enumerate() {
        assert_eq!(client.answer().await.text(), format!("/{number}"));
    }
    let metrics = edge.metrics().await;
    assert!(hedges(&metrics) >= 1.0);
    assert_eq!(metrics.sum("larder_tiered_direct_total", &[]), 0.0);
    // Nobody waits for it now, and it is not out before it was silent for so long.
    for number in 20..40 {
        assert_eq!(edge.get(&format!("/{number}")).await.status, 200);
    }
    assert_eq!(origin.total(), 40, "each is asked for once");
    parents[0].signal("CONT");
    edge.metrics_when(|metrics| metrics.sum("larder_tiered_parent_up", &[]) == 2.0)
        .await;
}

#[tokio::test]
async fn the_rest_of_a_body_of_a_frozen_parent_comes_from_the_other() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |seen| {
        let reply = Reply::fresh(600, "a".repeat(100_000)).with("ETag", "\"same\"");
        let reply = reply.claiming(150_000);
        match seen.nth {
            1 => reply.wait(&held).then("b".repeat(50_000)),
            _ => reply.then("b".repeat(50_000)),
        }
    })
    .await;
    let (_tiers, parents, edge) = tiers(&origin, "1s").await;
    let mut client = edge.client().await;
    client.ask("GET", "/long", &[]).await;
    client.until(10_000).await;
    let asked = who_asked(&origin, "/long");
    parents[asked].signal("STOP");
    let answer = client.answer().await;
    assert_eq!((answer.end, answer.body.len()), (End::Complete, 150_000));
    gate.open();
    parents[asked].signal("CONT");
    eventually(SOON, || origin.count("/long") == 2).await;
}

#[tokio::test]
async fn what_passes_the_cache_by_leaves_a_frozen_parent_too() {
    let origin = Origin::start(|seen| Reply::ok(seen.target.clone())).await;
    let tiers = Tiers::before(&origin.url());
    let parents = [
        Node::start(tiers.parent("p0")).await,
        Node::start(tiers.parent("p1")).await,
    ];
    let edge = tiers
        .edge("edge", &[&parents[0], &parents[1]])
        .table("tier", "pass = \"parent\"")
        .table("tier", "silence = \"1s\"");
    let edge = Node::start(edge).await;
    edge.metrics_when(|metrics| metrics.sum("larder_tiered_parent_up", &[]) == 2.0)
        .await;
    // Connections to both are open and used.
    for number in 0..10 {
        let answer = edge.request("OPTIONS", &format!("/{number}"), &[]).await;
        assert_eq!(answer.status, 200);
    }
    parents[0].signal("STOP");
    let mut asking = Vec::new();
    for number in 0..20 {
        let mut client = edge.client().await;
        client.ask("OPTIONS", &format!("/{number}"), &[]).await;
        asking.push(client);
    }
    for (number, client) in asking.iter_mut().enumerate() {
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.text()), (200, format!("/{number}")));
        assert_eq!(answer.headers("Via"), ["1.1 p1", "1.1 edge"]);
    }
    parents[0].signal("CONT");
}
