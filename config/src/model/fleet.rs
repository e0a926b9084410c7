//! The fleet that a node belongs to.

use std::path::PathBuf;
use std::time::Duration;

use super::Certificate;

/// A fleet of nodes that share a log of purges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fleet {
    /// The NATS servers, at least one: `nats://HOST:PORT` or `tls://HOST:PORT`.
    pub servers: Vec<String>,
    /// A readable credentials file.
    pub credentials: Option<PathBuf>,
    /// A readable file of authorities for the servers' certificates.
    pub ca: Option<PathBuf>,
    /// What the node shows the servers.
    pub certificate: Option<Certificate>,
    /// The stream that is the log.
    pub stream: String,
    /// How far behind the log a node may be.
    pub max_lag: Duration,
    /// What happens beyond that.
    pub on_lag: OnLag,
    /// What happens to purges while the log cannot be reached.
    pub unreachable: Unreachable,
    /// How long a purge may take until it is in the log.
    pub publish_timeout: Duration,
    /// When a silent node counts no more.
    pub forget_after: Duration,
}

/// What is done while purges may be missing.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum OnLag {
    /// Nothing.
    Serve,
    /// What is stored is validated before it is used.
    Revalidate,
    /// What is stored is not used.
    Pass,
    /// As `Revalidate`, and the node is not ready.
    Unready,
}

/// What happens to purges while the log cannot be reached.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// They are refused.
    Refuse,
    /// They wait on the node's disk.
    Queue,
}
