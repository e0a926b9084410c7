//! Nodes of tiers that prove by certificates who they are, instead of by a key.

use std::path::PathBuf;
use std::time::Duration;

use larder_tests::{Ca, Client, Node, Origin, Reply, Settings, Tiers, free_port};
use tokio::time::Instant;

const SOON: Duration = Duration::from_secs(15);

/// The files of tiers without a key.
struct Certified {
    origin: Origin,
    tiers: Tiers,
    ca: Ca,
    authority: PathBuf,
}

impl Certified {
    async fn new() -> Self {
        let origin = Origin::start(|seen| Reply::fresh(600, seen.nth.to_string())).await;
        let tiers = Tiers::before(&origin.url());
        let ca = Ca::new();
        let authority = tiers.key("ca.pem", &ca.pem());
        Self {
            origin,
            tiers,
            ca,
            authority,
        }
    }

    /// Settings of a node whose certificate `ca` has signed, in place of a key.
    fn node(&self, name: &str, ca: &Ca) -> Settings {
        let pair = ca.sign(&["localhost"]);
        let cert = self.tiers.key(&format!("{name}.pem"), &pair.certificate);
        let key = self.tiers.key(&format!("{name}.key"), &pair.key);
        Settings::origins(&[&self.origin.url()])
            .table("node", &format!("name = \"{name}\""))
            .table("tier", &format!("ca_file = {:?}", self.authority))
            .table("tier", &format!("cert_file = {cert:?}"))
            .table("tier", &format!("cert_key_file = {key:?}"))
            .table("tier", "silence = \"5s\"")
            .table("tier", "connect_timeout = \"5s\"")
    }

    async fn parent(&self, ca: &Ca) -> (Node, u16) {
        let port = free_port();
        let listener = format!("{{ address = \"127.0.0.1:{port}\", tls = true }}");
        let pair = |suffix| self.tiers.path(&format!("parent.{suffix}"));
        let shown = format!(
            "certificates = [{{ cert = {:?}, key = {:?} }}]",
            pair("pem"),
            pair("key")
        );
        let settings = self.node("parent", ca).table("tier", "role = \"parent\"");
        let settings = settings.table("tls", &shown);
        (Node::start(settings.listener(&listener)).await, port)
    }

    fn edge(&self, port: u16, ca: &Ca) -> Settings {
        let parents = format!("parents = [\"https://localhost:{port}\"]");
        self.node("edge", ca).table("tier", &parents)
    }
}

/// The edge does without its parent, and no client notices.
async fn check_unfit(certified: &Certified, edge: &Node, why: &str) {
    let end = Instant::now() + SOON;
    let said = |line: &String| line.contains("is not asked any more") && line.contains(why);
    while !edge.stderr().iter().any(said) {
        assert!(Instant::now() < end, "{:?}", edge.stderr());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(edge.get("/a").await.status, 200);
    assert_eq!(certified.origin.requests()[0].values("Via"), ["1.1 edge"]);
}

#[tokio::test]
async fn certificates_do_instead_of_a_key() {
    let certified = Certified::new().await;
    let (parent, port) = certified.parent(&certified.ca).await;
    let edge = Node::start(certified.edge(port, &certified.ca)).await;
    edge.metrics_when(|metrics| metrics.sum("larder_tiered_parent_up", &[]) == 1.0)
        .await;
    let answer = edge.get("/a").await;
    assert_eq!(answer.headers("Via"), ["1.1 parent", "1.1 edge"]);
    assert!(edge.get("/a").await.is_hit());
    let mut client = edge.client().await;
    let posted = client.upload("POST", "/a", &[], b"x").await;
    assert_eq!(posted.headers("Via"), ["1.1 parent", "1.1 edge"]);
    assert_eq!(edge.get("/a").await.text(), "3");
    let metrics = parent.metrics().await;
    let taken = [("verdict", "taken")];
    assert!(metrics.sum("larder_tiered_peer_requests_total", &taken) >= 3.0);
}

#[tokio::test]
async fn who_shows_no_certificate_is_not_believed() {
    let certified = Certified::new().await;
    let (parent, port) = certified.parent(&certified.ca).await;
    let forged = "v=1; node=edge; at=0; hops=1; scheme=https; for=192.0.2.9; sig=certificate";
    let fields = [("Larder-Tier", forged)];
    let address = ([127, 0, 0, 1], port).into();
    let mut client = Client::connect_tls(address, &certified.ca, "localhost")
        .await
        .expect("a session");
    let refused = client.get_with("/a", &fields).await;
    assert_eq!(
        (refused.status, refused.text().as_str()),
        (403, "tier-key\n")
    );
    let refused = parent.get_with("/a", &fields).await;
    assert_eq!(
        (refused.status, refused.text().as_str()),
        (403, "tier-key\n")
    );
    // They are clients like others.
    assert_eq!(client.get("/b").await.status, 200);
    assert_eq!(certified.origin.count("/a"), 0);
}

#[tokio::test]
async fn a_node_with_the_certificate_of_somebody_else_is_not_asked_and_not_answered() {
    let stranger = Ca::new();
    // The edge's own certificate is not good.
    let certified = Certified::new().await;
    let (parent, port) = certified.parent(&certified.ca).await;
    let edge = Node::start(certified.edge(port, &stranger)).await;
    check_unfit(&certified, &edge, "the connection broke").await;
    let metrics = parent.metrics().await;
    assert_eq!(metrics.sum("larder_tiered_peer_requests_total", &[]), 0.0);
    // The parent's is not.
    let certified = Certified::new().await;
    let (_parent, port) = certified.parent(&stranger).await;
    let edge = Node::start(certified.edge(port, &certified.ca)).await;
    check_unfit(&certified, &edge, "no connection").await;
}

#[tokio::test]
async fn a_node_with_a_key_and_one_with_certificates_do_not_understand_each_other() {
    let certified = Certified::new().await;
    let (_parent, port) = certified.parent(&certified.ca).await;
    let key = certified
        .tiers
        .key("other.key", "a-key-for-the-tests-of-32-chars-x");
    let edge = certified
        .edge(port, &certified.ca)
        .table("tier", &format!("key_file = {key:?}"));
    let edge = Node::start(edge).await;
    check_unfit(&certified, &edge, "does not prove").await;
}
