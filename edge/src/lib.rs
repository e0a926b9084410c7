#![doc = include_str!("../ARCHITECTURE.md")]
#![forbid(unsafe_code)]

mod access_log;
mod admin;
pub mod admin_client;
mod api;
mod audit;
mod cache;
pub mod cache_command;
mod capacity;
mod clock;
mod coding;
pub mod curve_command;
pub mod demo;
mod downstream;
mod error;
mod exchange;
pub mod explain_command;
mod finished;
pub mod fleet;
mod hints;
mod ids;
mod metrics;
mod node;
mod observe;
mod origins;
mod outcome;
mod pingora;
mod proxy_status;
pub mod purge_command;
mod purges;
mod queries;
mod run;
mod searches;
mod server;
mod short_way;
pub mod show_command;
mod sites;
mod spent;
mod tls;
pub mod token;
mod varied;
mod wiring;

pub use crate::pingora::QUIET;
pub use run::{Drained, Running, StartError, start};
pub use tls::{TlsError, install_provider};
pub use wiring::plan_fleet;
