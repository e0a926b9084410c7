//! From the origins of a site to how they are reached.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use config::model;
use http::HeaderValue;
use parking_lot::Mutex;
use tiered::balance::{Manner, Role};
use tiered::ejection::EjectionSettings;
use tiered::{Balancer, BreakerSettings, HealthSettings, RetryBudget};

use super::caching::statuses;
use super::egress::{Pools, chosen};
use super::site::{Around, Before};
use crate::metrics::OriginTally;
use crate::origins::chosen::ChosenBy;
use crate::origins::condition::Condition;
use crate::origins::known;
use crate::origins::servers;
use crate::origins::slots::{Cap, Connections, Slots};
use crate::origins::{
    self, Certificate, Credentials, Origin, Origins, Probing, ProxyProtocol, Through, Watchings,
};
use crate::run::StartError;
use crate::tls::{self, TlsError};

/// The origins of the site of that name.
pub(super) fn site_origins(
    (site, around, before): (&str, Around<'_>, Option<Before<'_>>),
    all: Vec<model::Origin>,
    upstream: model::Upstream,
    sharing: model::Sharing,
) -> Result<Origins, StartError> {
    let model::Upstream {
        connect_timeout,
        first_byte_timeout,
        between_bytes_timeout,
        idle_timeout,
        retries,
        unknown_transfer_coding,
    } = upstream;
    let model::Sharing {
        balance,
        sticky_cookie,
        slow_start,
        retry_budget,
        retry_statuses,
        health,
        breaker,
        ejection,
    } = sharing;
    let metrics = &around.metrics.origins;
    let shared = Shared::new(before, (balance, slow_start, retry_budget), &all);
    let mut known = Known::of(before);
    let stay = all.iter().any(|origin| known.has(origin));
    let ejection = ejection.map(self::ejection);
    let (health, probing) = self::health(health);
    let watching = Watching {
        breaker: breaker.map(self::breaker),
        recent: ejection.map_or(Duration::ZERO, |ejection| ejection.window),
        health,
    };
    let all: Vec<_> = all
        .into_iter()
        .map(|each| {
            let known = known.take(&each);
            let tally = metrics.origin(site, &each.to_string());
            let origin = origin(each, &watching, (tally, around.pools, known))?;
            // One that is new to a running site is as cold as one that came back. Where all are, there is nobody to take
            // the rest of its share.
            if known.is_none() && stay {
                origin.condition.join(origins::moment());
            }
            Ok(Arc::new(origin))
        })
        .collect::<Result<_, StartError>>()?;
    Ok(Origins {
        balancer: shared.balancer,
        all,
        timeouts: origins::Timeouts {
            connect: connect_timeout,
            first_byte: first_byte_timeout,
            between_bytes: between_bytes_timeout,
            idle: idle_timeout,
        },
        retries,
        retry_statuses: statuses(&retry_statuses),
        budget: shared.budget,
        chosen_by: match (balance, sticky_cookie) {
            (model::Balance::Sticky, Some(cookie)) => ChosenBy::Cookie(cookie),
            (model::Balance::Sticky, None) => ChosenBy::Client,
            _ => ChosenBy::CacheKey,
        },
        draws: AtomicU64::new(0),
        health,
        ejection,
        probing,
        unknown_coding: match unknown_transfer_coding {
            model::UnknownTransferCoding::Refuse => wire::UnknownCoding::Refuse,
            model::UnknownTransferCoding::UntilClose => wire::UnknownCoding::UntilClose,
        },
        tally: metrics.retries(site),
    })
}

/// What the requests of a site share: while its settings are the same, it is.
struct Shared {
    balancer: Arc<Mutex<Balancer>>,
    budget: Arc<Mutex<RetryBudget>>,
}

impl Shared {
    fn new(
        before: Option<Before<'_>>,
        (balance, slow_start, budget): (model::Balance, Duration, u8),
        origins: &[model::Origin],
    ) -> Self {
        let same_turns = |before: &Before<'_>| {
            let was = &before.model.sharing;
            was.balance == balance
                && was.slow_start == slow_start
                && before.model.origins.len() == origins.len()
        };
        let turns = before.filter(same_turns);
        let same_budget = |before: &Before<'_>| before.model.sharing.retry_budget == budget;
        let spent = before.filter(same_budget);
        let balancer = || Balancer::new(manner(balance), slow_start, origins.len());
        Self {
            balancer: turns.map_or_else(
                || Arc::new(Mutex::new(balancer())),
                |before| Arc::clone(&before.site.origins.balancer),
            ),
            budget: spent.map_or_else(
                || Arc::new(Mutex::new(RetryBudget::new(budget))),
                |before| Arc::clone(&before.site.origins.budget),
            ),
        }
    }
}

/// The origins that a site had, each for one that it has.
struct Known<'a>(Vec<&'a Arc<Origin>>);

impl<'a> Known<'a> {
    fn of(before: Option<Before<'a>>) -> Self {
        let all = before.map(|before| before.site.origins.all.iter().collect());
        Self(all.unwrap_or_default())
    }

    /// Whether that one was there before, or one at the same place.
    fn has(&self, origin: &model::Origin) -> bool {
        let label = origin.to_string();
        self.0.iter().any(|known| known.label == label)
    }

    /// The same origin, or one at the same place that is asked in another way.
    fn take(&mut self, origin: &model::Origin) -> Option<&'a Arc<Origin>> {
        let (identity, label) = (identity(origin), origin.to_string());
        let mut all = self.0.iter();
        let same = all.position(|known| known.identity == identity);
        let there = || self.0.iter().position(|known| known.label == label);
        same.or_else(there).map(|place| self.0.swap_remove(place))
    }
}

/// What tells an origin from others, whatever its files have in them.
fn identity(origin: &model::Origin) -> u64 {
    let model::Origin {
        host,
        port,
        transport,
        http,
        proxy,
        proxy_protocol,
        certificate,
        ..
    } = origin;
    let mut identity = DefaultHasher::new();
    format!("{host:?} {port} {transport:?} {http:?}").hash(&mut identity);
    format!("{proxy:?} {proxy_protocol:?} {certificate:?}").hash(&mut identity);
    identity.finish()
}

/// By what it is found out that an origin fails.
struct Watching {
    breaker: Option<BreakerSettings>,
    /// How far back requests count.
    recent: Duration,
    health: HealthSettings,
}

const fn manner(balance: model::Balance) -> Manner {
    match balance {
        model::Balance::RoundRobin => Manner::RoundRobin,
        model::Balance::LeastConnections => Manner::LeastConnections,
        model::Balance::Hash | model::Balance::Sticky => Manner::Hash,
        model::Balance::First => Manner::First,
    }
}

const fn breaker(breaker: model::Breaker) -> BreakerSettings {
    let model::Breaker {
        percent,
        requests,
        window,
        pause,
    } = breaker;
    BreakerSettings {
        requests,
        percent,
        window,
        pause,
    }
}

const fn ejection(ejection: model::Ejection) -> EjectionSettings {
    let model::Ejection {
        percent,
        requests,
        window,
    } = ejection;
    EjectionSettings {
        requests,
        percent,
        window,
    }
}

fn health(health: model::Health) -> (HealthSettings, Option<Probing>) {
    let model::Health {
        failures,
        pause,
        pause_max,
        probe,
    } = health;
    let mut settings = HealthSettings {
        failures,
        pause,
        pause_max,
        ..HealthSettings::default()
    };
    let probing = probe.map(|probe| {
        let model::Probe {
            path,
            host,
            interval,
            timeout,
            statuses: (first, last),
            failed,
            passed,
        } = probe;
        settings.probes_failed = failed;
        settings.probes_passed = passed;
        Probing {
            path,
            host: host.and_then(|host| HeaderValue::try_from(host).ok()),
            interval,
            timeout,
            statuses: first..=last,
        }
    });
    (settings, probing)
}

fn origin(
    origin: model::Origin,
    watching: &Watching,
    (tally, pools, known): (OriginTally, &Pools, Option<&Arc<Origin>>),
) -> Result<Origin, StartError> {
    let label = origin.to_string();
    let identity = identity(&origin);
    let model::Origin {
        host,
        port,
        transport,
        http,
        host_override,
        weight,
        role,
        caps,
        proxy,
        proxy_protocol,
        certificate,
        egress,
    } = origin;
    let target = format!("{host}:{port}");
    let transport = match transport {
        model::OriginTransport::Plain => origins::Transport::Plain,
        model::OriginTransport::Tls { verify, sni } => origins::Transport::Tls {
            trust: trust(verify)?,
            sni,
        },
    };
    // The servers of a service have a circuit each.
    let is_service = matches!(host, model::OriginHost::Service(_)) && proxy.is_none();
    let servers = servers::Watching {
        breaker: watching.breaker,
        recent: watching.recent,
    };
    let own = servers::Watching {
        breaker: watching.breaker.filter(|_| !is_service),
        ..servers
    };
    let through = proxy.map(|proxy| through(proxy, target)).transpose();
    let through = through.map_err(|why| StartError::Origin {
        origin: label.clone(),
        why,
    })?;
    let certificate = certificate.map(self::certificate).transpose()?;
    let shown = {
        let credentials = through.as_ref().and_then(|it| it.credentials.as_ref());
        let credentials = credentials.map(Credentials::as_str);
        shown(&transport, certificate.as_ref(), (credentials, &caps))
    };
    let (cap, connections) = (cap(&caps), connections(&caps));
    Ok(Origin {
        host: self::host(host),
        port,
        through,
        label,
        proxy_protocol: proxy_protocol.map(|version| match version {
            model::ProxyProtocol::V1 => ProxyProtocol::V1,
            model::ProxyProtocol::V2 => ProxyProtocol::V2,
        }),
        certificate,
        egress: chosen(&egress, pools),
        transport,
        http: match http {
            model::OriginHttp::Auto => origins::HttpVersion::Negotiated,
            model::OriginHttp::One => origins::HttpVersion::One,
            model::OriginHttp::Two => origins::HttpVersion::Two,
        },
        host_override: host_override.and_then(|host| HeaderValue::try_from(host).ok()),
        identity,
        shown,
        weight,
        role: match role {
            model::OriginRole::Primary => Role::Primary,
            model::OriginRole::Backup => Role::Backup,
        },
        slots: match known {
            Some(known) => known.slots.by(cap, connections),
            None => Slots::new(cap, connections),
        },
        condition: match known {
            Some(known) => Arc::clone(&known.condition),
            None => Arc::new(Condition::new(own, tally)),
        },
        addresses: match known {
            Some(known) => Arc::clone(&known.addresses),
            None => Arc::new(known::Known::new(watching.health, servers)),
        },
        watching: Watchings { own, servers },
    })
}

/// What connections were made with that files say, and whether they are counted.
fn shown(
    transport: &origins::Transport,
    certificate: Option<&Certificate>,
    (credentials, caps): (Option<&str>, &model::Caps),
) -> u64 {
    let mut shown = DefaultHasher::new();
    if let origins::Transport::Tls { trust, .. } = transport
        && let origins::Trust::Authorities(authorities) = trust
    {
        authorities.hash(&mut shown);
    }
    if let Some(Certificate { chain, key }) = certificate {
        (chain, key).hash(&mut shown);
    }
    (credentials, caps.connections.is_some()).hash(&mut shown);
    shown.finish()
}

fn host(host: model::OriginHost) -> origins::Host {
    match host {
        model::OriginHost::Name(name) => origins::Host::Name(name),
        model::OriginHost::Address(address) => origins::Host::Address(address),
        model::OriginHost::Socket(path) => origins::Host::Socket(path),
        model::OriginHost::Service(name) => origins::Host::Service(name),
    }
}

fn through(proxy: model::Proxy, target: String) -> Result<Through, String> {
    let model::Proxy {
        host,
        port,
        credentials,
    } = proxy;
    let credentials = credentials.map(|path| Credentials::read(&path));
    Ok(Through {
        host: self::host(host),
        port,
        target,
        credentials: credentials.transpose()?,
    })
}

fn certificate(certificate: model::Certificate) -> Result<Certificate, TlsError> {
    let model::Certificate { cert, key } = certificate;
    let (chain, key) = tls::read_identity(tls::Files {
        cert: &cert,
        key: &key,
    })?;
    Ok(Certificate { chain, key })
}

fn connections(caps: &model::Caps) -> Option<Connections> {
    let model::Caps {
        connections,
        queue_timeout,
        ..
    } = *caps;
    connections.map(|most| Connections::new(most, queue_timeout))
}

fn cap(caps: &model::Caps) -> Option<Cap> {
    let model::Caps {
        requests,
        queue,
        queue_timeout,
        connections: _, // see `connections`
    } = *caps;
    requests.map(|requests| Cap::new(requests, queue, queue_timeout))
}

fn trust(verify: model::Verify) -> Result<origins::Trust, TlsError> {
    Ok(match verify {
        model::Verify::System => origins::Trust::System,
        model::Verify::Never => origins::Trust::Anyone,
        model::Verify::Ca(path) => origins::Trust::Authorities(authorities(&path)?),
    })
}

fn authorities(path: &Path) -> Result<Arc<[Vec<u8>]>, TlsError> {
    let certificates = tls::read_certificates(path)?;
    Ok(certificates.iter().map(|der| der.to_vec()).collect())
}
