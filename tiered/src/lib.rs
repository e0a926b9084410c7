//! Routing between a node and the servers it asks.
//!
//! This crate decides and opens nothing: whether a request has been here before ([`loop_detection`]), how a message
//! names the nodes it went through ([`via`]), who sent it by the word of trusted proxies ([`forwarded`]), whether a peer
//! is fit to be asked ([`health`], [`breaker`], [`ejection`]) and lives ([`pulse`]), which of several is ([`balance`]), whether and how often it is tried
//! again ([`retry`], [`budget`]), in which order the addresses of an upstream are tried ([`addresses`], [`services`], [`eyeballs`]), which node of a
//! tier a key belongs to ([`rendezvous`]), what nodes of tiers tell each other ([`introduction`], [`voucher`]) and whether
//! they mean the same by it ([`landmark`]), and which trace a request belongs to ([`trace_context`]). It reads no clock and knows nothing of what is cached.
#![forbid(unsafe_code)]

pub mod addresses;
pub mod balance;
pub mod breaker;
pub mod bucket;
pub mod budget;
pub mod ejection;
pub mod eyeballs;
pub mod forwarded;
pub mod health;
pub mod introduction;
pub mod landmark;
pub mod loop_detection;
mod moment;
mod parameters;
pub mod pulse;
pub mod rates;
pub mod rendezvous;
pub mod retry;
pub mod services;
pub mod trace_context;
pub mod via;
pub mod voucher;
pub mod window;

pub use balance::Balancer;
pub use breaker::{Breaker, BreakerSettings};
pub use bucket::Bucket;
pub use budget::RetryBudget;
pub use health::{Health, HealthSettings};
pub use loop_detection::{LoopGuard, Looped};
pub use moment::Moment;
pub use parameters::{Unreadable, split_signature, with_signature};
pub use pulse::Pulse;
pub use rates::Rates;
pub use rendezvous::{Member, Ring};
pub use trace_context::{SpanId, TraceId, TraceParent};
