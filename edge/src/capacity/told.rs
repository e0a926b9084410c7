//! `GET /v1/curve` and the metrics of it.

use serde::{Deserialize, Serialize};
use storage::Eviction;
use storage::curve::{Change, Curve, Estimate, Measured, OBJECTS_MIN};

/// Whether something is told of other sizes, and why not.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// What is on the disks is being read back.
    Reading,
    /// There were no requests yet.
    NoRequests,
    /// Too few objects have been sampled.
    FewObjects,
    /// There are estimates.
    Told,
}

/// What other sizes would do.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Told {
    /// Whether there are estimates, and why not.
    pub state: State,
    /// The share of the requests that were answered from what is stored, lately; none if there were no requests.
    pub request_hit_ratio: Option<f64>,
    /// The share of the content bytes that came from what is stored.
    pub byte_hit_ratio: Option<f64>,
    /// Requests that the ratios are of.
    pub requests: u64,
    /// The share of small responses that is sampled; long ones are sampled more often.
    pub sampling_rate: f64,
    /// Objects that the estimates rest on.
    pub sampled_objects: u64,
    /// Below so many, nothing is estimated.
    pub sampled_objects_min: u64,
    /// Sampled requests that were looked at since the node was started.
    pub sampled_requests: u64,
    /// Sampled requests that were not looked at because there were too many at once.
    pub lost: u64,
    /// What each change would do.
    pub points: Vec<Point>,
    /// The changes of which nothing can be said yet: other disks, after a start with one that was in use. What they
    /// would have kept from before is not known.
    pub filling: Vec<Filling>,
}

/// A change of which nothing can be said before its shadow has taken what it lacks.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Filling {
    /// What would be changed: `disk`.
    pub change: String,
    /// So many times the present size.
    pub factor: f64,
    /// How much of that it has taken, from 0 to 1.
    pub filled: f64,
}

/// What a change would do.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Point {
    /// What would be changed: `memory`, `disk` or `policy`.
    pub change: String,
    /// So many times the present size; 1 where the policy is changed.
    pub factor: f64,
    /// The policy that would be used.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub policy: Option<String>,
    /// The request hit ratio that there would be.
    pub request_hit_ratio: f64,
    /// In 95 of 100 cases it is not farther off than this.
    pub request_hit_ratio_error: f64,
    /// The byte hit ratio that there would be.
    pub byte_hit_ratio: f64,
    /// In 95 of 100 cases it is not farther off than this.
    pub byte_hit_ratio_error: f64,
}

impl Told {
    pub(super) fn new(curve: &Curve, measured: &Measured) -> Self {
        let part = |some: u64, all: u64| (all > 0).then(|| some as f64 / all as f64);
        let points: Vec<Point> = curve
            .points(measured)
            .into_iter()
            .map(Point::from)
            .collect();
        let state = match (measured.requests, curve.objects()) {
            (0, _) => State::NoRequests,
            (_, ..OBJECTS_MIN) => State::FewObjects,
            _ => State::Told,
        };
        Self {
            state,
            request_hit_ratio: part(measured.hits, measured.requests),
            byte_hit_ratio: part(measured.hit_bytes, measured.bytes),
            requests: measured.requests,
            sampling_rate: curve.sampler().rate(),
            sampled_objects: curve.objects() as u64,
            sampled_objects_min: OBJECTS_MIN as u64,
            sampled_requests: 0,
            lost: 0,
            points,
            filling: curve.untold().into_iter().map(Filling::from).collect(),
        }
    }

    /// The same, while it is not known what the shadows begin with.
    pub(super) fn before_the_beginning(self) -> Self {
        Self {
            state: State::Reading,
            sampling_rate: 0.0,
            points: Vec::new(),
            filling: Vec::new(),
            ..self
        }
    }
}

/// A change as it is told.
struct Named {
    change: &'static str,
    factor: f64,
    policy: Option<&'static str>,
}

impl From<Change> for Named {
    fn from(change: Change) -> Self {
        let (change, factor, policy) = match change {
            Change::Memory(factor) => ("memory", factor, None),
            Change::Disk(factor) => ("disk", factor, None),
            Change::Policy(Eviction::Lru) => ("policy", 1.0, Some("lru")),
            Change::Policy(Eviction::SampledGdsf) => ("policy", 1.0, Some("gdsf")),
        };
        Self {
            change,
            factor,
            policy,
        }
    }
}

impl From<(Change, f64)> for Filling {
    fn from((change, filled): (Change, f64)) -> Self {
        let Named { change, factor, .. } = change.into();
        Self {
            change: change.to_owned(),
            factor,
            filled,
        }
    }
}

impl From<storage::curve::Point> for Point {
    fn from(point: storage::curve::Point) -> Self {
        let storage::curve::Point {
            change,
            requests,
            bytes,
        } = point;
        let Named {
            change,
            factor,
            policy,
        } = change.into();
        let Estimate { ratio, error } = requests;
        Self {
            change: change.to_owned(),
            factor,
            policy: policy.map(str::to_owned),
            request_hit_ratio: ratio,
            request_hit_ratio_error: error,
            byte_hit_ratio: bytes.ratio,
            byte_hit_ratio_error: bytes.error,
        }
    }
}
