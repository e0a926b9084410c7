//! Listeners and connections: accept, find out what is spoken, serve, drain.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderMap, Method, StatusCode};
use storage::Body;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use wire::Persistence;
use wire::proxy_protocol::Announced;

use crate::announced;
use crate::cache::{self, Known, Ready};
use crate::downstream::alarm::Stopping;
use crate::downstream::h2_meter::Metered;
use crate::downstream::{self, ClientError, Facts, Io, Scheme, Shown, Tls, h1, h2};
use crate::exchange::Exchange;
use crate::node::Node;
use crate::pingora::Pipeline;
use crate::pingora::session::{Gate, Inbound};
use crate::proxy_status::PROXY_STATUS;
use crate::queries::Content;
use crate::short_way::ShortWay;

/// After an accept that failed for want of a file descriptor: there is no use in trying at once.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What an HTTP/2 client with prior knowledge sends first (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// An address on which clients are served.
pub(crate) struct Listener {
    pub socket: TcpListener,
    pub tls: Option<TlsAcceptor>,
    pub announcing: Announcing,
}

/// Whether proxies before a listener speak the PROXY protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Announcing {
    No,
    /// The trusted ones do, all of them.
    Trusted,
}

/// What is spoken on a connection before HTTP.
#[derive(Clone)]
struct Below {
    tls: Option<TlsAcceptor>,
    announcing: Announcing,
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
            tls,
            announcing,
        } = listener;
        let below = Below { tls, announcing };
        loop {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                _ = stopping.wait_for(|stop| *stop) => return,
            };
            match accepted {
                Ok((stream, client)) => self.welcome(stream, client, below.clone()),
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn welcome(&self, stream: TcpStream, client: SocketAddr, below: Below) {
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

    async fn serve(&self, mut stream: TcpStream, mut client: SocketAddr, below: Below) {
        let Ok(mut local) = stream.local_addr() else {
            return; // it is gone already
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection without TCP_NODELAY");
        }
        let patience = self.node.limits.head;
        let Below { tls, announcing } = below;
        if announcing == Announcing::Trusted && self.node.trust.trusts(client.ip()) {
            match timeout(patience, announced::read(&mut stream)).await {
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
        let Some(tls) = tls else {
            return self
                .serve_plain(stream, facts(Scheme::Http, Shown::Nothing, None))
                .await;
        };
        let Ok(Ok(stream)) = timeout(patience, tls.accept(stream)).await else {
            return tracing::debug!(%client, "no TLS handshake");
        };
        let session = stream.get_ref().1;
        let speaks_h2 = session.alpn_protocol() == Some(b"h2");
        let shown = match session.peer_certificates() {
            // It was verified, or there would be no session.
            Some([_, ..]) => Shown::Certificate,
            Some([]) | None => Shown::Nothing,
        };
        let facts = facts(Scheme::Https, shown, Tls::of(session));
        let io = Io::Tls(Box::new(stream));
        if speaks_h2 {
            self.serve_h2(Metered::new(io, BytesMut::new()), facts)
                .await;
        } else {
            self.serve_h1(io, BytesMut::new(), facts).await;
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
        let sniffed = tokio::select! {
            sniffed = timeout(self.node.limits.head, sniffing) => sniffed,
            _ = stopping.wait_for(|stop| *stop) => return,
        };
        let io = Io::Plain(stream);
        match sniffed {
            Ok(Ok(())) if read.starts_with(PREFACE) => {
                self.serve_h2(Metered::new(io, read), facts).await;
            }
            Ok(Ok(())) if !read.is_empty() => self.serve_h1(io, read, facts).await,
            Ok(_) | Err(_) => {}
        }
    }

    async fn serve_h1(&self, io: Io, read: BytesMut, facts: Arc<Facts>) {
        let limits = Arc::clone(&self.node.limits);
        let mut connection = h1::Connection::new(io, read, facts, limits);
        let mut stopping = Stopping::new(self.stopping.clone());
        let mut known = None;
        loop {
            let refused = match connection.next_request(&mut stopping).await {
                h1::Next::Request(head) => {
                    match self.respond_h1(connection, head, &mut known).await {
                        Some(again) => {
                            connection = again;
                            continue;
                        }
                        None => return,
                    }
                }
                h1::Next::Closed => return,
                h1::Next::Refused(refusal) => (refusal.status(), refusal.token()),
                h1::Next::Late => (StatusCode::REQUEST_TIMEOUT, "head-timeout"),
            };
            let (status, why) = refused;
            self.node.refused(connection.facts(), status.as_u16(), why);
            return refuse_h1(connection, status, why, Some(&self.node.name)).await;
        }
    }

    /// Answers a request by the shortest way there is.
    async fn respond_h1(
        &self,
        mut connection: h1::Connection,
        head: Arc<wire::RequestHead>,
        known: &mut Option<Known>,
    ) -> Option<h1::Connection> {
        if !self.is_stopping() {
            if let Some(last) = known
                && let Some(again) = self.short_way.again(&self.node, last, &head)
            {
                connection.respond_written(last.head(&again));
                let length = if head.method == Method::HEAD {
                    0
                } else {
                    again.body.len()
                };
                let content = (&again.exchange, &again.body, 0..length);
                return self.content_h1(connection, &head, content).await;
            }
            let facts = connection.facts();
            if let Some(ready) = self.short_way.ready(&self.node, facts, &head) {
                let written = connection.respond(&head, ready.status, &ready.headers);
                *known = Known::of(&self.node, &ready.exchange, &ready.head, written);
                let content = (&ready.exchange, &ready.body, ready.range);
                return self.content_h1(connection, &head, content).await;
            }
        }
        // Responses keep the order of their requests.
        connection.flush().await.ok()?;
        self.exchange_h1(connection, head).await
    }

    /// A node that stops has more to say to its connections than answers.
    fn is_stopping(&self) -> bool {
        self.stopping.has_changed().unwrap_or(true)
    }

    /// Sends the content of a response whose head is written, and tells how it went.
    async fn content_h1(
        &self,
        mut connection: h1::Connection,
        head: &wire::RequestHead,
        (exchange, body, range): (&Exchange, &Body, Range<u64>),
    ) -> Option<h1::Connection> {
        let mut sent = 0;
        let mut written = Ok(());
        for data in body.slice(range) {
            sent += data.len() as u64;
            written = connection.content(data).await;
            if written.is_err() {
                break;
            }
        }
        self.node.finished(exchange, sent);
        if let Err(error) = written {
            tracing::debug!(%error, "a response did not reach its client");
            return None;
        }
        if head.persistence == Persistence::KeepAlive {
            return Some(connection);
        }
        connection.flush().await.ok()?;
        connection.close().await;
        None
    }

    async fn exchange_h1(
        &self,
        connection: h1::Connection,
        head: Arc<wire::RequestHead>,
    ) -> Option<h1::Connection> {
        let facts = Arc::clone(connection.facts());
        let mut exchange = h1::Exchange::new(connection, &head);
        if *self.stopping.borrow() {
            exchange.close_after();
        }
        let exchange = downstream::Exchange::H1(Box::new(exchange));
        let inbound = Inbound {
            facts,
            head,
            content: Content::Unread,
            hints: Gate::default(),
        };
        match self.pipeline.process(exchange, inbound).await? {
            downstream::Exchange::H1(exchange) => exchange.finish().await,
            downstream::Exchange::H2(_) => None,
        }
    }

    async fn serve_h2(&self, io: Metered<Io>, facts: Arc<Facts>) {
        let limits = &self.node.limits;
        let mut framed = match h2::handshake(io, limits).await {
            Ok(framed) => framed,
            Err(error) => return tracing::debug!(%error, "no HTTP/2 connection"),
        };
        let mut stopping = self.stopping.clone();
        let busy = Arc::new(Semaphore::new(limits.h2_streams as usize));
        while let Some(accepted) = h2::accept(&mut framed, limits, &mut stopping, &busy).await {
            let Ok(place) = Arc::clone(&busy).try_acquire_owned() else {
                h2::reject(accepted);
                continue;
            };
            self.respond_h2(accepted, &facts, place).await;
        }
    }

    /// Answers a request by the shortest way there is; what takes time does so in a task of its own.
    async fn respond_h2(
        &self,
        accepted: h2::Accepted,
        facts: &Arc<Facts>,
        place: OwnedSemaphorePermit,
    ) {
        let limits = &self.node.limits;
        let head = match h2::read_head(&accepted.0, limits) {
            Ok(head) => Arc::new(head),
            Err(refusal) => {
                let status = refusal.status();
                self.node.refused(facts, status.as_u16(), refusal.token());
                return h2::refuse(accepted, status);
            }
        };
        let server = self.clone();
        let ready = match self.is_stopping() {
            true => None,
            false => self.short_way.ready(&self.node, facts, &head),
        };
        let Some(ready) = ready else {
            let facts = Arc::clone(facts);
            tokio::spawn(async move {
                server.exchange_h2(accepted, head, facts).await;
                drop(place);
            });
            return;
        };
        let exchange = h2::Exchange::complete(accepted, &head, Arc::clone(limits));
        let mut answer = Box::pin(async move {
            server.answer_h2(exchange, ready).await;
            drop(place);
        });
        // Most clients have room for most answers.
        let at_once = poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx))).await;
        if at_once.is_pending() {
            tokio::spawn(answer);
        }
    }

    async fn answer_h2(&self, mut exchange: h2::Exchange, ready: Ready) {
        let written = async {
            exchange.write_own_head(ready.status, ready.headers)?;
            for data in ready.body.slice(ready.range) {
                exchange.write_body(data).await?;
            }
            exchange.end(None)
        };
        let written: Result<(), ClientError> = written.await;
        self.node
            .finished(&ready.exchange, exchange.body_bytes_sent());
        if let Err(error) = written {
            tracing::debug!(%error, "a response did not reach its client");
        }
        exchange.finish();
    }

    async fn exchange_h2(
        &self,
        accepted: h2::Accepted,
        head: Arc<wire::RequestHead>,
        facts: Arc<Facts>,
    ) {
        let limits = Arc::clone(&self.node.limits);
        let exchange = match h2::Exchange::begin(accepted, &head, limits).await {
            Ok(exchange) => exchange,
            Err(error) => return tracing::debug!(%error, "a request did not end as announced"),
        };
        let exchange = downstream::Exchange::H2(Box::new(exchange));
        let inbound = Inbound {
            facts,
            head,
            content: Content::Unread,
            hints: Gate::default(),
        };
        if let Some(downstream::Exchange::H2(exchange)) =
            self.pipeline.process(exchange, inbound).await
        {
            exchange.finish();
        }
    }
}

/// Answers what was no request. A proxy says by its name that it was the one.
pub(crate) async fn refuse_h1(
    connection: h1::Connection,
    status: StatusCode,
    why: &str,
    node: Option<&str>,
) {
    let body = format!("{why}\n");
    let mut headers = HeaderMap::new();
    let told = node.map(|node| format!("{node}; error=http_request_error"));
    if let Some(told) = told.and_then(|told| http::HeaderValue::try_from(told).ok()) {
        headers.insert(PROXY_STATUS, told);
    }
    cache::plain(&mut headers, body.len());
    connection.refuse(status, &headers, body.as_bytes()).await;
}
