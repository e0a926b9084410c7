//! The admin API of a node: who may ask, what is asked, and how it is answered.
//!
//! This crate turns requests into responses and does no IO: the node serves them on its admin listener, never on one
//! for clients. `/healthz`, `/readyz` and `/metrics` are open to whoever reaches that listener; every other route needs
//! the bearer token.
#![forbid(unsafe_code)]

mod auth;
mod order;
mod problem;
mod routes;

pub use auth::{Token, TokenError};
pub use order::{BODY_MAX, Mode, Order, OrderError, Receipt, Scope};
pub use problem::Problem;
pub use routes::{Api, Asked, Node, Readiness, Refused, Status};
