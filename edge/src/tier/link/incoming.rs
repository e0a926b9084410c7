//! A response of a parent while it comes.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Response, StatusCode};
use tokio::time::timeout;

use super::live::Counted;
use crate::cache::Interim;
use crate::error::UpstreamError;
use crate::pingora::fetch::INTERIM_RESPONSES_MAX;

/// Why content ends before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The connection is lost, and what was on it.
    Connection,
    /// This message alone.
    Message(UpstreamError),
}

/// A response, its content still to come.
pub(crate) struct Incoming {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// Where it came from.
    pub address: SocketAddr,
    pub(super) body: RecvStream,
    pub(super) between_bytes: Duration,
    pub(super) _counted: Counted,
}

impl Incoming {
    /// The next content; `None` at its regular end.
    ///
    /// # Errors
    /// [`Broken`] where it ends otherwise.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        let next = timeout(self.between_bytes, self.body.data()).await;
        match next.map_err(|_elapsed| Broken::Message(UpstreamError::ResponseTimeout))? {
            None => Ok(None),
            // The parent lives, and has no more of it.
            Some(Err(error)) if error.is_reset() && error.is_remote() => {
                Err(Broken::Message(UpstreamError::Cut))
            }
            Some(Err(_)) => Err(Broken::Connection),
            Some(Ok(data)) => {
                // It fails where the stream is at its end, and nobody needs room any more.
                drop(self.body.flow_control().release_capacity(data.len()));
                Ok(Some(data))
            }
        }
    }
}

/// Waits for the final response, and hands on interim ones (RFC 9110 §15.2).
pub(super) async fn final_response(
    mut response: ResponseFuture,
    mut tell: impl FnMut(Interim),
) -> Result<Response<RecvStream>, h2::Error> {
    let mut told = 0;
    poll_fn(|cx| {
        while let Poll::Ready(Some(interim)) = response.poll_informational(cx) {
            let (head, ()) = interim?.into_parts();
            told += 1;
            if told > INTERIM_RESPONSES_MAX {
                return Poll::Ready(Err(Reason::ENHANCE_YOUR_CALM.into()));
            }
            tell(Interim {
                status: head.status,
                headers: head.headers,
            });
        }
        Pin::new(&mut response).poll(cx)
    })
    .await
}
