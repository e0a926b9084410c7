//! A new connection to an origin, up to where TLS or HTTP begins: happy eyeballs, egress pools, sockets in the file
//! system, CONNECT, the PROXY protocol.
//!
//! Pingora asks for a stream and puts the rest on it. What the connection holds while it lives, its lease, goes with the
//! stream into Pingora's pools and ends with it.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use pingora_core::connectors::l4::{BindTo, Connect};
use pingora_core::protocols::l4::ext;
use pingora_core::protocols::l4::socket::SocketAddr as PeerAddress;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::upstreams::peer::Tracing;
use pingora_core::{Error, ErrorType, Result};
use tiered::eyeballs::{ATTEMPT_DELAY, interleave};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, timeout};
use wire::proxy_protocol::{self, Announced};

use super::fetch::connect_error;
use super::origin::{Leased, Socket as ToOrigin};
use crate::clock::monotonic;
use crate::egress::{self, Exhausted, Pool, PortInUse, Source};
use crate::error::UpstreamError;
use crate::origins::attempts::Place;
use crate::origins::{Origin, ProxyProtocol, Through};
use crate::tier::{Socket, Sockets};

/// No port is left in any of the pools.
pub(super) const NO_PORT: ErrorType = ErrorType::Custom("NoPort");
/// The origin has as many connections as it may have.
pub(super) const NO_CONNECTION: ErrorType = ErrorType::Custom("NoConnection");

/// Bytes of a proxy's answer to CONNECT.
const ANSWER_MAX: usize = 8 * 1024;

/// How an origin is reached.
#[derive(Debug)]
pub(super) struct Link {
    pub origin: Arc<Origin>,
    pub place: Place,
    pub announced: Announced,
    pub egress: Arc<[Arc<Pool>]>,
    /// How long it may take.
    pub patience: Duration,
    pub lease: Lease,
}

/// What a connection holds while it lives.
#[derive(Clone, Debug, Default)]
pub(super) struct Lease(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    connection: Option<OwnedSemaphorePermit>,
    port: Option<PortInUse>,
    /// By which others end it.
    _socket: Option<Arc<Socket>>,
}

impl Tracing for Lease {
    fn on_connected(&self) {}

    fn on_disconnected(&self) {
        *self.0.lock() = Held::default();
    }

    fn boxed_clone(&self) -> Box<dyn Tracing> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Connect for Link {
    async fn connect(&self, _address: &PeerAddress) -> Result<Stream> {
        Ok(match self.dial().await? {
            Dialled::Tcp(stream, _) => stream.into(),
            Dialled::Unix(stream) => stream.into(),
        })
    }
}

/// What a link leads over.
enum Dialled {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

impl Link {
    /// A connection that holds the lease itself, and where it leads.
    pub(super) async fn open(self) -> Result<(ToOrigin, Option<SocketAddr>)> {
        Ok(match self.dial().await? {
            Dialled::Tcp(stream, address) => {
                let undelayed = stream.set_nodelay(true);
                undelayed.map_err(|error| broken("a socket cannot be set up", error))?;
                (
                    ToOrigin::Tcp(Leased::new(stream, self.lease)),
                    Some(address),
                )
            }
            Dialled::Unix(stream) => (ToOrigin::Unix(Leased::new(stream, self.lease)), None),
        })
    }

    async fn dial(&self) -> Result<Dialled> {
        let Ok(connection) = self.origin.slots.connection().await else {
            return Error::e_explain(NO_CONNECTION, "the origin has as many as it may have");
        };
        self.lease.0.lock().connection = connection;
        let begun = monotonic();
        // Whoever waits for a port does not wait for the origin yet.
        let patience = self.patience + egress::patience(&self.egress);
        match timeout(patience, self.dial_at_once()).await {
            Ok(dialled) => {
                let dialled = dialled?;
                let took = monotonic().saturating_sub(begun);
                self.origin.condition.tally.connected(took);
                Ok(dialled)
            }
            Err(_elapsed) => {
                for address in self.place.addresses() {
                    self.origin.failed_at(*address);
                }
                Error::e_explain(ErrorType::ConnectTimedout, "no connection in time")
            }
        }
    }

    async fn dial_at_once(&self) -> Result<Dialled> {
        match &self.place {
            Place::Socket(path) => {
                let mut stream = socket(path).await?;
                self.introduce(&mut stream).await?;
                Ok(Dialled::Unix(stream))
            }
            Place::Addresses(addresses) | Place::Server { addresses, .. } => {
                let failed = |address| self.origin.failed_at(address);
                let Reached {
                    address,
                    mut stream,
                    port,
                } = race(&self.egress, addresses, failed).await?;
                self.origin.addresses.reached(address);
                self.lease.0.lock().port = port;
                self.introduce(&mut stream).await?;
                Ok(Dialled::Tcp(stream, address))
            }
        }
    }

    /// What comes before TLS or HTTP.
    async fn introduce<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: &mut S) -> Result<()> {
        if let Some(through) = &self.origin.through {
            tunnel(stream, through).await?;
        }
        let header = match self.origin.proxy_protocol {
            None => return Ok(()),
            Some(ProxyProtocol::V1) => proxy_protocol::write_v1(self.announced),
            Some(ProxyProtocol::V2) => proxy_protocol::write_v2(self.announced),
        };
        let written = stream.write_all(&header).await;
        written.map_err(|error| broken("the PROXY header cannot be written", error))
    }
}

/// A connection to one of several addresses.
pub(crate) struct Reached {
    pub address: SocketAddr,
    pub stream: TcpStream,
    /// Where it leaves from a pool. It is the connection's, and goes with it.
    pub port: Option<PortInUse>,
}

/// Connects to the first address that answers (RFC 8305 §5): each has a while before the next joins in.
async fn race(
    egress: &[Arc<Pool>],
    addresses: &[SocketAddr],
    unreached: impl Fn(SocketAddr),
) -> Result<Reached> {
    let unreached = &unreached;
    let mut addresses = interleave(addresses).into_iter();
    let mut running = FuturesUnordered::new();
    let mut failed = Error::explain(ErrorType::ConnectError, "there is no address");
    loop {
        let more = addresses.next();
        let joined = more.is_some();
        running.extend(more.map(|address| async move {
            let left = leave(egress, address).await;
            let (stream, port) = left.inspect_err(|error| {
                if *error.etype() != NO_PORT {
                    unreached(address);
                }
            })?;
            Ok(Reached {
                address,
                stream,
                port,
            })
        }));
        tokio::select! {
            done = running.next() => match done {
                Some(Ok(reached)) => return Ok(reached),
                Some(Err(error)) => failed = error,
                None => return Err(failed),
            },
            () = sleep(ATTEMPT_DELAY), if joined => {}
        }
    }
}

/// A connection to another node, by the pools that are for those.
///
/// # Errors
/// [`UpstreamError`] where no address is reached.
pub(crate) async fn reach(
    egress: &[Arc<Pool>],
    addresses: &[SocketAddr],
) -> std::result::Result<Reached, UpstreamError> {
    if addresses.is_empty() {
        return Err(UpstreamError::Unresolved);
    }
    let reached = race(egress, addresses, |_| {}).await;
    reached.map_err(|error| connect_error(&error))
}

/// A connection to another node for a request that passes the cache by.
#[derive(Debug)]
pub(super) struct ToNode {
    pub address: SocketAddr,
    pub egress: Arc<[Arc<Pool>]>,
    pub sockets: Arc<Sockets>,
    pub lease: Lease,
}

#[async_trait]
impl Connect for ToNode {
    async fn connect(&self, _address: &PeerAddress) -> Result<Stream> {
        let (stream, port) = leave(&self.egress, self.address).await?;
        let socket = self.sockets.hold(&stream);
        let socket = socket.map_err(|error| broken("a connection cannot be held", error))?;
        *self.lease.0.lock() = Held {
            connection: None,
            port,
            _socket: Some(socket),
        };
        Ok(stream.into())
    }
}

fn broken(what: &'static str, error: io::Error) -> Box<Error> {
    Error::because(ErrorType::ConnectError, what, error)
}

async fn socket(path: &Path) -> Result<UnixStream> {
    let connected = UnixStream::connect(path).await;
    connected.map_err(|error| {
        let kind = match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => ErrorType::ConnectRefused,
            _ => ErrorType::ConnectError,
        };
        Error::because(kind, "a socket cannot be reached", error)
    })
}

/// Asks a proxy for a tunnel (RFC 9110 §9.3.6). Not a byte of what comes through it is read.
async fn tunnel<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    through: &Through,
) -> Result<()> {
    let target = &through.target;
    let who = match &through.credentials {
        Some(credentials) => format!("Proxy-Authorization: {}\r\n", credentials.as_str()),
        None => String::new(),
    };
    let asked = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{who}\r\n");
    let gone = |error| broken("the proxy is gone", error);
    stream.write_all(asked.as_bytes()).await.map_err(gone)?;
    let mut answer = Vec::with_capacity(256);
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() == ANSWER_MAX {
            return Error::e_explain(ErrorType::ConnectError, "the proxy's answer has no end");
        }
        answer.push(stream.read_u8().await.map_err(gone)?);
    }
    let status = answer.strip_prefix(b"HTTP/1.1 ");
    let status = status.or_else(|| answer.strip_prefix(b"HTTP/1.0 "));
    match status {
        Some([b'2', _, _, b' ' | b'\r', ..]) => Ok(()),
        Some([b'4', b'0', b'7', ..]) => Error::e_explain(
            ErrorType::ConnectRefused,
            "the proxy wants other credentials",
        ),
        _ => Error::e_explain(ErrorType::ConnectRefused, "the proxy refuses the tunnel"),
    }
}

/// A connection to `address` from the first of the pools that has a port for it, or from where the system likes.
async fn leave(pools: &[Arc<Pool>], address: SocketAddr) -> Result<(TcpStream, Option<PortInUse>)> {
    if pools.is_empty() {
        return Ok((ext::connect(&address, None).await?, None));
    }
    for pool in pools {
        if let Some((stream, port)) = from_pool(pool, address).await? {
            return Ok((stream, Some(port)));
        }
        if pool.exhausted != Exhausted::Next {
            break;
        }
    }
    Error::e_explain(NO_PORT, "no port is left in the egress pools")
}

/// A connection from a pool; none where it has no port left, and did not get one in the time that it waits.
async fn from_pool(
    pool: &Arc<Pool>,
    address: SocketAddr,
) -> Result<Option<(TcpStream, PortInUse)>> {
    let until = match pool.exhausted {
        Exhausted::Wait(wait) => Some(monotonic() + wait),
        Exhausted::Next | Exhausted::Fail => None,
    };
    loop {
        for source in pool.towards(address) {
            if let Some(stream) = from_source(source, address).await? {
                let local = stream.local_addr();
                if !local.is_ok_and(|local| source.has(local)) {
                    pool.tally.outside.inc();
                    return Error::e_explain(NO_PORT, "the kernel gave a port of somebody else");
                }
                pool.tally.connections.inc();
                return Ok(Some((stream, pool.leaves(source))));
            }
        }
        pool.tally.exhausted.inc();
        let left = until.map(|until| until.saturating_sub(monotonic()));
        match left {
            // Ports may also become free without this node's doing: after TIME_WAIT.
            Some(left) if !left.is_zero() => {
                drop(timeout(left.min(LOOK_AGAIN), pool.freed()).await);
            }
            _ => return Ok(None),
        }
    }
}

/// How often it is looked whether a port became free.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A connection from one address; none where all of its ports are taken.
async fn from_source(source: &Source, address: SocketAddr) -> Result<Option<TcpStream>> {
    match ext::connect(&address, Some(&bind_to(source)?)).await {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if *error.etype() == ErrorType::BindError => Ok(None),
        Err(error) => Err(error),
    }
}

/// Never with Pingora's fallback, which leaves the slice.
fn bind_to(source: &Source) -> Result<BindTo> {
    let mut bind_to = BindTo::default();
    bind_to.addr = Some(SocketAddr::new(source.address, 0));
    if let Some(ports) = &source.ports {
        bind_to.set_port_range(Some((*ports.start(), *ports.end())))?;
    }
    Ok(bind_to)
}

/// Whether the kernel keeps to a source: found out by a connection of the machine to itself.
///
/// # Errors
/// A sentence that says what it does instead.
pub(crate) async fn is_kept(source: &Source) -> std::result::Result<(), String> {
    let here = SocketAddr::new(source.address, 0);
    let listener = tokio::net::TcpListener::bind(here).await;
    let listener = listener.map_err(|error| format!("{}: {error}", source.address))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let connected = from_source(source, address).await;
    match connected.map_err(|error| error.to_string())? {
        // All its ports are taken: so they are kept to.
        None => Ok(()),
        Some(stream) => {
            let local = stream.local_addr().map_err(|error| error.to_string())?;
            // Nothing is left behind on the port.
            drop(socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)));
            match source.has(local) {
                true => Ok(()),
                false => Err(format!(
                    "the kernel does not keep to the ports: it took {} (IP_LOCAL_PORT_RANGE needs Linux 6.3)",
                    local.port()
                )),
            }
        }
    }
}
