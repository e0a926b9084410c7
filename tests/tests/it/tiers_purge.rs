//! Purges across tiers: after a node has applied one, it serves nothing that was purged, however far behind its parent is.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use larder_tests::{
    Client, Gate, Nats, Node, Origin, Relay, Reply, Settings, Tiers, eventually, run_to_exit,
};
use serde_json::Value;
use tokio::time::Instant;

const SOON: Duration = Duration::from_secs(15);

/// Makes the stream, as an operator does; its log's id.
pub(super) async fn init(settings: &Settings) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let token = folder.path().join("token");
    fs::write(&token, "a-token-for-the-tests-of-32-chars").expect("a writable folder");
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let text = settings.text(address(1), address(2), &token);
    fs::write(folder.path().join("larder.toml"), text).expect("a writable folder");
    let arguments = ["fleet", "init", "--config", "larder.toml"];
    let exit = run_to_exit(&arguments, folder.path()).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let log = exit.stdout.rsplit(' ').next().unwrap_or_default();
    log.trim().to_owned()
}

pub(super) fn member(settings: Settings, url: &str) -> Settings {
    settings
        .table("log", "access = \"off\"")
        .table("fleet", &format!("servers = [\"{url}\"]"))
        .table("fleet", "max_lag = \"5m\"")
        .table("fleet", "publish_timeout = \"5s\"")
}

pub(super) async fn purge(node: &Node, body: &str) -> f64 {
    let bearer = format!("Bearer {}", node.token());
    let fields = [("Authorization", bearer.as_str())];
    let mut client = Client::connect(node.admin()).await;
    let answer = client
        .upload("POST", "/v1/purges", &fields, body.as_bytes())
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let receipt: Value = serde_json::from_slice(&answer.body).expect("a receipt");
    receipt["sequence"].as_f64().expect("a sequence")
}

pub(super) async fn applied(node: &Node, sequence: f64) {
    node.metrics_when(|metrics| metrics.sum("larder_purge_sequence", &[]) >= sequence)
        .await;
}

/// Two edges and a parent that follow one log, the parent's through a relay.
struct Fleet {
    _nats: Nats,
    relay: Relay,
    parent: Node,
    edges: [Node; 2],
}

async fn fleet(origin: &Origin) -> Fleet {
    let nats = Nats::start();
    let address = nats
        .url()
        .replace("nats://", "")
        .parse()
        .expect("an address");
    let relay = Relay::to(address).await;
    let tiers = Tiers::before(&origin.url());
    init(&member(tiers.parent("any"), &nats.url())).await;
    let far = format!("nats://{}", relay.address());
    let parent = Node::start(member(tiers.parent("parent"), &far)).await;
    let edge = |name| Node::start(member(tiers.edge(name, &[&parent]), &nats.url()));
    let edges = [edge("a").await, edge("b").await];
    // All know the log, and each other.
    for edge in &edges {
        edge.metrics_when(|metrics| metrics.sum("larder_tiered_parent_up", &[]) == 1.0)
            .await;
        let end = Instant::now() + SOON;
        while chain_length(&edge.get("/ready").await) < 2 && !edge.get("/ready").await.is_hit() {
            assert!(Instant::now() < end, "{:?}", edge.stderr());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Fleet {
        _nats: nats,
        relay,
        parent,
        edges,
    }
}

pub(super) fn chain_length(answer: &larder_tests::Response) -> usize {
    answer
        .headers("Cache-Status")
        .join(", ")
        .split(", ")
        .count()
}

pub(super) async fn tagged() -> Origin {
    Origin::start(|seen| {
        Reply::fresh(600, seen.nth.to_string())
            .with("Surrogate-Key", "tag")
            .with("ETag", &format!("\"{}\"", seen.nth))
    })
    .await
}

#[tokio::test]
async fn a_purge_reaches_what_a_parent_has_that_does_not_know_of_it_yet() {
    let origin = tagged().await;
    let fleet = fleet(&origin).await;
    for (target, scope) in [
        (
            "/tag",
            r#"{"tags":["tag"],"timeout_ms":20000,"wait":"local"}"#,
        ),
        (
            "/url",
            r#"{"urls":["http://www.example.com/url"],"timeout_ms":20000,"wait":"local"}"#,
        ),
        (
            "/soft",
            r#"{"tags":["tag"],"mode":"soft","timeout_ms":20000,"wait":"local"}"#,
        ),
    ] {
        // The answers are numbered. While a tier catches up with the last purge, it may ask for one more.
        let number = async |edge: &Node| -> u32 {
            let answer = edge.get(target).await;
            answer.text().parse().expect("a number")
        };
        let mut last = 0;
        for edge in &fleet.edges {
            last = last.max(number(edge).await);
        }
        fleet.relay.hold();
        let sequence = purge(&fleet.edges[0], scope).await;
        for edge in &fleet.edges {
            applied(edge, sequence).await;
            assert!(number(edge).await > last, "{target}");
        }
        let known = fleet
            .parent
            .metrics()
            .await
            .sum("larder_purge_sequence", &[]);
        assert!(
            known < sequence,
            "the parent must not know of it: {known} {sequence}"
        );
        // What was asked for because of the purge is kept.
        for edge in &fleet.edges {
            let kept = edge.get(target).await;
            assert!(kept.is_hit(), "{target}: {kept:?}");
        }
        fleet.relay.release();
        applied(&fleet.parent, sequence).await;
        for edge in &fleet.edges {
            assert!(edge.get(target).await.is_hit(), "{target}");
        }
    }
    let repeats = fleet.edges[0]
        .metrics()
        .await
        .sum("larder_tiered_repeats_total", &[]);
    assert!(repeats >= 2.0, "{repeats}");
}

#[tokio::test]
async fn a_purge_while_the_parent_asks_the_origin_wins() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |seen| match (seen.target.as_str(), seen.nth) {
        ("/race", 1) => Reply::fresh(600, "old")
            .with("Surrogate-Key", "tag")
            .after(&held),
        _ => Reply::fresh(600, "new").with("Surrogate-Key", "tag"),
    })
    .await;
    let fleet = fleet(&origin).await;
    let mut asking = Vec::new();
    for edge in &fleet.edges {
        let mut client = edge.client().await;
        client.ask("GET", "/race", &[]).await;
        asking.push(client);
    }
    eventually(SOON, || origin.count("/race") == 1).await;
    fleet.relay.hold();
    let body = r#"{"tags":["tag"],"timeout_ms":20000,"wait":"local"}"#;
    let sequence = purge(&fleet.edges[1], body).await;
    for edge in &fleet.edges {
        applied(edge, sequence).await;
    }
    gate.open();
    for client in &mut asking {
        // They asked before the purge: both are right.
        assert_eq!(client.answer().await.status, 200);
    }
    for edge in &fleet.edges {
        assert_eq!(edge.get("/race").await.text(), "new");
    }
    fleet.relay.release();
    applied(&fleet.parent, sequence).await;
    for edge in &fleet.edges {
        assert_eq!(edge.get("/race").await.text(), "new");
    }
}

#[tokio::test]
async fn a_parent_of_another_fleet_is_not_asked() {
    let origin = tagged().await;
    let tiers = Tiers::before(&origin.url());
    let (one, other) = (Nats::start(), Nats::start());
    init(&member(tiers.parent("any"), &one.url())).await;
    init(&member(tiers.parent("any"), &other.url())).await;
    let parent = Node::start(member(tiers.parent("parent"), &one.url())).await;
    let edge = Node::start(member(tiers.edge("edge", &[&parent]), &other.url())).await;
    eventually(SOON, || {
        edge.stderr()
            .iter()
            .any(|line| line.contains("tier-purge-log"))
    })
    .await;
    assert_eq!(chain_length(&edge.get("/a").await), 1);
}
