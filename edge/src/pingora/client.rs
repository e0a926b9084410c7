//! Pingora's session as the cache writes to it.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use pingora_core::Error;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use crate::cache::{Client, Interrupted};

/// A session that the cache answers on.
pub(super) struct SessionClient<'a>(pub &'a mut Session);

fn head(status: StatusCode, headers: HeaderMap) -> Box<ResponseHeader> {
    let mut parts = http::Response::new(()).into_parts().0;
    (parts.status, parts.headers) = (status, headers);
    Box::new(parts.into())
}

fn interrupted(error: &Error) -> Interrupted {
    tracing::debug!(%error, "a response did not reach its client");
    Interrupted::Client
}

impl Client for SessionClient<'_> {
    async fn interim(&mut self, status: StatusCode, headers: HeaderMap) -> Result<(), Interrupted> {
        self.head(status, headers).await
    }

    async fn head(&mut self, status: StatusCode, headers: HeaderMap) -> Result<(), Interrupted> {
        let head = head(status, headers);
        let session = self.0.as_downstream_mut();
        let written = session.write_response_header(head).await;
        written.map_err(|error| interrupted(&error))
    }

    async fn content(&mut self, data: Bytes) -> Result<(), Interrupted> {
        if data.is_empty() {
            return Ok(());
        }
        let session = self.0.as_downstream_mut();
        let written = session.write_response_body(data, false).await;
        written.map_err(|error| interrupted(&error))
    }

    async fn flush(&mut self) -> Result<(), Interrupted> {
        // Pingora's own call keeps empty content from its sessions; ours sends what waits.
        let Some(session) = self.0.as_downstream_mut().as_custom_mut() else {
            return Ok(());
        };
        let written = session.write_body(Bytes::new(), false).await;
        written.map_err(|error| interrupted(&error))
    }

    async fn end(&mut self) -> Result<(), Interrupted> {
        let session = self.0.as_downstream_mut();
        let written = session.write_response_body(Bytes::new(), true).await;
        written.map_err(|error| interrupted(&error))
    }
}
