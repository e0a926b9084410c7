//! HTTP/2 from clients (RFC 9113), on the `h2` crate's framing.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::uri::{Authority as UriAuthority, PathAndQuery};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use tokio::time::timeout;
use wire::{Authority, Expectation, Framing, Persistence, Refusal, RequestHead, Upgrade};

use super::alarm::{Alarm, Stopping};
use super::h2_cork::{Cork, Corked};
use super::h2_meter::Metered;
use super::{ClientError, Io, Limits, within};
use crate::clock::timer;

/// Bytes of one response that wait in the connection for the client's window.
const SEND_BUFFER_MAX: usize = 32 * 1024;
/// What a client may send before the node has read it, per stream and per connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Streams that the client reset and the node has not yet seen (CVE-2023-44487).
const RESET_PENDING_MAX: usize = 20;
/// Streams that the node itself had to reset (CVE-2025-8671), after which the connection ends.
const RESET_LOCAL_MAX: usize = 64;
/// How long a client with no stream left may take to answer that its connection ends.
const GOODBYE: Duration = Duration::from_secs(3);
/// Heads that are remembered have no more bytes of text.
const REMEMBERED_MAX: usize = 1024;
/// Pieces in which content is handed to the connection, so that streams take turns.
const PIECE: usize = 64 * 1024;

/// One client's HTTP/2 connection.
pub(crate) struct Connection {
    framed: h2::server::Connection<Metered<Corked<Io>>, Bytes>,
    cork: Cork,
    alarm: Alarm,
    stopping: Stopping,
    /// Whether the client was told that the connection ends.
    told: bool,
    limits: Arc<Limits>,
}

/// A request as the connection brought it, and the way to answer it.
pub(crate) type Accepted = (Request<RecvStream>, SendResponse<Bytes>);

/// What the framing gives: a request, or the end of the connection.
type Next = Option<Result<Accepted, h2::Error>>;

/// What a connection is woken by that is not its client.
enum Woken {
    Stopping,
    Rung,
}

impl Connection {
    /// Exchanges the connection prefaces. `read` is what was read before.
    ///
    /// # Errors
    /// [`ClientError::Silent`] past the head timeout, [`ClientError::Stream`] for anything that is not HTTP/2.
    pub(crate) async fn begin(
        (io, read): (Io, BytesMut),
        limits: Arc<Limits>,
        stopping: Stopping,
    ) -> Result<Self, ClientError> {
        let cork = Cork::default();
        let io = Metered::new(Corked::new(io, cork.clone()), read);
        let head_max = u32::try_from(limits.wire.head_bytes).unwrap_or(u32::MAX);
        let mut builder = h2::server::Builder::new();
        builder
            .max_header_list_size(head_max)
            .max_concurrent_streams(limits.h2_streams)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buffer_size(SEND_BUFFER_MAX)
            .max_pending_accept_reset_streams(RESET_PENDING_MAX)
            .max_local_error_reset_streams(Some(RESET_LOCAL_MAX));
        let framed = timeout(limits.head, builder.handshake(io)).await;
        Ok(Self {
            framed: framed.map_err(|_elapsed| ClientError::Silent)??,
            cork,
            alarm: Alarm::default(),
            stopping,
            told: false,
            limits,
        })
    }

    /// Waits for the next request, and keeps the connection's frames moving meanwhile.
    ///
    /// `None` ends the connection: the client closed it, broke the protocol, or was idle with nothing under way.
    pub(crate) async fn accept(&mut self, busy: &tokio::sync::Semaphore) -> Option<Accepted> {
        // Where requests come faster than they are taken, nothing is waited for.
        if !self.stopping.is_set()
            && let Some(next) = poll_fn(|cx| Poll::Ready(self.at_hand(cx))).await
        {
            return taken(next);
        }
        let all = self.limits.h2_streams as usize;
        loop {
            let patience = match self.told {
                true => self.limits.idle.min(GOODBYE),
                false => self.limits.idle,
            };
            self.alarm.set(patience, timer());
            match poll_fn(|cx| self.poll_event(cx)).await {
                Ok(next) => return taken(next),
                Err(Woken::Rung) if busy.available_permits() < all => {}
                Err(Woken::Rung) if self.told => return None,
                Err(Woken::Rung | Woken::Stopping) => {
                    self.told = true;
                    self.framed.graceful_shutdown();
                }
            }
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Next, Woken>> {
        if !self.told && self.stopping.poll(cx).is_ready() {
            return Poll::Ready(Err(Woken::Stopping));
        }
        if let Some(next) = self.at_hand(cx) {
            return Poll::Ready(Ok(next));
        }
        self.alarm.poll(cx).map(|()| Err(Woken::Rung))
    }

    /// The next request, if it is there. If not, what was written for those before leaves.
    fn at_hand(&mut self, cx: &mut Context<'_>) -> Option<Next> {
        self.cork.set(true);
        let mut next = self.framed.poll_accept(cx);
        self.cork.set(false);
        if next.is_pending() && self.cork.owes() {
            next = self.framed.poll_accept(cx);
        }
        match next {
            Poll::Ready(next) => Some(next),
            Poll::Pending => None,
        }
    }
}

fn taken(next: Next) -> Option<Accepted> {
    match next? {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            tracing::debug!(%error, "an HTTP/2 connection failed");
            None
        }
    }
}

/// A request as it was asked last on a connection.
#[derive(Debug)]
pub(crate) struct Asked {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Asked {
    /// Of a request that is nothing but a short head.
    pub(crate) fn of(request: &Request<RecvStream>) -> Option<Self> {
        let fields = request.headers().iter();
        let fields = fields.map(|(name, value)| name.as_str().len() + value.len());
        let target = request.uri().path_and_query()?.as_str().len();
        let short = target + fields.sum::<usize>() <= REMEMBERED_MAX;
        (short && request.body().is_end_stream()).then(|| Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
        })
    }

    /// Whether a request is the same to the letter.
    pub(crate) fn is_again(&self, request: &Request<RecvStream>) -> bool {
        let (uri, other) = (&self.uri, request.uri());
        request.body().is_end_stream()
            && self.method == *request.method()
            && uri.path_and_query().map(PathAndQuery::as_str)
                == other.path_and_query().map(PathAndQuery::as_str)
            && uri.scheme_str() == other.scheme_str()
            && uri.authority().map(UriAuthority::as_str)
                == other.authority().map(UriAuthority::as_str)
            && same_fields(&self.headers, request.headers())
    }
}

/// Whether both have the same fields in the same order.
fn same_fields(one: &HeaderMap, other: &HeaderMap) -> bool {
    one.len() == other.len()
        && one
            .iter()
            .zip(other)
            .all(|((name, value), other)| (name, value.as_bytes()) == (other.0, other.1.as_bytes()))
}

/// Answers a request that is nothing but its head, with content that may wait in the connection.
///
/// # Errors
/// Where the stream is gone.
pub(crate) fn answer(
    accepted: Accepted,
    status: StatusCode,
    headers: HeaderMap,
    content: Bytes,
) -> Result<u64, ClientError> {
    let (request, mut respond) = accepted;
    let mut head = Response::new(());
    *head.status_mut() = status;
    *head.headers_mut() = headers;
    let only_head = content.is_empty() || is_headers_only(request.method(), status);
    let mut stream = respond.send_response(head, only_head)?;
    if only_head {
        return Ok(0);
    }
    let length = content.len() as u64;
    stream.send_data(content, true)?;
    Ok(length)
}

/// Whether a response has no content whatever its head says (RFC 9110 §6.4.1).
fn is_headers_only(method: &Method, status: StatusCode) -> bool {
    *method == Method::HEAD
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
}

/// There is no room for another stream. The client may send the request again (RFC 9113 §8.7).
pub(crate) fn reject(accepted: Accepted) {
    let (_, mut respond) = accepted;
    respond.send_reset(Reason::REFUSED_STREAM);
}

/// Ends a stream whose request is not taken: a malformed one is a stream error (RFC 9113 §8.1.1).
pub(crate) fn refuse(accepted: Accepted, status: StatusCode) {
    let (_, mut respond) = accepted;
    if status == StatusCode::BAD_REQUEST {
        return respond.send_reset(Reason::PROTOCOL_ERROR);
    }
    let mut head = Response::new(());
    *head.status_mut() = status;
    if let Err(error) = respond.send_response(head, true) {
        tracing::debug!(%error, "a client does not hear that it is refused");
    }
}

/// Reads a request's head by the rules of RFC 9113 §8.
///
/// # Errors
/// The [`Refusal`] that the client is answered with.
pub(crate) fn read_head(
    request: &Request<RecvStream>,
    limits: &Limits,
) -> Result<RequestHead, Refusal> {
    let (method, uri) = (request.method(), request.uri());
    if method == Method::CONNECT {
        return Err(Refusal::Connect);
    }
    check_scheme(uri)?;
    let mut headers = fields(request)?;
    let framing = framing(request)?;
    let expectation = wire::expectation_of(Version::HTTP_2, &headers, framing)?;
    let target = uri.path_and_query().ok_or(Refusal::Target)?.as_str();
    wire::check_size(method, target, &headers, &limits.wire)?;
    if target != "*" || method != Method::OPTIONS {
        wire::check_path(target)?;
    }
    let authority = authority(uri, &headers)?;
    if let Ok(host) = HeaderValue::try_from(authority.to_string()) {
        headers.insert(header::HOST, host);
    }
    Ok(RequestHead {
        method: method.clone(),
        version: Version::HTTP_2,
        scheme: None,
        authority,
        target: target.to_owned(),
        framing,
        headers,
        persistence: Persistence::KeepAlive,
        expectation,
        upgrade: Upgrade::None,
        nominated: Vec::new(),
    })
}

/// The request's fields, each checked, and as HTTP/1.1 would bring them.
fn fields(request: &Request<RecvStream>) -> Result<HeaderMap, Refusal> {
    let mut headers = request.headers().clone();
    for (name, value) in &headers {
        wire::check_field(name, value)?;
    }
    wire::join_cookies(&mut headers);
    // An offer to upgrade from HTTP/1.1, of which an origin could believe that it is for itself.
    headers.remove("http2-settings");
    Ok(headers)
}

/// RFC 9113 §8.3.1 allows schemes other than these, for which this node has no origin; an empty one is malformed.
fn check_scheme(uri: &Uri) -> Result<(), Refusal> {
    match uri.scheme_str() {
        Some("http" | "https") => Ok(()),
        // The framing has seen one, and cannot keep it without an authority.
        None if uri.authority().is_none() => Ok(()),
        Some(_) | None => Err(Refusal::Target),
    }
}

/// RFC 9113 §8.3.1: `:authority`, or else `Host`; a request in which they differ is malformed.
fn authority(uri: &Uri, headers: &HeaderMap) -> Result<Authority, Refusal> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => return Err(Refusal::HostRepeated),
        (Some(host), None) => {
            let host = host.to_str().map_err(|_opaque| Refusal::Authority)?;
            Some(wire::check_authority(host)?)
        }
        (None, _) => None,
    };
    let Some(named) = uri.authority() else {
        return host.ok_or(Refusal::HostMissing);
    };
    let named = wire::check_authority(named.as_str())?;
    if host.is_some_and(|host| host != named) {
        return Err(Refusal::HostMismatch);
    }
    Ok(named)
}

fn framing(request: &Request<RecvStream>) -> Result<Framing, Refusal> {
    let length = wire::content_length(request.headers())?;
    let has_ended = request.body().is_end_stream();
    if request.method() == Method::TRACE && !has_ended {
        return Err(Refusal::TraceContent);
    }
    match (length, has_ended) {
        (None | Some(0), true) => Ok(Framing::None),
        (Some(_), true) => Err(Refusal::ContentLength),
        (Some(length), false) => Ok(Framing::Length(length)),
        (None, false) => Ok(Framing::Chunked),
    }
}

/// Where the response stands.
#[derive(Debug)]
enum Responding {
    Awaited,
    /// The head is known and leaves with the first content.
    Head(Response<()>),
    Content(SendStream<Bytes>),
    Ended,
    Broken,
}

/// One stream: a request and its response.
#[derive(Debug)]
pub(crate) struct Exchange {
    respond: SendResponse<Bytes>,
    content: RecvStream,
    content_done: bool,
    /// What is left of the length that the request's head announced.
    owed: Option<u64>,
    expectation: Expectation,
    limits: Arc<Limits>,
    method: Method,
    responding: Responding,
    /// What is left of the length that the response's head announced.
    left: Option<u64>,
    ending: Ending,
    sent: u64,
}

/// What ends a response's content.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ending {
    /// A frame of its own: there may be trailers.
    Apart,
    /// Its last frame.
    WithContent,
}

impl Exchange {
    /// Takes a stream whose request is complete, and whose response has no trailers.
    pub(crate) fn complete(accepted: Accepted, head: &RequestHead, limits: Arc<Limits>) -> Self {
        Self {
            ending: Ending::WithContent,
            ..Self::new(accepted, head, limits)
        }
    }

    /// Takes a stream. A request that says it has no content is complete only once the stream agrees.
    ///
    /// # Errors
    /// As [`Self::read_body`].
    pub(crate) async fn begin(
        accepted: Accepted,
        head: &RequestHead,
        limits: Arc<Limits>,
    ) -> Result<Self, ClientError> {
        let mut exchange = Self::new(accepted, head, limits);
        if exchange.owed == Some(0)
            && let Err(error) = exchange.read_end().await
        {
            exchange.abandon();
            return Err(error);
        }
        Ok(exchange)
    }

    fn new(accepted: Accepted, head: &RequestHead, limits: Arc<Limits>) -> Self {
        let (request, respond) = accepted;
        let method = request.method().clone();
        let content = request.into_body();
        Self {
            content_done: content.is_end_stream(),
            owed: match head.framing {
                Framing::Length(length) => Some(length),
                Framing::None | Framing::Chunked => None,
            },
            expectation: head.expectation,
            respond,
            content,
            limits,
            method,
            responding: Responding::Awaited,
            left: None,
            ending: Ending::Apart,
            sent: 0,
        }
    }

    pub(crate) async fn read_body(&mut self) -> Result<Option<Bytes>, ClientError> {
        self.invite_body()?;
        let Some(data) = self.read_data().await? else {
            self.read_trailers().await?;
            return Ok(None);
        };
        if let Some(owed) = &mut self.owed {
            *owed = owed.saturating_sub(data.len() as u64);
            if *owed == 0 {
                // With its last byte the upload is complete to an origin, and more may still make it malformed
                // (RFC 9113 §8.1.1).
                self.read_end().await?;
            }
        }
        Ok(Some(data))
    }

    /// Tells a client that waits for it to send its content (RFC 9110 §10.1.1).
    fn invite_body(&mut self) -> Result<(), ClientError> {
        let waits = std::mem::replace(&mut self.expectation, Expectation::None);
        if waits == Expectation::None || self.content_done {
            return Ok(());
        }
        self.write_interim(StatusCode::CONTINUE, &HeaderMap::new())
    }

    async fn read_data(&mut self) -> Result<Option<Bytes>, ClientError> {
        let data = timeout(self.limits.body, self.content.data()).await;
        let Some(data) = data.map_err(|_elapsed| ClientError::Silent)? else {
            return Ok(None);
        };
        let data = data?;
        self.content.flow_control().release_capacity(data.len())?;
        Ok(Some(data))
    }

    /// Waits for the stream's end behind the last byte that the head announced.
    async fn read_end(&mut self) -> Result<(), ClientError> {
        while let Some(data) = self.read_data().await? {
            if !data.is_empty() {
                return Err(Refusal::ContentLength.into());
            }
        }
        self.read_trailers().await
    }

    async fn read_trailers(&mut self) -> Result<(), ClientError> {
        let trailers = timeout(self.limits.body, self.content.trailers()).await;
        if let Some(trailers) = trailers.map_err(|_elapsed| ClientError::Silent)?? {
            wire::check_trailers(trailers)?;
        }
        self.content_done = true;
        Ok(())
    }

    pub(crate) fn is_body_done(&self) -> bool {
        self.content_done
    }

    pub(crate) async fn gone(&mut self) -> ClientError {
        let reset = match &mut self.responding {
            Responding::Content(stream) => poll_fn(|cx| stream.poll_reset(cx)).await,
            _ => poll_fn(|cx| self.respond.poll_reset(cx)).await,
        };
        match reset {
            Ok(reason) => ClientError::Stream(reason.into()),
            Err(error) => error.into(),
        }
    }

    pub(crate) fn write_interim(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<(), ClientError> {
        if !matches!(self.responding, Responding::Awaited) {
            return Ok(());
        }
        let mut interim = Response::new(());
        *interim.status_mut() = status;
        *interim.headers_mut() = headers.clone();
        policy::hop_by_hop::remove(interim.headers_mut());
        Ok(self.respond.send_informational(interim)?)
    }

    pub(crate) fn write_head(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<(), ClientError> {
        self.write_own_head(status, headers.clone())
    }

    /// As [`Self::write_head`], of a head that nobody else needs.
    pub(crate) fn write_own_head(
        &mut self,
        status: StatusCode,
        headers: HeaderMap,
    ) -> Result<(), ClientError> {
        if !matches!(self.responding, Responding::Awaited) {
            return Err(ClientError::Length);
        }
        self.left = super::h1::content_length(&headers);
        let mut head = Response::new(());
        *head.status_mut() = status;
        *head.headers_mut() = headers;
        policy::hop_by_hop::remove(head.headers_mut());
        self.responding = Responding::Head(head);
        Ok(())
    }

    pub(crate) async fn write_body(&mut self, mut data: Bytes) -> Result<(), ClientError> {
        if let Responding::Head(head) = &self.responding
            && is_headers_only(&self.method, head.status())
        {
            return Ok(());
        }
        self.flush()?;
        if let Some(left) = &mut self.left {
            *left = left
                .checked_sub(data.len() as u64)
                .ok_or(ClientError::Length)?;
        }
        while !data.is_empty() {
            let room = self.room(data.len().min(PIECE)).await?;
            let piece = data.split_to(room.min(data.len()));
            self.sent += piece.len() as u64;
            let last = data.is_empty() && self.left == Some(0);
            let end = last && self.ending == Ending::WithContent;
            let Responding::Content(stream) = &mut self.responding else {
                return Err(ClientError::Length);
            };
            stream.send_data(piece, end)?;
            if end {
                self.responding = Responding::Ended;
            }
        }
        Ok(())
    }

    /// Waits until the client's window lets some of `wanted` bytes through.
    async fn room(&mut self, wanted: usize) -> Result<usize, ClientError> {
        let Responding::Content(stream) = &mut self.responding else {
            return Err(ClientError::Length);
        };
        stream.reserve_capacity(wanted);
        loop {
            let capacity = poll_fn(|cx| stream.poll_capacity(cx));
            let capacity = within(self.limits.write, capacity)
                .await
                .map_err(|_elapsed| ClientError::Silent)?;
            match capacity {
                Some(Ok(0)) => {}
                Some(Ok(room)) => return Ok(room),
                Some(Err(error)) => return Err(error.into()),
                None => return Err(ClientError::Gone),
            }
        }
    }

    pub(crate) fn flush(&mut self) -> Result<(), ClientError> {
        self.send_head(false)
    }

    fn send_head(&mut self, end: bool) -> Result<(), ClientError> {
        match std::mem::replace(&mut self.responding, Responding::Broken) {
            Responding::Head(head) => {
                let end = end || is_headers_only(&self.method, head.status());
                let stream = self.respond.send_response(head, end)?;
                self.responding = if end {
                    Responding::Ended
                } else {
                    Responding::Content(stream)
                };
            }
            other => self.responding = other,
        }
        Ok(())
    }

    pub(crate) fn end(&mut self, trailers: Option<&HeaderMap>) -> Result<(), ClientError> {
        if let Responding::Head(head) = &self.responding {
            let only_head = is_headers_only(&self.method, head.status());
            if !only_head && self.left.is_some_and(|left| left > 0) {
                return Err(ClientError::Length);
            }
            self.send_head(trailers.is_none())?;
        }
        match std::mem::replace(&mut self.responding, Responding::Broken) {
            Responding::Content(mut stream) => {
                if self.left.is_some_and(|left| left > 0) {
                    return Err(ClientError::Length);
                }
                match trailers {
                    Some(trailers) => stream.send_trailers(trailers.clone())?,
                    None => stream.send_data(Bytes::new(), true)?,
                }
                self.responding = Responding::Ended;
                Ok(())
            }
            Responding::Ended => {
                self.responding = Responding::Ended;
                Ok(())
            }
            Responding::Awaited | Responding::Head(_) | Responding::Broken => {
                Err(ClientError::Length)
            }
        }
    }

    pub(crate) fn abandon(&mut self) {
        match std::mem::replace(&mut self.responding, Responding::Broken) {
            Responding::Content(mut stream) => stream.send_reset(Reason::INTERNAL_ERROR),
            Responding::Awaited | Responding::Head(_) => {
                self.respond.send_reset(Reason::INTERNAL_ERROR);
            }
            Responding::Ended => self.responding = Responding::Ended,
            Responding::Broken => {}
        }
    }

    /// The stream is over; what the client still sends of its request is refused without an error (RFC 9113 §8.1).
    pub(crate) fn finish(mut self) {
        if !matches!(self.responding, Responding::Ended) {
            self.abandon();
        } else if !self.content_done {
            self.respond.send_reset(Reason::NO_ERROR);
        }
    }

    pub(crate) fn body_bytes_sent(&self) -> u64 {
        self.sent
    }
}
