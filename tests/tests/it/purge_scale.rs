//! A tag that everything carries: its purge is acknowledged as fast as any other, nothing of it is served after that, and
//! what does not carry it stays.
//!
//! Some hundred responses, or as many as `LARDER_PURGE_OBJECTS` says; with a release build in `LARDER_BINARY` and
//! `--nocapture` the figures mean something.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use larder_tests::{Client, Node, Settings};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Responses that carry another tag.
const OTHERS: usize = 200;
/// Of those that carry the tag, so many are asked for right after the acknowledgement.
const ASKED_MAX: usize = 50_000;
const CONNECTIONS: usize = 16;
/// Requests that are sent together on a connection.
const TOGETHER: usize = 64;
/// The sweeper rests four times as long as it took, which a busy machine stretches.
const SWEPT: Duration = Duration::from_secs(120);
/// After the first one, while what it named is swept: fewer of few.
const PURGES_MAX: usize = 300;

fn objects() -> usize {
    let objects = std::env::var("LARDER_PURGE_OBJECTS").ok();
    objects.and_then(|it| it.parse().ok()).unwrap_or(600)
}

#[expect(clippy::print_stderr, reason = "a figure for people")]
fn told(text: &str) {
    eprintln!("{text}");
}

/// An origin that remembers nothing. What is below `/every` has the tag `every`, all else has `other`; a body says whether
/// it is old, and ends with `$`.
async fn origin(is_new: Arc<AtomicBool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, Arc::clone(&is_new)));
        }
    });
    address
}

async fn answer(stream: TcpStream, is_new: Arc<AtomicBool>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut line, mut tag) = (String::new(), "other");
    while stream.read_line(&mut line).await? > 0 {
        if line.starts_with("GET /every/") {
            tag = "every";
        }
        if line == "\r\n" {
            let body = if is_new.load(Ordering::SeqCst) {
                "new$"
            } else {
                "old$"
            };
            let answer = format!(
                "HTTP/1.1 200 OK\r\nCache-Control: max-age=3600\r\nCache-Tag: {tag}, all\r\nContent-Length: 4\r\n\r\n{body}"
            );
            stream.write_all(answer.as_bytes()).await?;
            tag = "other";
        }
        line.clear();
    }
    Ok(())
}

/// What came back for many requests.
#[derive(Debug, Default, Eq, PartialEq)]
struct Answers {
    all: usize,
    hits: usize,
    old: usize,
}

/// Asks for the numbers below a folder, on a few connections.
async fn ask(address: SocketAddr, folder: &'static str, numbers: Range<usize>) -> Answers {
    let mut connections = JoinSet::new();
    let share = numbers.len().div_ceil(CONNECTIONS).max(1);
    for begin in numbers.clone().step_by(share) {
        let part = begin..numbers.end.min(begin + share);
        connections.spawn(ask_on_one(address, folder, part));
    }
    let sum = |one: Answers, other: Answers| Answers {
        all: one.all + other.all,
        hits: one.hits + other.hits,
        old: one.old + other.old,
    };
    let all = connections.join_all().await.into_iter();
    all.fold(Answers::default(), sum)
}

async fn ask_on_one(address: SocketAddr, folder: &str, numbers: Range<usize>) -> Answers {
    let mut stream = TcpStream::connect(address).await.expect("a node");
    let mut answers = Answers::default();
    for begin in numbers.clone().step_by(TOGETHER) {
        let end = numbers.end.min(begin + TOGETHER);
        let mut requests = String::new();
        for number in begin..end {
            write!(
                requests,
                "GET /{folder}/{number} HTTP/1.1\r\nHost: h.example\r\n\r\n"
            )
            .expect("strings grow");
        }
        stream.write_all(requests.as_bytes()).await.expect("a node");
        let mut read = Vec::with_capacity(32 * 1024);
        while ended(&read) < end - begin {
            let more = stream.read_buf(&mut read).await.expect("an answer");
            assert!(more > 0, "{}", String::from_utf8_lossy(&read));
        }
        let text = String::from_utf8_lossy(&read);
        answers.all += text.matches("HTTP/1.1 200 OK").count();
        answers.hits += text.matches("; hit").count();
        answers.old += text.matches("old$").count();
    }
    answers
}

/// Bodies that have ended.
fn ended(read: &[u8]) -> usize {
    read.split(|byte| *byte == b'$').count() - 1
}

/// How long purges of the tag take, until each is acknowledged, the quickest first.
async fn purges(node: &Node, count: usize) -> Vec<Duration> {
    let bearer = format!("Bearer {}", node.token());
    let fields = [("Authorization", bearer.as_str())];
    let mut client = Client::connect(node.admin()).await;
    let mut took = Vec::new();
    for _ in 0..count {
        let began = Instant::now();
        let answer = client.upload("POST", "/v1/purges", &fields, br#"{"tags":["every"]}"#);
        let answer = answer.await;
        took.push(began.elapsed());
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    took.sort_unstable();
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_of_very_many_is_purged_at_once_and_no_other() {
    let objects = objects();
    let is_new = Arc::new(AtomicBool::new(false));
    let origin = origin(Arc::clone(&is_new)).await;
    let megabytes = 64 + objects / 250;
    let settings = Settings::origins(&[&format!("http://{origin}")])
        .table("log", "access = \"off\"")
        .table("memory", &format!("size = \"{megabytes}MiB\""));
    let node = Node::start(settings).await;
    let address = node.address();
    let began = Instant::now();
    ask(address, "every", 0..objects).await;
    ask(address, "other", 0..OTHERS).await;
    let stored = node.metrics().await.sum("larder_cache_objects", &[]);
    assert_eq!(stored, (objects + OTHERS) as f64);
    told(&format!("{objects} stored after {:?}", began.elapsed()));
    let asked = objects.min(ASKED_MAX);
    let before = ask(address, "every", 0..asked).await;
    assert_eq!((before.hits, before.old), (asked, asked));

    is_new.store(true, Ordering::SeqCst);
    let first = purges(&node, 1).await[0];
    let after = ask(address, "every", 0..asked).await;
    assert_eq!(
        after,
        Answers {
            all: asked,
            hits: 0,
            old: 0
        }
    );
    told(&format!("the first purge of the tag: {first:?}"));
    // The sweeper is still at work, and what is asked for is stored again.
    let took = purges(&node, PURGES_MAX.min(objects / 10)).await;
    let [half, most, worst] = [50, 99, 100].map(|share| took[(took.len() - 1) * share / 100]);
    told(&format!(
        "{} more: p50 {half:?}, p99 {most:?}, max {worst:?}",
        took.len()
    ));
    let others = ask(address, "other", 0..OTHERS).await;
    assert_eq!(
        others,
        Answers {
            all: OTHERS,
            hits: OTHERS,
            old: OTHERS
        }
    );

    let began = Instant::now();
    purges(&node, 1).await;
    let metrics = loop {
        let metrics = node.metrics().await;
        if metrics.sum("larder_cache_objects", &[]) == OTHERS as f64 {
            break metrics;
        }
        assert!(began.elapsed() < SWEPT, "not swept after {SWEPT:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    told(&format!("swept after {:?}", began.elapsed()));
    let swept = metrics.sum("larder_purge_swept_objects_total", &[]);
    assert!(swept >= (objects - asked) as f64, "{swept}");
    let others = ask(address, "other", 0..OTHERS).await;
    assert_eq!((others.hits, others.old), (OTHERS, OTHERS));
}
