//! What becomes of an answer that is no 304: stored, passed on, or replaced by the stale response.

use std::sync::Arc;
use std::time::Duration;

use policy::partial::{Extent, Part};
use policy::range::ByteRange;
use policy::settings::Settings;
use policy::slices::Layout;
use policy::stale::Failure;
use policy::store::{DoNotStore, Stored};
use policy::time::Timestamp;
use storage::purge::Life;
use storage::{Destination, Keep, Landing, Object, Why};

use super::reply::Reply;
use super::{Fill, ttl};
use crate::cache::pour::Around;
use crate::cache::slices::Received;
use crate::cache::{Head, stale_instead};
use crate::downstream::content_length;
use crate::outcome::{Answer, NotStored};
use crate::pingora::fetch::Fetched;
use crate::tier::Heat;

impl Fill {
    /// Whether a node beside this one has the key, and few ask for it here.
    fn is_cold_copy(&self) -> bool {
        self.heat == Some(Heat::Cold)
    }

    pub(in crate::cache) async fn receive(self, fetched: Fetched) {
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
            return Box::pin(self.store_slices(fetched, stored, layout)).await;
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
    pub(in crate::cache) fn agrees_on_search(&self, fetched: &Fetched) -> bool {
        let search = self.request.search.as_deref();
        let path = || self.request.path_key();
        self.node.searches.agree(path, search, &fetched.headers)
    }

    /// Remembers by which fields the response was selected.
    pub(in crate::cache) fn learn_vary(&self, stored: &Stored) {
        self.node.learn(self.request.storage_key(), stored);
        self.node.varied(&self.request, stored);
    }

    /// Remembers that the answer cannot be stored, where that is about the resource and not about this request.
    pub(in crate::cache) fn remember(
        &self,
        fetched: &Fetched,
        reason: DoNotStore,
        lifetime: Duration,
    ) {
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

    pub(in crate::cache) async fn pass_on(mut self, fetched: Fetched, why: NotStored) {
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
