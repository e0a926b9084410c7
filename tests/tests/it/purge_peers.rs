//! The same race in front of other caches, where they are installed: a purge while a slow origin is being asked.
//!
//! What a peer does is printed and not judged; what this node does is.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use larder_tests::{Client, Gate, Node, Origin, Reply, Settings, eventually, free_port};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(15);

/// A process that is killed when it is dropped.
struct Peer {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Says aloud what is not compared.
fn skipped(what: &str) {
    let line =
        format!("\nSKIPPED: {what} is not installed, and not compared (apt-get install varnish)\n");
    drop(std::io::stderr().write_all(line.as_bytes()));
}

/// When the purge comes.
#[derive(Clone, Copy, Debug)]
enum Phase {
    BeforeHead,
    DuringBody,
}

/// An origin that holds its first answer at the gate.
async fn slow(phase: Phase, gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::start(move |seen| match (seen.nth, phase) {
        (1, Phase::BeforeHead) => Reply::fresh(600, "old").after(&gate),
        (1, Phase::DuringBody) => Reply::fresh(600, "old").wait(&gate).then("old"),
        _ => Reply::fresh(600, "new"),
    })
    .await
}

async fn purge(address: SocketAddr) -> u16 {
    let mut client = Client::connect(address).await;
    client.request("PURGE", "/a", &[]).await.status
}

/// What a request that comes after the acknowledged purge gets.
async fn race(address: SocketAddr, origin: &Origin, (phase, gate): (Phase, &Gate)) -> String {
    let mut early = Client::connect(address).await;
    early.ask("GET", "/a", &[]).await;
    eventually(SOON, || origin.count("/a") == 1).await;
    if let Phase::DuringBody = phase {
        early.answer_head().await.expect("a head");
    }
    assert_eq!(purge(address).await, 200);
    gate.open();
    match phase {
        Phase::BeforeHead => early.answer().await.text(),
        Phase::DuringBody => String::from_utf8_lossy(&early.at_least(6).await).into_owned(),
    };
    Client::connect(address).await.get("/a").await.text()
}

async fn varnish(origin: &Origin) -> Option<Peer> {
    let folder = tempfile::tempdir().expect("a folder");
    let address: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    let port = origin.address().port();
    let vcl = format!(
        "vcl 4.1;\nbackend default {{ .host = \"127.0.0.1\"; .port = \"{port}\"; }}\n\
         sub vcl_recv {{ if (req.method == \"PURGE\") {{ return (purge); }} }}\n"
    );
    let file = folder.path().join("race.vcl");
    fs::write(&file, vcl).expect("a writable folder");
    let child = Command::new("varnishd")
        .arg("-F")
        .arg("-n")
        .arg(folder.path().join("work"))
        .args(["-j", "none"])
        .args(["-a", &address.to_string(), "-f"])
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let peer = Peer {
        child,
        address,
        _folder: folder,
    };
    let listens = || std::net::TcpStream::connect(address).is_ok();
    eventually(PATIENCE, listens).await;
    Some(peer)
}

#[tokio::test]
async fn a_purge_during_a_fill_wins_here_whatever_it_does_elsewhere() {
    let installed = ["/usr/sbin/varnishd", "/usr/bin/varnishd"];
    let has_varnish = installed.iter().any(|path| Path::new(path).exists());
    let mut table = String::new();
    for phase in [Phase::BeforeHead, Phase::DuringBody] {
        let gate = Gate::closed();
        let origin = slow(phase, &gate).await;
        let settings = Settings::origins(&[&origin.url()]);
        let settings = settings.table("dialects", "purge = [\"127.0.0.1\"]");
        let node = Node::start(settings).await;
        let here = race(node.address(), &origin, (phase, &gate)).await;
        table += &format!("  larder   {phase:?}: {here}\n");
        assert_eq!(here, "new", "{phase:?}");
        if has_varnish {
            let gate = Gate::closed();
            let origin = slow(phase, &gate).await;
            let peer = varnish(&origin).await.expect("varnishd starts");
            let there = race(peer.address, &origin, (phase, &gate)).await;
            table += &format!("  varnish  {phase:?}: {there}\n");
        }
    }
    if !has_varnish {
        skipped("varnishd");
    }
    let told =
        format!("\nafter a purge while the origin was asked, the next request gets\n{table}");
    drop(std::io::stderr().write_all(told.as_bytes()));
}
