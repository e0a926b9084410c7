//! The node as the admin API and the dialects see it.

use std::time::Instant;

use prometheus::proto::MetricFamily;
use purge_api::{
    Applied, Count, Filter, Order, Patience, Preview, Readiness, Receipt, Refusal, Refused,
    RefusedRequest, Scope, State, Status, Wait,
};

use crate::access_log;
use crate::metrics::{Metrics, OnDisks, Purged, Stored};
use crate::node::Node;
use crate::purges::log::Placed;
use crate::purges::{self, Accepted, LogState, Logged, PurgeError, Reach, Reached, preview};

impl Node {
    /// What this node has to say of a purge that it applied.
    fn receipt(&self, logged: Logged) -> Receipt {
        let Logged {
            sequence,
            order,
            matched,
            applied,
            ..
        } = logged;
        let applied = Applied {
            node: self.name.clone(),
            applied_at: applied.map(|it| access_log::rfc3339(it.at)),
            latency_ms: applied
                .and_then(|it| it.took)
                .map(|it| it.as_secs_f64() * 1000.0),
        };
        Receipt {
            order,
            sequence: sequence.0,
            state: State::Applied,
            matched: matched.map(|matched| purge_api::Matched {
                objects: matched.objects,
                bytes: matched.bytes,
            }),
            nodes: vec![applied],
            missing: Vec::new(),
        }
    }

    /// Adds what the other nodes told.
    fn with_others(&self, mut receipt: Receipt) -> Receipt {
        let accepted = access_log::time_of(&receipt.order.accepted_at);
        for Reach { node, reached } in self.purges.reach(receipt.sequence) {
            let at = match reached {
                Reached::NotYet => {
                    receipt.missing.push(node);
                    continue;
                }
                Reached::Before => None,
                Reached::At(at) => Some(at),
            };
            let took = at.zip(accepted).map(|(at, accepted)| at.since(accepted));
            receipt.nodes.push(Applied {
                node,
                applied_at: at.map(access_log::rfc3339),
                latency_ms: took.map(|took| took.as_secs_f64() * 1000.0),
            });
        }
        receipt
    }

    /// A purge that this node has not applied yet.
    fn logged(&self, logged: Logged) -> Receipt {
        Receipt {
            state: State::Logged,
            nodes: Vec::new(),
            missing: vec![self.name.clone()],
            ..self.receipt(logged)
        }
    }

    /// A purge that is not in the log yet.
    fn queued(order: Order) -> Receipt {
        Receipt {
            order,
            sequence: 0,
            state: State::Queued,
            matched: None,
            nodes: Vec::new(),
            missing: Vec::new(),
        }
    }

    /// Tells of a purge that is applied.
    pub(crate) fn purged(&self, placed: &Placed, applied: &purges::Applied) {
        let order = &placed.order;
        self.metrics.purges.applied(order, applied.took);
        if applied.took.is_some() {
            tracing::info!(
                id = order.id,
                sequence = placed.place,
                by = order.by,
                mode = ?order.mode,
                keys = order.scopes.len(),
                "purged"
            );
        }
    }

    /// All metrics, as they are now.
    pub(crate) fn families(&self) -> Vec<MetricFamily> {
        let in_force = self.in_force_now();
        if let Some(tier) = &in_force.common.tier {
            tier.tell(self.metrics.requests.totals());
        }
        for site in in_force.sites.all() {
            crate::metrics::set_origins(&site.origins);
        }
        for pool in &in_force.egress {
            self.metrics.egress.set(pool);
        }
        let stats = self.tiers.memory().stats();
        let stored = Stored {
            objects: stats.objects as u64,
            bytes: stats.bytes as u64,
            bytes_max: stats.capacity as u64,
            evictions: stats.evictions,
            rejected: stats.rejected,
            in_flight: stats.in_flight_bytes as u64,
            lasting: stats.lasting_bytes as u64,
        };
        let purged = Purged {
            sequence: self.purges.applied(),
            last: self.purges.log_status().last,
            resets: self.purges.resets(),
            forgotten: self.purges.forgotten().0,
            labels: self.purges.len() as u64,
            removed: self.purges.sweeper.removed(),
        };
        let on_disks = self.tiers.disk().map(|disk| OnDisks {
            stats: disk.stats(),
            recovered: disk.recovered(),
        });
        self.metrics
            .set_curve(&self.capacity.told(&self.metrics.requests));
        self.metrics.families(stored, purged, on_disks.as_ref())
    }
}

impl purge_api::Node for Node {
    fn readiness(&self) -> Readiness {
        if *self.stopping.borrow() {
            return Readiness::Draining;
        }
        match self.purges.log_status().state {
            LogState::Current => self.recovery(),
            LogState::Unknown => Readiness::Apart,
            LogState::Replaying(left) => Readiness::Replaying(left),
            LogState::Lagging(lag) => Readiness::Lagging(lag),
        }
    }

    fn metrics(&self) -> String {
        Metrics::text(&self.families())
    }

    fn origins(&self) -> purge_api::OriginList {
        crate::origins::status::list(&self.in_force_now().sites)
    }

    fn egress(&self) -> purge_api::EgressList {
        crate::origins::status::egress(&self.in_force_now().egress)
    }

    fn now(&self) -> String {
        access_log::rfc3339(self.clock.now())
    }

    fn instant(&self) -> Instant {
        self.clock.instant()
    }

    fn new_id(&self) -> String {
        crate::token::identifier(self.clock.now()).unwrap_or_default()
    }

    fn site_of(&self, scope: &Scope) -> Option<String> {
        let host = purges::host_of(scope)?;
        let in_force = self.in_force();
        in_force.sites.find(&host).map(|site| site.name.clone())
    }

    async fn purge(&self, order: Order, patience: Patience) -> Result<Receipt, Refused> {
        let began = self.clock.instant();
        let here = (patience.wait != Wait::None).then_some(patience.timeout);
        let in_force = self.in_force_now();
        let sites = &in_force.sites;
        let mut logged = match self.purges.purge(order, sites, began, here).await {
            Ok(Accepted::Applied(logged)) => logged,
            Ok(Accepted::Later(logged)) => return Ok(self.with_others(self.logged(logged))),
            Ok(Accepted::Queued(order)) => return Ok(Self::queued(order)),
            Err(error @ PurgeError::Log(_)) => {
                tracing::error!(%error, "a purge was not accepted");
                return Err(Refused::Unavailable(error.to_string()));
            }
            Err(error) => return Err(Refused::Invalid(error.to_string())),
        };
        let left = || {
            patience
                .timeout
                .saturating_sub(self.clock.instant() - began)
        };
        if patience.count == Count::Now {
            let counted = self.purges.sweeper.counted(logged.own);
            // Where it takes too long, the answer says that it is not counted yet.
            drop(tokio::time::timeout(left(), counted).await);
            logged = self.purges.find(&logged.order.id).unwrap_or(logged);
        }
        if patience.wait == Wait::All {
            let everywhere = self.purges.reached_by_all(logged.sequence.0);
            // Where it takes too long, the answer says who is missing.
            drop(tokio::time::timeout(left(), everywhere).await);
        }
        let receipt = self.with_others(self.receipt(logged));
        let state = match patience.wait {
            Wait::All if !receipt.missing.is_empty() => State::Logged,
            Wait::All | Wait::Local | Wait::None => State::Applied,
        };
        Ok(Receipt { state, ..receipt })
    }

    async fn preview(&self, order: &Order) -> Result<Preview, Refused> {
        let Ok(_place) = self.purges.previews.try_acquire() else {
            return Err(Refused::Busy);
        };
        let labels = self.purges.labels_of(order, &self.in_force_now().sites);
        let labels = labels.map_err(|error| Refused::Invalid(error.to_string()))?;
        Ok(preview(self, &labels.into_iter().collect()).await)
    }

    fn purges(&self, filter: &Filter, sees: &dyn Fn(&Order) -> bool) -> Vec<Receipt> {
        let last = self.purges.last(filter, sees).into_iter();
        last.map(|logged| self.receipt(logged)).collect()
    }

    fn purge_by_id(&self, id: &str) -> Option<Receipt> {
        // Asked first: what leaves the outbox meanwhile is found in the log.
        let queued = self.purges.queued(id);
        let logged = self
            .purges
            .find(id)
            .map(|logged| self.with_others(self.receipt(logged)));
        logged.or_else(|| queued.map(Self::queued))
    }

    fn refused(&self, refusal: &Refusal<'_>) {
        self.metrics.purges.refused(refusal.problem.code());
        self.audit
            .refused(refusal, purge_api::Node::now(self), self.clock.instant());
    }

    fn refusals(&self, most: usize, sees: &dyn Fn(&RefusedRequest) -> bool) -> Vec<RefusedRequest> {
        self.audit.last(most, sees)
    }

    fn status(&self) -> Status {
        let stats = self.tiers.memory().stats();
        let in_force = self.in_force_now();
        let mut sites: Vec<String> = in_force.sites.names().map(str::to_owned).collect();
        sites.sort_unstable();
        sites.dedup();
        Status {
            node: self.name.clone(),
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: (self.clock.instant() - self.started).as_secs(),
            sites,
            objects: stats.objects as u64,
            bytes: stats.bytes as u64,
            bytes_max: stats.capacity as u64,
            connections: u64::try_from(self.metrics.connections.get()).unwrap_or(0),
            configuration: in_force.told(),
            tier: in_force.common.tier.as_ref().map(|tier| {
                let totals = self.metrics.requests.totals();
                tier.status(totals)
            }),
            fleet: self.purges.fleet(),
        }
    }
}
