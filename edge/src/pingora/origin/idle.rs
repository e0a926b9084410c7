//! Connections to origins that nobody uses at the moment.
//!
//! A connection waits here without a task of its own: whether it is still open is seen when it is wanted, and every
//! [`LOOK`] meanwhile.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::connection::{Connection, is_idle};
use super::socket::Socket;
use crate::clock::monotonic;

/// How often it is looked whether origins have closed what waits.
const LOOK: Duration = Duration::from_secs(1);
/// No look follows the last one sooner.
const LOOK_LEAST: Duration = Duration::from_millis(10);

/// What tells connections apart: whoever has the same may use the same.
pub(in crate::pingora) type Identity = u64;

/// Connections that wait for a request.
#[derive(Debug)]
pub(super) struct Idle {
    /// How many there are at most.
    most: usize,
    waiting: Mutex<Waiting>,
    /// Something is over before the next look.
    sooner: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Those of one identity, the latest last.
    connections: HashMap<Identity, Vec<One>>,
    count: usize,
    /// When somebody looks; nobody does where nothing waits.
    next_look: Option<Duration>,
}

#[derive(Debug)]
struct One {
    socket: Socket,
    address: Option<SocketAddr>,
    since: Duration,
    until: Duration,
}

impl Idle {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            waiting: Mutex::default(),
            sooner: Arc::default(),
        })
    }

    /// The one that waits since the shortest time.
    pub(super) fn take(&self, identity: Identity) -> Option<Connection> {
        let now = monotonic();
        let mut waiting = self.waiting.lock();
        let waiting = &mut *waiting;
        let Entry::Occupied(mut entry) = waiting.connections.entry(identity) else {
            return None;
        };
        let mut found = None;
        while let Some(mut one) = entry.get_mut().pop() {
            waiting.count -= 1;
            if one.until > now && is_idle(&mut one.socket) {
                found = Some(Connection::new(one.socket, one.address));
                break;
            }
        }
        if entry.get().is_empty() {
            entry.remove();
        }
        found
    }

    /// Keeps a connection for so long.
    pub(super) fn put(
        self: &Arc<Self>,
        identity: Identity,
        connection: Connection,
        idle: Duration,
    ) {
        let Some((socket, address)) = connection.into_idle() else {
            return;
        };
        let since = monotonic();
        let until = since.saturating_add(idle);
        let one = One {
            socket,
            address,
            since,
            until,
        };
        let mut waiting = self.waiting.lock();
        if waiting.count >= self.most {
            waiting.drop_oldest();
        }
        if waiting.count >= self.most {
            return;
        }
        waiting.count += 1;
        waiting.connections.entry(identity).or_default().push(one);
        match waiting.next_look {
            None => {
                waiting.next_look = Some(since);
                tokio::spawn(look_after(Arc::downgrade(self)));
            }
            Some(next) if until < next => self.sooner.notify_one(),
            Some(_) => {}
        }
    }

    /// Ends what is over, and says when to look again; not at all where nothing waits.
    fn look(&self) -> Option<Duration> {
        let now = monotonic();
        let mut waiting = self.waiting.lock();
        waiting.retain(|one| one.until > now && is_idle(&mut one.socket));
        let all = waiting.connections.values().flatten();
        let next = all.map(|one| one.until.saturating_sub(now)).min();
        let next = next.map(|next| next.clamp(LOOK_LEAST, LOOK));
        waiting.next_look = next.map(|next| now + next);
        next
    }
}

impl Waiting {
    fn retain(&mut self, mut keeps: impl FnMut(&mut One) -> bool) {
        for waiting in self.connections.values_mut() {
            waiting.retain_mut(&mut keeps);
        }
        self.connections.retain(|_, waiting| !waiting.is_empty());
        self.count = self.connections.values().map(Vec::len).sum();
    }

    fn drop_oldest(&mut self) {
        let firsts = self.connections.iter();
        let firsts =
            firsts.filter_map(|(identity, waiting)| Some((waiting.first()?.since, *identity)));
        let Some((_, identity)) = firsts.min() else {
            return;
        };
        if let Entry::Occupied(mut entry) = self.connections.entry(identity) {
            entry.get_mut().remove(0);
            self.count -= 1;
            if entry.get().is_empty() {
                entry.remove();
            }
        }
    }
}

async fn look_after(idle: Weak<Idle>) {
    loop {
        let Some((next, sooner)) = idle.upgrade().and_then(|idle| {
            let next = idle.look()?;
            Some((next, Arc::clone(&idle.sooner)))
        }) else {
            return;
        };
        drop(timeout(next, sooner.notified()).await);
    }
}
