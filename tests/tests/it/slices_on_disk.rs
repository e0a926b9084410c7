//! Slices on disks outlive the process, and what was purged does not come back with it.

use std::sync::Arc;

use larder_tests::{Client, File, Node, Origin, Response, Settings, Told, engine};

use crate::disk_breaks::turn_a_bit;
use crate::restart::on_disk;

const LENGTH: u64 = 1024 * 1024;

/// Each in another slice, or another two.
const RANGES: [(u64, u64); 4] = [
    (100, 199),
    (65_530, 65_545),
    (524_288, 589_823),
    (LENGTH - 10, LENGTH - 1),
];

/// The slices of [`RANGES`], and the head.
const OBJECTS: usize = 4 + 1;

fn settings(origin: &Origin) -> Settings {
    Settings::origins(&[&origin.url()])
        .site("slices = { size = \"64KiB\", above = \"256KiB\", ahead = 0 }")
        .disk("64MiB")
}

async fn origin_of(file: &Arc<File>) -> Origin {
    let file = Arc::clone(file);
    Origin::start(move |seen| file.answer(seen)).await
}

async fn range(node: &Node, (first, last): (u64, u64)) -> Response {
    let value = format!("bytes={first}-{last}");
    node.get_with("/f", &[("Range", &value)]).await
}

/// Asks for all of the ranges, whose bytes must be those of `version`.
async fn ranges(node: &Node, version: u64) -> Vec<Response> {
    let mut answers = Vec::new();
    for (first, last) in RANGES {
        let answer = range(node, (first, last)).await;
        assert_eq!(answer.status, 206, "{first}-{last}");
        assert!(
            answer.body == File::bytes(version, first..last + 1),
            "the bytes of {first}-{last}"
        );
        answers.push(answer);
    }
    answers
}

fn is_from_disk(answer: &Response) -> bool {
    answer.is_hit() && answer.cache_parameter("detail") == Some("disk")
}

async fn purge(node: &Node, body: &str) {
    let bearer = format!("Bearer {}", node.token());
    let fields = [("Authorization", bearer.as_str())];
    let mut client = Client::connect(node.admin()).await;
    let answer = client
        .upload("POST", "/v1/purges", &fields, body.as_bytes())
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn ranges_are_hits_from_disk_after_a_kill_and_purged_ones_are_not() {
    let file = File::new(LENGTH, Told::Tag);
    let origin = origin_of(&file).await;
    let mut node = Node::start(settings(&origin).site("disk = \"always\"")).await;
    ranges(&node, 1).await;
    on_disk(&node, OBJECTS).await;
    let asked = origin.total();
    for _ in 0..2 {
        node.kill_and_restart(|_| {}).await;
        for answer in ranges(&node, 1).await {
            assert!(is_from_disk(&answer), "{}", answer.cache_status());
        }
    }
    assert_eq!(origin.total(), asked);

    // What was not asked for is fetched, and joins what is stored.
    let partial = range(&node, (0, 2 * 65_536)).await;
    assert_eq!(partial.forwarded(), Some("partial"));
    assert!(partial.body == File::bytes(1, 0..2 * 65_536 + 1));
    assert_eq!(origin.total(), asked + 1);

    for body in [
        r#"{"urls":["http://www.example.com/f"]}"#,
        r#"{"all":true}"#,
    ] {
        ranges(&node, 1).await;
        on_disk(&node, OBJECTS).await;
        let sent = file.sent();
        purge(&node, body).await;
        node.kill_and_restart(|_| {}).await;
        let [first, ..] = &ranges(&node, 1).await[..] else {
            panic!("there are several");
        };
        assert!(!first.is_hit(), "{}", first.cache_status());
        // Every slice anew, though the validator is the same: the last one is whole, too.
        assert_eq!(file.sent() - sent, 4 * 65_536, "{body}");
    }
}

#[tokio::test]
async fn a_file_that_is_replaced_is_not_mixed_with_slices_of_an_earlier_process() {
    let file = File::new(LENGTH, Told::Tag);
    let origin = origin_of(&file).await;
    let mut node = Node::start(settings(&origin).site("disk = \"always\"")).await;
    ranges(&node, 1).await;
    on_disk(&node, OBJECTS).await;
    file.replace();
    node.kill_and_restart(|_| {}).await;
    // The head is fresh, and its slices are there.
    ranges(&node, 1).await;
    // One that is not: all of the old version goes.
    let asked = (3 * 65_536, 3 * 65_536 + 9);
    let answer = range(&node, asked).await;
    assert!(answer.body == File::bytes(2, asked.0..asked.1 + 1));
    ranges(&node, 2).await;
    on_disk(&node, OBJECTS + 1).await;
    let total = origin.total();
    node.kill_and_restart(|_| {}).await;
    for answer in ranges(&node, 2).await {
        assert!(is_from_disk(&answer), "{}", answer.cache_status());
    }
    assert_eq!(origin.total(), total);
}

#[tokio::test]
async fn a_flipped_bit_in_a_slice_costs_one_slice_and_nobody_sees_it() {
    // Short slices are read with their heads; of long ones the head says nothing of the content.
    for size in [65_536, 262_144] {
        let file = File::new(8 * size, Told::Tag);
        let origin = origin_of(&file).await;
        let slices = format!("slices = {{ size = \"{size}B\", above = \"256KiB\", ahead = 0 }}");
        let settings = Settings::origins(&[&origin.url()])
            .site(&slices)
            .site("disk = \"always\"")
            .log_disk("64MiB");
        let mut node = Node::start(settings).await;
        let wanted = (size / 2, 4 * size + 9);
        range(&node, wanted).await;
        on_disk(&node, 1 + 5).await;
        let sent = file.sent();
        node.stop_and_restart(|folder| turn_a_bit(folder, 3 * size - 100))
            .await;
        let answer = range(&node, wanted).await;
        assert!(is_from_disk(&answer), "{}", answer.cache_status());
        assert!(answer.body == File::bytes(1, wanted.0..wanted.1 + 1));
        assert_eq!(file.sent() - sent, size);
        let faults = node.metrics().await;
        let damaged = faults.sum("larder_disk_faults_total", &[("kind", "damaged")]);
        assert!(damaged > 0.0);
        assert!(range(&node, wanted).await.body == answer.body);
        assert_eq!(file.sent() - sent, size);
    }
}

#[tokio::test]
async fn slices_that_say_the_same_write_no_head() {
    let file = File::new(LENGTH, Told::Tag);
    let origin = origin_of(&file).await;
    let node = Node::start(settings(&origin).site("disk = \"always\"")).await;
    // foyer rounds up what it writes.
    let most = if engine() == "log" { 1.02 } else { 1.15 };
    for first in (0..LENGTH).step_by(65_536) {
        range(&node, (first, first)).await;
    }
    assert_eq!(origin.total(), 16);
    on_disk(&node, 16 + 1).await;
    let metrics = node.metrics().await;
    let written = metrics.sum("larder_disk_written_bytes_total", &[]);
    assert!(written < LENGTH as f64 * most, "{written}");
}

#[tokio::test]
async fn a_purged_slice_is_not_there_for_who_wants_only_what_is_stored() {
    let file = File::new(LENGTH, Told::Tag);
    let origin = origin_of(&file).await;
    let mut node = Node::start(settings(&origin).site("disk = \"always\"")).await;
    let only = [
        ("Range", "bytes=0-70000"),
        ("Cache-Control", "only-if-cached"),
    ];
    range(&node, (0, 70_000)).await;
    on_disk(&node, 3).await;
    node.kill_and_restart(|_| {}).await;
    assert_eq!(node.get_with("/f", &only).await.status, 206);
    purge(&node, r#"{"urls":["http://www.example.com/f"]}"#).await;
    // The head and one slice are back.
    range(&node, (0, 9)).await;
    on_disk(&node, 2).await;
    node.kill_and_restart(|_| {}).await;
    let asked = origin.total();
    assert_eq!(node.get_with("/f", &only).await.status, 504);
    assert_eq!(origin.total(), asked);
    assert_eq!(range(&node, (0, 70_000)).await.status, 206);
}

#[tokio::test]
async fn who_wants_only_what_is_stored_finds_the_slices_of_an_earlier_process() {
    for kill in [false, true] {
        let file = File::new(LENGTH, Told::Tag);
        let origin = origin_of(&file).await;
        let mut node = Node::start(settings(&origin).site("disk = \"always\"")).await;
        for first in (0..LENGTH).step_by(65_536) {
            range(&node, (first, first)).await;
        }
        on_disk(&node, 16 + 1).await;
        match kill {
            true => node.kill_and_restart(|_| {}).await,
            false => node.stop_and_restart(|_| {}).await,
        }
        let asked = origin.total();
        let only = [("Cache-Control", "only-if-cached")];
        let stored = node.get_with("/f", &only).await;
        assert!(is_from_disk(&stored), "{}", stored.cache_status());
        assert!(stored.body == File::bytes(1, 0..LENGTH));
        let part = [only[0], ("Range", "bytes=65530-65545")];
        assert_eq!(node.get_with("/f", &part).await.status, 206);
        assert_eq!(origin.total(), asked);
    }
}

#[tokio::test]
async fn a_slice_is_written_at_its_own_second_request() {
    let file = File::new(LENGTH, Told::Tag);
    let origin = origin_of(&file).await;
    let mut node = Node::start(settings(&origin).site("disk = \"second\"")).await;
    let (twice, once) = (RANGES[0], RANGES[2]);
    range(&node, twice).await;
    assert!(range(&node, twice).await.is_hit());
    range(&node, once).await;
    on_disk(&node, 2).await;
    node.kill_and_restart(|_| {}).await;
    assert!(is_from_disk(&range(&node, twice).await));
    assert!(!range(&node, once).await.is_hit());
}

#[tokio::test]
async fn no_slice_is_written_where_none_is_wanted_on_a_disk() {
    let file = File::new(LENGTH, Told::Tag);
    let origin = origin_of(&file).await;
    let mut node = Node::start(settings(&origin).site("disk = \"never\"")).await;
    for _ in 0..3 {
        ranges(&node, 1).await;
    }
    let asked = origin.total();
    node.kill_and_restart(|_| {}).await;
    ranges(&node, 1).await;
    assert_eq!(origin.total(), 2 * asked);
}
