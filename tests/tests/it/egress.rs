//! Egress pools: which address and port a connection leaves from, what happens when none is left, and what is refused.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use larder_tests::{Gate, Metrics, Node, Origin, Reply, Settings, eventually, run_to_exit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::SOON;

/// An origin that notes where connections come from, and answers when its gate is open.
struct Noting {
    url: String,
    seen: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Noting {
    async fn start(gate: &Gate) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (noting, gate) = (Arc::clone(&seen), gate.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, from)) = listener.accept().await {
                noting.lock().expect("nobody panics").push(from);
                let gate = gate.clone();
                tokio::spawn(async move {
                    let mut read = [0; 4096];
                    while stream.read(&mut read).await.is_ok_and(|count| count > 0) {
                        gate.passed().await;
                        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nCache-Control: no-store\r\n\r\nx";
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self {
            url: format!("http://{address}"),
            seen,
        }
    }

    fn seen(&self) -> Vec<SocketAddr> {
        self.seen.lock().expect("nobody panics").clone()
    }
}

fn open() -> Gate {
    let gate = Gate::closed();
    gate.open();
    gate
}

fn pool(name: &str, address: &str, ports: &str, more: &str) -> String {
    format!(
        "[[egress]]\nname = \"{name}\"\naddresses = [\"{address}\"]\nports = \"{ports}\"\n{more}\n"
    )
}

#[tokio::test]
async fn a_connection_leaves_from_the_pool_that_is_chosen() {
    let origin = Noting::start(&open()).await;
    let settings = Settings::origins(&[&origin.url])
        .site("egress = [\"site\"]")
        .rule("match = { path = \"/rule/*\" }\nttl = \"0s\"\negress = [\"country=DE\"]")
        .rule("match = { path = \"/pass/*\" }\ncache = false\negress = [\"purpose=api\"]")
        .append(&pool("site", "127.0.0.11", "40000-40099", ""))
        .append(&pool("de", "127.0.0.12", "40000-40099", "country = \"DE\""))
        .append(&pool(
            "api",
            "127.0.0.13",
            "40000-40099",
            "purpose = \"api\"",
        ));
    let node = Node::start(settings).await;
    for (path, from) in [
        ("/a", "127.0.0.11"),
        ("/rule/a", "127.0.0.12"),
        ("/pass/a", "127.0.0.13"),
    ] {
        let before = origin.seen().len();
        for n in 0..3 {
            assert_eq!(node.get(&format!("{path}{n}")).await.text(), "x");
        }
        // Pools share no connections: each has opened one of its own.
        let new = &origin.seen()[before..];
        assert!(!new.is_empty(), "{path}");
        for seen in new {
            assert_eq!(seen.ip().to_string(), from, "{path}");
            assert!((40_000..=40_099).contains(&seen.port()), "{seen}");
        }
    }
    let metrics = node.metrics().await;
    for name in ["site", "de", "api"] {
        let pool = [("pool", name)];
        assert!(metrics.sum("larder_egress_connections_total", &pool) >= 1.0);
        assert!((metrics.sum("larder_egress_ports", &pool) - 100.0).abs() < 0.1);
    }
    assert!(metrics.sum("larder_egress_port_outside_slice_total", &[]) < 1.0);
}

/// Asks for that many things at once, which all hang, and gives the clients.
async fn hanging(node: &Node, origin: &Noting, count: usize) -> Vec<larder_tests::Client> {
    let mut clients = Vec::new();
    for n in 0..count {
        let mut client = node.client().await;
        client.ask("GET", &format!("/hanging/{n}"), &[]).await;
        clients.push(client);
    }
    eventually(SOON, || origin.seen().len() == count).await;
    clients
}

#[tokio::test]
async fn the_next_pool_is_used_when_no_port_is_left() {
    let gate = Gate::closed();
    let origin = Noting::start(&gate).await;
    let settings = Settings::origins(&[&origin.url])
        .site("egress = [\"one\", \"two\"]")
        .append(&pool("one", "127.0.0.14", "40000-40003", ""))
        .append(&pool("two", "127.0.0.15", "40000-40003", ""));
    let node = Node::start(settings).await;
    let clients = hanging(&node, &origin, 8).await;
    let from = |address: &str| {
        let seen = origin.seen().into_iter();
        seen.filter(|it| it.ip().to_string() == address).count()
    };
    assert_eq!((from("127.0.0.14"), from("127.0.0.15")), (4, 4));
    let refused = node.get("/one-too-many").await;
    assert_eq!(refused.status, 503);
    let told = refused.header("Proxy-Status").unwrap();
    assert!(told.contains("connection_limit_reached"), "{told}");
    let metrics = node.metrics().await;
    assert!((metrics.sum("larder_egress_ports_in_use", &[]) - 8.0).abs() < 0.1);
    assert!(metrics.sum("larder_egress_exhausted_total", &[]) >= 2.0);
    // The origin is not to blame.
    assert!(metrics.sum("larder_origin_failures_total", &[]) < 1.0);

    let (admin, token) = (node.admin().to_string(), node.folder().join("admin-token"));
    let token = token.to_str().unwrap();
    let arguments = [
        "egress",
        "list",
        "--admin",
        &admin,
        "--admin-token-file",
        token,
    ];
    let shown = run_to_exit(&arguments, node.folder()).await;
    assert_eq!(shown.code, Some(0), "{shown:?}");
    assert!(shown.stdout.contains("4 in use of 4"), "{}", shown.stdout);
    gate.open();
    drop(clients);
    let freed = |metrics: &Metrics| metrics.sum("larder_egress_ports_in_use", &[]) < 1.0;
    node.metrics_when(freed).await;
}

#[tokio::test]
async fn a_request_waits_for_a_port_or_fails_as_the_pool_says() {
    let gate = Gate::closed();
    let origin = Noting::start(&gate).await;
    let settings = |ports, more| {
        Settings::origins(&[&origin.url])
            .site("egress = [\"one\", \"two\"]")
            .site("idle_timeout = \"50ms\"")
            .append(&pool("one", "127.0.0.16", ports, more))
            .append(&pool("two", "127.0.0.17", "40000-40001", ""))
    };
    let failing = Node::start(settings("40000-40001", "exhausted = \"fail\"")).await;
    let clients = hanging(&failing, &origin, 2).await;
    assert_eq!(failing.get("/third").await.status, 503);
    drop((clients, failing));

    // Ports of a connection that its other end has not closed are taken for a while: these are others.
    let seen = origin.seen().len();
    let waiting = Node::start(settings(
        "40002-40003",
        "exhausted = \"wait\"\nwait = \"30s\"",
    ))
    .await;
    let mut clients = Vec::new();
    for n in 0..3 {
        let mut client = waiting.client().await;
        client.ask("GET", &format!("/waiting/{n}"), &[]).await;
        clients.push(client);
    }
    let exhausted = |metrics: &Metrics| metrics.sum("larder_egress_exhausted_total", &[]) >= 1.0;
    waiting.metrics_when(exhausted).await;
    eventually(SOON, || origin.seen().len() == seen + 2).await;
    gate.open();
    for mut client in clients {
        assert_eq!(client.answer().await.text(), "x");
    }
}

#[tokio::test]
async fn who_waits_for_a_port_is_not_ended_by_the_time_for_connecting() {
    let gate = Gate::closed();
    let origin = Noting::start(&gate).await;
    let wait = "exhausted = \"wait\"\nwait = \"50s\"";
    let settings = Settings::origins(&[&origin.url])
        .site("egress = [\"one\"]")
        .site("idle_timeout = \"50ms\"")
        .site("connect_timeout = \"2s\"")
        .append(&pool("one", "127.0.0.24", "40000-40001", wait));
    let node = Node::start(settings).await;
    let mut clients = hanging(&node, &origin, 2).await;
    let mut waiting = node.client().await;
    waiting.ask("GET", "/waiting", &[]).await;
    let exhausted = |metrics: &Metrics| metrics.sum("larder_egress_exhausted_total", &[]) >= 1.0;
    node.metrics_when(exhausted).await;
    // It is the longer the better: nothing is to happen.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    gate.open();
    clients.push(waiting);
    for mut client in clients {
        assert_eq!(client.answer().await.text(), "x");
    }
}

#[tokio::test]
async fn a_changed_pool_is_left_from_by_new_connections_and_old_ones_go_on() {
    let gate = Gate::closed();
    let (slow, origin) = (Noting::start(&gate).await, Noting::start(&open()).await);
    let of = |address| {
        let site = format!(
            "[[site]]\nname = \"slow\"\nhosts = [\"slow.example\"]\norigins = [\"{}\"]\negress = [\"one\"]\n",
            slow.url
        );
        Settings::origins(&[&origin.url])
            .site("egress = [\"one\"]")
            .append(&pool("one", address, "40000-40099", ""))
            .append(&site)
    };
    let addresses = |of: &Noting| -> Vec<String> {
        let seen = of.seen();
        seen.iter().map(|it| it.ip().to_string()).collect()
    };
    let node = Node::start(of("127.0.0.25")).await;
    let mut before = node.client().await.host("slow.example");
    before.ask("GET", "/under-way", &[]).await;
    eventually(SOON, || slow.seen().len() == 1).await;
    assert_eq!(node.get("/a").await.text(), "x");
    assert_eq!(node.reload(&of("127.0.0.26")).await.status, 200);
    // The connection that was kept is of the old pool.
    assert_eq!(node.get("/b").await.text(), "x");
    assert_eq!(addresses(&origin), ["127.0.0.25", "127.0.0.26"]);
    let mut after = node.client().await.host("slow.example");
    after.ask("GET", "/new", &[]).await;
    eventually(SOON, || slow.seen().len() == 2).await;
    assert_eq!(addresses(&slow), ["127.0.0.25", "127.0.0.26"]);
    gate.open();
    for client in [&mut before, &mut after] {
        assert_eq!(client.answer().await.text(), "x");
    }
}

/// How a start is refused.
async fn refused(pools: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let file: &Path = &folder.path().join("larder.toml");
    let token = folder.path().join("token");
    std::fs::write(&token, "a-token-for-the-tests-of-32-chars").expect("a writable folder");
    let settings = Settings::origins(&["http://127.0.0.1:1"]).append(pools);
    std::fs::write(file, settings.text(any, any, &token)).expect("a writable folder");
    let exit = run_to_exit(
        &["run", "--config", &file.display().to_string()],
        folder.path(),
    )
    .await;
    assert_ne!(exit.code, Some(0), "{}", exit.stderr);
    exit.stderr
}

#[tokio::test]
async fn what_the_kernel_would_ignore_is_refused_at_the_start() {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let first: u16 = range.split_whitespace().next().unwrap().parse().unwrap();
    let outside = pool(
        "out",
        "127.0.0.1",
        &format!("{}-{}", first - 200, first - 100),
        "",
    );
    let said = refused(&outside).await;
    assert!(said.contains("ip_local_port_range"), "{said}");
    let partly = pool(
        "part",
        "127.0.0.1",
        &format!("{}-{}", first - 10, first + 100),
        "",
    );
    assert!(refused(&partly).await.contains("ip_local_port_range"));

    let elsewhere = pool("away", "192.0.2.77", "40000-50000", "");
    let said = refused(&elsewhere).await;
    assert!(said.contains("is no address of this machine"), "{said}");

    let two =
        pool("a", "127.0.0.1", "40000-40100", "") + &pool("b", "127.0.0.1", "40100-40200", "");
    assert!(refused(&two).await.contains("has the same ports"));
}

#[tokio::test]
async fn a_backup_of_another_origin_has_pools_of_its_own() {
    let origin = Noting::start(&open()).await;
    let other = Origin::start(|_| Reply::ok("other")).await;
    let settings = Settings::origins(&[])
        .site(&format!(
            "origins = [{{ url = \"{}\", egress = [\"one\"] }}, {{ url = \"{}\", backup = true }}]",
            origin.url,
            other.url()
        ))
        .append(&pool("one", "127.0.0.18", "40000-40099", ""));
    let node = Node::start(settings).await;
    assert_eq!(node.get("/a").await.text(), "x");
    assert_eq!(origin.seen()[0].ip().to_string(), "127.0.0.18");
}
