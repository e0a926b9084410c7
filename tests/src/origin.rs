//! An origin that follows a script and remembers what it was asked.

mod http1;
mod http2;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::reply::Reply;
use crate::tls::Ca;
use crate::transcript;
use crate::wire::{End, Fields, all, first};

/// A request as it reached the origin.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The method; empty when what came was no request.
    pub method: String,
    /// The target as sent; for HTTP/2 the path.
    pub target: String,
    /// The fields in order; for HTTP/2 with `:scheme` and `:authority` first.
    pub fields: Fields,
    /// The head verbatim (HTTP/1.1 only).
    pub raw: Bytes,
    /// What came of the body.
    pub body: Bytes,
    /// How the body ended; `None` while it has not.
    pub end: Option<End>,
    /// Which connection it came on, from 0.
    pub connection: usize,
    /// How many requests for this target came before it, plus 1.
    pub nth: usize,
}

/// A running origin. It stops when it is dropped.
#[derive(Debug)]
pub struct Origin {
    address: SocketAddr,
    scheme: &'static str,
    log: Log,
    running: JoinHandle<()>,
}

type Handler = Arc<dyn Fn(&Seen) -> Reply + Send + Sync>;

/// The requests so far, shared with the connections.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<Seen>>>);

/// What every connection needs.
#[derive(Clone)]
struct Script {
    handler: Handler,
    log: Log,
    protocol: Protocol,
}

#[derive(Clone)]
enum Protocol {
    Http1,
    /// HTTP/2 in clear text by prior knowledge.
    H2c,
    /// By ALPN.
    Tls(TlsAcceptor),
}

impl Seen {
    /// The first value of a field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        first(&self.fields, name)
    }

    /// Every value of a field, in order.
    #[must_use]
    pub fn values(&self, name: &str) -> Vec<&str> {
        all(&self.fields, name).collect()
    }

    /// Whether it is a conditional request.
    #[must_use]
    pub fn is_conditional(&self) -> bool {
        self.field("If-None-Match").is_some() || self.field("If-Modified-Since").is_some()
    }

    /// Writes down what was asked.
    fn enter(&self) {
        if transcript::wanted() {
            let fields = transcript::lines(&self.fields);
            let head = format!("{} {}\r\n{fields}\r\n", self.method, self.target);
            let end = self.end.unwrap_or_default();
            let told = transcript::message(&head, &self.body, end, &Fields::new());
            transcript::enter(&["origin", &told]);
        }
    }
}

impl Origin {
    /// An HTTP/1.1 origin. The handler sees the head of every request.
    pub async fn start(handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::run(handler, Protocol::Http1).await
    }

    /// An HTTP/1.1 origin at this port of the loopback address.
    pub async fn start_at(
        port: u16,
        handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await;
        let listener = listener.expect("a free port");
        Self::listen(listener, handler, Protocol::Http1)
    }

    /// An origin that speaks HTTP/2 without TLS, and nothing else.
    pub async fn start_h2c(handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::run(handler, Protocol::H2c).await
    }

    /// An origin with a certificate for `names` that offers `protocols` (`h2`, `http/1.1`).
    pub async fn start_tls(
        ca: &Ca,
        names: &[&str],
        protocols: &[&str],
        handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let acceptor = TlsAcceptor::from(ca.server(names, protocols));
        Self::run(handler, Protocol::Tls(acceptor)).await
    }

    /// An origin with TLS that wants to see a certificate of the same authority.
    pub async fn start_mutual_tls(
        ca: &Ca,
        names: &[&str],
        handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let acceptor = TlsAcceptor::from(ca.server_of_clients(names, &["http/1.1"]));
        Self::run(handler, Protocol::Tls(acceptor)).await
    }

    /// An HTTP/1.1 origin on another address of this machine, at a port of its own or this one.
    pub async fn start_on(
        address: SocketAddr,
        handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        Self::listen(listener, handler, Protocol::Http1)
    }

    /// An HTTP/1.1 origin at a socket in the file system. It has no URL.
    pub async fn start_unix(
        path: &Path,
        handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = UnixListener::bind(path).expect("a path that is free");
        let log = Log::default();
        let script = Script {
            handler: Arc::new(handler),
            log: log.clone(),
            protocol: Protocol::Http1,
        };
        let running = tokio::spawn(accept_unix(listener, script));
        Self {
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            scheme: "unix",
            log,
            running,
        }
    }

    async fn run(
        handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
        protocol: Protocol,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Self::listen(listener, handler, protocol)
    }

    fn listen(
        listener: TcpListener,
        handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
        protocol: Protocol,
    ) -> Self {
        let address = listener.local_addr().expect("a bound socket");
        let scheme = if matches!(protocol, Protocol::Tls(_)) {
            "https"
        } else {
            "http"
        };
        let log = Log::default();
        let script = Script {
            handler: Arc::new(handler),
            log: log.clone(),
            protocol,
        };
        let running = tokio::spawn(accept(listener, script));
        Self {
            address,
            scheme,
            log,
            running,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The value for `origins` in a configuration.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// All requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Seen> {
        self.log.lock().clone()
    }

    /// How many requests have come, of every kind.
    #[must_use]
    pub fn total(&self) -> usize {
        self.log.lock().len()
    }

    /// How many requests have come for `target`.
    #[must_use]
    pub fn count(&self, target: &str) -> usize {
        self.log
            .lock()
            .iter()
            .filter(|seen| seen.target == target)
            .count()
    }

    /// The last request for `target`.
    #[must_use]
    pub fn last(&self, target: &str) -> Seen {
        let seen = self
            .requests()
            .into_iter()
            .rfind(|seen| seen.target == target);
        seen.unwrap_or_else(|| panic!("the origin was never asked for {target}"))
    }

    /// How many connections brought requests.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.log
            .lock()
            .iter()
            .map(|seen| seen.connection)
            .collect::<HashSet<_>>()
            .len()
    }

    /// Stops listening and drops every connection: from now on nobody answers there.
    pub async fn die(&mut self) {
        self.running.abort();
        // An aborted task answers with the error that says so.
        drop((&mut self.running).await);
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a request whose body is still to come; its place and itself, numbered.
    fn add(&self, mut seen: Seen) -> (usize, Seen) {
        let mut log = self.lock();
        seen.nth = 1 + log
            .iter()
            .filter(|earlier| earlier.target == seen.target)
            .count();
        log.push(seen.clone());
        (log.len() - 1, seen)
    }

    fn body(&self, place: usize, body: Bytes, end: End) {
        let mut log = self.lock();
        log[place].body = body;
        log[place].end = Some(end);
        log[place].enter();
    }
}

/// The connections live in the set, so they end with this task.
async fn accept(listener: TcpListener, script: Script) {
    let mut connections = JoinSet::new();
    for number in 0.. {
        let Ok((stream, _)) = listener.accept().await else {
            return;
        };
        let script = script.clone();
        connections.spawn(async move { serve(stream, script, number).await });
    }
}

async fn accept_unix(listener: UnixListener, script: Script) {
    let mut connections = JoinSet::new();
    for number in 0.. {
        let Ok((stream, _)) = listener.accept().await else {
            return;
        };
        let script = script.clone();
        connections.spawn(async move { http1::serve(stream, &script, number).await });
    }
}

async fn serve(stream: TcpStream, script: Script, number: usize) {
    stream.set_nodelay(true).expect("a socket");
    match script.protocol.clone() {
        Protocol::Http1 => http1::serve_tcp(stream, &script, number).await,
        Protocol::H2c => http2::serve(stream, &script, number).await,
        Protocol::Tls(acceptor) => {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                http2::serve(stream, &script, number).await;
            } else {
                http1::serve(stream, &script, number).await;
            }
        }
    }
}
