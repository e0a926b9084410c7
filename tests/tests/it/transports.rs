//! The ways to an origin and from a client: names and families, sockets in the file system, CONNECT, the PROXY protocol,
//! certificates on both sides, fields that change on the way.

use std::net::SocketAddr;
use std::path::Path;

use larder_tests::{
    Ca, Client, Dns, Node, Origin, Program, Reply, Settings, free_port, run_to_exit,
};

use crate::SOON;

async fn origin(body: &'static str) -> Origin {
    Origin::start(move |_| Reply::ok(body).with("Cache-Control", "no-store")).await
}

/// A site whose one origin is this table.
fn only(origin: &str) -> Settings {
    Settings::origins(&[]).site(&format!("origins = [{{ {origin} }}]"))
}

/// Origins on the same port of two addresses.
async fn two_on_a_port(one: &str, other: &str) -> (Origin, Origin, u16) {
    loop {
        let port = free_port();
        let at = |address: &str| SocketAddr::new(address.parse().expect("an address"), port);
        let free = |address| std::net::TcpListener::bind(at(address)).is_ok();
        if free(one) && free(other) {
            let first = Origin::start_on(at(one), |_| Reply::ok("one")).await;
            let second = Origin::start_on(at(other), |_| Reply::ok("other")).await;
            return (first, second, port);
        }
    }
}

#[tokio::test]
async fn a_change_of_a_name_is_followed_within_its_ttl() {
    let dns = Dns::start().await;
    let (_one, other, port) = two_on_a_port("127.0.0.1", "127.0.0.2").await;
    dns.set("origin.test", &["127.0.0.1"], 1);
    let settings = Settings::origins(&[&format!("http://origin.test:{port}")])
        .table("node", &format!("resolvers = [\"{}\"]", dns.address()));
    let node = Node::start(settings).await;
    let mut client = node.client().await;
    assert_eq!(client.get("/0").await.text(), "one");
    dns.set("origin.test", &["127.0.0.2"], 1);
    // A pooled connection to the old address is not used any more either.
    let changed = async {
        for n in 1.. {
            if client.get(&format!("/{n}")).await.text() == "other" {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, changed)
        .await
        .expect("the change");
    assert!(other.total() > 0);
}

#[tokio::test]
async fn an_address_that_is_dead_costs_no_attempt() {
    let dns = Dns::start().await;
    let origin = origin("alive").await;
    let port = origin.address().port();
    // Nobody listens there, and a network for documentation that nobody answers in.
    dns.set("origin.test", &["::1", "2001:db8::1", "127.0.0.1"], 60);
    let settings = Settings::origins(&[&format!("http://origin.test:{port}")])
        .table("node", &format!("resolvers = [\"{}\"]", dns.address()))
        .site("retries = 0");
    let node = Node::start(settings).await;
    for n in 0..3 {
        assert_eq!(node.get(&format!("/{n}")).await.text(), "alive");
    }
    assert_eq!(node.request("OPTIONS", "/pass", &[]).await.text(), "alive");
    let metrics = node.metrics().await;
    assert!(metrics.sum("larder_origin_failures_total", &[]) < 1.0);
}

#[tokio::test]
async fn an_origin_at_a_socket_in_the_file_system() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let origin = Origin::start_unix(&path, |_| Reply::fresh(60, "x")).await;
    let node = Node::before(&format!("unix:{}", path.display())).await;
    assert_eq!(node.get("/a").await.text(), "x");
    assert!(node.get("/a").await.is_hit());
    let mut client = node.client().await;
    let answer = client.upload("POST", "/b", &[], b"hello").await;
    assert_eq!(answer.status, 200);
    assert_eq!(&origin.last("/b").body[..], b"hello");
    assert_eq!(origin.last("/a").field("Host"), Some("www.example.com"));
    drop(origin);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(node.get("/c").await.status, 502);
}

#[tokio::test]
async fn an_origin_behind_a_proxy_that_is_asked_for_a_tunnel() {
    let ca = Ca::new();
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, ca.pem()).unwrap();
    let port = free_port();
    let proxy = Program::tinyproxy(port);
    let plain = origin("plain").await;
    let tls = Origin::start_tls(&ca, &["127.0.0.1"], &["h2", "http/1.1"], |_| {
        Reply::ok("tls")
    })
    .await;
    for (origin, more, body) in [
        (&plain, String::new(), "plain"),
        (&tls, format!(", ca = {ca_file:?}"), "tls"),
    ] {
        let url = origin.url();
        let settings = only(&format!(
            "url = \"{url}\", proxy = \"http://127.0.0.1:{port}\"{more}"
        ));
        let node = Node::start(settings).await;
        assert_eq!(node.get("/a").await.text(), body);
        assert_eq!(node.request("OPTIONS", "/b", &[]).await.text(), body);
        let tunnel = format!("CONNECT {}", origin.address());
        assert!(proxy.log().contains(&tunnel), "{}", proxy.log());
    }
    // A proxy that refuses.
    let refusing = Origin::start(|_| Reply::status(403)).await;
    let settings = only(&format!(
        "url = \"{}\", proxy = \"{}\"",
        plain.url(),
        refusing.url()
    ));
    let node = Node::start(settings).await;
    assert_eq!(node.get("/a").await.status, 502);
}

#[tokio::test]
async fn a_proxy_that_wants_to_know_who_asks() {
    let port = free_port();
    let _proxy = Program::tinyproxy_with(port, "BasicAuth edge s3cret\n");
    let origin = origin("x").await;
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("proxy.secret");
    let through = format!(
        "url = \"{}\", proxy = \"http://127.0.0.1:{port}\"",
        origin.url()
    );
    for (pair, status) in [("edge:s3cret\n", 200), ("edge:other\n", 502)] {
        std::fs::write(&secret, pair).unwrap();
        let settings = format!("{through}, proxy_credentials = {secret:?}");
        let node = Node::start(only(&settings)).await;
        assert_eq!(node.get("/a").await.status, status, "{pair:?}");
        let passing = node.request("OPTIONS", "/a", &[]).await;
        assert_eq!(passing.status, status, "{pair:?}");
    }
    assert_eq!(origin.last("/a").field("Proxy-Authorization"), None);
    let without = Node::start(only(&through)).await;
    assert_eq!(without.get("/a").await.status, 502);
}

#[tokio::test]
async fn an_origin_is_told_who_the_client_is_before_the_first_byte() {
    let origin =
        Origin::start(|seen| Reply::ok(seen.field("X-Seen").unwrap_or("-").to_owned())).await;
    for version in ["v1", "v2"] {
        let port = free_port();
        let _haproxy = Program::haproxy(
            port,
            &format!(
                "frontend f\n  bind 127.0.0.1:{port} accept-proxy\n  http-request set-header X-Seen %[src]\n  default_backend b\n\
                 backend b\n  server s {}\n",
                origin.address()
            ),
        );
        let settings = only(&format!(
            "url = \"http://127.0.0.1:{port}\", proxy_protocol = \"{version}\""
        ));
        let node = Node::start(settings).await;
        for from in ["127.0.0.5", "127.0.0.6", "127.0.0.5"] {
            let mut client = Client::connect_from(from, node.address()).await;
            let path = format!("/{version}/{from}/fill");
            assert_eq!(client.get(&path).await.text(), from, "{version}");
            let passing = client.request("OPTIONS", "/pass", &[]).await;
            assert_eq!(passing.text(), from, "{version}");
        }
    }
}

#[tokio::test]
async fn a_trusted_proxy_says_who_the_client_is_before_the_first_byte() {
    let origin = origin("x").await;
    let inside = free_port();
    let settings = Settings::origins(&[&origin.url()])
        .table("node", "trusted_proxies = [\"127.0.0.1/32\"]")
        .listener(&format!(
            "{{ address = \"127.0.0.1:{inside}\", proxy_protocol = true }}"
        ));
    let _node = Node::start(settings).await;
    for (number, sending) in ["send-proxy", "send-proxy-v2"].into_iter().enumerate() {
        let port = free_port();
        let _haproxy = Program::haproxy(
            port,
            &format!(
                "frontend f\n  bind 127.0.0.1:{port}\n  default_backend b\n\
                 backend b\n  server s 127.0.0.1:{inside} {sending}\n"
            ),
        );
        let mut client = Client::connect_from("127.0.0.5", ([127, 0, 0, 1], port).into()).await;
        let path = format!("/{number}");
        assert_eq!(client.get(&path).await.text(), "x");
        let seen = origin.last(&path);
        assert_eq!(
            seen.field("X-Forwarded-For"),
            Some("127.0.0.5"),
            "{sending}"
        );
    }
    let at: SocketAddr = ([127, 0, 0, 1], inside).into();
    // Who is trusted has to say it, and rightly.
    for bytes in [
        "GET /none HTTP/1.1\r\nHost: a\r\n\r\n",
        "PROXY TCP4 1.2.3.4\r\nGET /none HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let mut client = Client::connect(at).await;
        client.send(bytes).await;
        assert!(client.answer_to("GET").await.is_none());
    }
    // Who is not trusted may not.
    let mut client = Client::connect_from("127.0.0.9", at).await;
    client
        .send("PROXY TCP4 1.2.3.4 1.2.3.5 1 2\r\nGET /forged HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    assert_eq!(client.answer().await.status, 400);
    let mut client = Client::connect_from("127.0.0.9", at).await;
    assert_eq!(client.get("/own").await.text(), "x");
    assert_eq!(
        origin.last("/own").field("X-Forwarded-For"),
        Some("127.0.0.9")
    );
    assert_eq!((origin.count("/none"), origin.count("/forged")), (0, 0));
}

#[tokio::test]
async fn a_node_shows_an_origin_its_certificate() {
    let ca = Ca::new();
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, ca.pem()).unwrap();
    let (cert, key) = ca.sign(&["larder"]).write(folder.path(), "client");
    let origin = Origin::start_mutual_tls(&ca, &["127.0.0.1"], |_| Reply::ok("x")).await;
    let url = origin.url();
    let shown =
        format!("url = \"{url}\", ca = {ca_file:?}, client_cert = {cert:?}, client_key = {key:?}");
    let node = Node::start(only(&shown)).await;
    assert_eq!(node.get("/a").await.text(), "x");
    assert_eq!(node.request("OPTIONS", "/b", &[]).await.text(), "x");
    let nobody = Node::start(only(&format!("url = \"{url}\", ca = {ca_file:?}"))).await;
    assert_eq!(nobody.get("/c").await.status, 502);
    // A key of another certificate ends the start.
    let (_, other) = ca.sign(&["other"]).write(folder.path(), "other");
    let wrong = format!(
        "url = \"{url}\", ca = {ca_file:?}, client_cert = {cert:?}, client_key = {other:?}"
    );
    let exit = start(&only(&wrong), folder.path()).await;
    assert_ne!(exit.0, Some(0), "{}", exit.1);
    assert!(exit.1.contains("other.key"), "{}", exit.1);
}

/// How a start ends that is refused, and what is said.
async fn start(settings: &Settings, folder: &Path) -> (Option<i32>, String) {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let file = folder.join("refused.toml");
    let token = folder.join("token");
    std::fs::write(&token, "a-token-for-the-tests-of-32-chars").expect("a writable folder");
    std::fs::write(&file, settings.text(any, any, &token)).expect("a writable folder");
    let file = file.display().to_string();
    let exit = run_to_exit(&["run", "--config", &file], folder).await;
    (exit.code, exit.stderr)
}

#[tokio::test]
async fn fields_change_on_their_way() {
    let origin = Origin::start(|_| {
        Reply::fresh(600, "x")
            .with("X-Powered-By", "y")
            .with("X-Debug", "z")
    })
    .await;
    let settings = Settings::origins(&[&origin.url()])
        .site("request_fields = { remove = [\"X-Secret\"], set = [\"X-Env: prod\"], add = [\"X-Via: a\"] }")
        .site("response_fields = { remove = [\"X-Debug\"], set = [\"X-Powered-By: larder\", \"Cache-Control: no-store\"] }");
    let node = Node::start(settings).await;
    let fields = [("X-Secret", "1"), ("X-Env", "test"), ("X-Via", "b")];
    for method in ["GET", "OPTIONS"] {
        let answer = node.request(method, "/a", &fields).await;
        let seen = origin.last("/a");
        assert_eq!(seen.field("X-Secret"), None, "{method}");
        assert_eq!(seen.values("X-Env"), ["prod"], "{method}");
        assert_eq!(seen.values("X-Via"), ["b", "a"], "{method}");
        assert_eq!(answer.header("X-Powered-By"), Some("larder"), "{method}");
        assert_eq!(answer.header("X-Debug"), None, "{method}");
        assert_eq!(answer.header("Cache-Control"), Some("no-store"), "{method}");
    }
    // What is changed counts for what is stored.
    assert!(!node.get("/a").await.is_hit());
}

#[tokio::test]
async fn an_origin_has_no_more_connections_than_it_may() {
    let origin = Origin::start(|_| Reply::ok("x").with("Cache-Control", "no-store")).await;
    let settings = only(&format!("url = \"{}\", max_connections = 2", origin.url()));
    let node = Node::start(settings).await;
    let mut asking = Vec::new();
    for n in 0..20 {
        let mut client = node.client().await;
        let method = if n % 2 == 0 { "GET" } else { "OPTIONS" };
        client.ask(method, &format!("/{n}"), &[]).await;
        asking.push(client);
    }
    for mut client in asking {
        assert_eq!(client.answer().await.text(), "x");
    }
    assert_eq!(origin.total(), 20);
}
