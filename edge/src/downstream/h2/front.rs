//! What stands in front of the framing: it knows the request that a connection repeats, and lets it be answered here.
//!
//! ```text
//!            ┌ the same block as before ──▶ offered ──▶ an answer in frames ┐
//!  client ──▶┤                                                               ├──▶ client
//!            └ everything else ──▶ the framing (h2) ──▶ streams ──▶ frames ──┘
//! ```
//!
//! A block of fields that is the same, against a dynamic table that is the same, is the same request: nothing has to be
//! unpacked; and if path and authority are all that differs, nothing else has to be. The framing never hears of such a stream. It opens and ends within one turn of the connection's task, so
//! that there is no state to keep of it but its number. Every other byte goes to the framing as it came.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BufMut as _, BytesMut};
use parking_lot::{Mutex, MutexGuard};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::block;
use super::cork::Corked;
use super::frames::{FrameHeader, HEADER, Walk, flag, kind};
use super::meter::{Account, PREFACE};
use super::repeated::{Instead, Offer, Repeated};
use super::windows::{Announced, Told, Windows};

/// Payloads of frames that are looked at whole. The blocks of longer ones are not remembered.
const HELD_MAX: usize = 1024;
/// Room for one read. It is the thread's, so that a connection that waits holds none.
const READ_SIZE: usize = 16 * 1024;
/// The fields of a stream's priority, which nobody heeds (RFC 9113 §5.3.2).
const PRIORITY: usize = 5;
/// The last byte of a frame's header is the last of its stream's number, which begins here.
const STREAM_AT: usize = 5;

/// What is done with a frame that came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    /// It goes to the framing.
    Pass,
    /// It goes there as something that ends the connection.
    Condemn,
    /// It is about a stream that is over.
    Drop,
    /// The connection's window grows.
    Grow(u32),
    /// It may be answered here.
    Offer(Offer),
}

/// Whether a block of fields goes on in the next frame (RFC 9113 §6.10).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Heads {
    Whole,
    Open,
}

impl Heads {
    /// After another frame.
    const fn after(self, frame: FrameHeader) -> Self {
        match frame.kind {
            kind::HEADERS | kind::CONTINUATION if frame.has(flag::END_HEADERS) => Self::Whole,
            kind::HEADERS => Self::Open,
            _ => self,
        }
    }
}

/// A request that may be answered here.
#[derive(Clone, Copy, Debug)]
struct Offered {
    frame: FrameHeader,
    is: Offer,
}

/// What the framing sends.
#[derive(Debug)]
struct Sent {
    walk: Walk,
    heads: Heads,
    /// Whether answers may be written between its frames: from its first one, until it says goodbye.
    open: bool,
}

/// A connection below its framing.
#[derive(Debug)]
pub(super) struct Front<T> {
    io: Corked<T>,
    account: Account,
    /// What came, and was not looked at.
    raw: BytesMut,
    /// What is for the framing.
    passed: BytesMut,
    /// What is still to come of a frame that is.
    rest: usize,
    heads: Heads,
    /// The last streams that the framing knows of, and that were answered here.
    framed: u32,
    own: u32,
    offered: Option<Offered>,
    /// What is offered has this instead, where it is another one.
    instead: Instead,
    repeated: Repeated,
    sent: Sent,
    windows: Windows,
}

impl<T> Front<T> {
    /// In front of a connection of which nothing was taken but what is given back in `read`.
    pub(super) fn new(io: Corked<T>, read: BytesMut) -> Self {
        let mut account = Account::new();
        // There are no frames enough in it to overdraw an account.
        account.book(&read);
        Self {
            io,
            account,
            raw: read,
            passed: BytesMut::new(),
            rest: PREFACE,
            heads: Heads::Whole,
            framed: 0,
            own: 0,
            offered: None,
            instead: Instead::default(),
            repeated: Repeated::default(),
            sent: Sent {
                walk: Walk::behind(0),
                heads: Heads::Whole,
                open: false,
            },
            windows: Windows::new(),
        }
    }

    /// Looks at what came, up to a request that may be answered here.
    fn sort(&mut self) {
        while self.offered.is_none() && !self.raw.is_empty() {
            if self.rest > 0 {
                self.pass(self.rest.min(self.raw.len()));
                continue;
            }
            let Some(frame) = FrameHeader::first(&self.raw) else {
                return;
            };
            let whole = HEADER + frame.length;
            if is_held(frame) && self.raw.len() < whole {
                return;
            }
            match self.weigh(frame) {
                Fate::Pass => self.rest = whole,
                Fate::Condemn => {
                    // There is no stream 0 of requests: an error of the connection (RFC 9113 §6).
                    self.raw[STREAM_AT..HEADER].fill(0);
                    self.rest = whole;
                }
                Fate::Drop => self.raw.advance(whole),
                Fate::Grow(by) => {
                    self.raw.advance(whole);
                    self.grow(by);
                }
                Fate::Offer(is) => self.offered = Some(Offered { frame, is }),
            }
        }
    }

    fn pass(&mut self, length: usize) {
        self.rest -= length;
        if self.passed.is_empty() && length == self.raw.len() {
            std::mem::swap(&mut self.passed, &mut self.raw);
        } else {
            self.passed.extend_from_slice(&self.raw[..length]);
            self.raw.advance(length);
        }
    }

    /// Decides about a frame, which is there with its payload if it is one that is held.
    fn weigh(&mut self, frame: FrameHeader) -> Fate {
        if self.heads == Heads::Open {
            self.heads = self.heads.after(frame);
            return Fate::Pass;
        }
        let is_over = frame.stream > self.framed && frame.stream <= self.own;
        match frame.kind {
            // RFC 9113 §5.1: of a stream that its client has ended, nothing else may come.
            kind::HEADERS | kind::DATA | kind::CONTINUATION if is_over => Fate::Condemn,
            kind::RST_STREAM | kind::WINDOW_UPDATE | kind::PRIORITY if is_over => Fate::Drop,
            kind::HEADERS => self.weigh_head(frame),
            kind::WINDOW_UPDATE if frame.stream == 0 && frame.length == 4 => {
                let mut payload = &self.raw[HEADER..HEADER + 4];
                match payload.get_u32() & 0x7fff_ffff {
                    // An error of the connection (RFC 9113 §6.9).
                    0 => Fate::Pass,
                    by => Fate::Grow(by),
                }
            }
            kind::SETTINGS if !frame.has(flag::ACK) => {
                self.note_settings(frame);
                Fate::Pass
            }
            _ => Fate::Pass,
        }
    }

    fn weigh_head(&mut self, frame: FrameHeader) -> Fate {
        let last = self.framed.max(self.own);
        let is_new = frame.stream > last && frame.stream % 2 == 1;
        let whole = frame.has(flag::END_HEADERS) && frame.has(flag::END_STREAM);
        let block = (whole && is_held(frame)).then(|| &self.raw[HEADER..HEADER + frame.length]);
        let block = block.and_then(|payload| without_priority(frame, payload));
        if let Some(block) = block
            && is_new
            && self.may_write()
            && let Some(offer) = self.repeated.offer(block, &mut self.instead)
        {
            return Fate::Offer(offer);
        }
        self.heads = self.heads.after(frame);
        self.framed = self.framed.max(frame.stream);
        match block.filter(|block| is_new && block::is_stable(block)) {
            Some(block) => self.repeated.came(block, frame.stream),
            // The table may be another one behind it.
            None => self.repeated.forget(),
        }
        Fate::Pass
    }

    fn note_settings(&mut self, frame: FrameHeader) {
        let held = is_held(frame);
        let payload = held.then(|| &self.raw[HEADER..HEADER + frame.length]);
        let announced = Announced::read(payload.unwrap_or_default());
        if !self.windows.announced(announced) || !held {
            self.close();
        }
    }

    fn grow(&mut self, by: u32) {
        match self.windows.grew(by) {
            Told::Of(more) => self.tell_window(more),
            Told::Overflow => {
                // Whatever the framing believes it has, this is too much: an error of the connection (RFC 9113 §6.9.1).
                for _ in 0..2 {
                    self.tell_window(u32::MAX >> 1);
                }
            }
        }
    }

    /// Tells the framing that the connection's window grew. Only between frames.
    fn tell_window(&mut self, by: u32) {
        if by > 0 {
            let frame = FrameHeader {
                length: 4,
                kind: kind::WINDOW_UPDATE,
                flags: 0,
                stream: 0,
            };
            self.passed.extend_from_slice(&frame.bytes());
            self.passed.put_u32(by);
        }
    }

    /// Lends the framing more of the window, if it has used what it was told of. False where there is nothing to be told.
    pub(super) fn lend(&mut self) -> bool {
        if self.rest > 0 || self.heads == Heads::Open {
            return false;
        }
        let more = self.windows.lend_more();
        more.inspect(|more| self.tell_window(*more)).is_some()
    }

    /// Whether a frame of our own may be written now.
    fn may_write(&self) -> bool {
        let Sent { walk, heads, open } = &self.sent;
        *open && *heads == Heads::Whole && walk.is_between()
    }

    /// Remembers that the request of a stream was answered in a way that can be repeated. `authority` is its own, where others
    /// may have another.
    pub(super) fn learn(&mut self, stream: u32, authority: Option<&str>) {
        self.repeated.learn(stream, authority);
    }

    /// Nothing is known to be repeated, until something is learnt.
    pub(super) fn unlearn(&mut self) {
        self.repeated.unlearn();
    }

    /// Lets go of what is known of past requests. What is on its way has no room of its own by then.
    pub(super) fn rest(&mut self) {
        self.repeated = Repeated::default();
        self.instead = Instead::default();
    }

    /// No answer is written here any more.
    pub(super) fn close(&mut self) {
        self.sent.open = false;
        self.pass_on();
    }

    /// Lets the framing have the request that was offered.
    pub(super) fn pass_on(&mut self) {
        let Some(Offered { frame, .. }) = self.offered.take() else {
            return;
        };
        self.framed = frame.stream;
        self.rest = HEADER + frame.length;
        let payload = &self.raw[HEADER..self.rest];
        if let Some(block) = without_priority(frame, payload) {
            self.repeated.came(block, frame.stream);
        }
    }

    /// Whether the request that is offered may be answered with so much content.
    pub(super) fn allows(&self, content: usize) -> bool {
        self.offered.is_some() && self.may_write() && self.windows.allow(content)
    }

    /// What the request that is offered has, where that is another one than the last.
    pub(super) const fn instead(&self) -> &Instead {
        &self.instead
    }

    /// Answers the request that is offered. The head takes at most `longest` bytes, and neither it nor the content is longer
    /// than the least that a frame may have (RFC 9113 §4.2).
    pub(super) fn answer(
        &mut self,
        (longest, write): (usize, impl FnOnce(&mut BytesMut)),
        content: &[u8],
    ) {
        let Some(Offered { frame: asked, .. }) = self.offered.take() else {
            return;
        };
        self.raw.advance(HEADER + asked.length);
        self.own = asked.stream;
        self.windows.spend(content.len());
        let out = self.io.behind(2 * HEADER + longest + content.len());
        let begin = out.len();
        out.put_bytes(0, HEADER);
        write(out);
        let mut frame = FrameHeader {
            length: out.len() - begin - HEADER,
            kind: kind::HEADERS,
            flags: flag::END_HEADERS,
            stream: asked.stream,
        };
        if content.is_empty() {
            frame.flags |= flag::END_STREAM;
        }
        out[begin..begin + HEADER].copy_from_slice(&frame.bytes());
        if !content.is_empty() {
            frame = FrameHeader {
                length: content.len(),
                kind: kind::DATA,
                flags: flag::END_STREAM,
                ..frame
            };
            out.put_slice(&frame.bytes());
            out.put_slice(content);
        }
    }

    /// Books what the framing has written.
    fn book_sent(&mut self, bufs: &[IoSlice<'_>], mut length: usize) {
        let Self { sent, windows, .. } = self;
        for buf in bufs {
            let taken = length.min(buf.len());
            length -= taken;
            let (heads, open) = (&mut sent.heads, &mut sent.open);
            sent.walk.over(&buf[..taken], |frame| {
                match frame.kind {
                    kind::DATA => windows.content_sent(frame.length),
                    kind::HEADERS => windows.block_sent(),
                    kind::SETTINGS if frame.has(flag::ACK) => windows.acknowledged(),
                    // Its first frame (RFC 9113 §3.4).
                    kind::SETTINGS => *open = true,
                    kind::GOAWAY => *open = false,
                    _ => {}
                }
                *heads = heads.after(frame);
                true
            });
        }
    }
}

/// Whether a frame is looked at when all of it is there.
const fn is_held(frame: FrameHeader) -> bool {
    match frame.kind {
        kind::HEADERS | kind::SETTINGS => frame.length <= HELD_MAX,
        kind::WINDOW_UPDATE | kind::RST_STREAM | kind::PRIORITY => frame.length <= PRIORITY,
        _ => false,
    }
}

/// The block of fields in the payload of a HEADERS frame. None where there is padding around it, and where its stream
/// depends on itself.
fn without_priority(frame: FrameHeader, payload: &[u8]) -> Option<&[u8]> {
    if frame.has(flag::PADDED) {
        return None;
    }
    if !frame.has(flag::PRIORITY) {
        return Some(payload);
    }
    let mut on = payload.first_chunk::<4>().map(|bytes| &bytes[..])?;
    let on = on.get_u32() & 0x7fff_ffff;
    payload.get(PRIORITY..).filter(|_| on != frame.stream)
}

impl<T: AsyncRead + AsyncWrite + Unpin> Front<T> {
    /// Whether a request is offered that may be answered here now: what came before it was taken.
    pub(super) fn poll_offer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Offer>> {
        self.sort();
        let Some(Offered { is, .. }) = self.offered.filter(|_| self.passed.is_empty()) else {
            return Poll::Pending;
        };
        ready!(self.io.poll_room(cx))?;
        Poll::Ready(Ok(is))
    }

    /// Sees out what is kept.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Reads once more. False at the end.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        std::thread_local! {
            static SCRATCH: std::cell::RefCell<Box<[u8]>> =
                std::cell::RefCell::new(vec![0; READ_SIZE].into_boxed_slice());
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buf = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf))?;
            let read = buf.filled();
            if !self.account.book(read) {
                let flood = "too many HTTP/2 frames that carry nothing";
                return Poll::Ready(Err(io::Error::other(flood)));
            }
            self.raw.extend_from_slice(read);
            Poll::Ready(Ok(!read.is_empty()))
        })
    }

    fn poll_passed(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            self.sort();
            if !self.passed.is_empty() {
                let length = self.passed.len().min(buf.remaining());
                buf.put_slice(&self.passed[..length]);
                self.passed.advance(length);
                if self.passed.is_empty() {
                    self.passed = BytesMut::new();
                }
                return Poll::Ready(Ok(()));
            }
            // Whoever polls the framing asks for what is offered before anything is waited for.
            if self.offered.is_some() {
                return Poll::Pending;
            }
            if self.raw.is_empty() {
                self.raw = BytesMut::new();
            }
            if !ready!(self.poll_more(cx))? {
                // The framing sees what of a frame there is, and then the end.
                if self.raw.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                self.passed = self.raw.split();
            }
        }
    }
}

/// The same connection for the framing and for who answers before it. One task has both ends: nobody waits for it.
#[derive(Debug)]
pub(super) struct Shared<T>(Arc<Mutex<Front<T>>>);

impl<T> Shared<T> {
    pub(super) fn new(front: Front<T>) -> Self {
        Self(Arc::new(Mutex::new(front)))
    }

    pub(super) fn other_end(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Front<T>> {
        self.0.lock()
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Shared<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.lock().poll_passed(cx, buf)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Shared<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut front = self.lock();
        let written = ready!(Pin::new(&mut front.io).poll_write_vectored(cx, bufs))?;
        front.book_sent(bufs, written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.lock().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lock().io).poll_shutdown(cx)
    }
}
