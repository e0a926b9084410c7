//! HTTP/2 from clients (RFC 9113), on the `h2` crate's framing.

mod block;
mod cork;
mod exchange;
mod frames;
mod front;
mod head;
mod huffman;
mod meter;
mod repeated;
mod windows;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::uri::{Authority as UriAuthority, PathAndQuery};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use tokio::time::timeout;
use wire::Field;

use self::cork::{Cork, Corked};
use self::front::{Front, Shared};
use self::repeated::Offer;
use super::alarm::{Alarm, Stopping};
use super::{ClientError, Io, Limits, Other, Waits};
use crate::clock::timer;
pub(crate) use block::{Packed, Varying, head_length_max};
pub(crate) use exchange::Exchange;
pub(crate) use head::read_head;

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

/// One client's HTTP/2 connection.
pub(crate) struct Connection {
    framed: h2::server::Connection<Shared<Io>, Bytes>,
    front: Shared<Io>,
    cork: Cork,
    alarm: Alarm,
    stopping: Stopping,
    /// Whether the client was told that the connection ends.
    told: bool,
    waits: Waits,
    limits: Arc<Limits>,
}

/// A request as the connection brought it, and the way to answer it.
pub(crate) type Accepted = (Request<RecvStream>, SendResponse<Bytes>);

/// What a connection brought.
#[expect(
    clippy::large_enum_variant,
    reason = "it is taken apart at once, and a box would cost an allocation for each request"
)]
pub(crate) enum Brought {
    /// A request in a stream of its own.
    Stream(Accepted),
    /// The request that it repeats, which can be answered before there is a stream.
    Again,
    /// The same but for its path and authority, which are at hand: see [`Connection::read`].
    Like,
    /// Nothing for a while, and nothing is under way. It has let go of what it kept for its next request, and so should who
    /// serves it.
    Rest,
}

/// What [`Brought::Like`] has instead.
#[derive(Debug, Default)]
pub(crate) struct Instead {
    path: String,
    /// Empty where there is no place for it.
    authority: String,
}

impl Instead {
    pub(crate) fn other(&self) -> Other<'_> {
        Other {
            target: &self.path,
            host: Some(&*self.authority).filter(|authority| !authority.is_empty()),
        }
    }
}

/// What is at hand: something that the connection brought, or its end.
type Next = Option<Brought>;

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
        let front = Shared::new(Front::new(Corked::new(io, cork.clone()), read));
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
        let framed = timeout(limits.head, builder.handshake(front.other_end())).await;
        Ok(Self {
            framed: framed.map_err(|_elapsed| ClientError::Silent)??,
            front,
            cork,
            alarm: Alarm::default(),
            stopping,
            told: false,
            waits: Waits::Awake,
            limits,
        })
    }

    /// Waits for the next request, and keeps the connection's frames moving meanwhile.
    ///
    /// `None` ends the connection: the client closed it, broke the protocol, or was idle with nothing under way.
    pub(crate) async fn accept(&mut self, busy: &tokio::sync::Semaphore) -> Option<Brought> {
        let mut waits = std::mem::take(&mut self.waits);
        // Where requests come faster than they are taken, nothing is waited for.
        if !self.stopping.is_set()
            && let Some(next) = poll_fn(|cx| Poll::Ready(self.at_hand(cx))).await
        {
            return next;
        }
        let all = self.limits.h2_streams as usize;
        loop {
            let idle = self.limits.idle;
            let patience = match self.told {
                true => idle.min(GOODBYE),
                false => waits.patience(idle),
            };
            self.alarm.set(patience, timer());
            match poll_fn(|cx| self.poll_event(cx)).await {
                Ok(next) => return next,
                // Its end is not waited for before all answers have ended.
                Err(Woken::Rung) if busy.available_permits() < all => waits = Waits::Awake,
                Err(Woken::Rung) if !self.told && waits.rests_next(idle) => {
                    self.rest();
                    return Some(Brought::Rest);
                }
                Err(Woken::Rung) if self.told => return None,
                Err(Woken::Rung | Woken::Stopping) => {
                    self.told = true;
                    // From here on it is the framing that knows which streams are still answered.
                    self.front.lock().close();
                    self.framed.graceful_shutdown();
                }
            }
        }
    }

    /// Lets go of what is known of past requests.
    fn rest(&mut self) {
        self.waits = Waits::AtRest;
        self.front.lock().rest();
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

    /// What is there without a wait. If nothing is, what was written before leaves.
    fn at_hand(&mut self, cx: &mut Context<'_>) -> Option<Next> {
        loop {
            if let Some(next) = self.offered(cx) {
                return Some(next);
            }
            self.cork.set(true);
            let next = self.framed.poll_accept(cx);
            self.cork.set(false);
            if let Poll::Ready(next) = next {
                return Some(taken(next));
            }
            if let Some(next) = self.offered(cx) {
                return Some(next);
            }
            if !self.front.lock().lend() {
                break;
            }
        }
        if self.cork.owes()
            && let Poll::Ready(Err(error)) = self.front.lock().poll_flush(cx)
        {
            return Some(lost(&error));
        }
        None
    }

    fn offered(&self, cx: &mut Context<'_>) -> Option<Next> {
        match self.front.lock().poll_offer(cx) {
            Poll::Ready(Ok(Offer::Same)) => Some(Some(Brought::Again)),
            Poll::Ready(Ok(Offer::Other)) => Some(Some(Brought::Like)),
            Poll::Ready(Err(error)) => Some(lost(&error)),
            Poll::Pending => None,
        }
    }

    /// What [`Brought::Like`] has, in place of what is in `instead`.
    pub(crate) fn read(&self, instead: &mut Instead) {
        let front = self.front.lock();
        let came = front.instead();
        for (text, bytes) in [
            (&mut instead.path, &came.path),
            (&mut instead.authority, &came.authority),
        ] {
            text.clear();
            // It is ASCII.
            text.push_str(str::from_utf8(bytes).unwrap_or_default());
        }
    }

    /// Whether the client has room for so much content in answer to [`Brought::Again`] and [`Brought::Like`].
    pub(crate) fn allows(&self, content: usize) -> bool {
        self.front.lock().allows(content)
    }

    /// Answers [`Brought::Again`]. It leaves before anything is waited for.
    pub(crate) fn answer_again(&self, head: &Packed, numbers: [&[u8]; 2], content: &[u8]) {
        let write = |out: &mut BytesMut| head.write(numbers, out);
        let head = (head.length_max(), write);
        self.front.lock().answer(head, content);
    }

    /// Answers [`Brought::Like`], as [`Self::answer_again`] does. The head takes at most `longest` bytes.
    pub(crate) fn answer_like<'a>(
        &self,
        (longest, status): (usize, StatusCode),
        fields: impl Iterator<Item = Field<'a>>,
        content: &[u8],
    ) {
        let write = |out: &mut BytesMut| block::put_head(out, status, fields);
        self.front.lock().answer((longest, write), content);
    }

    /// Makes a stream of [`Brought::Again`] and [`Brought::Like`] like of any other request.
    pub(crate) fn pass_on(&self) {
        self.front.lock().pass_on();
    }

    /// The request of this stream, and no other, was answered in a way that can be repeated. `authority` is its own, where
    /// others may have another.
    pub(crate) fn learn(&self, stream: u32, authority: Option<&str>) {
        self.front.lock().learn(stream, authority);
    }

    /// No answer is known any more.
    pub(crate) fn unlearn(&self) {
        self.front.lock().unlearn();
    }
}

fn taken(next: Option<Result<Accepted, h2::Error>>) -> Next {
    match next? {
        Ok(accepted) => Some(Brought::Stream(accepted)),
        Err(error) => lost(&error),
    }
}

/// The end of a connection that failed.
fn lost(error: &dyn std::fmt::Display) -> Next {
    tracing::debug!(%error, "an HTTP/2 connection failed");
    None
}

/// The number of a request's stream.
pub(crate) fn stream_of(accepted: &Accepted) -> u32 {
    accepted.1.stream_id().as_u32()
}

/// The longest target and authority, in bytes, with which a request's head keeps within the limits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    target: usize,
    /// Of all fields as they are counted in HTTP/2 (RFC 9113 §6.5.2), what is left for both.
    both: usize,
}

impl Room {
    /// Beside the other fields of a request.
    pub(crate) fn beside(request: &Request<RecvStream>, limits: &wire::Limits) -> Self {
        /// What counts of a field beside its name and value.
        const AROUND: usize = 32;
        const PSEUDO: usize = ":method:scheme:authority:path".len() + 4 * AROUND;
        let scheme = request.uri().scheme_str().map_or(0, str::len);
        let pseudo = PSEUDO + request.method().as_str().len() + scheme;
        let fields = request.headers().iter();
        let fields: usize = fields
            .map(|(name, value)| name.as_str().len() + value.len() + AROUND)
            .sum();
        let authority = request.uri().authority();
        let kept = authority.map_or(0, |authority| authority.as_str().len());
        Self {
            target: limits
                .target_bytes
                .min(limits.head_bytes.saturating_sub(pseudo + fields + kept)),
            both: limits.head_bytes.saturating_sub(pseudo + fields),
        }
    }

    pub(crate) fn is_for(&self, other: Other<'_>) -> bool {
        let Other { target, host } = other;
        target.len() <= self.target && target.len() + host.map_or(0, str::len) <= self.both
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

    /// Whom it is for, if other requests in the same words may be for others: no other field says it.
    pub(crate) fn authority(&self) -> Option<&str> {
        let authority = self.uri.authority().map(UriAuthority::as_str);
        authority.filter(|_| !self.headers.contains_key(header::HOST))
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

#[cfg(test)]
mod tests;
