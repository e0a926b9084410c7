//! The links between tiers: few connections, whatever is under way on them. Asked by a client that Larder has no part in.

use std::fmt::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use larder_tests::{Gate, Node, Origin, Reply, Tiers};

/// Requests under way at once; more of them with `LARDER_TESTS_IN_FLIGHT`, for a figure.
const IN_FLIGHT: usize = 1_000;
/// Of one client.
const STREAMS: usize = 500;
/// What the node under test has.
const THREADS: f64 = 2.0;

fn in_flight() -> usize {
    let wanted = std::env::var("LARDER_TESTS_IN_FLIGHT").ok();
    wanted.map_or(IN_FLIGHT, |wanted| wanted.parse().expect("a number"))
}

/// A client that asks for paths of its own, all at once; none where h2load is not installed.
fn h2load(edge: &Node, folder: &std::path::Path, number: usize) -> Option<Child> {
    let mut list = String::new();
    for path in 0..STREAMS {
        writeln!(list, "http://{}/{number}/{path}", edge.address()).expect("strings grow");
    }
    let file = folder.join(number.to_string());
    std::fs::write(&file, list).expect("a writable folder");
    let streams = STREAMS.to_string();
    Command::new("h2load")
        .args(["-n", &streams, "-m", &streams, "-c", "1", "-i"])
        .arg(file)
        .stdout(Stdio::piped())
        .spawn()
        .ok()
}

#[tokio::test]
async fn many_requests_under_way_share_few_connections_between_tiers() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start_h2c(move |_| Reply::fresh(600, "x").after(&held)).await;
    let tiers = Tiers::before(&origin.url());
    let origins = format!("origins = [{{ url = \"{}\", http = \"2\" }}]", origin.url());
    let parent = tiers
        .parent("parent")
        .site(&origins)
        .table("log", "access = \"off\"")
        .table("limits", "h2_streams = 10000");
    let parent = Node::start(parent).await;
    let edge = tiers
        .edge("edge", &[&parent])
        .table("log", "access = \"off\"")
        // So many at once are work for the parent: it is not to be given up for it.
        .table("tier", "silence = \"1m\"")
        .table("limits", &format!("h2_streams = {STREAMS}"));
    let edge = Node::start(edge).await;
    edge.metrics_when(|metrics| metrics.sum("larder_tiered_parent_up", &[]) == 1.0)
        .await;

    let wanted = in_flight();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut clients = Vec::new();
    for number in 0..wanted.div_ceil(STREAMS) {
        let Some(client) = h2load(&edge, folder.path(), number) else {
            eprintln!("SKIPPED: h2load is not installed");
            return;
        };
        clients.push(client);
    }
    let end = tokio::time::Instant::now() + Duration::from_secs(60);
    let under_way = |metrics: &larder_tests::Metrics| metrics.sum("larder_tiered_in_flight", &[]);
    while under_way(&edge.metrics().await) < wanted as f64 {
        assert!(tokio::time::Instant::now() < end, "not all are under way");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let opened = "larder_tiered_connections_opened_total";
    let opened = edge.metrics().await.sum(opened, &[]);
    println!(
        "{wanted} requests under way between tiers on {opened} connections of {THREADS} threads"
    );
    assert!(opened <= 2.0 * THREADS, "{opened} connections");
    gate.open();
    for client in clients {
        let told = tokio::task::spawn_blocking(|| client.wait_with_output()).await;
        let told = told.expect("a thread").expect("it ends");
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        assert!(told.contains(&format!("{STREAMS} succeeded")), "{told}");
        assert!(told.contains(&format!("{STREAMS} 2xx")), "{told}");
    }
}
