//! Bad input: one clear message with what to do, and never a panic.

use std::fs;
use std::net::TcpListener;

use larder_tests::{Exit, Node, free_port, run_to_exit};

/// Checks a file with this text.
async fn checked(text: &str) -> Exit {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("larder.toml"), text).expect("a writable folder");
    run_to_exit(&["check", "larder.toml"], folder.path()).await
}

/// Runs with these flags in an empty folder until it ends.
async fn ran(flags: &[&str]) -> Exit {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let args: Vec<&str> = ["run"].iter().chain(flags).copied().collect();
    run_to_exit(&args, folder.path()).await
}

#[track_caller]
fn complains(exit: &Exit, words: &[&str]) {
    assert!(!matches!(exit.code, Some(0) | None), "{exit:?}");
    assert!(!exit.stderr.contains("panicked"), "{}", exit.stderr);
    assert!(exit.stdout.is_empty(), "{}", exit.stdout);
    for word in words {
        assert!(
            exit.stderr.contains(word),
            "no `{word}` in:\n{}",
            exit.stderr
        );
    }
}

const SITE: &str =
    "[[site]]\nname = \"main\"\nhosts = [\"*\"]\norigins = [\"http://127.0.0.1:3000\"]\n";

#[tokio::test]
async fn a_good_file_is_good() {
    let exit = checked(SITE).await;
    assert_eq!(exit.code, Some(0), "{exit:?}");
}

#[tokio::test]
async fn text_that_is_not_toml_is_shown_with_its_place() {
    let exit = checked("[node\nname = 1").await;
    complains(&exit, &["larder.toml:1:"]);
    assert_eq!(exit.code, Some(2));
}

#[tokio::test]
async fn an_unknown_key_is_refused_with_a_suggestion() {
    let exit = checked(&format!("{SITE}retires = 1\n")).await;
    complains(&exit, &["larder.toml:5:1", "retires", "retries"]);
    assert_eq!(exit.code, Some(2));
}

#[tokio::test]
async fn every_problem_is_reported_at_once() {
    let exit = checked(&format!(
        "[memory]\nsize = \"512\"\n[log]\naccess = \"xml\"\n{SITE}sett_cookie = 1\n"
    ))
    .await;
    complains(&exit, &["larder.toml:2:", "larder.toml:4:", "sett_cookie"]);
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named() {
    complains(&ran(&["--config", "nowhere.toml"]).await, &["nowhere.toml"]);
}

#[tokio::test]
async fn an_unreadable_certificate_is_named_with_its_path() {
    let text = format!(
        "[node]\nlisten = [{{ address = \"127.0.0.1:0\", tls = true }}]\n\
         [tls]\ncertificates = [{{ cert = \"missing.pem\", key = \"missing.key\" }}]\n{SITE}"
    );
    complains(&checked(&text).await, &["missing.pem", "larder.toml:4:"]);
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let admin = format!("127.0.0.1:{}", free_port());
    let exit = ran(&[
        "--origin",
        "http://127.0.0.1:3000",
        "--listen",
        &address,
        "--admin",
        &admin,
    ])
    .await;
    complains(&exit, &[&address, "in use"]);
}

#[tokio::test]
async fn flags_that_make_no_sense_are_refused() {
    for (flags, word) in [
        (vec!["--origin", "not a url"], "not a url"),
        (vec!["--origin", "ftp://127.0.0.1"], "ftp"),
        (vec!["--origin", "http://127.0.0.1:3000/path"], "path"),
        (
            vec!["--origin", "http://127.0.0.1:3000", "--memory", "512"],
            "512",
        ),
        (
            vec!["--origin", "http://127.0.0.1:3000", "--listen", "nowhere"],
            "nowhere",
        ),
        (vec!["--frob"], "--frob"),
        (vec![], "--origin"),
    ] {
        complains(&ran(&flags).await, &[word]);
    }
}

#[tokio::test]
async fn what_init_prints_is_a_good_file() {
    let folder = tempfile::tempdir().unwrap();
    let flags = [
        "init",
        "--origin",
        "http://127.0.0.1:3000",
        "--memory",
        "64MiB",
        "--node",
        "n1",
    ];
    let made = run_to_exit(&flags, folder.path()).await;
    assert_eq!(made.code, Some(0), "{made:?}");
    let more = "\n[[site.rule]]\nmatch = { path = \"/assets/*\" }\nttl = \"1h\"\n";
    fs::write(folder.path().join("larder.toml"), made.stdout + more).unwrap();
    let exit = run_to_exit(&["check", "larder.toml"], folder.path()).await;
    assert_eq!(exit.code, Some(0), "{exit:?}");
}

#[tokio::test]
async fn an_origin_that_is_dead_at_the_start_is_a_502_and_no_reason_to_stop() {
    let mut node = Node::before(&format!("http://127.0.0.1:{}", free_port())).await;
    let answer = node.get("/a").await;
    assert_eq!(answer.status, 502);
    assert!(answer.header("Proxy-Status").is_some());
    assert!(!answer.cache_status().is_empty());
    assert!(node.is_running());
}

#[tokio::test]
async fn an_origin_name_that_does_not_resolve_is_a_502_that_says_so() {
    let mut node = Node::before("http://does-not-exist.invalid:3000").await;
    let answer = node.get("/a").await;
    assert!(matches!(answer.status, 502 | 504), "{}", answer.status);
    assert!(
        answer
            .header("Proxy-Status")
            .is_some_and(|status| status.contains("error=dns"))
    );
    assert!(node.is_running());
}
