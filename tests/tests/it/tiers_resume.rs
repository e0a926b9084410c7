//! A parent that is lost in the middle of a body: somebody else has the rest, or the client sees it cut. Never a mixture.

use larder_tests::{Client, End, Gate, Node, Origin, Reply, Response, Tiers};

const FIRST: usize = 100_000;
const SECOND: usize = 50_000;
const BEGUN: usize = 10_000;

fn bytes(of: char, length: usize) -> String {
    String::from_iter(std::iter::repeat_n(of, length))
}

/// An origin that stops in the middle of its first answer until the gate opens; what it answers then may be another one.
async fn stopping(gate: &Gate, make: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Origin {
    let gate = gate.clone();
    Origin::start(move |seen| {
        let reply = make(seen.nth);
        match seen.nth {
            1 => reply.wait(&gate).then(bytes('b', SECOND)),
            _ => reply.then(bytes('b', SECOND)),
        }
    })
    .await
}

/// Asks an edge, waits until the first part of the body has begun to come, and kills the parent that brings it.
async fn lose_parent(origin: &Origin, parents: &mut [Node], edge: &Node) -> Client {
    let mut client = edge.client().await;
    client.ask("GET", "/long", &[]).await;
    // More than any head: of a body that has not begun, another version is as good.
    client.until(BEGUN).await;
    let way = origin.requests()[0].values("Via").join(", ");
    let parent = (0..parents.len()).find(|number| way.contains(&format!("p{number}")));
    parents[parent.expect("a parent asks")].kill();
    client
}

struct Told {
    answer: Response,
    resumed: f64,
    lost: f64,
}

async fn check(gate: &Gate, origin: &Origin, parents: usize) -> Told {
    let tiers = Tiers::before(&origin.url());
    let mut nodes = Vec::new();
    for number in 0..parents {
        nodes.push(Node::start(tiers.parent(&format!("p{number}"))).await);
    }
    let edge = Node::start(tiers.edge("edge", &nodes.iter().collect::<Vec<_>>())).await;
    let ups = parents as f64;
    edge.metrics_when(|metrics| metrics.sum("larder_tiered_parent_up", &[]) == ups)
        .await;
    let mut client = lose_parent(origin, &mut nodes, &edge).await;
    let answer = client.answer().await;
    gate.open();
    let metrics = edge.metrics().await;
    let rest = |rest| metrics.sum("larder_tiered_resumes_total", &[("rest", rest)]);
    Told {
        answer,
        resumed: rest("found"),
        lost: rest("missing"),
    }
}

#[track_caller]
fn is_whole(told: &Told) {
    let answer = &told.answer;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.end, End::Complete);
    let whole = bytes('a', FIRST) + &bytes('b', SECOND);
    assert!(answer.text() == whole, "{} bytes", answer.body.len());
    assert_eq!((told.resumed, told.lost), (1.0, 0.0));
}

#[tokio::test]
async fn the_other_parent_has_the_rest_of_what_has_a_strong_validator() {
    let gate = Gate::closed();
    let make = |_| {
        Reply::fresh(600, bytes('a', FIRST))
            .with("ETag", "\"same\"")
            .claiming(FIRST + SECOND)
    };
    let origin = stopping(&gate, make).await;
    let told = check(&gate, &origin, 2).await;
    is_whole(&told);
    assert_eq!(origin.count("/long"), 2);
}

#[tokio::test]
async fn without_a_validator_the_rest_belongs_to_what_begins_alike() {
    let gate = Gate::closed();
    let make = |_| Reply::fresh(600, bytes('a', FIRST)).chunked();
    let origin = stopping(&gate, make).await;
    is_whole(&check(&gate, &origin, 2).await);
}

#[tokio::test]
async fn the_origin_has_the_rest_where_there_is_no_other_parent() {
    let gate = Gate::closed();
    let make = |_| Reply::fresh(600, bytes('a', FIRST)).claiming(FIRST + SECOND);
    let origin = stopping(&gate, make).await;
    is_whole(&check(&gate, &origin, 1).await);
}

#[tokio::test]
async fn another_version_is_no_rest() {
    for etag in [true, false] {
        let gate = Gate::closed();
        let make = move |nth| {
            let reply = Reply::fresh(600, bytes(if nth == 1 { 'a' } else { 'x' }, FIRST));
            let reply = reply.claiming(FIRST + SECOND);
            match etag {
                true => reply.with("ETag", &format!("\"{nth}\"")),
                false => reply,
            }
        };
        let origin = stopping(&gate, make).await;
        let told = check(&gate, &origin, 2).await;
        assert_eq!(told.answer.end, End::Cut, "etag: {etag}");
        let sent = told.answer.text();
        assert!(sent.len() <= FIRST && sent.bytes().all(|byte| byte == b'a'));
        assert_eq!((told.resumed, told.lost), (0.0, 1.0), "etag: {etag}");
    }
}

#[tokio::test]
async fn what_the_origin_cuts_is_not_asked_for_again() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        Reply::fresh(600, bytes('a', FIRST))
            .claiming(FIRST + SECOND)
            .wait(&held)
            .cut()
    })
    .await;
    let tiers = Tiers::before(&origin.url());
    let parents = [
        Node::start(tiers.parent("p0")).await,
        Node::start(tiers.parent("p1")).await,
    ];
    let edge = Node::start(tiers.edge("edge", &[&parents[0], &parents[1]])).await;
    let mut client = edge.client().await;
    client.ask("GET", "/long", &[]).await;
    edge.metrics_when(|metrics| {
        let said = [("said", "response")];
        metrics.sum("larder_tiered_requests_total", &said) == 1.0
    })
    .await;
    gate.open();
    let answer = client.answer().await;
    assert_eq!(answer.end, End::Cut);
    let metrics = edge.metrics().await;
    assert_eq!(metrics.sum("larder_tiered_resumes_total", &[]), 0.0);
    assert_eq!(origin.count("/long"), 1, "{:?}", edge.stderr());
}
