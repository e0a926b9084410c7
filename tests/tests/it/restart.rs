//! What is on disks outlives the process, and what was purged does not come back with it.

use std::path::Path;

use larder_tests::{Node, Origin, Reply, Response, Settings, eventually, run_to_exit};

use crate::seconds;

/// A body that tells its target, and can be told to be wrong.
fn content(target: &str, length: usize) -> Vec<u8> {
    let line = format!("{target}\n").into_bytes();
    line.into_iter().cycle().take(length).collect()
}

/// How long the body of a target is: `/n/…` has n bytes.
fn length(target: &str) -> usize {
    let number = target.split('/').nth(1).and_then(|it| it.parse().ok());
    number.unwrap_or(1_000)
}

/// An origin whose bodies tell their targets.
async fn telling() -> Origin {
    Origin::start(|seen| {
        let body = content(&seen.target, length(&seen.target));
        let tag = seen.target.rsplit('/').next().unwrap_or_default();
        Reply::fresh(600, body)
            .with("ETag", "\"v\"")
            .with("Surrogate-Key", tag)
            .with("X-Nth", &seen.nth.to_string())
    })
    .await
}

/// A volume that has a place for longer responses than memory.
fn settings(origin: &Origin) -> Settings {
    let settings = Settings::origins(&[&origin.url()]);
    settings
        .table("memory", "object_max = \"2MiB\"")
        .disk("64MiB")
}

async fn node_before(origin: &Origin) -> Node {
    Node::start(settings(origin).site("disk = \"always\"")).await
}

#[track_caller]
fn check_body(target: &str, answer: &Response) {
    assert_eq!(answer.status, 200, "{target}");
    assert!(
        answer.body == content(target, length(target)),
        "{target} has another body"
    );
}

fn is_from_disk(answer: &Response) -> bool {
    answer.is_hit() && answer.cache_parameter("detail") == Some("disk")
}

/// Waits until so many objects are on the disk, and in its file, and none is on its way.
///
/// A client has the last byte before the disk has, and what was purged may still be counted for what takes its place.
pub(crate) async fn on_disk(node: &Node, objects: usize) {
    // A volume gathers records for some milliseconds before it writes them.
    let all = |metrics: &larder_tests::Metrics| {
        metrics.sum("larder_disk_objects", &[]) >= objects as f64
            && metrics.sum("larder_disk_unwritten_bytes", &[]) == 0.0
            && metrics.sum("larder_cache_bytes", &[("kind", "in_flight")]) == 0.0
    };
    // One figure may be older than another: what ended between them is seen by the second look.
    node.metrics_when(all).await;
    node.metrics_when(all).await;
}

const TARGETS: [&str; 4] = ["/10/a", "/70000/b", "/1000000/c", "/3000000/d"];

async fn fill(node: &Node, targets: &[&str]) {
    for target in targets {
        check_body(target, &node.get(target).await);
    }
    on_disk(node, targets.len()).await;
}

#[tokio::test]
async fn a_restart_keeps_what_is_stored() {
    let origin = telling().await;
    let mut node = node_before(&origin).await;
    fill(&node, &TARGETS).await;
    for round in 0..2 {
        match round {
            0 => node.stop_and_restart(|_| {}).await,
            _ => node.kill_and_restart(|_| {}).await,
        }
        for target in TARGETS {
            let answer = node.get(target).await;
            assert!(is_from_disk(&answer), "{target}: {}", answer.cache_status());
            check_body(target, &answer);
            let range = [("Range", "bytes=5-8")];
            let part = node.get_with(target, &range).await;
            assert_eq!(part.status, 206);
            assert_eq!(part.body, content(target, 9)[5..], "{target}");
        }
    }
    assert_eq!(origin.total(), TARGETS.len());
    let from_disk = || node.log_lines().iter().any(|line| line["tier"] == "disk");
    eventually(super::SOON, from_disk).await;
}

#[tokio::test]
async fn a_hit_on_the_disk_brings_a_response_back_into_memory() {
    let origin = telling().await;
    let mut node = node_before(&origin).await;
    fill(&node, &["/70000/b"]).await;
    node.kill_and_restart(|_| {}).await;
    assert!(is_from_disk(&node.get("/70000/b").await));
    let in_memory =
        |metrics: &larder_tests::Metrics| metrics.sum("larder_cache_objects", &[]) > 0.0;
    let metrics = node.metrics_when(in_memory).await;
    assert_eq!(metrics.sum("larder_hits_total", &[("tier", "disk")]), 1.0);
    let again = node.get("/70000/b").await;
    assert!(again.is_hit() && !is_from_disk(&again));
    let two = |metrics: &larder_tests::Metrics| metrics.sum("larder_hits_total", &[]) >= 2.0;
    let metrics = node.metrics_when(two).await;
    assert_eq!(metrics.sum("larder_hits_total", &[("tier", "memory")]), 1.0);
}

#[tokio::test]
async fn where_it_is_asked_for_the_second_request_writes_a_response_to_the_disk() {
    let origin = telling().await;
    let mut node = Node::start(settings(&origin).site("disk = \"second\"")).await;
    node.get("/10/once").await;
    node.get("/10/twice").await;
    node.get("/10/twice").await;
    // Too long for memory: the second answer of the origin is stored.
    let first = node.get("/3000000/long").await;
    assert_eq!(first.cache_parameter("detail"), Some("not-yet"));
    node.get("/3000000/long").await;
    assert!(is_from_disk(&node.get("/3000000/long").await));
    on_disk(&node, 2).await;
    node.kill_and_restart(|_| {}).await;
    assert!(is_from_disk(&node.get("/10/twice").await));
    assert!(is_from_disk(&node.get("/3000000/long").await));
    assert!(!node.get("/10/once").await.is_hit());
}

#[tokio::test]
async fn variants_outlive_the_process() {
    let origin = Origin::start(|seen| {
        let language = seen.field("Accept-Language").unwrap_or("none").to_owned();
        Reply::fresh(600, language).with("Vary", "Accept-Language")
    })
    .await;
    let mut node = node_before(&origin).await;
    let languages = ["de", "en", "fr"];
    for language in languages {
        node.get_with("/", &[("Accept-Language", language)]).await;
    }
    on_disk(&node, 3).await;
    node.kill_and_restart(|_| {}).await;
    for language in languages {
        let answer = node.get_with("/", &[("Accept-Language", language)]).await;
        assert!(answer.is_hit(), "{}", answer.cache_status());
        assert_eq!(answer.text(), language);
    }
    let other = node.get_with("/", &[("Accept-Language", "it")]).await;
    assert_eq!(other.forwarded(), Some("vary-miss"));
}

#[tokio::test]
async fn a_validated_response_is_fresh_after_a_restart_and_its_body_is_not_written_again() {
    let origin = Origin::start(|seen| match seen.field("If-None-Match") {
        Some(_) => Reply::status(304)
            .with("Cache-Control", "max-age=600")
            .with("X-New", "yes"),
        None => Reply::fresh(60, content("/x", 900_000)).with("ETag", "\"v\""),
    })
    .await;
    let mut node = node_before(&origin).await;
    node.get("/x").await;
    on_disk(&node, 1).await;
    for _ in 0..2 {
        node.kill_and_restart(|_| {}).await;
        node.advance(seconds(601));
        let written = node
            .metrics()
            .await
            .sum("larder_disk_written_bytes_total", &[]);
        let validated = node.get("/x").await;
        assert_eq!(validated.forwarded(), Some("stale"));
        assert_eq!(validated.body, content("/x", 900_000));
        on_disk(&node, 1).await;
        let now = node
            .metrics()
            .await
            .sum("larder_disk_written_bytes_total", &[]);
        assert!(now - written < 100_000.0, "{}", now - written);
        node.kill_and_restart(|_| {}).await;
        let hit = node.get("/x").await;
        assert!(hit.is_hit(), "{}", hit.cache_status());
        assert_eq!(hit.header("X-New"), Some("yes"));
        assert_eq!(hit.body, content("/x", 900_000));
    }
}

/// The key that a target is stored under.
async fn key_of(node: &Node, target: &str) -> String {
    let body = format!(r#"{{"urls":["http://www.example.com{target}"],"dry_run":true}}"#);
    let preview = node.purge(&body).await;
    let key = preview["samples"][0]["key"].as_str();
    key.expect("a sample").to_owned()
}

#[tokio::test]
async fn what_was_purged_does_not_come_back() {
    let origin = telling().await;
    let mut node = node_before(&origin).await;
    let host = "www.example.com";
    let all = [
        "/10/u",
        "/10/v",
        "/10/t",
        "/dir/p",
        "/3000000/t",
        "/10/rest",
    ];
    let purges = [
        (
            format!(r#"{{"urls":["http://{host}/10/u"]}}"#),
            vec!["/10/u"],
        ),
        (r#"{"tags":["t"]}"#.to_owned(), vec!["/10/t", "/3000000/t"]),
        (
            format!(r#"{{"prefixes":["http://{host}/dir/"]}}"#),
            vec!["/dir/p"],
        ),
        (r#"{"tags":["v"],"mode":"soft"}"#.to_owned(), vec!["/10/v"]),
        (format!(r#"{{"hosts":["{host}"]}}"#), all.to_vec()),
        (
            format!(r#"{{"hosts":["{host}"],"mode":"soft"}}"#),
            all.to_vec(),
        ),
        (r#"{"all":true,"site":"main"}"#.to_owned(), all.to_vec()),
        (r#"{"all":true}"#.to_owned(), all.to_vec()),
        (r#"{"all":true,"mode":"soft"}"#.to_owned(), all.to_vec()),
        (r#"{"keys":["KEY"]}"#.to_owned(), vec!["/dir/p"]),
        (
            r#"{"keys":["KEY"],"mode":"soft"}"#.to_owned(),
            vec!["/dir/p"],
        ),
    ];
    for (body, gone) in purges {
        fill(&node, &all).await;
        let body = body.replace("KEY", &key_of(&node, "/dir/p").await);
        node.purge(&body).await;
        node.kill_and_restart(|_| {}).await;
        for target in all {
            let answer = node.get(target).await;
            check_body(target, &answer);
            let expected = !gone.contains(&target);
            assert_eq!(answer.is_hit(), expected, "{target} after {body}");
        }
        on_disk(&node, all.len()).await;
    }
}

#[tokio::test]
async fn a_soft_purge_makes_stale_from_when_it_was_asked_for_not_from_a_restart() {
    let origin = telling().await;
    let stale = "stale = { while_revalidate = \"60s\" }";
    let settings = settings(&origin).site("disk = \"always\"").site(stale);
    let mut node = Node::start(settings).await;
    fill(&node, &["/10/a", "/10/b"]).await;
    node.purge(r#"{"all":true,"mode":"soft"}"#).await;
    node.advance(seconds(50));
    node.kill_and_restart(|_| {}).await;
    assert!(node.get("/10/a").await.is_hit(), "while it is refreshed");
    node.advance(seconds(20));
    node.kill_and_restart(|_| {}).await;
    assert_eq!(node.get("/10/b").await.forwarded(), Some("stale"));
}

#[tokio::test]
async fn what_an_unsafe_method_invalidated_does_not_come_back() {
    let origin = telling().await;
    let mut node = node_before(&origin).await;
    fill(&node, &["/10/a", "/10/b"]).await;
    let post = node
        .request("POST", "/10/a", &[("Content-Length", "0")])
        .await;
    assert_eq!(post.status, 200);
    node.kill_and_restart(|_| {}).await;
    assert!(!node.get("/10/a").await.is_hit());
    assert!(node.get("/10/b").await.is_hit());
}

/// The log of purges, wherever the node keeps it in its folder.
fn purge_log(folder: &Path) -> std::path::PathBuf {
    folder.join("larder/larder/purges.log")
}

#[tokio::test]
async fn a_purge_log_that_lost_something_leaves_nothing_on_the_disks() {
    let origin = telling().await;
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 4] = [
        ("gone", |log| std::fs::remove_file(log).unwrap()),
        ("cut", |log| {
            let length = std::fs::metadata(log).unwrap().len();
            let file = std::fs::File::options().write(true).open(log).unwrap();
            file.set_len(length - 1).unwrap();
        }),
        ("an older one", |log| {
            std::fs::copy(log.with_extension("copy"), log).unwrap();
        }),
        ("garbage", |log| std::fs::write(log, "garbage").unwrap()),
    ];
    for (what, damage) in damages {
        let mut node = node_before(&origin).await;
        fill(&node, &["/10/a", "/10/b"]).await;
        let log = purge_log(node.folder());
        std::fs::copy(&log, log.with_extension("copy")).unwrap();
        node.purge(r#"{"urls":["http://www.example.com/10/a"]}"#)
            .await;
        node.kill_and_restart(|folder| damage(&purge_log(folder)))
            .await;
        for target in ["/10/a", "/10/b"] {
            let answer = node.get(target).await;
            assert!(!answer.is_hit(), "{what}: {target}");
            check_body(target, &answer);
        }
        let said = node.stderr().join("\n");
        assert!(said.contains("purge"), "{what}: {said}");
    }
}

/// What a record in the middle of the log said nobody knows any more.
fn spoil(log: &Path, what: &str) {
    let mut bytes = std::fs::read(log).expect("a log");
    let place = bytes
        .windows(what.len())
        .position(|it| it == what.as_bytes());
    bytes[place.expect("the record")] ^= 0x01;
    std::fs::write(log, bytes).expect("a writable log");
}

#[tokio::test]
async fn a_purge_log_that_is_damaged_in_the_middle_is_told_and_nothing_is_used_unasked() {
    let origin = telling().await;
    let mut node = node_before(&origin).await;
    let purged = ["/10/first", "/10/second", "/10/third"];
    let all = [&purged[..], &["/10/kept", "/3000000/kept"]].concat();
    fill(&node, &all).await;
    for target in purged {
        let tag = target.rsplit('/').next().unwrap();
        node.purge(&format!(r#"{{"tags":["{tag}"]}}"#)).await;
    }
    node.kill_and_restart(|folder| spoil(&purge_log(folder), "second"))
        .await;
    let said = node.stderr().join("\n");
    assert!(said.contains("the purge log is damaged"), "{said}");
    let metrics = node.metrics().await;
    assert_eq!(metrics.sum("larder_purge_resets_total", &[]), 1.0);
    for target in &all {
        let answer = node.get(target).await;
        assert!(!answer.is_hit(), "{target}: {}", answer.cache_status());
        check_body(target, &answer);
        assert!(
            node.get(target).await.is_hit(),
            "{target}: it was asked for"
        );
    }
    // The log goes on, and holds.
    node.purge(r#"{"tags":["kept"]}"#).await;
    node.kill_and_restart(|_| {}).await;
    assert!(!node.get("/10/kept").await.is_hit());
}

#[tokio::test]
async fn a_purge_is_known_by_its_identifier_after_a_restart() {
    let origin = telling().await;
    let mut node = node_before(&origin).await;
    fill(&node, &["/10/a", "/10/b"]).await;
    let purge = async |node: &Node, body: &str| {
        let bearer = format!("Bearer {}", node.token());
        let fields = [
            ("Authorization", bearer.as_str()),
            ("Idempotency-Key", "release-7"),
        ];
        let mut client = larder_tests::Client::connect(node.admin()).await;
        let answer = client.upload("POST", "/v1/purges", &fields, body.as_bytes());
        let answer = answer.await;
        let document: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        (answer.status, document["sequence"].clone())
    };
    let first = purge(&node, r#"{"tags":["a"]}"#).await;
    assert_eq!(first, (200, 1.into()));
    node.kill_and_restart(|_| {}).await;
    assert!(!node.get("/10/a").await.is_hit());
    assert_eq!(purge(&node, r#"{"tags":["a"]}"#).await, first);
    assert!(node.get("/10/a").await.is_hit(), "it was purged once");
    assert_eq!(purge(&node, r#"{"tags":["b"]}"#).await.0, 422);
    assert!(node.get("/10/b").await.is_hit());
    assert_eq!(node.metrics().await.sum("larder_purge_sequence", &[]), 1.0);
}

#[tokio::test]
async fn a_start_without_a_word_about_disks_keeps_the_cache_in_the_users_directory() {
    let origin = telling().await;
    let mut node = Node::with_flags_and_disk(&["--origin", &origin.url()]).await;
    assert!(node.folder().join("larder/larder.volume").is_file());
    node.get("/10/a").await;
    assert!(node.get("/10/a").await.is_hit());
    on_disk(&node, 1).await;
    node.stop_and_restart(|_| {}).await;
    assert!(is_from_disk(&node.get("/10/a").await));
}

#[tokio::test]
async fn bad_disks_are_one_clear_error_at_start() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("diary"), "dear diary").unwrap();
    let run = async |disk: &str| {
        let args = [
            "run",
            "--origin",
            "http://127.0.0.1:9",
            "--listen",
            "127.0.0.1:0",
        ];
        let more = ["--admin", "127.0.0.1:0", "--disk", disk];
        let args: Vec<&str> = args.into_iter().chain(more).collect();
        let exit = run_to_exit(&args, folder.path()).await;
        let lines: Vec<_> = exit.stderr.lines().map(str::to_owned).collect();
        (exit.code, lines)
    };
    for (disk, code, expected) in [
        ("/proc/none/v:64MiB", 1, "cannot open the volume"),
        ("large.volume:900TiB", 1, "no room"),
        ("diary:64MiB", 1, "not a volume"),
        ("v:1KiB", 2, "expected a size"),
        ("v", 2, "PATH:SIZE"),
    ] {
        let (exit, lines) = run(disk).await;
        assert_eq!(exit, Some(code), "{disk}: {lines:?}");
        assert!(
            lines.iter().any(|line| line.contains(expected)),
            "{disk}: {lines:?}"
        );
    }
    assert_eq!(
        std::fs::read(folder.path().join("diary")).unwrap(),
        b"dear diary"
    );
    assert!(!folder.path().join("large.volume").exists());
}

#[tokio::test]
async fn two_nodes_do_not_share_a_volume() {
    let origin = telling().await;
    let first = node_before(&origin).await;
    let volume = first.folder().join("disk");
    let disk = format!("{}:64MiB", volume.display());
    let folder = tempfile::tempdir().unwrap();
    let args = [
        "run",
        "--origin",
        "http://127.0.0.1:9",
        "--listen",
        "127.0.0.1:0",
    ];
    let more = ["--admin", "127.0.0.1:0", "--disk", &disk];
    let args: Vec<&str> = args.into_iter().chain(more).collect();
    let exit = run_to_exit(&args, folder.path()).await;
    assert_eq!(exit.code, Some(1));
    assert!(
        exit.stderr.contains("in use by another process"),
        "{}",
        exit.stderr
    );
    check_body("/10/a", &first.get("/10/a").await);
}
