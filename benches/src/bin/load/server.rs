//! The servers that are compared, each as a process of its own, on one core.

use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::account;

/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A build of Larder, by its path.
    Larder {
        label: String,
        binary: PathBuf,
    },
    /// The bare socket, or the bare `h2` crate.
    Echo {
        h2: bool,
    },
    Nginx,
    Haproxy,
    Varnish,
    TrafficServer,
}

impl Kind {
    pub(crate) fn label(&self) -> String {
        match self {
            Self::Larder { label, .. } => label.clone(),
            Self::Echo { h2: false } => "echo (tokio)".into(),
            Self::Echo { h2: true } => "echo (h2 crate)".into(),
            Self::Nginx => "nginx".into(),
            Self::Haproxy => "HAProxy".into(),
            Self::Varnish => "Varnish".into(),
            Self::TrafficServer => "Traffic Server".into(),
        }
    }
}

/// What all servers of a work share.
#[derive(Debug)]
pub(crate) struct Setting<'a> {
    pub(crate) origin: SocketAddr,
    pub(crate) logs: bool,
    /// Bytes of a body, for those that make it up.
    pub(crate) length: usize,
    /// Whether Larder answers from its disk.
    pub(crate) disk: bool,
    pub(crate) cert: &'a Path,
    pub(crate) key: &'a Path,
    pub(crate) configurations: &'a Path,
    pub(crate) core: usize,
}

/// A server that runs. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) kind: Kind,
    children: Vec<Child>,
    pub(crate) plain: u16,
    pub(crate) tls: u16,
    /// Where HTTP/2 is spoken in clear text.
    pub(crate) h2: u16,
}

impl Server {
    /// Starts a server in a folder of its own.
    ///
    /// # Errors
    /// Where the program is not there, or does not listen in time.
    pub(crate) fn start(kind: Kind, folder: &Path, setting: &Setting<'_>) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let ports = [port()?, port()?, port()?, port()?];
        let started = Start {
            folder,
            setting,
            ports,
        };
        let children = match &kind {
            Kind::Larder { binary, .. } => started.larder(binary)?,
            Kind::Echo { h2 } => started.echo(*h2)?,
            Kind::Nginx => started.nginx()?,
            Kind::Haproxy => started.haproxy()?,
            Kind::Varnish => started.varnish()?,
            Kind::TrafficServer => started.traffic_server()?,
        };
        let [plain, tls, h2, _] = ports;
        let own_h2 = matches!(kind, Kind::Nginx | Kind::Haproxy);
        let mut server = Self {
            kind,
            children,
            plain,
            tls,
            h2: if own_h2 { h2 } else { plain },
        };
        server.wait()?;
        Ok(server)
    }

    fn wait(&mut self) -> io::Result<()> {
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.plain)).is_err() {
            for child in &mut self.children {
                if let Some(status) = child.try_wait()? {
                    let label = self.kind.label();
                    return Err(io::Error::other(format!("{label} ended with {status}")));
                }
            }
            if begun.elapsed() > PATIENCE {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Processor time of all its processes so far, in nanoseconds.
    pub(crate) fn cpu(&self) -> u64 {
        self.children.iter().map(|it| account::cpu(it.id())).sum()
    }

    /// Bytes of memory that its processes occupy by themselves.
    pub(crate) fn memory(&self) -> u64 {
        let all = self.children.iter();
        all.map(|it| account::memory(it.id())).sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for child in &mut self.children {
            // Masters take their workers along, if they are asked.
            let id = child.id().to_string();
            drop(Command::new("kill").args(["-s", "TERM", &id]).status());
            let begun = Instant::now();
            while matches!(child.try_wait(), Ok(None)) && begun.elapsed() < Duration::from_secs(5) {
                std::thread::sleep(Duration::from_millis(20));
            }
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

struct Start<'a> {
    folder: &'a Path,
    setting: &'a Setting<'a>,
    ports: [u16; 4],
}

impl Start<'_> {
    /// Writes a configuration with its places filled in.
    fn configuration(&self, name: &str, more: &[(&str, String)]) -> io::Result<PathBuf> {
        let Setting {
            origin, cert, key, ..
        } = self.setting;
        let [plain, tls, h2, admin] = self.ports;
        let mut text = fs::read_to_string(self.setting.configurations.join(name))?;
        let own = [
            ("dir", self.folder.display().to_string()),
            ("origin", origin.to_string()),
            ("origin_host", origin.ip().to_string()),
            ("origin_port", origin.port().to_string()),
            ("port", plain.to_string()),
            ("port_tls", tls.to_string()),
            ("port_h2", h2.to_string()),
            ("port_admin", admin.to_string()),
            ("cert", cert.display().to_string()),
            ("key", key.display().to_string()),
        ];
        for (place, value) in own.iter().chain(more) {
            text = text.replace(&format!("{{{place}}}"), value);
        }
        let path = self.folder.join(name);
        fs::write(&path, text)?;
        Ok(path)
    }

    /// A program on the core of the servers, with its output in its folder.
    fn spawn(&self, program: &str, words: &[&str]) -> io::Result<Child> {
        let file = |name: &str| File::create(self.folder.join(name));
        Command::new("taskset")
            .args(["-c", &self.setting.core.to_string(), program])
            .args(words)
            .current_dir(self.folder)
            .env("XDG_STATE_HOME", self.folder)
            .env("XDG_CACHE_HOME", self.folder)
            .stdin(Stdio::null())
            .stdout(file(&format!("{}.out", name_of(program)))?)
            .stderr(file(&format!("{}.err", name_of(program)))?)
            .spawn()
    }

    fn larder(&self, binary: &Path) -> io::Result<Vec<Child>> {
        let (memory, disk) = match self.setting.disk {
            true => (
                "16MiB",
                "\n[[cache.disk]]\npath = \"disk\"\nsize = \"1GiB\"\n",
            ),
            false => ("1GiB", ""),
        };
        let log = if self.setting.logs { "json" } else { "off" };
        let file = self.configuration(
            "larder.toml",
            &[
                ("memory", memory.to_owned()),
                ("disk", disk.to_owned()),
                ("access_log", log.to_owned()),
            ],
        )?;
        let words = ["run", "--config", &file.display().to_string()];
        Ok(vec![self.spawn(&binary.display().to_string(), &words)?])
    }

    fn echo(&self, h2: bool) -> io::Result<Vec<Child>> {
        let echo = std::env::current_exe()?.with_file_name("echo");
        let address = format!("127.0.0.1:{}", self.ports[0]);
        let protocol = if h2 { "h2" } else { "h1" };
        let length = self.setting.length.to_string();
        let words = [&*address, protocol, &*length];
        Ok(vec![self.spawn(&echo.display().to_string(), &words)?])
    }

    fn nginx(&self) -> io::Result<Vec<Child>> {
        let log = match self.setting.logs {
            true => format!(
                "{}/access.log combined buffer=64k flush=1s",
                self.folder.display()
            ),
            false => "off".to_owned(),
        };
        let file = self.configuration("nginx.conf", &[("access_log", log)])?;
        let words = ["-c", &file.display().to_string()];
        Ok(vec![self.spawn("/usr/sbin/nginx", &words)?])
    }

    fn haproxy(&self) -> io::Result<Vec<Child>> {
        let pem = self.folder.join("pair.pem");
        let pair = [fs::read(self.setting.cert)?, fs::read(self.setting.key)?];
        fs::write(&pem, pair.concat())?;
        let (global, default) = match self.setting.logs {
            true => (
                "log stdout format raw daemon",
                "log global\n    option httplog",
            ),
            false => ("", "no log"),
        };
        let file = self.configuration(
            "haproxy.cfg",
            &[
                ("pem", pem.display().to_string()),
                ("log_global", global.to_owned()),
                ("log_default", default.to_owned()),
            ],
        )?;
        let words = ["-db", "-f", &file.display().to_string()];
        Ok(vec![self.spawn("/usr/sbin/haproxy", &words)?])
    }

    fn varnish(&self) -> io::Result<Vec<Child>> {
        let file = self
            .configuration("varnish.vcl", &[])?
            .display()
            .to_string();
        let name = self.folder.join("varnish").display().to_string();
        let address = format!("127.0.0.1:{}", self.ports[0]);
        let mut words = vec!["-F", "-n", &name, "-a", &address, "-f", &file];
        words.extend([
            "-s",
            "malloc,1G",
            "-p",
            "feature=+http2",
            "-p",
            "thread_pools=1",
        ]);
        words.extend(["-p", "thread_pool_min=200", "-p", "timeout_idle=600"]);
        let mut children = vec![self.spawn("/usr/sbin/varnishd", &words)?];
        if self.setting.logs {
            std::thread::sleep(Duration::from_secs(2));
            let log = self.folder.join("access.log").display().to_string();
            children.push(self.spawn("varnishncsa", &["-n", &name, "-w", &log])?);
        }
        Ok(children)
    }

    fn traffic_server(&self) -> io::Result<Vec<Child>> {
        let root = self.folder.join("root");
        for name in ["etc", "cache", "run", "log"] {
            fs::create_dir_all(root.join(name))?;
        }
        let shown = root.display();
        let layout = [
            ("prefix", ""),
            ("sysconfdir", "/etc"),
            ("datadir", "/cache"),
            ("cachedir", "/cache"),
            ("localstatedir", ""),
            ("runtimedir", "/run"),
            ("logdir", "/log"),
        ];
        let layout = layout.map(|(name, below)| format!("{name}: {shown}{below}\n"));
        fs::write(root.join("runroot.yaml"), layout.concat())?;
        let etc = root.join("etc");
        let all =
            "ip_allow:\n  - apply: in\n    ip_addrs: 0/0\n    action: allow\n    methods: ALL\n";
        fs::write(etc.join("ip_allow.yaml"), all)?;
        fs::write(etc.join("plugin.config"), "")?;
        let own = [
            (
                "access_log",
                if self.setting.logs { "3" } else { "0" }.to_owned(),
            ),
            ("user", "#-1".to_owned()),
        ];
        let records = self.configuration("records.config", &own)?;
        fs::copy(records, etc.join("records.config"))?;
        let (cert, key) = (self.setting.cert.display(), self.setting.key.display());
        let pair = format!("dest_ip=* ssl_cert_name={cert} ssl_key_name={key}\n");
        fs::write(etc.join("ssl_multicert.config"), pair)?;
        let map = format!("map / http://{}/\n", self.setting.origin);
        fs::write(etc.join("remap.config"), map)?;
        let cache = root.join("cache");
        fs::write(
            etc.join("storage.config"),
            format!("{} 1G\n", cache.display()),
        )?;
        let run = format!("--run-root={}", root.join("runroot.yaml").display());
        Ok(vec![self.spawn("/usr/bin/traffic_server", &[&run])?])
    }
}

fn name_of(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}
