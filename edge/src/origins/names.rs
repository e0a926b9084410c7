//! Names become addresses: asked asynchronously, kept for their TTL, and the last good answer for longer.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::{TokioResolver, config as settings};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

/// How long a failed question is not asked again.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// An answer with a shorter life is kept for this long all the same.
const TTL_MIN: Duration = Duration::from_secs(1);
/// Where the system's own resolver answers, which tells no TTL.
const TTL_UNKNOWN: Duration = Duration::from_secs(30);
/// How long a question may take.
const LOOKUP_TIME: Duration = Duration::from_secs(5);

/// Servers of one service; what is more is left out.
const SERVERS_MAX: usize = 32;

/// Who is asked.
#[derive(Debug)]
enum Directory {
    Dns(Box<TokioResolver>),
    /// The system's resolver, where its configuration cannot be read.
    System,
}

/// The addresses of the configured names. It holds as many entries as the configuration has names.
#[derive(Debug)]
pub(crate) struct Names {
    directory: Directory,
    known: Mutex<HashMap<String, Known>>,
    services: Mutex<HashMap<String, KnownServices>>,
}

/// What is known of the servers of one service.
#[derive(Clone, Debug)]
struct KnownServices {
    servers: Arc<[Service]>,
    until: Instant,
}

/// What is known of one name.
#[derive(Clone, Debug)]
struct Known {
    addresses: Arc<[IpAddr]>,
    until: Instant,
}

fn resolver_config(servers: &[SocketAddr]) -> settings::ResolverConfig {
    let servers = servers.iter().map(|server| {
        let ways = [
            settings::ConnectionConfig::udp(),
            settings::ConnectionConfig::tcp(),
        ];
        let at_port = |mut way: settings::ConnectionConfig| {
            way.port = server.port();
            way
        };
        settings::NameServerConfig::new(server.ip(), true, ways.map(at_port).into())
    });
    settings::ResolverConfig::from_parts(None, Vec::new(), servers.collect())
}

impl Names {
    /// Asks these servers; without any, whom the system's configuration names.
    pub(crate) fn of(servers: &[SocketAddr]) -> Arc<Self> {
        let builder = match servers {
            [] => TokioResolver::builder_tokio(),
            servers => Ok(TokioResolver::builder_with_config(
                resolver_config(servers),
                TokioRuntimeProvider::default(),
            )),
        };
        let resolver = builder.and_then(|mut builder| {
            // Both families: which of them works, connections find out.
            builder.options_mut().ip_strategy = settings::LookupIpStrategy::Ipv4AndIpv6;
            builder.build()
        });
        let directory = match resolver {
            Ok(resolver) => Directory::Dns(Box::new(resolver)),
            Err(error) => {
                tracing::warn!(%error, "no DNS configuration: names are resolved by the system, without their TTL");
                Directory::System
            }
        };
        Arc::new(Self {
            directory,
            known: Mutex::default(),
            services: Mutex::default(),
        })
    }

    /// The addresses of `name`, or none. A name that resolved once keeps its last addresses while it cannot be
    /// resolved, and a request never waits for an answer that only confirms what is known.
    pub(crate) async fn resolve(self: &Arc<Self>, name: &str, now: Instant) -> Vec<IpAddr> {
        let known = self.known.lock().get(name).cloned();
        match known {
            Some(known) if known.until > now => known.addresses.to_vec(),
            Some(known) if !known.addresses.is_empty() => {
                self.postpone(name, now);
                let (this, name) = (Arc::clone(self), name.to_owned());
                tokio::spawn(async move { this.ask(&name, now).await });
                known.addresses.to_vec()
            }
            _ => self.ask(name, now).await.to_vec(),
        }
    }

    /// While one request asks, the others use what is known.
    fn postpone(&self, name: &str, now: Instant) {
        if let Some(known) = self.known.lock().get_mut(name) {
            known.until = now + LOOKUP_TIME;
        }
    }

    async fn ask(&self, name: &str, now: Instant) -> Arc<[IpAddr]> {
        let answer = timeout(LOOKUP_TIME, self.directory.lookup(name, now)).await;
        let mut known = self.known.lock();
        let entry = known.entry(name.to_owned()).or_insert_with(|| Known {
            addresses: Arc::default(),
            until: now,
        });
        match answer {
            Ok(Some(answer)) => *entry = answer,
            failed => {
                let kept = entry.addresses.len();
                tracing::warn!(name, kept, "a name does not resolve");
                // `now` was before the question.
                let waited = failed.map_or(LOOKUP_TIME, |_no_answer| Duration::ZERO);
                entry.until = now + waited + RETRY_AFTER;
            }
        }
        Arc::clone(&entry.addresses)
    }
}

/// A server that an SRV record names (RFC 2782).
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub host: String,
    pub port: u16,
    pub priority: u16,
    pub weight: u16,
}

impl Names {
    /// The servers of a service, or none. As with addresses, the last ones are kept while there is no answer.
    pub(crate) async fn services_of(self: &Arc<Self>, name: &str, now: Instant) -> Arc<[Service]> {
        let known = self.services.lock().get(name).cloned();
        match known {
            Some(known) if known.until > now => known.servers,
            Some(known) if !known.servers.is_empty() => {
                if let Some(known) = self.services.lock().get_mut(name) {
                    known.until = now + LOOKUP_TIME;
                }
                let (this, name) = (Arc::clone(self), name.to_owned());
                tokio::spawn(async move { this.ask_for_services(&name, now).await });
                known.servers
            }
            _ => self.ask_for_services(name, now).await,
        }
    }

    async fn ask_for_services(&self, name: &str, now: Instant) -> Arc<[Service]> {
        let answer = self.services(name).await;
        let mut known = self.services.lock();
        let entry = known
            .entry(name.to_owned())
            .or_insert_with(|| KnownServices {
                servers: Arc::default(),
                until: now,
            });
        match answer {
            Some((mut servers, until)) => {
                servers.truncate(SERVERS_MAX);
                entry.servers = servers.into();
                entry.until = Instant::from_std(until).max(now + TTL_MIN);
            }
            None => {
                let kept = entry.servers.len();
                tracing::warn!(name, kept, "no SRV records");
                entry.until = now + RETRY_AFTER;
            }
        }
        Arc::clone(&entry.servers)
    }

    /// What the SRV records of `name` say, and until when; none where there are none, or no answer.
    pub(crate) async fn services(&self, name: &str) -> Option<(Vec<Service>, std::time::Instant)> {
        let Directory::Dns(resolver) = &self.directory else {
            return None;
        };
        let answer = timeout(LOOKUP_TIME, resolver.srv_lookup(name))
            .await
            .ok()?
            .ok()?;
        let until = answer.valid_until();
        let services = answer
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                RData::SRV(record) => Some(Service {
                    host: record
                        .target
                        .to_utf8()
                        .trim_end_matches('.')
                        .to_ascii_lowercase(),
                    port: record.port,
                    priority: record.priority,
                    weight: record.weight,
                }),
                _ => None,
            });
        let services: Vec<_> = services.collect();
        (!services.is_empty()).then_some((services, until))
    }
}

impl Directory {
    async fn lookup(&self, name: &str, now: Instant) -> Option<Known> {
        let (addresses, until) = match self {
            Self::Dns(resolver) => {
                let answer = resolver.lookup_ip(name).await.ok()?;
                let until = Instant::from_std(answer.valid_until());
                (answer.iter().collect::<Vec<_>>(), until)
            }
            Self::System => {
                let answer = tokio::net::lookup_host((name, 0)).await.ok()?;
                let addresses = answer.map(|address| address.ip()).collect();
                (addresses, now + TTL_UNKNOWN)
            }
        };
        (!addresses.is_empty()).then(|| Known {
            addresses: addresses.into(),
            until: until.max(now + TTL_MIN),
        })
    }
}
