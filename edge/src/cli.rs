//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use clap::{Args, Parser, Subcommand};
use larder::admin_client;
use larder::purge_command::{Intent, Mode, Reach, Request};
use larder::simulate::{Configured, Eviction, Simulation};

/// A caching edge in front of an origin.
#[derive(Debug, Parser)]
#[command(version, about, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serves: in front of an origin, or as a configuration says.
    Run {
        /// The configuration to run by; it takes the place of all flags below.
        #[arg(long, value_name = "FILE", conflicts_with = "Flags")]
        config: Option<PathBuf>,
        #[command(flatten)]
        flags: Flags,
    },
    /// Checks a configuration: no output and status 0, or every problem and status 2.
    Check {
        /// Explain the cache keys: what of a request reaches the origin without being in them, and why that is safe or
        /// not.
        #[arg(long)]
        explain_key: bool,
        /// The configuration.
        file: PathBuf,
    },
    /// Prints the complete, commented configuration that equals the flags of `run`.
    Init {
        #[command(flatten)]
        flags: Flags,
    },
    /// Purges stored responses of a node, through its admin API.
    Purge(Purge),
    /// Has a node read its configuration file again, through its admin API: all of it is taken, or nothing.
    ///
    /// Status 0 means that what the file says is in force, 2 that it is wrong or needs a restart, and nothing changed.
    Reload(Showing),
    /// Shows the requests of a node as they end.
    Log(Log),
    /// Shows what a node does right now, through its admin API: on a terminal with keys, else as text.
    Top(Top),
    /// Explains what a node would do with a request, step by step, and what would make it a hit.
    Explain(Explain),
    /// Tells what the hit ratios would be with another amount of memory or disk, or another policy.
    Curve {
        /// Write a picture to this file instead of a table.
        #[arg(long, value_name = "FILE", conflicts_with = "json")]
        svg: Option<PathBuf>,
        #[command(flatten)]
        asked: Showing,
    },
    /// Shows the origins of a node and how they fare, through its admin API.
    Origins(Showing),
    /// Replays an access log through the policy and the storage that serve traffic, and prints the hit ratios.
    ///
    /// Combined and common logs, Larder's own and other servers' JSON are read. Sizes and policies are tried in all
    /// combinations; without any, those of the configuration.
    Simulate(Simulate),
    /// Looks at the pools of local addresses from which a node reaches origins.
    #[command(subcommand)]
    Egress(Egress),
    /// Sets up the purge log that the nodes of a fleet share, and tells how they stand to it.
    Fleet {
        #[command(subcommand)]
        command: Fleet,
    },
    /// Tells of the tiers that a node is one of.
    #[command(subcommand)]
    Tier(TierCommand),
    /// Looks at a volume of stored responses.
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Starts a sample origin and a node in front of it, and prints what to try.
    Demo {
        /// Where the node listens.
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
        listen: String,
        /// Where its admin API listens.
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9180")]
        admin: String,
    },
}

/// What to look at.
#[derive(Debug, Subcommand)]
pub(crate) enum Egress {
    /// Shows the pools of a node and the ports in use, through its admin API.
    List(Showing),
}

/// What to show, and of which node.
#[derive(Args, Debug)]
pub(crate) struct Top {
    /// Ask the node every so many seconds. Without a terminal, it is asked once unless this is given.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub interval: Option<u64>,
    /// Only this site.
    #[arg(long, value_name = "NAME")]
    pub site: Option<String>,
    /// Print what the node answers, as a line of JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub node: NodeArgs,
}

/// Whom to ask, and how to show what it says.
#[derive(Args, Debug)]
pub(crate) struct Showing {
    /// Print what the node answers, as JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub node: NodeArgs,
}

/// What to simulate.
#[derive(Args, Debug)]
pub(crate) struct Simulate {
    /// The log; `-` for standard input.
    file: PathBuf,
    /// A configuration whose sites and rules apply; several are compared.
    #[arg(long, value_name = "FILE")]
    pub config: Vec<PathBuf>,
    /// A size of memory, for example `512MiB`. There may be several.
    #[arg(long, value_name = "SIZE", value_delimiter = ',', value_parser = config::size)]
    memory: Vec<u64>,
    /// A size of the disk; `0B` for none. There may be several.
    #[arg(long, value_name = "SIZE", value_delimiter = ',', value_parser = config::size)]
    disk: Vec<u64>,
    /// Who leaves memory when room is needed. There may be several.
    #[arg(long, value_name = "POLICY", value_delimiter = ',', value_enum)]
    policy: Vec<Policy>,
    /// How long a response is fresh of which nothing else says it.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = config::span)]
    ttl: Duration,
    /// The host of requests whose log does not tell it.
    #[arg(long, value_name = "HOST", default_value = "localhost")]
    host: String,
    /// The folder for the file that stands for a disk meanwhile.
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    scratch: PathBuf,
    /// What sizes on the disk are divided by, so that its file is small. Unless given, it is at most 512 MiB.
    #[arg(long, value_name = "DIVISOR")]
    scale: Option<u64>,
    /// Print what came of it as JSON.
    #[arg(long)]
    pub json: bool,
}

/// An eviction policy.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Policy {
    Gdsf,
    Lru,
}

impl Simulate {
    /// With these configurations.
    pub(crate) fn with(self, configurations: Vec<(String, Configured)>) -> Simulation {
        let eviction = |policy| match policy {
            Policy::Gdsf => Eviction::SampledGdsf,
            Policy::Lru => Eviction::Lru,
        };
        Simulation {
            file: self.file,
            configurations,
            memory: self.memory,
            disk: self.disk,
            policies: self.policy.into_iter().map(eviction).collect(),
            lifetime: self.ttl,
            host: self.host,
            scratch: self.scratch,
            scale: self.scale,
        }
    }
}

/// What to do for a fleet.
#[derive(Debug, Subcommand)]
pub(crate) enum Fleet {
    /// Makes the stream that `[fleet]` names, or checks the one that is there.
    Init {
        /// The configuration of a node.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// On how many servers the stream is kept: 1, 3 or 5.
        #[arg(long, value_name = "COUNT", default_value_t = 1,
              value_parser = clap::value_parser!(u8).range(1..=5))]
        replicas: u8,
    },
    /// Tells how the fleet's nodes stand to the log, as one of them knows it, and how long purges take to it.
    Status(Showing),
    /// Prints the accounts that the NATS servers need.
    Accounts {
        /// The stream's name.
        #[arg(long, value_name = "NAME", default_value = "LARDER")]
        stream: String,
    },
}

/// What to tell of a node's tiers.
#[derive(Debug, Subcommand)]
pub(crate) enum TierCommand {
    /// Tells how the node's parents stand, and what became of requests that they did not answer.
    Status(Showing),
}

/// Whom a purge waits for.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Wait {
    None,
    Local,
    All,
}

/// What to look at. A node may be running on it.
#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// Tells objects, bytes, segments, age and health, from the tables: status 0, or 1 if something is wrong.
    Inspect {
        /// The volume: a file, or the directory that it is in.
        dir: PathBuf,
    },
    /// Reads everything and checks it: status 0, or 1 if anything is damaged.
    Verify {
        /// The volume: a file, or the directory that it is in.
        dir: PathBuf,
    },
}

/// What to purge, and where.
///
/// The status is 0 when the purge is applied where it was waited for, 1 when the node refused it or could not be
/// asked, 2 when the command line is wrong, 3 when the purge is durable and not all nodes have applied it in time.
#[derive(Args, Debug)]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(true)))]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a command line is made of switches"
)]
pub(crate) struct Purge {
    /// Absolute URLs: all their variants go.
    #[arg(value_name = "URL", group = "what")]
    urls: Vec<String>,
    /// Everything that carries this tag.
    #[arg(long, value_name = "TAG", group = "what")]
    tag: Vec<String>,
    /// An absolute URL: everything below it.
    #[arg(long, value_name = "URL", group = "what")]
    prefix: Vec<String>,
    /// Everything of this host.
    #[arg(long, value_name = "HOST", group = "what")]
    host: Vec<String>,
    /// What is stored under this cache key: 32 hexadecimal digits.
    #[arg(long, value_name = "HASH", group = "what")]
    key: Vec<String>,
    /// Everything, or everything of `--site`.
    #[arg(long, group = "what", conflicts_with_all = ["urls", "tag", "prefix", "host", "key"])]
    all: bool,
    /// The site that `--tag` and `--all` are meant of.
    #[arg(long, value_name = "NAME")]
    site: Option<String>,
    /// Mark as stale instead: it may be sent while it is refreshed, and when the origin fails.
    #[arg(long)]
    soft: bool,
    /// Print what would be purged, and purge nothing.
    #[arg(long)]
    dry_run: bool,
    /// Whom to wait for: nobody, the node that is asked, or all of its fleet.
    #[arg(long, value_name = "WHOM", value_enum, default_value = "local")]
    wait: Wait,
    /// Why, for the audit trail.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Who, for the audit trail.
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// How long to wait, in seconds.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: Option<u64>,
    /// The purge's identifier: to repeat one that may have been accepted.
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Print what the node answers, as JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub node: NodeArgs,
}

impl From<&Purge> for Request {
    fn from(purge: &Purge) -> Self {
        Self {
            urls: purge.urls.clone(),
            tags: purge.tag.clone(),
            prefixes: purge.prefix.clone(),
            hosts: purge.host.clone(),
            keys: purge.key.clone(),
            site: purge.site.clone(),
            reach: if purge.all { Reach::All } else { Reach::Named },
            mode: if purge.soft { Mode::Soft } else { Mode::Hard },
            intent: if purge.dry_run {
                Intent::DryRun
            } else {
                Intent::Purge
            },
            wait: match purge.wait {
                Wait::None => larder::purge_command::Wait::None,
                Wait::Local => larder::purge_command::Wait::Local,
                Wait::All => larder::purge_command::Wait::All,
            },
            reason: purge.reason.clone(),
            actor: purge.actor.clone(),
            id: purge.id.clone(),
            timeout: purge.timeout.map(Duration::from_secs),
        }
    }
}

/// Which requests to show, and of which node.
#[derive(Args, Debug)]
pub(crate) struct Log {
    /// Only those that this is true of: `outcome=miss and host=*.shop`, with `and`, `or`, `not`, parentheses, and
    /// = != < <= > >=. The fields are those of the access log.
    #[arg(long = "where", value_name = "FILTER")]
    pub filter: Option<String>,
    /// Print lines of JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub node: NodeArgs,
}

/// What to explain, and where.
#[derive(Args, Debug)]
pub(crate) struct Explain {
    /// The absolute URL of a request.
    #[arg(value_name = "URL", required_unless_present = "id")]
    url: Option<String>,
    /// A field of the request: `Name: value`.
    #[arg(long, short = 'H', value_name = "FIELD")]
    header: Vec<String>,
    /// Its method.
    #[arg(long, value_name = "METHOD", default_value = "GET")]
    method: String,
    /// As if it came so much later: 90s, 5m, 1h, 2d.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    at: Option<String>,
    /// A past request instead, by the `id` in the access log: of a node, one of the last 4096 that were no hits.
    #[arg(long, value_name = "ID", conflicts_with = "url")]
    pub id: Option<String>,
    /// Look for it in this file of the access log, in JSON, and ask no node. Several are looked at in their order.
    #[arg(long, value_name = "FILE", requires = "id")]
    pub log: Vec<PathBuf>,
    /// Print what the node answers, as JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub node: NodeArgs,
}

impl From<&Explain> for larder::explain_command::Question {
    fn from(explain: &Explain) -> Self {
        match (&explain.url, &explain.id) {
            (Some(url), _) => Self::Url {
                url: url.clone(),
                method: explain.method.clone(),
                headers: explain.header.clone(),
                at: explain.at.clone(),
            },
            (None, id) => Self::Id(id.clone().unwrap_or_default()),
        }
    }
}

/// Which node is asked.
#[derive(Args, Debug)]
pub(crate) struct NodeArgs {
    /// The node's admin listener: `HOST:PORT`, or `http://HOST:PORT`.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9180", value_parser = admin_client::place)]
    pub admin: String,
    /// A file with a token of the admin API that may do what is asked.
    #[arg(long, value_name = "FILE")]
    pub admin_token_file: Option<PathBuf>,
}

/// The size of the volume that a node has that was started without a word about disks.
const DEFAULT_SIZE: &str = "1GiB";

/// A volume in the directory for what a user can do without (XDG base directories), where there is one.
fn default_disk() -> Option<String> {
    let directory = |name| {
        let path = PathBuf::from(std::env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    let cache = directory("XDG_CACHE_HOME");
    let cache = cache.or_else(|| Some(directory("HOME")?.join(".cache")))?;
    let path = cache.join("larder");
    Some(format!("{}:{DEFAULT_SIZE}", path.to_str()?))
}

/// A node without a configuration file.
#[derive(Args, Debug)]
pub(crate) struct Flags {
    /// The origin: `http://HOST:PORT` or `https://HOST`. Several are tried in their order.
    #[arg(long, value_name = "URL")]
    origin: Vec<String>,
    /// Where clients connect: `HOST:PORT`, or `:PORT` on all addresses.
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,
    /// Where the admin API listens.
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    /// The size of the memory tier, for example `512MiB`.
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// A volume for what is to outlive the process: a file or directory, and its size, for example
    /// `/var/cache/larder:20GiB`. There may be several.
    #[arg(long, value_name = "PATH:SIZE", conflicts_with = "no_disk")]
    disk: Vec<String>,
    /// Keep nothing on disks. Unless given, there is a volume of 1GiB in the user's cache directory.
    #[arg(long)]
    no_disk: bool,
    /// The node's name in `Cache-Status` and `Via`.
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// The access log on standard output: json, combined or off.
    #[arg(long, value_name = "FORMAT")]
    log: Option<String>,
    /// A file with the token of the admin API.
    #[arg(long, value_name = "FILE")]
    admin_token_file: Option<PathBuf>,
}

impl From<Flags> for config::Flags {
    fn from(flags: Flags) -> Self {
        let Flags {
            origin,
            listen,
            admin,
            memory,
            disk,
            no_disk,
            node,
            log,
            admin_token_file,
        } = flags;
        Self {
            disks: disk,
            default_disk: if no_disk { None } else { default_disk() },
            origins: origin,
            listen,
            admin,
            memory,
            node,
            log,
            admin_token_file,
        }
    }
}
