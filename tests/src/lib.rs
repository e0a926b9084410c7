//! Whole-node tests of Larder: the real binary on real sockets, between an origin that follows a
//! script and a client whose bytes are visible.
//!
//! This crate uses no other crate of the workspace. What it knows of Larder is what an operator
//! knows: the command line, the configuration file, the wire, the metrics and the log. It holds
//! no rule of HTTP caching; the tests do.
//!
//! [`Node`] is the program under test, [`Origin`] answers behind it, [`Client`] and [`H2Client`]
//! ask in front of it. Time that matters to freshness is moved by [`Node::advance`]; anything
//! that happens a little later is awaited with [`eventually`].

#![forbid(unsafe_code)]
#![expect(
    clippy::missing_panics_doc,
    reason = "a harness panics wherever the test that uses it has to fail"
)]

mod admin;
mod binary;
mod chromium;
mod client;
mod collector;
mod dns;
mod eventually;
mod file;
mod frames;
mod gate;
mod h2_client;
mod metrics;
mod nats;
mod nats_client;
mod nats_cluster;
mod nats_operator;
mod node;
mod origin;
mod ports;
mod program;
mod relay;
mod reply;
mod response;
mod settings;
mod terminal;
mod tier_key;
mod tiers;
mod tls;
mod transcript;
mod wire;

pub use binary::ensure_binary;
pub use chromium::{Chromium, Scheme, find_chromium};
pub use client::{Client, WAIT_LONGEST};
pub use collector::{Collector, Step};
pub use dns::Dns;
pub use eventually::{eventually, settled};
pub use file::{File, Told};
pub use frames::{Frame, FrameClient, kind, literal};
pub use gate::Gate;
pub use h2_client::{H2Client, request};
pub use metrics::Metrics;
pub use nats::Nats;
pub use nats_client::NatsClient;
pub use nats_cluster::NatsCluster;
pub use nats_operator::NatsOperator;
pub use node::{Exit, Node, Way, run_to_exit};
pub use origin::{Origin, Seen};
pub use ports::free_port;
pub use program::Program;
pub use relay::Relay;
pub use reply::Reply;
pub use response::Response;
pub use settings::{Settings, engine};
pub use terminal::Terminal;
pub use tier_key::TierKey;
pub use tiers::Tiers;
pub use tls::{Ca, Pair};
pub use wire::{End, Fields, Head, Stream, Wire};
