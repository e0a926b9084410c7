//! The tallies of all sites, as Prometheus reads them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use super::Totals;
use super::tally::{Asked, DURATIONS, Durations, Tally};
use crate::outcome::Tier;

/// Rules of sites that metrics tell apart; those beyond it are told as one.
pub(crate) const TALLIES_MAX: usize = 1024;

/// What site and rule are called that are not told apart.
pub(crate) const OTHER: &str = "other";

/// Tallies of sites and rules that are no more, and are told until the node stops. Of more, the oldest are told no more.
const GONE_MAX: usize = 256;

/// Tallies by the names of their site and rule.
pub(crate) type KnownTallies = HashMap<(Box<str>, Box<str>), Arc<Tally>>;

/// All tallies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requests {
    tallies: Arc<RwLock<Vec<Arc<Tally>>>>,
    /// What those had counted that are told no more.
    gone: Arc<Mutex<Totals>>,
    descriptions: Arc<[Desc]>,
}

/// What a family is called, and what it is.
struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    labels: &'static [&'static str],
}

const FAMILIES: [Family; 11] = [
    Family {
        name: "requests_total",
        help: "Requests of clients, by how they ended and how far they went.",
        kind: MetricType::COUNTER,
        labels: &["site", "rule", "outcome", "tier"],
    },
    Family {
        name: "response_bytes_total",
        help: "Content bytes sent to clients.",
        kind: MetricType::COUNTER,
        labels: &["site", "rule", "outcome", "tier"],
    },
    Family {
        name: "cached_bytes_total",
        help: "Content bytes sent to clients that came from what was stored.",
        kind: MetricType::COUNTER,
        labels: &["site", "rule", "outcome", "tier"],
    },
    Family {
        name: "request_duration_seconds",
        help: "From a request's head to the end of its response.",
        kind: MetricType::HISTOGRAM,
        labels: &["site", "outcome"],
    },
    Family {
        name: "ttfb_seconds",
        help: "From a request's head to the head of its response.",
        kind: MetricType::HISTOGRAM,
        labels: &["site", "outcome"],
    },
    Family {
        name: "hits_total",
        help: "Requests answered by a stored response, by where it was stored.",
        kind: MetricType::COUNTER,
        labels: &["site", "tier"],
    },
    Family {
        name: "misses_total",
        help: "Requests that no stored response answered, by why.",
        kind: MetricType::COUNTER,
        labels: &["site", "rule", "reason"],
    },
    Family {
        name: "collapsed_requests_total",
        help: "Requests that shared the answer to another one.",
        kind: MetricType::COUNTER,
        labels: &["site", "rule"],
    },
    Family {
        name: "origin_requests_total",
        help: "Requests sent to origins, further attempts included.",
        kind: MetricType::COUNTER,
        labels: &["site", "rule", "kind"],
    },
    Family {
        name: "origin_bytes_total",
        help: "Content bytes received from origins.",
        kind: MetricType::COUNTER,
        labels: &["site", "rule", "kind"],
    },
    Family {
        name: "origin_ttfb_seconds",
        help: "From a request to an origin to the head of its answer.",
        kind: MetricType::HISTOGRAM,
        labels: &["site"],
    },
];

/// The values of a family's labels.
type Labels<'a> = Vec<&'a str>;

#[derive(Default)]
struct Sums<'a> {
    counters: [BTreeMap<Labels<'a>, u64>; FAMILIES.len()],
    histograms: [BTreeMap<Labels<'a>, Durations>; FAMILIES.len()],
}

impl<'a> Sums<'a> {
    fn count(&mut self, family: &str, labels: Labels<'a>, amount: u64) {
        if let Some(at) = place(family) {
            *self.counters[at].entry(labels).or_default() += amount;
        }
    }

    fn observe(&mut self, family: &str, labels: Labels<'a>, durations: &Durations) {
        if let Some(at) = place(family) {
            self.histograms[at]
                .entry(labels)
                .or_default()
                .add(durations);
        }
    }
}

fn place(family: &str) -> Option<usize> {
    FAMILIES.iter().position(|it| it.name == family)
}

impl Requests {
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let describe = |family: &Family| {
            let labels = family.labels.iter().map(|it| (*it).to_owned()).collect();
            let (name, help) = (family.name.to_owned(), family.help.to_owned());
            Desc::new(name, help, labels, Default::default())
        };
        let descriptions: Result<Vec<_>, _> = FAMILIES.iter().map(describe).collect();
        Ok(Self {
            tallies: Arc::default(),
            gone: Arc::default(),
            descriptions: descriptions?.into(),
        })
    }

    /// Tells of these from now on.
    pub(crate) fn watch(&self, tallies: impl IntoIterator<Item = Arc<Tally>>) {
        self.tallies.write().extend(tallies);
    }

    /// Those that there are so far.
    pub(crate) fn known(&self) -> KnownTallies {
        let tallies = self.tallies.read();
        let named = tallies.iter().map(|tally| {
            let names = (Box::from(&*tally.site), Box::from(&*tally.rule));
            (names, Arc::clone(tally))
        });
        named.collect()
    }

    /// Tells of these from now on, of which it may know some already. What was counted for others is told further, as
    /// long as there are not too many of those.
    pub(crate) fn follow(&self, now: impl IntoIterator<Item = Arc<Tally>>) {
        let mut tallies = self.tallies.write();
        let mut known: HashSet<_> = tallies.iter().map(Arc::as_ptr).collect();
        let mut current = HashSet::new();
        for tally in now {
            current.insert(Arc::as_ptr(&tally));
            if known.insert(Arc::as_ptr(&tally)) {
                tallies.push(tally);
            }
        }
        // The first is that of requests that are for no site.
        let is_gone = |(number, tally): (usize, &Arc<Tally>)| {
            number > 0 && !current.contains(&Arc::as_ptr(tally))
        };
        let count = tallies.iter().enumerate().filter(|it| is_gone(*it)).count();
        let mut excess = count.saturating_sub(GONE_MAX);
        let mut number = 0;
        let mut gone = self.gone.lock();
        tallies.retain(|tally| {
            let drops = excess > 0 && is_gone((number, tally));
            number += 1;
            if drops {
                excess -= 1;
                gone.add(tally);
            }
            !drops
        });
    }

    /// What was counted for all sites together.
    pub(crate) fn totals(&self) -> Totals {
        let tallies = self.tallies.read();
        let mut totals = *self.gone.lock();
        tallies.iter().for_each(|tally| totals.add(tally));
        totals
    }

    /// All tallies, with the names of their site and their rule.
    pub(crate) fn each(&self, mut tell: impl FnMut(&Tally, [&str; 2])) {
        for (number, tally) in self.tallies.read().iter().enumerate() {
            tell(tally, names(number, tally));
        }
    }
}

impl Totals {
    fn add(&mut self, tally: &Tally) {
        self.requests += tally.rows().map(|row| row.requests).sum::<u64>();
        let asked = tally.of_origin().map(|origin| origin.asked);
        self.asked += asked.iter().flatten().map(|(count, _)| count).sum::<u64>();
    }
}

fn names(number: usize, tally: &Tally) -> [&str; 2] {
    match number < TALLIES_MAX {
        true => [&tally.site, &tally.rule],
        false => [OTHER; 2],
    }
}

fn tally<'a>(sums: &mut Sums<'a>, tally: &'a Tally, [site, rule]: [&'a str; 2]) {
    for row in tally.rows() {
        let word = row.word.as_str();
        let tier = row.tier.map_or("-", Tier::as_str);
        let labels = vec![site, rule, word, tier];
        sums.count("requests_total", labels.clone(), row.requests);
        sums.count("response_bytes_total", labels.clone(), row.bytes);
        if row.word.is_cached() || row.cached > 0 {
            sums.count("cached_bytes_total", labels, row.cached);
        }
        sums.observe("request_duration_seconds", vec![site, word], &row.took);
        sums.observe("ttfb_seconds", vec![site, word], &row.waited);
        if matches!(row.tier, Some(Tier::Memory | Tier::Disk)) {
            sums.count("hits_total", vec![site, tier], row.requests);
        }
    }
    for (reason, count) in tally.reasons() {
        sums.count("misses_total", vec![site, rule, reason.as_str()], count);
    }
    match tally.collapsed() {
        0 => {}
        count => sums.count("collapsed_requests_total", vec![site, rule], count),
    }
    let Some(origin) = tally.of_origin() else {
        return;
    };
    for (kind, (requests, bytes)) in Asked::ALL.into_iter().zip(origin.asked) {
        if requests > 0 {
            let labels = vec![site, rule, kind.as_str()];
            sums.count("origin_requests_total", labels.clone(), requests);
            sums.count("origin_bytes_total", labels, bytes);
        }
    }
    sums.observe("origin_ttfb_seconds", vec![site], &origin.answered);
}

impl Collector for Requests {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let tallies = self.tallies.read();
        let mut sums = Sums::default();
        for (number, it) in tallies.iter().enumerate() {
            tally(&mut sums, it, names(number, it));
        }
        let sums = sums.counters.iter().zip(&sums.histograms);
        let families = FAMILIES.iter().zip(sums);
        families
            .map(|(family, (counters, histograms))| {
                let counters = counters.iter().map(|(labels, count)| {
                    let mut metric = labelled(family, labels);
                    let mut counter = Counter::default();
                    counter.set_value(to_float(*count));
                    metric.set_counter(counter);
                    metric
                });
                let histograms = histograms.iter().map(|(labels, durations)| {
                    let mut metric = labelled(family, labels);
                    metric.set_histogram(histogram(durations));
                    metric
                });
                let mut told = MetricFamily::default();
                told.set_name(family.name.to_owned());
                told.set_help(family.help.to_owned());
                told.set_field_type(family.kind);
                told.set_metric(counters.chain(histograms).collect());
                told
            })
            .collect()
    }
}

fn labelled(family: &Family, values: &[&str]) -> Metric {
    let pairs = family.labels.iter().zip(values).map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    Metric::from_label(pairs.collect())
}

fn histogram(durations: &Durations) -> Histogram {
    let mut told = 0;
    let buckets = DURATIONS.iter().zip(durations.buckets);
    let buckets = buckets.map(|(bound, count)| {
        told += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(told);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(durations.count());
    histogram.set_sample_sum(to_float(durations.nanos) / 1e9);
    histogram
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a counter beyond 2^53 loses its last digits"
)]
pub(crate) const fn to_float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tallies(sites: usize) -> Requests {
        let requests = Requests::new().unwrap();
        requests.watch((0..sites).map(|number| {
            let tally = Tally::new(&format!("s{number:05}"), "-");
            tally.asked(Asked::Fill);
            Arc::new(tally)
        }));
        requests
    }

    fn origin_requests(requests: &Requests) -> MetricFamily {
        let mut families = requests.collect().into_iter();
        let found = families.find(|it| it.name() == "origin_requests_total");
        found.unwrap()
    }

    #[test]
    fn labels_are_bounded_and_nothing_is_lost_beyond() {
        let beyond = 100;
        let family = origin_requests(&tallies(TALLIES_MAX + beyond));
        let metrics = family.get_metric();
        assert_eq!(metrics.len(), TALLIES_MAX + 1);
        let total: f64 = metrics.iter().map(|it| it.get_counter().get_value()).sum();
        assert!((total - to_float((TALLIES_MAX + beyond) as u64)).abs() < 0.5);
        let other = metrics.iter().find(|it| it.get_label()[0].value() == OTHER);
        let other = other.unwrap().get_counter().get_value();
        assert!((other - to_float(beyond as u64)).abs() < 0.5);
    }

    #[test]
    fn what_is_gone_is_told_within_a_limit_and_counts_for_ever() {
        let requests = Requests::new().unwrap();
        requests.watch([Arc::new(Tally::new("-", "-"))]);
        let all = GONE_MAX + 10;
        for number in 0..all {
            let tally = Arc::new(Tally::new(&format!("s{number}"), "-"));
            tally.asked(Asked::Fill);
            requests.follow([tally]);
        }
        assert_eq!(requests.totals().asked, all as u64);
        // Nobody's, the last one, and those that are gone.
        assert_eq!(requests.known().len(), 2 + GONE_MAX);
        let known = requests.known();
        let last = format!("s{}", all - 1);
        let first_left = format!("s{}", all - 1 - GONE_MAX);
        for (site, there) in [
            ("-", true),
            ("s0", false),
            (&first_left, true),
            (&last, true),
        ] {
            let found = known.contains_key(&(site.into(), "-".into()));
            assert_eq!(found, there, "{site}");
        }
        // Who comes again goes on.
        let again = known[&(first_left.into(), "-".into())].clone();
        requests.follow([again]);
        assert_eq!(requests.known().len(), 2 + GONE_MAX);
        assert_eq!(requests.totals().asked, all as u64);
    }

    #[test]
    fn at_the_limit_every_site_has_its_name() {
        let family = origin_requests(&tallies(TALLIES_MAX));
        let metrics = family.get_metric();
        assert_eq!(metrics.len(), TALLIES_MAX);
        assert!(metrics.iter().all(|it| it.get_label()[0].value() != OTHER));
    }
}
