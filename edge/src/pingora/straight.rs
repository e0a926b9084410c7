//! Requests that pass the cache by and have no content: to the origin and back in one future.
//!
//! Pingora's proxying streams in both directions at once, by two halves with queues between them. Where nothing is sent
//! on but a head, a loop does. At each step it asks what the pipeline's filters ask ([`pass`]), and what Pingora would
//! do with a failed attempt it does, too. Its connections are those of fills.

use std::sync::Arc;

use futures::FutureExt as _;
use http::{Method, StatusCode, Version, header};
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::custom::server::Session as Client;
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_http::ResponseHeader;
use wire::UnknownCoding;

use super::origin::{Asked, Connections, Made, Session, Way};
use super::pass::{self, Chosen, Replay};
use super::peer;
use super::session::Inbound;
use crate::exchange::{Exchange, Request};
use crate::node::Node;
use crate::origins::Timeouts;

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
    let (request, passing) = pass::parts(exchange)?;
    let timeouts = &request.site.origins.timeouts;
    let connections = node.fetcher.connections();
    let got = match pass::choose(node, &request, passing).await? {
        Chosen::Origin(candidate) => connections.get(candidate, timeouts).await,
        Chosen::Parent(hop) => {
            let peer = Box::new(peer::parent(hop, timeouts, &node.authorities));
            Box::pin(connections.get_of_peer(peer)).await
        }
    };
    let (session, way, made) = match got {
        Ok(got) => got,
        Err(error) => return Err(pass::not_connected(exchange, error.into_up()).into_up()),
    };
    pass::reached(exchange, session.address());
    let mut origin = Origin {
        session,
        awaited: Awaited::Head,
        limits: Limits {
            timeouts,
            unknown_coding: request.site.origins.unknown_coding,
        },
    };
    let passed = origin.exchange(node, client, exchange, &request).await;
    let Err(error) = passed else {
        connections.keep(origin.session, way).await;
        return Ok(());
    };
    origin.give_up(connections, way, &error).await;
    let replay = match (client.req_header().method.is_safe(), made) {
        (true, Made::Before) => Replay::Reused,
        (true, Made::Now) => Replay::Made,
        (false, _) => Replay::Never,
    };
    Err(pass::broken_off(exchange, error, replay))
}

/// Whoever was asked, an origin or a parent.
struct Origin<'a> {
    session: Session,
    awaited: Awaited,
    limits: Limits<'a>,
}

/// What is waited for how long, and what is believed.
#[derive(Clone, Copy)]
struct Limits<'a> {
    timeouts: &'a Timeouts,
    unknown_coding: UnknownCoding,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Awaited {
    Head,
    Content,
}

impl Origin<'_> {
    async fn exchange(
        &mut self,
        node: &Node,
        client: &mut dyn Client,
        exchange: &mut Exchange,
        request: &Request,
    ) -> Result<()> {
        let version = match &self.session {
            Session::H2(_) => Version::HTTP_2,
            Session::H1(_) => Version::HTTP_11,
        };
        let scheme = pass::scheme(exchange);
        let head = pass::prepare_request(node, (client.req_header(), version), exchange)?;
        let head = http::request::Parts::from(head);
        let asked = Asked {
            method: &head.method,
            target: &request.origin_target(),
            scheme,
            headers: head.headers,
            content: None,
        };
        let limit = self.limits.timeouts.between_bytes;
        let sent = self.session.ask(asked, limit).await;
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
        let Limits {
            timeouts,
            unknown_coding,
        } = self.limits;
        let came = self
            .session
            .head(timeouts.first_byte, unknown_coding)
            .await?;
        let mut head = http::Response::new(()).into_parts().0;
        head.status = came.status;
        head.version = came.version;
        head.headers = came.headers;
        if !head.status.is_informational() {
            self.awaited = Awaited::Content;
        }
        let ended = match &mut self.session {
            Session::H1(connection) => connection.is_done(),
            // What broke it off comes instead of its content.
            Session::H2(session) => session.check_response_end_or_error().unwrap_or(false),
        };
        if let (Session::H2(session), true) = (&self.session, ended) {
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
        let limit = self.limits.timeouts.between_bytes;
        loop {
            let data = self.session.content(limit).await?;
            let session = match &mut self.session {
                Session::H1(connection) => {
                    return Ok(HttpTask::Body(data, connection.is_done()));
                }
                Session::H2(session) => session,
            };
            let Some(data) = data else {
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
    async fn give_up(self, connections: &Connections, way: Way, error: &Error) {
        let Session::H2(mut session) = self.session else {
            return;
        };
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
        let unfit = matches!(error.etype(), ErrorType::H2Downgrade | ErrorType::InvalidH2);
        if unfit {
            connections.speak_http1(&way);
        }
        connections.keep(Session::H2(session), way).await;
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
