//! One stream: a request and its response.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Method, Response, StatusCode};
use tokio::time::timeout;
use wire::{Expectation, Framing, Refusal, RequestHead};

use super::{Accepted, is_headers_only};
use crate::downstream::{ClientError, Limits, h1, within};

/// Pieces in which content is handed to the connection, so that streams take turns.
const PIECE: usize = 64 * 1024;

/// Where the response stands.
#[derive(Debug)]
enum Responding {
    Awaited,
    /// The head is known and leaves with the first content.
    Head(Response<()>),
    Content(SendStream<Bytes>),
    Ended,
    Broken,
}

/// One stream: a request and its response.
#[derive(Debug)]
pub(crate) struct Exchange {
    respond: SendResponse<Bytes>,
    content: RecvStream,
    content_done: bool,
    /// What is left of the length that the request's head announced.
    owed: Option<u64>,
    expectation: Expectation,
    limits: Arc<Limits>,
    method: Method,
    responding: Responding,
    /// What is left of the length that the response's head announced.
    left: Option<u64>,
    ending: Ending,
    sent: u64,
}

/// What ends a response's content.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ending {
    /// A frame of its own: there may be trailers.
    Apart,
    /// Its last frame.
    WithContent,
}

impl Exchange {
    /// Takes a stream whose request is complete, and whose response has no trailers.
    pub(crate) fn complete(accepted: Accepted, head: &RequestHead, limits: Arc<Limits>) -> Self {
        Self {
            ending: Ending::WithContent,
            ..Self::new(accepted, head, limits)
        }
    }

    /// Takes a stream. A request that says it has no content is complete only once the stream agrees.
    ///
    /// # Errors
    /// As [`Self::read_body`].
    pub(crate) async fn begin(
        accepted: Accepted,
        head: &RequestHead,
        limits: Arc<Limits>,
    ) -> Result<Self, ClientError> {
        let mut exchange = Self::new(accepted, head, limits);
        if exchange.owed == Some(0)
            && let Err(error) = exchange.read_end().await
        {
            exchange.abandon();
            return Err(error);
        }
        Ok(exchange)
    }

    fn new(accepted: Accepted, head: &RequestHead, limits: Arc<Limits>) -> Self {
        let (request, respond) = accepted;
        let method = request.method().clone();
        let content = request.into_body();
        Self {
            content_done: content.is_end_stream(),
            owed: match head.framing {
                Framing::Length(length) => Some(length),
                Framing::None | Framing::Chunked => None,
            },
            expectation: head.expectation,
            respond,
            content,
            limits,
            method,
            responding: Responding::Awaited,
            left: None,
            ending: Ending::Apart,
            sent: 0,
        }
    }

    pub(crate) async fn read_body(&mut self) -> Result<Option<Bytes>, ClientError> {
        self.invite_body()?;
        let Some(data) = self.read_data().await? else {
            self.read_trailers().await?;
            return Ok(None);
        };
        if let Some(owed) = &mut self.owed {
            *owed = owed.saturating_sub(data.len() as u64);
            if *owed == 0 {
                // With its last byte the upload is complete to an origin, and more may still make it malformed
                // (RFC 9113 §8.1.1).
                self.read_end().await?;
            }
        }
        Ok(Some(data))
    }

    /// Tells a client that waits for it to send its content (RFC 9110 §10.1.1).
    fn invite_body(&mut self) -> Result<(), ClientError> {
        let waits = std::mem::replace(&mut self.expectation, Expectation::None);
        if waits == Expectation::None || self.content_done {
            return Ok(());
        }
        self.write_interim(StatusCode::CONTINUE, &HeaderMap::new())
    }

    async fn read_data(&mut self) -> Result<Option<Bytes>, ClientError> {
        let data = timeout(self.limits.body, self.content.data()).await;
        let Some(data) = data.map_err(|_elapsed| ClientError::Silent)? else {
            return Ok(None);
        };
        let data = data?;
        self.content.flow_control().release_capacity(data.len())?;
        Ok(Some(data))
    }

    /// Waits for the stream's end behind the last byte that the head announced.
    async fn read_end(&mut self) -> Result<(), ClientError> {
        while let Some(data) = self.read_data().await? {
            if !data.is_empty() {
                return Err(Refusal::ContentLength.into());
            }
        }
        self.read_trailers().await
    }

    async fn read_trailers(&mut self) -> Result<(), ClientError> {
        let trailers = timeout(self.limits.body, self.content.trailers()).await;
        if let Some(trailers) = trailers.map_err(|_elapsed| ClientError::Silent)?? {
            wire::check_trailers(trailers)?;
        }
        self.content_done = true;
        Ok(())
    }

    pub(crate) fn is_body_done(&self) -> bool {
        self.content_done
    }

    pub(crate) async fn gone(&mut self) -> ClientError {
        let reset = match &mut self.responding {
            Responding::Content(stream) => poll_fn(|cx| stream.poll_reset(cx)).await,
            _ => poll_fn(|cx| self.respond.poll_reset(cx)).await,
        };
        match reset {
            Ok(reason) => ClientError::Stream(reason.into()),
            Err(error) => error.into(),
        }
    }

    pub(crate) fn write_interim(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<(), ClientError> {
        if !matches!(self.responding, Responding::Awaited) {
            return Ok(());
        }
        let mut interim = Response::new(());
        *interim.status_mut() = status;
        *interim.headers_mut() = headers.clone();
        policy::hop_by_hop::remove(interim.headers_mut());
        Ok(self.respond.send_informational(interim)?)
    }

    pub(crate) fn write_head(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<(), ClientError> {
        self.write_own_head(status, headers.clone())
    }

    /// As [`Self::write_head`], of a head that nobody else needs.
    pub(crate) fn write_own_head(
        &mut self,
        status: StatusCode,
        headers: HeaderMap,
    ) -> Result<(), ClientError> {
        if !matches!(self.responding, Responding::Awaited) {
            return Err(ClientError::Length);
        }
        self.left = h1::content_length(&headers);
        let mut head = Response::new(());
        *head.status_mut() = status;
        *head.headers_mut() = headers;
        policy::hop_by_hop::remove(head.headers_mut());
        self.responding = Responding::Head(head);
        Ok(())
    }

    pub(crate) async fn write_body(&mut self, mut data: Bytes) -> Result<(), ClientError> {
        if let Responding::Head(head) = &self.responding
            && is_headers_only(&self.method, head.status())
        {
            return Ok(());
        }
        self.flush()?;
        if let Some(left) = &mut self.left {
            *left = left
                .checked_sub(data.len() as u64)
                .ok_or(ClientError::Length)?;
        }
        while !data.is_empty() {
            let room = self.room(data.len().min(PIECE)).await?;
            let piece = data.split_to(room.min(data.len()));
            self.sent += piece.len() as u64;
            let last = data.is_empty() && self.left == Some(0);
            let end = last && self.ending == Ending::WithContent;
            let Responding::Content(stream) = &mut self.responding else {
                return Err(ClientError::Length);
            };
            stream.send_data(piece, end)?;
            if end {
                self.responding = Responding::Ended;
            }
        }
        Ok(())
    }

    /// Waits until the client's window lets some of `wanted` bytes through.
    async fn room(&mut self, wanted: usize) -> Result<usize, ClientError> {
        let Responding::Content(stream) = &mut self.responding else {
            return Err(ClientError::Length);
        };
        stream.reserve_capacity(wanted);
        loop {
            let capacity = poll_fn(|cx| stream.poll_capacity(cx));
            let capacity = within(self.limits.write, capacity)
                .await
                .map_err(|_elapsed| ClientError::Silent)?;
            match capacity {
                Some(Ok(0)) => {}
                Some(Ok(room)) => return Ok(room),
                Some(Err(error)) => return Err(error.into()),
                None => return Err(ClientError::Gone),
            }
        }
    }

    pub(crate) fn flush(&mut self) -> Result<(), ClientError> {
        self.send_head(false)
    }

    fn send_head(&mut self, end: bool) -> Result<(), ClientError> {
        match std::mem::replace(&mut self.responding, Responding::Broken) {
            Responding::Head(head) => {
                let end = end || is_headers_only(&self.method, head.status());
                let stream = self.respond.send_response(head, end)?;
                self.responding = if end {
                    Responding::Ended
                } else {
                    Responding::Content(stream)
                };
            }
            other => self.responding = other,
        }
        Ok(())
    }

    pub(crate) fn end(&mut self, trailers: Option<&HeaderMap>) -> Result<(), ClientError> {
        if let Responding::Head(head) = &self.responding {
            let only_head = is_headers_only(&self.method, head.status());
            if !only_head && self.left.is_some_and(|left| left > 0) {
                return Err(ClientError::Length);
            }
            self.send_head(trailers.is_none())?;
        }
        match std::mem::replace(&mut self.responding, Responding::Broken) {
            Responding::Content(mut stream) => {
                if self.left.is_some_and(|left| left > 0) {
                    return Err(ClientError::Length);
                }
                match trailers {
                    Some(trailers) => stream.send_trailers(trailers.clone())?,
                    None => stream.send_data(Bytes::new(), true)?,
                }
                self.responding = Responding::Ended;
                Ok(())
            }
            Responding::Ended => {
                self.responding = Responding::Ended;
                Ok(())
            }
            Responding::Awaited | Responding::Head(_) | Responding::Broken => {
                Err(ClientError::Length)
            }
        }
    }

    pub(crate) fn abandon(&mut self) {
        match std::mem::replace(&mut self.responding, Responding::Broken) {
            Responding::Content(mut stream) => stream.send_reset(Reason::INTERNAL_ERROR),
            Responding::Awaited | Responding::Head(_) => {
                self.respond.send_reset(Reason::INTERNAL_ERROR);
            }
            Responding::Ended => self.responding = Responding::Ended,
            Responding::Broken => {}
        }
    }

    /// The stream is over; what the client still sends of its request is refused without an error (RFC 9113 §8.1).
    pub(crate) fn finish(mut self) {
        if !matches!(self.responding, Responding::Ended) {
            self.abandon();
        } else if !self.content_done {
            self.respond.send_reset(Reason::NO_ERROR);
        }
    }

    pub(crate) fn body_bytes_sent(&self) -> u64 {
        self.sent
    }
}
