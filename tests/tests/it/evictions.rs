//! What leaves the tiers for others, and how old it is then.

use larder_tests::{Metrics, Node, Origin, Reply, Settings};

use crate::seconds;

const AGES: &str = "larder_cache_age_at_eviction_seconds";

/// Evictions of a tier whose age was told, and those that were younger than a minute.
fn told(metrics: &Metrics, tier: &str) -> (f64, f64) {
    let count = metrics.sum(&format!("{AGES}_count"), &[("tier", tier)]);
    let bucket = format!("{AGES}_bucket");
    let young = metrics.sum(&bucket, &[("tier", tier), ("le", "60")]);
    (count, young)
}

fn are_all_told(metrics: &Metrics) -> bool {
    let evicted = |name| metrics.sum(name, &[]);
    let (memory, _) = told(metrics, "memory");
    let (disk, _) = told(metrics, "disk");
    disk > 0.0
        && disk == evicted("larder_disk_evictions_total")
        && memory == evicted("larder_cache_evictions_total")
}

#[tokio::test]
async fn the_age_of_what_leaves_memory_and_disk_is_told() {
    let origin = Origin::start(|_| Reply::fresh(600, "x".repeat(200_000))).await;
    let settings = Settings::origins(&[&origin.url()])
        .table("memory", "size = \"16MiB\"")
        .table("memory", "object_max = \"1MiB\"")
        .site("disk = \"always\"")
        .log_disk("32MiB");
    let mut node = Node::start(settings).await;
    let mut client = node.client().await;
    for number in 0..100 {
        assert_eq!(client.get(&format!("/old/{number}")).await.status, 200);
    }
    let before = node.metrics().await;
    let (count, young) = told(&before, "memory");
    assert!(count > 0.0 && count == young, "{count} {young}");
    assert_eq!(told(&before, "disk"), (0.0, 0.0), "it is not full");

    node.advance(seconds(100));
    // Three times what the disk holds.
    for number in 0..500 {
        assert_eq!(client.get(&format!("/new/{number}")).await.status, 200);
    }
    let metrics = node.metrics_when(are_all_told).await;
    let (count, young) = told(&metrics, "memory");
    assert!(young < count, "what was old has left: {count} {young}");
    assert!(metrics.sum(&format!("{AGES}_sum"), &[("tier", "memory")]) >= 100.0);
    assert!(metrics.sum(&format!("{AGES}_sum"), &[("tier", "disk")]) >= 100.0);
}
