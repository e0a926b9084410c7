//! A node's life: it opens its listeners, serves, drains, and is gone.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use purge_api::Token;
use socket2::{Domain, Socket, Type};
use storage::Tiers;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::admin::Admin;
use crate::cache::Head;
use crate::node::Node;
use crate::origins::probes;
use crate::pingora::Pipeline;
use crate::purges;
use crate::server::{Listener, Server};
use crate::short_way::ShortWay;
use crate::telemetry;
use crate::tls::TlsError;
use crate::wiring::{self, Given, Plan};

/// Connections that the system holds for a listener until they are accepted.
const BACKLOG: i32 = 4096;

/// How often it is looked how much memory the disks take.
const ACCOUNT_EVERY: Duration = Duration::from_secs(1);

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {reason}{hint}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        reason: std::io::Error,
        /// What can be done about it, where that is known.
        hint: &'static str,
    },
    /// A certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A volume of the disk tier cannot be used.
    #[error("{0}")]
    Disk(String),
    /// A pool of local addresses cannot be used as it is meant.
    #[error("egress pool {pool}: {why}")]
    Egress {
        /// Its name.
        pool: String,
        /// A sentence.
        why: String,
    },
    /// An origin cannot be reached as it is meant.
    #[error("origin {origin}: {why}")]
    Origin {
        /// Its URL.
        origin: String,
        /// A sentence.
        why: String,
    },
    /// Something that only a broken system lacks.
    #[error("cannot start: {0}")]
    System(String),
}

/// A node that serves.
pub struct Running {
    /// Where clients are served, in the order of the configuration.
    pub listening: Vec<SocketAddr>,
    /// Where the admin API is.
    pub admin: SocketAddr,
    stop: watch::Sender<bool>,
    stopped: watch::Sender<bool>,
    places: Arc<Semaphore>,
    connections: u32,
    grace: Duration,
    node: Arc<Node>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running")
            .field("listening", &self.listening)
            .field("admin", &self.admin)
            .finish_non_exhaustive()
    }
}

/// Opens a node's listeners and serves on them.
///
/// `file` is what the configuration was read from, and what a reload reads again.
///
/// # Errors
/// [`StartError`] where an address, a certificate or the system does not allow it. Nothing is left open then.
pub fn start(
    config: config::Config,
    token: Token,
    file: Option<PathBuf>,
) -> Result<Running, StartError> {
    let (stop, stopping) = watch::channel(false);
    let (stopped, admin_stopping) = watch::channel(false);
    let Plan {
        node,
        listeners,
        admin,
        connections,
        grace,
    } = wiring::plan(
        Given {
            config,
            token,
            file,
        },
        stopping.clone(),
    )?;
    let node = Arc::new(node);
    node.follow_purges();
    if let Some(tier) = &node.in_force().common.tier {
        tier.start();
    }
    tokio::spawn(account(Arc::clone(&node.tiers), stopping.clone()));
    let sweeping = purges::sweep(Arc::clone(&node));
    sweeping.map_err(|error| StartError::System(error.to_string()))?;
    tokio::spawn(crate::observe::keep(Arc::clone(&node)));
    tokio::spawn(crate::capacity::begin(Arc::clone(&node)));
    tokio::spawn(crate::capacity::keep(Arc::clone(&node)));
    telemetry::start(&node);
    probes::start(&node);
    let admin_socket = bind(admin)?;
    let mut sockets = Vec::new();
    for listener in listeners {
        sockets.push(Listener {
            socket: bind(listener.address)?,
            spoken: listener.spoken,
            announcing: listener.announcing,
        });
    }
    let local = |socket: &TcpListener| {
        let local = socket.local_addr();
        local.map_err(|error| StartError::System(error.to_string()))
    };
    let listening = sockets
        .iter()
        .map(|listener| local(&listener.socket))
        .collect::<Result<_, _>>()?;
    let admin = local(&admin_socket)?;
    let places = Arc::new(Semaphore::new(connections as usize));
    let server = Server {
        pipeline: Arc::new(Pipeline::new(Arc::clone(&node), stopping.clone())),
        node: Arc::clone(&node),
        places: Arc::clone(&places),
        short_way: Arc::new(ShortWay::from_environment()),
        stopping,
    };
    for listener in sockets {
        tokio::spawn(server.clone().listen(listener));
    }
    let admin_server = Admin {
        node: Arc::clone(&node),
        stopping: admin_stopping,
    };
    tokio::spawn(admin_server.listen(admin_socket));
    Ok(Running {
        listening,
        admin,
        stop,
        stopped,
        places,
        connections,
        grace,
        node,
    })
}

/// Charges the memory that the disks take, again and again.
async fn account(tiers: Arc<Tiers<Head>>, mut stopping: watch::Receiver<bool>) {
    let mut fits = true;
    while timeout(ACCOUNT_EVERY, stopping.changed()).await.is_err() {
        let fitted = std::mem::replace(&mut fits, tiers.account());
        if fitted && !fits {
            tracing::warn!("the index of the disks has outgrown the memory: raise memory.size");
        }
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    open().map_err(|reason: std::io::Error| StartError::Listen {
        address,
        hint: hint(&reason),
        reason,
    })
}

fn hint(reason: &std::io::Error) -> &'static str {
    match reason.kind() {
        std::io::ErrorKind::AddrInUse => {
            "; another program has it: stop that one, or choose another port"
        }
        std::io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need the capability CAP_NET_BIND_SERVICE"
        }
        std::io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
        _ => "",
    }
}

/// How a node went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Drained {
    /// Every request under way was finished.
    Complete,
    /// The grace time ended before some were.
    Cut,
}

impl Running {
    /// Has the node read its configuration again, and take it whole or not at all. What comes of it, the log tells.
    pub async fn reload(&self) {
        // Whoever sent a signal has nowhere else to look.
        drop(self.node.reload("SIGHUP").await);
    }

    /// Accepts nothing more, finishes what is under way, at most for the grace time, and closes.
    pub async fn drain(self) -> Drained {
        self.stop.send_replace(true);
        self.node.purges.leave().await;
        let all = self.places.acquire_many(self.connections);
        let drained = match timeout(self.grace, all).await {
            Ok(_) => Drained::Complete,
            Err(_elapsed) => Drained::Cut,
        };
        self.stopped.send_replace(true);
        let node = self.node;
        let closing = Arc::clone(&node);
        let flushing = tokio::task::spawn_blocking(move || node.log.flush());
        drop(flushing.await);
        if let Some(telemetry) = &closing.telemetry {
            telemetry.close().await;
        }
        closing.tiers.close().await;
        drained
    }
}
