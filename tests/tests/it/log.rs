//! Where the access log goes, what it leaves out, and who follows it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use larder_tests::{
    Client, Node, Origin, Reply, Settings, ensure_binary, eventually, free_port, run_to_exit,
};
use serde_json::Value;

use crate::SOON;

async fn origin() -> Origin {
    Origin::start(|seen| match seen.target.as_str() {
        "/private" => Reply::ok("p").with("Cache-Control", "private"),
        _ => Reply::fresh(600, "x"),
    })
    .await
}

#[tokio::test]
async fn lines_go_to_a_file_and_to_a_syslog_server() {
    let origin = origin().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("access.log");
    let to = |to: &str| Settings::origins(&[&origin.url()]).table("log", &format!("to = \"{to}\""));
    let node = Node::start(to(&file.display().to_string())).await;
    node.get("/a").await;
    let written = || fs::read_to_string(&file).is_ok_and(|text| text.ends_with("}\n"));
    eventually(SOON, written).await;
    assert!(node.stdout().is_empty());

    let server = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    server.set_read_timeout(Some(SOON)).expect("a timeout");
    let address = server.local_addr().expect("an address");
    let node = Node::start(to(&format!("udp://{address}"))).await;
    node.get("/b").await;
    let mut message = [0; 4096];
    let length = server.recv(&mut message).expect("a message");
    let message = String::from_utf8_lossy(&message[..length]).into_owned();
    assert!(message.starts_with("<134>1 20"), "{message}");
    let (_, line) = message.split_once(" access - ").expect("a header");
    let line: Value = serde_json::from_str(line).expect("JSON");
    assert_eq!(line["path"], "/b");
}

#[tokio::test]
async fn a_server_that_is_gone_slows_nobody_and_lost_lines_are_counted() {
    let origin = origin().await;
    let nobody = format!("to = \"tcp://127.0.0.1:{}\"", free_port());
    let node = Node::start(Settings::origins(&[&origin.url()]).table("log", &nobody)).await;
    for _ in 0..20 {
        assert_eq!(node.get("/a").await.status, 200);
    }
    let lost = |it: &larder_tests::Metrics| it.sum("larder_access_log_dropped_total", &[]) >= 20.0;
    node.metrics_when(lost).await;
}

#[tokio::test]
async fn hits_are_sampled_and_what_is_secret_is_left_out() {
    let origin = origin().await;
    let settings = Settings::origins(&[&origin.url()])
        .table("node", "threads = 1")
        .table("log", "sample_hits = 5")
        .table("log", "redact = [\"client\", \"query\", \"user_agent\"]");
    let node = Node::start(settings).await;
    let agent = [("User-Agent", "someone"), ("Referer", "http://r/")];
    for _ in 0..51 {
        node.get_with("/a?token=secret", &agent).await;
    }
    node.get_with("/private?token=secret", &agent).await;
    let last = || {
        node.log_lines()
            .iter()
            .any(|line| line["path"] == "/private")
    };
    eventually(SOON, last).await;
    let lines = node.log_lines();
    let hits: u64 = lines
        .iter()
        .filter(|it| it["outcome"] == "hit")
        .map(|it| it["sample"].as_u64().unwrap_or(1))
        .sum();
    assert!((40..=50).contains(&hits), "{hits}");
    assert_eq!(lines.iter().filter(|it| it["outcome"] == "miss").count(), 2);
    for line in &lines {
        let text = line.to_string();
        assert!(
            !text.contains("secret") && !text.contains("someone"),
            "{text}"
        );
        assert_eq!(line["client"], "127.0.0.0");
        assert_eq!(line["referer"], "http://r/");
    }
}

/// `larder log` as a program that runs on.
struct Following {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Following {
    fn start(node: &Node, args: &[&str]) -> Self {
        let mut child = Command::new(ensure_binary())
            .arg("log")
            .args(args)
            .args(["--admin", &node.admin().to_string(), "--admin-token-file"])
            .arg(node.folder().join("admin-token"))
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program");
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let (out, read) = (child.stdout.take().expect("its output"), Arc::clone(&lines));
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                read.lock().expect("a lock").push(line);
            }
        });
        Self { child, lines }
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("a lock").clone()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test]
async fn the_command_follows_what_its_filter_wants() {
    let origin = origin().await;
    let settings = Settings::origins(&[&origin.url()]).table("log", "access = \"off\"");
    let node = Node::start(settings).await;
    let misses = Following::start(
        &node,
        &["--where", "outcome=miss and host=*.shop", "--json"],
    );
    let all = Following::start(&node, &[]);
    // It is known that both follow when they have seen something.
    let mut number = 0;
    while misses.lines().is_empty() || all.lines().is_empty() {
        number += 1;
        assert!(number < 200, "nothing is followed");
        let target = format!("/early/{number}");
        node.client().await.host("a.shop").get(&target).await;
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    node.client().await.host("b.shop").get("/wanted").await;
    node.client().await.host("b.shop").get("/wanted").await;
    node.client().await.host("b.other").get("/unwanted").await;
    node.client().await.host("c.shop").get("/last").await;
    // A client may have its answer before the line of it is told, and another worker's line may come first.
    let tells = |following: &Following, wanted: &[&str]| {
        let text = following.lines().join("\n");
        wanted.iter().all(|it| text.contains(it))
    };
    eventually(SOON, || tells(&misses, &["/wanted", "/last"])).await;
    let told: Vec<Value> = misses
        .lines()
        .iter()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert!(
        told.iter().all(|line| line["outcome"] == "miss"),
        "{told:?}"
    );
    assert_eq!(
        told.iter().filter(|line| line["path"] == "/wanted").count(),
        1
    );
    assert!(
        told.iter().all(|line| line["path"] != "/unwanted"),
        "{told:?}"
    );
    let wanted = [" hit ", "miss(cold)", "/unwanted", "/last"];
    eventually(SOON, || tells(&all, &wanted)).await;
}

#[tokio::test]
async fn what_cannot_be_followed_is_one_clear_message() {
    let origin = origin().await;
    let node = Node::before(&origin.url()).await;
    let admin = node.admin().to_string();
    let token = node.folder().join("admin-token").display().to_string();
    let wrong = node.folder().join("wrong").display().to_string();
    fs::write(&wrong, "another-token-of-the-right-length").expect("a writable folder");
    let nobody = format!("127.0.0.1:{}", free_port());
    for (filter, admin, token, says) in [
        (
            "outcom=miss",
            &admin,
            &token,
            "there is no field \"outcom\"",
        ),
        ("outcome=miss", &admin, &wrong, "does not know this token"),
        ("outcome=miss", &nobody, &token, "no answer from"),
    ] {
        let args = [
            "log",
            "--where",
            filter,
            "--admin",
            admin,
            "--admin-token-file",
            token,
        ];
        let exit = run_to_exit(&args, node.folder()).await;
        assert_eq!(exit.code, Some(1), "{}", exit.stdout);
        assert!(exit.stderr.contains(says), "{}", exit.stderr);
        assert_eq!(exit.stderr.trim_end().lines().count(), 1, "{}", exit.stderr);
    }
    // No more than eight at once.
    let mut followers = Vec::new();
    let bearer = format!("Bearer {}", node.token());
    for place in 0..9 {
        let mut client = Client::connect(node.admin()).await;
        client
            .ask("GET", "/v1/log", &[("Authorization", &bearer)])
            .await;
        let head = client.answer_head().await.expect("an answer");
        assert_eq!(head.status, if place < 8 { 200 } else { 429 }, "{place}");
        followers.push(client);
    }
    // Who has gone makes room, though nothing happens that they would be told.
    drop(followers);
    let follows = async || {
        let mut client = Client::connect(node.admin()).await;
        client
            .ask("GET", "/v1/log", &[("Authorization", &bearer)])
            .await;
        client.answer_head().await.expect("an answer").status == 200
    };
    let again = async { while !follows().await {} };
    let again = tokio::time::timeout(SOON, again).await;
    again.expect("there is room again");
}
