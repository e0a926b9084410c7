//! Purges and what is on disks: dry runs and counts see it, and the index of purges forgets what it has outlived.

use larder_tests::{Metrics, Node, Origin, Reply, Response, Settings};

use crate::restart::on_disk;

async fn tagged() -> Origin {
    Origin::start(|seen| {
        let tag = seen.target.trim_start_matches('/').to_owned();
        Reply::fresh(600, vec![b'x'; 1_000]).with("Cache-Tag", &format!("all, {tag}"))
    })
    .await
}

const TARGETS: [&str; 4] = ["/a", "/b", "/c", "/d"];

/// A node that was killed after all targets had reached its disk, and started again.
async fn restarted(origin: &Origin) -> Node {
    let settings = Settings::origins(&[&origin.url()]).disk("64MiB");
    let mut node = Node::start(settings.site("disk = \"always\"")).await;
    for target in TARGETS {
        assert_eq!(node.get(target).await.status, 200);
    }
    on_disk(&node, TARGETS.len()).await;
    node.kill_and_restart(|_| {}).await;
    node.metrics_when(|metrics| objects(metrics) == TARGETS.len() as f64)
        .await;
    node
}

fn objects(metrics: &Metrics) -> f64 {
    metrics.sum("larder_disk_objects", &[])
}

fn is_from_disk(answer: &Response) -> bool {
    answer.is_hit() && answer.cache_parameter("detail") == Some("disk")
}

#[tokio::test]
async fn a_dry_run_sees_what_is_on_disks_after_a_restart() {
    let origin = tagged().await;
    let node = restarted(&origin).await;
    let all = r#"{"tags":["all"],"dry_run":true}"#;
    // One of them is in memory again: it counts once.
    for _ in 0..2 {
        assert!(node.get("/a").await.is_hit());
        let preview = node.purge(all).await;
        assert_eq!(preview["objects"], 4);
        assert!(preview["bytes"].as_u64() > Some(4_000));
        let samples = preview["samples"].as_array().unwrap();
        let uris = samples.iter().filter_map(|it| it["uri"].as_str());
        let mut uris: Vec<_> = uris.collect();
        uris.sort_unstable();
        assert_eq!(uris, TARGETS.map(|it| format!("www.example.com{it}")));
    }
    let one = node.purge(r#"{"tags":["b"],"dry_run":true}"#).await;
    assert_eq!(one["objects"], 1);
    // Its key purges it.
    let key = one["samples"][0]["key"].as_str().unwrap();
    let purge = format!(r#"{{"keys":["{key}"],"count":true}}"#);
    assert_eq!(node.purge(&purge).await["matched"]["objects"], 1);
    assert_eq!(node.purge(all).await["objects"], 3);
    assert!(!node.get("/b").await.is_hit());
    assert!(node.get("/c").await.is_hit());
}

#[tokio::test]
async fn what_is_purged_on_disks_is_counted_forgotten_and_does_not_come_back() {
    let origin = tagged().await;
    let mut node = restarted(&origin).await;
    for (round, tag) in ["a", "b"].into_iter().enumerate() {
        let receipt = node
            .purge(&format!(r#"{{"tags":["{tag}"],"count":true}}"#))
            .await;
        assert_eq!(receipt["matched"]["objects"], 1, "{tag}");
        let metrics = node.metrics().await;
        assert_eq!(objects(&metrics), 3.0 - round as f64);
        assert_eq!(metrics.sum("larder_purge_labels", &[]), 0.0);
    }
    // The purge that is forgotten took nothing else.
    assert!(is_from_disk(&node.get("/c").await));
    for _ in 0..2 {
        node.kill_and_restart(|_| {}).await;
        // The log is applied again, and forgotten again.
        let forgotten = |metrics: &Metrics| {
            metrics.sum("larder_purge_swept_sequence", &[]) >= 2.0
                && metrics.sum("larder_purge_labels", &[]) == 0.0
        };
        let metrics = node.metrics_when(forgotten).await;
        assert_eq!(objects(&metrics), 2.0);
        let left = node.purge(r#"{"all":true,"dry_run":true}"#).await;
        assert_eq!(left["objects"], 2);
    }
    for target in ["/c", "/d"] {
        assert!(is_from_disk(&node.get(target).await), "{target}");
    }
    for target in ["/a", "/b"] {
        assert!(!node.get(target).await.is_hit(), "{target}");
    }
}

#[tokio::test]
async fn what_is_softly_purged_on_a_disk_stays_stale() {
    let origin = tagged().await;
    let node = restarted(&origin).await;
    let soft = r#"{"tags":["a"],"mode":"soft","count":true}"#;
    assert_eq!(node.purge(soft).await["matched"]["objects"], 1);
    let other = r#"{"tags":["b"],"count":true}"#;
    assert_eq!(node.purge(other).await["matched"]["objects"], 1);
    assert_eq!(node.get("/a").await.forwarded(), Some("stale"));
    assert!(node.get("/a").await.is_hit());
    assert!(!node.get("/b").await.is_hit());
    assert!(is_from_disk(&node.get("/c").await));
}
