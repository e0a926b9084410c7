//! The last hour, in memory: every ten seconds of the last ten minutes, every minute before.
//!
//! It is made of what the counters said at the end of each slot: a request costs nothing for it.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use parking_lot::Mutex;
use policy::time::Timestamp;

use crate::metrics::{OTHER, OfOrigin, Requests, Row};
use crate::outcome::Reason;

/// How long a slot of the last minutes is.
const SHORT: Duration = Duration::from_secs(10);
/// So many of them are kept: ten minutes.
const SHORT_MAX: usize = 60;
/// So many short slots become a long one.
const MERGED: usize = 6;
/// So many long ones are kept: with the short ones, an hour.
const LONG_MAX: usize = 50;
/// Rules of sites that one slot tells apart. Where there are more, those with most requests are told apart, and the others of
/// a site are one; where there are more sites than this, so are those with fewest requests.
pub(super) const RULES_MAX: usize = 256;

/// What was counted of the requests for one rule of a site.
#[derive(Clone, Debug)]
pub(super) struct OfRule {
    /// The number of the tally that counted it.
    of: u64,
    pub site: Box<str>,
    pub rule: Box<str>,
    pub rows: Vec<Row>,
    pub reasons: Vec<(Reason, u64)>,
    pub collapsed: u64,
    pub origin: OfOrigin,
}

/// What was counted in some time.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub from: Timestamp,
    pub to: Timestamp,
    pub rules: Vec<OfRule>,
}

impl Slot {
    /// In seconds.
    pub(super) fn length(&self) -> f64 {
        self.to.since(self.from).as_secs_f64()
    }
}

#[derive(Debug)]
pub(crate) struct History(Mutex<State>);

#[derive(Debug)]
struct State {
    /// What the counters said when the last slot ended.
    last: Vec<OfRule>,
    ended: Timestamp,
    short: VecDeque<Slot>,
    long: VecDeque<Slot>,
}

impl OfRule {
    fn requests(&self) -> u64 {
        self.rows.iter().map(|row| row.requests).sum()
    }

    fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.reasons.is_empty() && self.origin.is_nothing()
    }

    /// What came since `before`, which counted the same.
    fn since(&self, before: Option<&Self>) -> Self {
        let mut new = self.clone();
        let Some(before) = before else {
            return new;
        };
        for row in &mut new.rows {
            let same = before.rows.iter().find(|it| it.is_like(row));
            if let Some(same) = same {
                row.subtract(same);
            }
        }
        new.rows.retain(|row| row.requests > 0);
        for (reason, count) in &mut new.reasons {
            let same = before.reasons.iter().find(|(it, _)| it == reason);
            *count -= same.map_or(0, |(_, count)| *count);
        }
        new.reasons.retain(|(_, count)| *count > 0);
        new.collapsed -= before.collapsed;
        new.origin.subtract(&before.origin);
        new
    }

    pub(super) fn add(&mut self, other: &Self) {
        for row in &other.rows {
            match self.rows.iter_mut().find(|it| it.is_like(row)) {
                Some(same) => same.add(row),
                None => self.rows.push(*row),
            }
        }
        for (reason, count) in &other.reasons {
            match self.reasons.iter_mut().find(|(it, _)| it == reason) {
                Some((_, sum)) => *sum += count,
                None => self.reasons.push((*reason, *count)),
            }
        }
        self.collapsed += other.collapsed;
        self.origin.add(&other.origin);
    }
}

/// Adds up what was counted under the same names.
fn join(into: &mut Vec<OfRule>, rule: OfRule) {
    let mut known = into.iter_mut();
    match known.find(|it| it.site == rule.site && it.rule == rule.rule) {
        Some(same) => same.add(&rule),
        None => into.push(rule),
    }
}

/// Those with most requests as they are, the others as one for each site, or for all.
fn bounded(mut rules: Vec<OfRule>) -> Vec<OfRule> {
    if rules.len() <= RULES_MAX {
        return rules;
    }
    let sites: HashSet<_> = rules.iter().map(|rule| &rule.site).collect();
    let kept = RULES_MAX.saturating_sub(sites.len());
    rules.sort_by_key(|rule| std::cmp::Reverse(rule.requests()));
    let mut others: HashMap<Box<str>, OfRule> = HashMap::new();
    for mut rule in rules.split_off(kept) {
        rule.rule = OTHER.into();
        match others.entry(rule.site.clone()) {
            Entry::Occupied(mut same) => same.get_mut().add(&rule),
            Entry::Vacant(first) => drop(first.insert(rule)),
        }
    }
    others
        .into_values()
        .for_each(|other| join(&mut rules, other));
    if rules.len() <= RULES_MAX {
        return rules;
    }
    rules.sort_by_key(|rule| std::cmp::Reverse(rule.requests()));
    for mut other in rules.split_off(RULES_MAX - 1) {
        other.site = OTHER.into();
        join(&mut rules, other);
    }
    rules
}

fn merged(slots: impl Iterator<Item = Slot>) -> Option<Slot> {
    slots.reduce(|mut sum, slot| {
        sum.to = slot.to;
        slot.rules
            .into_iter()
            .for_each(|rule| join(&mut sum.rules, rule));
        sum.rules = bounded(std::mem::take(&mut sum.rules));
        sum
    })
}

/// What the counters say now.
fn snapshot(requests: &Requests) -> Vec<OfRule> {
    let mut all = Vec::new();
    requests.each(|tally, [site, rule]| {
        all.push(OfRule {
            of: tally.number,
            site: site.into(),
            rule: rule.into(),
            rows: tally.rows().collect(),
            reasons: tally.reasons().collect(),
            collapsed: tally.collapsed(),
            origin: tally.of_origin().unwrap_or_default(),
        });
    });
    all
}

/// The tallies of both are mostly the same, in the same order: a reload may have added some at the end, or taken some away.
fn difference(now: &[OfRule], before: &[OfRule]) -> Vec<OfRule> {
    let pairs = now.iter().enumerate();
    let new = pairs.map(|(number, rule)| {
        let is_same = |it: &&OfRule| it.of == rule.of;
        let there = before.get(number).filter(is_same);
        rule.since(there.or_else(|| before.iter().find(is_same)))
    });
    let mut joined = Vec::new();
    new.filter(|rule| !rule.is_empty())
        .for_each(|rule| match &*rule.site == OTHER {
            true => join(&mut joined, rule),
            false => joined.push(rule),
        });
    bounded(joined)
}

impl History {
    pub(super) fn new(now: Timestamp) -> Self {
        Self(Mutex::new(State {
            last: Vec::new(),
            ended: now,
            short: VecDeque::new(),
            long: VecDeque::new(),
        }))
    }

    /// Ends the slot, if its time is over.
    pub(super) fn tick(&self, requests: &Requests, now: Timestamp) {
        let mut state = self.0.lock();
        if now.since(state.ended) < SHORT {
            return;
        }
        let all = snapshot(requests);
        let slot = Slot {
            from: state.ended,
            to: now,
            rules: difference(&all, &state.last),
        };
        state.last = all;
        state.ended = now;
        state.short.push_back(slot);
        if state.short.len() > SHORT_MAX {
            let old = state.short.drain(..MERGED);
            let old = merged(old);
            state.long.extend(old);
        }
        let surplus = state.long.len().saturating_sub(LONG_MAX);
        state.long.drain(..surplus);
    }

    /// The slots that end after `since`, oldest first; the last one is still going on.
    pub(super) fn slots(&self, requests: &Requests, since: Timestamp, now: Timestamp) -> Vec<Slot> {
        let state = self.0.lock();
        let open = Slot {
            from: state.ended,
            to: now,
            rules: difference(&snapshot(requests), &state.last),
        };
        let kept = state.long.iter().chain(&state.short);
        let kept = kept.filter(|slot| slot.to > since).cloned();
        kept.chain([open]).collect()
    }

    /// All since the start.
    pub(super) fn totals(requests: &Requests) -> Vec<OfRule> {
        difference(&snapshot(requests), &[])
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::metrics::{Asked, Counted, Tally};
    use crate::outcome::{Tier, Word};

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_millis(seconds * 1000)
    }

    fn hit(bytes: u64) -> Counted {
        Counted {
            word: Word::Hit,
            tier: Some(Tier::Memory),
            bytes,
            cached: bytes,
            took: Duration::from_millis(1),
            waited: None,
            reason: None,
            collapsed: false,
        }
    }

    fn requests(slots: &[Slot]) -> Vec<u64> {
        let of = |slot: &Slot| slot.rules.iter().map(OfRule::requests).sum();
        slots.iter().map(of).collect()
    }

    #[test]
    fn a_slot_has_what_came_in_it_and_nothing_is_lost_when_slots_are_merged() {
        let tally = Arc::new(Tally::new("s", "-"));
        let counters = Requests::new().unwrap();
        counters.watch([Arc::clone(&tally)]);
        let history = History::new(at(0));
        for second in 1..=3600 {
            tally.request(&hit(10));
            tally.asked(Asked::Fill);
            history.tick(&counters, at(second));
        }
        let hour = history.slots(&counters, at(0), at(3600));
        assert_eq!(requests(&hour).iter().sum::<u64>(), 3600);
        assert!(hour.len() <= LONG_MAX + SHORT_MAX + 1);
        let minute = history.slots(&counters, at(3540), at(3600));
        assert_eq!(requests(&minute), [10, 10, 10, 10, 10, 10, 0]);
        let origin: u64 = minute
            .iter()
            .map(|slot| slot.rules.first().map_or(0, |it| it.origin.asked[0].0))
            .sum();
        assert_eq!(origin, 60);
        tally.request(&hit(10));
        let open = history.slots(&counters, at(3600), at(3605));
        assert_eq!(requests(&open), [1], "what goes on is told, too");
    }

    #[test]
    fn what_lies_an_hour_back_is_forgotten() {
        let counters = Requests::new().unwrap();
        let history = History::new(at(0));
        (1..20_000).for_each(|second| history.tick(&counters, at(second)));
        let state = history.0.lock();
        assert!(state.long.len() <= LONG_MAX && state.short.len() <= SHORT_MAX);
        assert!(state.long[0].from >= at(20_000 - 3_700));
    }

    #[test]
    fn two_hundred_sites_are_told_apart_whatever_rules_they_have() {
        let counters = Requests::new().unwrap();
        let tallies: Vec<_> = (0..600)
            .map(|number| {
                let (site, rule) = (format!("s{}", number / 3), format!("r{}", number % 3));
                Arc::new(Tally::new(&site, &rule))
            })
            .collect();
        counters.watch(tallies.iter().cloned());
        tallies.iter().for_each(|tally| tally.request(&hit(1)));
        (0..9).for_each(|_| tallies[100].request(&hit(1)));
        let history = History::new(at(0));
        let slots = history.slots(&counters, at(0), at(10));
        let rules = &slots[0].rules;
        assert!(rules.len() <= RULES_MAX);
        let sites: HashSet<_> = rules.iter().map(|rule| &*rule.site).collect();
        assert_eq!(sites.len(), 200);
        assert_eq!(requests(&slots)[0], 609);
        let busiest = (&*rules[0].site, &*rules[0].rule);
        assert_eq!(busiest, ("s33", "r1"), "those with most stay");
    }

    #[test]
    fn many_sites_are_told_as_one() {
        let counters = Requests::new().unwrap();
        let tallies: Vec<_> = (0..RULES_MAX + 50)
            .map(|number| Arc::new(Tally::new(&format!("s{number}"), "-")))
            .collect();
        counters.watch(tallies.iter().cloned());
        tallies.iter().for_each(|tally| tally.request(&hit(1)));
        tallies[60].request(&hit(1));
        let history = History::new(at(0));
        history.tick(&counters, at(10));
        let slots = history.slots(&counters, at(0), at(10));
        assert_eq!(slots[0].rules.len(), RULES_MAX);
        assert_eq!(requests(&slots)[0], (RULES_MAX + 51) as u64);
        assert_eq!(&*slots[0].rules[0].site, "s60", "those with most stay");
    }
}
