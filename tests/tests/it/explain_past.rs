//! What happens to a request only beside others, or once: made, told by the log, and explained by its number.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use larder_tests::{
    Client, File, Gate, Node, Origin, Reply, Settings, Told, ensure_binary, eventually,
    run_to_exit, settled,
};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::disk_breaks::turn_a_bit_at;
use crate::restart::on_disk;
use crate::{SOON, seconds};

const UNUSUAL: &str = "caf\u{e9}";

async fn ask(node: &Node, query: &str) -> Value {
    let answer = node.api("GET", &format!("/v1/explain?{query}"), "").await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    serde_json::from_slice(&answer.body).expect("JSON")
}

/// The last line of the log with this path.
async fn line_of(node: &Node, path: &str, reason: &str) -> Value {
    let is_it = |line: &Value| line["path"] == path && line["reason"] == reason;
    let found = || node.log_lines().into_iter().rev().find(is_it);
    let end = Instant::now() + SOON;
    while found().is_none() && Instant::now() < end {
        sleep(Duration::from_millis(20)).await;
    }
    found().unwrap_or_else(|| panic!("no {reason} of {path}: {:#?}", node.log_lines()))
}

/// The request is explained by its number: the reason, the clause, and the line.
async fn check(node: &Node, path: &str, reason: &str, clause: &str) {
    let line = line_of(node, path, reason).await;
    let id = line["id"].as_str().expect("an id");
    let past = ask(node, &format!("id={id}")).await;
    assert_eq!(past["line"], line, "{reason}");
    assert_eq!(past["reason"], reason);
    let told = past["clause"].as_str().unwrap_or_default();
    assert!(told.contains(clause), "{reason}: {told}");
    for word in ["because", "would_hit"] {
        assert!(
            past[word].as_str().is_some_and(|it| !it.is_empty()),
            "{reason}: {word}"
        );
    }
}

/// A request like the last one would fare as it did, as far as that is about what the origin answers.
async fn check_next(node: &Node, path: &str, more: &str, reason: &str) {
    let told = ask(node, &format!("url=http://www.example.com{path}{more}")).await;
    assert_eq!(told["decision"]["reason"], reason, "{path}: {told:#}");
}

async fn waits(node: &Node, path: &str) -> Client {
    let mut client = node.client().await;
    client.ask("GET", path, &[]).await;
    client
}

#[tokio::test]
async fn what_the_origin_answers_once() {
    let origin = Origin::start(|seen| match (seen.target.as_str(), seen.nth) {
        ("/coded", _) => Reply::fresh(600, "x").with("Content-Encoding", "dcb"),
        ("/odd", _) => Reply::status(400).with("Cache-Control", "max-age=600"),
        ("/must", _) => Reply::status(299).with("Cache-Control", "max-age=600, must-understand"),
        ("/p?first", _) => Reply::fresh(600, "x").with("No-Vary-Search", "params=(\"utm\")"),
        ("/p?a=1", _) => Reply::fresh(600, "x"),
        _ => Reply::fresh(600, "x"),
    })
    .await;
    let node = Node::before(&origin.url()).await;
    node.get("/coded").await;
    check(&node, "/coded", "dictionary", "9842").await;
    check_next(&node, "/coded", "", "dictionary").await;
    node.get_with("/odd", &[("X-Name", UNUSUAL)]).await;
    check(&node, "/odd", "request-error", "9111 section 3").await;
    check_next(&node, "/odd", "", "cold").await;
    node.get("/must").await;
    check(&node, "/must", "status", "9111 section 3").await;
    check_next(&node, "/must", "", "status").await;
    node.get("/p?first").await;
    node.get("/p?a=1").await;
    check(&node, "/p?a=1", "no-vary-search", "No-Vary-Search").await;
}

#[tokio::test]
async fn what_is_there_in_part() {
    let file = File::new(5_000_000, Told::Tag);
    let served = Arc::clone(&file);
    let origin = Origin::start(move |seen| served.answer(seen)).await;
    let node = Node::before(&origin.url()).await;
    node.get_with("/part", &[("Range", "bytes=0-9")]).await;
    // The rest of its slice comes behind the answer.
    let received = [("kind", "in_flight")];
    node.metrics_when(|it| it.sum("larder_cache_bytes", &received) == 0.0)
        .await;
    let other = [("Range", "bytes=0-2000000")];
    assert_eq!(node.get_with("/part", &other).await.status, 206);
    check(&node, "/part", "partial", "3.4").await;
}

#[tokio::test]
async fn what_happens_among_requests_for_the_same() {
    let gates = [Gate::closed(), Gate::closed(), Gate::closed()];
    let [crowded, private, later] = gates.clone();
    let origin = Origin::start(move |seen| match (seen.target.as_str(), seen.nth) {
        ("/crowded", 1) => Reply::fresh(600, "x").after(&crowded),
        ("/mine", 1) => Reply::ok("m")
            .with("Cache-Control", "private")
            .after(&private),
        ("/touched", 1) => Reply::fresh(60, "x").with("ETag", "\"1\""),
        ("/touched", _) if seen.is_conditional() => Reply::status(304)
            .with("ETag", "\"1\"")
            .with("Cache-Control", "max-age=60")
            .after(&later),
        _ => Reply::fresh(600, "x"),
    })
    .await;
    let settings = Settings::origins(&[&origin.url()])
        .table("limits", "followers = 1")
        .site("uncacheable = \"0s\"");
    let mut node = Node::start(settings).await;
    let mut first = waits(&node, "/crowded").await;
    eventually(SOON, || origin.count("/crowded") == 1).await;
    // One may follow it; of two, one goes by itself.
    let mut others = [
        waits(&node, "/crowded").await,
        waits(&node, "/crowded").await,
    ];
    eventually(SOON, || origin.count("/crowded") == 2).await;
    gates[0].open();
    for client in others.iter_mut().chain([&mut first]) {
        assert_eq!(client.answer().await.status, 200);
    }
    check(&node, "/crowded", "crowded", "limits.followers").await;

    let mut mine = waits(&node, "/mine").await;
    eventually(SOON, || origin.count("/mine") == 1).await;
    let mut follower = waits(&node, "/mine").await;
    settled(Duration::from_millis(300), || origin.count("/mine") == 1).await;
    gates[1].open();
    for client in [&mut mine, &mut follower] {
        assert_eq!(client.answer().await.status, 200);
    }
    check(&node, "/mine", "not-shared", "section 4").await;

    node.get("/touched").await;
    node.advance(seconds(61));
    let mut early = waits(&node, "/touched").await;
    eventually(SOON, || origin.count("/touched") == 2).await;
    node.client()
        .await
        .upload("PUT", "/touched", &[], b"x")
        .await;
    gates[2].open();
    assert_eq!(early.answer().await.status, 200);
    check(&node, "/touched", "displaced", "4.3.4").await;
}

#[tokio::test]
async fn what_a_disk_does_not_take_and_does_not_give_back() {
    let body = |target: &str| target.repeat(60_000);
    let origin = Origin::start(move |seen| Reply::fresh(600, body(&seen.target))).await;
    let settings = |when: &str| {
        Settings::origins(&[&origin.url()])
            .table("memory", "object_max = \"1KiB\"")
            .site(&format!("disk = \"{when}\""))
            .disk("32MiB")
    };
    let node = Node::start(settings("second")).await;
    node.get("/once").await;
    check(&node, "/once", "admission", "disk in the site or rule").await;
    check_next(&node, "/once", "", "admission").await;

    let mut node = Node::start(settings("always")).await;
    node.get("/broken").await;
    on_disk(&node, 1).await;
    let content = "/broken".repeat(9);
    let damage = |folder: &Path| turn_a_bit_at(folder, content.as_bytes());
    node.stop_and_restart(damage).await;
    assert_eq!(node.get("/broken").await.text(), "/broken".repeat(60_000));
    check(&node, "/broken", "unreadable", "section 4").await;
}

#[tokio::test]
async fn what_no_node_remembers_is_found_in_the_log() {
    ensure_binary();
    let origin = Origin::start(|seen| match seen.target.as_str() {
        "/private" => Reply::ok("p").with("Cache-Control", "private"),
        _ => Reply::fresh(600, "x"),
    })
    .await;
    let node = Node::before(&origin.url()).await;
    node.get("/private").await;
    node.get("/a").await;
    assert!(node.get("/a").await.is_hit());
    eventually(SOON, || node.log_lines().len() == 3).await;
    let mut lines = node.log_lines();
    // They come in the order in which the responses ended.
    lines.sort_by_key(|line| (line["path"] != "/private", line["outcome"] == "hit"));
    let id = |line: &Value| line["id"].as_str().expect("an id").to_owned();
    let hit = id(&lines[2]);
    let unknown = node.api("GET", &format!("/v1/explain?id={hit}"), "").await;
    assert_eq!(unknown.status, 422);
    assert!(
        unknown.text().contains("only the last 4096"),
        "{}",
        unknown.text()
    );

    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("access.log");
    let rotated = folder.path().join("access.log.1");
    let text: String = lines[1..].iter().map(|line| format!("{line}\n")).collect();
    let broken = format!("no JSON\n{}\n{{\"id\":\n", "x".repeat(3 << 20));
    std::fs::write(&log, broken + &text).expect("a log");
    std::fs::write(&rotated, format!("{}\n", lines[0])).expect("a log");
    let (log, rotated) = (log.display().to_string(), rotated.display().to_string());
    let explain = async |id: &str, log: &str| {
        let all = ["explain", "--id", id, "--log", log, "--log", &rotated];
        run_to_exit(&all, folder.path()).await
    };
    let found = explain(&hit, &log).await;
    assert_eq!(found.code, Some(0), "{}", found.stderr);
    assert!(
        found.stdout.contains("the stored response was fresh"),
        "{}",
        found.stdout
    );
    let found = explain(&id(&lines[0]), &log).await;
    assert!(found.stdout.contains("5.2.2.7"), "{}", found.stdout);
    let missing = explain("0123456789abcdef", &log).await;
    assert_eq!(missing.code, Some(1));
    let says = "of 6 lines, 2 are no JSON, and 1 are longer than 1048576 bytes";
    assert!(missing.stderr.contains(says), "{}", missing.stderr);
    let nowhere = explain(&hit, "/no/such/log").await;
    assert!(
        nowhere.stderr.contains("/no/such/log: "),
        "{}",
        nowhere.stderr
    );
}
