//! Ages through tiers whose clocks differ: what is older by nobody's clock is older nowhere.

use std::time::Duration;

use larder_tests::{Node, Origin, Reply, Tiers};
use tokio::time::Instant;

/// Within what nodes of tiers let clocks differ.
const APART: Duration = Duration::from_secs(25);

#[tokio::test]
async fn clocks_that_differ_make_nothing_older_or_younger() {
    let origin = Origin::start(|seen| Reply::fresh(100, seen.nth.to_string())).await;
    let tiers = Tiers::before(&origin.url());
    for ahead in ["parent", "edge"] {
        let mut parent = Node::start(tiers.parent("parent")).await;
        let mut edge = Node::start(tiers.edge("edge", &[&parent])).await;
        match ahead {
            "parent" => parent.advance(APART),
            _ => edge.advance(APART),
        }
        let target = format!("/{ahead}");
        let began = Instant::now();
        let new = edge.get(&target).await;
        assert_eq!(new.status, 200);
        assert!(new.is_aged(0, began), "{ahead}: {:?}", new.age());
        for node in [&mut parent, &mut edge] {
            node.advance(Duration::from_secs(60));
        }
        let hit = edge.get(&target).await;
        assert!(hit.is_hit(), "{ahead}");
        assert!(hit.is_aged(60, began), "{ahead}: {:?}", hit.age());
        // What the parent has had for a minute is a minute old for a node that asks now.
        let other = tiers.edge("other", &[&parent]);
        let mut other = Node::start(other).await;
        // Within the bounds of the clocks: the parent's is ahead of this one by what it was advanced.
        other.advance(
            Duration::from_secs(60)
                + if ahead == "parent" {
                    APART
                } else {
                    Duration::ZERO
                },
        );
        let up =
            |metrics: &larder_tests::Metrics| metrics.sum("larder_tiered_parent_up", &[]) == 1.0;
        other.metrics_when(up).await;
        let late = other.get(&target).await;
        assert_eq!(late.text(), "1", "{ahead}");
        assert!(late.is_aged(60, began), "{ahead}: {:?}", late.age());
        for node in [&mut parent, &mut edge] {
            node.advance(Duration::from_secs(45));
        }
        let stale = edge.get(&target).await;
        assert_eq!(stale.forwarded(), Some("stale"), "{ahead}");
        assert_eq!(origin.count(&target), 2, "{ahead}");
    }
}
