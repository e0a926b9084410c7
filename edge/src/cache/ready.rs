//! Answers that are ready: usable, in memory, and whole, so that nobody has to be asked or waited for.
//!
//! What is said here is what [`serve`](super::serve) would say, by the same functions. Whatever takes more is left to it.

use std::ops::Range;
use std::sync::Arc;

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};
use storage::Body;

use super::Head;
use super::find::{Hit, find_in_memory};
use super::represent::{self, Representation};
use super::respond::{self, Part, Selected};
use crate::exchange::{Exchange, Request};
use crate::node::Node;
use crate::purges::Trust;

/// An answer that is there, and the exchange that it ends.
#[derive(Debug)]
pub(crate) struct Ready {
    pub exchange: Exchange,
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// The head that it was made of.
    pub head: Arc<Head>,
    /// Of it, `range` is sent.
    pub body: Body,
    pub range: Range<u64>,
}

/// The answer to a request, if it is ready. It counts as an access then; otherwise nothing has happened.
pub(crate) fn ready(node: &Arc<Node>, exchange: Exchange, request: &Arc<Request>) -> Option<Ready> {
    if super::passes_by(request).is_some() || node.purges.trust() != Trust::Full {
        return None;
    }
    let mut step = super::begin_look_up(request);
    let hit = find_in_memory(node, request).filter(Hit::is_complete);
    if let (Some(step), Some(hit)) = (&mut step, &hit) {
        hit.tell(step);
    }
    let ready = hit.and_then(|hit| answer(node, exchange, request, hit));
    if let (None, Some(step)) = (&ready, step) {
        // The long way looks again, and tells.
        step.forget();
    }
    ready
}

fn answer(
    node: &Arc<Node>,
    mut exchange: Exchange,
    request: &Arc<Request>,
    hit: Hit,
) -> Option<Ready> {
    let stored = hit.object.head().stored()?;
    let mut headers = respond::aged(stored, hit.now);
    let head = (stored.status, &mut headers);
    let representation = represent::there(request, &hit.object, head)?;
    exchange.coding = representation.coding();
    let body = match representation {
        Representation::Ready(_, body) => body,
        _ => hit.object.body().clone(),
    };
    if stored.status != StatusCode::NO_CONTENT {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    let whole = Selected {
        status: stored.status,
        headers,
        part: Part::Whole,
    };
    let received = stored.reception.response_time;
    let length = Some(body.len());
    let selected = respond::select(
        request,
        whole,
        received,
        length,
        request.site.common.ranges_max,
    );
    let Selected {
        status,
        mut headers,
        part,
    } = selected;
    let range = match part {
        Part::Nothing => 0..0,
        Part::Whole => 0..body.len(),
        Part::One(range) => range.first..range.last + 1,
        Part::Many(_) => return None,
    };
    node.capacity.hit(&hit.object, hit.now);
    node.tiers
        .accessed(&hit.object, request.treatment.admission);
    exchange.outcome = Some(hit.outcome);
    exchange.request = Some(Arc::clone(request));
    respond::finish_head(node, &mut exchange, request, status, &mut headers);
    Some(Ready {
        exchange,
        status,
        headers,
        head: Arc::clone(hit.object.head()),
        body,
        range,
    })
}
