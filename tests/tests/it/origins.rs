//! The way to the origin: protocols, pools, deadlines, retries.

use std::time::Duration;

use larder_tests::{Ca, Gate, Node, Origin, Reply, Settings, eventually, free_port};

use crate::SOON;

#[tokio::test]
async fn connections_are_used_again() {
    let origin = Origin::start(|_| Reply::ok("x")).await;
    let node = Node::before(&origin.url()).await;
    let mut client = node.client().await;
    for n in 0..10 {
        client.get(&format!("/{n}")).await;
    }
    assert!(origin.connections() <= 2, "{}", origin.connections());
}

#[tokio::test]
async fn http2_in_clear_text_by_prior_knowledge() {
    let origin = Origin::start_h2c(|_| Reply::fresh(60, "x")).await;
    let settings = Settings::origins(&[&origin.url()]).site(&format!(
        "origins = [{{ url = \"{}\", http = \"2\" }}]",
        origin.url()
    ));
    let node = Node::start(settings).await;
    assert_eq!(node.get("/a").await.text(), "x");
    assert!(node.get("/a").await.is_hit());
    let answer = node
        .client()
        .await
        .upload("POST", "/b", &[], b"hello")
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(&origin.last("/b").body[..], b"hello");
    // Requests with content have a pool of their own.
    assert!(origin.connections() <= 2, "{}", origin.connections());
}

#[tokio::test]
async fn tls_to_the_origin_is_verified() {
    let ca = Ca::new();
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, ca.pem()).unwrap();
    for protocols in [&["h2", "http/1.1"][..], &["http/1.1"][..]] {
        let origin = Origin::start_tls(&ca, &["localhost", "127.0.0.1"], protocols, |_| {
            Reply::ok("x")
        })
        .await;
        let url = origin.url();
        let trusting =
            format!("origins = [{{ url = \"{url}\", ca = {ca_file:?}, sni = \"localhost\" }}]");
        let node = Node::start(Settings::origins(&[&url]).site(&trusting)).await;
        assert_eq!(node.get("/a").await.text(), "x", "{protocols:?}");

        let distrusting = Node::before(&url).await;
        let refused = distrusting.get("/a").await;
        assert_eq!(refused.status, 502);
        assert!(
            refused
                .header("Proxy-Status")
                .is_some_and(|s| s.contains("error=tls"))
        );
    }
}

#[tokio::test]
async fn an_origin_that_hangs_is_given_up_at_its_deadline() {
    let never = Gate::closed();
    let (before_head, mid_body) = (never.clone(), never.clone());
    let origin = Origin::start(move |seen| match seen.target.as_str() {
        "/head" => Reply::ok("x").after(&before_head),
        "/body" => Reply::ok("x").wait(&mid_body).then("y"),
        _ => Reply::ok("fine"),
    })
    .await;
    let settings = Settings::origins(&[&origin.url()])
        .site("first_byte_timeout = \"300ms\"")
        .site("between_bytes_timeout = \"300ms\"")
        .site("retries = 0");
    let node = Node::start(settings).await;

    let late = node.get("/head").await;
    assert_eq!(late.status, 504);
    assert!(
        late.header("Proxy-Status")
            .is_some_and(|s| s.contains("error="))
    );
    let cut = node.get("/body").await;
    assert_eq!(cut.end, larder_tests::End::Cut);
    assert_eq!(node.get("/other").await.text(), "fine");
}

#[tokio::test]
async fn a_refused_connection_is_a_bad_gateway_at_once() {
    let node = Node::before(&format!("http://127.0.0.1:{}", free_port())).await;
    let answer = tokio::time::timeout(Duration::from_secs(2), node.get("/a"))
        .await
        .unwrap();
    assert_eq!(answer.status, 502);
    assert!(
        answer
            .header("Proxy-Status")
            .is_some_and(|s| s.contains("error=connection_refused"))
    );
    assert_eq!(answer.forwarded(), Some("uri-miss"));
}

#[tokio::test]
async fn the_second_origin_is_asked_when_the_first_is_dead() {
    let dead = format!("http://127.0.0.1:{}", free_port());
    let origin = Origin::start(|_| Reply::ok("x")).await;
    let node = Node::start(Settings::origins(&[&dead, &origin.url()])).await;
    for n in 0..5 {
        assert_eq!(node.get(&format!("/{n}")).await.text(), "x");
    }
}

#[tokio::test]
async fn only_what_is_safe_is_tried_again() {
    let origin = Origin::start(|seen| match seen.nth {
        1 => Reply::hang_up(),
        _ => Reply::ok("x"),
    })
    .await;
    let node = Node::before(&origin.url()).await;
    assert_eq!(
        node.client()
            .await
            .upload("POST", "/post", &[], b"pay")
            .await
            .status,
        502
    );
    assert_eq!(origin.count("/post"), 1);
    node.get("/get").await;
    assert!(origin.count("/get") <= 2);
}

#[tokio::test]
async fn a_pooled_connection_that_the_origin_closed_costs_no_request() {
    let origin = Origin::start(|_| Reply::ok("x").closing()).await;
    let node = Node::before(&origin.url()).await;
    for n in 0..20 {
        assert_eq!(node.get(&format!("/{n}")).await.status, 200);
    }
}

#[tokio::test]
async fn bodies_stream_in_both_directions_at_once() {
    let origin = Origin::start(|_| Reply::ok("early").early().chunked()).await;
    let node = Node::before(&origin.url()).await;
    let mut client = node.client().await;
    client.ask("POST", "/a", &[("Content-Length", "10")]).await;
    client.send("hello").await;
    assert_eq!(client.answer_head().await.unwrap().status, 200);
    client.send("world").await;
    eventually(SOON, || origin.last("/a").end.is_some()).await;
}

#[tokio::test]
async fn the_client_is_told_to_go_on_before_it_uploads() {
    let origin = Origin::start(|_| Reply::echo()).await;
    let node = Node::before(&origin.url()).await;
    let mut client = node.client().await;
    client
        .ask(
            "POST",
            "/a",
            &[("Content-Length", "5"), ("Expect", "100-continue")],
        )
        .await;
    assert!(client.at_least(12).await.starts_with(b"HTTP/1.1 100"));
    client.send("hello").await;
    assert_eq!(client.answer().await.text(), "hello");
}

#[tokio::test]
async fn the_clients_address_is_told_and_not_believed() {
    let origin = Origin::start(|_| Reply::ok("x")).await;
    let node = Node::before(&origin.url()).await;
    node.get_with("/a", &[("X-Forwarded-For", "6.6.6.6")]).await;
    assert_eq!(
        origin.last("/a").field("X-Forwarded-For"),
        Some("127.0.0.1")
    );
}
