//! The cache phase: what happens to a request that a stored response may answer.
//!
//! ```text
//!   find ──usable──────────────────────────────────────────▶ send it
//!     │ nothing, or in doubt
//!     ▼
//!   board ──lead──▶ a fill of its own task ──reply──▶ send what it found
//!     │ ▲             │ lands: streaming, refreshed, not shareable, failed
//!     │ └─again─┐     ▼
//!     └─follow──┴── landing ──▶ send it, or go alone
//! ```

mod fill;
mod find;
mod respond;
mod send;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use policy::request::Plan;
use policy::store::Stored;
use storage::{Boarding, Landing, Object, Reader};
use tokio::time::timeout;
use wire::{Framing, Upgrade};

use crate::error::UpstreamError;
use crate::exchange::{Exchange, Passing, Request};
use crate::node::Node;
use crate::outcome::{Answer, Bypass, Forward, Forwarded, Local, Outcome, Share};
use crate::sites::UseCache;
use fill::Fill;
pub(crate) use fill::Interim;
use find::{Found, find};
pub(crate) use respond::{date, failure as answer_failure, made_up, mark, plain};

/// How often a request that waited in vain looks again before it goes alone.
const LOOKS_MAX: usize = 4;

/// What is stored beside a body.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are stored responses, and each is behind one pointer already"
)]
pub(crate) enum Head {
    /// A response that may be reused.
    Stored(Stored),
    /// A response that is only passed on.
    PassedOn,
}

impl storage::Head for Head {
    fn weight(&self) -> usize {
        match self {
            Self::Stored(stored) => stored.weight(),
            Self::PassedOn => 0,
        }
    }
}

impl Head {
    pub(crate) const fn stored(&self) -> Option<&Stored> {
        match self {
            Self::Stored(stored) => Some(stored),
            Self::PassedOn => None,
        }
    }
}

/// The client's end of an exchange, as the cache writes to it.
pub(crate) trait Client: Send {
    /// An interim response (1xx).
    fn interim(
        &mut self,
        status: StatusCode,
        headers: HeaderMap,
    ) -> impl Future<Output = Result<(), Interrupted>> + Send;
    /// The final response's head; it may wait for content.
    fn head(
        &mut self,
        status: StatusCode,
        headers: HeaderMap,
    ) -> impl Future<Output = Result<(), Interrupted>> + Send;
    /// Content.
    fn content(&mut self, data: Bytes) -> impl Future<Output = Result<(), Interrupted>> + Send;
    /// Sends what waits.
    fn flush(&mut self) -> impl Future<Output = Result<(), Interrupted>> + Send;
    /// The regular end.
    fn end(&mut self) -> impl Future<Output = Result<(), Interrupted>> + Send;
}

/// Why a response did not come to its regular end.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Interrupted {
    #[error("the client is gone")]
    Client,
    #[error("the response was cut on its way from the origin")]
    Origin,
}

/// Whether the cache answered.
#[derive(Debug)]
pub(crate) enum Served {
    Answered,
    /// The request passes by.
    Pass(Passing),
}

/// Answers a request from the cache, or by filling it, or lets it pass by.
///
/// # Errors
/// [`Interrupted`] where a response was begun and could not be ended.
pub(crate) async fn serve(
    node: &Arc<Node>,
    exchange: &mut Exchange,
    request: &Arc<Request>,
    client: &mut impl Client,
) -> Result<Served, Interrupted> {
    let only_if_cached = request.terms.only_if_cached();
    if let Some(why) = passes_by(request) {
        if only_if_cached && why != Forward::Method {
            return not_cached(node, exchange, client).await;
        }
        return Ok(Served::Pass(Passing::new(why, None)));
    }
    let mut waited = None;
    let mut unfit = Unfit::Unknown;
    for _ in 0..LOOKS_MAX {
        let (why, selected) = match find(node, request, waited) {
            Found::Usable(hit) => {
                hit.send(node, exchange, request, client).await?;
                return Ok(Served::Answered);
            }
            Found::Doubtful { why, selected } => (why, selected),
        };
        if only_if_cached {
            return not_cached(node, exchange, client).await;
        }
        match go_forward(node, request, Wait { why, selected }, unfit) {
            Forwarding::LookAgain => {}
            Forwarding::Pass(passing) => return Ok(Served::Pass(passing)),
            Forwarding::Fill(filling) => {
                send::reply(node, exchange, request, filling, client).await?;
                return Ok(Served::Answered);
            }
            Forwarding::Follow { mut follower, wait } => {
                match timeout(node.follower_wait, follower.landing()).await {
                    Err(_elapsed) => {
                        let why = Forward::Bypass(Bypass::Crowded);
                        return Ok(Served::Pass(Passing::new(why, None)));
                    }
                    Ok(Landing::Streaming(reader)) if suits(node, request, &reader) => {
                        let why = wait.why;
                        send::collapsed(node, exchange, request, why, reader, client).await?;
                        return Ok(Served::Answered);
                    }
                    Ok(Landing::Streaming(_)) if unfit == Unfit::Unknown => {
                        unfit = Unfit::OpenFlight
                    }
                    Ok(Landing::Streaming(_)) => {
                        let filling = fill_alone(node, request, wait);
                        send::reply(node, exchange, request, filling, client).await?;
                        return Ok(Served::Answered);
                    }
                    Ok(Landing::Refreshed) => waited = Some(wait.why),
                    Ok(Landing::NotShareable) => {
                        if wait.selected.is_none() {
                            let why = Forward::Bypass(Bypass::NotShared);
                            return Ok(Served::Pass(Passing::new(why, None)));
                        }
                        let filling = fill_alone(node, request, wait);
                        send::reply(node, exchange, request, filling, client).await?;
                        return Ok(Served::Answered);
                    }
                    Ok(Landing::Failed) => {
                        send::shared_failure(node, exchange, request, wait, client).await?;
                        return Ok(Served::Answered);
                    }
                }
            }
        }
    }
    let why = Forward::Bypass(Bypass::Crowded);
    Ok(Served::Pass(Passing::new(why, None)))
}

/// The client wanted a stored response or none (RFC 9111 §5.2.1.7).
async fn not_cached(
    node: &Node,
    exchange: &mut Exchange,
    client: &mut impl Client,
) -> Result<Served, Interrupted> {
    let outcome = Outcome::Local(Local::OnlyIfCached);
    let status = StatusCode::GATEWAY_TIMEOUT;
    respond::local(node, exchange, client, status, outcome).await?;
    Ok(Served::Answered)
}

/// Which flights turned out to bring something else than the request needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Unfit {
    Unknown,
    /// The one that began before the key's selecting fields were known.
    OpenFlight,
}

/// Whether a request is none of the cache's business, and why.
fn passes_by(request: &Request) -> Option<Forward> {
    let head = &request.head;
    let settings = &request.treatment.settings;
    if head.upgrade != Upgrade::None {
        return Some(Forward::Bypass(Bypass::Upgrade));
    }
    if request.treatment.cache == UseCache::Never {
        return Some(Forward::Bypass(Bypass::Rule));
    }
    match policy::request::plan(&head.method, &head.headers, settings) {
        Plan::Lookup if head.framing == Framing::None => None,
        // The key says nothing of a request's content.
        Plan::Lookup => Some(Forward::Bypass(Bypass::Content)),
        Plan::Bypass(_) => Some(Forward::Bypass(Bypass::Rule)),
        Plan::Forward => Some(Forward::Method),
    }
}

/// What a request waits with.
#[derive(Debug)]
pub(crate) struct Wait {
    pub why: Forward,
    pub selected: Option<Arc<Object<Head>>>,
}

/// How a request gets its answer.
enum Forwarding {
    /// By now, something usable is stored.
    LookAgain,
    Pass(Passing),
    Fill(Filling),
    Follow {
        follower: storage::Follower<Head>,
        wait: Wait,
    },
}

/// A fill that answers this request.
#[derive(Debug)]
pub(crate) struct Filling {
    pub why: Forward,
    pub selected: Option<Arc<Object<Head>>>,
    pub reply: fill::Replies,
}

fn go_forward(node: &Arc<Node>, request: &Arc<Request>, wait: Wait, unfit: Unfit) -> Forwarding {
    let Wait { why, selected } = wait;
    if request.method() == Method::HEAD {
        // A fill would fetch a body that nobody asked for.
        return Forwarding::Pass(Passing::new(why, selected));
    }
    let key = request.storage_key();
    let variant = node.variant(request);
    let now = node.moment();
    if selected.is_none() && node.uncacheable.remembered(key, variant, now) {
        let why = Forward::Bypass(Bypass::Uncacheable);
        return Forwarding::Pass(Passing::new(why, None));
    }
    let wait = Wait { why, selected };
    if why == Forward::Request || is_personal(request) {
        // What this request gets, or how, is nothing that others could share.
        return Forwarding::Fill(fill_alone(node, request, wait));
    }
    if variant.is_some()
        && unfit == Unfit::Unknown
        && let Some(follower) = node.flights.join(key, None)
    {
        return Forwarding::Follow { follower, wait };
    }
    match node.flights.board(key, variant) {
        // A flight may have ended between the lookup and now.
        Boarding::Lead(lead) if matches!(find(node, request, None), Found::Usable(_)) => {
            drop(lead.land(Landing::Refreshed));
            Forwarding::LookAgain
        }
        Boarding::Lead(lead) => {
            let (fill, reply) = Fill::new(node, request, wait.selected.clone(), Some(lead));
            tokio::spawn(fill.run());
            Forwarding::Fill(Filling {
                why,
                selected: wait.selected,
                reply,
            })
        }
        Boarding::Follow(follower) => Forwarding::Follow { follower, wait },
        Boarding::Crowded => {
            let why = Forward::Bypass(Bypass::Crowded);
            Forwarding::Pass(Passing::new(why, None))
        }
    }
}

/// Whether what this request gets may be meant for nobody else.
fn is_personal(request: &Request) -> bool {
    request.terms.is_authorized() || request.terms.forbids_storing()
}

/// Answers a request that cannot share by a fill of its own.
fn fill_alone(node: &Arc<Node>, request: &Arc<Request>, wait: Wait) -> Filling {
    let Wait { why, selected } = wait;
    let (fill, reply) = Fill::new(node, request, selected.clone(), None);
    tokio::spawn(fill.run());
    Filling {
        why,
        selected,
        reply,
    }
}

/// Whether a response that is being received for another request may answer this one, too (RFC 9111 §4).
fn suits(node: &Node, request: &Request, reader: &Reader<Head>) -> bool {
    let settings = &request.treatment.settings;
    reader.head().stored().is_some_and(|stored| {
        stored.selecting.matches(request.headers(), &settings.vary)
            && find::is_usable(&policy::reuse::reuse(
                &request.terms,
                stored,
                node.clock.now(),
            ))
    })
}

/// Starts to validate a stored response while it is being sent (RFC 5861 §3), unless that is under way.
pub(crate) fn refresh(node: &Arc<Node>, request: &Arc<Request>, stored: &Arc<Object<Head>>) {
    let boarding = node
        .flights
        .board(request.storage_key(), node.variant(request));
    if let Boarding::Lead(lead) = boarding {
        let selected = Some(Arc::clone(stored));
        let (fill, _nobody_waits) = Fill::new(node, request, selected, Some(lead));
        tokio::spawn(fill.run());
    }
}

/// A failure, and the stored response that may be sent in its place.
pub(crate) fn stale_instead(
    node: &Node,
    request: &Request,
    selected: Option<&Arc<Object<Head>>>,
    failure: policy::stale::Failure,
) -> Option<(Arc<Object<Head>>, std::time::Duration)> {
    let object = selected?;
    let stored = object.head().stored()?;
    let settings = &request.treatment.settings;
    let staleness = policy::stale::may_serve_stale(stored, failure, node.clock.now(), settings)?;
    Some((Arc::clone(object), staleness))
}

/// The outcome of a request that got no answer.
pub(crate) const fn failed(why: Forward, error: UpstreamError, share: Share) -> Outcome {
    Outcome::Forwarded(Forwarded {
        why,
        status: None,
        answer: Answer::Failed(error.proxy_status()),
        share,
    })
}
