//! The tiers of nodes between clients and origins: whom this node asks instead of the origin, and who may ask it.
//!
//! ```text
//!   key ──▶ its parent ──no──▶ the second one ──no──▶ the origin, within a budget ──no──▶ what is stored, or an error
//! ```
//!
//! Nodes of tiers prove to each other that they have one key. What they tell each other (who the client is, how old a
//! response is in the order of purges) is believed from them alone, and goes to nobody else.

mod answers;
mod border;
mod heard;
mod key;
mod link;
mod metrics;
mod parent;
mod parents;
mod passing;
mod siblings;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use parking_lot::Mutex;
use tiered::introduction::{Asker, Introduction, TIERS_MAX};
use tiered::voucher::{Born, Says, Voucher};
use tiered::{Bucket, Moment, Unreadable, rendezvous, split_signature, with_signature};
use tokio::sync::mpsc;

use crate::cache::Interim;
use crate::clock::{Clock, monotonic};
use crate::downstream::Scheme;
use crate::egress::Pool;
use crate::error::UpstreamError;
use crate::exchange;
use crate::metrics::Totals;
use crate::origins::names::Names;
use crate::origins::{Certificate, Timeouts};
use crate::pingora::fetch::{Asking, Through};
use crate::proxy_status::Supplier;
use crate::purges::position::Position;
use crate::telemetry::Open;
use policy::store::Aging;
use policy::time::Timestamp;

use answers::{Answerer, Ended};
pub(crate) use border::{Peer, Sender, is_probe};
use key::Asked;
pub(crate) use key::{Key, LARDER_TIER, Proof};
pub(crate) use link::{Broken, Incoming, Making};
pub(crate) use metrics::TierMetrics;
use parent::{Answered, NoAnswer, Parent, Question};
pub(crate) use parent::{PROBE, Place};
pub(crate) use parents::{Parents, Plain, Source as Listed, Template};
pub(crate) use passing::Hop;
use siblings::Siblings;
pub(crate) use siblings::{COPY_FRESH, Heat};

/// What a parent may take longer than the origin that it asks.
const HOP: Duration = Duration::from_secs(1);

/// Where a response came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Origin,
    /// Another node, and what it vouches for.
    Tier(Option<Born>),
    /// A node beside this one, which has the key, and what that vouches for.
    Sibling(Option<Born>, Heat),
}

impl Source {
    /// How often it is asked for, where a sibling has it.
    pub(crate) const fn heat(&self) -> Option<Heat> {
        match self {
            Self::Sibling(_, heat) => Some(*heat),
            Self::Origin | Self::Tier(_) => None,
        }
    }

    /// By what the age of what comes from there is known. Nodes reckon it truly, whatever their clocks show.
    pub(crate) const fn aging(&self) -> Aging {
        match self {
            Self::Origin => Aging::Conservative,
            Self::Tier(_) | Self::Sibling(..) => Aging::Told,
        }
    }

    /// Up to where in the log of purges it is proven.
    pub(crate) fn place(&self) -> Option<u64> {
        match self {
            Self::Origin => None,
            Self::Tier(born) | Self::Sibling(born, _) => born.as_ref().map(|born| born.place),
        }
    }
}

/// How a node is in its tiers.
#[derive(Debug)]
pub(crate) struct Settings {
    pub role: Role,
    pub pass: Pass,
    /// Requests a second that may go to the origin when no parent can be asked.
    pub direct: u32,
    /// Who signs the certificates of parents, in DER.
    pub authorities: Option<Arc<[Vec<u8>]>>,
    /// What this node shows them.
    pub certificate: Option<Arc<Certificate>>,
    pub connect: Duration,
    /// The pools that connections to parents leave from, in order; none leaves it to the system.
    pub egress: Arc<[Arc<Pool>]>,
}

/// A node's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It faces clients.
    Edge,
    /// It answers other nodes, too.
    Parent,
}

/// The way of requests that the cache has no part in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    Direct,
    Parent,
}

/// A node's place in the tiers.
#[derive(Debug)]
pub(crate) struct Tier {
    settings: Settings,
    shared: Arc<Shared>,
    parents: Arc<Parents>,
    siblings: Siblings,
    budget: Mutex<Bucket>,
}

/// What all parents and all requests to them share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub name: String,
    pub proof: Proof,
    /// How long a parent may owe a sign of life.
    pub silence: Duration,
    pub clock: Arc<Clock>,
    pub names: Arc<Names>,
    pub position: Arc<Position>,
    pub metrics: TierMetrics,
}

/// What is said to a parent of the request that it is asked.
#[derive(Clone, Debug)]
pub(crate) struct Whom {
    scheme: Scheme,
    path: Vec<IpAddr>,
    /// Tiers that the request has passed, with this one.
    hops: u8,
    asker: Asker,
    /// The place of a purge that the answer must not be older than.
    least: Option<u64>,
}

impl Whom {
    const fn nobody() -> Self {
        Self {
            scheme: Scheme::Http,
            path: Vec::new(),
            hops: 1,
            asker: Asker::Before,
            least: None,
        }
    }

    fn of(request: &exchange::Request, least: Option<u64>) -> Self {
        let passed = request.peer.as_ref().map_or(0, |peer| peer.hops);
        let client = request.facts.client.ip().to_canonical();
        Self {
            scheme: request.facts.scheme,
            path: match &request.path[..] {
                [] => vec![client],
                path => path.to_vec(),
            },
            hops: passed.saturating_add(1),
            asker: Asker::Before,
            least,
        }
    }
}

/// Where a request goes.
pub(crate) enum Way {
    /// A parent answered.
    Answered(Box<Answer>),
    /// To the origin.
    Direct,
}

/// A parent's answer.
pub(crate) struct Answer {
    pub incoming: Incoming,
    /// Who gave it.
    pub parent: String,
    pub source: Source,
    /// Who had it.
    pub supplier: Supplier,
    /// When it was asked.
    pub request_time: Timestamp,
}

/// What became of the request at one parent.
enum Attempt {
    Answered(Box<Answered>),
    /// Another one may do better.
    Elsewhere(UpstreamError),
    /// Nobody would do better.
    Failed(UpstreamError),
}

impl Tier {
    pub(crate) fn new(
        settings: Settings,
        shared: Shared,
        (parents, siblings): (Parents, Parents),
    ) -> Self {
        Self {
            budget: Mutex::new(Bucket::new(settings.direct)),
            settings,
            shared: Arc::new(shared),
            parents: Arc::new(parents),
            siblings: Siblings::new(siblings),
        }
    }

    /// Begins to look for parents, and to probe them.
    pub(crate) fn start(&self) {
        parents::start(&self.parents, &self.shared);
        self.siblings.start(&self.shared);
    }

    /// Whether other nodes may ask this one.
    pub(crate) fn is_asked(&self) -> bool {
        self.settings.role == Role::Parent || !self.siblings.is_none()
    }

    /// Whether this one asks others, now.
    pub(crate) fn asks_nodes(&self) -> bool {
        let siblings = self.siblings.others(&self.shared);
        let mut all = self.parents.all().into_iter().chain(siblings);
        all.any(|node| node.is_fit())
    }

    /// How it stands, for the admin API, where so much was counted.
    pub(crate) fn status(&self, totals: Totals) -> purge_api::Tier {
        let show = |all: Vec<Arc<Parent>>| all.iter().map(|node| node.show()).collect();
        let metrics = &self.shared.metrics;
        metrics.answers.update(totals);
        purge_api::Tier {
            role: match self.settings.role {
                Role::Edge => "edge",
                Role::Parent => "parent",
            },
            failovers: metrics.failovers.get(),
            direct: metrics.directs(true),
            refused: metrics.directs(false),
            answers: metrics.answers.show(),
            origin_requests: metrics.answers.at_origins(),
            parents: show(self.parents.all()),
            siblings: show(self.siblings.others(&self.shared)),
        }
    }

    pub(crate) fn metrics(&self) -> &TierMetrics {
        &self.shared.metrics
    }

    /// Counts a request that has ended.
    pub(crate) fn ended(&self, exchange: &exchange::Exchange) {
        let (Some(request), Some(outcome)) = (&exchange.request, &exchange.outcome) else {
            return;
        };
        let ended = match request.peer {
            Some(_) => Ended::Peers,
            None => Ended::Clients(Answerer::of(outcome, || request.trail.supplier())),
        };
        self.shared.metrics.answers.ended(ended);
    }

    /// Sets the metrics that are read rather than counted, where so much was counted.
    pub(crate) fn tell(&self, totals: Totals) {
        self.shared.metrics.answers.update(totals);
        let siblings = self.siblings.others(&self.shared);
        for parent in self.parents.all().into_iter().chain(siblings) {
            self.shared.metrics.tell(&parent.show());
        }
        for own in self.siblings.own(&self.shared) {
            self.shared.metrics.forget(&own.place.id);
        }
        let left = self.budget.lock().left();
        self.shared.metrics.tell_budget(left);
    }

    /// Asks a parent, another one where the first does not answer, and says where to go otherwise.
    ///
    /// # Errors
    /// [`UpstreamError`] where the request goes nowhere.
    pub(crate) async fn ask(
        &self,
        asking: &Asking<'_>,
        through: Through<'_>,
        interim: &mpsc::Sender<Interim>,
    ) -> Result<Way, UpstreamError> {
        let whom = Whom::of(through.request, through.least);
        if let Some(answer) = self.ask_sibling((asking, interim), through, &whom).await? {
            return Ok(Way::Answered(Box::new(answer)));
        }
        if self.parents.is_none() || whom.hops > TIERS_MAX {
            return Ok(Way::Direct);
        }
        let mut last = None;
        let found = self.candidates(key_of(through.request), through.without);
        for (nth, parent) in found.into_iter().enumerate() {
            if nth > 0 {
                self.shared.metrics.failovers.inc();
            }
            let request_time = self.shared.clock.now();
            match self.attempt(&parent, (asking, interim), &whom).await {
                Attempt::Answered(answered) => {
                    let Answered { incoming, voucher } = *answered;
                    return Ok(Way::Answered(Box::new(Answer {
                        incoming,
                        parent: parent.place.id.clone(),
                        supplier: supplier(&voucher, Supplier::Parent),
                        source: Source::Tier(voucher.born),
                        request_time,
                    })));
                }
                Attempt::Elsewhere(error) => last = Some(error),
                Attempt::Failed(error) => return Err(error),
            }
        }
        self.go_direct(last)
    }

    /// The origin is asked by a few at most: a tier that is gone must not bring it down.
    fn go_direct(&self, last: Option<UpstreamError>) -> Result<Way, UpstreamError> {
        let allowed = self.budget.lock().take(Moment(monotonic()));
        self.shared.metrics.direct(allowed);
        if allowed {
            return Ok(Way::Direct);
        }
        tracing::debug!(
            ?last,
            "no parent answers, and the budget for the origin is spent"
        );
        Err(UpstreamError::NoParent)
    }

    /// Whom a request goes to, the owner of its key first.
    fn candidates(&self, key: u64, without: Option<&str>) -> Vec<Arc<Parent>> {
        let mut fit = self.parents.candidates(key);
        fit.retain(|parent| parent.is_fit() && without != Some(&parent.place.id));
        let (under_way, count) = self.parents.under_way();
        match &fit[..] {
            [first, second] if !rendezvous::may_take(first.in_flight(), under_way, count) => {
                vec![Arc::clone(second), Arc::clone(first)]
            }
            // One more look at the only one: its connection may have been an old one.
            [only] => vec![Arc::clone(only), Arc::clone(only)],
            _ => fit,
        }
    }

    async fn attempt(
        &self,
        parent: &Parent,
        (asking, interim): (&Asking<'_>, &mpsc::Sender<Interim>),
        whom: &Whom,
    ) -> Attempt {
        let mut step = asking.begin_request(asking.kind);
        let attempted = self
            .attempt_within(parent, (asking, interim), whom, step.as_ref())
            .await;
        if let Some(step) = &mut step {
            step.set("larder.parent", parent.place.id.clone());
            step.set("server.address", parent.place.host_name());
            step.set("server.port", parent.place.port);
            match &attempted {
                Attempt::Answered(answered) => {
                    let status = answered.incoming.status.as_u16();
                    step.set("http.response.status_code", status);
                    let address = answered.incoming.address;
                    step.set("network.peer.address", address.ip().to_string());
                }
                Attempt::Elsewhere(error) | Attempt::Failed(error) => {
                    step.fail(error.proxy_status());
                }
            }
        }
        attempted
    }

    async fn attempt_within(
        &self,
        parent: &Parent,
        (asking, interim): (&Asking<'_>, &mpsc::Sender<Interim>),
        whom: &Whom,
        step: Option<&Open>,
    ) -> Attempt {
        let Some((mut request, signature)) = self.request(parent, asking, whom) else {
            return Attempt::Failed(UpstreamError::Malformed);
        };
        if let Some(trace) = asking.trace() {
            trace.mark(request.headers_mut(), step);
        }
        let Timeouts {
            first_byte,
            between_bytes,
            ..
        } = asking.site.origins.timeouts;
        let question = Question {
            request,
            content: asking.content.clone(),
            signature: &signature,
            first_byte: first_byte + HOP,
            between_bytes: between_bytes + HOP,
            interim,
        };
        let metrics = &self.shared.metrics;
        let began = monotonic();
        let asked = parent.ask(&self.shared, question).await;
        let id = &parent.place.id;
        let took = monotonic().saturating_sub(began);
        metrics.took(id, took);
        let answered = match asked {
            Ok(answered) => answered,
            Err(error) => {
                metrics.asked(id, "failed");
                tracing::debug!(parent = id, ?error, "a parent did not answer");
                return match error {
                    // It is slow because the origin is: nobody is faster.
                    NoAnswer::Link(link::LinkError::Late) => Attempt::Failed(error.as_upstream()),
                    _ => Attempt::Elsewhere(error.as_upstream()),
                };
            }
        };
        metrics.asked(id, answered.voucher.says.as_str());
        parent.answered(answered.voucher.says, took);
        metrics.answers.asked_beyond(answered.voucher.cost);
        asking.spent.asked_beyond(answered.voucher.cost);
        if let Some(request) = asking.on_behalf {
            parent.compare(request, answered.voucher.cut, metrics);
        }
        match answered.voucher.says {
            Says::Hit | Says::Response => Attempt::Answered(Box::new(answered)),
            // Others may reach the origin that this one does not reach; a slow one is slow for all.
            Says::NoAnswer if answered.incoming.status == StatusCode::GATEWAY_TIMEOUT => {
                Attempt::Failed(UpstreamError::ResponseTimeout)
            }
            Says::NoAnswer | Says::Refused => Attempt::Elsewhere(UpstreamError::Unavailable),
        }
    }

    fn request(
        &self,
        parent: &Parent,
        asking: &Asking<'_>,
        whom: &Whom,
    ) -> Option<(Request<()>, String)> {
        let scheme = match parent.place.secure {
            true => "https",
            false => "http",
        };
        let authority = asking.authority.to_string();
        let mut request = Request::builder()
            .method(asking.method.clone())
            .uri(format!("{scheme}://{authority}{}", asking.target))
            .body(())
            .ok()?;
        let mut headers = asking.headers.clone();
        headers.remove(header::HOST); // RFC 9113 §8.3.1: a pseudo-header field has it
        if let Some(content) = &asking.content {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(content.len()));
        }
        *request.headers_mut() = headers;
        Some(
            self.shared
                .introduce(request, &authority, asking.target, whom),
        )
    }
}

/// What of a request's key counts in hashing.
fn key_of(request: &exchange::Request) -> u64 {
    let hash = request.key.hash();
    let (half, _) = hash.split_at(size_of::<u64>());
    u64::from_be_bytes(half.try_into().unwrap_or_default())
}

impl Shared {
    /// Adds to a request who asks, signed; and the signature.
    fn introduce(
        &self,
        mut request: Request<()>,
        authority: &str,
        target: &str,
        whom: &Whom,
    ) -> (Request<()>, String) {
        let (field, signature) = self.introduction(request.method(), authority, target, whom);
        if let Some(field) = field {
            request.headers_mut().insert(LARDER_TIER, field);
        }
        (request, signature)
    }

    fn introduction(
        &self,
        method: &Method,
        authority: &str,
        target: &str,
        whom: &Whom,
    ) -> (Option<HeaderValue>, String) {
        let introduction = Introduction {
            node: self.name.clone(),
            at: self.clock.now().unix_millis(),
            hops: whom.hops,
            asker: whom.asker,
            scheme: match whom.scheme {
                Scheme::Http => tiered::forwarded::Scheme::Http,
                Scheme::Https => tiered::forwarded::Scheme::Https,
            },
            path: whom.path.clone(),
            log: self.position.log(),
            least: whom.least,
        };
        let text = introduction.to_text();
        let asked = Asked {
            method,
            authority,
            target,
        };
        let signature = self.proof.sign_request(asked, &text);
        let field = HeaderValue::try_from(with_signature(&text, &signature)).ok();
        (field, signature)
    }

    /// What a parent says of its answer, where it is proven that it is one. The field goes no further.
    fn voucher(
        &self,
        request: &str,
        status: StatusCode,
        headers: &mut HeaderMap,
    ) -> Result<Voucher, NoAnswer> {
        let field = headers.remove(LARDER_TIER);
        let text = field.as_ref().and_then(|field| field.to_str().ok());
        let (text, signature) = text.and_then(split_signature).ok_or(NoAnswer::Unproven)?;
        if !self.proof.is_response(request, (status, text, signature)) {
            return Err(NoAnswer::Unproven);
        }
        Voucher::parse(text).map_err(|error| match error {
            Unreadable::Version => NoAnswer::Version,
            Unreadable::Malformed => NoAnswer::Unproven,
        })
    }
}

/// Who had what a node says this of.
fn supplier(voucher: &Voucher, node: Supplier) -> Supplier {
    match (voucher.says, voucher.cost) {
        (Says::Hit, _) => node,
        (_, 0) => Supplier::Further,
        (_, _) => Supplier::Origin,
    }
}
