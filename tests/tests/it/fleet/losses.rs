//! A log that has lost something, or has what nobody understands, while a node was away: nothing purged is served.

use larder_tests::{Metrics, Nats, Node, Origin, Relay, Settings};
use serde_json::{Value, json};

use crate::restart::on_disk;

use super::set_back::Copy;
use super::{counting, has_applied, init, member, purge_many, through};

/// Two nodes with all in memory; the second one's way to the log can be cut, and it would serve whatever it has while it
/// knows no better.
pub(super) struct Pair {
    pub(super) near: Node,
    pub(super) away: Node,
    pub(super) relay: Relay,
    _origin: Origin,
}

impl Pair {
    pub(super) async fn start(nats: &Nats) -> Self {
        let origin = counting().await;
        let relay = Relay::to(nats.address()).await;
        let servers = format!("[\"nats://{}\"]", relay.address());
        let serve = |settings: Settings| {
            let settings = settings.table("fleet", "on_lag = \"serve\"");
            settings.table("fleet", "max_lag = \"1h\"")
        };
        let near = Node::start(serve(member(&origin, nats, "near"))).await;
        let away = Node::start(serve(through(&origin, &servers, "away"))).await;
        for node in [&near, &away] {
            for target in ["/x", "/other"] {
                node.get(target).await;
                assert!(node.get(target).await.is_hit());
            }
        }
        Self {
            near,
            away,
            relay,
            _origin: origin,
        }
    }

    /// The node that was away comes back, and finds that something is missing.
    async fn heal(&self, reason: &str) {
        self.relay.heal();
        let reason = [("reason", reason)];
        let reset = |it: &Metrics| it.sum("larder_fleet_resets_total", &reason) >= 1.0;
        self.away.metrics_when(reset).await;
        // Both were stored before: what was purged, and what nobody can know of.
        for target in ["/x", "/other"] {
            let answer = self.away.get(target).await;
            assert_eq!(answer.forwarded(), Some("stale"), "{target}");
        }
        // And it goes on.
        self.near
            .purge(r#"{"tags":["none"],"wait":"all","timeout_ms":20000}"#)
            .await;
        for target in ["/x", "/other"] {
            self.away.get(target).await;
            assert!(self.away.get(target).await.is_hit(), "{target}");
        }
        let receipt = self
            .near
            .purge(r#"{"tags":["x"],"timeout_ms":20000}"#)
            .await;
        has_applied(&self.away, &receipt).await;
        assert!(!self.away.get("/x").await.is_hit());
        assert!(self.away.get("/other").await.is_hit());
    }
}

const PURGE: &str = r#"{"tags":["x"],"timeout_ms":20000}"#;

/// What a stream is made of, as the server tells it.
fn config(nats: &Nats) -> Value {
    nats.client().ask("STREAM.INFO.LARDER", &Value::Null)["config"].clone()
}

#[tokio::test]
async fn purges_that_expired_before_they_were_read_cast_doubt() {
    let nats = Nats::start();
    init(&member(&counting().await, &nats, "any")).await;
    let pair = Pair::start(&nats).await;
    pair.relay.cut();
    pair.near.purge(PURGE).await;
    purge_many(&pair.near, 20).await;
    let mut short = config(&nats);
    short["max_msgs"] = json!(5);
    nats.client().ask("STREAM.UPDATE.LARDER", &short);
    pair.heal("expired").await;
}

#[tokio::test]
async fn a_purge_that_was_taken_out_of_the_log_casts_doubt() {
    let nats = Nats::start();
    // As nobody should make it: messages can be deleted.
    let id = "0123456789abcdef0123456789abcdef";
    let stream = json!({
        "name": "LARDER", "description": format!("larder purge log {id}"),
        "subjects": ["LARDER.log.>"], "storage": "file", "num_replicas": 1,
    });
    let mut client = nats.client();
    client.ask("STREAM.CREATE.LARDER", &stream);
    client.publish("LARDER.log.genesis", "genesis", "");
    let pair = Pair::start(&nats).await;
    pair.relay.cut();
    pair.near
        .purge(r#"{"tags":["y"],"timeout_ms":20000}"#)
        .await;
    let taken = pair.near.purge(PURGE).await;
    pair.near
        .purge(r#"{"tags":["z"],"timeout_ms":20000}"#)
        .await;
    let place = json!({ "seq": taken["sequence"] });
    client.ask("STREAM.MSG.DELETE.LARDER", &place);
    pair.heal("gap").await;
}

#[tokio::test]
async fn another_stream_under_the_same_name_casts_doubt() {
    let nats = Nats::start();
    let settings = member(&counting().await, &nats, "any");
    let first = init(&settings).await;
    let pair = Pair::start(&nats).await;
    pair.relay.cut();
    pair.near.purge(PURGE).await;
    nats.client().ask("STREAM.DELETE.LARDER", &Value::Null);
    assert_ne!(init(&settings).await, first);
    // The one that was there all the time notices, too.
    let replaced = [("reason", "replaced")];
    let reset = |it: &Metrics| it.sum("larder_fleet_resets_total", &replaced) >= 1.0;
    pair.near.metrics_when(reset).await;
    assert!(!pair.near.get("/other").await.is_hit());
    purge_many(&pair.near, 20).await;
    pair.heal("replaced").await;
}

#[tokio::test]
async fn a_message_of_another_version_purges_all_that_it_could_touch() {
    let nats = Nats::start();
    init(&member(&counting().await, &nats, "any")).await;
    let pair = Pair::start(&nats).await;
    let newer = r#"{"v":2,"node":"n","purge":{"id":"i","moons":["Io"]}}"#;
    for (subject, nth, touched) in [
        ("LARDER.log.site.elsewhere", 1.0, false),
        ("LARDER.log.site.main", 2.0, true),
        ("LARDER.log.all", 3.0, true),
        ("LARDER.log.planets", 4.0, true),
    ] {
        let place = nats.client().publish(subject, subject, newer);
        for node in [&pair.near, &pair.away] {
            has_applied(node, &json!({ "sequence": place })).await;
            let unknown = node
                .metrics()
                .await
                .sum("larder_purge_unknown_messages_total", &[]);
            assert_eq!(unknown, nth, "{subject}");
            for target in ["/x", "/other"] {
                assert_eq!(
                    node.get(target).await.is_hit(),
                    !touched,
                    "{subject}, {target}"
                );
                assert!(node.get(target).await.is_hit());
            }
        }
    }
}

/// A member with a volume on which everything is kept.
fn with_disk(origin: &Origin, nats: &Nats) -> Settings {
    let settings = member(origin, nats, "away").disk("64MiB");
    settings.site("disk = \"always\"")
}

const STORED: [&str; 5] = ["/x", "/url", "/path/a", "/soft", "/other"];

#[tokio::test]
async fn what_was_purged_while_a_node_was_down_is_not_served_from_its_disk() {
    let nats = Nats::start();
    let origin = counting().await;
    init(&member(&origin, &nats, "any")).await;
    let near = Node::start(member(&origin, &nats, "near")).await;
    let mut away = Node::start(with_disk(&origin, &nats)).await;
    for target in STORED {
        away.get(target).await;
    }
    on_disk(&away, STORED.len()).await;
    away.kill();
    for body in [
        r#"{"tags":["x"],"timeout_ms":20000}"#,
        r#"{"urls":["http://www.example.com/url"],"timeout_ms":20000}"#,
        r#"{"prefixes":["http://www.example.com/path"],"timeout_ms":20000}"#,
        r#"{"tags":["s"],"mode":"soft","timeout_ms":20000}"#,
    ] {
        near.purge(body).await;
    }
    let last = purge_many(&near, 100).await;
    // While it cannot know what it missed, it uses nothing without asking the origin.
    nats.signal("STOP");
    away.begin_again();
    away.wait_listening().await;
    assert!(!away.get("/x").await.is_hit());
    nats.signal("CONT");
    away.wait_ready().await;
    has_applied(&away, &last).await;
    for target in &STORED[1..] {
        let answer = away.get(target).await;
        let is_hit = *target == "/other";
        assert_eq!(
            answer.is_hit(),
            is_hit,
            "{target}: {}",
            answer.cache_status()
        );
    }
}

#[tokio::test]
async fn a_log_set_back_while_a_node_was_down_leaves_nothing_on_its_disk_unasked() {
    let mut nats = Nats::start();
    let origin = counting().await;
    init(&member(&origin, &nats, "any")).await;
    let near = Node::start(member(&origin, &nats, "near")).await;
    near.purge(r#"{"tags":["first"],"timeout_ms":20000}"#).await;
    let copy = Copy::of(&mut nats);
    let mut away = Node::start(with_disk(&origin, &nats)).await;
    let last = purge_many(&near, 20).await;
    has_applied(&away, &last).await;
    for target in STORED {
        away.get(target).await;
    }
    on_disk(&away, STORED.len()).await;
    away.kill();
    near.purge(PURGE).await;
    copy.bring_back(&mut nats);
    // It grows beyond where it was, with other purges.
    purge_many(&near, 60).await;
    away.begin_again();
    away.wait_ready().await;
    let rewound = [("reason", "rewound")];
    let resets = away
        .metrics()
        .await
        .sum("larder_fleet_resets_total", &rewound);
    assert_eq!(resets, 1.0);
    for target in STORED {
        let answer = away.get(target).await;
        assert_eq!(
            answer.forwarded(),
            Some("stale"),
            "{target}: {}",
            answer.cache_status()
        );
    }
}
