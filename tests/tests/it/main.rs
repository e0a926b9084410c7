//! Whole-node tests: the real program on real sockets. One binary, one module for each subject.
//!
//! The names of tests are sentences about what a client, an origin or an operator sees.

#![forbid(unsafe_code)]

mod access_log;
mod admin;
mod codings;
mod collapsed;
mod conditional;
mod config_errors;
mod crash;
mod curve;
mod dashboard;
mod deception;
mod demo;
mod disk_breaks;
mod disk_devices;
mod disk_engines;
mod disk_faults;
mod disk_late;
mod disk_volumes;
mod early_hints;
mod egress;
mod egress_refusals;
mod evictions;
mod explain;
mod explain_key;
mod explain_past;
mod exposition;
mod fleet;
mod forwarded;
mod framing;
mod groups;
mod harness;
mod hits;
mod http2;
mod http2_floods;
mod http2_repeated;
mod invalidation;
mod isolation;
mod large_bodies;
mod limits;
mod log;
mod many_sites;
mod observe;
mod openapi;
mod origin_lies;
mod origins;
mod origins_addresses;
mod passing;
mod post;
mod proxy_status;
mod purge;
mod purge_api;
mod purge_command;
mod purge_dialects;
mod purge_disks;
mod purge_peers;
mod purge_races;
mod purge_refusals;
mod purge_scale;
mod query;
mod range;
mod range_clients;
mod ratios;
mod readme;
mod reload;
mod reload_load;
mod reload_purges;
mod reload_tiers;
mod restart;
mod same_words;
mod search;
mod settings;
mod several_origins;
mod shared_address;
mod short_way;
mod shutdown;
mod simulate;
mod slices;
mod slices_on_disk;
mod slow_start;
mod stale;
mod stats;
mod syslog;
mod telemetry;
mod tidy;
mod tiers;
mod tiers_ages;
mod tiers_certificates;
mod tiers_egress;
mod tiers_hints;
mod tiers_links;
mod tiers_purge;
mod tiers_resume;
mod tiers_seen;
mod tiers_set_back;
mod tiers_siblings;
mod tiers_signs;
mod tiers_slices;
mod tiers_versions;
mod tiers_warm;
mod tls;
mod tls_tickets;
mod top;
mod transports;
mod uploads;
mod validation;
mod vary;
mod websocket;

use std::time::Duration;

/// What happens without anybody waiting on purpose takes less, on a busy machine too.
const SOON: Duration = Duration::from_secs(5);

/// How long it is watched that something does not happen.
const A_WHILE: Duration = Duration::from_millis(150);

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}
