//! Which stored response is selected, and whether it may be sent as it is (RFC 9111 §4).

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use policy::partial::{Extent, Part};
use policy::reuse::{Doubt, Reuse};
use policy::store::Kept;
use policy::time::Timestamp;
use policy::vary::VaryRules;
use storage::purge::{Life, Membership};
use storage::{Fate, Object};
use tiered::introduction::Asker;

use super::respond::Sent;
use super::{Client, Head, Interrupted, Wait, refresh, respond};
use crate::exchange::{Exchange, Request};
use crate::node::Node;
use crate::outcome::{
    Absent, Answer, Differs, Forward, Forwarded, Outcome, Served, Share, Stale, Tier, seconds_left,
    seconds_over,
};
use crate::purges::Trust;
use crate::telemetry::Open;

/// What was found.
pub(super) enum Found {
    Usable(Hit),
    Doubtful(Wait),
}

/// A stored response that may be sent.
pub(super) struct Hit {
    pub(super) object: Arc<Object<Head>>,
    pub(super) outcome: Outcome,
    refresh: Refresh,
    pub(super) now: Timestamp,
}

/// Whether a stored response is validated while it is sent.
enum Refresh {
    No,
    Behind,
}

/// What may be sent of the stored responses in memory, without a look at anything else.
pub(super) fn find_in_memory(node: &Node, request: &Request) -> Option<Hit> {
    let in_memory = node.tiers.in_memory_near(request.storage_key());
    let object = select(node, request, &in_memory, |all, asked, vary| {
        policy::vary::select(all, asked, vary)
    })?;
    match judge((node, node.clock.now()), request, object, None) {
        Found::Usable(hit) => Some(hit),
        Found::Doubtful(_) => None,
    }
}

/// Selects among the stored responses. `waited` says why the request waited for another one's validation before.
pub(super) async fn find(node: &Node, request: &Request, waited: Option<Forward>) -> Found {
    find_at(node, request, waited, node.clock.now()).await
}

/// As [`find`], as if it were `now`.
pub(super) async fn find_at(
    node: &Node,
    request: &Request,
    waited: Option<Forward>,
    now: Timestamp,
) -> Found {
    let key = request.storage_key();
    let in_memory = node.tiers.in_memory(key);
    if let Some(object) = select(node, request, &in_memory, |all, asked, vary| {
        policy::vary::select(all, asked, vary)
    }) {
        return judge((node, now), request, object, waited);
    }
    let on_disk = node.tiers.on_disk(key, &in_memory).await;
    if let Some(object) = select(node, request, &on_disk, |all, asked, vary| {
        policy::vary::select(all, asked, vary)
    }) {
        learn(node, request, &object);
        return judge((node, now), request, object, waited);
    }
    let all: Vec<_> = in_memory.iter().chain(&on_disk).cloned().collect();
    if let Some(object) = select(node, request, &all, |all, asked, vary| {
        policy::vary::select_by_language(all, asked, vary)
    }) {
        return match judge((node, now), request, object, waited) {
            // What a validation says of it is about a request that it does not match.
            Found::Doubtful(_) => nothing(Forward::VaryMiss(Differs::AcceptLanguage)),
            usable @ Found::Usable(_) => usable,
        };
    }
    nothing(match alive(node, request, &all).next() {
        None => absent(node, key),
        Some(object) => other_variant(node, request, object),
    })
}

/// Nothing is stored under `key` that could be looked at.
pub(super) fn absent(node: &Node, key: storage::Key) -> Forward {
    let fate = node.tiers.memory().traces().recall(key);
    Forward::UriMiss(Absent::of(fate))
}

/// What is stored answers other requests.
fn other_variant(node: &Node, request: &Request, object: &Object<Head>) -> Forward {
    let differs = differs(object, request);
    let traces = node.tiers.memory().traces();
    let variant = node.variant(request);
    let key = request.storage_key();
    match variant.is_some_and(|variant| traces.was_displaced(key, variant)) {
        true => Forward::VariantLimit(differs),
        false => Forward::VaryMiss(differs),
    }
}

/// The stored responses that were not purged, and say themselves that they answer the request's query.
fn alive<'a>(
    node: &'a Node,
    request: &'a Request,
    stored: &'a [Arc<Object<Head>>],
) -> impl Iterator<Item = &'a Arc<Object<Head>>> {
    let stored = stored.iter();
    stored.filter(|object| {
        is_alive(node, object) && is_equal(request, object) && is_recent(request, object.head())
    })
}

/// The stored response that the request selects (RFC 9111 §4.1).
fn select(
    node: &Node,
    request: &Request,
    stored: &[Arc<Object<Head>>],
    by: impl Fn(&mut dyn Iterator<Item = &Kept>, &HeaderMap, &VaryRules) -> Option<usize>,
) -> Option<Arc<Object<Head>>> {
    let alive = || alive(node, request, stored);
    let mut heads = alive().filter_map(|object| object.head().stored());
    let vary = &request.treatment.settings.vary;
    let selected = by(&mut heads, request.headers(), vary)?;
    alive().nth(selected).cloned()
}

/// Whether a stored response says itself that it answers the request's query.
fn is_equal(request: &Request, object: &Object<Head>) -> bool {
    let stored = object.head().stored();
    stored.is_some_and(|stored| request.is_found_by(stored))
}

/// What the last process knew of the fields that select among a key's variants.
fn learn(node: &Node, request: &Request, object: &Object<Head>) {
    let names = object.head().stored().map(|it| it.selecting.names());
    if let Some(names @ [_, ..]) = names
        && node.vary.recall(request.storage_key()).is_none()
    {
        node.vary.learn(request.storage_key(), names.into());
    }
}

/// Whether the selected response may be sent as it is.
fn judge(
    (node, now): (&Node, Timestamp),
    request: &Request,
    object: Arc<Object<Head>>,
    waited: Option<Forward>,
) -> Found {
    let Some(stored) = object.head().stored() else {
        return nothing(absent(node, request.storage_key()));
    };
    let extent = object.head().extent();
    let tier = match object.body().is_on_disk() {
        true => Tier::Disk,
        false => Tier::Memory,
    };
    let Weighed { reuse, stale: why } = weigh(node, request, (&object, stored), waited, now);
    let reuse = match reuse {
        // Only the tier that faces the client hides how long the origin takes: behind another one it would add up.
        Reuse::StaleWhileRevalidate { staleness } if is_behind_another_tier(request) => {
            Reuse::Validate(Doubt::Stale { staleness })
        }
        reuse => reuse,
    };
    let (outcome, refresh) = match reuse {
        Reuse::Fresh { ttl } => (fresh(ttl, tier, waited), Refresh::No),
        Reuse::StaleAllowed { staleness } => {
            let outcome = stale(staleness, Served::ClientAllows, tier);
            (outcome, Refresh::No)
        }
        Reuse::StaleWhileRevalidate { staleness } => {
            let outcome = stale(staleness, Served::WhileRevalidating, tier);
            (outcome, Refresh::Behind)
        }
        Reuse::Validate(doubt) => {
            return Found::Doubtful(Wait {
                why: forward(doubt, why),
                // What is incomplete is not worth the question whether it is still good.
                selected: Some(object).filter(|_| !matches!(extent, Extent::Part(_))),
            });
        }
    };
    if let Extent::Part(part) = extent
        && let Some(wait) = incomplete(request, &object, part)
    {
        return Found::Doubtful(wait);
    }
    Found::Usable(Hit {
        object,
        outcome,
        refresh,
        now,
    })
}

/// Whether a node of the tier before asks. A sibling is of the same tier, and faces the client for this one.
fn is_behind_another_tier(request: &Request) -> bool {
    let peer = request.peer.as_ref();
    peer.is_some_and(|peer| peer.asker == Asker::Before)
}

/// How a stored response may be used, and what it is if it has to be validated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weighed {
    pub reuse: Reuse,
    pub stale: Stale,
}

/// Weighs what a stored response says of itself, what was purged, and what is not known of purges.
pub(crate) fn weigh(
    node: &Node,
    request: &Request,
    (object, stored): (&Object<Head>, &Kept),
    waited: Option<Forward>,
    now: Timestamp,
) -> Weighed {
    let doubtful = Weighed {
        reuse: Reuse::Validate(Doubt::Stale {
            staleness: Duration::ZERO,
        }),
        stale: Stale::PurgesMissing,
    };
    let life = object.head().life(&node.purges);
    match (life, policy::reuse::reuse(&request.terms, stored, now)) {
        // Whatever it says of itself, it may have been purged.
        (Life::Doubtful, _) => doubtful,
        // So may any other be while purges may be missing, but for what was validated a moment ago.
        (_, reuse)
            if is_usable(&reuse) && waited.is_none() && node.purges.trust() != Trust::Full =>
        {
            doubtful
        }
        (Life::Stale { .. }, Reuse::Fresh { ttl }) => Weighed {
            reuse: soften(life, stored, ttl, now),
            stale: Stale::Purged,
        },
        (_, reuse) => Weighed {
            reuse,
            stale: Stale::Expired,
        },
    }
}

/// What is to be done where a part that is stored is not what the request wants (RFC 9111 §3.3).
fn incomplete(request: &Request, object: &Arc<Object<Head>>, part: Part) -> Option<Wait> {
    let stored = object.head().stored()?;
    let asked = (request.method(), request.headers());
    let received = stored.reception.response_time;
    if policy::partial::answers(asked, &stored.headers, part, received) {
        return None;
    }
    // Who wants everything gets it by the rest; a range that lies elsewhere is asked for by itself.
    let wants_all = !request.headers().contains_key(http::header::RANGE);
    Some(Wait {
        why: Forward::Partial,
        selected: Some(Arc::clone(object)).filter(|_| wants_all && part.rest().is_some()),
    })
}

/// Whether a response was asked for after the purge that a node of the tier before knows of, and this one not yet.
pub(super) fn is_recent(request: &Request, head: &Head) -> bool {
    let least = request.peer.as_ref().and_then(|peer| peer.least);
    let born = head.membership().map(Membership::born);
    least.is_none_or(|least| born.is_some_and(|born| born >= least.own))
}

/// In what a request differs from those that a stored response answers.
fn differs(object: &Object<Head>, request: &Request) -> Differs {
    let vary = &request.treatment.settings.vary;
    let stored = object.head().stored();
    let field = stored.and_then(|stored| stored.selecting.mismatch(request.headers(), vary));
    field.map_or(Differs::OtherField, Differs::of)
}

/// Whether a stored response was not purged. One that was is of no use any more.
fn is_alive(node: &Node, object: &Arc<Object<Head>>) -> bool {
    let alive = object.head().life(&node.purges) != Life::Gone;
    if !alive {
        node.capacity.gone(object);
        node.tiers.forget(object, Fate::Purged);
    }
    alive
}

/// A fresh response counts as stale since it was softly purged.
fn soften(life: Life, stored: &Kept, ttl: Duration, now: Timestamp) -> Reuse {
    let Life::Stale { since } = life else {
        return Reuse::Fresh { ttl };
    };
    let staleness = now.since(Timestamp::from_unix_millis(since.0));
    if staleness < stored.terms.stale_while_revalidate {
        Reuse::StaleWhileRevalidate { staleness }
    } else {
        Reuse::Validate(Doubt::Stale { staleness })
    }
}

const fn nothing(why: Forward) -> Found {
    let selected = None;
    Found::Doubtful(Wait { why, selected })
}

/// Whether a response may be sent without asking anybody.
pub(super) const fn is_usable(reuse: &Reuse) -> bool {
    !matches!(reuse, Reuse::Validate(_))
}

const fn forward(doubt: Doubt, stale: Stale) -> Forward {
    match doubt {
        Doubt::Stale { .. } => Forward::Stale(stale),
        Doubt::NoCache => Forward::Stale(Stale::NoCache),
        Doubt::RequestNoCache | Doubt::RequestMaxAge | Doubt::RequestMinFresh => Forward::Request,
    }
}

fn fresh(ttl: Duration, tier: Tier, waited: Option<Forward>) -> Outcome {
    match waited {
        None => Outcome::Hit {
            ttl: seconds_left(ttl),
            served: Served::Fresh,
            tier,
        },
        Some(why) => Outcome::Forwarded(Forwarded {
            why,
            status: Some(http::StatusCode::NOT_MODIFIED),
            answer: Answer::Freshened(ttl),
            share: Share::Collapsed,
        }),
    }
}

fn stale(staleness: Duration, served: Served, tier: Tier) -> Outcome {
    Outcome::Hit {
        ttl: -seconds_over(staleness),
        served,
        tier,
    }
}

/// Everything that is stored under the request's key, whether or not the request selects it: what is in memory first.
pub(crate) async fn stored(node: &Node, request: &Request) -> Vec<Arc<Object<Head>>> {
    let key = request.storage_key();
    let in_memory = node.tiers.in_memory(key);
    let on_disk = node.tiers.on_disk(key, &in_memory).await;
    in_memory.iter().cloned().chain(on_disk).collect()
}

impl Hit {
    /// What would be told of it, and what would be sent.
    pub(super) fn told(self) -> (Outcome, Arc<Object<Head>>) {
        (self.outcome, self.object)
    }

    /// Tells a step of a trace what was found.
    pub(super) fn tell(&self, step: &mut Open) {
        step.set("larder.outcome", self.outcome.word().as_str());
        if let Some(tier) = self.outcome.tier() {
            step.set("larder.tier", tier.as_str());
        }
        if let Some(ttl) = self.outcome.ttl() {
            step.set("larder.ttl", ttl);
        }
    }

    /// Its time to live in seconds, if it is fresh and in memory.
    pub(super) fn fresh_ttl(&self) -> Option<u64> {
        match self.outcome {
            Outcome::Hit {
                ttl,
                served: Served::Fresh,
                tier: Tier::Memory,
            } => u64::try_from(ttl).ok(),
            _ => None,
        }
    }

    /// Whether it is all there is to the answer: a whole response, and nothing to do behind it.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self.refresh, Refresh::No)
            && self.object.head().extent() == Extent::Whole
            && !self.object.body().is_on_disk()
    }

    pub(super) async fn send(
        self,
        node: &Arc<Node>,
        exchange: &mut Exchange,
        request: &Arc<Request>,
        client: &mut impl Client,
    ) -> Result<Sent, Interrupted> {
        let admission = request.treatment.admission;
        node.capacity.hit(&self.object, self.now);
        let object = match self.object.head().extent() {
            Extent::Whole | Extent::Sliced(_) => node.tiers.accessed(&self.object, admission),
            // A part without slices is in memory only.
            Extent::Part(_) => {
                node.tiers.memory().accessed(&self.object);
                Arc::clone(&self.object)
            }
        };
        if let Refresh::Behind = self.refresh {
            refresh(node, request, &object);
        }
        exchange.outcome = Some(self.outcome);
        respond::stored(node, exchange, request, &object, self.now, client).await
    }
}
