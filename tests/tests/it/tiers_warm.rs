//! Connections between tiers are open before they are needed, and a burst of misses opens few.

use larder_tests::{Gate, Metrics, Node, Origin, Relay, Reply, Tiers};

/// All at once, each at the edge on a connection of its own.
const BURST: usize = 300;
/// What an edge has, and so the most connections to a parent.
const THREADS: f64 = 2.0;

fn opened(metrics: &Metrics) -> f64 {
    metrics.sum("larder_tiered_connections_opened_total", &[])
}

fn under_way(metrics: &Metrics) -> f64 {
    metrics.sum("larder_tiered_in_flight", &[])
}

fn up(metrics: &Metrics) -> bool {
    metrics.sum("larder_tiered_parent_up", &[]) == 1.0
}

async fn held(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::start(move |_| Reply::fresh(600, "x").after(&gate)).await
}

#[tokio::test]
async fn a_burst_on_a_node_that_was_never_asked_opens_few_connections() {
    let gate = Gate::closed();
    let origin = held(&gate).await;
    let tiers = Tiers::before(&origin.url());
    let parent = tiers.parent("parent").table("limits", "h2_streams = 1000");
    let mut parent = Node::start(parent).await;
    let edge = tiers
        .edge("edge", &[&parent])
        .table("tier", "silence = \"1m\"");
    let edge = Node::start(edge).await;
    let metrics = edge.metrics_when(up).await;
    assert_eq!(opened(&metrics), 1.0, "there is one before anybody asks");
    let mut asking = Vec::new();
    for number in 0..BURST {
        let mut client = edge.client().await;
        client.ask("GET", &format!("/{number}"), &[]).await;
        asking.push(client);
    }
    let metrics = edge
        .metrics_when(|metrics| under_way(metrics) >= BURST as f64)
        .await;
    assert!(opened(&metrics) <= THREADS, "{}", opened(&metrics));
    gate.open();
    for client in &mut asking {
        assert_eq!(client.answer().await.text(), "x");
    }
    // How often a connection is used again is to be read from two counters.
    let metrics = edge.metrics().await;
    let sent = metrics.sum("larder_tiered_connection_requests_total", &[]);
    assert!(sent / opened(&metrics) >= BURST as f64 / THREADS);

    // A parent that comes back is connected to before anybody asks, too.
    let before = opened(&metrics);
    parent.kill();
    edge.metrics_when(|metrics| !up(metrics)).await;
    parent.begin_again();
    parent.wait_ready().await;
    let metrics = edge.metrics_when(up).await;
    assert_eq!(opened(&metrics), before + 1.0);
    assert_eq!(metrics.sum("larder_tiered_connections", &[]), 1.0);
}

#[tokio::test]
async fn a_burst_before_the_first_connection_waits_for_one() {
    let origin = Origin::start(|seen| Reply::fresh(600, seen.target.clone())).await;
    let tiers = Tiers::before(&origin.url());
    let parent = tiers
        .parent("parent")
        // It hears nothing for as long as the burst takes to begin.
        .table("limits", "head_timeout = \"1m\"");
    let parent = Node::start(parent).await;
    // What is sent to it waits, and so does what it says.
    let relay = Relay::to(parent.address()).await;
    relay.hold();
    let settings = tiers
        .edge("edge", &[])
        .table(
            "tier",
            &format!("parents = [\"http://{}\"]", relay.address()),
        )
        .table("tier", "silence = \"1m\"")
        .table("tier", "connect_timeout = \"1m\"");
    let edge = Node::start(settings).await;
    let mut asking = Vec::new();
    for number in 0..BURST {
        let mut client = edge.client().await;
        client.ask("GET", &format!("/{number}"), &[]).await;
        asking.push(client);
    }
    edge.metrics_when(|metrics| under_way(metrics) >= BURST as f64)
        .await;
    relay.release();
    for (number, client) in asking.iter_mut().enumerate() {
        assert_eq!(client.answer().await.text(), format!("/{number}"));
    }
    let metrics = edge.metrics().await;
    assert!(opened(&metrics) <= THREADS, "{}", opened(&metrics));
    assert_eq!(metrics.sum("larder_tiered_direct_total", &[]), 0.0);
}
