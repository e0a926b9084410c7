//! Edges in front of parents in front of an origin: real nodes, real connections, killed and frozen.

use std::time::Duration;

use larder_tests::{Client, Gate, Metrics, Node, Origin, Reply, Response, Tiers, eventually};
use tokio::time::Instant;

const SOON: Duration = Duration::from_secs(15);

/// An origin whose answers are fresh for ten minutes and count its requests.
async fn counting() -> Origin {
    Origin::start(|seen| Reply::fresh(600, seen.nth.to_string()).with("ETag", "\"one\"")).await
}

fn requests(metrics: &Metrics, parent: &Node, said: &str) -> f64 {
    let id = parent.address().to_string();
    metrics.sum(
        "larder_tiered_requests_total",
        &[("parent", &id), ("said", said)],
    )
}

/// Waits until an edge asks a parent again, or does not any more.
async fn stands(edge: &Node, parent: &Node, up: bool) {
    let id = parent.address().to_string();
    let up = f64::from(u8::from(up));
    edge.metrics_when(|metrics| metrics.sum("larder_tiered_parent_up", &[("parent", &id)]) == up)
        .await;
}

fn chain(answer: &Response) -> Vec<String> {
    let all = answer.headers("Cache-Status").join(", ");
    let members = all
        .split(", ")
        .map(|member| member.split(';').take(2).collect::<Vec<_>>().join(";"));
    members.collect()
}

#[tokio::test]
async fn edges_ask_a_parent_and_the_parent_asks_the_origin_once() {
    let origin = counting().await;
    let tiers = Tiers::before(&origin.url());
    let parent = Node::start(tiers.parent("parent")).await;
    let first = Node::start(tiers.edge("first", &[&parent])).await;
    let second = Node::start(tiers.edge("second", &[&parent])).await;

    let miss = first.get("/a").await;
    assert_eq!((miss.status, miss.text().as_str()), (200, "1"));
    assert_eq!(
        chain(&miss),
        ["parent; fwd=uri-miss", "first; fwd=uri-miss"]
    );
    assert_eq!(miss.headers("Via"), ["1.1 parent", "1.1 first"]);
    assert_eq!(miss.header("Larder-Tier"), None);
    let shared = second.get("/a").await;
    assert_eq!(shared.text(), "1");
    assert_eq!(chain(&shared), ["parent; hit", "second; fwd=uri-miss"]);
    assert!(first.get("/a").await.is_hit());
    assert_eq!(origin.count("/a"), 1);

    let seen = origin.requests().remove(0);
    assert_eq!(seen.field("Larder-Tier"), None);
    assert_eq!(seen.values("Via"), ["1.1 first", "2 parent"]);
    assert_eq!(seen.values("CDN-Loop").len(), 2);
    assert_eq!(seen.field("X-Forwarded-For"), Some("127.0.0.1"));
    let metrics = first.metrics().await;
    assert_eq!(requests(&metrics, &parent, "response"), 1.0);
    assert_eq!(metrics.sum("larder_origin_requests_total", &[]), 0.0);
    assert_eq!(
        metrics.sum("larder_tiered_connections_opened_total", &[]),
        1.0
    );
    assert_eq!(requests(&second.metrics().await, &parent, "hit"), 1.0);
}

#[tokio::test]
async fn all_edges_at_once_cost_the_origin_one_request_for_each_object() {
    const OBJECTS: usize = 40;
    let gate = Gate::closed();
    let held = gate.clone();
    let origin =
        Origin::start(move |seen| Reply::fresh(600, seen.target.clone()).after(&held)).await;
    let tiers = Tiers::before(&origin.url());
    let parents = [
        Node::start(tiers.parent("p1")).await,
        Node::start(tiers.parent("p2")).await,
    ];
    let parents = [&parents[0], &parents[1]];
    let mut edges = Vec::new();
    for name in ["a", "b", "c", "d"] {
        edges.push(Node::start(tiers.edge(name, &parents)).await);
    }
    let mut asking = Vec::new();
    for edge in &edges {
        for object in 0..OBJECTS {
            let mut client = edge.client().await;
            client.ask("GET", &format!("/{object}"), &[]).await;
            asking.push((object, client));
        }
    }
    eventually(SOON, || origin.total() >= OBJECTS).await;
    gate.open();
    for (object, client) in &mut asking {
        assert_eq!(client.answer().await.text(), format!("/{object}"));
    }
    assert_eq!(origin.total(), OBJECTS);
    // Both parents have a share.
    let metrics = edges[0].metrics().await;
    let shares =
        parents.map(|it| requests(&metrics, it, "response") + requests(&metrics, it, "hit"));
    assert!(shares.iter().all(|share| *share > 5.0), "{shares:?}");
}

#[tokio::test]
async fn a_parent_that_is_killed_costs_no_client_an_error() {
    let origin = counting().await;
    let tiers = Tiers::before(&origin.url());
    let mut first = Node::start(tiers.parent("p1")).await;
    let second = Node::start(tiers.parent("p2")).await;
    let edge = Node::start(tiers.edge("edge", &[&first, &second])).await;
    let mut client = edge.client().await;
    for number in 0..30 {
        assert_eq!(client.get(&format!("/before/{number}")).await.status, 200);
    }
    let metrics = edge.metrics().await;
    let kept = requests(&metrics, &second, "response");
    assert!(requests(&metrics, &first, "response") > 0.0);
    first.kill();
    let mut slowest = Duration::ZERO;
    for number in 0..60 {
        let began = Instant::now();
        assert_eq!(client.get(&format!("/after/{number}")).await.status, 200);
        slowest = slowest.max(began.elapsed());
    }
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    let metrics = edge.metrics().await;
    assert_eq!(metrics.sum("larder_tiered_direct_total", &[]), 0.0);
    assert!(requests(&metrics, &second, "response") - kept >= 60.0);
    // It comes back by itself.
    stands(&edge, &first, false).await;
    first.begin_again();
    first.wait_ready().await;
    stands(&edge, &first, true).await;
    let before = requests(&edge.metrics().await, &first, "response");
    for number in 0..30 {
        assert_eq!(client.get(&format!("/again/{number}")).await.status, 200);
    }
    assert!(requests(&edge.metrics().await, &first, "response") > before);
}

#[tokio::test]
async fn a_frozen_parent_is_left_within_the_silence() {
    let origin = counting().await;
    let tiers = Tiers::before(&origin.url());
    let first = Node::start(tiers.parent("p1")).await;
    let second = Node::start(tiers.parent("p2")).await;
    let edge = tiers
        .edge("edge", &[&first, &second])
        .table("tier", "silence = \"700ms\"");
    let edge = Node::start(edge).await;
    edge.get("/warm").await;
    first.signal("STOP");
    let began = Instant::now();
    let mut asking = Vec::new();
    for number in 0..20 {
        let mut client = edge.client().await;
        client.ask("GET", &format!("/{number}"), &[]).await;
        asking.push(client);
    }
    for client in &mut asking {
        assert_eq!(client.answer().await.status, 200);
    }
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    stands(&edge, &first, false).await;
    first.signal("CONT");
    stands(&edge, &first, true).await;
}

#[tokio::test]
async fn without_parents_a_few_requests_go_to_the_origin_and_stale_ones_are_served() {
    let origin =
        Origin::start(|_| Reply::ok("x").with("Cache-Control", "max-age=1, stale-if-error=600"))
            .await;
    let tiers = Tiers::before(&origin.url());
    let mut parent = Node::start(tiers.parent("parent")).await;
    let edge = tiers
        .edge("edge", &[&parent])
        .table("tier", "direct_per_second = 1");
    let mut edge = Node::start(edge).await;
    assert_eq!(edge.get("/stored").await.status, 200);
    parent.kill();
    stands(&edge, &parent, false).await;
    let asked = origin.total();
    edge.advance(Duration::from_secs(5));
    let mut refused = 0;
    for number in 0..20 {
        let answer = edge.get(&format!("/{number}")).await;
        if answer.status == 503 {
            refused += 1;
            let why = answer.header("Proxy-Status").unwrap_or_default();
            assert!(why.contains("destination_unavailable"), "{why}");
            assert!(
                answer.text().contains("no parent of the tier"),
                "{}",
                answer.text()
            );
        }
    }
    let direct = origin.total() - asked;
    assert!(refused >= 10, "{refused}");
    assert_eq!(direct, 20 - refused);
    let stale = edge.get("/stored").await;
    assert_eq!(stale.status, 200);
    assert_ne!(stale.forwarded(), None);
}

#[tokio::test]
async fn an_origins_failure_never_puts_a_parent_out() {
    let origin = Origin::start(|seen| match seen.target.as_str() {
        "/down" => Reply::status(503).with("Retry-After", "1"),
        "/cut" => Reply::hang_up(),
        _ => Reply::fresh(60, "x"),
    })
    .await;
    let tiers = Tiers::before(&origin.url());
    let parent = Node::start(tiers.parent("parent")).await;
    let edge = tiers
        .edge("edge", &[&parent])
        .table("tier", "direct_per_second = 0");
    let edge = Node::start(edge).await;
    for _ in 0..8 {
        let answer = edge.get("/down").await;
        assert_eq!(
            (answer.status, answer.header("Retry-After")),
            (503, Some("1"))
        );
        assert!(edge.get("/cut").await.status >= 500);
    }
    assert_eq!(edge.get("/well").await.status, 200);
    let metrics = edge.metrics().await;
    assert!(requests(&metrics, &parent, "response") >= 9.0);
    assert!(requests(&metrics, &parent, "no-answer") >= 8.0);
    assert_eq!(metrics.sum("larder_tiered_parent_turns_total", &[]), 0.0);
}

#[tokio::test]
async fn ages_add_up_through_three_tiers() {
    let origin = Origin::start(|_| {
        Reply::ok("x")
            .with("Cache-Control", "max-age=110")
            .with("ETag", "\"e\"")
    })
    .await;
    let tiers = Tiers::before(&origin.url());
    let mut top = Node::start(tiers.parent("top")).await;
    let middle = tiers
        .edge("middle", &[&top])
        .table("tier", "role = \"parent\"");
    let mut middle = Node::start(middle).await;
    let mut edge = Node::start(tiers.edge("edge", &[&middle])).await;
    let began = Instant::now();
    top.get("/a").await;
    for node in [&mut top, &mut middle, &mut edge] {
        node.advance(Duration::from_secs(30));
    }
    let answer = edge.get("/a").await;
    assert_eq!(
        chain(&answer),
        ["top; hit", "middle; fwd=uri-miss", "edge; fwd=uri-miss"]
    );
    assert!(answer.is_aged(30, began), "{:?}", answer.age());
    for node in [&mut top, &mut middle, &mut edge] {
        node.advance(Duration::from_secs(60));
    }
    let answer = edge.get("/a").await;
    assert!(answer.is_hit());
    assert!(answer.is_aged(90, began), "{:?}", answer.age());
    // All are stale now, and each asks the next with its validator.
    for node in [&mut top, &mut middle, &mut edge] {
        node.advance(Duration::from_secs(30));
    }
    let began = Instant::now();
    let answer = edge.get("/a").await;
    assert_eq!(answer.forwarded(), Some("stale"));
    assert!(answer.is_aged(0, began), "{:?}", answer.age());
    assert_eq!(origin.count("/a"), 2);
    assert!(origin.requests()[1].is_conditional());
}

#[tokio::test]
async fn only_the_tier_that_faces_the_client_serves_stale_while_it_revalidates() {
    let origin = Origin::start(|seen| {
        Reply::ok(seen.nth.to_string())
            .with("Cache-Control", "max-age=100, stale-while-revalidate=600")
    })
    .await;
    let tiers = Tiers::before(&origin.url());
    let mut parent = Node::start(tiers.parent("parent")).await;
    let mut edge = Node::start(tiers.edge("edge", &[&parent])).await;
    assert_eq!(edge.get("/a").await.text(), "1");
    parent.advance(Duration::from_secs(200));
    edge.advance(Duration::from_secs(200));
    let began = Instant::now();
    let stale = edge.get("/a").await;
    assert_eq!(stale.text(), "1");
    // What the edge gets is new: its parent did not answer with what is stale.
    eventually(SOON, || origin.count("/a") == 2).await;
    let end = Instant::now() + SOON;
    while edge.get("/a").await.text() != "2" {
        assert!(Instant::now() < end);
    }
    let fresh = edge.get("/a").await;
    assert!(fresh.is_hit() && fresh.is_aged(0, began), "{fresh:?}");
    assert_eq!(origin.count("/a"), 2);
}

#[tokio::test]
async fn what_caches_tell_each_other_goes_no_further_than_the_border() {
    let origin = Origin::start(|_| {
        Reply::ok("x")
            .with("Cache-Control", "no-store")
            .with("Larder-Cache-Control", "max-age=600")
            .with("Surrogate-Key", "tag")
    })
    .await;
    let tiers = Tiers::before(&origin.url());
    let parent = Node::start(tiers.parent("parent")).await;
    let edge = Node::start(tiers.edge("edge", &[&parent])).await;
    let answer = edge.get("/a").await;
    assert_eq!(answer.header("Surrogate-Key"), None);
    assert_eq!(answer.header("Larder-Cache-Control"), None);
    assert!(
        edge.get("/a").await.is_hit(),
        "the edge has seen the targeted field"
    );
    let direct = parent.get("/a").await;
    assert!(direct.is_hit());
    assert_eq!(direct.header("Surrogate-Key"), None);
}

#[tokio::test]
async fn what_a_client_says_of_tiers_is_not_believed() {
    let origin = counting().await;
    let tiers = Tiers::before(&origin.url());
    let parent = Node::start(tiers.parent("parent")).await;
    let edge = Node::start(tiers.edge("edge", &[&parent])).await;
    let forged = "v=1; node=edge; at=0; hops=1; scheme=https; for=192.0.2.9; sig=00ff";
    let refused = parent.get_with("/a", &[("Larder-Tier", forged)]).await;
    assert_eq!(
        (refused.status, refused.text().as_str()),
        (403, "tier-key\n")
    );
    let refused = parent.get_with("/a", &[("Larder-Tier", "what")]).await;
    assert_eq!(
        (refused.status, refused.text().as_str()),
        (403, "tier-malformed\n")
    );
    assert_eq!(origin.total(), 0);
    // An edge answers nobody but clients.
    let taken = edge.get_with("/a", &[("Larder-Tier", forged)]).await;
    assert_eq!((taken.status, taken.header("Larder-Tier")), (200, None));
    assert_eq!(
        origin.requests()[0].field("X-Forwarded-For"),
        Some("127.0.0.1")
    );
    assert_eq!(origin.requests()[0].field("Larder-Tier"), None);
}

/// The reason for which an edge does not ask its only parent, and that clients do not notice.
async fn check_unfit(edge: &Node, parent_id: &str, reason: &str) {
    let end = Instant::now() + SOON;
    while !edge
        .stderr()
        .iter()
        .any(|line| line.contains("is not asked any more") && line.contains(reason))
    {
        assert!(Instant::now() < end, "{:?}", edge.stderr());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for number in 0..5 {
        assert_eq!(edge.get(&format!("/{number}")).await.status, 200);
    }
    let metrics = edge.metrics().await;
    assert_eq!(
        metrics.sum("larder_tiered_parent_up", &[("parent", parent_id)]),
        0.0
    );
    assert_eq!(
        metrics.sum("larder_tiered_direct_total", &[("budget", "allowed")]),
        5.0
    );
}

#[tokio::test]
async fn a_parent_with_another_key_or_another_time_is_not_asked() {
    let origin = counting().await;
    let tiers = Tiers::before(&origin.url());
    let mut parent = Node::start(tiers.parent("parent")).await;
    let id = parent.address().to_string();
    let other = tiers.key("other.key", "another-key-for-the-tests-of-32-c");
    let edge = tiers
        .edge("other", &[&parent])
        .table("tier", &format!("key_file = {other:?}"));
    let edge = Node::start(edge).await;
    check_unfit(&edge, &id, "tier's key").await;
    drop(edge);
    parent.advance(Duration::from_secs(120));
    let mut edge = Node::start(tiers.edge("late", &[&parent])).await;
    check_unfit(&edge, &id, "tier-clock").await;
    edge.advance(Duration::from_secs(119));
    stands(&edge, &parent, true).await;
}

#[tokio::test]
async fn a_parent_that_is_no_larder_is_not_asked() {
    let origin = counting().await;
    let stranger = Origin::start_h2c(|_| Reply::fresh(600, "stranger")).await;
    let tiers = Tiers::before(&origin.url());
    let settings = tiers.edge("edge", &[]);
    let id = stranger.url().replace("http://", "");
    let edge = settings.table("tier", &format!("parents = [\"{}\"]", stranger.url()));
    let edge = Node::start(edge).await;
    check_unfit(&edge, &id, "tier's key").await;
    assert_ne!(edge.get("/0").await.text(), "stranger");
}

#[tokio::test]
async fn three_nodes_in_a_loop_end_at_the_origin() {
    let origin = counting().await;
    let tiers = Tiers::before(&origin.url());
    let file = tiers.key("parents", "http://127.0.0.1:1\n");
    let first = tiers
        .parent("first")
        .table("tier", &format!("parents = [\"file:{}\"]", file.display()));
    let first = Node::start(first).await;
    let second = tiers
        .edge("second", &[&first])
        .table("tier", "role = \"parent\"");
    let second = Node::start(second).await;
    let third = tiers
        .edge("third", &[&second])
        .table("tier", "role = \"parent\"");
    let third = Node::start(third).await;
    std::fs::write(
        &file,
        format!("# in a circle\nhttp://{}\n", third.address()),
    )
    .expect("writable");
    stands(&first, &third, true).await;
    for node in [&first, &second, &third] {
        let target = format!("/{}", node.address().port());
        let answer = node.get(&target).await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, "1"),
            "{answer:?}"
        );
        assert_eq!(origin.count(&target), 1);
    }
}

#[tokio::test]
async fn unsafe_requests_go_through_the_parent_which_forgets_too() {
    let origin = Origin::start(|seen| match seen.method.as_str() {
        "GET" => Reply::fresh(600, seen.nth.to_string()),
        _ => Reply::ok(seen.body.clone()),
    })
    .await;
    let tiers = Tiers::before(&origin.url());
    let parent = Node::start(tiers.parent("parent")).await;
    let edge = Node::start(tiers.edge("edge", &[&parent])).await;
    assert_eq!(edge.get("/a").await.text(), "1");
    let mut client = edge.client().await;
    let posted = client.upload("POST", "/a", &[], b"content").await;
    assert_eq!(posted.status, 200);
    assert_eq!(posted.headers("Via"), ["1.1 parent", "1.1 edge"]);
    assert_eq!(edge.get("/a").await.text(), "3");
    // What only passes goes to the origin itself.
    let head = edge.request("HEAD", "/other", &[]).await;
    assert_eq!(head.headers("Via"), ["1.1 edge"]);
}

#[tokio::test]
async fn a_parent_that_stops_in_order_finishes_what_it_began() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |seen| match seen.target.as_str() {
        "/slow" => Reply::fresh(600, "slow").after(&held),
        _ => Reply::fresh(600, "x"),
    })
    .await;
    let tiers = Tiers::before(&origin.url());
    let mut first = Node::start(tiers.parent("p1")).await;
    let edge = Node::start(tiers.edge("edge", &[&first])).await;
    let mut slow = edge.client().await;
    slow.ask("GET", "/slow", &[]).await;
    eventually(SOON, || origin.count("/slow") == 1).await;
    first.signal("TERM");
    stands(&edge, &first, false).await;
    // Others go elsewhere meanwhile.
    assert_eq!(edge.get("/x").await.status, 200);
    gate.open();
    assert_eq!(slow.answer().await.text(), "slow");
    assert_eq!(origin.count("/slow"), 1);
    first.wait_exit().await;
}

#[tokio::test]
async fn a_file_of_parents_is_read_again_and_a_bad_one_changes_nothing() {
    let origin = counting().await;
    let tiers = Tiers::before(&origin.url());
    let first = Node::start(tiers.parent("p1")).await;
    let second = Node::start(tiers.parent("p2")).await;
    let file = tiers.key("parents", &format!("http://{} id=one\n", first.address()));
    let edge = tiers
        .edge("edge", &[])
        .table("tier", &format!("parents = [\"file:{}\"]", file.display()));
    let edge = Node::start(edge).await;
    assert_eq!(chain(&edge.get("/a").await)[0], "p1; fwd=uri-miss");
    std::fs::write(&file, "not a parent\n").expect("writable");
    eventually(SOON, || {
        edge.stderr()
            .iter()
            .any(|line| line.contains("the parents stay what they were"))
    })
    .await;
    assert_eq!(chain(&edge.get("/b").await)[0], "p1; fwd=uri-miss");
    std::fs::write(
        &file,
        format!("http://{} id=two weight=3\n", second.address()),
    )
    .expect("writable");
    edge.metrics_when(|metrics| {
        metrics.sum("larder_tiered_parent_up", &[("parent", "two")]) == 1.0
    })
    .await;
    assert_eq!(chain(&edge.get("/c").await)[0], "p2; fwd=uri-miss");
    assert_eq!(
        edge.metrics()
            .await
            .sum("larder_tiered_parent_up", &[("parent", "one")]),
        0.0
    );
}

#[tokio::test]
async fn a_parent_may_be_asked_over_tls() {
    use larder_tests::Ca;
    let origin = counting().await;
    let tiers = Tiers::before(&origin.url());
    let ca = Ca::new();
    let pair = ca.sign(&["localhost"]);
    let authority = tiers.key("ca.pem", &ca.pem());
    let cert = tiers.key("cert.pem", &pair.certificate);
    let key = tiers.key("key.pem", &pair.key);
    let port = larder_tests::free_port();
    let parent = tiers
        .parent("parent")
        .listener(&format!("{{ address = \"127.0.0.1:{port}\", tls = true }}"))
        .table(
            "tls",
            &format!("certificates = [{{ cert = {cert:?}, key = {key:?} }}]"),
        );
    let _parent = Node::start(parent).await;
    let edge = tiers
        .edge("edge", &[])
        .table("tier", &format!("parents = [\"https://localhost:{port}\"]"))
        .table("tier", &format!("ca_file = {authority:?}"));
    let edge = Node::start(edge).await;
    let answer = edge.get("/a").await;
    assert_eq!(
        chain(&answer),
        ["parent; fwd=uri-miss", "edge; fwd=uri-miss"]
    );
    let posted = Client::connect(edge.address())
        .await
        .upload("POST", "/b", &[], b"x")
        .await;
    assert_eq!(posted.headers("Via"), ["1.1 parent", "1.1 edge"]);
}
