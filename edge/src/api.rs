//! The node as the admin API and the dialects see it.

use std::time::{Duration, Instant};

use purge_api::{
    Applied, Count, Filter, Order, Patience, Preview, Readiness, Receipt, Refusal, Refused, Scope,
    State, Status,
};

use crate::access_log;
use crate::metrics::{OnDisks, Purged, Stored};
use crate::node::Node;
use crate::purges::{Accepted, LogState, Logged, PurgeError, preview};

impl Node {
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
        }
    }

    /// Tells of a purge that was given to this node.
    fn accepted(&self, logged: Logged, took: Duration) -> Logged {
        let logged = self.purges.took(logged, took);
        self.metrics.purges.applied(&logged.order, took);
        let Logged {
            sequence, order, ..
        } = &logged;
        tracing::info!(
            id = order.id,
            sequence = sequence.0,
            by = order.by,
            mode = ?order.mode,
            keys = order.scopes.len(),
            "purged"
        );
        logged
    }
}

impl purge_api::Node for Node {
    fn readiness(&self) -> Readiness {
        if *self.stopping.borrow() {
            return Readiness::Draining;
        }
        match self.purges.log_status().state {
            LogState::Current => self.recovery(),
            LogState::Replaying(left) => Readiness::Replaying(left),
            LogState::Lagging(lag) => Readiness::Lagging(lag),
        }
    }

    fn metrics(&self) -> String {
        let stats = self.tiers.memory().stats();
        let stored = Stored {
            objects: stats.objects as u64,
            bytes: stats.bytes as u64,
            bytes_max: stats.capacity as u64,
            evictions: stats.evictions,
            rejected: stats.rejected,
            in_flight: stats.in_flight_bytes as u64,
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
        self.metrics.text(stored, purged, on_disks.as_ref())
    }

    fn now(&self) -> String {
        access_log::rfc3339(self.clock.now())
    }

    fn instant(&self) -> Instant {
        self.clock.instant()
    }

    fn new_id(&self) -> String {
        // Time first, so that identifiers sort as the purges came.
        let random = crate::token::instance().unwrap_or_default();
        format!("{:012x}-{random}", self.clock.now().unix_millis())
    }

    fn site_of(&self, scope: &Scope) -> Option<String> {
        let host = crate::purges::host_of(scope)?;
        self.sites.find(&host).map(|site| site.name.clone())
    }

    async fn purge(&self, order: Order, patience: Patience) -> Result<Receipt, Refused> {
        let began = self.clock.instant();
        let mut logged = match self.purges.purge(order, &self.sites).await {
            Ok(Accepted::Before(logged)) => logged,
            Ok(Accepted::Now(logged)) => self.accepted(logged, self.clock.instant() - began),
            Err(error @ (PurgeError::Log(_) | PurgeError::Pending(_))) => {
                tracing::error!(%error, "a purge was not accepted");
                return Err(Refused::Unavailable(error.to_string()));
            }
            Err(error) => return Err(Refused::Invalid(error.to_string())),
        };
        if patience.count == Count::Now {
            let counted = self.purges.sweeper.counted(logged.own);
            // Where it takes too long, the answer says that it is not counted yet.
            drop(tokio::time::timeout(patience.timeout, counted).await);
            logged = self.purges.find(&logged.order.id).unwrap_or(logged);
        }
        Ok(self.receipt(logged))
    }

    async fn preview(&self, order: &Order) -> Result<Preview, Refused> {
        let Ok(_place) = self.purges.previews.try_acquire() else {
            return Err(Refused::Busy);
        };
        let labels = self.purges.labels_of(order, &self.sites);
        let labels = labels.map_err(|error| Refused::Invalid(error.to_string()))?;
        Ok(preview(self, &labels.into_iter().collect()).await)
    }

    fn purges(&self, filter: &Filter, sees: &dyn Fn(&Order) -> bool) -> Vec<Receipt> {
        let last = self.purges.last(filter, sees).into_iter();
        last.map(|logged| self.receipt(logged)).collect()
    }

    fn purge_by_id(&self, id: &str) -> Option<Receipt> {
        self.purges.find(id).map(|logged| self.receipt(logged))
    }

    fn refused(&self, refusal: &Refusal<'_>) {
        let code = refusal.problem.code();
        self.metrics.purges.refused(code);
        let Some(silenced) = self.audit.line(self.clock.instant()) else {
            return;
        };
        tracing::warn!(
            by = refusal.by.unwrap_or("-"),
            client = %refusal.client.to_canonical(),
            method = refusal.method,
            path = ?refusal.path,
            code,
            detail = ?refusal.problem.detail(),
            silenced,
            "refused"
        );
    }

    fn status(&self) -> Status {
        let stats = self.tiers.memory().stats();
        let mut sites: Vec<String> = self.sites.names().map(str::to_owned).collect();
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
        }
    }
}
