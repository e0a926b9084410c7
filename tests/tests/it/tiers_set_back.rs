//! A purge log that is set back while a parent cannot reach it: places that the parent speaks of are given again, to other
//! purges, and nobody takes them for those.

use std::time::Duration;

use larder_tests::{Nats, Node, Origin, Relay, Tiers};
use tokio::time::Instant;

use crate::fleet::set_back::Copy;
use crate::tiers_purge::{applied, chain_length, init, member, purge, tagged};

const SOON: Duration = Duration::from_secs(15);

const NONE: &str = r#"{"tags":["none"],"timeout_ms":20000,"wait":"local"}"#;
const PURGE: &str = r#"{"tags":["tag"],"timeout_ms":20000,"wait":"local"}"#;

/// An edge, and a parent that cannot reach the log any more, which is an older copy of itself.
struct SetBack {
    _nats: Nats,
    relay: Relay,
    parent: Node,
    edge: Node,
    /// Up to where the parent has read what is gone.
    lost: f64,
    origin: Origin,
}

/// Both nodes have `/x`, and have read so many purges that the log has no more.
async fn set_back(purges: usize) -> SetBack {
    let (mut nats, origin) = (Nats::start(), tagged().await);
    let relay = Relay::to(nats.address()).await;
    let tiers = Tiers::before(&origin.url());
    init(&member(tiers.parent("any"), &nats.url())).await;
    let far = format!("nats://{}", relay.address());
    let parent = Node::start(member(tiers.parent("parent"), &far)).await;
    let edge = Node::start(member(tiers.edge("edge", &[&parent]), &nats.url())).await;
    asks_its_parent(&edge).await;
    let copy = Copy::of(&mut nats);
    let mut lost = 0.0;
    for _ in 0..purges {
        lost = purge(&edge, NONE).await;
    }
    for node in [&parent, &edge] {
        applied(node, lost).await;
    }
    let end = Instant::now() + SOON;
    // While a node catches up with its log, it may ask for what it has.
    while !edge.get("/x").await.is_hit() {
        assert!(Instant::now() < end, "{:?}", edge.stderr());
    }
    let answers = origin.count("/x");
    relay.cut();
    copy.bring_back(&mut nats);
    let rewound = [("reason", "rewound")];
    edge.metrics_when(|it| it.sum("larder_fleet_resets_total", &rewound) >= 1.0)
        .await;
    assert_eq!(origin.count("/x"), answers);
    SetBack {
        _nats: nats,
        relay,
        parent,
        edge,
        lost,
        origin,
    }
}

/// Waits until what an edge gets comes through its parent.
async fn asks_its_parent(edge: &Node) {
    let end = Instant::now() + SOON;
    for number in 0.. {
        if chain_length(&edge.get(&format!("/new/{number}")).await) == 2 {
            return;
        }
        assert!(Instant::now() < end, "{:?}", edge.stderr());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl SetBack {
    /// What was purged is not served, wherever it comes from.
    async fn serves_what_is_new(&self) {
        let before = self.origin.count("/x");
        let known = self
            .parent
            .metrics()
            .await
            .sum("larder_purge_sequence", &[]);
        assert!(known >= self.lost, "the parent has noticed: {known}");
        for _ in 0..3 {
            let answer = self.edge.get("/x").await;
            let number: usize = answer.text().parse().expect("a number");
            assert!(number > before, "purged: {}", answer.cache_status());
        }
    }

    /// The parent reaches the log again: then all is as it was.
    async fn heals(self) {
        self.relay.heal();
        let rewound = [("reason", "rewound")];
        self.parent
            .metrics_when(|it| it.sum("larder_fleet_resets_total", &rewound) >= 1.0)
            .await;
        asks_its_parent(&self.edge).await;
        purge(&self.edge, PURGE).await;
        let before = self.origin.count("/x");
        let number: usize = self.edge.get("/x").await.text().parse().expect("a number");
        assert!(number > before);
        let end = Instant::now() + SOON;
        while !self.edge.get("/x").await.is_hit() {
            assert!(Instant::now() < end, "{:?}", self.edge.stderr());
        }
    }
}

#[tokio::test]
async fn what_a_parent_says_that_is_further_in_a_log_that_is_gone_is_not_believed() {
    let nodes = set_back(40).await;
    let place = purge(&nodes.edge, PURGE).await;
    assert!(place < nodes.lost, "{place}");
    nodes.serves_what_is_new().await;
    nodes.heals().await;
}

#[tokio::test]
async fn what_a_parent_says_that_is_behind_in_a_log_that_is_gone_is_not_believed() {
    let nodes = set_back(4).await;
    purge(&nodes.edge, PURGE).await;
    // By ticks alone, the log grows beyond where the parent was: there is nothing that could be forgotten.
    applied(&nodes.edge, nodes.lost + 2.0).await;
    nodes.serves_what_is_new().await;
    nodes.heals().await;
}
