//! The head of the request that an origin is sent.

use http::header::{CONNECTION, CONTENT_LENGTH, FORWARDED, HOST, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue};
use tiered::forwarded;
use wire::{Framing, Upgrade};

use super::Origin;
use crate::exchange::Request;
use crate::sites::{ForwardedAs, ForwardedFor};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Fields that the node adds at most.
const OWN_FIELDS: usize = 6;

/// What the client sent, as it may go on: without what belongs to its connection, without what nobody keyed, and with
/// this node's own marks. Preconditions and ranges are still in it.
pub(crate) fn headers(request: &Request, marks: &Marks<'_>) -> HeaderMap {
    forwarded(request, marks, |_name| true)
}

/// As [`headers`], without preconditions and ranges, as a fill asks.
pub(crate) fn unconditional(request: &Request, marks: &Marks<'_>) -> HeaderMap {
    let mut headers = forwarded(request, marks, |name| {
        !policy::validation::is_precondition(name)
    });
    if !request.site.edits.request.is_empty() {
        policy::validation::strip_preconditions(&mut headers);
    }
    headers
}

fn forwarded(
    request: &Request,
    marks: &Marks<'_>,
    wanted: impl Fn(&HeaderName) -> bool,
) -> HeaderMap {
    let sent = &request.head.headers;
    let mut headers = HeaderMap::with_capacity(sent.len() + OWN_FIELDS);
    let kept = policy::hop_by_hop::kept(sent).filter(|(name, _)| wanted(name));
    for (name, value) in kept.filter(|(name, _)| goes_on(request, name)) {
        headers.append(name.clone(), value.clone());
    }
    // What counts for selection is what the origin sees.
    let vary = &request.treatment.settings.vary;
    vary.rewrite(&mut headers);
    if request.is_for_the_cache() {
        vary.rewrite_cookies(&mut headers, &request.treatment.key.cookies);
    }
    forwarded_for(&mut headers, request);
    request.site.edits.request.apply(&mut headers);
    marks.guard.mark(&mut headers);
    tiered::via::append(&mut headers, request.head.version, marks.name);
    headers
}

/// Whether a field that does not end here goes on to the origin.
fn goes_on(request: &Request, name: &HeaderName) -> bool {
    match name.as_str() {
        // The node itself has told the client to go on; and it says itself who the client is, and how long the content.
        "expect" | "content-length" | "x-forwarded-for" => return false,
        // Of content that is not there. Some servers refuse a request for its type all the same.
        "content-type" | "content-encoding" if request.head.framing == Framing::None => {
            return false;
        }
        _ => {}
    }
    !request.site.unkeyed.contains(name) || request.treatment.key.headers.contains(name)
}

/// How the node names itself towards others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Marks<'a> {
    pub name: &'a str,
    pub guard: &'a tiered::LoopGuard,
}

/// Who the client is. What it said itself is not passed on; what trusted proxies say is, where the site wants it.
fn forwarded_for(headers: &mut HeaderMap, request: &Request) {
    let path = match request.site.forwarded {
        ForwardedFor::Set => &request.path[..request.path.len().min(1)],
        ForwardedFor::Append => &request.path[..],
        ForwardedFor::Off => return,
    };
    let scheme = request.facts.scheme.as_str();
    let as_ = request.site.forwarded_as;
    if as_ != ForwardedAs::Forwarded
        && let Some(value) = forwarded::x_forwarded_for(path)
    {
        headers.insert(X_FORWARDED_FOR, value);
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
    }
    if as_ == ForwardedAs::XForwarded {
        return;
    }
    let host = request.head.authority.to_string();
    if let Some(value) = forwarded::forwarded_field(path, &host, scheme) {
        headers.insert(FORWARDED, value);
    }
}

/// What a request with content needs beside [`headers`].
pub(crate) fn restore_framing(headers: &mut HeaderMap, request: &Request) {
    match request.head.framing {
        Framing::Length(length) => {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        Framing::None | Framing::Chunked => {}
    }
}

/// What an upgrade needs beside [`headers`], in HTTP/1.1. HTTP/2 has none and forbids the fields (RFC 9113 §8.6, §8.2.2):
/// there it is a request like any other, as a recipient may always take it for.
pub(crate) fn restore_upgrade(headers: &mut HeaderMap, request: &Request) {
    if request.head.upgrade == Upgrade::WebSocket {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
}

/// The `Host` an origin wants to be called by. Where nobody named one, which HTTP/1.0 allows, it is the origin's own:
/// RFC 9112 §3.2 asks for one in everything that is sent on as HTTP/1.1.
pub(crate) fn name_host(headers: &mut HeaderMap, origin: &Origin) {
    if let Some(host) = &origin.host_override {
        let asked = headers.insert(HOST, host.clone());
        // Where the client is told of by these fields, so is what it asked for.
        if let Some(asked) = asked
            && headers.contains_key(X_FORWARDED_PROTO)
            && !headers.contains_key(X_FORWARDED_HOST)
        {
            headers.insert(X_FORWARDED_HOST, asked);
        }
    } else if !headers.contains_key(HOST)
        && let Ok(host) = HeaderValue::try_from(origin.authority())
    {
        headers.insert(HOST, host);
    }
}
