//! Requests that pass the cache by: unsafe methods, content, upgrades, and what is known not to be storable. What has
//! content goes through Pingora's own proxying, which streams in both directions, and the rest [`straight`](super::straight)
//! on: this is what both do at each step.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::TE;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use policy::freshen::HeadVerdict;
use wire::Upgrade;

use super::fetch::{
    self, DEAD_CONNECTIONS_MAX, INTERIM_RESPONSES_MAX, connect_error, response_error,
};
use super::link::{NO_CONNECTION, NO_PORT};
use super::peer::{parent, peer};
use crate::cache::{self, Copying};
use crate::error::UpstreamError;
use crate::exchange::{Beyond, Exchange, Passing, Request, Way};
use crate::metrics::Asked;
use crate::node::Node;
use crate::origins::attempts::{Attempts, Candidate};
use crate::origins::{Transport, outbound};
use crate::outcome::{Answer, Bypass, Forward, Forwarded, NotStored, Outcome, Share, Told};
use crate::proxy_status::Whose;
use crate::sites::ShowKey;
use crate::telemetry::{self, Open};
use crate::tier::Hop;

pub(super) fn parts(exchange: &mut Exchange) -> Result<(Arc<Request>, &mut Passing)> {
    match (&exchange.request, &mut exchange.passing) {
        (Some(request), Some(passing)) => Ok((Arc::clone(request), passing)),
        _ => Error::e_explain(ErrorType::InternalError, "a request that does not pass by"),
    }
}

/// Where an attempt goes.
pub(super) enum Chosen<'a> {
    Parent(&'a Hop),
    Origin(&'a Candidate),
}

/// Where the next attempt goes.
pub(super) async fn choose<'a>(
    node: &Node,
    request: &Arc<Request>,
    passing: &'a mut Passing,
) -> Result<Chosen<'a>> {
    let site = &request.site;
    if let Some(tier) = &site.common.tier
        && passing.beyond.is_none()
    {
        let mut hops = tier.passes_to(request).await;
        hops.reverse();
        let begun = node.purges.latest();
        passing.beyond = Some(Box::new(Beyond { hops, begun }));
    }
    if hop(passing).is_none() {
        let begin = || {
            Box::new(Way {
                attempts: Attempts::new(site, request.plan()),
                candidate: None,
                dead: 0,
            })
        };
        let way = passing.way.get_or_insert_with(begin);
        if way.candidate.is_none() {
            let now = node.clock.instant().into();
            let candidate = way.attempts.next(&node.names, now).await;
            way.candidate = Some(candidate.map_err(nowhere)?);
        }
    }
    match hop(passing) {
        Some(hop) => Ok(Chosen::Parent(hop)),
        None => Ok(Chosen::Origin(candidate(passing)?)),
    }
}

/// `http` or `https`, of where an attempt goes.
pub(super) fn scheme(exchange: &Exchange) -> &'static str {
    let passing = exchange.passing.as_ref();
    let tls = passing.is_some_and(|passing| match hop(passing) {
        Some(hop) => hop.tls.is_some(),
        None => candidate(passing)
            .is_ok_and(|candidate| matches!(candidate.origin.transport, Transport::Tls { .. })),
    });
    if tls { "https" } else { "http" }
}

/// As [`choose`], for Pingora's proxying.
pub(super) async fn choose_peer(node: &Node, exchange: &mut Exchange) -> Result<Box<HttpPeer>> {
    let (request, passing) = parts(exchange)?;
    let (timeouts, authorities) = (&request.site.origins.timeouts, &node.authorities);
    Ok(Box::new(match choose(node, &request, passing).await? {
        Chosen::Parent(hop) => parent(hop, timeouts, authorities),
        Chosen::Origin(candidate) => peer(candidate, timeouts, authorities),
    }))
}

/// An attempt, as a step of the request's trace. It ends with its answer, or with the next attempt.
fn begin_step(request: &Request, passing: &Passing) -> Option<Open> {
    let trace = request.trace.as_ref()?;
    let method = request.method().as_str();
    let name = telemetry::name_of(method);
    let mut step = trace.begin(name, telemetry::Kind::Client, None)?;
    step.set("http.request.method", telemetry::told_method(method));
    step.set("larder.kind", Asked::Pass.as_str());
    match (hop(passing), candidate(passing)) {
        (Some(hop), _) => step.set("network.peer.address", hop.address.ip().to_string()),
        (None, Ok(candidate)) => {
            telemetry::asks_origin(
                &mut step,
                trace,
                &request.origin_target(),
                &candidate.origin,
            );
        }
        (None, Err(_)) => {}
    }
    Some(step)
}

/// Notes where the connection leads that this attempt has got.
pub(super) fn reached(exchange: &Exchange, address: Option<SocketAddr>) {
    let passing = exchange.passing.as_ref();
    let passing = passing.filter(|passing| hop(passing).is_none());
    if let (Some(passing), Some(address)) = (passing, address)
        && let Ok(candidate) = candidate(passing)
    {
        candidate.reached(address);
    }
}

/// The parent that this attempt goes to, if it goes to one.
fn hop(passing: &Passing) -> Option<&Hop> {
    passing
        .beyond
        .as_ref()
        .and_then(|beyond| beyond.hops.last())
}

/// Where this attempt goes.
fn candidate(passing: &Passing) -> Result<&Candidate> {
    let way = passing.way.as_ref();
    let candidate = way.and_then(|way| way.candidate.as_ref());
    candidate.ok_or_else(|| Error::explain(ErrorType::InternalError, "no origin was chosen"))
}

const UNRESOLVED: ErrorType = ErrorType::Custom("Unresolved");
const BARRED: ErrorType = ErrorType::Custom("Barred");
const FULL: ErrorType = ErrorType::Custom("Full");

/// No origin can be asked.
fn nowhere(error: UpstreamError) -> Box<Error> {
    let kind = match error {
        UpstreamError::Barred => BARRED,
        UpstreamError::Full => FULL,
        _ => UNRESOLVED,
    };
    Error::because(kind, "origin", error).into_up()
}

/// An origin's response that is not passed on.
fn refused(why: &'static str) -> Box<Error> {
    Error::explain(REFUSED_RESPONSE, why).into_up()
}

const REFUSED_RESPONSE: ErrorType = ErrorType::Custom("RefusedResponse");
/// An origin's response for which another one is asked.
const GIVEN_UP: ErrorType = ErrorType::Custom("GivenUp");

/// Whether another attempt is made after one without a connection.
pub(super) fn not_connected(exchange: &mut Exchange, mut error: Box<Error>) -> Box<Error> {
    let beyond = exchange.passing.as_mut().and_then(|it| it.beyond.as_mut());
    if beyond.and_then(|beyond| beyond.hops.pop()).is_some() {
        // Another parent, or the origin.
        error.set_retry(true);
        return error;
    }
    let failed = connect_error(&error);
    let again = give_up(exchange, failed);
    error.set_retry(again);
    error
}

/// Whether another attempt is made after one that broke off.
pub(super) fn broken_off(
    exchange: &mut Exchange,
    mut error: Box<Error>,
    replay: Replay,
) -> Box<Error> {
    let origins_fault = *error.esource() == ErrorSource::Upstream;
    if exchange.status.is_some() || !origins_fault {
        if origins_fault {
            ended_early(exchange, &error);
        }
        error.set_retry(false);
        return error;
    }
    if *error.etype() == GIVEN_UP {
        error.set_retry(true);
        return error;
    }
    let failed = match *error.etype() == REFUSED_RESPONSE {
        true => UpstreamError::Malformed,
        false => response_error(&error).before_the_response(),
    };
    let mut passing = exchange.passing.as_mut();
    if let Some(mut step) = passing.as_mut().and_then(|passing| passing.step.take()) {
        step.fail(failed.proxy_status());
    }
    let beyond = passing.as_mut().and_then(|it| it.beyond.as_mut());
    if let Some(beyond) = beyond.filter(|beyond| !beyond.hops.is_empty()) {
        // Another parent, or the origin.
        beyond.hops.pop();
        error.set_retry(replay != Replay::Never);
        return error;
    }
    let again = match passing.and_then(|passing| passing.way.as_mut()) {
        // The origin closed a connection that nobody used: nothing was asked.
        Some(way)
            if replay == Replay::Reused
                && failed == UpstreamError::Terminated
                && way.dead < DEAD_CONNECTIONS_MAX =>
        {
            way.dead += 1;
            true
        }
        _ => give_up(exchange, failed),
    };
    error.set_retry(again);
    error
}

/// The origin began a response and did not end it.
fn ended_early(exchange: &Exchange, error: &Error) {
    let passing = exchange.passing.as_ref();
    let way = passing.and_then(|passing| passing.way.as_ref());
    if let Some(candidate) = way.and_then(|way| way.candidate.as_ref()) {
        candidate.broke_off(response_error(error));
    }
}

/// Whether a request that broke off can be sent again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Replay {
    /// It can, and was on a pooled connection.
    Reused,
    /// It can, and was on a connection that was made for it.
    Made,
    Never,
}

/// Ends an attempt; true where there is another.
fn give_up(exchange: &mut Exchange, failed: UpstreamError) -> bool {
    let passing = exchange.passing.as_mut();
    let Some(way) = passing.and_then(|passing| passing.way.as_mut()) else {
        return false;
    };
    if let Some(candidate) = way.candidate.take() {
        candidate.failed(failed);
    }
    let failed = failed.attempt();
    failed.is_some_and(|failed| way.attempts.again(failed))
}

/// The head that the node sends on, on a connection of this version, of the request that Pingora has as `asked`.
pub(super) fn prepare_request(
    node: &Node,
    (asked, version): (&RequestHeader, Version),
    exchange: &mut Exchange,
) -> Result<RequestHeader> {
    let (request, passing) = parts(exchange)?;
    let first = passing.asked.is_none();
    passing.sent = Some(node.clock.now());
    passing.asked = Some(node.clock.instant());
    if let Some(beyond) = &mut passing.beyond {
        beyond.begun = node.purges.latest();
    }
    match hop(passing) {
        Some(hop) => request.trail.goes_to(hop.address, Whose::Node),
        None => {
            request.spent().asked(match first {
                true => Asked::Pass,
                false => Asked::Retry,
            });
            if let Some(address) = candidate(passing)?.address() {
                request.trail.goes_to(address, Whose::Origin);
            }
        }
    }
    passing.copying = match hop(passing) {
        // How old it is in the order of purges, only its parent knows.
        Some(_) => Copying::No,
        None => Copying::ask(node, &request),
    };
    let mut headers = outbound::headers(&request, &node.marks());
    outbound::restore_framing(&mut headers, &request);
    if version != Version::HTTP_2 {
        outbound::restore_upgrade(&mut headers, &request);
    } else if request.headers().contains_key(TE) {
        // RFC 9113 §8.2.2: the one value that may be sent. gRPC servers insist on it.
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    match (hop(passing), &request.site.common.tier) {
        (Some(_), Some(tier)) => tier.introduce_passing(&mut headers, &request),
        _ => outbound::name_host(&mut headers, &candidate(passing)?.origin),
    }
    if let Some(trace) = &request.trace {
        passing.step = begin_step(&request, passing);
        trace.mark(&mut headers, passing.step.as_ref());
    }
    let mut head = http::Request::new(()).into_parts().0;
    head.method = asked.method.clone();
    head.uri = asked.uri.clone();
    head.version = version;
    head.headers = headers;
    let mut head = RequestHeader::from(head);
    if let Cow::Owned(target) = request.origin_target() {
        head.set_raw_path(target.as_bytes())?;
    }
    Ok(head)
}

/// Checks the response, lets it act on what is stored, and marks it.
pub(super) async fn take_response(
    node: &Node,
    response: ResponseHeader,
    exchange: &mut Exchange,
) -> Result<ResponseHeader> {
    let mut head = http::response::Parts::from(response);
    let headers = &mut head.headers;
    take_head(node, (head.status, head.version), headers, exchange).await?;
    invalidate_groups(node, head.status, headers, exchange).await;
    // Nobody asks how the fields' names were written.
    Ok(ResponseHeader::from(head))
}

async fn take_head(
    node: &Node,
    (status, version): (StatusCode, Version),
    headers: &mut HeaderMap,
    exchange: &mut Exchange,
) -> Result<()> {
    let (request, passing) = parts(exchange)?;
    if status == StatusCode::SWITCHING_PROTOCOLS && request.head.upgrade == Upgrade::None {
        return Err(refused("a switch of protocols that nobody asked for"));
    }
    if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
        passing.interim += 1;
        if passing.interim > INTERIM_RESPONSES_MAX {
            return Err(refused("no end of interim responses"));
        }
        cache::vouch_interim(&request, status, headers);
        return Ok(());
    }
    request.trail.received(status);
    if let Some(mut step) = passing.step.take() {
        step.set("http.response.status_code", status.as_u16());
    }
    if let Some(asked) = passing.asked {
        request.spent().answered(node.clock.instant() - asked);
    }
    node.hints.learn(&request, status, headers);
    let why = passing.why;
    if hop(passing).is_none()
        && let Some(way) = &mut passing.way
    {
        if let Some(candidate) = &way.candidate {
            candidate.answered(status);
        }
        if way.attempts.is_given_up(status) {
            way.candidate = None;
            return Err(Error::explain(GIVEN_UP, "another origin is asked").into_up());
        }
    }
    let begun = passing.beyond.as_ref().map(|beyond| beyond.begun);
    let unknown = request.site.origins.unknown_coding;
    if fetch::check(status, headers, version, unknown).is_err() {
        return Err(refused("a malformed head"));
    }
    if status != StatusCode::SWITCHING_PROTOCOLS {
        policy::hop_by_hop::remove(headers);
        request.site.edits.response.apply(headers);
    }
    let now = node.clock.now();
    let answer = policy::store::Exchange {
        method: request.method(),
        request: request.headers(),
        status,
        response: headers,
        request_time: passing.sent.unwrap_or(now),
        response_time: now,
        aging: policy::store::Aging::Conservative,
    };
    act(node, &request, passing, &answer).await;
    let copied = passing.copying.begin(node, &request, &answer);
    let outcome = Outcome::Forwarded(Forwarded {
        why,
        status: Some(status),
        answer: copied.map_or(Answer::NotStored(NotStored::PassedBy), Answer::Stored),
        share: Share::Alone,
    });
    let key = (request.site.show_key == ShowKey::Yes).then(|| request.key_text());
    exchange.outcome = Some(outcome.clone());
    exchange.note(node.log.response_fields(), headers);
    cache::withhold(&request, headers);
    cache::tell_way(node, &request, headers);
    let told = Told {
        key: key.as_deref(),
        ..Told::default()
    };
    cache::mark(node, headers, &outcome, told);
    if let Some(peer) = &exchange.peer {
        exchange.born = begun.and_then(|begun| node.purges.vouch_passed(begun, peer.here));
    }
    cache::vouch(node, exchange, status, headers);
    exchange.begins(node.clock.instant(), status, headers);
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
        && policy::store::decide(answer, &treatment.settings).is_ok()
        && request
            .guard(
                answer.status,
                answer.response,
                treatment.settings.deception_guard,
            )
            .is_ok()
    {
        // It can be stored by now: the next request will.
        node.uncacheable.forget(request.storage_key());
    }
    let selected = passing.selected.as_ref();
    if let (Some(object), true) = (selected, *answer.method == Method::HEAD)
        && let Some(cached) = object.head().cached()
    {
        match policy::freshen::freshen_from_head(
            &cached.stored.unpacked(),
            answer,
            &treatment.settings,
        ) {
            HeadVerdict::Updated(stored) => {
                let labels = node.purges.labels(request, &stored.headers);
                let membership = cached.membership.relabelled(labels);
                let head = cache::Head::kept(stored, membership, cached.extent, cached.uri());
                let head = Arc::new(head);
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
async fn invalidate_groups(
    node: &Node,
    status: StatusCode,
    headers: &HeaderMap,
    exchange: &Exchange,
) {
    let succeeded = status.is_success() || status.is_redirection();
    if let Some(request) = &exchange.request {
        node.invalidate_groups(request, succeeded, headers).await;
    }
}

/// Notes content on its way to the client.
pub(super) fn take_content(node: &Node, data: Option<&Bytes>, end: bool, exchange: &mut Exchange) {
    let length = data.map_or(0, Bytes::len);
    if let (Some(request), true) = (&exchange.request, length > 0) {
        request.spent().received(Asked::Pass, length);
    }
    if let Some(passing) = &mut exchange.passing {
        passing.copying.take(node, data, end);
    }
}

/// Why a request that passed by got no response.
pub(super) fn failure(exchange: &mut Exchange, error: &Error) -> UpstreamError {
    let failure = match (error.etype(), error.esource()) {
        (kind, _) if *kind == UNRESOLVED => UpstreamError::Unresolved,
        (kind, _) if *kind == BARRED => UpstreamError::Barred,
        (kind, _) if *kind == FULL => UpstreamError::Full,
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
    ) || [NO_CONNECTION, NO_PORT].contains(error.etype())
}
