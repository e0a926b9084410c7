//! What the shadows have missed, and what follows from it.

use super::sample::Sampled;
use super::{CHANGES, PRESENT};

/// The sampled keys are counted in this many groups, to see how far a statement depends on which keys they are. Those
/// that any sample would have are in one more.
const GROUPS: usize = 16;
const CERTAIN: usize = GROUPS;

/// Student's t for 95 % and one less than the groups.
const T95: f64 = 2.13;

/// What an estimate may be wrong by beside the choice of keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doubt {
    /// The share of small keys that were not sampled.
    pub unsampled: f64,
    /// The error of the shadows themselves, as a share.
    pub model: f64,
}

/// A hit ratio, as a share from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The most likely value.
    pub ratio: f64,
    /// In 95 of 100 cases it is not farther off than this.
    pub error: f64,
}

/// What was measured of all requests.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// Requests.
    pub requests: u64,
    /// Those answered from what is stored.
    pub hits: u64,
    /// Bytes of their responses.
    pub bytes: u64,
    /// Those of hits.
    pub hit_bytes: u64,
    /// Requests that were no hit, and might be one in another cache: what could be stored was fetched for them.
    pub misses: u64,
    /// Bytes of their responses.
    pub missed_bytes: u64,
}

/// Counts of this window and of the one before.
#[derive(Debug, Default)]
pub(super) struct Tally {
    windows: [Window; 2],
}

type Window = [Group; GROUPS + 1];

#[derive(Clone, Copy, Debug, Default)]
struct Group {
    requests: [f64; CHANGES],
    bytes: [f64; CHANGES],
}

impl Tally {
    /// Counts a request that stands for others, as its chance says.
    pub(super) fn count(&mut self, sampled: &Sampled, chance: f64, hits: &[bool; CHANGES]) {
        let group = match chance < 1.0 {
            true => (sampled.name >> 48) as usize % GROUPS,
            false => CERTAIN,
        };
        let group = &mut self.windows[0][group];
        let stands_for = 1.0 / chance;
        for (change, hit) in hits.iter().enumerate() {
            if !hit {
                group.requests[change] += stands_for;
                group.bytes[change] += stands_for * sampled.bytes as f64;
            }
        }
    }

    pub(super) fn turn(&mut self) {
        self.windows.swap(0, 1);
        self.windows[0] = Window::default();
    }

    #[cfg(test)]
    pub(super) fn missed(&self, change: usize) -> f64 {
        let groups = self.windows.iter().flatten();
        groups.map(|group| group.requests[change]).sum()
    }

    /// What a change makes of the ratios of requests and of bytes; none where nothing is known.
    pub(super) fn estimate(
        &self,
        change: usize,
        measured: &Measured,
        doubt: Doubt,
    ) -> Option<(Estimate, Estimate)> {
        let groups: Vec<Group> = self.windows.iter().flatten().copied().collect();
        let missed = |of: fn(&Group) -> &[f64; CHANGES]| Missed {
            changed: sums(&groups, |group| of(group)[change]),
            present: sums(&groups, |group| of(group)[PRESENT]),
        };
        let part = |some: u64, all: u64| (all > 0).then(|| some as f64 / all as f64);
        let requests = Shares {
            hit: part(measured.hits, measured.requests)?,
            missed: part(measured.misses, measured.requests)?,
        };
        let bytes = Shares {
            hit: part(measured.hit_bytes, measured.bytes)?,
            missed: part(measured.missed_bytes, measured.bytes)?,
        };
        Some((
            missed(|group| &group.requests).estimate(requests, doubt)?,
            missed(|group| &group.bytes).estimate(bytes, doubt)?,
        ))
    }
}

/// Shares of what was measured.
#[derive(Clone, Copy, Debug)]
struct Shares {
    hit: f64,
    /// Of what another cache might have had.
    missed: f64,
}

/// By group, over both windows.
fn sums(groups: &[Group], of: impl Fn(&Group) -> f64) -> Sums {
    let mut sums = [0.0; GROUPS + 1];
    for (number, group) in groups.iter().enumerate() {
        sums[number % (GROUPS + 1)] += of(group);
    }
    Sums(sums)
}

struct Sums([f64; GROUPS + 1]);

impl Sums {
    fn all(&self) -> f64 {
        self.0.iter().sum()
    }

    /// As it would be if a group had not been sampled.
    fn without(&self, group: usize) -> f64 {
        let certain = self.0[CERTAIN];
        let rest = self.all() - certain - self.0[group];
        certain + rest * GROUPS as f64 / (GROUPS - 1) as f64
    }
}

/// What was missed with a change and without, by group.
struct Missed {
    changed: Sums,
    present: Sums,
}

impl Missed {
    /// The ratio, given what was measured without the change; and how far the choice of keys matters, by leaving
    /// out each of the groups in turn (the jackknife; Tukey 1958).
    fn estimate(&self, measured: Shares, doubt: Doubt) -> Option<Estimate> {
        let present = self.present.all();
        if present <= 0.0 {
            return (measured.missed <= 0.0).then_some(Estimate {
                ratio: measured.hit,
                error: doubt.model,
            });
        }
        let without = |group| {
            let rest = self.present.without(group);
            (rest > 0.0).then(|| self.changed.without(group) / rest)
        };
        let leaving_out: Vec<f64> = (0..GROUPS).filter_map(without).collect();
        let count = leaving_out.len() as f64;
        let mean = leaving_out.iter().sum::<f64>() / count;
        let squares = leaving_out.iter().map(|it| (it - mean).powi(2));
        // What was sampled of all is known, and does not vary.
        let variance = squares.sum::<f64>() * (count - 1.0) / count * doubt.unsampled;
        Some(Estimate {
            ratio: (measured.hit + measured.missed * (1.0 - self.changed.all() / present))
                .clamp(0.0, 1.0),
            error: T95 * variance.sqrt() * measured.missed + doubt.model,
        })
    }
}
