//! Where traces and metrics are sent.

use std::path::PathBuf;
use std::time::Duration;

use super::OriginHost;

/// A collector that speaks OTLP, and what it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telemetry {
    /// Where it is.
    pub endpoint: CollectorUrl,
    /// A readable file of fields that requests to it have.
    pub headers: Option<PathBuf>,
    /// A readable file of authorities for its certificate.
    pub ca: Option<PathBuf>,
    /// What the node is called there.
    pub service: String,
    /// The traces it is sent, if any.
    pub traces: Option<Traces>,
    /// How often it is sent the metrics, if it is.
    pub metrics: Option<Duration>,
}

/// Where a collector is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectorUrl {
    /// Whether it speaks TLS.
    pub secure: bool,
    /// Its host.
    pub host: OriginHost,
    /// Its port.
    pub port: u16,
    /// What stands before `/v1/traces`, without a slash at its end.
    pub path: String,
}

/// Which traces are recorded.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Traces {
    /// Of those that begin here, so many of a million.
    pub per_million: u32,
    /// Whose traces go on here.
    pub continues: Continues,
}

/// Whose traces go on at this node.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Continues {
    /// Everybody's.
    Anyone,
    /// Those of `trusted_proxies`, and of other nodes of the tiers.
    Trusted,
    /// Those of other nodes of the tiers only.
    Nobody,
}
