//! One line for each request, whatever is in it.

use larder_tests::{Node, Origin, Reply, Settings, eventually};
use serde_json::Value;

use crate::SOON;

async fn lines(node: &Node, count: usize) -> Vec<Value> {
    eventually(SOON, || node.stdout().len() >= count).await;
    node.log_lines()
}

#[tokio::test]
async fn a_line_tells_who_asked_for_what_and_what_came_of_it() {
    let origin = Origin::start(|_| Reply::fresh(60, "hello")).await;
    let node = Node::before(&origin.url()).await;
    node.get("/a?b=1").await;
    node.get("/a?b=1").await;
    let mut lines = lines(&node, 2).await;

    for line in &lines {
        assert_eq!(line["method"], "GET");
        assert_eq!(line["host"], "www.example.com");
        assert!(
            line["path"]
                .as_str()
                .is_some_and(|path| path.starts_with("/a")),
            "{line}"
        );
        assert_eq!(line["status"], 200);
        assert!(
            line["bytes"].as_u64().is_some_and(|bytes| bytes >= 5),
            "{line}"
        );
        assert!(
            line["client"]
                .as_str()
                .is_some_and(|client| client.starts_with("127.0.0.1"))
        );
        assert!(
            line["duration_ms"].as_f64().is_some_and(|time| time >= 0.0),
            "{line}"
        );
        assert!(line["ts"].is_string() || line["ts"].is_number(), "{line}");
    }
    // Lines come in the order in which the responses ended.
    lines.sort_by_key(|line| line["outcome"] == "hit");
    assert_ne!(lines[0]["outcome"], "hit");
    assert_eq!(lines[1]["outcome"], "hit");
    assert_eq!(
        lines[1]["ttl"].as_i64().map(|ttl| (59..=60).contains(&ttl)),
        Some(true)
    );
}

#[tokio::test]
async fn what_a_client_sends_stays_on_its_line() {
    let origin = Origin::start(|_| Reply::ok("x")).await;
    let node = Node::before(&origin.url()).await;
    let odd = [
        "GET /a\"b\\c{}%0a%0d HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: \"x\\\r\nConnection: close\r\n\r\n".as_bytes().to_vec(),
        b"GET /\xff\xfe HTTP/1.1\r\nHost: www.example.com\r\nConnection: close\r\n\r\n".to_vec(),
        b"GET /x HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: \xff\x80\r\nReferer: \xc3\x28\r\nConnection: close\r\n\r\n".to_vec(),
        b"GET /\x1b[31m HTTP/1.1\r\nHost: www.example.com\r\n\r\n".to_vec(),
    ];
    for bytes in odd {
        drop(node.exchange(bytes).await);
    }
    node.get("/end").await;
    eventually(SOON, || {
        node.log_lines().iter().any(|line| line["path"] == "/end")
    })
    .await;
    assert!(node.stdout().iter().all(|line| !line.contains('\u{1b}')));
}

#[tokio::test]
async fn the_combined_format_and_none_at_all() {
    let origin = Origin::start(|_| Reply::ok("hello")).await;
    let with = |access: &str| {
        Settings::origins(&[&origin.url()]).table("log", &format!("access = \"{access}\""))
    };
    let combined = Node::start(with("combined")).await;
    combined
        .get_with(
            "/a",
            &[("User-Agent", "tests"), ("Referer", "http://r.example/")],
        )
        .await;
    eventually(SOON, || combined.stdout().len() == 1).await;
    let line = combined.stdout().remove(0);
    assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
    assert!(
        line.contains("\"GET /a HTTP/1.1\" 200 5 \"http://r.example/\" \"tests\""),
        "{line}"
    );

    let off = Node::start(with("off")).await;
    off.get("/a").await;
    assert!(off.stdout().is_empty());
}

#[tokio::test]
async fn messages_go_to_standard_error() {
    let origin = Origin::start(|_| Reply::ok("x")).await;
    let node = Node::before(&origin.url()).await;
    assert!(node.stdout().is_empty(), "{:?}", node.stdout());
}
