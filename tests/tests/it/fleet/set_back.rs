//! A log that comes back as an older copy of itself, or as another one: what is stored is in doubt, and what is published
//! to it then is applied by every node, once and in its order.

use std::fs;
use std::time::Duration;

use larder_tests::{Client, Metrics, Nats, Node, Response, eventually};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

use super::losses::Pair;
use super::{SOON, counting, fleet_of, has_applied, init, member, purge_many, sequence, trail};

/// What the log had at some time.
pub(crate) struct Copy(TempDir);

impl Copy {
    /// Of what it has now. Its server is killed for it.
    pub(crate) fn of(nats: &mut Nats) -> Self {
        let copy = Self(tempfile::tempdir().expect("a temporary folder"));
        nats.kill();
        nats.save(&copy.0.path().join("store"));
        nats.begin();
        copy
    }

    /// The log is as it was then.
    pub(crate) fn bring_back(&self, nats: &mut Nats) {
        nats.kill();
        nats.restore(&self.0.path().join("store"));
        nats.begin();
    }
}

/// Purges and expects that each is applied: sequences and identifiers. The last one is of `/x`.
async fn purged(node: &Node, count: usize) -> Vec<(Value, Value)> {
    let mut all = Vec::new();
    for nth in 1..=count {
        let tag = if nth == count {
            "x".to_owned()
        } else {
            format!("p{nth}")
        };
        let body = format!("{{\"tags\":[\"{tag}\"],\"timeout_ms\":20000}}");
        let receipt = node.purge(&body).await;
        assert_eq!(receipt["state"], "applied", "{receipt}");
        all.push((receipt["sequence"].clone(), receipt["id"].clone()));
    }
    all
}

/// Purges what has that identifier, once more.
async fn with_id(node: &Node, id: &Value, body: &Value) -> Response {
    let bearer = format!("Bearer {}", node.token());
    let id = id.as_str().expect("an identifier");
    let fields = [("Authorization", bearer.as_str()), ("Idempotency-Key", id)];
    let body = body.to_string();
    let mut client = Client::connect(node.admin()).await;
    client
        .upload("POST", "/v1/purges", &fields, body.as_bytes())
        .await
}

/// A node that was cut off comes back to a log that is not the one it knows: it has what was published meanwhile.
async fn catches_up(pair: &Pair, reason: &str, published: &[(Value, Value)]) {
    pair.relay.heal();
    let reason = [("reason", reason)];
    let reset = |it: &Metrics| it.sum("larder_fleet_resets_total", &reason) >= 1.0;
    pair.away.metrics_when(reset).await;
    // Its place tells nothing: before, it was further in a log that is gone.
    let end = Instant::now() + SOON;
    while !trail(&pair.away).await.ends_with(published) {
        assert!(Instant::now() < end, "{:?}", trail(&pair.away).await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(
        pair.away.get("/x").await.forwarded(),
        Some("uri-miss"),
        "purged"
    );
    assert_eq!(
        pair.away.get("/other").await.forwarded(),
        Some("stale"),
        "in doubt"
    );
    for node in [&pair.near, &pair.away] {
        let trail = trail(node).await;
        assert!(
            trail.ends_with(published),
            "each once, in one order: {trail:?}"
        );
        let once = |id: &Value| trail.iter().filter(|(_, it)| it == id).count() == 1;
        assert!(published.iter().all(|(_, id)| once(id)), "{trail:?}");
    }
    // Where it was applied is told of all, and truly.
    let all = r#"{"tags":["none"],"wait":"all","timeout_ms":20000}"#;
    pair.near.purge(all).await;
    let (_, id) = &published[0];
    let target = format!("/v1/purges/{}", id.as_str().expect("an id"));
    let receipt = pair.near.api("GET", &target, "").await;
    let receipt: Value = serde_json::from_slice(&receipt.body).expect("a receipt");
    assert_eq!(receipt["missing"], serde_json::json!([]), "{receipt}");
    assert_eq!(
        receipt["nodes"].as_array().map(Vec::len),
        Some(2),
        "{receipt}"
    );
}

#[tokio::test]
async fn what_is_published_to_a_log_that_was_set_back_is_applied_by_all() {
    let mut nats = Nats::start();
    init(&member(&counting().await, &nats, "any")).await;
    let pair = Pair::start(&nats).await;
    purge_many(&pair.near, 5).await;
    let copy = Copy::of(&mut nats);
    let lost = purge_many(&pair.near, 60).await;
    has_applied(&pair.away, &lost).await;
    pair.relay.cut();
    copy.bring_back(&mut nats);
    // Fewer than were lost: the other node finds its place beyond the end.
    let published = purged(&pair.near, 9).await;
    let (last, id) = published.last().expect("purges");
    assert!(last.as_f64().expect("a sequence") < sequence(&lost));
    // The other one has places of what was lost, and not this purge.
    let again = serde_json::json!({ "tags": ["x"], "wait": "all", "timeout_ms": 300 });
    let again = with_id(&pair.near, id, &again).await;
    assert_eq!(again.status, 202, "{}", again.text());
    assert_eq!(again.json()["missing"], serde_json::json!(["away"]));
    catches_up(&pair, "rewound", &published).await;
}

#[tokio::test]
async fn what_is_published_to_a_stream_that_was_made_anew_is_applied_by_all() {
    let nats = Nats::start();
    let settings = member(&counting().await, &nats, "any");
    let first = init(&settings).await;
    let pair = Pair::start(&nats).await;
    purge_many(&pair.near, 5).await;
    pair.relay.cut();
    nats.client().ask("STREAM.DELETE.LARDER", &Value::Null);
    assert_ne!(init(&settings).await, first);
    // The one that is there has not even noticed.
    let published = purged(&pair.near, 8).await;
    catches_up(&pair, "replaced", &published).await;
}

#[tokio::test]
async fn a_node_that_joins_has_applied_what_it_was_given_itself() {
    let (nats, origin) = (Nats::start(), counting().await);
    let mut nodes = fleet_of(2, &origin, &nats).await;
    purge_many(&nodes[0], 5).await;
    nodes[1].kill();
    fs::remove_dir_all(nodes[1].folder().join("larder/b")).unwrap();
    nodes[1].begin_again();
    nodes[1].wait_listening().await;
    // It may not have found the log yet.
    let published = purged(&nodes[1], 3).await;
    has_applied(
        &nodes[0],
        &serde_json::json!({ "sequence": published[2].0 }),
    )
    .await;
    assert!(trail(&nodes[0]).await.ends_with(&published));
    assert_eq!(trail(&nodes[1]).await, published);
}

#[tokio::test]
async fn a_log_set_back_to_an_older_copy_casts_doubt_on_everything() {
    let (mut nats, origin) = (Nats::start(), counting().await);
    let nodes = fleet_of(2, &origin, &nats).await;
    nodes[0]
        .purge(r#"{"tags":["first"],"timeout_ms":20000}"#)
        .await;
    let copy = Copy::of(&mut nats);
    // Stored under a log that is longer than the one that comes back.
    let receipt = purge_many(&nodes[0], 20).await;
    for node in &nodes {
        has_applied(node, &receipt).await;
        node.get("/x").await;
        assert!(node.get("/x").await.is_hit());
    }
    copy.bring_back(&mut nats);
    for node in &nodes {
        let rewound = [("reason", "rewound")];
        node.metrics_when(|it| it.sum("larder_fleet_resets_total", &rewound) >= 1.0)
            .await;
        let answer = node.get("/x").await;
        assert!(!answer.is_hit(), "it may have been purged");
        // Until all of the log that came back is applied, it is validated every time.
        let end = Instant::now() + SOON;
        while !node.get("/x").await.is_hit() {
            assert!(Instant::now() < end, "it was validated");
        }
    }
    // Numbers that were given before are given again, and purge all the same.
    let receipt = nodes[0].purge(r#"{"tags":["x"],"timeout_ms":20000}"#).await;
    for node in &nodes {
        has_applied(node, &receipt).await;
        assert!(!node.get("/x").await.is_hit());
    }
}

#[tokio::test]
async fn a_log_that_regrew_beyond_the_cursor_is_told_from_the_one_that_was_read() {
    let (mut nats, origin) = (Nats::start(), counting().await);
    let mut nodes = fleet_of(2, &origin, &nats).await;
    nodes[0]
        .purge(r#"{"tags":["first"],"timeout_ms":20000}"#)
        .await;
    let copy = Copy::of(&mut nats);
    let receipt = purge_many(&nodes[0], 5).await;
    has_applied(&nodes[1], &receipt).await;
    // The cursor is kept with the next tick.
    let cursor = nodes[1].folder().join("larder/b/fleet-cursor.json");
    let place = || {
        let text = fs::read_to_string(&cursor).unwrap_or_default();
        let cursor: Value = serde_json::from_str(&text).unwrap_or_default();
        cursor["place"].as_f64().unwrap_or_default()
    };
    eventually(SOON, || place() >= sequence(&receipt)).await;
    nodes[1].kill();
    copy.bring_back(&mut nats);
    let receipt = purge_many(&nodes[0], 50).await;
    assert!(sequence(&receipt) > place());
    nodes[1].begin_again();
    nodes[1].wait_ready().await;
    let metrics = nodes[1].metrics().await;
    let rewound = metrics.sum("larder_fleet_resets_total", &[("reason", "rewound")]);
    assert!(rewound >= 1.0, "{metrics:?}");
}

/// The file of purges is written with every purge, and the cursor beside it once in a while: a node that was killed between
/// the two goes by the file, and what that has is told from a message that was sent again.
#[tokio::test]
async fn a_purge_that_was_sent_again_to_its_old_place_proves_nothing() {
    let (mut nats, origin) = (Nats::start(), counting().await);
    let mut nodes = fleet_of(1, &origin, &nats).await;
    let node = &mut nodes[0];
    let first = node.purge(r#"{"tags":["first"],"timeout_ms":20000}"#).await;
    let file = node.folder().join("larder/a/fleet-cursor.json");
    let read = || fs::read_to_string(&file).unwrap_or_default();
    let place = |text: &str| {
        let cursor: Value = serde_json::from_str(text).unwrap_or_default();
        cursor["place"].as_f64().unwrap_or_default()
    };
    eventually(SOON, || place(&read()) >= sequence(&first)).await;
    let cursor = read();
    let copy = Copy::of(&mut nats);
    let last = node.purge(r#"{"tags":["x"],"timeout_ms":20000}"#).await;
    assert_eq!(last["state"], "applied", "{last}");
    node.kill();
    fs::write(&file, &cursor).expect("a writable folder");
    copy.bring_back(&mut nats);
    let mut client = nats.client();
    let info = client.ask("STREAM.INFO.LARDER", &Value::Null);
    let end = info["state"]["last_seq"].as_u64().expect("a place");
    let at = last["sequence"].as_u64().expect("a place");
    assert!(end < at, "{end} of {at}");
    for before in end + 1..at {
        client.publish(
            "LARDER.log.site.elsewhere",
            &format!("filling-{before}"),
            "",
        );
    }
    let id = last["id"].as_str().expect("an identifier");
    assert_eq!(client.publish("LARDER.log.site.elsewhere", id, ""), at);
    node.begin_again();
    node.wait_ready().await;
    let metrics = node.metrics().await;
    let rewound = metrics.sum("larder_fleet_resets_total", &[("reason", "rewound")]);
    assert!(rewound >= 1.0, "{metrics:?}");
}
