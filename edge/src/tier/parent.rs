//! One parent: its connections, its health, and the probes that tell of it.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::{Method, StatusCode};
use parking_lot::Mutex;
use tiered::health::{Change, Health, Out, Standing};
use tiered::voucher::{Cut, Says, Voucher};
use tiered::{HealthSettings, Moment};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::border::cut;
use super::link::{Incoming, LinkError, Links, Making};
use super::said::Whom;
use super::{Shared, TierMetrics};
use crate::cache::Interim;
use crate::clock::monotonic;
use crate::error::UpstreamError;
use crate::exchange::Request;
use crate::origins::Host;

/// What a parent is asked to find out how it is.
pub(crate) const PROBE: &str = "/.well-known/larder-tier";
/// Between two probes of a parent.
const PROBE_EVERY: Duration = Duration::from_millis(250);
/// A parent that is heard and does not answer a probe has so many times the silence for it.
const PATIENCE: u32 = 10;

/// Where a parent is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// What it is called in the hash.
    pub id: String,
    pub weight: u32,
    pub secure: bool,
    pub host: Host,
    pub port: u16,
}

impl Place {
    pub(super) fn host_name(&self) -> String {
        match &self.host {
            Host::Name(name) | Host::Service(name) => name.clone(),
            Host::Address(address) => address.to_string(),
            Host::Socket(path) => path.display().to_string(),
        }
    }
}

/// One parent.
#[derive(Debug)]
pub(crate) struct Parent {
    pub place: Place,
    links: Arc<Links>,
    health: Mutex<Health>,
    in_flight: AtomicUsize,
    /// Why it was found unfit the last time.
    fault: Mutex<Option<String>>,
    /// What it is called by itself, once it was heard.
    name: Mutex<Option<String>>,
    answers: AtomicU64,
    /// How many of them it had stored.
    hits: AtomicU64,
    /// Microseconds until they began, all together.
    waited: AtomicU64,
    /// The sites of which it was told that it cuts them otherwise.
    told: Mutex<HashMap<String, Cut>>,
}

/// Passive health is for what probes do not see; they tell at once whether it answers.
const HEALTH: HealthSettings = HealthSettings {
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

    const fn as_str(self) -> &'static str {
        match self {
            Self::Link(LinkError::Unconnected(_)) => "no connection",
            Self::Link(LinkError::Broken) => "the connection broke",
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
        let is_fault = matches!(
            error,
            NoAnswer::Unproven
                | NoAnswer::Version
                | NoAnswer::Link(LinkError::Unconnected(_) | LinkError::Late)
        );
        let change = is_fault.then(|| self.health.lock().failed(now(), &HEALTH));
        self.turned(change.flatten(), Some(error.as_str()), shared);
    }

    async fn exchange(
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
            |interim| pass_on(interim, shared, signature, question.interim),
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
        let found = timeout(self.links.patience(), self.resolve(shared)).await;
        found.unwrap_or_default()
    }

    async fn resolve(&self, shared: &Shared) -> Vec<SocketAddr> {
        let port = self.place.port;
        match &self.place.host {
            Host::Socket(_) | Host::Service(_) => Vec::new(),
            Host::Address(address) => vec![SocketAddr::new(*address, port)],
            Host::Name(name) => {
                let found = shared
                    .names
                    .resolve(name, shared.clock.instant().into())
                    .await;
                found
                    .into_iter()
                    .map(|address| SocketAddr::new(address, port))
                    .collect()
            }
        }
    }

    fn turned(&self, change: Option<Change>, why: Option<&str>, shared: &Shared) {
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

    /// Probes the parent as long as there is one.
    pub(crate) async fn keep(this: Weak<Self>, shared: Arc<Shared>) {
        loop {
            let Some(parent) = this.upgrade() else {
                return;
            };
            parent.probe(&shared).await;
            drop(parent);
            sleep(PROBE_EVERY).await;
        }
    }

    async fn probe(&self, shared: &Shared) {
        let addresses = self.addresses(shared).await;
        let outcome = match self.links.warm(&addresses).await {
            Ok(()) => self.answer_to_probe(shared).await,
            Err(error) => Err(NoAnswer::Link(error).as_str().to_owned()),
        };
        match outcome {
            Ok(name) => {
                *self.name.lock() = Some(name);
                let change = self.health.lock().probe_passed(now(), &HEALTH);
                self.turned(change, None, shared);
            }
            Err(why) => {
                let change = self.health.lock().probe_failed(&HEALTH);
                self.turned(change, Some(&why), shared);
            }
        }
    }

    /// Its name, where it is ready. What owes a sign of life for too long is cut off, with all that waits for it.
    async fn answer_to_probe(&self, shared: &Shared) -> Result<String, String> {
        let whom = Whom::nobody();
        let (nobody, _) = mpsc::channel(1);
        let uri = format!("http://{}{PROBE}", shared.name);
        let request = http::Request::builder()
            .method(Method::GET)
            .uri(uri)
            .body(());
        let request = request.map_err(|invalid| invalid.to_string())?;
        let (request, signature) = shared.introduce(request, &shared.name, PROBE, &whom);
        let question = Question {
            request,
            content: None,
            signature: &signature,
            first_byte: shared.silence * PATIENCE,
            between_bytes: shared.silence * PATIENCE,
            interim: &nobody,
        };
        let mut exchange = std::pin::pin!(self.exchange(shared, question));
        let answered = loop {
            match timeout(shared.silence, &mut exchange).await {
                Ok(answered) => break answered,
                Err(_elapsed)
                    if monotonic().saturating_sub(self.links.heard()) < shared.silence => {}
                Err(_elapsed) => break Err(NoAnswer::Link(LinkError::Late)),
            }
        };
        let answered = answered.map_err(|error| {
            if error == NoAnswer::Link(LinkError::Late) {
                self.links.cut();
            }
            error.as_str().to_owned()
        })?;
        let Voucher {
            node, why, cost, ..
        } = answered.voucher;
        // Of answers that were told before.
        shared.metrics.answers.asked_beyond(cost);
        match answered.incoming.status {
            StatusCode::OK => Ok(node),
            status => Err(why.unwrap_or_else(|| format!("it answers {status}"))),
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

fn now() -> Moment {
    Moment(monotonic())
}
