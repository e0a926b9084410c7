//! Pools of local addresses and ports from which origins are reached.
//!
//! Which pool a connection leaves from is decided for each request; the pools hold what is in use.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::metrics::PoolTally;

/// A pool of local addresses.
#[derive(Debug)]
pub(crate) struct Pool {
    pub name: String,
    /// What tells connections that leave from it from those that left from another one of its name.
    pub identity: u64,
    pub country: Option<String>,
    pub purpose: Option<String>,
    pub sources: Vec<Arc<Source>>,
    pub exhausted: Exhausted,
    pub tally: PoolTally,
    next: AtomicUsize,
    freed: Notify,
}

/// What is done when no port is left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Exhausted {
    Next,
    Wait(Duration),
    Fail,
}

/// One address of a pool.
#[derive(Debug)]
pub(crate) struct Source {
    pub address: IpAddr,
    /// The ports that are used; none leaves it to the system.
    pub ports: Option<RangeInclusive<u16>>,
    in_use: AtomicU32,
}

/// A connection that leaves from a pool. Its port is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct PortInUse {
    pool: Arc<Pool>,
    source: Arc<Source>,
}

impl Source {
    pub(crate) fn new(address: IpAddr, ports: Option<RangeInclusive<u16>>) -> Self {
        Self {
            address,
            ports,
            in_use: AtomicU32::new(0),
        }
    }

    /// Connections that leave from here.
    pub(crate) fn in_use(&self) -> u32 {
        self.in_use.load(Ordering::Relaxed)
    }

    /// How many connections to one destination there may be.
    pub(crate) fn limit(&self) -> Option<u32> {
        let ports = self.ports.as_ref()?;
        Some(u32::from(*ports.end()) - u32::from(*ports.start()) + 1)
    }

    /// Whether a connection that leaves from `local` is as it should be.
    pub(crate) fn has(&self, local: SocketAddr) -> bool {
        let within = self.ports.as_ref();
        local.ip() == self.address && within.is_none_or(|ports| ports.contains(&local.port()))
    }
}

impl Pool {
    pub(crate) fn new(
        name: String,
        (country, purpose): (Option<String>, Option<String>),
        sources: Vec<Source>,
        exhausted: Exhausted,
        tally: PoolTally,
    ) -> Self {
        let mut identity = DefaultHasher::new();
        name.hash(&mut identity);
        for source in &sources {
            (source.address, &source.ports).hash(&mut identity);
        }
        Self {
            name,
            identity: identity.finish(),
            country,
            purpose,
            sources: sources.into_iter().map(Arc::new).collect(),
            exhausted,
            tally,
            next: AtomicUsize::new(0),
            freed: Notify::new(),
        }
    }

    /// The addresses from which `destination` can be reached, another one first each time.
    pub(crate) fn towards(&self, destination: SocketAddr) -> impl Iterator<Item = &Arc<Source>> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let count = self.sources.len();
        let order = (0..count).map(move |step| (first.wrapping_add(step)) % count);
        order
            .map(|index| &self.sources[index])
            .filter(move |source| source.address.is_ipv4() == destination.is_ipv4())
    }

    /// A connection leaves from `source`.
    pub(crate) fn leaves(self: &Arc<Self>, source: &Arc<Source>) -> PortInUse {
        source.in_use.fetch_add(1, Ordering::Relaxed);
        PortInUse {
            pool: Arc::clone(self),
            source: Arc::clone(source),
        }
    }

    /// Returns when a port of the pool became free.
    pub(crate) async fn freed(&self) {
        self.freed.notified().await;
    }
}

/// How long a connection may wait for ports of these pools.
pub(crate) fn patience(pools: &[Arc<Pool>]) -> Duration {
    let waits = pools.iter().map(|pool| match pool.exhausted {
        Exhausted::Wait(wait) => wait,
        Exhausted::Next | Exhausted::Fail => Duration::ZERO,
    });
    waits.sum()
}

impl Drop for PortInUse {
    fn drop(&mut self) {
        self.source.in_use.fetch_sub(1, Ordering::Relaxed);
        self.pool.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(ports: RangeInclusive<u16>) -> Source {
        Source::new("192.0.2.1".parse().unwrap(), Some(ports))
    }

    #[test]
    fn a_slice_has_its_ports_and_no_others() {
        let slice = source(40_960..=43_007);
        assert_eq!(slice.limit(), Some(2_048));
        let rows = [
            ("192.0.2.1:40960", true),
            ("192.0.2.1:43007", true),
            ("192.0.2.1:43008", false),
            ("192.0.2.2:40960", false),
        ];
        for (local, expected) in rows {
            assert_eq!(slice.has(local.parse().unwrap()), expected, "{local}");
        }
    }
}
