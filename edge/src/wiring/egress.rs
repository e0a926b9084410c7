//! From `[[egress]]` to the pools of a node, and what refuses them: the kernel would let a slice that it cannot keep to
//! pass without a word.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::sync::Arc;

use config::model;

use crate::egress::{Exhausted, Pool, Source};
use crate::in_force::InForce;
use crate::metrics::EgressMetrics;
use crate::run::StartError;

/// The pools of a node, by their names.
pub(super) type Pools = HashMap<String, Arc<Pool>>;

/// Where the kernel says which ports it takes for outgoing connections.
const PORT_RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
/// Which of them it gives to nobody that does not ask for one by its number.
const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";
/// And whether it takes one again while it is in `TIME_WAIT`.
const REUSE: &str = "/proc/sys/net/ipv4/tcp_tw_reuse";
/// With fewer ports, those in `TIME_WAIT` would soon be all.
const PORTS_WITHOUT_REUSE: u32 = 8_192;

/// Builds the pools.
///
/// # Errors
/// [`StartError::Egress`] where the system would not keep to one.
pub(super) fn pools(
    all: &[model::EgressPool],
    metrics: &EgressMetrics,
    before: Option<&InForce>,
) -> Result<Pools, StartError> {
    let mut pools = Pools::new();
    for pool in all {
        let kept = before.and_then(|before| kept(pool, before));
        if let Some(kept) = kept {
            pools.insert(pool.name.clone(), kept);
            continue;
        }
        let name = pool.name.clone();
        let refuse = |why: String| StartError::Egress {
            pool: name.clone(),
            why,
        };
        let pool = self::pool(pool.clone(), metrics);
        for source in &pool.sources {
            check(source).map_err(refuse)?;
        }
        pools.insert(name, Arc::new(pool));
    }
    let mut fresh = pools.clone();
    fresh.retain(|_, pool| !before.is_some_and(|before| has(before, pool)));
    probe(&fresh)?;
    Ok(pools)
}

/// The same pool, with what is in use of it.
fn kept(pool: &model::EgressPool, before: &InForce) -> Option<Arc<Pool>> {
    let same = before.config.egress.iter().any(|old| old == pool);
    let mut all = before.egress.iter().filter(|_| same);
    all.find(|old| old.name == pool.name).cloned()
}

fn has(before: &InForce, pool: &Arc<Pool>) -> bool {
    before.egress.iter().any(|old| Arc::ptr_eq(old, pool))
}

fn pool(pool: model::EgressPool, metrics: &EgressMetrics) -> Pool {
    let model::EgressPool {
        name,
        addresses,
        ports,
        country,
        purpose,
        exhausted,
    } = pool;
    let sources = addresses.into_iter().map(|address| {
        let ports = ports.map(|(first, last)| first..=last);
        Source::new(address, ports)
    });
    let exhausted = match exhausted {
        model::Exhausted::Next => Exhausted::Next,
        model::Exhausted::Wait(wait) => Exhausted::Wait(wait),
        model::Exhausted::Fail => Exhausted::Fail,
    };
    let tally = metrics.pool(&name);
    Pool::new(
        name,
        (country, purpose),
        sources.collect(),
        exhausted,
        tally,
    )
}

/// The pools of these names, in their order. The configuration has checked that they are there.
pub(super) fn chosen(names: &[String], pools: &Pools) -> Arc<[Arc<Pool>]> {
    let pools = names.iter().filter_map(|name| pools.get(name));
    pools.cloned().collect()
}

/// What can be told without a connection.
fn check(source: &Source) -> Result<(), String> {
    let here = SocketAddr::new(source.address, 0);
    TcpListener::bind(here).map_err(|error| {
        let address = source.address;
        format!("{address} is no address of this machine: {error}")
    })?;
    let (Some(ports), Some(count)) = (&source.ports, source.limit()) else {
        return Ok(());
    };
    if let Some((first, last)) = numbers(PORT_RANGE)
        && (u32::from(*ports.start()) < first || u32::from(*ports.end()) > last)
    {
        return Err(format!(
            "the kernel takes ports {first}-{last} only, and would ignore {}-{}: widen net.ipv4.ip_local_port_range",
            ports.start(),
            ports.end()
        ));
    }
    let reserved = std::fs::read_to_string(RESERVED).unwrap_or_default();
    if let Some((first, last)) = reserved_of(&reserved, ports) {
        return Err(format!(
            "the kernel reserves {first}-{last}, and would not give them: take them out of \
             net.ipv4.ip_local_reserved_ports, or out of the slice"
        ));
    }
    let reuse = std::fs::read_to_string(REUSE).ok();
    let reuse = reuse.and_then(|text| text.trim().parse().ok());
    if count < PORTS_WITHOUT_REUSE && !is_reused(reuse, source.address) {
        return Err(format!(
            "with {count} ports, those in TIME_WAIT would soon be all: set net.ipv4.tcp_tw_reuse = 1, or give it \
             {PORTS_WITHOUT_REUSE} ports"
        ));
    }
    Ok(())
}

/// The first range of a list such as `8080,9148-9152` that has ports of a slice.
fn reserved_of(list: &str, ports: &RangeInclusive<u16>) -> Option<(u16, u16)> {
    let mut ranges = list.trim().split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some((first.parse().ok()?, last.parse().ok()?))
    });
    ranges.find(|(first, last)| first <= ports.end() && ports.start() <= last)
}

/// 1 is everywhere, 2 on loopback only. Where the kernel does not say, it is not refused.
const fn is_reused(setting: Option<u8>, address: IpAddr) -> bool {
    match setting {
        Some(0) => false,
        Some(2) => address.is_loopback(),
        _ => true,
    }
}

fn numbers(path: &str) -> Option<(u32, u32)> {
    let text = std::fs::read_to_string(path).ok()?;
    let mut words = text.split_whitespace().map(str::parse);
    Some((words.next()?.ok()?, words.next()?.ok()?))
}

/// Tries each slice, on a thread of its own: what starts a node does not wait for the network.
fn probe(pools: &Pools) -> Result<(), StartError> {
    let mut sliced = pools
        .values()
        .flat_map(|pool| pool.sources.iter().map(move |source| (pool, source)))
        .filter(|(_, source)| source.ports.is_some())
        .peekable();
    if sliced.peek().is_none() {
        return Ok(());
    }
    let probing = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.map_err(super::system)?;
        runtime.block_on(async {
            for (pool, source) in sliced {
                let kept = crate::pingora::link::is_kept(source).await;
                kept.map_err(|why| StartError::Egress {
                    pool: pool.name.clone(),
                    why,
                })?;
            }
            Ok(())
        })
    };
    let probed = std::thread::scope(|scope| scope.spawn(probing).join());
    probed.unwrap_or_else(|_panic| Err(super::system("the egress pools cannot be tried")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_ports_are_found_in_a_slice() {
        #[rustfmt::skip]
        let rows = [
            ("",                  None),
            ("\n",                None),
            ("8080,39999,40101",  None),
            ("40100",             Some((40_100, 40_100))),
            ("1,39000-40000,2",   Some((39_000, 40_000))),
            ("40050-40060",       Some((40_050, 40_060))),
            ("30000-50000",       Some((30_000, 50_000))),
        ];
        for (list, expected) in rows {
            assert_eq!(reserved_of(list, &(40_000..=40_100)), expected, "{list}");
        }
    }

    #[test]
    fn ports_in_time_wait_are_taken_again_where_the_kernel_says_so() {
        let (here, there) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([192, 0, 2, 1]));
        #[rustfmt::skip]
        let rows = [
            (Some(0), here, false), (Some(0), there, false),
            (Some(1), here, true),  (Some(1), there, true),
            (Some(2), here, true),  (Some(2), there, false),
            (None,    here, true),  (None,    there, true),
        ];
        for (setting, address, expected) in rows {
            assert_eq!(
                is_reused(setting, address),
                expected,
                "{setting:?} {address}"
            );
        }
    }
}
