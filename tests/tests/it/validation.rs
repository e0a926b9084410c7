//! Asking the origin whether what is stored is still right (RFC 9111 §4.3).

use larder_tests::{Node, Origin, Reply};

use crate::seconds;

const MODIFIED: &str = "Mon, 01 Jan 2024 00:00:00 GMT";

#[tokio::test]
async fn a_304_freshens_the_stored_response_and_all_its_fields() {
    let origin = Origin::start(|seen| {
        if seen.is_conditional() {
            Reply::status(304)
                .with("ETag", "\"v1\"")
                .with("Cache-Control", "max-age=60")
                .with("X-Own", "new")
        } else {
            Reply::fresh(60, "body")
                .with("ETag", "\"v1\"")
                .with("X-Own", "old")
        }
    })
    .await;
    let mut node = Node::before(&origin.url()).await;

    assert_eq!(node.get("/a").await.header("X-Own"), Some("old"));
    node.advance(seconds(61));
    let validated = node.get("/a").await;
    assert_eq!((validated.status, validated.text().as_str()), (200, "body"));
    assert_eq!(validated.header("X-Own"), Some("new"));
    assert_eq!(validated.forwarded(), Some("stale"));
    assert_eq!(validated.cache_parameter("fwd-status"), Some("304"));
    assert_eq!(origin.last("/a").field("If-None-Match"), Some("\"v1\""));

    let hit = node.get("/a").await;
    assert!(hit.is_hit());
    assert_eq!(hit.header("X-Own"), Some("new"));
    assert_eq!(hit.headers("X-Own").len(), 1);
    assert_eq!(origin.count("/a"), 2);
}

#[tokio::test]
async fn a_last_modified_is_enough_to_ask_with() {
    let origin = Origin::start(|seen| match seen.field("If-Modified-Since") {
        Some(MODIFIED) => Reply::status(304),
        _ => Reply::fresh(60, "body").with("Last-Modified", MODIFIED),
    })
    .await;
    let mut node = Node::before(&origin.url()).await;
    node.get("/a").await;
    node.advance(seconds(61));
    let validated = node.get("/a").await;
    assert_eq!(validated.text(), "body");
    assert_eq!(validated.cache_parameter("fwd-status"), Some("304"));
}

#[tokio::test]
async fn a_changed_response_replaces_the_stored_one() {
    let origin = Origin::start(|seen| {
        Reply::fresh(60, seen.nth.to_string()).with("ETag", &format!("\"v{}\"", seen.nth))
    })
    .await;
    let mut node = Node::before(&origin.url()).await;
    node.get("/a").await;
    node.advance(seconds(61));
    assert_eq!(node.get("/a").await.text(), "2");
    let hit = node.get("/a").await;
    assert_eq!((hit.text().as_str(), hit.is_hit()), ("2", true));
    assert_eq!(hit.header("ETag"), Some("\"v2\""));
}

#[tokio::test]
async fn no_cache_is_stored_and_validated_every_time() {
    let origin = Origin::start(|seen| {
        if seen.is_conditional() {
            Reply::status(304).with("ETag", "\"1\"")
        } else {
            Reply::ok("x")
                .with("ETag", "\"1\"")
                .with("Cache-Control", "no-cache")
        }
    })
    .await;
    let node = Node::before(&origin.url()).await;
    for nth in 1..4 {
        assert_eq!(node.get("/a").await.text(), "x");
        assert_eq!(origin.count("/a"), nth);
    }
    assert!(origin.last("/a").is_conditional());
}

#[tokio::test]
async fn an_entity_tag_keeps_its_odd_bytes() {
    let tag = "\"\u{fc}ber\"";
    let origin = Origin::start(move |seen| match seen.field("If-None-Match") {
        Some(known) if known == tag => Reply::status(304),
        _ => Reply::fresh(60, "x").with("ETag", tag),
    })
    .await;
    let mut node = Node::before(&origin.url()).await;
    assert_eq!(node.get("/a").await.header("ETag"), Some(tag));
    node.advance(seconds(61));
    assert_eq!(
        node.get("/a").await.cache_parameter("fwd-status"),
        Some("304")
    );
}

#[tokio::test]
async fn a_clients_condition_is_not_passed_off_as_the_nodes_own() {
    // A client holds another version than the node. The origin's 304 to the client's tag must
    // not freshen the node's response.
    let origin = Origin::start(|seen| match seen.field("If-None-Match") {
        Some(tags) if tags.contains("\"client\"") && !tags.contains("\"node\"") => {
            Reply::status(304).with("ETag", "\"client\"")
        }
        _ if seen.nth == 1 => Reply::fresh(60, "node").with("ETag", "\"node\""),
        _ => Reply::fresh(60, "client").with("ETag", "\"client\""),
    })
    .await;
    let mut node = Node::before(&origin.url()).await;
    node.get("/a").await;
    node.advance(seconds(61));
    node.get_with("/a", &[("If-None-Match", "\"client\"")])
        .await;
    assert_eq!(node.get("/a").await.text(), "client");
}

#[tokio::test]
async fn a_304_that_may_not_be_stored_answers_its_request_and_no_other() {
    let origin = Origin::start(|seen| {
        if seen.is_conditional() {
            Reply::status(304)
                .with("ETag", "\"1\"")
                .with("Cache-Control", "private, max-age=60")
                .with("X-Own", &seen.nth.to_string())
        } else {
            Reply::fresh(60, "x")
                .with("ETag", "\"1\"")
                .with("X-Own", "1")
        }
    })
    .await;
    let mut node = Node::before(&origin.url()).await;
    node.get("/a").await;
    node.advance(seconds(61));
    for nth in ["2", "3"] {
        let answer = node.get("/a").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "x"));
        assert_eq!(answer.header("X-Own"), Some(nth));
        assert_eq!(answer.cache_parameter("fwd-status"), Some("304"));
        assert_eq!(answer.cache_parameter("detail"), Some("private"));
        assert_eq!(answer.cache_parameter("stored"), None);
    }
    assert_eq!(origin.count("/a"), 3);
}

#[tokio::test]
async fn a_personal_answer_does_not_remove_what_others_share() {
    let origin = Origin::start(|seen| match seen.field("Authorization") {
        Some(_) => Reply::fresh(60, "personal").with("ETag", "\"personal\""),
        None if seen.is_conditional() => Reply::status(304),
        None => Reply::fresh(60, "shared").with("ETag", "\"shared\""),
    })
    .await;
    let mut node = Node::before(&origin.url()).await;
    node.get("/a").await;
    node.advance(seconds(61));
    let personal = node
        .get_with("/a", &[("Authorization", "Basic eDp5")])
        .await;
    assert_eq!(personal.text(), "personal");
    let shared = node.get("/a").await;
    assert_eq!(shared.text(), "shared");
    assert_eq!(shared.cache_parameter("fwd-status"), Some("304"));
}
