//! Requests in figures: what was counted, and the ratios of it. The definition is in OBSERVING.md.

use serde::Serialize;

use crate::metrics::{BUCKETS, DURATIONS, Durations, OfOrigin, Row, to_float};
use crate::outcome::Word;

/// What was counted of some requests.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    requests: u64,
    counted: u64,
    cached: u64,
    bytes: u64,
    counted_bytes: u64,
    cached_bytes: u64,
    errors: u64,
    origin_requests: u64,
    origin_bytes: u64,
    took: Durations,
}

impl Counts {
    pub(super) fn add(&mut self, row: &Row) {
        self.requests += row.requests;
        self.bytes += row.bytes;
        self.took.add(&row.took);
        if row.word == Word::Error {
            self.errors += row.requests;
        }
        if row.word.counts() {
            self.counted += row.requests;
            self.counted_bytes += row.bytes;
            self.cached_bytes += row.cached;
        }
        if row.word.is_cached() {
            self.cached += row.requests;
        }
    }

    pub(super) fn add_origin(&mut self, origin: &OfOrigin) {
        for (requests, bytes) in origin.asked {
            self.origin_requests += requests;
            self.origin_bytes += bytes;
        }
    }

    pub(super) const fn requests(&self) -> u64 {
        self.requests
    }

    /// With ratios, and with rates over so many seconds.
    pub(super) fn told(&self, seconds: f64) -> Figures {
        let part = |some: u64, all: u64| (all > 0).then(|| to_float(some) / to_float(all));
        let rate = |count: u64| match seconds > 0.0 {
            true => to_float(count) / seconds,
            false => 0.0,
        };
        Figures {
            requests: self.requests,
            counted: self.counted,
            cached: self.cached,
            errors: self.errors,
            bytes: self.bytes,
            counted_bytes: self.counted_bytes,
            cached_bytes: self.cached_bytes,
            origin_requests: self.origin_requests,
            origin_bytes: self.origin_bytes,
            requests_per_second: rate(self.requests),
            bytes_per_second: rate(self.bytes),
            origin_requests_per_second: rate(self.origin_requests),
            hit_ratio: part(self.cached, self.counted),
            byte_hit_ratio: part(self.cached_bytes, self.counted_bytes),
            offload: part(self.origin_bytes, self.bytes).map(|part| 1.0 - part),
            p50_ms: quantile(&self.took, 0.5),
            p99_ms: quantile(&self.took, 0.99),
        }
    }
}

/// Some requests in figures.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Figures {
    requests: u64,
    /// Those that the cache could have answered: the denominator of the hit ratio.
    counted: u64,
    /// Those that what is stored answered.
    cached: u64,
    errors: u64,
    bytes: u64,
    counted_bytes: u64,
    cached_bytes: u64,
    origin_requests: u64,
    origin_bytes: u64,
    requests_per_second: f64,
    bytes_per_second: f64,
    origin_requests_per_second: f64,
    /// None where nothing counts.
    hit_ratio: Option<f64>,
    byte_hit_ratio: Option<f64>,
    offload: Option<f64>,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

/// The duration that this part of the requests did not exceed, in milliseconds: on a straight line between the bounds of
/// its bucket. None if there were none.
pub(super) fn quantile(durations: &Durations, part: f64) -> Option<f64> {
    let all = durations.count();
    if all == 0 {
        return None;
    }
    let wanted = part * to_float(all);
    let mut below = 0;
    for at in 0..BUCKETS {
        let here = durations.buckets[at];
        if to_float(below + here) < wanted || here == 0 {
            below += here;
            continue;
        }
        let low = at.checked_sub(1).map_or(0.0, |at| DURATIONS[at]);
        // Beyond the last bound there is no other.
        let high = DURATIONS.get(at).copied().unwrap_or(low);
        let inside = (wanted - to_float(below)) / to_float(here);
        return Some((low + (high - low) * inside.clamp(0.0, 1.0)) * 1000.0);
    }
    DURATIONS.last().map(|last| last * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn durations(counts: &[(usize, u64)]) -> Durations {
        let mut durations = Durations::default();
        counts
            .iter()
            .for_each(|(at, count)| durations.buckets[*at] = *count);
        durations
    }

    #[track_caller]
    fn check(counts: &[(usize, u64)], part: f64, expected: Option<f64>) {
        let found = quantile(&durations(counts), part);
        let near = match (found, expected) {
            (Some(found), Some(expected)) => (found - expected).abs() < 1e-9,
            (found, expected) => found == expected,
        };
        assert!(near, "{found:?} {expected:?}");
    }

    #[test]
    #[rustfmt::skip]
    fn a_quantile_lies_within_its_bucket() {
        check(&[],                    0.5,  None);
        check(&[(0, 10)],             0.5,  Some(0.05));
        check(&[(0, 10)],             1.0,  Some(0.1));
        check(&[(0, 50), (3, 50)],    0.5,  Some(0.1));
        check(&[(0, 50), (3, 50)],    0.75, Some(0.75));
        check(&[(BUCKETS - 1, 1)],    0.99, Some(30_000.0));
    }

    #[test]
    fn ratios_of_nothing_are_none() {
        let figures = Counts::default().told(10.0);
        assert_eq!((figures.hit_ratio, figures.offload), (None, None));
        assert!(figures.requests_per_second.abs() < f64::EPSILON);
    }
}
