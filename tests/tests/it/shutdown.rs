//! The signal to stop: what is under way is finished, nothing new is begun.

use larder_tests::{End, Gate, Node, Origin, Reply, Settings, eventually};

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
    node.wait_exit().await;
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
