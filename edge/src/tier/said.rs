//! What this node says of itself when it asks another one, and how it reads what that says of its answer.

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use tiered::introduction::{Asker, Introduction};
use tiered::landmark::Landmark;
use tiered::voucher::Voucher;
use tiered::{Unreadable, split_signature, with_signature};

use super::Shared;
use super::key::{Asked, LARDER_TIER};
use super::parent::NoAnswer;
use crate::downstream::Scheme;
use crate::exchange;

/// What is said to a parent of the request that it is asked.
#[derive(Clone, Debug)]
pub(super) struct Whom {
    scheme: Scheme,
    path: Vec<IpAddr>,
    /// Tiers that the request has passed, with this one.
    pub hops: u8,
    asker: Asker,
    /// A purge that the answer must not be older than.
    least: Option<Landmark>,
}

impl Whom {
    pub(super) const fn nobody() -> Self {
        Self {
            scheme: Scheme::Http,
            path: Vec::new(),
            hops: 1,
            asker: Asker::Before,
            least: None,
        }
    }

    /// The same, for a node of this tier.
    pub(super) const fn beside(mut self) -> Self {
        self.asker = Asker::Beside;
        self
    }

    pub(super) fn of(request: &exchange::Request, least: Option<Landmark>) -> Self {
        let passed = request.peer.as_ref().map_or(0, |peer| peer.hops);
        let client = request.facts.client.ip().to_canonical();
        Self {
            scheme: request.facts.scheme,
            path: match &request.path[..] {
                [] => vec![client],
                path => path.to_vec(),
            },
            hops: passed.saturating_add(1),
            asker: Asker::Before,
            least,
        }
    }
}

impl Shared {
    /// Adds to a request who asks, signed; and the signature.
    pub(super) fn introduce(
        &self,
        mut request: Request<()>,
        authority: &str,
        target: &str,
        whom: &Whom,
    ) -> (Request<()>, String) {
        let (field, signature) = self.introduction(request.method(), authority, target, whom);
        if let Some(field) = field {
            request.headers_mut().insert(LARDER_TIER, field);
        }
        (request, signature)
    }

    pub(super) fn introduction(
        &self,
        method: &Method,
        authority: &str,
        target: &str,
        whom: &Whom,
    ) -> (Option<HeaderValue>, String) {
        let introduction = Introduction {
            node: self.name.clone(),
            at: self.clock.now().unix_millis(),
            hops: whom.hops,
            asker: whom.asker,
            scheme: match whom.scheme {
                Scheme::Http => tiered::forwarded::Scheme::Http,
                Scheme::Https => tiered::forwarded::Scheme::Https,
            },
            path: whom.path.clone(),
            log: self.position.log(),
            here: Some(self.position.here()).filter(|here| here.print.is_some()),
            least: whom.least,
        };
        let text = introduction.to_text();
        let asked = Asked {
            method,
            authority,
            target,
        };
        let signature = self.proof.sign_request(asked, &text);
        let field = HeaderValue::try_from(with_signature(&text, &signature)).ok();
        (field, signature)
    }

    /// What a parent says of its answer, where it is proven that it is one. The field goes no further.
    pub(super) fn voucher(
        &self,
        request: &str,
        status: StatusCode,
        headers: &mut HeaderMap,
    ) -> Result<Voucher, NoAnswer> {
        let field = headers.remove(LARDER_TIER);
        let text = field.as_ref().and_then(|field| field.to_str().ok());
        let (text, signature) = text.and_then(split_signature).ok_or(NoAnswer::Unproven)?;
        if !self.proof.is_response(request, (status, text, signature)) {
            return Err(NoAnswer::Unproven);
        }
        Voucher::parse(text).map_err(|error| match error {
            Unreadable::Version => NoAnswer::Version,
            Unreadable::Malformed => NoAnswer::Unproven,
        })
    }
}
