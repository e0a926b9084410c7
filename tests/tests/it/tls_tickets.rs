//! TLS sessions that are resumed: at the node that began them, at another one of the fleet, and after a restart.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use larder_tests::{Ca, Node, Origin, Reply, Settings, free_port};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const NAME: &str = "a.example";
const SECRET: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210";

struct Fleet {
    ca: Ca,
    folder: tempfile::TempDir,
    origin: Origin,
}

impl Fleet {
    async fn new() -> Self {
        Self {
            ca: Ca::new(),
            folder: tempfile::tempdir().expect("a temporary folder"),
            origin: Origin::start(|_| Reply::fresh(60, "hello")).await,
        }
    }

    /// A node, and where it listens, with tickets of the secrets in a file or with its own.
    async fn node(&self, secrets: Option<(&str, &str)>) -> (Node, SocketAddr) {
        let (certificate, key) = self.ca.sign(&[NAME]).write(self.folder.path(), NAME);
        let tickets = secrets.map(|(name, secrets)| {
            let path = self.folder.path().join(name);
            std::fs::write(&path, secrets).expect("a writable folder");
            format!("\nticket_key_file = {path:?}")
        });
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let settings = Settings::origins(&[&self.origin.url()])
            .listener(&format!("{{ address = \"{address}\", tls = true }}"))
            .table(
                "tls",
                &format!(
                    "certificates = [{{ cert = {certificate:?}, key = {key:?} }}]{}",
                    tickets.unwrap_or_default()
                ),
            );
        (Node::start(settings).await, address)
    }

    fn client(&self) -> Arc<ClientConfig> {
        self.ca.client(&["http/1.1"])
    }
}

/// How a client that remembers its sessions got on with a node.
async fn handshake(client: &Arc<ClientConfig>, address: SocketAddr) -> HandshakeKind {
    let stream = TcpStream::connect(address).await.expect("a connection");
    let name = ServerName::try_from(NAME).expect("a name");
    let connector = TlsConnector::from(Arc::clone(client));
    let mut stream = connector.connect(name, stream).await.expect("a session");
    let asked = format!("GET / HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n");
    stream.write_all(asked.as_bytes()).await.expect("a request");
    // The tickets come before the answer.
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    stream.get_ref().1.handshake_kind().expect("a handshake")
}

#[tokio::test]
async fn nodes_with_the_same_secret_resume_each_other_s_sessions() {
    let fleet = Fleet::new().await;
    let (_one, one) = fleet.node(Some(("one", SECRET))).await;
    let (_two, two) = fleet
        .node(Some(("two", &format!("# new\n{OTHER}\n{SECRET}\n"))))
        .await;
    let (_stranger, stranger) = fleet.node(Some(("stranger", OTHER))).await;
    let client = fleet.client();
    assert_eq!(handshake(&client, one).await, HandshakeKind::Full);
    assert_eq!(handshake(&client, one).await, HandshakeKind::Resumed);
    assert_eq!(handshake(&client, two).await, HandshakeKind::Resumed);
    // Its tickets are of the new secret by now: the first one seals.
    assert_eq!(handshake(&client, stranger).await, HandshakeKind::Resumed);
    assert_eq!(handshake(&client, one).await, HandshakeKind::Full);
}

#[tokio::test]
async fn without_a_secret_a_session_is_the_node_s_alone() {
    let fleet = Fleet::new().await;
    let (_one, one) = fleet.node(None).await;
    let (_two, two) = fleet.node(None).await;
    let client = fleet.client();
    handshake(&client, one).await;
    assert_eq!(handshake(&client, one).await, HandshakeKind::Resumed);
    assert_eq!(handshake(&client, two).await, HandshakeKind::Full);
}

#[tokio::test]
async fn sessions_outlive_the_node_and_end_with_their_key() {
    let fleet = Fleet::new().await;
    let (mut node, address) = fleet.node(Some(("key", SECRET))).await;
    let client = fleet.client();
    handshake(&client, address).await;
    node.kill_and_restart(|_| {}).await;
    assert_eq!(handshake(&client, address).await, HandshakeKind::Resumed);
    // A key opens for two periods of six hours after its own.
    node.advance(std::time::Duration::from_secs(6 * 3600));
    assert_eq!(handshake(&client, address).await, HandshakeKind::Resumed);
    node.advance(std::time::Duration::from_secs(18 * 3600));
    assert_eq!(handshake(&client, address).await, HandshakeKind::Full);
}

#[tokio::test]
async fn openssl_resumes_a_session_at_another_node() {
    let fleet = Fleet::new().await;
    let (_one, one) = fleet.node(Some(("one", SECRET))).await;
    let (_two, two) = fleet.node(Some(("two", SECRET))).await;
    for version in ["-tls1_3", "-tls1_2"] {
        let session = fleet.folder.path().join(format!("session{version}"));
        let told = s_client(one, &[version, "-sess_out"], &session).await;
        assert!(told.contains("New, TLSv1"), "{told}");
        let told = s_client(two, &[version, "-sess_in"], &session).await;
        assert!(told.contains("Reused, TLSv1"), "{version}: {told}");
    }
}

/// What `openssl s_client` says of a connection.
async fn s_client(address: SocketAddr, words: &[&str], session: &Path) -> String {
    let mut command = std::process::Command::new("openssl");
    command
        .args(["s_client", "-ign_eof", "-servername", NAME, "-connect"])
        .arg(address.to_string())
        .args(words)
        .arg(session)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let asked = format!("GET / HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n");
    let told = tokio::task::spawn_blocking(move || {
        let mut client = command.spawn().expect("openssl is installed");
        let mut input = client.stdin.take().expect("an input");
        input.write_all(asked.as_bytes()).expect("a request");
        drop(input);
        client.wait_with_output().expect("an end")
    });
    String::from_utf8_lossy(&told.await.expect("no panic").stdout).into_owned()
}
