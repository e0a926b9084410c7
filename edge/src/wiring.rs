//! From the configuration to a node: the only place that knows both.
//!
//! Every section is taken apart completely, so that a setting nobody uses does not compile.

mod admin;
mod alike;
mod caching;
mod check;
mod disks;
mod egress;
mod fleet;
mod in_force;
mod log;
mod origin;
mod rule;
mod settings;
mod simulated;
mod site;
mod telemetry;
mod tier;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use arc_swap::ArcSwap;
use config::model;
use purge_api::Token;
use storage::curve::Shape;
use storage::purge::LogId;
use storage::{Epochs, FlightSettings, Flights, Memory, Tiers, Uncacheable, VaryMemory};
use tokio::sync::watch;

use crate::access_log::AccessLog;
use crate::audit::Audit;
use crate::cache::Head;
use crate::capacity::Capacity;
use crate::clock::Clock;
use crate::coding::Coder;
use crate::fleet::{CursorFile, FleetLog, Place};
use crate::hints::Hints;
use crate::ids::Ids;
use crate::metrics::Metrics;
use crate::node::Node;
use crate::observe::Observed;
use crate::origins::names::Names;
use crate::pingora::Authorities;
use crate::pingora::fetch::Fetcher;
use crate::purges::position::Position;
use crate::purges::{LocalLog, Purges, Unapplied};
use crate::reload::Reloads;
use crate::run::StartError;
use crate::searches::Searches;
use crate::server::{Announcing, Below};
use crate::telemetry::Telemetry;

pub use check::check;
pub use disks::DISK_QUIET;
pub use fleet::plan_fleet;
use fleet::{Following, following};
pub(crate) use in_force::Keeping;
#[cfg(test)]
pub(crate) use simulated::sites_of;
pub use simulated::{Simulated, simulated};

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

/// What a node is started with.
pub(crate) struct Given {
    pub config: model::Config,
    pub token: Token,
    /// The file that it was read from: a reload reads it again.
    pub file: Option<PathBuf>,
}

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
    pub spoken: Below,
    pub announcing: Announcing,
}

/// Builds a node from its configuration, and says what it is to listen to.
pub(crate) fn plan(given: Given, stopping: watch::Receiver<bool>) -> Result<Plan, StartError> {
    let config = &given.config;
    Ok(Plan {
        listeners: listeners(&config.node.listen),
        admin: config.admin.listen,
        connections: u32::try_from(config.limits.connections).unwrap_or(u32::MAX),
        grace: config.node.grace,
        node: node(given, stopping)?,
    })
}

/// What there is of a node before it has a configuration in force.
struct Ground {
    state: Option<PathBuf>,
    clock: Arc<Clock>,
    metrics: Arc<Metrics>,
    names: Arc<Names>,
    log: AccessLog,
    telemetry: Option<Telemetry>,
    threads: usize,
}

impl Ground {
    fn of(config: &model::Config) -> Result<Self, StartError> {
        let name = &config.node.name;
        let metrics = Arc::new(Metrics::new().map_err(system)?);
        let clock = Arc::new(Clock::from_environment());
        let names = Names::of(&config.node.resolvers);
        let log = log::open(config.log.clone(), name, &clock, &metrics)?;
        let telemetry = config.telemetry.clone().map(|telemetry| {
            let around = telemetry::Around {
                name,
                clock: &clock,
                names: &names,
                metrics: &metrics,
                redaction: log.redaction(),
            };
            telemetry::prepare(telemetry, &around)
        });
        let threads = config.node.threads;
        Ok(Self {
            state: crate::token::state_directory()
                .map(|state| state.join(name))
                .ok(),
            telemetry: telemetry.transpose()?,
            threads: threads.map_or_else(default_threads, usize::from),
            clock,
            metrics,
            names,
            log,
        })
    }

    /// What a configuration is made ready with.
    fn keeping<'a>(&'a self, name: &'a str, position: &'a Arc<Position>) -> Keeping<'a> {
        Keeping {
            name,
            threads: self.threads,
            clock: &self.clock,
            metrics: &self.metrics,
            names: &self.names,
            position,
            before: None,
        }
    }
}

/// What is stored, and what is counted of it.
struct Stock {
    tiers: Arc<Tiers<Head>>,
    coder: Coder,
    capacity: Capacity,
}

impl Stock {
    fn of(
        (memory, limits): (model::Memory, &model::Limits),
        below: Option<disks::Below>,
        (ground, purges): (&Ground, &Purges),
    ) -> Self {
        let settings = memory_settings(memory, limits);
        let memory = Memory::new(settings);
        let shape = Shape {
            memory: settings.capacity as u64,
            object_max: settings.object_max,
            eviction: settings.eviction,
            disk: below.as_ref().map(|below| below.shape),
        };
        let capacity = Capacity::new(shape, memory.object_overhead(), ground.clock.now());
        let coder = Coder::new(
            Arc::clone(&memory),
            Arc::clone(&ground.metrics),
            ground.threads,
        );
        let tiers = match below {
            Some(below) => Tiers::above(memory, below.disk, purges.log_id().0),
            None => Tiers::memory_only(memory),
        };
        watch_evictions(&tiers, &ground.metrics, &ground.clock);
        Self {
            tiers,
            coder,
            capacity,
        }
    }
}

fn node(given: Given, stopping: watch::Receiver<bool>) -> Result<Node, StartError> {
    let Given {
        config,
        token,
        file,
    } = given;
    let name = config.node.name.clone();
    let ground = Ground::of(&config)?;
    let fleet = config.fleet.clone();
    let following = fleet.map(|fleet| following(fleet, &name, ground.state.as_deref()));
    let following = following.transpose()?;
    let (memory, limits) = (config.memory, config.limits);
    let below = disks::open(config.disks.clone(), &memory, &limits)?;
    let witness = below.as_ref().map(|below| below.witness.clone());
    let around = Around {
        state: ground.state.as_deref(),
        witness: witness.as_deref(),
        clock: &ground.clock,
        metrics: &ground.metrics,
    };
    let (purges, unapplied) = around.open_purges(following);
    let keeping = ground.keeping(&name, &purges.position);
    let in_force = keeping.make_ready(config, token)?;
    purges.know(&in_force.sites).map_err(unwritten)?;
    purges.apply_again(unapplied, &in_force.sites, moment(&ground.clock));
    in_force.begin(&ground.metrics);
    let epochs = around.epochs(purges.log_id());
    let audit = Audit::open(ground.state.as_deref());
    let Stock {
        tiers,
        coder,
        capacity,
    } = Stock::of((memory, &limits), below, (&ground, &purges));
    let pool = POOL_PER_THREAD * ground.threads;
    let authorities = Arc::new(Authorities::default());
    let instance = crate::token::instance().map_err(system)?;
    let Ground {
        state: _, // used before
        clock,
        metrics,
        names,
        log,
        telemetry,
        threads,
    } = ground;
    let fetcher = Fetcher::new(
        Arc::clone(&names),
        Arc::clone(&authorities),
        Arc::clone(&clock),
        pool,
    );
    Ok(Node {
        name,
        purges,
        audit,
        guard: tiered::LoopGuard::new(&instance),
        started: clock.instant(),
        observed: Observed::new(clock.now()),
        reloads: Reloads::new(file, &metrics, &in_force).map_err(system)?,
        generation: AtomicU64::new(in_force.common.generation),
        generations: watch::Sender::new(in_force.common.generation),
        in_force: ArcSwap::from_pointee(in_force),
        epochs,
        clock,
        tiers,
        coder,
        flights: Flights::new(FlightSettings {
            followers_max: limits.followers,
            flights_max: FLIGHTS_MAX,
        }),
        uncacheable: Uncacheable::new(UNCACHEABLE_MAX),
        rangeless: Uncacheable::new(RANGELESS_MAX),
        vary: VaryMemory::new(VARY_MAX),
        hints: Hints::new(),
        searches: Searches::new(),
        fetcher: Arc::new(fetcher),
        names,
        authorities,
        metrics,
        log,
        telemetry,
        ids: Ids::default(),
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
    fn open_purges(&self, following: Option<Following>) -> (Purges, Unapplied) {
        Purges::open(self.state, self.witness, |file, tail| {
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
}

fn moment(clock: &Clock) -> storage::Moment {
    storage::Moment(clock.now().unix_millis())
}

fn system(error: impl std::fmt::Display) -> StartError {
    StartError::System(error.to_string())
}

/// The names that purges are by cannot be written.
pub(crate) fn unwritten(error: std::io::Error) -> StartError {
    StartError::System(format!(
        "what stored responses are named by cannot be written beside the purge log: {error}"
    ))
}

/// One thread for each core.
pub(crate) fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
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

fn listeners(listen: &[model::Listener]) -> Vec<Planned> {
    let planned = listen.iter().map(|listener| {
        let model::Listener {
            address,
            transport,
            announcing,
        } = *listener;
        Planned {
            address,
            spoken: match transport {
                model::ListenerTransport::Plain => Below::Nothing,
                model::ListenerTransport::Tls => Below::Tls,
            },
            announcing: match announcing {
                model::Announcing::No => Announcing::No,
                model::Announcing::Trusted => Announcing::Trusted,
            },
        }
    });
    planned.collect()
}
