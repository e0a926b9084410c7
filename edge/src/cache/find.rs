//! Which stored response is selected, and whether it may be sent as it is (RFC 9111 §4).

use std::sync::Arc;
use std::time::Duration;

use policy::reuse::{Doubt, Reuse};
use policy::store::Stored;
use policy::time::Timestamp;
use storage::Object;
use storage::purge::Life;

use super::{Client, Head, Interrupted, Wait, refresh, respond};
use crate::exchange::{Exchange, Request};
use crate::node::Node;
use crate::outcome::{
    Answer, Differs, Forward, Forwarded, Outcome, Served, Share, seconds_left, seconds_over,
};
use crate::purges::Trust;

/// What was found.
pub(super) enum Found {
    Usable(Hit),
    Doubtful(Wait),
}

/// A stored response that may be sent.
pub(super) struct Hit {
    object: Arc<Object<Head>>,
    outcome: Outcome,
    refresh: Refresh,
    now: Timestamp,
}

/// Whether a stored response is validated while it is sent.
enum Refresh {
    No,
    Behind,
}

/// Selects among the stored responses. `waited` says why the request waited for another one's validation before.
pub(super) fn find(node: &Node, request: &Request, waited: Option<Forward>) -> Found {
    let settings = &request.treatment.settings;
    let variants = node.memory.lookup(request.storage_key());
    let is_equal = |object: &Object<Head>| {
        let stored = object.head().stored();
        stored.is_some_and(|stored| request.is_found_by(stored))
    };
    let alive = || {
        let variants = variants.iter();
        variants.filter(|object| is_alive(node, object) && is_equal(object))
    };
    let heads = || alive().filter_map(|object| object.head().stored());
    let (asked, vary) = (request.headers(), &settings.vary);
    let selected = policy::vary::select(heads(), asked, vary);
    let similar = match selected {
        Some(_) => None,
        None => policy::vary::select_by_language(heads(), asked, vary),
    };
    let Some(object) = selected
        .or(similar)
        .and_then(|index| alive().nth(index).cloned())
    else {
        let why = match alive().next() {
            None => Forward::UriMiss,
            Some(object) => Forward::VaryMiss(differs(object, request)),
        };
        return nothing(why);
    };
    let now = node.clock.now();
    let Some(stored) = object.head().stored() else {
        return nothing(Forward::UriMiss);
    };
    let reuse = match (
        object.head().life(&node.purges),
        policy::reuse::reuse(&request.terms, stored, now),
    ) {
        // Whatever it says of itself, it may have been purged.
        (Life::Doubtful, _) => Reuse::Validate(Doubt::Stale {
            staleness: Duration::ZERO,
        }),
        // So may any other be while purges may be missing, but for what was validated a moment ago.
        (_, reuse)
            if is_usable(&reuse) && waited.is_none() && node.purges.trust() != Trust::Full =>
        {
            Reuse::Validate(Doubt::Stale {
                staleness: Duration::ZERO,
            })
        }
        (life, Reuse::Fresh { ttl }) => soften(life, stored, ttl, now),
        (_, reuse) => reuse,
    };
    let (outcome, refresh) = match reuse {
        Reuse::Fresh { ttl } => (fresh(ttl, waited), Refresh::No),
        Reuse::StaleAllowed { staleness } => (stale(staleness, Served::ClientAllows), Refresh::No),
        Reuse::StaleWhileRevalidate { staleness } => {
            let outcome = stale(staleness, Served::WhileRevalidating);
            (outcome, Refresh::Behind)
        }
        // What a validation says of it is about a request that it does not match.
        Reuse::Validate(_) if similar.is_some() => {
            return nothing(Forward::VaryMiss(Differs::AcceptLanguage));
        }
        Reuse::Validate(doubt) => {
            return Found::Doubtful(Wait {
                why: why(doubt),
                selected: Some(object),
            });
        }
    };
    Found::Usable(Hit {
        object,
        outcome,
        refresh,
        now,
    })
}

/// In what a request differs from those that a stored response answers.
fn differs(object: &Object<Head>, request: &Request) -> Differs {
    let vary = &request.treatment.settings.vary;
    let stored = object.head().stored();
    let field = stored.and_then(|stored| stored.selecting.mismatch(request.headers(), vary));
    field.map_or(Differs::OtherField, Differs::of)
}

/// Whether a stored response was not purged. One that was has no business in the memory any more.
fn is_alive(node: &Node, object: &Arc<Object<Head>>) -> bool {
    let alive = object.head().life(&node.purges) != Life::Gone;
    if !alive {
        node.memory.remove_object(object);
    }
    alive
}

/// A fresh response counts as stale since it was softly purged.
fn soften(life: Life, stored: &Stored, ttl: Duration, now: Timestamp) -> Reuse {
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

const fn why(doubt: Doubt) -> Forward {
    if doubt.is_by_request() {
        Forward::Request
    } else {
        Forward::Stale
    }
}

fn fresh(ttl: Duration, waited: Option<Forward>) -> Outcome {
    match waited {
        None => Outcome::Hit {
            ttl: seconds_left(ttl),
            served: Served::Fresh,
        },
        Some(why) => Outcome::Forwarded(Forwarded {
            why,
            status: Some(http::StatusCode::NOT_MODIFIED),
            answer: Answer::Freshened(ttl),
            share: Share::Collapsed,
        }),
    }
}

fn stale(staleness: Duration, served: Served) -> Outcome {
    Outcome::Hit {
        ttl: -seconds_over(staleness),
        served,
    }
}

impl Hit {
    pub(super) async fn send(
        self,
        node: &Arc<Node>,
        exchange: &mut Exchange,
        request: &Arc<Request>,
        client: &mut impl Client,
    ) -> Result<(), Interrupted> {
        node.memory.accessed(&self.object);
        if let Refresh::Behind = self.refresh {
            refresh(node, request, &self.object);
        }
        exchange.outcome = Some(self.outcome);
        respond::stored(node, exchange, request, &self.object, self.now, client).await
    }
}
