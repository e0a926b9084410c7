//! Making connections to a parent: TLS where it is said, then HTTP/2.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::Builder;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tiered::{Moment, Pulse};
use tokio_rustls::TlsConnector;

use super::heard::{Heard, Stream};
use super::live::Live;
use crate::clock::monotonic;
use crate::egress::Pool;
use crate::error::UpstreamError;
use crate::pingora::link::{Reached, reach};

/// What a parent may send on one stream before it is read: who does not read holds as much of it in memory.
const STREAM_WINDOW: u32 = 512 * 1024;
/// The same for a connection: a slow stream holds up no other.
const CONNECTION_WINDOW: u32 = 256 * 1024 * 1024;
/// Bytes of a response's head.
const HEAD_MAX: u32 = 128 * 1024;
/// Requests on a connection before the parent has said how many it takes: who sends more of them has them refused, and loses
/// the connection. Nobody should take fewer (RFC 9113 §6.5.2).
const STREAMS_AT_FIRST: usize = 100;

/// How connections are made.
#[derive(Clone)]
pub(crate) struct Making {
    pub connect: Duration,
    /// How long a connection that owes a sign of life may be silent.
    pub silence: Duration,
    /// With TLS, where the parent is asked for by this name.
    pub tls: Option<(TlsConnector, ServerName<'static>)>,
    /// The pools that they leave from, in order; none leaves it to the system.
    pub egress: Arc<[Arc<Pool>]>,
}

impl Making {
    /// Connects to one of several addresses.
    pub(super) async fn connect_to_one(
        &self,
        addresses: &[SocketAddr],
    ) -> Result<Live, UpstreamError> {
        let mut left = addresses.to_vec();
        loop {
            let reached = reach(&self.egress, &left).await?;
            let address = reached.address;
            match self.begin(reached).await {
                Ok(live) => return Ok(live),
                Err(error) if left.len() == 1 => return Err(error),
                // Who listens there is not the parent, or not well: it may be behind another one of its addresses.
                Err(_) => left.retain(|it| *it != address),
            }
        }
    }

    /// Begins TLS and HTTP/2 on a new connection.
    async fn begin(&self, reached: Reached) -> Result<Live, UpstreamError> {
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
        let pulse = Pulse::new(self.silence, Moment(monotonic()));
        let pulse = Arc::new(Mutex::new(pulse));
        let stream = Heard {
            stream,
            pulse: Arc::clone(&pulse),
        };
        let mut builder = Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(HEAD_MAX)
            .initial_max_send_streams(STREAMS_AT_FIRST);
        let made = builder.handshake::<_, Bytes>(stream).await;
        let made = made.map_err(|_error| UpstreamError::Malformed)?;
        Ok(Live::run(address, made, pulse, port))
    }
}
