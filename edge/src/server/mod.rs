//! Listeners and connections: accept, find out what is spoken, serve, drain.

mod h1;
mod h2;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use wire::proxy_protocol::Announced;

use crate::announced;
use crate::cache::Like;
use crate::downstream::{Facts, Io, Scheme, Shown, Tls};
use crate::exchange::Request;
use crate::node::Node;
use crate::pingora::Pipeline;
use crate::short_way::ShortWay;

pub(crate) use h1::refuse_h1;

/// After an accept that failed for want of a file descriptor: there is no use in trying at once.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What an HTTP/2 client with prior knowledge sends first (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// An address on which clients are served.
pub(crate) struct Listener {
    pub socket: TcpListener,
    pub spoken: Below,
    pub announcing: Announcing,
}

/// Whether proxies before a listener speak the PROXY protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Announcing {
    No,
    /// The trusted ones do, all of them.
    Trusted,
}

/// What is spoken on a connection below HTTP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Below {
    Nothing,
    /// With the certificates of the configuration in force.
    Tls,
}

/// Everything that connections share.
#[derive(Clone)]
pub(crate) struct Server {
    pub node: Arc<Node>,
    pub pipeline: Arc<Pipeline>,
    /// One permit for each connection that may be open.
    pub places: Arc<Semaphore>,
    pub short_way: Arc<ShortWay>,
    pub stopping: watch::Receiver<bool>,
}

impl Server {
    /// Accepts connections until the node stops.
    pub(crate) async fn listen(self, listener: Listener) {
        let mut stopping = self.stopping.clone();
        let Listener {
            socket,
            spoken,
            announcing,
        } = listener;
        let below = (spoken, announcing);
        loop {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                _ = stopping.wait_for(|stop| *stop) => return,
            };
            match accepted {
                Ok((stream, client)) => self.welcome(stream, client, below),
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn welcome(&self, stream: TcpStream, client: SocketAddr, below: (Below, Announcing)) {
        let metrics = &self.node.metrics;
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            metrics.connections_refused.inc();
            return;
        };
        let server = self.clone();
        metrics.connections.inc();
        tokio::spawn(async move {
            server.serve(stream, client, below).await;
            server.node.metrics.connections.dec();
            drop::<OwnedSemaphorePermit>(place);
        });
    }

    /// What a connection seldom needs is boxed: all its time it holds room for whatever it may wait in.
    async fn serve(
        &self,
        mut stream: TcpStream,
        mut client: SocketAddr,
        (spoken, announcing): (Below, Announcing),
    ) {
        let Ok(mut local) = stream.local_addr() else {
            return; // it is gone already
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection without TCP_NODELAY");
        }
        let (patience, trusted) = {
            let in_force = self.node.in_force();
            (
                in_force.limits.head,
                in_force.common.trust.trusts(client.ip()),
            )
        };
        if announcing == Announcing::Trusted && trusted {
            match timeout(patience, Box::pin(announced::read(&mut stream))).await {
                Ok(Ok(Announced::Of(ends))) => (client, local) = (ends.from, ends.to),
                Ok(Ok(Announced::Own)) => {}
                Ok(Err(error)) => {
                    return tracing::debug!(%client, %error, "a connection was not announced");
                }
                Err(_elapsed) => return tracing::debug!(%client, "no PROXY header in time"),
            }
        }
        let facts = |scheme, shown, tls| {
            Arc::new(Facts {
                client,
                local,
                scheme,
                shown,
                tls,
            })
        };
        if spoken == Below::Nothing {
            let facts = facts(Scheme::Http, Shown::Nothing, None);
            return self.serve_plain(stream, facts).await;
        }
        let tls = {
            let in_force = self.node.in_force();
            in_force.tls.as_ref().map(|tls| tls.acceptor.clone())
        };
        let Some(tls) = tls else {
            return tracing::error!(%client, "there are no certificates");
        };
        let Some(shaken) = Box::pin(shake_hands(&tls, stream, patience)).await else {
            return tracing::debug!(%client, "no TLS handshake");
        };
        let facts = facts(Scheme::Https, shaken.shown, shaken.tls);
        match shaken.spoken {
            Spoken::H1 => {
                self.serve_h1(shaken.io, BytesMut::new(), facts).await;
            }
            Spoken::H2 => {
                Box::pin(self.serve_h2((shaken.io, BytesMut::new()), facts)).await;
            }
        }
    }

    /// HTTP/1.1 and HTTP/2 with prior knowledge on one port: the first bytes tell.
    async fn serve_plain(&self, mut stream: TcpStream, facts: Arc<Facts>) {
        let mut read = BytesMut::with_capacity(1024);
        let sniffing = async {
            while PREFACE.starts_with(&read) && read.len() < PREFACE.len() {
                if stream.read_buf(&mut read).await? == 0 {
                    break;
                }
            }
            std::io::Result::Ok(())
        };
        let mut stopping = self.stopping.clone();
        let patience = self.node.in_force().limits.head;
        let sniffed = tokio::select! {
            sniffed = timeout(patience, sniffing) => sniffed,
            _ = stopping.wait_for(|stop| *stop) => return,
        };
        let io = Io::Plain(stream);
        match sniffed {
            Ok(Ok(())) if read.starts_with(PREFACE) => {
                Box::pin(self.serve_h2((io, read), facts)).await;
            }
            Ok(Ok(())) if !read.is_empty() => self.serve_h1(io, read, facts).await,
            Ok(_) | Err(_) => {}
        }
    }

    /// A node that stops has more to say to its connections than answers.
    fn is_stopping(&self) -> bool {
        self.stopping.has_changed().unwrap_or(true)
    }
}

/// Requests like the last one.
#[derive(Default)]
enum Likeness {
    #[default]
    Unknown,
    Like(Box<Like>),
    /// They cannot be plain.
    Unlike,
}

impl Likeness {
    fn of(&mut self, node: &Node, request: &Request) -> Option<&mut Like> {
        if let Self::Unknown = self {
            let like = Like::of(node, request);
            *self = like.map_or(Self::Unlike, |like| Self::Like(Box::new(like)));
        }
        match self {
            Self::Like(like) => Some(like),
            Self::Unknown | Self::Unlike => None,
        }
    }
}

/// A TLS connection that is made.
struct Shaken {
    io: Io,
    spoken: Spoken,
    shown: Shown,
    tls: Option<Tls>,
}

/// What was agreed on (RFC 7301).
#[derive(Clone, Copy)]
enum Spoken {
    H1,
    H2,
}

async fn shake_hands(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    patience: Duration,
) -> Option<Shaken> {
    let stream = timeout(patience, acceptor.accept(stream))
        .await
        .ok()?
        .ok()?;
    let session = stream.get_ref().1;
    let spoken = match session.alpn_protocol() {
        Some(b"h2") => Spoken::H2,
        Some(_) | None => Spoken::H1,
    };
    let shown = match session.peer_certificates() {
        // It was verified, or there would be no session.
        Some([_, ..]) => Shown::Certificate,
        Some([]) | None => Shown::Nothing,
    };
    Some(Shaken {
        spoken,
        shown,
        tls: Tls::of(session),
        io: Io::Tls(Box::new(stream)),
    })
}
