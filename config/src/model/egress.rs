//! Pools of local addresses from which origins are reached.

use std::net::IpAddr;
use std::time::Duration;

/// A pool of local addresses and ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressPool {
    /// A token; unique.
    pub name: String,
    /// Addresses of this machine, at least one.
    pub addresses: Vec<IpAddr>,
    /// The first and the last port that is used; `None` leaves it to the system.
    pub ports: Option<(u16, u16)>,
    /// The country that the addresses stand for.
    pub country: Option<String>,
    /// What the pool is for.
    pub purpose: Option<String>,
    /// What is done when no port is left.
    pub exhausted: Exhausted,
}

/// What is done when a pool has no port left.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Exhausted {
    /// The next pool is tried; after the last, the request fails.
    Next,
    /// The request waits for so long, and fails then.
    Wait(Duration),
    /// The request fails.
    Fail,
}
