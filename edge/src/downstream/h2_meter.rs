//! Ends HTTP/2 connections that cost more frames than they bring requests.
//!
//! The framing below answers PING and SETTINGS and swallows empty frames by itself, without end and without telling
//! anybody. This wrapper watches frame headers go by (RFC 9113 §4.1) and keeps an account: frames that carry work pay
//! in, frames that carry none draw on it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The client's connection preface, which precedes the first frame.
const PREFACE: usize = 24;
const FRAME_HEADER: usize = 9;
/// Idle frames that a connection may send in advance: more than any client needs while it is set up.
const CREDIT_MAX: u32 = 2_000;
/// What a frame with work in it pays in.
const CREDIT_PER_REQUEST: u32 = 20;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;

/// The account of one connection.
#[derive(Debug)]
struct Account {
    skip: usize,
    header: [u8; FRAME_HEADER],
    filled: usize,
    credit: u32,
}

impl Account {
    const fn new() -> Self {
        Self {
            skip: PREFACE,
            header: [0; FRAME_HEADER],
            filled: 0,
            credit: CREDIT_MAX,
        }
    }

    /// Books what was read. `false` once the account is overdrawn.
    fn book(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let taken = (FRAME_HEADER - self.filled).min(bytes.len());
            self.header[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled == FRAME_HEADER && !self.book_frame() {
                return false;
            }
        }
        true
    }

    fn book_frame(&mut self) -> bool {
        let [high, middle, low, kind, ..] = self.header;
        let length = u32::from_be_bytes([0, high, middle, low]);
        self.filled = 0;
        self.skip = length as usize;
        self.credit = match kind {
            HEADERS => self
                .credit
                .saturating_add(CREDIT_PER_REQUEST)
                .min(CREDIT_MAX),
            DATA if length > 0 => self.credit.saturating_add(1).min(CREDIT_MAX),
            // Filled CONTINUATION frames end at the header list's limit; empty ones never would.
            CONTINUATION if length > 0 => self.credit,
            _ => self.credit.saturating_sub(1),
        };
        self.credit > 0
    }
}

/// A stream whose inbound frames are accounted.
#[derive(Debug)]
pub(crate) struct Metered<T> {
    inner: T,
    /// What was read of it before it was known to be HTTP/2.
    read: BytesMut,
    account: Account,
}

impl<T> Metered<T> {
    /// Wraps a connection of which nothing was taken but what is given back in `read`.
    pub(crate) const fn new(inner: T, read: BytesMut) -> Self {
        Self {
            inner,
            read,
            account: Account::new(),
        }
    }
}

impl<T: AsyncRead + Unpin> Metered<T> {
    fn poll_bytes(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.inner).poll_read(cx, buf);
        }
        let length = self.read.len().min(buf.remaining());
        buf.put_slice(&self.read.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Metered<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = this.poll_bytes(cx, buf);
        if matches!(read, Poll::Ready(Ok(()))) && !this.account.book(&buf.filled()[before..]) {
            let flood = io::Error::other("too many HTTP/2 frames that carry nothing");
            return Poll::Ready(Err(flood));
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Metered<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let size = u32::try_from(length).unwrap().to_be_bytes();
        let mut frame = vec![size[1], size[2], size[3], kind, 0, 0, 0, 0, 1];
        frame.extend(std::iter::repeat_n(0xff, length));
        frame
    }

    fn survives(frames: impl Iterator<Item = Vec<u8>>) -> bool {
        let mut account = Account::new();
        let mut bytes = vec![0; PREFACE];
        bytes.extend(frames.flatten());
        // However the bytes are cut into reads, the account is the same.
        bytes.chunks(7).all(|read| account.book(read))
    }

    #[test]
    fn frames_without_work_are_bounded_and_requests_are_not() {
        const PING: u8 = 0x6;
        const SETTINGS: u8 = 0x4;
        let credit = CREDIT_MAX as usize;
        let ping = || frame(PING, 8);
        assert!(survives(std::iter::repeat_with(ping).take(credit - 1)));
        assert!(!survives(std::iter::repeat_with(ping).take(credit)));
        assert!(!survives(
            std::iter::repeat_with(|| frame(SETTINGS, 0)).take(credit)
        ));
        assert!(!survives(
            std::iter::repeat_with(|| frame(DATA, 0)).take(credit)
        ));
        assert!(!survives(
            std::iter::repeat_with(|| frame(CONTINUATION, 0)).take(credit)
        ));
        let requests = (0..10 * credit).map(|n| frame(if n % 4 == 0 { HEADERS } else { PING }, 8));
        assert!(survives(requests));
    }
}
