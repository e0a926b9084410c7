//! `GET /v1/stats`: the last minutes, or the last hour, in figures.

use std::collections::BTreeMap;
use std::time::Duration;

use policy::time::Timestamp;
use purge_api::Reader;
use serde::Serialize;

use super::figures::{Counts, Figures};
use super::history::{History, OfRule, Slot};
use super::sees;
use super::tops::Top;
use crate::access_log::rfc3339;
use crate::metrics::{Asked, OfOrigin, Row};
use crate::node::Node;
use crate::outcome::Tier;

/// How far back it goes unless told otherwise.
const WINDOW: Duration = Duration::from_secs(60);
/// How far back it can go.
const WINDOW_MAX: Duration = Duration::from_secs(3600);
/// URLs, sites and rules that are told, unless told otherwise.
const LISTED: usize = 20;
/// The most that are told.
const LISTED_MAX: usize = 256;

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    window: Duration,
    site: Option<String>,
    rule: Option<String>,
    listed: usize,
}

impl Wanted {
    /// Reads a query.
    ///
    /// # Errors
    /// A sentence about the parameter that is wrong.
    pub(super) fn parse(query: &str) -> Result<Self, String> {
        let mut wanted = Self {
            window: WINDOW,
            site: None,
            rule: None,
            listed: LISTED,
        };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "window" => {
                    let seconds = value.parse().ok().map(Duration::from_secs);
                    let possible = |window: &Duration| !window.is_zero() && *window <= WINDOW_MAX;
                    wanted.window = seconds.filter(possible).ok_or_else(|| {
                        format!("window is 1 to {} seconds", WINDOW_MAX.as_secs())
                    })?;
                }
                "site" => wanted.site = Some(value.into_owned()),
                "rule" => wanted.rule = Some(value.into_owned()),
                "limit" => {
                    let count = value.parse().ok().filter(|count| *count <= LISTED_MAX);
                    wanted.listed = count.ok_or_else(|| format!("limit is 0 to {LISTED_MAX}"))?;
                }
                other => return Err(format!("there is no parameter {other:?}")),
            }
        }
        Ok(wanted)
    }

    /// The one site that is asked for.
    pub(super) fn site(&self) -> Option<&str> {
        self.site.as_deref()
    }

    fn is_of_site(&self, site: &str) -> bool {
        self.site.as_ref().is_none_or(|wanted| wanted == site)
    }

    fn wants(&self, rule: &OfRule) -> bool {
        let named = self
            .rule
            .as_ref()
            .is_none_or(|wanted| **wanted == *rule.rule);
        named && self.is_of_site(&rule.site)
    }
}

/// The answer.
#[derive(Debug, Serialize)]
pub(super) struct Stats<'a> {
    node: &'a str,
    version: &'static str,
    now: String,
    uptime_seconds: u64,
    configuration: InForceFor,
    /// Since the start.
    total: Figures,
    window: Window,
    /// Slots of the window, oldest first; the last one is still going on.
    series: Vec<Point>,
    outcomes: Vec<Named>,
    tiers: Vec<Named>,
    sites: Vec<Named>,
    rules: Vec<OfSite>,
    reasons: Vec<Reasons>,
    collapsed: u64,
    origin: OriginFigures,
    top: Tops,
    memory: Memory,
    disks: Vec<Volume>,
    connections: i64,
    log_dropped: u64,
}

/// The configuration in force, and for how long.
#[derive(Debug, Serialize)]
struct InForceFor {
    #[serde(flatten)]
    configuration: purge_api::Configuration,
    seconds: u64,
}

#[derive(Debug, Serialize)]
struct Window {
    from: String,
    seconds: f64,
    #[serde(flatten)]
    figures: Figures,
}

#[derive(Debug, Serialize)]
struct Point {
    from: String,
    seconds: f64,
    #[serde(flatten)]
    figures: Figures,
    /// Misses by reason.
    reasons: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Serialize)]
struct Named {
    name: String,
    #[serde(flatten)]
    figures: Figures,
}

#[derive(Debug, Serialize)]
struct OfSite {
    site: String,
    rule: String,
    #[serde(flatten)]
    figures: Figures,
}

#[derive(Debug, Serialize)]
struct Reasons {
    reason: &'static str,
    requests: u64,
}

#[derive(Debug, Serialize)]
struct OriginFigures {
    kinds: Vec<Kind>,
    p50_ttfb_ms: Option<f64>,
    p99_ttfb_ms: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Kind {
    kind: &'static str,
    requests: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct Tops {
    since: String,
    misses: Vec<Url>,
    /// Sampled: about so many bytes.
    bytes: Vec<Url>,
}

#[derive(Debug, Serialize)]
struct Url {
    site: Box<str>,
    url: Box<str>,
    count: u64,
}

#[derive(Debug, Serialize)]
struct Memory {
    objects: usize,
    bytes: usize,
    bytes_max: usize,
    in_flight_bytes: usize,
    evictions: u64,
    rejected: u64,
}

#[derive(Debug, Serialize)]
struct Volume {
    path: String,
    bytes_max: u64,
    segments: u64,
    segments_free: u64,
    bytes_read: u64,
    bytes_written: u64,
    evicted: u64,
    refused_busy: u64,
    faults: u64,
    offline: bool,
}

/// Puts the answer together, of what the token may see.
pub(super) fn answer<'a>(node: &'a Node, wanted: &Wanted, reader: Reader<'_>) -> Stats<'a> {
    let now = node.clock.now();
    let requests = &node.metrics.requests;
    let visible = |rule: &OfRule| wanted.wants(rule) && sees(reader, &rule.site);
    let since = before(now, wanted.window);
    let mut slots = node.observed.history.slots(requests, since, now);
    slots.iter_mut().for_each(|slot| slot.rules.retain(visible));
    let total = History::totals(requests);
    let total = counts(total.iter().filter(|rule| visible(rule)));
    let uptime = node.clock.instant() - node.started;
    let sums = Sums::of(&slots);
    let from = slots.first().map_or(now, |slot| slot.from);
    let seconds = now.since(from).as_secs_f64();
    let seen = |site: &str| wanted.is_of_site(site) && sees(reader, site);
    let stats = node.tiers.memory().stats();
    let in_force = node.in_force_now();
    Stats {
        node: &node.name,
        version: env!("CARGO_PKG_VERSION"),
        now: rfc3339(now),
        uptime_seconds: uptime.as_secs(),
        configuration: InForceFor {
            configuration: in_force.told(),
            seconds: now.since(in_force.since).as_secs(),
        },
        total: total.told(uptime.as_secs_f64()),
        window: Window {
            from: rfc3339(from),
            seconds,
            figures: sums.all.told(seconds),
        },
        series: slots.iter().map(point).collect(),
        outcomes: named(&sums.outcomes, seconds, usize::MAX),
        tiers: named(&sums.tiers, seconds, usize::MAX),
        sites: named(&sums.sites, seconds, wanted.listed),
        rules: rules(&sums.rules, seconds, wanted.listed),
        reasons: reasons(&sums.reasons),
        collapsed: sums.collapsed,
        origin: origin(&sums.origin),
        top: Tops {
            since: rfc3339(node.observed.tops.since()),
            misses: urls(node.observed.tops.misses(wanted.listed, &seen)),
            bytes: urls(node.observed.tops.bytes(wanted.listed, &seen)),
        },
        memory: Memory {
            objects: stats.objects,
            bytes: stats.bytes,
            bytes_max: stats.capacity,
            in_flight_bytes: stats.in_flight_bytes,
            evictions: stats.evictions,
            rejected: stats.rejected,
        },
        disks: volumes(node),
        connections: node.metrics.connections.get(),
        log_dropped: node.metrics.log_dropped.get(),
    }
}

fn before(now: Timestamp, window: Duration) -> Timestamp {
    let millis = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
    Timestamp::from_unix_millis(now.unix_millis().saturating_sub(millis))
}

#[derive(Default)]
struct Sums<'a> {
    all: Counts,
    outcomes: BTreeMap<&'a str, Counts>,
    tiers: BTreeMap<&'a str, Counts>,
    sites: BTreeMap<&'a str, Counts>,
    rules: BTreeMap<[&'a str; 2], Counts>,
    reasons: BTreeMap<&'static str, u64>,
    collapsed: u64,
    origin: OfOrigin,
}

impl<'a> Sums<'a> {
    fn of(slots: &'a [Slot]) -> Self {
        let mut sums = Self::default();
        let rules = slots.iter().flat_map(|slot| &slot.rules);
        rules.for_each(|rule| sums.add(rule));
        sums
    }

    fn add(&mut self, rule: &'a OfRule) {
        let by_site = self.sites.entry(&rule.site).or_default();
        let by_rule = self.rules.entry([&rule.site, &rule.rule]).or_default();
        for row in &rule.rows {
            let by_outcome = self.outcomes.entry(row.word.as_str()).or_default();
            let by_tier = self.tiers.entry(tier(row)).or_default();
            for counts in [
                &mut self.all,
                &mut *by_site,
                &mut *by_rule,
                by_outcome,
                by_tier,
            ] {
                counts.add(row);
            }
        }
        for counts in [&mut self.all, by_site, by_rule] {
            counts.add_origin(&rule.origin);
        }
        self.origin.add(&rule.origin);
        self.collapsed += rule.collapsed;
        for (reason, count) in &rule.reasons {
            *self.reasons.entry(reason.as_str()).or_default() += count;
        }
    }
}

fn tier(row: &Row) -> &'static str {
    row.tier.map_or("-", Tier::as_str)
}

fn counts<'a>(rules: impl Iterator<Item = &'a OfRule>) -> Counts {
    let mut counts = Counts::default();
    for rule in rules {
        rule.rows.iter().for_each(|row| counts.add(row));
        counts.add_origin(&rule.origin);
    }
    counts
}

fn point(slot: &Slot) -> Point {
    let mut reasons = BTreeMap::new();
    for (reason, count) in slot.rules.iter().flat_map(|rule| &rule.reasons) {
        *reasons.entry(reason.as_str()).or_default() += count;
    }
    Point {
        from: rfc3339(slot.from),
        seconds: slot.length(),
        figures: counts(slot.rules.iter()).told(slot.length()),
        reasons,
    }
}

/// Those with most requests first.
fn most<N: Ord + Copy>(counts: &BTreeMap<N, Counts>, listed: usize) -> Vec<(N, &Counts)> {
    let mut all: Vec<_> = counts
        .iter()
        .map(|(name, counts)| (*name, counts))
        .collect();
    all.sort_by_key(|(_, counts)| std::cmp::Reverse(counts.requests()));
    all.truncate(listed);
    all
}

fn named(counts: &BTreeMap<&str, Counts>, seconds: f64, listed: usize) -> Vec<Named> {
    let most = most(counts, listed).into_iter();
    most.map(|(name, counts)| Named {
        name: name.to_owned(),
        figures: counts.told(seconds),
    })
    .collect()
}

fn rules(counts: &BTreeMap<[&str; 2], Counts>, seconds: f64, listed: usize) -> Vec<OfSite> {
    let most = most(counts, listed).into_iter();
    most.map(|([site, rule], counts)| OfSite {
        site: site.to_owned(),
        rule: rule.to_owned(),
        figures: counts.told(seconds),
    })
    .collect()
}

fn reasons(counts: &BTreeMap<&'static str, u64>) -> Vec<Reasons> {
    let counts = counts.iter();
    let mut all: Vec<_> = counts
        .map(|(reason, requests)| Reasons {
            reason,
            requests: *requests,
        })
        .collect();
    all.sort_by_key(|it| std::cmp::Reverse(it.requests));
    all
}

fn origin(sums: &OfOrigin) -> OriginFigures {
    let kinds = Asked::ALL.into_iter().zip(sums.asked);
    let kinds = kinds.map(|(kind, (requests, bytes))| Kind {
        kind: kind.as_str(),
        requests,
        bytes,
    });
    OriginFigures {
        kinds: kinds.collect(),
        p50_ttfb_ms: super::figures::quantile(&sums.answered, 0.5),
        p99_ttfb_ms: super::figures::quantile(&sums.answered, 0.99),
    }
}

fn urls(tops: Vec<Top>) -> Vec<Url> {
    let told = |Top { site, url, count }| Url { site, url, count };
    tops.into_iter().map(told).collect()
}

fn volumes(node: &Node) -> Vec<Volume> {
    let Some(disk) = node.tiers.disk() else {
        return Vec::new();
    };
    let volumes = disk.stats().volumes.into_iter();
    volumes
        .map(|it| Volume {
            path: it.path.display().to_string(),
            bytes_max: it.capacity,
            segments: it.segments,
            segments_free: it.segments_free,
            bytes_read: it.bytes_read,
            bytes_written: it.bytes_written,
            evicted: it.evicted,
            refused_busy: it.refused_busy,
            faults: it.faults_read
                + it.faults_write
                + it.faults_removal
                + it.faults_damaged
                + it.faults_slow,
            offline: it.offline,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_checked() {
        let wanted = Wanted::parse("window=300&site=s&rule=r&limit=5").unwrap();
        assert_eq!(wanted.window, Duration::from_secs(300));
        assert_eq!((wanted.site.as_deref(), wanted.listed), (Some("s"), 5));
        for wrong in [
            "window=0",
            "window=3601",
            "window=x",
            "limit=257",
            "other=1",
        ] {
            assert!(Wanted::parse(wrong).is_err(), "{wrong}");
        }
    }
}
