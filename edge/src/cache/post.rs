//! Responses to POST that are stored while they pass by, for a later GET (RFC 9110 §9.3.3).

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use http::Method;
use policy::partial::Extent;
use storage::purge::{Life, Sequence};
use storage::{Claim, Fill, Keep, Variant};

use super::Head;
use super::fill::ttl;
use crate::downstream::content_length;
use crate::exchange::Request;
use crate::node::Node;
use crate::sites::UseCache;

const NO_VARY_SEARCH: &str = "no-vary-search";

/// Whether a response that passes by is stored as well.
#[derive(Debug, Default)]
pub(crate) enum Copying {
    #[default]
    No,
    /// It may be, if it says so.
    Asked {
        /// From before the request was sent.
        claim: Claim<Head>,
        /// From before the request was sent, too: a purge meanwhile is one of its answer.
        born: Sequence,
    },
    /// It is.
    Filling {
        fill: Fill<Head>,
        /// Bytes that are still to come, where that was announced.
        left: Option<u64>,
    },
}

impl Copying {
    /// To be called before the request is sent.
    pub(crate) fn ask(node: &Node, request: &Request) -> Self {
        if *request.method() != Method::POST {
            return Self::No;
        }
        // Where queries are known to be equal, one of them does not stand for all after a POST.
        let keys = request.keys_of(&request.head.target, &node.searches);
        let [key] = keys[..] else {
            return Self::No;
        };
        Self::Asked {
            claim: node.tiers.memory().claim(key),
            born: node.purges.latest(),
        }
    }

    /// Begins to store a response that has just invalidated what was stored. Returns what is left of its freshness
    /// lifetime, if it will be stored.
    pub(crate) fn begin(
        &mut self,
        node: &Node,
        request: &Request,
        exchange: &policy::store::Exchange<'_>,
    ) -> Option<Duration> {
        let Self::Asked {
            claim: before,
            born,
        } = std::mem::take(self)
        else {
            return None;
        };
        let treatment = request.treatment_as_get(exchange.status);
        if treatment.cache == UseCache::Never || exchange.response.contains_key(NO_VARY_SEARCH) {
            return None;
        }
        let guard = treatment.settings.deception_guard;
        let promised = request.guard(exchange.status, exchange.response, guard);
        promised.ok()?;
        let stored = policy::post::decide(exchange, &request.uri()?, &treatment.settings).ok()?;
        let claim = node.tiers.memory().claim(before.key());
        if !claim.follows(&before) {
            // Another unsafe request was answered meanwhile: which of the two was handled last, nobody knows.
            return None;
        }
        node.learn(claim.key(), &stored);
        node.varied(request, &stored);
        let variant = Variant(stored.selecting.variant());
        let left = ttl(&stored, node.clock.now());
        let membership = node.purges.membership(born, request, &stored.headers);
        let head = Head::kept(stored, membership, Extent::Whole, &request.uri_text());
        if head.life(&node.purges) != Life::Alive {
            node.metrics.purges.fills.inc();
            return None;
        }
        let length = content_length(exchange.response);
        let fill = claim.begin(variant, head, length, Keep::Store);
        if !fill.is_storing() {
            return None;
        }
        node.purges.sweeper.follow(fill.reader().head());
        *self = Self::Filling { fill, left: length };
        Some(left)
    }

    /// Copies content on its way to the client; what is incomplete at the end of the exchange is not stored.
    pub(crate) fn take(&mut self, node: &Node, data: Option<&Bytes>, end: bool) {
        let Self::Filling { mut fill, mut left } = std::mem::take(self) else {
            return;
        };
        if let Some(data) = data {
            // Nobody reads along: a fill that cannot store any more has nothing to wait for.
            match fill.write(data.clone()).now_or_never() {
                Some(Ok(())) => {}
                Some(Err(_)) | None => return,
            }
            left = left.map(|left| left.saturating_sub(data.len() as u64));
        }
        // Who has the announced length may ask again at once, and should find it stored.
        if !end && left != Some(0) {
            *self = Self::Filling { fill, left };
        } else if fill.head().life(&node.purges) == Life::Alive {
            drop(fill.finish());
        } else {
            node.metrics.purges.fills.inc();
            fill.finish_unstored();
        }
    }
}
