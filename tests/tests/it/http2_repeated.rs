//! Requests that an HTTP/2 connection repeats are answered in front of its streams: with the same answers, within the
//! same windows, and under the same rules.

use larder_tests::{Frame, FrameClient, Node, Origin, Reply, Way, kind, literal};

use crate::SOON;

const END_STREAM: u8 = 0x1;
const HEADS_ENDED: u8 = 0x4;
/// What a window is that nobody has said anything of (RFC 9113 §6.9.2).
const WINDOW: usize = 65_535;
const FLOW_CONTROL_ERROR: u8 = 3;
const LENGTH: usize = 1_000;

fn grow(stream: u32, by: u32) -> Frame {
    Frame::new(kind::WINDOW_UPDATE, 0, stream, by.to_be_bytes().to_vec())
}

fn settings(all: &[(u16, u32)]) -> Frame {
    let mut payload = Vec::new();
    for (name, value) in all {
        payload.extend(name.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    Frame::new(kind::SETTINGS, 0, 0, payload)
}

async fn node() -> (Origin, Node) {
    let origin = Origin::start(|seen| {
        let length = if seen.target == "/long" {
            1 << 20
        } else {
            LENGTH
        };
        Reply::fresh(3_600, vec![seen.target.as_bytes()[1]; length])
    })
    .await;
    let node = Node::before(&origin.url()).await;
    for path in ["/a", "/b", "/long"] {
        node.get(path).await;
    }
    (origin, node)
}

/// An answer to one stream.
struct Answer {
    block: Vec<u8>,
    content: Vec<u8>,
}

impl Answer {
    /// Whether its head is written without a table and without a code, as it is in front of the streams.
    fn is_from_the_front(&self) -> bool {
        let name = b"cache-status";
        self.block.windows(name.len()).any(|it| it == name)
    }
}

/// What comes on a stream, and nothing before it that is not a matter of the connection.
async fn answer(client: &mut FrameClient, stream: u32) -> Answer {
    let head = client.next_of(kind::HEADERS, stream, SOON).await;
    let head = head.expect("a head");
    let mut content = Vec::new();
    let mut ended = head.flags & END_STREAM != 0;
    while !ended {
        let frame = client
            .next_of(kind::DATA, stream, SOON)
            .await
            .expect("content");
        content.extend_from_slice(&frame.payload);
        ended = frame.flags & END_STREAM != 0;
    }
    Answer {
        block: head.payload.to_vec(),
        content,
    }
}

/// So many of the answers, at least, were given in front of the streams; or none, where hits take the long way.
#[track_caller]
fn were_from_the_front(count: u32, least: u32) {
    match Way::of_hits() {
        Way::Short => assert!(count >= least, "{count} of {least}"),
        Way::Long => assert_eq!(count, 0),
    }
}

/// A connection with more room than the framing is told of, and how often its request was answered in front of it.
async fn repeating(node: &Node, path: &str) -> (FrameClient, u32) {
    let mut client = FrameClient::connect(node.address()).await;
    client.send(&grow(0, 1 << 24)).await;
    let mut from_the_front = 0;
    let mut last = 0;
    for stream in (1..40).step_by(2) {
        client.send(&Frame::get(stream, path)).await;
        let answer = answer(&mut client, stream).await;
        assert_eq!(answer.content, vec![path.as_bytes()[1]; LENGTH]);
        from_the_front += u32::from(answer.is_from_the_front());
        last = stream;
    }
    were_from_the_front(from_the_front, 18);
    (client, last + 2)
}

#[tokio::test]
async fn a_request_that_is_repeated_is_answered_in_front_of_the_streams() {
    let (_origin, node) = node().await;
    let (mut client, mut stream) = repeating(&node, "/a").await;
    // Others between them, and content that does not fit into one answer.
    for path in ["/b", "/a", "/a", "/long", "/a", "/b", "/b", "/a"] {
        client.send(&Frame::get(stream, path)).await;
        client.send(&grow(stream, 1 << 21)).await;
        let length = if path == "/long" { 1 << 20 } else { LENGTH };
        let answer = answer(&mut client, stream).await;
        assert_eq!(answer.content, vec![path.as_bytes()[1]; length], "{path}");
        stream += 2;
    }
}

#[tokio::test]
async fn the_same_bytes_are_another_request_once_the_table_is_another() {
    let (_origin, node) = node().await;
    let mut client = FrameClient::connect(node.address()).await;
    client.send(&grow(0, 1 << 24)).await;
    let authority = literal(b":authority", b"www.example.com");
    // `:path` goes into the table (RFC 7541 §6.2.1), where the last one has index 62.
    let inserting = |path: &[u8; 2]| {
        let field = [&[0x44, 0x02], &path[..]].concat();
        [&[0x82, 0x86][..], &authority, &field].concat()
    };
    let referring = [&[0x82, 0x86][..], &authority, &[0xbe]].concat();
    let get = |stream, block: &Vec<u8>| {
        Frame::new(
            kind::HEADERS,
            HEADS_ENDED | END_STREAM,
            stream,
            block.clone(),
        )
    };
    let mut stream = 1;
    let mut from_the_front = 0;
    for path in [b"/a", b"/b", b"/a", b"/b"] {
        let inserting = inserting(path);
        for block in [&inserting, &referring, &referring, &referring, &referring] {
            client.send(&get(stream, block)).await;
            let answer = answer(&mut client, stream).await;
            assert_eq!(answer.content, vec![path[1]; LENGTH]);
            from_the_front += u32::from(answer.is_from_the_front());
            stream += 2;
        }
    }
    were_from_the_front(from_the_front, 8);
}

#[tokio::test]
async fn another_path_in_the_same_words_is_answered_while_the_table_is_the_same() {
    let origin = Origin::start(|seen| {
        let mut fields = seen.fields.iter();
        let host = fields.find(|(name, _)| name.eq_ignore_ascii_case("host"));
        let host = host.map_or("", |(_, host)| host);
        Reply::fresh(3_600, format!("{host}{}", seen.target))
    })
    .await;
    let node = Node::before(&origin.url()).await;
    let mut client = FrameClient::connect(node.address()).await;
    client.send(&grow(0, 1 << 24)).await;
    let path = |path: &str| {
        let length = u8::try_from(path.len()).unwrap();
        [&[0x04, length], path.as_bytes()].concat()
    };
    // `:authority` goes into the table (RFC 7541 §6.2.1), where the last one has index 62.
    let inserting = |host: &str| {
        let length = u8::try_from(host.len()).unwrap();
        [&[0x82, 0x86, 0x41, length], host.as_bytes(), &path("/a")].concat()
    };
    let mut stream = 1;
    let mut from_the_front = 0;
    for host in ["a.example", "b.example", "c.example", "a.example"] {
        let mut blocks = vec![(inserting(host), "/a")];
        for _ in 0..3 {
            for target in ["/a", "/b", "/c?d", "/"] {
                let block = [&[0x82, 0x86, 0xbe][..], &path(target)].concat();
                blocks.push((block, target));
            }
            // The same by the static table.
            blocks.push((vec![0x82, 0x86, 0xbe, 0x84], "/"));
        }
        for (block, target) in blocks {
            let flags = HEADS_ENDED | END_STREAM;
            client
                .send(&Frame::new(kind::HEADERS, flags, stream, block))
                .await;
            let answer = answer(&mut client, stream).await;
            let content = String::from_utf8(answer.content.clone()).unwrap();
            assert_eq!(content, format!("{host}{target}"));
            from_the_front += u32::from(answer.is_from_the_front());
            stream += 2;
        }
    }
    were_from_the_front(from_the_front, 25);
    // What is no path of a request is for the framing to judge.
    for wrong in ["a", "", "/a b", "/a\u{7f}"] {
        let block = [&[0x82, 0x86, 0xbe][..], &path(wrong)].concat();
        client
            .send(&Frame::new(
                kind::HEADERS,
                HEADS_ENDED | END_STREAM,
                stream,
                block,
            ))
            .await;
        let reset = client.next_of(kind::RST_STREAM, stream, SOON).await;
        assert!(reset.is_some(), "{wrong:?}");
        stream += 2;
    }
}

/// Reads content until so much has come, and holds it against what is allowed.
async fn receive(client: &mut FrameClient, (received, until): (&mut usize, usize), allowed: usize) {
    while *received < until {
        let frame = client.next(SOON).await.expect("more content");
        if frame.kind == kind::DATA {
            *received += frame.payload.len();
            assert!(
                *received <= allowed,
                "{received} bytes, and {allowed} allowed"
            );
        }
    }
}

#[tokio::test]
async fn answers_in_front_of_the_streams_keep_within_the_client_s_windows() {
    const TOGETHER: usize = 50;
    let (_origin, node) = node().await;
    let mut client = FrameClient::connect(node.address()).await;
    client.send(&grow(0, 1 << 21)).await;
    let mut allowed = (1 << 21) + WINDOW;
    let (mut asked, mut received) = (0, 0);
    let mut streams = (1..).step_by(2);
    while asked < allowed + 10 * LENGTH {
        let requests = streams.by_ref().take(TOGETHER);
        let together: Vec<u8> = requests
            .flat_map(|stream| Frame::get(stream, "/a").encode())
            .collect();
        client.write(&together).await;
        asked += TOGETHER * LENGTH;
        // To the last byte of the window.
        receive(&mut client, (&mut received, asked.min(allowed)), allowed).await;
    }
    allowed += 100_000;
    client.send(&grow(0, 100_000)).await;
    receive(&mut client, (&mut received, asked), allowed).await;
}

#[tokio::test]
async fn a_new_stream_s_window_holds_once_it_is_acknowledged() {
    let (_origin, node) = node().await;
    let (mut client, mut stream) = repeating(&node, "/a").await;
    for window in [10, 1_000_000, 0] {
        client.send(&settings(&[(4, window)])).await;
        let seen = client.next_of(kind::SETTINGS, 0, SOON).await;
        assert!(seen.is_some_and(|frame| frame.flags == 1), "acknowledged");
        for _ in 0..3 {
            client.send(&Frame::get(stream, "/a")).await;
            assert!(client.next_of(kind::HEADERS, stream, SOON).await.is_some());
            let mut content = 0;
            if window < 1_000 {
                // What it does not let through waits.
                if window > 0 {
                    let frame = client.next_of(kind::DATA, stream, SOON).await.unwrap();
                    assert_eq!(frame.payload.len(), window as usize);
                    content = frame.payload.len();
                }
                client.send(&grow(stream, 10_000)).await;
            }
            let frame = client.next_of(kind::DATA, stream, SOON).await.unwrap();
            assert_eq!(content + frame.payload.len(), LENGTH);
            stream += 2;
        }
    }
}

#[tokio::test]
async fn what_comes_after_the_end_of_an_answered_stream_is_what_the_rules_say() {
    let (_origin, node) = node().await;
    // RFC 9113 §5.1: these two may still be under way, and priorities are for streams in any state.
    let (mut client, stream) = repeating(&node, "/a").await;
    let over = stream - 2;
    client.send(&grow(over, 5)).await;
    client
        .send(&Frame::new(kind::RST_STREAM, 0, over, vec![0, 0, 0, 8]))
        .await;
    client
        .send(&Frame::new(kind::PRIORITY, 0, over, vec![0; 5]))
        .await;
    client.send(&Frame::get(stream, "/a")).await;
    assert_eq!(answer(&mut client, stream).await.content.len(), LENGTH);
    // Anything else ends the connection, and so does a request in a stream that was used.
    let content = Frame::new(kind::DATA, 0, over, vec![0; 5]);
    let more = Frame::new(kind::CONTINUATION, HEADS_ENDED, over, literal(b"a", b"b"));
    for wrong in [
        content,
        more,
        Frame::get(over, "/a"),
        Frame::get(over, "/b"),
    ] {
        let (mut client, _) = repeating(&node, "/a").await;
        client.send(&wrong).await;
        let told = match Way::of_hits() {
            Way::Short => client.next_of(kind::GOAWAY, 0, SOON).await,
            // The framing may reset a stream that has ended instead (RFC 9113 §5.1).
            Way::Long => {
                client
                    .next_of_any(&[kind::GOAWAY, kind::RST_STREAM], SOON)
                    .await
            }
        };
        assert!(told.is_some(), "{wrong:?}");
    }
}

#[tokio::test]
async fn a_window_that_grows_beyond_measure_ends_the_connection() {
    let (_origin, node) = node().await;
    for increments in [&[u32::MAX >> 1][..], &[1 << 30, 1 << 30]] {
        let (mut client, _) = repeating(&node, "/a").await;
        for by in increments {
            client.send(&grow(0, *by)).await;
        }
        let told = client.next_of(kind::GOAWAY, 0, SOON).await.expect("an end");
        assert_eq!(told.payload[7], FLOW_CONTROL_ERROR);
    }
    let (mut client, _) = repeating(&node, "/a").await;
    client.send(&grow(0, 0)).await;
    assert!(client.next_of(kind::GOAWAY, 0, SOON).await.is_some());
}

#[tokio::test]
async fn a_node_that_stops_says_goodbye_to_who_repeats_itself() {
    let (_origin, mut node) = node().await;
    let (mut client, stream) = repeating(&node, "/a").await;
    node.signal("TERM");
    assert!(client.next_of(kind::GOAWAY, 0, SOON).await.is_some());
    client.send(&Frame::get(stream, "/a")).await;
    drop(client);
    assert!(node.wait_exit().await.success());
}
