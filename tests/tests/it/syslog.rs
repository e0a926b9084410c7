//! The access log as a real rsyslog receives it: over UDP, TCP and the system's socket.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use larder_tests::{Node, Origin, Reply, Settings, eventually, free_port};
use serde_json::Value;

use crate::SOON;

/// rsyslog, which writes one line for each message: what it understood of its header, and the message.
struct Rsyslog {
    child: Child,
    folder: tempfile::TempDir,
    port: u16,
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Rsyslog {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let child = listening(folder.path(), port).await;
        Self {
            child,
            folder,
            port,
        }
    }

    fn kill(&mut self) {
        self.child.kill().expect("a child");
        self.child.wait().expect("a child");
    }

    async fn start_again(&mut self) {
        self.child = listening(self.folder.path(), self.port).await;
    }

    fn text(&self) -> String {
        fs::read_to_string(self.folder.path().join("told")).unwrap_or_default()
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// What it understood of messages about this path: the header, and the line.
    async fn told(&self, path: &str) -> (Vec<String>, Value) {
        let quoted = format!("\"path\":\"{path}\"");
        let found = || {
            let text = self.text();
            let mut lines = text.lines();
            lines.find(|line| line.contains(&quoted)).map(str::to_owned)
        };
        eventually(SOON, || found().is_some()).await;
        let line = found().expect("it was there");
        let mut parts: Vec<String> = line.splitn(6, '|').map(str::to_owned).collect();
        let message = parts.pop().expect("a message");
        let line = serde_json::from_str(&message);
        (
            parts,
            line.unwrap_or_else(|error| panic!("{error}: {message}")),
        )
    }
}

/// The program with its configuration, as soon as it listens.
async fn listening(folder: &Path, port: u16) -> Child {
    let path = folder.display();
    let configuration = format!(
        "global(workDirectory=\"{path}\" maxMessageSize=\"64k\" net.enableDNS=\"off\")\n\
         module(load=\"imudp\")\nmodule(load=\"imtcp\")\n\
         module(load=\"imuxsock\" SysSock.Use=\"off\")\n\
         input(type=\"imudp\" address=\"127.0.0.1\" port=\"{port}\")\n\
         input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")\n\
         input(type=\"imuxsock\" Socket=\"{path}/socket\" useSpecialParser=\"off\")\n\
         template(name=\"told\" type=\"string\" string=\"%pri-text%|%protocol-version%|%timestamp:::date-rfc3339%|%hostname%|%app-name%|%msg%\\n\")\n\
         action(type=\"omfile\" file=\"{path}/told\" template=\"told\")\n"
    );
    let file = folder.join("rsyslog.conf");
    fs::write(&file, configuration).expect("a writable folder");
    // Not everybody's path leads to daemons.
    let daemon = Path::new("/usr/sbin/rsyslogd");
    let program = if daemon.exists() {
        daemon
    } else {
        Path::new("rsyslogd")
    };
    let errors = fs::File::create(folder.join("errors")).expect("a writable folder");
    let child = Command::new(program)
        .arg("-n")
        .arg(format!("-f{}", file.display()))
        .arg(format!("-i{path}/pid"))
        .stdout(Stdio::null())
        .stderr(errors)
        .spawn();
    let child = child.unwrap_or_else(|error| panic!("rsyslogd: {error}; .ci/setup installs it"));
    let listens = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    eventually(SOON, || listens() && folder.join("socket").exists()).await;
    child
}

#[tokio::test]
async fn rsyslog_understands_every_line_however_it_comes() {
    let origin = Origin::start(|_| Reply::fresh(60, "x")).await;
    let rsyslog = Rsyslog::start().await;
    let places = [
        ("udp", format!("udp://127.0.0.1:{}", rsyslog.port)),
        ("tcp", format!("tcp://127.0.0.1:{}", rsyslog.port)),
        ("unix", format!("unix:{}", rsyslog.socket().display())),
    ];
    for (how, to) in places {
        let settings = Settings::origins(&[&origin.url()])
            .table("node", &format!("name = \"edge-{how}\""))
            .table("log", &format!("to = \"{to}\""));
        let node = Node::start(settings).await;
        // A line that holds everything a line of syslog must not be broken by.
        let odd = [("User-Agent", "a <34>1 b\\n \"c\" | %msg%")];
        node.get_with(&format!("/{how}/odd"), &odd).await;
        let (header, line) = rsyslog.told(&format!("/{how}/odd")).await;
        assert_eq!(header[0], "local0.info", "{how}: {header:?}");
        assert_eq!(header[1], "1", "RFC 5424, {how}: {header:?}");
        assert!(header[2].starts_with("20"), "{header:?}");
        assert_eq!(header[4], "larder", "{how}: {header:?}");
        assert_eq!(line["user_agent"], odd[0].1, "{how}");
        assert_eq!(line["node"], format!("edge-{how}"));

        for number in 0..50 {
            node.get(&format!("/{how}/{number}?{}", "q".repeat(1500)))
                .await;
        }
        let last = format!("/{how}/49?{}", "q".repeat(1500));
        let (_, line) = rsyslog.told(&last).await;
        assert_eq!(line["status"], 200);
        let lost = node.metrics().await;
        assert_eq!(
            lost.sum("larder_access_log_dropped_total", &[]),
            0.0,
            "{how}"
        );
    }
}

/// The server goes away and comes back: lines meanwhile are counted, and the connection is made again.
#[tokio::test]
async fn a_connection_is_made_again_when_rsyslog_comes_back() {
    let origin = Origin::start(|_| Reply::fresh(60, "x")).await;
    let mut rsyslog = Rsyslog::start().await;
    let to = format!("to = \"tcp://127.0.0.1:{}\"", rsyslog.port);
    let node = Node::start(Settings::origins(&[&origin.url()]).table("log", &to)).await;
    node.get("/before").await;
    rsyslog.told("/before").await;
    rsyslog.kill();
    let mut asked = 0;
    while node
        .metrics()
        .await
        .sum("larder_access_log_dropped_total", &[])
        == 0.0
    {
        assert!(asked < 2_000, "nothing is lost");
        asked += 1;
        assert_eq!(node.get("/meanwhile").await.status, 200);
    }
    rsyslog.start_again().await;
    let mut asked = 0;
    while !rsyslog.text().contains("\"path\":\"/after\"") {
        assert!(asked < 2_000, "it is not connected again");
        asked += 1;
        node.get("/after").await;
    }
    let warned = node
        .stderr()
        .iter()
        .filter(|line| line.contains("cannot be written"))
        .count();
    assert_eq!(warned, 1, "{:#?}", node.stderr());
}
