//! What the origin is asked, and whether its answer is recent enough.

use http::{Method, StatusCode};
use policy::stale::Failure;
use storage::purge::Life;
use tiered::landmark::Landmark;

use super::Fill;
use crate::cache::stale_instead;
use crate::error::UpstreamError;
use crate::origins::outbound;
use crate::origins::slots::Queueing;
use crate::pingora::fetch::{Asking, Fetched, Through};
use crate::tier::Source;

/// A place that no log has come to.
const FAR: u64 = i64::MAX.unsigned_abs();

impl Fill {
    /// Asks, and asks again where a parent's answer is older than a purge: then for one that is not.
    pub(super) async fn fetch(&mut self) -> Result<Fetched, UpstreamError> {
        let peer = self.request.peer.as_ref();
        let wanted = peer.and_then(|peer| peer.least).map(|least| least.at);
        let begun = self.node.purges.latest();
        let fetched = self.ask(wanted).await?;
        self.born = self.node.purges.born(begun, &fetched.source);
        self.heat = fetched.source.heat();
        if !self.is_outdated(&fetched) {
            return Ok(fetched);
        }
        let says_where_it_is = fetched.source.here().is_some();
        fetched.release().await;
        if let Some(tier) = &self.request.site.common.tier {
            tier.metrics().repeats.inc();
        }
        let begun = self.node.purges.latest();
        let here = match says_where_it_is {
            true => self.node.purges.position.here(),
            // Whatever it has read, it asks once more.
            false => Landmark::unknown(FAR),
        };
        let least = wanted.map_or(here, |wanted| wanted.further(here));
        let fetched = Box::pin(self.ask(Some(least))).await?;
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
        let (purges, request) = (&self.node.purges, &*self.request);
        let membership = match selected {
            Some(stored) if fetched.status == StatusCode::NOT_MODIFIED => {
                purges.membership(self.born, request, &stored.headers)
            }
            _ => purges.membership(self.born, request, &fetched.headers),
        };
        purges.life(&membership) != Life::Alive
    }

    async fn ask(&self, least: Option<Landmark>) -> Result<Fetched, UpstreamError> {
        let marks = self.node.marks();
        let mut headers = outbound::unconditional(&self.request, &marks);
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
}
