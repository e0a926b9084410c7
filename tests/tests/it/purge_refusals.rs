//! What is no purge: a precise problem document, nothing applied, and a line in the audit trail that outlives the node.

use larder_tests::{Client, Node, Origin, Reply, Settings};
use serde_json::Value;

/// A node with one site, and one response of it stored.
async fn stored() -> (Origin, Node) {
    let origin =
        Origin::start(|seen| Reply::fresh(600, seen.nth.to_string()).with("Surrogate-Key", "home"))
            .await;
    let settings = Settings::origins(&[&origin.url()])
        .site("hosts = [\"www.example.com\"]")
        .table("dialects", "purge = [\"10.0.0.1\"]")
        .table("dialects", "fastly = [\"127.0.0.1\"]");
    let node = Node::start(settings).await;
    node.get("/a").await;
    (origin, node)
}

async fn untouched(node: &Node) {
    assert!(node.get("/a").await.is_hit());
    assert_eq!(node.metrics().await.sum("larder_purge_sequence", &[]), 0.0);
}

/// The last line of the audit trail.
async fn told(node: &Node) -> Value {
    let answer = node.api("GET", "/v1/refusals?limit=1", "").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["refusals"][0].clone()
}

#[tokio::test]
async fn what_is_no_purge_is_refused_with_its_reason_and_told_of() {
    let (_origin, node) = stored().await;
    let many: Vec<_> = (0..501).map(|nth| format!("\"t{nth}\"")).collect();
    let too_many = format!("{{\"tags\":[{}]}}", many.join(","));
    let too_long = format!("{{\"tags\":[\"{}\"]}}", "x".repeat(300 * 1024));
    let long_key = format!("{{\"tags\":[\"{}\"]}}", "x".repeat(9 * 1024));
    for (body, status, code, detail) in [
        (too_many.as_str(), 422, "invalid", "501 keys"),
        (&too_long, 413, "too-large", "256 KiB"),
        (&long_key, 422, "invalid", "too long"),
        ("{\"tags\":[\"home\"", 400, "malformed", "EOF"),
        ("not json", 400, "malformed", "line 1"),
        ("[]", 422, "invalid", ""),
        ("{}", 422, "invalid", "at least one"),
        ("{\"tags\":[\"\"]}", 422, "invalid", "empty"),
        ("{\"everything\":true}", 422, "invalid", "everything"),
        (
            "{\"all\":true,\"mode\":\"softly\"}",
            422,
            "invalid",
            "softly",
        ),
        (
            "{\"all\":true,\"timeout_ms\":60001}",
            422,
            "invalid",
            "60000",
        ),
        ("{\"urls\":[\"/a\"]}", 422, "invalid", "absolute"),
        (
            "{\"urls\":[\"http://elsewhere.example/a\"]}",
            422,
            "invalid",
            "elsewhere.example",
        ),
        (
            "{\"prefixes\":[\"http://elsewhere.example/\"]}",
            422,
            "invalid",
            "elsewhere.example",
        ),
        (
            "{\"hosts\":[\"elsewhere.example\"]}",
            422,
            "invalid",
            "elsewhere.example",
        ),
        ("{\"hosts\":[\"bad host\"]}", 422, "invalid", "is no host"),
        ("{\"all\":true,\"site\":\"blog\"}", 422, "invalid", "blog"),
        (
            "{\"tags\":[\"home\"],\"hosts\":[\"elsewhere.example\"]}",
            422,
            "invalid",
            "elsewhere",
        ),
        ("{\"keys\":[\"xyz\"]}", 422, "invalid", "32 hexadecimal"),
    ] {
        let answer = node.api("POST", "/v1/purges", body).await;
        let shown = &body[..body.len().min(60)];
        assert_eq!(answer.status, status, "{shown}: {}", answer.text());
        let kind = answer.header("Content-Type");
        assert_eq!(kind, Some("application/problem+json"), "{shown}");
        let problem = answer.json();
        assert_eq!(problem["code"], code, "{shown}");
        assert_eq!(problem["status"], status, "{shown}");
        let said = problem["detail"].as_str().unwrap();
        assert!(said.contains(detail), "{shown}: {said}");
        let line = told(&node).await;
        assert_eq!(
            (&line["code"], &line["by"]),
            (&problem["code"], &Value::from("admin"))
        );
        assert_eq!(
            (&line["method"], &line["path"]),
            (&"POST".into(), &"/v1/purges".into())
        );
        assert_eq!(line["client"], "127.0.0.1");
        assert!(
            said.starts_with(line["detail"].as_str().unwrap()),
            "{shown}: {line}"
        );
    }
    untouched(&node).await;
}

#[tokio::test]
async fn who_may_not_is_refused_and_told_of() {
    let (_origin, node) = stored().await;
    let purge = r#"{"all":true}"#;
    let wrong = node
        .api_as("a-wrong-token", ("POST", "/v1/purges"), purge)
        .await;
    assert_eq!(wrong.status, 401);
    assert_eq!(wrong.json()["code"], "unauthorised");
    assert_eq!(told(&node).await["code"], "unauthorised");
    let mut client = Client::connect(node.admin()).await;
    let none = client
        .upload("POST", "/v1/purges", &[], purge.as_bytes())
        .await;
    assert_eq!(
        (none.status, none.header("WWW-Authenticate").is_some()),
        (401, true)
    );
    assert!(told(&node).await["by"].is_null());
    // Dialects: from an address that is not on the list, and without a token.
    let ban = node.request("PURGE", "/a", &[]).await;
    assert_eq!(ban.status, 403);
    let line = told(&node).await;
    assert_eq!(
        (&line["code"], &line["by"]),
        (&"forbidden".into(), &"purge".into())
    );
    let mut client = Client::connect(node.admin()).await;
    let fastly = client
        .upload("POST", "/service/main/purge_all", &[], b"")
        .await;
    assert_eq!(fastly.status, 401, "{}", fastly.text());
    assert_eq!(told(&node).await["path"], "/service/main/purge_all");
    untouched(&node).await;
}

#[tokio::test]
async fn the_trail_of_refusals_outlives_the_node_and_a_flood_does_not_fill_it() {
    let (_origin, mut node) = stored().await;
    for nth in 0..200 {
        let path = format!("/v1/none-{nth}");
        let answer = node.api_as("a-wrong-token", ("GET", &path), "").await;
        assert_eq!(answer.status, 401);
    }
    let list = async |node: &Node| {
        let answer = node.api("GET", "/v1/refusals?limit=1000", "").await;
        answer.json()["refusals"].as_array().unwrap().clone()
    };
    let before = list(&node).await;
    assert!(!before.is_empty());
    let first = before.last().unwrap();
    assert_eq!(first["path"], "/v1/none-0");
    let silenced = before
        .iter()
        .filter_map(|it| it["silenced"].as_u64())
        .sum::<u64>();
    assert!(before.len() as u64 + silenced <= 200);
    let counted = node.metrics().await;
    let reason = [("reason", "unauthorised")];
    assert_eq!(counted.sum("larder_admin_refusals_total", &reason), 200.0);
    node.kill_and_restart(|_| {}).await;
    assert_eq!(list(&node).await, before);
}
