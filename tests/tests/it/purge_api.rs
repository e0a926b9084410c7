//! The admin API for purges: dry runs, counts, tokens for parts of it, the audit trail, and what it says of itself.

use std::fs;
use std::path::Path;
use std::time::Duration;

use larder_tests::{Client, Node, Origin, Reply, Settings, eventually};
use serde_json::Value;
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(5);
const SHOP: &str = "the-secret-of-the-shop";

/// Two sites; a token named `shop` may purge tags and URLs of `shop`, and read.
async fn two_sites(origin: &Origin) -> (Node, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("shop.token");
    fs::write(&file, SHOP).expect("a writable folder");
    let tokens = format!(
        "tokens = [{{ name = \"shop\", file = {file:?}, may = [\"purge:tag\", \"purge:url\", \"read\"], \
         sites = [\"shop\"], rate = 20 }}]"
    );
    let other = format!(
        "[[site]]\nname = \"blog\"\nhosts = [\"blog.example.com\"]\norigins = [\"{}\"]",
        origin.url()
    );
    let settings = Settings::origins(&[&origin.url()])
        .table("admin", &tokens)
        .site("name = \"shop\"")
        .site("hosts = [\"www.example.com\"]")
        .append(&other);
    (Node::start(settings).await, folder)
}

async fn tagged() -> Origin {
    Origin::start(|seen| Reply::fresh(600, seen.nth.to_string()).with("Cache-Tag", "product, home"))
        .await
}

#[tokio::test]
async fn a_dry_run_tells_what_would_go_and_purges_nothing() {
    let origin = tagged().await;
    let node = Node::before(&origin.url()).await;
    for target in ["/a", "/b", "/c?d"] {
        node.get(target).await;
    }
    let body = r#"{"tags":["product"],"dry_run":true}"#;
    let preview = node.purge(body).await;
    assert_eq!(preview["objects"], 3);
    assert!(preview["bytes"].as_u64().is_some_and(|bytes| bytes > 0));
    let samples = preview["samples"].as_array().unwrap();
    let mut uris: Vec<_> = samples.iter().filter_map(|it| it["uri"].as_str()).collect();
    uris.sort_unstable();
    let host = "www.example.com";
    assert_eq!(
        uris,
        ["/a", "/b", "/c?d"].map(|target| format!("{host}{target}"))
    );
    for target in ["/a", "/b", "/c?d"] {
        assert!(node.get(target).await.is_hit(), "{target}");
    }
    // A sample's key purges that very response.
    let of_b = samples.iter().find(|it| it["uri"] == format!("{host}/b"));
    let key = of_b.unwrap()["key"].as_str().unwrap();
    let body = format!(r#"{{"keys":["{key}"],"count":true}}"#);
    assert_eq!(node.purge(&body).await["matched"]["objects"], 1);
    assert!(!node.get("/b").await.is_hit());
    assert!(node.get("/a").await.is_hit());
    let none = node
        .purge(r#"{"urls":["http://e.com/"],"dry_run":true}"#)
        .await;
    assert_eq!(none["objects"], 0);
}

#[tokio::test]
async fn what_was_purged_is_counted_swept_and_forgotten() {
    let origin = tagged().await;
    let node = Node::before(&origin.url()).await;
    for target in ["/a", "/b", "/c"] {
        node.get(target).await;
    }
    let receipt = node
        .purge(r#"{"tags":["home","product"],"count":true}"#)
        .await;
    assert_eq!(receipt["matched"]["objects"], 3);
    assert_eq!(receipt["state"], "applied");
    assert_eq!(receipt["nodes"][0]["node"], "larder");
    assert!(receipt["nodes"][0]["latency_ms"].as_f64().is_some());
    // Nobody asked for them, and they are gone all the same.
    let metrics = node.metrics().await;
    assert_eq!(metrics.sum("larder_cache_objects", &[]), 0.0);
    assert_eq!(metrics.sum("larder_purge_labels", &[]), 0.0);
    assert_eq!(metrics.sum("larder_purge_swept_objects_total", &[]), 3.0);
    let soft = r#"{"tags":["home"],"mode":"soft","count":true}"#;
    node.get("/a").await;
    assert_eq!(node.purge(soft).await["matched"]["objects"], 1);
    let metrics = node.metrics().await;
    assert_eq!(metrics.sum("larder_purge_labels", &[]), 0.0);
    // The index has forgotten the purge, the response has not.
    assert_eq!(node.get("/a").await.forwarded(), Some("stale"));
    let tags = [("scope", "tag"), ("mode", "soft")];
    assert_eq!(metrics.sum("larder_purges_total", &tags), 1.0);
    assert_eq!(metrics.sum("larder_purge_latency_seconds_count", &[]), 2.0);
}

#[tokio::test]
async fn a_purge_is_counted_later_where_nobody_waits() {
    let origin = tagged().await;
    let node = Node::before(&origin.url()).await;
    node.get("/a").await;
    let receipt = node.purge(r#"{"all":true}"#).await;
    let target = format!("/v1/purges/{}", receipt["id"].as_str().unwrap());
    let mut matched = Value::Null;
    while matched.is_null() {
        let one = node.api("GET", &target, "").await;
        matched = one.json()["matched"].clone();
    }
    assert_eq!(matched["objects"], 1);
}

#[tokio::test]
async fn a_large_fill_survives_the_sweeps_of_others_purges() {
    let gate = larder_tests::Gate::closed();
    let rest = gate.clone();
    let origin = Origin::start(move |seen| match seen.target.as_str() {
        "/slow" => Reply::fresh(600, "begun").wait(&rest).then("ended"),
        _ => Reply::fresh(600, "x"),
    })
    .await;
    let node = Node::before(&origin.url()).await;
    let mut slow = node.client().await;
    slow.ask("GET", "/slow", &[]).await;
    slow.answer_head().await.unwrap();
    slow.at_least(5).await;
    for tag in ["a", "b", "c"] {
        node.purge(&format!(r#"{{"tags":["{tag}"],"count":true}}"#))
            .await;
    }
    gate.open();
    slow.at_least(5).await;
    assert!(node.get("/slow").await.is_hit());
}

#[tokio::test]
async fn a_token_opens_what_it_is_for_and_refusals_are_audited() {
    let origin = tagged().await;
    let (node, _folder) = two_sites(&origin).await;
    let shop = node.get("/a").await;
    assert_eq!(shop.status, 200);
    let mut blog = node.client().await.host("blog.example.com");
    blog.get("/a").await;
    let check = async |body: &str, status: u16| {
        let answer = node.api_as(SHOP, ("POST", "/v1/purges"), body).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
        answer.json()
    };
    for foreign in [
        r#"{"all":true}"#,
        r#"{"hosts":["www.example.com"]}"#,
        r#"{"urls":["http://blog.example.com/a"]}"#,
        r#"{"tags":["home"],"site":"blog"}"#,
        r#"{"tags":["home"],"urls":["http://elsewhere.example/"]}"#,
    ] {
        let problem = check(foreign, 403).await;
        assert_eq!(problem["code"], "forbidden");
    }
    let nobody = node
        .api_as("a-wrong-token-here", ("POST", "/v1/purges"), "{}")
        .await;
    assert_eq!(nobody.status, 401);
    assert!(node.get("/a").await.is_hit());
    // Its tags are those of its site.
    let receipt = check(r#"{"tags":["home"],"actor":"cron"}"#, 200).await;
    assert_eq!(receipt["by"], "shop");
    assert!(!node.get("/a").await.is_hit());
    let mut blog = node.client().await.host("blog.example.com");
    assert!(blog.get("/a").await.is_hit());
    let metrics = node.metrics().await;
    let forbidden = [("reason", "forbidden")];
    assert_eq!(metrics.sum("larder_admin_refusals_total", &forbidden), 5.0);
    let told = || {
        let lines = node.stderr();
        let told = lines
            .iter()
            .filter(|it| it.contains("refused") && it.contains("code="));
        told.filter(|it| it.contains("by=\"shop\"")).count() == 5
    };
    eventually(SOON, told).await;
}

#[tokio::test]
async fn a_token_that_is_used_too_often_waits() {
    let origin = tagged().await;
    let (node, _folder) = two_sites(&origin).await;
    let bearer = format!("Bearer {SHOP}");
    let fields = [("Authorization", bearer.as_str())];
    let mut client = Client::connect(node.admin()).await;
    let mut refused = None;
    // The clock may fill the bucket meanwhile, never faster than 20 in a second.
    for _ in 0..2000 {
        let answer = client.request("GET", "/v1/status", &fields).await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("one too many");
    assert_eq!(refused.header("Retry-After"), Some("1"));
    assert_eq!(refused.json()["code"], "too-often");
    let admin = node.api("GET", "/v1/status", "").await;
    assert_eq!(admin.status, 200);
}

#[tokio::test]
async fn the_audit_trail_is_filtered_paged_and_survives_the_node() {
    let origin = tagged().await;
    let (mut node, _folder) = two_sites(&origin).await;
    for number in 0..5 {
        let body = format!(r#"{{"tags":["t{number}"],"actor":"a{number}","site":"shop"}}"#);
        node.purge(&body).await;
    }
    node.purge(r#"{"all":true,"mode":"soft"}"#).await;
    node.kill_and_restart(|_| {}).await;
    let list = async |query: &str, token: &str| {
        let target = format!("/v1/purges{query}");
        let answer = node.api_as(token, ("GET", &target), "").await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        let page = answer.json();
        let purges = page["purges"].as_array().unwrap().iter();
        let sequences: Vec<_> = purges.filter_map(|it| it["sequence"].as_u64()).collect();
        (sequences, page["next"].as_u64())
    };
    let admin = node.token();
    let (all, next) = list("", admin).await;
    assert_eq!((all.len(), next), (6, None));
    let (first, next) = list("?limit=4", admin).await;
    assert_eq!(first, all[..4]);
    let (second, end) = list(&format!("?limit=4&before={}", next.unwrap()), admin).await;
    assert_eq!((second, end), (all[4..].to_vec(), None));
    assert_eq!(list("?mode=soft", admin).await.0, all[..1]);
    assert_eq!(list("?scope=tag&contains=t3", admin).await.0, all[2..3]);
    assert_eq!(list("?actor=a0", admin).await.0, all[5..]);
    assert_eq!(list("", SHOP).await.0, all[1..], "its site's");
    let wrong = node.api_as(admin, ("GET", "/v1/purges?sort=up"), "").await;
    assert_eq!(wrong.status, 422);
}

#[tokio::test]
async fn the_api_describes_itself() {
    let origin = tagged().await;
    let node = Node::before(&origin.url()).await;
    let mut client = Client::connect(node.admin()).await;
    let served = client.get("/v1/openapi.json").await;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../purge-api/openapi.json");
    assert_eq!(served.text(), fs::read_to_string(file).unwrap());
    let document = served.json();
    for (path, item) in document["paths"].as_object().unwrap() {
        let target = path.replace("{id}", "none");
        for method in item.as_object().unwrap().keys() {
            let method = method.to_ascii_uppercase();
            let answer = node.api_as(node.token(), (&method, &target), "{}").await;
            let status = answer.status.to_string();
            let promised = &item[method.to_ascii_lowercase()]["responses"][&status];
            assert!(promised.is_object(), "{method} {target}: {status}");
        }
    }
}

#[tokio::test]
async fn an_acknowledged_purge_survives_being_killed_and_a_damaged_log_is_told() {
    let origin = tagged().await;
    let mut node = Node::before(&origin.url()).await;
    let mut ids = Vec::new();
    for number in 0..20 {
        let receipt = node.purge(&format!(r#"{{"tags":["t{number}"]}}"#)).await;
        ids.push(receipt["id"].as_str().unwrap().to_owned());
    }
    node.kill_and_restart(|_| {}).await;
    for id in &ids {
        let target = format!("/v1/purges/{id}");
        let one = node.api("GET", &target, "").await;
        assert_eq!(one.status, 200, "{id}");
    }
    let metrics = node.metrics().await;
    assert_eq!(metrics.sum("larder_purge_sequence", &[]), 20.0);
    assert_eq!(metrics.sum("larder_purge_resets_total", &[]), 0.0);
    let damage = |folder: &Path| {
        let log = folder.join("larder/larder/purges.log");
        let mut bytes = fs::read(&log).expect("a log");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
        fs::write(&log, bytes).expect("a writable log");
    };
    node.kill_and_restart(damage).await;
    assert_eq!(
        node.metrics().await.sum("larder_purge_resets_total", &[]),
        1.0
    );
    let told = || {
        node.stderr()
            .iter()
            .any(|line| line.contains("the purge log is damaged"))
    };
    eventually(SOON, told).await;
    // And it goes on.
    node.purge(r#"{"all":true}"#).await;
}
