//! HTTP/2 connections that attack: each ends, or stays cheap, and the others do not notice.

use std::time::Duration;

use larder_tests::{Frame, FrameClient, Node, Origin, Reply, eventually, kind, literal};
use tokio::time::Instant;

use crate::SOON;

/// What one connection may make the node grow by, besides noise of the allocator.
const GROWTH_MOST: u64 = 8 << 20;

/// The slowest answer to somebody else while an attack goes on. The bar for a release build on an
/// idle machine is 150 ms; a debug build on a busy one gets more.
const INNOCENT_SLOWEST: Duration = Duration::from_millis(1500);

struct Bench {
    origin: Origin,
    node: Node,
    resident: u64,
}

impl Bench {
    async fn new() -> Self {
        let body = vec![b'x'; 1 << 20];
        let origin = Origin::start(move |seen| match seen.target.as_str() {
            "/big" => Reply::fresh(600, body.clone()),
            "/slow" => Reply::ok("x").pause(Duration::from_millis(200)),
            _ => Reply::fresh(600, "ok"),
        })
        .await;
        let node = Node::before(&origin.url()).await;
        node.get("/innocent").await;
        node.get("/big").await;
        let resident = node.resident_bytes();
        Self {
            origin,
            node,
            resident,
        }
    }

    /// The node is small, quick to others, and alive.
    async fn unharmed(&self) {
        let start = Instant::now();
        assert!(self.node.get("/innocent").await.is_hit());
        assert!(start.elapsed() < INNOCENT_SLOWEST, "{:?}", start.elapsed());
        let resident = || self.node.resident_bytes();
        assert!(
            resident() < self.resident + GROWTH_MOST + (8 << 20),
            "{} grew",
            resident()
        );
    }
}

/// Sends what `frames` makes until the peer has had enough; how many pieces went out.
async fn flood(
    client: &mut FrameClient,
    most: u32,
    frames: impl Fn(u32) -> Vec<u8>,
) -> Result<u32, u32> {
    for number in 0..most {
        if !client.write(&frames(number)).await {
            return Err(number);
        }
    }
    Ok(most)
}

#[tokio::test]
async fn rapid_reset_reaches_the_origin_a_few_times_only() {
    let bench = Bench::new().await;
    let before = bench.origin.total();
    let mut client = FrameClient::connect(bench.node.address()).await;
    let sent = flood(&mut client, 20_000, |number| {
        let stream = 2 * number + 1;
        let get = Frame::get(stream, &format!("/reset/{number}")).encode();
        let reset = Frame::new(
            kind::RST_STREAM,
            0,
            stream,
            [0, 0, 0, 8].as_slice().to_vec(),
        );
        [get, reset.encode()].concat()
    })
    .await;
    assert!(
        sent.is_err() || client.ends_within(SOON).await,
        "never ended"
    );
    bench.unharmed().await;
    let reached = bench.origin.total() - before;
    assert!(reached <= 200, "{reached} requests reached the origin");
}

/// CVE-2025-8671: the client makes the server reset the streams.
#[tokio::test]
async fn streams_that_the_client_makes_the_node_reset_count_too() {
    let bench = Bench::new().await;
    let before = bench.origin.total();
    let mut client = FrameClient::connect(bench.node.address()).await;
    let sent = flood(&mut client, 20_000, |number| {
        let stream = 2 * number + 1;
        let get = Frame::get(stream, &format!("/made/{number}")).encode();
        // A window that grows by nothing is an error of the stream (RFC 9113 §6.9).
        let zero = Frame::new(kind::WINDOW_UPDATE, 0, stream, vec![0; 4]);
        [get, zero.encode()].concat()
    })
    .await;
    assert!(
        sent.is_err() || client.ends_within(SOON).await,
        "never ended"
    );
    bench.unharmed().await;
    let reached = bench.origin.total() - before;
    assert!(reached <= 200, "{reached} requests reached the origin");
}

/// Heads that never end are given up before they have cost a megabyte.
#[tokio::test]
async fn a_flood_of_continuations_ends_the_connection() {
    let bench = Bench::new().await;
    let filled = literal(b"x", &[b'y'; 1000]);
    for payload in [filled, Vec::new()] {
        let mut client = FrameClient::connect(bench.node.address()).await;
        let start = Frame::new(kind::HEADERS, 0, 1, "");
        client.send(&start).await;
        let frame = Frame::new(kind::CONTINUATION, 0, 1, payload).encode();
        let most = 1_000_000 / u32::try_from(frame.len()).unwrap();
        let sent = flood(&mut client, most, |_| frame.clone()).await;
        assert!(
            sent.is_err() || client.ends_within(SOON).await,
            "never ended: {sent:?}"
        );
    }
    bench.unharmed().await;
}

/// CVE-2026-105297 and its kin: a few bytes of references that unpack to a great head.
#[tokio::test]
async fn an_hpack_bomb_unpacks_to_nothing_great() {
    let bench = Bench::new().await;
    // One field of 4,000 bytes goes into the table (RFC 7541 §6.2.1) and is then named by index 62.
    let mut first = literal(b"x", &[b'y'; 4000]);
    first[0] = 0x40;
    let mut block = pseudo();
    block.extend(first);
    block.extend(vec![0xbe; 12_000]);
    let mut client = FrameClient::connect(bench.node.address()).await;
    let _ended = flood(&mut client, 50, |number| {
        let stream = 2 * number + 1;
        let payload = if number == 0 {
            block.clone()
        } else {
            [pseudo(), vec![0xbe; 12_000]].concat()
        };
        Frame::new(kind::HEADERS, 5, stream, payload).encode()
    })
    .await;
    bench.unharmed().await;
    assert!(
        bench
            .origin
            .requests()
            .iter()
            .all(|seen| seen.raw.len() < 200_000)
    );
}

#[tokio::test]
async fn a_bomb_of_tiny_fields_is_counted() {
    let bench = Bench::new().await;
    let mut client = FrameClient::connect(bench.node.address()).await;
    let block = [pseudo(), literal(b"a", b"").repeat(4_000)].concat();
    let _ended = flood(&mut client, 100, |number| {
        Frame::new(kind::HEADERS, 5, 2 * number + 1, block.clone()).encode()
    })
    .await;
    bench.unharmed().await;
}

fn pseudo() -> Vec<u8> {
    [
        literal(b":method", b"GET"),
        literal(b":scheme", b"http"),
        literal(b":authority", b"www.example.com"),
        literal(b":path", b"/bomb"),
    ]
    .concat()
}

/// CVE-2026-105297, the other half: answers that the client does not take pile up nowhere.
#[tokio::test]
async fn answers_to_a_window_of_zero_are_not_gathered_and_not_kept_for_ever() {
    let bench = Bench::new().await;
    let origin_url = bench.origin.url();
    let settings = larder_tests::Settings::origins(&[&origin_url])
        .table("limits", "write_timeout = \"500ms\"")
        .table("limits", "idle_timeout = \"500ms\"");
    let node = Node::start(settings).await;
    node.get("/big").await;
    let resident = node.resident_bytes();

    let mut client = FrameClient::connect(node.address()).await;
    // SETTINGS_INITIAL_WINDOW_SIZE = 0 (RFC 9113 §6.5.2)
    client
        .send(&Frame::new(kind::SETTINGS, 0, 0, vec![0, 4, 0, 0, 0, 0]))
        .await;
    let _ended = flood(&mut client, 90, |number| {
        Frame::get(2 * number + 1, "/big").encode()
    })
    .await;
    eventually(SOON, || node.resident_bytes() < resident + 2 * GROWTH_MOST).await;
    assert!(client.ends_within(SOON).await, "still open");
}

#[tokio::test]
async fn floods_of_control_frames_end_the_connection() {
    let bench = Bench::new().await;
    let ping = Frame::new(kind::PING, 0, 0, vec![0; 8]).encode();
    let settings = Frame::new(kind::SETTINGS, 0, 0, "").encode();
    let priority = Frame::new(kind::PRIORITY, 0, 1, vec![0, 0, 0, 0, 16]).encode();
    for (name, frame) in [
        ("PING", ping),
        ("SETTINGS", settings),
        ("PRIORITY", priority),
    ] {
        let mut client = FrameClient::connect(bench.node.address()).await;
        let batch = frame.repeat(100);
        let sent = flood(&mut client, 3_000, |_| batch.clone()).await;
        assert!(
            sent.is_err() || client.ends_within(SOON).await,
            "{name}: never ended"
        );
        bench.unharmed().await;
    }
}

#[tokio::test]
async fn a_flood_of_empty_data_ends_the_connection() {
    let bench = Bench::new().await;
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "www.example.com"),
        (":path", "/slow"),
    ];
    let mut client = FrameClient::connect(bench.node.address()).await;
    client.send(&Frame::request_with_body(1, &fields)).await;
    let batch = Frame::new(kind::DATA, 0, 1, "").encode().repeat(100);
    let sent = flood(&mut client, 3_000, |_| batch.clone()).await;
    assert!(
        sent.is_err() || client.ends_within(SOON).await,
        "never ended"
    );
    bench.unharmed().await;
}
