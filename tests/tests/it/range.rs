//! Parts of a stored response (RFC 9110 §14).

use larder_tests::{Gate, Node, Origin, Reply, Response};

const DIGITS: &str = "0123456789";

async fn node_with_digits() -> (Origin, Node) {
    let origin = Origin::start(|_| {
        Reply::fresh(60, DIGITS)
            .with("ETag", "\"1\"")
            .with("Content-Type", "text/plain")
    })
    .await;
    let node = Node::before(&origin.url()).await;
    node.get("/a").await;
    (origin, node)
}

async fn range(node: &Node, value: &str) -> Response {
    node.get_with("/a", &[("Range", value)]).await
}

#[tokio::test]
async fn one_range_of_a_stored_response() {
    let (origin, node) = node_with_digits().await;
    for (value, text, content_range) in [
        ("bytes=0-0", "0", "bytes 0-0/10"),
        ("bytes=2-4", "234", "bytes 2-4/10"),
        ("bytes=8-", "89", "bytes 8-9/10"),
        ("bytes=-3", "789", "bytes 7-9/10"),
        ("bytes=5-999", "56789", "bytes 5-9/10"),
        ("bytes=0-18446744073709551615", DIGITS, "bytes 0-9/10"),
        ("bytes=-99", DIGITS, "bytes 0-9/10"),
    ] {
        let part = range(&node, value).await;
        assert_eq!((part.status, part.text().as_str()), (206, text), "{value}");
        assert_eq!(part.header("Content-Range"), Some(content_range), "{value}");
        assert_eq!(
            part.header("Content-Length"),
            Some(text.len().to_string().as_str())
        );
        assert!(part.is_hit());
    }
    assert_eq!(origin.total(), 1);
}

#[tokio::test]
async fn a_range_that_cannot_be_is_416_and_nonsense_is_the_whole() {
    let (_origin, node) = node_with_digits().await;
    for value in ["bytes=10-", "bytes=99-100", "bytes=-0"] {
        let part = range(&node, value).await;
        assert_eq!(
            (part.status, part.header("Content-Range")),
            (416, Some("bytes */10")),
            "{value}"
        );
    }
    for value in ["bytes=4-2", "bytes=x-y", "lines=1-2", "bytes=", "bytes=--1"] {
        let whole = range(&node, value).await;
        assert!(
            matches!(whole.status, 200 | 416),
            "{value}: {}",
            whole.status
        );
        assert!(whole.status == 416 || whole.text() == DIGITS, "{value}");
    }
}

#[tokio::test]
async fn several_ranges_come_as_parts() {
    let (_origin, node) = node_with_digits().await;
    let parts = range(&node, "bytes=0-1,8-9").await;
    assert_eq!(parts.status, 206);
    let kind = parts.header("Content-Type").unwrap();
    let boundary = kind
        .strip_prefix("multipart/byteranges; boundary=")
        .unwrap()
        .trim_matches('"');
    let text = parts.text();
    assert_eq!(text.matches(&format!("--{boundary}")).count(), 3);
    assert!(
        text.contains("\r\n\r\n01\r\n") && text.contains("\r\n\r\n89\r\n"),
        "{text}"
    );
    assert_eq!(
        parts.header("Content-Length"),
        Some(text.len().to_string().as_str())
    );
}

#[tokio::test]
async fn greedy_ranges_cost_no_more_than_the_whole() {
    let body = vec![b'x'; 100_000];
    let origin = Origin::start(move |_| Reply::fresh(60, body.clone())).await;
    let node = Node::before(&origin.url()).await;
    let disjoint: Vec<String> = (0..1000)
        .map(|n| format!("{}-{}", n * 20, n * 20))
        .collect();
    let greedy = [
        format!("bytes={}", disjoint.join(",")),
        format!("bytes={}", ["0-"; 200].join(",")),
        format!("bytes={}", ["0-99999"; 20].join(",")),
    ];
    for warm in ["miss", "hit"] {
        for value in &greedy {
            let answer = range(&node, value).await;
            assert!(
                matches!(answer.status, 200 | 206 | 400 | 416),
                "{warm}: {}",
                answer.status
            );
            assert!(
                answer.body.len() <= 110_000,
                "{warm}: {}",
                answer.body.len()
            );
        }
    }
}

#[tokio::test]
async fn if_range_decides_between_a_part_and_the_whole() {
    let (_origin, node) = node_with_digits().await;
    for (validator, status) in [("\"1\"", 206), ("\"2\"", 200), ("W/\"1\"", 200)] {
        let answer = node
            .get_with("/a", &[("Range", "bytes=0-1"), ("If-Range", validator)])
            .await;
        assert_eq!(answer.status, status, "{validator}");
    }
}

#[tokio::test]
async fn a_range_on_a_miss_is_answered_rightly() {
    let origin = Origin::start(|_| Reply::fresh(60, DIGITS)).await;
    let node = Node::before(&origin.url()).await;
    let answer = range(&node, "bytes=2-4").await;
    match answer.status {
        206 => assert_eq!(answer.text(), "234"),
        status => assert_eq!((status, answer.text().as_str()), (200, DIGITS)),
    }
}

#[tokio::test]
async fn a_range_of_what_is_still_on_its_way_has_the_right_bytes() {
    let gate = Gate::closed();
    let rest = gate.clone();
    let origin = Origin::start(move |_| Reply::fresh(60, "01234").wait(&rest).then("56789")).await;
    let node = Node::before(&origin.url()).await;
    let mut leader = node.client().await;
    leader.ask("GET", "/a", &[]).await;
    leader.answer_head().await.unwrap();

    let mut follower = node.client().await;
    follower.ask("GET", "/a", &[("Range", "bytes=4-6")]).await;
    gate.open();
    let answer = follower.answer().await;
    match answer.status {
        206 => assert_eq!(answer.text(), "456"),
        status => assert_eq!((status, answer.text().as_str()), (200, DIGITS)),
    }
}
