//! Who asks in the words of the request before for another host, another path, or for two things in turns gets what anybody
//! else would get.

use http::Request;
use larder_tests::{Frame, FrameClient, H2Client, Node, Origin, Reply, Settings, kind, literal};

use crate::SOON;
use crate::short_way::{like_the_one_before, play, raw};

/// Those that a site has, in more than one spelling.
const HOSTS: [&str; 9] = [
    "a.example",
    "www.a.example",
    "A.Example",
    "a.example.",
    "a.example:80",
    "a.example:81",
    "one.b.example",
    "two.b.example",
    "ruled.example",
];

/// Those that no site has, and what is none.
const OTHERS: [&str; 14] = [
    "off.example",
    "shown.example",
    "b.example",
    "elsewhere.example",
    "[::1]",
    "",
    "a..example",
    "a.example, b.example",
    "a.example b.example",
    "user@a.example",
    "a.example:0",
    "a.example:",
    "a.example\r\nHost: b.example",
    "a.ex\u{e4}mple",
];

async fn node() -> (Origin, Node) {
    let origin = Origin::start(|seen| {
        let host = seen.field("host").unwrap_or_default();
        match &*seen.target {
            "/never" => Reply::ok("never stored").with("Cache-Control", "no-store"),
            target => Reply::fresh(3_600, format!("{host}{target}")).with("Cache-Tag", "tag"),
        }
    })
    .await;
    let url = origin.url();
    let site = |name: &str, host: &str, lines: &str| {
        format!("[[site]]\nname = \"{name}\"\nhosts = [\"{host}\"]\norigins = [\"{url}\"]\n{lines}")
    };
    let settings = Settings::origins(&[&url])
        .site("hosts = [\"a.example\", \"www.a.example\", \"www.example.com\"]")
        .append(&site("below", "*.b.example", ""))
        .append(&site("shown", "shown.example", "debug = true"))
        .append(&site(
            "off",
            "off.example",
            "[[site.rule]]\nmatch = { path = \"/*\" }\ncache = false",
        ))
        .append(&site(
            "ruled",
            "ruled.example",
            "[[site.rule]]\nmatch = { path = \"/b*\" }\nkey = { query = \"ignore\" }",
        ))
        .table("log", "level = \"debug\"");
    let node = Node::start(settings).await;
    node.stop_the_clock(1_800_000_000_000);
    (origin, node)
}

fn asked(host: &str, target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nAccept: */*\r\nHost: {host}\r\nX-Own: 1\r\n\r\n")
}

#[tokio::test]
async fn another_host_in_the_same_words_gets_the_same_bytes_and_the_same_log() {
    let (_origin, node) = node().await;
    node.take_the_long_way();
    let known = HOSTS.map(|host| asked(host, "/a")).concat() + &asked("a.example", "/b?c");
    // What is no hit, or is sent for the first time, teaches the node something.
    for _ in 0..2 {
        play(&node, &raw(&known, 0)).await;
    }
    for host in HOSTS.iter().chain(&OTHERS) {
        let behind = asked(host, "/a") + &asked("a.example", "/b?c");
        let item = raw(&format!("{known}{behind}"), 0);
        play(&node, &item).await;
        let long = play(&node, &item).await;
        node.take_the_short_way();
        let short = play(&node, &item).await;
        node.take_the_long_way();
        assert_eq!(
            String::from_utf8_lossy(&short.0),
            String::from_utf8_lossy(&long.0),
            "{host}"
        );
        assert_eq!(short.1, long.1, "{host}");
    }
    like_the_one_before(&node, 150).await;
}

fn request(host: &str, path: &str) -> Request<()> {
    let request = Request::get(format!("http://{host}{path}"));
    request.body(()).expect("a request")
}

#[tokio::test]
async fn another_host_in_the_same_words_on_http_2_gets_the_same_bytes() {
    let (_origin, node) = node().await;
    let hosts = HOSTS.iter().chain(&OTHERS[..4]);
    let all: Vec<(&str, &str)> = hosts
        .flat_map(|host| ["/a", "/b?c"].map(|path| (*host, path)))
        .collect();
    let mut client = H2Client::connect_wide(node.address()).await;
    node.take_the_long_way();
    let mut long = Vec::new();
    for _ in 0..2 {
        long.clear();
        for (host, path) in &all {
            let answer = client.send(request(host, path), None).await;
            long.push(format!("{:?}", answer.expect("an answer")));
        }
    }
    node.take_the_short_way();
    for _ in 0..4 {
        for ((host, path), long) in all.iter().zip(&long) {
            let answer = client.send(request(host, path), None).await;
            let answer = format!("{:?}", answer.expect("an answer"));
            assert_eq!(answer, *long, "{host}{path}");
        }
    }
    like_the_one_before(&node, 40).await;
}

const END_STREAM: u8 = 0x1;
const HEADS_ENDED: u8 = 0x4;

/// The content of the answer to a block of fields, or the status where there is none.
async fn answer(client: &mut FrameClient, stream: u32, block: Vec<u8>) -> String {
    let flags = HEADS_ENDED | END_STREAM;
    let head = Frame::new(kind::HEADERS, flags, stream, block);
    client.send(&head).await;
    loop {
        let frame = client.next(SOON).await.expect("an answer");
        match frame.kind {
            kind::DATA if frame.stream == stream => {
                return String::from_utf8(frame.payload.to_vec()).expect("text");
            }
            kind::HEADERS if frame.stream == stream && frame.flags & END_STREAM != 0 => {
                return "nothing".to_owned();
            }
            kind::RST_STREAM if frame.stream == stream => return "reset".to_owned(),
            _ => {}
        }
    }
}

#[tokio::test]
async fn an_authority_is_the_same_however_a_block_says_it() {
    let (_origin, node) = node().await;
    let mut client = FrameClient::connect(node.address()).await;
    let room = Frame::new(
        kind::WINDOW_UPDATE,
        0,
        0,
        (1_u32 << 24).to_be_bytes().to_vec(),
    );
    client.send(&room).await;
    let text = |first: &[u8], text: &str| {
        let length = u8::try_from(text.len()).expect("a short text");
        [first, &[length], text.as_bytes()].concat()
    };
    let path = |of: &str| text(&[0x04], of);
    let block = |authority: &[u8], of: &str| [&[0x82, 0x86][..], authority, &path(of)].concat();
    let mut stream = 1;
    let mut plays: Vec<(Vec<u8>, String)> = Vec::new();
    let inserted = |host: &str| text(&[0x41], host);
    for _ in 0..2 {
        for host in ["a.example", "one.b.example"] {
            plays.push((block(&inserted(host), "/a"), format!("{host}/a")));
        }
        // The last that was inserted has index 62.
        let both: [(&[u8], &str); 2] = [(b"\xbf", "a.example"), (b"\xbe", "one.b.example")];
        for turn in 0..5 {
            for (field, host) in both {
                let of = if turn % 2 == 0 { "/a" } else { "/b" };
                plays.push((block(field, of), format!("{host}{of}")));
            }
            for first in [&b"\x01"[..], b"\x11"] {
                for host in ["a.example", "two.b.example", "www.a.example"] {
                    plays.push((block(&text(first, host), "/a"), format!("{host}/a")));
                }
            }
            let spelled = literal(b":authority", b"a.example");
            plays.push((block(&spelled, "/a"), "a.example/a".to_owned()));
        }
        let wrong = block(&text(b"\x01", "a..example"), "/a");
        plays.push((wrong, "reset".to_owned()));
    }
    for (block, expected) in plays {
        let shown = block.escape_ascii().to_string();
        let told = answer(&mut client, stream, block).await;
        assert_eq!(told, expected, "{shown}");
        stream += 2;
    }
    like_the_one_before(&node, 60).await;
}

#[tokio::test]
async fn two_things_in_turns_need_no_more_than_one() {
    const TURNS: usize = 20;
    let (_origin, node) = node().await;
    let mut client = node.client().await.host("a.example");
    for path in ["/a", "/b"] {
        client.get(path).await;
    }
    for _ in 0..TURNS {
        for path in ["/a", "/b"] {
            assert_eq!(client.get(path).await.text(), format!("a.example{path}"));
        }
    }
    // One of them is the same again each time.
    like_the_one_before(&node, TURNS - 2).await;
}

#[tokio::test]
async fn what_is_no_hit_between_hits_takes_nothing_from_them() {
    const TURNS: usize = 20;
    let (origin, node) = node().await;
    let mut client = node.client().await.host("a.example");
    for number in 0..TURNS {
        for path in ["/a", "/b"] {
            assert_eq!(client.get(path).await.text(), format!("a.example{path}"));
            client.get("/never").await;
        }
        client.get(&format!("/{number}")).await;
    }
    assert_eq!(origin.count("/never"), 2 * TURNS);
    assert_eq!(origin.count("/a"), 1);
    like_the_one_before(&node, TURNS - 2).await;
}
