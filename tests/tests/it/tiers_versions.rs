//! Nodes of tiers that understand each other only in part, and servers that are no nodes: none of them is believed more
//! than it proves, and no client notices.

use std::time::{Duration, SystemTime};

use larder_tests::{Gate, Nats, Node, Origin, Program, Reply, TierKey, Tiers, free_port};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::tiers_purge::{init, member};

const SOON: Duration = Duration::from_secs(15);

async fn origin() -> Origin {
    Origin::start(|seen| Reply::fresh(600, format!("origin {}", seen.target))).await
}

/// An edge that has only what listens there for a parent.
async fn edge_of(tiers: &Tiers, url: &str) -> Node {
    let settings = tiers.edge("edge", &[]);
    let settings = settings.table("tier", &format!("parents = [\"{url}\"]"));
    Node::start(settings.table("tier", "silence = \"700ms\"")).await
}

/// Waits until the edge says for this reason that it does not ask its parent, and asks it: the origin answers.
async fn check_unfit(edge: &Node, reason: &str) {
    let end = Instant::now() + SOON;
    let is_said = |line: &String| line.contains("is not asked any more") && line.contains(reason);
    while !edge.stderr().iter().any(is_said) {
        assert!(Instant::now() < end, "{reason}: {:?}", edge.stderr());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for number in 0..3 {
        let answer = edge.get(&format!("/{number}")).await;
        assert_eq!(
            (answer.status, answer.text()),
            (200, format!("origin /{number}"))
        );
    }
}

/// A parent that says this, whatever it is asked.
async fn saying(text: &'static str) -> Origin {
    let key = TierKey::new(Tiers::SECRET);
    Origin::start_h2c(move |seen| {
        let asked = seen.field("larder-tier").unwrap_or_default();
        let voucher = key.vouch(asked, 200, text);
        Reply::fresh(600, "parent").with("Larder-Tier", &voucher)
    })
    .await
}

#[tokio::test]
async fn a_parent_of_another_version_is_not_asked() {
    let origin = origin().await;
    let tiers = Tiers::before(&origin.url());
    for text in ["v=2; node=p; says=hit", "v=0; node=p; says=hit"] {
        let later = saying(text).await;
        let edge = edge_of(&tiers, &later.url()).await;
        check_unfit(&edge, "another version").await;
        // It asks for its state, and for nothing else.
        assert!(
            later
                .requests()
                .iter()
                .all(|it| it.target.contains("well-known"))
        );
    }
}

#[tokio::test]
async fn what_a_parent_says_more_or_less_of_in_the_same_version_changes_nothing() {
    let origin = origin().await;
    let tiers = Tiers::before(&origin.url());
    for text in [
        "v=1; node=older; says=response",
        "v=1; node=newer; says=response; cost=1; colour=blue; slice=1048576",
    ] {
        let parent = saying(text).await;
        let edge = edge_of(&tiers, &parent.url()).await;
        edge.metrics_when(|metrics| metrics.sum("larder_tiered_parent_up", &[]) == 1.0)
            .await;
        let answer = edge.get("/a").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "parent"));
        assert!(edge.get("/a").await.is_hit());
    }
    assert_eq!(origin.total(), 0);
}

#[expect(
    clippy::disallowed_methods,
    reason = "what a node is told is as old as its own clock says"
)]
fn millis() -> u128 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.expect("after 1970").as_millis()
}

#[tokio::test]
async fn a_child_of_another_version_is_told_so_and_an_older_one_is_answered() {
    let origin = origin().await;
    let tiers = Tiers::before(&origin.url());
    let parent = Node::start(tiers.parent("parent")).await;
    let key = TierKey::new(Tiers::SECRET);
    let ask = async |text: &str| {
        let introduction = key.introduce("/a", text);
        let answer = parent
            .get_with("/a", &[("Larder-Tier", &introduction)])
            .await;
        let voucher = answer.header("Larder-Tier").unwrap_or_default().to_owned();
        let proven = key.is_of(&introduction, answer.status, &voucher);
        (answer, voucher, proven)
    };
    let (refused, voucher, proven) = ask("v=2; who=child; when=now").await;
    assert_eq!(refused.status, 403);
    assert!(
        proven && voucher.contains("says=refused; why=tier-version"),
        "{voucher}"
    );
    let now = millis();
    let older = format!("v=1; node=child; at={now}; hops=1; scheme=http");
    let (answer, voucher, proven) = ask(&older).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "origin /a"));
    assert!(
        proven && voucher.starts_with("v=1; node=parent; says=response; cost=1; slice="),
        "{voucher}"
    );
    let newer = format!("v=1; node=child; at={now}; hops=1; from=above; colour=blue; scheme=http");
    let (answer, voucher, proven) = ask(&newer).await;
    assert_eq!(answer.status, 200);
    assert!(
        proven && voucher.starts_with("v=1; node=parent; says=hit; slice="),
        "{voucher}"
    );
    let old = format!("v=1; node=child; at={}; hops=1; scheme=http", now - 60_000);
    let (refused, voucher, proven) = ask(&old).await;
    assert_eq!(refused.status, 403);
    assert!(proven && voucher.contains("why=tier-clock"), "{voucher}");
    let metrics = parent.metrics().await;
    for (verdict, count) in [("tier-version", 1.0), ("tier-clock", 1.0), ("taken", 2.0)] {
        let labels = [("verdict", verdict)];
        let counted = metrics.sum("larder_tiered_peer_requests_total", &labels);
        assert_eq!(counted, count, "{verdict}");
    }
    // What it says is for this request alone.
    let introduction = key.introduce("/b", &older);
    let replayed = parent
        .get_with("/a", &[("Larder-Tier", &introduction)])
        .await;
    assert_eq!(
        (replayed.status, replayed.text().as_str()),
        (403, "tier-key\n")
    );
}

#[tokio::test]
async fn servers_that_are_no_nodes_are_not_asked() {
    let origin = origin().await;
    let tiers = Tiers::before(&origin.url());
    let page = "location / { return 200 \"nginx\"; }";
    for (listen, reason) in [
        // It speaks HTTP/2, and knows nothing of the tier's key.
        ("http2", "tier's key"),
        // It answers the preface of HTTP/2 with 400.
        ("", ""),
    ] {
        let port = free_port();
        let _nginx = Program::nginx(port, listen, page);
        let edge = edge_of(&tiers, &format!("http://127.0.0.1:{port}")).await;
        check_unfit(&edge, reason).await;
    }
}

#[tokio::test]
async fn who_accepts_connections_and_says_nothing_is_not_asked() {
    let origin = origin().await;
    let tiers = Tiers::before(&origin.url());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("a bound socket");
    let silent = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let edge = edge_of(&tiers, &format!("http://{address}")).await;
    check_unfit(&edge, "no sign of life in time").await;
    silent.abort();
}

#[tokio::test]
async fn who_has_not_proven_itself_so_far_is_sent_nothing_that_passes_by() {
    let origin = Origin::start(|seen| match seen.method.as_str() {
        "GET" => Reply::fresh(600, "origin"),
        _ => Reply::ok("origin"),
    })
    .await;
    let tiers = Tiers::before(&origin.url());
    // It owes the answer to the first question who it is, and has others at hand.
    let gate = Gate::closed();
    let held = gate.clone();
    let stranger = Origin::start_h2c(move |seen| match seen.target.contains("well-known") {
        true => Reply::ok("who?").after(&held),
        false => Reply::fresh(600, "stranger"),
    })
    .await;
    let settings = tiers.edge("edge", &[]);
    let settings = settings.table("tier", &format!("parents = [\"{}\"]", stranger.url()));
    let settings = settings.table("tier", "connect_timeout = \"300ms\"");
    let edge = Node::start(settings.table("tier", "pass = \"parent\"")).await;
    larder_tests::eventually(SOON, || stranger.total() > 0).await;
    let mut client = edge.client().await;
    let posted = client.upload("POST", "/a", &[], b"secret").await;
    assert_eq!(posted.text(), "origin");
    assert_eq!(edge.request("OPTIONS", "/a", &[]).await.text(), "origin");
    assert_eq!(edge.get("/a").await.text(), "origin");
    assert!(stranger.requests().iter().all(|seen| seen.method == "GET"));
    gate.open();
}

#[tokio::test]
async fn a_child_that_does_not_say_what_it_has_read_of_the_purge_log_is_vouched_for_nothing() {
    let (nats, origin) = (Nats::start(), origin().await);
    let tiers = Tiers::before(&origin.url());
    let log = init(&member(tiers.parent("any"), &nats.url())).await;
    let parent = Node::start(member(tiers.parent("parent"), &nats.url())).await;
    let key = TierKey::new(Tiers::SECRET);
    let ask = async |more: &str| {
        let now = millis();
        let text = format!("v=1; node=child; at={now}; hops=1; scheme=http; log={log}{more}");
        let introduction = key.introduce("/a", &text);
        let fields = [("Larder-Tier", introduction.as_str())];
        let answer = parent.get_with("/a", &fields).await;
        answer.header("Larder-Tier").unwrap_or_default().to_owned()
    };
    let end = Instant::now() + SOON;
    // Until it has read the log, the parent does not know which one that is.
    let voucher = loop {
        let voucher = ask("").await;
        if voucher.contains("says=hit") && voucher.contains("here=") {
            break voucher;
        }
        assert!(Instant::now() < end, "{voucher}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(!voucher.contains("asker="), "{voucher}");
    let asked = origin.total();
    // A purge of which is not said which one it is: nothing that is stored is known to be behind it.
    let voucher = ask("; least=1").await;
    assert!(voucher.contains("says=response"), "{voucher}");
    assert_eq!(origin.total(), asked + 1);
    // Who has read the same is vouched for; who has read something else there is refused.
    let here = voucher.split("; ").find_map(|it| it.strip_prefix("here="));
    let here = here.expect("what the parent has read");
    let (place, _) = here.split_once('-').expect("a place and a print");
    let voucher = ask(&format!("; here={here}; least={place}; mark={here}")).await;
    assert!(voucher.contains("asker=common"), "{voucher}");
    assert!(voucher.contains("says=hit"), "{voucher}");
    for other in [
        format!("; here={place}-0"),
        format!("; here={here}; least={place}; mark={place}-0"),
    ] {
        let voucher = ask(&other).await;
        assert!(voucher.contains("why=tier-purge-log"), "{other}: {voucher}");
    }
}

#[tokio::test]
async fn what_a_parent_vouches_for_that_does_not_say_what_it_has_read_is_asked_for_again() {
    let (nats, origin) = (Nats::start(), origin().await);
    let tiers = Tiers::before(&origin.url());
    let log = init(&member(tiers.parent("any"), &nats.url())).await;
    let key = TierKey::new(Tiers::SECRET);
    let older = Origin::start_h2c(move |seen| {
        let asked = seen.field("larder-tier").unwrap_or_default();
        let text = format!("v=1; node=older; says=hit; log={log}; born=1000000");
        let voucher = key.vouch(asked, 200, &text);
        Reply::fresh(600, "parent").with("Larder-Tier", &voucher)
    })
    .await;
    let edge = tiers.edge("edge", &[]);
    let edge = edge.table("tier", &format!("parents = [\"{}\"]", older.url()));
    let edge = Node::start(member(edge, &nats.url())).await;
    edge.metrics_when(|metrics| metrics.sum("larder_tiered_parent_up", &[]) == 1.0)
        .await;
    for _ in 0..3 {
        let answer = edge.get("/a").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "parent"));
        assert!(!answer.is_hit(), "{}", answer.cache_status());
    }
    // Whatever it has read, it is to ask once more: this is behind all of it.
    let far = |it: &larder_tests::Seen| {
        let said = it.field("larder-tier").unwrap_or_default();
        it.target == "/a" && said.contains("least=9223372036854775807")
    };
    assert_eq!(older.requests().iter().filter(|it| far(it)).count(), 3);
}
