//! Content codings on demand (RFC 9110 §8.4, §12.5.3), read by the programs that people read them with.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use larder_tests::{End, Gate, Node, Origin, Reply, Response, Settings};
use tokio::time::{Instant, sleep};

use super::{SOON, seconds};

/// What one would call a page: long enough, and unlike itself in every line.
fn page() -> String {
    let lines = (0..2_000).map(|number| format!("<li>item {number} of the list\n"));
    lines.collect()
}

fn html(body: impl Into<bytes::Bytes>) -> Reply {
    Reply::fresh(60, body)
        .with("Content-Type", "text/html; charset=utf-8")
        .with("ETag", "\"1\"")
}

async fn before_a_page() -> (Origin, Node) {
    let origin = Origin::start(|_| html(page())).await;
    let node = Node::before(&origin.url()).await;
    (origin, node)
}

async fn get(node: &Node, accept: &str) -> Response {
    node.get_with("/a", &[("Accept-Encoding", accept)]).await
}

/// Waits until it is so.
async fn soon(mut look: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !look().await {
        assert!(Instant::now() < end, "still not so after {SOON:?}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Pipes bytes through one of the programs `gzip`, `brotli` and `zstd`.
fn piped(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // A program that refuses what it reads closes its end.
        drop(stdin.write_all(&input));
    });
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("a writer");
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program}: {complaint}");
    output.stdout
}

fn program(coding: &str) -> &'static str {
    match coding {
        "gzip" => "gzip",
        "br" => "brotli",
        "zstd" => "zstd",
        _ => panic!("{coding}"),
    }
}

fn decoded(coding: &str, body: &[u8]) -> Vec<u8> {
    piped(program(coding), &["-d", "-c"], body)
}

fn encoded(coding: &str, body: &[u8]) -> Vec<u8> {
    piped(program(coding), &["-c"], body)
}

#[tokio::test]
async fn one_stored_response_answers_in_every_coding() {
    let (origin, node) = before_a_page().await;
    for coding in ["gzip", "br", "zstd"] {
        for round in 0..3 {
            let answer = get(&node, coding).await;
            assert_eq!(answer.header("Content-Encoding"), Some(coding));
            assert_eq!(answer.cache_parameter("coding"), Some(coding));
            assert_eq!(decoded(coding, &answer.body), page().as_bytes());
            assert_eq!(answer.header("ETag"), Some("W/\"1\""));
            assert!(answer.headers("Vary").contains(&"accept-encoding"));
            assert!(answer.body.len() < page().len() / 4);
            assert!(answer.is_hit() || (coding, round) == ("gzip", 0));
        }
    }
    let plain = node.get("/a").await;
    assert_eq!((plain.text(), plain.is_hit()), (page(), true));
    assert_eq!(plain.header("ETag"), Some("\"1\""));
    // Who gets it as it is has to be told apart, too.
    assert!(plain.headers("Vary").contains(&"accept-encoding"));
    assert_eq!(origin.total(), 1);
    let metrics = node.metrics().await;
    assert_eq!(metrics.sum("larder_cache_objects", &[]), 1.0);
}

#[tokio::test]
async fn a_coding_is_made_once_and_not_for_every_hit() {
    let (_origin, node) = before_a_page().await;
    get(&node, "gzip").await;
    let labels = [("coding", "gzip"), ("side", "before")];
    for _ in 0..20 {
        let answer = get(&node, "gzip").await;
        assert_eq!(decoded("gzip", &answer.body), page().as_bytes());
    }
    let length = page().len();
    let metrics = node.metrics().await;
    assert_eq!(
        metrics.sum("larder_coder_bytes_total", &labels),
        length as f64
    );
    let labels = [("site", "main"), ("coding", "gzip")];
    let metrics = node
        .metrics_when(|metrics| metrics.sum("larder_coded_responses_total", &labels) == 21.0)
        .await;
    assert_eq!(metrics.sum("larder_cache_objects", &[]), 1.0);
    let logged = node.log_lines();
    assert!(
        logged.iter().all(|line| line["coding"] == "gzip"),
        "{logged:?}"
    );
}

#[tokio::test]
async fn who_comes_during_the_fill_reads_along_in_a_coding_that_is_made_once() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |_| html(page()).wait(&held).then(page()).chunked()).await;
    let node = Node::before(&origin.url()).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = node.client().await;
        client
            .ask("GET", "/a", &[("Accept-Encoding", "gzip")])
            .await;
        clients.push(client);
    }
    // What is there by now is not held back.
    let mut heads = Vec::new();
    for client in &mut clients {
        let head = client.answer_head().await.unwrap();
        assert_eq!(head.header("Content-Encoding"), Some("gzip"));
        heads.push(head);
        assert!(!client.some().await.is_empty());
    }
    gate.open();
    drop(clients);
    let whole = page() + &page();
    soon(async || {
        let answer = get(&node, "gzip").await;
        answer.is_hit() && decoded("gzip", &answer.body) == whole.as_bytes()
    })
    .await;
    let labels = [("coding", "gzip"), ("side", "before")];
    let metrics = node.metrics().await;
    assert_eq!(
        metrics.sum("larder_coder_bytes_total", &labels),
        whole.len() as f64
    );
    assert_eq!(origin.total(), 1);
}

#[tokio::test]
async fn what_the_origin_coded_is_left_alone_unless_a_client_cannot_take_it() {
    for coding in ["gzip", "br", "zstd"] {
        let coded = encoded(coding, page().as_bytes());
        let body = coded.clone();
        let origin = Origin::start(move |_| {
            html(body.clone())
                .with("Content-Encoding", coding)
                .with("Vary", "Accept-Encoding")
        })
        .await;
        let node = Node::before(&origin.url()).await;
        let same = get(&node, "gzip, br, zstd").await;
        assert_eq!(same.header("Content-Encoding"), Some(coding));
        assert_eq!(same.header("ETag"), Some("\"1\""));
        assert_eq!(same.body, coded);
        assert_eq!(same.cache_parameter("coding"), None);
        // One that takes none, and one that takes another.
        let plain = node.get("/a").await;
        assert_eq!(
            (plain.text(), plain.header("Content-Encoding")),
            (page(), None)
        );
        assert_eq!(plain.header("ETag"), Some("W/\"1\""));
        let other = if coding == "gzip" { "br" } else { "gzip" };
        let answer = get(&node, other).await;
        assert_eq!(answer.header("Content-Encoding"), Some(other));
        assert_eq!(decoded(other, &answer.body), page().as_bytes());
        assert_eq!(origin.total(), 1);
    }
}

#[tokio::test]
async fn weights_count() {
    let (_origin, node) = before_a_page().await;
    node.get("/a").await;
    for (accept, expected) in [
        ("gzip, deflate, br, zstd", Some("br")),
        ("br;q=0.5, gzip", Some("gzip")),
        ("*", Some("br")),
        ("gzip;q=0", None),
        ("identity, gzip;q=0.5", None),
        ("identity;q=0, zstd;q=0.1", Some("zstd")),
    ] {
        let answer = get(&node, accept).await;
        assert_eq!(answer.header("Content-Encoding"), expected, "{accept}");
    }
}

#[tokio::test]
async fn what_must_not_be_transformed_or_does_not_shrink_is_left_alone() {
    let origin = Origin::start(|seen| match seen.target.as_str() {
        "/fixed" => html(page()).with("Cache-Control", "no-transform"),
        "/short" => html("short"),
        _ => Reply::fresh(60, page()).with("Content-Type", "image/jpeg"),
    })
    .await;
    let node = Node::before(&origin.url()).await;
    for target in ["/fixed", "/short", "/image"] {
        for _ in 0..2 {
            let answer = node.get_with(target, &[("Accept-Encoding", "gzip")]).await;
            assert_eq!(answer.header("Content-Encoding"), None, "{target}");
            assert!(answer.headers("Vary").is_empty(), "{target}");
        }
    }
}

#[tokio::test]
async fn conditions_hold_for_every_coding_here_and_at_the_origin() {
    let origin = Origin::start(|seen| {
        // The origin's comparison is the weak one (RFC 9110 §13.1.2).
        match seen.field("If-None-Match") {
            Some("\"1\"" | "W/\"1\"") => Reply::status(304).with("ETag", "\"1\""),
            _ => html(page()),
        }
    })
    .await;
    let mut node = Node::before(&origin.url()).await;
    let tag = get(&node, "gzip").await.header("ETag").unwrap().to_owned();
    let fields = [("Accept-Encoding", "gzip"), ("If-None-Match", tag.as_str())];
    let same = node.get_with("/a", &fields).await;
    assert_eq!((same.status, same.header("ETag")), (304, Some("W/\"1\"")));
    assert!(same.headers("Vary").contains(&"accept-encoding"));
    // Of the plain one, the tag of the coded one is no less a sign.
    let plain = [("If-None-Match", tag.as_str())];
    assert_eq!(node.get_with("/a", &plain).await.status, 304);
    // A weak tag proves no lost update (RFC 9110 §13.1.1).
    let strong = [("Accept-Encoding", "gzip"), ("If-Match", "\"1\"")];
    assert_eq!(node.get_with("/a", &strong).await.status, 412);

    // Validated by the origin, it is the same body, and its codings stay.
    node.advance(seconds(61));
    let renewed = get(&node, "gzip").await;
    assert_eq!(renewed.cache_parameter("fwd-status"), Some("304"));
    assert_eq!(decoded("gzip", &renewed.body), page().as_bytes());
    let asked = origin.last("/a");
    assert_eq!(asked.field("Accept-Encoding"), Some("identity"));
    let labels = [("coding", "gzip"), ("side", "before")];
    let made = node
        .metrics()
        .await
        .sum("larder_coder_bytes_total", &labels);
    assert_eq!(made, page().len() as f64);
}

#[tokio::test]
async fn a_range_is_one_of_the_selected_representation() {
    let (_origin, node) = before_a_page().await;
    let whole = get(&node, "gzip").await;
    let fields = [("Accept-Encoding", "gzip"), ("Range", "bytes=10-19")];
    let part = node.get_with("/a", &fields).await;
    assert_eq!((part.status, &part.body[..]), (206, &whole.body[10..20]));
    assert_eq!(part.header("Content-Encoding"), Some("gzip"));
    let all = format!("bytes 10-19/{}", whole.body.len());
    assert_eq!(part.header("Content-Range"), Some(all.as_str()));
    let plain = node.get_with("/a", &[("Range", "bytes=10-19")]).await;
    assert_eq!(
        (plain.status, plain.text().as_str()),
        (206, &page()[10..20])
    );
    // A weak tag joins no parts (RFC 9110 §13.1.5).
    let joined = [fields[0], fields[1], ("If-Range", "W/\"1\"")];
    assert_eq!(node.get_with("/a", &joined).await.status, 200);
}

#[tokio::test]
async fn head_tells_what_get_would_get() {
    let (origin, node) = before_a_page().await;
    node.get("/a").await;
    let fields = [("Accept-Encoding", "br")];
    let head = node.request("HEAD", "/a", &fields).await;
    assert_eq!(head.header("Content-Encoding"), Some("br"));
    assert_eq!(head.header("Content-Length"), None);
    let length = get(&node, "br").await.body.len().to_string();
    soon(async || {
        let head = node.request("HEAD", "/a", &fields).await;
        head.header("Content-Length") == Some(length.as_str())
    })
    .await;
    assert_eq!(origin.total(), 1);
}

#[tokio::test]
async fn a_purge_takes_all_codings() {
    let (origin, node) = before_a_page().await;
    for coding in ["gzip", "br"] {
        get(&node, coding).await;
    }
    let posted = node.request("POST", "/a", &[]).await;
    assert_eq!(posted.status, 200);
    for coding in ["gzip", "br"] {
        let answer = get(&node, coding).await;
        assert_eq!(decoded(coding, &answer.body), page().as_bytes());
        assert_eq!(answer.is_hit(), coding == "br");
    }
    assert_eq!(origin.count("/a"), 3);
}

/// What is made of a body is kept with it in memory, and one that is too long for it stays on its disk.
#[tokio::test]
async fn what_stays_on_a_disk_is_not_coded_for_every_hit() {
    let long = page().repeat(60);
    let body = long.clone();
    let origin = Origin::start(move |_| html(body.clone())).await;
    let settings = Settings::origins(&[&origin.url()])
        .table("memory", "object_max = \"1MiB\"")
        .disk("64MiB")
        .site("disk = \"always\"");
    let node = Node::start(settings).await;
    assert!(long.len() > 1 << 20);
    node.get("/a").await;
    crate::restart::on_disk(&node, 1).await;
    for _ in 0..3 {
        let answer = get(&node, "gzip").await;
        assert_eq!(
            (answer.header("Content-Encoding"), answer.is_hit()),
            (None, true)
        );
        assert!(answer.text() == long);
        assert!(answer.headers("Vary").contains(&"accept-encoding"));
    }
    assert_eq!(origin.total(), 1);
    let made = node.metrics().await.sum("larder_coder_bytes_total", &[]);
    assert_eq!(made, 0.0);
}

#[tokio::test]
async fn a_bomb_is_not_decoded() {
    for coding in ["gzip", "br", "zstd"] {
        let bomb = encoded(coding, &vec![0; 64 << 20]);
        let length = bomb.len();
        assert!(length < 128 << 10, "{coding}: {length}");
        let origin =
            Origin::start(move |_| html(bomb.clone()).with("Content-Encoding", coding)).await;
        let node = Node::before(&origin.url()).await;
        assert_eq!(get(&node, coding).await.body.len(), length);
        let cut = node.get("/a").await;
        assert!(cut.end != End::Complete, "{coding}");
        assert!(cut.body.len() < 40 << 20, "{coding}: {}", cut.body.len());
        // Tried once: who comes next is told what it is.
        let told = node.get("/a").await;
        assert_eq!(told.header("Content-Encoding"), Some(coding));
        assert_eq!(told.body.len(), length);
        assert_eq!(get(&node, coding).await.body.len(), length);
    }
}

#[tokio::test]
async fn a_site_can_leave_codings_to_its_origin() {
    let origin = Origin::start(|seen| {
        html(seen.field("Accept-Encoding").unwrap_or("none").repeat(500))
            .with("Vary", "Accept-Encoding")
    })
    .await;
    let settings = Settings::origins(&[&origin.url()])
        .site("codings = { offer = [\"gzip\"], types = [\"text/*\"] }")
        .rule("match = { path = \"/own/*\" }\ncodings = { offer = [] }");
    let node = Node::start(settings).await;
    let fields = [("Accept-Encoding", "gzip, deflate")];
    let own = node.get_with("/own/a", &fields).await;
    assert_eq!(own.text(), "gzip, deflate".repeat(500));
    assert!(!node.get("/own/a").await.is_hit());
    let coded = node
        .get_with("/a", &[("Accept-Encoding", "br, gzip")])
        .await;
    assert_eq!(coded.header("Content-Encoding"), Some("gzip"));
    assert!(node.get("/a").await.is_hit());
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_reads_what_it_asked_for() {
    let (_origin, node) = before_a_page().await;
    for _ in 0..2 {
        for coding in ["gzip", "br", "zstd"] {
            let url = format!("http://{}/a", node.address());
            let accept = format!("Accept-Encoding: {coding}");
            let raw = Command::new("curl")
                .args(["-sSf", "-H", &accept, &url])
                .output()
                .unwrap();
            assert_eq!(decoded(coding, &raw.stdout), page().as_bytes());
        }
        let url = format!("http://{}/a", node.address());
        let plain = Command::new("curl")
            .args(["-sSf", "--compressed", &url])
            .output()
            .unwrap();
        assert_eq!(plain.stdout, page().as_bytes());
    }
}

/// RFC 9842: what is coded with a dictionary is for who has it, also where the origin forgot to say so.
#[tokio::test]
async fn a_dictionary_coding_reaches_only_who_has_the_dictionary() {
    const DICTIONARY: &str = ":pZGm1Av0IEBKARczz7exkNYsZb8LzaMrV7J32a2fFG4=:";
    let origin = Origin::start(|seen| {
        let takes = seen
            .field("Accept-Encoding")
            .is_some_and(|it| it.contains("dcz"));
        match seen.field("Available-Dictionary") {
            Some(hash) if takes => {
                html(format!("delta for {hash}")).with("Content-Encoding", "dcz")
            }
            _ => html(page()).with("Use-As-Dictionary", "match=\"/a*\""),
        }
    })
    .await;
    let node = Node::before(&origin.url()).await;
    let accept = ("Accept-Encoding", "gzip, br, zstd, dcb, dcz");
    let with = [
        accept,
        ("Available-Dictionary", DICTIONARY),
        ("Dictionary-ID", "\"x\""),
    ];
    for round in 0..2 {
        let delta = node.get_with("/a", &with).await;
        assert_eq!(delta.header("Content-Encoding"), Some("dcz"));
        assert_eq!(delta.text(), format!("delta for {DICTIONARY}"));
        assert_eq!(delta.is_hit(), round == 1);
        let vary = delta.headers("Vary").join(",");
        assert!(vary.contains("available-dictionary") && vary.contains("accept-encoding"));
    }
    let asked = origin.last("/a");
    assert_eq!(asked.field("Dictionary-ID"), Some("\"x\""));
    let other = [accept, ("Available-Dictionary", ":AAAA:")];
    assert_eq!(node.get_with("/a", &other).await.text(), "delta for :AAAA:");
    // Who has none, or takes none, gets the whole.
    for fields in [&with[..1], &[("Accept-Encoding", "gzip"), with[1]]] {
        let whole = node.get_with("/a", fields).await;
        let coding = whole.header("Content-Encoding").unwrap();
        assert_eq!(decoded(coding, &whole.body), page().as_bytes());
        assert!(whole.header("Use-As-Dictionary").is_some());
    }
    assert_eq!(node.get("/a").await.text(), page());
}
