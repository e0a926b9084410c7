//! Early hints (RFC 8297) through tiers: from the origin through parents to who faces the client.

use larder_tests::{Gate, Node, Origin, Reply, Response, Settings, TierKey, Tiers};

fn hints(answer: &Response) -> Vec<String> {
    let early = answer
        .interim
        .iter()
        .filter(|head| head.start.contains("103"));
    early
        .flat_map(|head| {
            assert!(
                !head
                    .fields
                    .iter()
                    .any(|(name, _)| name.eq_ignore_ascii_case("larder-tier")),
                "what nodes tell each other goes no further: {head:?}"
            );
            let links = head.fields.iter();
            let links = links.filter(|(name, _)| name.eq_ignore_ascii_case("link"));
            links.map(|(_, value)| value.clone()).collect::<Vec<_>>()
        })
        .collect()
}

fn on(settings: Settings) -> Settings {
    settings.site("early_hints = \"forward\"")
}

#[tokio::test]
async fn hints_of_the_origin_reach_the_client_before_the_response_through_three_tiers() {
    let gate = Gate::closed();
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        Reply::fresh(600, "x")
            .interim(103, &[("Link", "</a.css>; rel=preload")])
            .wait(&held)
            .then("y")
    })
    .await;
    let tiers = Tiers::before(&origin.url());
    let top = Node::start(on(tiers.parent("top"))).await;
    let middle = tiers.edge("middle", &[&top]);
    let middle = Node::start(on(middle.table("tier", "role = \"parent\""))).await;
    let edge = Node::start(on(tiers.edge("edge", &[&middle]))).await;

    let mut client = edge.client().await;
    client.ask("GET", "/a", &[]).await;
    let head = client.answer_head().await.expect("an answer");
    assert_eq!(hints(&head), ["</a.css>; rel=preload"]);
    gate.open();
    drop(client);
    // What is stored has been answered already: nobody waits for hints.
    larder_tests::eventually(crate::SOON, || origin.count("/a") == 1).await;
}

#[tokio::test]
async fn the_node_that_faces_the_client_says_who_gets_hints() {
    let origin = Origin::start(|_| {
        Reply::ok("x")
            .with("Cache-Control", "no-store")
            .interim(103, &[("Link", "</a.css>; rel=preload")])
    })
    .await;
    let tiers = Tiers::before(&origin.url());
    let parent = Node::start(tiers.parent("parent").site("early_hints = \"http2\"")).await;
    for (line, count) in [("forward", 1), ("http2", 0), ("off", 0)] {
        let edge = tiers.edge("edge", &[&parent]);
        let edge = edge.site(&format!("early_hints = \"{line}\""));
        let edge = Node::start(edge.table("tier", "pass = \"parent\"")).await;
        // The first is a fill, here and at the parent; by the second, the parent knows that it passes.
        let answer = edge.get(&format!("/{line}")).await;
        assert_eq!(
            (answer.status, hints(&answer).len()),
            (200, count),
            "{line}"
        );
    }
    // A parent that is told to send none sends none to nodes either.
    let silent = Node::start(tiers.parent("silent").site("early_hints = \"off\"")).await;
    let edge = Node::start(on(tiers.edge("edge", &[&silent]))).await;
    assert!(hints(&edge.get("/a").await).is_empty());
}

#[tokio::test]
async fn hints_of_who_does_not_prove_to_be_the_parent_are_not_passed_on() {
    let origin = Origin::start(|_| Reply::fresh(600, "origin")).await;
    let tiers = Tiers::before(&origin.url());
    let key = TierKey::new(Tiers::SECRET);
    let parent = Origin::start_h2c(move |seen| {
        let asked = seen.field("larder-tier").unwrap_or_default();
        let voucher = |status| key.vouch(asked, status, "v=1; node=p; says=response");
        let reply = Reply::fresh(600, "parent").with("Larder-Tier", &voucher(200));
        match seen.target.as_str() {
            "/proven" => reply.interim(103, &[("Link", "</a>"), ("Larder-Tier", &voucher(103))]),
            // The same words, of another message.
            "/moved" => reply.interim(103, &[("Link", "</a>"), ("Larder-Tier", &voucher(200))]),
            _ => reply.interim(103, &[("Link", "</a>")]),
        }
    })
    .await;
    let edge = on(tiers.edge("edge", &[]));
    let edge = edge.table("tier", &format!("parents = [\"{}\"]", parent.url()));
    let edge = Node::start(edge).await;
    edge.metrics_when(|metrics| metrics.sum("larder_tiered_parent_up", &[]) == 1.0)
        .await;
    for (target, expected) in [("/proven", 1), ("/moved", 0), ("/unproven", 0)] {
        let answer = edge.get(target).await;
        assert_eq!(answer.text(), "parent");
        assert_eq!(hints(&answer).len(), expected, "{target}");
    }
}
