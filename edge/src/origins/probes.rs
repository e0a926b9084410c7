//! Active health checks: every origin of a site that names a path is asked for it, again and again.

use std::sync::Arc;
use std::time::Duration;

use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tiered::window::Ending;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval_at, timeout};

use super::attempts::Place;
use super::slots::Queueing;
use super::{Origin, Probing, moment};
use crate::metrics::{Asked, NO_RULE, NO_SITE, Tally};
use crate::node::Node;
use crate::pingora::fetch::Asking;
use crate::proxy_status::Trail;
use crate::sites::Site;
use crate::spent::Spent;

/// Places of one origin that are probed.
const PLACES_MAX: usize = 32;

/// Probes every origin that is to be probed by the configuration in force, as long as that is so and the node does not
/// stop.
pub(crate) fn start(node: &Arc<Node>) {
    let in_force = node.in_force_now();
    let generation = in_force.common.generation;
    for site in in_force.sites.all() {
        let Some(probing) = &site.origins.probing else {
            continue;
        };
        for (number, origin) in (0..).zip(&site.origins.all) {
            let probes = Probes {
                node: Arc::clone(node),
                site: Arc::clone(site),
                origin: Arc::clone(origin),
                probing: probing.clone(),
                generation,
            };
            // Not all at the same time.
            let later = probing.interval / 10 * (number % 10);
            tokio::spawn(probes.run(later));
        }
    }
}

/// The probes of one origin.
struct Probes {
    node: Arc<Node>,
    site: Arc<Site>,
    origin: Arc<Origin>,
    probing: Probing,
    /// The configuration that wants them.
    generation: u64,
}

impl Probes {
    /// Begins when the next one is due, where it was probed before.
    async fn run(self, later: Duration) {
        let mut stopping = self.node.stopping.clone();
        let mut generations = self.node.generations.subscribe();
        let now = tokio::time::Instant::from_std(self.node.clock.instant());
        let probed = self.origin.condition.last_probe();
        let first = probed.map_or(now + later, |last| (last + self.probing.interval).max(now));
        let mut due = interval_at(first, self.probing.interval);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = due.tick() => {}
                _ = stopping.wait_for(|stop| *stop) => return,
                _ = generations.wait_for(|now| *now != self.generation) => return,
            }
            let now = self.node.clock.instant();
            self.origin.condition.probe_begins(now.into());
            let ending = match self.probe_all().await {
                true => Ending::Answered,
                false => Ending::Failed,
            };
            let condition = &self.origin.condition;
            let settings = &self.site.origins.health;
            condition.probed(&self.origin.label, ending, moment(), settings);
        }
    }

    /// Whether it is well at one of its addresses at least.
    async fn probe_all(&self) -> bool {
        let (names, now) = (&self.node.names, self.node.clock.instant().into());
        let Ok(mut places) = timeout(self.probing.timeout, self.origin.places(names, now)).await
        else {
            return false;
        };
        places.truncate(PLACES_MAX);
        let several = places.len() > 1;
        let each = places.into_iter().map(|place| async move {
            let address = place.addresses().first().copied();
            let passed = match timeout(self.probing.timeout, self.probe(place)).await {
                Ok(Some(status)) => self.probing.statuses.contains(&status.as_u16()),
                Ok(None) | Err(_) => false,
            };
            if let Some(address) = address.filter(|_| several) {
                self.origin.probed_at(address, passed);
            }
            passed
        });
        let passed = futures::future::join_all(each).await;
        passed.contains(&true)
    }

    async fn probe(&self, place: Place) -> Option<StatusCode> {
        let authority = self.origin.authority();
        let own = || HeaderValue::try_from(&authority).ok();
        let chosen = self.probing.host.clone();
        let host = chosen.or_else(|| self.origin.host_override.clone());
        let host = host.or_else(own)?;
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.clone());
        let authority = wire::check_authority(host.to_str().ok()?).ok()?;
        // Probes have counters of their own.
        let spent = Arc::new(Spent::behind(&Arc::new(Tally::new(NO_SITE, NO_RULE))));
        let asking = Asking {
            method: Method::GET,
            target: &self.probing.path,
            authority: &authority,
            headers,
            content: None,
            trail: &Trail::default(),
            site: &self.site,
            on_behalf: None,
            queueing: Queueing::Never,
            spent: &spent,
            kind: Asked::Background,
            through: None,
            step: None,
        };
        let (interim, _nobody) = mpsc::channel(1);
        let fetcher = &self.node.fetcher;
        fetcher.probe((&self.origin, place), asking, &interim).await
    }
}
