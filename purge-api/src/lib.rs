//! The admin API of a node: who may ask, what is asked, and how it is answered.
//!
//! This crate turns requests into responses and does no IO. The node serves [`Api::answer`] on its admin listener:
//! `/healthz`, `/readyz`, `/metrics` and the API's description are open to whoever reaches that; every other route
//! needs a token. On listeners for clients it serves [`Api::client_dialect`]: the methods by which plug-ins purge
//! caches, each where the configuration opens it.
#![forbid(unsafe_code)]

mod access;
mod auth;
mod bucket;
mod dialect;
mod filter;
mod fleet;
mod node;
mod openapi;
mod order;
mod problem;
mod receipt;
mod reload;
mod routes;
mod upstreams;

pub use access::{Access, Denied, Grant, Permission};
pub use auth::{Token, TokenError};
pub use dialect::{Dialect, Dialects, may_purge};
pub use filter::Filter;
pub use fleet::{Fleet, FleetNode, Propagation};
pub use node::{Node, Parent, Readiness, Refusal, Refused, Status, Tier, TierAnswers};
pub use order::{
    BODY_MAX, Count, Intent, Mode, Order, OrderError, Patience, Scope, Sent, Stamp, Wait,
};
pub use problem::Problem;
pub use receipt::{
    Applied, Matched, Page, Preview, Receipt, Refusals, RefusedRequest, SAMPLES_MAX, Sample, State,
};
pub use reload::{Changed, Configuration, Reloaded};
pub use routes::{Api, Asked, Reader, document, refuse};
pub use upstreams::{EgressList, EgressStatus, OriginList, OriginStatus};
