//! The adapter to Pingora: the only place that names it.
//!
//! Pingora moves bytes: its filter pipeline takes every request, its connectors hold the connections to the origins,
//! and its proxying streams what passes the cache by and has content. What the filters decide is decided elsewhere; here it is
//! gathered, recorded and translated.

mod client;
pub(crate) mod fetch;
pub(crate) mod link;
mod origin;
mod pass;
mod peer;
mod resume;
pub(crate) mod session;
mod straight;

use std::os::fd::RawFd;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use pingora_core::apps::HttpServerApp;
use pingora_core::modules::http::HttpModules;
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, HttpProxy, ProxyHttp, ProxyWarnLogContext, Session};
use policy::hints::Audience;
use purge_api::{Asked, Readiness};
use tokio::sync::watch;

pub(crate) use peer::Authorities;

use crate::cache::{self, Interrupted, Served};
use crate::downstream::{self, Facts, Shown};
use crate::exchange::{Exchange, Request};
use crate::node::Node;
use crate::outcome::{Local, Outcome};
use crate::queries::{self, Content};
use crate::tier::{LARDER_TIER, Sender, is_probe};
use client::SessionClient;
use pass::Replay;
use session::{Downstream, Inbound, Returned};

/// Libraries whose messages are held back: what clients and origins do wrong is told by outcomes, once.
pub const QUIET: &str =
    "pingora_core=error,pingora_proxy=off,hickory_resolver=error,hickory_net=error";

/// The pipeline of a node.
pub(crate) struct Pipeline {
    proxy: Arc<HttpProxy<Filters>>,
    node: Arc<Node>,
    stopping: watch::Receiver<bool>,
}

impl Pipeline {
    pub(crate) fn new(node: Arc<Node>, stopping: watch::Receiver<bool>) -> Self {
        let settings = ServerConf {
            max_retries: usize::from(u8::MAX), // the filters count for themselves
            threads: node.threads,
            upstream_keepalive_pool_size: node.pool,
            ..ServerConf::default()
        };
        let filters = Filters {
            node: Arc::clone(&node),
        };
        let proxy = pingora_proxy::http_proxy(&Arc::new(settings), filters);
        Self {
            proxy: Arc::new(proxy),
            node,
            stopping,
        }
    }

    /// Takes an exchange through the pipeline and gives it back, unless it broke.
    pub(crate) async fn process(
        &self,
        mut exchange: downstream::Exchange,
        mut inbound: Inbound,
    ) -> Option<downstream::Exchange> {
        if queries::is_query(&inbound.head.method) {
            // Its way depends on its content.
            let most = self.node.in_force().query_content;
            inbound.content = match content(&mut exchange, most).await {
                Ok(content) => content,
                Err(error) => {
                    tracing::debug!(%error, "the content of a query did not come");
                    exchange.abandon();
                    return None;
                }
            };
        }
        let returned = Returned::default();
        let session = Downstream::new(exchange, inbound, Arc::clone(&returned));
        match session {
            Ok(session) => {
                let session = ServerSession::new_custom(Box::new(session));
                drop(self.proxy.process_new_http(session, &self.stopping).await);
            }
            Err(error) => tracing::warn!(%error, "a request that Pingora cannot represent"),
        }
        returned.lock().take()
    }
}

/// Reads a request's content, as long as it is not longer than `most` bytes.
async fn content(
    exchange: &mut downstream::Exchange,
    most: usize,
) -> Result<Content, downstream::ClientError> {
    let mut read = BytesMut::new();
    while read.len() <= most {
        let Some(data) = exchange.read_body().await? else {
            return Ok(Content::Whole(read.freeze()));
        };
        read.extend_from_slice(&data);
    }
    Ok(Content::Beginning(read.freeze()))
}

/// What the pipeline does at each step.
struct Filters {
    node: Arc<Node>,
}

impl Filters {
    /// Finds the request's site, or answers by itself.
    async fn admit(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
    ) -> Result<Option<Arc<Request>>> {
        let inbound = session.req_header().extensions.get::<Inbound>().cloned();
        let Some(Inbound {
            facts,
            head,
            content,
            request,
            aside,
        }) = inbound
        else {
            return Error::e_explain(ErrorType::InternalError, "a session without its request");
        };
        let head = match head.headers.contains_key(LARDER_TIER) {
            false => head,
            true => {
                let shown = (head, facts.shown);
                match Box::pin(self.receive_peer(session, exchange, shown)).await? {
                    Some(head) => head,
                    None => return Ok(None),
                }
            }
        };
        exchange.stranger = Some((Arc::clone(&head), Arc::clone(&facts)));
        let peer = exchange.peer.clone();
        if peer.is_none()
            && purge_api::may_purge(&head.method)
            && Box::pin(self.purge(session, exchange, &facts, &head)).await?
        {
            return Ok(None);
        }
        let site = {
            let in_force = self.node.in_force();
            in_force.sites.find(&head.authority.host).cloned()
        };
        let Some(site) = site else {
            let status = StatusCode::MISDIRECTED_REQUEST;
            Box::pin(self.refuse(session, exchange, status, "unknown-host")).await?;
            return Ok(None);
        };
        if self.node.guard.check(&head.headers).is_err() {
            let status = StatusCode::LOOP_DETECTED;
            Box::pin(self.refuse(session, exchange, status, "proxy_loop_detected")).await?;
            return Ok(None);
        }
        // Who of the clients is sent hints, the node says that faces them.
        aside.let_hints(match peer {
            Some(_) => site.early_hints != Audience::Nobody,
            None => site.early_hints.has(head.version),
        });
        let parts = (head, facts, content);
        let request = match (peer, request) {
            (Some(peer), _) => Arc::new(self.node.request_of_peer(parts, site, peer)),
            (None, Some(request)) => request,
            (None, None) => Arc::new(self.node.request(parts, site)),
        };
        exchange.stranger = None;
        exchange.request = Some(Arc::clone(&request));
        Ok(Some(request))
    }

    /// Finds out whether another node of a tier asks, and takes off what only those say. None where that was all.
    async fn receive_peer(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
        (head, shown): (Arc<wire::RequestHead>, Shown),
    ) -> Result<Option<Arc<wire::RequestHead>>> {
        let tier = self.node.in_force().common.tier.clone();
        let refused = match tier.map(|tier| tier.sender(&head, shown)) {
            None | Some(Ok(Sender::Client)) => None,
            Some(Ok(Sender::Peer(peer))) => {
                exchange.peer = Some(peer);
                None
            }
            Some(Ok(Sender::Unfit(peer, refused))) => {
                exchange.peer = Some(peer);
                Some(refused)
            }
            Some(Err(refused)) => Some(refused),
        };
        if let Some(refused) = refused {
            self.refuse(session, exchange, StatusCode::FORBIDDEN, refused.as_str())
                .await?;
            return Ok(None);
        }
        if exchange.peer.is_some() && is_probe(&head) {
            self.answer_probe(session, exchange).await?;
            return Ok(None);
        }
        let mut head = Arc::unwrap_or_clone(head);
        head.headers.remove(LARDER_TIER);
        Ok(Some(Arc::new(head)))
    }

    /// Tells another node whether this one takes requests.
    async fn answer_probe(&self, session: &mut Session, exchange: &mut Exchange) -> Result<()> {
        let (status, word) = match unready(purge_api::Node::readiness(&*self.node)) {
            Some(why) => (StatusCode::SERVICE_UNAVAILABLE, why),
            None => (StatusCode::OK, "ready"),
        };
        exchange.outcome = Some(Outcome::Local(Local::Probed(word)));
        let mut client = SessionClient(session);
        let (headers, message) = (http::HeaderMap::new(), format!("{word}\n"));
        let answered = cache::made_up(&self.node, exchange, &mut client, status, headers, message);
        answered.await.map_err(broken)
    }

    /// Answers a request that purges in one of the dialects.
    async fn purge(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
        facts: &Facts,
        head: &wire::RequestHead,
    ) -> Result<bool> {
        let node = &*self.node;
        // The one behind trusted proxies: they are on the list of many, their clients are not.
        let in_force = node.in_force_now();
        let sender = in_force
            .common
            .trust
            .sender(facts.client.ip(), &head.headers);
        let asked = Asked {
            client: sender.client,
            method: &head.method,
            host: &head.authority.host,
            target: &head.target,
            headers: &head.headers,
            body: Some(&[]),
        };
        let Some(answer) = in_force.api.client_dialect(&asked, node).await else {
            return Ok(false);
        };
        let (parts, body) = answer.into_parts();
        exchange.outcome = Some(Outcome::Local(if parts.status.is_success() {
            Local::Purged
        } else {
            Local::Refused("purge-refused")
        }));
        let message = String::from_utf8_lossy(&body).into_owned();
        let mut client = SessionClient(session);
        let headers = parts.headers;
        let answered = cache::made_up(node, exchange, &mut client, parts.status, headers, message);
        answered.await.map_err(broken)?;
        Ok(true)
    }

    async fn refuse(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
        status: StatusCode,
        why: &'static str,
    ) -> Result<()> {
        exchange.outcome = Some(Outcome::Local(Local::Refused(why)));
        let message = format!("{why}\n");
        let mut client = SessionClient(session);
        let headers = cache::told_error(&self.node, exchange, refusal_error(why), why);
        let answered =
            cache::made_up(&self.node, exchange, &mut client, status, headers, message).await;
        answered.map_err(broken)
    }
}

/// Why a node does not take requests of others, if it does not.
const fn unready(readiness: Readiness) -> Option<&'static str> {
    match readiness {
        Readiness::Ready | Readiness::Recovering { .. } => None,
        Readiness::Draining => Some("draining"),
        Readiness::Apart | Readiness::Replaying(_) => Some("purges-missing"),
        Readiness::Lagging(_) => Some("purges-lagging"),
    }
}

/// The error's name in `Proxy-Status` (RFC 9209 §2.3) for what the node refuses.
fn refusal_error(why: &str) -> &'static str {
    match why {
        "unknown-host" => "destination_not_found",
        "proxy_loop_detected" => "proxy_loop_detected",
        _ => "http_request_error",
    }
}

/// A response that was begun and not ended.
fn broken(why: Interrupted) -> Box<Error> {
    match why {
        Interrupted::Client => Error::new_down(ErrorType::ConnectionClosed),
        Interrupted::Origin => Error::new_up(ErrorType::ConnectionClosed),
        Interrupted::Unreadable | Interrupted::Disk => Error::new_in(ErrorType::ReadError),
    }
}

#[async_trait]
impl ProxyHttp for Filters {
    type CTX = Exchange;

    fn new_ctx(&self) -> Exchange {
        let clock = &self.node.clock;
        Exchange::new(clock.instant(), clock.now())
    }

    /// No modules: Pingora's compression has its own opinions.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        _reused: bool,
        _peer: &HttpPeer,
        _fd: RawFd,
        digest: Option<&Digest>,
        exchange: &mut Exchange,
    ) -> Result<()> {
        let socket = digest.and_then(|digest| digest.socket_digest.as_ref());
        let address = socket.and_then(|socket| socket.peer_addr()?.as_inet().copied());
        pass::reached(exchange, address);
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, exchange: &mut Exchange) -> Result<bool> {
        let Some(request) = self.admit(session, exchange).await? else {
            return Ok(true);
        };
        let mut client = SessionClient(session);
        match cache::serve(&self.node, exchange, &request, &mut client).await {
            Ok(Served::Answered) => Ok(true),
            Ok(Served::Pass(passing)) => {
                exchange.passing = Some(passing);
                let Some(client) = session.as_downstream_mut().as_custom_mut() else {
                    return Ok(false);
                };
                let client = &mut **client;
                if !straight::suits(client) {
                    return Ok(false);
                }
                straight::pass_on(&self.node, client, exchange).await?;
                Ok(true)
            }
            Err(why) => Err(broken(why)),
        }
    }

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        exchange: &mut Exchange,
    ) -> Result<Box<HttpPeer>> {
        pass::choose_peer(&self.node, exchange).await
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        upstream: &mut RequestHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        let asked = (&*upstream, upstream.version);
        *upstream = pass::prepare_request(&self.node, asked, exchange)?;
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        _session: &mut Session,
        response: &mut ResponseHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        let blank = http::Response::new(()).into_parts().0;
        let came = std::mem::replace(response, blank.into());
        *response = pass::take_response(&self.node, came, exchange).await?;
        Ok(())
    }

    fn upstream_response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        exchange: &mut Exchange,
    ) -> Result<Option<std::time::Duration>> {
        pass::take_content(&self.node, body.as_ref(), end, exchange);
        Ok(None)
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        exchange: &mut Exchange,
        error: Box<Error>,
    ) -> Box<Error> {
        pass::not_connected(exchange, error)
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        exchange: &mut Exchange,
        reused: bool,
    ) -> Box<Error> {
        let replayable =
            session.req_header().method.is_safe() && !session.as_ref().retry_buffer_truncated();
        let replay = match (replayable, reused) {
            (true, true) => Replay::Reused,
            (true, false) => Replay::Made,
            (false, _) => Replay::Never,
        };
        pass::broken_off(exchange, error, replay)
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        exchange: &mut Exchange,
    ) -> FailToProxy
    where
        Self::CTX: Send + Sync,
    {
        let error_code = if session.response_written().is_some() {
            0
        } else {
            self.answer_failure(session, error, exchange).await
        };
        FailToProxy {
            error_code,
            can_reuse_downstream: false,
        }
    }

    async fn logging(
        &self,
        session: &mut Session,
        _error: Option<&Error>,
        exchange: &mut Exchange,
    ) {
        if let Some(Outcome::Local(Local::Probed(_))) = exchange.outcome {
            return;
        }
        let sent = session.body_bytes_sent() as u64;
        self.node.finished(exchange, sent);
    }

    fn suppress_error_log(&self, _session: &Session, _exchange: &Exchange, _error: &Error) -> bool {
        true // the exchange's outcome tells it
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _exchange: &Exchange,
        _error: &Error,
        _context: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}

impl Filters {
    /// Answers a request that failed before its response began. Returns the status, or 0 where nobody is left to read it.
    async fn answer_failure(
        &self,
        session: &mut Session,
        error: &Error,
        exchange: &mut Exchange,
    ) -> u16 {
        tracing::debug!(%error, "a request failed");
        let mut client = SessionClient(session);
        let node = &self.node;
        let (status, answered) = match (error.esource(), error.etype()) {
            (ErrorSource::Downstream, ErrorType::HTTPStatus(status)) => {
                exchange.outcome = Some(Outcome::Local(Local::Refused("malformed")));
                let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_REQUEST);
                let message = "malformed request content\n".to_owned();
                let error = refusal_error("malformed");
                let headers = cache::told_error(node, exchange, error, &message);
                let answered =
                    cache::made_up(node, exchange, &mut client, status, headers, message);
                (status, answered.await)
            }
            (ErrorSource::Downstream, _) => return 0,
            _ => {
                let failure = pass::failure(exchange, error);
                let answered = cache::answer_failure(node, exchange, failure, &mut client);
                (failure.status(), answered.await)
            }
        };
        if answered.is_err() {
            return 0;
        }
        status.as_u16()
    }
}
