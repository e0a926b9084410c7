//! Whether a response that is being received for another request answers this one, too.

use policy::partial::Extent;
use policy::range::RangeAnswer;
use storage::Reader;
use storage::purge::Life;

use super::{Head, find};
use crate::exchange::Request;
use crate::node::Node;

/// A range that begins so many bytes behind what has arrived is not waited for.
const AHEAD_MAX: u64 = 16 * 1024 * 1024;

/// Whether a response that is being received for another request may answer this one, too (RFC 9111 §4).
pub(super) fn suits(node: &Node, request: &Request, reader: &Reader<Head>) -> bool {
    let settings = &request.treatment.settings;
    if reader.head().life(&node.purges) != Life::Alive || !find::is_recent(request, reader.head()) {
        // It was asked for before a purge that this request came after.
        return false;
    }
    if reader.head().extent() != Extent::Whole {
        return false;
    }
    reader.head().stored().is_some_and(|stored| {
        request.is_found_by(stored)
            && stored.selecting.matches(request.headers(), &settings.vary)
            && find::is_usable(&policy::reuse::reuse(
                &request.terms,
                stored,
                node.clock.now(),
            ))
    })
}

/// Whether what the request wants of the response is long in coming: the origin has it at once.
pub(super) fn is_far(request: &Request, reader: &Reader<Head>) -> bool {
    let head = reader.head();
    let Some((stored, length)) = head.stored().zip(reader.announced()) else {
        return false;
    };
    let (method, asked) = (request.method(), request.headers());
    let answer = policy::range::answer(method, asked, stored.status, &stored.headers, length, 1);
    let near = reader.arrived().saturating_add(AHEAD_MAX);
    matches!(answer, RangeAnswer::Single(range) if range.first > near)
}
