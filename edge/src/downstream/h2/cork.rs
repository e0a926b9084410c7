//! Lets the answers to requests that came together leave together.
//!
//! The framing below flushes after every response that it is handed. A client that asks for thirty-two things in one
//! packet would get thirty-two writes to its socket. This wrapper keeps what is written while there are more requests
//! at hand, up to a limit, and lets it go before anything is waited for.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are kept.
const KEPT_MAX: usize = 32 * 1024;
/// Writes that are copied to be kept. For longer ones a write of their own costs less, and takes along what is kept.
const COPIED_MAX: usize = 8 * 1024;
/// Pieces of one write: what is kept, and what h2 has of a frame.
const PIECES_MAX: usize = 4;

/// Whether what is written is kept for a moment. One task has both ends: it is shared, and never waited for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cork(Arc<State>);

#[derive(Debug, Default)]
struct State {
    keeping: AtomicBool,
    /// Whether something was written, and not flushed.
    owing: AtomicBool,
}

impl Cork {
    pub(crate) fn set(&self, keeping: bool) {
        self.0.keeping.store(keeping, Ordering::Relaxed);
    }

    /// Whether a flush would do anything.
    pub(crate) fn owes(&self) -> bool {
        self.0.owing.load(Ordering::Relaxed)
    }

    fn is_set(&self) -> bool {
        self.0.keeping.load(Ordering::Relaxed)
    }

    fn owe(&self, owing: bool) {
        self.0.owing.store(owing, Ordering::Relaxed);
    }
}

/// A stream with a cork on its outbound side.
#[derive(Debug)]
pub(crate) struct Corked<T> {
    inner: T,
    cork: Cork,
    /// Empty, without room, while nothing is kept: an idle connection holds none.
    kept: BytesMut,
}

impl<T> Corked<T> {
    pub(crate) fn new(inner: T, cork: Cork) -> Self {
        Self {
            inner,
            cork,
            kept: BytesMut::new(),
        }
    }

    /// Where a whole answer is written behind what is kept. It leaves with it.
    pub(super) fn behind(&mut self, length: usize) -> &mut BytesMut {
        self.cork.owe(true);
        match self.kept.capacity() {
            0 => self.kept.reserve(KEPT_MAX + length),
            _ => self.kept.reserve(length),
        }
        &mut self.kept
    }

    /// Keeps it, and says how long it was.
    fn keep(&mut self, bufs: &[IoSlice<'_>]) -> usize {
        if self.kept.capacity() == 0 {
            self.kept.reserve(KEPT_MAX);
        }
        let before = self.kept.len();
        bufs.iter().for_each(|buf| self.kept.extend_from_slice(buf));
        self.kept.len() - before
    }
}

impl<T: AsyncWrite + Unpin> Corked<T> {
    /// Makes room for an answer.
    pub(super) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.kept.len() < KEPT_MAX {
            true => Poll::Ready(Ok(())),
            false => self.poll_kept(cx),
        }
    }

    /// Writes what is kept.
    fn poll_kept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.kept.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.kept))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.kept.advance(written);
        }
        self.kept = BytesMut::new();
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> Corked<T> {
    /// Writes what is kept, and what comes behind it.
    fn poll_past(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        while !self.kept.is_empty() {
            let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
            pieces[0] = IoSlice::new(&self.kept);
            pieces[1..=bufs.len()].copy_from_slice(bufs);
            let pieces = &pieces[..=bufs.len()];
            let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, pieces))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let kept = self.kept.len();
            if written > kept {
                self.kept = BytesMut::new();
                return Poll::Ready(Ok(written - kept));
            }
            self.kept.advance(written);
        }
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Corked<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Corked<T> {
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
        let this = self.get_mut();
        this.cork.owe(true);
        let length: usize = bufs.iter().map(|buf| buf.len()).sum();
        let vectored = this.inner.is_write_vectored();
        // TLS copies anyway, and makes a record of each write.
        if length <= KEPT_MAX && (!vectored || this.cork.is_set() && length <= COPIED_MAX) {
            if this.kept.len() + length > KEPT_MAX {
                ready!(this.poll_kept(cx))?;
            }
            return Poll::Ready(Ok(this.keep(bufs)));
        }
        if vectored && bufs.len() < PIECES_MAX {
            return this.poll_past(cx, bufs);
        }
        ready!(this.poll_kept(cx))?;
        let first = bufs.iter().find(|buf| !buf.is_empty());
        Pin::new(&mut this.inner).poll_write(cx, first.map_or(&[], |buf| buf))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.cork.is_set() {
            return Poll::Ready(Ok(()));
        }
        ready!(this.poll_kept(cx))?;
        ready!(Pin::new(&mut this.inner).poll_flush(cx))?;
        this.cork.owe(false);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_kept(cx))?;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn what_is_kept_leaves_in_order_once_it_may() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let cork = Cork::default();
        let mut corked = Corked::new(near, cork.clone());
        cork.set(true);
        for piece in [&b"one "[..], b"two "] {
            corked.write_all(piece).await.unwrap();
            corked.flush().await.unwrap();
        }
        let mut read = [0; 64];
        let nothing = at_once(far.read(&mut read)).await;
        assert!(nothing.is_none(), "it left too early");
        assert!(cork.owes());
        // What is too long to be copied takes the rest along.
        let long = vec![b'x'; KEPT_MAX];
        corked.write_all(&long).await.unwrap();
        let mut all = vec![0; 8 + KEPT_MAX];
        far.read_exact(&mut all).await.unwrap();
        assert_eq!(&all[..8], b"one two ");
        corked.write_all(b"three").await.unwrap();
        cork.set(false);
        corked.flush().await.unwrap();
        let length = far.read(&mut read).await.unwrap();
        assert_eq!(&read[..length], b"three");
        assert_eq!(corked.kept.capacity(), 0);
        assert!(!cork.owes());
    }

    #[tokio::test]
    async fn nothing_is_lost_where_the_stream_ends() {
        let (near, mut far) = tokio::io::duplex(64);
        let cork = Cork::default();
        let mut corked = Corked::new(near, cork.clone());
        cork.set(true);
        corked.write_all(b"goodbye").await.unwrap();
        corked.shutdown().await.unwrap();
        let mut all = Vec::new();
        far.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"goodbye");
    }

    /// What a future gives at once.
    async fn at_once<F: Future>(future: F) -> Option<F::Output> {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|cx| {
            Poll::Ready(match future.as_mut().poll(cx) {
                Poll::Ready(output) => Some(output),
                Poll::Pending => None,
            })
        })
        .await
    }
}
