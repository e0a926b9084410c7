//! What ships for operators, against the real programs: Prometheus from the distribution's packages reads a node, its
//! rules and every query of the boards; `GoAccess` reads the log by the line that the documentation gives.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use larder_tests::{Client, Node, Origin, Reply, Settings, eventually, free_port};
use serde_json::Value;

use crate::SOON;

fn deployed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy/observe")
        .join(name)
}

fn run(program: &str, args: &[&str]) -> (bool, String) {
    let told = Command::new(program).args(args).output();
    let told = told.unwrap_or_else(|error| panic!("{program}: {error}; .ci/setup installs it"));
    let text = [told.stdout, told.stderr].concat();
    (
        told.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// The real Prometheus, which ends with the test.
struct Prometheus {
    child: Child,
    address: std::net::SocketAddr,
    _folder: tempfile::TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Prometheus {
    fn start(node: &Node) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = format!(
            "global: {{ scrape_interval: 100ms, evaluation_interval: 100ms }}\nrule_files: [{}]\n\
             scrape_configs:\n  - job_name: larder\n    static_configs: [{{ targets: ['{}'] }}]\n",
            deployed("rules.yml").display(),
            node.admin()
        );
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, config).expect("a writable folder");
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus; .ci/setup installs it");
        Self {
            child,
            address,
            _folder: folder,
        }
    }

    /// What a query gives; none while Prometheus starts.
    async fn query(&self, query: &str) -> Option<Value> {
        drop(tokio::net::TcpStream::connect(self.address).await.ok()?);
        let body: String = form_urlencoded::Serializer::new(String::new())
            .append_pair("query", query)
            .finish();
        let mut client = Client::connect(self.address).await.host("localhost");
        let answer = client.get(&format!("/api/v1/query?{body}")).await;
        serde_json::from_str(&answer.text()).ok()
    }

    /// Whether a query has an answer, if not now then in half a minute.
    async fn soon(&self, query: &str) -> bool {
        for _ in 0..300 {
            if self.has(query).await {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        false
    }

    async fn has(&self, query: &str) -> bool {
        let answer = self.query(query).await.unwrap_or_default();
        answer["data"]["result"]
            .as_array()
            .is_some_and(|it| !it.is_empty())
    }
}

#[test]
fn the_rules_are_right() {
    let (sound, text) = run(
        "promtool",
        &[
            "check",
            "rules",
            &deployed("rules.yml").display().to_string(),
        ],
    );
    assert!(sound, "{text}");
    let (sound, text) = run(
        "promtool",
        &[
            "test",
            "rules",
            &deployed("rules.test.yml").display().to_string(),
        ],
    );
    assert!(sound, "{text}");
    let (sound, text) = run(
        "promtool",
        &[
            "check",
            "config",
            "--syntax-only",
            &deployed("prometheus.yml").display().to_string(),
        ],
    );
    assert!(sound, "{text}");
}

#[tokio::test]
async fn prometheus_reads_a_node_and_every_query_of_the_boards() {
    let origin = Origin::start(|_| Reply::fresh(60, "x".repeat(500))).await;
    let node = Node::start(Settings::origins(&[&origin.url()]).disk("64MiB")).await;
    let prometheus = Prometheus::start(&node);
    let started = prometheus.soon("larder_build_info").await;
    assert!(started, "Prometheus does not read the node");
    for _ in 0..20 {
        node.get("/a").await;
    }
    let mut counted = false;
    for _ in 0..100 {
        node.get("/a").await;
        counted = prometheus
            .has("sum(rate(larder_requests_total{outcome=\"hit\"}[1m])) > 0")
            .await;
        if counted {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(counted, "no hits were read");
    let families = node.metrics().await;
    let known = |name: &str| {
        let family = name.trim_end_matches("_bucket");
        // Of a fleet only, which this node is not in.
        let of_fleets = [
            "larder_purge_lag",
            "larder_purge_propagation",
            "larder_tiered",
        ];
        families.types().contains_key(family) || of_fleets.iter().any(|it| name.starts_with(it))
    };
    let mut queries = 0;
    for board in ["overview", "origin", "fleet"] {
        let text =
            fs::read_to_string(deployed(&format!("dashboards/{board}.json"))).expect("a board");
        let board: Value = serde_json::from_str(&text).expect("JSON");
        for panel in board["panels"].as_array().expect("panels") {
            for target in panel["targets"].as_array().expect("targets") {
                let query = target["expr"].as_str().expect("a query");
                let query = query
                    .replace("$site", ".*")
                    .replace("$__rate_interval", "1m");
                let answer = prometheus.query(&query).await.expect("an answer");
                assert_eq!(answer["status"], "success", "{query}: {answer}");
                for word in query.split(|it: char| !it.is_ascii_alphanumeric() && it != '_') {
                    let seldom = [
                        "larder_misses_total",
                        "larder_collapsed_requests_total",
                        "larder_purges_total",
                        "larder_purge_latency_seconds_bucket",
                    ];
                    let told =
                        !word.starts_with("larder_") || seldom.contains(&word) || known(word);
                    assert!(told, "there is no {word}");
                }
                queries += 1;
            }
        }
    }
    assert!(queries >= 24, "{queries}");
    let recorded = prometheus.soon("site:larder_hit_ratio:rate5m > 0.5");
    assert!(recorded.await, "the rules record nothing");
}

#[test]
fn the_compose_file_is_one_and_what_it_mounts_is_there() {
    let file = deployed("compose.yml").display().to_string();
    let (done, text) = run("docker-compose", &["-f", &file, "config"]);
    assert!(done, "{text}");
    let mounts = text.lines().filter_map(|line| {
        let mount = line.trim().strip_prefix("- /")?;
        mount.strip_suffix(":ro").and_then(|it| it.split_once(':'))
    });
    let mounts: Vec<_> = mounts.collect();
    assert_eq!(mounts.len(), 5, "{text}");
    for (source, target) in mounts {
        let source = Path::new("/").join(source);
        assert!(source.exists(), "{} for {target}", source.display());
    }
}

/// What the documentation says to run.
fn documented(format: &str) -> String {
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../edge/OBSERVING.md"));
    let text = text.expect("the documentation");
    let mut lines = text.lines();
    let line =
        lines.find(|line| line.contains("goaccess ") && line.contains(&format!("{format}.log")));
    line.unwrap_or_else(|| panic!("no line for {format}"))
        .trim()
        .to_owned()
}

#[tokio::test]
async fn goaccess_reads_the_log_by_the_documented_line() {
    let origin = Origin::start(|_| Reply::fresh(60, "x".repeat(500))).await;
    for format in ["combined", "vcombined", "cloudfront"] {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join(format!("{format}.log"));
        let settings = Settings::origins(&[&origin.url()])
            .table("log", &format!("access = \"{format}\""))
            .table("log", &format!("to = \"{}\"", log.display()));
        let node = Node::start(settings).await;
        let unique = format!("/{format}?q=a%20b");
        for _ in 0..3 {
            node.get_with(
                &unique,
                &[
                    ("User-Agent", "Mozilla/5.0 \"odd\" (X11)"),
                    ("Referer", "http://r.example/x y"),
                ],
            )
            .await;
        }
        node.request("POST", "/form", &[("Content-Length", "0")])
            .await;
        let complete = || fs::read_to_string(&log).is_ok_and(|text| text.lines().count() == 4);
        eventually(SOON, complete).await;
        assert!(node.stdout().is_empty(), "{:?}", node.stdout());

        let report = folder.path().join("report.json");
        let command = documented(format)
            .replace(&format!("{format}.log"), &log.display().to_string())
            .replace("report.html", &report.display().to_string());
        let (done, text) = run("sh", &["-c", &command]);
        assert!(done, "{command}: {text}");
        let report = fs::read_to_string(&report).expect("a report");
        let report: Value = serde_json::from_str(&report).expect("JSON");
        assert_eq!(
            report["general"]["valid_requests"], 4,
            "{command}: {}",
            report["general"]
        );
        assert_eq!(report["general"]["failed_requests"], 0, "{command}");
        if format == "combined" {
            continue;
        }
        let cache = report["cache_status"]["data"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let hits = cache.iter().find(|it| {
            it["data"]
                .as_str()
                .is_some_and(|it| it.eq_ignore_ascii_case("hit"))
        });
        assert_eq!(
            hits.map(|it| it["hits"]["count"].clone()),
            Some(2.into()),
            "{report:#}"
        );
    }
}
