//! The race: a purge while the origin is being asked. After its acknowledgement nobody who asks gets the old version,
//! whatever the scope, hard or soft, before the response's head or during its body, alone or in company.

use std::sync::Arc;
use std::time::Duration;

use larder_tests::{Client, Gate, Node, Origin, Reply, eventually};

const SOON: Duration = Duration::from_secs(5);

/// Keys of each scope that name `/N`.
const SCOPES: [&str; 8] = [
    r#""urls":["http://www.example.com/N"]"#,
    r#""tags":["tag-N"]"#,
    r#""prefixes":["http://www.example.com/N"]"#,
    r#""hosts":["www.example.com"]"#,
    r#""all":true,"site":"main""#,
    r#""all":true"#,
    r#""tags":["other"],"urls":["https://www.example.com/N"]"#,
    r#""keys":["KEY"]"#,
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    BeforeHead,
    DuringBody,
}

/// An origin that answers the first request for `/N` with `old`, held at the gate `N`, and later ones with `new`.
async fn slow(phase: Phase, gates: Arc<Vec<Gate>>) -> Origin {
    Origin::start(move |seen| {
        let number: usize = seen.target[1..].parse().expect("a number");
        let reply = match (seen.nth, phase) {
            (1, Phase::BeforeHead) => Reply::fresh(600, "old").after(&gates[number]),
            (1, Phase::DuringBody) => Reply::fresh(600, "old").wait(&gates[number]).then("old"),
            _ => Reply::fresh(600, "new"),
        };
        reply.with("Surrogate-Key", &format!("tag-{number}"))
    })
    .await
}

async fn asks(node: &Node, target: &str) -> Client {
    let mut client = node.client().await;
    client.ask("GET", target, &[]).await;
    client
}

/// The keys that the targets are stored under, as another node of the same configuration tells them.
async fn keys() -> Vec<String> {
    let origin = Origin::start(|_| Reply::fresh(600, "any")).await;
    let node = Node::before(&origin.url()).await;
    let mut keys = Vec::new();
    for number in 0..SCOPES.len() {
        node.get(&format!("/{number}")).await;
        let url = format!("http://www.example.com/{number}");
        let preview = node
            .purge(&format!(r#"{{"urls":["{url}"],"dry_run":true}}"#))
            .await;
        let key = preview["samples"][0]["key"].as_str();
        keys.push(key.expect("a sample").to_owned());
    }
    keys
}

async fn race(phase: Phase, mode: &str) {
    let gates: Arc<Vec<Gate>> = Arc::new(SCOPES.iter().map(|_| Gate::closed()).collect());
    let origin = slow(phase, Arc::clone(&gates)).await;
    let node = Node::before(&origin.url()).await;
    let hashes = keys().await;
    for (number, scope) in SCOPES.iter().enumerate() {
        let target = format!("/{number}");
        let case = format!("{phase:?}, {mode}, {scope}");
        let mut leader = asks(&node, &target).await;
        eventually(SOON, || origin.count(&target) == 1).await;
        let followers = [asks(&node, &target).await, asks(&node, &target).await];
        if phase == Phase::DuringBody {
            leader.answer_head().await.expect("a head");
            leader.at_least(3).await;
        }
        let keys = scope.replace("KEY", &hashes[number]);
        let keys = keys.replace('N', &number.to_string());
        node.purge(&format!(r#"{{{keys},"mode":"{mode}"}}"#)).await;
        // These ask after the acknowledgement: the one before the old response goes on, the other one after.
        let mut late = asks(&node, &target).await;
        gates[number].open();
        let later = node.get(&target).await;
        assert_eq!(later.text(), "new", "{case}");
        assert_eq!(late.answer().await.text(), "new", "{case}");
        for mut early in followers {
            // They asked before: what they get is old or new, and whole.
            let text = early.answer().await.text();
            assert!(
                ["old", "oldold", "new"].contains(&text.as_str()),
                "{case}: {text}"
            );
        }
        let kept = node.get(&target).await;
        assert_eq!(
            (kept.text().as_str(), kept.is_hit()),
            ("new", true),
            "{case}"
        );
    }
    let metrics = node.metrics().await;
    if phase == Phase::BeforeHead && mode == "hard" {
        let discarded = metrics.sum("larder_purge_discarded_fills_total", &[]);
        assert!(discarded >= SCOPES.len() as f64, "{discarded}");
    }
}

#[tokio::test]
async fn a_hard_purge_before_the_head_wins() {
    race(Phase::BeforeHead, "hard").await;
}

#[tokio::test]
async fn a_hard_purge_during_the_body_wins() {
    race(Phase::DuringBody, "hard").await;
}

#[tokio::test]
async fn a_soft_purge_before_the_head_wins() {
    race(Phase::BeforeHead, "soft").await;
}

#[tokio::test]
async fn a_soft_purge_during_the_body_wins() {
    race(Phase::DuringBody, "soft").await;
}

#[tokio::test]
async fn a_purge_wins_over_a_refresh_in_the_background() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |seen| {
        let stale = "max-age=1, stale-while-revalidate=600";
        let reply = match seen.nth {
            1 => Reply::ok("first"),
            2 => Reply::ok("old").after(&held),
            _ => Reply::ok("new"),
        };
        reply.with("Cache-Control", stale)
    })
    .await;
    let mut node = Node::before(&origin.url()).await;
    node.get("/a").await;
    node.advance(Duration::from_secs(5));
    assert_eq!(node.get("/a").await.text(), "first");
    eventually(SOON, || origin.count("/a") == 2).await;
    node.purge(r#"{"all":true}"#).await;
    let mut late = asks(&node, "/a").await;
    gate.open();
    assert_eq!(late.answer().await.text(), "new");
    assert_eq!(node.get("/a").await.text(), "new");
}

#[tokio::test]
async fn a_soft_purge_is_refreshed_once_while_what_may_be_sent_is_sent() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |seen| {
        let reply = match seen.nth {
            1 => Reply::ok("old"),
            _ => Reply::ok("new").after(&held),
        };
        reply.with("Cache-Control", "max-age=600, stale-while-revalidate=600")
    })
    .await;
    let node = Node::before(&origin.url()).await;
    node.get("/a").await;
    node.purge(r#"{"all":true,"mode":"soft"}"#).await;
    for _ in 0..5 {
        let answer = node.get("/a").await;
        assert_eq!(answer.text(), "old");
        assert_eq!(
            answer.cache_parameter("detail"),
            Some("stale-while-revalidate")
        );
    }
    eventually(SOON, || origin.count("/a") == 2).await;
    gate.open();
    loop {
        let answer = node.get("/a").await;
        if answer.text() == "new" {
            assert!(answer.is_hit());
            break;
        }
    }
    assert_eq!(origin.count("/a"), 2);
}
