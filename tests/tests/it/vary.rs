//! Variants (RFC 9111 §4.1).

use larder_tests::{Node, Origin, Reply, Settings};

/// Echoes one field of the request, and varies on it.
async fn varying(name: &'static str) -> Origin {
    Origin::start(move |seen| {
        let value = seen.field(name).unwrap_or("none").to_owned();
        Reply::fresh(60, value).with("Vary", name)
    })
    .await
}

#[tokio::test]
async fn every_variant_is_stored_beside_the_others() {
    let origin = varying("X-Colour").await;
    let node = Node::before(&origin.url()).await;

    assert_eq!(
        node.get_with("/a", &[("X-Colour", "red")]).await.text(),
        "red"
    );
    let blue = node.get_with("/a", &[("X-Colour", "blue")]).await;
    assert_eq!(
        (blue.text().as_str(), blue.forwarded()),
        ("blue", Some("vary-miss"))
    );
    assert_eq!(node.get("/a").await.text(), "none");
    for (fields, text) in [
        (vec![("X-Colour", "red")], "red"),
        (vec![("X-Colour", "blue")], "blue"),
        (vec![], "none"),
    ] {
        let hit = node.get_with("/a", &fields).await;
        assert_eq!((hit.text().as_str(), hit.is_hit()), (text, true));
    }
    assert_eq!(origin.total(), 3);
}

#[tokio::test]
async fn codings_that_mean_the_same_share_a_variant() {
    let origin = varying("Accept-Encoding").await;
    let settings = Settings::origins(&[&origin.url()]).site("codings = { offer = [] }");
    let node = Node::start(settings).await;
    node.get_with("/a", &[("Accept-Encoding", "gzip, br")])
        .await;
    let same = node.get_with("/a", &[("Accept-Encoding", "br,gzip")]).await;
    assert!(same.is_hit(), "{}", same.cache_status());
    let other = node
        .get_with("/a", &[("Accept-Encoding", "gzip;q=0")])
        .await;
    assert!(!other.is_hit(), "{}", other.cache_status());
}

#[tokio::test]
async fn an_ignored_field_makes_no_variants() {
    let origin = varying("User-Agent").await;
    let settings = Settings::origins(&[&origin.url()]).site("vary = { ignore = [\"User-Agent\"] }");
    let node = Node::start(settings).await;
    node.get_with("/a", &[("User-Agent", "one")]).await;
    assert!(node.get_with("/a", &[("User-Agent", "two")]).await.is_hit());
}

#[tokio::test]
async fn a_flood_of_variants_is_capped_and_hurts_no_other_key() {
    let origin = varying("X-Colour").await;
    let settings = Settings::origins(&[&origin.url()]).table("limits", "variants = 8");
    let node = Node::start(settings).await;
    node.get("/other").await;

    let mut client = node.client().await;
    for number in 0..200 {
        let colour = number.to_string();
        assert_eq!(
            client.get_with("/a", &[("X-Colour", &colour)]).await.text(),
            colour
        );
    }
    assert!(node.get("/other").await.is_hit());
    let mut hits = 0;
    for number in 0..200 {
        let answer = client
            .get_with("/a", &[("X-Colour", &number.to_string())])
            .await;
        hits += usize::from(answer.is_hit());
    }
    assert!(hits <= 8, "{hits}");
}
