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

impl Peer {
    /// Starts a server that is to listen at `address` with what is in `folder`.
    async fn start(command: &mut Command, address: SocketAddr, folder: TempDir) -> Self {
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it is installed");
        let peer = Self {
            child,
            address,
            _folder: folder,
        };
        let listens = || std::net::TcpStream::connect(address).is_ok();
        eventually(PATIENCE, listens).await;
        peer
    }
}

/// A cache that purging is compared with.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Varnish,
    TrafficServer,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Varnish, Self::TrafficServer];

    /// Its package in Debian, and where its program may be.
    const fn package(self) -> (&'static str, [&'static str; 2]) {
        match self {
            Self::Varnish => ("varnish", ["/usr/sbin/varnishd", "/usr/bin/varnishd"]),
            Self::TrafficServer => (
                "trafficserver",
                ["/usr/bin/traffic_server", "/usr/sbin/traffic_server"],
            ),
        }
    }

    fn program(self) -> Option<&'static str> {
        let (_, paths) = self.package();
        paths.into_iter().find(|path| Path::new(path).exists())
    }

    /// Started in front of an origin, as a newcomer would configure it.
    async fn start(self, program: &str, origin: SocketAddr) -> Peer {
        match self {
            Self::Varnish => varnish(program, origin).await,
            Self::TrafficServer => traffic_server(program, origin).await,
        }
    }
}

fn say(text: &str) {
    drop(std::io::stderr().write_all(text.as_bytes()));
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

/// What the purge is answered, and what a request that comes after it gets.
async fn race(
    address: SocketAddr,
    origin: &Origin,
    (phase, gate): (Phase, &Gate),
) -> (u16, String) {
    let mut early = Client::connect(address).await;
    early.ask("GET", "/a", &[]).await;
    eventually(SOON, || origin.count("/a") == 1).await;
    if let Phase::DuringBody = phase {
        early.answer_head().await.expect("a head");
    }
    let status = purge(address).await;
    gate.open();
    match phase {
        Phase::BeforeHead => early.answer().await.text(),
        Phase::DuringBody => String::from_utf8_lossy(&early.at_least(6).await).into_owned(),
    };
    let next = Client::connect(address).await.get("/a").await;
    (status, next.text())
}

async fn varnish(program: &str, origin: SocketAddr) -> Peer {
    let folder = tempfile::tempdir().expect("a folder");
    let address: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    let port = origin.port();
    let vcl = format!(
        "vcl 4.1;\nbackend default {{ .host = \"127.0.0.1\"; .port = \"{port}\"; }}\n\
         sub vcl_recv {{ if (req.method == \"PURGE\") {{ return (purge); }} }}\n"
    );
    let file = folder.path().join("race.vcl");
    fs::write(&file, vcl).expect("a writable folder");
    let mut command = Command::new(program);
    command
        .arg("-F")
        .arg("-n")
        .arg(folder.path().join("work"))
        .args(["-j", "none"])
        .args(["-a", &address.to_string(), "-f"])
        .arg(&file);
    Peer::start(&mut command, address, folder).await
}

async fn traffic_server(program: &str, origin: SocketAddr) -> Peer {
    let folder = tempfile::tempdir().expect("a folder");
    let address: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    let root = folder.path().display();
    let write = |name: &str, text: String| {
        fs::write(folder.path().join(name), text).expect("a writable folder");
    };
    for name in ["etc", "cache", "run", "log"] {
        fs::create_dir(folder.path().join(name)).expect("a writable folder");
    }
    let layout = [
        ("prefix", ""),
        ("sysconfdir", "/etc"),
        ("datadir", "/cache"),
        ("cachedir", "/cache"),
        ("localstatedir", ""),
        ("runtimedir", "/run"),
        ("logdir", "/log"),
    ];
    let layout = layout.map(|(name, below)| format!("{name}: {root}{below}\n"));
    write("runroot.yaml", layout.concat());
    let port = address.port();
    write(
        "etc/records.config",
        format!(
            "CONFIG proxy.config.http.server_ports STRING {port}:ip-in=127.0.0.1\n\
             CONFIG proxy.config.http.wait_for_cache INT 1\n\
             CONFIG proxy.config.admin.user_id STRING #-1\n\
             CONFIG proxy.config.log.logging_enabled INT 0\n"
        ),
    );
    write("etc/storage.config", format!("{root}/cache 32M\n"));
    write("etc/remap.config", format!("map / http://{origin}/\n"));
    let all = "ip_allow:\n  - apply: in\n    ip_addrs: 0/0\n    action: allow\n    methods: ALL\n";
    write("etc/ip_allow.yaml", all.to_owned());
    write("etc/plugin.config", String::new());
    let mut command = Command::new(program);
    command.arg(format!("--run-root={root}/runroot.yaml"));
    Peer::start(&mut command, address, folder).await
}

fn line(who: &str, phase: Phase, (status, next): &(u16, String)) -> String {
    format!("  {who:<14} {phase:?}: answered {status}, then {next}\n")
}

#[tokio::test]
async fn a_purge_during_a_fill_wins_here_whatever_it_does_elsewhere() {
    let mut table = String::new();
    for phase in [Phase::BeforeHead, Phase::DuringBody] {
        let gate = Gate::closed();
        let origin = slow(phase, &gate).await;
        let settings = Settings::origins(&[&origin.url()]);
        let settings = settings.table("dialects", "purge = [\"127.0.0.1\"]");
        let node = Node::start(settings).await;
        let here = race(node.address(), &origin, (phase, &gate)).await;
        assert_eq!(here, (200, "new".to_owned()), "{phase:?}");
        table += &line("Larder", phase, &here);
        for kind in Kind::ALL {
            let Some(program) = kind.program() else {
                continue;
            };
            let gate = Gate::closed();
            let origin = slow(phase, &gate).await;
            let peer = kind.start(program, origin.address()).await;
            let there = race(peer.address, &origin, (phase, &gate)).await;
            table += &line(&format!("{kind:?}"), phase, &there);
        }
    }
    for kind in Kind::ALL.into_iter().filter(|it| it.program().is_none()) {
        let (package, _) = kind.package();
        say(&format!(
            "\nSKIPPED: {kind:?} is not installed, and not compared (apt-get install {package})\n"
        ));
    }
    say(&format!(
        "\nafter a purge while the origin was asked, the next request gets\n{table}"
    ));
}
