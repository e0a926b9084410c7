//! `larder purge --wait all`: a line for each node, and a status that scripts can trust.

use larder_tests::{Nats, Node, run_to_exit};
use serde_json::Value;

use super::{counting, fleet_of};

async fn purge(node: &Node, arguments: &[&str]) -> larder_tests::Exit {
    let (admin, token) = (node.admin().to_string(), node.folder().join("admin-token"));
    let there = [
        "--admin",
        &admin,
        "--admin-token-file",
        token.to_str().expect("text"),
    ];
    let all: Vec<_> = ["purge"]
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
