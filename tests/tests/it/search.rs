//! `No-Vary-Search`: queries that make no difference to a resource share its response.

use larder_tests::{Client, Gate, Node, Origin, Reply, Settings, eventually};

use super::{SOON, seconds};

async fn saying(field: &'static str) -> (Origin, Node) {
    let origin = Origin::start(move |seen| {
        Reply::fresh(600, seen.target.clone()).with("No-Vary-Search", field)
    })
    .await;
    let node = Node::before(&origin.url()).await;
    // The first response of a path is stored under its own query, and teaches what the others mean.
    node.get("/p?first").await;
    (origin, node)
}

#[tokio::test]
async fn queries_that_mean_the_same_share_a_response() {
    let (origin, node) = saying("key-order, params=(\"utm\" \"fbclid\")").await;
    let stored = node.get("/p?a=1&b=2&utm=x").await;
    assert!(!stored.is_hit());
    for same in ["/p?a=1&b=2", "/p?b=2&a=1", "/p?utm=y&b=2&fbclid=z&a=%31"] {
        let answer = node.get(same).await;
        assert!(answer.is_hit(), "{same}: {}", answer.cache_status());
        assert_eq!(answer.body, stored.body);
        assert!(answer.header("No-Vary-Search").is_some());
    }
    for other in ["/p?a=1", "/p?a=2&b=2", "/p?a=1&b=2&c", "/q?a=1&b=2"] {
        assert!(!node.get(other).await.is_hit(), "{other}");
    }
    assert_eq!(origin.total(), 6);
}

#[tokio::test]
async fn requests_at_once_for_equal_queries_share_a_fill() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |seen| {
        let reply = Reply::fresh(600, "x").with("No-Vary-Search", "params=(\"utm\")");
        if seen.target.contains("slow") {
            reply.after(&held)
        } else {
            reply
        }
    })
    .await;
    let node = Node::before(&origin.url()).await;
    node.get("/p").await;
    let mut clients = Vec::new();
    for number in 0..10 {
        let mut client = node.client().await;
        client
            .ask("GET", &format!("/p?slow&utm={number}"), &[])
            .await;
        clients.push(client);
    }
    eventually(SOON, || origin.total() == 2).await;
    gate.open();
    for client in &mut clients {
        assert_eq!(client.answer().await.text(), "x");
    }
    assert_eq!(origin.total(), 2);
}

#[tokio::test]
async fn an_origin_that_says_otherwise_for_one_query_is_believed() {
    let origin = Origin::start(|seen| {
        let reply = Reply::fresh(600, seen.target.clone());
        match seen.target.contains("exact") {
            true => reply,
            false => reply.with("No-Vary-Search", "params=(\"utm\")"),
        }
    })
    .await;
    let node = Node::before(&origin.url()).await;
    for _ in 0..3 {
        node.get("/p?utm=0").await;
        for target in ["/p?exact&utm=1", "/p?exact&utm=2"] {
            assert_eq!(node.get(target).await.text(), target);
            assert_eq!(node.get(target).await.text(), target);
        }
    }
}

#[tokio::test]
async fn an_origin_may_change_its_mind() {
    let origin = Origin::start(|seen| {
        let reply = Reply::fresh(60, seen.target.clone()).with("ETag", "\"1\"");
        match seen.is_conditional() {
            // RFC 9111 §3.2: the field is updated, and this one away.
            true => Reply::status(304)
                .with("ETag", "\"1\"")
                .with("No-Vary-Search", "key-order"),
            false => reply.with("No-Vary-Search", "params=(\"utm\")"),
        }
    })
    .await;
    let mut node = Node::before(&origin.url()).await;
    node.get("/p").await;
    node.get("/p?utm=1").await;
    assert!(node.get("/p?utm=2").await.is_hit());
    node.advance(seconds(61));
    assert_eq!(
        node.get("/p?utm=2").await.cache_parameter("fwd-status"),
        Some("304")
    );
    assert!(!node.get("/p?utm=3").await.is_hit());
}

#[tokio::test]
async fn the_sites_own_rules_come_first_and_purges_reach_all() {
    let origin = Origin::start(|seen| {
        Reply::fresh(600, seen.target.clone()).with("No-Vary-Search", "key-order")
    })
    .await;
    let settings =
        Settings::origins(&[&origin.url()]).site("key = { query = { except = [\"session\"] } }");
    let node = Node::start(settings).await;
    node.get("/p").await;
    node.get("/p?a&b&session=1").await;
    assert!(node.get("/p?b&session=2&a").await.is_hit());

    // Invalidated under another spelling (RFC 9111 §4.4), and purged under a third.
    node.request("POST", "/p?b&a", &[]).await;
    assert!(!node.get("/p?a&b").await.is_hit());
    assert!(node.get("/p?b&a").await.is_hit());
    let bearer = format!("Bearer {}", node.token());
    let mut admin = Client::connect(node.admin()).await;
    let url = "http://www.example.com/p?session=3&b&a".to_owned();
    let body = format!("{{\"urls\":[\"{url}\"]}}");
    let fields = [("Authorization", bearer.as_str())];
    let purged = admin
        .upload("POST", "/v1/purges", &fields, body.as_bytes())
        .await;
    assert!(purged.status < 300, "{}", purged.text());
    assert!(!node.get("/p?a&b").await.is_hit());
}
