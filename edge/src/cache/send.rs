//! From what a fill brought to what the client is sent.

use std::sync::Arc;

use http::StatusCode;
use storage::Reader;

use super::fill::Interim;
use super::fill::{Replies, Reply};
use super::respond::{self, Incoming, Sent, vouch_interim};
use super::slices;
use super::{Client, Filling, Head, Interrupted, Wait, failed, stale_instead};
use crate::error::UpstreamError;
use crate::exchange::{Exchange, Request};
use crate::node::Node;
use crate::outcome::{Answer, Forward, Forwarded, Outcome, Share};

/// Sends what this request's own fill brings.
pub(super) async fn reply(
    node: &Arc<Node>,
    exchange: &mut Exchange,
    request: &Arc<Request>,
    filling: Filling,
    client: &mut impl Client,
) -> Result<Sent, Interrupted> {
    let Filling {
        why,
        selected,
        reply,
    } = filling;
    let forwarded = |status, answer| {
        Some(Outcome::Forwarded(Forwarded {
            why,
            status,
            answer,
            share: Share::Alone,
        }))
    };
    let now = node.clock.now();
    match listen(request, reply, client).await? {
        Reply::Streaming(streaming) => {
            exchange.outcome = forwarded(Some(streaming.said), streaming.answer);
            let incoming = Incoming {
                status: streaming.status,
                headers: streaming.headers,
                received: streaming.received,
                reader: streaming.reader,
                part: streaming.part,
            };
            respond::incoming(node, exchange, request, incoming, client).await
        }
        Reply::Sliced {
            object,
            begun,
            answer,
            status,
        } => {
            exchange.outcome = forwarded(Some(status), answer);
            let from = (&object, begun);
            Box::pin(slices::respond(node, exchange, request, from, now, client)).await
        }
        Reply::Freshened { object, answer } => {
            exchange.outcome = forwarded(Some(StatusCode::NOT_MODIFIED), answer);
            let now = node.clock.now();
            node.capacity.hit(&object, now);
            Box::pin(respond::stored(
                node, exchange, request, &object, now, client,
            ))
            .await
        }
        Reply::StaleInstead {
            object,
            staleness,
            status,
        } => {
            exchange.outcome = forwarded(Some(status), Answer::StaleInstead(staleness));
            Box::pin(respond::stored(
                node, exchange, request, &object, now, client,
            ))
            .await
        }
        Reply::Failed(error) => {
            let wait = Wait { why, selected };
            let alone = Share::Alone;
            Box::pin(failure(node, exchange, request, wait, error, alone, client)).await
        }
    }
}

/// Waits for the reply, and passes interim responses on meanwhile.
async fn listen(
    request: &Request,
    mut replies: Replies,
    client: &mut impl Client,
) -> Result<Reply, Interrupted> {
    loop {
        tokio::select! {
            biased;
            Some(interim) = replies.interim.recv() => {
                let Interim { status, mut headers } = interim;
                vouch_interim(request, status, &mut headers);
                client.interim(status, headers).await?;
            }
            // A fill that ends without a word has failed.
            reply = &mut replies.reply => {
                return Ok(reply.unwrap_or(Reply::Failed(UpstreamError::Cut)));
            }
        }
    }
}

/// Sends a response that is being received for another request.
pub(super) async fn collapsed(
    node: &Arc<Node>,
    exchange: &mut Exchange,
    request: &Arc<Request>,
    why: Forward,
    reader: Reader<Head>,
    client: &mut impl Client,
) -> Result<Sent, Interrupted> {
    let head = Arc::clone(reader.head());
    let Some(stored) = head.stored() else {
        return Err(Interrupted::Origin);
    };
    let now = node.clock.now();
    let age = stored.reception.current_age(now);
    exchange.outcome = Some(Outcome::Forwarded(Forwarded {
        why,
        status: Some(stored.status),
        answer: Answer::Stored(stored.terms.freshness_lifetime.saturating_sub(age)),
        share: Share::Collapsed,
    }));
    let incoming = Incoming {
        status: stored.status,
        headers: respond::aged(stored, now),
        received: stored.reception.response_time,
        reader,
        part: None,
    };
    respond::incoming(node, exchange, request, incoming, client).await
}

/// The request that this one waited for failed. It would not fare better.
pub(super) async fn shared_failure(
    node: &Arc<Node>,
    exchange: &mut Exchange,
    request: &Arc<Request>,
    wait: Wait,
    client: &mut impl Client,
) -> Result<Sent, Interrupted> {
    let error = UpstreamError::Cut;
    let share = Share::Collapsed;
    failure(node, exchange, request, wait, error, share, client).await
}

async fn failure(
    node: &Arc<Node>,
    exchange: &mut Exchange,
    request: &Arc<Request>,
    wait: Wait,
    error: UpstreamError,
    share: Share,
    client: &mut impl Client,
) -> Result<Sent, Interrupted> {
    let instead = stale_instead(node, request, wait.selected.as_ref(), error.failure());
    let Some((object, staleness)) = instead else {
        exchange.outcome = Some(failed(wait.why, error, share));
        respond::failure(node, exchange, error, client).await?;
        return Ok(Sent::Done);
    };
    exchange.outcome = Some(Outcome::Forwarded(Forwarded {
        why: wait.why,
        status: None,
        answer: Answer::StaleInstead(staleness),
        share,
    }));
    let now = node.clock.now();
    respond::stored(node, exchange, request, &object, now, client).await
}
