//! HTTP/1.1 from clients: one request after the other on a connection.

use std::future::poll_fn;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode, Version};
use storage::Lasting;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Duration, timeout};
use wire::{BodyDecoder, BodyFraming, Decoded, Expectation, Parsed, Persistence, RequestHead};

use crate::clock::timer;

use super::alarm::{Alarm, Stopping};
use super::outpour::{self, Unpoured};
use super::pieces::Pieces;
use super::{ClientError, Facts, Io, Limits, within};

/// Bytes of a next request that are kept while a response is under way.
const READ_AHEAD_MAX: usize = 64 * 1024;
/// What is read of a request's content that nobody wanted before the connection is rather closed.
const DRAIN_MAX: usize = 256 * 1024;
/// How long that may take, and how long a closing connection waits for the client to read the last response.
const DRAIN_TIME: Duration = Duration::from_secs(2);
/// Responses that wait for one another, in bytes.
const OUT_MAX: usize = 64 * 1024;
/// Content that is copied behind its head: for less than this, a second buffer costs the socket more.
pub(crate) const COPIED_MAX: usize = 4 * 1024;
/// Heads that are remembered are no longer than this.
const REMEMBERED_MAX: usize = 1024;
/// Room for a read of what may come after a long while: all that an idle connection holds.
const IDLE_SIZE: usize = 1024;
/// Silence after which a connection is not thought to go on at once.
const REST_AFTER: Duration = Duration::from_secs(1);
/// Room for one read.
const READ_SIZE: usize = 16 * 1024;

/// A client's HTTP/1.1 connection between two requests.
#[derive(Debug)]
pub(crate) struct Connection {
    io: Io,
    buffer: BytesMut,
    /// Responses that were ready. They leave before anything is waited for.
    out: BytesMut,
    last: Option<Remembered>,
    alarm: Alarm,
    facts: Arc<Facts>,
    limits: Arc<Limits>,
}

/// The last head of a connection, as it came and as it was understood: many clients say the same again, or ask for
/// something else in the same words.
#[derive(Debug)]
struct Remembered {
    bytes: Vec<u8>,
    head: Arc<RequestHead>,
    /// Where its target is.
    target: Option<Range<usize>>,
}

impl Remembered {
    /// What another head has between the same bytes: its target, where that is a path.
    fn target_of<'a>(&self, other: &'a [u8], limits: &wire::Limits) -> Option<&'a str> {
        let Range { start, end } = self.target.clone()?;
        let behind = other.strip_prefix(&self.bytes[..start])?;
        let longest = &behind[..behind.len().min(limits.target_bytes + 1)];
        let length = longest.iter().position(|byte| *byte == b' ')?;
        let rest = &self.bytes[end..];
        if !behind[length..].starts_with(rest) || start + length + rest.len() > limits.head_bytes {
            return None;
        }
        let target = str::from_utf8(&behind[..length]).ok()?;
        (target.starts_with('/') && wire::check_path(target).is_ok()).then_some(target)
    }
}

/// Where the target of a head is, if the request line begins with the first byte and has a path.
fn place_of_target(bytes: &[u8], head: &RequestHead) -> Option<Range<usize>> {
    let behind = bytes.strip_prefix(head.method.as_str().as_bytes())?;
    let behind = behind.strip_prefix(b" ")?;
    let start = bytes.len() - behind.len();
    let is_it = head.target.starts_with('/')
        && behind.starts_with(head.target.as_bytes())
        && behind.get(head.target.len()) == Some(&b' ');
    is_it.then(|| start..start + head.target.len())
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
    /// A request that differs from the one with this head in its target only. It is not taken yet: see
    /// [`Connection::other_target`] and [`Connection::parse`].
    Like(Arc<RequestHead>),
    Next(Next),
}

impl Connection {
    pub(crate) fn new(io: Io, read: BytesMut, facts: Arc<Facts>, limits: Arc<Limits>) -> Self {
        Self {
            io,
            buffer: read,
            out: BytesMut::new(),
            last: None,
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
        match self.next(stopping).await {
            Brought::Like(_) => self.parse().await,
            Brought::Next(next) => next,
        }
    }

    /// Waits for the next request: first for its first byte, idle, then for the whole head by a deadline.
    pub(crate) async fn next(&mut self, stopping: &mut Stopping) -> Brought {
        if self.buffer.is_empty() {
            if self.flush().await.is_err() {
                return Brought::Next(Next::Closed);
            }
            if !self.wait(stopping).await {
                return Brought::Next(Next::Closed);
            }
        }
        if let Some(head) = self.repeated() {
            return Brought::Next(Next::Request(head));
        }
        if let Some(last) = &self.last
            && self.other_target().is_some()
        {
            return Brought::Like(Arc::clone(&last.head));
        }
        Brought::Next(self.parse().await)
    }

    /// The target of a request that is otherwise the last one again.
    pub(crate) fn other_target(&self) -> Option<&str> {
        let last = self.last.as_ref()?;
        last.target_of(&self.buffer, &self.limits.wire)
    }

    /// Takes the request of [`Self::other_target`], which is answered.
    pub(crate) fn take_other(&mut self) {
        let Some(last) = &self.last else {
            return;
        };
        let others = last.target_of(&self.buffer, &self.limits.wire);
        if let (Some(other), Some(own)) = (others.map(str::len), &last.target) {
            self.buffer.advance(last.bytes.len() - own.len() + other);
        }
    }

    /// Waits for the whole head of a request by a deadline.
    pub(crate) async fn parse(&mut self) -> Next {
        let deadline = self.limits.head;
        within(deadline, self.read_head())
            .await
            .unwrap_or(Next::Late)
    }

    /// Waits for a request's first bytes. False where the connection is over instead.
    async fn wait(&mut self, stopping: &mut Stopping) -> bool {
        let idle = self.limits.idle;
        let first = idle.min(REST_AFTER);
        let mut waited = self.wait_so_long(first, stopping).await;
        if waited == Waited::Long && first < idle {
            self.rest();
            waited = self.wait_so_long(idle - first, stopping).await;
        }
        waited == Waited::Came
    }

    /// Gives back the room of past requests and answers, which many connections have and few will need soon.
    fn rest(&mut self) {
        if self.out.capacity() > 0 {
            self.out = BytesMut::new();
        }
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

    /// The last head, if it came again.
    fn repeated(&mut self) -> Option<Arc<RequestHead>> {
        let last = self.last.as_ref()?;
        if !self.buffer.starts_with(&last.bytes) {
            return None;
        }
        // A head ends where it says itself: what follows makes no other one of it.
        self.buffer.advance(last.bytes.len());
        Some(Arc::clone(&last.head))
    }

    async fn read_head(&mut self) -> Next {
        let mut parser = wire::RequestParser::new(self.limits.wire);
        loop {
            match parser.parse(&self.buffer) {
                Err(refusal) => return Next::Refused(refusal),
                Ok(Parsed::Complete { mut head, consumed }) => {
                    // Before anything is read from the fields: no client takes ours away by nominating them.
                    wire::remove_hop_by_hop(&mut head.headers, &head.nominated);
                    let head = Arc::new(head);
                    self.remember(consumed, &head);
                    self.buffer.advance(consumed);
                    return Next::Request(head);
                }
                Ok(Parsed::Partial) => {}
            }
            let flushed = self.flush().await.is_ok();
            if !flushed || !matches!(self.fill().await, Ok(read) if read > 0) {
                return Next::Closed;
            }
        }
    }

    fn remember(&mut self, consumed: usize, head: &Arc<RequestHead>) {
        if consumed > REMEMBERED_MAX {
            return;
        }
        let mut bytes = self.last.take().map_or_else(Vec::new, |last| last.bytes);
        bytes.clear();
        bytes.extend_from_slice(&self.buffer[..consumed]);
        self.last = Some(Remembered {
            target: place_of_target(&bytes, head),
            bytes,
            head: Arc::clone(head),
        });
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

/// Where the response stands.
///
/// ```text
///  Awaited ──head──▶ Head ──flush──▶ Content ──end──▶ Ended
///      └─────────101────────▶ Tunnel         └──cut──▶ Broken
/// ```
#[derive(Debug)]
enum Response {
    Awaited,
    Content { framing: BodyFraming, left: u64 },
    Tunnel,
    Ended,
    Broken,
}

/// One request of a connection and its response.
#[derive(Debug)]
pub(crate) struct Exchange {
    connection: Connection,
    decoder: BodyDecoder,
    expectation: Expectation,
    persistence: Persistence,
    method: Method,
    version: Version,
    response: Response,
    /// Head and framing that wait for content to leave with.
    out: BytesMut,
    sent: u64,
}

impl Exchange {
    pub(crate) fn new(connection: Connection, head: &RequestHead) -> Self {
        let decoder = BodyDecoder::new(&head.framing, connection.limits.wire);
        Self {
            connection,
            decoder,
            expectation: head.expectation,
            persistence: head.persistence,
            method: head.method.clone(),
            version: head.version,
            response: Response::Awaited,
            out: BytesMut::new(),
            sent: 0,
        }
    }

    /// Where the request came from.
    pub(crate) fn client(&self) -> std::net::IpAddr {
        self.connection.facts.client.ip()
    }

    /// The connection ends with this response.
    pub(crate) fn close_after(&mut self) {
        self.persistence = Persistence::Close;
    }

    pub(crate) async fn read_body(&mut self) -> Result<Option<Bytes>, ClientError> {
        if matches!(self.response, Response::Tunnel) {
            return self.read_tunnel().await;
        }
        self.invite_body().await?;
        loop {
            match self.decoder.decode(&mut self.connection.buffer)? {
                Decoded::Data(data) => return Ok(Some(data)),
                Decoded::End { .. } => return Ok(None),
                Decoded::NeedMore => {}
            }
            let wait = self.connection.limits.body;
            let read = timeout(wait, self.connection.fill()).await;
            if read.map_err(|_elapsed| ClientError::Silent)?? == 0 {
                return Err(ClientError::Gone);
            }
        }
    }

    /// Tells a client that waits for it to send its content (RFC 9110 §10.1.1).
    async fn invite_body(&mut self) -> Result<(), ClientError> {
        let waits = self.expectation == Expectation::Continue;
        if !waits || !matches!(self.response, Response::Awaited) || self.decoder.is_done() {
            return Ok(());
        }
        self.expectation = Expectation::None;
        self.write_interim(StatusCode::CONTINUE, &HeaderMap::new())
            .await
    }

    async fn read_tunnel(&mut self) -> Result<Option<Bytes>, ClientError> {
        if self.connection.buffer.is_empty() && self.connection.fill().await? == 0 {
            return Ok(None);
        }
        Ok(Some(self.connection.buffer.split().freeze()))
    }

    pub(crate) fn is_body_done(&self) -> bool {
        self.decoder.is_done() && !self.is_upgraded()
    }

    /// A client that ended its sending direction has asked for all it wanted, and waits for the answer like any
    /// other. One that is gone looks the same until something is written to it, and then resets the connection.
    pub(crate) async fn gone(&mut self) -> ClientError {
        while self.connection.buffer.len() < READ_AHEAD_MAX {
            match self.connection.fill().await {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => return error.into(),
            }
        }
        std::future::pending().await
    }

    pub(crate) async fn write_interim(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<(), ClientError> {
        // RFC 9110 §15.2: a server MUST NOT send a 1xx response to an HTTP/1.0 client.
        if self.version < Version::HTTP_11 || !matches!(self.response, Response::Awaited) {
            return Ok(());
        }
        wire::write_interim(&mut self.out, status, headers);
        self.flush().await
    }

    pub(crate) fn write_head(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<(), ClientError> {
        if !matches!(self.response, Response::Awaited) {
            return Err(ClientError::Length);
        }
        let known = content_length(headers);
        let framing = wire::choose_framing(&self.method, self.version, status, headers, known);
        if framing == BodyFraming::UntilClose || self.expectation == Expectation::Continue {
            // The client may still decide to send the content that it announced.
            self.persistence = Persistence::Close;
        }
        wire::write_head(
            &mut self.out,
            self.version,
            status,
            headers,
            &framing,
            self.persistence,
        );
        if status == StatusCode::SWITCHING_PROTOCOLS {
            self.response = Response::Tunnel;
            return Ok(());
        }
        let left = match framing {
            BodyFraming::Length(length) => length,
            BodyFraming::None | BodyFraming::HeadOf(_) => 0,
            BodyFraming::Chunked | BodyFraming::UntilClose => u64::MAX,
        };
        self.response = Response::Content { framing, left };
        Ok(())
    }

    pub(crate) async fn write_body(&mut self, data: Bytes) -> Result<(), ClientError> {
        if data.is_empty() {
            return self.flush().await;
        }
        self.write_content(data).await
    }

    /// Content in pieces leaves in as few writes as the socket takes.
    pub(crate) async fn write_pieces(&mut self, data: Vec<Bytes>) -> Result<(), ClientError> {
        let mut data = data.into_iter();
        loop {
            let pieces = Pieces::next_of(&mut data);
            if !pieces.has_remaining() {
                return Ok(());
            }
            self.write_content(pieces).await?;
        }
    }

    /// Content that is not empty.
    async fn write_content(&mut self, data: impl Buf) -> Result<(), ClientError> {
        match &mut self.response {
            Response::Tunnel => self.send(data, &[]).await,
            Response::Content { framing, left } => {
                if matches!(framing, BodyFraming::None | BodyFraming::HeadOf(_)) {
                    return Ok(());
                }
                let length = data.remaining() as u64;
                if length > *left {
                    self.response = Response::Broken;
                    return Err(ClientError::Length);
                }
                if *framing != BodyFraming::Chunked {
                    *left = left.saturating_sub(length);
                    return self.send(data, &[]).await;
                }
                wire::write_chunk_head(&mut self.out, data.remaining());
                self.send(data, wire::CHUNK_END).await
            }
            Response::Awaited | Response::Ended | Response::Broken => Err(ClientError::Length),
        }
    }

    /// Content whose pages the socket is given, if it can be.
    pub(crate) async fn write_pages(&mut self, mut data: Lasting) -> Result<(), ClientError> {
        let length = data.len() as u64;
        match &mut self.response {
            Response::Content {
                framing: BodyFraming::Length(_),
                left,
            } if length <= *left && self.connection.takes_pages() => *left -= length,
            _ => return self.write_pieces(data.pieces().collect()).await,
        }
        // Nothing of other responses waits in the connection while there is an exchange.
        std::mem::swap(&mut self.connection.out, &mut self.out);
        let poured = self.connection.pour(&mut data).await;
        self.sent += length - data.len() as u64;
        match poured {
            Ok(()) => Ok(()),
            Err(Unpoured::Client(error)) => Err(self.broken(error)),
            Err(Unpoured::Refused) => self.send_pieces(data.pieces()).await,
        }
    }

    /// The rest of content that is counted by now.
    async fn send_pieces(
        &mut self,
        mut rest: impl Iterator<Item = Bytes>,
    ) -> Result<(), ClientError> {
        loop {
            let pieces = Pieces::next_of(&mut rest);
            if !pieces.has_remaining() {
                return Ok(());
            }
            self.send(pieces, &[]).await?;
        }
    }

    pub(crate) async fn flush(&mut self) -> Result<(), ClientError> {
        if self.out.is_empty() {
            return Ok(());
        }
        let out = self.out.split().freeze();
        self.write_all(out).await
    }

    /// Head, content and what follows it in as few writes as the socket takes.
    async fn send(&mut self, data: impl Buf, after: &'static [u8]) -> Result<(), ClientError> {
        self.sent += data.remaining() as u64;
        let before = self.out.split().freeze();
        self.write_all(before.chain(data).chain(after)).await
    }

    async fn write_all(&mut self, bytes: impl Buf) -> Result<(), ClientError> {
        let Connection { io, limits, .. } = &mut self.connection;
        let written = write_all(io, limits, bytes).await;
        written.map_err(|error| self.broken(error))
    }

    fn broken(&mut self, error: ClientError) -> ClientError {
        self.response = Response::Broken;
        error
    }

    pub(crate) async fn end(&mut self, trailers: Option<&HeaderMap>) -> Result<(), ClientError> {
        match std::mem::replace(&mut self.response, Response::Broken) {
            Response::Content { framing, left } => {
                match framing {
                    BodyFraming::Chunked => match trailers {
                        Some(trailers) => wire::write_trailers(&mut self.out, trailers),
                        None => self.out.extend_from_slice(wire::LAST_CHUNK),
                    },
                    BodyFraming::Length(_) if left > 0 => return Err(ClientError::Length),
                    _ => {}
                }
                self.flush().await?;
                let Connection { io, limits, .. } = &mut self.connection;
                flush(io, limits).await?;
                self.response = Response::Ended;
                Ok(())
            }
            Response::Tunnel => {
                self.persistence = Persistence::Close;
                self.response = Response::Ended;
                Ok(())
            }
            Response::Ended => {
                self.response = Response::Ended;
                Ok(())
            }
            Response::Awaited | Response::Broken => Err(ClientError::Length),
        }
    }

    pub(crate) fn abandon(&mut self) {
        if let Response::Content { framing, .. } = &self.response
            && *framing == BodyFraming::UntilClose
        {
            // RFC 9112 §8: only an abnormal close tells this client that the response is incomplete.
            self.connection.io.reset_on_close();
        }
        self.response = Response::Broken;
    }

    pub(crate) fn is_upgraded(&self) -> bool {
        matches!(self.response, Response::Tunnel)
    }

    pub(crate) fn body_bytes_sent(&self) -> u64 {
        self.sent
    }

    /// Gives the connection back for a next request, or closes it.
    pub(crate) async fn finish(mut self) -> Option<Connection> {
        if !matches!(self.response, Response::Ended) {
            self.abandon();
            return None;
        }
        let reusable = self.persistence == Persistence::KeepAlive && self.drain().await;
        if reusable {
            return Some(self.connection);
        }
        self.connection.close().await;
        None
    }

    /// Reads the rest of a request that was answered early. What is left unread would be taken for the next request.
    async fn drain(&mut self) -> bool {
        let draining = async {
            let mut left = DRAIN_MAX;
            while !self.decoder.is_done() {
                match self.read_body().await {
                    Ok(Some(data)) if data.len() <= left => left -= data.len(),
                    Ok(None) => break,
                    Ok(Some(_)) | Err(_) => return false,
                }
            }
            true
        };
        timeout(DRAIN_TIME, draining).await.unwrap_or(false)
    }
}

/// The length that a response's head announces, where it announces one that makes sense.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    wire::content_length(headers).ok().flatten()
}

#[cfg(test)]
#[path = "h1_tests.rs"]
mod tests;
