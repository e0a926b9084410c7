//! Early hints (RFC 8297) that are sent before an origin has answered: the links of its last response for the same.

use std::fmt;

use http::header::LINK;
use http::{HeaderMap, HeaderValue, StatusCode};
use storage::VaryMemory;

use crate::cache::{self, Client, Interrupted};
use crate::exchange::Request;

/// Responses whose links are remembered.
const RESPONSES_MAX: usize = 16 * 1024;

/// Links by what they belong to.
pub(crate) struct Hints {
    known: VaryMemory<std::sync::Arc<[HeaderValue]>>,
}

/// Whether a site's links are learnt and told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Learning {
    Off,
    On,
}

impl Hints {
    pub(crate) fn new() -> Self {
        Self {
            known: VaryMemory::new(RESPONSES_MAX),
        }
    }

    /// Remembers the links of a response, where its site has it so.
    pub(crate) fn learn(&self, request: &Request, status: StatusCode, response: &HeaderMap) {
        if request.site.hints != Learning::On {
            return;
        }
        let asked = (request.method(), request.headers());
        let settings = &request.treatment.settings;
        let key = request.storage_key();
        match policy::hints::learn(asked, (status, response), settings) {
            Some(links) if !links.is_empty() => self.known.learn(key, links.into()),
            Some(_) => self.known.forget(key),
            None => {}
        }
    }

    /// Tells a client that has to wait for the origin what the last response had links to.
    pub(crate) async fn tell(
        &self,
        request: &Request,
        client: &mut impl Client,
    ) -> Result<(), Interrupted> {
        if request.site.hints != Learning::On || *request.method() != http::Method::GET {
            return Ok(());
        }
        let Some(links) = self.known.recall(request.storage_key()) else {
            return Ok(());
        };
        let mut headers = links.iter().map(|link| (LINK, link.clone())).collect();
        let status = StatusCode::EARLY_HINTS;
        cache::vouch_interim(request, status, &mut headers);
        client.interim(status, headers).await
    }
}

impl fmt::Debug for Hints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hints").finish_non_exhaustive()
    }
}
