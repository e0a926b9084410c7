//! What is told of a hit that is fresh and in memory, and was found without an exchange for the pipeline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, StatusCode};
use policy::time::Timestamp;

use crate::exchange::{Exchange, Request};
use crate::outcome::{Outcome, Served, Tier};

/// A fresh hit in memory.
#[derive(Debug)]
pub(super) struct Fresh<'a> {
    pub(super) started: Instant,
    pub(super) now: Timestamp,
    pub(super) status: StatusCode,
    /// In seconds, as the age.
    pub(super) ttl: u64,
    pub(super) age: u64,
    pub(super) content_type: Option<&'a HeaderValue>,
}

impl Fresh<'_> {
    /// The exchange that it ends, which began to be sent at `answered`.
    pub(super) fn exchange(self, request: &Arc<Request>, answered: Instant) -> Exchange {
        Exchange {
            request: Some(Arc::clone(request)),
            outcome: Some(Outcome::Hit {
                ttl: i64::try_from(self.ttl).unwrap_or(i64::MAX),
                served: Served::Fresh,
                tier: Tier::Memory,
            }),
            status: Some(self.status),
            answered: Some(answered),
            age: Some(Duration::from_secs(self.age)),
            content_type: self.content_type.cloned(),
            ..Exchange::new(self.started, self.now)
        }
    }
}
