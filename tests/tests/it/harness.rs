//! The harness proves itself: the client in front of the origin, without a node between them.

use std::time::Duration;

use larder_tests::{Ca, Client, End, Gate, H2Client, Origin, Reply, eventually, request};

#[tokio::test]
async fn every_way_of_telling_a_length_arrives_whole_and_a_cut_is_seen() {
    let origin = Origin::start(|seen| match seen.target.as_str() {
        "/counted" => Reply::ok("abc"),
        "/chunked" => Reply::ok("ab").then("c").trailer("Sum", "6"),
        "/close" => Reply::ok("abc").until_close(),
        "/cut" => Reply::ok("ab").claiming(3).cut(),
        "/cut-chunks" => Reply::ok("ab").chunked().cut(),
        "/reset" => Reply::ok("ab").claiming(3).reset(),
        _ => Reply::hang_up(),
    })
    .await;

    for (target, body, end) in [
        ("/counted", "abc", End::Complete),
        ("/chunked", "abc", End::Complete),
        ("/close", "abc", End::Complete),
        ("/cut", "ab", End::Cut),
        ("/cut-chunks", "ab", End::Cut),
    ] {
        let answer = Client::connect(origin.address()).await.get(target).await;
        assert_eq!(
            (answer.text().as_str(), answer.end),
            (body, end),
            "{target}"
        );
    }
    let mut client = Client::connect(origin.address()).await;
    assert_eq!(client.get("/reset").await.end, End::Cut);
    client = Client::connect(origin.address()).await;
    client.ask("GET", "/nothing", &[]).await;
    assert!(client.answer_to("GET").await.is_none());
}

#[tokio::test]
async fn the_origin_remembers_what_it_was_asked() {
    let origin = Origin::start(|_| Reply::echo()).await;
    let mut client = Client::connect(origin.address()).await;
    let answer = client
        .upload("POST", "/form?a=1", &[("X-Odd", "\u{e4}")], b"hello")
        .await;
    assert_eq!(answer.text(), "hello");
    assert!(client.get("/form?a=1").await.persists());

    let seen = &origin.requests()[0];
    assert_eq!(
        (seen.method.as_str(), seen.target.as_str()),
        ("POST", "/form?a=1")
    );
    assert_eq!(seen.field("x-odd"), Some("\u{e4}"));
    assert!(seen.raw.starts_with(b"POST /form?a=1 HTTP/1.1\r\n"));
    assert_eq!(
        (&seen.body[..], seen.end),
        (&b"hello"[..], Some(End::Complete))
    );
    assert_eq!(origin.last("/form?a=1").nth, 2);
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_gate_holds_back_the_rest_of_a_body() {
    let gate = Gate::closed();
    let rest = gate.clone();
    let origin = Origin::start(move |_| Reply::ok("first").wait(&rest).then("second")).await;
    let mut client = Client::connect(origin.address()).await;
    client.ask("GET", "/", &[]).await;
    client.answer_head().await.unwrap();
    assert_eq!(client.some().await, "first");
    gate.open();
    assert_eq!(client.some().await, "second");
}

#[tokio::test]
async fn a_dead_origin_answers_nobody() {
    let mut origin = Origin::start(|_| Reply::ok("")).await;
    let mut client = Client::connect(origin.address()).await;
    assert_eq!(client.get("/").await.status, 200);
    origin.die().await;
    assert!(client.closes_within(Duration::from_secs(1)).await);
    assert!(
        tokio::net::TcpStream::connect(origin.address())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn http2_in_clear_text_and_within_tls() {
    let answer = |_: &larder_tests::Seen| Reply::ok("abc").trailer("sum", "6");
    let ca = Ca::new();
    let clear = Origin::start_h2c(answer).await;
    let within_tls = Origin::start_tls(&ca, &["localhost"], &["h2"], answer).await;

    let mut client = H2Client::connect(clear.address()).await;
    let response = client
        .send(request("POST", "/a", &[]), Some("body".into()))
        .await
        .unwrap();
    assert_eq!(response.text(), "abc");
    assert_eq!(response.trailers, [("sum".to_owned(), "6".to_owned())]);
    eventually(Duration::from_secs(1), || clear.last("/a").body == "body").await;

    let mut client = H2Client::connect_tls(within_tls.address(), &ca, "localhost")
        .await
        .unwrap();
    assert_eq!(client.get("/b").await.status, 200);
    assert!(
        Client::connect_tls(within_tls.address(), &Ca::new(), "localhost")
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_tls_origin_speaks_http_1_1_where_alpn_chooses_it() {
    let ca = Ca::new();
    let origin = Origin::start_tls(&ca, &["localhost"], &["http/1.1"], |_| Reply::ok("abc")).await;
    let mut client = Client::connect_tls(origin.address(), &ca, "localhost")
        .await
        .unwrap();
    assert_eq!(client.get("/").await.text(), "abc");
}
