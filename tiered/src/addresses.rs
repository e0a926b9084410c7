//! The addresses of one upstream: which of them may be tried, and in which order.
//!
//! One that fails is left alone for a while, as long as there is another one: a name is as well as the best of its
//! addresses.

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::health::{Change, Health, HealthSettings, Standing};
use crate::moment::Moment;

/// Addresses of which something is known. Beyond it, what is known of others is forgotten.
const KNOWN_MAX: usize = 64;

/// What is known of the addresses of one upstream.
#[derive(Debug, Default)]
pub struct Addresses {
    /// The one that was reached last.
    good: Option<SocketAddr>,
    known: HashMap<SocketAddr, Health>,
    turns: u64,
}

impl Addresses {
    /// Those of `found` that may be tried, the one that was reached last first, and those on trial last; all, where
    /// none may.
    #[must_use]
    pub fn order(&self, found: &[SocketAddr], now: Moment) -> Vec<SocketAddr> {
        let rank = |address: &SocketAddr| match self.standing(*address, now) {
            Standing::Up { .. } if self.good == Some(*address) => Some(0),
            Standing::Up { .. } => Some(1),
            Standing::Trial => Some(2),
            Standing::Out(_) => None,
        };
        let mut fit: Vec<_> = found.iter().filter(|it| rank(it).is_some()).collect();
        // It is a stable sort: within a rank, the order is that of `found`.
        fit.sort_by_key(|address| rank(address));
        match fit.is_empty() {
            true => found.to_vec(),
            false => fit.into_iter().copied().collect(),
        }
    }

    /// They are not probed any more.
    pub fn forget_probes(&mut self) {
        self.known.values_mut().for_each(Health::forget_probes);
    }

    /// Whether an address may be tried without a doubt.
    #[must_use]
    pub fn is_fit(&self, address: SocketAddr, now: Moment) -> bool {
        matches!(self.standing(address, now), Standing::Up { .. })
    }

    /// What may be done with an address.
    #[must_use]
    pub fn standing(&self, address: SocketAddr, now: Moment) -> Standing {
        let unknown = Standing::Up {
            since: Moment::default(),
        };
        let known = self.known.get(&address);
        known.map_or(unknown, |health| health.standing(now))
    }

    /// How often an address went out or came back. Connections from before such a turn may lead to one that is out.
    #[must_use]
    pub const fn turns(&self) -> u64 {
        self.turns
    }

    /// A request goes there. Where a trial is due, it is this one.
    pub fn begin(&mut self, address: SocketAddr, now: Moment) {
        if let Some(health) = self.known.get_mut(&address) {
            health.begin(now);
        }
    }

    /// A connection was made to it.
    pub const fn reached(&mut self, address: SocketAddr) {
        self.good = Some(address);
    }

    /// A response came from it.
    pub fn answered(&mut self, address: SocketAddr, now: Moment) -> Option<Change> {
        // Nothing is known of most.
        let health = self.known.get_mut(&address)?;
        health.begin(now);
        let change = health.succeeded(now);
        self.turned(change)
    }

    /// It could not be reached, or gave no response: it is out at once.
    pub fn failed(
        &mut self,
        address: SocketAddr,
        now: Moment,
        settings: &HealthSettings,
    ) -> Option<Change> {
        let settings = HealthSettings {
            failures: 1,
            ..*settings
        };
        let health = self.known(address);
        health.begin(now);
        let change = health.failed(now, &settings);
        self.turned(change)
    }

    /// A probe of it passed, or did not.
    pub fn probed(
        &mut self,
        address: SocketAddr,
        passed: bool,
        (now, settings): (Moment, &HealthSettings),
    ) -> Option<Change> {
        if passed && !self.known.contains_key(&address) {
            return None;
        }
        let health = self.known(address);
        let change = match passed {
            true => health.probe_passed(now, settings),
            false => health.probe_failed(settings),
        };
        self.turned(change)
    }

    fn known(&mut self, address: SocketAddr) -> &mut Health {
        if self.known.len() >= KNOWN_MAX && !self.known.contains_key(&address) {
            self.known.clear();
        }
        self.known.entry(address).or_default()
    }

    fn turned(&mut self, change: Option<Change>) -> Option<Change> {
        self.turns += u64::from(change.is_some());
        change
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SETTINGS: HealthSettings = HealthSettings {
        failures: 3,
        pause: Duration::from_secs(5),
        pause_max: Duration::from_secs(60),
        probes_failed: 2,
        probes_passed: 1,
    };

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    fn found(count: u8) -> Vec<SocketAddr> {
        (0..count)
            .map(|last| SocketAddr::from(([192, 0, 2, last], 80)))
            .collect()
    }

    #[track_caller]
    fn check(addresses: &Addresses, now: Moment, expected: &[usize]) {
        let all = found(3);
        let expected: Vec<_> = expected.iter().map(|index| all[*index]).collect();
        assert_eq!(addresses.order(&all, now), expected);
    }

    #[test]
    fn the_one_that_was_reached_comes_first() {
        let mut addresses = Addresses::default();
        check(&addresses, at(0), &[0, 1, 2]);
        addresses.reached(found(3)[1]);
        check(&addresses, at(0), &[1, 0, 2]);
        assert_eq!(
            addresses.order(&found(1), at(0)),
            found(1),
            "it may be gone"
        );
        assert!(addresses.order(&[], at(0)).is_empty());
    }

    #[test]
    fn one_that_fails_is_left_alone_for_a_while_that_doubles() {
        let (mut addresses, all) = (Addresses::default(), found(3));
        addresses.reached(all[0]);
        assert_eq!(
            addresses.failed(all[0], at(0), &SETTINGS),
            Some(Change::WentOut)
        );
        assert_eq!(addresses.failed(all[0], at(0), &SETTINGS), None);
        check(&addresses, at(4), &[1, 2]);
        assert!(!addresses.is_fit(all[0], at(4)) && addresses.is_fit(all[1], at(4)));
        // It is on trial: the last that is tried, even if it was the first.
        check(&addresses, at(5), &[1, 2, 0]);
        assert_eq!(addresses.failed(all[0], at(5), &SETTINGS), None);
        check(&addresses, at(14), &[1, 2]);
        check(&addresses, at(15), &[1, 2, 0]);
        assert_eq!(addresses.answered(all[0], at(15)), Some(Change::CameBack));
        check(&addresses, at(15), &[0, 1, 2]);
        assert_eq!(addresses.turns(), 2);
        assert_eq!(addresses.answered(all[1], at(15)), None);
    }

    #[test]
    fn where_none_is_fit_all_are_tried() {
        let (mut addresses, all) = (Addresses::default(), found(3));
        for address in &all {
            addresses.failed(*address, at(0), &SETTINGS);
        }
        check(&addresses, at(1), &[0, 1, 2]);
    }

    #[test]
    fn probes_take_one_out_until_they_pass() {
        let (mut addresses, all) = (Addresses::default(), found(3));
        let mut probe =
            |number: usize, passed| addresses.probed(all[number], passed, (at(0), &SETTINGS));
        assert_eq!(probe(0, true), None);
        assert_eq!(
            (probe(2, false), probe(2, false)),
            (None, Some(Change::WentOut))
        );
        assert_eq!(addresses.known.len(), 1);
        check(&addresses, at(1_000), &[0, 1]);
        addresses.probed(all[2], true, (at(1_000), &SETTINGS));
        check(&addresses, at(1_000), &[0, 1, 2]);
    }

    #[test]
    fn what_is_known_is_bounded() {
        let mut addresses = Addresses::default();
        for port in 0..1_000 {
            let address = SocketAddr::from(([192, 0, 2, 1], port));
            addresses.failed(address, at(0), &SETTINGS);
            assert!(addresses.known.len() <= KNOWN_MAX);
        }
    }
}
