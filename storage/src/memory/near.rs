//! Bringing near what an answer is made of.
//!
//! What nobody asked for lately lies in none of a processor's caches, nor do the tables that say where its pages are. Each
//! of its lines is waited for where it is needed first, about a quarter of a microsecond for each page. Loads that do not
//! depend on one another are waited for together: so one byte of each line is read as soon as it is known where they lie.
//! The index knows where object and head are, and these know where the rest is: three steps for all of it.

use std::hint::black_box;

use super::object::Object;
use crate::Head;

/// What a processor fetches at once, in bytes.
const LINE: usize = 64;

/// Of a body. What is longer comes by itself: it is read in order.
const BODY_MAX: usize = 4 * 1024;

/// Reads a byte of each line that `bytes` lie in. What it returns means nothing.
#[must_use]
#[inline]
pub fn bring_near(bytes: &[u8]) -> u8 {
    let last = bytes.last().copied().unwrap_or_default();
    let lines = bytes.chunks(LINE).filter_map(<[u8]>::first);
    lines.fold(last, |sum, byte| sum ^ byte)
}

/// The same of all that an answer from memory is made of.
pub(super) fn bring_answer_near<H: Head>(object: &Object<H>, head: &H) {
    let own = object.bring_near();
    let body = object.body().contiguous();
    let body = body.map_or(0, |bytes| bring_near(&bytes[..bytes.len().min(BODY_MAX)]));
    // Last: some of it is another step away.
    black_box(own ^ body ^ head.bring_near());
}
