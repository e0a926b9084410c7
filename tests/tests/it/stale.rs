//! Stale on purpose: `stale-while-revalidate` and `stale-if-error` (RFC 5861).

use larder_tests::{Gate, Node, Origin, Reply, eventually, settled};

use crate::{A_WHILE, SOON, seconds};

#[tokio::test]
async fn a_stale_response_is_served_while_one_fill_refreshes_it() {
    let gate = Gate::closed();
    let refresh = gate.clone();
    let origin = Origin::start(move |seen| {
        let reply = Reply::ok(seen.nth.to_string())
            .with("Cache-Control", "max-age=60, stale-while-revalidate=60");
        if seen.nth == 1 {
            reply
        } else {
            reply.after(&refresh)
        }
    })
    .await;
    let mut node = Node::before(&origin.url()).await;

    node.get("/a").await;
    node.advance(seconds(70));
    for _ in 0..5 {
        let stale = node.get("/a").await;
        assert_eq!((stale.text().as_str(), stale.age()), ("1", Some(70)));
        assert!(stale.is_hit(), "{}", stale.cache_status());
        assert_eq!(stale.cache_parameter("ttl"), Some("-10"));
    }
    eventually(SOON, || origin.count("/a") == 2).await;
    settled(A_WHILE, || origin.count("/a") == 2).await;

    gate.open();
    let end = tokio::time::Instant::now() + SOON;
    while node.get("/a").await.text() != "2" {
        assert!(
            tokio::time::Instant::now() < end,
            "the refresh is never seen"
        );
    }
    assert_eq!(origin.count("/a"), 2);
}

#[tokio::test]
async fn beyond_its_window_nothing_stale_is_served() {
    let origin = Origin::start(|seen| {
        Reply::ok(seen.nth.to_string())
            .with("Cache-Control", "max-age=60, stale-while-revalidate=60")
    })
    .await;
    let mut node = Node::before(&origin.url()).await;
    node.get("/a").await;
    node.advance(seconds(121));
    assert_eq!(node.get("/a").await.text(), "2");
}

#[tokio::test]
async fn a_dead_origin_is_bridged_with_what_is_stored() {
    let mut origin =
        Origin::start(|_| Reply::ok("x").with("Cache-Control", "max-age=60, stale-if-error=600"))
            .await;
    let mut node = Node::before(&origin.url()).await;
    node.get("/a").await;
    node.advance(seconds(61));
    origin.die().await;

    let stale = node.get("/a").await;
    assert_eq!((stale.status, stale.text().as_str()), (200, "x"));
    assert_eq!(stale.age(), Some(61));

    let unknown = node.get("/unknown").await;
    assert_eq!(unknown.status, 502);
    assert!(
        unknown
            .header("Proxy-Status")
            .is_some_and(|status| status.contains("error="))
    );
    assert_eq!(unknown.forwarded(), Some("uri-miss"));
}

#[tokio::test]
async fn errors_and_hang_ups_of_the_origin_are_bridged() {
    let origin = Origin::start(|seen| match (seen.nth, seen.target.as_str()) {
        (1, _) => Reply::ok("x").with("Cache-Control", "max-age=60, stale-if-error=600"),
        (_, "/hang-up") => Reply::hang_up(),
        (_, target) => Reply::status(target[1..].parse().expect("a status")).then("broken"),
    })
    .await;
    let mut node = Node::before(&origin.url()).await;
    let targets = ["/500", "/502", "/503", "/504", "/hang-up"];
    for target in targets {
        node.get(target).await;
    }
    node.advance(seconds(61));
    for target in targets {
        let stale = node.get(target).await;
        assert_eq!(
            (stale.status, stale.text().as_str()),
            (200, "x"),
            "{target}"
        );
    }
}

#[tokio::test]
async fn who_forbids_it_is_not_served_stale() {
    let mut origin = Origin::start(|seen| {
        Reply::ok("x").with(
            "Cache-Control",
            match seen.target.as_str() {
                "/must" => "max-age=60, must-revalidate",
                "/proxy" => "max-age=60, proxy-revalidate",
                "/s-maxage" => "s-maxage=60",
                _ => "max-age=60, no-cache",
            },
        )
    })
    .await;
    let mut node = Node::before(&origin.url()).await;
    let targets = ["/must", "/proxy", "/s-maxage", "/no-cache"];
    for target in targets {
        node.get(target).await;
    }
    node.advance(seconds(61));
    origin.die().await;
    for target in targets {
        let answer = node.get(target).await;
        assert!(
            matches!(answer.status, 502 | 504),
            "{target}: {}",
            answer.status
        );
        assert!(answer.header("Proxy-Status").is_some(), "{target}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_on_a_stale_response_costs_one_refresh() {
    let origin = Origin::start(|seen| {
        Reply::ok(seen.nth.to_string())
            .with("Cache-Control", "max-age=60, stale-while-revalidate=60")
    })
    .await;
    let mut node = Node::before(&origin.url()).await;
    node.get("/a").await;
    node.advance(seconds(70));

    let mut clients = Vec::new();
    for _ in 0..200 {
        clients.push(node.client().await);
    }
    let asking = clients.into_iter().map(|mut client| async move {
        let answer = client.get("/a").await;
        assert!(answer.is_hit(), "{}", answer.cache_status());
    });
    asking.collect::<tokio::task::JoinSet<_>>().join_all().await;
    eventually(SOON, || origin.count("/a") == 2).await;
    settled(A_WHILE, || origin.count("/a") == 2).await;
}

#[tokio::test]
async fn those_who_wait_together_are_served_stale_together() {
    let gate = Gate::closed();
    let failure = gate.clone();
    let origin = Origin::start(move |seen| match seen.nth {
        1 => Reply::ok("x").with("Cache-Control", "max-age=60, stale-if-error=600"),
        _ => Reply::status(503).after(&failure),
    })
    .await;
    let mut node = Node::before(&origin.url()).await;
    node.get("/a").await;
    node.advance(seconds(61));

    let mut clients = Vec::new();
    for _ in 0..10 {
        let mut client = node.client().await;
        client.ask("GET", "/a", &[]).await;
        clients.push(client);
    }
    eventually(SOON, || origin.count("/a") == 2).await;
    settled(A_WHILE, || origin.count("/a") == 2).await;
    gate.open();
    for client in &mut clients {
        let answer = client.answer_to("GET").await.unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "x"));
    }
    assert_eq!(origin.count("/a"), 2);
}
