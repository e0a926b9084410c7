//! `larder purge`: what it prints, and a status that scripts can trust.

use larder_tests::{Exit, Node, Origin, Reply, run_to_exit};
use serde_json::Value;

async fn started() -> (Origin, Node) {
    let origin =
        Origin::start(|seen| Reply::fresh(600, seen.nth.to_string()).with("Surrogate-Key", "home"))
            .await;
    let node = Node::before(&origin.url()).await;
    (origin, node)
}

async fn purge(node: &Node, arguments: &[&str]) -> Exit {
    let (admin, token) = (node.admin().to_string(), node.folder().join("admin-token"));
    let there = [
        "--admin",
        &admin,
        "--admin-token-file",
        token.to_str().expect("text"),
    ];
    let mut all = vec!["purge"];
    all.extend(arguments);
    all.extend(there);
    run_to_exit(&all, node.folder()).await
}

#[tokio::test]
async fn it_purges_and_says_so_for_each_node_and_all() {
    let (_origin, node) = started().await;
    for arguments in [
        &["http://www.example.com/a"][..],
        &["--tag", "home"],
        &["--prefix", "http://www.example.com/"],
        &["--host", "www.example.com", "--wait", "all"],
        &["--all", "--soft", "--wait", "none"],
        &[
            "--all", "--site", "main", "--actor", "me", "--reason", "test",
        ],
    ] {
        node.get("/a").await;
        assert!(node.get("/a").await.is_hit());
        let exit = purge(&node, arguments).await;
        assert_eq!(exit.code, Some(0), "{arguments:?}: {}", exit.stderr);
        let lines: Vec<&str> = exit.stdout.lines().collect();
        assert!(lines[0].starts_with("  larder: applied at "), "{lines:?}");
        assert!(lines[1].starts_with("purged: sequence "), "{lines:?}");
        assert!(!node.get("/a").await.is_hit(), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_dry_run_prints_what_would_go() {
    let (_origin, node) = started().await;
    node.get("/a").await;
    let exit = purge(&node, &["--tag", "home", "--dry-run"]).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(
        exit.stdout.starts_with("would purge 1 objects, "),
        "{}",
        exit.stdout
    );
    assert!(exit.stdout.contains("www.example.com/a"), "{}", exit.stdout);
    assert!(node.get("/a").await.is_hit());
    let exit = purge(&node, &["--tag", "home", "--dry-run", "--json"]).await;
    let preview: Value = serde_json::from_str(&exit.stdout).unwrap();
    assert_eq!(preview["objects"], 1);
    let key = preview["samples"][0]["key"].as_str().unwrap();
    let exit = purge(&node, &["--key", key, "--json"]).await;
    let receipt: Value = serde_json::from_str(&exit.stdout).unwrap();
    assert_eq!(
        (exit.code, &receipt["matched"]["objects"]),
        (Some(0), &Value::from(1))
    );
    assert!(!node.get("/a").await.is_hit());
}

#[tokio::test]
async fn its_status_says_that_nothing_was_purged() {
    let (_origin, mut node) = started().await;
    node.get("/a").await;
    let refused = purge(&node, &["not a URL"]).await;
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("nothing was purged"),
        "{}",
        refused.stderr
    );
    let nothing = purge(&node, &["--soft"]).await;
    assert_eq!(nothing.code, Some(2));
    let both = purge(&node, &["--all", "--tag", "other"]).await;
    assert_eq!(both.code, Some(2), "everything, or a tag?");
    assert!(node.get("/a").await.is_hit());
    node.signal("KILL");
    node.wait_exit().await;
    let gone = purge(&node, &["--all"]).await;
    assert_eq!(gone.code, Some(1));
    assert!(gone.stderr.contains("no answer"), "{}", gone.stderr);
}
