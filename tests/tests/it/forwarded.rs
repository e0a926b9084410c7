//! Who the client is (RFC 7239): by the word of trusted proxies, and nobody else's.

use larder_tests::{Node, Origin, Reply, Settings, eventually};

use super::SOON;

async fn node(node: &[&str], site: &[&str]) -> (Origin, Node) {
    let origin = Origin::start(|_| Reply::fresh(60, "x")).await;
    let mut settings = Settings::origins(&[&origin.url()]);
    for line in node {
        settings = settings.table("node", line);
    }
    for line in site {
        settings = settings.site(line);
    }
    let node = Node::start(settings).await;
    (origin, node)
}

const TRUSTING: &str = "trusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]";
const SPOKEN: [(&str, &str); 4] = [
    ("X-Forwarded-For", "192.0.2.9, 192.0.2.1, 10.1.1.1"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "evil.example"),
    (
        "Forwarded",
        "for=198.51.100.7;proto=https;host=evil.example",
    ),
];

async fn logged(node: &Node) -> (String, String) {
    eventually(SOON, || !node.log_lines().is_empty()).await;
    let line = node.log_lines().pop().expect("a line");
    let text = |name: &str| line[name].as_str().expect("text").to_owned();
    (text("client"), text("scheme"))
}

#[tokio::test]
async fn what_an_untrusted_client_says_is_dropped() {
    for site in ["forwarded = \"set\"", "forwarded = \"append\""] {
        let (origin, node) = node(&[], &[site]).await;
        node.get_with("/a", &SPOKEN).await;
        let seen = origin.last("/a");
        assert_eq!(seen.values("X-Forwarded-For"), ["127.0.0.1"], "{site}");
        assert_eq!(seen.values("X-Forwarded-Proto"), ["http"]);
        assert_eq!(seen.field("X-Forwarded-Host"), None);
        assert_eq!(seen.field("Forwarded"), None);
        assert_eq!(logged(&node).await, ("127.0.0.1".into(), "http".into()));
    }
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_as_far_as_the_trust_reaches() {
    let (origin, node) = node(&[TRUSTING], &[]).await;
    node.get_with("/a", &SPOKEN).await;
    let seen = origin.last("/a");
    assert_eq!(seen.values("X-Forwarded-For"), ["192.0.2.1"]);
    assert_eq!(seen.values("X-Forwarded-Proto"), ["https"]);
    assert_eq!(seen.field("X-Forwarded-Host"), None);
    assert_eq!(logged(&node).await, ("192.0.2.1".into(), "https".into()));
    // The scheme is part of the key: what was asked for with TLS is no answer without.
    assert!(node.get_with("/a", &SPOKEN).await.is_hit());
    assert!(!node.get("/a").await.is_hit());
}

#[tokio::test]
async fn the_path_is_appended_where_the_site_wants_it() {
    let (origin, node) = node(
        &[TRUSTING],
        &["forwarded = \"append\"", "forwarded_as = \"both\""],
    )
    .await;
    node.get_with("/a", &SPOKEN).await;
    let seen = origin.last("/a");
    let path = "192.0.2.1, 10.1.1.1, 127.0.0.1";
    assert_eq!(seen.values("X-Forwarded-For"), [path]);
    let expected =
        "for=192.0.2.1;host=\"www.example.com\";proto=https, for=10.1.1.1, for=127.0.0.1";
    assert_eq!(seen.values("Forwarded"), [expected]);
}

#[tokio::test]
async fn forwarded_is_read_and_written_where_the_proxies_and_the_origin_speak_it() {
    let reading = "trusted_field = \"forwarded\"";
    let (origin, node) = node(&[TRUSTING, reading], &["forwarded_as = \"forwarded\""]).await;
    node.get_with("/a", &SPOKEN).await;
    let seen = origin.last("/a");
    assert_eq!(
        seen.values("Forwarded"),
        ["for=198.51.100.7;host=\"www.example.com\";proto=https"]
    );
    assert_eq!(seen.field("X-Forwarded-For"), None);
    assert_eq!(seen.field("X-Forwarded-Proto"), None);
    assert_eq!(logged(&node).await.0, "198.51.100.7");
}

#[tokio::test]
async fn nothing_is_told_where_the_site_wants_nothing() {
    let (origin, node) = node(&[TRUSTING], &["forwarded = \"off\""]).await;
    node.get_with("/a", &SPOKEN).await;
    let seen = origin.last("/a");
    for name in [
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "Forwarded",
    ] {
        assert_eq!(seen.field(name), None, "{name}");
    }
}

#[tokio::test]
async fn an_origin_with_its_own_name_is_told_what_was_asked_for() {
    let origin = Origin::start(|_| Reply::fresh(60, "x")).await;
    let line = format!(
        "origins = [{{ url = \"{}\", host = \"inner.example\" }}]",
        origin.url()
    );
    let node = Node::start(Settings::origins(&[&origin.url()]).site(&line)).await;
    node.get_with("/a", &SPOKEN).await;
    let seen = origin.last("/a");
    assert_eq!(seen.field("Host"), Some("inner.example"));
    assert_eq!(seen.values("X-Forwarded-Host"), ["www.example.com"]);
}
