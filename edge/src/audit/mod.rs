//! What was refused: told in the log, and kept for whoever asks later.

mod rate;
mod trail;

use std::path::Path;
use std::time::Instant;

use purge_api::{Refusal, RefusedRequest};

use rate::Rate;
use trail::Trail;

/// The audit trail of refusals.
#[derive(Debug)]
pub(crate) struct Audit {
    rate: Rate,
    trail: Trail,
}

impl Audit {
    /// Opens the trail in a folder, and reads what is in it. Without a folder, it ends with the process.
    pub(crate) fn open(folder: Option<&Path>) -> Self {
        Self {
            rate: Rate::default(),
            trail: Trail::open(folder),
        }
    }

    /// Something was refused. In a flood, only some of it is kept, and how much was left out.
    pub(crate) fn refused(&self, refusal: &Refusal<'_>, at: String, now: Instant) {
        let Some(silenced) = self.rate.line(now) else {
            return;
        };
        let refused = RefusedRequest::new(refusal, at, silenced);
        tracing::warn!(
            by = refused.by.as_deref().unwrap_or("-"),
            client = %refused.client,
            method = refused.method,
            path = ?refused.path,
            code = refused.code,
            detail = ?refused.detail,
            silenced,
            "refused"
        );
        self.trail.keep(refused);
    }

    /// The last refusals, the newest first.
    pub(crate) fn last(
        &self,
        most: usize,
        sees: &dyn Fn(&RefusedRequest) -> bool,
    ) -> Vec<RefusedRequest> {
        self.trail.last(most, sees)
    }
}
