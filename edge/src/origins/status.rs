//! The origins as the admin API shows them, and as `larder origins` prints them.

use std::fmt::Write as _;

use purge_api::{OriginList, OriginStatus};
use serde_json::Value;
use tiered::balance::Role;

use super::{Origin, moment};
use crate::sites::{Site, Sites};

/// All origins of a node.
pub(crate) fn list(sites: &Sites) -> OriginList {
    let origins = sites
        .all()
        .into_iter()
        .flat_map(|site| site.origins.all.iter().map(|origin| status(site, origin)));
    OriginList {
        origins: origins.collect(),
    }
}

fn status(site: &Site, origin: &Origin) -> OriginStatus {
    let now = moment();
    let recent = origin.condition.count(now);
    OriginStatus {
        site: site.name.clone(),
        origin: origin.label.clone(),
        role: match origin.role {
            Role::Primary => "primary",
            Role::Backup => "backup",
        },
        weight: origin.weight,
        state: origin.condition.state(now).as_str(),
        under_way: origin.slots.under_way(),
        waiting: origin.slots.waiting(),
        recent_requests: recent.requests,
        recent_failures: recent.failures,
    }
}

/// The document of `GET /v1/origins`, a line for each.
#[must_use]
pub(crate) fn lines(document: &Value) -> String {
    let mut lines = String::new();
    for origin in document["origins"].as_array().into_iter().flatten() {
        let text = |name: &str| match &origin[name] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        // A string takes everything.
        writeln!(
            lines,
            "{:<16} {:<40} {:<8} {:<8} {} under way, {} waiting, {} of {} failed lately",
            text("site"),
            text("origin"),
            text("role"),
            text("state"),
            text("under_way"),
            text("waiting"),
            text("recent_failures"),
            text("recent_requests"),
        )
        .unwrap_or_default();
    }
    lines
}
