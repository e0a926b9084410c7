//! `larder top`: on a real terminal, and without one.

use larder_tests::{
    Exit, Node, Origin, Reply, Settings, Terminal, eventually, free_port, run_to_exit,
};
use serde_json::Value;

use crate::SOON;
use crate::many_sites::{started, visit};

fn arguments(node: &Node, more: &[&str]) -> Vec<String> {
    let token = node.folder().join("admin-token").display().to_string();
    let admin = node.admin().to_string();
    let there = ["top", "--admin", &admin, "--admin-token-file", &token];
    there.iter().chain(more).map(ToString::to_string).collect()
}

fn watch(node: &Node, columns: u16, rows: u16) -> Terminal {
    let arguments = arguments(node, &["--interval", "1"]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Terminal::run(&arguments, node.folder(), columns, rows)
}

async fn print(node: &Node, more: &[&str]) -> Exit {
    let arguments = arguments(node, more);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    run_to_exit(&arguments, node.folder()).await
}

#[tokio::test]
async fn a_terminal_of_80_by_24_shows_ratios_reasons_and_urls() {
    let (_origin, node) = started(&[], 0).await;
    let mut terminal = watch(&node, 80, 24);
    terminal
        .shows(&["hits –", "no requests in this time", "no misses lately"])
        .await;
    visit(&node).await;
    terminal
        .shows(&["hits 50.0 %", "every 1s", "50.0 %", "cold", "private"])
        .await;
    terminal
        .shows(&[
            "1 URLs by misses 2",
            "www.example.com/private",
            "MiB, 1 objects",
        ])
        .await;

    terminal.press("?");
    terminal
        .shows(&["the next table; a table by its number"])
        .await;
    terminal.press("?p");
    terminal.shows(&["paused"]).await;
    terminal.press("p3");
    terminal.shows(&["3 sites 1", "offload"]).await;
    terminal.press("\r");
    terminal.shows(&["site main", "3 sites 1"]).await;
    terminal.press("/nobody\r");
    terminal.shows(&["rows with nobody", "no row has it"]).await;

    terminal.resize(40, 12);
    terminal.shows(&["hits 50.0 %", "3 sites"]).await;
    assert!(!terminal.text().contains("outcomes"), "{terminal:?}");
    terminal.resize(200, 60);
    terminal
        .shows(&[
            "9 outcomes",
            "0 why it was no hit",
            "3 sites",
            "4 rules",
            "7 memory and disks",
        ])
        .await;
    terminal.press("q");
    assert_eq!(terminal.wait_exit().await.code(), Some(0));
    eventually(SOON, || !terminal.text().contains("outcomes")).await;
}

#[tokio::test]
async fn the_last_of_200_sites_is_reached_by_keys() {
    let (_origin, node) = started(&[], 199).await;
    for number in 0..199 {
        let host = format!("{number}.example");
        node.client().await.host(&host).get("/a").await;
    }
    node.metrics_when(|it| it.sum("larder_requests_total", &[]) >= 199.0)
        .await;
    let mut terminal = watch(&node, 80, 24);
    terminal.shows(&["199"]).await;
    // A node tells 128 rules of sites apart, and has the others as one.
    terminal.press("3s\u{1b}[F");
    terminal.shows(&["3 sites 1", "site-1"]).await;
    terminal.press("/site-07\r");
    terminal.shows(&["3 sites 10", "site-076"]).await;
}

#[tokio::test]
async fn a_signal_ends_it_and_the_terminal_is_as_it_was() {
    let (_origin, node) = started(&[], 0).await;
    for name in ["TERM", "HUP"] {
        let mut terminal = watch(&node, 80, 24);
        terminal.shows(&["hits"]).await;
        assert!(!terminal.is_cooked() && terminal.is_alternate());
        terminal.signal(name);
        assert_eq!(terminal.wait_exit().await.code(), Some(0));
        assert!(terminal.is_cooked(), "{name}: keys are not seen any more");
        eventually(SOON, || !terminal.is_alternate()).await;
    }
}

#[tokio::test]
async fn it_ends_with_its_terminal() {
    let (_origin, node) = started(&[], 0).await;
    let mut terminal = watch(&node, 80, 24);
    terminal.shows(&["hits"]).await;
    terminal.take_away("3");
    let status = terminal.wait_exit().await;
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn a_node_that_goes_away_is_one_line_and_what_was_known_stays() {
    let (_origin, mut node) = started(&[], 0).await;
    visit(&node).await;
    let mut terminal = watch(&node, 80, 24);
    terminal.shows(&["hits 50.0 %"]).await;
    node.kill();
    terminal
        .shows(&[
            "no answer",
            &format!("no answer from {}", node.admin()),
            "hits 50.0 %",
        ])
        .await;
    terminal.press("\u{3}");
    assert_eq!(terminal.wait_exit().await.code(), Some(0));
}

#[tokio::test]
async fn without_a_terminal_it_prints_once() {
    let (_origin, node) = started(&[], 0).await;
    visit(&node).await;
    let exit = print(&node, &[]).await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    for part in [
        "node larder, larder ",
        "\n  hit ratio              50.0 %\n",
        "\nwhy it was no hit\n",
        "www.example.com/private",
    ] {
        assert!(exit.stdout.contains(part), "{part:?} in {}", exit.stdout);
    }
    assert!(!exit.stdout.contains('\u{1b}'), "{}", exit.stdout);

    let exit = print(&node, &["--json", "--site", "main"]).await;
    let document: Value = serde_json::from_str(&exit.stdout).expect("a line of JSON");
    assert_eq!(document["stats"]["window"]["hit_ratio"], 0.5);
    let exit = print(&node, &["--json", "--site", "nobody"]).await;
    assert_eq!(exit.code, Some(1), "{}", exit.stdout);
    assert!(
        exit.stderr.contains("there is no site \"nobody\""),
        "{}",
        exit.stderr
    );
}

#[tokio::test]
async fn what_is_wrong_is_one_clear_line() {
    let (_origin, node) = started(&[], 0).await;
    let wrong = node.folder().join("wrong");
    std::fs::write(&wrong, "a-token-that-nobody-has-given-out").expect("a writable folder");
    let (admin, wrong) = (node.admin().to_string(), wrong.display().to_string());
    let nobody = format!("127.0.0.1:{}", free_port());
    let client = node.address().to_string();
    for (admin, message) in [
        (
            &admin,
            "does not know this token: name the file with the right one with --admin-token-file",
        ),
        (&nobody, "--admin names where the node's admin API listens"),
        (&client, "does not answer like a node"),
    ] {
        let arguments = ["top", "--admin", admin, "--admin-token-file", &wrong];
        let exit = run_to_exit(&arguments, node.folder()).await;
        assert_eq!(exit.code, Some(1), "{}", exit.stdout);
        assert_eq!(exit.stderr.lines().count(), 1, "{}", exit.stderr);
        assert!(exit.stderr.contains(message), "{}", exit.stderr);
        assert!(exit.stderr.contains(admin.as_str()), "{}", exit.stderr);
    }
}

#[tokio::test]
async fn it_says_that_the_configuration_was_another_one_and_until_when() {
    let origin = Origin::start(|_| Reply::fresh(60, "x")).await;
    let settings = Settings::origins(&[&origin.url()]);
    let node = Node::start(settings.clone()).await;
    let before = print(&node, &[]).await;
    assert!(before.stdout.contains(", up "), "{}", before.stdout);
    assert!(!before.stdout.contains("reloaded"), "{}", before.stdout);

    let after = settings.table("limits", "fields = 20");
    assert_eq!(node.reload(&after).await.status, 200);
    let text = print(&node, &[]).await.stdout;
    assert!(
        text.contains(", reloaded ") && text.contains(" ago, "),
        "{text}"
    );
    let document = print(&node, &["--json"]).await.stdout;
    let document: Value = serde_json::from_str(&document).expect("a line of JSON");
    let told = &document["stats"]["configuration"];
    assert_eq!(told["generation"], 2);
    assert!(
        told["since"].is_string() && told["hash"].is_string(),
        "{told}"
    );
}
