//! Requests that pass the cache by and have no content: to the origin and back in one future.
//!
//! Pingora's proxying streams in both directions at once, by two halves with queues between them. Where nothing is sent
//! on but a head, a loop does. At each step it asks what the pipeline's filters ask ([`pass`]), and what Pingora would
//! do with a failed attempt it does, too. Its connections are those of fills.

use std::sync::Arc;

use futures::FutureExt as _;
use http::{Method, StatusCode, Version, header};
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::protocols::http::custom::server::Session as Client;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};

use super::pass::{self, Replay};
use super::session::Inbound;
use crate::exchange::Exchange;
use crate::node::Node;

/// Pieces that leave together, as they came.
const PIECES_MAX: usize = 16;
/// Once there is as much of them, they leave.
const GATHERED_MAX: usize = 64 * 1024;

/// Whether nothing is to be sent on but the head.
pub(super) fn suits(client: &mut dyn Client) -> bool {
    let inbound = client.req_header().extensions.get::<Inbound>();
    let unread = inbound.is_some_and(|inbound| inbound.content.read().is_none());
    unread && client.is_body_empty() && client.is_body_done() && !client.is_upgrade_req()
}

/// Asks the origin, and passes its response on.
///
/// # Errors
/// The last attempt's, as Pingora's proxying has it.
pub(super) async fn pass_on(
    node: &Arc<Node>,
    client: &mut dyn Client,
    exchange: &mut Exchange,
) -> Result<()> {
    // How many there are, the filters decide before that.
    let mut left = u8::MAX;
    loop {
        match Box::pin(attempt(node, client, exchange)).await {
            Err(error) if error.retry() && left > 0 => left -= 1,
            ended => return ended,
        }
    }
}

async fn attempt(node: &Node, client: &mut dyn Client, exchange: &mut Exchange) -> Result<()> {
    let peer = pass::choose_peer(node, exchange).await?;
    let connector = node.fetcher.connector();
    let (session, reused) = match connector.get_http_session(&*peer).await {
        Ok(connected) => connected,
        Err(error) => return Err(pass::not_connected(exchange, error.into_up()).into_up()),
    };
    let address = session.server_addr().and_then(|it| it.as_inet().copied());
    pass::reached(exchange, address);
    let mut origin = Origin {
        session,
        awaited: Awaited::Head,
    };
    let passed = origin.exchange(node, client, exchange, &peer).await;
    let Err(error) = passed else {
        let idle = peer.options.idle_timeout;
        connector
            .release_http_session(origin.session, &*peer, idle)
            .await;
        return Ok(());
    };
    origin.give_up(node, &peer, &error).await;
    let replay = match (client.req_header().method.is_safe(), reused) {
        (true, true) => Replay::Reused,
        (true, false) => Replay::Made,
        (false, _) => Replay::Never,
    };
    Err(pass::broken_off(exchange, error, replay))
}

/// Whoever was asked, an origin or a parent.
struct Origin {
    session: HttpSession,
    awaited: Awaited,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Awaited {
    Head,
    Content,
}

impl Origin {
    async fn exchange(
        &mut self,
        node: &Node,
        client: &mut dyn Client,
        exchange: &mut Exchange,
        peer: &HttpPeer,
    ) -> Result<()> {
        let version = match &self.session {
            HttpSession::H2(_) => Version::HTTP_2,
            HttpSession::H1(_) | HttpSession::Custom(()) => Version::HTTP_11,
        };
        let head = pass::prepare_request(node, (client.req_header(), version), exchange)?;
        let sent = self.send(head, peer).await;
        sent.map_err(Error::into_up)?;
        let (mut coming, mut bytes) = (Vec::new(), 0);
        loop {
            let came = match coming.len() {
                0 => Some(self.next_while_wanted(client).await),
                1..PIECES_MAX if bytes < GATHERED_MAX => self.next().now_or_never(),
                _ => None,
            };
            let task = match came {
                // What is there leaves before anything is waited for.
                None => {
                    bytes = 0;
                    let coming = std::mem::take(&mut coming);
                    client.response_duplex_vec(coming).await?;
                    continue;
                }
                Some(Ok(task)) => taken(node, exchange, task).await?,
                Some(Err(error)) => {
                    // A head that the client has seen tells it that the response is cut, and not that there is none.
                    if !coming.is_empty() {
                        client.response_duplex_vec(coming).await?;
                    }
                    return Err(error);
                }
            };
            let is_end = task.is_end();
            if let HttpTask::Body(Some(data), _) = &task {
                bytes += data.len();
            }
            coming.push(task);
            if is_end {
                client.response_duplex_vec(coming).await?;
                return Ok(());
            }
        }
    }

    async fn send(&mut self, head: RequestHeader, peer: &HttpPeer) -> Result<()> {
        self.session.set_read_timeout(peer.options.read_timeout);
        self.session.set_write_timeout(peer.options.write_timeout);
        match &mut self.session {
            HttpSession::H1(session) => {
                session.write_request_header(Box::new(head)).await?;
                Ok(())
            }
            HttpSession::H2(session) => {
                session.write_request_header(Box::new(in_http2(head, peer.is_tls())?), true)
            }
            HttpSession::Custom(()) => Err(Error::new(ErrorType::InternalError)),
        }
    }

    /// What comes next, as long as there is somebody who wants it.
    async fn next_while_wanted(&mut self, client: &mut dyn Client) -> Result<HttpTask> {
        tokio::select! {
            biased;
            came = self.next() => came,
            gone = client.read_body_or_idle(true) => Err(match gone {
                Err(error) => error.into_down(),
                Ok(_) => Error::new_down(ErrorType::ConnectionClosed),
            }),
        }
    }

    /// What comes next. It may be given up, and asked for again.
    async fn next(&mut self) -> Result<HttpTask> {
        let came = match self.awaited {
            Awaited::Head => self.head().await,
            Awaited::Content => self.content().await,
        };
        came.map_err(Error::into_up)
    }

    /// An interim response, or the head of the final one.
    async fn head(&mut self) -> Result<HttpTask> {
        self.session.read_response_header().await?;
        let Some(came) = self.session.response_header() else {
            return Err(Error::explain(ErrorType::InvalidHTTPHeader, "no head"));
        };
        let mut head = http::Response::new(()).into_parts().0;
        head.status = came.status;
        head.version = came.version;
        head.headers = came.headers.clone();
        if !head.status.is_informational() {
            self.awaited = Awaited::Content;
        }
        let ended = match &mut self.session {
            HttpSession::H1(session) => session.is_body_done(),
            // What broke it off comes instead of its content.
            HttpSession::H2(session) => session.check_response_end_or_error().unwrap_or(false),
            HttpSession::Custom(()) => true,
        };
        if let (HttpSession::H2(session), true) = (&self.session, ended) {
            let to_head = session
                .request_header()
                .is_some_and(|asked| asked.method == Method::HEAD);
            if !to_head && announces_content(&head) {
                return Err(Error::explain(
                    ErrorType::H2Error,
                    "an end before the content that was announced",
                ));
            }
        }
        Ok(HttpTask::Header(
            Box::new(ResponseHeader::from(head)),
            ended,
        ))
    }

    async fn content(&mut self) -> Result<HttpTask> {
        let session = match &mut self.session {
            HttpSession::H1(session) => {
                let data = session.read_body_bytes().await?;
                return Ok(HttpTask::Body(data, session.is_body_done()));
            }
            HttpSession::H2(session) => session,
            HttpSession::Custom(()) => return Ok(HttpTask::Done),
        };
        loop {
            let Some(data) = session.read_response_body().await? else {
                let trailers = session.read_trailers().await?;
                return Ok(HttpTask::Trailer(trailers.map(Box::new)));
            };
            let ended = session.check_response_end_or_error()?;
            if ended || !data.is_empty() {
                return Ok(HttpTask::Body(Some(data), ended));
            }
        }
    }

    /// Ends what did not come to its regular end. A connection of HTTP/1 ends with it.
    async fn give_up(self, node: &Node, peer: &HttpPeer, error: &Error) {
        let HttpSession::H2(mut session) = self.session else {
            return;
        };
        let connector = node.fetcher.connector();
        let late =
            *error.esource() == ErrorSource::Upstream && *error.etype() == ErrorType::ReadTimedout;
        if (late || *error.esource() == ErrorSource::Downstream)
            && let Some(mut sender) = session.take_request_body_writer()
        {
            sender.send_reset(::h2::Reason::CANCEL);
        }
        if late {
            // It may hang: others are not to wait for it.
            session.conn.mark_shutdown();
        }
        let idle = peer.options.idle_timeout;
        connector
            .release_http_session(HttpSession::H2(session), peer, idle)
            .await;
        let unfit = matches!(error.etype(), ErrorType::H2Downgrade | ErrorType::InvalidH2);
        if unfit && peer.options.alpn.get_min_http_version() == 1 {
            connector.prefer_h1(peer);
        }
    }
}

/// Lets the response be looked at, and changed, on its way.
async fn taken(node: &Node, exchange: &mut Exchange, task: HttpTask) -> Result<HttpTask> {
    match task {
        HttpTask::Header(head, ended) => {
            let head = pass::take_response(node, *head, exchange).await?;
            Ok(HttpTask::Header(Box::new(head), ended))
        }
        HttpTask::Body(data, ended) => {
            pass::take_content(node, data.as_ref(), ended, exchange);
            Ok(HttpTask::Body(data, ended))
        }
        task => Ok(task),
    }
}

/// RFC 9113 §8.1.1: a response to HEAD, 204 and 304 may announce content and have none.
fn announces_content(head: &http::response::Parts) -> bool {
    let bare = matches!(
        head.status,
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
    );
    let length = head.headers.get(header::CONTENT_LENGTH);
    !bare && length.is_some_and(|length| length.as_bytes().iter().any(|digit| *digit != b'0'))
}

/// RFC 9113 §8.3.1: scheme and authority are pseudo-header fields.
fn in_http2(mut head: RequestHeader, tls: bool) -> Result<RequestHeader> {
    let host = head.remove_header(&header::HOST);
    let Some(host) = host else {
        return Err(Error::explain(ErrorType::InternalError, "no authority"));
    };
    let invalid = |error| Error::because(ErrorType::InvalidHTTPHeader, "target", error);
    let target = head.uri.path_and_query().cloned();
    let target = target.unwrap_or_else(|| http::uri::PathAndQuery::from_static("/"));
    let uri = http::Uri::builder()
        .scheme(if tls { "https" } else { "http" })
        .authority(host.as_bytes())
        .path_and_query(target)
        .build();
    head.set_uri(uri.map_err(invalid)?);
    Ok(head)
}
