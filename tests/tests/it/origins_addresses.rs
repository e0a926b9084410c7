//! Origins that are at several addresses, or on several servers that SRV records name: one that is dead takes none of the
//! others along.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use larder_tests::{Dns, Node, Origin, Reply, Settings, eventually, free_port, run_to_exit};
use tokio::net::TcpListener;

use crate::SOON;

/// Two addresses of this machine with a port that is free on both.
fn two_places() -> (SocketAddr, SocketAddr) {
    loop {
        let port = free_port();
        let at = |address: [u8; 4]| SocketAddr::from((address, port));
        let (one, other) = (at([127, 0, 0, 1]), at([127, 0, 0, 2]));
        let is_free = |address| std::net::TcpListener::bind(address).is_ok();
        if is_free(one) && is_free(other) {
            return (one, other);
        }
    }
}

fn alive(text: &'static str) -> impl Fn(&larder_tests::Seen) -> Reply + Send + Sync {
    move |_| Reply::ok(text).with("Cache-Control", "no-store")
}

fn settings(dns: &Dns, url: &str) -> Settings {
    Settings::origins(&[url]).table("node", &format!("resolvers = [\"{}\"]", dns.address()))
}

/// The lines of `larder origins`.
async fn origins(node: &Node) -> String {
    let (admin, token) = (node.admin().to_string(), node.folder().join("admin-token"));
    let token = token.to_str().expect("a path in UTF-8");
    let arguments = ["origins", "--admin", &admin, "--admin-token-file", token];
    run_to_exit(&arguments, node.folder()).await.stdout
}

/// A server that accepts connections and never says a word; how many it has accepted.
async fn silent(at: SocketAddr) -> Arc<AtomicUsize> {
    let listener = TcpListener::bind(at).await.expect("a free port");
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            held.push(stream);
        }
    });
    count
}

#[tokio::test]
async fn an_address_that_hangs_up_is_left_alone_and_the_name_stays() {
    let dns = Dns::start().await;
    let (one, other) = two_places();
    let bad = Origin::start_on(one, |_| Reply::hang_up()).await;
    let good = Origin::start_on(other, alive("good")).await;
    dns.set("o.test", &["127.0.0.1", "127.0.0.2"], 60);
    let url = format!("http://o.test:{}", one.port());
    let node = settings(&dns, &url).site("retry_budget = 100");
    let node = Node::start(node).await;
    // All at once: each finds out for itself, and the name does not count any of it.
    let mut clients = Vec::new();
    for number in 0..20 {
        let mut client = node.client().await;
        client.ask("GET", &format!("/{number}"), &[]).await;
        clients.push(client);
    }
    for client in &mut clients {
        assert_eq!(client.answer().await.text(), "good");
    }
    let asked = bad.total();
    assert!((1..=20).contains(&asked), "{asked}");
    for number in 20..40 {
        assert_eq!(node.get(&format!("/{number}")).await.text(), "good");
    }
    // What passes the cache by goes there, too.
    let mut client = node.client().await;
    let posted = client.upload("POST", "/p", &[], b"x").await;
    assert_eq!(posted.text(), "good");
    assert_eq!(bad.total(), asked);
    assert!(good.total() >= 41);
    let metrics = node.metrics().await;
    assert_eq!(
        metrics.sum("larder_origin_outs_total", &[("by", "failures")]),
        0.0
    );
    assert_eq!(
        metrics.sum("larder_origin_outs_total", &[("by", "address")]),
        1.0
    );
    assert!(origins(&node).await.contains(" up "));
}

#[tokio::test]
async fn an_address_that_accepts_and_is_silent_costs_a_timeout_and_no_error() {
    let dns = Dns::start().await;
    let (one, other) = two_places();
    let accepted = silent(one).await;
    let _good = Origin::start_on(other, alive("good")).await;
    dns.set("o.test", &["127.0.0.1", "127.0.0.2"], 60);
    let url = format!("http://o.test:{}", one.port());
    let node = settings(&dns, &url).site("first_byte_timeout = \"300ms\"");
    let node = Node::start(node).await;
    for number in 0..20 {
        assert_eq!(node.get(&format!("/{number}")).await.text(), "good");
    }
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn probes_look_at_every_address_and_leave_out_who_is_unwell() {
    let dns = Dns::start().await;
    let (one, other) = two_places();
    // 0 is nobody.
    let unwell = Arc::new(AtomicUsize::new(0));
    let start = async |at, number, text: &'static str| {
        let unwell = Arc::clone(&unwell);
        Origin::start_on(at, move |seen: &larder_tests::Seen| {
            match seen.target == "/health" && unwell.load(Ordering::SeqCst) == number {
                true => Reply::status(503),
                false => Reply::ok(text).with("Cache-Control", "no-store"),
            }
        })
        .await
    };
    let (first, second) = (start(one, 1, "one").await, start(other, 2, "other").await);
    dns.set("o.test", &["127.0.0.1", "127.0.0.2"], 60);
    let url = format!("http://o.test:{}", one.port());
    let probe = "health = { path = \"/health\", interval = \"100ms\", failed = 2, passed = 1 }";
    let node = Node::start(settings(&dns, &url).site(probe)).await;
    eventually(SOON, || {
        first.count("/health") > 1 && second.count("/health") > 1
    })
    .await;
    // Whichever was reached first is left for the other one.
    let (number, left) = match node.get("/a").await.text().as_str() {
        "one" => (1, "other"),
        _ => (2, "one"),
    };
    unwell.store(number, Ordering::SeqCst);
    let out = |metrics: &larder_tests::Metrics| {
        metrics.sum("larder_origin_outs_total", &[("by", "address")]) >= 1.0
    };
    node.metrics_when(out).await;
    for number in 0..10 {
        assert_eq!(node.get(&format!("/b/{number}")).await.text(), left);
    }
    assert!(origins(&node).await.contains(" up "), "one of two is well");
    unwell.store(0, Ordering::SeqCst);
    eventually(SOON, || {
        node.stderr().iter().any(|line| line.contains("is back"))
    })
    .await;
}

async fn server(name: &'static str) -> (Origin, u16) {
    let origin = Origin::start(alive(name)).await;
    let port = origin.address().port();
    (origin, port)
}

/// How many of so many requests got this answer.
async fn answers(node: &Node, prefix: &str, count: usize, text: &str) -> usize {
    let mut found = 0;
    for number in 0..count {
        let answer = node.get(&format!("/{prefix}/{number}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        found += usize::from(answer.text() == text);
    }
    found
}

#[tokio::test]
async fn servers_that_records_name_share_requests_by_their_weights_and_back_each_other_up() {
    const SERVICE: &str = "_http._tcp.app.test";
    let dns = Dns::start().await;
    let (mut a, a_port) = server("a").await;
    let (mut b, b_port) = server("b").await;
    let (_c, c_port) = server("c").await;
    for host in ["a.test", "b.test", "c.test"] {
        dns.set(host, &["127.0.0.1"], 60);
    }
    let all = [
        (1, 30, a_port, "a.test"),
        (1, 10, b_port, "b.test"),
        (2, 10, c_port, "c.test"),
    ];
    dns.set_servers(SERVICE, &all, 1);
    let node = Node::start(settings(&dns, &format!("dns+srv://{SERVICE}"))).await;
    let of_a = answers(&node, "shares", 80, "a").await;
    assert!((55..=65).contains(&of_a), "{of_a}");
    assert_eq!(of_a + b.total(), 80);
    // A server that is lost costs nobody an error.
    a.die().await;
    assert_eq!(answers(&node, "lost", 20, "b").await, 20);
    // Nor do all of the first priority.
    b.die().await;
    assert_eq!(answers(&node, "both", 20, "c").await, 20);
    let shown = origins(&node).await;
    assert!(
        shown.contains(&format!("dns+srv://{SERVICE}")) && shown.contains(" up "),
        "{shown}"
    );
    // Other records, other servers; and none at all are taken for a mistake.
    let (_d, d_port) = server("d").await;
    dns.set("d.test", &["127.0.0.1"], 60);
    dns.set_servers(SERVICE, &[(1, 1, d_port, "d.test")], 1);
    let end = tokio::time::Instant::now() + SOON * 3;
    while node.get("/changed").await.text() != "d" {
        assert!(tokio::time::Instant::now() < end);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    dns.set_servers(SERVICE, &[], 1);
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    assert_eq!(answers(&node, "none", 5, "d").await, 5);
}

#[tokio::test]
async fn a_server_that_answers_with_errors_breaks_its_own_circuit_and_has_a_line_of_its_own() {
    let dns = Dns::start().await;
    let (good, good_port) = server("good").await;
    let ill = Origin::start(|_| Reply::status(500).with("Cache-Control", "no-store")).await;
    let ill_port = ill.address().port();
    for host in ["good.test", "ill.test"] {
        dns.set(host, &["127.0.0.1"], 60);
    }
    let all = [
        (1, 10, good_port, "good.test"),
        (1, 10, ill_port, "ill.test"),
    ];
    dns.set_servers("_http._tcp.app.test", &all, 60);
    let settings = settings(&dns, "dns+srv://_http._tcp.app.test")
        .site("breaker = { percent = 50, requests = 4, pause = \"1h\" }")
        .site("retries = 0");
    let node = Node::start(settings).await;
    let mut number = 0;
    let mut get = async || {
        number += 1;
        node.get(&format!("/{number}")).await.status
    };
    // Half of all fail, until the one that does is left alone.
    while ill.total() < 4 {
        get().await;
    }
    let before = good.total();
    for _ in 0..20 {
        assert_eq!(get().await, 200);
    }
    assert_eq!((ill.total(), good.total()), (4, before + 20));
    let shown = origins(&node).await;
    let line = |of: &str| shown.lines().find(|line| line.contains(of)).expect(of);
    assert!(line("good.test:").contains(" up "), "{shown}");
    assert!(line("ill.test:").contains(" broken "), "{shown}");
    assert!(
        line("ill.test:").contains("4 of 4 failed lately"),
        "{shown}"
    );
    assert!(line("dns+srv://").contains(" up "), "{shown}");
}

#[tokio::test]
async fn a_server_over_tls_is_asked_by_its_own_name() {
    use larder_tests::Ca;
    let dns = Dns::start().await;
    let ca = Ca::new();
    let origin = Origin::start_tls(&ca, &["a.test"], &["http/1.1"], alive("a")).await;
    dns.set("a.test", &["127.0.0.1"], 60);
    let server = [(1, 1, origin.address().port(), "a.test")];
    dns.set_servers("_https._tcp.app.test", &server, 60);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, ca.pem()).expect("a writable folder");
    let origin = format!("{{ url = \"dns+srvs://_https._tcp.app.test\", ca = {file:?} }}");
    let node = settings(&dns, "http://127.0.0.1:1").site(&format!("origins = [{origin}]"));
    let node = Node::start(node).await;
    assert_eq!(node.get("/a").await.text(), "a");
}
