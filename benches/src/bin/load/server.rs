//! The servers that are compared, each as a process of its own, on the cores of servers.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use std::{fs, thread};

use tempfile::TempDir;

use crate::account;
use crate::driver::Protocol;
use crate::peers::Start;

/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(30);

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

/// All caches but Larder.
pub(crate) const CACHES: &[Kind] = &[
    Kind::Haproxy,
    Kind::Nginx,
    Kind::Varnish,
    Kind::TrafficServer,
];

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

    /// Why it cannot be asked so.
    pub(crate) const fn lacks(&self, protocol: Protocol, room: Room) -> Option<&'static str> {
        match (self, protocol, room) {
            (Self::TrafficServer, Protocol::H2, _) => Some("no HTTP/2 in clear text"),
            (Self::Varnish, Protocol::H1Tls | Protocol::H2Tls, _) => Some("no TLS"),
            (Self::Haproxy | Self::Varnish, _, Room::Disk) => Some("no cache on disks"),
            _ => None,
        }
    }
}

/// What servers store in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// More memory than is asked for; nginx has files in the page cache.
    Plenty,
    /// Less than is asked for: what is new takes the place of what was stored. Files are in memory.
    Turnover,
    /// A disk, in the page cache. What is asked for is not in memory.
    Disk,
    /// So many bytes of memory, however it is used.
    Memory(u64),
}

/// What all servers of a work share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting<'a> {
    pub(crate) origin: SocketAddr,
    pub(crate) logs: bool,
    /// Bytes of a body, for those that make it up.
    pub(crate) length: usize,
    pub(crate) room: Room,
    /// Who leaves Larder's memory when it is full.
    pub(crate) eviction: &'static str,
    /// Threads or processes that serve.
    pub(crate) workers: usize,
    /// Clients at one time.
    pub(crate) connections: usize,
    /// Further tables of Larder's configuration.
    pub(crate) tables: &'a str,
    pub(crate) cert: &'a Path,
    pub(crate) key: &'a Path,
    pub(crate) configurations: &'a Path,
    /// Where servers run, as `taskset` writes it.
    pub(crate) cores: &'static str,
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
    pub(crate) admin: u16,
    /// A folder in memory, for servers that store in files.
    store: Option<TempDir>,
}

impl Server {
    /// Starts a server in a folder of its own.
    ///
    /// # Errors
    /// Where the program is not there, or does not listen in time.
    pub(crate) fn start(kind: Kind, folder: &Path, setting: &Setting<'_>) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let store = match setting.room {
            Room::Memory(_) | Room::Turnover => Some(tempfile::tempdir_in("/dev/shm")?),
            Room::Plenty | Room::Disk => None,
        };
        let start = Start {
            folder,
            store: store.as_ref().map_or(folder, TempDir::path),
            setting,
            ports: [port()?, port()?, port()?, port()?],
        };
        let children = start.children(&kind)?;
        let [plain, tls, h2, admin] = start.ports;
        let own_h2 = matches!(kind, Kind::Nginx | Kind::Haproxy);
        let mut server = Self {
            kind,
            children,
            plain,
            tls,
            h2: if own_h2 { h2 } else { plain },
            admin,
            store,
        };
        server.wait()?;
        Ok(server)
    }

    fn wait(&mut self) -> io::Result<()> {
        let begun = Instant::now();
        while TcpStream::connect(self.address()).is_err() {
            for child in &mut self.children {
                if let Some(status) = child.try_wait()? {
                    let label = self.kind.label();
                    return Err(io::Error::other(format!("{label} ended with {status}")));
                }
            }
            if begun.elapsed() > PATIENCE {
                return Err(io::ErrorKind::TimedOut.into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Where HTTP/1.1 is spoken in clear text.
    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.plain).into()
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

    /// Files and sockets that its processes have open.
    pub(crate) fn descriptors(&self) -> usize {
        let all = self.children.iter();
        all.map(|it| account::descriptors(it.id())).sum()
    }

    /// Bytes of its files in memory.
    pub(crate) fn files(&self) -> u64 {
        let Some(store) = &self.store else { return 0 };
        account::files(store.path())
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
                thread::sleep(Duration::from_millis(20));
            }
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
