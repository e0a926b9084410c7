//! Long bodies in memory: whoever reads one gets it to its last byte, however it is given to the socket.

use std::time::Duration;

use bytes::Bytes;
use larder_tests::{Client, H2Client, Node, Origin, Reply, Settings, Way};

const MIB: usize = 1024 * 1024;
/// As long as no socket takes at once.
const LONG: usize = 12 * MIB;
/// No more than some of these fit.
const FILLING: usize = 12 * MIB + 7;
const POURED: &str = "larder_poured_bytes_total";
/// How often a body is asked for until it is poured.
const TIMES: usize = 20;
const LASTING: &str = "larder_cache_lasting_bytes";

fn text(len: usize, seed: usize) -> Bytes {
    let words = (0..=len / 8).flat_map(|at| (at + seed * 1_000_003).to_le_bytes());
    Bytes::from_iter(words).split_to(len)
}

/// `/SEED/LENGTH` is as long as it says.
fn asked(target: &str) -> Bytes {
    let mut numbers = target.split('/').filter_map(|it| it.parse().ok());
    let seed = numbers.next().unwrap_or_default();
    text(numbers.next().unwrap_or(LONG), seed)
}

async fn origin() -> Origin {
    Origin::start(|seen| {
        Reply::fresh(600, asked(&seen.target))
            .with("Content-Type", "video/mp4")
            .with("ETag", &format!("\"{}\"", seen.target))
    })
    .await
}

fn settings(origin: &Origin, size: &str) -> Settings {
    Settings::origins(&[&origin.url()])
        .table("memory", &format!("size = \"{size}\""))
        .table("memory", "object_max = \"16MiB\"")
        .table("limits", "write_timeout = \"10m\"")
}

/// What was poured by the answers that this client has: the next one of its connection begins when they are counted.
async fn poured(node: &Node, client: &mut Client) -> f64 {
    client.get("/0/1").await;
    node.metrics().await.sum(POURED, &[])
}

/// Asks until all of the body has pages that sockets are given; on the long way none are.
async fn make_last(node: &Node, client: &mut Client, target: &str, body: &Bytes) {
    for _ in 0..TIMES {
        let before = poured(node, client).await;
        let answer = client.get(target).await;
        assert!(answer.body == *body, "{}", answer.cache_status());
        if poured(node, client).await == before + pours(body.len()) && answer.is_hit() {
            return;
        }
    }
    panic!("{target} is not poured");
}

/// How much of a body of this length is poured.
fn pours(length: usize) -> f64 {
    match Way::of_hits() {
        Way::Short => length as f64,
        Way::Long => 0.0,
    }
}

#[tokio::test]
async fn a_body_is_the_same_before_and_after_it_has_pages_of_its_own() {
    let origin = origin().await;
    let node = Node::start(settings(&origin, "256MiB")).await;
    let mut client = node.client().await.patient();
    for length in [128 * 1024, 1_000_003, LONG] {
        let target = format!("/7/{length}");
        let body = asked(&target);
        make_last(&node, &mut client, &target, &body).await;
        let before = poured(&node, &mut client).await;
        let answer = client.get(&target).await;
        assert!(answer.body == body && answer.is_hit());
        let after = poured(&node, &mut client).await;
        assert_eq!(after, before + pours(length));

        // Ranges across pages and pieces, and those that are too short to be given so.
        let last = length - 1;
        for (first, last) in [
            (0, 0),
            (1, last),
            (4095, last.min(131_072)),
            (65_535, last),
            (last, last),
        ] {
            let range = format!("bytes={first}-{last}");
            let answer = client.get_with(&target, &[("Range", &range)]).await;
            assert_eq!(answer.status, 206);
            assert!(answer.body == body[first..=last], "{range} of {length}");
        }
        assert_eq!(client.request("HEAD", &target, &[]).await.body.len(), 0);
        let same = [("If-None-Match", &*format!("\"{target}\""))];
        assert_eq!(client.get_with(&target, &same).await.status, 304);
        // What others get of it is the same.
        let mut h2 = H2Client::connect(node.address()).await;
        assert!(h2.get(&target).await.body == body);
        if Way::of_hits() == Way::Short {
            node.take_the_long_way();
            assert!(client.get(&target).await.body == body);
            node.take_the_short_way();
        }
    }
    let metrics = node.metrics().await;
    let lasting = metrics.sum(LASTING, &[]);
    let total = 128 * 1024 + 1_000_003 + LONG;
    let (least, most) = (pours(total), pours(total + 16_384));
    assert!((least..=most).contains(&lasting), "{lasting}");
    assert_eq!(metrics.sum("larder_pours_refused_total", &[]), 0.0);
    // The log counts what was sent, and each once.
    let lines = node.log_lines();
    let whole = lines
        .iter()
        .filter(|line| line["status"] == 200 && line["method"] == "GET");
    for line in whole {
        let length = line["path"].as_str().unwrap().rsplit('/').next().unwrap();
        assert_eq!(line["bytes"].to_string(), length, "{line}");
    }
}

#[tokio::test]
async fn requests_behind_a_long_answer_are_answered_in_order() {
    let origin = origin().await;
    let node = Node::start(settings(&origin, "256MiB")).await;
    let mut client = node.client().await.patient();
    make_last(&node, &mut client, "/1", &asked("/1")).await;
    client.get("/2/10").await;
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: www.example.com\r\n\r\n");
    let targets = ["/2/10", "/1", "/2/10", "/1", "/1", "/3/11"];
    client.send(targets.map(get).concat()).await;
    for target in targets {
        assert!(client.answer().await.body == asked(target), "{target}");
    }
}

#[tokio::test]
async fn a_reader_has_the_old_body_to_its_last_byte_whatever_becomes_of_it() {
    let origin = Origin::start({
        let versions = std::sync::atomic::AtomicUsize::new(1);
        let filling = text(FILLING, 99);
        move |seen| match &*seen.target {
            target if target.starts_with("/fill/") => Reply::fresh(600, filling.clone()),
            "/changes" => {
                let version = versions.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                Reply::fresh(600, text(LONG, version))
            }
            target => Reply::fresh(600, asked(target)),
        }
    })
    .await;
    // No more than some of it fits.
    let node = Node::start(settings(&origin, "200MiB")).await;
    let mut client = node.client().await.patient();
    make_last(&node, &mut client, "/changes", &text(LONG, 1)).await;
    // Slow readers: they have begun, and their sockets are full.
    let mut slow = Vec::new();
    for _ in 0..3 {
        let mut client = node.client().await.patient();
        client.ask("GET", "/changes", &[]).await;
        client.answer_head().await.unwrap();
        slow.push((client, Vec::new()));
    }
    node.purge(r#"{"urls":["http://www.example.com/changes"]}"#)
        .await;
    assert!(client.get("/changes").await.body == text(LONG, 2));
    // More than fits is filled beside them, and sent often enough to have pages, too.
    for number in 0..16 {
        for _ in 0..3 {
            let filling = client.get(&format!("/fill/{number}")).await;
            assert_eq!(filling.body.len(), FILLING);
        }
    }
    let metrics = node.metrics().await;
    assert!(metrics.sum("larder_cache_evictions_total", &[]) > 0.0);
    let charged = metrics.sum("larder_cache_bytes", &[]);
    assert!(charged <= metrics.sum("larder_cache_limit_bytes", &[]));
    // One goes away in the middle, the others read on.
    drop(slow.pop());
    for (client, read) in &mut slow {
        while read.len() < LONG {
            let some = client.some().await;
            assert!(!some.is_empty(), "cut at {}", read.len());
            read.extend_from_slice(&some);
        }
        assert!(*read == text(LONG, 1));
        assert!(client.get("/4/10").await.body == text(10, 4));
    }
}

#[tokio::test]
async fn many_read_one_body_at_once_and_nobody_is_left_out() {
    let origin = origin().await;
    let node = Node::start(settings(&origin, "256MiB")).await;
    let body = asked("/1");
    make_last(&node, &mut node.client().await.patient(), "/1", &body).await;
    let readers = (0..24).map(|number| {
        let (address, body) = (node.address(), body.clone());
        tokio::spawn(async move {
            let mut client = Client::connect(address).await.patient();
            for _ in 0..2 {
                let first = number * 1000;
                let range = format!("bytes={first}-");
                let answer = client.get_with("/1", &[("Range", &range)]).await;
                assert!(answer.body == body[first..]);
            }
        })
    });
    let readers: Vec<_> = readers.collect();
    // Somebody with a short question does not wait for all of them.
    let mut client = node.client().await.patient();
    for _ in 0..20 {
        assert_eq!(client.get("/9/10").await.body, text(10, 9));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for reader in readers {
        reader.await.expect("its answers");
    }
}
