//! What is stored, and what is answered from the store.

use larder_tests::{Node, Origin, Reply, Settings, free_port};

use crate::seconds;

#[tokio::test]
async fn a_fresh_response_is_answered_from_the_cache() {
    let origin = Origin::start(|_| Reply::fresh(60, "hello").with("X-Own", "1")).await;
    let mut node = Node::before(&origin.url()).await;

    let first = node.get("/a").await;
    assert_eq!((first.status, first.text().as_str()), (200, "hello"));
    assert_eq!(first.forwarded(), Some("uri-miss"));
    assert_eq!(first.cache_parameter("fwd-status"), Some("200"));
    assert_eq!(first.cache_parameter("stored"), Some(""));
    assert!(
        first.cache_status().starts_with("larder;"),
        "{}",
        first.cache_status()
    );

    node.advance(seconds(20));
    let second = node.get("/a").await;
    assert_eq!((second.status, second.text().as_str()), (200, "hello"));
    assert_eq!(second.header("X-Own"), Some("1"));
    assert_eq!(second.age(), Some(20));
    assert_eq!(second.cache_parameter("ttl"), Some("40"));
    assert!(second.is_hit(), "{}", second.cache_status());
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test]
async fn after_its_lifetime_a_response_is_asked_for_again() {
    let origin = Origin::start(|seen| Reply::fresh(60, seen.nth.to_string())).await;
    let mut node = Node::before(&origin.url()).await;

    assert_eq!(node.get("/a").await.text(), "1");
    node.advance(seconds(59));
    assert_eq!(node.get("/a").await.text(), "1");
    node.advance(seconds(1));
    let third = node.get("/a").await;
    assert_eq!(third.text(), "2");
    assert_eq!(third.forwarded(), Some("stale"));
    assert_eq!(third.age().unwrap_or_default(), 0);
}

#[tokio::test]
async fn the_age_a_parent_reports_counts() {
    let origin =
        Origin::start(|seen| Reply::fresh(60, seen.nth.to_string()).with("Age", "50")).await;
    let mut node = Node::before(&origin.url()).await;

    node.get("/a").await;
    node.advance(seconds(5));
    let hit = node.get("/a").await;
    assert_eq!((hit.text().as_str(), hit.age()), ("1", Some(55)));
    node.advance(seconds(5));
    assert_eq!(node.get("/a").await.text(), "2");
}

#[tokio::test]
async fn what_may_not_be_stored_is_not() {
    let origin = Origin::start(|seen| {
        let reply = Reply::ok("x");
        match seen.target.as_str() {
            "/nothing-said" => reply,
            "/no-store" => reply.with("Cache-Control", "no-store, max-age=60"),
            "/private" => reply.with("Cache-Control", "private, max-age=60"),
            "/vary-star" => reply.with("Cache-Control", "max-age=60").with("Vary", "*"),
            "/cookie" => reply
                .with("Cache-Control", "max-age=60")
                .with("Set-Cookie", "a=1"),
            "/garbage" => reply.with("Cache-Control", "max-age=sixty"),
            "/twice" => reply.with("Cache-Control", "max-age=60, max-age=0"),
            "/partial" => Reply::status(206)
                .then("x")
                .with("Content-Range", "bytes 0-0/9")
                .with("Cache-Control", "max-age=60"),
            other => unreachable!("{other}"),
        }
    })
    .await;
    let node = Node::before(&origin.url()).await;

    for target in [
        "/nothing-said",
        "/no-store",
        "/private",
        "/vary-star",
        "/cookie",
        "/garbage",
        "/twice",
        "/partial",
    ] {
        let first = node.get(target).await;
        assert_eq!(
            first.cache_parameter("stored"),
            None,
            "{target}: {}",
            first.cache_status()
        );
        let second = node.get(target).await;
        assert!(!second.is_hit(), "{target}: {}", second.cache_status());
        assert_eq!(origin.count(target), 2, "{target}");
    }
}

#[tokio::test]
async fn errors_with_nothing_but_a_last_modified_are_not_stored() {
    let origin = Origin::start(|seen| {
        let status = seen.target[1..].parse().expect("a status");
        Reply::status(status)
            .then("x")
            .with("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
    })
    .await;
    let node = Node::before(&origin.url()).await;

    // 414 and 501 are not among them: both may be stored by heuristics (RFC 9110 §15.1), and both are about the
    // target and the method, which the key tells apart.
    for status in [400, 403, 413, 431, 500, 502, 503] {
        let target = format!("/{status}");
        assert_eq!(node.get(&target).await.status, status);
        assert_eq!(node.get(&target).await.status, status);
        assert_eq!(origin.count(&target), 2, "{status}");
    }
}

#[tokio::test]
async fn an_error_with_explicit_freshness_is_stored() {
    let origin = Origin::start(|_| {
        Reply::status(404)
            .then("gone")
            .with("Cache-Control", "max-age=60")
    })
    .await;
    let node = Node::before(&origin.url()).await;
    node.get("/a").await;
    let second = node.get("/a").await;
    assert_eq!((second.status, second.is_hit()), (404, true));
}

#[tokio::test]
async fn a_response_to_an_authorized_request_is_shared_only_by_permission() {
    let origin = Origin::start(|seen| {
        Reply::ok("x").with(
            "Cache-Control",
            match seen.target.as_str() {
                "/silent" => "max-age=60",
                "/public" => "public, max-age=60",
                "/s-maxage" => "s-maxage=60",
                _ => "max-age=60, must-revalidate",
            },
        )
    })
    .await;
    let node = Node::before(&origin.url()).await;

    for (target, shared) in [
        ("/silent", false),
        ("/public", true),
        ("/s-maxage", true),
        ("/must-revalidate", true),
    ] {
        node.get_with(target, &[("Authorization", "Basic YTpi")])
            .await;
        assert_eq!(node.get(target).await.is_hit(), shared, "{target}");
    }
}

#[tokio::test]
async fn a_targeted_field_is_preferred() {
    let origin = Origin::start(|_| {
        Reply::ok("x")
            .with("CDN-Cache-Control", "max-age=60")
            .with("Cache-Control", "no-store")
    })
    .await;
    let node = Node::before(&origin.url()).await;
    node.get("/a").await;
    assert!(node.get("/a").await.is_hit());
}

#[tokio::test]
async fn head_is_answered_from_a_stored_get() {
    let origin = Origin::start(|_| Reply::fresh(60, "hello")).await;
    let node = Node::before(&origin.url()).await;
    node.get("/a").await;
    let head = node.request("HEAD", "/a", &[]).await;
    assert!(head.is_hit());
    assert_eq!(
        (head.status, head.header("Content-Length")),
        (200, Some("5"))
    );
    assert!(head.body.is_empty());
    assert_eq!(origin.total(), 1);
}

#[tokio::test]
async fn a_client_may_validate_but_not_force_a_refetch_unless_the_site_lets_it() {
    let origin = Origin::start(|seen| {
        if seen.is_conditional() {
            Reply::status(304).with("ETag", "\"1\"")
        } else {
            Reply::fresh(60, "x").with("ETag", "\"1\"")
        }
    })
    .await;
    let url = origin.url();
    let ask = |control: &'static str| {
        let settings = Settings::origins(&[&url]).site(&format!("client_control = \"{control}\""));
        async move {
            let node = Node::start(settings).await;
            node.get("/a").await;
            node.get_with("/a", &[("Cache-Control", "no-cache")]).await
        }
    };

    assert!(ask("ignore").await.is_hit());
    assert_eq!(origin.total(), 1);
    assert_eq!(
        ask("validate").await.cache_parameter("fwd-status"),
        Some("304")
    );
    assert_eq!(origin.total(), 3);
    assert_eq!(ask("obey").await.forwarded(), Some("request"));
}

#[tokio::test]
async fn only_if_cached_is_answered_without_the_origin() {
    let origin = Origin::start(|_| Reply::fresh(60, "x")).await;
    let node = Node::before(&origin.url()).await;
    let only = [("Cache-Control", "only-if-cached")];
    assert_eq!(node.get_with("/a", &only).await.status, 504);
    assert_eq!(origin.total(), 0);
    node.get("/a").await;
    assert!(node.get_with("/a", &only).await.is_hit());
}

#[tokio::test]
async fn a_rule_sets_lifetimes_by_path_and_by_status() {
    let origin = Origin::start(|seen| match seen.target.as_str() {
        "/assets/a.js" => Reply::ok("js"),
        _ => Reply::status(404).then("gone"),
    })
    .await;
    let settings = Settings::origins(&[&origin.url()])
        .rule("match = { path = \"/assets/*\" }\nttl = \"1h\"")
        .rule("match = { status = [404] }\nttl = \"10s\"");
    let mut node = Node::start(settings).await;

    node.get("/assets/a.js").await;
    node.get("/missing").await;
    assert!(node.get("/assets/a.js").await.is_hit());
    assert!(node.get("/missing").await.is_hit());
    node.advance(seconds(11));
    assert!(node.get("/assets/a.js").await.is_hit());
    assert!(!node.get("/missing").await.is_hit());
}

#[tokio::test]
async fn every_response_says_via_and_every_request_says_cdn_loop() {
    let origin = Origin::start(|_| Reply::fresh(60, "x")).await;
    let node = Node::before(&origin.url()).await;
    let answer = node.get("/a").await;
    assert!(
        answer
            .header("Via")
            .is_some_and(|via| via.contains("larder"))
    );
    let seen = origin.last("/a");
    let entry = seen.field("CDN-Loop").unwrap_or_default();
    assert!(entry.starts_with("larder; instance="), "{entry}");
    assert!(seen.field("Via").is_some_and(|via| via.contains("larder")));
}

#[tokio::test]
async fn two_nodes_in_front_of_each_other_stop_the_loop() {
    let (first_port, second_port) = (free_port(), free_port());
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let listen = |port: u16| format!("\"127.0.0.1:{port}\"");
    let one = Settings::origins(&[&url(second_port)]).listener(&listen(first_port));
    let two = Settings::origins(&[&url(first_port)])
        .listener(&listen(second_port))
        .table("node", "name = \"parent\"");
    let node = Node::start(one).await;
    let parent = Node::start(two).await;

    let answer = node.get("/a").await;
    assert!(
        matches!(answer.status, 400 | 502 | 508),
        "{}",
        answer.status
    );
    assert!(parent.log_lines().len() <= 1);
    // The request came in twice at most: from the client, and back from the parent.
    let lines = node.metrics().await.sum("larder_requests_total", &[]);
    assert!(lines <= 2.0, "{lines}");
}

#[tokio::test]
async fn an_object_larger_than_the_largest_is_passed_on_whole_and_not_stored() {
    let body = vec![b'x'; 3 << 20];
    let origin = Origin::start(move |_| Reply::fresh(60, body.clone()).chunked()).await;
    let settings = Settings::origins(&[&origin.url()]).table("memory", "object_max = \"1MiB\"");
    let node = Node::start(settings).await;
    for _ in 0..2 {
        let answer = node.get("/big").await;
        assert_eq!((answer.body.len(), answer.is_hit()), (3 << 20, false));
    }
    assert_eq!(origin.count("/big"), 2);
}

#[tokio::test]
async fn an_object_that_says_that_it_is_too_large_is_not_waited_for() {
    let body = vec![b'x'; 3 << 20];
    let origin = Origin::start(move |_| Reply::fresh(60, body.clone())).await;
    let settings = Settings::origins(&[&origin.url()]).table("memory", "object_max = \"1MiB\"");
    let node = Node::start(settings).await;
    for detail in ["too-long", "uncacheable"] {
        let answer = node.get("/big").await;
        assert_eq!(answer.body.len(), 3 << 20);
        assert_eq!(answer.cache_parameter("stored"), None);
        assert_eq!(answer.cache_parameter("detail"), Some(detail));
    }
}

#[tokio::test]
async fn flags_alone_make_a_cache() {
    let origin = Origin::start(|_| Reply::fresh(60, "x")).await;
    let node = Node::with_flags(&[
        "--origin",
        &origin.url(),
        "--memory",
        "32MiB",
        "--node",
        "n1",
    ])
    .await;
    node.get("/a").await;
    let hit = node.get("/a").await;
    assert!(
        hit.cache_status().starts_with("n1; hit"),
        "{}",
        hit.cache_status()
    );
}
