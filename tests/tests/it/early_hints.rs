//! Early hints (RFC 8297): forwarded where the protocol allows it, and sent by the node where it has learnt them.

use larder_tests::{Gate, Node, Origin, Reply, Response, Settings};

const LINKS: &str =
    "</a.css>; rel=preload; as=style, </next>; rel=next, <https://cdn.example>; rel=preconnect";

fn hints(answer: &Response) -> Vec<Vec<String>> {
    let early = answer
        .interim
        .iter()
        .filter(|head| head.start.contains("103"));
    early
        .map(|head| {
            let links = head
                .fields
                .iter()
                .filter(|(name, _)| name.eq_ignore_ascii_case("link"));
            links.map(|(_, value)| value.clone()).collect()
        })
        .collect()
}

async fn with(line: &str, origin: &Origin) -> Node {
    Node::start(Settings::origins(&[&origin.url()]).site(line)).await
}

#[tokio::test]
async fn hints_of_the_origin_are_forwarded_as_the_site_has_it() {
    let origin = Origin::start(|_| {
        Reply::ok("x")
            .with("Cache-Control", "no-store")
            .interim(103, &[("Link", "</a.css>; rel=preload")])
    })
    .await;
    for (line, count) in [
        ("early_hints = \"forward\"", 1),
        ("early_hints = \"http2\"", 0),
        ("early_hints = \"off\"", 0),
    ] {
        let node = with(line, &origin).await;
        // The first is a fill, and the others pass by.
        for round in 0..3 {
            let answer = node.get("/a").await;
            assert_eq!(
                (answer.status, hints(&answer).len()),
                (200, count),
                "{line} {round}"
            );
        }
        let posted = node.request("POST", "/a", &[]).await;
        assert_eq!(hints(&posted).len(), count, "{line}");
    }
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_no_hints() {
    let origin =
        Origin::start(|_| Reply::fresh(0, "x").interim(103, &[("Link", "</a.css>; rel=preload")]))
            .await;
    let node = with("learn_hints = true", &origin).await;
    for _ in 0..2 {
        let answer = node
            .exchange("GET /a HTTP/1.0\r\nHost: www.example.com\r\n\r\n")
            .await;
        let answer = answer.unwrap();
        assert_eq!((answer.status, answer.interim.len()), (200, 0));
    }
}

#[tokio::test]
async fn learnt_links_are_sent_to_who_waits_for_the_origin() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |seen| {
        let reply = Reply::ok("x")
            .with("Cache-Control", "max-age=0")
            .with("Link", LINKS);
        if seen.nth > 1 {
            reply.after(&held)
        } else {
            reply
        }
    })
    .await;
    let node = with("learn_hints = true", &origin).await;
    assert!(node.get("/a").await.interim.is_empty());

    let mut client = node.client().await;
    client.ask("GET", "/a", &[]).await;
    // It is there before the origin has said a word.
    let early = client.at_least(16).await;
    let text = String::from_utf8_lossy(&early).into_owned();
    assert!(text.starts_with("HTTP/1.1 103"), "{text}");
    gate.open();
    drop(client);

    let answer = node.get("/a").await;
    let expected = [
        "</a.css>; rel=preload; as=style",
        "<https://cdn.example>; rel=preconnect",
    ];
    assert_eq!(hints(&answer), [expected]);
    assert!(node.get("/other").await.interim.is_empty());
    let posted = node.request("POST", "/a", &[]).await;
    assert!(posted.interim.is_empty());
}

#[tokio::test]
async fn nothing_is_learnt_unless_it_is_switched_on_nor_of_what_is_private() {
    let origin = Origin::start(|seen| {
        let control = if seen.target == "/private" {
            "private"
        } else {
            "no-cache"
        };
        Reply::ok("x")
            .with("Cache-Control", control)
            .with("Link", LINKS)
    })
    .await;
    let off = Node::before(&origin.url()).await;
    let on = with("learn_hints = true", &origin).await;
    for _ in 0..2 {
        assert!(off.get("/a").await.interim.is_empty());
        assert!(on.get("/private").await.interim.is_empty());
    }
    on.get("/a").await;
    assert_eq!(on.get("/a").await.interim.len(), 1);
}

#[tokio::test]
async fn a_hit_has_no_hints() {
    let origin = Origin::start(|_| Reply::fresh(60, "x").with("Link", LINKS)).await;
    let node = with("learn_hints = true", &origin).await;
    node.get("/a").await;
    let hit = node.get("/a").await;
    assert_eq!((hit.is_hit(), hit.interim.len()), (true, 0));
}
