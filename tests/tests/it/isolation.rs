//! One client's request must not colour another's answer: keys, unkeyed input, poisoning.

use larder_tests::{Node, Origin, Reply, Response, Settings};

/// Fields from which applications build links, redirects and methods. None is in the key.
const UNKEYED: [&str; 32] = [
    "X-Forwarded-Host",
    "X-Forwarded-Server",
    "X-Forwarded-Proto",
    "X-Forwarded-Protocol",
    "X-Forwarded-Scheme",
    "X-Forwarded-Ssl",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Path",
    "X-Forwarded-Uri",
    "X-Host",
    "X-HTTP-Host-Override",
    "X-Original-Host",
    "X-Original-URL",
    "X-Original-Uri",
    "X-Rewrite-URL",
    "X-Override-URL",
    "X-Scheme",
    "X-Url-Scheme",
    "Front-End-Https",
    "Forwarded",
    "X-HTTP-Method",
    "X-HTTP-Method-Override",
    "X-Method-Override",
    "X-Proxy-URL",
    "Base-Url",
    "Request-Uri",
    "Destination",
    "Proxy",
    "X-WAP-Profile",
    "X-Request-Uri",
    "X-Backend-Host",
];

#[tokio::test]
async fn fields_outside_the_key_never_reach_what_is_stored() {
    let origin = Origin::start(|seen| {
        let evil = seen.fields.iter().any(|(_, value)| value.contains("evil"));
        Reply::fresh(600, if evil { "poisoned" } else { "clean" })
    })
    .await;
    let node = Node::before(&origin.url()).await;
    for name in UNKEYED {
        let target = format!("/{name}");
        node.get_with(&target, &[(name, "evil")]).await;
        assert_eq!(node.get(&target).await.text(), "clean", "{name}");
    }
}

/// Asks for a host and a target that stand side by side.
async fn ask(node: &Node, place: &str) -> Response {
    let (host, target) = place.split_once(' ').expect("a host and a target");
    node.get_with(target, &[("Host", host)]).await
}

/// CVE-2026-2836: the default key was the path alone.
#[tokio::test]
async fn keys_differ_wherever_the_resource_may() {
    let origin = Origin::start(|seen| {
        let host = seen.field("Host").unwrap_or_default();
        Reply::fresh(600, format!("{host} {}", seen.target))
    })
    .await;
    let node = Node::before(&origin.url()).await;
    for (one, other) in [
        ("a.example /1", "b.example /1"),
        ("a.example /2", "a.example:8080 /2"),
        ("a.example /3?a=1", "a.example /3?a=2"),
        ("a.example /4", "a.example /4?"),
        ("a.example /5?a=1&b=2", "a.example /5?b=2&a=1"),
        ("a.example /6/x", "a.example /6%2fx"),
        ("a.example /7/X", "a.example /7/x"),
        ("a.example /8", "a.example //8"),
        ("a.example /9?a=b%26c", "a.example /9?a=b&c"),
        ("a.example /10?a=1;b", "a.example /10?a=1"),
        ("a.exampl /11", "a.example /11"),
        ("a.example /12?a=1&a=2", "a.example /12?a=2&a=1"),
    ] {
        let first = ask(&node, one).await;
        let second = ask(&node, other).await;
        assert!(!second.is_hit(), "{one} = {other}");
        assert_eq!(
            (first.text().as_str(), second.text().as_str()),
            (one, other)
        );
    }
    assert!(ask(&node, "a.example /1").await.is_hit());
    let same = ask(&node, "A.EXAMPLE /1").await;
    assert!(same.is_hit(), "{}", same.cache_status());
}

#[tokio::test]
async fn a_request_that_breaks_the_origin_breaks_nobody_else() {
    let origin = Origin::start(|seen| {
        let odd = seen.raw.len() > 8000
            || seen.raw.iter().any(|byte| *byte == 7 || *byte > 127)
            || seen.fields.len() > 80
            || seen.field("Content-Type").is_some()
            || seen.field("X-HTTP-Method-Override").is_some();
        if odd {
            // As bad as it gets: the error says that it may be stored.
            Reply::status(400)
                .with("Cache-Control", "max-age=600")
                .then("too much")
        } else {
            Reply::fresh(600, "fine")
        }
    })
    .await;
    let node = Node::before(&origin.url()).await;
    let long = "x".repeat(12_000);
    for (target, name, value) in [
        ("/oversize", "X-Long", long.as_str()),
        ("/control", "X-Bell", "a\u{7}b"),
        ("/latin", "X-Name", "caf\u{e9}"),
        ("/type", "Content-Type", "no/such/type"),
        ("/override", "X-HTTP-Method-Override", "DELETE"),
    ] {
        let mut client = node.client().await;
        client.ask("GET", target, &[(name, value)]).await;
        drop(client.answer_to("GET").await);
        let clean = node.get(target).await;
        assert_eq!(
            (clean.status, clean.text().as_str()),
            (200, "fine"),
            "{target}"
        );
    }
    let many: Vec<(String, &str)> = (0..90).map(|n| (format!("X-{n}"), "1")).collect();
    let many: Vec<_> = many
        .iter()
        .map(|(name, value)| (name.as_str(), *value))
        .collect();
    let odd = node.get_with("/many", &many).await;
    assert_eq!(
        (odd.status, odd.cache_parameter("detail")),
        (400, Some("request-error"))
    );
    assert_eq!(node.get("/many").await.text(), "fine");
}

/// An error that a plain request gets may be stored, if the origin says so: it is everybody's.
#[tokio::test]
async fn an_error_that_nobody_provoked_is_stored() {
    let origin = Origin::start(|_| Reply::status(400).with("Cache-Control", "max-age=600")).await;
    let node = Node::before(&origin.url()).await;
    node.get("/a").await;
    assert!(node.get("/a").await.is_hit());
}

/// A field that is nominated in `Connection` is gone before anybody looks: the key, the variant and the origin see the
/// same request.
#[tokio::test]
async fn a_field_nominated_in_connection_is_missing_for_the_key_as_well() {
    let origin = Origin::start(|seen| {
        let currency = seen.field("Cookie").unwrap_or("none");
        let language = seen.field("Accept-Language").unwrap_or("none");
        Reply::fresh(600, format!("{currency} {language}")).with("Vary", "Accept-Language")
    })
    .await;
    let settings = Settings::origins(&[&origin.url()]).site("key = { cookies = [\"currency\"] }");
    let node = Node::start(settings).await;
    for nominated in ["Cookie", "Accept-Language", "Cookie, Accept-Language, Host"] {
        let target = format!("/{}", nominated.len());
        let fields = [("Cookie", "currency=EUR"), ("Accept-Language", "de")];
        let tricked = [fields[0], fields[1], ("Connection", nominated)];
        node.get_with(&target, &tricked).await;
        let honest = node.get_with(&target, &fields).await;
        assert_eq!(honest.text(), "currency=EUR de", "{nominated}");
        assert!(!honest.is_hit());
        assert!(node.get_with(&target, &fields).await.is_hit());
    }
}

#[tokio::test]
async fn parameters_that_nobody_keyed_do_not_reach_the_origin() {
    let origin = Origin::start(|seen| Reply::fresh(600, seen.target.clone())).await;
    let settings = Settings::origins(&[&origin.url()])
        .site("key = { query = { except = [\"utm_*\"] } }")
        .rule("match = { path = \"/signed\" }\nkey = { unkeyed_query = \"pass\" }")
        .rule("match = { path = \"/live\" }\ncache = false");
    let node = Node::start(settings).await;
    let poisoned = node.get("/a?b=2&utm_source=evil&a=1").await;
    assert_eq!(poisoned.text(), "/a?b=2&a=1");
    assert!(node.get("/a?b=2&a=1").await.is_hit());
    assert_eq!(node.get("/b?utm_source=x").await.text(), "/b");
    let head = node
        .client()
        .await
        .request("HEAD", "/c?utm_source=x&d", &[])
        .await;
    assert_eq!(head.status, 200);
    assert_eq!(origin.count("/c?d"), 1);
    assert_eq!(
        node.get("/signed?utm_source=x").await.text(),
        "/signed?utm_source=x"
    );
    assert_eq!(
        node.get("/live?utm_source=x").await.text(),
        "/live?utm_source=x"
    );
}

/// CVE-2026-105299: fields that a client nominates in `Connection` took the node's own with them.
#[tokio::test]
async fn nominating_a_field_in_connection_removes_nothing_that_matters() {
    let origin = Origin::start(|_| Reply::echo()).await;
    let node = Node::before(&origin.url()).await;
    for nominated in [
        "Host",
        "Content-Length",
        "X-Forwarded-For",
        "Via",
        "CDN-Loop",
        "Cookie",
    ] {
        let target = format!("/{nominated}");
        let fields = [
            ("Connection", nominated),
            ("X-Private", "1"),
            ("Cookie", "a=1"),
        ];
        let answer = node
            .client()
            .await
            .upload("POST", &target, &fields, b"hello")
            .await;
        if answer.status == 400 {
            continue;
        }
        assert_eq!(answer.text(), "hello", "{nominated}");
        let seen = origin.last(&target);
        assert_eq!(seen.values("Host"), ["www.example.com"], "{nominated}");
        assert_eq!(&seen.body[..], b"hello", "{nominated}");
        assert!(seen.field("X-Forwarded-For").is_some(), "{nominated}");
        assert!(seen.field("CDN-Loop").is_some(), "{nominated}");
    }
}

#[tokio::test]
async fn hop_by_hop_fields_stop_here_in_both_directions() {
    let origin = Origin::start(|_| {
        Reply::fresh(60, "x")
            .with("Connection", "X-Hop")
            .with("X-Hop", "1")
            .with("Keep-Alive", "timeout=5")
            .with("Proxy-Authenticate", "Basic")
            .with("X-End", "1")
    })
    .await;
    let node = Node::before(&origin.url()).await;
    let fields = [
        ("Connection", "X-Mine, keep-alive"),
        ("X-Mine", "1"),
        ("Keep-Alive", "300"),
        ("TE", "trailers"),
        ("Proxy-Connection", "keep-alive"),
    ];
    for answer in [node.get_with("/a", &fields).await, node.get("/a").await] {
        assert_eq!(answer.header("X-Hop"), None);
        assert_eq!(answer.header("X-End"), Some("1"));
        assert_ne!(answer.header("Keep-Alive"), Some("timeout=5"));
    }
    let seen = origin.last("/a");
    for name in ["X-Mine", "Keep-Alive", "Proxy-Connection"] {
        assert_eq!(seen.field(name), None, "{name}");
    }
}

#[tokio::test]
async fn a_get_with_a_body_does_not_poison_the_one_without() {
    let origin = Origin::start(|seen| {
        let fat = seen
            .field("Content-Length")
            .is_some_and(|length| length != "0");
        Reply::fresh(600, if fat { "poisoned" } else { "clean" })
    })
    .await;
    let node = Node::before(&origin.url()).await;
    node.client()
        .await
        .upload("GET", "/a", &[], b"admin=1")
        .await;
    assert_eq!(node.get("/a").await.text(), "clean");
}

#[tokio::test]
async fn the_keys_query_follows_the_sites_rules() {
    let origin = Origin::start(|seen| Reply::fresh(600, seen.target.clone())).await;
    let settings = Settings::origins(&[&origin.url()])
        .site("key = { query = { except = [\"utm_*\"] }, sort = true }");
    let node = Node::start(settings).await;
    node.get("/a?b=2&a=1&utm_source=x").await;
    assert!(node.get("/a?a=1&b=2").await.is_hit());
    assert!(!node.get("/a?a=1&b=3").await.is_hit());
}

#[tokio::test]
async fn private_pages_with_the_name_of_an_asset_are_not_stored() {
    let origin = Origin::start(|_| Reply::ok("secret").with("Cache-Control", "private")).await;
    let node = Node::before(&origin.url()).await;
    for target in [
        "/account/x.css",
        "/account;x.css",
        "/account%0Ax.css",
        "/account%2fx.css",
        "/account/..%2fstatic/x.js",
        "/account?x.css",
        "/account/x.png",
        "/account/;/x.ico",
    ] {
        node.get(target).await;
        assert!(!node.get(target).await.is_hit(), "{target}");
    }
}
