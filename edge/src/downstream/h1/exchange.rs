//! One request of a connection and its response.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode, Version};
use storage::Lasting;
use tokio::time::timeout;
use wire::{BodyDecoder, BodyFraming, Decoded, Expectation, Persistence, RequestHead};

use super::{Connection, DRAIN_MAX, DRAIN_TIME, content_length, flush, write_all};
use crate::downstream::ClientError;
use crate::downstream::outpour::Unpoured;
use crate::downstream::pieces::Pieces;

/// Bytes of a next request that are kept while a response is under way.
const READ_AHEAD_MAX: usize = 64 * 1024;

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
