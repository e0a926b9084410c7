//! The QUERY method (RFC 10008): what it asks is in its content, and so is what it is stored under.

use std::path::{Path, PathBuf};
use std::time::Duration;

use larder_tests::{Client, Gate, Node, Origin, Reply, Response, Settings, eventually};

use super::{SOON, seconds};
use crate::restart::on_disk;

async fn answering() -> Origin {
    Origin::start(|seen| match seen.method.as_str() {
        "QUERY" => Reply::echo()
            .with("Cache-Control", "max-age=60")
            .with("ETag", "\"1\""),
        method => Reply::fresh(60, method.to_owned()),
    })
    .await
}

async fn query(node: &Node, kind: &str, content: &str) -> Response {
    let fields = [("Content-Type", kind)];
    let mut client = node.client().await;
    client
        .upload("QUERY", "/q", &fields, content.as_bytes())
        .await
}

const JSON: &str = "application/json";

#[tokio::test]
async fn the_same_question_is_answered_from_the_cache() {
    let origin = answering().await;
    let node = Node::before(&origin.url()).await;
    let first = query(&node, JSON, "{\"a\":1}").await;
    assert_eq!(
        (first.text().as_str(), first.forwarded()),
        ("{\"a\":1}", Some("uri-miss"))
    );
    let again = query(&node, JSON, "{\"a\":1}").await;
    assert_eq!((&again.body, again.is_hit()), (&first.body, true));
    let seen = origin.last("/q");
    assert_eq!(
        (seen.method.as_str(), seen.field("Content-Type")),
        ("QUERY", Some(JSON))
    );
    assert_eq!(origin.total(), 1);
}

#[tokio::test]
async fn another_question_type_or_method_is_another() {
    let origin = answering().await;
    let node = Node::before(&origin.url()).await;
    for (kind, content) in [(JSON, "1"), (JSON, "2"), ("text/plain", "1"), (JSON, "")] {
        assert!(
            !query(&node, kind, content).await.is_hit(),
            "{kind} {content}"
        );
        assert!(
            query(&node, kind, content).await.is_hit(),
            "{kind} {content}"
        );
    }
    assert!(!node.get("/q").await.is_hit());
    assert_eq!(node.get("/q").await.text(), "GET");
    let coded = [("Content-Type", JSON), ("Content-Encoding", "gzip")];
    let mut client = node.client().await;
    assert!(!client.upload("QUERY", "/q", &coded, b"1").await.is_hit());
    assert_eq!(origin.total(), 6);
}

#[tokio::test]
async fn one_question_of_many_is_asked_once_and_validated_with_its_content() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |seen| match seen.field("If-None-Match") {
        Some("\"1\"") => Reply::status(304).with("ETag", "\"1\""),
        _ => Reply::fresh(60, "answer")
            .with("ETag", "\"1\"")
            .after(&held),
    })
    .await;
    let mut node = Node::before(&origin.url()).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = node.client().await;
        client.ask("QUERY", "/q", &[("Content-Length", "1")]).await;
        client.send("x").await;
        clients.push(client);
    }
    eventually(SOON, || origin.total() == 1).await;
    gate.open();
    for client in &mut clients {
        assert_eq!(client.answer_to("QUERY").await.unwrap().text(), "answer");
    }
    assert_eq!(origin.total(), 1);
    node.advance(seconds(61));
    let renewed = node.client().await.upload("QUERY", "/q", &[], b"x").await;
    assert_eq!(renewed.cache_parameter("fwd-status"), Some("304"));
    assert_eq!(renewed.text(), "answer");
    assert_eq!(origin.last("/q").body, "x");
    // The client's own condition (RFC 10008 §2.6).
    let condition = [("If-None-Match", "\"1\"")];
    let same = node
        .client()
        .await
        .upload("QUERY", "/q", &condition, b"x")
        .await;
    assert_eq!((same.status, same.is_hit()), (304, true));
}

#[tokio::test]
async fn what_is_longer_than_the_limit_passes_by_whole() {
    let origin = answering().await;
    let settings = Settings::origins(&[&origin.url()]).table("limits", "query_content = \"1000B\"");
    let node = Node::start(settings).await;
    let (most, more) = ("x".repeat(1_000), "y".repeat(300_000));
    for _ in 0..2 {
        let passed = query(&node, JSON, &more).await;
        assert_eq!(passed.text(), more);
        assert_eq!(passed.cache_parameter("detail"), Some("request-content"));
    }
    query(&node, JSON, &most).await;
    assert!(query(&node, JSON, &most).await.is_hit());
    assert_eq!(origin.total(), 3);
}

#[tokio::test]
async fn chunked_content_is_the_same_content() {
    let origin = answering().await;
    let node = Node::before(&origin.url()).await;
    query(&node, JSON, "abc").await;
    let head = format!(
        "QUERY /q HTTP/1.1\r\nHost: www.example.com\r\nContent-Type: {JSON}\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let mut client = node.client().await;
    client.send(head + "1\r\na\r\n2\r\nbc\r\n0\r\n\r\n").await;
    let answer = client.answer_to("QUERY").await.unwrap();
    assert!(answer.is_hit(), "{}", answer.cache_status());
    // The connection is in step.
    assert!(client.get("/other").await.status == 200);
}

#[tokio::test]
async fn a_query_changes_nothing_and_an_unsafe_request_invalidates_its_answers() {
    let origin = answering().await;
    let node = Node::before(&origin.url()).await;
    node.get("/q").await;
    for content in ["1", "2"] {
        query(&node, JSON, content).await;
    }
    assert!(node.get("/q").await.is_hit());
    node.request("POST", "/q", &[]).await;
    for content in ["1", "2"] {
        assert!(!query(&node, JSON, content).await.is_hit());
        assert!(query(&node, JSON, content).await.is_hit());
    }
    // And a purge of the URL takes them all.
    let bearer = format!("Bearer {}", node.token());
    let mut admin = Client::connect(node.admin()).await;
    let body = "{\"urls\":[\"http://www.example.com/q\"]}".to_owned();
    let fields = [("Authorization", bearer.as_str())];
    admin
        .upload("POST", "/v1/purges", &fields, body.as_bytes())
        .await;
    assert!(!query(&node, JSON, "1").await.is_hit());
}

#[tokio::test]
async fn an_origin_that_speaks_http_2_is_asked_with_the_content() {
    let origin = Origin::start_h2c(|_| Reply::echo().with("Cache-Control", "max-age=60")).await;
    let settings = Settings::origins(&[]).site(&format!(
        "origins = [{{ url = \"{}\", http = \"2\" }}]",
        origin.url()
    ));
    let node = Node::start(settings).await;
    for round in 0..2 {
        let answer = query(&node, JSON, "question").await;
        assert_eq!(
            (answer.text().as_str(), answer.is_hit()),
            ("question", round == 1)
        );
    }
}

/// A node with a volume, and an origin that says how often it was asked.
async fn on_a_disk() -> (Node, Origin) {
    let origin = Origin::start(|seen| match seen.method.as_str() {
        "QUERY" => Reply::fresh(
            600,
            format!("{}: {}", seen.nth, String::from_utf8_lossy(&seen.body)),
        ),
        method => Reply::fresh(600, method.to_owned()),
    })
    .await;
    let settings = Settings::origins(&[&origin.url()]).site("disk = \"always\"");
    (Node::start(settings.disk("32MiB")).await, origin)
}

/// How long a file may take on a busy machine.
const WRITTEN: Duration = Duration::from_secs(30);

/// Waits until so many answers are on the disk, and the file is there that says which of them hold.
async fn stored(node: &Node, answers: usize) {
    on_disk(node, answers).await;
    eventually(WRITTEN, || epochs(node.folder()).is_some()).await;
}

async fn restart(node: &mut Node, kill: bool) {
    if kill {
        node.kill_and_restart(|_| {}).await;
    } else {
        node.stop_and_restart(|_| {}).await;
    }
}

#[tokio::test]
async fn answers_to_queries_outlive_the_process() {
    for kill in [false, true] {
        let (mut node, origin) = on_a_disk().await;
        let first = query(&node, JSON, "a").await;
        query(&node, JSON, "b").await;
        stored(&node, 2).await;
        restart(&mut node, kill).await;
        let again = query(&node, JSON, "a").await;
        assert!(again.is_hit(), "killed: {kill}, {}", again.cache_status());
        assert_eq!(again.body, first.body);
        assert!(query(&node, JSON, "b").await.is_hit());
        assert_eq!(origin.total(), 2);
    }
}

#[tokio::test]
async fn an_invalidation_of_queries_outlives_the_process() {
    for kill in [false, true] {
        let (mut node, origin) = on_a_disk().await;
        let first = query(&node, JSON, "a").await;
        stored(&node, 1).await;
        assert_eq!(node.request("POST", "/q", &[]).await.status, 200);
        restart(&mut node, kill).await;
        let second = query(&node, JSON, "a").await;
        assert!(!second.is_hit(), "killed: {kill}");
        assert_ne!(second.body, first.body);
        stored(&node, 1).await;

        // One that another process makes, of what nobody asked for since.
        restart(&mut node, kill).await;
        assert_eq!(node.request("DELETE", "/q", &[]).await.status, 200);
        restart(&mut node, kill).await;
        let third = query(&node, JSON, "a").await;
        assert!(!third.is_hit(), "killed: {kill}");
        stored(&node, 1).await;

        restart(&mut node, kill).await;
        let again = query(&node, JSON, "a").await;
        assert!(again.is_hit(), "killed: {kill}, {}", again.cache_status());
        assert_eq!(again.body, third.body);
        assert_eq!(origin.total(), 5);
    }
}

#[tokio::test]
async fn without_the_file_of_epochs_nothing_from_before_is_found() {
    for damaged in [false, true] {
        let (mut node, origin) = on_a_disk().await;
        query(&node, JSON, "a").await;
        stored(&node, 1).await;
        node.stop_and_restart(|folder| {
            let file = epochs(folder).expect("a file of epochs");
            if damaged {
                std::fs::write(file, "not the epochs of anything at all").unwrap();
            } else {
                std::fs::remove_file(file).unwrap();
            }
        })
        .await;
        assert!(!query(&node, JSON, "a").await.is_hit());
        assert!(query(&node, JSON, "a").await.is_hit());
        assert_eq!(origin.total(), 2);
    }
}

/// Where a node keeps them, below its folder.
fn epochs(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?.filter_map(Result::ok);
    entries.map(|entry| entry.path()).find_map(|path| {
        let is_it = path
            .file_name()
            .is_some_and(|name| name == "queries.epochs");
        if is_it { Some(path) } else { epochs(&path) }
    })
}
