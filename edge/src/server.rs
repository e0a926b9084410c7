//! Listeners and connections: accept, find out what is spoken, serve, drain.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
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
use crate::cache::{self, Fields, Known, Like, Ready, Written};
use crate::downstream::alarm::Stopping;
use crate::downstream::pieces::Pieces;
use crate::downstream::{self, ClientError, Facts, Io, Scheme, Shown, Tls, h1, h2};
use crate::exchange::{Exchange, Request};
use crate::node::Node;
use crate::pingora::Pipeline;
use crate::pingora::session::{Gate, Inbound};
use crate::proxy_status::PROXY_STATUS;
use crate::queries::Content;
use crate::short_way::ShortWay;

/// After an accept that failed for want of a file descriptor: there is no use in trying at once.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Content of one response that waits in an HTTP/2 connection, for the client's window or its socket, in bytes: as
/// much as one frame has.
const WAITING_MAX: u64 = 16 * 1024;
/// The longest block of fields that is written past the framing: with room to spare, what any frame may have (RFC 9113
/// §4.2).
const BLOCK_MAX: usize = 4 * 1024;
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

    /// What a connection seldom needs is boxed: all its time it holds room for whatever it may wait in.
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
        let Some(tls) = tls else {
            return self
                .serve_plain(stream, facts(Scheme::Http, Shown::Nothing, None))
                .await;
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
        let sniffed = tokio::select! {
            sniffed = timeout(self.node.limits.head, sniffing) => sniffed,
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

    async fn serve_h1(&self, io: Io, read: BytesMut, facts: Arc<Facts>) {
        let limits = Arc::clone(&self.node.limits);
        let mut connection = h1::Connection::new(io, read, facts, limits);
        let mut stopping = Stopping::new(self.stopping.clone());
        let mut last = None;
        loop {
            let next = match connection.next(&mut stopping).await {
                h1::Brought::Next(next) => next,
                h1::Brought::Like(head) => {
                    match self.answer_like_h1(&mut connection, &head, last.as_mut()) {
                        Liked::Answered => continue,
                        Liked::Begun(begun) => {
                            match self.go_on_h1(connection, &head, *begun).await {
                                Some(again) => connection = again,
                                None => return,
                            }
                            continue;
                        }
                        Liked::No => connection.parse().await,
                    }
                }
            };
            let refused = match next {
                h1::Next::Request(head) => {
                    if self.answer_again_h1(&mut connection, &head, last.as_ref()) {
                        continue;
                    }
                    match self.respond_h1(connection, head, &mut last).await {
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
            let refusing = refuse_h1(connection, status, why, Some(&self.node.name));
            return Box::pin(refusing).await;
        }
    }

    /// Answers a request that is the same as the last one, where there is nothing to wait for. False where there is, or
    /// where the answer is another one.
    fn answer_again_h1(
        &self,
        connection: &mut h1::Connection,
        head: &Arc<wire::RequestHead>,
        last: Option<&LastH1>,
    ) -> bool {
        let known = last.and_then(|last| last.known.as_ref());
        let Some(known) =
            known.filter(|known| known.is_of(head) && known.is_short(h1::COPIED_MAX as u64))
        else {
            return false;
        };
        if !self.goes_on_at_once(connection, head) {
            return false;
        }
        let Some(again) = self.short_way.again(&self.node, known) else {
            return false;
        };
        let answered = self.node.clock.instant();
        known.write(&again, connection.out());
        let mut sent = 0;
        if head.method != Method::HEAD
            && let Some(data) = again.body().contiguous()
        {
            connection.out().extend_from_slice(data);
            sent = data.len() as u64;
        }
        self.node.finished(&known.exchange(&again, answered), sent);
        true
    }

    /// Whether a short answer needs no wait, neither before nor behind it.
    fn goes_on_at_once(&self, connection: &h1::Connection, head: &wire::RequestHead) -> bool {
        let stays = head.persistence == Persistence::KeepAlive && !self.is_stopping();
        stays && connection.has_room()
    }

    /// Answers a request that is like the last one, but for its target.
    fn answer_like_h1(
        &self,
        connection: &mut h1::Connection,
        head: &Arc<wire::RequestHead>,
        last: Option<&mut LastH1>,
    ) -> Liked {
        let at_once = self.goes_on_at_once(connection, head);
        let Some(last) = last.filter(|last| at_once && last.is_of(head)) else {
            return Liked::No;
        };
        let like = last.like.of(&self.node, &last.request);
        let (Some(like), Some(target)) = (like, connection.other_target()) else {
            return Liked::No;
        };
        // What is asked for twice in a row is worth to be remembered as a whole.
        if like.target() == target {
            return Liked::No;
        }
        let Some(plain) = self.short_way.like(&self.node, like, target) else {
            return Liked::No;
        };
        let Some(draft) = plain.draft(&self.node, like) else {
            return Liked::No;
        };
        connection.take_other();
        like.accept(&self.node, &plain);
        let (body, status) = (plain.body(), plain.status());
        connection.respond_with(head, status, (draft.fields(), body.len()));
        let exchange = like.exchange(&plain, self.node.clock.instant());
        let content = body.contiguous();
        match content {
            Some(data) if data.len() <= h1::COPIED_MAX || head.method == Method::HEAD => {
                let data: &[u8] = match head.method {
                    Method::HEAD => &[],
                    _ => data,
                };
                connection.out().extend_from_slice(data);
                self.node.finished(&exchange, data.len() as u64);
                Liked::Answered
            }
            _ => Liked::Begun(Box::new(BegunAnswer {
                exchange,
                range: 0..content_length(head, body),
                body: body.clone(),
            })),
        }
    }

    /// Answers a request by the shortest way there is.
    async fn respond_h1(
        &self,
        mut connection: h1::Connection,
        head: Arc<wire::RequestHead>,
        last: &mut Option<LastH1>,
    ) -> Option<h1::Connection> {
        let mut request = None;
        if !self.is_stopping() {
            let repeated = last.as_mut().filter(|last| last.is_of(&head));
            if let Some(LastH1 {
                known: Some(known), ..
            }) = &repeated
                && let Some(again) = self.short_way.again(&self.node, known)
            {
                known.write(&again, connection.out());
                let length = content_length(&head, again.body());
                let exchange = known.exchange(&again, self.node.clock.instant());
                let content = (&exchange, again.body(), 0..length);
                return self.content_h1(connection, &head, content).await;
            }
            match self.short_way.ready(&self.node, connection.facts(), &head) {
                Ok(ready) => {
                    let written = connection.respond(&head, ready.status, &ready.headers);
                    let answered = (&ready.head, &ready.body);
                    match repeated {
                        // Twice is not once: what is asked for once need not be known.
                        Some(last) => {
                            let (node, exchange) = (&self.node, &ready.exchange);
                            last.known = Known::of_written(node, exchange, answered, written);
                        }
                        None => *last = LastH1::of(&ready),
                    }
                    let content = (&ready.exchange, &ready.body, ready.range);
                    return self.content_h1(connection, &head, content).await;
                }
                Err(known) => request = known,
            }
        }
        // Responses keep the order of their requests.
        connection.flush().await.ok()?;
        Box::pin(self.exchange_h1(connection, head, request)).await
    }

    /// A node that stops has more to say to its connections than answers.
    fn is_stopping(&self) -> bool {
        self.stopping.has_changed().unwrap_or(true)
    }

    async fn go_on_h1(
        &self,
        connection: h1::Connection,
        head: &wire::RequestHead,
        begun: BegunAnswer,
    ) -> Option<h1::Connection> {
        let content = (&begun.exchange, &begun.body, begun.range);
        self.content_h1(connection, head, content).await
    }

    /// Sends the content of a response whose head is written, and tells how it went.
    async fn content_h1(
        &self,
        mut connection: h1::Connection,
        head: &wire::RequestHead,
        (exchange, body, range): (&Exchange, &Body, Range<u64>),
    ) -> Option<h1::Connection> {
        let (sent, written) = send_h1(&mut connection, body, range).await;
        self.node.finished(exchange, sent);
        if let Err(error) = written {
            tracing::debug!(%error, "a response did not reach its client");
            return None;
        }
        if head.persistence == Persistence::KeepAlive {
            return Some(connection);
        }
        connection.flush().await.ok()?;
        Box::pin(connection.close()).await;
        None
    }

    async fn exchange_h1(
        &self,
        connection: h1::Connection,
        head: Arc<wire::RequestHead>,
        request: Option<Arc<Request>>,
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
            request,
            hints: Gate::default(),
        };
        match self.pipeline.process(exchange, inbound).await? {
            downstream::Exchange::H1(exchange) => exchange.finish().await,
            downstream::Exchange::H2(_) => None,
        }
    }

    async fn serve_h2(&self, connection: (Io, BytesMut), facts: Arc<Facts>) {
        let limits = &self.node.limits;
        let stopping = Stopping::new(self.stopping.clone());
        let begun = h2::Connection::begin(connection, Arc::clone(limits), stopping).await;
        let mut connection = match begun {
            Ok(connection) => connection,
            Err(error) => return tracing::debug!(%error, "no HTTP/2 connection"),
        };
        let busy = Arc::new(Semaphore::new(limits.h2_streams as usize));
        let mut last = None;
        let mut path = String::new();
        while let Some(brought) = connection.accept(&busy).await {
            let accepted = match brought {
                h2::Brought::Stream(accepted) => accepted,
                h2::Brought::Again => {
                    self.answer_repeated(&connection, last.as_ref());
                    continue;
                }
                h2::Brought::Like => {
                    connection.read_path(&mut path);
                    if !self.answer_like(&connection, last.as_mut(), &path) {
                        connection.pass_on();
                    }
                    continue;
                }
            };
            let stream = h2::stream_of(&accepted);
            if let Some(accepted) = self.answer_again(accepted, &mut last) {
                let known = self.respond_h2(accepted, (&facts, &busy)).await;
                let Some(known) = known else {
                    continue;
                };
                // What is known in front of the streams is the last one, and no other.
                connection.unlearn();
                last = Some(known);
            }
            connection.learn(stream);
        }
    }

    /// Answers the request that a connection repeats before there is a stream, or makes a stream of it.
    fn answer_repeated(&self, connection: &h2::Connection, last: Option<&Last>) {
        let known = last.map(|last| &last.known);
        let known = known.filter(|known| known.is_packed() && !self.is_stopping());
        let length = known.and_then(Known::content_length);
        let (Some(known), Some(length @ 0..=WAITING_MAX)) = (known, length) else {
            return connection.pass_on();
        };
        if !connection.allows(usize::try_from(length).unwrap_or(usize::MAX)) {
            return connection.pass_on();
        }
        let Some(again) = self.short_way.again(&self.node, known) else {
            return connection.pass_on();
        };
        let answered = self.node.clock.instant();
        let content = again.body().contiguous().filter(|_| length > 0);
        let content: &[u8] = content.map_or(&[], |content| content);
        known.packed(&again, |head, numbers| {
            connection.answer_again(head, numbers, content);
        });
        let sent = content.len() as u64;
        self.node.finished(&known.exchange(&again, answered), sent);
    }

    /// Answers a request before there is a stream that differs from the one that is known in its path only. False where
    /// that takes more.
    fn answer_like(
        &self,
        connection: &h2::Connection,
        last: Option<&mut Last>,
        path: &str,
    ) -> bool {
        let last = last.filter(|last| path.len() <= last.target_max && !self.is_stopping());
        let Some(last) = last else {
            return false;
        };
        let request = last.known.request();
        if wire::check_path(path).is_err() {
            return false;
        }
        let only_head = *request.method() == Method::HEAD;
        let Some(like) = last.like.of(&self.node, request) else {
            return false;
        };
        let Some(plain) = self.short_way.like(&self.node, like, path) else {
            return false;
        };
        let content: &[u8] = match plain.body().contiguous() {
            _ if only_head => &[],
            Some(content) if content.len() as u64 <= WAITING_MAX => content,
            Some(_) | None => return false,
        };
        let Some(draft) = plain
            .draft(&self.node, like)
            .filter(|_| !plain.has_secret())
        else {
            return false;
        };
        let mut fields = draft.fields();
        if fields.any(|field| policy::hop_by_hop::is_one(field.name)) {
            return false;
        }
        let longest = h2::head_length_max(draft.fields());
        if longest > BLOCK_MAX || !connection.allows(content.len()) {
            return false;
        }
        like.accept(&self.node, &plain);
        let exchange = like.exchange(&plain, self.node.clock.instant());
        connection.answer_like((longest, plain.status()), draft.fields(), content);
        self.node.finished(&exchange, content.len() as u64);
        true
    }

    /// Answers a request that is the same as the last one. What is not answered is given back.
    fn answer_again(
        &self,
        accepted: h2::Accepted,
        last: &mut Option<Last>,
    ) -> Option<h2::Accepted> {
        let Some(last) = last.as_mut().filter(|_| !self.is_stopping()) else {
            return Some(accepted);
        };
        let only_head = *accepted.0.method() == Method::HEAD;
        let short_enough = only_head || last.known.is_short(WAITING_MAX);
        if !short_enough || !last.asked.is_again(&accepted.0) {
            return Some(accepted);
        }
        let Some(again) = self.short_way.again(&self.node, &last.known) else {
            return Some(accepted);
        };
        let content = match again.body().contiguous() {
            Some(content) if !only_head => content.clone(),
            _ => Bytes::new(),
        };
        let answered = self.node.clock.instant();
        let fields = last.known.fields(&again);
        let sent = h2::answer(accepted, last.known.status(), fields, content);
        self.told(&last.known.exchange(&again, answered), sent);
        None
    }

    /// Tells of an exchange that ended at once.
    fn told(&self, exchange: &Exchange, sent: Result<u64, ClientError>) {
        self.node.finished(exchange, *sent.as_ref().unwrap_or(&0));
        if let Err(error) = sent {
            tracing::debug!(%error, "a response did not reach its client");
        }
    }

    /// Answers a request by the shortest way there is; what takes time does so in a task of its own. What may be said
    /// again is given back.
    async fn respond_h2(
        &self,
        accepted: h2::Accepted,
        (facts, busy): (&Arc<Facts>, &Arc<Semaphore>),
    ) -> Option<Last> {
        let Ok(place) = Arc::clone(busy).try_acquire_owned() else {
            h2::reject(accepted);
            return None;
        };
        let limits = &self.node.limits;
        let head = match h2::read_head(&accepted.0, limits) {
            Ok(head) => Arc::new(head),
            Err(refusal) => {
                let status = refusal.status();
                self.node.refused(facts, status.as_u16(), refusal.token());
                h2::refuse(accepted, status);
                return None;
            }
        };
        let ready = match self.is_stopping() {
            true => Err(None),
            false => self.short_way.ready(&self.node, facts, &head),
        };
        let server = self.clone();
        let mut ready = match ready {
            Ok(ready) => ready,
            Err(request) => {
                let facts = Arc::clone(facts);
                tokio::spawn(async move {
                    server.exchange_h2(accepted, (head, request), facts).await;
                    drop(place);
                });
                return None;
            }
        };
        policy::hop_by_hop::remove(&mut ready.headers);
        if let Some(content) = short(&ready.body, ready.range.clone()) {
            let last = Last::of(&self.node, &accepted, &ready);
            let sent = h2::answer(accepted, ready.status, ready.headers, content);
            self.told(&ready.exchange, sent);
            return last;
        }
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
        None
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
        (head, request): (Arc<wire::RequestHead>, Option<Arc<Request>>),
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
            request,
            hints: Gate::default(),
        };
        if let Some(downstream::Exchange::H2(exchange)) =
            self.pipeline.process(exchange, inbound).await
        {
            exchange.finish();
        }
    }
}

/// What an HTTP/1.1 connection was asked last of what was ready.
struct LastH1 {
    request: Arc<Request>,
    /// How it was answered, where it was asked twice.
    known: Option<Known<Written>>,
    like: Likeness,
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

impl LastH1 {
    fn of(ready: &Ready) -> Option<Self> {
        Some(Self {
            request: Arc::clone(ready.exchange.request.as_ref()?),
            known: None,
            like: Likeness::default(),
        })
    }

    /// Whether it is the request with this very head.
    fn is_of(&self, head: &Arc<wire::RequestHead>) -> bool {
        Arc::ptr_eq(&self.request.head, head)
    }
}

/// What came of a request that is like the last one.
enum Liked {
    Answered,
    /// Its head is written, and its content takes a while.
    Begun(Box<BegunAnswer>),
    /// It is one like any other.
    No,
}

/// An answer of which the content is still to be sent.
struct BegunAnswer {
    exchange: Exchange,
    body: Body,
    range: Range<u64>,
}

/// What an HTTP/2 connection was asked last, and how it was answered.
struct Last {
    asked: h2::Asked,
    known: Known<Fields>,
    like: Likeness,
    /// The longest target with which its head would keep within the limits.
    target_max: usize,
}

impl Last {
    fn of(node: &Node, accepted: &h2::Accepted, ready: &Ready) -> Option<Self> {
        let asked = h2::Asked::of(&accepted.0)?;
        let answered = (&ready.head, &ready.body);
        let known = Known::of_fields(node, &ready.exchange, answered, &ready.headers)?;
        Some(Self {
            asked,
            known,
            like: Likeness::default(),
            target_max: h2::target_max(&accepted.0, &node.limits.wire),
        })
    }
}

/// Sends a part of a body, and says how much of it.
async fn send_h1(
    connection: &mut h1::Connection,
    body: &Body,
    range: Range<u64>,
) -> (u64, Result<(), ClientError>) {
    let mut all = body.slice(range);
    if body.contiguous().is_some() {
        let data = all.next().unwrap_or_default();
        return (data.len() as u64, connection.content(data).await);
    }
    // What many pieces take, no connection without them is to hold.
    Box::pin(send_pieces(connection, all)).await
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

async fn send_pieces(
    connection: &mut h1::Connection,
    mut all: impl Iterator<Item = Bytes>,
) -> (u64, Result<(), ClientError>) {
    let mut sent = 0;
    loop {
        let pieces = Pieces::next_of(&mut all);
        if !pieces.has_remaining() {
            return (sent, Ok(()));
        }
        sent += pieces.remaining() as u64;
        if let Err(error) = connection.pieces(pieces).await {
            return (sent, Err(error));
        }
    }
}

/// How much of a body answers a request.
fn content_length(head: &wire::RequestHead, body: &Body) -> u64 {
    match head.method {
        Method::HEAD => 0,
        _ => body.len(),
    }
}

/// Content that is there in one piece, and so short that it may wait in the connection.
fn short(body: &Body, range: Range<u64>) -> Option<Bytes> {
    if range.end - range.start > WAITING_MAX {
        return None;
    }
    let mut pieces = body.slice(range);
    let first = pieces.next().unwrap_or_default();
    pieces.next().is_none().then_some(first)
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
