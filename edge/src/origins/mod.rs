//! The servers that a site comes from: where they are, and what they are sent.

pub(crate) mod names;
pub(crate) mod outbound;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tiered::Rotation;
use tokio::time::Instant;
use wire::UnknownCoding;

use crate::error::UpstreamError;
use names::Names;

/// Addresses that are tried for one request, over all origins of a site.
const CANDIDATES_MAX: usize = 16;

/// An origin server.
#[derive(Debug)]
pub(crate) struct Origin {
    pub host: Host,
    pub port: u16,
    pub transport: Transport,
    pub http: HttpVersion,
    /// The `Host` it is sent instead of the client's.
    pub host_override: Option<HeaderValue>,
    /// What tells its connections apart from those to the same address that were made otherwise.
    pub identity: u64,
}

impl Origin {
    /// Its own host and port, as `Host` has them.
    fn authority(&self) -> String {
        let host = match &self.host {
            Host::Name(name) => name.clone(),
            Host::Address(IpAddr::V4(address)) => address.to_string(),
            Host::Address(IpAddr::V6(address)) => format!("[{address}]"),
        };
        match (&self.transport, self.port) {
            (Transport::Plain, 80) | (Transport::Tls { .. }, 443) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

/// Where an origin is.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Host {
    Name(String),
    Address(IpAddr),
}

/// What is spoken below HTTP.
#[derive(Clone, Debug)]
pub(crate) enum Transport {
    Plain,
    Tls {
        trust: Trust,
        /// The name asked for and verified; without one, the client's host.
        sni: Option<String>,
    },
}

/// By whose word an origin's certificate is believed.
#[derive(Clone, Debug)]
pub(crate) enum Trust {
    System,
    /// These certificates in DER, read at start.
    Authorities(Arc<[Vec<u8>]>),
    Anyone,
}

/// Which version of HTTP.
#[derive(Clone, Copy, Debug)]
pub(crate) enum HttpVersion {
    /// What TLS negotiates; HTTP/1.1 without TLS.
    Negotiated,
    One,
    Two,
}

/// How long an origin may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    pub connect: Duration,
    pub first_byte: Duration,
    pub between_bytes: Duration,
    /// How long a connection is kept unused.
    pub idle: Duration,
}

/// One address of one origin.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub origin: Arc<Origin>,
    pub address: SocketAddr,
    /// Its place among all of the site's addresses.
    pub place: usize,
}

/// The origins of a site.
#[derive(Debug)]
pub(crate) struct Origins {
    pub all: Vec<Arc<Origin>>,
    pub timeouts: Timeouts,
    /// Further attempts after a first one that failed before any response.
    pub retries: u32,
    pub unknown_coding: UnknownCoding,
    pub rotation: Rotation,
}

impl Origins {
    /// Every address worth trying, the one that worked last first.
    ///
    /// # Errors
    /// [`UpstreamError::Unresolved`] where no origin has an address.
    pub(crate) async fn candidates(
        &self,
        names: &Arc<Names>,
        now: Instant,
    ) -> Result<Vec<Candidate>, UpstreamError> {
        let mut found = Vec::new();
        for origin in &self.all {
            for address in addresses(origin, names, now).await {
                let place = found.len();
                found.push(Candidate {
                    origin: Arc::clone(origin),
                    address,
                    place,
                });
            }
        }
        found.truncate(CANDIDATES_MAX);
        if found.is_empty() {
            return Err(UpstreamError::Unresolved);
        }
        let order = self.rotation.order(found.len());
        Ok(order.map(|index| found[index].clone()).collect())
    }
}

async fn addresses(origin: &Origin, names: &Arc<Names>, now: Instant) -> Vec<SocketAddr> {
    let found = match &origin.host {
        Host::Address(address) => vec![*address],
        Host::Name(name) => names.resolve(name, now).await,
    };
    found
        .into_iter()
        .map(|address| SocketAddr::new(address, origin.port))
        .collect()
}
