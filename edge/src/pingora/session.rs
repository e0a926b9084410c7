//! A client's exchange as Pingora sees it: the downstream session of its filter pipeline.
//!
//! Pingora's own HTTP/1 and HTTP/2 sessions rewrite `Date`, repair some of what is malformed, and bound less than an
//! edge must. [`crate::downstream`] frames messages instead, and this adapter hands them to the same pipeline.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, Version};
use parking_lot::Mutex;
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::custom::CustomMessageWrite;
use pingora_core::protocols::http::custom::server::Session;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use storage::Lasting;
use wire::{Framing, RequestHead, Upgrade};

use crate::downstream::{ClientError, Exchange, Facts};
use crate::exchange::Request;
use crate::queries::Content;

/// What of a request's content is kept so that the request can be sent to an origin a second time.
const RETRY_BUFFER_MAX: usize = 64 * 1024;

/// Where an exchange is put back when the pipeline is through with it.
pub(crate) type Returned = Arc<Mutex<Option<Exchange>>>;

/// What a request brought along that is no header field. It travels in the request's extensions.
#[derive(Clone, Debug)]
pub(crate) struct Inbound {
    pub facts: Arc<Facts>,
    pub head: Arc<RequestHead>,
    pub content: Content,
    /// What was made of it already. Only of one that no other node sends.
    pub request: Option<Arc<Request>>,
    pub aside: Aside,
}

impl Inbound {
    /// Of a request of which nothing was read but its head.
    pub(crate) fn unread(
        facts: Arc<Facts>,
        head: Arc<RequestHead>,
        request: Option<Arc<Request>>,
    ) -> Self {
        Self {
            facts,
            head,
            content: Content::Unread,
            request,
            aside: Aside::default(),
        }
    }
}

/// What a session is told that no call of Pingora's has a place for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Aside(Arc<Told>);

#[derive(Debug, Default)]
struct Told {
    /// Whether early hints (103) go on to the client. The site decides, which is not known at first.
    hints: AtomicBool,
    takes_pages: bool,
    /// Content that leaves with the next flush.
    pages: Mutex<Option<Lasting>>,
}

impl Aside {
    /// Of a session whose client takes pages, or not.
    pub(crate) fn new(takes_pages: bool) -> Self {
        Self(Arc::new(Told {
            takes_pages,
            ..Told::default()
        }))
    }

    pub(crate) fn let_hints(&self, pass: bool) {
        self.0.hints.store(pass, Ordering::Relaxed);
    }

    fn lets_hints(&self) -> bool {
        self.0.hints.load(Ordering::Relaxed)
    }

    pub(super) fn takes_pages(&self) -> bool {
        self.0.takes_pages
    }

    pub(super) fn put(&self, pages: Lasting) {
        *self.0.pages.lock() = Some(pages);
    }

    fn take(&self) -> Option<Lasting> {
        match self.0.takes_pages {
            true => self.0.pages.lock().take(),
            false => None,
        }
    }
}

/// One request and its response on their way through the pipeline.
pub(crate) struct Downstream {
    exchange: Option<Exchange>,
    returned: Returned,
    request: RequestHeader,
    inbound: Inbound,
    response: Option<Box<ResponseHeader>>,
    client: SocketAddr,
    server: SocketAddr,
    read: usize,
    /// Content that was read before, and is to be read once more.
    again: Option<Bytes>,
    retry: Option<Retry>,
    total_drain_timeout: Option<Duration>,
}

/// Which head was written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Written {
    Interim,
    Response,
}

/// The beginning of the request's content, for a second attempt.
enum Retry {
    Kept(BytesMut),
    Truncated,
}

impl Downstream {
    /// # Errors
    /// Where Pingora cannot represent the request's target.
    pub(crate) fn new(exchange: Exchange, inbound: Inbound, returned: Returned) -> Result<Self> {
        let mut request = request_header(&inbound.head)?;
        request.extensions_mut().insert(inbound.clone());
        Ok(Self {
            exchange: Some(exchange),
            returned,
            request,
            response: None,
            client: inbound.facts.client.into(),
            server: inbound.facts.local.into(),
            again: inbound.content.read().filter(|content| !content.is_empty()),
            inbound,
            read: 0,
            retry: None,
            total_drain_timeout: None,
        })
    }

    fn exchange(&mut self) -> Result<&mut Exchange> {
        self.exchange.as_mut().ok_or_else(|| {
            Error::explain(ErrorType::ConnectionClosed, "the exchange is over").into_down()
        })
    }

    /// Whether the request's content is still to come because it begins after a 101. Pingora takes an end of content
    /// that is told before it for the end of the tunnel, when both arrive at the same time.
    fn awaits_upgrade(&self) -> bool {
        self.is_upgrade_req() && self.response.is_none()
    }

    fn keep_for_retry(&mut self, data: &Bytes) {
        let Some(Retry::Kept(kept)) = &mut self.retry else {
            return;
        };
        if kept.len() + data.len() > RETRY_BUFFER_MAX {
            self.retry = Some(Retry::Truncated);
        } else {
            kept.extend_from_slice(data);
        }
    }

    async fn write_head(&mut self, head: &ResponseHeader, end: bool) -> Result<Written> {
        let interim = head.status.is_informational() && head.status.as_u16() != 101;
        if head.status == StatusCode::EARLY_HINTS && !self.inbound.aside.lets_hints() {
            return Ok(Written::Interim);
        }
        let exchange = self.exchange()?;
        if interim {
            let written = exchange.write_interim(head.status, &head.headers).await;
            return written.map(|()| Written::Interim).map_err(downstream);
        }
        exchange
            .write_head(head.status, &head.headers)
            .map_err(downstream)?;
        if end {
            exchange.end(None).await.map_err(downstream)?;
        }
        Ok(Written::Response)
    }

    /// Sends one piece of the response; `true` at its end.
    async fn perform(&mut self, task: HttpTask) -> Result<bool> {
        match task {
            HttpTask::Header(head, end) => {
                self.write_response_header(head, end).await?;
                Ok(end)
            }
            HttpTask::Body(data, end) | HttpTask::UpgradedBody(data, end) => {
                self.write_body(data.unwrap_or_default(), end).await?;
                Ok(end)
            }
            HttpTask::Trailer(trailers) => {
                let ended = self.exchange()?.end(trailers.as_deref()).await;
                ended.map_err(downstream)?;
                Ok(true)
            }
            HttpTask::Done => {
                self.exchange()?.end(None).await.map_err(downstream)?;
                Ok(true)
            }
            HttpTask::Failed(error) => Err(error),
        }
    }
}

/// Whether it is content that others follow.
const fn is_more(task: &HttpTask) -> bool {
    matches!(task, HttpTask::Body(Some(_), false))
}

/// The request's head in Pingora's form. A client's `Host` or `:authority` was checked before.
fn request_header(head: &RequestHead) -> Result<RequestHeader> {
    let mut parts = http::Request::new(()).into_parts().0;
    parts.method = head.method.clone();
    parts.version = head.version;
    parts.headers = head.headers.clone();
    let mut request = RequestHeader::from(parts);
    request.set_raw_path(head.target.as_bytes())?;
    Ok(request)
}

/// An error of the client's connection in Pingora's terms.
pub(crate) fn downstream(error: ClientError) -> Box<Error> {
    let kind = match &error {
        ClientError::Gone | ClientError::Stream(_) => ErrorType::ConnectionClosed,
        ClientError::Silent => ErrorType::ReadTimedout,
        ClientError::Malformed(refusal) => ErrorType::HTTPStatus(refusal.status().as_u16()),
        ClientError::Length => ErrorType::InternalError,
        ClientError::Io(_) => ErrorType::WriteError,
    };
    Error::because(kind, "with the client", error).into_down()
}

#[async_trait]
impl Session for Downstream {
    fn req_header(&self) -> &RequestHeader {
        &self.request
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        &mut self.request
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        let data = match self.again.take() {
            Some(again) => Some(again),
            None => self.exchange()?.read_body().await.map_err(downstream)?,
        };
        if let Some(data) = &data {
            self.read += data.len();
            self.keep_for_retry(data);
        }
        Ok(data)
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        while self.read_body_bytes().await?.is_some() {}
        Ok(())
    }

    async fn write_response_header(&mut self, head: Box<ResponseHeader>, end: bool) -> Result<()> {
        if self.write_head(&head, end).await? == Written::Response {
            self.response = Some(head);
        }
        Ok(())
    }

    async fn write_response_header_ref(&mut self, head: &ResponseHeader, end: bool) -> Result<()> {
        if self.write_head(head, end).await? == Written::Response {
            self.response = Some(Box::new(head.clone()));
        }
        Ok(())
    }

    /// Without data and not at the end, it sends what is waiting.
    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        let pages = self.inbound.aside.take();
        let exchange = self.exchange()?;
        match pages {
            Some(pages) => exchange.write_pages(pages).await.map_err(downstream)?,
            None => exchange.write_body(data).await.map_err(downstream)?,
        }
        if end {
            exchange.end(None).await.map_err(downstream)?;
        }
        Ok(())
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        let ended = self.exchange()?.end(Some(&trailers)).await;
        ended.map_err(downstream)
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut ended = false;
        let mut tasks = tasks.into_iter().peekable();
        while let Some(task) = tasks.next() {
            ended = match task {
                HttpTask::Body(Some(data), false) if tasks.peek().is_some_and(is_more) => {
                    let mut all = vec![data];
                    while let Some(HttpTask::Body(Some(data), false)) = tasks.next_if(is_more) {
                        all.push(data);
                    }
                    let written = self.exchange()?.write_pieces(all).await;
                    written.map(|()| ended).map_err(downstream)?
                }
                task => self.perform(task).await? || ended,
            };
        }
        if !ended {
            self.exchange()?.flush().await.map_err(downstream)?;
        }
        Ok(ended)
    }

    // The timeouts are the connection's own: see `downstream::Limits`.
    fn set_read_timeout(&mut self, _timeout: Option<Duration>) {}

    fn get_read_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_write_timeout(&mut self, _timeout: Option<Duration>) {}

    fn get_write_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.total_drain_timeout = timeout;
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.total_drain_timeout
    }

    fn request_summary(&self) -> String {
        let head = &self.inbound.head;
        format!("{} {}{}", head.method, head.authority, head.target)
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.response.as_deref()
    }

    async fn shutdown(&mut self, _code: u32, _context: &str) {
        if let Some(exchange) = &mut self.exchange {
            exchange.abandon();
        }
    }

    fn is_body_done(&mut self) -> bool {
        !self.awaits_upgrade()
            && self.again.is_none()
            && self.exchange.as_ref().is_none_or(Exchange::is_body_done)
    }

    /// Called more than once, and not at all when a request fails: the exchange is given back on drop.
    async fn finish(&mut self) -> Result<()> {
        self.exchange()?.flush().await.map_err(downstream)
    }

    fn is_body_empty(&mut self) -> bool {
        matches!(
            self.inbound.head.framing,
            Framing::None | Framing::Length(0)
        )
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if no_body_expected || self.awaits_upgrade() || self.is_body_done() {
            let gone = self.exchange()?.gone().await;
            return Err(downstream(gone));
        }
        self.read_body_bytes().await
    }

    fn body_bytes_sent(&self) -> usize {
        let sent = self.exchange.as_ref().map_or(0, Exchange::body_bytes_sent);
        usize::try_from(sent).unwrap_or(usize::MAX)
    }

    fn body_bytes_read(&self) -> usize {
        self.read
    }

    fn digest(&self) -> Option<&Digest> {
        None
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        None
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        Some(&self.client)
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        Some(&self.server)
    }

    /// Only Pingora's own background requests need it, and there are none here.
    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        Bytes::new()
    }

    fn enable_retry_buffering(&mut self) {
        if self.retry.is_none() {
            self.retry = Some(Retry::Kept(BytesMut::new()));
        }
    }

    fn retry_buffer_truncated(&self) -> bool {
        matches!(self.retry, Some(Retry::Truncated))
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        match &self.retry {
            Some(Retry::Kept(kept)) if !kept.is_empty() => Some(kept.clone().freeze()),
            _ if self.awaits_upgrade() => Some(Bytes::new()),
            _ => None,
        }
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(
        &mut self,
    ) -> Option<Box<dyn futures::Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>>
    {
        None
    }

    fn restore_custom_message_reader(
        &mut self,
        _reader: Box<dyn futures::Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>,
    ) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(
        &mut self,
        _writer: Box<dyn CustomMessageWrite>,
    ) -> Result<()> {
        Ok(())
    }

    fn is_upgrade_req(&self) -> bool {
        self.inbound.head.upgrade == Upgrade::WebSocket
            && self.inbound.head.version == Version::HTTP_11
    }

    fn was_upgraded(&self) -> bool {
        self.exchange.as_ref().is_some_and(Exchange::is_upgraded)
    }
}

impl Drop for Downstream {
    /// The exchange itself knows whether its message is complete and its connection still in step.
    fn drop(&mut self) {
        if let Some(exchange) = self.exchange.take() {
            *self.returned.lock() = Some(exchange);
        }
    }
}
