//! Into the log: purges with a deadline, and ticks.

use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::connection::State;
use async_nats::header::{NATS_EXPECTED_STREAM, NATS_MESSAGE_ID};
use async_nats::jetstream::Context;
use async_nats::jetstream::context::PublishErrorKind;
use bytes::Bytes;
use purge_api::Order;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::{Shared, message};
use crate::purges::log::{PublishError, Published};

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(100);
/// Between two ticks.
const TICK: Duration = Duration::from_secs(1);

/// Whether the log may have got a purge that it did not confirm.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Sent {
    No,
    Maybe,
}

/// Brings a purge into the log, with as many attempts as the deadline allows: its id makes them one.
pub(super) async fn publish(
    shared: &Shared,
    order: &Order,
    site: Option<&str>,
) -> Result<Published, PublishError> {
    let patience = shared.settings.publish_timeout;
    let mut sent = Sent::No;
    let mut why = "no connection".to_owned();
    let attempts = attempt_until_done(shared, order, site, &mut sent, &mut why);
    let subject = shared.subjects.purge(site);
    let mut denials = shared.line.denials();
    tokio::select! {
        attempted = timeout(patience, attempts) => {
            if let Ok(place) = attempted {
                return Ok(Published::At(place));
            }
        }
        // No attempt will do.
        why = denials.of(&subject) => return Err(PublishError::Denied(why)),
    }
    shared.metrics.publish_failures.inc();
    Err(match sent {
        Sent::No => PublishError::Unreachable(why),
        Sent::Maybe => PublishError::Unconfirmed(patience),
    })
}

async fn attempt_until_done(
    shared: &Shared,
    order: &Order,
    site: Option<&str>,
    sent: &mut Sent,
    why: &mut String,
) -> u64 {
    let context = shared.context().await;
    let subject = shared.subjects.purge(site);
    let payload = message::write(order, &shared.settings.node);
    let headers = headers(shared, &order.id);
    loop {
        if !shared.view.has_found() {
            // Where it begins to read comes first: it would never hear of what is before.
            "this node does not follow it yet".clone_into(why);
        } else if context.client().connection_state() == State::Connected {
            // What is sent without a connection is sent when there is one, however late that is.
            // From here on, whoever gives up does not know.
            let before = std::mem::replace(sent, Sent::Maybe);
            match attempt(&context, &subject, &headers, &payload).await {
                Ok(place) => return place,
                Err(error) => {
                    if error.kind() == PublishErrorKind::StreamNotFound {
                        *sent = before;
                    }
                    *why = error.to_string();
                    shared.metrics.publish_retries.inc();
                    tracing::debug!(%error, id = order.id, "a purge is not in the log yet");
                }
            }
        }
        sleep(PAUSE).await;
    }
}

type Failed = async_nats::jetstream::context::PublishError;

async fn attempt(
    context: &Context,
    subject: &str,
    headers: &HeaderMap,
    payload: &Bytes,
) -> Result<u64, Failed> {
    let (subject, headers) = (subject.to_owned(), headers.clone());
    let acknowledging = context.publish_with_headers(subject, headers, payload.clone());
    let acknowledged = acknowledging.await?.await?;
    Ok(acknowledged.sequence)
}

fn headers(shared: &Shared, id: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, id);
    headers.insert(NATS_EXPECTED_STREAM, shared.settings.stream.as_str());
    headers
}

/// Ticks once a second, for ever. All nodes do; the log keeps the first of each second of its server's clock.
pub(super) async fn tick(shared: Arc<Shared>) {
    let client = shared.context().await.client();
    let mut seconds = interval(TICK);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        seconds.tick().await;
        if client.connection_state() != State::Connected {
            continue;
        }
        let time = shared.view.server_time(shared.clock.instant());
        let own = || Duration::from_millis(shared.clock.now().unix_millis());
        let second = time.unwrap_or_else(own).as_secs();
        let headers = headers(&shared, &format!("tick-{second}"));
        let subject = shared.subjects.tick();
        let sent = client.publish_with_headers(subject, headers, Bytes::new());
        if let Err(error) = sent.await {
            tracing::debug!(%error, "no tick");
        }
    }
}
