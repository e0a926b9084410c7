//! Nothing is lost by a reload: no request, no connection, nothing that was learnt.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use larder_tests::{Client, Gate, Node, Origin, Reply, Settings, eventually};

use crate::SOON;

/// Clients that ask without a pause until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
    clients: Vec<tokio::task::JoinHandle<usize>>,
}

impl Load {
    /// So many, each on one connection that it never opens again, with targets of its own.
    async fn start(node: &Node, count: usize, target: fn(usize, usize) -> String) -> Self {
        let (stop, answers) = <(Arc<AtomicBool>, Arc<AtomicUsize>)>::default();
        let mut clients = Vec::new();
        for number in 0..count {
            let mut client = node.client().await;
            let (stop, answers) = (Arc::clone(&stop), Arc::clone(&answers));
            clients.push(tokio::spawn(async move {
                let mut asked = 0;
                while !stop.load(Ordering::Relaxed) {
                    let answer = client.get(&target(number, asked)).await;
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    asked += 1;
                    answers.fetch_add(1, Ordering::Relaxed);
                }
                asked
            }));
        }
        let load = Self {
            stop,
            answers,
            clients,
        };
        load.goes_on().await;
        load
    }

    /// Waits until each client may have had some more answers.
    async fn goes_on(&self) {
        let seen = self.answers.load(Ordering::Relaxed);
        let more = 4 * self.clients.len();
        eventually(SOON, || self.answers.load(Ordering::Relaxed) >= seen + more).await;
    }

    /// How many requests were answered; none failed.
    async fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = 0;
        for client in self.clients {
            all += client.await.expect("no request fails");
        }
        all
    }
}

/// Entries of a folder of the process in procfs.
fn entries(node: &Node, folder: &str) -> usize {
    let folder = format!("/proc/{}/{folder}", node.id());
    fs::read_dir(folder).expect("procfs").count()
}

fn with_ttl(settings: &Settings, round: usize) -> Settings {
    let rule = format!(
        "name = \"round\"\nmatch = {{ path = \"/x*\" }}\nttl = \"{}s\"",
        round + 1
    );
    settings.clone().rule(&rule)
}

#[tokio::test]
async fn connections_to_origins_are_kept_and_used_again() {
    let origin = Origin::start(|_| Reply::ok("x")).await;
    let settings = Settings::origins(&[&origin.url()]);
    let node = Node::start(settings.clone()).await;
    let mut client = node.client().await;
    // One request at a time is under way, to its very end: one connection is enough for all of them.
    let mut get = async |target: String| {
        assert_eq!(client.get(&target).await.status, 200);
        let under_way = "larder_origin_requests_under_way";
        node.metrics_when(|metrics| metrics.sum(under_way, &[]) == 0.0)
            .await;
    };
    for round in 0..5 {
        get(format!("/{round}/a")).await;
        get(format!("/{round}/b")).await;
        let answer = node.reload(&with_ttl(&settings, round)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    get("/last".to_owned()).await;
    assert_eq!((origin.total(), origin.connections()), (11, 1));
}

#[tokio::test]
async fn fifty_reloads_under_load_cost_nobody_anything() {
    let origin = Origin::start(|seen| match seen.target.contains("hit") {
        true => Reply::fresh(600, "h"),
        false => Reply::ok("m"),
    })
    .await;
    let settings = Settings::origins(&[&origin.url()]).site("health = { path = \"/probe\" }");
    let node = Node::start(settings.clone()).await;
    let target = |number: usize, asked: usize| match number % 2 {
        0 => format!("/hit/{}", asked % 5),
        _ => format!("/miss/{number}/{asked}"),
    };
    let load = Load::start(&node, 6, target).await;
    let reload = async |round: usize| {
        let answer = node.reload(&with_ttl(&settings, round)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    for round in 0..10 {
        reload(round).await;
    }
    load.goes_on().await;
    let (threads, files) = (entries(&node, "task"), entries(&node, "fd"));
    for round in 10..50 {
        reload(round).await;
    }
    load.goes_on().await;
    let (threads_after, files_after) = (entries(&node, "task"), entries(&node, "fd"));
    let answered = load.end().await;
    // Threads that block come and go; files are of connections that do, too.
    let (more_threads, more_files) = (
        threads_after.saturating_sub(threads),
        files_after.saturating_sub(files),
    );
    assert!(more_threads <= 4, "{threads} and then {threads_after}");
    assert!(more_files <= 8, "{files} and then {files_after}");
    let metrics = node
        .metrics_when(|metrics| {
            metrics.sum("larder_requests_total", &[("site", "main")]) >= answered as f64
        })
        .await;
    assert_eq!(metrics.sum("larder_config_generation", &[]), 51.0);
    // Few for each of the six clients, and not one for each of them after every reload.
    assert!(origin.connections() <= 24, "{}", origin.connections());
}

#[tokio::test]
async fn what_is_known_of_an_origin_stays_known() {
    let bad = Origin::start(|_| Reply::status(500)).await;
    let good = Origin::start(|_| Reply::ok("x")).await;
    let without = Settings::origins(&[&bad.url(), &good.url()]).site("balance = \"first\"");
    let settings = without
        .clone()
        .site("breaker = { percent = 50, requests = 4, window = \"60s\", pause = \"600s\" }");
    let node = Node::start(settings.clone()).await;
    let states = async || {
        let origins = node.api("GET", "/v1/origins", "").await;
        let origins: serde_json::Value = serde_json::from_slice(&origins.body).expect("a list");
        let all = origins["origins"].as_array().expect("a list").iter();
        all.map(|it| {
            let text = |key: &str| it[key].as_str().expect("text").to_owned();
            (text("origin"), text("state"))
        })
        .collect::<BTreeMap<_, _>>()
    };
    for number in 0..8 {
        node.get(&format!("/{number}")).await;
    }
    let broken = states().await;
    assert_eq!(broken[&bad.url()], "broken");
    let asked = bad.total();
    // Another setting of the breaker does not close the circuit.
    let other = settings
        .clone()
        .site("breaker = { percent = 60, requests = 4, window = \"60s\", pause = \"600s\" }");
    for settings in [&other, &settings] {
        assert_eq!(node.reload(settings).await.status, 200);
        assert_eq!(states().await, broken);
        assert_eq!(node.get(&format!("/{asked}")).await.status, 200);
    }
    assert_eq!(bad.total(), asked);
    // Without one, it is asked again.
    let answer = node.reload(&without).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(states().await[&bad.url()], "up");
}

#[tokio::test]
async fn limits_of_an_origin_change_under_those_who_are_there() {
    let gate = Gate::closed();
    let answer = gate.clone();
    let origin = Origin::start(move |_| Reply::ok("x").after(&answer)).await;
    let settings = |most: usize| {
        Settings::origins(&[]).site(&format!(
            "origins = [{{ url = \"{}\", max_requests = {most}, queue = 0 }}]",
            origin.url()
        ))
    };
    let node = Node::start(settings(2)).await;
    let mut under_way = Vec::new();
    for number in 0..2 {
        let mut client = node.client().await;
        client.ask("GET", &format!("/{number}"), &[]).await;
        under_way.push(client);
    }
    eventually(SOON, || origin.total() == 2).await;
    assert_eq!(node.get("/full").await.status, 503);
    assert_eq!(node.reload(&settings(3)).await.status, 200);
    let mut third: Client = node.client().await;
    third.ask("GET", "/third", &[]).await;
    eventually(SOON, || origin.total() == 3).await;
    assert_eq!(node.get("/full").await.status, 503);
    assert_eq!(node.reload(&settings(1)).await.status, 200);
    gate.open();
    under_way.push(third);
    for client in &mut under_way {
        assert_eq!(client.answer().await.status, 200);
    }
}

#[tokio::test]
async fn probes_of_an_origin_that_is_gone_end() {
    let (old, new) = (
        Origin::start(|_| Reply::ok("x")).await,
        Origin::start(|_| Reply::ok("x")).await,
    );
    let settings = |url: &str| {
        Settings::origins(&[url]).site("health = { path = \"/probe\", interval = \"20ms\" }")
    };
    let node = Node::start(settings(&old.url())).await;
    eventually(SOON, || old.count("/probe") > 3).await;
    assert_eq!(node.reload(&settings(&new.url())).await.status, 200);
    let seen = old.count("/probe");
    eventually(SOON, || new.count("/probe") > 20).await;
    // One may have been under way.
    assert!(
        old.count("/probe") <= seen + 1,
        "{seen} and then {}",
        old.count("/probe")
    );
    // And nothing more is told of it.
    let metrics = node.metrics().await;
    let of = |url: &str| {
        metrics
            .samples("larder_origin_probes_total")
            .any(|(labels, _)| labels.values().any(|it| it == url))
    };
    assert_eq!((of(&old.url()), of(&new.url())), (false, true));
    let without = Settings::origins(&[&new.url()]);
    assert_eq!(node.reload(&without).await.status, 200);
    assert_eq!(node.get("/a").await.status, 200);
}
