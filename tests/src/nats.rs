//! A NATS server: the real one, as a child process.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;

use crate::nats_client::NatsClient;
use crate::ports::free_port;

/// How long a server may take until it listens.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running server with `JetStream`. It is killed when it is dropped.
#[derive(Debug)]
pub struct Nats {
    child: Option<Child>,
    port: u16,
    folder: TempDir,
    /// Further text of its configuration.
    more: String,
}

impl Nats {
    /// Starts a server without accounts.
    #[must_use]
    pub fn start() -> Self {
        Self::configured("")
    }

    /// Starts a server with further lines in its configuration.
    #[must_use]
    pub fn configured(more: &str) -> Self {
        let mut nats = Self::prepared();
        nats.configure(more);
        nats.begin();
        nats
    }

    /// A server that is not started yet.
    #[must_use]
    pub fn prepared() -> Self {
        Self {
            child: None,
            port: free_port(),
            folder: TempDir::new().expect("a temporary folder"),
            more: String::new(),
        }
    }

    /// Further lines of its configuration, from the next start on.
    pub fn configure(&mut self, more: &str) {
        more.clone_into(&mut self.more);
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// A connection to it, past all nodes.
    #[must_use]
    pub fn client(&self) -> NatsClient {
        NatsClient::connect(self.address())
    }

    /// Its folder, for files that its configuration names.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its URL, for a user of [`configured`](Self::configured).
    #[must_use]
    pub fn url_of(&self, user: &str, password: &str) -> String {
        format!("nats://{user}:{password}@127.0.0.1:{}", self.port)
    }

    /// Starts it, after it was killed.
    pub fn begin(&mut self) {
        let (port, store) = (self.port, self.folder.path().join("store"));
        let text = format!(
            "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: {store:?} }}\n{}",
            self.more
        );
        let file = self.folder.path().join("server.conf");
        fs::write(&file, text).expect("a writable folder");
        let log = fs::File::create(self.folder.path().join("log")).expect("a writable folder");
        let child = Command::new("nats-server")
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("nats-server is installed: bash .ci/setup");
        self.child = Some(child);
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                Instant::now() < end,
                "{}",
                fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
            );
            sleep(Duration::from_millis(5));
        }
    }

    /// Kills it (SIGKILL).
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
    }

    /// Sends it a signal by its name without `SIG`: after `STOP` nothing moves until `CONT`.
    pub fn signal(&self, name: &str) {
        let child = self.child.as_ref().expect("it runs");
        let sent = Command::new("kill")
            .args(["-s", name, &child.id().to_string()])
            .status();
        assert!(
            sent.is_ok_and(|status| status.success()),
            "the server has gone"
        );
    }

    /// Copies what is on its disk to a folder. It must not run.
    pub fn save(&self, to: &Path) {
        assert!(self.child.is_none(), "it runs");
        copy(&self.folder.path().join("store"), to);
    }

    /// Puts what was saved where it was. It must not run.
    pub fn restore(&self, from: &Path) {
        assert!(self.child.is_none(), "it runs");
        let store = self.folder.path().join("store");
        fs::remove_dir_all(&store).expect("a store");
        copy(from, &store);
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only when the process has gone already.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(status.is_ok_and(|status| status.success()), "no copy");
}
