//! The border of the tiers: what comes from another node is believed, and what comes from a client is not.

use http::{HeaderValue, Method};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use storage::purge::Sequence;
use tiered::introduction::{Asker, Introduction, TIERS_MAX};
use tiered::landmark::{Landmark, Seen};
use tiered::voucher::{Born, Cut, Says, Voucher};
use tiered::{Unreadable, split_signature, with_signature};
use wire::RequestHead;

use super::key::{Asked, LARDER_TIER};
use super::{PROBE, Shared, Tier};
use crate::downstream::{Facts, Scheme, Shown};
use crate::exchange::Request;
use crate::outcome::{Answer, Forwarded, Local, Outcome};
use crate::purges::position::Common;

/// Another node that asks this one.
#[derive(Debug)]
pub(crate) struct Peer {
    /// What it is called.
    pub node: String,
    /// Tiers that the request has passed.
    pub hops: u8,
    /// Where it is, seen from this node.
    pub asker: Asker,
    pub scheme: Scheme,
    /// The client, and the trusted proxies between it and the first node.
    pub path: Vec<IpAddr>,
    /// What is stored must not be older than this, if the node does not know of all purges up to it.
    pub least: Option<Least>,
    /// The last message that it has read of the log that both follow.
    pub here: Option<Landmark>,
    /// Requests to origins that it was told of with the head of the answer.
    told: AtomicU64,
    signature: String,
}

impl Peer {
    /// One of which nothing is known but that it belongs to the tiers.
    fn not_understood(signature: &str) -> Self {
        Self {
            node: String::new(),
            hops: TIERS_MAX,
            asker: Asker::Before,
            scheme: Scheme::Http,
            path: Vec::new(),
            least: None,
            here: None,
            told: AtomicU64::new(0),
            signature: signature.to_owned(),
        }
    }

    /// Those of so many requests to origins that it was not told of with the head of the answer.
    pub(super) fn untold(&self, at_origins: u64) -> u64 {
        at_origins.saturating_sub(self.told.load(Ordering::Relaxed))
    }

    /// How the request came to the first node.
    pub(crate) fn facts(&self, here: &Facts) -> Facts {
        let client = self.path.first().copied();
        here.sent_by(
            client.unwrap_or_else(|| here.client.ip()),
            Some(self.scheme),
        )
    }
}

/// A purge that a peer knows of, and this node maybe not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Least {
    /// In the log.
    pub at: Landmark,
    /// In this node's own order. Where this node cannot tell whether it knows of that purge, nothing that is stored is behind
    /// it.
    pub own: Sequence,
}

/// Why a request that says it comes from another node is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is not understood.
    Malformed,
    /// It is of another version.
    Version,
    /// It was not made with this node's key, or no certificate proves it.
    Key,
    /// It was made long ago, or the clocks are apart.
    Skew,
    /// The two follow different logs of purges: neither could say what is purged.
    Log,
}

impl Refused {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "tier-malformed",
            Self::Version => "tier-version",
            Self::Key => "tier-key",
            Self::Skew => "tier-clock",
            Self::Log => "tier-purge-log",
        }
    }
}

/// Who sent a request.
pub(crate) enum Sender {
    Client,
    Peer(Arc<Peer>),
    /// Another node, which gets no answer to its request but this one.
    Unfit(Arc<Peer>, Refused),
}

impl Tier {
    /// Finds out who sent a request.
    ///
    /// # Errors
    /// [`Refused`] where it says that it comes from another node, and that is not proven.
    pub(crate) fn sender(&self, head: &RequestHead, shown: Shown) -> Result<Sender, Refused> {
        let Some(field) = head.headers.get(LARDER_TIER).filter(|_| self.is_asked()) else {
            return Ok(Sender::Client);
        };
        let sender = self.shared.peer(head, field, shown);
        self.shared.metrics.peer(match &sender {
            Ok(Sender::Unfit(_, refused)) | Err(refused) => refused.as_str(),
            Ok(_) => "taken",
        });
        sender
    }

    /// What this node says of an interim response to another one.
    pub(crate) fn vouch_interim(
        &self,
        peer: &Peer,
        status: http::StatusCode,
    ) -> Option<HeaderValue> {
        let voucher = Voucher {
            node: self.shared.name.clone(),
            says: Says::Response,
            why: None,
            born: None,
            cost: 0,
            cut: None,
        };
        self.sign(peer, status, &voucher)
    }

    fn sign(
        &self,
        peer: &Peer,
        status: http::StatusCode,
        voucher: &Voucher,
    ) -> Option<HeaderValue> {
        let text = voucher.to_text();
        let proof = &self.shared.proof;
        let signature = proof.sign_response(&peer.signature, status, &text);
        HeaderValue::try_from(with_signature(&text, &signature)).ok()
    }

    /// What this node says of its answer to another one.
    pub(crate) fn vouch(
        &self,
        peer: &Peer,
        status: http::StatusCode,
        (outcome, born): (Option<&Outcome>, Option<Born>),
        request: Option<&Request>,
    ) -> Option<HeaderValue> {
        let mut born = born;
        if let (Some(born), Some(least), Some(Outcome::Forwarded(_))) =
            (&mut born, peer.least, outcome)
            && least.at.print.is_some()
        {
            // It was asked for because of that purge, and so after it.
            born.place = born.place.max(least.at.place);
        }
        let voucher = Voucher {
            node: self.shared.name.clone(),
            says: says(outcome),
            why: match outcome {
                Some(Outcome::Local(_)) => outcome.and_then(Outcome::detail).map(str::to_owned),
                _ => None,
            },
            born,
            cost: self.cost(peer, outcome, request),
            cut: request.map(cut),
        };
        self.sign(peer, status, &voucher)
    }
}

impl Tier {
    /// What an answer cost origins so far; what earlier ones cost after their heads is told with a probe's.
    fn cost(&self, peer: &Peer, outcome: Option<&Outcome>, request: Option<&Request>) -> u64 {
        if let Some(Outcome::Local(Local::Probed(_))) = outcome {
            return self.owed.take(&peer.node);
        }
        let spent = request.and_then(Request::spent_so_far);
        let cost = spent.map_or(0, |spent| spent.at_origins());
        peer.told.store(cost, Ordering::Relaxed);
        cost
    }
}

impl Shared {
    fn peer(
        &self,
        head: &RequestHead,
        field: &HeaderValue,
        shown: Shown,
    ) -> Result<Sender, Refused> {
        let text = field.to_str().map_err(|_binary| Refused::Malformed)?;
        let (text, signature) = split_signature(text).ok_or(Refused::Malformed)?;
        let authority = head.authority.to_string();
        let asked = Asked {
            method: &head.method,
            authority: &authority,
            target: &head.target,
        };
        if !self.proof.is_request((asked, shown), text, signature) {
            return Err(Refused::Key);
        }
        let introduction = match Introduction::parse(text) {
            Ok(introduction) => introduction,
            // It belongs to the tiers, and is told why it gets no answer.
            Err(Unreadable::Version) => {
                let peer = Arc::new(Peer::not_understood(signature));
                return Ok(Sender::Unfit(peer, Refused::Version));
            }
            Err(Unreadable::Malformed) => return Err(Refused::Malformed),
        };
        let (least, least_is_common) = self.least(introduction.least);
        let peer = Arc::new(Peer {
            node: introduction.node.clone(),
            hops: introduction.hops,
            asker: introduction.asker,
            scheme: match introduction.scheme {
                tiered::forwarded::Scheme::Http => Scheme::Http,
                tiered::forwarded::Scheme::Https => Scheme::Https,
            },
            least,
            here: introduction.here,
            told: AtomicU64::new(0),
            signature: signature.to_owned(),
            path: introduction.path.clone(),
        });
        if !introduction.is_timely(self.clock.now().unix_millis()) {
            return Ok(Sender::Unfit(peer, Refused::Skew));
        }
        let log = introduction.log.as_deref();
        let common = self.position.has_in_common(log, introduction.here);
        Ok(match (common, least_is_common) {
            (Common::Yes, Common::Yes) => Sender::Peer(peer),
            _ => Sender::Unfit(peer, Refused::Log),
        })
    }

    /// What a purge that a peer knows of means for what is stored here, and whether it stands in the log as this node has
    /// read it.
    fn least(&self, least: Option<Landmark>) -> (Option<Least>, Common) {
        let Some(at) = least else {
            return (None, Common::Yes);
        };
        let own = match self.position.compare(at) {
            Seen::Same => return (None, Common::Yes),
            Seen::Other => return (None, Common::No),
            Seen::Ahead => self.position.sequence_of(at.place),
            Seen::Unknown => Sequence(u64::MAX),
        };
        (Some(Least { at, own }), Common::Yes)
    }
}

/// How this node cuts what a request is for.
pub(super) fn cut(request: &Request) -> Cut {
    let slicing = request.treatment.settings.slicing;
    slicing.map_or(Cut::Whole, |slicing| Cut::Slices(slicing.size))
}

/// Whether a request of another node asks how this one is.
pub(crate) fn is_probe(head: &RequestHead) -> bool {
    head.target == PROBE && head.method == Method::GET
}

/// What kind of answer an outcome is.
const fn says(outcome: Option<&Outcome>) -> Says {
    match outcome {
        Some(Outcome::Hit { .. }) => Says::Hit,
        Some(Outcome::Forwarded(Forwarded {
            answer: Answer::Failed(_),
            ..
        })) => Says::NoAnswer,
        Some(Outcome::Forwarded(_)) => Says::Response,
        Some(Outcome::Local(_)) | None => Says::Refused,
    }
}
