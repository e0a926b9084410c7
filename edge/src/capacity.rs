//! What more or less memory or disk would do, estimated while serving: a sample of the requests is told to a thread that
//! plays it through shadows of the tiers (`storage::curve`).
//!
//! A request that is not sampled costs one comparison for it, a sampled one a place in a queue, and one that is asked for
//! again while it waits there, a number.

mod begin;
mod repeats;
mod told;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use parking_lot::Mutex;
use policy::time::Timestamp;
use storage::curve::{Access, Curve, Measured, Name, Residents, Sampler, Seen, Shape, Work};
use storage::{Fill, Head as _, Object};
use tokio::time::timeout;

use crate::cache::Head;
use crate::clock::monotonic;
use crate::metrics::Requests;
use crate::node::Node;
pub(crate) use begin::begin;
use repeats::Repeats;
pub use told::{Filling, Point, State, Told};

/// Accesses that wait to be played; beyond it they are lost, and fewer keys are sampled from then on.
const WAITING_MAX: usize = 8 * 1024;
/// Work in a second beyond which fewer keys are sampled. Beside a node at full load, an access to what all shadows have
/// takes a microsecond (benches/RESULTS.md), one that is a miss of disks two: less than one percent of a core in all.
const WORK_MAX: u32 = 8 * 1024;
const LITTLE: u32 = 1;
const MUCH: u32 = 2;
/// Where no second of a window had more, more keys are sampled: less than the next step takes.
const WORK_LOW: u32 = WORK_MAX / 2;
/// Between two looks at what waits: the thread is not woken for every access, and what is asked for again meanwhile waits
/// once.
const PAUSE: Duration = Duration::from_millis(50);
/// What is said is of the last one to two of these.
const WINDOW: Duration = Duration::from_secs(1800);
/// How often it is looked whether one is over.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What a thread is told.
enum Event {
    Access(Access),
    Gone(Name),
}

/// The shadows of a node's tiers, and what is measured beside them.
#[derive(Debug)]
pub(crate) struct Capacity {
    /// The rate of sampling, as the bits of an `f64`.
    rate: Arc<AtomicU64>,
    events: SyncSender<Event>,
    repeats: Arc<Repeats>,
    lost: Arc<AtomicU64>,
    /// What was fetched and stored, as a request that another cache might have spared.
    misses: AtomicU64,
    missed_bytes: AtomicU64,
    overhead: u64,
    began: Timestamp,
    state: Arc<Mutex<Shadows>>,
}

#[derive(Debug)]
struct Shadows {
    curve: Curve,
    /// Whether they know what they begin with.
    begun: bool,
    played: u64,
    /// The most work in one second of this window.
    most_work: u32,
    /// What had been measured when the last window began, and the one before.
    windows: [Measured; 2],
    turned: Duration,
}

impl Capacity {
    /// Shadows of these tiers, in which a response costs so much beside its head and body. Where there is a disk, they
    /// begin later: see [`begin`].
    pub(crate) fn new(shape: Shape, overhead: usize, now: Timestamp) -> Self {
        let (events, played) = sync_channel(WAITING_MAX);
        let curve = Curve::new(shape);
        let begun = shape.disk.is_none();
        let sampler = match begun {
            true => curve.sampler(),
            false => Sampler::none(),
        };
        let capacity = Self {
            rate: Arc::new(AtomicU64::new(sampler.rate().to_bits())),
            events,
            repeats: Arc::default(),
            lost: Arc::default(),
            misses: AtomicU64::new(0),
            missed_bytes: AtomicU64::new(0),
            overhead: overhead as u64,
            began: now,
            state: Arc::new(Mutex::new(Shadows {
                curve,
                begun,
                played: 0,
                most_work: 0,
                windows: [Measured::default(); 2],
                turned: monotonic(),
            })),
        };
        let player = Player {
            events: played,
            state: Arc::clone(&capacity.state),
            rate: Arc::clone(&capacity.rate),
            repeats: Arc::clone(&capacity.repeats),
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
        let name = Name::of(object.key(), object.variant());
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
        let (key, variant) = fill.name();
        self.access(Name::of(key, variant), response, Seen::Fetched, now);
    }

    /// A stored response was found to be purged.
    pub(crate) fn gone(&self, object: &Object<Head>) {
        let name = Name::of(object.key(), object.variant());
        if self.takes(name, self.cost(object.head(), object.body().len())) {
            self.send(Event::Gone(name));
        }
    }

    fn access(&self, name: Name, (head, bytes): (&Head, u64), seen: Seen, now: Timestamp) {
        let cost = self.cost(head, bytes);
        if !self.takes(name, cost) || seen == Seen::Stored && self.repeats.count(name) {
            return;
        }
        let is_sent = self.send(Event::Access(Access {
            name,
            bytes,
            cost,
            now: self.seconds(now),
            until: self.until(head, now),
            seen,
            times: 1,
        }));
        if !is_sent {
            self.repeats.take(name); // nobody else will
        }
    }

    /// What a response costs in memory.
    fn cost(&self, head: &Head, bytes: u64) -> u64 {
        bytes
            .saturating_add(self.overhead)
            .saturating_add(head.weight() as u64)
    }

    fn takes(&self, name: Name, cost: u64) -> bool {
        let rate = f64::from_bits(self.rate.load(Ordering::Relaxed));
        Sampler::of_rate(rate).takes(name, cost)
    }

    /// Whether it waits to be played now.
    fn send(&self, event: Event) -> bool {
        let is_sent = self.events.try_send(event).is_ok();
        if !is_sent {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        is_sent
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

    /// The first window begins, with what is on the disks.
    fn begin(&self, residents: &Residents, requests: &Requests) {
        let mut state = self.state.lock();
        state.curve.seed(residents);
        state.begun = true;
        state.turned = monotonic();
        state.windows = [self.measured(requests); 2];
        self.set_rate(&state);
    }

    /// Begins another window, if it is time.
    fn turn(&self, requests: &Requests) {
        let mut state = self.state.lock();
        if !state.begun || monotonic().saturating_sub(state.turned) < WINDOW {
            return;
        }
        let now = self.measured(requests);
        state.turned = monotonic();
        state.windows = [now, state.windows[0]];
        state.curve.turn();
        if std::mem::take(&mut state.most_work) <= WORK_LOW {
            state.curve.raise();
        }
        self.set_rate(&state);
    }

    fn set_rate(&self, state: &Shadows) {
        let rate = state.curve.sampler().rate().to_bits();
        self.rate.store(rate, Ordering::Relaxed);
    }

    /// What other sizes would do, and by what that is known.
    pub(crate) fn told(&self, requests: &Requests) -> Told {
        let now = self.measured(requests);
        let state = self.state.lock();
        let measured = since(&now, &state.windows[1]);
        let told = Told {
            sampled_requests: state.played,
            lost: self.lost.load(Ordering::Relaxed),
            ..Told::new(&state.curve, &measured)
        };
        match state.begun {
            true => told,
            false => told.before_the_beginning(),
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
    state: Arc<Mutex<Shadows>>,
    rate: Arc<AtomicU64>,
    repeats: Arc<Repeats>,
    lost: Arc<AtomicU64>,
    lost_before: u64,
    second: Second,
}

/// What was done in the present second.
#[derive(Debug, Default)]
struct Second {
    began: Duration,
    work: u32,
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
            let work = match event {
                Event::Access(mut access) => {
                    if access.seen == Seen::Stored {
                        access.times += self.repeats.take(access.name);
                    }
                    state.played += u64::from(access.times);
                    state.curve.record(&access)
                }
                Event::Gone(name) => {
                    state.curve.forget(name);
                    Work::Little
                }
            };
            if self.second.is_full(now, work) {
                state.curve.thin();
            }
            state.most_work = state.most_work.max(self.second.work);
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
    /// Adds some; whether it is more than there should be. Then it begins anew.
    fn is_full(&mut self, now: Duration, work: Work) -> bool {
        if now.saturating_sub(self.began) >= Duration::from_secs(1) {
            *self = Self {
                began: now,
                work: 0,
            };
        }
        self.work += match work {
            Work::None => 0,
            Work::Little => LITTLE,
            Work::Much => MUCH,
        };
        let full = self.work > WORK_MAX;
        if full {
            self.work = 0;
        }
        full
    }
}
