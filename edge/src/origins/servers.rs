//! The servers that SRV records name, each with what comes of its own requests: one that answers with errors breaks its
//! circuit, and not that of the others.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tiered::breaker::Lets;
use tiered::window::{Count, Ending, Window};
use tiered::{Breaker, BreakerSettings, Moment};

use super::known::Server;

/// Servers of one origin whose requests are told apart. Of more, their addresses are known and nothing else.
const SERVERS_MAX: usize = 64;

/// How servers are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Watching {
    pub breaker: Option<BreakerSettings>,
    /// How long what came of requests counts as recent.
    pub recent: Duration,
}

/// The servers that records named the last time.
#[derive(Debug)]
pub(crate) struct Servers {
    watching: Mutex<Watching>,
    known: Mutex<Vec<Watched>>,
}

#[derive(Debug)]
struct Watched {
    server: Server,
    breaker: Option<Breaker>,
    recent: Window,
    under_way: Arc<AtomicU32>,
}

/// How a server fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Its name and port.
    pub server: String,
    pub weight: u16,
    pub addresses: Vec<SocketAddr>,
    pub lets: Lets,
    pub under_way: u32,
    pub recent: Count,
}

/// A request that is under way at a server.
#[derive(Debug)]
pub(crate) struct UnderWay(Arc<AtomicU32>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Servers {
    pub(crate) const fn new(watching: Watching) -> Self {
        let known = Mutex::new(Vec::new());
        let watching = Mutex::new(watching);
        Self { watching, known }
    }

    /// They are watched by other settings from now on. Circuits stay as open as they are.
    pub(crate) fn watch_by(&self, by: Watching) {
        let mut known = self.known.lock();
        let was = std::mem::replace(&mut *self.watching.lock(), by);
        for watched in known.iter_mut() {
            match (&mut watched.breaker, by.breaker) {
                (Some(breaker), Some(settings)) => breaker.renew(settings),
                (breaker, settings) => *breaker = settings.map(Breaker::new),
            }
            if was.recent != by.recent {
                watched.recent = Window::new(by.recent);
            }
        }
    }

    /// These are named now. What is known of those that were named before stays.
    pub(crate) fn follow(&self, found: &[Server]) {
        let mut known = self.known.lock();
        let watching = *self.watching.lock();
        known.retain(|it| found.iter().any(|server| it.server.is(server)));
        for server in found {
            if let Some(watched) = known.iter_mut().find(|it| it.server.is(server)) {
                watched.server = server.clone();
            } else if known.len() < SERVERS_MAX {
                known.push(Watched {
                    server: server.clone(),
                    breaker: watching.breaker.map(Breaker::new),
                    recent: Window::new(watching.recent),
                    under_way: Arc::default(),
                });
            }
        }
    }

    /// Whether requests may go to a server.
    pub(crate) fn lets(&self, server: &Server, now: Moment) -> Lets {
        let known = self.known.lock();
        let watched = known.iter().find(|it| it.server.is(server));
        watched.map_or(Lets::All, |watched| watched.lets(now))
    }

    /// A request goes to the server that is called so.
    pub(crate) fn begin(&self, server: &str, now: Moment) -> Option<UnderWay> {
        let mut known = self.known.lock();
        let watched = known.iter_mut().find(|it| it.server.label() == server)?;
        if let Some(breaker) = &mut watched.breaker {
            breaker.begin(now);
        }
        watched.under_way.fetch_add(1, Ordering::Relaxed);
        Some(UnderWay(Arc::clone(&watched.under_way)))
    }

    /// A request ended at the server that is called so. True where its circuit breaks by it.
    pub(crate) fn ended(&self, server: &str, ending: Ending, now: Moment) -> bool {
        let mut known = self.known.lock();
        let Some(watched) = known.iter_mut().find(|it| it.server.label() == server) else {
            return false;
        };
        watched.recent.count(ending, now);
        let breaker = watched.breaker.as_mut();
        breaker.is_some_and(|breaker| breaker.ended(ending, now))
    }

    /// All of them.
    pub(crate) fn rows(&self, now: Moment) -> Vec<Row> {
        let mut known = self.known.lock();
        let rows = known.iter_mut().map(|watched| Row {
            server: watched.server.label(),
            weight: watched.server.weight,
            addresses: watched.server.addresses.clone(),
            lets: watched.lets(now),
            under_way: watched.under_way.load(Ordering::Relaxed),
            recent: watched.recent.sum(now),
        });
        rows.collect()
    }
}

impl Watched {
    fn lets(&self, now: Moment) -> Lets {
        let breaker = self.breaker.as_ref();
        breaker.map_or(Lets::All, |breaker| breaker.lets(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment(Duration::from_secs(100));

    fn server(name: &str, port: u16) -> Server {
        Server {
            name: name.to_owned(),
            priority: 1,
            weight: 1,
            addresses: vec![([127, 0, 0, 1], port).into()],
        }
    }

    fn servers() -> Servers {
        Servers::new(Watching {
            breaker: Some(BreakerSettings {
                requests: 2,
                percent: 50,
                window: Duration::from_secs(10),
                pause: Duration::from_secs(5),
            }),
            recent: Duration::from_secs(10),
        })
    }

    #[test]
    fn one_that_fails_breaks_its_own_circuit() {
        let servers = servers();
        // Two of one name are two.
        let (one, other) = (server("a", 1), server("a", 2));
        servers.follow(&[one.clone(), other.clone()]);
        let under_way = servers.begin("a:1", NOW);
        assert!(!servers.ended("a:1", Ending::Failed, NOW));
        assert!(servers.ended("a:1", Ending::Failed, NOW));
        assert!(!servers.ended("a:2", Ending::Answered, NOW));
        assert_eq!(servers.lets(&one, NOW), Lets::None);
        assert_eq!(servers.lets(&other, NOW), Lets::All);
        let row = servers.rows(NOW).swap_remove(0);
        assert_eq!((row.server.as_str(), row.under_way), ("a:1", 1));
        assert_eq!((row.recent.requests, row.recent.failures), (2, 2));
        drop(under_way);
        assert_eq!(servers.rows(NOW)[0].under_way, 0);
        let later = NOW + Duration::from_secs(5);
        assert_eq!(servers.lets(&one, later), Lets::One);
        // What is named again is the same; what is gone is forgotten.
        servers.follow(std::slice::from_ref(&one));
        assert_eq!(servers.rows(NOW).len(), 1);
        assert_eq!(servers.lets(&one, NOW), Lets::None);
        servers.follow(&[]);
        servers.follow(std::slice::from_ref(&one));
        assert_eq!(servers.lets(&one, NOW), Lets::All);
    }

    #[test]
    fn servers_that_are_told_apart_have_a_limit() {
        let servers = servers();
        let all: Vec<_> = (0..=SERVERS_MAX)
            .map(|number| server(&number.to_string(), 80))
            .collect();
        servers.follow(&all);
        assert_eq!(servers.rows(NOW).len(), SERVERS_MAX);
        let last = format!("{SERVERS_MAX}:80");
        assert!(servers.begin(&last, NOW).is_none());
        for _ in 0..3 {
            assert!(!servers.ended(&last, Ending::Failed, NOW));
        }
        assert_eq!(servers.lets(&all[SERVERS_MAX], NOW), Lets::All);
    }
}
