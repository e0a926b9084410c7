//! An HTTP/2 client that sends any frame at all, for what no library would send.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Frame types (RFC 9113 §6).
pub mod kind {
    /// §6.1
    pub const DATA: u8 = 0;
    /// §6.2
    pub const HEADERS: u8 = 1;
    /// §6.3
    pub const PRIORITY: u8 = 2;
    /// §6.4
    pub const RST_STREAM: u8 = 3;
    /// §6.5
    pub const SETTINGS: u8 = 4;
    /// §6.7
    pub const PING: u8 = 6;
    /// §6.8
    pub const GOAWAY: u8 = 7;
    /// §6.9
    pub const WINDOW_UPDATE: u8 = 8;
    /// §6.10
    pub const CONTINUATION: u8 = 9;
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// No frame of a peer is longer while we grant no more (RFC 9113 §4.2).
const FRAME_LONGEST: usize = 16_384;

/// One frame.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frame {
    /// See [`kind`].
    pub kind: u8,
    /// `END_STREAM` and `ACK` are 1, `END_HEADERS` is 4.
    pub flags: u8,
    /// 0 for the connection.
    pub stream: u32,
    /// What follows the nine bytes of the frame's head.
    pub payload: Bytes,
}

/// A connection in clear text on which the preface and empty settings have been sent.
#[derive(Debug)]
pub struct FrameClient {
    stream: TcpStream,
}

impl Frame {
    /// A frame of these parts.
    #[must_use]
    pub fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Bytes>) -> Self {
        Self {
            kind,
            flags,
            stream,
            payload: payload.into(),
        }
    }

    /// A request without a body, written as literals that are not indexed (RFC 7541 §6.2.2).
    #[must_use]
    pub fn request(stream: u32, fields: &[(&str, &str)]) -> Self {
        Self::new(kind::HEADERS, 0x5, stream, block(fields))
    }

    /// The head of a request whose body follows.
    #[must_use]
    pub fn request_with_body(stream: u32, fields: &[(&str, &str)]) -> Self {
        Self::new(kind::HEADERS, 0x4, stream, block(fields))
    }

    /// An ordinary `GET`.
    #[must_use]
    pub fn get(stream: u32, path: &str) -> Self {
        Self::request(
            stream,
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "www.example.com"),
                (":path", path),
            ],
        )
    }

    /// As it goes over the wire.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).expect("a frame's length");
        let mut bytes = length.to_be_bytes()[1..].to_vec();
        bytes.extend([self.kind, self.flags]);
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend_from_slice(&self.payload);
        bytes
    }
}

impl FrameClient {
    /// Connects and opens the conversation.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        let mut client = Self { stream };
        let settings = Frame::new(kind::SETTINGS, 0, 0, "");
        client.write(&[PREFACE, &settings.encode()].concat()).await;
        client
    }

    /// Sends a frame; `false` when the peer no longer takes any.
    pub async fn send(&mut self, frame: &Frame) -> bool {
        self.write(&frame.encode()).await
    }

    /// Sends bytes; `false` when the peer no longer takes any within ten seconds.
    pub async fn write(&mut self, bytes: &[u8]) -> bool {
        let sent = timeout(Duration::from_secs(10), self.stream.write_all(bytes)).await;
        matches!(sent, Ok(Ok(())))
    }

    /// The next frame; `None` when the connection has ended or nothing comes in `patience`.
    pub async fn next(&mut self, patience: Duration) -> Option<Frame> {
        timeout(patience, self.read()).await.ok().flatten()
    }

    async fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let length = usize::try_from(length).ok()?;
        assert!(length <= FRAME_LONGEST, "a frame longer than was granted");
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Frame::new(head[3], head[4], stream, payload))
    }

    /// Reads until a frame of this kind comes on `stream`, or nothing does in `patience`.
    pub async fn next_of(&mut self, kind: u8, stream: u32, patience: Duration) -> Option<Frame> {
        while let Some(frame) = self.next(patience).await {
            if frame.kind == kind && frame.stream == stream {
                return Some(frame);
            }
        }
        None
    }

    /// Reads until a frame of one of these kinds comes, on whatever stream, or nothing does in `patience`.
    pub async fn next_of_any(&mut self, kinds: &[u8], patience: Duration) -> Option<Frame> {
        while let Some(frame) = self.next(patience).await {
            if kinds.contains(&frame.kind) {
                return Some(frame);
            }
        }
        None
    }

    /// Whether the peer ends the conversation within `patience`: `GOAWAY` or a closed socket.
    pub async fn ends_within(&mut self, patience: Duration) -> bool {
        let read = async {
            while let Some(frame) = self.read().await {
                if frame.kind == kind::GOAWAY {
                    return;
                }
            }
        };
        timeout(patience, read).await.is_ok()
    }
}

fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields
        .iter()
        .flat_map(|(name, value)| literal(name.as_bytes(), value.as_bytes()))
        .collect()
}

/// A literal field, not indexed, not compressed (RFC 7541 §6.2.2).
#[must_use]
pub fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        bytes.extend(length(text.len()));
        bytes.extend_from_slice(text);
    }
    bytes
}

/// An integer with a prefix of seven bits (RFC 7541 §5.1).
fn length(value: usize) -> Vec<u8> {
    let Some(mut rest) = value.checked_sub(127) else {
        return vec![u8::try_from(value).expect("below 127")];
    };
    let mut bytes = vec![127];
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128 + 128).expect("below 256"));
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).expect("below 128"));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_nine_bytes_and_its_payload() {
        let frame = Frame::new(kind::PING, 1, 0x0102_0304, "abc");
        assert_eq!(
            frame.encode(),
            [0, 0, 3, 6, 1, 1, 2, 3, 4, b'a', b'b', b'c']
        );
    }

    #[test]
    fn long_lengths_take_more_bytes() {
        assert_eq!(length(10), [10]);
        assert_eq!(length(126), [126]);
        assert_eq!(length(127), [127, 0]);
        assert_eq!(length(1337), [127, 186, 9]);
    }
}
