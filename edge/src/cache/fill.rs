//! A fill: one request to the origin in a task of its own, so that no client's speed or absence touches it.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use policy::freshen::Freshened;
use policy::partial::{Extent, Part};
use policy::range::ByteRange;
use policy::settings::Settings;
use policy::slices::Layout;
use policy::stale::Failure;
use policy::store::{DoNotStore, Stored};
use policy::time::Timestamp;
use storage::purge::{Life, Sequence};
use storage::{Claim, Destination, Keep, Landing, Lead, Object, Reader, Why};
use tiered::SpanId;
use tokio::sync::{mpsc, oneshot};

use super::find::is_usable;
use super::pour::{Around, Poured, pour};
use super::slices::{Begun, Received, Wanted};
use super::{Head, stale_instead};
use crate::downstream::content_length;
use crate::error::UpstreamError;
use crate::exchange::Request;
use crate::metrics::Asked;
use crate::node::Node;
use crate::origins::outbound;
use crate::origins::slots::Queueing;
use crate::outcome::{Answer, NotStored};
use crate::pingora::fetch::{Asking, Fetched, Through};
use crate::spent::Spent;
use crate::telemetry::{Kind, Open};
use crate::tier::{COPY_FRESH, Heat, Source};

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
    /// A response that is stored in slices, of which one may be coming in.
    Sliced {
        object: Arc<Object<Head>>,
        begun: Option<Begun>,
        answer: Answer,
        /// What the origin said.
        status: StatusCode,
    },
    /// The stored response was validated.
    Freshened {
        object: Arc<Object<Head>>,
        answer: Answer,
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
    /// What the origin said.
    pub said: StatusCode,
    /// As the origin sent them, without what belongs to its connection.
    pub headers: HeaderMap,
    pub received: Timestamp,
    pub reader: Reader<Head>,
    /// Which bytes are read, where it is not all of them.
    pub part: Option<Part>,
    pub answer: Answer,
}

/// One request to the origin.
pub(super) struct Fill {
    pub(super) node: Arc<Node>,
    pub(super) request: Arc<Request>,
    pub(super) selected: Option<Arc<Object<Head>>>,
    /// How much of the response is asked for.
    pub(super) wanted: Wanted,
    /// From before the request is sent: an invalidation meanwhile concerns its answer.
    pub(super) claim: Claim<Head>,
    /// From before the request is sent, too: a purge meanwhile is one of its answer.
    pub(super) born: Sequence,
    /// How often it is asked for, where the answer is that of a sibling that has the key.
    heat: Option<Heat>,
    pub(super) audience: Audience,
    interim: mpsc::Sender<Interim>,
    spent: Arc<Spent>,
    /// As a step of the request's trace, which it is below.
    step: Option<SpanId>,
}

/// Who waits for a fill.
pub(super) struct Audience {
    /// Others, where it leads a flight.
    lead: Option<Lead<Head>>,
    /// The client that it answers.
    reply: oneshot::Sender<Reply>,
}

/// What a 304 made of the stored response.
struct Renewal {
    object: Arc<Object<Head>>,
    answer: Answer,
    landing: Landing<Head>,
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
            wanted: Wanted::new(node, request, selected.as_ref()),
            selected,
            claim: node.tiers.memory().claim(request.storage_key()),
            born: node.purges.latest(),
            heat: None,
            audience: Audience { lead, reply },
            interim,
            spent: Arc::clone(request.spent()),
            step: None,
        };
        let replies = Replies {
            reply: replies,
            interim: interims,
        };
        (fill, replies)
    }

    /// Nobody waits for what it brings.
    pub(super) fn behind(self) -> Self {
        let spent = Arc::new(Spent::behind(self.request.tally()));
        Self { spent, ..self }
    }

    /// Asks the origin and does what the answer demands.
    pub(super) async fn run(mut self) {
        let (node, request) = (Arc::clone(&self.node), Arc::clone(&self.request));
        let spent = Arc::clone(&self.spent);
        let step = self.begin_step();
        self.step = step.as_ref().and_then(Open::id);
        self.answer().await;
        drop(step);
        node.spent(&request, &spent);
    }

    fn begin_step(&self) -> Option<Open> {
        let name = match self.kind() {
            Asked::Fill => "fill",
            _ => "revalidation",
        };
        let trace = self.request.trace.as_ref()?;
        let mut step = trace.begin(name, Kind::Internal, None)?;
        step.set("larder.kind", self.kind().as_str());
        step.set("larder.key", format!("{:?}", self.request.storage_key()));
        step.set("larder.shared", self.audience.lead.is_some());
        Some(step)
    }

    fn kind(&self) -> Asked {
        match &self.selected {
            _ if self.spent.is_behind() => Asked::Background,
            Some(_) => Asked::Revalidate,
            None => Asked::Fill,
        }
    }

    async fn answer(mut self) {
        let fetched = match self.fetch().await {
            Ok(fetched) => fetched,
            Err(error) => return self.fail(error),
        };
        if fetched.status != StatusCode::NOT_MODIFIED {
            return self.receive_any(fetched).await;
        }
        if self.selected.is_none() || matches!(self.wanted, Wanted::Rest(_)) {
            return self.fail(UpstreamError::Unasked);
        }
        let renewal = self.freshen(&fetched).await;
        fetched.release().await;
        match renewal {
            Some(renewal) => self.audience.freshened(renewal),
            None => {
                // RFC 9111 §4.3.4: the 304 is not about what is stored. Only a full response helps.
                self.fetch_whole().await;
            }
        }
    }

    async fn receive_any(self, fetched: Fetched) {
        match self.receive_part(fetched).await {
            Received::Done => {}
            Received::Response(fill, fetched) => fill.receive(fetched).await,
            Received::Useless(fill) => fill.fetch_whole().await,
        }
    }

    /// Asks for everything, unconditionally.
    async fn fetch_whole(mut self) {
        self.selected = None;
        self.wanted = Wanted::Whole;
        match self.fetch().await {
            Ok(fetched) if fetched.status == StatusCode::NOT_MODIFIED => {
                self.fail(UpstreamError::Unasked);
            }
            Ok(fetched) => self.receive(fetched).await,
            Err(error) => self.fail(error),
        }
    }

    /// Asks, and asks again where a parent's answer is older than a purge: then for one that is not.
    async fn fetch(&mut self) -> Result<Fetched, UpstreamError> {
        let peer = self.request.peer.as_ref();
        let wanted = peer.and_then(|peer| peer.least).map(|least| least.place);
        let begun = self.node.purges.latest();
        let fetched = self.ask(wanted).await?;
        self.born = self.node.purges.born(begun, &fetched.source);
        self.heat = fetched.source.heat();
        if !self.is_outdated(&fetched) {
            return Ok(fetched);
        }
        fetched.release().await;
        if let Some(tier) = &self.node.tier {
            tier.metrics().repeats.inc();
        }
        let begun = self.node.purges.latest();
        let applied = self.node.purges.position.place();
        let fetched = self.ask(Some(applied.max(wanted.unwrap_or(0)))).await?;
        self.born = self.node.purges.born(begun, &fetched.source);
        self.heat = fetched.source.heat();
        Ok(fetched)
    }

    /// Whether a parent's answer was purged, as far as this node knows.
    fn is_outdated(&self, fetched: &Fetched) -> bool {
        if fetched.source == Source::Origin {
            return false;
        }
        let selected = self.selected.as_ref().and_then(|it| it.head().stored());
        let headers = match selected {
            Some(stored) if fetched.status == StatusCode::NOT_MODIFIED => &stored.headers,
            _ => &fetched.headers,
        };
        let purges = &self.node.purges;
        let membership = purges.membership(self.born, &self.request, headers);
        purges.life(&membership) != Life::Alive
    }

    async fn ask(&self, least: Option<u64>) -> Result<Fetched, UpstreamError> {
        let marks = self.node.marks();
        let mut headers = outbound::headers(&self.request, &marks);
        policy::validation::strip_preconditions(&mut headers);
        let selected = self.selected.as_ref().and_then(|it| it.head().stored());
        self.wanted.ask(selected, &mut headers);
        let target = self.request.origin_target();
        let codings = &self.request.treatment.settings.codings;
        let coding = self.wanted.coding(selected, codings);
        policy::coding::ask(&mut headers, coding, codings);
        let asking = Asking {
            method: match self.request.content.whole() {
                Some(_) => self.request.method().clone(),
                None => Method::GET,
            },
            target: &target,
            authority: &self.request.head.authority,
            headers,
            content: self.request.content.whole().cloned(),
            trail: &self.request.trail,
            site: &self.request.site,
            on_behalf: Some(&self.request),
            queueing: self.queueing(),
            through: Some(Through {
                request: &self.request,
                least,
                again: Some(&self.request),
                without: None,
            }),
            spent: &self.spent,
            kind: self.kind(),
            step: self.step,
        };
        self.node.fetcher.fetch(asking, &self.interim).await
    }

    /// A stale response that may be sent is better than a wait (RFC 9111 §4.2.4).
    fn queueing(&self) -> Queueing {
        let selected = self.selected.as_ref();
        let stale = stale_instead(&self.node, &self.request, selected, Failure::Unreachable);
        match stale {
            Some(_) => Queueing::Never,
            None => Queueing::Wait,
        }
    }

    /// Updates the stored response from a 304; none where that is about another one.
    async fn freshen(&self, fetched: &Fetched) -> Option<Renewal> {
        let object = self.selected.as_ref()?;
        let stored = object.head().stored()?;
        let treatment = self.request.treatment_of(stored.status);
        let exchange = self.policy_exchange(fetched);
        match policy::freshen::freshen(stored, &exchange, &treatment.settings) {
            Freshened::Updated(stored) => Some(self.renew(object, stored).await),
            Freshened::Unstorable { stored, why } => {
                let head = Arc::new(self.head(stored, object.head().extent()));
                Some(Renewal {
                    object: self.node.tiers.once(object, head),
                    answer: Answer::NotStored(NotStored::Policy(why)),
                    landing: Landing::NotShareable,
                })
            }
            Freshened::Mismatch => None,
        }
    }

    async fn renew(&self, object: &Arc<Object<Head>>, stored: Stored) -> Renewal {
        let shareable = self.is_shareable(&stored);
        let answer = Answer::Freshened(ttl(&stored, self.node.clock.now()));
        let head = Arc::new(self.head(stored, object.head().extent()));
        let tiers = &self.node.tiers;
        match tiers.update_head(object, Arc::clone(&head)).await {
            Some(object) => Renewal {
                object,
                answer,
                landing: if shareable {
                    Landing::Refreshed
                } else {
                    Landing::NotShareable
                },
            },
            // It was evicted, replaced or invalidated meanwhile: it still answers who has waited for it, and the others
            // look at what there is by now.
            None => Renewal {
                object: tiers.once(object, head),
                answer: Answer::NotStored(NotStored::Displaced),
                landing: Landing::Refreshed,
            },
        }
    }

    /// Whether a node beside this one has the key, and few ask for it here.
    fn is_cold_copy(&self) -> bool {
        self.heat == Some(Heat::Cold)
    }

    pub(super) fn head(&self, mut stored: Stored, extent: Extent) -> Head {
        if self.heat.is_some() {
            let age = stored.reception.current_age(self.node.clock.now());
            let lifetime = &mut stored.terms.freshness_lifetime;
            *lifetime = (*lifetime).min(age + COPY_FRESH);
        }
        let purges = &self.node.purges;
        let membership = purges.membership(self.born, &self.request, &stored.headers);
        Head::kept(stored, membership, extent, self.request.uri_text())
    }

    /// Whether those who wait may use a response as this request may.
    pub(super) fn is_shareable(&self, stored: &Stored) -> bool {
        let now = self.node.clock.now();
        is_usable(&policy::reuse::reuse(&self.request.terms, stored, now))
    }

    pub(super) fn policy_exchange<'a>(
        &'a self,
        fetched: &'a Fetched,
    ) -> policy::store::Exchange<'a> {
        policy::store::Exchange {
            method: self.request.method(),
            request: self.request.headers(),
            status: fetched.status,
            response: &fetched.headers,
            request_time: fetched.request_time,
            response_time: fetched.response_time,
            aging: fetched.source.aging(),
        }
    }

    fn fail(self, error: UpstreamError) {
        tracing::debug!(%error, target = %self.request.head.target, "a fill failed");
        self.audience.tell(Landing::Failed, Reply::Failed(error));
    }

    pub(super) async fn receive(self, fetched: Fetched) {
        self.node
            .hints
            .learn(&self.request, fetched.status, &fetched.headers);
        let treatment = self.request.treatment_of(fetched.status);
        if let Some((object, staleness)) = self.spared(&fetched, &treatment.settings) {
            let reply = Reply::StaleInstead {
                object,
                staleness,
                status: fetched.status,
            };
            return self.audience.tell(Landing::Failed, reply);
        }
        match self.decide(&fetched, &treatment.settings) {
            Ok(stored) => self.store(fetched, stored, treatment.uncacheable).await,
            Err(reason) => {
                self.remember(&fetched, reason, treatment.uncacheable);
                self.pass_on(fetched, NotStored::Policy(reason)).await;
            }
        }
    }

    fn decide(&self, fetched: &Fetched, settings: &Settings) -> Result<Stored, DoNotStore> {
        let guard = settings.deception_guard;
        self.request
            .guard(fetched.status, &fetched.headers, guard)?;
        policy::store::decide(&self.policy_exchange(fetched), settings)
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
        let failure = Failure::Status(fetched.status);
        stale_instead(&self.node, &self.request, self.selected.as_ref(), failure)
    }

    async fn store(self, fetched: Fetched, stored: Stored, uncacheable: Duration) {
        let node = &self.node;
        if !self.agrees_on_search(&fetched) {
            return self.pass_on(fetched, NotStored::OtherSearch).await;
        }
        if let Some(layout) = self.layout_of_whole(&fetched, &stored) {
            return self.store_slices(fetched, stored, layout).await;
        }
        self.learn_vary(&stored);
        let length = content_length(&fetched.headers);
        let admission = self.request.treatment.admission;
        let key = self.request.storage_key();
        let destination = node.tiers.destination(key, length, admission);
        let destination = match self.is_cold_copy() {
            true => Destination::Nowhere(Why::NotYet),
            false => destination,
        };
        if destination == Destination::Nowhere(Why::TooLong) {
            self.remember_uncacheable(fetched.response_time, uncacheable, NotStored::TooLong);
            return self.pass_on(fetched, NotStored::TooLong).await;
        }
        let shareable = self.is_shareable(&stored);
        let answer = match destination {
            Destination::Nowhere(_) if self.is_cold_copy() => Answer::NotStored(NotStored::Sibling),
            Destination::Nowhere(_) => Answer::NotStored(NotStored::NotYet),
            _ => Answer::Stored(ttl(&stored, node.clock.now())),
        };
        let variant = storage::Variant(stored.selecting.variant());
        let head = self.head(stored, Extent::Whole);
        if head.life(&self.node.purges) != Life::Alive {
            node.metrics.purges.fills.inc();
            return self.pass_on(fetched, NotStored::Purged).await;
        }
        let claim = self.claim;
        let tiers = &self.node.tiers;
        let fill = tiers.begin(claim, variant, head, length, destination);
        node.purges.sweeper.follow(fill.reader().head());
        let landing = if shareable {
            Landing::Streaming(fill.reader())
        } else {
            Landing::NotShareable
        };
        let around = Around::default();
        let node = Arc::clone(&self.node);
        let audience = self.audience;
        let stream = audience.stream(&node, fetched, fill, landing, answer, around);
        stream.await;
    }

    async fn store_slices(self, fetched: Fetched, stored: Stored, layout: Layout) {
        let complete = layout.complete();
        let last = complete - 1;
        let range = ByteRange { first: 0, last };
        let part = Part { range, complete };
        // It is the whole, and needs no other.
        if let Received::Response(fill, fetched) = self.open(fetched, stored, layout, part).await {
            fill.pass_on(fetched, NotStored::Displaced).await;
        }
    }

    /// Whether the response says of equal queries what its key was made by.
    pub(super) fn agrees_on_search(&self, fetched: &Fetched) -> bool {
        let search = self.request.search.as_deref();
        let path = || self.request.path_key();
        self.node.searches.agree(path, search, &fetched.headers)
    }

    /// Remembers by which fields the response was selected.
    pub(super) fn learn_vary(&self, stored: &Stored) {
        self.node.learn(self.request.storage_key(), stored);
        self.node.varied(&self.request, stored);
    }

    /// Remembers that the answer cannot be stored, where that is about the resource and not about this request.
    pub(super) fn remember(&self, fetched: &Fetched, reason: DoNotStore, lifetime: Duration) {
        let about_resource = !reason.is_about_request() && !fetched.status.is_server_error();
        if !about_resource {
            return;
        }
        if let Some(selected) = &self.selected {
            // What was stored has been replaced at the origin by something that is not.
            self.node.tiers.remove_object(selected);
        }
        let reason = NotStored::Policy(reason);
        self.remember_uncacheable(fetched.response_time, lifetime, reason);
    }

    /// Those who come within the lifetime do not wait for each other.
    fn remember_uncacheable(&self, now: Timestamp, lifetime: Duration, reason: NotStored) {
        if lifetime.is_zero() {
            return;
        }
        let until = storage::Moment((now + lifetime).unix_millis());
        let variant = self.node.variant(&self.request);
        let key = self.request.storage_key();
        self.node.uncacheable.remember(key, variant, until, reason);
    }

    pub(super) async fn pass_on(mut self, fetched: Fetched, why: NotStored) {
        if matches!(why, NotStored::Purged)
            && let Some(lead) = self.audience.lead.take()
        {
            // Who waits may have come after the purge: they look again, and ask together.
            drop(lead.land(Landing::Refreshed));
        }
        let nobody = storage::Variant(Default::default());
        let length = content_length(&fetched.headers);
        let fill = self
            .claim
            .begin(nobody, Head::PassedOn(self.born), length, Keep::PassOn);
        let answer = Answer::NotStored(why);
        self.audience
            .stream(
                &self.node,
                fetched,
                fill,
                Landing::NotShareable,
                answer,
                Around::default(),
            )
            .await;
    }
}

impl Audience {
    /// Says what there is to say, to everybody.
    pub(super) fn tell(self, landing: Landing<Head>, reply: Reply) {
        if let Some(lead) = self.lead {
            drop(lead.land(landing));
        }
        hand_over(self.reply, reply);
    }

    fn freshened(self, renewal: Renewal) {
        let Renewal {
            object,
            answer,
            landing,
        } = renewal;
        self.tell(landing, Reply::Freshened { object, answer });
    }

    /// Moves the body from the origin into the fill, which its readers follow.
    pub(super) async fn stream(
        self,
        node: &Node,
        mut fetched: Fetched,
        fill: storage::Fill<Head>,
        landing: Landing<Head>,
        answer: Answer,
        around: Around,
    ) {
        let announced = match &around {
            Around {
                before: None,
                after: None,
                part: None,
            } => content_length(&fetched.headers),
            Around { part, .. } => part.map(|part| part.range.len()),
        };
        let streaming = Streaming {
            status: fetched.status,
            said: fetched.said,
            headers: std::mem::take(&mut fetched.headers),
            received: fetched.response_time,
            reader: fill.reader(),
            part: around.part,
            answer,
        };
        // Followers find the flight until the response is in the index: nobody falls between the two. Nor longer, or
        // those who find it stale would follow it in vain.
        let airborne = self.lead.map(|lead| lead.land(landing));
        hand_over(self.reply, Reply::Streaming(streaming));
        let poured = pour(node, &mut fetched, fill, announced, around).await;
        drop(airborne);
        if poured == Poured::ToTheEnd {
            fetched.release().await;
        }
    }
}

/// What is left of a stored response's freshness lifetime.
pub(super) fn ttl(stored: &Stored, now: Timestamp) -> Duration {
    let age = stored.reception.current_age(now);
    stored.terms.freshness_lifetime.saturating_sub(age)
}

fn hand_over(reply: oneshot::Sender<Reply>, what: Reply) {
    if reply.send(what).is_err() {
        tracing::trace!("the client of a fill is gone");
    }
}
