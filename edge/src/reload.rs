//! A running node takes a changed configuration: whole, or not at all.
//!
//! ```text
//!   file ──▶ checked ──▶ compared ──▶ made ready ──▶ in force
//!               │            │             │
//!            problems     a restart     a file that it names is wrong     nothing has changed, and who asked is told
//! ```
//!
//! What is made ready shares with what is in force whatever both have: counters, what is known of origins, pools of ports.
//! Only when all of it is there does one pointer change. Requests under way end with what they began with.

mod answer;
mod told;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use config::Changes;
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts};
use purge_api::Problem;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use crate::in_force::InForce;
use crate::metrics::Metrics;
use crate::node::Node;
use crate::origins::probes;
use crate::token;
use crate::wiring::{self, Keeping};

pub(crate) use answer::answer;

/// What a node needs to take another configuration.
pub(crate) struct Reloads {
    /// None where the node was started without a file.
    file: Option<PathBuf>,
    /// One at a time: who comes meanwhile waits, and reads the file after.
    turn: Mutex<()>,
    metrics: ReloadMetrics,
}

/// What is told of configurations.
struct ReloadMetrics {
    reloads: IntCounterVec,
    generation: IntGauge,
    since: IntGauge,
    info: IntGaugeVec,
}

/// A configuration that was taken.
#[derive(Debug)]
pub(crate) struct Taken {
    pub configuration: purge_api::Configuration,
    pub changes: Changes,
}

/// Why a configuration was not taken. Nothing has changed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum NotTaken {
    /// There is nothing to read again.
    #[error(
        "the node was started without a configuration file, so there is none to read again: start it with --config"
    )]
    NoFile,
    /// The node finishes what is under way, and stops.
    #[error("the node is stopping")]
    Stopping,
    /// The file, or one that it names, is wrong.
    #[error("{0}")]
    Wrong(String),
    /// It differs in settings that are taken at a start.
    #[error("{0}")]
    Restart(String),
}

impl NotTaken {
    /// In a word.
    const fn word(&self) -> &'static str {
        match self {
            Self::NoFile => "no-file",
            Self::Stopping => "stopping",
            Self::Wrong(_) => "configuration",
            Self::Restart(_) => "restart",
        }
    }
}

impl From<NotTaken> for Problem {
    fn from(not_taken: NotTaken) -> Self {
        match not_taken {
            NotTaken::NoFile | NotTaken::Wrong(_) => Self::Configuration(not_taken.to_string()),
            NotTaken::Restart(why) => Self::Restart(why),
            NotTaken::Stopping => Self::Stopping,
        }
    }
}

impl Reloads {
    /// Of a node that was started with what is in `file`.
    ///
    /// # Errors
    /// Never: the names of its metrics are valid.
    pub(crate) fn new(
        file: Option<PathBuf>,
        metrics: &Metrics,
        in_force: &InForce,
    ) -> Result<Self, prometheus::Error> {
        let told = ReloadMetrics::new(metrics)?;
        told.tell(in_force);
        Ok(Self {
            file,
            turn: Mutex::new(()),
            metrics: told,
        })
    }
}

impl ReloadMetrics {
    fn new(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        let told = Self {
            reloads: IntCounterVec::new(
                Opts::new(
                    "config_reloads_total",
                    "Configurations that the node was to take while it ran, by what came of it.",
                ),
                &["result"],
            )?,
            generation: IntGauge::new(
                "config_generation",
                "How many configurations the node has had since it was started.",
            )?,
            since: IntGauge::new(
                "config_last_reload_success_timestamp_seconds",
                "When the configuration in force was taken, in seconds since 1970.",
            )?,
            info: IntGaugeVec::new(
                Opts::new(
                    "config_info",
                    "The configuration in force, by a hash of what it says.",
                ),
                &["hash"],
            )?,
        };
        metrics.add([
            Box::new(told.reloads.clone()) as Box<dyn prometheus::core::Collector>,
            Box::new(told.generation.clone()),
            Box::new(told.since.clone()),
            Box::new(told.info.clone()),
        ]);
        Ok(told)
    }

    fn tell(&self, in_force: &InForce) {
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.generation.set(number(in_force.common.generation));
        self.since.set(number(in_force.since.unix_secs()));
        self.info.reset();
        self.info.with_label_values(&[&in_force.hash]).set(1);
    }
}

impl Node {
    /// Reads the configuration again, and takes it. `by` says who wanted it.
    ///
    /// # Errors
    /// [`NotTaken`], and then nothing has changed.
    pub(crate) async fn reload(self: &Arc<Self>, by: &str) -> Result<Taken, NotTaken> {
        let _turn = self.reloads.turn.lock().await;
        let node = Arc::clone(self);
        let work = spawn_blocking(move || node.take_from_file());
        let taken = work.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a reload broke off");
            Err(NotTaken::Wrong(error.to_string()))
        });
        let result = match &taken {
            Ok(_) => "taken",
            Err(not_taken) => not_taken.word(),
        };
        let reloads = &self.reloads.metrics.reloads;
        reloads.with_label_values(&[result]).inc();
        match &taken {
            Ok(taken) => {
                let (generation, hash) =
                    (taken.configuration.generation, &taken.configuration.hash);
                let changes = told::in_short(&taken.changes);
                tracing::info!(by, generation, hash, changes, "the configuration is taken");
                probes::start(self);
            }
            Err(why) => {
                let why = told::in_a_line(why);
                tracing::error!(by, why, "the configuration stays as it was");
            }
        }
        self.forget_origins();
        taken
    }

    /// Those that are no more, or never were in force, are told of no more.
    fn forget_origins(&self) {
        let in_force = self.in_force_now();
        let sites = in_force.sites.all();
        let labels = sites.iter().flat_map(|site| {
            let origins = site.origins.all.iter();
            origins.map(|origin| (site.name.as_str(), origin.label.as_str()))
        });
        let known = labels.collect();
        self.metrics.origins.keep_only(&known);
    }

    /// It looks at files and may try sockets.
    fn take_from_file(&self) -> Result<Taken, NotTaken> {
        if *self.stopping.borrow() {
            return Err(NotTaken::Stopping);
        }
        let file = self.reloads.file.as_deref().ok_or(NotTaken::NoFile)?;
        let config =
            config::load(file).map_err(|problems| NotTaken::Wrong(problems.to_string()))?;
        let before = self.in_force_now();
        let changes = Changes::between(&before.config.effective, &config.effective);
        if let Some(why) = told::restart(&changes) {
            return Err(NotTaken::Restart(why));
        }
        let found = token::find(config.admin.token_file.as_deref()).map_err(NotTaken::Wrong)?;
        let keeping = Keeping {
            name: &self.name,
            threads: self.threads,
            clock: &self.clock,
            metrics: &self.metrics,
            names: &self.names,
            position: &self.purges.position,
            before: Some(&before),
        };
        let ready = keeping.make_ready(config, found.token);
        let ready = ready.map_err(|error| NotTaken::Wrong(error.to_string()))?;
        if *self.stopping.borrow() {
            return Err(NotTaken::Stopping);
        }
        let known = self.purges.know(&ready.sites).map_err(wiring::unwritten);
        known.map_err(|error| NotTaken::Wrong(error.to_string()))?;
        Ok(self.take(&before, ready, changes))
    }

    /// From here on nothing can fail.
    fn take(&self, before: &InForce, ready: InForce, changes: Changes) -> Taken {
        let configuration = ready.told();
        ready.begin(&self.metrics);
        self.reloads.metrics.tell(&ready);
        let generation = ready.common.generation;
        let tiers = (&before.common.tier, &ready.common.tier);
        if let (old, Some(new)) = tiers
            && !old.as_ref().is_some_and(|old| Arc::ptr_eq(old, new))
        {
            new.start();
        }
        if let (Some(old), new) = tiers {
            old.give_way(new.as_deref());
        }
        ready.end_origins_of(before);
        self.in_force.store(Arc::new(ready));
        self.generation.store(generation, Ordering::Release);
        self.authorities.clear();
        self.generations.send_replace(generation);
        Taken {
            configuration,
            changes,
        }
    }
}

impl InForce {
    /// Its settings hold from now on for what is known of the origins, and its sites are counted.
    pub(crate) fn begin(&self, metrics: &Metrics) {
        for site in self.sites.all() {
            site.origins.come_into_force();
        }
        metrics.requests.follow(self.sites.tallies().cloned());
    }

    /// Of the origins that this configuration has no more, nothing is told.
    fn end_origins_of(&self, before: &Self) {
        let conditions = |of: &Self| -> Vec<_> {
            let sites = of.sites.all();
            let origins = sites.iter().flat_map(|site| &site.origins.all);
            origins
                .map(|origin| Arc::clone(&origin.condition))
                .collect()
        };
        let kept: HashSet<_> = conditions(self).iter().map(Arc::as_ptr).collect();
        let gone = conditions(before);
        let gone = gone.iter().filter(|it| !kept.contains(&Arc::as_ptr(it)));
        gone.for_each(|condition| condition.tally.end());
    }
}
