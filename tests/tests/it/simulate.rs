//! `larder simulate`: what a replayed log says, held against what nodes do.

use std::fmt::Write as _;
use std::path::Path;

use larder_tests::{Exit, Node, Origin, Reply, Settings, eventually, run_to_exit};
use serde_json::Value;
use tempfile::TempDir;

use crate::SOON;

async fn simulate(folder: &Path, arguments: &[&str]) -> Exit {
    let mut all = vec!["simulate"];
    all.extend(arguments);
    run_to_exit(&all, folder).await
}

async fn runs(folder: &Path, arguments: &[&str]) -> Vec<Value> {
    let mut all = arguments.to_vec();
    all.push("--json");
    let exit = simulate(folder, &all).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let told: Value = serde_json::from_str(&exit.stdout).expect("JSON");
    told["runs"].as_array().expect("runs").clone()
}

/// A line in the Combined Log Format, so many seconds after one o'clock.
fn line(second: u32, request: &str, status: u16, bytes: u64) -> String {
    let (minute, second) = (second / 60, second % 60);
    format!(
        "10.0.0.1 - - [10/Oct/2024:01:{minute:02}:{second:02} +0000] \"{request} HTTP/1.1\" {status} {bytes} \"-\" \"curl/8\"\n"
    )
}

#[tokio::test]
async fn each_line_is_answered_as_the_policy_has_it() {
    let folder = TempDir::new().expect("a folder");
    let mut log = String::new();
    for (second, request, status, bytes) in [
        (0, "GET /a", 200, 100),
        (1, "GET /a", 200, 100),
        (2, "HEAD /a", 200, 0),
        (3, "GET /a", 304, 0),
        (4, "POST /a", 200, 7),
        (5, "GET /b", 500, 30),
        (6, "GET /b", 500, 30),
        (70, "GET /a", 200, 100),
        (71, "GET /a", 206, 10),
    ] {
        log += &line(second, request, status, bytes);
    }
    log += "this is no request\n";
    std::fs::write(folder.path().join("access.log"), log).expect("a log");
    let runs = runs(folder.path(), &["access.log", "--ttl", "1m"]).await;
    let score = &runs[0]["score"];
    // A POST passes by. An error is not stored for good; what was stored a minute ago has expired.
    for (name, expected) in [
        ("requests", 8),
        ("hits", 4),
        ("passed", 1),
        ("cold", 1),
        ("expired", 1),
        ("not_storable", 2),
        ("evicted", 0),
        ("bytes", 370),
        ("hit_bytes", 110),
    ] {
        assert_eq!(score[name], expected, "{name}: {score}");
    }
    let table = simulate(folder.path(), &["access.log", "--memory", "1MiB,2MiB"]).await;
    assert!(
        table.stdout.contains("of 9 requests; 1 lines were skipped"),
        "{}",
        table.stdout
    );
    assert_eq!(table.stdout.lines().count(), 4, "{}", table.stdout);
}

/// Requests of a replay.
const REQUESTS: u64 = 4000;

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an object's number is small and not negative"
)]
fn targets() -> impl Iterator<Item = String> {
    let mut state = 11_u64;
    let mut random = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        f64::from(u32::try_from(state >> 32).unwrap_or(0)) / f64::from(u32::MAX)
    };
    (0..REQUESTS).map(move |_| format!("/{}", 2500_f64.powf(random()) as u64))
}

async fn measured(origin: &Origin, memory: &str) -> (Node, f64) {
    let settings = Settings::origins(&[&origin.url()]);
    let settings = settings
        .table("memory", &format!("size = \"{memory}\""))
        .table("memory", "object_max = \"64KiB\"");
    let node = Node::start(settings).await;
    let mut client = node.client().await;
    for target in targets() {
        assert_eq!(client.get(&target).await.status, 200);
    }
    let total = |it: &larder_tests::Metrics| it.sum("larder_requests_total", &[]);
    let metrics = node.metrics_when(|it| total(it) >= REQUESTS as f64).await;
    let hits = metrics.sum("larder_requests_total", &[("outcome", "hit")]);
    (node, hits / REQUESTS as f64)
}

#[tokio::test]
async fn a_nodes_log_tells_what_it_and_a_larger_one_do() {
    let origin = Origin::start(|seen| {
        let number: usize = seen.target[1..].parse().unwrap_or(0);
        Reply::fresh(3600, "x".repeat(200 + number % 7 * 1500))
    })
    .await;
    let (node, small) = measured(&origin, "2MiB").await;
    let (_larger, large) = measured(&origin, "8MiB").await;
    let mut log = String::new();
    let count = usize::try_from(REQUESTS).expect("few");
    eventually(SOON, || node.stdout().len() >= count).await;
    for line in node.log_lines() {
        writeln!(log, "{line}").expect("strings grow");
    }
    let file = node.folder().join("access.log");
    std::fs::write(&file, log).expect("a log");
    let file = file.to_str().expect("text");
    let runs = runs(node.folder(), &[file, "--memory", "2MiB,8MiB"]).await;
    for (run, real) in runs.iter().zip([small, large]) {
        let told = run["request_hit_ratio"].as_f64().expect("a ratio");
        assert!((told - real).abs() < 0.015, "{run}, and it is {real}");
    }
    assert!(
        large > small + 0.05,
        "the sizes are to differ: {small}, {large}"
    );
}

#[tokio::test]
async fn what_cannot_be_replayed_is_one_clear_message() {
    let folder = TempDir::new().expect("a folder");
    std::fs::write(folder.path().join("garbage"), [0xff, 0, b'\n', b'x']).expect("a file");
    for (arguments, words) in [
        (&["missing.log"][..], "missing.log"),
        (&["garbage"], "no line is a request"),
        (&["garbage", "--memory", "many"], "many"),
    ] {
        let exit = simulate(folder.path(), arguments).await;
        assert_ne!(exit.code, Some(0), "{arguments:?}");
        assert!(
            exit.stderr.contains(words),
            "{arguments:?}: {}",
            exit.stderr
        );
    }
}
