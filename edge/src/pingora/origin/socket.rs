//! What a connection to an origin is made of.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use pingora_core::protocols::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::pingora::link::Lease;

/// A socket, or TLS on one.
#[derive(Debug)]
pub(in crate::pingora) enum Socket {
    Tcp(Leased<TcpStream>),
    Unix(Leased<UnixStream>),
    /// Pingora's, which has its lease.
    Tls(Stream),
}

/// A stream, and what it holds while it lives.
#[derive(Debug)]
pub(in crate::pingora) struct Leased<S> {
    stream: S,
    /// It ends with the stream.
    _lease: Lease,
}

impl<S> Leased<S> {
    pub(in crate::pingora) const fn new(stream: S, lease: Lease) -> Self {
        Self {
            stream,
            _lease: lease,
        }
    }
}

impl Socket {
    fn reading(&mut self) -> Pin<&mut (dyn AsyncRead + Send + Unpin)> {
        match self {
            Self::Tcp(leased) => Pin::new(&mut leased.stream),
            Self::Unix(leased) => Pin::new(&mut leased.stream),
            Self::Tls(stream) => Pin::new(stream),
        }
    }

    fn writing(&mut self) -> Pin<&mut (dyn AsyncWrite + Send + Unpin)> {
        match self {
            Self::Tcp(leased) => Pin::new(&mut leased.stream),
            Self::Unix(leased) => Pin::new(&mut leased.stream),
            Self::Tls(stream) => Pin::new(stream),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.get_mut().reading().poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().writing().poll_write(cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().writing().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().writing().poll_shutdown(cx)
    }
}
