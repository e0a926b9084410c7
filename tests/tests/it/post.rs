//! Responses to POST that answer a later GET (RFC 9110 §9.3.3, RFC 9111 §4).

use std::sync::atomic::{AtomicUsize, Ordering};

use larder_tests::{Client, End, Gate, Node, Origin, Reply, Settings, eventually};

/// An origin whose answers to POST say that they are the resource, and which counts them.
async fn origin() -> Origin {
    let posts = AtomicUsize::new(0);
    Origin::start(move |seen| match seen.method.as_str() {
        "POST" => {
            let number = posts.fetch_add(1, Ordering::Relaxed) + 1;
            Reply::fresh(600, format!("post {number}")).with("Content-Location", &seen.target)
        }
        _ => Reply::fresh(600, "get"),
    })
    .await
}

#[tokio::test]
async fn a_response_to_post_that_is_the_resource_answers_get_and_head() {
    let origin = origin().await;
    let node = Node::before(&origin.url()).await;
    assert_eq!(node.get("/a?b").await.text(), "get");

    let post = node.client().await.upload("POST", "/a?b", &[], b"x").await;
    assert_eq!(post.text(), "post 1");
    assert!(post.cache_status().contains("fwd=method"));
    assert!(post.cache_status().contains("ttl=600; stored"));
    let get = node.get("/a?b").await;
    assert_eq!((get.text().as_str(), get.is_hit()), ("post 1", true));
    let mut client = node.client().await;
    assert!(client.request("HEAD", "/a?b", &[]).await.is_hit());

    // A POST is never answered from the cache, and takes the place of what was stored.
    let post = node.client().await.upload("POST", "/a?b", &[], b"x").await;
    assert_eq!(post.text(), "post 2");
    assert_eq!(node.get("/a?b").await.text(), "post 2");
    assert_eq!(origin.total(), 3);
}

#[tokio::test]
async fn a_response_to_post_is_not_stored_unless_everything_allows_it() {
    let origin = Origin::start(|seen| {
        let fresh = Reply::fresh(600, seen.method.clone());
        let reply = match seen.target.as_str() {
            "/elsewhere" => fresh.with("Content-Location", "/other"),
            "/silent" => fresh,
            "/heuristic" => Reply::ok(seen.method.clone())
                .with("Last-Modified", "Wed, 01 Jan 2020 00:00:00 GMT")
                .with("Content-Location", ""),
            "/cookie" => fresh.with("Content-Location", "").with("Set-Cookie", "a=1"),
            "/private" => Reply::ok(seen.method.clone())
                .with("Cache-Control", "private, max-age=600")
                .with("Content-Location", ""),
            "/created" => Reply::status(201)
                .with("Cache-Control", "max-age=600")
                .with("Content-Location", ""),
            "/rule" => fresh.with("Content-Location", ""),
            other => panic!("{other}"),
        };
        match seen.method.as_str() {
            "POST" => reply,
            _ => Reply::ok("GET"),
        }
    })
    .await;
    let settings =
        Settings::origins(&[&origin.url()]).rule("match = { path = \"/rule\" }\ncache = false");
    let node = Node::start(settings).await;
    for target in [
        "/elsewhere",
        "/silent",
        "/heuristic",
        "/cookie",
        "/private",
        "/created",
        "/rule",
    ] {
        let post = node.client().await.upload("POST", target, &[], b"x").await;
        assert!(!post.cache_status().contains("stored"), "{target}");
        assert_eq!(node.get(target).await.text(), "GET", "{target}");
    }
}

#[tokio::test]
async fn a_response_to_post_that_is_cut_is_not_stored() {
    let origin = Origin::start(|seen| match seen.method.as_str() {
        "POST" => Reply::fresh(600, "half")
            .with("Content-Location", "")
            .claiming(100)
            .cut(),
        _ => Reply::fresh(600, "whole"),
    })
    .await;
    let node = Node::before(&origin.url()).await;
    let post = node.client().await.upload("POST", "/a", &[], b"x").await;
    assert_ne!(post.end, End::Complete);
    assert_eq!(node.get("/a").await.text(), "whole");
}

#[tokio::test]
async fn of_two_posts_at_once_neither_is_taken_for_the_last() {
    let gate = Gate::closed();
    let wait = gate.clone();
    let origin = Origin::start(move |seen| {
        let reply = Reply::fresh(600, format!("{} {}", seen.method, seen.target))
            .with("Content-Location", "");
        match (seen.method.as_str(), seen.field("X-Slow")) {
            ("POST", Some(_)) => reply.after(&wait),
            _ => reply,
        }
    })
    .await;
    let node = Node::before(&origin.url()).await;
    let slow = node.client().await;
    let first = tokio::spawn(async move {
        let mut slow = slow;
        slow.upload("POST", "/a", &[("X-Slow", "1")], b"x").await
    });
    eventually(super::SOON, || origin.count("/a") == 1).await;
    let second = node.client().await.upload("POST", "/a", &[], b"x").await;
    assert!(second.cache_status().contains("stored"));
    gate.open();
    let first = first.await.unwrap();
    assert!(!first.cache_status().contains("stored"));
    assert_eq!(node.get("/a").await.text(), "GET /a");
}

#[tokio::test]
async fn a_response_to_post_that_was_asked_for_before_a_purge_is_not_stored() {
    for between in ["/head", "/content"] {
        let gate = Gate::closed();
        let wait = gate.clone();
        let origin = Origin::start(move |seen| {
            let reply = Reply::fresh(600, seen.method.clone()).with("Content-Location", "");
            match (seen.method.as_str(), seen.target.as_str()) {
                ("POST", "/head") => reply.after(&wait),
                ("POST", _) => reply.wait(&wait).then("!"),
                _ => reply,
            }
        })
        .await;
        let node = Node::before(&origin.url()).await;
        let mut client = node.client().await;
        let post = tokio::spawn(async move { client.upload("POST", between, &[], b"x").await });
        eventually(super::SOON, || origin.count(between) == 1).await;
        let bearer = format!("Bearer {}", node.token());
        let fields = [("Authorization", bearer.as_str())];
        let mut admin = Client::connect(node.admin()).await;
        let purged = admin
            .upload("POST", "/v1/purges", &fields, br#"{"all":true}"#)
            .await;
        assert_eq!(purged.status, 200);
        gate.open();
        assert!(post.await.unwrap().text().starts_with("POST"));
        assert_eq!(node.get(between).await.text(), "GET", "{between}");
    }
}

#[tokio::test]
async fn what_a_post_replaced_does_not_come_back_from_the_disk() {
    let origin = origin().await;
    let settings = Settings::origins(&[&origin.url()])
        .table("memory", "object_max = \"2MiB\"")
        .disk("64MiB")
        .site("disk = \"always\"");
    let mut node = Node::start(settings).await;
    assert_eq!(node.get("/a").await.text(), "get");
    let post = node.client().await.upload("POST", "/a", &[], b"x").await;
    assert!(post.cache_status().contains("stored"));
    assert_eq!(node.get("/a").await.text(), "post 1");
    node.kill_and_restart(|_| {}).await;
    // What the POST brought may have reached the disk by then; what it replaced must not be there.
    let again = node.get("/a").await;
    let expected = if again.is_hit() { "post 1" } else { "get" };
    assert_eq!(again.text(), expected);
}
