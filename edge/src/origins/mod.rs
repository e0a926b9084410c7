//! The servers that a site comes from: where they are, which of them is asked, and what they are sent.

pub(crate) mod attempts;
pub(crate) mod chosen;
pub(crate) mod condition;
pub(crate) mod edits;
pub(crate) mod known;
pub(crate) mod names;
pub(crate) mod outbound;
pub(crate) mod probes;
pub(crate) mod servers;
pub(crate) mod slots;
pub(crate) mod status;

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as STANDARD;
use http::{HeaderValue, StatusCode};
use parking_lot::Mutex;
use tiered::balance::{Peer, Role};
use tiered::ejection::{self, EjectionSettings};
use tiered::health::Change;
use tiered::window::Count;
use tiered::{Balancer, HealthSettings, Moment, RetryBudget};
use tokio::time::Instant;
use wire::UnknownCoding;

use crate::clock;
use crate::egress::Pool;
use crate::error::UpstreamError;
use crate::metrics::RetryTally;
use attempts::Place;
use chosen::ChosenBy;
use condition::Condition;
use known::{Known, Server};
use names::Names;
use servers::Watching;
use slots::Slots;

/// An origin server.
#[derive(Debug)]
pub(crate) struct Origin {
    /// How it is called in metrics and logs: its URL.
    pub label: String,
    pub host: Host,
    pub port: u16,
    pub transport: Transport,
    pub http: HttpVersion,
    /// The `Host` it is sent instead of the client's.
    pub host_override: Option<HeaderValue>,
    /// What tells its connections apart from those to the same address that were made otherwise.
    pub identity: u64,
    /// Its share compared with that of the site's other origins.
    pub weight: u32,
    pub role: Role,
    /// What tells its connections apart from those that were made with other certificates or credentials.
    pub shown: u64,
    pub slots: Arc<Slots>,
    pub condition: Arc<Condition>,
    /// What is known of its addresses, and of those of its servers.
    pub addresses: Arc<Known>,
    /// By what it is watched, and the servers that records name for it.
    pub watching: Watchings,
    /// The proxy through which it is reached.
    pub through: Option<Through>,
    /// How it is told who the client is before the first byte.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// What it is shown of the node.
    pub certificate: Option<Certificate>,
    /// The pools from which it is reached where no rule says otherwise; none leaves it to the system.
    pub egress: Arc<[Arc<Pool>]>,
}

/// By what an origin is watched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watchings {
    pub own: Watching,
    pub servers: Watching,
}

/// A proxy that is asked for a tunnel.
#[derive(Clone, Debug)]
pub(crate) struct Through {
    pub host: Host,
    pub port: u16,
    /// What is asked for: the origin's host and port.
    pub target: String,
    pub credentials: Option<Credentials>,
}

/// A user and a password as `Proxy-Authorization` has them (RFC 7617).
#[derive(Clone)]
pub(crate) struct Credentials(String);

impl Credentials {
    /// Reads `user:password` from a file, without the end of the line.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
        let pair = text.trim_end_matches(['\r', '\n']);
        if !pair.contains(':') || pair.contains(char::is_control) {
            return Err(format!("{shown}: it is not one line of user:password"));
        }
        Ok(Self(format!("Basic {}", STANDARD.encode(pair))))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Credentials {
    /// They are nobody's business.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

/// Which version of the PROXY protocol.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum ProxyProtocol {
    V1,
    V2,
}

/// A certificate chain and its key, in DER.
#[derive(Clone)]
pub(crate) struct Certificate {
    pub chain: Vec<Vec<u8>>,
    pub key: Vec<u8>,
}

impl std::fmt::Debug for Certificate {
    /// The key is nobody's business.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate").finish_non_exhaustive()
    }
}

impl Origin {
    /// Its own host and port, as `Host` has them.
    pub(crate) fn authority(&self) -> String {
        let host = match &self.host {
            Host::Name(name) => name.clone(),
            Host::Service(name) => return domain(name).to_owned(),
            Host::Address(IpAddr::V4(address)) => address.to_string(),
            Host::Address(IpAddr::V6(address)) => format!("[{address}]"),
            Host::Socket(_) => return "localhost".to_owned(),
        };
        match (&self.transport, self.port) {
            (Transport::Plain, 80) | (Transport::Tls { .. }, 443) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

/// Where an origin is.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Host {
    Name(String),
    Address(IpAddr),
    /// A socket in the file system.
    Socket(PathBuf),
    /// The servers that SRV records of this name tell.
    Service(String),
}

/// What is spoken below HTTP.
#[derive(Clone, Debug)]
pub(crate) enum Transport {
    Plain,
    Tls {
        trust: Trust,
        /// The name asked for and verified; without one, the client's host.
        sni: Option<String>,
    },
}

/// By whose word an origin's certificate is believed.
#[derive(Clone, Debug)]
pub(crate) enum Trust {
    System,
    /// These certificates in DER, read at start.
    Authorities(Arc<[Vec<u8>]>),
    Anyone,
}

/// Which version of HTTP.
#[derive(Clone, Copy, Debug)]
pub(crate) enum HttpVersion {
    /// What TLS negotiates; HTTP/1.1 without TLS.
    Negotiated,
    One,
    Two,
}

/// How long an origin may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    pub connect: Duration,
    pub first_byte: Duration,
    pub between_bytes: Duration,
    /// How long a connection is kept unused.
    pub idle: Duration,
}

/// How origins are probed.
#[derive(Clone, Debug)]
pub(crate) struct Probing {
    pub path: String,
    pub host: Option<HeaderValue>,
    pub interval: Duration,
    pub timeout: Duration,
    /// Those that say that it is well.
    pub statuses: RangeInclusive<u16>,
}

/// The origins of a site.
#[derive(Debug)]
pub(crate) struct Origins {
    pub all: Vec<Arc<Origin>>,
    pub timeouts: Timeouts,
    /// Further attempts after a first one that failed before any response.
    pub retries: u32,
    /// Statuses for which another origin is tried, where there is one.
    pub retry_statuses: Vec<StatusCode>,
    pub budget: Arc<Mutex<RetryBudget>>,
    pub balancer: Arc<Mutex<Balancer>>,
    pub chosen_by: ChosenBy,
    /// How many choices there were.
    pub draws: AtomicU64,
    pub health: HealthSettings,
    pub ejection: Option<EjectionSettings>,
    pub probing: Option<Probing>,
    pub unknown_coding: UnknownCoding,
    pub tally: RetryTally,
}

impl Origins {
    /// What is known of these origins is judged by their settings from now on, and their limits hold.
    pub(crate) fn come_into_force(&self) {
        for origin in &self.all {
            let Watchings { own, servers } = origin.watching;
            origin.condition.watch_by(own);
            origin.addresses.watch_by(self.health, servers);
            if self.probing.is_none() {
                origin.condition.forget_probes();
                origin.addresses.forget_probes();
            }
            origin.slots.fit();
        }
    }

    /// What there is to choose among.
    fn peers(&self, now: Moment) -> Vec<Peer> {
        let peers = self.all.iter().map(|origin| Peer {
            weight: origin.weight,
            role: origin.role,
            fitness: origin.condition.fitness(now),
            under_way: origin.slots.under_way(),
            room: origin.slots.room(),
            identity: origin.identity,
        });
        peers.collect()
    }

    /// A number that is another one each time.
    fn draw(&self) -> u64 {
        self.draws.fetch_add(1, Ordering::Relaxed)
    }

    /// Puts `judged` out if it fails far more than the site's other origins do.
    fn eject(&self, judged: &Origin, now: Moment) {
        let Some(settings) = &self.ejection else {
            return;
        };
        let own = judged.condition.count(now);
        if !own.reaches(settings.requests, settings.percent) {
            return;
        }
        let is_judged = |origin: &Arc<Origin>| std::ptr::eq(&raw const **origin, judged);
        let others = self.all.iter().filter(|origin| !is_judged(origin));
        let others = others.fold(Count::default(), |sum, origin| {
            sum.and(origin.condition.count(now))
        });
        let out = self
            .all
            .iter()
            .filter(|it| it.condition.is_out(now))
            .count();
        if ejection::may_eject(out, self.all.len()) && ejection::is_outlier(own, others, settings) {
            judged.condition.eject(&judged.label, now, &self.health);
        }
    }
}

/// Now, as the balancing counts time.
pub(crate) fn moment() -> Moment {
    Moment(clock::monotonic())
}

impl Origin {
    /// Where it is.
    ///
    /// # Errors
    /// [`UpstreamError::Unresolved`] where its name, or that of the proxy before it, does not resolve;
    /// [`UpstreamError::Barred`] where none of its servers is to be asked.
    pub(crate) async fn place(
        &self,
        names: &Arc<Names>,
        now: Instant,
    ) -> Result<Place, UpstreamError> {
        let found = match self.found(names, now).await {
            Found::Socket(path) => return Ok(Place::Socket(path)),
            Found::Servers(servers) => return self.addresses.choose(servers, moment()),
            Found::Addresses(found) => found,
        };
        let fit = self.addresses.order(&found, moment());
        match fit.is_empty() {
            true => Err(UpstreamError::Unresolved),
            false => Ok(Place::Addresses(fit)),
        }
    }

    /// Each of the places where it may be, fit or not.
    pub(crate) async fn places(&self, names: &Arc<Names>, now: Instant) -> Vec<Place> {
        match self.found(names, now).await {
            Found::Socket(path) => vec![Place::Socket(path)],
            Found::Addresses(found) => {
                let found = found.into_iter();
                found
                    .map(|address| Place::Addresses(vec![address]))
                    .collect()
            }
            Found::Servers(servers) => {
                let each = |server: Server| {
                    let name = server.name;
                    let addresses = server.addresses.into_iter();
                    addresses.map(move |address| Place::Server {
                        name: name.clone(),
                        addresses: vec![address],
                    })
                };
                servers.into_iter().flat_map(each).collect()
            }
        }
    }

    async fn found(&self, names: &Arc<Names>, now: Instant) -> Found {
        let (host, port) = match &self.through {
            Some(Through { host, port, .. }) => (host, *port),
            None => (&self.host, self.port),
        };
        let mut found = match host {
            Host::Socket(path) => return Found::Socket(path.clone()),
            Host::Service(name) => return Found::Servers(servers(names, name, now).await),
            Host::Address(address) => vec![*address],
            Host::Name(name) => names.resolve(name, now).await,
        };
        in_order(&mut found);
        let found = found.into_iter();
        Found::Addresses(
            found
                .map(|address| SocketAddr::new(address, port))
                .collect(),
        )
    }

    /// It could not be reached at this address, or gave no response there.
    pub(crate) fn failed_at(&self, address: SocketAddr) {
        let change = self.addresses.failed(address, moment());
        self.turned(address, change);
    }

    /// It answered at this address.
    pub(crate) fn answered_at(&self, address: SocketAddr) {
        let change = self.addresses.answered(address, moment());
        self.turned(address, change);
    }

    /// A probe of this address ended.
    pub(crate) fn probed_at(&self, address: SocketAddr, passed: bool) {
        let change = self.addresses.probed(address, passed, moment());
        self.turned(address, change);
    }

    fn turned(&self, address: SocketAddr, change: Option<Change>) {
        let origin = &self.label;
        match change {
            Some(Change::WentOut) => {
                self.condition.tally.went_out("address");
                tracing::warn!(origin, %address, "an address of an origin is left alone");
            }
            Some(Change::CameBack) => {
                tracing::info!(origin, %address, "an address of an origin is back");
            }
            None => {}
        }
    }

    /// The pools from which it is reached, where the request wants `chosen`.
    pub(crate) fn egress(&self, chosen: &Arc<[Arc<Pool>]>) -> Arc<[Arc<Pool>]> {
        match chosen.is_empty() {
            true => Arc::clone(&self.egress),
            false => Arc::clone(chosen),
        }
    }
}

/// What names and records tell of where an origin is.
enum Found {
    Socket(PathBuf),
    Addresses(Vec<SocketAddr>),
    Servers(Vec<Server>),
}

/// The servers of a service, each with its addresses. Those whose name does not resolve are left out.
async fn servers(names: &Arc<Names>, service: &str, now: Instant) -> Vec<Server> {
    let services = names.services_of(service, now).await;
    let each = services.iter().map(|service| async move {
        let mut found = names.resolve(&service.host, now).await;
        in_order(&mut found);
        let found = found.into_iter();
        Server {
            name: service.host.clone(),
            priority: service.priority,
            weight: service.weight,
            addresses: found
                .map(|address| SocketAddr::new(address, service.port))
                .collect(),
        }
    });
    let mut servers = futures::future::join_all(each).await;
    servers.retain(|server| !server.addresses.is_empty());
    servers
}

/// What the servers of a service are for: its name without the labels of the service and its protocol (RFC 2782).
fn domain(service: &str) -> &str {
    let mut rest = service;
    while let Some((label, behind)) = rest.split_once('.')
        && label.starts_with('_')
    {
        rest = behind;
    }
    rest
}

/// Resolvers answer in another order each time. IPv6 comes first (RFC 8305 §4).
fn in_order(addresses: &mut Vec<IpAddr>) {
    addresses.sort_unstable_by_key(|address| (address.is_ipv4(), *address));
    addresses.dedup();
}
