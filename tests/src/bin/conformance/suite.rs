//! The suite: installed, its origin started, its client run.

use std::io::Read;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::options::folder;
use crate::report;

/// A whole run takes well under two minutes; a proxy that hangs must not hang this.
const RUN_LONGEST: Duration = Duration::from_secs(300);

const START_LONGEST: Duration = Duration::from_secs(20);

/// A checkout of the suite.
pub(crate) struct Suite {
    folder: PathBuf,
    server: &'static str,
    client: &'static str,
}

/// The suite's origin server. It stops when it is dropped.
pub(crate) struct OriginServer {
    child: Child,
    port: u16,
}

impl Suite {
    /// The checkout that was asked for, or the pinned one, which is installed if it is missing.
    pub(crate) fn find(elsewhere: Option<&Path>) -> Result<Self, String> {
        let folder = match elsewhere {
            Some(folder) => folder.to_owned(),
            None => install()?,
        };
        let layouts = [
            ("server/server.mjs", "cli.mjs"),
            ("test-engine/server/server.mjs", "test-engine/cli.mjs"),
        ];
        let layout = layouts
            .into_iter()
            .find(|(server, _)| folder.join(server).is_file());
        let Some((server, client)) = layout else {
            return Err(format!("{} does not hold the suite", folder.display()));
        };
        Ok(Self {
            folder,
            server,
            client,
        })
    }

    /// Starts the suite's origin.
    pub(crate) async fn serve(&self, port: u16) -> Result<OriginServer, String> {
        let process_file = std::env::temp_dir().join(format!("conformance-origin-{port}.pid"));
        let child = self
            .node(self.server)
            .env("npm_config_protocol", "http")
            .env("npm_config_port", port.to_string())
            .env("npm_config_pidfile", process_file)
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("node: {error}"))?;
        let server = OriginServer { child, port };
        server.wait().await?;
        Ok(server)
    }

    /// Runs all tests, or shows one, through the proxy at `base`: what the client prints.
    pub(crate) async fn run(&self, base: &str, test: Option<&str>) -> Result<String, String> {
        let mut child = self
            .node(self.client)
            .env("npm_config_base", base)
            .env("npm_package_config_id", test.unwrap_or_default())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("node: {error}"))?;
        let mut pipe = child.stdout.take().ok_or("no pipe")?;
        let reader = thread::spawn(move || {
            let mut text = String::new();
            pipe.read_to_string(&mut text).map(|_| text)
        });
        wait(&mut child).await?;
        let text = reader.join().expect("reading a pipe does not panic");
        text.map_err(|error| format!("the suite's output: {error}"))
    }

    fn node(&self, script: &str) -> Command {
        let mut command = Command::new("node");
        command
            .args(["--no-warnings", script])
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        for variable in ["npm_config_id", "npm_config_base", "npm_config_port"] {
            command.env_remove(variable);
        }
        command
    }
}

fn install() -> Result<PathBuf, String> {
    let package = folder().join("node_modules/http-cache-tests");
    if package.join("cli.mjs").is_file() {
        return Ok(package);
    }
    report::show("installing the suite: npm ci");
    let status = Command::new("npm")
        .args(["ci", "--no-audit", "--no-fund"])
        .current_dir(folder())
        .status()
        .map_err(|error| format!("npm: {error}"))?;
    if !status.success() {
        return Err("npm ci failed".to_owned());
    }
    Ok(package)
}

async fn wait(child: &mut Child) -> Result<(), String> {
    let end = Instant::now() + RUN_LONGEST;
    loop {
        match child.try_wait() {
            Ok(Some(_)) => return Ok(()),
            Ok(None) if Instant::now() < end => sleep(Duration::from_millis(50)).await,
            Ok(None) => {
                drop(child.kill());
                return Err(format!("the suite still runs after {RUN_LONGEST:?}"));
            }
            Err(error) => return Err(format!("the suite: {error}")),
        }
    }
}

impl OriginServer {
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    async fn wait(&self) -> Result<(), String> {
        let end = Instant::now() + START_LONGEST;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if Instant::now() > end {
                return Err(format!(
                    "the suite's origin does not answer on port {}",
                    self.port
                ));
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

impl Drop for OriginServer {
    fn drop(&mut self) {
        // Both fail only when the process has gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
