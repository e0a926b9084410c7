//! Plain hits: fresh, in memory, whole, and sent as they are stored. Their heads are written without a copy.
//!
//! What is told is what [`ready`](super::ready) would tell, in the same order. Whatever takes more is left to it.

use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;
use http::header::{self, HeaderName, HeaderValue};
use policy::coding::Choice;
use policy::time::Timestamp;
use storage::{Body, Object};

use super::Head;
use super::draft::{self, Draft};
use super::find::{Hit, find_in_memory};
use super::fresh::Fresh;
use super::respond::CACHE_STATUS;
use crate::digits::Digits;
use crate::downstream::Other;
use crate::exchange::{Exchange, Request, Turned};
use crate::in_force::Common;
use crate::node::Node;
use crate::purges::Trust;
use crate::sites::ShowKey;
use crate::tier::LARDER_TIER;

/// A request of which only the target and the host change.
#[derive(Debug)]
pub(crate) struct Like {
    request: Arc<Request>,
    /// It is the same for all sites that the request may move to: the one it was for last need not be asked.
    common: Arc<Common>,
    moved: Moved,
    /// Whether requests that are treated so are for the cache.
    looked_up: bool,
    /// What the last hit was, in a text of its own: who counts those that share a stored one would wait for it.
    content_type: Option<HeaderValue>,
}

/// Where a request of which the host changes has gone.
#[derive(Debug)]
enum Moved {
    Nowhere,
    /// To this host, as it came.
    To(String),
    /// To none that there is.
    Astray,
}

/// A plain hit.
#[derive(Debug)]
pub(crate) struct Plain {
    object: Arc<Object<Head>>,
    status: StatusCode,
    started: Instant,
    now: Timestamp,
    ttl: u64,
    /// In decimal.
    age: Digits,
    left: Digits,
    length: Digits,
    seconds: u64,
    vary: Vary,
}

/// Whether clients are told that others get another coding of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Vary {
    AsStored,
    OnCoding,
}

static ACCEPT_ENCODING: HeaderName = header::ACCEPT_ENCODING;
static AGE: HeaderName = header::AGE;
static CONTENT_LENGTH: HeaderName = header::CONTENT_LENGTH;
static VARY: HeaderName = header::VARY;
static VIA: HeaderName = header::VIA;
static STATUS: HeaderName = CACHE_STATUS;

impl Like {
    /// Requests like one that was ready, if they can be plain.
    pub(crate) fn of(node: &Node, request: &Request) -> Option<Self> {
        let terms = &request.terms;
        // Where there are traces, each request has its own; and what the log tells of the response is not kept.
        let untold = !node.has_traces() && node.log.response_fields().is_empty();
        let plain = !terms.has_range() && !terms.has_preconditions() && request.peer.is_none();
        (untold && plain).then(|| Self {
            request: Arc::new(request.again()),
            common: Arc::clone(&request.site.common),
            moved: Moved::Nowhere,
            looked_up: super::passes_by(request).is_none(),
            content_type: None,
        })
    }

    /// What the sites have in common that it may move to.
    pub(crate) fn common(&self) -> &Common {
        &self.common
    }

    /// Whether it is what was asked for last.
    pub(crate) fn was_for(&self, other: Other<'_>) -> bool {
        self.request.head.target == other.target && self.moved.is_to(other.host)
    }

    /// What would answer the same request with another target and host, if it is plain. It counts as an access with
    /// [`Self::accept`].
    pub(crate) fn find(&mut self, node: &Node, other: Other<'_>) -> Option<Plain> {
        let started = node.clock.instant();
        let request = Arc::get_mut(&mut self.request)?;
        if !self.moved.is_to(other.host) {
            self.moved = match std::mem::replace(&mut self.moved, Moved::Astray) {
                Moved::To(host) => Moved::go(request, node, other.host?, host)?,
                Moved::Nowhere | Moved::Astray => {
                    Moved::go(request, node, other.host?, String::new())?
                }
            };
        }
        if let Turned::OtherTreatment = request.turn_to(other.target, node.learnt())? {
            self.looked_up = super::passes_by(request).is_none();
        }
        let shows = request.site.show_key == ShowKey::Yes;
        let asked = self.looked_up && !shows && node.purges.trust() == Trust::Full;
        asked.then(|| find(node, &self.request, started)).flatten()
    }

    /// A plain hit is about to be sent.
    pub(crate) fn accept(&self, node: &Arc<Node>, plain: &Plain) {
        tracing::debug!("ready the short way, like the one before");
        node.capacity.hit(&plain.object, plain.now);
        node.tiers
            .accessed(&plain.object, self.request.treatment.admission);
    }

    /// The exchange that a plain hit ends, which began to be sent at `answered`.
    pub(crate) fn exchange(&mut self, plain: &Plain, answered: Instant) -> Exchange {
        let stored = plain.object.head().stored();
        let content_type = stored.and_then(|stored| stored.headers.get(header::CONTENT_TYPE));
        if self.content_type.as_ref().map(HeaderValue::as_bytes) != content_type {
            self.content_type = content_type.and_then(|it| HeaderValue::from_bytes(it).ok());
        }
        let fresh = Fresh {
            started: plain.started,
            now: plain.now,
            status: plain.status,
            ttl: plain.ttl,
            age: plain.seconds,
            content_type: self.content_type.as_ref(),
        };
        fresh.exchange(&self.request, answered)
    }
}

impl Moved {
    /// Whether a request is for this host. None is the one that it came with.
    fn is_to(&self, host: Option<&str>) -> bool {
        match (self, host) {
            (Self::To(own), Some(host)) => own == host,
            (Self::Nowhere, None) => true,
            _ => false,
        }
    }

    /// Moves a request. The text of another host is not needed any more.
    fn go(request: &mut Request, node: &Node, to: &str, mut other: String) -> Option<Self> {
        request.move_to(to, &node.in_force().sites)?;
        other.clear();
        other.push_str(to);
        Some(Self::To(other))
    }
}

fn find(node: &Node, request: &Request, started: Instant) -> Option<Plain> {
    let hit = find_in_memory(node, request).filter(Hit::is_complete)?;
    let ttl = hit.fresh_ttl()?;
    let stored = hit.object.head().stored()?;
    let (status, headers) = (stored.status, &stored.headers);
    let rules = &request.treatment.settings.codings;
    let vary = match policy::coding::choose(request.headers(), status, headers, rules) {
        Choice::Alone if !policy::coding::needs_dictionary(headers) => Vary::AsStored,
        Choice::AsStored if !policy::coding::is_told(headers, &header::ACCEPT_ENCODING) => {
            Vary::OnCoding
        }
        Choice::AsStored => Vary::AsStored,
        Choice::Alone | Choice::Convert { .. } => return None,
    };
    let seconds = stored.reception.current_age(hit.now).as_secs();
    Some(Plain {
        status,
        started,
        now: hit.now,
        ttl,
        age: Digits::of(seconds),
        left: Digits::of(ttl),
        length: Digits::of(hit.object.body().len()),
        seconds,
        vary,
        object: hit.object,
    })
}

impl Plain {
    pub(crate) const fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn body(&self) -> &Body {
        self.object.body()
    }

    /// Whether a value of the head is a secret (RFC 7541 §7.1.3).
    pub(crate) fn has_secret(&self) -> bool {
        let stored = self.object.head().stored();
        stored.is_none_or(|stored| draft::has_secret(&stored.headers))
    }

    /// The head that a client gets: the changes are those of `ready` and of `finish_head`, in their order.
    pub(crate) fn draft<'a>(&'a self, node: &'a Node, like: &Like) -> Option<Draft<'a>> {
        let stored = self.object.head().stored()?;
        let mut draft = Draft::of(&stored.headers);
        draft.insert(AGE.as_str(), [self.age.text(), b"", b""]);
        if self.vary == Vary::OnCoding {
            draft.append(
                VARY.as_str(),
                [ACCEPT_ENCODING.as_str().as_bytes(), b"", b""],
            );
        }
        if self.status != StatusCode::NO_CONTENT {
            draft.insert(CONTENT_LENGTH.as_str(), [self.length.text(), b"", b""]);
        }
        draft.remove(policy::cache_control::OWN_TARGET);
        let tags = like.request.site.tag_fields.iter();
        for field in tags.filter(|field| field.is_for_caches()) {
            draft.remove(field.name.as_str());
        }
        let name = node.name.as_bytes();
        draft.append(STATUS.as_str(), [name, b"; hit; ttl=", self.left.text()]);
        draft.append(VIA.as_str(), [b"1.1 ", name, b""]);
        draft.remove(LARDER_TIER.as_str());
        Some(draft)
    }
}
