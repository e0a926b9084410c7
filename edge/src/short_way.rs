//! The short way: what is ready in memory is answered by the connection itself, before there is an exchange for the
//! pipeline.
//!
//! It asks what the long way asks, in the same order and of the same functions, and takes the long way at the first
//! answer that is not plain. Nothing was read of the request's content by then, and nothing was sent.

#[cfg(debug_assertions)]
use std::path::PathBuf;
use std::sync::Arc;

use http::Method;
use wire::{Expectation, Framing, RequestHead, Upgrade};

use crate::cache::{self, Again, Known, Like, Plain, Ready};
use crate::downstream::{Facts, Other};
use crate::exchange::{Exchange, Request};
use crate::node::Node;
use crate::queries::Content;
use crate::tier::LARDER_TIER;

/// Answers what is ready.
#[derive(Debug)]
pub(crate) struct ShortWay {
    /// A file that closes the short way while it is there. Debug builds only: a test compares the two.
    #[cfg(debug_assertions)]
    closed: Option<PathBuf>,
}

impl ShortWay {
    /// Open; or, in a debug build, closed while the file that `LARDER_TEST_LONG_WAY` names is there.
    #[must_use]
    pub(crate) fn from_environment() -> Self {
        Self {
            #[cfg(debug_assertions)]
            closed: std::env::var_os("LARDER_TEST_LONG_WAY").map(PathBuf::from),
        }
    }

    /// The answer to a request, if it is ready.
    ///
    /// # Errors
    /// Where it is not: what was made of the request so far, so that the long way need not make it again.
    pub(crate) fn ready(
        &self,
        node: &Arc<Node>,
        facts: &Arc<Facts>,
        head: &Arc<RequestHead>,
    ) -> Result<Ready, Option<Arc<Request>>> {
        if !is_plain(head) || self.is_closed() {
            return Err(None);
        }
        let exchange = Exchange::new(node.clock.instant(), node.clock.now());
        let in_force = node.in_force();
        let site = in_force.sites.find(&head.authority.host).ok_or(None)?;
        if node.guard.check(&head.headers).is_err() {
            return Err(None);
        }
        let parts = (Arc::clone(head), Arc::clone(facts), Content::Unread);
        let request = Arc::new(node.request(parts, Arc::clone(site)));
        let Some(ready) = cache::ready(node, exchange, &request) else {
            return Err(Some(request));
        };
        tracing::debug!("ready the short way");
        Ok(ready)
    }

    /// The answer to a request that is the same as the one before it, if that is still the same.
    pub(crate) fn again<W>(&self, node: &Arc<Node>, known: &Known<W>) -> Option<Again> {
        if self.is_closed() || !node.is_in_force(&known.request().site.common) {
            return None;
        }
        let again = known.again(node)?;
        tracing::debug!("ready the short way");
        Some(again)
    }

    /// The answer to a request that differs from one before it in its target and host only, if it is plain.
    pub(crate) fn like(&self, node: &Node, like: &mut Like, other: Other<'_>) -> Option<Plain> {
        if self.is_closed() || !node.is_in_force(like.common()) {
            return None;
        }
        like.find(node, other)
    }

    #[cfg(debug_assertions)]
    fn is_closed(&self) -> bool {
        self.closed.as_ref().is_some_and(|file| file.exists())
    }

    #[cfg(not(debug_assertions))]
    #[expect(clippy::unused_self, reason = "a debug build looks for its file")]
    const fn is_closed(&self) -> bool {
        false
    }
}

/// Whether a request may be answered without anything being read beyond its head.
fn is_plain(head: &RequestHead) -> bool {
    matches!(head.method, Method::GET | Method::HEAD)
        && head.framing == Framing::None
        && head.expectation == Expectation::None
        && head.upgrade == Upgrade::None
        // What another node of a tier says has to be verified.
        && !head.headers.contains_key(LARDER_TIER)
}
