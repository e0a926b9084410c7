//! `GET /v1/stats`: the last minutes in figures, from the facts that the metrics and the log are made of.

use larder_tests::{Client, Node, Origin, Reply, Response, Settings, eventually};
use serde_json::Value;

use crate::{SOON, seconds};

async fn ask(node: &Node, query: &str, token: &str) -> Response {
    let mut admin = Client::connect(node.admin()).await;
    let bearer = format!("Bearer {token}");
    let target = format!("/v1/stats{query}");
    admin.get_with(&target, &[("Authorization", &bearer)]).await
}

async fn stats(node: &Node, query: &str) -> Value {
    let answer = ask(node, query, node.token()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_str(&answer.text()).expect("JSON")
}

fn named<'a>(list: &'a Value, by: &str, name: &str) -> &'a Value {
    let mut items = list.as_array().expect("a list").iter();
    items.find(|item| item[by] == name).unwrap_or(&Value::Null)
}

async fn origin() -> Origin {
    Origin::start(|seen| match seen.target.as_str() {
        "/private" => Reply::ok("p").with("Cache-Control", "private"),
        _ => Reply::fresh(60, "x".repeat(1000)),
    })
    .await
}

async fn node(origin: &Origin) -> Node {
    let url = origin.url();
    let settings = Settings::origins(&[&url]).append(&format!(
        "[[site]]\nname = \"second\"\nhosts = [\"second.example\"]\norigins = [\"{url}\"]"
    ));
    let node = Node::start(settings).await;
    for path in ["/a", "/a", "/a", "/private"] {
        node.get(path).await;
    }
    node.client().await.host("second.example").get("/s").await;
    node.metrics_when(|it| it.sum("larder_requests_total", &[]) >= 5.0)
        .await;
    node
}

#[tokio::test]
async fn the_window_has_ratios_reasons_and_the_urls_behind_them() {
    let origin = origin().await;
    let node = node(&origin).await;
    let all = stats(&node, "").await;
    assert_eq!(all["window"]["requests"], 5);
    assert_eq!(all["total"]["requests"], 5);
    assert_eq!(all["window"]["hit_ratio"], 0.4);
    assert_eq!(all["window"]["origin_bytes"], 2001);
    assert!(all["window"]["p99_ms"].as_f64().is_some_and(|it| it > 0.0));
    assert_eq!(named(&all["outcomes"], "name", "hit")["requests"], 2);
    assert_eq!(named(&all["tiers"], "name", "memory")["requests"], 2);
    assert_eq!(named(&all["reasons"], "reason", "cold")["requests"], 2);
    assert_eq!(named(&all["reasons"], "reason", "private")["requests"], 1);
    assert_eq!(
        named(&all["origin"]["kinds"], "kind", "fill")["requests"],
        3
    );
    let misses = &all["top"]["misses"];
    assert_eq!(named(misses, "url", "www.example.com/a")["count"], 1);
    assert_eq!(named(misses, "url", "second.example/s")["site"], "second");
    assert_eq!(all["memory"]["objects"], 2);

    let second = stats(&node, "?site=second").await;
    assert_eq!(second["window"]["requests"], 1);
    assert_eq!(second["window"]["hit_ratio"], 0.0);
    assert_eq!(second["top"]["misses"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_window_forgets_what_lies_before_it() {
    let origin = origin().await;
    let mut node = node(&origin).await;
    node.advance(seconds(30));
    // The history looks at the clock every second.
    let mut closed = false;
    for _ in 0..100 {
        closed = stats(&node, "?window=60").await["series"]
            .as_array()
            .is_some_and(|series| series.len() >= 2);
        if closed {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(closed);
    node.advance(seconds(120));
    let requests = stats(&node, "?window=3600").await["window"]["requests"].clone();
    assert_eq!(requests, 5);
    let lately = stats(&node, "?window=60").await;
    assert_eq!(lately["window"]["requests"], 0);
    assert_eq!(lately["window"]["hit_ratio"], Value::Null);
    assert_eq!(lately["total"]["requests"], 5);
}

#[tokio::test]
async fn it_is_for_those_who_may_read() {
    let origin = origin().await;
    let url = origin.url();
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, secret: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, secret).expect("a writable folder");
        path.display().to_string()
    };
    let reader = "a-token-that-may-read-its-own-site";
    let purger = "a-token-that-may-purge-and-not-read";
    let tokens = format!(
        "tokens = [{{ name = \"reader\", file = \"{}\", may = [\"read\"], sites = [\"second\"] }}, \
         {{ name = \"purger\", file = \"{}\", may = [\"purge:url\"] }}]",
        file("reader", reader),
        file("purger", purger)
    );
    let settings = Settings::origins(&[&url])
        .table("admin", &tokens)
        .append(&format!(
            "[[site]]\nname = \"second\"\nhosts = [\"second.example\"]\norigins = [\"{url}\"]"
        ));
    let node = Node::start(settings).await;
    node.get("/a").await;
    node.client().await.host("second.example").get("/s").await;
    eventually(SOON, || node.log_lines().len() == 2).await;

    let own = ask(&node, "", reader).await;
    let own: Value = serde_json::from_str(&own.text()).expect("JSON");
    assert_eq!(own["window"]["requests"], 1);
    assert_eq!(own["sites"].as_array().map(Vec::len), Some(1));
    assert!(!own.to_string().contains("/a"), "{own}");

    assert_eq!(ask(&node, "", purger).await.status, 403);
    assert_eq!(
        ask(&node, "", "a-token-that-nobody-has-given-out")
            .await
            .status,
        401
    );
    let wrong = ask(&node, "?window=1d", node.token()).await;
    assert_eq!(wrong.status, 422);
    assert!(wrong.text().contains("window is 1 to 3600 seconds"));
    let mut admin = Client::connect(node.admin()).await;
    let bearer = format!("Bearer {}", node.token());
    let put = admin
        .request("PUT", "/v1/stats", &[("Authorization", &bearer)])
        .await;
    assert_eq!(put.status, 405);
}
