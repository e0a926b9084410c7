//! Several nodes with one purge log in a NATS server: the real server, killed, frozen and set back.

mod access;
mod cluster;
mod command;
mod lag;
mod losses;
pub(crate) mod set_back;

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use larder_tests::{Client, Exit, Nats, Node, Origin, Reply, Settings, run_to_exit};
use serde_json::Value;
use tokio::time::Instant;

/// What the log and the nodes do by themselves takes less, on a busy machine too.
const SOON: Duration = Duration::from_secs(15);

async fn readiness(node: &Node) -> (u16, String) {
    let answer = Client::connect(node.admin()).await.get("/readyz").await;
    (answer.status, answer.text())
}

/// An origin whose answers count its requests, each with its path's first letter as a tag.
async fn counting() -> Origin {
    Origin::start(|seen| {
        Reply::fresh(600, seen.nth.to_string())
            .with("Surrogate-Key", &seen.target[1..2])
            .with("ETag", &format!("\"{}\"", seen.nth))
    })
    .await
}

fn member(origin: &Origin, nats: &Nats, name: &str) -> Settings {
    through(origin, &format!("[\"{}\"]", nats.url()), name)
}

/// A node whose log is at these servers, a list in TOML.
fn through(origin: &Origin, servers: &str, name: &str) -> Settings {
    let servers = format!("servers = {servers}");
    Settings::origins(&[&origin.url()])
        .table("node", &format!("name = \"{name}\""))
        .table("log", "access = \"off\"")
        .table("fleet", &servers)
        .table("fleet", "publish_timeout = \"5s\"")
}

/// Makes the stream, as an operator does; its log's id.
pub(crate) async fn init(settings: &Settings) -> String {
    let exit = fleet_init(settings, &[]).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let log = exit.stdout.rsplit(' ').next().unwrap_or_default();
    log.trim().to_owned()
}

/// What `larder fleet init` says.
async fn fleet_init(settings: &Settings, arguments: &[&str]) -> Exit {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let token = folder.path().join("token");
    fs::write(&token, "a-token-for-the-tests-of-32-chars").expect("a writable folder");
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let text = settings.text(address(1), address(2), &token);
    fs::write(folder.path().join("larder.toml"), text).expect("a writable folder");
    let fixed = ["fleet", "init", "--config", "larder.toml"];
    let arguments: Vec<_> = fixed.iter().chain(arguments).copied().collect();
    run_to_exit(&arguments, folder.path()).await
}

async fn fleet_of(count: usize, origin: &Origin, nats: &Nats) -> Vec<Node> {
    let names = ["a", "b", "c"];
    init(&member(origin, nats, "any")).await;
    let mut nodes = Vec::new();
    for name in &names[..count] {
        nodes.push(Node::start(member(origin, nats, name)).await);
    }
    nodes
}

/// Up to where a node has applied its log.
async fn applied(node: &Node) -> f64 {
    node.metrics().await.sum("larder_purge_sequence", &[])
}

fn sequence(receipt: &Value) -> f64 {
    receipt["sequence"].as_f64().expect("a sequence")
}

/// Waits until a node has applied a purge.
async fn has_applied(node: &Node, receipt: &Value) {
    let end = Instant::now() + SOON;
    while applied(node).await < sequence(receipt) {
        assert!(Instant::now() < end, "not applied after {SOON:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_purge_on_one_node_is_one_on_all() {
    let (nats, origin) = (Nats::start(), counting().await);
    let nodes = fleet_of(3, &origin, &nats).await;
    for node in &nodes {
        node.get("/x").await;
        node.get("/other").await;
        assert!(node.get("/x").await.is_hit());
    }
    let receipt = nodes[1].purge(r#"{"tags":["x"],"timeout_ms":20000}"#).await;
    for node in &nodes {
        has_applied(node, &receipt).await;
        assert!(!node.get("/x").await.is_hit());
        assert!(node.get("/other").await.is_hit());
    }
}

#[tokio::test]
async fn a_node_that_was_away_replays_before_it_is_ready_and_serves_nothing_purged() {
    let (nats, origin) = (Nats::start(), counting().await);
    let mut nodes = fleet_of(2, &origin, &nats).await;
    let many = many();
    let mut away = nodes.remove(1);
    away.get("/x").await;
    nodes[0]
        .purge(r#"{"tags":["nothing"],"timeout_ms":20000}"#)
        .await;
    away.signal("STOP");
    let last = purge_many(&nodes[0], many).await;
    let receipt = nodes[0].purge(r#"{"tags":["x"],"timeout_ms":20000}"#).await;
    assert!(sequence(&receipt) > sequence(&last));
    away.signal("CONT");
    has_applied(&away, &receipt).await;
    assert!(!away.get("/x").await.is_hit());

    // Killed, it comes back to where it was.
    away.kill();
    purge_many(&nodes[0], many).await;
    let receipt = nodes[0].purge(r#"{"tags":["y"],"timeout_ms":20000}"#).await;
    let began = Instant::now();
    away.begin_again();
    away.wait_ready().await;
    let took = began.elapsed();
    assert!(applied(&away).await >= sequence(&receipt));
    told(&format!("a start with {many} purges to replay: {took:?}"));
}

/// Purges in this test: a few, or as many as `LARDER_FLEET_PURGES` says.
fn many() -> usize {
    let many = std::env::var("LARDER_FLEET_PURGES").ok();
    many.and_then(|many| many.parse().ok()).unwrap_or(200)
}

#[expect(clippy::print_stderr, reason = "a figure for people")]
fn told(text: &str) {
    eprintln!("{text}");
}

/// Many purges on a few connections; the last one's receipt.
async fn purge_many(node: &Node, count: usize) -> Value {
    let connections = 32.min(count);
    let mut all = tokio::task::JoinSet::new();
    for nth in 0..connections {
        let (admin, token) = (node.admin(), node.token());
        let share = count / connections + usize::from(nth < count % connections);
        all.spawn(async move {
            let bearer = format!("Bearer {token}");
            let fields = [("Authorization", bearer.as_str())];
            let mut client = Client::connect(admin).await;
            for each in 0..share {
                let body = format!("{{\"tags\":[\"t{nth}-{each}\"],\"timeout_ms\":20000}}");
                let answer = client.upload("POST", "/v1/purges", &fields, body.as_bytes());
                let answer = answer.await;
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
        });
    }
    all.join_all().await;
    node.purge(r#"{"tags":["last"],"timeout_ms":20000}"#).await
}

#[tokio::test]
async fn a_server_killed_under_publishing_loses_no_purge_and_doubles_none() {
    let (mut nats, origin) = (Nats::start(), counting().await);
    let nodes = fleet_of(2, &origin, &nats).await;
    let (admin, token) = (nodes[0].admin(), nodes[0].token());
    let publishing = tokio::spawn(async move {
        let bearer = format!("Bearer {token}");
        let fields = [("Authorization", bearer.as_str())];
        let mut client = Client::connect(admin).await;
        let mut acknowledged = Vec::new();
        for nth in 0..150 {
            let body = format!("{{\"tags\":[\"t{nth}\"],\"timeout_ms\":20000}}");
            let answer = client.upload("POST", "/v1/purges", &fields, body.as_bytes());
            let answer = answer.await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let receipt: Value = serde_json::from_slice(&answer.body).unwrap();
            acknowledged.push((receipt["sequence"].clone(), receipt["id"].clone()));
        }
        acknowledged
    });
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(60)).await;
        nats.kill();
        nats.begin();
    }
    let acknowledged = publishing.await.unwrap();
    let last = &acknowledged.last().unwrap().0;
    has_applied(&nodes[1], &serde_json::json!({ "sequence": last })).await;
    for node in &nodes {
        assert_eq!(trail(node).await, acknowledged, "each once, in one order");
    }
}

/// The purges that a node has applied, in their order: sequences and identifiers.
async fn trail(node: &Node) -> Vec<(Value, Value)> {
    let list = node.api("GET", "/v1/purges?limit=1000", "").await;
    let list: Value = serde_json::from_slice(&list.body).expect("JSON");
    let newest_first = list["purges"].as_array().expect("purges").iter();
    let all = newest_first
        .rev()
        .map(|receipt| (receipt["sequence"].clone(), receipt["id"].clone()));
    all.collect()
}

#[tokio::test]
async fn without_the_log_a_purge_is_refused_and_applied_nowhere() {
    let (mut nats, origin) = (Nats::start(), counting().await);
    let settings = member(&origin, &nats, "a").table("fleet", "publish_timeout = \"300ms\"");
    init(&settings).await;
    let node = Node::start(settings).await;
    node.get("/x").await;
    nats.kill();
    let answer = node
        .api("POST", "/v1/purges", r#"{"tags":["x"],"timeout_ms":20000}"#)
        .await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(node.get("/x").await.is_hit(), "not on this node alone");
    nats.begin();
    node.metrics_when(|it| it.sum("larder_purge_publish_failures_total", &[]) >= 1.0)
        .await;
}

#[tokio::test]
async fn a_purge_may_wait_in_the_outbox_until_the_log_is_back() {
    let (mut nats, origin) = (Nats::start(), counting().await);
    let settings = |name| {
        member(&origin, &nats, name)
            .table("fleet", "publish_timeout = \"300ms\"")
            .table("fleet", "unreachable = \"queue\"")
    };
    init(&settings("any")).await;
    let mut nodes = [
        Node::start(settings("a")).await,
        Node::start(settings("b")).await,
    ];
    nodes[1].get("/x").await;
    nats.kill();
    let answer = nodes[0]
        .api("POST", "/v1/purges", r#"{"tags":["x"],"timeout_ms":20000}"#)
        .await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert!(answer.text().contains("\"state\":\"queued\""));
    let id = answer.json()["id"]
        .as_str()
        .expect("an identifier")
        .to_owned();
    let state_of = async |node: &Node| {
        let answer = node.api("GET", &format!("/v1/purges/{id}"), "").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["state"].clone()
    };
    assert_eq!(state_of(&nodes[0]).await, "queued");
    // It survives the node, too.
    nodes[0].kill();
    nodes[0].begin_again();
    nats.begin();
    nodes[0].wait_ready().await;
    let end = Instant::now() + SOON;
    while nodes[1].get("/x").await.is_hit() {
        assert!(Instant::now() < end, "never purged");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    nodes[0]
        .metrics_when(|it| it.sum("larder_purge_queued", &[]) == 0.0)
        .await;
    let end = Instant::now() + SOON;
    while state_of(&nodes[0]).await != "applied" {
        assert!(Instant::now() < end, "never told as applied");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_stream_is_made_once_and_checked_from_then_on() {
    let (nats, origin) = (Nats::start(), counting().await);
    let settings = member(&origin, &nats, "a");
    let log = init(&settings).await;
    assert_eq!(log.len(), 32);
    assert_eq!(init(&settings).await, log);
}

#[tokio::test]
async fn who_waits_for_all_is_told_of_each_node_and_of_those_that_are_missing() {
    let (nats, origin) = (Nats::start(), counting().await);
    let nodes = fleet_of(3, &origin, &nats).await;
    for node in &nodes {
        node.metrics_when(|it| it.sum("larder_fleet_nodes", &[]) == 3.0)
            .await;
    }
    let all = r#"{"tags":["x"],"wait":"all","timeout_ms":10000}"#;
    let receipt = nodes[0].purge(all).await;
    assert_eq!(receipt["state"], "applied", "{receipt}");
    assert_eq!(names(&receipt), ["a", "b", "c"]);
    for node in receipt["nodes"].as_array().unwrap() {
        assert!(node["applied_at"].is_string(), "{receipt}");
    }
    nodes[2].signal("STOP");
    let answer = nodes[0]
        .api(
            "POST",
            "/v1/purges",
            r#"{"tags":["y"],"wait":"all","timeout_ms":300}"#,
        )
        .await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let receipt: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(receipt["missing"], serde_json::json!(["c"]));
    nodes[2].signal("CONT");
    // Whoever asks later is told when it was applied there.
    let target = format!("/v1/purges/{}", receipt["id"].as_str().unwrap());
    let end = Instant::now() + SOON;
    loop {
        let answer = nodes[0].api("GET", &target, "").await;
        let receipt: Value = serde_json::from_slice(&answer.body).unwrap();
        if names(&receipt) == ["a", "b", "c"] {
            break;
        }
        assert!(Instant::now() < end, "{receipt}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn names(receipt: &Value) -> Vec<&str> {
    let nodes = receipt["nodes"].as_array().expect("nodes").iter();
    nodes.filter_map(|node| node["node"].as_str()).collect()
}
