//! One parent: its connections, its health, and what it answers.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::Method;
use parking_lot::Mutex;
use tiered::health::{Change, Health, Out, Standing};
use tiered::voucher::{Cut, Says, Voucher};
use tiered::{HealthSettings, Moment};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use super::border::cut;
use super::link::{Incoming, LinkError, Links, Making};
use super::{Place, Shared, Sockets, TierMetrics};
use crate::cache::Interim;
use crate::clock::monotonic;
use crate::error::UpstreamError;
use crate::exchange::Request;

/// One parent.
#[derive(Debug)]
pub(crate) struct Parent {
    pub place: Place,
    pub(super) links: Arc<Links>,
    /// Connections of what passes the cache by.
    pub(super) sockets: Arc<Sockets>,
    pub(super) health: Mutex<Health>,
    in_flight: AtomicUsize,
    /// Why it was found unfit the last time.
    fault: Mutex<Option<String>>,
    /// What it is called by itself, once it was heard.
    pub(super) name: Mutex<Option<String>>,
    answers: AtomicU64,
    /// How many of them it had stored.
    hits: AtomicU64,
    /// Microseconds until they began, all together.
    waited: AtomicU64,
    /// The sites of which it was told that it cuts them otherwise.
    told: Mutex<HashMap<String, Cut>>,
}

/// Passive health is for what probes do not see; they tell at once whether it answers.
pub(super) const HEALTH: HealthSettings = HealthSettings {
    failures: 3,
    pause: Duration::from_secs(5),
    pause_max: Duration::from_secs(60),
    probes_failed: 1,
    probes_passed: 1,
};

/// What is asked of a parent.
pub(crate) struct Question<'a> {
    pub request: http::Request<()>,
    pub content: Option<bytes::Bytes>,
    /// The signature of its introduction.
    pub signature: &'a str,
    pub first_byte: Duration,
    pub between_bytes: Duration,
    /// Where interim responses go.
    pub interim: &'a mpsc::Sender<Interim>,
    /// Who is told that the parent owes a sign of life.
    pub doubt: &'a Notify,
}

/// A parent's answer, and what it says of it.
pub(crate) struct Answered {
    pub incoming: Incoming,
    pub voucher: Voucher,
}

/// Why a parent gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    Link(LinkError),
    /// It did not prove that it has the key: it is no node of the tier, or its key is another one.
    Unproven,
    /// It belongs to the tiers, and speaks of them in another way.
    Version,
}

impl NoAnswer {
    pub(crate) const fn as_upstream(self) -> UpstreamError {
        match self {
            Self::Link(error) => error.as_upstream(),
            Self::Unproven | Self::Version => UpstreamError::Malformed,
        }
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Link(LinkError::Unconnected(_)) => "no connection",
            Self::Link(LinkError::Broken) => "the connection broke",
            Self::Link(LinkError::Silent) => "no sign of life in time",
            Self::Link(LinkError::Late) => "no answer in time",
            Self::Link(LinkError::Crowded) => "it takes no more requests",
            Self::Unproven => "it does not prove that it has the tier's key",
            Self::Version => "it speaks another version of what nodes of tiers say",
        }
    }
}

/// Counts a request that is under way.
struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Parent {
    pub(crate) fn new(place: Place, making: Making, connections: usize) -> Self {
        Self {
            place,
            links: Arc::new(Links::new(making, connections)),
            sockets: Arc::default(),
            health: Mutex::default(),
            in_flight: AtomicUsize::default(),
            fault: Mutex::default(),
            name: Mutex::default(),
            answers: AtomicU64::default(),
            hits: AtomicU64::default(),
            waited: AtomicU64::default(),
            told: Mutex::default(),
        }
    }

    /// An answer of it began.
    pub(super) fn answered(&self, says: Says, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.answers.fetch_add(1, Ordering::Relaxed);
        self.waited.fetch_add(micros, Ordering::Relaxed);
        if says == Says::Hit {
            self.hits.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Compares how it cuts what a request is for with how this node does. Ranges are of bytes whatever the slices are,
    /// so every answer is right: but a slice here costs several of its slices, or parts of two. It is said once.
    pub(super) fn compare(&self, request: &Request, there: Option<Cut>, metrics: &TierMetrics) {
        let here = cut(request);
        let Some(there) = there.filter(|there| *there != here && request.method() == Method::GET)
        else {
            return;
        };
        metrics.differs(&self.place.id);
        let site = &request.site.name;
        if self.told.lock().insert(site.clone(), there).is_none() {
            tracing::warn!(
                parent = self.place.id,
                site,
                "a parent has {there}, and this node {here}: give all tiers the same `slices`"
            );
        }
    }

    /// Whether it may be asked now.
    pub(crate) fn is_fit(&self) -> bool {
        let standing = self.health.lock().standing(now());
        matches!(standing, Standing::Up { .. } | Standing::Trial)
    }

    /// Whether it owes a sign of life, and others had better be asked.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.links.is_in_doubt()
    }

    /// Whether it has said who it is.
    pub(super) fn is_heard(&self) -> bool {
        self.name.lock().is_some()
    }

    /// Whether it has said that this is its name.
    pub(super) fn is_called(&self, name: &str) -> bool {
        self.name.lock().as_deref() == Some(name)
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// How it stands, for the admin API.
    pub(crate) fn show(&self) -> purge_api::Parent {
        let state = match self.health.lock().standing(now()) {
            Standing::Up { .. } => "up",
            Standing::Trial | Standing::Out(Out::OnTrial) => "trial",
            Standing::Out(Out::Requests { .. }) => "out",
            Standing::Out(Out::Probes) => "down",
        };
        let (opened, requests) = self.links.counts();
        let answers = self.answers.load(Ordering::Relaxed);
        let waited = self.waited.load(Ordering::Relaxed);
        let told = self.told.lock();
        let told = told.iter().map(|(site, there)| format!("{site}: {there}"));
        let told: BTreeSet<String> = told.collect();
        purge_api::Parent {
            id: self.place.id.clone(),
            node: self.name.lock().clone(),
            weight: self.place.weight,
            state,
            fault: self.fault.lock().clone(),
            in_flight: self.in_flight() as u64,
            connections: self.links.open() as u64,
            opened,
            requests,
            answers,
            hits: self.hits.load(Ordering::Relaxed),
            hop_ms: (answers > 0).then(|| waited as f64 / answers as f64 / 1000.0),
            differs: told.into_iter().next(),
        }
    }

    /// Asks, and finds out whether it is the parent that answers.
    pub(crate) async fn ask(
        &self,
        shared: &Shared,
        question: Question<'_>,
    ) -> Result<Answered, NoAnswer> {
        self.health.lock().begin(now());
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        let _under_way = UnderWay(&self.in_flight);
        let asked = self.exchange(shared, question).await;
        match &asked {
            Ok(_) => {
                let change = self.health.lock().succeeded(now());
                self.turned(change, None, shared);
            }
            Err(error) => self.failed(*error, shared),
        }
        asked
    }

    /// A connection that broke is no fault by itself: whether there is a new one shows at the next request.
    fn failed(&self, error: NoAnswer, shared: &Shared) {
        if error == NoAnswer::Link(LinkError::Silent) && !self.links.is_heard() {
            // A probe would find it so, and all that waits for the next one would wait for nothing.
            self.sockets.cut();
            let change = self.health.lock().probe_failed(&HEALTH);
            self.turned(change, Some(error.as_str()), shared);
            return;
        }
        let is_fault = matches!(
            error,
            NoAnswer::Unproven
                | NoAnswer::Version
                | NoAnswer::Link(LinkError::Unconnected(_) | LinkError::Late)
        );
        let change = is_fault.then(|| self.health.lock().failed(now(), &HEALTH));
        self.turned(change.flatten(), Some(error.as_str()), shared);
    }

    pub(super) async fn exchange(
        &self,
        shared: &Shared,
        question: Question<'_>,
    ) -> Result<Answered, NoAnswer> {
        let addresses = self.addresses(shared).await;
        let signature = question.signature;
        let sent = self.links.send(
            &addresses,
            (question.request, question.content),
            (question.first_byte, question.between_bytes),
            (
                |interim| pass_on(interim, shared, signature, question.interim),
                question.doubt,
            ),
        );
        let mut incoming = sent.await.map_err(NoAnswer::Link)?;
        let status = incoming.status;
        let voucher = shared.voucher(signature, status, &mut incoming.headers);
        Ok(Answered {
            incoming,
            voucher: voucher?,
        })
    }

    /// Where it is, as far as that is found out in the time that a connection may take.
    pub(super) async fn addresses(&self, shared: &Shared) -> Vec<SocketAddr> {
        let found = timeout(self.links.patience(), self.place.resolve(shared)).await;
        found.unwrap_or_default()
    }

    pub(super) fn turned(&self, change: Option<Change>, why: Option<&str>, shared: &Shared) {
        let id = &self.place.id;
        match change {
            Some(Change::WentOut) => {
                *self.fault.lock() = why.map(str::to_owned);
                shared.metrics.turned(id, "out");
                tracing::warn!(parent = id, reason = why, "a parent is not asked any more");
            }
            Some(Change::CameBack) => {
                shared.metrics.turned(id, "back");
                tracing::info!(parent = id, "a parent is asked again");
            }
            None => {}
        }
    }
}

/// Hands on an interim response, where it is proven that the parent sends it.
fn pass_on(mut interim: Interim, shared: &Shared, request: &str, to: &mpsc::Sender<Interim>) {
    let vouched = shared.voucher(request, interim.status, &mut interim.headers);
    if vouched.is_ok() {
        policy::hop_by_hop::remove(&mut interim.headers);
        // A client that does not keep up with interim responses does without them.
        drop(to.try_send(interim));
    }
}

pub(super) fn now() -> Moment {
    Moment(monotonic())
}
