//! Purging by number: what is purged is gone at once, whatever was on its way, and what is not stays.

use std::time::Duration;

use larder_tests::{Client, End, Gate, Node, Origin, Reply, eventually};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(5);

/// An origin whose answers differ, with the tags `all` and the target's first letter.
async fn counting() -> Origin {
    Origin::start(|seen| {
        let tags = format!("all {}", &seen.target[1..2]);
        Reply::fresh(600, seen.nth.to_string())
            .with("Surrogate-Key", &tags)
            .with("ETag", "\"v\"")
    })
    .await
}

async fn is_hit(node: &Node, target: &str) -> bool {
    node.get(target).await.is_hit()
}

#[tokio::test]
async fn each_scope_purges_what_it_names_and_nothing_else() {
    let origin = counting().await;
    let node = Node::before(&origin.url()).await;
    let host = "www.example.com";
    let url = |target: &str| format!("http://{host}{target}");
    let all = ["/a", "/a?q", "/ab", "/dir/x", "/dir/y/z", "/dirt"];
    let check = async |body: String, gone: &[&str]| {
        for target in all {
            node.get(target).await;
        }
        for target in all {
            assert!(is_hit(&node, target).await, "{target} before {body}");
        }
        node.purge(&body).await;
        for target in all {
            let expected = !gone.contains(&target);
            assert_eq!(
                is_hit(&node, target).await,
                expected,
                "{target} after {body}"
            );
        }
    };
    check(format!(r#"{{"urls":["{}"]}}"#, url("/a")), &["/a"]).await;
    check(format!(r#"{{"urls":["{}"]}}"#, url("/a?q")), &["/a?q"]).await;
    let below = ["/dir/x", "/dir/y/z"];
    check(format!(r#"{{"prefixes":["{}"]}}"#, url("/dir/")), &below).await;
    check(format!(r#"{{"prefixes":["{}"]}}"#, url("/dir")), &below).await;
    check(
        r#"{"tags":["d"]}"#.to_owned(),
        &["/dir/x", "/dir/y/z", "/dirt"],
    )
    .await;
    check(r#"{"tags":["no such tag"]}"#.to_owned(), &[]).await;
    check(format!(r#"{{"hosts":["{host}"]}}"#), &all).await;
    check(r#"{"hosts":["other.example.com"]}"#.to_owned(), &[]).await;
    check(r#"{"tags":["all"]}"#.to_owned(), &all).await;
    check(r#"{"all":true}"#.to_owned(), &all).await;
}

#[tokio::test]
async fn all_variants_of_a_url_go_with_it() {
    let origin = Origin::start(|seen| {
        Reply::fresh(
            600,
            seen.field("Accept-Language").unwrap_or("none").to_owned(),
        )
        .with("Vary", "Accept-Language")
    })
    .await;
    let node = Node::before(&origin.url()).await;
    for _ in 0..2 {
        for language in ["de", "fr"] {
            node.get_with("/a", &[("Accept-Language", language)]).await;
        }
    }
    node.purge(r#"{"urls":["https://www.example.com/a"]}"#)
        .await;
    for language in ["de", "fr"] {
        let answer = node.get_with("/a", &[("Accept-Language", language)]).await;
        assert!(!answer.is_hit(), "{language}");
    }
}

#[tokio::test]
async fn a_soft_purge_is_refreshed_and_a_failing_origin_may_still_be_spared() {
    let origin = Origin::start(|seen| match seen.nth {
        1 | 3 => Reply::fresh(600, seen.nth.to_string()).with("ETag", &format!("\"{}\"", seen.nth)),
        _ => Reply::status(503),
    })
    .await;
    let node = Node::before(&origin.url()).await;
    node.get("/a").await;
    node.purge(r#"{"tags":["none"],"urls":["http://www.example.com/a"],"mode":"soft"}"#)
        .await;
    let spared = node.get("/a").await;
    assert_eq!(spared.text(), "1");
    assert_eq!(spared.forwarded(), Some("stale"));
    assert_eq!(node.get("/a").await.text(), "3");
    assert!(is_hit(&node, "/a").await);
}

#[tokio::test]
async fn a_hard_purge_spares_nobody() {
    let origin = Origin::start(|seen| match seen.nth {
        1 => Reply::fresh(600, "old"),
        _ => Reply::status(503).then("down"),
    })
    .await;
    let node = Node::before(&origin.url()).await;
    node.get("/a").await;
    node.purge(r#"{"all":true}"#).await;
    let answer = node.get("/a").await;
    assert_eq!((answer.status, answer.text().as_str()), (503, "down"));
}

#[tokio::test]
async fn a_purge_before_the_head_of_a_fill_wins() {
    let gate = Gate::closed();
    let answer = gate.clone();
    let origin = Origin::start(move |seen| match seen.nth {
        1 => Reply::fresh(600, "old").after(&answer),
        _ => Reply::fresh(600, "new"),
    })
    .await;
    let node = Node::before(&origin.url()).await;
    let mut early = node.client().await;
    early.ask("GET", "/a", &[]).await;
    eventually(SOON, || origin.count("/a") == 1).await;
    node.purge(r#"{"urls":["http://www.example.com/a"]}"#).await;
    gate.open();
    // Who asked before the purge may get what was fetched before it; who asks after it must not.
    early.answer().await;
    assert_eq!(node.get("/a").await.text(), "new");
    assert_eq!(node.get("/a").await.text(), "new");
}

#[tokio::test]
async fn a_purge_during_the_body_of_a_fill_wins() {
    let gate = Gate::closed();
    let rest = gate.clone();
    let origin = Origin::start(move |seen| match seen.nth {
        1 => Reply::fresh(600, "old").wait(&rest).then("old"),
        _ => Reply::fresh(600, "new"),
    })
    .await;
    let node = Node::before(&origin.url()).await;
    let mut early = node.client().await;
    early.ask("GET", "/a", &[]).await;
    early.answer_head().await.unwrap();
    early.at_least(3).await;
    node.purge(r#"{"tags":["x"],"hosts":["www.example.com"]}"#)
        .await;
    assert_eq!(node.get("/a").await.text(), "new");
    gate.open();
    assert_eq!(node.get("/a").await.text(), "new");
}

#[tokio::test]
async fn a_304_to_a_question_from_before_the_purge_revives_nothing() {
    let gate = Gate::closed();
    let answer = gate.clone();
    let origin = Origin::start(move |seen| match seen.nth {
        1 => Reply::fresh(1, "old").with("ETag", "\"1\""),
        2 => Reply::status(304)
            .with("ETag", "\"1\"")
            .with("Cache-Control", "max-age=600")
            .after(&answer),
        _ => Reply::fresh(600, "new"),
    })
    .await;
    let mut node = Node::before(&origin.url()).await;
    node.get("/a").await;
    node.advance(Duration::from_secs(2));
    let mut early = node.client().await;
    early.ask("GET", "/a", &[]).await;
    eventually(SOON, || origin.count("/a") == 2).await;
    node.purge(r#"{"urls":["http://www.example.com/a"]}"#).await;
    gate.open();
    early.answer().await;
    assert_eq!(node.get("/a").await.text(), "new");
}

#[tokio::test]
async fn tags_do_not_reach_clients() {
    let origin = counting().await;
    let node = Node::before(&origin.url()).await;
    for _ in 0..2 {
        let answer = node.get("/a").await;
        assert_eq!(answer.end, End::Complete);
        assert_eq!(answer.header("Surrogate-Key"), None);
    }
}

#[tokio::test]
async fn purges_can_be_asked_about_and_repeated_without_effect() {
    let origin = counting().await;
    let node = Node::before(&origin.url()).await;
    let first = node
        .purge(r#"{"tags":["a"],"reason":"test","actor":"me"}"#)
        .await;
    let second = node.purge(r#"{"all":true,"mode":"soft"}"#).await;
    assert_eq!(
        first["sequence"].as_u64().unwrap() + 1,
        second["sequence"].as_u64().unwrap()
    );
    let list = node.api("GET", "/v1/purges", "").await;
    let list: Value = serde_json::from_slice(&list.body).unwrap();
    let ids = list["purges"].as_array().unwrap().iter();
    let ids: Vec<_> = ids.map(|purge| &purge["id"]).collect();
    assert_eq!(ids, [&second["id"], &first["id"]]);
    let id = first["id"].as_str().unwrap();
    let one = node.api("GET", &format!("/v1/purges/{id}"), "").await;
    let one = serde_json::from_slice::<Value>(&one.body).unwrap();
    assert_eq!(one["sequence"], first["sequence"]);
    assert_eq!(one["reason"], "test");
    let bearer = format!("Bearer {}", node.token());
    let fields = [("Authorization", bearer.as_str()), ("Idempotency-Key", id)];
    let mut client = Client::connect(node.admin()).await;
    let again = client
        .upload("POST", "/v1/purges", &fields, br#"{"tags":["a"]}"#)
        .await;
    let again = serde_json::from_slice::<Value>(&again.body).unwrap();
    assert_eq!(again["scopes"], first["scopes"]);
    assert_eq!(again["sequence"], first["sequence"]);
    // Under that name something else would not be purged: it is not said that it was.
    for other in [r#"{"all":true}"#, r#"{"tags":["a"],"mode":"soft"}"#] {
        let refused = client.upload("POST", "/v1/purges", &fields, other.as_bytes());
        let refused = refused.await;
        assert_eq!(refused.status, 422, "{}", refused.text());
        assert!(refused.text().contains("another purge"));
    }
}

#[tokio::test]
async fn who_does_not_wait_is_counted_too() {
    let origin = counting().await;
    let node = Node::before(&origin.url()).await;
    let answer = node
        .api("POST", "/v1/purges", r#"{"tags":["a"],"wait":"none"}"#)
        .await;
    assert!(matches!(answer.status, 200 | 202));
    node.metrics_when(|it| it.sum("larder_purge_latency_seconds_count", &[]) == 1.0)
        .await;
    let tags = [("scope", "tag"), ("mode", "hard")];
    assert_eq!(node.metrics().await.sum("larder_purges_total", &tags), 1.0);
}
