//! A fill: one request to the origin in a task of its own, so that no client's speed or absence touches it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use policy::freshen::Freshened;
use policy::freshness::Revalidation;
use policy::settings::Settings;
use policy::store::{DoNotStore, Stored};
use policy::time::Timestamp;
use storage::{Keep, Landing, Lead, Object, Reader};
use tokio::sync::{mpsc, oneshot};

use super::{Head, stale_instead};
use crate::downstream::content_length;
use crate::error::UpstreamError;
use crate::exchange::Request;
use crate::node::Node;
use crate::origins::outbound;
use crate::outcome::{Answer, NotStored};
use crate::pingora::fetch::{Asking, Fetched};

/// Interim responses that wait for a slow client; further ones are dropped (RFC 9110 §15.2 lets them be).
const INTERIM_MAX: usize = 8;

/// An interim response on its way to the client that led the fill.
#[derive(Debug)]
pub(crate) struct Interim {
    pub status: StatusCode,
    pub headers: HeaderMap,
}

/// What the client that started a fill hears from it.
#[derive(Debug)]
pub(crate) struct Replies {
    pub reply: oneshot::Receiver<Reply>,
    pub interim: mpsc::Receiver<Interim>,
}

/// What a fill brought.
#[derive(Debug)]
pub(crate) enum Reply {
    /// A response, to be read while it comes in.
    Streaming(Streaming),
    /// The stored response was validated.
    Freshened {
        object: Arc<Object<Head>>,
        ttl: Duration,
    },
    /// The origin answered with a failure, and the stored response may be sent instead.
    StaleInstead {
        object: Arc<Object<Head>>,
        staleness: Duration,
        status: StatusCode,
    },
    /// There is no response.
    Failed(UpstreamError),
}

/// A response that is being received.
#[derive(Debug)]
pub(crate) struct Streaming {
    pub status: StatusCode,
    /// As the origin sent them, without what belongs to its connection.
    pub headers: HeaderMap,
    pub received: Timestamp,
    pub reader: Reader<Head>,
    pub answer: Answer,
}

/// One request to the origin.
pub(super) struct Fill {
    node: Arc<Node>,
    request: Arc<Request>,
    selected: Option<Arc<Object<Head>>>,
    lead: Option<Lead<Head>>,
    reply: oneshot::Sender<Reply>,
    interim: mpsc::Sender<Interim>,
}

impl Fill {
    /// Prepares to answer `request`, by validating `selected` where there is something to validate. Others wait for
    /// it where it has the `lead`.
    pub(super) fn new(
        node: &Arc<Node>,
        request: &Arc<Request>,
        selected: Option<Arc<Object<Head>>>,
        lead: Option<Lead<Head>>,
    ) -> (Self, Replies) {
        let (reply, replies) = oneshot::channel();
        let (interim, interims) = mpsc::channel(INTERIM_MAX);
        let fill = Self {
            node: Arc::clone(node),
            request: Arc::clone(request),
            selected,
            lead,
            reply,
            interim,
        };
        let replies = Replies {
            reply: replies,
            interim: interims,
        };
        (fill, replies)
    }

    /// Asks the origin and does what the answer demands.
    pub(super) async fn run(mut self) {
        let fetched = match self.fetch().await {
            Ok(fetched) => fetched,
            Err(error) => return self.fail(error),
        };
        if fetched.status != StatusCode::NOT_MODIFIED {
            return self.receive(fetched).await;
        }
        match self.freshen(&fetched) {
            Some((object, ttl)) => {
                fetched.release().await;
                self.freshened(object, ttl);
            }
            None if self.selected.is_none() => self.fail(UpstreamError::Unasked),
            None => {
                // RFC 9111 §4.3.4: the 304 is not about what is stored. Only a full response helps.
                fetched.release().await;
                self.selected = None;
                match self.fetch().await {
                    Ok(fetched) if fetched.status == StatusCode::NOT_MODIFIED => {
                        self.fail(UpstreamError::Unasked);
                    }
                    Ok(fetched) => self.receive(fetched).await,
                    Err(error) => self.fail(error),
                }
            }
        }
    }

    async fn fetch(&self) -> Result<Fetched, UpstreamError> {
        let marks = self.node.marks();
        let mut headers = outbound::headers(&self.request, &marks);
        policy::validation::strip_preconditions(&mut headers);
        if let Some(stored) = self.selected.as_ref().and_then(|it| it.head().stored()) {
            policy::validation::add_validators(stored, &mut headers);
        }
        let asking = Asking {
            method: Method::GET,
            target: &self.request.head.target,
            authority: &self.request.head.authority,
            headers,
            site: &self.request.site,
        };
        self.node.fetcher.fetch(asking, &self.interim).await
    }

    fn freshen(&self, fetched: &Fetched) -> Option<(Arc<Object<Head>>, Duration)> {
        let object = self.selected.as_ref()?;
        let stored = object.head().stored()?;
        let treatment = self.request.treatment_of(stored.status);
        let exchange = self.policy_exchange(fetched);
        let Freshened::Updated(stored) =
            policy::freshen::freshen(stored, &exchange, &treatment.settings)
        else {
            return None;
        };
        let ttl = ttl(&stored, self.node.clock.now());
        let object = self.node.memory.update_head(object, Head::Stored(stored))?;
        Some((object, ttl))
    }

    fn policy_exchange<'a>(&'a self, fetched: &'a Fetched) -> policy::store::Exchange<'a> {
        policy::store::Exchange {
            method: self.request.method(),
            request: self.request.headers(),
            status: fetched.status,
            response: &fetched.headers,
            request_time: fetched.request_time,
            response_time: fetched.response_time,
        }
    }

    fn freshened(self, object: Arc<Object<Head>>, ttl: Duration) {
        let landing = if ttl.is_zero() || is_no_cache(&object) {
            Landing::NotShareable
        } else {
            Landing::Refreshed
        };
        if let Some(lead) = self.lead {
            drop(lead.land(landing));
        }
        hand_over(self.reply, Reply::Freshened { object, ttl });
    }

    fn fail(self, error: UpstreamError) {
        tracing::debug!(%error, target = %self.request.head.target, "a fill failed");
        if let Some(lead) = self.lead {
            drop(lead.land(Landing::Failed));
        }
        hand_over(self.reply, Reply::Failed(error));
    }

    async fn receive(self, fetched: Fetched) {
        let treatment = self.request.treatment_of(fetched.status);
        if let Some((object, staleness)) = self.spared(&fetched, &treatment.settings) {
            if let Some(lead) = self.lead {
                drop(lead.land(Landing::Failed));
            }
            let reply = Reply::StaleInstead {
                object,
                staleness,
                status: fetched.status,
            };
            return hand_over(self.reply, reply);
        }
        match policy::store::decide(&self.policy_exchange(&fetched), &treatment.settings) {
            Ok(stored) => self.store(fetched, stored).await,
            Err(reason) => {
                self.remember(&fetched, reason, treatment.uncacheable);
                self.pass_on(fetched, reason).await;
            }
        }
    }

    /// The stored response that spares the client a failure (RFC 5861 §4).
    fn spared(
        &self,
        fetched: &Fetched,
        settings: &Settings,
    ) -> Option<(Arc<Object<Head>>, Duration)> {
        if !settings.stale_statuses.contains(&fetched.status) {
            return None;
        }
        let failure = policy::stale::Failure::Status(fetched.status);
        stale_instead(&self.node, &self.request, self.selected.as_ref(), failure)
    }

    async fn store(self, fetched: Fetched, stored: Stored) {
        let node = &self.node;
        let key = self.request.storage_key();
        match stored.selecting.names() {
            [] => node.vary.forget(key),
            names => node.vary.learn(key, names.into()),
        }
        let variant = storage::Variant(stored.selecting.variant());
        let ttl = ttl(&stored, node.clock.now());
        let shareable = !ttl.is_zero() && stored.terms.revalidation != Revalidation::EveryTime;
        let length = content_length(&fetched.headers);
        let head = Head::Stored(stored);
        let fill = node.memory.begin(key, variant, head, length, Keep::Store);
        let landing = if shareable {
            Landing::Streaming(fill.reader())
        } else {
            Landing::NotShareable
        };
        self.stream(fetched, fill, landing, Answer::Stored(ttl))
            .await;
    }

    /// Remembers that the answer cannot be stored, where that is about the resource and not about this request.
    fn remember(&self, fetched: &Fetched, reason: DoNotStore, lifetime: Duration) {
        if let Some(selected) = &self.selected
            && !fetched.status.is_server_error()
        {
            // What was stored has been replaced at the origin by something that is not.
            self.node.memory.remove_object(selected);
        }
        if is_about_request(reason) || fetched.status.is_server_error() || lifetime.is_zero() {
            return;
        }
        let until = storage::Moment((fetched.response_time + lifetime).unix_millis());
        let variant = self.node.variant(&self.request);
        let key = self.request.storage_key();
        self.node.uncacheable.remember(key, variant, until);
    }

    async fn pass_on(self, fetched: Fetched, reason: DoNotStore) {
        let key = self.request.storage_key();
        let nobody = storage::Variant(Default::default());
        let length = content_length(&fetched.headers);
        let memory = &self.node.memory;
        let fill = memory.begin(key, nobody, Head::PassedOn, length, Keep::PassOn);
        let answer = Answer::NotStored(NotStored::Policy(reason));
        self.stream(fetched, fill, Landing::NotShareable, answer)
            .await;
    }

    /// Moves the body from the origin into the fill, which its readers follow.
    async fn stream(
        self,
        mut fetched: Fetched,
        mut fill: storage::Fill<Head>,
        landing: Landing<Head>,
        answer: Answer,
    ) {
        let announced = content_length(&fetched.headers);
        let streaming = Streaming {
            status: fetched.status,
            headers: std::mem::take(&mut fetched.headers),
            received: fetched.response_time,
            reader: fill.reader(),
            answer,
        };
        // Followers find the flight until the response is in the index: nobody falls between the two.
        let airborne = self.lead.map(|lead| lead.land(landing));
        hand_over(self.reply, Reply::Streaming(streaming));
        let mut body = Body {
            announced,
            received: 0,
        };
        loop {
            match body.next(&mut fetched).await {
                Ok(Piece::More(data)) => {
                    if let Err(error) = fill.write(data).await {
                        return tracing::debug!(%error, "a fill was given up");
                    }
                }
                Ok(Piece::Last(data)) => {
                    if let Err(error) = fill.write(data).await {
                        return tracing::debug!(%error, "a fill was given up");
                    }
                    break;
                }
                Ok(Piece::End) => break,
                Err(error) => {
                    tracing::debug!(%error, "a response was cut while it was received");
                    return fill.fail(storage::Cut::Origin);
                }
            }
        }
        fill.finish();
        // At once: who finds the response stale already has to be able to refresh it.
        drop(airborne);
        fetched.release().await;
    }
}

/// A body on its way in.
struct Body {
    announced: Option<u64>,
    received: u64,
}

/// What comes next of it.
enum Piece {
    More(Bytes),
    /// The last, and the origin has said so.
    Last(Bytes),
    End,
}

impl Body {
    /// The piece that completes an announced length is kept back until the end behind it was seen: a client that has
    /// it all may ask again at once, and should find it stored.
    async fn next(&mut self, fetched: &mut Fetched) -> Result<Piece, UpstreamError> {
        let Some(data) = fetched.next().await? else {
            return Ok(Piece::End);
        };
        self.received += data.len() as u64;
        if self.announced != Some(self.received) {
            return Ok(Piece::More(data));
        }
        // HTTP/2 may end a stream with an empty frame.
        while let Some(more) = fetched.next().await? {
            if !more.is_empty() {
                return Err(UpstreamError::Malformed);
            }
        }
        Ok(Piece::Last(data))
    }
}

/// Whether another request for the same resource might get an answer that can be stored.
const fn is_about_request(reason: DoNotStore) -> bool {
    use DoNotStore as D;
    matches!(reason, D::Method | D::RequestNoStore | D::Authorization)
}

fn is_no_cache(object: &Object<Head>) -> bool {
    let stored = object.head().stored();
    stored.is_none_or(|stored| stored.terms.revalidation == Revalidation::EveryTime)
}

/// What is left of a stored response's freshness lifetime.
fn ttl(stored: &Stored, now: Timestamp) -> Duration {
    let age = stored.reception.current_age(now);
    stored.terms.freshness_lifetime.saturating_sub(age)
}

fn hand_over(reply: oneshot::Sender<Reply>, what: Reply) {
    if reply.send(what).is_err() {
        tracing::trace!("the client of a fill is gone");
    }
}
