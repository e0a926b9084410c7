//! How each server is started: its program, and its configuration from `benches/peers`.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::server::{Kind, Room, Setting};

/// The bearer token of Larder's admin API.
pub(crate) const TOKEN: &str = "of-the-load-harness";
/// What there is in [`Room::Plenty`].
const PLENTY: u64 = 1 << 30;
/// What there is in [`Room::Turnover`]: so little that it is full before anything is measured.
const TURNOVER: u64 = 256 << 20;
/// Memory of Larder where a disk is to answer.
const LITTLE: u64 = 16 << 20;
/// A trace of a day is played in a minute or two. Whoever looks after its store every few seconds is given a clock that
/// goes so many times as fast.
const FAST: &str = "+0 x1000";

/// What a server is started with.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    pub(crate) folder: &'a Path,
    /// Where files of stored responses are kept.
    pub(crate) store: &'a Path,
    pub(crate) setting: &'a Setting<'a>,
    /// For HTTP/1.1, TLS, HTTP/2 in clear text and administration.
    pub(crate) ports: [u16; 4],
}

impl Start<'_> {
    /// Starts the processes of a server.
    pub(crate) fn children(&self, kind: &Kind) -> io::Result<Vec<Child>> {
        match kind {
            Kind::Larder { binary, .. } => self.larder(binary),
            Kind::Echo { h2 } => self.echo(*h2),
            Kind::Nginx => self.nginx(),
            Kind::Haproxy => self.haproxy(),
            Kind::Varnish => self.varnish(),
            Kind::TrafficServer => self.traffic_server(),
        }
    }

    /// Bytes to store in.
    const fn bytes(&self) -> u64 {
        match self.setting.room {
            Room::Plenty | Room::Disk => PLENTY,
            Room::Turnover => TURNOVER,
            Room::Memory(bytes) => bytes,
        }
    }

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
            ("workers", self.setting.workers.to_string()),
            ("connections", self.setting.connections.to_string()),
        ];
        for (place, value) in own.iter().chain(more) {
            text = text.replace(&format!("{{{place}}}"), value);
        }
        let path = self.folder.join(name);
        fs::write(&path, text)?;
        Ok(path)
    }

    /// A program on the cores of the servers, with its output in its folder.
    fn command(&self, program: &str, words: &[&str]) -> io::Result<Command> {
        let name = program.rsplit('/').next().unwrap_or(program);
        let file = |suffix: &str| File::create(self.folder.join(format!("{name}.{suffix}")));
        let mut command = Command::new("taskset");
        command
            .args(["-c", self.setting.cores, program])
            .args(words)
            .current_dir(self.folder)
            .env("XDG_STATE_HOME", self.folder)
            .env("XDG_CACHE_HOME", self.folder)
            .stdin(Stdio::null())
            .stdout(file("out")?)
            .stderr(file("err")?);
        Ok(command)
    }

    fn spawn(&self, program: &str, words: &[&str]) -> io::Result<Child> {
        self.command(program, words)?.spawn()
    }

    fn larder(&self, binary: &Path) -> io::Result<Vec<Child>> {
        // What is longer than memory takes is read from the disk each time.
        let (memory, disk) = match self.setting.room {
            Room::Disk => (
                LITTLE,
                "object_max = \"1KiB\"\n\n[[cache.disk]]\npath = \"disk\"\nsize = \"1GiB\"\n",
            ),
            Room::Plenty | Room::Turnover | Room::Memory(_) => (self.bytes(), ""),
        };
        let log = if self.setting.logs { "json" } else { "off" };
        let file = self.configuration(
            "larder.toml",
            &[
                ("memory", format!("{memory}B")),
                ("eviction", self.setting.eviction.to_owned()),
                ("disk", disk.to_owned()),
                ("access_log", log.to_owned()),
                ("tables", self.setting.tables.to_owned()),
            ],
        )?;
        let words = ["run", "--config", &file.display().to_string()];
        let mut command = self.command(&binary.display().to_string(), &words)?;
        Ok(vec![command.env("LARDER_ADMIN_TOKEN", TOKEN).spawn()?])
    }

    fn echo(&self, h2: bool) -> io::Result<Vec<Child>> {
        let echo = std::env::current_exe()?.with_file_name("echo");
        let address = format!("127.0.0.1:{}", self.ports[0]);
        let protocol = if h2 { "h2" } else { "h1" };
        let length = self.setting.length.to_string();
        let workers = self.setting.workers.to_string();
        let words = [&*address, protocol, &*length, &*workers];
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
        let most = match self.setting.room {
            Room::Memory(bytes) => bytes,
            Room::Turnover => TURNOVER,
            Room::Plenty | Room::Disk => 8 << 30,
        };
        let file = self.configuration(
            "nginx.conf",
            &[
                ("access_log", log),
                ("store", self.store.display().to_string()),
                ("most", most.to_string()),
            ],
        )?;
        let words = ["-c", &file.display().to_string()];
        let mut command = self.command("/usr/sbin/nginx", &words)?;
        if let Room::Memory(_) = self.setting.room {
            // Its cache manager sleeps for up to ten seconds.
            command.env("LD_PRELOAD", "/usr/$LIB/faketime/libfaketime.so.1");
            command.env("FAKETIME", FAST);
        }
        Ok(vec![command.spawn()?])
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
        // An object may have half of it, at the most.
        let largest = (self.bytes() / 2).min(64 << 20);
        let file = self.configuration(
            "haproxy.cfg",
            &[
                ("pem", pem.display().to_string()),
                ("log_global", global.to_owned()),
                ("log_default", default.to_owned()),
                ("megabytes", (self.bytes() >> 20).to_string()),
                ("largest", largest.to_string()),
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
        let (store, pools) = (
            format!("malloc,{}", self.bytes()),
            format!("thread_pools={}", self.setting.workers),
        );
        let mut words = vec!["-F", "-n", &name, "-a", &address, "-f", &file];
        words.extend(["-s", &store, "-p", "feature=+http2", "-p", &pools]);
        words.extend(["-p", "thread_pool_min=200", "-p", "timeout_idle=600"]);
        // With the usual 50, it breaks off what is so long that more than these have to go for it.
        words.extend(["-p", "nuke_limit=1000000"]);
        let mut children = vec![self.spawn("/usr/sbin/varnishd", &words)?];
        if self.setting.logs {
            thread::sleep(Duration::from_secs(2));
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
        let log = if self.setting.logs { "3" } else { "0" };
        let ram = match self.setting.room {
            Room::Plenty => PLENTY,
            Room::Turnover => TURNOVER,
            // All that it stores is on its volume, which is in memory or in the page cache.
            Room::Disk | Room::Memory(_) => 0,
        };
        let own = [
            ("access_log", log.to_owned()),
            ("user", "#-1".to_owned()),
            ("ram", ram.to_string()),
        ];
        let records = self.configuration("records.config", &own)?;
        fs::copy(records, etc.join("records.config"))?;
        let (cert, key) = (self.setting.cert.display(), self.setting.key.display());
        let pair = format!("dest_ip=* ssl_cert_name={cert} ssl_key_name={key}\n");
        fs::write(etc.join("ssl_multicert.config"), pair)?;
        let map = format!("map / http://{}/\n", self.setting.origin);
        fs::write(etc.join("remap.config"), map)?;
        let store = match self.setting.room {
            Room::Memory(_) | Room::Turnover => self.store.to_owned(),
            Room::Plenty | Room::Disk => root.join("cache"),
        };
        let volume = format!("{} {}\n", store.display(), self.bytes());
        fs::write(etc.join("storage.config"), volume)?;
        let run = format!("--run-root={}", root.join("runroot.yaml").display());
        Ok(vec![self.spawn("/usr/bin/traffic_server", &[&run])?])
    }
}
