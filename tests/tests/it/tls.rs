//! TLS from clients: certificates by name, HTTP/2 by ALPN.

use std::net::SocketAddr;

use larder_tests::{Ca, Client, H2Client, Node, Origin, Reply, Settings, free_port};

struct Bench {
    ca: Ca,
    address: SocketAddr,
    node: Node,
    _origin: Origin,
    _folder: tempfile::TempDir,
}

async fn bench() -> Bench {
    let ca = Ca::new();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let certificates: Vec<String> = ["a.example", "b.example"]
        .iter()
        .map(|name| {
            let (certificate, key) = ca.sign(&[name]).write(folder.path(), name);
            format!("{{ cert = {certificate:?}, key = {key:?} }}")
        })
        .collect();
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let origin =
        Origin::start(|seen| Reply::fresh(60, seen.field("Host").unwrap_or_default().to_owned()))
            .await;
    let settings = Settings::origins(&[&origin.url()])
        .listener(&format!("{{ address = \"{address}\", tls = true }}"))
        .table(
            "tls",
            &format!("certificates = [{}]", certificates.join(", ")),
        );
    let node = Node::start(settings).await;
    Bench {
        ca,
        address,
        _origin: origin,
        node,
        _folder: folder,
    }
}

#[tokio::test]
async fn the_certificate_is_the_one_for_the_name() {
    let bench = bench().await;
    for name in ["a.example", "b.example"] {
        let mut client = Client::connect_tls(bench.address, &bench.ca, name)
            .await
            .unwrap();
        assert_eq!(client.get("/").await.text(), name);
        assert!(client.get("/").await.is_hit());
    }
    assert!(
        Client::connect_tls(bench.address, &bench.ca, "c.example")
            .await
            .is_err()
    );
}

#[tokio::test]
async fn alpn_chooses_http2_where_the_client_offers_it() {
    let bench = bench().await;
    let mut client = H2Client::connect_tls(bench.address, &bench.ca, "a.example")
        .await
        .unwrap();
    let ask = || http::Request::get("https://a.example/").body(()).unwrap();
    assert_eq!(client.send(ask(), None).await.unwrap().text(), "a.example");
    assert!(client.send(ask(), None).await.unwrap().is_hit());
}

#[tokio::test]
async fn clear_text_and_tls_are_different_keys() {
    let bench = bench().await;
    let mut client = Client::connect_tls(bench.address, &bench.ca, "a.example")
        .await
        .unwrap();
    client.get("/").await;
    let clear = bench.node.get_with("/", &[("Host", "a.example")]).await;
    assert!(!clear.is_hit(), "{}", clear.cache_status());
}

#[tokio::test]
async fn plain_bytes_on_a_tls_port_hurt_nobody() {
    let bench = bench().await;
    let mut plain = Client::connect(bench.address).await;
    plain
        .send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
        .await;
    assert!(!plain.rest().await.starts_with(b"HTTP/1.1 200"));
    let mut client = Client::connect_tls(bench.address, &bench.ca, "a.example")
        .await
        .unwrap();
    assert_eq!(client.get("/").await.status, 200);
}
