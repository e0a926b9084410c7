//! The signal to stop: what is under way is finished, nothing new is begun.

use larder_tests::{
    Client, End, Frame, FrameClient, Gate, Node, Origin, Reply, Settings, eventually, kind,
};

use crate::SOON;

#[tokio::test]
async fn a_request_in_flight_is_finished_before_the_node_goes() {
    let gate = Gate::closed();
    let rest = gate.clone();
    let origin = Origin::start(move |_| Reply::ok("first").wait(&rest).then("second")).await;
    let mut node = Node::before(&origin.url()).await;

    let mut client = node.client().await;
    client.ask("GET", "/a", &[]).await;
    client.answer_head().await.unwrap();
    assert_eq!(client.at_least(5).await, b"first");

    node.signal("TERM");
    let address = node.address();
    eventually(SOON, || std::net::TcpStream::connect(address).is_err()).await;
    gate.open();
    assert_eq!(client.at_least(6).await, b"second");
    assert!(client.closes_within(SOON).await);
    assert!(node.wait_exit().await.success());
}

#[tokio::test]
async fn a_request_that_waits_for_the_origin_is_answered() {
    let gate = Gate::closed();
    let answer = gate.clone();
    let origin = Origin::start(move |_| Reply::ok("x").after(&answer)).await;
    let mut node = Node::before(&origin.url()).await;
    let mut client = node.client().await;
    client.ask("GET", "/a", &[]).await;
    eventually(SOON, || origin.count("/a") == 1).await;
    node.signal("TERM");
    gate.open();
    let last = client.answer().await;
    assert_eq!((last.text().as_str(), last.end), ("x", End::Complete));
    assert!(node.wait_exit().await.success());
}

#[tokio::test]
async fn idle_connections_do_not_delay_the_end() {
    let origin = Origin::start(|_| Reply::ok("x")).await;
    let settings = Settings::origins(&[&origin.url()]).table("node", "grace = \"30s\"");
    let mut node = Node::start(settings).await;
    let mut client = node.client().await;
    client.get("/a").await;
    node.signal("TERM");
    assert!(client.closes_within(SOON).await);
    assert!(node.wait_exit().await.success());
}

#[tokio::test]
async fn a_request_that_outlives_the_grace_time_does_not_keep_the_node() {
    let never = Gate::closed();
    let answer = never.clone();
    let origin = Origin::start(move |_| Reply::ok("x").after(&answer)).await;
    let settings = Settings::origins(&[&origin.url()]).table("node", "grace = \"500ms\"");
    let mut node = Node::start(settings).await;
    let mut client = node.client().await;
    client.ask("GET", "/a", &[]).await;
    eventually(SOON, || origin.count("/a") == 1).await;
    node.signal("TERM");
    assert_eq!(node.wait_exit().await.code(), Some(1));
}

#[tokio::test]
async fn the_log_of_the_last_request_is_not_lost() {
    let origin = Origin::start(|_| Reply::ok("x")).await;
    let mut node = Node::before(&origin.url()).await;
    node.get("/last").await;
    node.signal("TERM");
    node.wait_exit().await;
    eventually(SOON, || {
        node.log_lines().iter().any(|line| line["path"] == "/last")
    })
    .await;
}

/// A node with one request at an origin that does not answer before the gate opens.
async fn busy() -> (Origin, Gate, Node, Client) {
    let gate = Gate::closed();
    let answer = gate.clone();
    let origin = Origin::start(move |_| Reply::ok("x").after(&answer)).await;
    let settings = Settings::origins(&[&origin.url()]).table("node", "grace = \"1h\"");
    let node = Node::start(settings).await;
    let mut client = node.client().await;
    client.ask("GET", "/a", &[]).await;
    eventually(SOON, || origin.count("/a") == 1).await;
    (origin, gate, node, client)
}

#[tokio::test]
async fn a_draining_node_says_that_it_is_not_ready() {
    let (_origin, gate, mut node, mut client) = busy().await;
    let mut admin = Client::connect(node.admin()).await;
    assert_eq!(admin.get("/readyz").await.status, 200);
    node.signal("TERM");
    let address = node.address();
    eventually(SOON, || std::net::TcpStream::connect(address).is_err()).await;
    assert_eq!(admin.get("/readyz").await.status, 503);
    assert_eq!(admin.get("/healthz").await.status, 200);
    gate.open();
    assert_eq!(client.answer().await.text(), "x");
    assert!(node.wait_exit().await.success());
}

#[tokio::test]
async fn a_second_signal_ends_a_draining_node_at_once() {
    for second in ["TERM", "INT"] {
        let (_origin, _gate, mut node, _client) = busy().await;
        node.signal("TERM");
        let address = node.address();
        eventually(SOON, || std::net::TcpStream::connect(address).is_err()).await;
        node.signal(second);
        assert_eq!(node.wait_exit().await.code(), Some(1), "{second}");
    }
}

#[tokio::test]
async fn a_draining_http2_connection_says_goodbye_and_finishes_its_streams() {
    let (_origin, gate, mut node, mut first) = busy().await;
    let mut client = FrameClient::connect(node.address()).await;
    assert!(client.send(&Frame::get(1, "/a")).await);
    // Settings are answered once the request before this ping has been read.
    assert!(client.send(&Frame::new(kind::PING, 0, 0, "12345678")).await);
    assert!(client.next_of(kind::PING, 0, SOON).await.is_some());
    node.signal("TERM");
    assert!(client.next_of(kind::GOAWAY, 0, SOON).await.is_some());
    gate.open();
    let head = client.next_of(kind::HEADERS, 1, SOON).await;
    assert!(head.is_some_and(|head| head.flags & 0x4 != 0));
    let mut body = Vec::new();
    while let Some(data) = client.next_of(kind::DATA, 1, SOON).await {
        body.extend_from_slice(&data.payload);
        if data.flags & 0x1 != 0 {
            break;
        }
    }
    assert_eq!(body, b"x");
    assert_eq!(first.answer().await.text(), "x");
    drop(client);
    assert!(node.wait_exit().await.success());
}

#[tokio::test]
async fn an_http2_client_that_answers_nothing_does_not_keep_the_node() {
    let origin = Origin::start(|_| Reply::ok("x")).await;
    let settings = Settings::origins(&[&origin.url()]).table("node", "grace = \"1h\"");
    let mut node = Node::start(settings).await;
    let mut client = FrameClient::connect(node.address()).await;
    assert!(client.send(&Frame::get(1, "/a")).await);
    assert!(client.next_of(kind::HEADERS, 1, SOON).await.is_some());
    node.signal("TERM");
    assert!(node.wait_exit().await.success());
}
