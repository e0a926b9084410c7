//! HTTP/1.1 messages on the wire (RFC 9112), without IO: bytes in, messages out, and back.
//!
//! This crate is the node's defence against request smuggling. It repairs nothing: what the
//! grammar does not allow, or what two honest recipients could read in two ways, is a
//! [`Refusal`], which knows its status. Whoever gets one answers with that status and closes the
//! connection, for nobody can say where the next message would start.
//!
//! What it is not: it opens no socket, reads no clock, and knows neither sites nor caching.
//! Deadlines, and draining or closing after an early answer, are the caller's.
//!
//! The way of a request: [`RequestParser::parse`] is called with everything received so far until
//! it answers [`Parsed::Complete`] with a [`RequestHead`]; a [`BodyDecoder`] made from
//! [`RequestHead::framing`] then yields the content and stops at its last byte. The answer is
//! written by [`choose_framing`], [`write_head`] and, for chunks, [`write_chunk_head`].
//!
//! Requests that arrive over HTTP/2 meet the same rules through [`check_authority`],
//! [`check_path`], [`check_field`] and [`check_size`]; heads that come back from an origin are read by a [`ResponseParser`]
//! and go through [`check_response`]. What an origin is asked is written by [`write_request`].
#![forbid(unsafe_code)]

mod authority;
mod body;
mod chunk_line;
mod chunked;
mod connection;
mod expectation;
mod field;
mod framing;
mod grammar;
mod http2;
mod limits;
mod line;
mod origin;
pub mod proxy_protocol;
mod refusal;
mod request;
mod request_line;
mod response;
mod response_head;
mod target;
#[cfg(test)]
mod tests;
mod trailers;
mod upgrade;

pub use authority::{Authority, check_authority};
pub use body::{BodyDecoder, Decoded};
pub use connection::{Persistence, remove_hop_by_hop};
pub use expectation::{Expectation, of_request as expectation_of};
pub use framing::{Framing, content_length};
pub use http2::{check_field, check_size, check_trailers, join_cookies};
pub use limits::Limits;
pub use origin::{Lie, ResponseFraming, UnknownCoding, check_response};
pub use refusal::Refusal;
pub use request::{Parsed, RequestHead, RequestParser, parse_request};
pub use response::{
    BodyFraming, CHUNK_END, Field, LAST_CHUNK, choose_framing, write_chunk_head, write_head,
    write_head_of, write_interim, write_request, write_trailers,
};
pub use response_head::{RESPONSE_FIELDS_MAX, RESPONSE_HEAD_MAX, ResponseHead, ResponseParser};
pub use target::check_path;
pub use upgrade::Upgrade;
