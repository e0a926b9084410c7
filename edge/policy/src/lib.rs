//! HTTP caching (RFC 9111) as pure functions of values and `now`.
//!
//! What a cache may ask, in the order in which it asks:
//!
//! | question | answer | RFC 9111 |
//! | --- | --- | --- |
//! | is this request for a cache? | [`request::plan`] | §4 |
//! | under which key? | [`key::CacheKey`] | §2 |
//! | which of the stored responses is selected? | [`vary::select`] | §4.1 |
//! | may it be used, and how? | [`reuse::reuse`] | §4, §4.2 |
//! | how is it validated? | [`validation::add_validators`] | §4.3.1 |
//! | what does the 304 make of it? | [`freshen::freshen`] | §4.3.4 |
//! | may this response be stored? | [`store::decide`], [`post::decide`], [`deception::check`] | §3 |
//! | may a part of one be, and with what is it combined? | [`partial`], [`slices`] | §3.3, §3.4 |
//! | may a stale one take the place of an error? | [`stale::may_serve_stale`] | §4.2.4 |
//! | what does an unsafe request invalidate? | [`invalidation::targets`] | §4.4 |
//! | in which coding is it sent? | [`coding::choose`] | – |
//! | what do the client's own conditions say? | [`conditional::evaluate`], [`range::answer`] | §4.3.2 |
//!
//! The most important type is [`store::Stored`]: the head of a stored response with everything its
//! reuse depends on. What the RFC leaves open is decided by [`settings::Settings`].
//!
//! Nothing here reads a clock, waits, does IO, logs or counts: time is an argument, and a decision is
//! a value that says why. Strange input has a defined meaning; there are no errors and no panics.

#![forbid(unsafe_code)]

pub mod cache_control;
pub mod coding;
pub mod conditional;
pub mod deception;
pub mod fields;
mod framed_hash;
pub mod freshen;
pub mod freshness;
pub mod groups;
pub mod hints;
pub mod hop_by_hop;
pub mod invalidation;
pub mod key;
pub mod packed;
pub mod partial;
pub mod post;
pub mod range;
pub mod request;
pub mod reuse;
pub mod search;
pub mod settings;
pub mod slices;
pub mod stale;
pub mod store;
mod structured;
#[cfg(test)]
mod testing;
pub mod time;
pub mod validation;
pub mod vary;
mod written;
