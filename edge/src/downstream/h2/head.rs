//! A request's head, by the rules of RFC 9113 §8.

use h2::RecvStream;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version, header};
use wire::{Authority, Framing, Persistence, Refusal, RequestHead, Upgrade};

use crate::downstream::Limits;

/// Reads a request's head by the rules of RFC 9113 §8.
///
/// # Errors
/// The [`Refusal`] that the client is answered with.
pub(crate) fn read_head(
    request: &Request<RecvStream>,
    limits: &Limits,
) -> Result<RequestHead, Refusal> {
    let (method, uri) = (request.method(), request.uri());
    if method == Method::CONNECT {
        return Err(Refusal::Connect);
    }
    check_scheme(uri)?;
    let mut headers = fields(request)?;
    let framing = framing(request)?;
    let expectation = wire::expectation_of(Version::HTTP_2, &headers, framing)?;
    let target = uri.path_and_query().ok_or(Refusal::Target)?.as_str();
    wire::check_size(method, target, &headers, &limits.wire)?;
    if target != "*" || method != Method::OPTIONS {
        wire::check_path(target)?;
    }
    let authority = authority(uri, &headers)?;
    if let Ok(host) = HeaderValue::try_from(authority.to_string()) {
        headers.insert(header::HOST, host);
    }
    Ok(RequestHead {
        method: method.clone(),
        version: Version::HTTP_2,
        scheme: None,
        authority,
        target: target.to_owned(),
        framing,
        headers,
        persistence: Persistence::KeepAlive,
        expectation,
        upgrade: Upgrade::None,
        nominated: Vec::new(),
    })
}

/// The request's fields, each checked, and as HTTP/1.1 would bring them.
fn fields(request: &Request<RecvStream>) -> Result<HeaderMap, Refusal> {
    let mut headers = request.headers().clone();
    for (name, value) in &headers {
        wire::check_field(name, value)?;
    }
    wire::join_cookies(&mut headers);
    // An offer to upgrade from HTTP/1.1, of which an origin could believe that it is for itself.
    headers.remove("http2-settings");
    Ok(headers)
}

/// RFC 9113 §8.3.1 allows schemes other than these, for which this node has no origin; an empty one is malformed.
fn check_scheme(uri: &Uri) -> Result<(), Refusal> {
    match uri.scheme_str() {
        Some("http" | "https") => Ok(()),
        // The framing has seen one, and cannot keep it without an authority.
        None if uri.authority().is_none() => Ok(()),
        Some(_) | None => Err(Refusal::Target),
    }
}

/// RFC 9113 §8.3.1: `:authority`, or else `Host`; a request in which they differ is malformed.
fn authority(uri: &Uri, headers: &HeaderMap) -> Result<Authority, Refusal> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => return Err(Refusal::HostRepeated),
        (Some(host), None) => {
            let host = host.to_str().map_err(|_opaque| Refusal::Authority)?;
            Some(wire::check_authority(host)?)
        }
        (None, _) => None,
    };
    let Some(named) = uri.authority() else {
        return host.ok_or(Refusal::HostMissing);
    };
    let named = wire::check_authority(named.as_str())?;
    if host.is_some_and(|host| host != named) {
        return Err(Refusal::HostMismatch);
    }
    Ok(named)
}

fn framing(request: &Request<RecvStream>) -> Result<Framing, Refusal> {
    let length = wire::content_length(request.headers())?;
    let has_ended = request.body().is_end_stream();
    if request.method() == Method::TRACE && !has_ended {
        return Err(Refusal::TraceContent);
    }
    match (length, has_ended) {
        (None | Some(0), true) => Ok(Framing::None),
        (Some(_), true) => Err(Refusal::ContentLength),
        (Some(length), false) => Ok(Framing::Length(length)),
        (None, false) => Ok(Framing::Chunked),
    }
}
