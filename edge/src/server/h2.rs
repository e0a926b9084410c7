//! A connection that speaks HTTP/2: answers in front of its streams or within them at once, and the pipeline for everything else.

use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Waker};

use bytes::{Bytes, BytesMut};
use http::Method;
use storage::Body;
use tokio::sync::Semaphore;

use super::{Likeness, Server};
use crate::cache::{Fields, Known, Ready};
use crate::downstream::alarm::Stopping;
use crate::downstream::{self, ClientError, Facts, Io, Other, h2};
use crate::exchange::{Exchange, Request};
use crate::node::Node;
use crate::pingora::session::Inbound;

/// Content of one response that waits in an HTTP/2 connection, for the client's window or its socket, in bytes: as
/// much as one frame has.
const WAITING_MAX: u64 = 16 * 1024;

/// The longest block of fields that is written past the framing: with room to spare, what any frame may have (RFC 9113
/// §4.2).
const BLOCK_MAX: usize = 4 * 1024;

impl Server {
    pub(super) async fn serve_h2(&self, connection: (Io, BytesMut), facts: Arc<Facts>) {
        let limits = &self.node.in_force_now().limits;
        let stopping = Stopping::new(self.stopping.clone());
        let begun = h2::Connection::begin(connection, Arc::clone(limits), stopping);
        let mut connection = match Box::pin(begun).await {
            Ok(connection) => connection,
            Err(error) => return tracing::debug!(%error, "no HTTP/2 connection"),
        };
        let busy = Arc::new(Semaphore::new(limits.h2_streams as usize));
        let mut last = None;
        let mut instead = h2::Instead::default();
        while let Some(brought) = connection.accept(&busy).await {
            let accepted = match brought {
                h2::Brought::Stream(accepted) => accepted,
                h2::Brought::Rest => {
                    (last, instead) = (None, h2::Instead::default());
                    continue;
                }
                h2::Brought::Again => {
                    self.answer_repeated(&connection, last.as_deref());
                    continue;
                }
                h2::Brought::Like => {
                    connection.read(&mut instead);
                    if !self.answer_like(&connection, last.as_deref_mut(), instead.other()) {
                        connection.pass_on();
                    }
                    continue;
                }
            };
            let stream = h2::stream_of(&accepted);
            if let Some(accepted) = self.answer_again(accepted, last.as_deref_mut()) {
                let Some(known) = self.respond_h2(accepted, (&facts, &busy)) else {
                    continue;
                };
                // What is known in front of the streams is the last one, and no other.
                connection.unlearn();
                last = Some(Box::new(known));
            }
            let asked = last.as_deref().map(|last| &last.asked);
            connection.learn(stream, asked.and_then(h2::Asked::authority));
        }
    }

    /// Answers the request that a connection repeats before there is a stream, or makes a stream of it.
    fn answer_repeated(&self, connection: &h2::Connection, last: Option<&Last>) {
        let known = last.map(|last| &last.known);
        let known = known.filter(|known| known.is_packed() && !self.is_stopping());
        let length = known.and_then(Known::content_length);
        let (Some(known), Some(length @ 0..=WAITING_MAX)) = (known, length) else {
            return connection.pass_on();
        };
        if !connection.allows(usize::try_from(length).unwrap_or(usize::MAX)) {
            return connection.pass_on();
        }
        let Some(again) = self.short_way.again(&self.node, known) else {
            return connection.pass_on();
        };
        let content = again.body().contiguous().filter(|_| length > 0);
        let content: &[u8] = content.map_or(&[], |content| content);
        known.packed(&again, |head, numbers| {
            connection.answer_again(head, numbers, content);
        });
        let now = self.node.clock.instant();
        let exchange = known.exchange(&again, now);
        self.node.finished_at(&exchange, content.len() as u64, now);
    }

    /// Answers a request before there is a stream that differs from the one that is known in path and authority only. False where
    /// that takes more.
    fn answer_like(
        &self,
        connection: &h2::Connection,
        last: Option<&mut Last>,
        other: Other<'_>,
    ) -> bool {
        let last = last.filter(|last| last.room.is_for(other) && !self.is_stopping());
        let Some(last) = last else {
            return false;
        };
        let request = last.known.request();
        if wire::check_path(other.target).is_err() {
            return false;
        }
        let only_head = *request.method() == Method::HEAD;
        let Some(like) = last.like.of(&self.node, request) else {
            return false;
        };
        let Some(plain) = self.short_way.like(&self.node, like, other) else {
            return false;
        };
        let content: &[u8] = match plain.body().contiguous() {
            _ if only_head => &[],
            Some(content) if content.len() as u64 <= WAITING_MAX => content,
            Some(_) | None => return false,
        };
        let Some(draft) = plain
            .draft(&self.node, like)
            .filter(|_| !plain.has_secret())
        else {
            return false;
        };
        let mut fields = draft.fields();
        if fields.any(|field| policy::hop_by_hop::is_one(field.name)) {
            return false;
        }
        let longest = h2::head_length_max(draft.fields());
        if longest > BLOCK_MAX || !connection.allows(content.len()) {
            return false;
        }
        like.accept(&self.node, &plain);
        connection.answer_like((longest, plain.status()), draft.fields(), content);
        let now = self.node.clock.instant();
        let exchange = like.exchange(&plain, now);
        self.node.finished_at(&exchange, content.len() as u64, now);
        true
    }

    /// Answers a request that is the same as the last one. What is not answered is given back.
    fn answer_again(
        &self,
        accepted: h2::Accepted,
        last: Option<&mut Last>,
    ) -> Option<h2::Accepted> {
        let Some(last) = last.filter(|_| !self.is_stopping()) else {
            return Some(accepted);
        };
        let only_head = *accepted.0.method() == Method::HEAD;
        let short_enough = only_head || last.known.is_short(WAITING_MAX);
        if !short_enough || !last.asked.is_again(&accepted.0) {
            return Some(accepted);
        }
        let Some(again) = self.short_way.again(&self.node, &last.known) else {
            return Some(accepted);
        };
        let content = match again.body().contiguous() {
            Some(content) if !only_head => content.clone(),
            _ => Bytes::new(),
        };
        let answered = self.node.clock.instant();
        let fields = last.known.fields(&again);
        let sent = h2::answer(accepted, last.known.status(), fields, content);
        self.told(&last.known.exchange(&again, answered), sent);
        None
    }

    /// Tells of an exchange that ended at once.
    fn told(&self, exchange: &Exchange, sent: Result<u64, ClientError>) {
        self.node.finished(exchange, *sent.as_ref().unwrap_or(&0));
        if let Err(error) = sent {
            tracing::debug!(%error, "a response did not reach its client");
        }
    }

    /// Answers a request by the shortest way there is; what takes time does so in a task of its own. What may be said
    /// again is given back.
    fn respond_h2(
        &self,
        accepted: h2::Accepted,
        (facts, busy): (&Arc<Facts>, &Arc<Semaphore>),
    ) -> Option<Last> {
        let Ok(place) = Arc::clone(busy).try_acquire_owned() else {
            h2::reject(accepted);
            return None;
        };
        let limits = &self.node.in_force_now().limits;
        let head = match h2::read_head(&accepted.0, limits) {
            Ok(head) => Arc::new(head),
            Err(refusal) => {
                let status = refusal.status();
                self.node.refused(facts, status.as_u16(), refusal.token());
                h2::refuse(accepted, status);
                return None;
            }
        };
        let ready = match self.is_stopping() {
            true => Err(None),
            false => self.short_way.ready(&self.node, facts, &head),
        };
        let server = self.clone();
        let mut ready = match ready {
            Ok(ready) => ready,
            Err(request) => {
                let facts = Arc::clone(facts);
                tokio::spawn(async move {
                    server.exchange_h2(accepted, (head, request), facts).await;
                    drop(place);
                });
                return None;
            }
        };
        policy::hop_by_hop::remove(&mut ready.headers);
        if let Some(content) = short(&ready.body, ready.range.clone()) {
            let last = Last::of(&self.node, &accepted, &ready);
            let sent = h2::answer(accepted, ready.status, ready.headers, content);
            self.told(&ready.exchange, sent);
            return last;
        }
        let exchange = h2::Exchange::complete(accepted, &head, Arc::clone(limits));
        let mut answer = Box::pin(async move {
            server.answer_h2(exchange, ready).await;
            drop(place);
        });
        // Most clients have room for most answers. A task of its own is polled anew, with a waker that wakes it.
        let mut nobody = Context::from_waker(Waker::noop());
        if answer.as_mut().poll(&mut nobody).is_pending() {
            tokio::spawn(answer);
        }
        None
    }

    async fn answer_h2(&self, mut exchange: h2::Exchange, ready: Ready) {
        let written = async {
            exchange.write_own_head(ready.status, ready.headers)?;
            for data in ready.body.slice(ready.range) {
                exchange.write_body(data).await?;
            }
            exchange.end(None)
        };
        let written: Result<(), ClientError> = written.await;
        self.node
            .finished(&ready.exchange, exchange.body_bytes_sent());
        if let Err(error) = written {
            tracing::debug!(%error, "a response did not reach its client");
        }
        exchange.finish();
    }

    async fn exchange_h2(
        &self,
        accepted: h2::Accepted,
        (head, request): (Arc<wire::RequestHead>, Option<Arc<Request>>),
        facts: Arc<Facts>,
    ) {
        let limits = Arc::clone(&self.node.in_force().limits);
        let exchange = match h2::Exchange::begin(accepted, &head, limits).await {
            Ok(exchange) => exchange,
            Err(error) => return tracing::debug!(%error, "a request did not end as announced"),
        };
        let exchange = downstream::Exchange::H2(Box::new(exchange));
        let inbound = Inbound::unread(facts, head, request);
        if let Some(downstream::Exchange::H2(exchange)) =
            self.pipeline.process(exchange, inbound).await
        {
            exchange.finish();
        }
    }
}

/// What an HTTP/2 connection was asked last, and how it was answered.
struct Last {
    asked: h2::Asked,
    known: Known<Fields>,
    like: Likeness,
    /// For other targets and hosts.
    room: h2::Room,
}

impl Last {
    fn of(node: &Node, accepted: &h2::Accepted, ready: &Ready) -> Option<Self> {
        let asked = h2::Asked::of(&accepted.0)?;
        let answered = (&ready.head, &ready.body);
        let known = Known::of_fields(node, &ready.exchange, answered, &ready.headers)?;
        Some(Self {
            asked,
            known,
            like: Likeness::default(),
            room: h2::Room::beside(&accepted.0, &node.in_force().limits.wire),
        })
    }
}

/// Content that is there in one piece, and so short that it may wait in the connection.
fn short(body: &Body, range: Range<u64>) -> Option<Bytes> {
    if range.end - range.start > WAITING_MAX {
        return None;
    }
    let mut pieces = body.slice(range);
    let first = pieces.next().unwrap_or_default();
    pieces.next().is_none().then_some(first)
}
