//! HTTP/1.1 messages as they are: fields in order, bodies by their framing, cuts seen as cuts.
//!
//! Client and origin share this. It is lenient on purpose: a test wants to see what was sent,
//! not a judgement of it.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest head that the harness reads.
const HEAD_LONGEST: usize = 4 << 20;

/// A connection: plain or within TLS.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Name and value in the order of the wire. Bytes above 0x7F stand as the characters of Latin-1.
pub type Fields = Vec<(String, String)>;

/// A start line and the fields below it.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// The request line or the status line.
    pub start: String,
    /// The fields in order.
    pub fields: Fields,
    /// The head verbatim, the empty line included.
    pub raw: Bytes,
}

/// How a message ended.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum End {
    /// As its framing announced.
    #[default]
    Complete,
    /// The connection ended, or broke its framing, before the message did.
    Cut,
}

/// What came after a head.
#[derive(Clone, Debug, Default)]
pub(crate) struct Body {
    pub(crate) bytes: Bytes,
    pub(crate) end: End,
    pub(crate) trailers: Fields,
}

/// How the length of a body is told (RFC 9112 §6).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Framing {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

/// A connection and what was read ahead on it.
pub struct Wire {
    stream: Box<dyn Stream>,
    buffer: BytesMut,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire")
            .field("buffered", &self.buffer.len())
            .finish_non_exhaustive()
    }
}

impl Head {
    /// The first value of a field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        first(&self.fields, name)
    }
}

/// The first value of the field `name`.
pub(crate) fn first<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    all(fields, name).next()
}

/// Every value of the field `name`, in order.
pub(crate) fn all<'a>(fields: &'a Fields, name: &str) -> impl Iterator<Item = &'a str> {
    fields
        .iter()
        .filter(move |(field, _)| field.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
}

impl Wire {
    pub(crate) fn new(stream: impl Stream + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            buffer: BytesMut::new(),
        }
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    pub(crate) async fn shutdown(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// Takes what has arrived, or waits for more; empty at the end of the connection.
    pub(crate) async fn some(&mut self) -> io::Result<Bytes> {
        if self.buffer.is_empty() {
            self.fill().await?;
        }
        Ok(self.buffer.split().freeze())
    }

    /// Waits until so many bytes have come, and leaves them to be read.
    pub(crate) async fn until(&mut self, count: usize) -> io::Result<()> {
        while self.buffer.len() < count {
            if self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.buffer.reserve(16 << 10);
        self.stream.read_buf(&mut self.buffer).await
    }

    /// Reads a head; `None` when the connection ends before its first byte.
    pub(crate) async fn head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                return Ok(Some(parse(self.buffer.split_to(end + 4).freeze())));
            }
            if self.buffer.len() > HEAD_LONGEST {
                return Err(io::Error::other("the head is too long for the harness"));
            }
            match self.fill().await? {
                0 if self.buffer.is_empty() => return Ok(None),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ => {}
            }
        }
    }

    /// Reads a body whole. What arrived before a cut is kept.
    pub(crate) async fn body(&mut self, framing: Framing) -> Body {
        let mut bytes = BytesMut::new();
        let mut trailers = Fields::new();
        let end = match framing {
            Framing::None => Ok(()),
            Framing::Length(length) => self.exactly(length, &mut bytes).await,
            Framing::Chunked => self.chunks(&mut bytes, &mut trailers).await,
            Framing::UntilClose => self.rest(&mut bytes).await,
        };
        let end = if end.is_ok() { End::Complete } else { End::Cut };
        Body {
            bytes: bytes.freeze(),
            end,
            trailers,
        }
    }

    async fn exactly(&mut self, length: u64, body: &mut BytesMut) -> io::Result<()> {
        let mut missing = usize::try_from(length).map_err(io::Error::other)?;
        while missing > 0 {
            if self.buffer.is_empty() && self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let piece = self.buffer.split_to(missing.min(self.buffer.len()));
            missing -= piece.len();
            body.extend_from_slice(&piece);
        }
        Ok(())
    }

    async fn chunks(&mut self, body: &mut BytesMut, trailers: &mut Fields) -> io::Result<()> {
        loop {
            let line = self.line().await?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(digits, 16).map_err(io::Error::other)?;
            if size == 0 {
                return self.trailers(trailers).await;
            }
            self.exactly(size, body).await?;
            if !self.line().await?.is_empty() {
                return Err(io::Error::other("no CRLF after a chunk"));
            }
        }
    }

    async fn trailers(&mut self, trailers: &mut Fields) -> io::Result<()> {
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(());
            }
            trailers.push(field(&line));
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line = self.buffer.split_to(end + 2);
                return Ok(latin1(&line[..end]));
            }
            if self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    async fn rest(&mut self, body: &mut BytesMut) -> io::Result<()> {
        loop {
            body.extend_from_slice(&self.buffer.split());
            if self.fill().await? == 0 {
                return Ok(());
            }
        }
    }
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes
        .windows(pattern.len())
        .position(|window| window == pattern)
}

fn parse(raw: Bytes) -> Head {
    let text = latin1(&raw);
    let mut lines = text.split("\r\n").filter(|line| !line.is_empty());
    let start = lines.next().unwrap_or_default().to_owned();
    let fields = lines.map(field).collect();
    Head { start, fields, raw }
}

fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    (name.to_owned(), value.trim().to_owned())
}

pub(crate) fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// The bytes of a text of Latin-1 characters: the inverse of what heads are read with.
pub(crate) fn to_latin1(text: &str) -> Vec<u8> {
    text.chars()
        .map(|character| u8::try_from(character).expect("a field holds Latin-1 only"))
        .collect()
}

/// The framing that `fields` declare; `otherwise` if they declare none.
pub(crate) fn framing(fields: &Fields, otherwise: Framing) -> Framing {
    if first(fields, "Transfer-Encoding").is_some() {
        return Framing::Chunked;
    }
    first(fields, "Content-Length")
        .and_then(|length| length.parse().ok())
        .map_or(otherwise, Framing::Length)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &'static [u8], otherwise: Framing) -> (Head, Body) {
        let (mut far, near) = tokio::io::duplex(64);
        tokio::spawn(async move {
            far.write_all(bytes).await.unwrap();
        });
        let mut wire = Wire::new(near);
        let head = wire.head().await.unwrap().unwrap();
        let body = wire.body(framing(&head.fields, otherwise)).await;
        (head, body)
    }

    #[track_caller]
    fn check(bytes: &'static [u8], expected: &'static str, end: End) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let (_, body) = runtime.block_on(read(bytes, Framing::UntilClose));
        assert_eq!((latin1(&body.bytes).as_str(), body.end), (expected, end));
    }

    #[test]
    fn a_body_ends_where_its_framing_says() {
        check(
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef",
            "abc",
            End::Complete,
        );
        check(
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
            "abc",
            End::Cut,
        );
        check(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
            "abc",
            End::Complete,
        );
        check(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
            "ab",
            End::Cut,
        );
        check(b"HTTP/1.1 200 OK\r\n\r\nabc", "abc", End::Complete);
    }

    #[tokio::test]
    async fn fields_keep_their_order_and_their_odd_bytes() {
        let (head, _) = read(
            b"HTTP/1.1 200 OK\r\nB: \"\xfc\"\r\nA: 1\r\nb: 2\r\n\r\n",
            Framing::None,
        )
        .await;
        assert_eq!(head.start, "HTTP/1.1 200 OK");
        assert_eq!(
            all(&head.fields, "B").collect::<Vec<_>>(),
            ["\"\u{fc}\"", "2"]
        );
        assert_eq!(to_latin1(head.field("b").unwrap()), b"\"\xfc\"");
    }
}
