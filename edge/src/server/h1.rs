//! A connection that speaks HTTP/1.1: answers at once where there is one, and the pipeline for everything else.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode};
use storage::{Body, Lasting};
use wire::Persistence;

use super::{Likeness, Server};
use crate::cache::{self, Known, Ready, Written};
use crate::downstream::alarm::Stopping;
use crate::downstream::h1::Remember;
use crate::downstream::outpour::{POURED_MIN, Unpoured};
use crate::downstream::pieces::Pieces;
use crate::downstream::{self, ClientError, Facts, Io, h1};
use crate::exchange::{Exchange, Request};
use crate::pingora::session::{Aside, Inbound};
use crate::proxy_status::PROXY_STATUS;

impl Server {
    pub(super) async fn serve_h1(&self, io: Io, read: BytesMut, facts: Arc<Facts>) {
        let limits = Arc::clone(&self.node.in_force().limits);
        let mut connection = h1::Connection::new(io, read, facts, limits);
        let mut stopping = Stopping::new(self.stopping.clone());
        let mut last = None;
        loop {
            let next = match connection.next(&mut stopping).await {
                h1::Brought::Next(next) => next,
                h1::Brought::Like(head) => {
                    match self.answer_like_h1(&mut connection, &head, last.as_mut()) {
                        Liked::Answered => continue,
                        Liked::Begun(begun) => {
                            match self.go_on_h1(connection, &head, *begun).await {
                                Some(again) => connection = again,
                                None => return,
                            }
                            continue;
                        }
                        Liked::No(remember) => connection.parse(remember).await,
                    }
                }
            };
            let refused = match next {
                h1::Next::Request(head) => {
                    if self.answer_again_h1(&mut connection, &head, last.as_mut()) {
                        continue;
                    }
                    match self.respond_h1(connection, head, &mut last).await {
                        Some(again) => {
                            connection = again;
                            continue;
                        }
                        None => return,
                    }
                }
                h1::Next::Closed => return,
                h1::Next::Refused(refusal) => (refusal.status(), refusal.token()),
                h1::Next::Late => (StatusCode::REQUEST_TIMEOUT, "head-timeout"),
            };
            let (status, why) = refused;
            self.node.refused(connection.facts(), status.as_u16(), why);
            let refusing = refuse_h1(connection, status, why, Some(&self.node.name));
            return Box::pin(refusing).await;
        }
    }

    /// Answers a request that is the same as the last one, where there is nothing to wait for. False where there is, or
    /// where the answer is another one.
    fn answer_again_h1(
        &self,
        connection: &mut h1::Connection,
        head: &Arc<wire::RequestHead>,
        last: Option<&mut LastH1>,
    ) -> bool {
        let Some(LastH1 { known, asked, .. }) = last else {
            return false;
        };
        *asked = Asked::Whole;
        let known = known.as_ref();
        let Some(known) =
            known.filter(|known| known.is_of(head) && known.is_short(h1::COPIED_MAX as u64))
        else {
            return false;
        };
        if !self.goes_on_at_once(connection, head) {
            return false;
        }
        let Some(again) = self.short_way.again(&self.node, known) else {
            return false;
        };
        let answered = self.node.clock.instant();
        known.write(&again, connection.out());
        let mut sent = 0;
        if head.method != Method::HEAD
            && let Some(data) = again.body().contiguous()
        {
            connection.out().extend_from_slice(data);
            sent = data.len() as u64;
        }
        self.node.finished(&known.exchange(&again, answered), sent);
        true
    }

    /// Whether a short answer needs no wait, neither before nor behind it.
    fn goes_on_at_once(&self, connection: &h1::Connection, head: &wire::RequestHead) -> bool {
        let stays = head.persistence == Persistence::KeepAlive && !self.is_stopping();
        stays && connection.has_room()
    }

    /// Answers a request that is like the last one, but for its target and host.
    fn answer_like_h1(
        &self,
        connection: &mut h1::Connection,
        head: &Arc<wire::RequestHead>,
        last: Option<&mut LastH1>,
    ) -> Liked {
        let (Some(last), Some(other)) = (last.filter(|last| last.is_of(head)), connection.other())
        else {
            return Liked::No(Remember::Head);
        };
        let asked = std::mem::replace(&mut last.asked, Asked::Whole);
        let Some(like) = last.like.of(&self.node, &last.request) else {
            return Liked::No(Remember::Head);
        };
        // What is asked for twice in a row is worth to be remembered as a whole, and what was known of another configuration
        // is not known any more.
        let is_known = self.node.is_in_force(like.common());
        if !is_known || (asked == Asked::Like && like.was_for(other)) {
            return Liked::No(Remember::Head);
        }
        if !self.goes_on_at_once(connection, head) {
            return Liked::No(Remember::Nothing);
        }
        let Some(plain) = self.short_way.like(&self.node, like, other) else {
            return Liked::No(Remember::Nothing);
        };
        let Some(draft) = plain.draft(&self.node, like) else {
            return Liked::No(Remember::Nothing);
        };
        last.asked = Asked::Like;
        connection.take_other();
        like.accept(&self.node, &plain);
        let (body, status) = (plain.body(), plain.status());
        connection.respond_with(head, status, (draft.fields(), body.len()));
        let exchange = like.exchange(&plain, self.node.clock.instant());
        let content = body.contiguous();
        match content {
            Some(data) if data.len() <= h1::COPIED_MAX || head.method == Method::HEAD => {
                let data: &[u8] = match head.method {
                    Method::HEAD => &[],
                    _ => data,
                };
                connection.out().extend_from_slice(data);
                self.node.finished(&exchange, data.len() as u64);
                Liked::Answered
            }
            _ => Liked::Begun(Box::new(BegunAnswer {
                exchange,
                range: 0..content_length(head, body),
                body: body.clone(),
            })),
        }
    }

    /// Answers a request by the shortest way there is.
    async fn respond_h1(
        &self,
        mut connection: h1::Connection,
        head: Arc<wire::RequestHead>,
        last: &mut Option<LastH1>,
    ) -> Option<h1::Connection> {
        let mut request = None;
        if !self.is_stopping() {
            let repeated = last.as_mut().filter(|last| last.is_of(&head));
            if let Some(LastH1 {
                known: Some(known), ..
            }) = &repeated
                && let Some(again) = self.short_way.again(&self.node, known)
            {
                known.write(&again, connection.out());
                let length = content_length(&head, again.body());
                let exchange = known.exchange(&again, self.node.clock.instant());
                let content = (&exchange, again.body(), 0..length);
                return self.content_h1(connection, &head, content).await;
            }
            let is_remembered = connection.remembers(&head);
            match self.short_way.ready(&self.node, connection.facts(), &head) {
                Ok(ready) => {
                    let written = connection.respond(&head, ready.status, &ready.headers);
                    let answered = (&ready.head, &ready.body);
                    match repeated {
                        // Twice is not once: what is asked for once need not be known.
                        Some(last) => {
                            let (node, exchange) = (&self.node, &ready.exchange);
                            last.known = Known::of_written(node, exchange, answered, written);
                        }
                        None if is_remembered => *last = LastH1::of(&ready),
                        // The next one may be like what is known.
                        None => {}
                    }
                    let content = (&ready.exchange, &ready.body, ready.range);
                    return self.content_h1(connection, &head, content).await;
                }
                Err(known) => request = known,
            }
        }
        // Responses keep the order of their requests.
        connection.flush().await.ok()?;
        Box::pin(self.exchange_h1(connection, head, request)).await
    }

    async fn go_on_h1(
        &self,
        connection: h1::Connection,
        head: &wire::RequestHead,
        begun: BegunAnswer,
    ) -> Option<h1::Connection> {
        let content = (&begun.exchange, &begun.body, begun.range);
        self.content_h1(connection, head, content).await
    }

    /// Sends the content of a response whose head is written, and tells how it went.
    async fn content_h1(
        &self,
        mut connection: h1::Connection,
        head: &wire::RequestHead,
        (exchange, body, range): (&Exchange, &Body, Range<u64>),
    ) -> Option<h1::Connection> {
        let (sent, written) = self.send_h1(&mut connection, body, range).await;
        self.node.finished(exchange, sent);
        if let Err(error) = written {
            tracing::debug!(%error, "a response did not reach its client");
            return None;
        }
        if head.persistence == Persistence::KeepAlive {
            return Some(connection);
        }
        connection.flush().await.ok()?;
        Box::pin(connection.close()).await;
        None
    }

    /// Sends a part of a body, and says how much of it.
    async fn send_h1(
        &self,
        connection: &mut h1::Connection,
        body: &Body,
        range: Range<u64>,
    ) -> (u64, Result<(), ClientError>) {
        if range.end - range.start >= POURED_MIN && connection.takes_pages() {
            if let Some(lasting) = body.lasting(range.clone()) {
                return Box::pin(Self::pour_h1(connection, lasting)).await;
            }
            self.node.tiers.memory().sends(body);
        }
        let mut all = body.slice(range);
        if body.contiguous().is_some() {
            let data = all.next().unwrap_or_default();
            return (data.len() as u64, connection.content(data).await);
        }
        // What many pieces take, no connection without them is to hold.
        Box::pin(send_pieces(connection, all)).await
    }

    /// Gives the socket the pages of a part of a body, or else their bytes.
    async fn pour_h1(
        connection: &mut h1::Connection,
        mut lasting: Lasting,
    ) -> (u64, Result<(), ClientError>) {
        let all = lasting.len();
        let poured = connection.pour(&mut lasting).await;
        let sent = (all - lasting.len()) as u64;
        match poured {
            Ok(()) => (sent, Ok(())),
            Err(Unpoured::Client(error)) => (sent, Err(error)),
            Err(Unpoured::Refused) => {
                let (more, written) = send_pieces(connection, lasting.pieces()).await;
                (sent + more, written)
            }
        }
    }

    async fn exchange_h1(
        &self,
        connection: h1::Connection,
        head: Arc<wire::RequestHead>,
        request: Option<Arc<Request>>,
    ) -> Option<h1::Connection> {
        let facts = Arc::clone(connection.facts());
        let aside = Aside::new(connection.takes_pages());
        let mut exchange = h1::Exchange::new(connection, &head);
        if *self.stopping.borrow() {
            exchange.close_after();
        }
        let exchange = downstream::Exchange::H1(Box::new(exchange));
        let inbound = Inbound {
            aside,
            ..Inbound::unread(facts, head, request)
        };
        match self.pipeline.process(exchange, inbound).await? {
            downstream::Exchange::H1(exchange) => exchange.finish().await,
            downstream::Exchange::H2(_) => None,
        }
    }
}

/// What an HTTP/1.1 connection was asked last of what was ready.
struct LastH1 {
    request: Arc<Request>,
    /// How it was answered, where it was asked twice.
    known: Option<Known<Written>>,
    like: Likeness,
    asked: Asked,
}

/// How a connection asked last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// By a head that was understood as a whole.
    Whole,
    /// By one that is like it, and was answered.
    Like,
}

impl LastH1 {
    fn of(ready: &Ready) -> Option<Self> {
        Some(Self {
            request: Arc::clone(ready.exchange.request.as_ref()?),
            known: None,
            like: Likeness::default(),
            asked: Asked::Whole,
        })
    }

    /// Whether it is the request with this very head.
    fn is_of(&self, head: &Arc<wire::RequestHead>) -> bool {
        Arc::ptr_eq(&self.request.head, head)
    }
}

/// What came of a request that is like the last one.
enum Liked {
    Answered,
    /// Its head is written, and its content takes a while.
    Begun(Box<BegunAnswer>),
    /// It is one like any other, whose words are worth to be remembered or not.
    No(Remember),
}

/// An answer of which the content is still to be sent.
struct BegunAnswer {
    exchange: Exchange,
    body: Body,
    range: Range<u64>,
}

async fn send_pieces(
    connection: &mut h1::Connection,
    mut all: impl Iterator<Item = Bytes>,
) -> (u64, Result<(), ClientError>) {
    let mut sent = 0;
    loop {
        let pieces = Pieces::next_of(&mut all);
        if !pieces.has_remaining() {
            return (sent, Ok(()));
        }
        sent += pieces.remaining() as u64;
        if let Err(error) = connection.pieces(pieces).await {
            return (sent, Err(error));
        }
    }
}

/// How much of a body answers a request.
fn content_length(head: &wire::RequestHead, body: &Body) -> u64 {
    match head.method {
        Method::HEAD => 0,
        _ => body.len(),
    }
}

/// Answers what was no request. A proxy says by its name that it was the one.
pub(crate) async fn refuse_h1(
    connection: h1::Connection,
    status: StatusCode,
    why: &str,
    node: Option<&str>,
) {
    let body = format!("{why}\n");
    let mut headers = HeaderMap::new();
    let told = node.map(|node| format!("{node}; error=http_request_error"));
    if let Some(told) = told.and_then(|told| http::HeaderValue::try_from(told).ok()) {
        headers.insert(PROXY_STATUS, told);
    }
    cache::plain(&mut headers, body.len());
    connection.refuse(status, &headers, body.as_bytes()).await;
}
