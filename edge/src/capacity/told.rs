//! `GET /v1/curve` and the metrics of it.

use serde::{Deserialize, Serialize};
use storage::Eviction;
use storage::curve::{Change, Curve, Estimate, Measured, OBJECTS_MIN};

/// What other sizes would do.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Told {
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
        let points = curve.points(measured).into_iter();
        Self {
            request_hit_ratio: part(measured.hits, measured.requests),
            byte_hit_ratio: part(measured.hit_bytes, measured.bytes),
            requests: measured.requests,
            sampling_rate: curve.sampler().rate(),
            sampled_objects: curve.objects() as u64,
            sampled_objects_min: OBJECTS_MIN as u64,
            sampled_requests: 0,
            lost: 0,
            points: points.map(Point::from).collect(),
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
        let (change, factor, policy) = match change {
            Change::Memory(factor) => ("memory", factor, None),
            Change::Disk(factor) => ("disk", factor, None),
            Change::Policy(Eviction::Lru) => ("policy", 1.0, Some("lru")),
            Change::Policy(Eviction::SampledGdsf) => ("policy", 1.0, Some("gdsf")),
        };
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
