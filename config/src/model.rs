//! What the program may rely on: plain values, checked, with every default filled in.
//!
//! The types have no private parts on purpose: who wires the program takes them apart completely, so a setting that
//! is read here and used nowhere does not compile there.

mod caching;
mod egress;
mod fleet;
mod origins;
mod purging;
mod site;
mod telemetry;
mod tier;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

pub use crate::effective::{Effective, Holds, SettingsTable, Shown};
pub use caching::*;
pub use egress::*;
pub use fleet::*;
pub use origins::*;
pub use purging::*;
pub use site::*;
pub use telemetry::*;
pub use tier::*;

/// Whether proxies before a listener speak the PROXY protocol.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Announcing {
    /// They do not.
    No,
    /// The trusted ones do, all of them.
    Trusted,
}

/// A complete configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The node: its name, listeners and threads.
    pub node: Node,
    /// The administration listener.
    pub admin: Admin,
    /// The fleet that the node belongs to, if it does to one.
    pub fleet: Option<Fleet>,
    /// The tiers that the node is one of, if it is.
    pub tier: Option<Tier>,
    /// Who may purge as clients of other caches do.
    pub dialects: Dialects,
    /// The memory tier.
    pub memory: Memory,
    /// The disk tier: its volumes, none twice.
    pub disks: Vec<Disk>,
    /// Pools of local addresses, by their names.
    pub egress: Vec<EgressPool>,
    /// What is logged.
    pub log: Log,
    /// Where traces and metrics are sent, if they are.
    pub telemetry: Option<Telemetry>,
    /// What a client may ask of the node before it is refused.
    pub limits: Limits,
    /// The certificates of TLS listeners.
    pub tls: Tls,
    /// The sites, at least one, in the order of the file.
    pub sites: Vec<Site>,
    /// The settings one by one, for whoever wants to see them.
    pub effective: Effective,
}

/// The node itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The name in `Cache-Status`, `Via` and `CDN-Loop`: a token (RFC 9110 §5.6.2).
    pub name: String,
    /// Where clients connect: at least one listener, no two that overlap.
    pub listen: Vec<Listener>,
    /// Worker threads; `None` is one for each core.
    pub threads: Option<NonZeroUsize>,
    /// How long requests under way may take to finish after the signal to stop.
    pub grace: Duration,
    /// Networks of proxies that are believed who a client is.
    pub trusted_proxies: Vec<IpNet>,
    /// The field that they write.
    pub trusted_field: TrustedField,
    /// Name servers; none leaves it to the system's configuration.
    pub resolvers: Vec<SocketAddr>,
}

/// The field in which trusted proxies say who a client is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum TrustedField {
    /// `X-Forwarded-For`, with `X-Forwarded-Proto`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// One address on which clients are served.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The address; port 0 lets the system choose.
    pub address: SocketAddr,
    /// What is spoken there.
    pub transport: ListenerTransport,
    /// Whether proxies say who a client is before its first byte.
    pub announcing: Announcing,
}

/// What a listener speaks below HTTP.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum ListenerTransport {
    /// TCP.
    Plain,
    /// TLS with the certificates of [`Tls`]; there is at least one.
    Tls,
}

/// The administration listener: metrics, readiness, purging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// The address; never one of the clients' addresses.
    pub listen: SocketAddr,
    /// A readable file that holds the bearer token; present whenever `listen` is not a loopback address.
    pub token_file: Option<PathBuf>,
    /// Further tokens, each for a part of the API.
    pub tokens: Vec<AdminToken>,
}

/// The memory tier.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Bytes of stored responses, heads included.
    pub size: u64,
    /// Bytes of the largest response that is stored; at most half of `size`.
    pub object_max: u64,
    /// Who leaves when the tier is full.
    pub eviction: Eviction,
}

/// The order of eviction.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// Greedy-Dual-Size-Frequency: small and often used responses stay.
    Gdsf,
    /// The least recently used response leaves.
    Lru,
}

/// A volume of the disk tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The file, or a directory that it is kept in.
    pub path: PathBuf,
    /// Bytes that it takes from the file system.
    pub size: u64,
    /// What keeps the bodies.
    pub engine: Engine,
    /// What happens where it cannot be used.
    pub on_failure: OnFailure,
}

/// What keeps the bodies of a volume.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Larder's own log.
    Log,
    /// foyer.
    Foyer,
}

/// What a node does that cannot use a volume.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// It does not start.
    Stop,
    /// It does without.
    GoOn,
}

/// What is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The access log's format.
    pub access: AccessLog,
    /// Where it goes.
    pub to: LogTo,
    /// The length at which a file is set aside, in bytes.
    pub rotate_size: u64,
    /// How many files are kept beside the one that is written.
    pub rotate_keep: u32,
    /// One of so many hits is told; what is no hit always is.
    pub sample_hits: u32,
    /// What is not told.
    pub redact: Vec<Redacted>,
    /// Fields of requests that are told, in lower case.
    pub request_fields: Vec<String>,
    /// Fields of responses that are told, in lower case.
    pub response_fields: Vec<String>,
    /// The least severe message of the program's own log.
    pub level: Level,
}

/// The format of the access log.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// One JSON object per line.
    Json,
    /// The Combined Log Format.
    Combined,
    /// As it, with the host before it, and the cache's word and the seconds behind it.
    CombinedWithHost,
    /// As `CloudFront` writes it.
    CloudFront,
    /// None.
    Off,
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTo {
    /// Standard output.
    Stdout,
    /// A file; a relative path begins where the program was started.
    File(PathBuf),
    /// A syslog server at `HOST:PORT`, in datagrams.
    SyslogUdp(String),
    /// A syslog server at `HOST:PORT`, over a connection.
    SyslogTcp(String),
    /// A syslog socket of the system.
    SyslogUnix(PathBuf),
}

/// Something of a request that the access log may leave out.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Redacted {
    /// The client's address, but for its network.
    Client,
    /// The query.
    Query,
    /// `Referer`.
    Referer,
    /// `User-Agent`.
    UserAgent,
}

/// A severity.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What failed.
    Error,
    /// What will fail, or was refused.
    Warn,
    /// What an operator wants to know of a healthy node.
    Info,
    /// What a developer wants to know.
    Debug,
    /// Everything.
    Trace,
}

impl Level {
    /// The level as it is written in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// The limits of what clients may ask.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's head.
    pub head_bytes: usize,
    /// Bytes of a request's target; at most `head_bytes`.
    pub target_bytes: usize,
    /// Header fields in a request.
    pub fields: usize,
    /// From the first byte of a request's head to its last.
    pub head_timeout: Duration,
    /// Between two requests of a connection.
    pub idle_timeout: Duration,
    /// Between two reads of a request's body.
    pub body_timeout: Duration,
    /// How long a client may read nothing of its response.
    pub write_timeout: Duration,
    /// Client connections at one time.
    pub connections: usize,
    /// Requests that wait for one fill.
    pub followers: usize,
    /// How long a request waits for another's fill before it goes to the origin itself.
    pub follower_wait: Duration,
    /// Ranges in one request (RFC 9110 §14.2).
    pub ranges: usize,
    /// Variants stored for one key (RFC 9111 §4.1).
    pub variants: usize,
    /// Concurrent streams of an HTTP/2 connection (RFC 9113 §6.5.2).
    pub h2_streams: u32,
    /// Bytes of a QUERY's content that may be read before its way is decided (RFC 10008).
    pub query_content: usize,
}

/// The certificates of all TLS listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Chosen by the name the client asks for (SNI); the first one serves clients that name none.
    pub certificates: Vec<Certificate>,
    /// The secrets that the keys of session tickets are made of. Without it they are this start's alone.
    pub ticket_key_file: Option<PathBuf>,
}

/// A certificate chain and its private key: two readable PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The chain, leaf first.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}
