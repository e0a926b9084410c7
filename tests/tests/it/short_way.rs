//! Hits are answered in front of the pipeline, and nobody can tell: not by a byte of an answer, and not by the log.

use larder_tests::{Client, H2Client, Node, Origin, Reply, Response, Settings, Way, request};
use serde_json::Value;

const LATER: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const EARLIER: &str = "Sat, 05 Nov 1994 08:49:37 GMT";
const TEXT: &str = "text/html; charset=utf-8";

/// What the origin has.
fn reply(target: &str) -> Reply {
    let fresh = |body: Vec<u8>| Reply::fresh(3_600, body);
    let words = |count: usize| "one and two and three\n".repeat(count).into_bytes();
    match target {
        "/plain" => fresh(words(40))
            .with("Content-Type", "image/png")
            .with("ETag", "\"plain\"")
            .with("Last-Modified", EARLIER),
        "/long" => fresh(words(30_000)).with("Content-Type", "video/mp4"),
        "/empty" => fresh(Vec::new()),
        "/chunked" => fresh(words(10)).chunked(),
        "/text" => fresh(words(200))
            .with("Content-Type", TEXT)
            .with("ETag", "\"t\""),
        "/marked" => fresh(words(1))
            .with("Via", "1.1 origin")
            .with("Cache-Status", "parent; hit")
            .with("X-Own", "1")
            .with("Age", "7")
            .with("X-Own", "2")
            .with("Cache-Tag", "a,b")
            .with("Keep-Alive", "timeout=5")
            .with("CDN-Cache-Control", "max-age=3600"),
        "/undated" => Reply::fresh(3_600, "undated"),
        "/varies" => fresh(words(1)).with("Vary", "X-Kind"),
        "/gone" => Reply::status(410)
            .then("gone")
            .with("Cache-Control", "max-age=3600"),
        "/nothing" => Reply::status(204).with("Cache-Control", "max-age=3600"),
        "/moved" => Reply::status(301)
            .with("Location", "/plain")
            .with("Cache-Control", "max-age=3600"),
        _ => Reply::ok("never stored").with("Cache-Control", "no-store"),
    }
}

const STORED: &[&str] = &[
    "/plain", "/long", "/empty", "/chunked", "/text", "/marked", "/undated", "/varies", "/gone",
    "/nothing", "/moved",
];

/// How many of the requests of one line are hits that need nothing else.
pub(crate) struct Play {
    bytes: String,
    ready: usize,
}

fn get(target: &str, fields: &[&str], ready: usize) -> Play {
    ask("GET", target, fields, ready)
}

fn ask(method: &str, target: &str, fields: &[&str], ready: usize) -> Play {
    let mut bytes = format!("{method} {target} HTTP/1.1\r\nHost: www.example.com\r\n");
    for field in fields {
        bytes += &format!("{field}\r\n");
    }
    bytes += "\r\n";
    Play { bytes, ready }
}

pub(crate) fn raw(bytes: &str, ready: usize) -> Play {
    let bytes = bytes.to_owned();
    Play { bytes, ready }
}

/// Several requests in one piece.
fn together(plays: Vec<Play>) -> Play {
    let ready = plays.iter().map(|play| play.ready).sum();
    let bytes = plays.into_iter().map(|play| play.bytes).collect();
    Play { bytes, ready }
}

fn corpus() -> Vec<Play> {
    let mut plays: Vec<Play> = STORED.iter().map(|path| get(path, &[], 1)).collect();
    plays.extend(STORED.iter().map(|path| ask("HEAD", path, &[], 1)));
    plays.extend(conditions());
    plays.extend(ranges());
    plays.extend(codings());
    plays.extend(connections());
    plays.extend(not_plain());
    plays
}

fn conditions() -> Vec<Play> {
    let since = format!("If-Modified-Since: {LATER}");
    let unmodified = "If-Unmodified-Since: Fri, 04 Nov 1994 08:49:37 GMT";
    vec![
        get("/plain", &["If-None-Match: \"plain\""], 1),
        get("/plain", &["If-None-Match: \"other\", W/\"plain\""], 1),
        get("/plain", &["If-None-Match: \"other\""], 1),
        ask("HEAD", "/plain", &["If-None-Match: *"], 1),
        get("/plain", &[&since], 1),
        get("/undated", &["If-Modified-Since: garbage"], 1),
        get("/plain", &["If-Match: \"other\""], 1),
        get("/plain", &[unmodified], 1),
        get("/gone", &["If-None-Match: *"], 1),
        get("/plain", &["Via: 1.1 child", "If-None-Match: *"], 1),
    ]
}

fn ranges() -> Vec<Play> {
    vec![
        get("/plain", &["Range: bytes=0-9"], 1),
        get("/long", &["Range: bytes=100000-299999"], 1),
        get("/long", &["Range: bytes=-5"], 1),
        get("/plain", &["Range: bytes=999999-"], 1),
        get("/plain", &["Range: lines=1-2"], 1),
        get("/plain", &["Range: bytes=0-9", "If-Range: \"plain\""], 1),
        get("/plain", &["Range: bytes=0-9", "If-Range: \"other\""], 1),
        get("/empty", &["Range: bytes=0-0"], 1),
        ask("HEAD", "/plain", &["Range: bytes=0-9"], 1),
    ]
}

fn codings() -> Vec<Play> {
    vec![
        get("/text", &["Accept-Encoding: gzip"], 1),
        get("/text", &["Accept-Encoding: br;q=0.5, gzip"], 1),
        ask("HEAD", "/text", &["Accept-Encoding: gzip"], 1),
        get("/text", &["Accept-Encoding: gzip", "Range: bytes=3-7"], 1),
        get(
            "/text",
            &["Accept-Encoding: gzip", "If-None-Match: W/\"t\""],
            1,
        ),
        get("/text", &["Accept-Encoding: identity;q=0"], 1),
        get("/plain", &["Accept-Encoding: gzip, br, zstd"], 1),
        get(
            "/text",
            &["Cache-Control: no-transform", "Accept-Encoding: gzip"],
            1,
        ),
    ]
}

fn connections() -> Vec<Play> {
    let old = "GET /plain HTTP/1.0\r\nHost: www.example.com\r\n";
    vec![
        raw(&format!("{old}\r\n"), 1),
        raw(&format!("{old}Connection: keep-alive\r\n\r\n"), 1),
        raw(&format!("{old}Connection: keep-alive\r\n\r\n{old}\r\n"), 2),
        get("/plain", &["Connection: close"], 1),
        get("/varies", &["Connection: X-Kind", "X-Kind: a"], 1),
        raw(
            "\r\nGET http://www.example.com/plain HTTP/1.1\r\nHost: www.example.com\r\n\r\n",
            1,
        ),
        get("/plain", &["Content-Length: 0"], 0),
        together(STORED.iter().map(|path| get(path, &[], 1)).collect()),
        together((0..40).map(|_| get("/plain", &[], 1)).collect()),
        together(vec![
            get("/plain", &[], 1),
            get("/miss", &[], 0),
            get("/long", &[], 1),
            get("/moved", &["Connection: close"], 1),
            get("/plain", &[], 0),
        ]),
        together(vec![get("/long", &[], 1), raw("NO\r\n\r\n", 0)]),
        together(vec![get("/plain", &[], 1), raw("GET /plain HT", 0)]),
    ]
}

fn not_plain() -> Vec<Play> {
    vec![
        get("/plain", &["Cache-Control: only-if-cached"], 1),
        get("/other", &["Cache-Control: only-if-cached"], 0),
        get("/plain", &["Cache-Control: no-cache, max-age=0"], 0),
        get("/plain", &["Pragma: no-cache", "Cookie: a=b"], 0),
        get("/plain", &["Authorization: Basic eA=="], 1),
        get(
            "/plain",
            &["X-Forwarded-For: 192.0.2.1", "Forwarded: for=192.0.2.2"],
            1,
        ),
        get("/plain?a=b", &[], 0),
        get("/plain", &["CDN-Loop: other"], 1),
        get("/plain", &["Upgrade: h2c", "Connection: upgrade"], 1),
        get("/plain", &["Transfer-Encoding: chunked"], 0),
        raw("GET /plain HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n", 0),
        raw(
            "GET /plain HTTP/1.1\r\nHost: www.example.com\r\nContent-Length: 2\r\n\r\nhi",
            0,
        ),
        raw("GET /plain HTTP/1.1\r\n\r\n", 0),
        ask("OPTIONS", "/plain", &[], 0),
        ask("TRACE", "/other", &[], 0),
        ask("PURGE", "/other", &[], 0),
        ask("QUERY", "/other", &["Content-Length: 0"], 0),
    ]
}

fn settings(origin: &Origin) -> Settings {
    Settings::origins(&[&origin.url()])
        .site("hosts = [\"www.example.com\"]")
        .table("log", "level = \"debug\"")
}

async fn node() -> (Origin, Node) {
    let origin = Origin::start(|seen| reply(&seen.target)).await;
    let node = Node::start(settings(&origin)).await;
    let mut client = node.client().await.host("www.example.com");
    node.stop_the_clock(1_800_000_000_000);
    node.take_the_long_way();
    for path in STORED {
        client.get(path).await;
        client.get_with(path, &[("Accept-Encoding", "gzip")]).await;
        client
            .get_with(path, &[("Accept-Encoding", "br;q=0.5, gzip")])
            .await;
        client
            .get_with(path, &[("Accept-Encoding", "identity;q=0")])
            .await;
    }
    // The log is read to its end, and the path that shows that is known not to be stored.
    for _ in 0..2 {
        let so_far = node
            .log_lines()
            .iter()
            .filter(|line| line["path"] == "/end")
            .count();
        node.client()
            .await
            .host("www.example.com")
            .get("/end")
            .await;
        while node
            .log_lines()
            .iter()
            .filter(|line| line["path"] == "/end")
            .count()
            == so_far
        {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }
    (origin, node)
}

/// Everything that comes back, and what the log says of it.
pub(crate) async fn play(node: &Node, play: &Play) -> (Vec<u8>, Vec<Value>) {
    let before = node.log_length();
    let mut client: Client = node.client().await;
    client.send(&play.bytes).await;
    client.finish().await;
    let answer = client.rest().await;
    (answer, lines(node, before).await)
}

/// The lines of the log since, without what differs from moment to moment.
async fn lines(node: &Node, before: usize) -> Vec<Value> {
    // Its line comes last.
    node.client()
        .await
        .host("www.example.com")
        .get("/end")
        .await;
    let mut lines = Vec::new();
    while !lines.iter().any(|line: &Value| line["path"] == "/end") {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        lines = node.log_lines_since(before);
    }
    for line in &mut lines {
        let line = line.as_object_mut().expect("an object");
        for moment in ["ts", "id", "duration_ms", "ttfb_ms", "origin", "origin_ms"] {
            line.remove(moment);
        }
    }
    lines
}

/// How many hits took the short way so far, once it is as many as expected. The node's messages take a moment to be read.
async fn ready(node: &Node, expected: usize) -> usize {
    told(node, "ready the short way", expected).await
}

/// How many of the node's messages say this, once it is as many as expected; or after a long while.
async fn told(node: &Node, word: &str, expected: usize) -> usize {
    let begun = tokio::time::Instant::now();
    loop {
        let told = node.stderr();
        let count = told.iter().filter(|line| line.contains(word)).count();
        if count >= expected || begun.elapsed() > tokio::time::Duration::from_secs(30) {
            return count;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn the_short_way_and_the_long_way_give_the_same_bytes_and_the_same_log() {
    let (_origin, node) = node().await;
    node.stop_the_clock(1_800_000_007_000);
    let mut expected = 0;
    for item in corpus() {
        let shown = item.bytes.lines().take(12).collect::<Vec<_>>().join(" | ");
        // What is no hit teaches the node something the first time.
        play(&node, &item).await;
        node.take_the_short_way();
        let short = play(&node, &item).await;
        node.take_the_long_way();
        let long = play(&node, &item).await;
        expected += item.ready;
        assert_eq!(ready(&node, expected).await, expected, "{shown}");
        assert_eq!(
            String::from_utf8_lossy(&short.0),
            String::from_utf8_lossy(&long.0),
            "{shown}"
        );
        assert_eq!(short.1, long.1, "{shown}");
    }
}

/// The request of a line as HTTP/2 has it, if it is one that can be.
fn as_h2(play: &Play) -> Option<http::Request<()>> {
    let (line, fields) = play.bytes.split_once("\r\n")?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let fields: Vec<(&str, &str)> = fields
        .lines()
        .filter_map(|line| line.split_once(": "))
        .collect();
    let of_one_connection = [
        "Connection",
        "Transfer-Encoding",
        "Content-Length",
        "Upgrade",
    ];
    let is_one = play.bytes.matches(" HTTP/1.").count() == 1 && target.starts_with('/');
    let known = fields
        .iter()
        .all(|(name, _)| !of_one_connection.contains(name));
    let fields: Vec<_> = fields
        .into_iter()
        .filter(|(name, _)| *name != "Host")
        .collect();
    let all = play.bytes.contains("Host: www.example.com") && line.ends_with("HTTP/1.1");
    (is_one && known && all).then(|| request(method, target, &fields))
}

async fn play_h2(node: &Node, request: http::Request<()>) -> (Response, Vec<Value>) {
    let before = node.log_lines().len();
    let mut client = H2Client::connect(node.address()).await;
    let answer = client.send(request, None).await.expect("an answer");
    (answer, lines(node, before).await)
}

#[tokio::test]
async fn both_ways_are_the_same_on_http_2() {
    let (_origin, node) = node().await;
    node.stop_the_clock(1_800_000_007_000);
    let mut expected = 0;
    let mut played = 0;
    for item in corpus() {
        let (Some(first), Some(second), Some(third)) = (as_h2(&item), as_h2(&item), as_h2(&item))
        else {
            continue;
        };
        let shown = format!("{first:?}");
        play_h2(&node, first).await;
        node.take_the_short_way();
        let short = play_h2(&node, second).await;
        node.take_the_long_way();
        let long = play_h2(&node, third).await;
        expected += item.ready;
        played += 1;
        assert_eq!(ready(&node, expected).await, expected, "{shown}");
        assert_eq!(format!("{:?}", short.0), format!("{:?}", long.0), "{shown}");
        assert_eq!(short.1, long.1, "{shown}");
    }
    assert!(played > 40, "{played}");
}

#[tokio::test]
async fn who_asks_for_the_same_again_is_told_the_time_and_what_is_there() {
    let (_origin, node) = node().await;
    let mut client = node.client().await.host("www.example.com");
    let mut expected = 0;
    for path in ["/plain", "/marked", "/long"] {
        for seconds in [7, 9, 10, 11, 99, 100, 999, 1_000, 3_592] {
            node.stop_the_clock(1_800_000_000_000 + seconds * 1_000);
            node.take_the_long_way();
            let long = client.get(path).await;
            node.take_the_short_way();
            for _ in 0..3 {
                let short = client.get(path).await;
                assert_eq!(format!("{short:?}"), format!("{long:?}"));
            }
            let head = client.request("HEAD", path, &[]).await;
            assert_eq!(head.fields, long.fields);
            expected += 4;
        }
        assert_eq!(ready(&node, expected).await, expected, "{path}");
    }
    // It is stale by now, and what the origin has instead is another response.
    node.stop_the_clock(1_800_000_000_000 + 3_600_000);
    let mut ages = Vec::new();
    for seconds in 0..3 {
        node.stop_the_clock(1_800_000_000_000 + (3_600 + seconds) * 1_000);
        ages.push(client.get("/plain").await.age());
    }
    assert_eq!(ages[1..], [Some(1), Some(2)]);
}

#[tokio::test]
async fn who_asks_for_the_same_again_on_http_2_is_told_the_time_and_what_is_there() {
    let (_origin, node) = node().await;
    let narrow = H2Client::connect(node.address()).await;
    let wide = H2Client::connect_wide(node.address()).await;
    let mut expected = 0;
    for client in [narrow, wide] {
        told_the_time(&node, client, &mut expected).await;
    }
}

async fn told_the_time(node: &Node, mut client: H2Client, expected: &mut usize) {
    for path in ["/plain", "/marked", "/long", "/empty"] {
        for seconds in [7, 9, 10, 99, 1_000, 3_592] {
            node.stop_the_clock(1_800_000_000_000 + seconds * 1_000);
            node.take_the_long_way();
            let long = client.get(path).await;
            node.take_the_short_way();
            for _ in 0..3 {
                let short = client.get(path).await;
                assert_eq!(format!("{short:?}"), format!("{long:?}"));
            }
            let asked = request("HEAD", path, &[]);
            let head = client.send(asked, None).await.expect("an answer");
            assert_eq!(head.fields, long.fields);
            *expected += 4;
        }
        assert_eq!(ready(node, *expected).await, *expected, "{path}");
    }
}

#[tokio::test]
async fn a_request_that_differs_from_the_last_one_gets_an_answer_of_its_own() {
    let (_origin, node) = node().await;
    node.stop_the_clock(1_800_000_007_000);
    let twice = "GET /plain HTTP/1.1\r\nHost: www.example.com\r\n\r\n".repeat(2);
    for item in corpus() {
        let shown = item.bytes.lines().take(12).collect::<Vec<_>>().join(" | ");
        // What is no hit teaches the node something the first time.
        play(&node, &item).await;
        let (alone, _) = play(&node, &item).await;
        node.take_the_short_way();
        let behind = raw(&format!("{twice}{}", item.bytes), 0);
        let (behind, _) = play(&node, &behind).await;
        node.take_the_long_way();
        assert!(
            behind.ends_with(&alone) && behind.len() > alone.len(),
            "{shown}:\n{}\n{}",
            String::from_utf8_lossy(&alone),
            String::from_utf8_lossy(&behind)
        );
    }
}

/// Waits until so many hits were answered because all but their target was known. The node's messages take a moment to be
/// read.
pub(crate) async fn like_the_one_before(node: &Node, least: usize) {
    if Way::of_hits() == Way::Long {
        return;
    }
    let count = told(node, "like the one before", least).await;
    assert!(count >= least, "{count} of {least}");
}

#[tokio::test]
async fn who_asks_for_something_else_in_the_same_words_gets_an_answer_of_its_own() {
    let (_origin, node) = node().await;
    node.stop_the_clock(1_800_000_007_000);
    let mut played = 0;
    for item in corpus() {
        let Some((line, fields)) = item.bytes.split_once("\r\n") else {
            continue;
        };
        let words: Vec<&str> = line.split(' ').collect();
        let alone = item.bytes.matches(" HTTP/1.").count() == 1;
        let [method @ ("GET" | "HEAD"), _, version] = words[..] else {
            continue;
        };
        if !alone || fields.contains("\r\n\r\nhi") || line.contains("://") {
            continue;
        }
        let shown = item.bytes.lines().collect::<Vec<_>>().join(" | ");
        play(&node, &item).await;
        let (long, told) = play(&node, &item).await;
        // All others that are stored in the same words, before it and behind it.
        let other = |path: &&str| format!("{method} {path} {version}\r\n{fields}");
        let before: String = STORED.iter().map(other).collect();
        let together = raw(&format!("{before}{}", item.bytes), 0);
        // The codings that they want are made the first time.
        play(&node, &together).await;
        let (expected, _) = play(&node, &together).await;
        node.take_the_short_way();
        let (short, lines) = play(&node, &together).await;
        node.take_the_long_way();
        assert_eq!(
            String::from_utf8_lossy(&short),
            String::from_utf8_lossy(&expected),
            "{shown}"
        );
        if short.ends_with(&long) && lines.len() == STORED.len() + 2 {
            assert_eq!(lines[STORED.len()..], told[..], "{shown}");
            played += 1;
        }
    }
    assert!(played > 30, "{played}");
    like_the_one_before(&node, 200).await;
}

#[tokio::test]
async fn who_asks_for_something_else_in_the_same_words_on_http_2_gets_an_answer_of_its_own() {
    let (_origin, node) = node().await;
    node.stop_the_clock(1_800_000_007_000);
    let mut narrow = H2Client::connect(node.address()).await;
    let mut wide = H2Client::connect_wide(node.address()).await;
    let paths: Vec<_> = STORED.iter().filter(|path| **path != "/long").collect();
    for fields in [
        &[][..],
        &[("accept-encoding", "gzip")],
        &[
            ("accept-encoding", "gzip"),
            ("user-agent", "test"),
            ("cookie", "a=b"),
        ],
        &[("accept-language", "de"), ("x-forwarded-for", "192.0.2.1")],
    ] {
        for method in ["GET", "HEAD"] {
            for client in [&mut narrow, &mut wide] {
                node.take_the_long_way();
                let mut long = Vec::new();
                for path in &paths {
                    let asked = request(method, path, fields);
                    long.push(client.send(asked, None).await.expect("an answer"));
                }
                node.take_the_short_way();
                for _ in 0..2 {
                    for (path, long) in paths.iter().zip(&long) {
                        let asked = request(method, path, fields);
                        let short = client.send(asked, None).await.expect("an answer");
                        assert_eq!(format!("{short:?}"), format!("{long:?}"), "{path}");
                    }
                }
            }
        }
    }
    like_the_one_before(&node, 100).await;
}

/// Every byte that may be in a path, and some that may not.
const PATHS: [&str; 7] = [
    "/0123456789/abcdefghijklmnopqrstuvwxyz/ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "/-._~!$&'()*+,;=:@/%20%7e?a=b&c=%2F/?x",
    "/a//b/?",
    "/index.html",
    "/",
    "/~a|b",
    "/\"quoted\"",
];

#[tokio::test]
async fn a_path_is_the_same_for_the_origin_and_for_who_asks_in_the_same_words() {
    let origin = Origin::start(|seen| Reply::fresh(3_600, seen.target.clone().into_bytes())).await;
    let node = Node::start(settings(&origin)).await;
    let mut h1 = node.client().await.host("www.example.com");
    let mut h2 = H2Client::connect_wide(node.address()).await;
    for _ in 0..3 {
        for path in PATHS {
            let answer = h1.get(path).await;
            assert_eq!(answer.text(), path);
            let answer = h2.get(path).await;
            assert_eq!(answer.text(), path);
        }
    }
    for path in PATHS {
        assert_eq!(origin.count(path), 1, "{path}");
    }
    like_the_one_before(&node, 10).await;
}

#[tokio::test]
async fn what_may_not_be_sent_any_more_is_not_sent_to_who_asks_in_the_same_words() {
    let (origin, node) = node().await;
    node.take_the_short_way();
    let mut h1 = node.client().await.host("www.example.com");
    let mut h2 = H2Client::connect_wide(node.address()).await;
    let others = ["/undated", "/gone", "/moved"];
    for path in others.iter().chain(&others) {
        h1.get(path).await;
        h2.get(path).await;
    }
    like_the_one_before(&node, 3).await;
    // What is purged, softly or not, and what is there instead.
    for mode in ["hard", "soft"] {
        for _ in 0..2 {
            let before = origin.count("/plain");
            let order = format!(r#"{{"urls":["http://www.example.com/plain"],"mode":"{mode}"}}"#);
            h1.get("/undated").await;
            node.purge(&order).await;
            assert!(!h1.get("/plain").await.is_hit(), "{mode}");
            assert_eq!(origin.count("/plain"), before + 1, "{mode}");
            assert!(h2.get("/plain").await.is_hit(), "{mode}");
            h2.get("/undated").await;
            node.purge(&order).await;
            assert!(!h2.get("/plain").await.is_hit(), "{mode}");
            assert_eq!(origin.count("/plain"), before + 2, "{mode}");
            assert!(h1.get("/plain").await.is_hit(), "{mode}");
        }
    }
    // What is stale.
    node.stop_the_clock(1_800_000_000_000 + 7_200_000);
    let before = origin.count("/undated");
    assert!(!h1.get("/undated").await.is_hit());
    assert!(h2.get("/undated").await.is_hit());
    assert_eq!(origin.count("/undated"), before + 1);
    // What answers other requests.
    let mut client = node.client().await.host("www.example.com");
    let fields = [("X-Kind", "other")];
    let before = origin.count("/varies");
    for path in ["/undated", "/varies", "/undated", "/varies"] {
        client.get_with(path, &fields).await;
    }
    assert_eq!(origin.count("/varies"), before + 1);
}

#[tokio::test]
async fn rules_hold_for_who_asks_in_the_same_words() {
    let origin = Origin::start(|seen| reply(&seen.target)).await;
    let settings = settings(&origin)
        .rule("match = { path = \"/gone\" }\ncache = false")
        .rule("match = { path = \"/p*\" }\nkey = { query = \"ignore\" }");
    let node = Node::start(settings).await;
    let mut h1 = node.client().await.host("www.example.com");
    let mut h2 = H2Client::connect_wide(node.address()).await;
    for number in 0..4 {
        for path in ["/undated", "/gone"] {
            h1.get(path).await;
            h2.get(path).await;
        }
        for query in ["?a", "?b"] {
            h1.get(&format!("/plain{query}{number}")).await;
            h2.get(&format!("/plain{query}{number}")).await;
        }
    }
    assert_eq!(origin.count("/undated"), 1);
    assert_eq!(origin.count("/gone"), 8);
    let plain = (0..4).map(|number| origin.count(&format!("/plain?a{number}")));
    assert!(plain.sum::<usize>() <= 1);
    like_the_one_before(&node, 5).await;
}

#[tokio::test]
async fn a_target_at_the_limit_is_taken_in_the_same_words_and_no_longer_one() {
    let origin = Origin::start(|_| Reply::fresh(3_600, "x")).await;
    let settings = settings(&origin).table("limits", "target_bytes = \"300B\"");
    let node = Node::start(settings).await;
    let mut h1 = node.client().await.host("www.example.com");
    let mut h2 = H2Client::connect_wide(node.address()).await;
    let longest = format!("/{}", "a".repeat(299));
    let longer = format!("{longest}a");
    for path in ["/", "/b", "/c", &longest, "/b", "/c", &longest] {
        assert_eq!(h1.get(path).await.status, 200);
        assert_eq!(h2.get(path).await.status, 200);
    }
    like_the_one_before(&node, 4).await;
    assert_eq!(h2.get(&longer).await.status, 414);
    assert_eq!(h2.get(&longest).await.status, 200);
    assert_eq!(h1.get(&longer).await.status, 414);
}

#[tokio::test]
async fn what_was_purged_answers_nobody_who_asks_again() {
    let (origin, node) = node().await;
    node.take_the_short_way();
    let mut h1 = node.client().await.host("www.example.com");
    let mut h2 = H2Client::connect(node.address()).await;
    for mode in ["hard", "soft"] {
        for _ in 0..2 {
            h1.get("/plain").await;
            h2.get("/plain").await;
        }
        let before = origin.count("/plain");
        node.purge(&format!(
            r#"{{"urls":["http://www.example.com/plain"],"mode":"{mode}"}}"#
        ))
        .await;
        assert!(!h1.get("/plain").await.is_hit(), "{mode}");
        h2.get("/plain").await;
        assert_eq!(origin.count("/plain"), before + 1, "{mode}");
        node.purge(&format!(
            r#"{{"urls":["http://www.example.com/plain"],"mode":"{mode}"}}"#
        ))
        .await;
        assert!(!h2.get("/plain").await.is_hit(), "{mode}");
    }
}

#[tokio::test]
async fn many_streams_at_once_get_each_their_own() {
    let (_origin, node) = node().await;
    node.take_the_short_way();
    let mut client = H2Client::connect(node.address()).await;
    let mut expected = Vec::new();
    // One that is read late would keep the window from the others.
    for path in STORED.iter().filter(|path| **path != "/long") {
        let answer = client.get(path).await;
        expected.push((*path, (answer.status, answer.body)));
    }
    for _ in 0..4 {
        let mut answers = Vec::new();
        for number in 0..60 {
            let (path, expected) = &expected[number % expected.len()];
            let asked = client.open(request("GET", path, &[]), true).await;
            answers.push((asked.expect("a stream").0, path, expected));
        }
        for (answer, path, expected) in answers {
            let (head, mut content) = answer.await.expect("an answer").into_parts();
            let mut body = Vec::new();
            while let Some(data) = content.data().await {
                let data = data.expect("content");
                content
                    .flow_control()
                    .release_capacity(data.len())
                    .expect("a window");
                body.extend_from_slice(&data);
            }
            assert_eq!(&(head.status.as_u16(), body.into()), expected, "{path}");
        }
    }
}
