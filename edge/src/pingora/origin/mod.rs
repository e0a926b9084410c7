//! Connections to origins: kept ones first, and new ones where there are none.
//!
//! HTTP/1.1 is spoken here ([`Connection`]), HTTP/2 by Pingora, which also makes what has TLS.

mod connection;
mod idle;
mod session;
mod socket;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use pingora_core::connectors::ConnectorOptions;
use pingora_core::connectors::http::Connector;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, Result};
use tokio::time::timeout;

use connection::Connection;
use idle::{Identity, Idle};
pub(super) use session::{Asked, Session};
pub(super) use socket::{Leased, Socket};

use super::peer::{Authorities, identity, idle_time, is_plain, link, patience, peer};
use crate::origins::Timeouts;
use crate::origins::attempts::Candidate;

/// Connections to all origins.
pub(super) struct Connections {
    connector: Connector,
    authorities: Arc<Authorities>,
    idle: Arc<Idle>,
}

/// How to get another connection like one, and how long it may wait.
pub(super) struct Way {
    identity: Identity,
    idle: Duration,
    /// Where Pingora keeps it.
    peer: Option<Box<HttpPeer>>,
}

/// Whether a connection was there before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Made {
    /// For this exchange.
    Now,
    /// For another one; the origin may have closed it meanwhile.
    Before,
}

impl Connections {
    /// Keeps so many that nobody uses.
    pub(super) fn new(authorities: Arc<Authorities>, kept: usize) -> Self {
        Self {
            connector: Connector::new(Some(ConnectorOptions::new(kept))),
            authorities,
            idle: Idle::new(kept),
        }
    }

    /// A connection for a request that this candidate is asked.
    ///
    /// # Errors
    /// Where there is none.
    pub(super) async fn get(
        &self,
        candidate: &Candidate,
        timeouts: &Timeouts,
    ) -> Result<(Session, Way, Made)> {
        let identity = identity(candidate);
        let mut way = Way {
            identity,
            idle: idle_time(&candidate.origin, timeouts),
            peer: None,
        };
        if let Some(kept) = self.idle.take(identity) {
            return Ok((Session::H1(Box::new(kept)), way, Made::Before));
        }
        let (session, made) = Box::pin(self.make(candidate, timeouts, &mut way)).await?;
        Ok((session, way, made))
    }

    async fn make(
        &self,
        candidate: &Candidate,
        timeouts: &Timeouts,
        way: &mut Way,
    ) -> Result<(Session, Made)> {
        if is_plain(&candidate.origin) {
            let connection = dial(candidate, timeouts).await?;
            return Ok((Session::H1(Box::new(connection)), Made::Now));
        }
        let peer = Box::new(peer(candidate, timeouts, &self.authorities));
        let made = self.pooled(&peer).await?;
        way.peer = Some(peer);
        Ok(made)
    }

    /// A connection to what is no origin, by a peer of Pingora's.
    ///
    /// # Errors
    /// Where there is none.
    pub(super) async fn get_of_peer(&self, peer: Box<HttpPeer>) -> Result<(Session, Way, Made)> {
        let (session, made) = self.pooled(&peer).await?;
        let way = Way {
            identity: peer.group_key,
            idle: peer.options.idle_timeout.unwrap_or_default(),
            peer: Some(peer),
        };
        Ok((session, way, made))
    }

    async fn pooled(&self, peer: &HttpPeer) -> Result<(Session, Made)> {
        let (session, reused) = self.connector.get_http_session(peer).await?;
        let made = match reused {
            true => Made::Before,
            false => Made::Now,
        };
        Ok((Self::of(session)?, made))
    }

    /// Whoever was reached so does not speak HTTP/2 as it said.
    pub(super) fn speak_http1(&self, way: &Way) {
        if let Some(peer) = &way.peer
            && peer.options.alpn.get_min_http_version() == 1
        {
            self.connector.prefer_h1(&**peer);
        }
    }

    fn of(session: HttpSession) -> Result<Session> {
        match session {
            HttpSession::H1(session) => {
                let address = session.server_addr().and_then(|it| it.as_inet().copied());
                let socket = Socket::Tls(session.into_inner());
                Ok(Session::H1(Box::new(Connection::new(socket, address))))
            }
            HttpSession::H2(session) => Ok(Session::H2(Box::new(session))),
            HttpSession::Custom(()) => Err(Error::new(ErrorType::InternalError)),
        }
    }

    /// Keeps a connection whose exchange came to its regular end, if it may be used again.
    pub(super) async fn keep(&self, session: Session, way: Way) {
        match (session, way.peer) {
            (Session::H1(connection), _) => self.idle.put(way.identity, *connection, way.idle),
            (Session::H2(session), Some(peer)) => {
                let idle = Some(way.idle);
                let session = HttpSession::H2(*session);
                self.connector
                    .release_http_session(session, &*peer, idle)
                    .await;
            }
            (Session::H2(_), None) => {}
        }
    }
}

/// A new connection without TLS.
async fn dial(candidate: &Candidate, timeouts: &Timeouts) -> Result<Connection> {
    let link = link(candidate, timeouts);
    let dialled = timeout(patience(candidate, timeouts), link.open()).await;
    match dialled {
        Ok(opened) => {
            let (socket, address) = opened?;
            Ok(Connection::new(socket, address))
        }
        Err(_elapsed) => Error::e_explain(ErrorType::ConnectTimedout, "no connection in time"),
    }
}
