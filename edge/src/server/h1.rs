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
            let mut answering = match connection.next(&mut stopping).await {
                h1::Brought::Rest => {
                    last = None;
                    continue;
                }
                h1::Brought::Next(next) => self.take_h1(&mut connection, next, &mut last),
                h1::Brought::Like(head) => {
                    self.answer_like_h1(&mut connection, head, last.as_mut())
                }
            };
            if let Answering::Unlike(remember) = answering {
                let next = connection.parse(remember).await;
                answering = self.take_h1(&mut connection, next, &mut last);
            }
            match &answering {
                Answering::Written | Answering::Unlike(_) => {}
                Answering::Begun(head, begun) => {
                    match self.content_h1(&mut connection, head, begun).await {
                        After::GoesOn => {}
                        After::Closes => return Box::pin(connection.close()).await,
                        After::Lost => return,
                    }
                }
                Answering::ByPipeline(head, request) => {
                    let (head, request) = (Arc::clone(head), request.clone());
                    match Box::pin(self.exchange_h1(connection, head, request)).await {
                        Some(again) => connection = again,
                        None => return,
                    }
                }
                Answering::Refused(status, why) => {
                    let node = Some(&*self.node.name);
                    return Box::pin(refuse_h1(connection, *status, why, node)).await;
                }
                Answering::Over => return,
            }
        }
    }

    /// Answers what a connection brought, as far as that needs no wait.
    fn take_h1(
        &self,
        connection: &mut h1::Connection,
        next: h1::Next,
        last: &mut Option<LastH1>,
    ) -> Answering {
        let (status, why) = match next {
            h1::Next::Request(head) => {
                return match self.answer_again_h1(connection, &head, last.as_mut()) {
                    true => Answering::Written,
                    false => self.begin_h1(connection, head, last),
                };
            }
            h1::Next::Closed => return Answering::Over,
            h1::Next::Refused(refusal) => (refusal.status(), refusal.token()),
            h1::Next::Late => (StatusCode::REQUEST_TIMEOUT, "head-timeout"),
        };
        self.node.refused(connection.facts(), status.as_u16(), why);
        Answering::Refused(status, why)
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
        known.write(&again, connection.out());
        let mut sent = 0;
        if head.method != Method::HEAD
            && let Some(data) = again.body().contiguous()
        {
            connection.out().extend_from_slice(data);
            sent = data.len() as u64;
        }
        let now = self.node.clock.instant();
        let exchange = known.exchange(&again, now);
        self.node.finished_at(&exchange, sent, now);
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
        head: Arc<wire::RequestHead>,
        last: Option<&mut LastH1>,
    ) -> Answering {
        let (Some(last), Some(other)) = (last.filter(|last| last.is_of(&head)), connection.other())
        else {
            return Answering::Unlike(Remember::Head);
        };
        let asked = std::mem::replace(&mut last.asked, Asked::Whole);
        let Some(like) = last.like.of(&self.node, &last.request) else {
            return Answering::Unlike(Remember::Head);
        };
        // What is asked for twice in a row is worth to be remembered as a whole, and what was known of another configuration
        // is not known any more.
        let is_known = self.node.is_in_force(like.common());
        if !is_known || (asked == Asked::Like && like.was_for(other)) {
            return Answering::Unlike(Remember::Head);
        }
        if !self.goes_on_at_once(connection, &head) {
            return Answering::Unlike(Remember::Nothing);
        }
        let Some(plain) = self.short_way.like(&self.node, like, other) else {
            return Answering::Unlike(Remember::Nothing);
        };
        let Some(draft) = plain.draft(&self.node, like) else {
            return Answering::Unlike(Remember::Nothing);
        };
        last.asked = Asked::Like;
        connection.take_other();
        like.accept(&self.node, &plain);
        let (body, status) = (plain.body(), plain.status());
        connection.respond_with(&head, status, (draft.fields(), body.len()));
        let now = self.node.clock.instant();
        let exchange = like.exchange(&plain, now);
        let content = body.contiguous();
        match content {
            Some(data) if data.len() <= h1::COPIED_MAX || head.method == Method::HEAD => {
                let data: &[u8] = match head.method {
                    Method::HEAD => &[],
                    _ => data,
                };
                connection.out().extend_from_slice(data);
                self.node.finished_at(&exchange, data.len() as u64, now);
                Answering::Written
            }
            _ => {
                let range = 0..content_length(&head, body);
                let body = body.clone();
                let begun = BegunAnswer {
                    exchange,
                    body,
                    range,
                };
                Answering::Begun(head, begun)
            }
        }
    }

    /// Begins to answer a request by the shortest way there is.
    fn begin_h1(
        &self,
        connection: &mut h1::Connection,
        head: Arc<wire::RequestHead>,
        last: &mut Option<LastH1>,
    ) -> Answering {
        if self.is_stopping() {
            return Answering::ByPipeline(head, None);
        }
        let repeated = last.as_mut().filter(|last| last.is_of(&head));
        if let Some(LastH1 {
            known: Some(known), ..
        }) = &repeated
            && let Some(again) = self.short_way.again(&self.node, known)
        {
            known.write(&again, connection.out());
            let begun = BegunAnswer {
                exchange: known.exchange(&again, self.node.clock.instant()),
                range: 0..content_length(&head, again.body()),
                body: again.body().clone(),
            };
            return Answering::Begun(head, begun);
        }
        let is_remembered = connection.remembers(&head);
        let facts = Arc::clone(connection.facts());
        let ready = match self.short_way.ready(&self.node, &facts, &head) {
            Ok(ready) => ready,
            Err(request) => return Answering::ByPipeline(head, request),
        };
        let written = connection.respond(&head, ready.status, &ready.headers);
        match repeated {
            // Twice is not once: what is asked for once need not be known.
            Some(last) => {
                let (node, exchange) = (&self.node, &ready.exchange);
                let answered = (&ready.head, &ready.body);
                last.known = Known::of_written(node, exchange, answered, written);
            }
            None if is_remembered => *last = LastH1::of(&ready),
            // The next one may be like what is known.
            None => {}
        }
        let begun = BegunAnswer {
            exchange: ready.exchange,
            body: ready.body,
            range: ready.range,
        };
        Answering::Begun(head, begun)
    }

    /// Sends the content of a response whose head is written, and tells how it went.
    async fn content_h1(
        &self,
        connection: &mut h1::Connection,
        head: &wire::RequestHead,
        begun: &BegunAnswer,
    ) -> After {
        let BegunAnswer {
            exchange,
            body,
            range,
        } = begun;
        let (sent, written) = self.send_h1(connection, body, range.clone()).await;
        self.node.finished(exchange, sent);
        if let Err(error) = written {
            tracing::debug!(%error, "a response did not reach its client");
            return After::Lost;
        }
        if head.persistence == Persistence::KeepAlive {
            return After::GoesOn;
        }
        match connection.flush().await {
            Ok(()) => After::Closes,
            Err(_) => After::Lost,
        }
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
        mut connection: h1::Connection,
        head: Arc<wire::RequestHead>,
        request: Option<Arc<Request>>,
    ) -> Option<h1::Connection> {
        // Responses keep the order of their requests.
        connection.flush().await.ok()?;
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

/// How what a connection brought is answered. A connection that waits has none.
#[expect(
    clippy::large_enum_variant,
    reason = "it is looked at where it lies, and a box would cost an allocation for each request"
)]
enum Answering {
    /// It is, or will be by the next wait.
    Written,
    /// Its head is written, and its content takes a while.
    Begun(Arc<wire::RequestHead>, BegunAnswer),
    /// It is not answered as the last one, and its words are worth to be remembered or not.
    Unlike(Remember),
    /// As everything is that is not at hand.
    ByPipeline(Arc<wire::RequestHead>, Option<Arc<Request>>),
    /// It was no request, and for what reason.
    Refused(StatusCode, &'static str),
    Over,
}

/// What becomes of a connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    GoesOn,
    Closes,
    /// Its client is gone.
    Lost,
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
