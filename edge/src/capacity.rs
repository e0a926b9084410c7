//! What more or less memory or disk would do, estimated while serving: a sample of the requests is told to a thread that
//! plays it through shadows of the tiers (`storage::curve`).
//!
//! A request that is not sampled costs one comparison for it, a sampled one a place in a queue.

mod told;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use parking_lot::Mutex;
use policy::time::Timestamp;
use storage::curve::{Access, Curve, Measured, Sampler, Seen, Shape};
use storage::{Fill, Head as _, Key, Object, Variant};
use tokio::time::timeout;

use crate::cache::Head;
use crate::clock::monotonic;
use crate::metrics::Requests;
use crate::node::Node;
pub use told::{Point, Told};

/// Accesses that wait to be played; beyond it they are lost, and fewer keys are sampled from then on.
const WAITING_MAX: usize = 8 * 1024;
/// Sampled accesses in a second beyond which fewer keys are sampled. At a tenth of a microsecond each, or nearly two where
/// most are misses of a disk, they take less than one percent of a core.
const PER_SECOND_MAX: u32 = 4 * 1024;
/// Between two looks at what waits, so that the thread is not woken for every access.
const PAUSE: Duration = Duration::from_millis(20);
/// What is said is of the last one to two of these.
const WINDOW: Duration = Duration::from_secs(1800);
/// How often it is looked whether one is over.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What a thread is told.
enum Event {
    Access(Access),
    Gone(Key),
}

/// The shadows of a node's tiers, and what is measured beside them.
#[derive(Debug)]
pub(crate) struct Capacity {
    /// The rate of sampling, as the bits of an `f64`.
    rate: Arc<AtomicU64>,
    events: SyncSender<Event>,
    lost: Arc<AtomicU64>,
    /// What was fetched and stored, as a request that another cache might have spared.
    misses: AtomicU64,
    missed_bytes: AtomicU64,
    overhead: u64,
    began: Timestamp,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    curve: Curve,
    played: u64,
    /// What had been measured when the last window began, and the one before.
    windows: [Measured; 2],
    turned: Duration,
}

impl Capacity {
    /// Shadows of these tiers, in which a response costs so much beside its head and body.
    pub(crate) fn new(shape: Shape, overhead: usize, now: Timestamp) -> Self {
        let (events, played) = sync_channel(WAITING_MAX);
        let curve = Curve::new(shape);
        let capacity = Self {
            rate: Arc::new(AtomicU64::new(curve.sampler().rate().to_bits())),
            events,
            lost: Arc::default(),
            misses: AtomicU64::new(0),
            missed_bytes: AtomicU64::new(0),
            overhead: overhead as u64,
            began: now,
            state: Arc::new(Mutex::new(State {
                curve,
                played: 0,
                windows: [Measured::default(); 2],
                turned: monotonic(),
            })),
        };
        let player = Player {
            events: played,
            state: Arc::clone(&capacity.state),
            rate: Arc::clone(&capacity.rate),
            lost: Arc::clone(&capacity.lost),
            lost_before: 0,
            second: Second::default(),
        };
        let thread = std::thread::Builder::new().name("larder-curve".to_owned());
        if let Err(error) = thread.spawn(move || player.run()) {
            tracing::warn!(%error, "nothing is told of other cache sizes");
        }
        capacity
    }

    /// A stored response answered a request, as it was or validated.
    pub(crate) fn hit(&self, object: &Object<Head>, now: Timestamp) {
        let name = (object.key(), object.variant());
        let response = (object.head().as_ref(), object.body().len());
        self.access(name, response, Seen::Stored, now);
    }

    /// A response was fetched for somebody, and is about to be stored, if it is kept.
    pub(crate) fn missed(&self, fill: &Fill<Head>, now: Timestamp) {
        if !fill.is_kept() {
            return;
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        self.missed_bytes
            .fetch_add(fill.written(), Ordering::Relaxed);
        let response = (fill.head().as_ref(), fill.written());
        self.access(fill.name(), response, Seen::Fetched, now);
    }

    /// A stored response was found to be purged.
    pub(crate) fn gone(&self, object: &Object<Head>) {
        let key = shadow_key(object.key(), object.variant());
        if self.takes(key, self.cost(object.head(), object.body().len())) {
            self.send(Event::Gone(key));
        }
    }

    fn access(
        &self,
        (key, variant): (Key, Variant),
        (head, bytes): (&Head, u64),
        seen: Seen,
        now: Timestamp,
    ) {
        let key = shadow_key(key, variant);
        let cost = self.cost(head, bytes);
        if !self.takes(key, cost) {
            return;
        }
        self.send(Event::Access(Access {
            key,
            bytes,
            cost,
            now: self.seconds(now),
            until: self.until(head, now),
            seen,
        }));
    }

    /// What a response costs in memory.
    fn cost(&self, head: &Head, bytes: u64) -> u64 {
        bytes
            .saturating_add(self.overhead)
            .saturating_add(head.weight() as u64)
    }

    fn takes(&self, key: Key, cost: u64) -> bool {
        let rate = f64::from_bits(self.rate.load(Ordering::Relaxed));
        Sampler::of_rate(rate).takes(key, cost)
    }

    fn send(&self, event: Event) {
        if self.events.try_send(event).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Since the node was started.
    fn seconds(&self, at: Timestamp) -> u32 {
        u32::try_from(at.since(self.began).as_secs()).unwrap_or(u32::MAX)
    }

    /// Until when a response may be used without asking anybody (RFC 9111 §4.2, RFC 5861 §3).
    fn until(&self, head: &Head, now: Timestamp) -> u32 {
        let Some(stored) = head.stored() else {
            return u32::MAX; // a slice goes with its response
        };
        let terms = &stored.terms;
        if terms.requires_validation() {
            return 0;
        }
        let usable = terms.freshness_lifetime + terms.stale_while_revalidate;
        let left = usable.saturating_sub(stored.reception.current_age(now));
        // What is fresh for a part of a second is fresh for it.
        self.seconds(now + left).saturating_add(1)
    }

    /// What was measured since the node was started.
    fn measured(&self, requests: &Requests) -> Measured {
        let mut measured = Measured {
            misses: self.misses.load(Ordering::Relaxed),
            missed_bytes: self.missed_bytes.load(Ordering::Relaxed),
            ..Measured::default()
        };
        requests.each(|tally, _| {
            for row in tally.rows().filter(|row| row.word.counts()) {
                measured.requests += row.requests;
                measured.bytes += row.bytes;
                measured.hit_bytes += row.cached;
                if row.word.is_cached() {
                    measured.hits += row.requests;
                }
            }
        });
        measured
    }

    /// Begins another window, if it is time.
    fn turn(&self, requests: &Requests) {
        let mut state = self.state.lock();
        if monotonic().saturating_sub(state.turned) >= WINDOW {
            let now = self.measured(requests);
            state.turned = monotonic();
            state.windows = [now, state.windows[0]];
            state.curve.turn();
        }
    }

    /// What other sizes would do, and by what that is known.
    pub(crate) fn told(&self, requests: &Requests) -> Told {
        let now = self.measured(requests);
        let state = self.state.lock();
        let measured = since(&now, &state.windows[1]);
        Told {
            sampled_requests: state.played,
            lost: self.lost.load(Ordering::Relaxed),
            ..Told::new(&state.curve, &measured)
        }
    }
}

/// Keeps the windows, until the node ends.
pub(crate) async fn keep(node: Arc<Node>) {
    let mut stopping = node.stopping.clone();
    while timeout(LOOK_EVERY, stopping.changed()).await.is_err() {
        node.capacity.turn(&node.metrics.requests);
    }
}

/// Variants are objects of their own.
fn shadow_key(Key(mut key): Key, Variant(variant): Variant) -> Key {
    let pairs = key.iter_mut().zip(variant);
    pairs.for_each(|(key, variant)| *key ^= variant);
    Key(key)
}

fn since(now: &Measured, then: &Measured) -> Measured {
    Measured {
        requests: now.requests.saturating_sub(then.requests),
        hits: now.hits.saturating_sub(then.hits),
        bytes: now.bytes.saturating_sub(then.bytes),
        hit_bytes: now.hit_bytes.saturating_sub(then.hit_bytes),
        misses: now.misses.saturating_sub(then.misses),
        missed_bytes: now.missed_bytes.saturating_sub(then.missed_bytes),
    }
}

/// The thread that plays what was sampled.
struct Player {
    events: Receiver<Event>,
    state: Arc<Mutex<State>>,
    rate: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
    lost_before: u64,
    second: Second,
}

/// What was played in the present second.
#[derive(Debug, Default)]
struct Second {
    began: Duration,
    played: u32,
}

impl Player {
    /// Until the node is gone.
    fn run(mut self) {
        while let Ok(first) = self.events.recv() {
            self.play(first);
            std::thread::sleep(PAUSE);
        }
    }

    /// Plays all that waits.
    fn play(&mut self, first: Event) {
        let now = monotonic();
        let mut state = self.state.lock();
        let waiting = self.events.try_iter().take(WAITING_MAX);
        for event in std::iter::once(first).chain(waiting) {
            match event {
                Event::Access(access) => {
                    state.played += 1;
                    state.curve.record(&access);
                }
                Event::Gone(key) => state.curve.forget(key),
            }
            if self.second.is_full(now) {
                state.curve.thin();
            }
        }
        let lost = self.lost.load(Ordering::Relaxed);
        if lost > self.lost_before {
            self.lost_before = lost;
            state.curve.thin();
        }
        let rate = state.curve.sampler().rate().to_bits();
        self.rate.store(rate, Ordering::Relaxed);
    }
}

impl Second {
    /// Counts one; whether there were more than there should be. Then it begins anew.
    fn is_full(&mut self, now: Duration) -> bool {
        if now.saturating_sub(self.began) >= Duration::from_secs(1) {
            *self = Self {
                began: now,
                played: 0,
            };
        }
        self.played += 1;
        let full = self.played > PER_SECOND_MAX;
        if full {
            self.played = 0;
        }
        full
    }
}
