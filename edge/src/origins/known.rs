//! What is known of an origin's addresses: the ones that fail are left alone while there are others.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tiered::addresses::Addresses;
use tiered::health::{Change, Standing};
use tiered::services::{self, Service};
use tiered::{HealthSettings, Moment};

use super::attempts::Place;
use super::moment;

/// What is known of an origin's addresses.
#[derive(Debug)]
pub(crate) struct Known {
    addresses: Mutex<Addresses>,
    /// Whether there were several the last time: what is known of the only one changes nothing.
    several: AtomicBool,
    settings: HealthSettings,
    /// How many servers were chosen.
    draws: AtomicU64,
    /// Where the servers were the last time.
    servers: Mutex<Vec<SocketAddr>>,
}

/// A server that SRV records name.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub name: String,
    pub priority: u16,
    pub weight: u16,
    /// One at least.
    pub addresses: Vec<SocketAddr>,
}

impl Known {
    pub(crate) fn new(settings: HealthSettings) -> Self {
        Self {
            addresses: Mutex::default(),
            several: AtomicBool::new(false),
            settings,
            draws: AtomicU64::new(0),
            servers: Mutex::default(),
        }
    }

    /// Those that may be tried, in order.
    pub(crate) fn order(&self, found: &[SocketAddr], now: Moment) -> Vec<SocketAddr> {
        self.several.store(found.len() > 1, Ordering::Relaxed);
        self.addresses.lock().order(found, now)
    }

    /// The server that is asked this time; none where there is none.
    pub(crate) fn choose(&self, mut servers: Vec<Server>, now: Moment) -> Option<Place> {
        let all = servers.iter().flat_map(|server| &server.addresses);
        let all: Vec<_> = all.copied().collect();
        self.several.store(all.len() > 1, Ordering::Relaxed);
        *self.servers.lock() = all;
        let mut known = self.addresses.lock();
        let may_be_asked = |address: &SocketAddr| {
            matches!(
                known.standing(*address, now),
                Standing::Up { .. } | Standing::Trial
            )
        };
        let fit: Vec<_> = servers
            .iter()
            .map(|server| Service {
                priority: server.priority,
                weight: server.weight,
                fit: server.addresses.iter().any(may_be_asked),
            })
            .collect();
        let draw = self.draws.fetch_add(1, Ordering::Relaxed);
        let Server {
            name, addresses, ..
        } = servers.swap_remove(services::choose(&fit, draw)?);
        let addresses = known.order(&addresses, now);
        if let Some(first) = addresses.first() {
            known.begin(*first, now);
        }
        Some(Place::Server { name, addresses })
    }

    /// Whether one of them may be tried without a doubt.
    pub(crate) fn has_fit(&self, among: &[SocketAddr], now: Moment) -> bool {
        let known = self.addresses.lock();
        self.several() && among.iter().any(|address| known.is_fit(*address, now))
    }

    /// Whether a place is one of several servers, and another one is fit.
    pub(crate) fn has_other_server(&self, place: &Place) -> bool {
        match place {
            Place::Server { .. } => self.has_fit(&self.servers.lock(), moment()),
            Place::Addresses(_) | Place::Socket(_) => false,
        }
    }

    /// Whether there are several.
    pub(crate) fn several(&self) -> bool {
        self.several.load(Ordering::Relaxed)
    }

    /// How often one went out or came back.
    pub(crate) fn turns(&self) -> u64 {
        self.addresses.lock().turns()
    }

    pub(crate) fn reached(&self, address: SocketAddr) {
        self.addresses.lock().reached(address);
    }

    pub(crate) fn answered(&self, address: SocketAddr, now: Moment) -> Option<Change> {
        self.addresses.lock().answered(address, now)
    }

    pub(crate) fn failed(&self, address: SocketAddr, now: Moment) -> Option<Change> {
        if !self.several() {
            return None;
        }
        let mut known = self.addresses.lock();
        known.failed(address, now, &self.settings)
    }

    pub(crate) fn probed(&self, address: SocketAddr, passed: bool, now: Moment) -> Option<Change> {
        let mut known = self.addresses.lock();
        known.probed(address, passed, (now, &self.settings))
    }
}
