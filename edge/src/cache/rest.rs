//! The rest of a response that breaks off on its disk after its head was sent: the origin has it, if it still has the
//! same representation (RFC 9111 §3.4).

use std::fmt::Display;
use std::ops::Range;
use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode, header};
use policy::partial::Part;
use policy::range::ByteRange;
use policy::slices::Strong;
use policy::store::Kept;
use storage::{Fate, Object};
use tokio::sync::mpsc;

use super::respond::cut;
use super::{Client, Head, Interrupted};
use crate::exchange::Request;
use crate::metrics::Asked;
use crate::node::Node;
use crate::origins::outbound;
use crate::origins::slots::Queueing;
use crate::pingora::fetch::{Asking, Fetched, Through};

/// Where the rest of a body is to be had.
#[derive(Clone, Copy)]
pub(super) struct Rest<'a> {
    pub node: &'a Node,
    pub request: &'a Request,
    pub of: Of<'a>,
    /// Which bytes the body has, and of how many.
    pub part: Part,
}

/// Whose body it is.
#[derive(Clone, Copy)]
pub(super) enum Of<'a> {
    /// A stored response, which is not worth keeping.
    Stored(&'a Arc<Object<Head>>),
    /// A response that is being received.
    Incoming(&'a Head),
}

impl<'a> Of<'a> {
    fn stored(self) -> Option<&'a Kept> {
        match self {
            Self::Stored(object) => object.head().stored(),
            Self::Incoming(head) => head.stored(),
        }
    }
}

impl<'a> Rest<'a> {
    /// Of a body that is a representation as a whole, of `complete` bytes.
    pub(super) fn of_whole(
        (node, request): (&'a Node, &'a Request),
        of: Of<'a>,
        complete: u64,
    ) -> Self {
        let last = complete.saturating_sub(1);
        let range = ByteRange { first: 0, last };
        let part = Part { range, complete };
        Self {
            node,
            request,
            of,
            part,
        }
    }

    /// Sends these bytes of the body, which could not be read.
    pub(super) async fn send(
        self,
        error: &impl Display,
        bytes: Range<u64>,
        client: &mut impl Client,
    ) -> Result<(), Interrupted> {
        if let Of::Stored(object) = self.of {
            self.node.tiers.forget(object, Fate::Unreadable);
        }
        // A head that the client has seen tells it that the response is cut, and not that there is none.
        client.flush().await?;
        let wanted = Part {
            range: ByteRange {
                first: self.part.range.first + bytes.start,
                last: self.part.range.first + bytes.end - 1,
            },
            complete: self.part.complete,
        };
        let Some(Found { fetched, before }) = self.fetch(wanted).await else {
            tracing::warn!(%error, "a response was begun and cannot be read to its end");
            return Err(Interrupted::Disk);
        };
        tracing::warn!(%error, from = wanted.range.first, "a response cannot be read to its end: the rest comes from the origin");
        pass_on(fetched, before, wanted.range.len(), client).await
    }

    /// The origin's answer, if the bytes are in it.
    async fn fetch(self, wanted: Part) -> Option<Found> {
        let stored = self.of.stored()?;
        // Ranges are of what GET gets (RFC 9110 §14.2).
        let ranged = *self.request.method() == Method::GET && stored.status == StatusCode::OK;
        if !ranged || self.request.terms.only_if_cached() {
            return None;
        }
        let target = self.request.origin_target();
        let asking = Asking {
            method: Method::GET,
            target: &target,
            authority: &self.request.head.authority,
            headers: self.headers(stored, wanted)?,
            content: None,
            trail: &self.request.trail,
            site: &self.request.site,
            on_behalf: Some(self.request),
            queueing: Queueing::Wait,
            through: Some(Through {
                request: self.request,
                least: None,
                again: None,
                without: None,
            }),
            spent: self.request.spent(),
            kind: Asked::Fill,
            step: None,
        };
        // The final response's head is sent already.
        let (interim, _nobody) = mpsc::channel(1);
        let fetched = self.node.fetcher.fetch(asking, &interim).await;
        let fetched = fetched
            .inspect_err(
                |error| tracing::debug!(%error, "the rest of a response could not be fetched"),
            )
            .ok()?;
        let answer = (fetched.status, &fetched.headers);
        let before = policy::partial::bytes_before(&stored.headers, wanted, answer)?;
        Some(Found { fetched, before })
    }

    fn headers(self, stored: &Kept, wanted: Part) -> Option<HeaderMap> {
        let strong = Strong::of(&stored.headers)?;
        let mut headers = outbound::unconditional(self.request, &self.node.marks());
        let codings = &self.request.treatment.settings.codings;
        let coding = policy::coding::convertible(stored.status, &stored.headers, codings);
        policy::coding::ask(&mut headers, coding, codings);
        let range = policy::partial::asking(wanted.range, wanted.complete);
        headers.insert(header::RANGE, range);
        strong.demand(&mut headers);
        Some(headers)
    }
}

/// A response that has the bytes that are wanted.
struct Found {
    fetched: Fetched,
    /// Its bytes that come before them.
    before: u64,
}

async fn pass_on(
    mut fetched: Fetched,
    mut skip: u64,
    mut left: u64,
    client: &mut impl Client,
) -> Result<(), Interrupted> {
    while left > 0 {
        client.flush().await?;
        let data = match fetched.next().await {
            Ok(Some(data)) => data,
            Ok(None) => return Err(Interrupted::Origin),
            Err(error) => {
                tracing::debug!(%error, "the rest of a response was cut while it was received");
                return Err(Interrupted::Origin);
            }
        };
        let wanted = cut(&data, skip, left);
        skip = skip.saturating_sub(data.len() as u64);
        left -= wanted.len() as u64;
        if !wanted.is_empty() {
            client.content(wanted).await?;
        }
    }
    // More than what was announced is not read on.
    fetched.release().await;
    Ok(())
}
