//! Requests without content to an origin, over Pingora's pooled connections.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use pingora_core::connectors::ConnectorOptions;
use pingora_core::connectors::http::Connector;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType};
use pingora_http::RequestHeader;
use policy::time::Timestamp;
use tiered::SpanId;
use tiered::landmark::Landmark;
use tiered::retry::Replay;
use tokio::sync::mpsc;
use wire::{Authority, Lie, UnknownCoding};

use super::link::{NO_CONNECTION, NO_PORT};
use super::peer::{Authorities, peer};
use super::resume::{Rest, Resume};
use crate::cache::Interim;
use crate::clock::Clock;
use crate::error::UpstreamError;
use crate::exchange::Request;
use crate::metrics::Asked;
use crate::origins::attempts::{Attempts, Candidate, Place, Plan};
use crate::origins::names::Names;
use crate::origins::slots::Queueing;
use crate::origins::{Origin, Transport, outbound};
use crate::proxy_status::{Trail, Whose};
use crate::sites::Site;
use crate::spent::Spent;
use crate::telemetry::{self, Open, Trace};
use crate::tier::{self, Answer, Broken, Incoming, Source};

/// Pooled connections that may turn out to be closed before a request gets a new one.
pub(crate) const DEAD_CONNECTIONS_MAX: usize = 16;
/// Interim responses that an origin may send before its response.
pub(crate) const INTERIM_RESPONSES_MAX: usize = 16;

/// Asks origins.
pub(crate) struct Fetcher {
    connector: Arc<Connector>,
    names: Arc<Names>,
    authorities: Arc<Authorities>,
    clock: Arc<Clock>,
}

/// What an origin is asked.
pub(crate) struct Asking<'a> {
    pub method: Method,
    /// Path and query.
    pub target: &'a str,
    pub authority: &'a Authority,
    pub headers: HeaderMap,
    /// Of a QUERY.
    pub content: Option<Bytes>,
    pub trail: &'a Trail,
    pub site: &'a Arc<Site>,
    /// The request of a client, where it is for one.
    pub on_behalf: Option<&'a Request>,
    pub queueing: Queueing,
    /// Who pays, and for what.
    pub spent: &'a Arc<Spent>,
    pub kind: Asked,
    /// The step of the client's trace that it belongs to; none is the request itself.
    pub step: Option<SpanId>,
    /// For whom, where it may go through a parent.
    pub through: Option<Through<'a>>,
}

/// A request that may go through a parent.
#[derive(Clone, Copy)]
pub(crate) struct Through<'a> {
    pub request: &'a Request,
    /// A purge that the answer must not be older than.
    pub least: Option<Landmark>,
    /// The request once more, where a body that breaks off is to be gone on with.
    pub again: Option<&'a Arc<Request>>,
    /// A parent that is not to be asked.
    pub without: Option<&'a str>,
}

/// A response, its content still to come.
pub(crate) struct Fetched {
    pub status: StatusCode,
    /// The status as it was sent, whatever is made of it.
    pub said: StatusCode,
    /// Without the fields that belong to the connection it came on.
    pub headers: HeaderMap,
    pub request_time: Timestamp,
    pub response_time: Timestamp,
    pub source: Source,
    carrier: Carrier,
    /// For a body that a parent does not bring to its end.
    resume: Option<Box<Resume>>,
    spent: Arc<Spent>,
    kind: Asked,
}

/// What a response's content comes on.
pub(super) enum Carrier {
    Origin(Box<FromOrigin>),
    Parent(Box<Incoming>),
}

/// A connection to an origin, while it is used.
pub(super) struct FromOrigin {
    session: HttpSession,
    peer: Box<HttpPeer>,
    /// Whose response it is, with its place among the origin's requests until it is read. None where it is a probe's.
    candidate: Option<Candidate>,
    connector: Arc<Connector>,
}

/// An attempt that brought no response.
struct Attempt {
    error: UpstreamError,
    connection: Connection,
}

/// What the connection was on which an attempt failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Connection {
    /// Made for it, or not made.
    New,
    /// A pooled one, which had been closed meanwhile.
    Dead,
}

impl Fetcher {
    pub(crate) fn new(
        names: Arc<Names>,
        authorities: Arc<Authorities>,
        clock: Arc<Clock>,
        pool: usize,
    ) -> Self {
        let connector = Arc::new(Connector::new(Some(ConnectorOptions::new(pool))));
        Self {
            connector,
            names,
            authorities,
            clock,
        }
    }

    /// Where its connections are.
    pub(super) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// Sends a request to a parent, or, where there is none, to an origin, and returns the response's head. Interim
    /// responses of an origin go to `interim`.
    ///
    /// # Errors
    /// The last attempt's [`UpstreamError`].
    pub(crate) async fn fetch(
        self: &Arc<Self>,
        asking: Asking<'_>,
        interim: &mpsc::Sender<Interim>,
    ) -> Result<Fetched, UpstreamError> {
        if let (Some(tier), Some(through)) = (&asking.site.common.tier, asking.through) {
            match Box::pin(tier.ask(&asking, through, interim)).await? {
                tier::Way::Answered(answer) => return self.of_parent(*answer, &asking, through),
                tier::Way::Direct => {}
            }
        }
        self.fetch_from_origin(asking, interim).await
    }

    fn of_parent(
        self: &Arc<Self>,
        answer: Answer,
        asking: &Asking<'_>,
        through: Through<'_>,
    ) -> Result<Fetched, UpstreamError> {
        let Answer {
            mut incoming,
            parent,
            source,
            supplier,
            request_time,
        } = answer;
        let status = incoming.status;
        let mut headers = std::mem::take(&mut incoming.headers);
        asking.trail.goes_to(incoming.address, Whose::Node);
        asking.trail.supplied_by(supplier);
        asking.trail.received(status);
        let unknown = asking.site.origins.unknown_coding;
        check(status, &headers, Version::HTTP_2, unknown)?;
        policy::hop_by_hop::remove(&mut headers);
        let resume = through.again.and_then(|again| {
            let from = (parent, source.here());
            Resume::new(self, (asking, again), from, (status, &headers))
        });
        Ok(Fetched {
            status,
            said: status,
            headers,
            request_time,
            response_time: self.clock.now(),
            source,
            carrier: Carrier::Parent(Box::new(incoming)),
            resume,
            spent: Arc::clone(asking.spent),
            kind: asking.kind,
        })
    }

    /// Sends a request to an origin, to another one or another address where one does not answer.
    async fn fetch_from_origin(
        &self,
        asking: Asking<'_>,
        interim: &mpsc::Sender<Interim>,
    ) -> Result<Fetched, UpstreamError> {
        let mut attempts = Attempts::new(asking.site, asking.plan());
        let mut kind = asking.kind;
        loop {
            let now = self.clock.instant().into();
            let candidate = attempts.next(&self.names, now).await?;
            let mut fetched = match self.ask(&candidate, (&asking, kind), interim).await {
                Ok(fetched) => fetched,
                Err(error) => {
                    kind = Asked::Retry;
                    candidate.failed(error);
                    match error.attempt() {
                        Some(failed) if attempts.again(failed) => continue,
                        _ => return Err(error),
                    }
                }
            };
            candidate.answered(fetched.said);
            if attempts.is_given_up(fetched.said) {
                kind = Asked::Retry;
                fetched.give_up().await;
                continue;
            }
            fetched.holds(candidate);
            return Ok(fetched);
        }
    }

    /// Asks one origin, past all that chooses among them, and returns the status of its response.
    pub(crate) async fn probe(
        &self,
        (origin, place): (&Arc<Origin>, Place),
        asking: Asking<'_>,
        interim: &mpsc::Sender<Interim>,
    ) -> Option<StatusCode> {
        let candidate = Candidate::probe(asking.site, origin, place, &asking.plan());
        let fetched = self.ask(&candidate, (&asking, asking.kind), interim).await;
        let fetched = fetched
            .inspect_err(|error| tracing::debug!(%error, origin = origin.label, "a probe failed"))
            .ok()?;
        let status = fetched.said;
        fetched.release().await;
        Some(status)
    }

    /// Asks an origin, on a new connection where pooled ones turn out to be closed.
    async fn ask(
        &self,
        candidate: &Candidate,
        (asking, mut kind): (&Asking<'_>, Asked),
        interim: &mpsc::Sender<Interim>,
    ) -> Result<Fetched, UpstreamError> {
        let mut dead = 0;
        loop {
            match self.attempt(candidate, (asking, kind), interim).await {
                Ok(fetched) => return Ok(fetched),
                Err(failed)
                    if failed.connection == Connection::Dead && dead < DEAD_CONNECTIONS_MAX =>
                {
                    dead += 1;
                    kind = Asked::Retry;
                }
                Err(failed) => return Err(failed.error),
            }
        }
    }

    async fn attempt(
        &self,
        candidate: &Candidate,
        (asking, kind): (&Asking<'_>, Asked),
        interim: &mpsc::Sender<Interim>,
    ) -> Result<Fetched, Attempt> {
        let mut step = asking.begin_step(candidate, kind);
        let attempted = self.attempt_within(candidate, (asking, kind), interim, step.as_ref());
        let attempted = attempted.await;
        if let Some(step) = &mut step {
            match &attempted {
                Ok(fetched) => step.set("http.response.status_code", fetched.said.as_u16()),
                Err(failed) => step.fail(failed.error.proxy_status()),
            }
        }
        attempted
    }

    async fn attempt_within(
        &self,
        candidate: &Candidate,
        (asking, kind): (&Asking<'_>, Asked),
        interim: &mpsc::Sender<Interim>,
        step: Option<&Open>,
    ) -> Result<Fetched, Attempt> {
        let timeouts = &asking.site.origins.timeouts;
        let peer = Box::new(peer(candidate, timeouts, &self.authorities));
        if let Some(address) = candidate.address() {
            asking.trail.goes_to(address, Whose::Origin);
        }
        let connect = asking.begin_connect(step);
        let connected = Box::pin(self.connector.get_http_session(&*peer)).await;
        let (mut session, reused) = connected.map_err(|error| Attempt {
            error: connect_error(&error),
            connection: Connection::New,
        })?;
        if let Some(address) = session.server_addr().and_then(|it| it.as_inet()) {
            candidate.reached(*address);
        }
        if reused && let Some(connect) = connect {
            connect.forget();
        }
        let site = asking.site;
        asking.spent.asked(kind);
        let asked = self.clock.instant();
        session.set_read_timeout(Some(timeouts.first_byte));
        let request_time = self.clock.now();
        let sent = send(&mut session, candidate, asking, step).await;
        let read = match sent {
            Ok(()) => read_head(&mut session, interim).await,
            Err(error) => Err(error),
        };
        if let Err(error) = read {
            session.shutdown().await;
            let error = response_error(&error).before_the_response();
            let connection = match error {
                UpstreamError::Terminated if reused => Connection::Dead,
                _ => Connection::New,
            };
            return Err(Attempt { error, connection });
        }
        session.set_read_timeout(Some(timeouts.between_bytes));
        asking.spent.answered(self.clock.instant() - asked);
        let refused = |error| Attempt {
            error,
            connection: Connection::New,
        };
        if let Some(head) = session.response_header() {
            asking.trail.received(head.status);
        }
        let (status, headers) = understand(&session, site).map_err(refused)?;
        Ok(Fetched {
            status,
            said: status,
            headers,
            request_time,
            response_time: self.clock.now(),
            source: Source::Origin,
            carrier: Carrier::Origin(Box::new(FromOrigin {
                session,
                peer,
                candidate: None,
                connector: Arc::clone(&self.connector),
            })),
            resume: None,
            spent: Arc::clone(asking.spent),
            kind,
        })
    }
}

impl Asking<'_> {
    /// The trace that it belongs to.
    pub(crate) fn trace(&self) -> Option<&Arc<Trace>> {
        self.on_behalf.and_then(|request| request.trace.as_ref())
    }

    /// An attempt at an origin, as a step of the trace.
    fn begin_step(&self, candidate: &Candidate, kind: Asked) -> Option<Open> {
        let mut step = self.begin_request(kind)?;
        let origin = &candidate.origin;
        telemetry::asks_origin(&mut step, self.trace()?, self.target, origin);
        if let Some(address) = candidate.address() {
            step.set("network.peer.address", address.ip().to_string());
            step.set("network.peer.port", address.port());
        }
        Some(step)
    }

    /// A request to somebody beyond the node, as a step of the trace.
    pub(crate) fn begin_request(&self, kind: Asked) -> Option<Open> {
        let trace = self.trace()?;
        let method = self.method.as_str();
        let name = telemetry::name_of(method);
        let mut step = trace.begin(name, telemetry::Kind::Client, self.step)?;
        step.set("http.request.method", telemetry::told_method(method));
        step.set("larder.kind", kind.as_str());
        Some(step)
    }

    fn begin_connect(&self, step: Option<&Open>) -> Option<Open> {
        let within = step?.id();
        self.trace()?
            .begin("connect", telemetry::Kind::Internal, within)
    }

    fn plan(&self) -> Plan {
        let harmless = self.method.is_safe() && self.content.is_none();
        let replay = match harmless {
            true => Replay::Harmless,
            false => Replay::Harmful,
        };
        let plan = match self.on_behalf {
            Some(request) => request.plan(),
            None => Plan::of_the_node(self.site),
        };
        Plan {
            replay,
            queueing: self.queueing,
            ..plan
        }
    }
}

async fn send(
    session: &mut HttpSession,
    candidate: &Candidate,
    asking: &Asking<'_>,
    step: Option<&Open>,
) -> Result<(), Box<Error>> {
    let mut headers = asking.headers.clone();
    outbound::name_host(&mut headers, &candidate.origin);
    if let Some(trace) = asking.trace() {
        trace.mark(&mut headers, step);
    }
    let content = asking.content.clone();
    if let Some(content) = &content {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(content.len()));
    }
    let fields = Some(headers.len());
    let mut request =
        RequestHeader::build(asking.method.clone(), asking.target.as_bytes(), fields)?;
    match session {
        HttpSession::H2(session) => {
            // RFC 9113 §8.3.1: the authority is a pseudo-header field.
            let host = headers.remove(header::HOST);
            let authority = host.as_ref().and_then(|host| host.to_str().ok());
            let uri = http::Uri::builder()
                .scheme(scheme(&candidate.origin.transport))
                .authority(authority.map_or_else(|| asking.authority.to_string(), str::to_owned))
                .path_and_query(asking.target)
                .build();
            let invalid = |error| Error::because(ErrorType::InternalError, "target", error);
            request.set_uri(uri.map_err(invalid)?);
            request.set_version(Version::HTTP_2);
            append(&mut request, &headers)?;
            session.write_request_header(Box::new(request), content.is_none())?;
            match content {
                Some(content) => session.write_request_body(content, true).await,
                None => Ok(()),
            }
        }
        HttpSession::H1(session) => {
            request.set_version(Version::HTTP_11);
            append(&mut request, &headers)?;
            session.write_request_header(Box::new(request)).await?;
            if let Some(content) = content {
                session.write_body(&content).await?;
                session.finish_body().await?;
            }
            Ok(())
        }
        HttpSession::Custom(()) => Err(Error::new(ErrorType::InternalError)),
    }
}

const fn scheme(transport: &Transport) -> &'static str {
    match transport {
        Transport::Plain => "http",
        Transport::Tls { .. } => "https",
    }
}

fn append(request: &mut RequestHeader, headers: &HeaderMap) -> Result<(), Box<Error>> {
    for (name, value) in headers {
        request.append_header(name.clone(), value.clone())?;
    }
    Ok(())
}

/// Reads up to the head of the final response.
async fn read_head(
    session: &mut HttpSession,
    interim: &mpsc::Sender<Interim>,
) -> Result<(), Box<Error>> {
    for _ in 0..=INTERIM_RESPONSES_MAX {
        session.read_response_header().await?;
        let Some(head) = session.response_header() else {
            break;
        };
        match head.status {
            StatusCode::SWITCHING_PROTOCOLS => break,
            status if status.is_informational() => {
                let mut headers = copied(&head.headers);
                policy::hop_by_hop::remove(&mut headers);
                if status != StatusCode::CONTINUE {
                    // A client that does not keep up with interim responses does without them.
                    drop(interim.try_send(Interim { status, headers }));
                }
            }
            _ => {
                if let HttpSession::H1(session) = session {
                    session.respect_keepalive();
                }
                return Ok(());
            }
        }
    }
    Error::e_explain(ErrorType::InvalidHTTPHeader, "no final response")
}

/// Checks a response's head, and takes from it what goes on.
fn understand(
    session: &HttpSession,
    site: &Site,
) -> Result<(StatusCode, HeaderMap), UpstreamError> {
    let head = session.response_header().ok_or(UpstreamError::Malformed)?;
    let status = head.status;
    let mut headers = copied(&head.headers);
    if let HttpSession::H1(session) = session {
        framed_once(&session.get_headers_raw_bytes())?;
    }
    check(status, &headers, head.version, site.origins.unknown_coding)?;
    policy::hop_by_hop::remove(&mut headers);
    site.edits.response.apply(&mut headers);
    Ok((status, headers))
}

/// Refuses a head with both `Content-Length` and `Transfer-Encoding` (RFC 9112 §6.3). Pingora shows the second only.
fn framed_once(head: &[u8]) -> Result<(), UpstreamError> {
    let has = |name: &[u8]| {
        let mut lines = head.split(|byte| *byte == b'\n');
        lines.any(|line| {
            let (field, rest) = line.split_at_checked(name.len()).unwrap_or_default();
            // Pingora forgives white space before the colon (RFC 9112 §5.1).
            field.eq_ignore_ascii_case(name) && rest.trim_ascii_start().first() == Some(&b':')
        })
    };
    if has(b"content-length") && has(b"transfer-encoding") {
        tracing::warn!("an origin's response with two framings is refused");
        return Err(UpstreamError::Malformed);
    }
    Ok(())
}

/// Refuses what must not be passed on: ambiguous framing, statuses that are none, forged fields.
pub(crate) fn check(
    status: StatusCode,
    headers: &HeaderMap,
    version: Version,
    unknown_coding: UnknownCoding,
) -> Result<(), UpstreamError> {
    // HTTP/2 frames its messages by itself; the other checks are the same.
    let version = match version {
        Version::HTTP_2 => Version::HTTP_11,
        version => version,
    };
    match wire::check_response(status.as_u16(), headers, version, unknown_coding) {
        Ok(_) => Ok(()),
        Err(lie) => {
            tracing::warn!(%lie, "an origin's response is refused");
            Err(match lie {
                Lie::TransferCoding => UpstreamError::TransferCoding,
                _ => UpstreamError::Malformed,
            })
        }
    }
}

/// Fields that do not keep the network buffer alive that they were read into.
fn copied(headers: &HeaderMap) -> HeaderMap {
    let copy = |(name, value): (&http::HeaderName, &HeaderValue)| {
        let value = HeaderValue::from_bytes(value.as_bytes()).ok()?;
        Some((name.clone(), value))
    };
    let mut copies = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers.iter().filter_map(copy) {
        copies.append(name, value);
    }
    copies
}

impl Fetched {
    /// What the policy is to know of it, as the answer to `request`.
    pub(crate) fn policy_exchange<'a>(
        &'a self,
        request: &'a Request,
    ) -> policy::store::Exchange<'a> {
        policy::store::Exchange {
            method: request.method(),
            request: request.headers(),
            status: self.status,
            response: &self.headers,
            request_time: self.request_time,
            response_time: self.response_time,
            aging: self.source.aging(),
        }
    }

    /// Whether nobody waits for it.
    pub(crate) fn is_behind(&self) -> bool {
        self.spent.is_behind()
    }

    /// The next content; `None` at its regular end.
    ///
    /// # Errors
    /// [`UpstreamError`] where it ends otherwise.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        loop {
            match self.read().await {
                Ok(data) => {
                    if let (Some(resume), Some(data)) = (&mut self.resume, &data) {
                        resume.received(data);
                    }
                    return Ok(data);
                }
                Err(Broken::Message(error)) => return Err(error),
                Err(Broken::Connection) => {}
            }
            let rest = match &mut self.resume {
                Some(resume) => Box::pin(resume.go_on()).await,
                None => None,
            };
            match rest {
                Some(Rest::From(carrier)) => self.carrier = carrier,
                Some(Rest::Nothing) => return Ok(None),
                None => return Err(UpstreamError::Cut),
            }
        }
    }

    /// As [`Self::next`], and where it breaks off, that is the end.
    pub(super) async fn read(&mut self) -> Result<Option<Bytes>, Broken> {
        if let Some(ahead) = self.resume.as_mut().and_then(|resume| resume.ahead()) {
            return Ok(Some(ahead));
        }
        let connection = match &mut self.carrier {
            Carrier::Parent(incoming) => return incoming.next().await,
            Carrier::Origin(connection) => connection,
        };
        let data = connection.session.read_response_body().await;
        let data = data.map_err(|error| {
            let error = response_error(&error);
            if let Some(candidate) = connection.candidate.take() {
                candidate.broke_off(error);
            }
            Broken::Message(error)
        })?;
        if let Some(data) = &data {
            self.spent.received(self.kind, data.len());
        }
        Ok(data)
    }

    /// What it comes on, and from which parent, if it is from one.
    pub(super) fn into_carrier(self) -> (Carrier, Option<String>) {
        let parent = self.resume.map(|resume| resume.parent());
        (self.carrier, parent)
    }

    /// The content was read to its end, or there is none: the connection can be used again.
    pub(crate) async fn release(mut self) {
        let done = match &mut self.carrier {
            Carrier::Parent(_) => return, // its connection has others on it
            Carrier::Origin(connection) => connection.session.response_done(),
        };
        let done = done || matches!(self.next().await, Ok(None));
        let Carrier::Origin(connection) = self.carrier else {
            return;
        };
        let FromOrigin {
            mut session,
            peer,
            candidate,
            connector,
        } = *connection;
        if !done {
            return session.shutdown().await;
        }
        let idle: Option<Duration> = peer.options.idle_timeout;
        connector.release_http_session(session, &*peer, idle).await;
        drop(candidate);
    }

    /// Nobody wants its content.
    pub(super) async fn give_up(self) {
        if let Carrier::Origin(mut connection) = self.carrier {
            connection.session.shutdown().await;
        }
    }

    /// It is this candidate's, and has its place among the origin's requests until it is read.
    fn holds(&mut self, candidate: Candidate) {
        if let Carrier::Origin(connection) = &mut self.carrier {
            connection.candidate = Some(candidate);
        }
    }
}

/// Why there is no connection.
pub(crate) fn connect_error(error: &Error) -> UpstreamError {
    use ErrorType as E;
    match error.etype() {
        E::ConnectTimedout | E::TLSHandshakeTimedout => UpstreamError::ConnectTimeout,
        E::InvalidCert => UpstreamError::Tls,
        E::TLSHandshakeFailure | E::HandshakeError => UpstreamError::TlsHandshake,
        E::ConnectNoRoute => UpstreamError::Unroutable,
        E::ConnectRefused => UpstreamError::Refused,
        E::H2Error | E::InvalidH2 | E::H2Downgrade => UpstreamError::Malformed,
        kind if *kind == NO_CONNECTION => UpstreamError::Full,
        kind if *kind == NO_PORT => UpstreamError::NoPort,
        _ => UpstreamError::Unavailable,
    }
}

/// Why there is no response on a connection.
pub(crate) fn response_error(error: &Error) -> UpstreamError {
    use ErrorType as E;
    match error.etype() {
        E::ReadTimedout => UpstreamError::ResponseTimeout,
        E::WriteTimedout => UpstreamError::WriteTimeout,
        E::InvalidHTTPHeader | E::H1Error | E::InvalidH2 => UpstreamError::Malformed,
        _ => UpstreamError::Cut,
    }
}
