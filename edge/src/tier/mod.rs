//! The tiers of nodes between clients and origins: whom this node asks instead of the origin, and who may ask it.
//!
//! ```text
//!   key ──▶ its parent ──no──▶ the second one ──no──▶ the origin, within a budget ──no──▶ what is stored, or an error
//! ```
//!
//! Nodes of tiers prove to each other that they have one key. What they tell each other (who the client is, how old a
//! response is in the order of purges) is believed from them alone, and goes to nobody else.

mod answers;
mod ask;
mod border;
mod key;
mod link;
mod metrics;
mod owed;
mod parent;
mod parents;
mod passing;
mod place;
mod probe;
mod race;
mod said;
mod siblings;
mod sockets;
mod source;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tiered::Bucket;

use crate::clock::Clock;
use crate::egress::Pool;
use crate::exchange;
use crate::metrics::Totals;
use crate::origins::Certificate;
use crate::origins::names::Names;
use crate::purges::position::Position;

use answers::{Answerer, Ended};
pub(crate) use ask::{Answer, Way};
pub(crate) use border::{Peer, Sender, is_probe};
pub(crate) use key::{Key, LARDER_TIER, Proof};
pub(crate) use link::{Broken, Incoming, Making};
pub(crate) use metrics::TierMetrics;
use owed::Owed;
use parent::Parent;
pub(crate) use parents::{Parents, Plain, Source as Listed, Template};
pub(crate) use passing::Hop;
pub(crate) use place::Place;
pub(crate) use probe::PROBE;
use siblings::Siblings;
pub(crate) use siblings::{COPY_FRESH, Heat};
pub(crate) use sockets::{Socket, Sockets};
pub(crate) use source::Source;

/// How a node is in its tiers.
#[derive(Debug)]
pub(crate) struct Settings {
    pub role: Role,
    pub pass: Pass,
    /// Requests a second that may go to the origin when no parent can be asked.
    pub direct: u32,
    /// Who signs the certificates of parents, in DER.
    pub authorities: Option<Arc<[Vec<u8>]>>,
    /// What this node shows them.
    pub certificate: Option<Arc<Certificate>>,
    pub connect: Duration,
    /// What tells links to parents from those that were made with other files or settings.
    pub made: u64,
    /// The pools that connections to parents leave from, in order; none leaves it to the system.
    pub egress: Arc<[Arc<Pool>]>,
}

/// Whether links to parents are made as those of the configuration before were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Links {
    Same,
    Other,
}

/// A node's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It faces clients.
    Edge,
    /// It answers other nodes, too.
    Parent,
}

/// The way of requests that the cache has no part in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    Direct,
    Parent,
}

/// A node's place in the tiers.
#[derive(Debug)]
pub(crate) struct Tier {
    settings: Settings,
    shared: Arc<Shared>,
    parents: Arc<Parents>,
    siblings: Siblings,
    budget: Mutex<Bucket>,
    owed: Arc<Owed>,
}

/// What all parents and all requests to them share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub name: String,
    pub proof: Proof,
    /// How long a parent may owe a sign of life.
    pub silence: Duration,
    pub clock: Arc<Clock>,
    pub names: Arc<Names>,
    pub position: Arc<Position>,
    pub metrics: TierMetrics,
}

impl Tier {
    pub(crate) fn new(
        settings: Settings,
        shared: Shared,
        (parents, siblings): (Parents, Parents),
        before: Option<&Self>,
    ) -> Self {
        let (parents, siblings) = match before {
            None => (parents, siblings),
            Some(before) => {
                let links = match before.settings.made == settings.made {
                    true => Links::Same,
                    false => Links::Other,
                };
                (
                    parents.after(&before.parents, links),
                    siblings.after(before.siblings.nodes(), links),
                )
            }
        };
        Self {
            budget: Mutex::new(Bucket::new(settings.direct)),
            settings,
            shared: Arc::new(shared),
            parents: Arc::new(parents),
            siblings: Siblings::new(siblings),
            owed: before.map_or_else(Arc::default, |before| Arc::clone(&before.owed)),
        }
    }

    /// What tells its links from those that were made otherwise.
    pub(crate) const fn made(&self) -> u64 {
        self.settings.made
    }

    /// Begins to look for parents, and to probe them.
    pub(crate) fn start(&self) {
        parents::start(&self.parents, &self.shared);
        self.siblings.start(&self.shared);
    }

    /// Others are asked from now on, or nobody: those that are not among them are told of no more.
    pub(crate) fn give_way(&self, after: Option<&Self>) {
        let kept: Vec<_> = after.map(Self::nodes).unwrap_or_default();
        for node in self.nodes() {
            if !kept.iter().any(|it| it.place.id == node.place.id) {
                self.shared.metrics.forget(&node.place.id);
            }
        }
    }

    fn nodes(&self) -> Vec<Arc<Parent>> {
        let siblings = self.siblings.nodes().all();
        self.parents.all().into_iter().chain(siblings).collect()
    }

    /// Whether other nodes may ask this one.
    pub(crate) fn is_asked(&self) -> bool {
        self.settings.role == Role::Parent || !self.siblings.is_none()
    }

    /// Whether this one asks others, now.
    pub(crate) fn asks_nodes(&self) -> bool {
        let siblings = self.siblings.others(&self.shared);
        let mut all = self.parents.all().into_iter().chain(siblings);
        all.any(|node| node.is_fit())
    }

    /// How it stands, for the admin API, where so much was counted.
    pub(crate) fn status(&self, totals: Totals) -> purge_api::Tier {
        let show = |all: Vec<Arc<Parent>>| all.iter().map(|node| node.show()).collect();
        let metrics = &self.shared.metrics;
        metrics.answers.update(totals);
        purge_api::Tier {
            role: match self.settings.role {
                Role::Edge => "edge",
                Role::Parent => "parent",
            },
            failovers: metrics.failovers.get(),
            direct: metrics.directs(true),
            refused: metrics.directs(false),
            answers: metrics.answers.show(),
            origin_requests: metrics.answers.at_origins(),
            parents: show(self.parents.all()),
            siblings: show(self.siblings.others(&self.shared)),
        }
    }

    pub(crate) fn metrics(&self) -> &TierMetrics {
        &self.shared.metrics
    }

    /// Counts a request that has ended.
    pub(crate) fn ended(&self, exchange: &exchange::Exchange) {
        let (Some(request), Some(outcome)) = (&exchange.request, &exchange.outcome) else {
            return;
        };
        let ended = match &request.peer {
            Some(peer) => {
                let spent = request.spent_so_far();
                let at_origins = spent.map_or(0, |spent| spent.at_origins());
                self.owed.add(&peer.node, peer.untold(at_origins));
                Ended::Peers
            }
            None => Ended::Clients(Answerer::of(outcome, || request.trail.supplier())),
        };
        self.shared.metrics.answers.ended(ended);
    }

    /// Sets the metrics that are read rather than counted, where so much was counted.
    pub(crate) fn tell(&self, totals: Totals) {
        self.shared.metrics.answers.update(totals);
        let siblings = self.siblings.others(&self.shared);
        for parent in self.parents.all().into_iter().chain(siblings) {
            self.shared.metrics.tell(&parent.show());
        }
        for own in self.siblings.own(&self.shared) {
            self.shared.metrics.forget(&own.place.id);
        }
        let left = self.budget.lock().left();
        self.shared.metrics.tell_budget(left);
    }
}
