//! What is known of an origin's addresses: the ones that fail are left alone while there are others.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tiered::addresses::Addresses;
use tiered::breaker::Lets;
use tiered::health::{Change, Standing};
use tiered::services::{self, Service};
use tiered::window::{Count, Ending};
use tiered::{HealthSettings, Moment};

use super::attempts::Place;
use super::condition::State;
use super::moment;
use super::servers::{Servers, UnderWay, Watching};
use crate::error::UpstreamError;

/// What is known of an origin's addresses.
#[derive(Debug)]
pub(crate) struct Known {
    addresses: Mutex<Addresses>,
    /// Whether there were several the last time: what is known of the only one changes nothing.
    several: AtomicBool,
    settings: Mutex<HealthSettings>,
    /// How many servers were chosen.
    draws: AtomicU64,
    /// What is known of the servers themselves.
    servers: Servers,
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

impl Server {
    /// What it is called: its name and port.
    pub(super) fn label(&self) -> String {
        label(&self.name, &self.addresses)
    }

    /// Whether another record means the same server.
    pub(super) fn is(&self, other: &Self) -> bool {
        let port = |it: &Self| it.addresses.first().map(SocketAddr::port);
        self.name == other.name && port(self) == port(other)
    }
}

/// All addresses of a server have one port.
fn label(name: &str, addresses: &[SocketAddr]) -> String {
    let port = addresses.first().map_or(0, SocketAddr::port);
    format!("{name}:{port}")
}

/// How one of an origin's servers fares.
#[derive(Debug)]
pub(crate) struct ServerRow {
    pub server: String,
    pub weight: u16,
    pub state: State,
    pub under_way: u32,
    pub recent: Count,
}

impl Known {
    pub(crate) fn new(settings: HealthSettings, watching: Watching) -> Self {
        Self {
            addresses: Mutex::default(),
            several: AtomicBool::new(false),
            settings: Mutex::new(settings),
            draws: AtomicU64::new(0),
            servers: Servers::new(watching),
        }
    }

    /// They are watched by other settings from now on.
    pub(crate) fn watch_by(&self, settings: HealthSettings, by: Watching) {
        *self.settings.lock() = settings;
        self.servers.watch_by(by);
    }

    /// They are not probed any more: what probes said of them does not count.
    pub(crate) fn forget_probes(&self) {
        self.addresses.lock().forget_probes();
    }

    /// Those that may be tried, in order.
    pub(crate) fn order(&self, found: &[SocketAddr], now: Moment) -> Vec<SocketAddr> {
        self.several.store(found.len() > 1, Ordering::Relaxed);
        self.addresses.lock().order(found, now)
    }

    /// The server that is asked this time.
    ///
    /// # Errors
    /// [`UpstreamError::Unresolved`] where there is none, [`UpstreamError::Barred`] where the circuits of all are open.
    pub(crate) fn choose(
        &self,
        mut servers: Vec<Server>,
        now: Moment,
    ) -> Result<Place, UpstreamError> {
        let addresses = servers.iter().map(|server| server.addresses.len());
        self.several
            .store(addresses.sum::<usize>() > 1, Ordering::Relaxed);
        self.servers.follow(&servers);
        let named = servers.len();
        servers.retain(|server| self.servers.lets(server, now) != Lets::None);
        if servers.is_empty() && named > 0 {
            return Err(UpstreamError::Barred);
        }
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
        let chosen = services::choose(&fit, draw).ok_or(UpstreamError::Unresolved)?;
        let Server {
            name, addresses, ..
        } = servers.swap_remove(chosen);
        let addresses = known.order(&addresses, now);
        if let Some(first) = addresses.first() {
            known.begin(*first, now);
        }
        Ok(Place::Server { name, addresses })
    }

    /// A request goes to a place.
    pub(crate) fn begin(&self, place: &Place, now: Moment) -> Option<UnderWay> {
        match place {
            Place::Server { name, addresses } => self.servers.begin(&label(name, addresses), now),
            Place::Addresses(_) | Place::Socket(_) => None,
        }
    }

    /// A request ended at a place. The server there, where its circuit breaks by it.
    pub(crate) fn ended(&self, place: &Place, ending: Ending, now: Moment) -> Option<String> {
        let Place::Server { name, addresses } = place else {
            return None;
        };
        let server = label(name, addresses);
        let broke = self.servers.ended(&server, ending, now);
        broke.then_some(server)
    }

    /// How each of the servers fares; none where the origin is no service.
    pub(crate) fn rows(&self, now: Moment) -> Vec<ServerRow> {
        let known = self.addresses.lock();
        let rows = self.servers.rows(now).into_iter().map(|row| {
            let standings = row.addresses.iter().map(|it| known.standing(*it, now));
            ServerRow {
                state: State::of(row.lets, standings),
                server: row.server,
                weight: row.weight,
                under_way: row.under_way,
                recent: row.recent,
            }
        });
        rows.collect()
    }

    /// Whether one of them may be tried without a doubt.
    pub(crate) fn has_fit(&self, among: &[SocketAddr], now: Moment) -> bool {
        let known = self.addresses.lock();
        self.several() && among.iter().any(|address| known.is_fit(*address, now))
    }

    /// Whether a place is one of several servers, and another one is fit.
    pub(crate) fn has_other_server(&self, place: &Place) -> bool {
        match place {
            Place::Server { .. } => {
                let now = moment();
                let rows = self.servers.rows(now).into_iter();
                let asked = rows.filter(|row| row.lets != Lets::None);
                let all: Vec<_> = asked.flat_map(|row| row.addresses).collect();
                self.has_fit(&all, now)
            }
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
        let settings = *self.settings.lock();
        self.addresses.lock().failed(address, now, &settings)
    }

    pub(crate) fn probed(&self, address: SocketAddr, passed: bool, now: Moment) -> Option<Change> {
        let settings = *self.settings.lock();
        let mut known = self.addresses.lock();
        known.probed(address, passed, (now, &settings))
    }
}
