//! `larder purge --wait all`: a line for each node, and a status that scripts can trust.

use larder_tests::{Nats, Node, run_to_exit};
use serde_json::Value;

use super::{counting, fleet_of};

async fn purge(node: &Node, arguments: &[&str]) -> larder_tests::Exit {
    larder(node, &["purge"], arguments).await
}

/// A command that asks a node.
async fn larder(node: &Node, command: &[&str], arguments: &[&str]) -> larder_tests::Exit {
    let (admin, token) = (node.admin().to_string(), node.folder().join("admin-token"));
    let there = [
        "--admin",
        &admin,
        "--admin-token-file",
        token.to_str().expect("text"),
    ];
    let all: Vec<_> = command
        .iter()
        .chain(arguments)
        .chain(&there)
        .copied()
        .collect();
    run_to_exit(&all, node.folder()).await
}

#[tokio::test]
async fn each_node_has_a_line_and_one_that_is_missing_a_status_of_its_own() {
    let (nats, origin) = (Nats::start(), counting().await);
    let nodes = fleet_of(3, &origin, &nats).await;
    for node in &nodes {
        node.metrics_when(|it| it.sum("larder_fleet_nodes", &[]) == 3.0)
            .await;
    }
    let exit = purge(&nodes[0], &["--tag", "x", "--wait", "all"]).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let mut lines: Vec<_> = exit.stdout.lines().collect();
    let last = lines.pop().unwrap();
    assert!(last.starts_with("purged: sequence "), "{last}");
    lines.sort_unstable();
    assert_eq!(lines.len(), 3, "{lines:?}");
    for (line, name) in lines.iter().zip(["a", "b", "c"]) {
        let begins = format!("  {name}: applied at ");
        assert!(line.starts_with(&begins) && line.ends_with(" ms"), "{line}");
    }

    nodes[2].signal("STOP");
    let waiting = [
        "--tag",
        "x",
        "--wait",
        "all",
        "--timeout",
        "1",
        "--id",
        "mine",
    ];
    let exit = purge(&nodes[0], &waiting).await;
    assert_eq!(exit.code, Some(3), "{}{}", exit.stdout, exit.stderr);
    let mut lines: Vec<_> = exit.stdout.lines().collect();
    let last = lines.pop().unwrap();
    assert!(
        last.starts_with("logged, and not applied everywhere yet: "),
        "{last}"
    );
    assert!(last.contains("id mine"), "{last}");
    assert_eq!(lines.pop(), Some("  c: not applied yet"));
    assert_eq!(lines.len(), 2, "{lines:?}");

    // The same again is the same purge, and says so in the one document.
    let again: Vec<_> = waiting.iter().chain(&["--json"]).copied().collect();
    let exit = purge(&nodes[0], &again).await;
    assert_eq!(exit.code, Some(3), "{}", exit.stdout);
    let receipt: Value = serde_json::from_str(&exit.stdout).unwrap();
    assert_eq!(receipt["id"], "mine");
    assert_eq!(receipt["missing"], serde_json::json!(["c"]));
    nodes[2].signal("CONT");
    let exit = purge(&nodes[0], &["--tag", "x", "--wait", "all", "--id", "mine"]).await;
    assert_eq!(exit.code, Some(0), "{}{}", exit.stdout, exit.stderr);
}

#[tokio::test]
async fn each_node_is_told_with_its_place_and_how_long_purges_take() {
    let (nats, origin) = (Nats::start(), counting().await);
    let nodes = fleet_of(2, &origin, &nats).await;
    for node in &nodes {
        node.metrics_when(|it| it.sum("larder_fleet_nodes", &[]) == 2.0)
            .await;
    }
    let all = r#"{"tags":["x"],"wait":"all","timeout_ms":20000}"#;
    let receipt = nodes[1].purge(all).await;
    let status = async || larder(&nodes[0], &["fleet", "status"], &["--json"]).await;
    let exit = status().await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let fleet: Value = serde_json::from_str(&exit.stdout).unwrap();
    assert_eq!(fleet["state"], "following");
    assert_eq!(fleet["propagation"]["purges"], 1);
    assert!(fleet["propagation"]["p99_ms"].as_f64().is_some(), "{fleet}");
    let nodes_told = fleet["nodes"].as_array().unwrap();
    for (told, name) in nodes_told.iter().zip(["a", "b"]) {
        assert_eq!(told["node"], name);
        assert!(
            told["applied"].as_u64() >= receipt["sequence"].as_u64(),
            "{fleet}"
        );
    }
    let exit = larder(&nodes[0], &["fleet", "status"], &[]).await;
    assert!(
        exit.stdout.contains("the last 1 purges: p50 "),
        "{}",
        exit.stdout
    );
    // Once the log is gone, it says so.
    drop(nats);
    nodes[0]
        .metrics_when(|it| it.sum("larder_purge_lag_seconds", &[]) > 3.0)
        .await;
    let exit = status().await;
    let fleet: Value = serde_json::from_str(&exit.stdout).unwrap();
    assert_eq!(fleet["state"], "apart");
    assert!(fleet["lag_ms"].as_f64() > Some(3000.0), "{fleet}");
    let alone = Node::before(&origin.url()).await;
    let exit = larder(&alone, &["fleet", "status"], &[]).await;
    assert_eq!(exit.code, Some(1));
    assert!(exit.stderr.contains("is in no fleet"), "{}", exit.stderr);
}
