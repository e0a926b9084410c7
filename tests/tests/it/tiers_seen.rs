//! What nodes tell of their tiers: whose the answers were, what origins were asked, and how long hops took.

use larder_tests::{Metrics, Node, Origin, Reply, Settings, Tiers, run_to_exit};

async fn fresh() -> Origin {
    Origin::start(|seen| match seen.target.as_str() {
        "/down" => Reply::hang_up(),
        _ => Reply::fresh(600, seen.target.clone()),
    })
    .await
}

/// How many requests of clients were answered from there.
fn from(metrics: &Metrics, place: &str) -> f64 {
    metrics.sum("larder_tiered_answers_total", &[("from", place)])
}

#[track_caller]
fn check(metrics: &Metrics, expected: &[(&str, f64)]) {
    for (place, count) in expected {
        assert_eq!(from(metrics, place), *count, "{place}");
    }
    let all: f64 = expected.iter().map(|(_, count)| count).sum();
    assert_eq!(metrics.sum("larder_tiered_answers_total", &[]), all);
}

fn at_origins(metrics: &Metrics, by: &str) -> f64 {
    metrics.sum("larder_tiered_origin_requests_total", &[("by", by)])
}

#[tokio::test]
async fn each_answer_is_told_by_whose_it_was_and_what_it_cost_origins() {
    let origin = fresh().await;
    let tiers = Tiers::before(&origin.url());
    let top = Node::start(tiers.parent("top")).await;
    // Nobody but the last one asks the origin.
    let through = |settings: Settings| settings.table("tier", "direct_per_second = 0");
    let middle = through(tiers.edge("middle", &[&top])).table("tier", "role = \"parent\"");
    let middle = Node::start(middle).await;
    let edge = Node::start(through(tiers.edge("edge", &[&middle]))).await;

    top.get("/top").await;
    middle.get("/middle").await;
    for target in ["/top", "/middle", "/new", "/new", "/new"] {
        assert_eq!(edge.get(target).await.text(), target);
    }
    assert!(edge.get("/down").await.status >= 500);

    let ended = |metrics: &Metrics| metrics.sum("larder_tiered_answers_total", &[]) >= 6.0;
    let metrics = edge.metrics_when(ended).await;
    check(
        &metrics,
        &[
            ("here", 2.0),
            ("parent", 1.0),
            ("further", 1.0),
            ("origin", 1.0),
            ("nobody", 1.0),
        ],
    );
    let failed = origin.count("/down") as f64;
    assert!(failed >= 1.0);
    assert_eq!(at_origins(&metrics, "here"), 0.0);
    // One for `/new`, and what was tried for `/down`.
    assert_eq!(at_origins(&metrics, "beyond"), 1.0 + failed);
    let hops = [("parent", middle.address().to_string())];
    let hops: Vec<_> = hops.iter().map(|(name, id)| (*name, id.as_str())).collect();
    let asked = metrics.sum("larder_tiered_requests_total", &hops);
    assert_eq!(metrics.sum("larder_tiered_hop_seconds_count", &hops), asked);

    // What other nodes ask for is nobody's answer to a client.
    let metrics = middle.metrics().await;
    check(&metrics, &[("origin", 1.0)]);
    assert_eq!(metrics.sum("larder_tiered_peer_answers_total", &[]), asked);
    let metrics = top.metrics().await;
    check(&metrics, &[("origin", 1.0)]);
    assert_eq!(at_origins(&metrics, "here"), origin.total() as f64);
    assert_eq!(at_origins(&metrics, "beyond"), 0.0);
}

#[tokio::test]
async fn the_command_shows_hits_hops_and_what_origins_were_asked() {
    let origin = fresh().await;
    let tiers = Tiers::before(&origin.url());
    let parent = Node::start(tiers.parent("parent")).await;
    let edge = Node::start(tiers.edge("edge", &[&parent])).await;
    parent.get("/known").await;
    for target in ["/known", "/a", "/b", "/c", "/a", "/a", "/a", "/a"] {
        edge.get(target).await;
    }
    let told = |metrics: &Metrics| metrics.sum("larder_tiered_answers_total", &[]) >= 8.0;
    edge.metrics_when(told).await;

    let (admin, token) = (edge.admin().to_string(), edge.folder().join("admin-token"));
    let token = token.to_str().unwrap();
    let arguments = [
        "tier",
        "status",
        "--admin",
        &admin,
        "--admin-token-file",
        token,
    ];
    let shown = run_to_exit(&arguments, edge.folder()).await;
    assert_eq!(shown.code, Some(0), "{shown:?}");
    let shown = shown.stdout;
    assert!(
        shown.contains(
            "8 requests of clients answered: 50.0% here, 12.5% by a parent, 37.5% by the origin"
        ),
        "{shown}"
    );
    assert!(
        shown.contains("3 requests at origins: 0.375 for each of them"),
        "{shown}"
    );
    let row = shown
        .lines()
        .find(|line| line.starts_with(&parent.address().to_string()));
    let row = row.unwrap_or_else(|| panic!("{shown}"));
    assert!(
        row.contains("25%") && row.contains("ms  parent"),
        "one of four was a hit: {row}"
    );
}

#[tokio::test]
async fn siblings_and_shared_answers_are_told_apart() {
    let gate = larder_tests::Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |seen| match seen.target.as_str() {
        "/slow" => Reply::fresh(600, "slow").after(&held),
        _ => Reply::fresh(600, seen.target.clone()),
    })
    .await;
    let tiers = Tiers::before(&origin.url());
    let parent = Node::start(tiers.parent("parent")).await;
    let edge = Node::start(tiers.edge("edge", &[&parent])).await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = edge.client().await;
        client.ask("GET", "/slow", &[]).await;
        clients.push(client);
    }
    larder_tests::eventually(crate::SOON, || origin.count("/slow") == 1).await;
    // All four are there: a request that came after them has been answered.
    assert_eq!(edge.get("/other").await.status, 200);
    gate.open();
    for client in &mut clients {
        assert_eq!(client.answer().await.text(), "slow");
    }
    let ended = |metrics: &Metrics| metrics.sum("larder_tiered_answers_total", &[]) >= 5.0;
    let metrics = edge.metrics_when(ended).await;
    // Who came late to the fill found it stored.
    assert_eq!(from(&metrics, "origin"), 2.0);
    assert_eq!(from(&metrics, "shared") + from(&metrics, "here"), 3.0);
    assert_eq!(at_origins(&metrics, "beyond"), 2.0);
}

/// The names of metrics of tiers in a text.
fn named(text: &str) -> std::collections::BTreeSet<&str> {
    let words = text.split(|it: char| !(it.is_ascii_alphanumeric() || it == '_'));
    words
        .filter(|word| word.starts_with("larder_tiered_") && *word != "larder_tiered_")
        .collect()
}

#[tokio::test]
async fn what_boards_rules_and_documentation_name_is_told() {
    let origin = fresh().await;
    let tiers = Tiers::before(&origin.url());
    let mut parent = Node::start(tiers.parent("parent").site("slices = { use = false }")).await;
    let edge = Node::start(tiers.edge("edge", &[&parent])).await;
    edge.get("/a").await;
    parent.get("/a").await;
    // A family is told once it has counted something: this parent is lost, and bodies and purges are other tests'.
    let asked = parent.metrics().await;
    parent.kill();
    edge.metrics_when(|metrics| metrics.sum("larder_tiered_parent_up", &[]) == 0.0)
        .await;
    edge.get("/b").await;
    let metrics = edge.metrics().await;
    let mut texts = Vec::new();
    for file in [
        "../deploy/observe/dashboards/fleet.json",
        "../deploy/observe/rules.yml",
        "../edge/OBSERVING.md",
    ] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        texts.push(std::fs::read_to_string(path).expect("a file of the repository"));
    }
    let seldom = ["larder_tiered_resumes_total"];
    let mut count = 0;
    for name in texts.iter().flat_map(|text| named(text)) {
        let family = name.trim_end_matches("_bucket");
        let told = [&metrics, &asked]
            .iter()
            .any(|it| it.types().contains_key(family));
        assert!(told || seldom.contains(&name), "there is no {name}");
        count += 1;
    }
    assert!(count > 15, "{count}");
}
