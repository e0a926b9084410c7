//! What is counted of the requests for one rule of a site.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::sharded::Sharded;
use crate::outcome::{Reason, Tier, Word};

/// Upper bounds in seconds: from a hit in memory to an origin's timeout.
pub(crate) const DURATIONS: [f64; 16] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    10.0, 30.0,
];
/// One for each bound, and one beyond.
pub(crate) const BUCKETS: usize = DURATIONS.len() + 1;

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the bounds are positive and short"
)]
const NANOS: [u64; DURATIONS.len()] = {
    let mut nanos = [0; DURATIONS.len()];
    let mut at = 0;
    while at < nanos.len() {
        nanos[at] = (DURATIONS[at] * 1e9) as u64;
        at += 1;
    }
    nanos
};

/// The rule of requests that no rule matches.
pub(crate) const NO_RULE: &str = "-";

/// The counters of one rule's requests. Those that nothing was counted in take no room.
pub(crate) struct Tally {
    /// Which no other one has.
    pub number: u64,
    pub site: String,
    /// The rule's name, or [`NO_RULE`].
    pub rule: String,
    rows: [[OnceLock<Sharded<ROW>>; TIERS]; Word::COUNT],
    misses: OnceLock<Sharded<MISSES>>,
    origin: OnceLock<Sharded<ORIGIN>>,
}

/// The tiers, and none of them.
const TIERS: usize = Tier::ALL.len() + 1;

/// The places of a row's counters. Those of a hit lie together: the buckets of both histograms in turns.
const REQUESTS: usize = 0;
const BYTES: usize = 1;
const CACHED: usize = 2;
const TOOK: usize = 3;
const WAITED: usize = 4;
const TOOK_BUCKETS: Buckets = Buckets {
    first: WAITED + 1,
    apart: 2,
};
const WAITED_BUCKETS: Buckets = Buckets {
    first: WAITED + 2,
    apart: 2,
};
const ROW: usize = WAITED + 1 + 2 * BUCKETS;

/// Each reason, and the requests that shared another's answer.
const COLLAPSED: usize = Reason::COUNT;
const MISSES: usize = COLLAPSED + 1;

/// Requests and bytes of each kind, then how long answers took to begin.
const ANSWERED: usize = 2 * Asked::COUNT;
const ANSWERED_BUCKETS: Buckets = Buckets {
    first: ANSWERED + 1,
    apart: 1,
};
const ORIGIN: usize = ANSWERED + 1 + BUCKETS;

/// Where the buckets of a histogram are among the counters.
#[derive(Clone, Copy, Debug)]
struct Buckets {
    first: usize,
    apart: usize,
}

impl Buckets {
    const fn at(self, bucket: usize) -> usize {
        self.first + bucket * self.apart
    }
}

/// A request that ended, as it is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    pub word: Word,
    pub tier: Option<Tier>,
    /// Content bytes sent.
    pub bytes: u64,
    /// How many of them came from what was stored.
    pub cached: u64,
    pub took: Duration,
    /// Until the response began; none if it did not.
    pub waited: Option<Duration>,
    pub reason: Option<Reason>,
    pub collapsed: bool,
}

/// Why an origin was asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Asked {
    /// To store the answer, or what others may share of it.
    Fill,
    /// To validate what is stored, for a request that waits for it.
    Revalidate,
    /// To validate what is stored, and was sent already.
    Background,
    /// Again, after an attempt without an answer.
    Retry,
    /// For a request that passes the cache by: the last one, see [`Asked::COUNT`].
    Pass,
}

impl Asked {
    pub(crate) const COUNT: usize = Self::Pass as usize + 1;

    pub(crate) const ALL: [Self; Self::COUNT] = [
        Self::Fill,
        Self::Revalidate,
        Self::Background,
        Self::Retry,
        Self::Pass,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Fill => "fill",
            Self::Revalidate => "revalidate",
            Self::Background => "background",
            Self::Retry => "retry",
            Self::Pass => "pass",
        }
    }
}

/// What was counted of the requests with one outcome that went equally far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub word: Word,
    pub tier: Option<Tier>,
    pub requests: u64,
    pub bytes: u64,
    pub cached: u64,
    pub took: Durations,
    pub waited: Durations,
}

/// A histogram.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Durations {
    pub nanos: u64,
    /// How many were at most so long, and longer than the bound before.
    pub buckets: [u64; BUCKETS],
}

impl Durations {
    fn read(counters: &[u64], sum: usize, buckets: Buckets) -> Self {
        Self {
            nanos: counters[sum],
            buckets: std::array::from_fn(|bucket| counters[buckets.at(bucket)]),
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.nanos += other.nanos;
        let pairs = self.buckets.iter_mut().zip(other.buckets);
        pairs.for_each(|(sum, count)| *sum += count);
    }

    fn subtract(&mut self, other: &Self) {
        self.nanos -= other.nanos;
        let pairs = self.buckets.iter_mut().zip(other.buckets);
        pairs.for_each(|(sum, count)| *sum -= count);
    }

    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// Sums and differences of the same things.
impl Row {
    /// Whether both count the same.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        (self.word, self.tier) == (other.word, other.tier)
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.bytes += other.bytes;
        self.cached += other.cached;
        self.took.add(&other.took);
        self.waited.add(&other.waited);
    }

    /// Takes off what was counted before.
    pub(crate) fn subtract(&mut self, before: &Self) {
        self.requests -= before.requests;
        self.bytes -= before.bytes;
        self.cached -= before.cached;
        self.took.subtract(&before.took);
        self.waited.subtract(&before.waited);
    }
}

impl OfOrigin {
    pub(crate) fn is_nothing(&self) -> bool {
        self.asked == <[(u64, u64); Asked::COUNT]>::default()
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, more) in self.asked.iter_mut().zip(other.asked) {
            sum.0 += more.0;
            sum.1 += more.1;
        }
        self.answered.add(&other.answered);
    }

    /// Takes off what was counted before.
    pub(crate) fn subtract(&mut self, before: &Self) {
        for (sum, less) in self.asked.iter_mut().zip(before.asked) {
            sum.0 -= less.0;
            sum.1 -= less.1;
        }
        self.answered.subtract(&before.answered);
    }
}

/// What was asked of the origins.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OfOrigin {
    /// Requests and bytes, by [`Asked`].
    pub asked: [(u64, u64); Asked::COUNT],
    pub answered: Durations,
}

fn bucket(took: Duration) -> (u64, usize) {
    let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    (nanos, NANOS.partition_point(|bound| *bound < nanos))
}

impl Tally {
    pub(crate) fn new(site: &str, rule: &str) -> Self {
        static MADE: AtomicU64 = AtomicU64::new(0);
        Self {
            number: MADE.fetch_add(1, Ordering::Relaxed),
            site: site.to_owned(),
            rule: rule.to_owned(),
            rows: Default::default(),
            misses: OnceLock::new(),
            origin: OnceLock::new(),
        }
    }

    /// A request that ended.
    pub(crate) fn request(&self, counted: &Counted) {
        let tier = counted.tier.map_or(0, |tier| tier as usize + 1);
        let row = self.rows[counted.word as usize][tier].get_or_init(Default::default);
        let row = row.mine();
        row.add(REQUESTS, 1);
        row.add(BYTES, counted.bytes);
        if counted.cached > 0 {
            row.add(CACHED, counted.cached);
        }
        let (nanos, at) = bucket(counted.took);
        row.add(TOOK, nanos);
        row.add(TOOK_BUCKETS.at(at), 1);
        if let Some(waited) = counted.waited {
            let (nanos, at) = bucket(waited);
            row.add(WAITED, nanos);
            row.add(WAITED_BUCKETS.at(at), 1);
        }
        if let Some(reason) = counted.reason {
            self.misses().add(reason as usize, 1);
        }
        if counted.collapsed {
            self.misses().add(COLLAPSED, 1);
        }
    }

    fn misses(&self) -> super::sharded::Mine<'_> {
        self.misses.get_or_init(Default::default).mine()
    }

    fn origin(&self) -> super::sharded::Mine<'_> {
        self.origin.get_or_init(Default::default).mine()
    }

    /// A request to an origin.
    pub(crate) fn asked(&self, kind: Asked) {
        self.origin().add(2 * kind as usize, 1);
    }

    /// An origin's answer began so long after it was asked.
    pub(crate) fn answered(&self, took: Duration) {
        let (nanos, at) = bucket(took);
        self.origin().add(ANSWERED, nanos);
        self.origin().add(ANSWERED_BUCKETS.at(at), 1);
    }

    /// Content from an origin.
    pub(crate) fn received(&self, kind: Asked, bytes: u64) {
        self.origin().add(2 * kind as usize + 1, bytes);
    }

    /// What was counted so far, where it is not nothing.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Row> {
        Word::ALL.into_iter().flat_map(|word| {
            let tiers = std::iter::once(None).chain(Tier::ALL.map(Some));
            let rows = self.rows[word as usize].iter().zip(tiers);
            rows.filter_map(move |(row, tier)| {
                let sums = row.get()?.sums();
                Some(Row {
                    word,
                    tier,
                    requests: sums[REQUESTS],
                    bytes: sums[BYTES],
                    cached: sums[CACHED],
                    took: Durations::read(&sums, TOOK, TOOK_BUCKETS),
                    waited: Durations::read(&sums, WAITED, WAITED_BUCKETS),
                })
            })
        })
    }

    /// How many requests were no hit, for each reason that was one.
    pub(crate) fn reasons(&self) -> impl Iterator<Item = (Reason, u64)> {
        let sums = self.misses.get().map(|misses| misses.sums());
        let all = Reason::ALL.into_iter();
        let counted = move |reason: Reason| (reason, sums.map_or(0, |sums| sums[reason as usize]));
        all.map(counted).filter(|(_, count)| *count > 0)
    }

    /// How many requests shared another's answer.
    pub(crate) fn collapsed(&self) -> u64 {
        let misses = self.misses.get();
        misses.map_or(0, |misses| misses.sums()[COLLAPSED])
    }

    /// What was asked of the origins; none if nothing was.
    pub(crate) fn of_origin(&self) -> Option<OfOrigin> {
        let sums = self.origin.get()?.sums();
        Some(OfOrigin {
            asked: Asked::ALL.map(|kind| (sums[2 * kind as usize], sums[2 * kind as usize + 1])),
            answered: Durations::read(&sums, ANSWERED, ANSWERED_BUCKETS),
        })
    }
}

impl std::fmt::Debug for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tally")
            .field("site", &self.site)
            .field("rule", &self.rule)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_under_the_first_bound_that_holds() {
        let at = |micros| bucket(Duration::from_micros(micros)).1;
        assert_eq!(at(0), 0);
        assert_eq!(at(100), 0, "a bound is in its own bucket");
        assert_eq!(at(101), 1);
        assert_eq!(at(30_000_000), DURATIONS.len() - 1);
        assert_eq!(at(30_000_001), DURATIONS.len());
    }

    #[test]
    fn what_was_counted_comes_back() {
        let tally = Tally::new("s", NO_RULE);
        assert_eq!(tally.rows().count(), 0);
        let counted = Counted {
            word: Word::Miss,
            tier: Some(Tier::Origin),
            bytes: 10,
            cached: 0,
            took: Duration::from_millis(2),
            waited: Some(Duration::from_millis(1)),
            reason: Some(Reason::Cold),
            collapsed: true,
        };
        tally.request(&counted);
        tally.request(&Counted {
            tier: None,
            reason: None,
            collapsed: false,
            waited: None,
            ..counted
        });
        let rows: Vec<_> = tally.rows().collect();
        assert_eq!(rows.len(), 2);
        let [local, asked] = [rows[0], rows[1]];
        assert_eq!((local.tier, local.waited.count()), (None, 0));
        assert_eq!((asked.tier, asked.bytes), (Some(Tier::Origin), 10));
        assert_eq!(asked.took.nanos, 2_000_000);
        assert_eq!(asked.waited.count(), 1);
        assert_eq!(tally.reasons().collect::<Vec<_>>(), [(Reason::Cold, 1)]);
        assert_eq!(tally.collapsed(), 1);

        assert!(tally.of_origin().is_none());
        tally.asked(Asked::Pass);
        tally.received(Asked::Pass, 5);
        tally.answered(Duration::from_secs(60));
        let origin = tally.of_origin().unwrap();
        assert_eq!(origin.asked[Asked::Pass as usize], (1, 5));
        assert_eq!(origin.answered.buckets[BUCKETS - 1], 1);
    }
}
