//! Variants (RFC 9111 §4.1).

use larder_tests::{Node, Origin, Reply, Settings, eventually};

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

/// Echoes what the origin sees of these fields, and varies on `vary`.
async fn echoing(names: &'static [&'static str], vary: &'static str) -> Origin {
    Origin::start(move |seen| {
        let values = names.iter().map(|name| seen.field(name).unwrap_or("none"));
        Reply::fresh(600, values.collect::<Vec<_>>().join("|")).with("Vary", vary)
    })
    .await
}

#[tokio::test]
async fn chosen_cookies_make_variants_and_others_never_reach_the_origin() {
    let origin = echoing(&["Cookie"], "Cookie").await;
    let settings = Settings::origins(&[&origin.url()])
        .site("vary = { cookies = [\"currency\"] }")
        .site("key = { cookies = [\"beta\"] }")
        .rule("match = { path = \"/account\" }\ncache = false");
    let node = Node::start(settings).await;
    let ask = async |target: &str, cookie: &str| node.get_with(target, &[("Cookie", cookie)]).await;

    let first = ask("/a", "session=1; currency=EUR").await;
    assert_eq!(first.text(), "currency=EUR");
    assert!(ask("/a", "currency=EUR; session=2").await.is_hit());
    let other = ask("/a", "session=1; currency=USD").await;
    assert_eq!(
        (other.text().as_str(), other.is_hit()),
        ("currency=USD", false)
    );
    assert_eq!(ask("/a", "session=1").await.text(), "none");
    assert!(node.get("/a").await.is_hit());
    // What the key has reaches the origin as well, and what passes by keeps everything.
    assert_eq!(
        ask("/a", "beta=1; currency=EUR; x=y").await.text(),
        "currency=EUR; beta=1"
    );
    assert_eq!(
        ask("/account", "session=1; a=b").await.text(),
        "session=1; a=b"
    );
    let post = node
        .client()
        .await
        .upload("POST", "/a", &[("Cookie", "session=1")], b"x")
        .await;
    assert_eq!(post.text(), "session=1");
}

#[tokio::test]
async fn classes_of_devices_share_a_variant_and_the_origin_is_told_the_class() {
    for vary in ["User-Agent", "X-Device-Class"] {
        let origin = echoing(&["X-Device-Class"], vary).await;
        let settings =
            Settings::origins(&[&origin.url()]).site("vary = { user_agent = \"device\" }");
        let node = Node::start(settings).await;
        let ask = async |agent: &str| {
            let fields = [("User-Agent", agent), ("X-Device-Class", "evil")];
            node.get_with("/a", &fields).await
        };
        for (agent, class, is_hit) in [
            ("Mozilla/5.0 (iPhone) Mobile/15E148", "phone", false),
            ("Mozilla/5.0 (Android 16; Mobile)", "phone", true),
            ("Mozilla/5.0 (iPad) Mobile/15E148", "tablet", false),
            ("Mozilla/5.0 (Android 16)", "tablet", true),
            ("curl/8", "other", false),
            ("wget", "other", true),
        ] {
            let answer = ask(agent).await;
            assert_eq!(
                (answer.text().as_str(), answer.is_hit()),
                (class, is_hit),
                "{vary} {agent}"
            );
        }
    }
}

#[tokio::test]
async fn a_language_is_selected_by_weight_where_the_site_says_so() {
    let origin = Origin::start(|_| {
        Reply::fresh(60, "deutsch")
            .with("Vary", "Accept-Language")
            .with("Content-Language", "de")
    })
    .await;
    for (setting, is_hit) in [("preferred", true), ("normalise", false)] {
        let line = format!("vary = {{ accept_language = \"{setting}\" }}");
        let mut node = Node::start(Settings::origins(&[&origin.url()]).site(&line)).await;
        node.get_with("/a", &[("Accept-Language", "en, de")]).await;
        let fields = [("Accept-Language", "fr;q=0.5, de;q=1.0")];
        assert_eq!(node.get_with("/a", &fields).await.is_hit(), is_hit);
        // Once it is stale, it is another variant: its validation would be about another request.
        node.advance(super::seconds(120));
        let other = [("Accept-Language", "it;q=0.5, de;q=1.0")];
        let stale = node.get_with("/a", &other).await;
        assert_eq!(stale.forwarded(), Some("vary-miss"));
    }
}

#[tokio::test]
async fn a_miss_for_a_selecting_field_says_so_everywhere() {
    let origin = echoing(&["User-Agent"], "User-Agent, X-Colour").await;
    let node = Node::before(&origin.url()).await;
    node.get_with("/a", &[("User-Agent", "one")]).await;
    let miss = node.get_with("/a", &[("User-Agent", "two")]).await;
    assert_eq!(miss.forwarded(), Some("vary-miss"));
    assert_eq!(miss.cache_parameter("detail"), Some("vary-user-agent"));
    let labels = [
        ("site", "main"),
        ("why", "vary-miss"),
        ("detail", "vary-user-agent"),
    ];
    node.metrics_when(|metrics| metrics.sum("larder_forwarded_total", &labels) == 1.0)
        .await;
    eventually(super::SOON, || node.log_lines().len() == 2).await;
    // Lines may be in another order than the answers.
    let lines = node.log_lines();
    let line = lines.iter().find(|line| line["fwd"] == "vary-miss");
    let line = line.expect("a line that says so");
    assert_eq!(line["detail"], "vary-user-agent");
}

#[tokio::test]
async fn a_field_that_nobody_cared_for_is_told_once_and_counted() {
    let origin = echoing(&["X-Colour"], "X-Colour, Accept-Encoding, X-Shape").await;
    let settings = Settings::origins(&[&origin.url()]).site("vary = { ignore = [\"X-Shape\"] }");
    let node = Node::start(settings).await;
    for target in ["/a", "/b", "/c"] {
        node.get(target).await;
    }
    let count = async |care: &str| {
        let labels = [("site", "main"), ("care", care)];
        node.metrics()
            .await
            .sum("larder_unkeyed_vary_total", &labels)
    };
    assert_eq!((count("none").await, count("ignored").await), (3.0, 3.0));
    let told = |field: &str| {
        let messages = node.stderr();
        let about = messages
            .iter()
            .filter(|line| line.contains("responses vary on a field") && line.contains(field));
        about.count()
    };
    assert_eq!(
        (told("x-colour"), told("x-shape"), told("accept-encoding")),
        (1, 1, 0)
    );
}

#[tokio::test]
async fn what_varies_on_the_clients_address_is_not_stored() {
    let origin = echoing(&["X-Forwarded-For"], "X-Forwarded-For").await;
    let node = Node::before(&origin.url()).await;
    let answer = node.get("/a").await;
    assert_eq!(answer.cache_parameter("detail"), Some("vary-client"));
    assert!(!node.get("/a").await.is_hit());
}

#[tokio::test]
async fn a_field_that_does_not_reach_the_origin_makes_no_variants() {
    let origin = echoing(&["X-Forwarded-Host"], "X-Forwarded-Host").await;
    let node = Node::before(&origin.url()).await;
    node.get_with("/a", &[("X-Forwarded-Host", "one")]).await;
    let other = node.get_with("/a", &[("X-Forwarded-Host", "two")]).await;
    assert_eq!((other.text().as_str(), other.is_hit()), ("none", true));
}
