//! What was purged stays purged, whatever the configuration called it before, then and after: on real files, over reloads,
//! starts and kills.

use larder_tests::{Nats, Node, Origin, Reply, Response, Settings};

use crate::restart::on_disk;

/// An origin whose answers count its requests.
async fn counting() -> Origin {
    Origin::start(|seen| {
        Reply::fresh(600, format!("{:>1000}", seen.nth)).with("Surrogate-Key", "tag")
    })
    .await
}

/// Nothing of a query is part of the key but `id`.
const SHORT: &str = "key = { query = { only = [\"id\"] } }";
/// All of it is.
const LONG: &str = "key = { query = \"all\" }";
/// Its order is not.
const SORTED: &str = "key = { query = \"all\", sort = true }";

fn settings(origin: &Origin, key: &str) -> Settings {
    let settings = Settings::origins(&[&origin.url()]).disk("64MiB");
    settings.site("disk = \"always\"").site(key)
}

/// How a process ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Stop,
    Kill,
}

const ENDS: [End; 2] = [End::Stop, End::Kill];

/// Starts the node again with other settings.
async fn start_with(node: &mut Node, end: End, settings: &Settings) {
    node.configure(settings);
    match end {
        End::Stop => node.stop_and_restart(|_| {}).await,
        End::Kill => node.kill_and_restart(|_| {}).await,
    }
}

async fn reload(node: &Node, settings: &Settings) {
    let answer = node.reload(settings).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

const HOST: &str = "www.example.com";

/// A URL with a word that the short key has not.
fn url(target: &str) -> String {
    format!("{{\"urls\":[\"http://{HOST}{target}\"],\"timeout_ms\":20000}}")
}

async fn get(node: &Node, target: &str) -> Response {
    node.client().await.host(HOST).get(target).await
}

/// A node that has stored `/a?id=1` and `/b` under the short key.
async fn filled(settings: &Settings) -> Node {
    let node = Node::start(settings.clone()).await;
    for target in ["/a?id=1&from=x", "/b?from=x"] {
        assert_eq!(get(&node, target).await.status, 200);
    }
    on_disk(&node, 2).await;
    node
}

/// The purged one is gone, and the other is still there.
#[track_caller]
fn check(end: End, purged: &Response, other: &Response) {
    assert!(!purged.is_hit(), "{end:?}: {}", purged.cache_status());
    assert!(other.is_hit(), "{end:?}: {}", other.cache_status());
}

#[tokio::test]
async fn what_was_purged_before_a_start_under_other_keys_does_not_come_back_with_the_old_ones() {
    let origin = counting().await;
    let (short, long) = (settings(&origin, SHORT), settings(&origin, LONG));
    for end in ENDS {
        let mut node = filled(&short).await;
        node.purge(&url("/a?from=here&id=1")).await;
        start_with(&mut node, end, &long).await;
        reload(&node, &short).await;
        let (purged, other) = (get(&node, "/a?id=1").await, get(&node, "/b").await);
        check(end, &purged, &other);
    }
}

#[tokio::test]
async fn what_is_purged_under_keys_that_never_stored_it_does_not_come_back() {
    let origin = counting().await;
    let (short, long) = (settings(&origin, SHORT), settings(&origin, LONG));
    for end in ENDS {
        let mut node = filled(&short).await;
        start_with(&mut node, end, &long).await;
        node.purge(&url("/a?from=there&id=1")).await;
        // Neither has the next start forgotten what the one before the last called it.
        start_with(&mut node, end, &long).await;
        reload(&node, &short).await;
        let (purged, other) = (get(&node, "/a?id=1").await, get(&node, "/b").await);
        check(end, &purged, &other);
    }
}

#[tokio::test]
async fn a_purge_between_two_reloads_after_a_start_finds_what_was_stored_before_it() {
    let origin = counting().await;
    let (short, long) = (settings(&origin, SHORT), settings(&origin, LONG));
    let sorted = settings(&origin, SORTED);
    for end in ENDS {
        let mut node = filled(&short).await;
        start_with(&mut node, end, &long).await;
        reload(&node, &sorted).await;
        let counted = url("/a?id=1&from=there").replace('}', ",\"count\":true}");
        node.purge(&counted).await;
        reload(&node, &long).await;
        reload(&node, &short).await;
        let (purged, other) = (get(&node, "/a?id=1").await, get(&node, "/b").await);
        check(end, &purged, &other);
    }
}

#[tokio::test]
async fn a_purge_of_a_fleet_that_came_while_the_node_was_away_finds_what_it_stored() {
    let (nats, origin) = (Nats::start(), counting().await);
    let servers = format!("servers = [\"{}\"]", nats.url());
    let member = |name: &str, key: &str| {
        let settings = settings(&origin, key).table("fleet", &servers);
        settings.table("node", &format!("name = \"{name}\""))
    };
    crate::fleet::init(&member("any", LONG)).await;
    let (short, long) = (member("one", SHORT), member("one", LONG));
    let other = Node::start(member("other", LONG)).await;
    let mut node = filled(&short).await;
    node.kill();
    other.purge(&url("/a?id=1&from=y")).await;
    node.configure(&long);
    node.begin_again();
    // It is ready when it has applied what was purged meanwhile.
    node.kill_and_restart(|_| {}).await;
    reload(&node, &short).await;
    let (purged, other) = (get(&node, "/a?id=1").await, get(&node, "/b").await);
    check(End::Kill, &purged, &other);
}

#[tokio::test]
async fn a_host_that_had_a_site_of_its_own_for_a_while_is_purged_of_what_the_other_stored() {
    let origin = counting().await;
    let alone = settings(&origin, LONG);
    let url = origin.url();
    let own = format!("[[site]]\nname = \"own\"\nhosts = [\"{HOST}\"]\norigins = [\"{url}\"]\n");
    let both = alone.clone().append(&own);
    let node = Node::start(alone.clone()).await;
    for target in ["/a", "/b"] {
        assert_eq!(get(&node, target).await.status, 200);
    }
    reload(&node, &both).await;
    node.purge(&self::url("/a")).await;
    reload(&node, &alone).await;
    let (purged, other) = (get(&node, "/a").await, get(&node, "/b").await);
    check(End::Stop, &purged, &other);
}

#[tokio::test]
async fn a_tag_of_all_sites_is_one_of_sites_that_were_gone_before_the_start() {
    let origin = counting().await;
    let alone = settings(&origin, LONG);
    let url = origin.url();
    let own = format!(
        "[[site]]\nname = \"own\"\nhosts = [\"{HOST}\"]\norigins = [\"{url}\"]\ndisk = \"always\"\n"
    );
    let both = alone.clone().append(&own);
    for end in ENDS {
        let mut node = Node::start(both.clone()).await;
        assert_eq!(get(&node, "/a").await.status, 200);
        on_disk(&node, 1).await;
        start_with(&mut node, end, &alone).await;
        node.purge(r#"{"tags":["tag"]}"#).await;
        reload(&node, &both).await;
        let purged = get(&node, "/a").await;
        assert!(!purged.is_hit(), "{end:?}: {}", purged.cache_status());
    }
}

#[tokio::test]
async fn where_the_names_are_lost_what_is_stored_is_validated() {
    let origin = Origin::start(|_| Reply::fresh(600, "a").with("ETag", "\"a\"")).await;
    let settings = settings(&origin, LONG);
    let mut node = Node::start(settings).await;
    assert_eq!(get(&node, "/a").await.status, 200);
    on_disk(&node, 1).await;
    node.stop_and_restart(|_| {}).await;
    assert!(get(&node, "/a").await.is_hit());
    node.stop_and_restart(|folder| {
        let names = folder.join("larder/larder/purges.names");
        std::fs::remove_file(names).expect("a file");
    })
    .await;
    assert!(!get(&node, "/a").await.is_hit());
    assert!(get(&node, "/a").await.is_hit());
    assert_eq!(origin.total(), 2);
    assert!(origin.last("/a").is_conditional());
}
