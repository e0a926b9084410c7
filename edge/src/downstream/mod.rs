//! Connections from clients: HTTP/1.1 and HTTP/2 on the wire, with the limits that keep them bounded.
//!
//! This layer frames messages and nothing else. It knows no cache and no Pingora; [`Exchange`] is what
//! both protocols look like from above.

pub(crate) mod alarm;
pub(crate) mod h1;
pub(crate) mod h2;
pub(crate) mod io;
pub(crate) mod outpour;
pub(crate) mod pieces;

use std::net::{IpAddr, SocketAddr};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use storage::Lasting;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

pub(crate) use h1::content_length;
pub(crate) use io::Io;

/// Silence after which a connection is not thought to go on at once.
const REST_AFTER: Duration = Duration::from_secs(1);

/// How a connection waits for its next request: first as one that goes on at once, and then at rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Waits {
    #[default]
    Awake,
    AtRest,
}

impl Waits {
    /// How long, where it may be idle for so long in all.
    fn patience(self, idle: Duration) -> Duration {
        let first = idle.min(REST_AFTER);
        match self {
            Self::Awake => first,
            Self::AtRest => idle - first,
        }
    }

    /// Whether it goes on waiting, at rest, when that is over.
    fn rests_next(self, idle: Duration) -> bool {
        self == Self::Awake && idle > REST_AFTER
    }
}

/// How a request came to the node.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// Who sent it.
    pub client: SocketAddr,
    /// The address that it was sent to.
    pub local: SocketAddr,
    /// With or without TLS.
    pub scheme: Scheme,
    /// What the other end of the connection has shown.
    pub shown: Shown,
    /// The TLS of the connection.
    pub tls: Option<Tls>,
}

/// What was agreed on for a TLS connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tls {
    /// `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite, by its name in TLS.
    pub cipher: &'static str,
}

impl Tls {
    /// What a connection has agreed on.
    pub(crate) fn of(connection: &rustls::ServerConnection) -> Option<Self> {
        let version = match connection.protocol_version()? {
            rustls::ProtocolVersion::TLSv1_2 => "TLSv1.2",
            rustls::ProtocolVersion::TLSv1_3 => "TLSv1.3",
            _ => return None,
        };
        let cipher = connection.negotiated_cipher_suite()?.suite().as_str()?;
        Some(Self { version, cipher })
    }
}

/// What the other end of a connection has shown of itself.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Shown {
    #[default]
    Nothing,
    /// A certificate that an authority of the tiers has signed.
    Certificate,
}

impl Facts {
    /// The same request, sent by somebody else through who sent it here.
    pub(crate) fn sent_by(&self, client: IpAddr, scheme: Option<Scheme>) -> Self {
        Self {
            client: SocketAddr::new(client, 0),
            local: self.local,
            scheme: scheme.unwrap_or(self.scheme),
            tls: self.tls,
            shown: self.shown,
        }
    }
}

/// The scheme of the request's target URI, as the connection says it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl From<tiered::forwarded::Scheme> for Scheme {
    fn from(scheme: tiered::forwarded::Scheme) -> Self {
        match scheme {
            tiered::forwarded::Scheme::Http => Self::Http,
            tiered::forwarded::Scheme::Https => Self::Https,
        }
    }
}

impl Scheme {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    pub(crate) const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// What a client may take, in bytes, fields and time.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Sizes of a message's head and framing.
    pub wire: wire::Limits,
    /// From the first byte of a request head (or from the connection's start) to its last.
    pub head: Duration,
    /// Between two requests on one connection.
    pub idle: Duration,
    /// Between two reads of a request's body.
    pub body: Duration,
    /// Between two writes that a client accepts.
    pub write: Duration,
    /// Concurrent HTTP/2 streams on one connection.
    pub h2_streams: u32,
}

#[cfg(test)]
impl Limits {
    /// Of a connection with one stream at a time, which waits so long for whatever it waits for.
    fn of_tests(patience: Duration) -> Self {
        Self {
            wire: wire::Limits::default(),
            head: patience,
            idle: patience,
            body: patience,
            write: patience,
            h2_streams: 1,
        }
    }
}

/// Why talking to the client ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("the client closed the connection")]
    Gone,
    #[error("the client was silent for too long")]
    Silent,
    #[error("the client's message is malformed: {0}")]
    Malformed(#[from] wire::Refusal),
    #[error("the response does not have the length that its head announced")]
    Length,
    #[error("the connection failed")]
    Io(#[from] std::io::Error),
    #[error("the HTTP/2 stream failed")]
    Stream(#[from] ::h2::Error),
}

/// As [`timeout`](tokio::time::timeout), with a timer only where there is something to wait for.
pub(crate) async fn within<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = std::pin::pin!(future);
    let at_once = std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await;
    match at_once {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => timeout(limit, future).await,
    }
}

/// What a request has that is otherwise like one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Other<'a> {
    /// A path, with its query.
    pub target: &'a str,
    /// The host as it came, and whether or not it is one. None where the words have no place for it.
    pub host: Option<&'a str>,
}

/// One request and its response, whichever protocol carries them.
#[derive(Debug)]
pub(crate) enum Exchange {
    /// An exchange that has an HTTP/1.1 connection to itself.
    H1(Box<h1::Exchange>),
    /// A stream of an HTTP/2 connection.
    H2(Box<h2::Exchange>),
}

impl Exchange {
    /// The next piece of the request's content; `None` at its end.
    pub(crate) async fn read_body(&mut self) -> Result<Option<Bytes>, ClientError> {
        match self {
            Self::H1(exchange) => exchange.read_body().await,
            Self::H2(exchange) => exchange.read_body().await,
        }
    }

    /// Whether the request's content was read to its end.
    pub(crate) fn is_body_done(&self) -> bool {
        match self {
            Self::H1(exchange) => exchange.is_body_done(),
            Self::H2(exchange) => exchange.is_body_done(),
        }
    }

    /// Waits until the client is known to be gone, and says how it went. Bytes of a next request are kept.
    pub(crate) async fn gone(&mut self) -> ClientError {
        match self {
            Self::H1(exchange) => exchange.gone().await,
            Self::H2(exchange) => exchange.gone().await,
        }
    }

    /// Sends an interim response (1xx) where the protocol allows one.
    pub(crate) async fn write_interim(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<(), ClientError> {
        match self {
            Self::H1(exchange) => exchange.write_interim(status, headers).await,
            Self::H2(exchange) => exchange.write_interim(status, headers),
        }
    }

    /// Prepares the response's head. It leaves with the first content, at [`Self::flush`] or at the end.
    pub(crate) fn write_head(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<(), ClientError> {
        match self {
            Self::H1(exchange) => exchange.write_head(status, headers),
            Self::H2(exchange) => exchange.write_head(status, headers),
        }
    }

    /// Sends content. Waits while the client does not take it, up to the write timeout.
    pub(crate) async fn write_body(&mut self, data: Bytes) -> Result<(), ClientError> {
        match self {
            Self::H1(exchange) => exchange.write_body(data).await,
            Self::H2(exchange) => exchange.write_body(data).await,
        }
    }

    /// Sends content that came in pieces, in as few writes as may be.
    pub(crate) async fn write_pieces(&mut self, data: Vec<Bytes>) -> Result<(), ClientError> {
        match self {
            Self::H1(exchange) => exchange.write_pieces(data).await,
            Self::H2(exchange) => {
                for data in data {
                    exchange.write_body(data).await?;
                }
                Ok(())
            }
        }
    }

    /// Sends content whose pages the client's socket is given, if it can be.
    pub(crate) async fn write_pages(&mut self, data: Lasting) -> Result<(), ClientError> {
        match self {
            Self::H1(exchange) => exchange.write_pages(data).await,
            Self::H2(_) => self.write_pieces(data.pieces().collect()).await,
        }
    }

    /// Sends what is prepared.
    pub(crate) async fn flush(&mut self) -> Result<(), ClientError> {
        match self {
            Self::H1(exchange) => exchange.flush().await,
            Self::H2(exchange) => exchange.flush(),
        }
    }

    /// Ends the response, with trailers where there are any.
    ///
    /// # Errors
    /// [`ClientError::Length`] where less was sent than the head announced: the message stays unfinished on the wire.
    pub(crate) async fn end(&mut self, trailers: Option<&HeaderMap>) -> Result<(), ClientError> {
        match self {
            Self::H1(exchange) => exchange.end(trailers).await,
            Self::H2(exchange) => exchange.end(trailers),
        }
    }

    /// Ends the message in a way that the client cannot take for its regular end.
    pub(crate) fn abandon(&mut self) {
        match self {
            Self::H1(exchange) => exchange.abandon(),
            Self::H2(exchange) => exchange.abandon(),
        }
    }

    /// Whether the connection became a tunnel (101).
    pub(crate) fn is_upgraded(&self) -> bool {
        match self {
            Self::H1(exchange) => exchange.is_upgraded(),
            Self::H2(_) => false,
        }
    }

    /// Content bytes sent to the client.
    pub(crate) fn body_bytes_sent(&self) -> u64 {
        match self {
            Self::H1(exchange) => exchange.body_bytes_sent(),
            Self::H2(exchange) => exchange.body_bytes_sent(),
        }
    }
}
