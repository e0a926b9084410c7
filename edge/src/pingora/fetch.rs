//! Requests that are made as a whole, to an origin or a parent: of fills, validations and probes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Version};
use pingora_core::{Error, ErrorType};
use policy::time::Timestamp;
use tiered::SpanId;
use tiered::landmark::Landmark;
use tiered::retry::Replay;
use tokio::sync::mpsc;
use wire::{Authority, Lie, UnknownCoding};

use super::link::{NO_CONNECTION, NO_PORT};
use super::origin::{Asked as Outgoing, Connections, Made, Session, Way};
use super::peer::Authorities;
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
    connections: Arc<Connections>,
    names: Arc<Names>,
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
    session: Session,
    way: Way,
    /// How long each piece of its content may take.
    between_bytes: Duration,
    /// Whose response it is, with its place among the origin's requests until it is read. None where it is a probe's.
    candidate: Option<Candidate>,
    connections: Arc<Connections>,
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
        Self {
            connections: Arc::new(Connections::new(authorities, pool)),
            names,
            clock,
        }
    }

    /// Its connections to origins.
    pub(super) fn connections(&self) -> &Connections {
        &self.connections
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
        if let Some(address) = candidate.address() {
            asking.trail.goes_to(address, Whose::Origin);
        }
        let connect = asking.begin_connect(step);
        let connected = self.connections.get(candidate, timeouts).await;
        let (mut session, way, made) = connected.map_err(|error| Attempt {
            error: connect_error(&error),
            connection: Connection::New,
        })?;
        if let Some(address) = session.address() {
            candidate.reached(address);
        }
        if made == Made::Before
            && let Some(connect) = connect
        {
            connect.forget();
        }
        asking.spent.asked(kind);
        let asked = self.clock.instant();
        let request_time = self.clock.now();
        let sent = session.ask(asking.outgoing(candidate, step), timeouts.between_bytes);
        let read = match sent.await {
            Ok(()) => read_head(&mut session, asking, interim).await,
            Err(error) => Err(response_error(&error)),
        };
        let (said, headers) = match read {
            Ok(read) => read,
            Err(error) => {
                session.end();
                let error = error.before_the_response();
                let connection = match error {
                    UpstreamError::Terminated if made == Made::Before => Connection::Dead,
                    _ => Connection::New,
                };
                return Err(Attempt { error, connection });
            }
        };
        asking.spent.answered(self.clock.instant() - asked);
        Ok(Fetched {
            status: said,
            said,
            headers,
            request_time,
            response_time: self.clock.now(),
            source: Source::Origin,
            carrier: Carrier::Origin(Box::new(FromOrigin {
                session,
                way,
                between_bytes: timeouts.between_bytes,
                candidate: None,
                connections: Arc::clone(&self.connections),
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

    /// What is sent to a candidate.
    fn outgoing(&self, candidate: &Candidate, step: Option<&Open>) -> Outgoing<'_> {
        let mut headers = self.headers.clone();
        outbound::name_host(&mut headers, &candidate.origin);
        if let Some(trace) = self.trace() {
            trace.mark(&mut headers, step);
        }
        Outgoing {
            method: &self.method,
            target: self.target,
            scheme: scheme(&candidate.origin.transport),
            headers,
            content: self.content.clone(),
        }
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

const fn scheme(transport: &Transport) -> &'static str {
    match transport {
        Transport::Plain => "http",
        Transport::Tls { .. } => "https",
    }
}

/// Reads up to the head of the final response, and takes from it what goes on.
async fn read_head(
    session: &mut Session,
    asking: &Asking<'_>,
    interim: &mpsc::Sender<Interim>,
) -> Result<(StatusCode, HeaderMap), UpstreamError> {
    let origins = &asking.site.origins;
    let limit = origins.timeouts.first_byte;
    for _ in 0..=INTERIM_RESPONSES_MAX {
        let answered = session.head(limit, origins.unknown_coding).await;
        let answered = answered.map_err(|error| response_error(&error))?;
        let (status, mut headers) = (answered.status, answered.headers);
        if status == StatusCode::SWITCHING_PROTOCOLS {
            break;
        }
        let is_final = !status.is_informational();
        if is_final {
            asking.trail.received(status);
        }
        if let Some(lie) = answered.lie {
            return Err(refused(lie));
        }
        policy::hop_by_hop::remove(&mut headers);
        if is_final {
            asking.site.edits.response.apply(&mut headers);
            return Ok((status, headers));
        }
        if status != StatusCode::CONTINUE {
            // A client that does not keep up with interim responses does without them.
            drop(interim.try_send(Interim { status, headers }));
        }
    }
    Err(UpstreamError::Malformed)
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
        Err(lie) => Err(refused(lie)),
    }
}

fn refused(lie: Lie) -> UpstreamError {
    tracing::warn!(%lie, "an origin's response is refused");
    match lie {
        Lie::TransferCoding => UpstreamError::TransferCoding,
        _ => UpstreamError::Malformed,
    }
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
        let data = connection.session.content(connection.between_bytes).await;
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
            Carrier::Origin(connection) => connection.session.is_done(),
        };
        let done = done || matches!(self.next().await, Ok(None));
        let Carrier::Origin(connection) = self.carrier else {
            return;
        };
        let FromOrigin {
            session,
            way,
            candidate,
            connections,
            ..
        } = *connection;
        match done {
            true => connections.keep(session, way).await,
            false => session.end(),
        }
        drop(candidate);
    }

    /// Nobody wants its content.
    pub(super) async fn give_up(self) {
        if let Carrier::Origin(connection) = self.carrier {
            connection.session.end();
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
