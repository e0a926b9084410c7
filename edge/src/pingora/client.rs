//! Pingora's session as the cache writes to it.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use pingora_core::Error;
use pingora_core::protocols::http::HttpTask;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use storage::Lasting;

use super::session::{Aside, Inbound};
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

/// The way to a session that is not by calls of Pingora's.
fn aside(session: &Session) -> Option<&Aside> {
    let request = session.as_downstream().req_header();
    let inbound = request.extensions.get::<Inbound>();
    inbound.map(|inbound| &inbound.aside)
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

    async fn contents(&mut self, data: Vec<Bytes>) -> Result<(), Interrupted> {
        // Pingora's own call has one piece; those of a list are for all sessions but its own.
        let Some(session) = self.0.as_downstream_mut().as_custom_mut() else {
            for data in data {
                self.content(data).await?;
            }
            return Ok(());
        };
        let tasks = data
            .into_iter()
            .map(|data| HttpTask::Body(Some(data), false));
        let written = session.response_duplex_vec(tasks.collect()).await;
        written
            .map(|_ended| ())
            .map_err(|error| interrupted(&error))
    }

    fn takes_pages(&self) -> bool {
        aside(self.0).is_some_and(Aside::takes_pages)
    }

    async fn pages(&mut self, data: Lasting) -> Result<(), Interrupted> {
        match aside(self.0) {
            Some(aside) => aside.put(data),
            None => return self.contents(data.pieces().collect()).await,
        }
        self.flush().await
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
