//! One exchange with an origin, whichever protocol carries it.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use pingora_core::protocols::http::v2::client::Http2Session;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::RequestHeader;
use wire::{Lie, UnknownCoding, check_response};

use super::connection::Connection;

/// A request without content of its own length, as it goes out.
pub(in crate::pingora) struct Asked<'a> {
    pub method: &'a Method,
    /// Path and query.
    pub target: &'a str,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// All fields, with `Host`.
    pub headers: HeaderMap,
    pub content: Option<Bytes>,
}

/// A response's head.
pub(in crate::pingora) struct Answered {
    pub status: StatusCode,
    pub version: Version,
    /// All fields, those of the connection as well. Of the network's buffers they hold none.
    pub headers: HeaderMap,
    /// Why its content cannot be read, if it cannot.
    pub lie: Option<Lie>,
}

/// A connection, or a stream of one, while it is used.
pub(in crate::pingora) enum Session {
    H1(Box<Connection>),
    H2(Box<Http2Session>),
}

impl Session {
    /// Where it leads; nothing where that is a socket in the file system.
    pub(in crate::pingora) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::H1(connection) => connection.address(),
            Self::H2(session) => session.server_addr().and_then(|it| it.as_inet().copied()),
        }
    }

    /// Sends a request.
    ///
    /// # Errors
    /// Where it is not taken within the `limit`, or cannot be written.
    pub(in crate::pingora) async fn ask(
        &mut self,
        mut asked: Asked<'_>,
        limit: Duration,
    ) -> Result<()> {
        if let Some(content) = &asked.content {
            let length = HeaderValue::from(content.len());
            asked.headers.insert(header::CONTENT_LENGTH, length);
        }
        match self {
            Self::H1(connection) => connection.ask(&asked, limit).await,
            Self::H2(session) => {
                session.write_timeout = Some(limit);
                let content = asked.content.take();
                session.write_request_header(Box::new(in_http2(asked)?), content.is_none())?;
                match content {
                    Some(content) => session.write_request_body(content, true).await,
                    None => Ok(()),
                }
            }
        }
    }

    /// The next head: an interim response's, or the final one's.
    ///
    /// # Errors
    /// Where none comes, each read within the `limit`, or it is none.
    pub(in crate::pingora) async fn head(
        &mut self,
        limit: Duration,
        unknown_coding: UnknownCoding,
    ) -> Result<Answered> {
        let session = match self {
            Self::H1(connection) => return connection.head(limit, unknown_coding).await,
            Self::H2(session) => session,
        };
        session.read_timeout = Some(limit);
        session.read_response_header().await?;
        let Some(head) = session.response_header() else {
            return Error::e_explain(ErrorType::InvalidHTTPHeader, "no head");
        };
        // HTTP/2 frames its messages by itself; the other checks are the same.
        let version = Version::HTTP_11;
        let checked = check_response(head.status.as_u16(), &head.headers, version, unknown_coding);
        Ok(Answered {
            status: head.status,
            version: head.version,
            headers: copied(&head.headers),
            lie: checked.err(),
        })
    }

    /// The next content, or none at its end.
    ///
    /// # Errors
    /// Where it ends before its end, is not what its framing says, or does not come within the `limit`.
    pub(in crate::pingora) async fn content(&mut self, limit: Duration) -> Result<Option<Bytes>> {
        match self {
            Self::H1(connection) => connection.content(limit).await,
            Self::H2(session) => {
                session.read_timeout = Some(limit);
                session.read_response_body().await
            }
        }
    }

    /// Whether all content was taken.
    pub(in crate::pingora) fn is_done(&self) -> bool {
        match self {
            Self::H1(connection) => connection.is_done(),
            Self::H2(session) => session.response_finished(),
        }
    }

    /// Nothing more is wanted of it. A connection of HTTP/1.1 ends with it.
    pub(in crate::pingora) fn end(self) {
        match self {
            Self::H1(connection) => drop(connection),
            Self::H2(mut session) => session.shutdown(),
        }
    }
}

/// RFC 9113 §8.3.1: scheme and authority are pseudo-header fields.
fn in_http2(asked: Asked<'_>) -> Result<RequestHeader> {
    let Asked {
        method,
        target,
        scheme,
        mut headers,
        ..
    } = asked;
    let host = headers.remove(header::HOST);
    let authority = host.as_ref().map(HeaderValue::as_bytes).unwrap_or_default();
    let uri = http::Uri::builder()
        .scheme(scheme)
        .authority(authority)
        .path_and_query(target)
        .build();
    let invalid = |error| Error::because(ErrorType::InvalidHTTPHeader, "target", error);
    let mut head = http::Request::new(()).into_parts().0;
    head.method = method.clone();
    head.uri = uri.map_err(invalid)?;
    head.version = Version::HTTP_2;
    head.headers = headers;
    Ok(RequestHeader::from(head))
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
