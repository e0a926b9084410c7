//! Nodes beside each other that share the keys: each key has one owner, and what many ask for has copies.

use std::time::Duration;

use larder_tests::{Gate, Node, Origin, Reply, Response, Settings, Tiers, eventually, free_port};
use serde_json::Value;

use crate::SOON;

/// Starts siblings with these names, and waits until each asks the others.
async fn siblings(origin: &Origin, names: &[&str]) -> (Tiers, Vec<Node>) {
    let tiers = Tiers::before(&origin.url());
    let ports: Vec<u16> = names.iter().map(|_| free_port()).collect();
    let all: Vec<String> = names
        .iter()
        .zip(&ports)
        .map(|(name, port)| format!("\"http://127.0.0.1:{port} id=of-{name}\""))
        .collect();
    let all = format!("siblings = [{}]", all.join(", "));
    let mut nodes = Vec::new();
    for (name, port) in names.iter().zip(&ports) {
        let settings = tiers
            .join(name, Settings::origins(&[&origin.url()]))
            .table("tier", &all);
        let settings = settings.listener(&format!("\"127.0.0.1:{port}\""));
        nodes.push(Node::start(settings).await);
    }
    let others = (names.len() - 1) as f64;
    for node in &nodes {
        node.metrics_when(|metrics| metrics.sum("larder_tiered_parent_up", &[]) == others)
            .await;
    }
    (tiers, nodes)
}

/// Whether another node answered, and how.
fn from_sibling(answer: &Response) -> bool {
    answer.headers("Cache-Status").join(", ").contains(", ")
}

#[tokio::test]
async fn each_key_is_asked_for_once_and_stored_by_its_owner() {
    let origin = Origin::start(|seen| Reply::fresh(600, seen.target.clone())).await;
    let (_tiers, nodes) = siblings(&origin, &["a", "b", "c"]).await;
    let mut owned = [0; 3];
    for number in 0..30 {
        let target = format!("/{number}");
        for (at, node) in nodes.iter().enumerate() {
            let answer = node.get(&target).await;
            assert_eq!(answer.text(), target);
            owned[at] += usize::from(!from_sibling(&answer));
        }
        assert_eq!(origin.count(&target), 1);
    }
    assert_eq!(
        owned.iter().sum::<usize>(),
        30,
        "every key has one owner: {owned:?}"
    );
    assert!(owned.iter().all(|owned| *owned > 2), "{owned:?}");
    let objects = nodes[0].metrics().await.sum("larder_cache_objects", &[]);
    assert_eq!(objects, owned[0] as f64, "what others own is not stored");
}

#[tokio::test]
async fn what_many_ask_for_has_a_short_copy_everywhere() {
    let origin = Origin::start(|seen| Reply::fresh(600, seen.nth.to_string())).await;
    let (_tiers, mut nodes) = siblings(&origin, &["a", "b"]).await;
    nodes[0].get("/hot").await;
    let owner = usize::from(from_sibling(&nodes[0].get("/hot").await));
    let other = &mut nodes[1 - owner];
    assert!(from_sibling(&other.get("/hot").await));
    let mut client = other.client().await;
    let mut copied = false;
    for _ in 0..100 {
        let answer = client.get("/hot").await;
        assert_eq!(answer.text(), "1");
        copied |= answer.is_hit();
    }
    assert!(copied, "a hundred requests make a key hot");
    assert!(client.get("/hot").await.is_hit());
    other.advance(Duration::from_secs(11));
    let later = client.get("/hot").await;
    assert_eq!(
        (later.text().as_str(), later.is_hit()),
        ("1", false),
        "{later:?}"
    );
    assert_eq!(origin.count("/hot"), 1);
}

#[tokio::test]
async fn a_sibling_that_is_gone_costs_no_client_an_error() {
    let origin = Origin::start(|seen| Reply::fresh(600, seen.target.clone())).await;
    let (_tiers, mut nodes) = siblings(&origin, &["a", "b"]).await;
    for number in 0..20 {
        nodes[0].get(&format!("/{number}")).await;
    }
    nodes[1].kill();
    for number in 0..40 {
        let answer = nodes[0].get(&format!("/{number}")).await;
        assert_eq!((answer.status, answer.text()), (200, format!("/{number}")));
    }
}

#[tokio::test]
async fn a_copy_goes_with_its_purge_and_a_key_with_its_owner() {
    let origin = Origin::start(|seen| match seen.method.as_str() {
        "GET" => Reply::fresh(600, seen.nth.to_string()).with("ETag", &format!("\"{}\"", seen.nth)),
        _ => Reply::ok(""),
    })
    .await;
    let (_tiers, nodes) = siblings(&origin, &["a", "b", "c"]).await;
    let mut others = Vec::new();
    for node in &nodes {
        if from_sibling(&node.get("/k").await) {
            others.push(node);
        }
    }
    assert_eq!(others.len(), 2);
    // An unsafe request makes the owner forget, whichever node it comes to.
    let mut client = others[0].client().await;
    assert_eq!(client.upload("POST", "/k", &[], b"x").await.status, 200);
    assert_eq!(others[1].get("/k").await.text(), "3");
    let mut client = others[1].client().await;
    while !client.get("/k").await.is_hit() {}
    let bearer = format!("Bearer {}", others[1].token());
    let fields = [("Authorization", bearer.as_str())];
    let mut admin = larder_tests::Client::connect(others[1].admin()).await;
    let url = r#"{"urls":["http://www.example.com/k"]}"#;
    let purged = admin
        .upload("POST", "/v1/purges", &fields, url.as_bytes())
        .await;
    assert_eq!(purged.status, 200, "{}", purged.text());
    assert!(from_sibling(&client.get("/k").await), "the copy is gone");
}

#[tokio::test]
async fn siblings_ask_their_parent_once_for_all() {
    let origin = Origin::start(|seen| Reply::fresh(600, seen.target.clone())).await;
    let tiers = Tiers::before(&origin.url());
    let parent = Node::start(tiers.parent("parent")).await;
    let ports = [free_port(), free_port()];
    let all = format!(
        "siblings = [\"http://127.0.0.1:{}\", \"http://127.0.0.1:{}\"]",
        ports[0], ports[1]
    );
    let mut nodes = Vec::new();
    for (name, port) in [("a", ports[0]), ("b", ports[1])] {
        let settings = tiers.edge(name, &[&parent]).table("tier", &all);
        nodes.push(Node::start(settings.listener(&format!("\"127.0.0.1:{port}\""))).await);
    }
    for node in &nodes {
        node.metrics_when(|metrics| metrics.sum("larder_tiered_parent_up", &[]) == 2.0)
            .await;
    }
    let mut steps = [0; 4];
    for number in 0..20 {
        for node in &nodes {
            let answer = node.get(&format!("/{number}")).await;
            assert_eq!(answer.text(), format!("/{number}"));
            steps[answer
                .headers("Cache-Status")
                .join(", ")
                .split(", ")
                .count()] += 1;
        }
    }
    assert_eq!(origin.total(), 20);
    let asked = parent
        .metrics()
        .await
        .sum("larder_tiered_peer_requests_total", &[("verdict", "taken")]);
    assert!(steps[3] > 0, "through a sibling and the parent: {steps:?}");
    assert_eq!(steps[0], 0);
    assert!(asked >= 20.0);
    // The client's, whose line may come behind that of the sibling that asks next.
    let of_the_client = |line: &Value| line["path"] == "/0" && line["protocol"] == "HTTP/1.1";
    let line = || nodes[0].log_lines().into_iter().find(of_the_client);
    eventually(SOON, || line().is_some()).await;
    assert_eq!(line().expect("a line")["tier"], "parent");
}

#[tokio::test]
async fn a_site_serves_stale_while_its_owner_revalidates_whichever_node_is_asked() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |seen| {
        let reply = Reply::ok(seen.nth.to_string())
            .with("Cache-Control", "max-age=100, stale-while-revalidate=600");
        match seen.nth {
            1 => reply,
            _ => reply.after(&held),
        }
    })
    .await;
    let (_tiers, mut nodes) = siblings(&origin, &["a", "b"]).await;
    let began = tokio::time::Instant::now();
    nodes[0].get("/k").await;
    let owner = usize::from(from_sibling(&nodes[0].get("/k").await));
    let other = 1 - owner;
    assert!(from_sibling(&nodes[other].get("/k").await));
    for node in &mut nodes {
        node.advance(Duration::from_secs(200));
    }
    // The origin does not answer now, and no client waits for it.
    let stale = nodes[other].get("/k").await;
    assert_eq!(stale.text(), "1");
    assert!(from_sibling(&stale));
    assert!(stale.is_aged(200, began), "{:?}", stale.age());
    let began = tokio::time::Instant::now();
    eventually(SOON, || origin.count("/k") == 2).await;
    assert_eq!(nodes[other].get("/k").await.text(), "1");
    assert_eq!(nodes[owner].get("/k").await.text(), "1");
    assert_eq!(origin.count("/k"), 2, "one request for all");
    gate.open();
    let end = tokio::time::Instant::now() + SOON;
    while nodes[other].get("/k").await.text() != "2" {
        assert!(tokio::time::Instant::now() < end);
    }
    let fresh = nodes[other].get("/k").await;
    assert!(fresh.is_aged(0, began), "{:?}", fresh.age());
    assert_eq!(origin.count("/k"), 2);
}
