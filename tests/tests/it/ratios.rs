//! One definition of the ratios: the metrics and a recount of the access log give the same numbers.

use std::collections::BTreeMap;

use larder_tests::{Gate, Metrics, Node, Origin, Reply, Settings, eventually};
use serde_json::Value;

use crate::{SOON, seconds};

/// What is counted under each combination of labels.
type Counts = BTreeMap<Vec<String>, u64>;

fn text(line: &Value, field: &str) -> String {
    line[field].as_str().unwrap_or("-").to_owned()
}

/// Counts lines by some of their fields, and adds up one of them (or the lines).
fn recount(lines: &[Value], by: &[&str], what: Option<&str>) -> Counts {
    let mut counts = Counts::new();
    for line in lines {
        let labels = by.iter().map(|field| text(line, field)).collect();
        let amount = what.map_or(1, |what| line[what].as_u64().unwrap_or(0));
        *counts.entry(labels).or_default() += amount;
    }
    counts.retain(|_, count| *count > 0);
    counts
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counters of a test are small"
)]
fn told(metrics: &Metrics, family: &str, by: &[&str]) -> Counts {
    let mut counts = Counts::new();
    for (labels, value) in metrics.samples(family) {
        let labels = by.iter().map(|label| labels[*label].clone()).collect();
        *counts.entry(labels).or_default() += value as u64;
    }
    counts.retain(|_, count| *count > 0);
    counts
}

/// The ratios, from the log alone.
#[derive(Debug, PartialEq)]
struct Ratios {
    requests: (u64, u64),
    bytes: (u64, u64),
    origin: (u64, u64),
}

const CACHED: [&str; 4] = ["hit", "stale", "updating", "revalidated"];
const NOT_CACHED: [&str; 5] = ["miss", "partial", "expired", "error", "only_if_cached"];

impl Ratios {
    fn new(requests: &Counts, bytes: &Counts, cached: &Counts, origin: u64) -> Self {
        let sum = |counts: &Counts, words: &[&str]| {
            let chosen = counts
                .iter()
                .filter(|(labels, _)| labels[0] == "main" && words.contains(&labels[2].as_str()));
            chosen.map(|(_, count)| count).sum::<u64>()
        };
        let all: Vec<&str> = CACHED.into_iter().chain(NOT_CACHED).collect();
        let site: u64 = bytes
            .iter()
            .filter(|(labels, _)| labels[0] == "main")
            .map(|it| it.1)
            .sum();
        Self {
            requests: (sum(requests, &CACHED), sum(requests, &all)),
            bytes: (sum(cached, &all), sum(bytes, &all)),
            origin: (origin, site),
        }
    }
}

const ROWS: [&str; 4] = ["site", "rule", "outcome", "tier"];

fn compare(lines: &[Value], metrics: &Metrics) -> Ratios {
    let requests: Vec<Value> = lines
        .iter()
        .filter(|line| line["kind"].is_null())
        .cloned()
        .collect();
    let equal = |family: &str, lines: &[Value], by: &[&str], what: Option<&str>| {
        let (told, counted) = (told(metrics, family, by), recount(lines, by, what));
        assert_eq!(told, counted, "{family}");
        counted
    };
    let counted = equal("larder_requests_total", &requests, &ROWS, None);
    let bytes = equal(
        "larder_response_bytes_total",
        &requests,
        &ROWS,
        Some("bytes"),
    );
    let cached = equal(
        "larder_cached_bytes_total",
        &requests,
        &ROWS,
        Some("cached_bytes"),
    );
    let missed: Vec<Value> = requests
        .iter()
        .filter(|it| it["reason"].is_string())
        .cloned()
        .collect();
    equal(
        "larder_misses_total",
        &missed,
        &["site", "rule", "reason"],
        None,
    );
    let collapsed: Vec<Value> = requests
        .iter()
        .filter(|it| it["collapsed"] == true)
        .cloned()
        .collect();
    equal(
        "larder_collapsed_requests_total",
        &collapsed,
        &["site", "rule"],
        None,
    );
    equal(
        "larder_origin_requests_total",
        lines,
        &["site", "rule"],
        Some("origin_requests"),
    );
    let origin = equal(
        "larder_origin_bytes_total",
        lines,
        &["site", "rule"],
        Some("origin_bytes"),
    );
    Ratios::new(&counted, &bytes, &cached, origin.values().sum())
}

fn origin_reply(target: &str, conditional: bool, gate: &Gate) -> Reply {
    match target.split('?').next().unwrap_or_default() {
        "/validated" if conditional => Reply::status(304).with("ETag", "\"v\""),
        "/validated" => Reply::fresh(1, "x".repeat(1000)).with("ETag", "\"v\""),
        "/behind" => Reply::ok("y".repeat(500))
            .with("Cache-Control", "max-age=1, stale-while-revalidate=1000"),
        "/shared" => Reply::fresh(60, "z".repeat(300)).after(gate),
        "/cookie" => Reply::fresh(60, "c").with("Set-Cookie", "a=b"),
        "/private" => Reply::ok("p").with("Cache-Control", "private, max-age=60"),
        "/no-store" => Reply::ok("n").with("Cache-Control", "no-store"),
        "/vary" => Reply::fresh(60, "v").with("Vary", "X-Kind"),
        "/broken" => Reply::hang_up(),
        "/failing" => Reply::status(503),
        "/long" => Reply::fresh(60, "l".repeat(3 << 20)),
        _ => Reply::fresh(60, "a".repeat(100)),
    }
}

#[tokio::test]
async fn a_recount_of_the_log_gives_the_numbers_of_the_metrics() {
    let gate = Gate::closed();
    let shared = gate.clone();
    let origin =
        Origin::start(move |seen| origin_reply(&seen.target, seen.is_conditional(), &shared)).await;
    let settings = Settings::origins(&[&origin.url()])
        .table("memory", "object_max = \"2MiB\"")
        .rule("match = { path = \"/bypassed*\" }\nname = \"bypassed\"\ncache = false")
        .rule("match = { path = \"/validated*\" }\nttl = \"5s\"")
        .append(&format!(
            "[[site]]\nname = \"second\"\nhosts = [\"second.example\"]\norigins = [\"{}\"]",
            origin.url()
        ));
    let mut node = Node::start(settings).await;
    for _ in 0..2 {
        for path in [
            "/a",
            "/validated",
            "/behind",
            "/cookie",
            "/private",
            "/no-store",
            "/bypassed",
            "/broken",
            "/failing",
            "/long",
        ] {
            node.get(path).await;
        }
        for kind in ["1", "2"] {
            node.get_with("/vary", &[("X-Kind", kind)]).await;
        }
        node.request("POST", "/a", &[("Content-Length", "0")]).await;
        node.request("HEAD", "/a?head", &[]).await;
        node.get_with("/none", &[("Cache-Control", "only-if-cached")])
            .await;
        node.client().await.host("second.example").get("/s").await;
        node.request("BREW", "/a", &[]).await;
    }
    let (one, other) = tokio::join!(node.get("/shared"), async {
        eventually(SOON, || origin.count("/shared") == 1).await;
        let mut client = node.client().await;
        client.ask("GET", "/shared", &[]).await;
        gate.open();
        client.answer().await
    });
    assert_eq!((one.status, other.status), (200, 200));
    node.advance(seconds(10));
    node.get("/validated").await;
    node.get("/behind").await;
    // The validation behind the last one, which has no client.
    eventually(SOON, || origin.count("/behind") == 2).await;
    node.get("/end").await;

    let requests = |metrics: &Metrics| metrics.sum("larder_requests_total", &[]);
    let all = |lines: &[Value]| {
        let requests = lines.iter().filter(|line| line["kind"].is_null()).count();
        let behind = lines.len() - requests;
        (requests, behind)
    };
    let metrics = node.metrics_when(|metrics| requests(metrics) >= 39.0).await;
    eventually(6 * SOON, || all(&node.log_lines()) == (39, 1)).await;
    let ratios = compare(&node.log_lines(), &metrics);

    assert!(ratios.requests.0 >= 4, "{ratios:?}");
    assert!(ratios.requests.1 > ratios.requests.0, "{ratios:?}");
    assert!(ratios.bytes.0 < ratios.bytes.1, "{ratios:?}");
    assert!(ratios.origin.0 > 0, "{ratios:?}");
    for reason in [
        "cold",
        "set-cookie",
        "private",
        "no-store",
        "too-large",
        "rule",
    ] {
        let labels = [("reason", reason), ("site", "main")];
        let told = metrics.sum("larder_misses_total", &labels);
        assert!(told >= 2.0, "{reason}: {told}");
    }
    assert_eq!(
        metrics.sum("larder_requests_total", &[("rule", "bypassed")]),
        2.0
    );
}
