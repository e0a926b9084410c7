//! What would become of a request, without asking anybody: the same steps as [`decide`](super::decide) up to where it
//! would go forward, by the same functions.

use std::sync::Arc;

use http::Method;
use policy::time::Timestamp;
use storage::Object;

use super::find::{Found, find_at};
use super::{Head, passes_by};
use crate::exchange::Request;
use crate::node::Node;
use crate::outcome::{Bypass, Forward, Outcome};
use crate::purges::Trust;

/// What would become of a request.
#[derive(Debug)]
pub(crate) enum Expected {
    /// What is stored would answer.
    Hit {
        outcome: Outcome,
        object: Arc<Object<Head>>,
    },
    /// It wants a stored response or none, and none can be sent.
    NotCached(Forward, Option<Arc<Object<Head>>>),
    /// It would go forward.
    Forward {
        why: Forward,
        /// What would be validated.
        selected: Option<Arc<Object<Head>>>,
    },
}

/// What would become of `request` at `now`.
pub(crate) async fn expect(node: &Node, request: &Request, now: Timestamp) -> Expected {
    let only_if_cached = request.terms.only_if_cached();
    let pass = |why| Expected::Forward {
        why,
        selected: None,
    };
    match passes_by(request) {
        Some(why) if only_if_cached && why != Forward::Method => {
            return Expected::NotCached(why, None);
        }
        Some(why) => return pass(why),
        None => {}
    }
    if node.purges.trust() == Trust::Nothing {
        let why = Forward::Bypass(Bypass::Lagging);
        return match only_if_cached {
            true => Expected::NotCached(why, None),
            false => pass(why),
        };
    }
    let wait = match find_at(node, request, None, now).await {
        Found::Usable(hit) => {
            let (outcome, object) = hit.told();
            return Expected::Hit { outcome, object };
        }
        Found::Doubtful(wait) => wait,
    };
    let (why, selected) = (wait.why, wait.selected);
    if only_if_cached {
        return Expected::NotCached(why, selected);
    }
    let (key, variant) = (request.storage_key(), node.variant(request));
    let moment = storage::Moment(now.unix_millis());
    if request.method() != Method::HEAD
        && selected.is_none()
        && let Some(last) = node.uncacheable.remembered(key, variant, moment)
    {
        return pass(Forward::Bypass(Bypass::Uncacheable(last)));
    }
    Expected::Forward { why, selected }
}
