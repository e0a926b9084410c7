//! How a site's origins share its requests, and when one is left out.

use std::path::PathBuf;
use std::time::Duration;

/// How origins share a site's requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sharing {
    /// Which one is asked.
    pub balance: Balance,
    /// By which cookie a client is known; `None` is by its address.
    pub sticky_cookie: Option<String>,
    /// For how long one that came back, or was added to others, takes less than its share; zero: at once.
    pub slow_start: Duration,
    /// Hundredths of the requests that may be tried again.
    pub retry_budget: u8,
    /// Statuses for which another origin is tried.
    pub retry_statuses: Vec<u16>,
    /// When one is taken for down.
    pub health: Health,
    /// When one is left alone, whoever else there is.
    pub breaker: Option<Breaker>,
    /// When one is left out because it fails more than the others.
    pub ejection: Option<Ejection>,
}

/// Which origin is asked.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Balance {
    /// One after the other.
    RoundRobin,
    /// The one of two with less to do.
    LeastConnections,
    /// By the cache key.
    Hash,
    /// By the client.
    Sticky,
    /// The first that is up.
    First,
}

/// When an origin is taken for down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// After how many requests in a row that failed.
    pub failures: u32,
    /// For how long at first.
    pub pause: Duration,
    /// For how long at the most.
    pub pause_max: Duration,
    /// Whether it is probed.
    pub probe: Option<Probe>,
}

/// How an origin is probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What is asked for.
    pub path: String,
    /// The `Host` of the request; `None` is the origin's own.
    pub host: Option<String>,
    /// From one probe to the next.
    pub interval: Duration,
    /// How long one may take.
    pub timeout: Duration,
    /// The first and the last status that passes.
    pub statuses: (u16, u16),
    /// Probes in a row that failed and put it out.
    pub failed: u32,
    /// Probes in a row that passed and bring it back.
    pub passed: u32,
}

/// When an origin's circuit breaks.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// Hundredths of the requests that failed.
    pub percent: u8,
    /// Of at least so many.
    pub requests: u64,
    /// Of the last while.
    pub window: Duration,
    /// For how long.
    pub pause: Duration,
}

/// When an origin is an outlier.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// Hundredths of the requests that failed.
    pub percent: u8,
    /// Of at least so many.
    pub requests: u64,
    /// Of the last while.
    pub window: Duration,
}

/// The most that an origin is asked at once.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Requests; `None` is no limit.
    pub requests: Option<usize>,
    /// Requests that wait for their turn.
    pub queue: u32,
    /// How long they wait.
    pub queue_timeout: Duration,
    /// Connections, in use and unused; `None` is no limit.
    pub connections: Option<usize>,
}

/// Which version of the PROXY protocol.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// A proxy through which an origin is reached, by CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Its name or address.
    pub host: super::OriginHost,
    /// Its port.
    pub port: u16,
    /// The file with the user and the password that it is told.
    pub credentials: Option<PathBuf>,
}

/// What is changed of a head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldEdits {
    /// Names of fields that are taken off; lower case.
    pub remove: Vec<String>,
    /// Fields that take the place of those of their names.
    pub set: Vec<(String, String)>,
    /// Fields that are added.
    pub add: Vec<(String, String)>,
}
