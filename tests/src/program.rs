//! Programs of others that tests talk to, as child processes with a configuration file.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;

/// How long a program may take until it listens.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running program. It is killed when it is dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    folder: TempDir,
}

impl Program {
    /// Starts `HAProxy` with these sections after `global` and `defaults`, and waits until it listens on `port`.
    #[must_use]
    pub fn haproxy(port: u16, sections: &str) -> Self {
        let text = format!(
            "global\n  maxconn 100\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n{sections}"
        );
        Self::start("haproxy", &["-db", "-f"], &text, port)
    }

    /// Starts tinyproxy, which tunnels to any port, and waits until it listens on `port`.
    #[must_use]
    pub fn tinyproxy(port: u16) -> Self {
        Self::tinyproxy_with(port, "")
    }

    /// The same with further lines in its configuration.
    #[must_use]
    pub fn tinyproxy_with(port: u16, lines: &str) -> Self {
        let text = format!(
            "Port {port}\nListen 127.0.0.1\nTimeout 30\nMaxClients 50\nAllow 127.0.0.1\nLogLevel Connect\n{lines}"
        );
        Self::start("tinyproxy", &["-d", "-c"], &text, port)
    }

    /// Starts nginx with what is in `server`, beside `listen` with these words behind the port, and waits until it listens.
    /// It is one process: workers would outlive a killed master.
    #[must_use]
    pub fn nginx(port: u16, listen: &str, server: &str) -> Self {
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary = temporary.map(|kind| format!("{kind}_temp_path FOLDER/{kind};"));
        let text = format!(
            "daemon off;\nmaster_process off;\npid FOLDER/pid;\nevents {{ worker_connections 64; }}\nhttp {{\naccess_log off;\n{}\nserver {{ listen 127.0.0.1:{port} {listen};\n{server}\n}} }}\n",
            temporary.join("\n")
        );
        Self::start("nginx", &["-e", "stderr", "-c"], &text, port)
    }

    fn start(program: &str, flags: &[&str], configuration: &str, port: u16) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let configuration = configuration.replace("FOLDER", &folder.path().display().to_string());
        let file = folder.path().join("configuration");
        fs::write(&file, configuration).expect("a writable folder");
        let log = fs::File::create(folder.path().join("log")).expect("a writable folder");
        let errors = log.try_clone().expect("a file");
        // Not everybody's path leads to daemons.
        let daemon = Path::new("/usr/sbin").join(program);
        let command = match daemon.exists() {
            true => daemon,
            false => program.into(),
        };
        let child = Command::new(command)
            .args(flags)
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}: bash .ci/setup"));
        let started = Self { child, folder };
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "{program}: {}", started.log());
            sleep(Duration::from_millis(10));
        }
        started
    }

    /// What it has said so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
