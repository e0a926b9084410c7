//! Representations that are stored in slices (RFC 9111 §3.3, §3.4).

use std::sync::Arc;

use larder_tests::{
    Client, End, File, Gate, Node, Origin, Reply, Response, Settings, Told, eventually,
};

use serde_json::Value;

use crate::SOON;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Slices of 64 KiB of everything longer than 256 KiB.
const SMALL: &str = "slices = { size = \"64KiB\", above = \"256KiB\", ahead = 2 }";
const SLICE: u64 = 64 * KIB;

async fn serve(file: &Arc<File>) -> Origin {
    let file = Arc::clone(file);
    Origin::start(move |seen| file.answer(seen)).await
}

fn small(origin: &Origin) -> Settings {
    Settings::origins(&[&origin.url()]).site(SMALL)
}

async fn node_before(file: &Arc<File>) -> (Origin, Node) {
    let origin = serve(file).await;
    let node = Node::start(small(&origin)).await;
    (origin, node)
}

async fn range(node: &Node, value: &str) -> Response {
    node.get_with("/f", &[("Range", value)]).await
}

async fn purge(node: &Node, body: &str) -> Value {
    let bearer = format!("Bearer {}", node.token());
    let fields = [("Authorization", bearer.as_str())];
    let mut client = Client::connect(node.admin()).await;
    let purged = client
        .upload("POST", "/v1/purges", &fields, body.as_bytes())
        .await;
    assert_eq!(purged.status, 200, "{}", purged.text());
    serde_json::from_slice(&purged.body).expect("a receipt")
}

/// Bytes `first..=last` of version 1.
#[track_caller]
fn is_part(answer: &Response, first: u64, last: u64) {
    assert_eq!(answer.status, 206, "{:?}", answer.fields);
    let content_range = answer.header("Content-Range").expect("a part");
    assert!(
        content_range.starts_with(&format!("bytes {first}-{last}/")),
        "{content_range}"
    );
    assert!(answer.persists());
    assert!(
        answer.body == File::bytes(1, first..last + 1),
        "the bytes of {first}-{last}"
    );
}

#[tokio::test]
async fn a_range_fetches_the_slices_it_touches_and_they_are_stored() {
    let file = File::new(MIB, Told::Tag);
    let (origin, node) = node_before(&file).await;

    is_part(&range(&node, "bytes=100-199").await, 100, 199);
    assert_eq!((file.sent(), origin.total()), (SLICE, 1));
    assert_eq!(origin.last("/f").field("Range"), Some("bytes=0-65535"));

    let hit = range(&node, "bytes=65000-65535").await;
    is_part(&hit, 65000, 65535);
    assert!(hit.is_hit(), "{}", hit.cache_status());

    let both = range(&node, "bytes=65535-65536").await;
    is_part(&both, 65535, 65536);
    assert_eq!(both.forwarded(), Some("partial"));
    assert_eq!(both.cache_parameter("fwd-status"), Some("206"));
    assert_eq!(file.sent(), 2 * SLICE);
    let asked = origin.last("/f");
    assert_eq!(asked.field("Range"), Some("bytes=65536-131071"));
    assert_eq!(asked.field("If-Match"), Some("\"v1\""));

    let other = range(&node, "bytes=-10").await;
    is_part(&other, MIB - 10, MIB - 1);
    assert_eq!(other.forwarded(), Some("uri-miss"));
}

#[tokio::test]
async fn every_kind_of_request_is_answered_from_slices() {
    let file = File::new(MIB + 1, Told::Tag);
    let (_origin, node) = node_before(&file).await;

    let first = range(&node, "bytes=0-0,-1").await;
    for parts in [first, range(&node, "bytes=0-0,-1").await] {
        assert_eq!(parts.status, 206);
        let kind = parts.header("Content-Type").unwrap();
        assert!(kind.starts_with("multipart/byteranges; boundary="));
        let text = parts.text();
        assert!(
            text.contains("Content-Range: bytes 0-0/1048577\r\n"),
            "{text}"
        );
        assert!(
            text.contains("Content-Range: bytes 1048576-1048576/1048577\r\n"),
            "{text}"
        );
        assert_eq!(
            parts.body.len().to_string(),
            parts.header("Content-Length").unwrap()
        );
    }
    let whole = node.get("/f").await;
    assert_eq!((whole.status, whole.body.len() as u64), (200, MIB + 1));
    assert!(whole.body == File::bytes(1, 0..MIB + 1));
    assert_eq!(whole.header("Accept-Ranges"), Some("bytes"));
    assert!(!whole.fields.iter().any(|(name, _)| name == "Content-Range"));

    let again = node.get("/f").await;
    assert!(again.is_hit() && again.body == whole.body);
    let head = node.request("HEAD", "/f", &[]).await;
    assert_eq!(
        (head.status, head.header("Content-Length")),
        (200, Some("1048577"))
    );
    assert!(head.is_hit());

    let validator = |name, value| [("Range", "bytes=1-2"), (name, value)];
    for (name, value, status) in [
        ("If-Range", "\"v1\"", 206),
        ("If-Range", "\"v2\"", 200),
        ("If-None-Match", "\"v1\"", 304),
        ("If-Match", "\"v2\"", 412),
    ] {
        let answer = node.get_with("/f", &validator(name, value)).await;
        assert_eq!(answer.status, status, "{name}: {value}");
        assert!(answer.is_hit(), "{}", answer.cache_status());
    }
    let beyond = range(&node, "bytes=1048577-").await;
    assert_eq!(
        (beyond.status, beyond.header("Content-Range")),
        (416, Some("bytes */1048577"))
    );
}

#[tokio::test]
async fn a_whole_that_is_long_is_poured_into_slices() {
    let file = File::new(MIB, Told::Tag);
    let (origin, node) = node_before(&file).await;
    let whole = node.get("/f").await;
    assert_eq!((whole.status, whole.forwarded()), (200, Some("uri-miss")));
    assert!(whole.body == File::bytes(1, 0..MIB));
    assert_eq!(origin.requests()[0].field("Range"), None);

    let again = range(&node, "bytes=1000000-1000001").await;
    assert!(again.is_hit());
    is_part(&again, 1_000_000, 1_000_001);
    let metrics = node.metrics().await;
    assert!(
        metrics.sum("larder_cache_objects", &[]) == 1.0,
        "slices are one object"
    );
}

#[tokio::test]
async fn what_is_not_long_is_stored_as_a_whole() {
    let file = File::new(256 * KIB, Told::Tag);
    let (origin, node) = node_before(&file).await;
    node.get("/f").await;
    is_part(&range(&node, "bytes=70000-70001").await, 70000, 70001);
    assert_eq!(origin.total(), 1);

    // What was asked for by its first slice, and is no longer, is whole as well.
    let short = File::new(SLICE, Told::Tag);
    let (origin, node) = node_before(&short).await;
    is_part(&range(&node, "bytes=0-9").await, 0, 9);
    assert!(node.get("/f").await.is_hit());
    assert_eq!(origin.total(), 1);
}

/// A generator of numbers: the same ones every time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

#[tokio::test]
async fn random_ranges_of_a_long_file_cost_a_slice_each() {
    const LENGTH: u64 = 1024 * MIB;
    const WANTED: u64 = 64 * KIB;
    const RANGES: u64 = 150;
    let file = File::new(LENGTH, Told::Tag);
    let origin = serve(&file).await;
    let settings = Settings::origins(&[&origin.url()]).table("memory", "size = \"512MiB\"");
    let node = Node::start(settings).await;

    let mut numbers = Numbers(0x2545_f491_4f6c_dd1d);
    let mut client = node.client().await;
    let mut slices = std::collections::BTreeSet::new();
    for _ in 0..RANGES {
        let first = numbers.below(LENGTH - WANTED);
        let last = first + WANTED - 1;
        slices.extend([first / MIB, last / MIB]);
        let asked = format!("bytes={first}-{last}");
        is_part(
            &client.get_with("/f", &[("Range", &asked)]).await,
            first,
            last,
        );
    }
    assert_eq!(
        file.sent(),
        slices.len() as u64 * MIB,
        "no slice twice, and nothing else"
    );
    assert!(file.sent() <= RANGES * (WANTED + MIB), "{}", file.sent());
}

#[tokio::test]
async fn an_origin_without_ranges_or_strong_validators_still_works() {
    // 200 to everything.
    let file = File::new(MIB, Told::Tag);
    let origin = file.origin_without_ranges().await;
    let settings = small(&origin).site("slices = { size = \"64KiB\", above = \"2MiB\" }");
    let node = Node::start(settings).await;
    is_part(&range(&node, "bytes=70000-70009").await, 70000, 70009);
    is_part(&range(&node, "bytes=90000-90009").await, 90000, 90009);
    assert_eq!(origin.total(), 1, "it is stored as a whole");

    for told in [Told::WeakTag, Told::Nothing] {
        let file = File::new(MIB, told);
        let (origin, node) = node_before(&file).await;
        is_part(&range(&node, "bytes=70000-70009").await, 70000, 70009);
        is_part(&range(&node, "bytes=-9").await, MIB - 9, MIB - 1);
        let requests = origin.requests();
        assert!(requests[0].field("Range").is_some());
        assert_eq!(requests[1].field("Range"), None, "{told:?} is remembered");
        assert!(range(&node, "bytes=0-9").await.is_hit());
    }

    let file = File::new(MIB, Told::Date);
    let (origin, node) = node_before(&file).await;
    is_part(&range(&node, "bytes=70000-70009").await, 70000, 70009);
    is_part(&range(&node, "bytes=0-9").await, 0, 9);
    assert!(origin.last("/f").field("If-Unmodified-Since").is_some());
}

#[tokio::test]
async fn a_file_that_is_replaced_is_never_mixed() {
    let file = File::new(MIB, Told::Tag);
    let (_origin, node) = node_before(&file).await;
    is_part(&range(&node, "bytes=0-9").await, 0, 9);
    file.replace();

    // The slice is stored, and fresh.
    is_part(&range(&node, "bytes=0-9").await, 0, 9);
    // This one is not: the whole of the old version goes with it.
    let new = range(&node, "bytes=0-131071").await;
    assert_eq!((new.status, new.header("ETag")), (206, Some("\"v2\"")));
    assert!(new.body == File::bytes(2, 0..131_072));
    let new = range(&node, "bytes=0-9").await;
    assert!(new.is_hit() && new.body == File::bytes(2, 0..10));
}

#[tokio::test]
async fn vary_keeps_slices_apart() {
    let files = [File::new(MIB, Told::Tag), File::new(MIB, Told::Tag)];
    files[1].replace();
    let origin = Origin::start(move |seen| {
        let which = usize::from(seen.field("X-Kind") == Some("b"));
        files[which].answer(seen).with("Vary", "X-Kind")
    })
    .await;
    let node = Node::start(small(&origin)).await;
    for _ in 0..2 {
        for (kind, version) in [("a", 1), ("b", 2)] {
            let fields = [("Range", "bytes=70000-70009"), ("X-Kind", kind)];
            let answer = node.get_with("/f", &fields).await;
            assert!(answer.body == File::bytes(version, 70000..70010), "{kind}");
        }
    }
    assert_eq!(origin.total(), 2);
}

#[tokio::test]
async fn an_unsafe_request_and_a_purge_reach_every_slice() {
    let file = File::new(MIB, Told::Tag);
    let (origin, node) = node_before(&file).await;
    node.get("/f").await;
    let before = origin.total();
    let preview = purge(&node, "{\"all\":true,\"dry_run\":true}").await;
    assert_eq!(preview["objects"], 1, "{preview}");
    assert!(preview["bytes"].as_u64() > Some(MIB), "{preview}");
    purge(&node, "{\"all\":true}").await;
    file.replace();
    let answer = range(&node, "bytes=70000-70009").await;
    assert!(answer.body == File::bytes(2, 70000..70010));
    assert!(!answer.is_hit());
    assert_eq!(origin.total(), before + 1);
}

#[tokio::test]
async fn a_part_alone_answers_what_lies_within_it_and_is_completed() {
    let origin = Origin::start(|seen| match seen.field("Range") {
        Some("bytes=-5") => Reply::status(206)
            .with("Content-Range", "bytes 5-9/10")
            .with("Cache-Control", "max-age=60")
            .with("ETag", "\"1\"")
            .then("56789"),
        Some("bytes=0-4") if seen.field("If-Range") == Some("\"1\"") => Reply::status(206)
            .with("Content-Range", "bytes 0-4/10")
            .with("Cache-Control", "max-age=60")
            .with("ETag", "\"1\"")
            .with("X-New", "1")
            .then("01234"),
        other => panic!("{other:?}"),
    })
    .await;
    let node = Node::before(&origin.url()).await;
    let part = range(&node, "bytes=-5").await;
    assert_eq!((part.status, part.text().as_str()), (206, "56789"));

    for (asked, text) in [
        ("bytes=-5", "56789"),
        ("bytes=6-7", "67"),
        ("bytes=9-", "9"),
    ] {
        let part = range(&node, asked).await;
        assert!(part.is_hit(), "{asked}: {}", part.cache_status());
        assert_eq!((part.status, part.text().as_str()), (206, text));
    }
    assert_eq!(origin.total(), 1);

    let whole = node.get("/f").await;
    assert_eq!((whole.status, whole.text().as_str()), (200, "0123456789"));
    assert_eq!(
        (whole.forwarded(), whole.header("X-New")),
        (Some("partial"), Some("1"))
    );
    let whole = node.get("/f").await;
    assert!(whole.is_hit() && whole.text() == "0123456789");
    assert_eq!(origin.total(), 2);
}

#[tokio::test]
async fn a_part_that_cannot_be_completed_is_replaced() {
    // Without a validator, and with another one: the rest belongs to something else.
    for (first, then) in [(None, None), (Some("\"1\""), Some("\"2\""))] {
        let origin = Origin::start(move |seen| {
            let tagged = |reply: Reply, tag: Option<&str>| match tag {
                Some(tag) => reply.with("ETag", tag),
                None => reply,
            };
            let fresh = |status| Reply::status(status).with("Cache-Control", "max-age=60");
            match seen.field("Range") {
                Some("bytes=-5") => {
                    tagged(fresh(206).with("Content-Range", "bytes 0-4/10"), first).then("01234")
                }
                Some("bytes=5-") => {
                    tagged(fresh(206).with("Content-Range", "bytes 5-9/10"), then).then("fghij")
                }
                None => tagged(fresh(200), then).then("abcdefghij"),
                other => panic!("{other:?}"),
            }
        })
        .await;
        let node = Node::before(&origin.url()).await;
        range(&node, "bytes=-5").await;
        let inside = range(&node, "bytes=1-2").await;
        assert!(inside.is_hit() && inside.text() == "12");
        let whole = node.get("/f").await;
        assert_eq!((whole.status, whole.text().as_str()), (200, "abcdefghij"));
        assert_eq!(origin.total(), 3);
        assert!(node.get("/f").await.is_hit());
    }
}

#[tokio::test]
async fn a_part_that_is_not_what_it_says_is_passed_on_and_not_stored() {
    let origin = Origin::start(|_| {
        Reply::status(206)
            .with("Content-Range", "bytes 4-9/10")
            .with("Cache-Control", "max-age=60")
            .with("ETag", "\"1\"")
            .then("01234")
    })
    .await;
    let node = Node::before(&origin.url()).await;
    for _ in 0..2 {
        let part = range(&node, "bytes=-5").await;
        assert_eq!((part.status, part.text().as_str()), (206, "01234"));
        assert!(!part.is_hit());
    }
}

#[tokio::test]
async fn many_clients_of_one_slice_ask_the_origin_once() {
    let file = File::new(MIB, Told::Tag);
    let (gate, inner) = (Gate::closed(), Arc::clone(&file));
    let held = gate.clone();
    let origin = Origin::start(move |seen| match seen.field("If-Match") {
        Some(_) => inner.answer(seen).after(&held),
        None => inner.answer(seen),
    })
    .await;
    let node = Node::start(small(&origin)).await;
    // The head is known from the first slice; now the second.
    range(&node, "bytes=0-9").await;
    let mut clients = Vec::new();
    for number in 0..20 {
        let mut client = node.client().await;
        let asked = format!("bytes={}-{}", 65536 + number, 65600 + number);
        client.ask("GET", "/f", &[("Range", &asked)]).await;
        clients.push((number, client));
    }
    eventually(SOON, || origin.total() == 2).await;
    gate.open();
    for (number, mut client) in clients {
        is_part(&client.answer().await, 65536 + number, 65600 + number);
    }
    assert_eq!((origin.total(), file.sent()), (2, 2 * SLICE));

    // Nor do many who come at once ask more than once for what nothing is known of.
    let mut clients = Vec::new();
    for number in 0..20 {
        let mut client = node.client().await;
        let asked = format!("bytes={}-{}", number, number + 9);
        client.ask("GET", "/g", &[("Range", &asked)]).await;
        clients.push((number, client));
    }
    for (number, mut client) in clients {
        is_part(&client.answer().await, number, number + 9);
    }
    assert_eq!(origin.count("/g"), 1);
}

#[tokio::test]
async fn parallel_reads_of_a_file_that_is_replaced_never_get_two_versions() {
    const LENGTH: u64 = 4 * MIB;
    let file = File::new(LENGTH, Told::Tag);
    let (_origin, node) = node_before(&file).await;
    let node = Arc::new(node);
    let readers = (0..6_u64).map(|seed| {
        let node = Arc::clone(&node);
        tokio::spawn(async move {
            let mut numbers = Numbers(seed * 77 + 1);
            let (mut whole, mut cut) = (0, 0);
            for round in 0..25 {
                let first = numbers.below(LENGTH - 1);
                let last = first + numbers.below((LENGTH - first).min(MIB));
                let asked = format!("bytes={first}-{last}");
                let fields = [("Range", asked.as_str())];
                let all = round % 8 == 7;
                let answer = if all {
                    node.get("/f").await
                } else {
                    node.get_with("/f", &fields).await
                };
                let (first, end) = if all { (0, LENGTH) } else { (first, last + 1) };
                assert_eq!(answer.status, if all { 200 } else { 206 });
                let version = File::version_of(answer.header("ETag").unwrap());
                let end = if answer.end == End::Complete {
                    end
                } else {
                    first + answer.body.len() as u64
                };
                assert!(answer.body == File::bytes(version, first..end), "a mixture");
                match answer.end {
                    End::Complete => whole += 1,
                    End::Cut => cut += 1,
                }
            }
            (whole, cut)
        })
    });
    let readers: Vec<_> = readers.collect();
    let replaced = Arc::clone(&file);
    let mut metrics = 0.0;
    for _ in 0..8 {
        // As the reads go on, and not by a clock.
        let after = metrics + 10.0;
        let now = node
            .metrics_when(|it| it.sum("larder_requests_total", &[]) >= after)
            .await;
        metrics = now.sum("larder_requests_total", &[]);
        replaced.replace();
    }
    let mut sum = (0, 0);
    for reader in readers {
        let (whole, cut) = reader.await.unwrap();
        sum = (sum.0 + whole, sum.1 + cut);
    }
    assert!(sum.0 > 50, "most of them come through: {sum:?}");
}

#[tokio::test]
async fn a_slice_that_breaks_off_is_gone_on_with_or_the_answer_is_cut() {
    let file = File::new(MIB, Told::Tag);
    let inner = Arc::clone(&file);
    // The first answer to each request for the third slice breaks off; from the sixth on, all do.
    let origin = Origin::start(move |seen| {
        let range = seen.field("Range").unwrap_or_default().to_owned();
        let number = range
            .strip_prefix("bytes=")
            .and_then(|it| it.split('-').next());
        let first: u64 = number.and_then(|it| it.parse().ok()).unwrap_or_default();
        let broken = || {
            Reply::status(206)
                .with(
                    "Content-Range",
                    &format!("bytes {first}-{}/{MIB}", first + SLICE - 1),
                )
                .with("ETag", "\"v1\"")
                .with("Cache-Control", "max-age=60")
                .claiming(SLICE)
                .then(File::bytes(1, first..first + 10_000))
                .cut()
        };
        match first / SLICE {
            2 if seen.nth < 5 => broken(),
            5.. => broken(),
            _ => inner.answer(seen),
        }
    })
    .await;
    let settings = small(&origin).site("slices = { size = \"64KiB\", ahead = 0 }");
    let node = Node::start(settings).await;
    is_part(&range(&node, "bytes=0-262143").await, 0, 262_143);

    let cut = range(&node, "bytes=262144-458751").await;
    assert_eq!((cut.status, cut.end), (206, End::Cut));
    let sent = cut.body.len() as u64;
    assert!(sent >= SLICE && cut.body == File::bytes(1, 4 * SLICE..4 * SLICE + sent));
}

#[tokio::test]
async fn an_origin_that_is_gone_cuts_what_is_not_stored() {
    let file = File::new(MIB, Told::Tag);
    let (mut origin, node) = node_before(&file).await;
    range(&node, "bytes=0-9").await;
    origin.die().await;
    is_part(&range(&node, "bytes=0-9").await, 0, 9);
    assert_eq!(range(&node, "bytes=65536-65537").await.status, 502);
    let whole = node.get("/f").await;
    assert!(
        whole.status == 502 || whole.end == End::Cut,
        "{}",
        whole.status
    );
}

#[tokio::test]
async fn a_purge_while_slices_are_sent_mixes_nothing() {
    let file = File::new(MIB, Told::Tag);
    let (_origin, node) = node_before(&file).await;
    node.get("/f").await;
    for change in [false, true] {
        let mut client = node.client().await;
        client.ask("GET", "/f", &[]).await;
        let head = client.answer_head().await.unwrap();
        let version = File::version_of(head.header("ETag").unwrap());
        let mut body = client.at_least(10_000).await;
        if change {
            file.replace();
        }
        purge(&node, "{\"urls\":[\"http://www.example.com/f\"]}").await;
        while (body.len() as u64) < MIB {
            let more = client.some().await;
            if more.is_empty() {
                break;
            }
            body.extend_from_slice(&more);
        }
        assert!(change || body.len() as u64 == MIB);
        assert!(body == File::bytes(version, 0..body.len() as u64));
        let fresh = node.get("/f").await;
        assert_eq!(
            fresh.header("X-Version"),
            Some(if change { "2" } else { "1" })
        );
        assert!(!fresh.is_hit() || !change);
    }
}

#[tokio::test]
async fn slices_are_counted_as_hits_and_misses() {
    let file = File::new(MIB, Told::Tag);
    let (_origin, node) = node_before(&file).await;
    range(&node, "bytes=0-9").await;
    let partly = range(&node, "bytes=65530-65545").await;
    assert_eq!(partly.forwarded(), Some("partial"));

    let label = [("outcome", "partial")];
    let metrics = node
        .metrics_when(|it| it.sum("larder_requests_total", &label) == 1.0)
        .await;
    let count = |name: &str, from: &str| metrics.sum(name, &[("from", from)]);
    assert_eq!(count("larder_slices_total", "cache"), 1.0);
    assert_eq!(count("larder_slices_total", "origin"), 2.0);
    assert_eq!(count("larder_slice_bytes_total", "cache"), 6.0);
    assert_eq!(count("larder_slice_bytes_total", "origin"), 20.0);

    eventually(SOON, || node.log_lines().len() == 2).await;
    let line = &node.log_lines()[1];
    assert_eq!(line["outcome"], "partial");
    assert_eq!(
        (&line["slices"]["hit"], &line["slices"]["miss"]),
        (&1.into(), &1.into())
    );
}

#[tokio::test]
async fn only_if_cached_wants_every_slice_or_nothing() {
    let file = File::new(MIB, Told::Tag);
    let (origin, node) = node_before(&file).await;
    range(&node, "bytes=0-9").await;
    for (asked, status) in [("bytes=0-9", 206), ("bytes=0-99999", 504)] {
        let fields = [("Range", asked), ("Cache-Control", "only-if-cached")];
        assert_eq!(node.get_with("/f", &fields).await.status, status, "{asked}");
    }
    assert_eq!(origin.total(), 1);
}

#[tokio::test]
async fn however_many_slices_there_are_all_of_them_are_found() {
    let length = 1_100 * 1024;
    let file = File::new(length, Told::Tag);
    let served = Arc::clone(&file);
    let origin = Origin::start(move |seen| served.answer(seen)).await;
    let slices = "slices = { size = \"1KiB\", above = \"1KiB\", ahead = 16 }";
    let node = Node::start(Settings::origins(&[&origin.url()]).site(slices)).await;
    let only = [("Cache-Control", "only-if-cached")];
    assert_eq!(node.get_with("/f", &only).await.status, 504);
    for first in (0..length).step_by(102_400) {
        let part = range(&node, &format!("bytes={first}-{}", first + 102_399)).await;
        assert_eq!(part.status, 206);
    }
    let asked = origin.total();
    let stored = node.get_with("/f", &only).await;
    assert!(stored.is_hit(), "{}", stored.cache_status());
    assert!(stored.body == File::bytes(1, 0..length));
    assert_eq!(origin.total(), asked);
}

#[tokio::test]
async fn a_stale_representation_is_validated_once_for_all_its_slices() {
    let file = File::new(MIB, Told::Tag);
    let (origin, mut node) = node_before(&file).await;
    range(&node, "bytes=0-9").await;
    range(&node, "bytes=65536-65537").await;
    node.advance(std::time::Duration::from_secs(61));
    let validated = range(&node, "bytes=0-9").await;
    is_part(&validated, 0, 9);
    assert_eq!(validated.cache_parameter("fwd-status"), Some("304"));
    assert!(range(&node, "bytes=65536-65537").await.is_hit());
    assert_eq!((origin.total(), file.sent()), (3, 2 * SLICE));

    // And where it has changed, the validation brings what is wanted of the new one.
    node.advance(std::time::Duration::from_secs(61));
    file.replace();
    let new = range(&node, "bytes=65536-65537").await;
    assert!(new.body == File::bytes(2, 65536..65538));
    assert_eq!(new.cache_parameter("fwd-status"), Some("206"));
    assert_eq!(file.sent(), 3 * SLICE);
}
