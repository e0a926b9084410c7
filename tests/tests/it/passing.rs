//! Requests without content that pass the cache by: they go on as they are, and what comes back does so as it comes.

use larder_tests::{End, Gate, Node, Origin, Reply, Settings, eventually};

use crate::SOON;

/// A node that keeps nothing.
async fn passing(origin: &Origin) -> Node {
    let settings = Settings::origins(&[&origin.url()]);
    Node::start(settings.rule("match = { path = \"/*\" }\ncache = false")).await
}

#[tokio::test]
async fn content_goes_on_as_it_comes_whatever_ends_it() {
    let gates = [(); 3].map(|()| Gate::closed());
    let rest = gates.clone();
    let origin = Origin::start(move |seen| {
        let reply = |gate| Reply::ok("first").wait(gate).then("second");
        match seen.target.as_str() {
            "/chunked" => reply(&rest[0]).chunked(),
            "/until-close" => reply(&rest[1]).until_close(),
            _ => reply(&rest[2]),
        }
    })
    .await;
    let node = passing(&origin).await;
    let targets = ["/chunked", "/until-close", "/counted"];
    for (target, gate) in targets.into_iter().zip(&gates) {
        let mut client = node.client().await;
        client.ask("GET", target, &[]).await;
        assert_eq!(client.answer_head().await.unwrap().status, 200, "{target}");
        // With the line before a chunk, where there are chunks.
        let length = if target == "/counted" { 5 } else { 8 };
        let first = client.at_least(length).await;
        let first = String::from_utf8(first).unwrap();
        assert!(first.contains("first"), "{target}: {first}");
        assert!(!first.contains("second"), "{target}: {first}");
        gate.open();
        let again = node.get(target).await;
        assert_eq!(again.text(), "firstsecond", "{target}");
        assert!(again.end == End::Complete, "{target}");
    }
}

#[tokio::test]
async fn many_pieces_come_in_order_and_a_slow_client_gets_all() {
    let origin = Origin::start(|seen| match seen.target.as_str() {
        "/pieces" => (0..1000)
            .fold(Reply::status(200), |reply, n| reply.then(format!("{n},")))
            .chunked(),
        _ => Reply::ok(vec![b'x'; 8 * 1024 * 1024]),
    })
    .await;
    let node = passing(&origin).await;
    let expected: String = (0..1000).map(|n| format!("{n},")).collect();
    assert_eq!(node.get("/pieces").await.text(), expected);

    let mut slow = node.client().await;
    slow.ask("GET", "/long", &[]).await;
    slow.answer_head().await.unwrap();
    // Others are not held up by what it does not read.
    assert_eq!(node.get("/pieces").await.text(), expected);
    let mut left = 8 * 1024 * 1024;
    while left > 0 {
        let piece = slow.some().await;
        assert!(!piece.is_empty(), "{left} bytes are missing");
        left -= piece.len();
    }
}

#[tokio::test]
async fn methods_conditions_and_ranges_go_on_as_they_are() {
    let origin = Origin::start(|seen| match seen.target.as_str() {
        "/changed" => Reply::status(304).with("ETag", "\"a\""),
        "/part" => Reply::status(206)
            .with("Content-Range", "bytes 0-1/5")
            .then("he"),
        "/none" => Reply::status(204),
        _ => Reply::ok("hello"),
    })
    .await;
    let node = passing(&origin).await;
    let mut client = node.client().await;
    let asked = [("If-None-Match", "\"a\"")];
    assert_eq!(client.get_with("/changed", &asked).await.status, 304);
    let seen = origin.last("/changed");
    assert_eq!(seen.field("If-None-Match"), Some("\"a\""));

    let part = client.get_with("/part", &[("Range", "bytes=0-1")]).await;
    assert_eq!((part.status, part.text().as_str()), (206, "he"));
    assert_eq!(origin.last("/part").field("Range"), Some("bytes=0-1"));

    assert_eq!(client.get("/none").await.status, 204);
    for method in ["OPTIONS", "DELETE", "POST", "GET"] {
        let answer = client.request(method, "/a", &[]).await;
        assert_eq!(answer.text(), "hello", "{method}");
        assert_eq!(origin.last("/a").method, method);
    }
    client.ask("HEAD", "/a", &[]).await;
    let head = client.answer_to("HEAD").await.unwrap();
    assert_eq!(head.header("Content-Length"), Some("5"));
    assert_eq!(origin.last("/a").method, "HEAD");
    // All of it on one connection of the client's.
    assert_eq!(client.get("/a").await.text(), "hello");
}

#[tokio::test]
async fn what_breaks_off_is_cut_and_what_never_begins_is_told() {
    let origin = Origin::start(|seen| match (seen.target.as_str(), seen.nth) {
        ("/cut", _) => Reply::ok("hel").claiming(5).cut(),
        ("/once", 1) => Reply::hang_up(),
        ("/gone", _) => Reply::hang_up(),
        _ => Reply::ok("hello"),
    })
    .await;
    let node = passing(&origin).await;
    let cut = node.get("/cut").await;
    assert_eq!((cut.status, cut.text().as_str()), (200, "hel"));
    assert!(cut.end == End::Cut);
    assert_eq!(node.get("/gone").await.status, 502);
    // What may have been done is not asked for twice.
    let answer = node.client().await.request("DELETE", "/once", &[]).await;
    assert_eq!(answer.status, 502);
    assert_eq!(origin.count("/once"), 1);
    assert_eq!(node.get("/a").await.text(), "hello");
}

#[tokio::test]
async fn an_origin_of_http2_is_passed_on_with_its_trailers() {
    let gate = Gate::closed();
    let rest = gate.clone();
    let origin = Origin::start_h2c(move |seen| match seen.target.as_str() {
        "/trailers" => Reply::ok("first")
            .wait(&rest)
            .then("second")
            .trailer("Sum", "7"),
        _ => Reply::ok("hello"),
    })
    .await;
    let settings = Settings::origins(&[&origin.url()]).site(&format!(
        "origins = [{{ url = \"{}\", http = \"2\" }}]",
        origin.url()
    ));
    let rule = "match = { path = \"/*\" }\ncache = false";
    let node = Node::start(settings.rule(rule)).await;
    let mut client = node.client().await;
    client.ask("GET", "/trailers", &[("TE", "trailers")]).await;
    assert_eq!(client.answer_head().await.unwrap().status, 200);
    let first = String::from_utf8(client.at_least(8).await).unwrap();
    assert!(first.contains("first") && !first.contains("second"));
    gate.open();
    let answer = node.get("/trailers").await;
    assert_eq!(answer.text(), "firstsecond");
    let [(name, value)] = &answer.trailers[..] else {
        panic!("{:?}", answer.trailers);
    };
    assert!(name.eq_ignore_ascii_case("sum") && value == "7");
    let mut client = node.client().await;
    let deleted = client.request("DELETE", "/a", &[]).await;
    assert_eq!(deleted.text(), "hello");
    assert_eq!(client.get("/a").await.text(), "hello");
}

#[tokio::test]
async fn a_client_that_leaves_is_no_loss_for_others() {
    let gate = Gate::closed();
    let rest = gate.clone();
    let origin = Origin::start(move |seen| match seen.target.as_str() {
        "/held" => Reply::ok("x").after(&rest),
        _ => Reply::ok("hello"),
    })
    .await;
    let node = passing(&origin).await;
    for number in 1..=5 {
        let mut leaving = node.client().await;
        leaving.ask("GET", "/held", &[]).await;
        eventually(SOON, || origin.count("/held") == number).await;
        drop(leaving);
    }
    assert_eq!(node.get("/a").await.text(), "hello");
    gate.open();
    assert_eq!(node.get("/held").await.text(), "x");
}
