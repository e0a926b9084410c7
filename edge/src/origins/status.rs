//! The origins as the admin API shows them, and as `larder origins` prints them.

use std::fmt::Write as _;
use std::sync::Arc;

use purge_api::{EgressList, EgressStatus, OriginList, OriginStatus};
use serde_json::Value;
use tiered::Moment;
use tiered::balance::Role;

use super::condition::State;
use super::{Origin, moment};
use crate::egress::{Pool, Source};
use crate::sites::{Site, Sites};

/// All origins of a node.
pub(crate) fn list(sites: &Sites) -> OriginList {
    let origins = sites
        .all()
        .into_iter()
        .flat_map(|site| site.origins.all.iter().map(move |it| (site, it)))
        .flat_map(|(site, origin)| rows(site, origin));
    OriginList {
        origins: origins.collect(),
    }
}

/// An origin, and behind it its servers, where records name several or one.
fn rows(site: &Site, origin: &Origin) -> Vec<OriginStatus> {
    let now = moment();
    let whole = status(site, origin, now);
    let servers = origin.addresses.rows(now);
    let best = servers.iter().map(|row| row.state).min();
    let servers = servers.into_iter().map(|row| OriginStatus {
        server: Some(row.server),
        weight: row.weight.into(),
        state: row.state.as_str(),
        under_way: row.under_way,
        waiting: 0,
        recent_requests: row.recent.requests,
        recent_failures: row.recent.failures,
        ..whole.clone()
    });
    let mut rows = vec![whole.clone()];
    rows.extend(servers);
    if best == Some(State::Broken) {
        rows[0].state = State::Broken.as_str();
    }
    rows
}

fn status(site: &Site, origin: &Origin, now: Moment) -> OriginStatus {
    let recent = origin.condition.count(now);
    OriginStatus {
        site: site.name.clone(),
        origin: origin.label.clone(),
        server: None,
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

/// All egress pools of a node.
pub(crate) fn egress(pools: &[Arc<Pool>]) -> EgressList {
    let rows = pools
        .iter()
        .flat_map(|pool| pool.sources.iter().map(|source| row(pool, source)));
    EgressList {
        egress: rows.collect(),
    }
}

fn row(pool: &Pool, source: &Source) -> EgressStatus {
    let ports = source.ports.as_ref();
    EgressStatus {
        pool: pool.name.clone(),
        country: pool.country.clone(),
        purpose: pool.purpose.clone(),
        address: source.address.to_string(),
        ports: ports.map(|ports| (*ports.start(), *ports.end())),
        in_use: source.in_use(),
        limit: source.limit(),
        exhausted: pool.tally.exhausted.get(),
    }
}

/// The document of `GET /v1/egress`, a line for each row.
pub(crate) fn egress_lines(document: &Value) -> String {
    let mut lines = String::new();
    for row in document["egress"].as_array().into_iter().flatten() {
        let ports = match row["ports"].as_array().map(Vec::as_slice) {
            Some([first, last]) => format!("{first}-{last}"),
            _ => "any".to_owned(),
        };
        let of = match &row["limit"] {
            Value::Null => String::new(),
            limit => format!(" of {limit} for each destination"),
        };
        // A string takes everything.
        writeln!(
            lines,
            "{:<16} {:<4} {:<12} {:<40} {ports:<12} {} in use{of}, exhausted {} times",
            text(&row["pool"]),
            text(&row["country"]),
            text(&row["purpose"]),
            text(&row["address"]),
            text(&row["in_use"]),
            text(&row["exhausted"]),
        )
        .unwrap_or_default();
    }
    lines
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

/// The document of `GET /v1/origins`, a line for each.
#[must_use]
pub(crate) fn lines(document: &Value) -> String {
    let mut lines = String::new();
    for origin in document["origins"].as_array().into_iter().flatten() {
        let text = |name: &str| text(&origin[name]);
        let called = match &origin["server"] {
            Value::String(server) => format!("  {server}"),
            _ => text("origin"),
        };
        // A string takes everything.
        writeln!(
            lines,
            "{:<16} {:<40} {:<8} {:<8} {} under way, {} waiting, {} of {} failed lately",
            text("site"),
            called,
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
