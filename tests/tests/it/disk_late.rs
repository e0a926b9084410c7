//! Responses that are too long for memory, and those who ask for one while it arrives.

use std::fs;
use std::path::Path;

use larder_tests::{Client, End, File, Gate, Node, Origin, Reply, Seen, Settings};

use crate::restart::on_disk;

/// What arrives before the gate, and what behind it.
const FIRST: u64 = 900_000;
const LENGTH: u64 = 1_500_000;

/// As much as no socket's buffers hold.
const LONG: u64 = 24_000_000;

fn headed(status: u16) -> Reply {
    Reply::status(status)
        .with("Cache-Control", "max-age=60")
        .with("ETag", "\"v1\"")
        .with("Surrogate-Key", "all")
        .with("X-Version", "1")
}

/// The beginning, and the rest when the gate is open. Who asks for a part gets it at once.
fn gated(seen: &Seen, first: u64, length: u64, gate: &Gate) -> Reply {
    if let Some(range) = seen.field("Range") {
        let range = range.strip_prefix("bytes=").expect("a range");
        let (first, last) = range.split_once('-').expect("a range");
        let first: u64 = first.parse().expect("a number");
        let last = last.parse().unwrap_or(length - 1).min(length - 1);
        return headed(206)
            .with("Content-Range", &format!("bytes {first}-{last}/{length}"))
            .then(File::bytes(1, first..last + 1));
    }
    headed(200)
        .then(File::bytes(1, 0..first))
        .wait(gate)
        .then(File::bytes(1, first..length))
}

async fn origin(first: u64, length: u64, gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::start(move |seen| gated(seen, first, length, &gate)).await
}

/// A node whose memory keeps none of it.
async fn node_before(origin: &Origin, disk: &str) -> Node {
    let settings = Settings::origins(&[&origin.url()])
        .table("memory", "object_max = \"1KiB\"")
        .site("disk = \"always\"");
    Node::start(settings.disk(disk)).await
}

/// A client that has begun to read it.
async fn reading(node: &Node, fields: &[(&str, &str)]) -> Client {
    let mut client = node.client().await;
    client.ask("GET", "/f", fields).await;
    let head = client.answer_head().await.expect("an answer");
    let expected = if fields.is_empty() { 200 } else { 206 };
    assert_eq!(head.status, expected, "{}", head.cache_status());
    client
}

/// One that has read what has arrived so far.
async fn leading(node: &Node) -> Client {
    let mut leader = reading(node, &[]).await;
    let count = usize::try_from(FIRST).expect("64 bits");
    assert!(leader.at_least(count).await == File::bytes(1, 0..FIRST));
    leader
}

#[tokio::test]
async fn who_comes_late_reads_what_has_arrived_and_goes_on() {
    let gate = Gate::closed();
    let origin = origin(FIRST, LENGTH, &gate).await;
    let node = node_before(&origin, "32MiB").await;
    let mut clients = vec![leading(&node).await];
    for _ in 0..3 {
        clients.push(leading(&node).await);
    }
    gate.open();
    for client in &mut clients {
        let rest = usize::try_from(LENGTH - FIRST).expect("64 bits");
        assert!(client.at_least(rest).await == File::bytes(1, FIRST..LENGTH));
    }
    on_disk(&node, 1).await;
    let stored = node.get("/f").await;
    assert!(stored.is_hit(), "{}", stored.cache_status());
    assert!(stored.body == File::bytes(1, 0..LENGTH));
    assert_eq!(origin.total(), 1);
}

#[tokio::test]
async fn who_comes_late_to_a_body_of_unknown_length_gets_all_of_it() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |seen| gated(seen, FIRST, LENGTH, &held).chunked()).await;
    let node = node_before(&origin, "32MiB").await;
    let mut leader = reading(&node, &[]).await;
    leader
        .at_least(usize::try_from(FIRST).expect("64 bits"))
        .await;
    let mut late = node.client().await;
    late.ask("GET", "/f", &[]).await;
    let head = late.answer_head().await.expect("an answer");
    assert!(head.cache_parameter("collapsed").is_some());
    gate.open();
    let mut frames = Vec::new();
    while !frames.ends_with(b"\r\n0\r\n\r\n") {
        let some = late.some().await;
        assert!(!some.is_empty(), "cut");
        frames.extend_from_slice(&some);
    }
    assert!(content(&frames) == File::bytes(1, 0..LENGTH));
    assert_eq!(origin.total(), 1);
}

/// What is in the chunks of RFC 9112 §7.1.
fn content(mut frames: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    loop {
        let end = frames.windows(2).position(|it| it == b"\r\n");
        let end = end.expect("the end of a line");
        let size = std::str::from_utf8(&frames[..end]).expect("text");
        let size = usize::from_str_radix(size, 16).expect("a size");
        if size == 0 {
            return content;
        }
        content.extend_from_slice(&frames[end + 2..][..size]);
        frames = &frames[end + 2 + size + 2..];
    }
}

#[tokio::test]
async fn a_range_is_answered_from_what_has_arrived() {
    let gate = Gate::closed();
    let origin = origin(FIRST, LENGTH, &gate).await;
    let node = node_before(&origin, "32MiB").await;
    let mut leader = leading(&node).await;
    for (first, last) in [(0, 99), (100_000, 299_999), (FIRST - 10, FIRST - 1)] {
        let range = format!("bytes={first}-{last}");
        let part = node.get_with("/f", &[("Range", &range)]).await;
        assert_eq!((part.status, part.end), (206, End::Complete));
        assert!(part.cache_parameter("collapsed").is_some());
        assert!(part.body == File::bytes(1, first..last + 1), "{range}");
    }
    // One that has arrived in part goes on with the others.
    let across = format!("bytes={}-{}", FIRST - 1000, FIRST + 999);
    let mut client = reading(&node, &[("Range", &across)]).await;
    assert!(client.at_least(1000).await == File::bytes(1, FIRST - 1000..FIRST));
    gate.open();
    assert!(client.at_least(1000).await == File::bytes(1, FIRST..FIRST + 1000));
    let count = usize::try_from(LENGTH - FIRST).expect("64 bits");
    assert!(leader.at_least(count).await == File::bytes(1, FIRST..LENGTH));
    assert_eq!(origin.total(), 1);
}

#[tokio::test]
async fn a_range_far_behind_what_has_arrived_is_not_waited_for() {
    let gate = Gate::closed();
    let origin = origin(FIRST, LONG, &gate).await;
    let node = node_before(&origin, "512MiB").await;
    let leader = leading(&node).await;
    let range = [("Range", "bytes=20000000-20000999")];
    let far = node.get_with("/f", &range).await;
    assert_eq!(far.cache_parameter("detail"), Some("not-shared"));
    assert!(far.body == File::bytes(1, 20_000_000..20_001_000));
    assert_eq!(origin.total(), 2);
    drop((leader, gate));
}

#[tokio::test]
async fn slow_clients_hold_up_nobody() {
    let gate = Gate::closed();
    let origin = origin(FIRST, LONG, &gate).await;
    let node = node_before(&origin, "512MiB").await;
    let mut slow = reading(&node, &[]).await;
    let mut late = reading(&node, &[]).await;
    let begun = late.at_least(1000).await;
    gate.open();
    // Neither of them reads on before all of it is stored.
    on_disk(&node, 1).await;
    assert!(node.get("/f").await.is_hit());
    let all = File::bytes(1, 0..LONG);
    assert!(slow.at_least(all.len()).await == all);
    assert!(late.at_least(all.len() - begun.len()).await == all[begun.len()..]);
    assert_eq!(origin.total(), 1);
}

#[tokio::test]
async fn a_fill_that_breaks_is_cut_for_everybody_and_stores_nothing() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |seen| match seen.nth {
        1 => headed(200)
            .claiming(LENGTH)
            .then(File::bytes(1, 0..FIRST))
            .wait(&held)
            .cut(),
        _ => headed(200).then(File::bytes(1, 0..LENGTH)),
    })
    .await;
    let node = node_before(&origin, "32MiB").await;
    let mut leader = leading(&node).await;
    let mut late = leading(&node).await;
    gate.open();
    assert!(leader.rest().await.is_empty());
    assert!(late.rest().await.is_empty());
    let anew = node.get("/f").await;
    assert!(!anew.is_hit(), "{}", anew.cache_status());
    assert!(anew.body == File::bytes(1, 0..LENGTH));
    assert_eq!(origin.total(), 2);
}

#[tokio::test]
async fn a_purge_lets_those_who_read_go_on_and_nothing_is_stored() {
    for purge in [
        r#"{"tags":["all"]}"#,
        r#"{"urls":["http://www.example.com/f"]}"#,
    ] {
        let gate = Gate::closed();
        let held = gate.clone();
        let origin = Origin::start(move |seen| match seen.nth {
            1 => gated(seen, FIRST, LENGTH, &held),
            _ => headed(200).then(File::bytes(2, 0..LENGTH)),
        })
        .await;
        let node = node_before(&origin, "32MiB").await;
        let mut leader = leading(&node).await;
        let mut late = reading(&node, &[]).await;
        node.purge(purge).await;
        // Who comes after the purge gets nothing from before it.
        let after = node.get("/f").await;
        assert!(after.body == File::bytes(2, 0..LENGTH), "{purge}");
        gate.open();
        let all = usize::try_from(LENGTH).expect("64 bits");
        assert!(late.at_least(all).await == File::bytes(1, 0..LENGTH));
        let rest = usize::try_from(LENGTH - FIRST).expect("64 bits");
        assert!(leader.at_least(rest).await == File::bytes(1, FIRST..LENGTH));
        // The old one does not take the place of what was asked for since.
        let stored = node.get("/f").await;
        assert!(stored.body == File::bytes(2, 0..LENGTH), "{purge}");
        assert!(stored.is_hit(), "{}", stored.cache_status());
        assert_eq!(origin.total(), 2);
    }
}

fn break_volume(folder: &Path) {
    let volume = folder.join("disk/larder.volume");
    let file = fs::File::options().write(true).open(volume);
    let file = file.expect("a volume");
    file.set_len(8192).expect("a volume");
}

#[tokio::test]
async fn what_a_failing_volume_does_not_give_comes_from_the_origin() {
    let gate = Gate::closed();
    let origin = origin(FIRST, LENGTH, &gate).await;
    let settings = Settings::origins(&[&origin.url()])
        .table("memory", "object_max = \"1KiB\"")
        .site("disk = \"always\"")
        .log_disk("32MiB");
    let node = Node::start(settings).await;
    let mut leader = leading(&node).await;
    let written = |metrics: &larder_tests::Metrics| {
        metrics.sum("larder_disk_written_bytes_total", &[]) > 500_000.0
            && metrics.sum("larder_disk_unwritten_bytes", &[]) == 0.0
    };
    node.metrics_when(written).await;
    node.metrics_when(written).await;
    break_volume(node.folder());

    let late = node.get("/f").await;
    assert_eq!((late.status, late.end), (200, End::Complete));
    assert!(late.body == File::bytes(1, 0..LENGTH));
    let asked = origin.last("/f");
    assert_eq!(asked.field("If-Match"), Some("\"v1\""));
    assert!(asked.field("Range").is_some());
    assert_eq!(origin.total(), 2);
    // Who keeps up has no need of the disk.
    gate.open();
    let rest = usize::try_from(LENGTH - FIRST).expect("64 bits");
    assert!(leader.at_least(rest).await == File::bytes(1, FIRST..LENGTH));
    assert_eq!(origin.total(), 2);
}
