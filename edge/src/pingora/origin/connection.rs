//! One HTTP/1.1 connection to an origin: requests out, responses in (RFC 9112).
//!
//! Pingora's session for such connections copies what it reads twice and keeps each field twice. Here content is read to
//! where it stays, and a head once.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures::FutureExt as _;
use http::{HeaderMap, Method, StatusCode, Version, header};
use pingora_core::{Error, ErrorType, OrErr as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wire::{
    BodyDecoder, Decoded, Framing, Lie, Limits, ResponseFraming, ResponseHead, ResponseParser,
    UnknownCoding, check_response, write_request,
};

use super::session::{Answered, Asked};
use super::socket::Socket;
use crate::downstream::within;

/// Room for a response's head, and for the beginning of its content, or all of it.
const HEAD_ROOM: usize = 8 * 1024;
/// The longest piece of content. What stores it takes no longer ones as they are.
pub(super) const PIECE_MAX: usize = 64 * 1024;
/// What most request heads have room in.
const REQUEST_USUAL: usize = 1024;

/// A connection with at most one exchange on it.
pub(in crate::pingora) struct Connection {
    socket: Socket,
    address: Option<SocketAddr>,
    /// What was received and belongs to nothing yet.
    input: BytesMut,
    parser: ResponseParser,
    /// Content on its way in: what is given up while it waits loses none.
    piece: BytesMut,
    /// What broke it off behind that content: it is said once only.
    broken: Option<io::Error>,
    stage: Stage,
    /// What the final response says of the time after it.
    persists: bool,
}

/// What comes next.
enum Stage {
    /// A head, after which there is content if it is not the answer to HEAD.
    Head {
        to_head: bool,
    },
    Length(u64),
    Chunked(BodyDecoder),
    UntilClose,
    Ended,
    /// Nobody can say where anything begins.
    Lost,
}

impl Connection {
    pub(super) fn new(socket: Socket, address: Option<SocketAddr>) -> Self {
        Self {
            socket,
            address,
            input: BytesMut::new(),
            parser: ResponseParser::default(),
            piece: BytesMut::new(),
            broken: None,
            stage: Stage::Ended,
            persists: true,
        }
    }

    /// Where it leads; nothing where that is a socket in the file system.
    pub(super) const fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Sends a request.
    ///
    /// # Errors
    /// Where the connection is broken, or does not take it within the `limit`.
    pub(super) async fn ask(&mut self, asked: &Asked<'_>, limit: Duration) -> Result<()> {
        let mut head = BytesMut::with_capacity(REQUEST_USUAL);
        write_request(&mut head, asked.method, asked.target, &asked.headers)
            .or_err(ErrorType::InvalidHTTPHeader, "a target that is none")?;
        self.stage = Stage::Head {
            to_head: *asked.method == Method::HEAD,
        };
        self.persists = asks_to_persist(&asked.headers);
        let writing = async {
            self.socket.write_all(&head).await?;
            if let Some(content) = &asked.content {
                self.socket.write_all(content).await?;
            }
            self.socket.flush().await
        };
        match within(limit, writing).await {
            Ok(written) => written.or_err(ErrorType::WriteError, "a request cannot be written"),
            Err(_elapsed) => Error::e_explain(ErrorType::WriteTimedout, "a request is not taken"),
        }
    }

    /// The next head: an interim response's, or the final one's.
    ///
    /// # Errors
    /// Where none comes, each read within the `limit`, or it is none.
    pub(super) async fn head(
        &mut self,
        limit: Duration,
        unknown_coding: UnknownCoding,
    ) -> Result<Answered> {
        loop {
            let parsed = self.parser.parse(&mut self.input);
            let parsed = parsed.map_err(|lie| self.lost(lie))?;
            if let Some(head) = parsed {
                return Ok(self.answered(head, unknown_coding));
            }
            let read = std::future::poll_fn(|cx| self.poll_fill(cx, HEAD_ROOM));
            let read = within(limit, read).await;
            let Ok(read) = read else {
                return Error::e_explain(ErrorType::ReadTimedout, "no response in time");
            };
            if read.or_err(ErrorType::ReadError, "reading a response's head")? == 0 {
                return Error::e_explain(ErrorType::ConnectionClosed, "closed before a response");
            }
        }
    }

    fn lost(&mut self, lie: Lie) -> Box<Error> {
        self.stage = Stage::Lost;
        Error::because(ErrorType::InvalidHTTPHeader, "a response's head", lie)
    }

    fn answered(&mut self, head: ResponseHead, unknown_coding: UnknownCoding) -> Answered {
        let (status, version) = (head.status, head.version);
        let framing = check_response(status.as_u16(), &head.headers, version, unknown_coding);
        let switches = status == StatusCode::SWITCHING_PROTOCOLS;
        if !status.is_informational() || switches || framing.is_err() {
            self.stage = self.after_head(&framing, switches);
            let stays = !matches!(self.stage, Stage::UntilClose | Stage::Lost);
            self.persists &= stays && persists(version, &head.headers);
        }
        Answered {
            status,
            version,
            headers: head.headers,
            lie: framing.err(),
        }
    }

    fn after_head(&self, framing: &Result<ResponseFraming, Lie>, switches: bool) -> Stage {
        let to_head = matches!(self.stage, Stage::Head { to_head: true });
        match framing {
            Err(_) => Stage::Lost,
            Ok(_) if switches => Stage::Lost,
            Ok(_) if to_head => Stage::Ended,
            Ok(ResponseFraming::None | ResponseFraming::Length(0)) => Stage::Ended,
            Ok(ResponseFraming::Length(length)) => Stage::Length(*length),
            Ok(ResponseFraming::Chunked) => {
                Stage::Chunked(BodyDecoder::new(&Framing::Chunked, Limits::default()))
            }
            Ok(ResponseFraming::UntilClose) => Stage::UntilClose,
        }
    }

    /// The next content, or none at its end. Given up while it waits, it loses nothing.
    ///
    /// # Errors
    /// Where it ends before its end, is not what its framing says, or does not come within the `limit`.
    pub(super) async fn content(&mut self, limit: Duration) -> Result<Option<Bytes>> {
        let read = std::future::poll_fn(|cx| self.poll_content(cx));
        match within(limit, read).await {
            Ok(content) => content,
            Err(_elapsed) => Error::e_explain(ErrorType::ReadTimedout, "no content in time"),
        }
    }

    /// Whether all content was taken.
    pub(in crate::pingora) const fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Ended)
    }

    /// The socket and where it leads, if there may be another request on it (RFC 9112 §9.3).
    pub(super) fn into_idle(self) -> Option<(Socket, Option<SocketAddr>)> {
        // More than was announced: nobody knows what of.
        let reusable = self.persists && self.is_done() && self.input.is_empty();
        reusable.then_some((self.socket, self.address))
    }

    fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        loop {
            let (room, announced) = match &mut self.stage {
                Stage::Ended => return Poll::Ready(Ok(None)),
                Stage::Head { .. } | Stage::Lost => {
                    return Poll::Ready(Error::e_explain(
                        ErrorType::ReadError,
                        "no content begins",
                    ));
                }
                Stage::Chunked(_) => return self.poll_chunked(cx),
                Stage::Length(left) => (usize::try_from(*left).unwrap_or(PIECE_MAX), true),
                Stage::UntilClose => (PIECE_MAX, false),
            };
            let room = room.min(PIECE_MAX);
            let came = ready!(self.poll_piece(cx, room));
            match (came, &mut self.stage) {
                (Ok(0), Stage::UntilClose) => self.stage = Stage::Ended,
                (Ok(0), _) => {
                    return Poll::Ready(Error::e_explain(
                        ErrorType::ConnectionClosed,
                        "closed before the end of the content",
                    ));
                }
                (Err(error), _) => {
                    return Poll::Ready(Err(Error::because(
                        ErrorType::ReadError,
                        "reading content",
                        error,
                    )));
                }
                (Ok(length), stage) => {
                    if let Stage::Length(left) = stage {
                        *left -= length as u64;
                        if *left == 0 {
                            self.stage = Stage::Ended;
                        }
                    }
                    let whole = announced && self.piece.len() == room;
                    return Poll::Ready(Ok(Some(self.take_piece(whole))));
                }
            }
        }
    }

    /// Content as far as it is there, up to `room` of it. It is in `piece` then.
    fn poll_piece(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Err(error));
        }
        if self.piece.is_empty() {
            self.piece.reserve(room);
            let early = self.input.len().min(room);
            self.piece.extend_from_slice(&self.input[..early]);
            self.input.advance(early);
        }
        while self.piece.len() < room {
            let limit = room - self.piece.len();
            let read = poll_read(&mut self.socket, cx, &mut self.piece, limit);
            match read {
                Poll::Ready(Ok(length)) if length > 0 => {}
                Poll::Ready(_) | Poll::Pending if self.piece.is_empty() => return read,
                // What came before is taken first.
                Poll::Ready(Err(error)) => {
                    self.broken = Some(error);
                    break;
                }
                Poll::Ready(Ok(_)) | Poll::Pending => break,
            }
        }
        Poll::Ready(Ok(self.piece.len()))
    }

    /// A piece that fills its memory goes with it; others are copied, and leave it behind.
    fn take_piece(&mut self, whole: bool) -> Bytes {
        if whole {
            return std::mem::take(&mut self.piece).freeze();
        }
        let copy = Bytes::copy_from_slice(&self.piece);
        self.piece.clear();
        copy
    }

    fn poll_chunked(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        loop {
            let Stage::Chunked(decoder) = &mut self.stage else {
                return Poll::Ready(Ok(None));
            };
            let decoded = decoder.decode(&mut self.input);
            match decoded.or_err(ErrorType::InvalidHTTPHeader, "chunks")? {
                Decoded::Data(data) => {
                    // It is a part of what was read from the network.
                    return Poll::Ready(Ok(Some(Bytes::copy_from_slice(&data))));
                }
                Decoded::End { .. } => {
                    self.stage = Stage::Ended;
                    return Poll::Ready(Ok(None));
                }
                Decoded::NeedMore => {}
            }
            let read = ready!(self.poll_fill(cx, PIECE_MAX));
            if read.or_err(ErrorType::ReadError, "reading chunks")? == 0 {
                return Poll::Ready(Error::e_explain(
                    ErrorType::ConnectionClosed,
                    "closed before the last chunk",
                ));
            }
        }
    }

    /// Reads once, behind what was received.
    fn poll_fill(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        poll_read(&mut self.socket, cx, &mut self.input, room)
    }
}

/// Whether a socket that nobody uses is open, and silent.
pub(super) fn is_idle(socket: &mut Socket) -> bool {
    let mut byte = [0];
    let read = tokio::task::unconstrained(socket.read(&mut byte));
    read.now_or_never().is_none()
}

/// Reads at most so many bytes to the end of a buffer.
fn poll_read(
    socket: &mut Socket,
    cx: &mut Context<'_>,
    into: &mut BytesMut,
    most: usize,
) -> Poll<io::Result<usize>> {
    into.reserve(most);
    let mut room = into.limit(most);
    pin!(socket.read_buf(&mut room)).poll(cx)
}

/// Whether a request leaves the connection open.
fn asks_to_persist(headers: &HeaderMap) -> bool {
    !says(headers, "close")
}

/// Whether a response leaves it open (RFC 9112 §9.3).
fn persists(version: Version, headers: &HeaderMap) -> bool {
    match version {
        Version::HTTP_11 => !says(headers, "close"),
        _ => says(headers, "keep-alive") && !says(headers, "close"),
    }
}

/// Whether `Connection` has an option.
fn says(headers: &HeaderMap, option: &str) -> bool {
    let values = headers.get_all(header::CONNECTION).into_iter();
    let mut options = values.flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    options.any(|it| it.trim_ascii().eq_ignore_ascii_case(option.as_bytes()))
}
