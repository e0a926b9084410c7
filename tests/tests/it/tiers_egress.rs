//! Connections to parents leave from pools of their own.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use larder_tests::{Metrics, Node, Origin, Reply, Settings, Tiers};

/// Where connections to a port of this machine come from, as the kernel lists them.
fn sources(port: u16) -> Vec<SocketAddr> {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("a table of connections");
    let parse = |text: &str| {
        let (address, port) = text.split_once(':')?;
        let address = u32::from_str_radix(address, 16).ok()?;
        let port = u16::from_str_radix(port, 16).ok()?;
        let address = Ipv4Addr::from(u32::from_be(address));
        Some(SocketAddr::V4(SocketAddrV4::new(address, port)))
    };
    let established = table.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (local, remote) = (parse(words.next()?)?, parse(words.next()?)?);
        let is_open = words.next()? == "01";
        (is_open && remote.port() == port).then_some(local)
    });
    established.collect()
}

fn pool(name: &str, address: &str, more: &str) -> String {
    format!(
        "[[egress]]\nname = \"{name}\"\naddresses = [\"{address}\"]\nports = \"41000-41099\"\n{more}\n"
    )
}

fn in_pools(settings: Settings) -> Settings {
    settings
        .table("tier", "egress = [\"purpose=tier\"]")
        .append(&pool("between", "127.0.0.31", "purpose = \"tier\""))
        .append(&pool("out", "127.0.0.32", ""))
}

#[tokio::test]
async fn links_to_parents_leave_from_their_pool_and_share_nothing_with_origins() {
    let origin = Origin::start(|seen| Reply::fresh(600, seen.target.clone())).await;
    let tiers = Tiers::before(&origin.url());
    let parent = Node::start(tiers.parent("parent")).await;
    // The parent is an origin, too: what differs is for what it is asked.
    let url = format!("http://{}", parent.address());
    let settings = tiers
        .join("edge", Settings::origins(&[]))
        .site(&format!(
            "origins = [{{ url = \"{url}\", http = \"2\", egress = [\"out\"] }}]"
        ))
        .table("tier", &format!("parents = [\"{url}\"]"));
    let edge = Node::start(in_pools(settings)).await;
    let port = parent.address().port();

    assert_eq!(edge.get("/a").await.text(), "/a");
    let seen = sources(port);
    let from = |address: &str| {
        seen.iter()
            .filter(|it| it.ip().to_string() == address)
            .count()
    };
    assert_eq!((from("127.0.0.31"), from("127.0.0.32")), (1, 0), "{seen:?}");
    // An unsafe request goes to the parent, too, on another connection of the same pool.
    let posted = edge.request("POST", "/a", &[]).await;
    assert_eq!(posted.headers("Via"), ["1.1 parent", "1.1 edge"]);
    // This one only passes, to the origin.
    assert_eq!(edge.request("HEAD", "/b", &[]).await.status, 200);
    for source in sources(port) {
        assert!((41_000..=41_099).contains(&source.port()), "{source}");
    }
    let seen = sources(port);
    let from = |address: &str| {
        seen.iter()
            .filter(|it| it.ip().to_string() == address)
            .count()
    };
    assert!(from("127.0.0.31") >= 2, "{seen:?}");
    assert_eq!(from("127.0.0.32"), 1, "{seen:?}");
    assert_eq!(from("127.0.0.31") + from("127.0.0.32"), seen.len());
    let counts = |metrics: &Metrics, pool: &str| {
        let pool = [("pool", pool)];
        (
            metrics.sum("larder_egress_ports_in_use", &pool),
            metrics.sum("larder_egress_connections_total", &pool),
        )
    };
    let metrics = edge.metrics().await;
    assert_eq!(counts(&metrics, "out"), (1.0, 1.0));
    assert!(counts(&metrics, "between").0 >= 2.0);
}

#[tokio::test]
async fn a_parent_that_is_gone_gives_its_ports_back() {
    let origin = Origin::start(|_| Reply::fresh(600, "x")).await;
    let tiers = Tiers::before(&origin.url());
    let mut parent = Node::start(tiers.parent("parent")).await;
    let edge = Node::start(in_pools(tiers.edge("edge", &[&parent]))).await;
    let in_use = |metrics: &Metrics| metrics.sum("larder_egress_ports_in_use", &[]);
    edge.metrics_when(|metrics| in_use(metrics) == 1.0).await;
    parent.kill();
    edge.metrics_when(|metrics| in_use(metrics) == 0.0).await;
}
