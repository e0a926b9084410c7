//! A fill: one request to the origin in a task of its own, so that no client's speed or absence touches it.
//!
//! `ask` is the request, `freshen` what a 304 does, `store` what becomes of any other answer, `reply` who is told.

mod ask;
mod freshen;
mod reply;
mod store;

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use policy::partial::Extent;
use policy::store::Stored;
use policy::time::Timestamp;
use storage::purge::Sequence;
use storage::{Claim, Landing, Lead, Object};
use tiered::SpanId;
use tokio::sync::mpsc;

use super::Head;
use super::find::is_usable;
use super::slices::{Received, Wanted};
use crate::error::UpstreamError;
use crate::exchange::Request;
use crate::metrics::Asked;
use crate::node::Node;
use crate::pingora::fetch::Fetched;
use crate::spent::Spent;
use crate::telemetry::{Kind, Open};
use crate::tier::{COPY_FRESH, Heat};
use reply::Audience;
pub(crate) use reply::{Interim, Replies, Reply};

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

impl Fill {
    /// Prepares to answer `request`, by validating `selected` where there is something to validate. Others wait for
    /// it where it has the `lead`.
    pub(super) fn new(
        node: &Arc<Node>,
        request: &Arc<Request>,
        selected: Option<Arc<Object<Head>>>,
        lead: Option<Lead<Head>>,
    ) -> (Self, Replies) {
        let (audience, interim, replies) = reply::channels(lead);
        let fill = Self {
            node: Arc::clone(node),
            request: Arc::clone(request),
            wanted: Wanted::new(node, request, selected.as_ref()),
            selected,
            claim: node.tiers.memory().claim(request.storage_key()),
            born: node.purges.latest(),
            heat: None,
            audience,
            interim,
            spent: Arc::clone(request.spent()),
            step: None,
        };
        (fill, replies)
    }

    /// Nobody waits for what it brings.
    pub(super) fn behind(self) -> Self {
        let spent = Arc::new(Spent::behind(self.request.tally()));
        Self { spent, ..self }
    }

    /// Begins it, in a task of its own.
    pub(super) fn start(self) {
        // A task is moved several times before it runs: what moves here is a pointer.
        tokio::spawn(Box::pin(self.run()));
    }

    /// Asks the origin and does what the answer demands.
    async fn run(mut self) {
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
        if let (Some(lead), Some(sign)) = (&self.audience.lead, step.sign()) {
            lead.sign(sign);
        }
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
        let renewal = Box::pin(self.freshen(&fetched)).await;
        fetched.release().await;
        match renewal {
            Some(renewal) => self.audience.freshened(renewal),
            None => {
                // RFC 9111 §4.3.4: the 304 is not about what is stored. Only a full response helps.
                Box::pin(self.fetch_whole()).await;
            }
        }
    }

    async fn receive_any(self, fetched: Fetched) {
        if matches!(self.wanted, Wanted::Whole) {
            return self.receive(fetched).await;
        }
        match Box::pin(self.receive_part(fetched)).await {
            Received::Done => {}
            Received::Response(fill, fetched) => fill.receive(fetched).await,
            Received::Useless(fill) => Box::pin(fill.fetch_whole()).await,
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

    pub(super) fn head(&self, mut stored: Stored, extent: Extent) -> Head {
        if self.heat.is_some() {
            let age = stored.reception.current_age(self.node.clock.now());
            let lifetime = &mut stored.terms.freshness_lifetime;
            *lifetime = (*lifetime).min(age + COPY_FRESH);
        }
        let purges = &self.node.purges;
        let membership = purges.membership(self.born, &self.request, &stored.headers);
        Head::kept(stored, membership, extent, &self.request.uri_text())
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
        fetched.policy_exchange(&self.request)
    }

    fn fail(self, error: UpstreamError) {
        tracing::debug!(%error, target = %self.request.head.target, "a fill failed");
        self.audience.tell(Landing::Failed, Reply::Failed(error));
    }
}

/// What is left of a stored response's freshness lifetime.
pub(super) fn ttl(stored: &Stored, now: Timestamp) -> Duration {
    let age = stored.reception.current_age(now);
    stored.terms.freshness_lifetime.saturating_sub(age)
}
