//! `larder explain` and `GET /v1/explain`: the right reason, the right clause, the right arithmetic.

use larder_tests::{
    Client, Node, Origin, Reply, Response, Settings, ensure_binary, eventually, run_to_exit,
};
use serde_json::Value;

use crate::{SOON, seconds};

/// What an origin says, before the query; the path names the case.
fn reply(target: &str) -> Reply {
    let fresh = || Reply::fresh(600, "x".repeat(100));
    match target.split('?').next().unwrap_or_default() {
        "/validated" => fresh().with("ETag", "\"v\""),
        "/behind" => Reply::ok("b").with("Cache-Control", "max-age=600, stale-while-revalidate=300"),
        "/cookie" => fresh().with("Set-Cookie", "a=b"),
        "/private" => Reply::ok("p").with("Cache-Control", "private, max-age=60"),
        "/no-store" => Reply::ok("n").with("Cache-Control", "no-store"),
        "/no-cache" => Reply::ok("n").with("Cache-Control", "no-cache, max-age=600").with("ETag", "\"n\""),
        "/vary" => fresh().with("Vary", "X-Kind"),
        "/vary-star" => fresh().with("Vary", "*"),
        "/vary-many" => fresh().with("Vary", "A1, A2, A3, A4, A5, A6, A7, A8, A9, B1, B2, B3, B4, B5, B6, B7, B8, B9, C1, C2, C3, C4, C5, C6, C7, C8, C9, D1, D2, D3, D4, D5, D6, D7, D8, D9, E1, E2, E3, E4, E5, E6, E7, E8, E9"),
        "/long" => Reply::fresh(60, "l".repeat(300 << 10)),
        "/bare" => Reply::ok("b"),
        "/stale-born" => Reply::ok("s").with("Cache-Control", "max-age=0"),
        "/teapot" => Reply::status(418).with("Cache-Control", "no-store"),
        "/broken" => Reply::hang_up(),
        "/aged" => fresh().with("Age", "20"),
        "/expires" => Reply::ok("e").with("Date", "Tue, 15 Nov 1994 08:12:31 GMT").with("Expires", "Tue, 15 Nov 1994 08:13:31 GMT"),
        "/s-maxage" => Reply::ok("s").with("Cache-Control", "max-age=5, s-maxage=900"),
        "/page.css" => Reply::fresh(60, "<html>").with("Content-Type", "text/html"),
        "/shared" => Reply::ok("s").with("Cache-Control", "public, max-age=600"),
        _ => fresh(),
    }
}

struct Lab {
    node: Node,
    origin: Origin,
}

impl Lab {
    async fn new() -> Self {
        let origin = Origin::start(|seen| reply(&seen.target)).await;
        let settings = Settings::origins(&[&origin.url()])
            .table("memory", "size = \"1MiB\"")
            .table("memory", "object_max = \"200KiB\"")
            .site("key = { query = { except = [\"utm_*\"] } }")
            .site("client_control = \"obey\"")
            .rule("match = { path = \"/bypassed*\" }\nname = \"past\"\ncache = false")
            .rule("match = { path = \"/ruled*\" }\nttl = \"10m\"");
        let node = Node::start(settings).await;
        Self { node, origin }
    }

    async fn ask(&self, query: &str) -> Response {
        let mut admin = Client::connect(self.node.admin()).await;
        let bearer = format!("Bearer {}", self.node.token());
        let target = format!("/v1/explain?{query}");
        admin.get_with(&target, &[("Authorization", &bearer)]).await
    }

    async fn explain(&self, path: &str, more: &str) -> Value {
        let url = format!("http://www.example.com{path}");
        let url = url
            .replace('&', "%26")
            .replace('?', "%3F")
            .replace('=', "%3D");
        let answer = self.ask(&format!("url={url}{more}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        serde_json::from_str(&answer.text()).expect("JSON")
    }

    async fn check(&self, path: &str, more: &str, expected: [&str; 3]) {
        let told = self.explain(path, more).await;
        let decision = &told["decision"];
        let found = ["does", "reason", "clause"].map(|name| decision[name].as_str().unwrap_or("-"));
        assert_eq!(found[..2], expected[..2], "{path} {more}: {told:#}");
        assert!(found[2].contains(expected[2]), "{path} {more}: {decision}");
        let stale = found[0] == "forward" && told["would_hit"].as_str().is_none_or(str::is_empty);
        assert!(!stale, "{path}: what would make it a hit?");
    }
}

/// Path, what else is asked, what it comes to: the decision, the reason, the clause.
const CASES: [(&str, &str, [&str; 3]); 37] = [
    ("/a", "", ["hit", "-", "4.2"]),
    ("/a", "&at=540", ["hit", "-", "4.2"]),
    ("/a", "&at=1h", ["forward", "expired", "4.2"]),
    ("/a", "&method=HEAD", ["hit", "-", "4.2"]),
    ("/a?utm_source=x", "", ["hit", "-", "4.2"]),
    ("/a?other=x", "", ["forward", "cold", "section 4"]),
    (
        "/a",
        "&header=Cache-Control:%20no-cache",
        ["forward", "request", "5.2.1.4"],
    ),
    (
        "/a",
        "&header=Cache-Control:%20max-age%3D5&at=10",
        ["forward", "request", "5.2.1.1"],
    ),
    (
        "/a",
        "&header=Cache-Control:%20min-fresh%3D3000",
        ["forward", "request", "5.2.1.3"],
    ),
    (
        "/a",
        "&header=Cache-Control:%20max-stale&at=1h",
        ["hit", "-", "5.2.1.2"],
    ),
    ("/a", "&method=POST", ["forward", "method", "section 4"]),
    ("/a", "&method=DELETE", ["forward", "method", "section 4"]),
    (
        "/a",
        "&header=Connection:%20upgrade&header=Upgrade:%20websocket",
        ["forward", "upgrade", "7.8"],
    ),
    (
        "/a",
        "&header=Content-Length:%205",
        ["forward", "request-content", "9.3.1"],
    ),
    ("/unknown", "", ["forward", "cold", "section 4"]),
    (
        "/unknown",
        "&header=Cache-Control:%20only-if-cached",
        ["refuse", "only-if-cached", "5.2.1.7"],
    ),
    (
        "/a",
        "&header=Cache-Control:%20only-if-cached",
        ["hit", "-", "4.2"],
    ),
    ("/bypassed", "", ["forward", "rule", "cache = false"]),
    ("/ruled", "&at=540", ["hit", "-", "4.2"]),
    ("/ruled", "&at=10m", ["forward", "expired", "4.2"]),
    ("/validated", "&at=610", ["forward", "expired", "4.2"]),
    ("/behind", "&at=700", ["hit", "-", "5861"]),
    ("/behind", "&at=1000", ["forward", "expired", "4.2"]),
    ("/cookie", "", ["forward", "set-cookie", "7.3"]),
    ("/private", "", ["forward", "private", "5.2.2.7"]),
    ("/no-store", "", ["forward", "no-store", "5.2.2.5"]),
    ("/no-cache", "", ["forward", "no-cache", "5.2.2.4"]),
    ("/vary", "&header=X-Kind:%20one", ["hit", "-", "4.2"]),
    ("/vary", "&header=X-Kind:%20two", ["forward", "vary", "4.1"]),
    ("/vary-star", "", ["forward", "vary-star", "4.1"]),
    ("/vary-many", "", ["forward", "key-limit", "4.1"]),
    ("/long", "", ["forward", "too-large", "memory.object_max"]),
    ("/bare", "", ["forward", "no-freshness", "4.2.2"]),
    ("/stale-born", "", ["forward", "no-validator", "4.3.1"]),
    ("/broken", "", ["forward", "origin-error", "9110"]),
    ("/page.css", "", ["forward", "deception", "deception_guard"]),
    ("/s-maxage", "&at=840", ["hit", "-", "4.2"]),
];

#[tokio::test]
async fn each_case_has_its_reason_and_its_clause() {
    let lab = Lab::new().await;
    for path in [
        "/a",
        "/ruled",
        "/validated",
        "/behind",
        "/cookie",
        "/private",
        "/no-store",
        "/no-cache",
        "/vary-star",
        "/vary-many",
        "/long",
        "/bare",
        "/stale-born",
        "/broken",
        "/page.css",
        "/s-maxage",
    ] {
        lab.node.get(path).await;
    }
    lab.node.get_with("/vary", &[("X-Kind", "one")]).await;
    eventually(SOON, || lab.node.log_lines().len() >= 17).await;
    for (path, more, expected) in CASES {
        lab.check(path, more, expected).await;
    }
    let asked = lab.origin.total();
    lab.explain("/unknown", "").await;
    assert_eq!(lab.origin.total(), asked, "nothing is fetched for it");
}

#[tokio::test]
async fn what_happened_to_it_is_known() {
    let mut lab = Lab::new().await;
    for path in ["/purged", "/soft", "/touched", "/crowded-out"] {
        lab.node.get(path).await;
    }
    for (path, mode) in [("/purged", "hard"), ("/soft", "soft")] {
        let body = format!("{{\"urls\":[\"http://www.example.com{path}\"],\"mode\":\"{mode}\"}}");
        let bearer = format!("Bearer {}", lab.node.token());
        let mut admin = Client::connect(lab.node.admin()).await;
        let purge = admin
            .upload(
                "POST",
                "/v1/purges",
                &[("Authorization", &bearer)],
                body.as_bytes(),
            )
            .await;
        assert_eq!(purge.status, 200, "{}", purge.text());
    }
    lab.node
        .request("POST", "/touched", &[("Content-Length", "0")])
        .await;
    lab.check("/purged", "", ["forward", "purged", "purge"])
        .await;
    lab.check("/soft", "", ["forward", "purged", "purge"]).await;
    lab.check("/touched", "", ["forward", "invalidated", "4.4"])
        .await;
    let authorized = [("Authorization", "Basic eDp5")];
    lab.node.get_with("/authorized", &authorized).await;
    lab.node.get_with("/shared", &authorized).await;
    lab.node
        .get_with("/quiet", &[("Cache-Control", "no-store")])
        .await;
    eventually(SOON, || lab.node.log_lines().len() >= 8).await;
    lab.check(
        "/authorized",
        "&header=Authorization:%20Basic%20eDp5",
        ["forward", "authorization", "3.5"],
    )
    .await;
    lab.check("/authorized", "", ["forward", "cold", "section 4"])
        .await;
    lab.check(
        "/shared",
        "&header=Authorization:%20Basic%20eDp5",
        ["hit", "-", "4.2"],
    )
    .await;
    lab.check(
        "/quiet",
        "&header=Cache-Control:%20no-store",
        ["forward", "request-no-store", "5.2.1.5"],
    )
    .await;
    // Four times what memory holds.
    for number in 0..400 {
        lab.node
            .get(&format!("/fill/{number}?{}", "x".repeat(2000)))
            .await;
    }
    let mut evicted = 0;
    for number in 0..400 {
        let told = lab
            .explain(&format!("/fill/{number}?{}", "x".repeat(2000)), "")
            .await;
        evicted += usize::from(told["decision"]["reason"] == "evicted");
        assert_ne!(told["decision"]["reason"], "cold", "{number}");
        if evicted > 0 && number > 20 {
            break;
        }
    }
    assert!(evicted > 0);
    lab.node.advance(seconds(1));
}

#[tokio::test]
async fn the_arithmetic_has_the_numbers_of_the_response() {
    let lab = Lab::new().await;
    for path in ["/aged", "/expires", "/ruled?a=1&utm_source=x"] {
        lab.node.get(path).await;
    }
    let aged = lab.explain("/aged", "&at=30").await;
    let freshness = &aged["stored"][0]["freshness"];
    let near = |name: &str, expected: f64| {
        let found = freshness[name].as_f64().unwrap_or(f64::NAN);
        assert!((found - expected).abs() < 60.0, "{name}: {freshness}");
    };
    assert_eq!(freshness["age_value"], 20.0);
    assert_eq!(freshness["freshness_lifetime"], 600.0);
    assert_eq!(freshness["source"], "max-age");
    assert_eq!(freshness["fresh"], true);
    near("corrected_initial_age", 20.0);
    near("resident_time", 30.0);
    near("current_age", 50.0);
    near("ttl", 550.0);
    let sum = freshness["corrected_initial_age"]
        .as_f64()
        .unwrap_or_default()
        + freshness["resident_time"].as_f64().unwrap_or_default();
    assert!((freshness["current_age"].as_f64().unwrap_or_default() - sum).abs() < 1e-6);
    lab.check("/aged", "&at=590", ["forward", "expired", "4.2"])
        .await;

    let ruled = lab
        .explain("/ruled?a=1&utm_source=x", "&header=Cookie:%20a%3Db")
        .await;
    assert_eq!(ruled["rule"], "2");
    assert_eq!(ruled["stored"][0]["freshness"]["source"], "rule");
    let lifetime = ruled["stored"][0]["freshness"]["freshness_lifetime"].as_f64();
    // A rule counts from the reception.
    assert!(
        lifetime.is_some_and(|it| (600.0..660.0).contains(&it)),
        "{lifetime:?}"
    );
    let left_out = ruled["key"]["left_out"].as_array().expect("a list");
    assert!(
        left_out.contains(&"parameter utm_source".into()),
        "{left_out:?}"
    );
    assert!(left_out.contains(&"field cookie".into()), "{left_out:?}");
    assert!(!left_out.contains(&"parameter a".into()), "{left_out:?}");
}

#[tokio::test]
async fn a_past_request_is_explained_by_its_number() {
    let lab = Lab::new().await;
    lab.node.get("/private").await;
    eventually(SOON, || lab.node.log_lines().len() == 1).await;
    let line = lab.node.log_lines().remove(0);
    let id = line["id"].as_str().expect("an id");
    let past = lab.ask(&format!("id={id}")).await;
    let past: Value = serde_json::from_str(&past.text()).expect("JSON");
    assert_eq!(past["line"], line);
    assert_eq!(past["reason"], "private");
    assert_eq!(past["clause"], "RFC 9111 section 5.2.2.7");
    assert_eq!(lab.ask("id=0123456789abcdef").await.status, 422);
}

#[tokio::test]
async fn what_cannot_be_explained_is_one_clear_message() {
    let lab = Lab::new().await;
    for (query, says) in [
        ("", "either url or id is needed"),
        ("url=/a", "is no absolute URL"),
        ("url=http://www.example.com/a&at=soon", "is no time ahead"),
        (
            "url=http://www.example.com/a&header=x",
            "would refuse this request",
        ),
        (
            "url=http://www.example.com/a&method=G%20T",
            "would refuse this request",
        ),
        ("nonsense=1", "there is no parameter"),
    ] {
        let answer = lab.ask(query).await;
        assert_eq!(answer.status, 422, "{query}");
        assert!(answer.text().contains(says), "{query}: {}", answer.text());
    }
}

async fn command(node: &Node, args: &[&str]) -> larder_tests::Exit {
    ensure_binary();
    let admin = node.admin().to_string();
    let token = node.folder().join("admin-token").display().to_string();
    let mut all = vec!["explain"];
    all.extend(args);
    if !args.contains(&"--admin") {
        all.extend(["--admin", &admin]);
    }
    if !args.contains(&"--admin-token-file") {
        all.extend(["--admin-token-file", &token]);
    }
    run_to_exit(&all, node.folder()).await
}

#[tokio::test]
async fn the_command_tells_people() {
    let lab = Lab::new().await;
    lab.node.get_with("/vary", &[("X-Kind", "one")]).await;
    let url = "http://www.example.com/vary";
    let hit = command(&lab.node, &[url, "-H", "X-Kind: one"]).await;
    assert_eq!(hit.code, Some(0), "{}", hit.stderr);
    assert!(
        hit.stdout
            .contains("hit: the stored response is fresh  [RFC 9111 section 4.2]"),
        "{}",
        hit.stdout
    );
    assert!(
        hit.stdout
            .contains("selected: in memory, status 200, 100 bytes"),
        "{}",
        hit.stdout
    );
    let miss = command(&lab.node, &[url, "--at", "+1h"]).await;
    assert!(miss.stdout.contains("forward (vary): "), "{}", miss.stdout);
    assert!(miss.stdout.contains("differs x-kind"), "{}", miss.stdout);
    assert!(miss.stdout.contains("a hit by: "), "{}", miss.stdout);
    let json = command(&lab.node, &[url, "--json"]).await;
    let json: Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(json["decision"]["reason"], "vary");

    let wrong = lab.node.folder().join("wrong-token");
    std::fs::write(&wrong, "another-token-of-the-right-length").expect("a writable folder");
    let wrong = wrong.display().to_string();
    let refused = command(&lab.node, &[url, "--admin-token-file", &wrong]).await;
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("does not know this token"),
        "{}",
        refused.stderr
    );
    let nobody = format!("127.0.0.1:{}", larder_tests::free_port());
    let unreachable = command(&lab.node, &[url, "--admin", &nobody]).await;
    assert_eq!(unreachable.code, Some(1));
    assert!(
        unreachable.stderr.contains("no answer from"),
        "{}",
        unreachable.stderr
    );
}
