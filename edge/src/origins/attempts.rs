//! The attempts of one request: which origin each goes to, and whether there is another.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use http::StatusCode;
use parking_lot::Mutex;
use tiered::Moment;
use tiered::balance::{Draw, Fitness, Trials, Tried};
use tiered::retry::{Again, Failed, Replay, again};
use tokio::time::Instant;
use wire::proxy_protocol::Announced;

use super::condition::Verdict;
use super::names::Names;
use super::servers::UnderWay;
use super::slots::{Queueing, Slot};
use super::{Origin, moment};
use crate::egress::Pool;
use crate::error::UpstreamError;
use crate::sites::Site;

/// The attempts of one request.
#[derive(Debug)]
pub(crate) struct Attempts {
    site: Arc<Site>,
    tried: Tried,
    left: u32,
    plan: Plan,
}

/// What a request brings to the choice of its origins.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// By what an origin is chosen, where it is by the request.
    pub key: u64,
    pub replay: Replay,
    pub queueing: Queueing,
    /// Who asks, for origins that are told before the first byte.
    pub announced: Announced,
    /// The pools that the connection leaves from; none leaves it to the origin.
    pub egress: Arc<[Arc<Pool>]>,
}

impl Plan {
    /// Of what no client asked for.
    pub(crate) fn of_the_node(site: &Site) -> Self {
        Self {
            key: 0,
            replay: Replay::Harmless,
            queueing: Queueing::Never,
            announced: Announced::Own,
            egress: Arc::clone(&site.base.egress),
        }
    }
}

/// Where an origin is, at the moment.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// One at least, the one that worked last first.
    Addresses(Vec<SocketAddr>),
    /// Those of one of several servers.
    Server {
        name: String,
        addresses: Vec<SocketAddr>,
    },
    Socket(PathBuf),
}

impl Place {
    /// Its addresses, if it has some.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        match self {
            Self::Addresses(addresses) | Self::Server { addresses, .. } => addresses,
            Self::Socket(_) => &[],
        }
    }
}

/// Where an attempt goes.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub origin: Arc<Origin>,
    pub place: Place,
    pub announced: Announced,
    /// The pools that the connection leaves from, in order.
    pub egress: Arc<[Arc<Pool>]>,
    site: Arc<Site>,
    /// The address that a connection leads to, once there is one.
    reached: Mutex<Option<SocketAddr>>,
    /// None where it is a probe.
    _slot: Option<Slot>,
    /// One of several servers of the origin.
    _server: Option<UnderWay>,
}

impl Attempts {
    pub(crate) fn new(site: &Arc<Site>, plan: Plan) -> Self {
        site.origins.budget.lock().request();
        Self {
            site: Arc::clone(site),
            tried: Tried::default(),
            left: site.origins.retries,
            plan,
        }
    }

    /// Where the next attempt goes.
    ///
    /// # Errors
    /// An [`UpstreamError`] where no origin can be asked.
    pub(crate) async fn next(
        &mut self,
        names: &Arc<Names>,
        now: Instant,
    ) -> Result<Candidate, UpstreamError> {
        let site = Arc::clone(&self.site);
        let origins = &site.origins;
        let mut unresolved = false;
        loop {
            let at = moment();
            let Some(index) = self.choose(at) else {
                return Err(match unresolved {
                    true => UpstreamError::Unresolved,
                    false => UpstreamError::Barred,
                });
            };
            self.tried.add(index);
            let origin = &origins.all[index];
            let place = match origin.place(names, now).await {
                Ok(place) => place,
                Err(UpstreamError::Barred) => continue,
                Err(error) => {
                    unresolved = true;
                    let verdict = Verdict::Failed(error.proxy_status());
                    origin
                        .condition
                        .ended(&origin.label, verdict, at, &origins.health);
                    continue;
                }
            };
            let slot = origin.slots.take(self.plan.queueing).await?;
            origin.condition.begin(at);
            let server = origin.addresses.begin(&place, at);
            return Ok(Candidate {
                origin: Arc::clone(origin),
                place,
                announced: self.plan.announced,
                egress: origin.egress(&self.plan.egress),
                site: Arc::clone(&site),
                reached: Mutex::default(),
                _slot: Some(slot),
                _server: server,
            });
        }
    }

    /// Whether there is another attempt after one that failed so; it is spent then.
    pub(crate) fn again(&mut self, failed: Failed) -> bool {
        let allowed = match again(failed, self.plan.replay) {
            Again::Nowhere => false,
            Again::Elsewhere => {
                self.has_other() || (failed != Failed::Status && self.has_other_address())
            }
            Again::Anywhere => {
                if !self.has_other() {
                    self.tried = Tried::default();
                }
                true
            }
        };
        if !allowed || self.left == 0 {
            return false;
        }
        let origins = &self.site.origins;
        let spent = origins.budget.lock().spend(moment());
        if spent {
            self.left -= 1;
            origins.tally.made();
        } else {
            origins.tally.refused();
        }
        spent
    }

    /// Whether an answer with this status is given up for another origin's.
    pub(crate) fn is_given_up(&mut self, status: StatusCode) -> bool {
        self.site.origins.retry_statuses.contains(&status) && self.again(Failed::Status)
    }

    /// Whether an origin that was tried has another address: then it may be tried again.
    fn has_other_address(&mut self) -> bool {
        let all = self.site.origins.all.iter().enumerate();
        let mut tried = all.filter(|(index, _)| self.tried.has(*index));
        let found = tried.any(|(_, origin)| origin.addresses.several());
        if found {
            self.tried = Tried::default();
        }
        found
    }

    fn choose(&self, now: Moment) -> Option<usize> {
        let origins = &self.site.origins;
        if let [only] = origins.all.as_slice() {
            let barred = only.condition.fitness(now) == Fitness::Barred;
            return (!barred && !self.tried.has(0)).then_some(0);
        }
        let draw = Draw {
            key: self.plan.key,
            random: origins.draw(),
            trials: match self.plan.replay {
                Replay::Harmless if self.left > 0 => Trials::Welcome,
                Replay::Harmless | Replay::Harmful => Trials::Unwanted,
            },
        };
        let peers = origins.peers(now);
        let mut balancer = origins.balancer.lock();
        balancer.choose(&peers, self.tried, draw, now)
    }

    /// Whether an origin that is fit was not tried yet.
    fn has_other(&self) -> bool {
        let now = moment();
        let all = self.site.origins.all.iter().enumerate();
        let mut others = all.filter(|(index, _)| !self.tried.has(*index));
        others.any(|(_, origin)| {
            let fitness = origin.condition.fitness(now);
            matches!(fitness, Fitness::Up { .. } | Fitness::Trial)
        })
    }
}

impl Candidate {
    /// The address that is tried first.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.place.addresses().first().copied()
    }

    /// A connection to this address is used.
    pub(crate) fn reached(&self, address: SocketAddr) {
        *self.reached.lock() = Some(address);
    }

    /// The origin answered.
    pub(crate) fn answered(&self, status: StatusCode) {
        if let Some(address) = *self.reached.lock() {
            self.origin.answered_at(address);
        }
        self.judge(Verdict::Answered(status));
    }

    /// The attempt failed, by the origin's fault.
    pub(crate) fn failed(&self, error: UpstreamError) {
        if matches!(error, UpstreamError::Full | UpstreamError::NoPort) {
            return; // it is not the origin's
        }
        if let Some(address) = *self.reached.lock() {
            self.origin.failed_at(address);
        }
        // One address is no more than that, where others of the name are well.
        let others = self.others_are_fit();
        let why = error.proxy_status();
        self.judge(match others {
            true => Verdict::Spared(why),
            false => Verdict::Failed(why),
        });
    }

    fn others_are_fit(&self) -> bool {
        let addresses = &self.origin.addresses;
        addresses.has_fit(self.place.addresses(), moment())
            || addresses.has_other_server(&self.place)
    }

    /// A response of it was begun and not ended, by its fault. It counts as a request that failed, beside the one that
    /// was answered.
    pub(crate) fn broke_off(&self, error: UpstreamError) {
        self.judge(Verdict::Failed(error.proxy_status()));
    }

    fn judge(&self, verdict: Verdict) {
        let now = moment();
        let origins = &self.site.origins;
        let origin = &self.origin;
        origin
            .condition
            .ended(&origin.label, verdict, now, &origins.health);
        if let Some(server) = origin.addresses.ended(&self.place, verdict.ending(), now) {
            origin.condition.tally.went_out("breaker");
            tracing::warn!(
                origin = origin.label,
                server,
                "a server's circuit is open: most of its requests failed"
            );
        }
        origins.eject(origin, now);
    }

    /// Where a probe of an origin goes.
    pub(crate) fn probe(site: &Arc<Site>, origin: &Arc<Origin>, place: Place, plan: &Plan) -> Self {
        Self {
            origin: Arc::clone(origin),
            place,
            announced: plan.announced,
            egress: origin.egress(&plan.egress),
            site: Arc::clone(site),
            reached: Mutex::default(),
            _slot: None,
            _server: None,
        }
    }
}
