//! Slow start: an origin that came back takes a tenth of its share at first, and all of it later.

use larder_tests::{Node, Origin, Reply, Settings, free_port};
use tokio::time::Instant;

use crate::SOON;

/// As many requests as bring ten to one of two origins that has a tenth of its share.
const REQUESTS: usize = 110;

fn answer() -> Reply {
    Reply::ok("x").with("Cache-Control", "no-store")
}

fn settings(urls: &[&str], slow_start: &str) -> Settings {
    Settings::origins(urls)
        .site("health = { failures = 1, pause = \"50ms\" }")
        .site(&format!("slow_start = \"{slow_start}\""))
}

/// Two origins, the first of which was away and has answered its first request.
struct Back {
    node: Node,
    back: Origin,
    other: Origin,
    asked: usize,
}

impl Back {
    async fn after(slow_start: &str) -> Self {
        let port = free_port();
        let other = Origin::start(|_| answer()).await;
        let dead = format!("http://127.0.0.1:{port}");
        let node = Node::start(settings(&[&dead, &other.url()], slow_start)).await;
        node.get("/1").await;
        node.get("/2").await;
        let metrics = node.metrics().await;
        assert_eq!(metrics.sum("larder_origin_outs_total", &[]), 1.0);
        let mut back = Self {
            back: Origin::start_at(port, |_| answer()).await,
            node,
            other,
            asked: 0,
        };
        let end = Instant::now() + SOON;
        while back.back.total() == 0 {
            assert!(Instant::now() < end, "it is not tried");
            back.ask(1).await;
        }
        back
    }

    /// How many of so many requests come to the one that was away.
    async fn ask(&mut self, count: usize) -> usize {
        let (before, other) = (self.back.total(), self.other.total());
        let mut client = self.node.client().await;
        for _ in 0..count {
            self.asked += 1;
            let answer = client.get(&format!("/asked/{}", self.asked)).await;
            assert_eq!(answer.status, 200);
        }
        let came = self.back.total() - before;
        assert_eq!(came + self.other.total() - other, count);
        came
    }
}

#[tokio::test]
async fn an_origin_that_came_back_takes_a_tenth_of_its_share_at_first() {
    let mut slow = Back::after("1h").await;
    let came = slow.ask(REQUESTS).await;
    assert!((9..=11).contains(&came), "{came} of {REQUESTS}");
}

#[tokio::test]
async fn without_slow_start_it_takes_its_whole_share_at_once() {
    let mut whole = Back::after("0s").await;
    let came = whole.ask(REQUESTS).await;
    assert!((54..=56).contains(&came), "{came} of {REQUESTS}");
}

#[tokio::test]
async fn its_share_grows_until_it_is_whole() {
    let mut growing = Back::after("1s").await;
    let end = Instant::now() + SOON;
    while !(9..=11).contains(&growing.ask(20).await) {
        assert!(Instant::now() < end, "its share stays what it was");
    }
}

#[tokio::test]
async fn who_was_never_away_has_its_whole_share() {
    let one = Origin::start(|_| answer()).await;
    let other = Origin::start(|_| answer()).await;
    let node = Node::start(settings(&[&one.url(), &other.url()], "1h")).await;
    for number in 0..20 {
        node.get(&format!("/{number}")).await;
    }
    assert_eq!((one.total(), other.total()), (10, 10));
}

#[tokio::test]
async fn an_origin_that_a_reload_adds_to_others_takes_a_tenth_of_its_share_at_first() {
    let (new, other) = (
        Origin::start(|_| answer()).await,
        Origin::start(|_| answer()).await,
    );
    let alone = settings(&[&other.url()], "1h");
    let both = settings(&[&new.url(), &other.url()], "1h");
    let node = Node::start(alone).await;
    assert_eq!(node.reload(&both).await.status, 200);
    let mut added = Back {
        node,
        back: new,
        other,
        asked: 0,
    };
    let came = added.ask(REQUESTS).await;
    assert!((9..=11).contains(&came), "{came} of {REQUESTS}");
    // What began slowly goes on so, whatever else changes.
    let settings = both.site("retries = 1");
    assert_eq!(added.node.reload(&settings).await.status, 200);
    let came = added.ask(REQUESTS).await;
    assert!((9..=11).contains(&came), "{came} of {REQUESTS}");
}

#[tokio::test]
async fn origins_that_take_the_place_of_all_others_have_their_whole_share_at_once() {
    let (one, other, before) = (
        Origin::start(|_| answer()).await,
        Origin::start(|_| answer()).await,
        Origin::start(|_| answer()).await,
    );
    let node = Node::start(settings(&[&before.url()], "1h")).await;
    let settings = settings(&[&one.url(), &other.url()], "1h");
    assert_eq!(node.reload(&settings).await.status, 200);
    let mut both = Back {
        node,
        back: one,
        other,
        asked: 0,
    };
    let came = both.ask(REQUESTS).await;
    assert!((54..=56).contains(&came), "{came} of {REQUESTS}");
}
