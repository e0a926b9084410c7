//! One line for each request, whatever is in it.

use std::net::SocketAddr;

use larder_tests::{Ca, Client, Node, Origin, Reply, Settings, Tiers, eventually, free_port};
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

#[tokio::test]
async fn tls_tags_and_what_a_proxy_found_out_are_told_where_they_are_wanted() {
    let origin = Origin::start(|_| Reply::fresh(60, "x").with("Surrogate-Key", "a b")).await;
    let ca = Ca::new();
    let settings = Settings::origins(&[&origin.url()])
        .table("log", "request_fields = [\"CF-IPCountry\"]")
        .table("log", "response_fields = [\"Surrogate-Key\", \"X-None\"]");
    let folder = tempfile::tempdir().expect("a folder");
    let (certificate, key) = ca.sign(&["www.example.com"]).write(folder.path(), "www");
    let certificates = format!("certificates = [{{ cert = {certificate:?}, key = {key:?} }}]");
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let settings = settings
        .listener(&format!("{{ address = \"{address}\", tls = true }}"))
        .table("tls", &certificates);
    let node = Node::start(settings).await;
    let mut client = Client::connect_tls(address, &ca, "www.example.com")
        .await
        .expect("a session");
    for _ in 0..3 {
        let answer = client.get_with("/a", &[("CF-IPCountry", "DE")]).await;
        assert_eq!(
            answer.header("Surrogate-Key"),
            None,
            "it is not for clients"
        );
    }
    for line in lines(&node, 3).await {
        assert_eq!(line["tls"], "TLSv1.3", "{line}");
        let cipher = line["cipher"].as_str().unwrap_or_default();
        assert!(
            cipher.starts_with("TLS13_") || cipher.starts_with("TLS_"),
            "{line}"
        );
        assert_eq!(line["node"], "larder");
        let fields = serde_json::json!({ "cf-ipcountry": "DE" });
        assert_eq!(line["request_fields"], fields);
        let fields = serde_json::json!({ "surrogate-key": "a b" });
        assert_eq!(line["response_fields"], fields, "{line}");
    }
}

#[tokio::test]
async fn the_way_through_the_tiers_is_told() {
    let origin = Origin::start(|_| Reply::fresh(60, "x")).await;
    let tiers = Tiers::before(&origin.url());
    let parent = Node::start(tiers.parent("above")).await;
    let first = Node::start(tiers.edge("first", &[&parent])).await;
    let second = Node::start(tiers.edge("second", &[&parent])).await;
    first.get("/a").await;
    second.get("/a").await;
    let upstream = |line: &Value| line["upstream"].as_str().unwrap_or_default().to_owned();
    let line = lines(&first, 1).await.remove(0);
    assert!(
        upstream(&line).starts_with("above; fwd=uri-miss; fwd-status=200"),
        "{line}"
    );
    let line = lines(&second, 1).await.remove(0);
    assert!(upstream(&line).starts_with("above; hit; ttl="), "{line}");
    let line = lines(&parent, 2).await.remove(0);
    assert_eq!(line.get("upstream"), None, "{line}");
}
