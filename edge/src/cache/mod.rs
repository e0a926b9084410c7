//! The cache phase: what happens to a request that a stored response may answer.
//!
//! ```text
//!   find ──usable──────────────────────────────────────────▶ send it
//!     │ nothing, or in doubt
//!     ▼
//!   go_forward ──lead──▶ a fill of its own task ──reply──▶ send what it found
//!     │ ▲             │ lands: streaming, refreshed, not shareable, failed
//!     │ └─again─┐     ▼
//!     └─follow──┴── landing ──▶ send it, or go alone
//! ```
//!
//! [`decide`] walks it until there is a [`Decision`], and [`serve`] carries that out.

mod again;
mod content;
mod draft;
mod expect;
mod fill;
mod find;
mod fresh;
mod head;
mod plain;
mod post;
mod pour;
mod ready;
mod represent;
mod respond;
mod rest;
mod send;
mod share;
mod slices;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use policy::partial::Extent;
use policy::request::Plan;
use storage::purge::Life;
use storage::{Boarding, Follower, Landing, Lasting, Lead, Object, Reader};
use tokio::time::timeout;
use wire::{Framing, Upgrade};

use crate::error::UpstreamError;
use crate::exchange::{Exchange, Passing, Request};
use crate::node::Node;
use crate::outcome::{Answer, Bypass, Forward, Forwarded, Local, Outcome, Reason, Share};
use crate::purges::Trust;
use crate::sites::UseCache;
use crate::telemetry::{Kind, Open};
pub(crate) use again::{Again, Fields, Known, Written};
pub(crate) use expect::{Expected, expect};
use fill::Fill;
pub(crate) use fill::Interim;
use find::{Found, Hit, find};
pub(crate) use find::{stored, weigh};
pub(crate) use head::Head;
pub(crate) use plain::{Like, Plain};
pub(crate) use post::Copying;
pub(crate) use ready::{Ready, ready};
use respond::Sent;
pub(crate) use respond::{
    CACHE_STATUS, date, failure as answer_failure, made_up, mark, plain, tell_way, told_error,
    vouch, vouch_interim, withhold,
};
use share::{is_far, suits};
pub(crate) use slices::Slices;

/// How often a request that waited in vain looks again before it goes alone.
const LOOKS_MAX: usize = 4;

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
    /// Content that came in pieces, and leaves as one.
    fn contents(
        &mut self,
        data: Vec<Bytes>,
    ) -> impl Future<Output = Result<(), Interrupted>> + Send;
    /// Whether content that lasts in memory goes to this client as pages.
    fn takes_pages(&self) -> bool;
    /// Content in memory that lasts, where its pages are taken.
    fn pages(&mut self, data: Lasting) -> impl Future<Output = Result<(), Interrupted>> + Send;
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
    /// Before anything was sent.
    #[error("the stored response cannot be read from its disk")]
    Unreadable,
    #[error("the rest of the stored response cannot be read from its disk")]
    Disk,
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
    for _ in 0..LOOKS_MAX {
        match attempt(node, exchange, request, client).await {
            Ok(Attempt::Served(served)) => return Ok(served),
            // The origin has something else by now, and nothing was sent.
            Ok(Attempt::Changed) => {}
            // A disk did not give what it had. It has forgotten that by now, and nothing was sent.
            Err(Interrupted::Unreadable) => {}
            Err(interrupted) => return Err(interrupted),
        }
    }
    let why = find::absent(node, request.storage_key());
    Ok(Served::Pass(Passing::new(why, None)))
}

/// What came of one look.
enum Attempt {
    Served(Served),
    /// What is stored was replaced at the origin.
    Changed,
}

async fn attempt(
    node: &Arc<Node>,
    exchange: &mut Exchange,
    request: &Arc<Request>,
    client: &mut impl Client,
) -> Result<Attempt, Interrupted> {
    let decision = decide(node, request).await;
    if matches!(decision, Decision::Pass(_) | Decision::Fill(_)) {
        node.hints.tell(request, client).await?;
    }
    // What passes by need not carry the futures of all that does not.
    let sent = match decision {
        Decision::Pass(passing) => return Ok(Attempt::Served(Served::Pass(passing))),
        Decision::Hit(hit) => Box::pin(hit.send(node, exchange, request, client)).await?,
        Decision::NotCached => Sent::NotCached,
        Decision::Fill(filling) => {
            Box::pin(send::reply(node, exchange, request, filling, client)).await?
        }
        Decision::Share(why, reader) => {
            let sending = send::collapsed(node, exchange, request, why, reader, client);
            Box::pin(sending).await?
        }
        Decision::FailTogether(wait) => {
            let sending = send::shared_failure(node, exchange, request, wait, client);
            Box::pin(sending).await?
        }
    };
    match sent {
        Sent::Done => {}
        Sent::NotCached => Box::pin(not_cached(node, exchange, client)).await?,
        Sent::Changed => return Ok(Attempt::Changed),
    }
    Ok(Attempt::Served(Served::Answered))
}

/// How a request gets its answer.
enum Decision {
    /// From what is stored.
    Hit(Hit),
    /// It wanted what is stored or nothing, and nothing is.
    NotCached,
    /// From the origin, past the cache.
    Pass(Passing),
    /// From a fill of its own.
    Fill(Filling),
    /// From the fill of another request, while that is running.
    Share(Forward, Reader<Head>),
    /// As the request that it waited for: not at all, or stale.
    FailTogether(Wait),
}

impl Decision {
    const fn pass(why: Forward) -> Self {
        Self::Pass(Passing::new(why, None))
    }

    const fn crowded() -> Self {
        Self::pass(Forward::Bypass(Bypass::Crowded))
    }
}

/// What a look at the cache led to.
enum Step {
    Decided(Decision),
    LookAgain(Look),
    Follow(Follower<Head>, Wait),
}

/// What earlier looks taught.
#[derive(Clone, Copy)]
struct Look {
    /// Why the request waited for another one's validation.
    waited: Option<Forward>,
    unfit: Unfit,
}

/// Which flights turned out to bring something else than the request needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Unfit {
    Unknown,
    /// The one that began before the key's selecting fields were known.
    OpenFlight,
}

/// What a request waits with.
#[derive(Debug)]
pub(crate) struct Wait {
    pub why: Forward,
    /// What may be validated, or sent stale.
    pub selected: Option<Arc<Object<Head>>>,
}

/// A fill that answers this request.
#[derive(Debug)]
pub(crate) struct Filling {
    pub why: Forward,
    pub selected: Option<Arc<Object<Head>>>,
    pub reply: fill::Replies,
}

async fn decide(node: &Arc<Node>, request: &Arc<Request>) -> Decision {
    let only_if_cached = request.terms.only_if_cached();
    match passes_by(request) {
        Some(why) if only_if_cached && why != Forward::Method => return Decision::NotCached,
        Some(why) => return Decision::pass(why),
        None => {}
    }
    if node.purges.trust() == Trust::Nothing {
        return match only_if_cached {
            true => Decision::NotCached,
            false => Decision::pass(Forward::Bypass(Bypass::Lagging)),
        };
    }
    let mut look = Look {
        waited: None,
        unfit: Unfit::Unknown,
    };
    for _ in 0..LOOKS_MAX {
        let wait = match look_up(node, request, look.waited).await {
            Found::Usable(hit) => return Decision::Hit(hit),
            Found::Doubtful(_) if only_if_cached => return Decision::NotCached,
            Found::Doubtful(wait) => wait,
        };
        let mut step = go_forward(node, request, wait, look).await;
        if let Step::Follow(follower, wait) = step {
            step = follow(node, request, follower, wait, look).await;
        }
        match step {
            Step::Decided(decision) => return decision,
            Step::LookAgain(learnt) => look = learnt,
            Step::Follow(..) => {}
        }
    }
    Decision::crowded()
}

/// As [`find`], as a step of the request's trace.
async fn look_up(node: &Node, request: &Request, waited: Option<Forward>) -> Found {
    let step = begin_look_up(request);
    let found = find(node, request, waited).await;
    if let Some(mut step) = step {
        match &found {
            Found::Usable(hit) => hit.tell(&mut step),
            Found::Doubtful(wait) => {
                step.set("larder.forward", wait.why.as_str());
                step.set("larder.reason", Reason::of_forward(wait.why).as_str());
            }
        }
    }
    found
}

fn begin_look_up(request: &Request) -> Option<Open> {
    let trace = request.trace.as_ref()?;
    trace.begin("cache lookup", Kind::Internal, None)
}

/// The client wanted a stored response or none (RFC 9111 §5.2.1.7).
async fn not_cached(
    node: &Node,
    exchange: &mut Exchange,
    client: &mut impl Client,
) -> Result<(), Interrupted> {
    let outcome = Outcome::Local(Local::OnlyIfCached);
    let status = StatusCode::GATEWAY_TIMEOUT;
    respond::local(node, exchange, client, status, outcome).await
}

/// Whether a request is none of the cache's business, and why.
pub(crate) fn passes_by(request: &Request) -> Option<Forward> {
    let head = &request.head;
    let settings = &request.treatment.settings;
    if head.upgrade != Upgrade::None {
        return Some(Forward::Bypass(Bypass::Upgrade));
    }
    if request.treatment.cache == UseCache::Never {
        return Some(Forward::Bypass(Bypass::Rule));
    }
    match policy::request::plan(&head.method, &head.headers, &request.terms, settings) {
        Plan::Lookup if request.content.whole().is_some() => None,
        Plan::Lookup if head.framing == Framing::None => None,
        // The key says nothing of a request's content.
        Plan::Lookup => Some(Forward::Bypass(Bypass::Content)),
        Plan::Bypass(why) => Some(Forward::Bypass(match why {
            policy::request::Bypass::Method => Bypass::Method,
            policy::request::Bypass::Upgrade => Bypass::Upgrade,
            policy::request::Bypass::NoStore => Bypass::NoStore,
        })),
        Plan::Forward => Some(Forward::Method),
    }
}

/// Towards the origin: by itself, or with those who ask for the same.
async fn go_forward(node: &Arc<Node>, request: &Arc<Request>, wait: Wait, look: Look) -> Step {
    if request.method() == Method::HEAD {
        // A fill would fetch a body that nobody asked for.
        let passing = Passing::new(wait.why, wait.selected);
        return Step::Decided(Decision::Pass(passing));
    }
    let (key, variant) = (request.storage_key(), node.variant(request));
    if wait.selected.is_none()
        && let Some(last) = node.uncacheable.remembered(key, variant, node.moment())
    {
        let why = Forward::Bypass(Bypass::Uncacheable(last));
        return Step::Decided(Decision::pass(why));
    }
    if goes_alone(request, &wait) {
        return Step::Decided(Decision::Fill(fill_alone(node, request, wait)));
    }
    if variant.is_some()
        && look.unfit == Unfit::Unknown
        && let Some(follower) = node.flights.join(key, None)
    {
        return Step::Follow(follower, wait);
    }
    match node.flights.board(key, variant) {
        Boarding::Lead(lead) => take_the_lead(node, request, wait, lead, look).await,
        Boarding::Follow(follower) => Step::Follow(follower, wait),
        Boarding::Crowded => Step::Decided(Decision::crowded()),
    }
}

/// Whether what a request gets, or how, is nothing that others could share: then it does not wait for them either.
fn goes_alone(request: &Request, wait: &Wait) -> bool {
    let validated_every_time = wait.selected.as_ref().is_some_and(|object| {
        let stored = object.head().stored();
        stored.is_some_and(|stored| stored.terms.requires_validation())
    });
    let is_ahead = request
        .peer
        .as_ref()
        .is_some_and(|peer| peer.least.is_some());
    is_ahead || wait.why == Forward::Request || request.terms.is_personal() || validated_every_time
}

async fn take_the_lead(
    node: &Arc<Node>,
    request: &Arc<Request>,
    wait: Wait,
    lead: Lead<Head>,
    look: Look,
) -> Step {
    // A flight may have ended between the lookup and now.
    if matches!(find(node, request, None).await, Found::Usable(_)) {
        drop(lead.land(Landing::Refreshed));
        return Step::LookAgain(look);
    }
    Step::Decided(Decision::Fill(fill(node, request, wait, Some(lead))))
}

/// Waits for another request's fill to land.
async fn follow(
    node: &Arc<Node>,
    request: &Arc<Request>,
    mut follower: Follower<Head>,
    wait: Wait,
    look: Look,
) -> Step {
    let landing = timeout(request.site.common.follower_wait, follower.landing()).await;
    request.waited_for(&follower);
    let Ok(landing) = landing else {
        return Step::Decided(Decision::crowded());
    };
    Step::Decided(match landing {
        Landing::Streaming(reader) if suits(node, request, &reader) => {
            match is_far(request, &reader) {
                true => Decision::pass(Forward::Bypass(Bypass::NotShared)),
                false => Decision::Share(wait.why, reader),
            }
        }
        Landing::Streaming(_) if look.unfit == Unfit::Unknown => {
            let unfit = Unfit::OpenFlight;
            return Step::LookAgain(Look { unfit, ..look });
        }
        Landing::Refreshed => {
            let waited = Some(wait.why);
            return Step::LookAgain(Look { waited, ..look });
        }
        Landing::NotShareable if wait.selected.is_none() => {
            Decision::pass(Forward::Bypass(Bypass::NotShared))
        }
        Landing::Streaming(_) | Landing::NotShareable => {
            Decision::Fill(fill_alone(node, request, wait))
        }
        Landing::Failed => Decision::FailTogether(wait),
    })
}

/// Answers a request that cannot share by a fill of its own.
fn fill_alone(node: &Arc<Node>, request: &Arc<Request>, wait: Wait) -> Filling {
    fill(node, request, wait, None)
}

fn fill(node: &Arc<Node>, request: &Arc<Request>, wait: Wait, lead: Option<Lead<Head>>) -> Filling {
    let Wait { why, selected } = wait;
    let (fill, reply) = Fill::new(node, request, selected.clone(), lead);
    fill.start();
    Filling {
        why,
        selected,
        reply,
    }
}

/// Starts to validate a stored response while it is being sent (RFC 5861 §3), unless that is under way or done.
pub(crate) fn refresh(node: &Arc<Node>, request: &Arc<Request>, stored: &Arc<Object<Head>>) {
    let key = request.storage_key();
    let Boarding::Lead(lead) = node.flights.board(key, node.variant(request)) else {
        return;
    };
    if !node.tiers.is_current(stored) {
        // It was refreshed between the lookup and now.
        drop(lead.land(Landing::Refreshed));
        return;
    }
    let selected = Some(Arc::clone(stored));
    let (fill, _nobody_waits) = Fill::new(node, request, selected, Some(lead));
    fill.behind().start();
}

/// A failure, and the stored response that may be sent in its place.
pub(crate) fn stale_instead(
    node: &Node,
    request: &Request,
    selected: Option<&Arc<Object<Head>>>,
    failure: policy::stale::Failure,
) -> Option<(Arc<Object<Head>>, std::time::Duration)> {
    let object = selected.filter(|object| find::is_recent(request, object.head()))?;
    let stored = object.head().stored()?;
    let incomplete = matches!(object.head().extent(), Extent::Part(_));
    let gone = matches!(
        object.head().life(&node.purges),
        Life::Gone | Life::Doubtful
    );
    if incomplete || gone {
        return None;
    }
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
