//! Making connections to a parent: TLS where it is said, then HTTP/2.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

use super::heard::{Heard, Stream};
use crate::egress::{Pool, PortInUse};
use crate::error::UpstreamError;
use crate::pingora::link::{Reached, reach};

/// What a parent may send on one stream before it is read: who does not read holds as much of it in memory.
const STREAM_WINDOW: u32 = 512 * 1024;
/// The same for a connection: a slow stream holds up no other.
const CONNECTION_WINDOW: u32 = 256 * 1024 * 1024;
/// Bytes of a response's head.
const HEAD_MAX: u32 = 128 * 1024;
/// How connections are made.
#[derive(Clone)]
pub(crate) struct Making {
    pub connect: Duration,
    /// With TLS, where the parent is asked for by this name.
    pub tls: Option<(TlsConnector, ServerName<'static>)>,
    /// The pools that they leave from, in order; none leaves it to the system.
    pub egress: Arc<[Arc<Pool>]>,
}

/// An open connection.
#[derive(Clone)]
pub(super) struct Live {
    pub address: SocketAddr,
    pub send: SendRequest<Bytes>,
    pub streams: Arc<AtomicUsize>,
    /// Ends the connection, with all that is on it.
    pub cut: Arc<watch::Sender<bool>>,
}

impl Live {
    pub(super) fn is_open(&self) -> bool {
        // The task of the connection listens as long as there is one.
        !self.cut.is_closed()
    }
}

/// A stream that counts until it is dropped.
pub(super) struct Counted(Arc<AtomicUsize>);

impl Counted {
    pub(super) fn new(streams: &Arc<AtomicUsize>) -> Self {
        streams.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(streams))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Making {
    /// Connects to one of several addresses, and notes in `heard` when something comes from there.
    pub(super) async fn connect_to_one(
        &self,
        addresses: &[SocketAddr],
        heard: &Arc<AtomicU64>,
    ) -> Result<Live, UpstreamError> {
        let mut left = addresses.to_vec();
        loop {
            let reached = reach(&self.egress, &left).await?;
            let address = reached.address;
            match self.begin(reached, heard).await {
                Ok(live) => return Ok(live),
                Err(error) if left.len() == 1 => return Err(error),
                // Who listens there is not the parent, or not well: it may be behind another one of its addresses.
                Err(_) => left.retain(|it| *it != address),
            }
        }
    }

    /// Begins TLS and HTTP/2 on a new connection.
    async fn begin(&self, reached: Reached, heard: &Arc<AtomicU64>) -> Result<Live, UpstreamError> {
        let Reached {
            address,
            stream: socket,
            port,
        } = reached;
        drop(socket.set_nodelay(true));
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(socket),
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), socket).await;
                Box::new(stream.map_err(|error| {
                    tracing::debug!(%address, %error, "no TLS session with a parent");
                    UpstreamError::TlsHandshake
                })?)
            }
        };
        let stream = Heard {
            stream,
            at: Arc::clone(heard),
        };
        let mut builder = Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(HEAD_MAX);
        let made = builder.handshake::<_, Bytes>(stream).await;
        let (send, connection) = made.map_err(|_error| UpstreamError::Malformed)?;
        let (cut, cutting) = watch::channel(false);
        tokio::spawn(run(connection, cutting, port));
        Ok(Live {
            address,
            send,
            streams: Arc::default(),
            cut: Arc::new(cut),
        })
    }
}

/// Runs a connection to its end, or until it is cut. Its port is free again then.
async fn run<T: AsyncRead + AsyncWrite + Unpin>(
    connection: h2::client::Connection<T, Bytes>,
    mut cutting: watch::Receiver<bool>,
    port: Option<PortInUse>,
) {
    tokio::select! {
        ended = connection => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection to a parent broke");
            }
        }
        // One that nobody holds any more ends by itself, after its streams.
        Ok(_) = cutting.wait_for(|cut| *cut) => {}
    }
    drop(port);
}
