//! HTTP/1.1 from clients: one request after the other on a connection.

mod exchange;
mod words;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, StatusCode, Version};
use storage::Lasting;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Duration, timeout};
use wire::{BodyFraming, Parsed, Persistence, RequestHead};

use crate::clock::timer;

use super::alarm::{Alarm, Stopping};
use super::outpour::{self, Unpoured};
use super::pieces::Pieces;
use super::{ClientError, Facts, Io, Limits, Other, Waits, within};
use words::{Found, Words};

pub(crate) use exchange::Exchange;

/// What is read of a request's content that nobody wanted before the connection is rather closed.
const DRAIN_MAX: usize = 256 * 1024;
/// How long that may take, and how long a closing connection waits for the client to read the last response.
const DRAIN_TIME: Duration = Duration::from_secs(2);
/// Responses that wait for one another, in bytes.
const OUT_MAX: usize = 64 * 1024;
/// Content that is copied behind its head: for less than this, a second buffer costs the socket more.
pub(crate) const COPIED_MAX: usize = 4 * 1024;
/// Room for a read of what may come after a long while: all that an idle connection holds.
const IDLE_SIZE: usize = 1024;
/// Room for one read.
const READ_SIZE: usize = 16 * 1024;

/// A client's HTTP/1.1 connection between two requests.
#[derive(Debug)]
pub(crate) struct Connection {
    io: Io,
    buffer: BytesMut,
    /// Responses that were ready. They leave before anything is waited for.
    out: BytesMut,
    last: Option<Words>,
    /// A request in the same words, which is not taken yet.
    other: Option<Found>,
    waits: Waits,
    alarm: Alarm,
    facts: Arc<Facts>,
    limits: Arc<Limits>,
}

/// How waiting for a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waited {
    Came,
    /// The client has gone, or the node stops.
    Over,
    /// Nothing happened for so long.
    Long,
}

/// Whether requests in the words of a head that is parsed are known from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remember {
    Head,
    /// It is the head before that is remembered.
    Nothing,
}

/// What a connection brought.
#[derive(Debug)]
pub(crate) enum Next {
    Request(Arc<RequestHead>),
    /// The client closed it, or was idle for too long, or the node is about to stop.
    Closed,
    /// Not a request that the node takes: it is answered and the connection closed.
    Refused(wire::Refusal),
    /// The head did not come in time.
    Late,
}

/// What a connection brought, at a first look.
#[derive(Debug)]
pub(crate) enum Brought {
    /// A request that differs from the one with this head in its target and host only. It is not taken yet: see
    /// [`Connection::other`] and [`Connection::parse`].
    Like(Arc<RequestHead>),
    Next(Next),
    /// Nothing for a while. It has let go of what it kept for its next request, and so should who serves it.
    Rest,
}

impl Connection {
    pub(crate) fn new(io: Io, read: BytesMut, facts: Arc<Facts>, limits: Arc<Limits>) -> Self {
        Self {
            io,
            buffer: read,
            out: BytesMut::new(),
            last: None,
            other: None,
            waits: Waits::Awake,
            alarm: Alarm::default(),
            facts,
            limits,
        }
    }

    pub(crate) fn facts(&self) -> &Arc<Facts> {
        &self.facts
    }

    /// As [`Self::next`], for those to whom every request is like any other.
    pub(crate) async fn next_request(&mut self, stopping: &mut Stopping) -> Next {
        loop {
            match self.next(stopping).await {
                Brought::Like(_) => return self.parse(Remember::Head).await,
                Brought::Next(next) => return next,
                Brought::Rest => {}
            }
        }
    }

    /// Waits for the next request: first for its first byte, idle, then for the whole head by a deadline.
    pub(crate) async fn next(&mut self, stopping: &mut Stopping) -> Brought {
        if self.buffer.is_empty() {
            if self.flush().await.is_err() {
                return Brought::Next(Next::Closed);
            }
            match self.wait(stopping).await {
                Waited::Came => {}
                Waited::Long if self.waits == Waits::AtRest => return Brought::Rest,
                Waited::Long | Waited::Over => return Brought::Next(Next::Closed),
            }
        }
        if let Some(last) = &self.last {
            let head = Arc::clone(last.head());
            if let Some(length) = last.again(&self.buffer) {
                self.buffer.advance(length);
                return Brought::Next(Next::Request(head));
            }
            self.other = last.other(&self.buffer, &self.limits.wire);
            if self.other.is_some() {
                return Brought::Like(head);
            }
        }
        Brought::Next(self.parse(Remember::Head).await)
    }

    /// In what a request differs that is otherwise the last one again.
    pub(crate) fn other(&self) -> Option<Other<'_>> {
        self.other.as_ref()?.of(&self.buffer)
    }

    /// Takes the request of [`Self::other`], which is answered.
    pub(crate) fn take_other(&mut self) {
        if let Some(other) = self.other.take() {
            self.buffer.advance(other.length);
        }
    }

    /// Whether requests in the words of this very head are known.
    pub(crate) fn remembers(&self, head: &Arc<RequestHead>) -> bool {
        let last = self.last.as_ref();
        last.is_some_and(|last| Arc::ptr_eq(last.head(), head))
    }

    /// Waits for the whole head of a request by a deadline. Most come at once: what the others are waited for in, no
    /// connection holds but theirs.
    pub(crate) async fn parse(&mut self, remember: Remember) -> Next {
        self.other = None;
        let limits = self.limits.wire;
        if let Some(next) = self.parse_more(&mut wire::RequestParser::new(limits), remember) {
            return next;
        }
        let deadline = self.limits.head;
        let whole = Box::pin(self.read_head(remember));
        within(deadline, whole).await.unwrap_or(Next::Late)
    }

    /// Waits for a request's first bytes: for a while, and from then on at rest.
    async fn wait(&mut self, stopping: &mut Stopping) -> Waited {
        let waits = std::mem::take(&mut self.waits);
        let idle = self.limits.idle;
        let waited = self.wait_so_long(waits.patience(idle), stopping).await;
        if waited == Waited::Long && waits.rests_next(idle) {
            self.rest();
        }
        waited
    }

    /// Lets go of past requests and answers, which many connections have and few will need soon.
    fn rest(&mut self) {
        self.waits = Waits::AtRest;
        self.last = None;
        self.out = BytesMut::new();
        if self.buffer.capacity() > IDLE_SIZE {
            self.buffer = BytesMut::with_capacity(IDLE_SIZE);
        }
    }

    async fn wait_so_long(&mut self, patience: Duration, stopping: &mut Stopping) -> Waited {
        self.buffer.reserve(IDLE_SIZE);
        let mut reading = pin!(self.io.read_buf(&mut self.buffer));
        let alarm = &mut self.alarm;
        let mut set = false;
        poll_fn(|cx| {
            if let Poll::Ready(read) = reading.as_mut().poll(cx) {
                let came = matches!(read, Ok(read) if read > 0);
                return Poll::Ready(if came { Waited::Came } else { Waited::Over });
            }
            if !std::mem::replace(&mut set, true) {
                alarm.set(patience, timer());
            }
            if stopping.poll(cx).is_ready() {
                return Poll::Ready(Waited::Over);
            }
            alarm.poll(cx).map(|()| Waited::Long)
        })
        .await
    }

    /// What the bytes that are there make of a request, if they are enough.
    fn parse_more(&mut self, parser: &mut wire::RequestParser, remember: Remember) -> Option<Next> {
        let (mut head, consumed) = match parser.parse(&self.buffer) {
            Err(refusal) => return Some(Next::Refused(refusal)),
            Ok(Parsed::Partial) => return None,
            Ok(Parsed::Complete { head, consumed }) => (head, consumed),
        };
        // Before anything is read from the fields: no client takes ours away by nominating them.
        wire::remove_hop_by_hop(&mut head.headers, &head.nominated);
        let head = Arc::new(head);
        if remember == Remember::Head {
            let came = &self.buffer[..consumed];
            self.last = Words::of(self.last.take(), came, &head);
        }
        self.buffer.advance(consumed);
        Some(Next::Request(head))
    }

    async fn read_head(&mut self, remember: Remember) -> Next {
        let mut parser = wire::RequestParser::new(self.limits.wire);
        loop {
            if let Some(next) = self.parse_more(&mut parser, remember) {
                return next;
            }
            let flushed = self.flush().await.is_ok();
            if !flushed || !matches!(self.fill().await, Ok(read) if read > 0) {
                return Next::Closed;
            }
        }
    }

    /// Reads once. `Ok(0)` is the end of the stream.
    async fn fill(&mut self) -> std::io::Result<usize> {
        self.buffer.reserve(READ_SIZE);
        self.io.read_buf(&mut self.buffer).await
    }

    /// Answers what was no request, and closes.
    pub(crate) async fn refuse(mut self, status: StatusCode, headers: &HeaderMap, body: &[u8]) {
        let framing = BodyFraming::Length(body.len() as u64);
        wire::write_head(
            &mut self.out,
            Version::HTTP_11,
            status,
            headers,
            &framing,
            Persistence::Close,
        );
        self.out.extend_from_slice(body);
        if self.flush().await.is_ok() {
            self.close().await;
        }
    }

    /// Begins a response that is ready. It waits for others that are. Returns its head as it is written.
    pub(crate) fn respond(
        &mut self,
        head: &RequestHead,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> &[u8] {
        let begin = self.out.len();
        let length = content_length(headers);
        let framing = wire::choose_framing(&head.method, head.version, status, headers, length);
        let (version, persistence) = (head.version, head.persistence);
        wire::write_head(
            &mut self.out,
            version,
            status,
            headers,
            &framing,
            persistence,
        );
        &self.out[begin..]
    }

    /// As [`Self::respond`], of fields that are in no map, for content of this length.
    pub(crate) fn respond_with<'a>(
        &mut self,
        head: &RequestHead,
        status: StatusCode,
        (fields, length): (impl Iterator<Item = wire::Field<'a>>, u64),
    ) {
        let none = HeaderMap::new();
        let (version, persistence) = (head.version, head.persistence);
        let framing = wire::choose_framing(&head.method, version, status, &none, Some(length));
        let out = &mut self.out;
        wire::write_head_of(out, version, status, fields, &framing, persistence);
    }

    /// Whether a short answer may wait for others.
    pub(crate) fn has_room(&self) -> bool {
        self.out.len() < OUT_MAX
    }

    /// Where a head is to be written that needs nothing of [`Self::respond`].
    pub(crate) fn out(&mut self) -> &mut BytesMut {
        &mut self.out
    }

    /// Goes on with content that is stored in many pieces: as many as there may be leave in one write.
    pub(crate) async fn pieces(&mut self, pieces: Pieces) -> Result<(), ClientError> {
        let waiting = std::mem::take(&mut self.out);
        let written = write_all(&mut self.io, &self.limits, Buf::chain(&*waiting, pieces)).await;
        self.out = waiting;
        self.out.clear();
        written
    }

    /// Goes on with its content. What is long leaves at once, with all that waits before it.
    pub(crate) async fn content(&mut self, data: Bytes) -> Result<(), ClientError> {
        if data.len() <= COPIED_MAX && self.out.len() < OUT_MAX {
            self.out.extend_from_slice(&data);
            return Ok(());
        }
        let waiting = std::mem::take(&mut self.out);
        let written = write_all(&mut self.io, &self.limits, Buf::chain(&*waiting, data)).await;
        self.out = waiting;
        self.out.clear();
        written
    }

    /// Whether [`Self::pour`] may be asked for.
    pub(crate) fn takes_pages(&self) -> bool {
        self.io.plain().is_some()
    }

    /// Goes on with content whose pages the socket is given. What is sent is taken off.
    pub(crate) async fn pour(&mut self, rest: &mut Lasting) -> Result<(), Unpoured> {
        let Some(socket) = self.io.plain() else {
            return Err(Unpoured::Refused);
        };
        let poured = outpour::pour(socket, &self.limits, &self.out, rest).await;
        self.out.clear();
        poured
    }

    /// Sends what waits.
    pub(crate) async fn flush(&mut self) -> Result<(), ClientError> {
        if self.out.is_empty() {
            return Ok(());
        }
        let written = write_all(&mut self.io, &self.limits, &*self.out).await;
        self.out.clear();
        written?;
        flush(&mut self.io, &self.limits).await
    }

    /// Closes so that the client can still read what was sent to it: a socket that is closed with unread bytes is reset.
    pub(crate) async fn close(mut self) {
        let lingering = async {
            self.io.shutdown().await?;
            let mut left = DRAIN_MAX;
            while left > 0 {
                self.buffer.clear();
                let read = self.fill().await?;
                if read == 0 {
                    break;
                }
                left = left.saturating_sub(read);
            }
            std::io::Result::Ok(())
        };
        if let Ok(Err(error)) = timeout(DRAIN_TIME, lingering).await {
            tracing::trace!(%error, "the client was gone before its connection was closed");
        }
    }
}

/// Writes everything. The client may take its time as long as it takes some of it.
async fn write_all(io: &mut Io, limits: &Limits, mut bytes: impl Buf) -> Result<(), ClientError> {
    while bytes.has_remaining() {
        // Of one piece, a write without a list of pieces costs the kernel less.
        let written = if bytes.chunk().len() == bytes.remaining() {
            let written = within(limits.write, io.write(bytes.chunk())).await;
            written.map(|written| written.inspect(|length| bytes.advance(*length)))
        } else {
            within(limits.write, io.write_buf(&mut bytes)).await
        };
        match written {
            Ok(Ok(0)) => return Err(ClientError::Gone),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error.into()),
            Err(_elapsed) => return Err(ClientError::Silent),
        }
    }
    Ok(())
}

/// Sees what was written out of the layers above the socket.
async fn flush(io: &mut Io, limits: &Limits) -> Result<(), ClientError> {
    let flushed = within(limits.write, io.flush()).await;
    Ok(flushed.map_err(|_elapsed| ClientError::Silent)??)
}

/// The length that a response's head announces, where it announces one that makes sense.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    wire::content_length(headers).ok().flatten()
}

#[cfg(test)]
#[path = "h1_tests.rs"]
mod tests;
