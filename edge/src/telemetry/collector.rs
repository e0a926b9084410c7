//! The collector: one connection to it, and requests that are answered one after the other.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::clock::Clock;
use crate::origins::Host;
use crate::origins::names::Names;

/// How long the collector may take to be connected to, and again to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of its answer that are read.
const ANSWER_MAX: usize = 64 * 1024;

/// Where a collector is.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub host: Host,
    pub port: u16,
    /// What stands before `/v1/traces`.
    pub path: String,
    /// `Host`.
    pub authority: HeaderValue,
    /// Fields of every request.
    pub headers: HeaderMap,
}

/// A collector that speaks OTLP over HTTP.
pub(crate) struct Collector {
    endpoint: Endpoint,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    names: Arc<Names>,
    clock: Arc<Clock>,
    connection: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

/// Why something was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// It may be taken later.
    #[error("{why}")]
    ForNow {
        why: String,
        /// When, where the collector says so.
        after: Option<Duration>,
    },
    /// It never will.
    #[error("{0}")]
    ForEver(String),
}

impl Refused {
    fn for_now(why: impl ToString) -> Self {
        Self::ForNow {
            why: why.to_string(),
            after: None,
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Collector {
    /// A collector that nothing is sent to yet.
    pub(crate) fn new(
        endpoint: Endpoint,
        tls: Option<(TlsConnector, ServerName<'static>)>,
        names: &Arc<Names>,
        clock: &Arc<Clock>,
    ) -> Self {
        Self {
            endpoint,
            tls,
            names: Arc::clone(names),
            clock: Arc::clone(clock),
            connection: Mutex::default(),
        }
    }

    /// Sends a message to a path below the endpoint's, and returns the answer.
    ///
    /// # Errors
    /// [`Refused`] where it was not taken.
    pub(super) async fn post(&self, path: &str, message: Bytes) -> Result<Bytes, Refused> {
        let mut connection = self.connection.lock().await;
        let asked = async {
            let mut send = match connection.take() {
                Some(send) if send.is_ready() => send,
                _ => self.connect().await?,
            };
            let answer = send.send_request(self.request(path, message));
            let (head, body) = answer.await.map_err(Refused::for_now)?.into_parts();
            let body = Limited::new(body, ANSWER_MAX).collect().await;
            let body = body.map_err(Refused::for_now)?.to_bytes();
            Ok((send, head, body))
        };
        let asked = timeout(PATIENCE, asked).await;
        let (send, head, body) =
            asked.unwrap_or_else(|_elapsed| Err(Refused::for_now("it did not answer in time")))?;
        *connection = Some(send);
        match head.status {
            status if status.is_success() => Ok(body),
            status @ (StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT) => Err(Refused::ForNow {
                why: status.to_string(),
                after: retry_after(&head.headers),
            }),
            status => Err(Refused::ForEver(status.to_string())),
        }
    }

    fn request(&self, path: &str, message: Bytes) -> Request<Full<Bytes>> {
        let length = HeaderValue::from(message.len());
        let target = format!("{}{path}", self.endpoint.path);
        let mut request = Request::new(Full::new(message));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = target.try_into().unwrap_or_default();
        let headers = request.headers_mut();
        headers.clone_from(&self.endpoint.headers);
        headers.insert(HOST, self.endpoint.authority.clone());
        let kind = HeaderValue::from_static("application/x-protobuf");
        headers.insert(CONTENT_TYPE, kind);
        headers.insert(CONTENT_LENGTH, length);
        request
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Refused> {
        let socket = self.open().await?;
        drop(socket.set_nodelay(true));
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(socket),
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), socket).await;
                Box::new(stream.map_err(Refused::for_now)?)
            }
        };
        let made = http1::handshake(TokioIo::new(stream)).await;
        let (send, connection) = made.map_err(Refused::for_now)?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to the collector broke");
            }
        });
        Ok(send)
    }

    async fn open(&self) -> Result<TcpStream, Refused> {
        let addresses = match &self.endpoint.host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => self.names.resolve(name, self.clock.instant().into()).await,
            Host::Socket(_) | Host::Service(_) => Vec::new(),
        };
        let mut last = Refused::for_now("its name has no address");
        for address in addresses {
            match TcpStream::connect((address, self.endpoint.port)).await {
                Ok(socket) => return Ok(socket),
                Err(error) => last = Refused::for_now(error),
            }
        }
        Err(last)
    }
}

/// What the collector says of when to come again (RFC 9110 §10.2.3), where it says it in seconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}
