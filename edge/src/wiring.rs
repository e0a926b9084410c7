//! From the configuration to a node: the only place that knows both.
//!
//! Every section is taken apart completely, so that a setting nobody uses does not compile.

mod admin;
mod caching;
mod disks;
mod egress;
mod fleet;
mod log;
mod origin;
mod rule;
mod settings;
mod simulated;
mod site;
mod telemetry;
mod tier;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use config::model;
use purge_api::{Api, Token};
use storage::curve::Shape;
use storage::purge::LogId;
use storage::{Epochs, FlightSettings, Flights, Memory, Tiers, Uncacheable, VaryMemory};
use tiered::forwarded::{self, Trust};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::audit::Audit;
use crate::cache::Head;
use crate::capacity::Capacity;
use crate::clock::Clock;
use crate::coding::Coder;
use crate::downstream::Limits;
use crate::egress::Pool;
use crate::fleet::{CursorFile, FleetLog, Place};
use crate::hints::Hints;
use crate::ids::Ids;
use crate::metrics::Metrics;
use crate::node::Node;
use crate::observe::Observed;
use crate::origins::names::Names;
use crate::pingora::Authorities;
use crate::pingora::fetch::Fetcher;
use crate::purges::{LocalLog, Purges};
use crate::run::StartError;
use crate::searches::Searches;
use crate::server::Announcing;
use crate::sites::Sites;
use crate::tier::{Shared, Tier, TierMetrics};
use crate::tls::{self, Files, TlsError};

pub use disks::DISK_QUIET;
pub use fleet::plan_fleet;
use fleet::{Following, following};
pub use simulated::{Simulated, simulated};
use site::sites_by_host;

/// Fills under way at once; requests beyond it go to the origin by themselves.
const FLIGHTS_MAX: usize = 16 * 1024;
/// Answers that are remembered to be uncacheable.
const UNCACHEABLE_MAX: usize = 64 * 1024;
/// Keys that are remembered not to be asked for in parts.
const RANGELESS_MAX: usize = 64 * 1024;
/// Keys whose selecting fields are remembered.
const VARY_MAX: usize = 64 * 1024;
/// Invalidations in a millisecond that one process may count (see `storage::Epochs`), as a power of two.
const EPOCH_BITS: u32 = 20;
/// Idle connections to origins that are kept, for each thread.
const POOL_PER_THREAD: usize = 128;

/// A node before its listeners are open.
pub(crate) struct Plan {
    pub node: Node,
    pub listeners: Vec<Planned>,
    pub admin: SocketAddr,
    pub connections: u32,
    pub grace: Duration,
}

/// A listener before it is open.
pub(crate) struct Planned {
    pub address: SocketAddr,
    pub tls: Option<TlsAcceptor>,
    pub announcing: Announcing,
}

/// Builds a node from its configuration, and says what it is to listen to.
pub(crate) fn plan(
    config: model::Config,
    token: Token,
    stopping: watch::Receiver<bool>,
) -> Result<Plan, StartError> {
    Ok(Plan {
        listeners: listeners(&config.node.listen, &config.tls, tier::peers(&config))?,
        admin: config.admin.listen,
        connections: u32::try_from(config.limits.connections).unwrap_or(u32::MAX),
        grace: config.node.grace,
        node: node(config, token, stopping)?,
    })
}

fn node(
    config: model::Config,
    token: Token,
    stopping: watch::Receiver<bool>,
) -> Result<Node, StartError> {
    let model::Config {
        node,
        admin: api,
        fleet,
        tier,
        dialects,
        memory,
        disks,
        egress,
        log,
        telemetry,
        limits,
        tls: _, // the listeners'
        sites,
        effective,
    } = config;
    let model::Node {
        name,
        listen: _, // the plan's
        threads,
        grace: _, // the plan's
        trusted_proxies,
        trusted_field,
        resolvers,
    } = node;
    let model::Admin {
        listen: _,     // the plan's
        token_file: _, // read before: see `token`
        tokens,
    } = api;
    let threads = threads.map_or_else(default_threads, usize::from);
    let metrics = Arc::new(Metrics::new().map_err(system)?);
    let clock = Arc::new(Clock::from_environment());
    let observed_from = clock.now();
    let names = Names::of(&resolvers);
    let authorities = Arc::new(Authorities::default());
    let pool = POOL_PER_THREAD * threads;
    let instance = crate::token::instance().map_err(system)?;
    let log = log::open(log, &name, &clock, &metrics)?;
    let telemetry = telemetry.map(|telemetry| {
        let around = telemetry::Around {
            name: &name,
            clock: &clock,
            names: &names,
            metrics: &metrics,
            redaction: log.redaction(),
        };
        telemetry::prepare(telemetry, &around)
    });
    let telemetry = telemetry.transpose()?;
    let pools = egress::pools(egress, &metrics.egress)?;
    let sites = sites_by_host(sites, (&metrics.origins, &pools))?;
    metrics.requests.watch(sites.tallies().cloned());
    let state = crate::token::state_directory().map(|state| state.join(&name));
    let state = state.ok();
    let following = fleet.map(|fleet| following(fleet, &name, state.as_deref()));
    let following = following.transpose()?;
    let below = disks::open(disks, &memory, &limits)?;
    let around = Around {
        state: state.as_deref(),
        witness: below.as_ref().map(|below| below.witness.as_path()),
        clock: &clock,
        metrics: &metrics,
    };
    let purges = around.open_purges(&sites, following);
    let tier = tier.map(|tier| {
        around.tier(
            tier::ready(tier, threads, &pools)?,
            &name,
            (&names, &purges),
        )
    });
    let tier = tier.transpose()?;
    let fetcher = Fetcher::new(
        Arc::clone(&names),
        Arc::clone(&authorities),
        Arc::clone(&clock),
        pool,
        tier.clone(),
    );
    let memory_settings = memory_settings(memory, &limits);
    let memory = Memory::new(memory_settings);
    let shape = Shape {
        memory: memory_settings.capacity as u64,
        object_max: memory_settings.object_max,
        eviction: memory_settings.eviction,
        disk: below.as_ref().map(|below| below.shape),
    };
    let capacity = Capacity::new(shape, memory.object_overhead(), observed_from);
    let coder = Coder::new(Arc::clone(&memory), Arc::clone(&metrics), threads);
    let epochs = around.epochs(purges.log_id());
    let tiers = match below {
        Some(below) => Tiers::above(memory, below.disk, purges.log_id().0),
        None => Tiers::memory_only(memory),
    };
    watch_evictions(&tiers, &metrics, &clock);
    Ok(Node {
        name,
        purges,
        api: Api::new(admin::access(token, tokens)?, admin::dialects(dialects)),
        audit: Audit::open(state.as_deref()),
        guard: tiered::LoopGuard::new(&instance),
        started: clock.instant(),
        epochs,
        clock,
        sites,
        limits: Arc::new(downstream_limits(&limits)),
        follower_wait: limits.follower_wait,
        ranges_max: limits.ranges,
        tiers,
        coder,
        flights: Flights::new(FlightSettings {
            followers_max: limits.followers,
            flights_max: FLIGHTS_MAX,
        }),
        uncacheable: Uncacheable::new(UNCACHEABLE_MAX),
        rangeless: Uncacheable::new(RANGELESS_MAX),
        vary: VaryMemory::new(VARY_MAX),
        tier,
        trust: Trust::new(trusted_proxies, trusted(trusted_field)),
        hints: Hints::new(),
        searches: Searches::new(),
        query_content: limits.query_content,
        fetcher: Arc::new(fetcher),
        names,
        egress: in_order(pools),
        authorities,
        metrics,
        settings: settings::document(&effective),
        log,
        telemetry,
        ids: Ids::default(),
        observed: Observed::new(observed_from),
        capacity,
        threads,
        pool,
        stopping,
    })
}

/// Counts how old what leaves the tiers is.
fn watch_evictions(tiers: &Arc<Tiers<Head>>, metrics: &Metrics, clock: &Arc<Clock>) {
    let (ages, clock) = (metrics.ages.clone(), Arc::clone(clock));
    tiers.watch_evictions(move |tier, received| {
        ages.evicted(tier, clock.now().unix_secs().saturating_sub(received));
    });
}

/// What the purges of a node are opened with.
struct Around<'a> {
    /// Where a node keeps what it must not forget.
    state: Option<&'a Path>,
    /// Beside the first volume, where it is noted which purges were acknowledged.
    witness: Option<&'a Path>,
    clock: &'a Arc<Clock>,
    metrics: &'a Metrics,
}

impl Around<'_> {
    /// Reads the purges that were applied, and makes the log that is followed from there: the node's own, or the fleet's.
    fn open_purges(&self, sites: &Sites, following: Option<Following>) -> Purges {
        let now = moment(self.clock);
        Purges::open(self.state, self.witness, sites, now, |file, tail| {
            let cursor = CursorFile::new(self.state);
            let Some(following) = following else {
                cursor.remove();
                return Box::new(LocalLog::new(file));
            };
            let Following {
                settings,
                outbox,
                counters,
            } = following;
            self.metrics.add(counters.collectors());
            let place = Place { file, tail, cursor };
            let clock = Arc::clone(self.clock);
            Box::new(FleetLog::new(settings, place, outbox, clock, counters))
        })
    }
}

impl Around<'_> {
    /// The epochs of queries. They outlive the process where what is stored does, under the same log of purges.
    fn epochs(&self, log: LogId) -> Arc<Epochs> {
        let start = moment(self.clock).0 << EPOCH_BITS;
        match self.state.zip(self.witness) {
            Some((state, witness)) => {
                let witness = disks::witness_of(witness, "queries");
                Epochs::open(&state.join("queries.epochs"), &witness, log, start)
            }
            None => Epochs::volatile(start),
        }
    }

    /// Makes what is asked instead of the origin, and who may ask this node.
    fn tier(
        &self,
        ready: tier::Ready,
        name: &str,
        (names, purges): (&Arc<Names>, &Purges),
    ) -> Result<Arc<Tier>, StartError> {
        let counters = TierMetrics::new().map_err(system)?;
        self.metrics.add(counters.collectors());
        let shared = Shared {
            name: name.to_owned(),
            proof: ready.proof,
            silence: ready.silence,
            clock: Arc::clone(self.clock),
            names: Arc::clone(names),
            position: Arc::clone(&purges.position),
            metrics: counters,
        };
        Ok(Arc::new(Tier::new(
            ready.settings,
            shared,
            (ready.parents, ready.siblings),
        )))
    }
}

fn moment(clock: &Clock) -> storage::Moment {
    storage::Moment(clock.now().unix_millis())
}

fn system(error: impl std::fmt::Display) -> StartError {
    StartError::System(error.to_string())
}

/// One thread for each core.
pub(crate) fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn downstream_limits(limits: &model::Limits) -> Limits {
    let model::Limits {
        head_bytes,
        target_bytes,
        fields,
        head_timeout,
        idle_timeout,
        body_timeout,
        write_timeout,
        connections: _,   // the server's
        followers: _,     // the flights'
        follower_wait: _, // the node's
        ranges: _,        // the node's
        variants: _,      // the tiers'
        query_content: _, // the node's
        h2_streams,
    } = *limits;
    Limits {
        wire: wire::Limits {
            head_bytes,
            target_bytes,
            fields,
            ..wire::Limits::default()
        },
        head: head_timeout,
        idle: idle_timeout,
        body: body_timeout,
        write: write_timeout,
        h2_streams,
    }
}

fn memory_settings(memory: model::Memory, limits: &model::Limits) -> storage::Settings {
    let model::Memory {
        size,
        object_max,
        eviction,
    } = memory;
    let capacity = usize::try_from(size).unwrap_or(usize::MAX);
    storage::Settings {
        object_max,
        eviction: match eviction {
            model::Eviction::Gdsf => storage::Eviction::SampledGdsf,
            model::Eviction::Lru => storage::Eviction::Lru,
        },
        variants_max: limits.variants,
        ..storage::Settings::new(capacity)
    }
}

fn in_order(pools: egress::Pools) -> Vec<Arc<Pool>> {
    let mut pools: Vec<_> = pools.into_values().collect();
    pools.sort_by(|one, other| one.name.cmp(&other.name));
    pools
}

fn listeners(
    listen: &[model::Listener],
    tls: &model::Tls,
    peers: Option<&Path>,
) -> Result<Vec<Planned>, TlsError> {
    let model::Tls {
        certificates,
        ticket_key_file,
    } = tls;
    let tickets = ticket_key_file.as_deref();
    let files: Vec<_> = certificates
        .iter()
        .map(|model::Certificate { cert, key }| Files { cert, key })
        .collect();
    let mut planned = Vec::new();
    for model::Listener {
        address,
        transport,
        announcing,
    } in listen
    {
        let tls = match transport {
            model::ListenerTransport::Plain => None,
            model::ListenerTransport::Tls => {
                let config = tls::server_config(&files, peers, tickets)?;
                Some(TlsAcceptor::from(config))
            }
        };
        planned.push(Planned {
            address: *address,
            tls,
            announcing: match announcing {
                model::Announcing::No => Announcing::No,
                model::Announcing::Trusted => Announcing::Trusted,
            },
        });
    }
    Ok(planned)
}

const fn trusted(field: model::TrustedField) -> forwarded::Field {
    match field {
        model::TrustedField::XForwardedFor => forwarded::Field::XForwarded,
        model::TrustedField::Forwarded => forwarded::Field::Forwarded,
    }
}
