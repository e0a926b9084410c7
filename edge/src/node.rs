//! A node: everything that requests share.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use arc_swap::ArcSwap;
use http::HeaderName;
use policy::vary::Care;
use purge_api::Readiness;
use storage::disk::Recovery;
use storage::purge::Life;
use storage::{Epochs, Flights, Moment, Removal, Tiers, Uncacheable, VaryMemory};
use tokio::sync::watch;
use wire::RequestHead;

use crate::access_log::AccessLog;
use crate::audit::Audit;
use crate::cache::Head;
use crate::capacity::Capacity;
use crate::clock::Clock;
use crate::coding::Coder;
use crate::downstream::{Facts, Scheme};
use crate::exchange::{Exchange, Learnt, Request};
use crate::hints::Hints;
use crate::ids::Ids;
use crate::in_force::InForce;
use crate::metrics::Metrics;
use crate::observe::Observed;
use crate::origins::names::Names;
use crate::origins::outbound::Marks;
use crate::outcome::NotStored;
use crate::pingora::Authorities;
use crate::pingora::fetch::Fetcher;
use crate::purges::{self, Purges, Sink};
use crate::queries::Content;
use crate::reload::Reloads;
use crate::searches::Searches;
use crate::sites::{Site, Treatment};
use crate::telemetry::{SentBy, Telemetry, Trace};
use crate::tier;
use crate::varied;

/// Everything that requests share.
pub(crate) struct Node {
    pub name: String,
    pub guard: tiered::LoopGuard,
    pub clock: Arc<Clock>,
    pub started: Instant,
    /// What the configuration says; [`Self::in_force`] tells it.
    pub(crate) in_force: ArcSwap<InForce>,
    /// Its generation, for those who only want to know whether it is another one.
    pub(crate) generation: AtomicU64,
    /// The same, for those who wait for another one.
    pub generations: watch::Sender<u64>,
    pub reloads: Reloads,
    pub purges: Purges,
    pub audit: Audit,
    /// What is stored.
    pub tiers: Arc<Tiers<Head>>,
    pub coder: Coder,
    pub flights: Flights<Head>,
    pub uncacheable: Uncacheable<NotStored>,
    /// What is not asked for in parts: the origin answered with everything, or without a strong validator.
    pub rangeless: Uncacheable<()>,
    /// Which fields select among a key's variants, as last seen.
    pub vary: VaryMemory<Arc<[HeaderName]>>,
    pub hints: Hints,
    /// What origins have said of the queries of their paths.
    pub searches: Searches,
    pub epochs: Arc<Epochs>,
    pub fetcher: Arc<Fetcher>,
    pub names: Arc<Names>,
    pub authorities: Arc<Authorities>,
    pub metrics: Arc<Metrics>,
    pub log: AccessLog,
    /// Traces and metrics for a collector.
    pub telemetry: Option<Telemetry>,
    pub ids: Ids,
    pub observed: Observed,
    /// What other sizes of the tiers would do.
    pub capacity: Capacity,
    pub threads: usize,
    /// Idle connections to origins that are kept.
    pub pool: usize,
    pub stopping: watch::Receiver<bool>,
}

impl Node {
    /// A request for one of the sites, sent by whom the trusted proxies name.
    pub(crate) fn request(
        &self,
        (head, facts, content): (Arc<RequestHead>, Arc<Facts>, Content),
        site: Arc<Site>,
    ) -> Request {
        let sender = site.common.trust.sender(facts.client.ip(), &head.headers);
        let facts = match &sender.path[..] {
            // Nobody is between.
            [_] | [] => facts,
            _ => Arc::new(facts.sent_by(sender.client, sender.scheme.map(Scheme::from))),
        };
        let mut request = Request::new((head, facts, content), site, self.learnt());
        request.path = sender.path;
        request.trace = self.trace(&request);
        request
    }

    /// A request that another node of a tier sent, and that came to it as it says.
    pub(crate) fn request_of_peer(
        &self,
        (head, facts, content): (Arc<RequestHead>, Arc<Facts>, Content),
        site: Arc<Site>,
        peer: Arc<tier::Peer>,
    ) -> Request {
        let facts = Arc::new(peer.facts(&facts));
        let mut request = Request::new((head, facts, content), site, self.learnt());
        request.path.clone_from(&peer.path);
        request.peer = Some(peer);
        request.trace = self.trace(&request);
        request
    }

    /// The trace that a request belongs to, where traces are sent.
    fn trace(&self, request: &Request) -> Option<Arc<Trace>> {
        let tracer = self.telemetry.as_ref()?.tracer.as_ref()?;
        let trust = &request.site.common.trust;
        let trusted = |from: &IpAddr| trust.trusts(*from);
        let sent_by = match &request.peer {
            Some(_) => SentBy::Peer,
            None if request.path.last().is_some_and(trusted) => SentBy::TrustedProxy,
            None => SentBy::Client,
        };
        tracer.trace(request.headers(), sent_by)
    }

    /// The tiers under which an exchange goes on: those of its request, or of now.
    pub(crate) fn tiers_of(&self, exchange: &Exchange) -> Option<Arc<tier::Tier>> {
        match &exchange.request {
            Some(request) => request.site.common.tier.clone(),
            None => self.in_force().common.tier.clone(),
        }
    }

    /// Whether requests may have traces.
    pub(crate) fn has_traces(&self) -> bool {
        self.telemetry
            .as_ref()
            .is_some_and(|telemetry| telemetry.tracer.is_some())
    }

    /// The number of the configuration in force.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// How the node names itself towards others.
    pub(crate) fn marks(&self) -> Marks<'_> {
        Marks {
            name: &self.name,
            guard: &self.guard,
        }
    }

    /// Now, as storage counts time.
    pub(crate) fn moment(&self) -> Moment {
        Moment(self.clock.now().unix_millis())
    }

    /// Begins to hear of purges.
    pub(crate) fn follow_purges(self: &Arc<Self>) {
        let node = Arc::downgrade(self);
        let (sites, applied) = (Weak::clone(&node), Weak::clone(&node));
        self.purges.start(Sink {
            hear: Box::new(move |events| {
                if let Some(node) = node.upgrade() {
                    let now = (node.moment(), node.clock.instant());
                    let tell = |placed: &_, applied: &_| node.purged(placed, applied);
                    let in_force = node.in_force_now();
                    node.purges.hear(events, &in_force.sites, now, &tell);
                }
            }),
            is_within: Box::new(move |order, site| {
                let node = sites.upgrade();
                node.is_some_and(|node| purges::is_within(order, site, &node.in_force().sites))
            }),
            trail: Box::new(move || {
                let node = applied.upgrade();
                node.map(|node| node.purges.trail()).unwrap_or_default()
            }),
        });
        let node = Arc::downgrade(self);
        self.tiers.keep_only(move |head| {
            let node = node.upgrade();
            node.is_some_and(|node| head.life(&node.purges) != Life::Gone)
        });
    }

    /// Nothing that was asked for by now answers a request for `key` that comes later (RFC 9111 §4.4).
    /// When it returns, that outlives the process.
    pub(crate) async fn invalidate(&self, key: storage::Key) {
        let removal = self.tiers.remove(key);
        self.flights.dissolve(key);
        self.uncacheable.forget(key);
        self.invalidate_queries(key).await;
        if removal == Removal::OnDisks
            && let Err(error) = self.tiers.sync().await
        {
            tracing::warn!(%error, "an invalidation may not outlive the process");
        }
    }

    /// The same for what queries of the target are answered with.
    async fn invalidate_queries(&self, key: storage::Key) {
        let Some(unwritten) = self.epochs.invalidate(key) else {
            return;
        };
        let written = tokio::task::spawn_blocking(move || unwritten.write()).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(%error, "an invalidation cannot be written down: the next start finds no answers to queries");
        }
    }

    /// What earlier requests taught about keys.
    pub(crate) const fn learnt(&self) -> Learnt<'_> {
        Learnt {
            searches: &self.searches,
            epochs: &self.epochs,
        }
    }

    /// The origin does not send parts of what is requested that could be stored.
    pub(crate) fn remember_rangeless(&self, request: &Request) {
        let until = self.clock.now() + request.treatment.uncacheable;
        let until = Moment(until.unix_millis());
        self.rangeless
            .remember(request.storage_key(), None, until, ());
    }

    /// Whether it was so the last time.
    pub(crate) fn is_rangeless(&self, request: &Request) -> bool {
        let key = request.storage_key();
        self.rangeless
            .remembered(key, None, self.moment())
            .is_some()
    }

    /// Which variant a request would select, as far as is known before the origin answers.
    pub(crate) fn variant(&self, request: &Request) -> Option<storage::Variant> {
        let names = self.vary.recall(request.storage_key())?;
        let rules = &request.treatment.settings.vary;
        let variant = policy::vary::variant_of(&names, request.headers(), rules);
        Some(storage::Variant(variant))
    }

    /// Remembers which fields select among the responses of a key.
    pub(crate) fn learn(&self, key: storage::Key, stored: &policy::store::Stored) {
        match stored.selecting.names() {
            [] => self.vary.forget(key),
            names => self.vary.learn(key, names.into()),
        }
    }

    /// Tells of a response that is stored and varies on what the operator has not cared for: counts it, and warns of
    /// each field once.
    pub(crate) fn varied(&self, request: &Request, stored: &policy::store::Stored) {
        let Treatment { settings, key, .. } = &*request.treatment;
        let site = &request.site;
        for name in stored.selecting.names() {
            let care = match settings.vary.care_for(name) {
                Care::Normalised => continue,
                _ if key.headers.contains(name) => continue,
                care => care,
            };
            self.metrics.unkeyed_vary(&site.name, varied::word(care));
            site.varied.tell(&site.name, name, care);
        }
    }

    /// It is ready from the start: until the disks' index is back, what is on them is a miss.
    pub(crate) fn recovery(&self) -> Readiness {
        match self.tiers.recovered() {
            Some(Recovery::Running { segments, of }) => Readiness::Recovering { segments, of },
            _ => Readiness::Ready,
        }
    }
}
