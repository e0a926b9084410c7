//! Requests that pass the cache by: unsafe methods, content, upgrades, and what is known not to be storable. Pingora's
//! own proxying streams them in both directions.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::TE;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;
use policy::freshen::HeadVerdict;
use wire::Upgrade;

use super::fetch::{self, INTERIM_RESPONSES_MAX, connect_error, response_error};
use super::peer::{parent, peer};
use crate::cache::{self, Copying};
use crate::error::UpstreamError;
use crate::exchange::{Beyond, Exchange, Passing, Request};
use crate::metrics::Asked;
use crate::node::Node;
use crate::origins::{Candidate, outbound};
use crate::outcome::{Answer, Bypass, Forward, Forwarded, NotStored, Outcome, Share, Told};
use crate::sites::ShowKey;
use crate::tier::Hop;

fn parts(exchange: &mut Exchange) -> Result<(Arc<Request>, &mut Passing)> {
    match (&exchange.request, &mut exchange.passing) {
        (Some(request), Some(passing)) => Ok((Arc::clone(request), passing)),
        _ => Error::e_explain(ErrorType::InternalError, "a request that does not pass by"),
    }
}

/// The next address to try.
pub(super) async fn choose_peer(
    node: &Node,
    _session: &mut Session,
    exchange: &mut Exchange,
) -> Result<Box<HttpPeer>> {
    let (request, passing) = parts(exchange)?;
    if let Some(tier) = &node.tier {
        if passing.beyond.is_none() {
            let mut hops = tier.passes_to(&request).await;
            hops.reverse();
            let begun = node.purges.latest();
            passing.beyond = Some(Box::new(Beyond { hops, begun }));
        }
        if let Some(hop) = hop(passing) {
            let timeouts = &request.site.origins.timeouts;
            return Ok(Box::new(parent(hop, timeouts, &node.authorities)));
        }
    }
    let origins = &request.site.origins;
    if passing.candidates.is_empty() {
        let now = node.clock.instant().into();
        let candidates = origins.candidates(&node.names, now).await;
        let unresolved = |error| Error::because(UNRESOLVED, "origin", error).into_up();
        passing.candidates = candidates.map_err(unresolved)?;
    }
    let candidate = candidate(passing)?;
    Ok(Box::new(peer(
        candidate,
        &origins.timeouts,
        &node.authorities,
    )))
}

/// The parent that this attempt goes to, if it goes to one.
fn hop(passing: &Passing) -> Option<&Hop> {
    passing
        .beyond
        .as_ref()
        .and_then(|beyond| beyond.hops.last())
}

/// The address that this attempt goes to.
fn candidate(passing: &Passing) -> Result<&Candidate> {
    let mut rounds = passing.candidates.iter().cycle();
    let candidate = rounds.nth(passing.attempt as usize);
    candidate.ok_or_else(|| Error::explain(ErrorType::InternalError, "no origin was chosen"))
}

const UNRESOLVED: ErrorType = ErrorType::Custom("Unresolved");
/// An origin's response that is not passed on.
fn refused(why: &'static str) -> Box<Error> {
    Error::explain(REFUSED_RESPONSE, why).into_up()
}

const REFUSED_RESPONSE: ErrorType = ErrorType::Custom("RefusedResponse");

/// Whether another address is tried.
pub(super) fn not_connected(exchange: &mut Exchange, mut error: Box<Error>) -> Box<Error> {
    if let Ok((request, passing)) = parts(exchange) {
        let hop = passing.beyond.as_mut().and_then(|beyond| beyond.hops.pop());
        if hop.is_some() {
            error.set_retry(true);
            return error;
        }
        passing.attempt += 1;
        let retries = request.site.origins.retries;
        error.set_retry(passing.attempt <= retries);
    }
    error
}

/// Replaces what Pingora would send by what the node sends.
pub(super) fn prepare_request(
    node: &Node,
    upstream: &mut RequestHeader,
    exchange: &mut Exchange,
) -> Result<()> {
    let (request, passing) = parts(exchange)?;
    passing.sent = Some(node.clock.now());
    passing.asked = Some(node.clock.instant());
    if let Some(beyond) = &mut passing.beyond {
        beyond.begun = node.purges.latest();
    }
    match hop(passing) {
        Some(hop) => request.trail.goes_to(hop.address),
        None => {
            request.spent().asked(match passing.attempt {
                0 => Asked::Pass,
                _ => Asked::Retry,
            });
            request.trail.goes_to(candidate(passing)?.address);
        }
    }
    passing.copying = match hop(passing) {
        // How old it is in the order of purges, only its parent knows.
        Some(_) => Copying::No,
        None => Copying::ask(node, &request),
    };
    if let Cow::Owned(target) = request.origin_target() {
        upstream.set_raw_path(target.as_bytes())?;
    }
    let mut headers = outbound::headers(&request, &node.marks());
    outbound::restore_framing(&mut headers, &request);
    if upstream.version != Version::HTTP_2 {
        outbound::restore_upgrade(&mut headers, &request);
    } else if request.headers().contains_key(TE) {
        // RFC 9113 §8.2.2: the one value that may be sent. gRPC servers insist on it.
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    match (hop(passing), &node.tier) {
        (Some(_), Some(tier)) => tier.introduce_passing(&mut headers, &request),
        _ => outbound::name_host(&mut headers, &candidate(passing)?.origin),
    }
    let names: Vec<_> = upstream.headers.keys().cloned().collect();
    for name in names {
        upstream.remove_header(&name);
    }
    for (name, value) in &headers {
        upstream.append_header(name.clone(), value.clone())?;
    }
    Ok(())
}

/// Checks the response, lets it act on what is stored, and marks it.
pub(super) async fn take_response(
    node: &Node,
    response: &mut ResponseHeader,
    exchange: &mut Exchange,
) -> Result<()> {
    let (request, passing) = parts(exchange)?;
    let status = response.status;
    if status == StatusCode::SWITCHING_PROTOCOLS && request.head.upgrade == Upgrade::None {
        return Err(refused("a switch of protocols that nobody asked for"));
    }
    if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
        passing.interim += 1;
        if passing.interim as usize > INTERIM_RESPONSES_MAX {
            return Err(refused("no end of interim responses"));
        }
        return Ok(());
    }
    request.trail.received(status);
    if let Some(asked) = passing.asked {
        request.spent().answered(node.clock.instant() - asked);
    }
    node.hints.learn(&request, status, &response.headers);
    let why = passing.why;
    if hop(passing).is_none() {
        let place = candidate(passing)?.place;
        request.site.origins.rotation.worked(place);
    }
    let begun = passing.beyond.as_ref().map(|beyond| beyond.begun);
    let mut headers = response.headers.clone();
    let unknown = request.site.origins.unknown_coding;
    if fetch::check(status, &headers, response.version, unknown).is_err() {
        return Err(refused("a malformed head"));
    }
    if status != StatusCode::SWITCHING_PROTOCOLS {
        policy::hop_by_hop::remove(&mut headers);
    }
    let now = node.clock.now();
    let answer = policy::store::Exchange {
        method: request.method(),
        request: request.headers(),
        status,
        response: &headers,
        request_time: passing.sent.unwrap_or(now),
        response_time: now,
    };
    act(node, &request, passing, &answer).await;
    let copied = passing.copying.begin(node, &request, &answer);
    let outcome = Outcome::Forwarded(Forwarded {
        why,
        status: Some(status),
        answer: copied.map_or(Answer::NotStored(NotStored::PassedBy), Answer::Stored),
        share: Share::Alone,
    });
    let key = (request.site.show_key == ShowKey::Yes).then(|| request.key.text());
    cache::withhold(&request, &mut headers);
    cache::tell_way(node, &request, &mut headers);
    let told = Told {
        key,
        ..Told::default()
    };
    cache::mark(node, &mut headers, &outcome, told);
    exchange.outcome = Some(outcome);
    if exchange.peer.is_some() {
        exchange.born = begun.and_then(|begun| node.purges.vouch_passed(begun));
    }
    cache::vouch(node, exchange, status, &mut headers);
    exchange.begins(node.clock.instant(), status, &headers);
    replace(response, &headers)
}

fn replace(response: &mut ResponseHeader, headers: &HeaderMap) -> Result<()> {
    let names: Vec<_> = response.headers.keys().cloned().collect();
    for name in names {
        response.remove_header(&name);
    }
    for (name, value) in headers {
        response.append_header(name.clone(), value.clone())?;
    }
    Ok(())
}

/// What a response that passes by does to what is stored (RFC 9111 §4.3.5, §4.4).
async fn act(
    node: &Node,
    request: &Request,
    passing: &Passing,
    answer: &policy::store::Exchange<'_>,
) {
    if policy::invalidation::invalidates(answer.method, answer.status) {
        invalidate(node, request, answer.response).await;
    }
    let treatment = request.treatment_of(answer.status);
    if matches!(passing.why, Forward::Bypass(Bypass::Uncacheable(_)))
        && request
            .guard(
                answer.status,
                answer.response,
                treatment.settings.deception_guard,
            )
            .is_ok()
        && policy::store::decide(answer, &treatment.settings).is_ok()
    {
        // It can be stored by now: the next request will.
        node.uncacheable.forget(request.storage_key());
    }
    let selected = passing.selected.as_ref();
    if let (Some(object), true) = (selected, *answer.method == Method::HEAD)
        && let Some(cached) = object.head().cached()
    {
        match policy::freshen::freshen_from_head(&cached.stored, answer, &treatment.settings) {
            HeadVerdict::Updated(stored) => {
                let labels = node.purges.labels(request, &stored.headers);
                let membership = cached.membership.relabelled(labels);
                let uri = cached.uri.clone();
                let head = Arc::new(cache::Head::kept(stored, membership, cached.extent, uri));
                node.tiers.update_head(object, head).await;
            }
            HeadVerdict::Invalidate => node.tiers.remove_object(object),
            HeadVerdict::Unrelated => {}
        }
    }
}

/// Removes what an unsafe request made wrong: its own target, and what the answer says was touched as well. Each key
/// once, so that [`Copying`] can tell its own removal from others.
async fn invalidate(node: &Node, request: &Request, headers: &HeaderMap) {
    let Some(uri) = request.uri() else {
        return;
    };
    let mut keys = Vec::with_capacity(policy::invalidation::TARGETS_MAX);
    for target in policy::invalidation::targets(&uri, headers) {
        let path = target
            .path_and_query()
            .map_or("/", http::uri::PathAndQuery::as_str);
        for key in request.keys_of(path, &node.searches) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
    }
    for key in keys {
        node.invalidate(key).await;
    }
}

/// Invalidates the cache groups that a response names (RFC 9875 §3).
pub(super) async fn invalidate_groups(node: &Node, response: &ResponseHeader, exchange: &Exchange) {
    let status = response.status;
    let succeeded = status.is_success() || status.is_redirection();
    if let Some(request) = &exchange.request {
        node.invalidate_groups(request, succeeded, &response.headers)
            .await;
    }
}

/// Why a request that passed by got no response.
pub(super) fn failure(exchange: &mut Exchange, error: &Error) -> UpstreamError {
    let failure = match (error.etype(), error.esource()) {
        (kind, _) if *kind == UNRESOLVED => UpstreamError::Unresolved,
        (kind, _) if *kind == REFUSED_RESPONSE => UpstreamError::Malformed,
        (_, ErrorSource::Upstream) if is_connect(error) => connect_error(error),
        _ => response_error(error).before_the_response(),
    };
    if let Some(passing) = &exchange.passing {
        exchange.outcome = Some(cache::failed(passing.why, failure, Share::Alone));
    }
    failure
}

fn is_connect(error: &Error) -> bool {
    use ErrorType as E;
    matches!(
        error.etype(),
        E::ConnectTimedout
            | E::ConnectRefused
            | E::ConnectNoRoute
            | E::ConnectError
            | E::TLSHandshakeFailure
            | E::TLSHandshakeTimedout
            | E::InvalidCert
            | E::HandshakeError
            | E::SocketError
            | E::BindError
    )
}
