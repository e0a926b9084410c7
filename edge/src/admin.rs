//! The admin listener: the admin API over HTTP/1.1, on an address of its own.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use purge_api::{Asked, BODY_MAX};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::cache;
use crate::downstream::alarm::Stopping;
use crate::downstream::{ClientError, Facts, Io, Scheme, Shown, h1};
use crate::node::Node;
use crate::observe::{self, Following};
use crate::reload;
use crate::ui;

/// Connections that the admin listener holds at once.
const CONNECTIONS_MAX: usize = 64;

/// Serves the admin API.
#[derive(Clone)]
pub(crate) struct Admin {
    pub node: Arc<Node>,
    /// Turns when the node has drained: until then, it says that it is draining.
    pub stopping: watch::Receiver<bool>,
}

impl Admin {
    /// Accepts connections until the process ends.
    pub(crate) async fn listen(self, socket: TcpListener) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            match socket.accept().await {
                Ok((stream, client)) => {
                    let admin = self.clone();
                    tokio::spawn(async move {
                        admin.serve(stream, client).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "an admin connection cannot be accepted");
                    tokio::time::sleep(crate::server::ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn serve(&self, stream: TcpStream, client: std::net::SocketAddr) {
        let Ok(local) = stream.local_addr() else {
            return;
        };
        let facts = Arc::new(Facts {
            client,
            local,
            scheme: Scheme::Http,
            tls: None,
            shown: Shown::Nothing,
        });
        let limits = Arc::clone(&self.node.in_force().limits);
        let io = Io::Plain(stream);
        let mut connection = h1::Connection::new(io, BytesMut::new(), facts, limits);
        let mut stopping = Stopping::new(self.stopping.clone());
        loop {
            connection = match connection.next_request(&mut stopping).await {
                h1::Next::Request(head) => match self.answer(connection, &head).await {
                    Ok(Some(again)) => again,
                    Ok(None) => return,
                    Err(error) => return tracing::debug!(%error, "an admin request failed"),
                },
                h1::Next::Refused(refusal) => {
                    let status = refusal.status();
                    return crate::server::refuse_h1(connection, status, refusal.token(), None)
                        .await;
                }
                h1::Next::Closed | h1::Next::Late => return,
            };
        }
    }

    async fn answer(
        &self,
        connection: h1::Connection,
        head: &wire::RequestHead,
    ) -> Result<Option<h1::Connection>, ClientError> {
        let mut exchange = h1::Exchange::new(connection, head);
        let body = read_body(&mut exchange).await?;
        let node = &*self.node;
        let asked = Asked {
            client: exchange.client(),
            method: &head.method,
            host: &head.authority.host,
            target: &head.target,
            headers: &head.headers,
            body: body.as_deref(),
        };
        if observe::is_following(&asked) {
            return match observe::follow(node, &asked) {
                Ok(following) => self.stream(exchange, following).await,
                Err(refused) => self.finish(exchange, head, *refused).await,
            };
        }
        let response = match ui::answer(node, &asked) {
            Some(response) => Some(response),
            None => observe::answer(node, &asked).await,
        };
        let response = match response {
            Some(response) => Some(response),
            None => reload::answer(&self.node, &asked).await,
        };
        let response = match response {
            Some(response) => response,
            None => node.in_force_now().api.answer(&asked, node).await,
        };
        self.finish(exchange, head, response).await
    }

    /// Sends the lines of the log as they come, until the client or the node goes.
    async fn stream(
        &self,
        mut exchange: h1::Exchange,
        mut following: Following,
    ) -> Result<Option<h1::Connection>, ClientError> {
        let mut headers = HeaderMap::new();
        let kind = HeaderValue::from_static("application/x-ndjson");
        headers.insert(header::CONTENT_TYPE, kind);
        cache::date(&self.node, &mut headers);
        exchange.write_head(StatusCode::OK, &headers)?;
        exchange.flush().await?;
        let mut stopping = self.stopping.clone();
        loop {
            let line = tokio::select! {
                line = following.next() => line,
                _ = stopping.changed() => None,
            };
            match line {
                Some(line) => exchange.write_body(line).await?,
                None => break,
            }
        }
        exchange.end(None).await?;
        Ok(exchange.finish().await)
    }

    async fn finish(
        &self,
        mut exchange: h1::Exchange,
        head: &wire::RequestHead,
        response: Response<Bytes>,
    ) -> Result<Option<h1::Connection>, ClientError> {
        let (mut parts, body) = response.into_parts();
        let length = HeaderValue::from(body.len());
        parts.headers.insert(header::CONTENT_LENGTH, length);
        cache::date(&self.node, &mut parts.headers);
        exchange.write_head(parts.status, &parts.headers)?;
        if head.method != Method::HEAD {
            exchange.write_body(body).await?;
        }
        exchange.end(None).await?;
        Ok(exchange.finish().await)
    }
}

/// A request's content, unless there is more of it than any request to the API has.
async fn read_body(exchange: &mut h1::Exchange) -> Result<Option<Vec<u8>>, ClientError> {
    let mut body = Vec::new();
    while let Some(data) = exchange.read_body().await? {
        if body.len() + data.len() > BODY_MAX {
            return Ok(None);
        }
        body.extend_from_slice(&data);
    }
    Ok(Some(body))
}
