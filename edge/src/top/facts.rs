//! What a node tells of itself. It comes over the network, and perhaps from a node of another version: what is missing
//! counts as nothing.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

/// What is known of a node at one time.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) stats: Stats,
    /// As they came: for whoever wants JSON.
    pub(super) document: Value,
    /// What the node tells of its origins, where it does.
    pub(super) origins: Option<Value>,
    /// What it tells of its place in the tiers, and of those above it.
    pub(super) tiers: Option<Value>,
    /// What other sizes of the cache would do.
    pub(super) curve: Option<Value>,
    /// What was counted between this answer and the one before.
    pub(super) lately: Option<Lately>,
}

/// `GET /v1/stats`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Stats {
    pub node: String,
    pub version: String,
    pub now: String,
    pub uptime_seconds: u64,
    pub configuration: InForce,
    pub total: Figures,
    pub window: Window,
    pub outcomes: Vec<Named>,
    pub tiers: Vec<Named>,
    pub sites: Vec<Named>,
    pub rules: Vec<OfRule>,
    pub reasons: Vec<OfReason>,
    pub collapsed: u64,
    pub origin: Origin,
    pub top: Tops,
    pub memory: Memory,
    pub disks: Vec<Volume>,
    pub connections: i64,
    pub log_dropped: u64,
}

/// The configuration in force.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct InForce {
    /// How many the node has had.
    pub generation: u64,
    /// For how long it is.
    pub seconds: u64,
}

impl InForce {
    /// For how long it is, where it is not the one of the start.
    pub(super) fn reloaded(&self) -> Option<Duration> {
        (self.generation > 1).then(|| Duration::from_secs(self.seconds))
    }
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Figures {
    pub requests: u64,
    pub counted: u64,
    pub cached: u64,
    pub errors: u64,
    pub bytes: u64,
    pub origin_requests: u64,
    pub origin_bytes: u64,
    pub requests_per_second: f64,
    pub bytes_per_second: f64,
    pub origin_requests_per_second: f64,
    pub hit_ratio: Option<f64>,
    pub byte_hit_ratio: Option<f64>,
    pub offload: Option<f64>,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Window {
    pub seconds: f64,
    #[serde(flatten)]
    pub figures: Figures,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Named {
    pub name: String,
    #[serde(flatten)]
    pub figures: Figures,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct OfRule {
    pub site: String,
    pub rule: String,
    #[serde(flatten)]
    pub figures: Figures,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct OfReason {
    pub reason: String,
    pub requests: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Origin {
    pub kinds: Vec<Kind>,
    pub p50_ttfb_ms: Option<f64>,
    pub p99_ttfb_ms: Option<f64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Kind {
    pub kind: String,
    pub requests: u64,
    pub bytes: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Tops {
    pub misses: Vec<Url>,
    pub bytes: Vec<Url>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Url {
    pub site: String,
    pub url: String,
    pub count: u64,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Memory {
    pub objects: u64,
    pub bytes: u64,
    pub bytes_max: u64,
    pub in_flight_bytes: u64,
    pub evictions: u64,
    pub rejected: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Volume {
    pub path: String,
    pub bytes_max: u64,
    pub segments: u64,
    pub segments_free: u64,
    pub bytes_read: u64,
    pub bytes_written: u64,
    pub evicted: u64,
    pub faults: u64,
    pub offline: bool,
}

/// What was counted between two answers, each second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lately {
    pub requests_per_second: f64,
}

impl Facts {
    /// What these answers say.
    ///
    /// # Errors
    /// A sentence, where they are no answers of a node.
    pub(super) fn read(document: Value) -> Result<Self, String> {
        let stats = Stats::deserialize(&document)
            .map_err(|error| format!("the node's figures make no sense: {error}"))?;
        Ok(Self {
            stats,
            document,
            ..Self::default()
        })
    }

    /// Everything that came, as one document.
    pub(super) fn json(&self) -> Value {
        serde_json::json!({
            "stats": self.document,
            "origins": self.origins,
            "tiers": self.tiers,
            "curve": self.curve,
        })
    }

    /// Works out what came since `before`.
    pub(super) fn since(mut self, before: Option<&Self>) -> Self {
        self.lately = before.and_then(|before| lately(&before.stats, &self.stats));
        self
    }

    /// The rate of requests: that of the moment where it is known, else that of the window.
    pub(super) fn rate(&self) -> f64 {
        let lately = self.lately.map(|it| it.requests_per_second);
        lately.unwrap_or(self.stats.window.figures.requests_per_second)
    }
}

/// None where the node began anew, or its clock stood still.
fn lately(before: &Stats, now: &Stats) -> Option<Lately> {
    let requests = now.total.requests.checked_sub(before.total.requests)?;
    let time = |stats: &Stats| stats.now.parse::<jiff::Timestamp>().ok();
    let passed = time(now)?.duration_since(time(before)?);
    let passed = Duration::try_from(passed).ok().filter(|it| !it.is_zero())?;
    Some(Lately {
        requests_per_second: float(requests) / passed.as_secs_f64(),
    })
}

/// Near enough for a screen.
#[expect(
    clippy::cast_precision_loss,
    reason = "more than 53 bits are shown as three digits"
)]
pub(super) const fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_missing_counts_as_nothing() {
        let facts = Facts::read(json!({ "window": { "requests": 3 }, "new": 1 })).unwrap();
        assert_eq!(facts.stats.window.figures.requests, 3);
        assert_eq!(facts.stats.window.figures.hit_ratio, None);
        assert!(Facts::read(json!({ "sites": 3 })).is_err());
    }

    #[test]
    fn the_rate_is_that_between_two_answers() {
        let at = |now: &str, requests: u64| {
            let total = json!({ "requests": requests });
            Facts::read(json!({ "now": now, "total": total })).unwrap()
        };
        let before = at("2026-01-01T00:00:00.000Z", 100);
        #[track_caller]
        fn check(before: &Facts, now: Facts, rate: Option<f64>) {
            let found = now.since(Some(before)).lately;
            assert_eq!(found.map(|it| it.requests_per_second), rate);
        }
        check(&before, at("2026-01-01T00:00:02.000Z", 300), Some(100.0));
        check(&before, at("2026-01-01T00:00:00.000Z", 300), None);
        check(&before, at("2026-01-01T00:00:02.000Z", 1), None);
        check(&before, at("yesterday", 300), None);
    }
}
