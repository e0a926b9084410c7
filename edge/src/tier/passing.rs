//! Requests that pass the cache by, through Pingora's own proxying.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use tiered::introduction::TIERS_MAX;
use tokio::time::sleep;

use super::ask::key_of;
use super::link::Watching;
use super::parent::Parent;
use super::said::Whom;
use super::siblings::Owner;
use super::{LARDER_TIER, Pass, Sockets, Tier};
use crate::clock::monotonic;
use crate::egress::Pool;
use crate::exchange;
use crate::origins::Certificate;

/// How often it is looked whether a parent has proven who it is.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// How a parent is asked that speaks TLS.
#[derive(Clone, Debug)]
pub(crate) struct HopTls {
    /// The name that its certificate is for.
    pub name: String,
    /// Who signs that, in DER.
    pub authorities: Arc<[Vec<u8>]>,
    /// What it is shown.
    pub certificate: Option<Arc<Certificate>>,
}

/// Where Pingora finds a parent, for requests that pass the cache by.
#[derive(Clone, Debug)]
pub(crate) struct Hop {
    pub address: SocketAddr,
    pub tls: Option<HopTls>,
    pub connect: Duration,
    /// What tells its connections from those that were made with other files or settings.
    pub made: u64,
    pub egress: Arc<[Arc<Pool>]>,
    /// The connections of its kind to this parent.
    pub sockets: Arc<Sockets>,
    /// While it is under way, the parent is asked for signs of life.
    _watching: Option<Arc<Watching>>,
}

impl Tier {
    /// The parents that a request that passes the cache by goes to, if it goes to any.
    pub(crate) async fn passes_to(&self, request: &exchange::Request) -> Vec<Hop> {
        let invalidates = !request.method().is_safe();
        let upgrades = request.head.upgrade != wire::Upgrade::None;
        let wanted = invalidates || self.settings.pass == Pass::Parent;
        let whom = Whom::of(request, None);
        if !wanted || upgrades || whom.hops > TIERS_MAX {
            return Vec::new();
        }
        let mut found = Vec::new();
        let mut hops = Vec::new();
        if let Owner::Other(owner) = self.owner(request, None)
            && invalidates
        {
            hops.push(owner);
        }
        for parent in self.candidates(key_of(request), None) {
            if self.has_proven(&parent, invalidates).await {
                hops.push(parent);
            }
        }
        for parent in hops {
            let addresses = parent.addresses(&self.shared).await;
            let tls = parent.place.secure.then(|| {
                let authorities = self.settings.authorities.clone();
                HopTls {
                    name: parent.place.host_name(),
                    authorities: authorities.unwrap_or_default(),
                    certificate: self.settings.certificate.clone(),
                }
            });
            let watching = parent.links.watch().map(Arc::new);
            found.extend(addresses.into_iter().map(|address| Hop {
                _watching: watching.clone(),
                sockets: Arc::clone(&parent.sockets),
                address,
                tls: tls.clone(),
                connect: self.settings.connect,
                made: self.settings.made,
                egress: Arc::clone(&self.settings.egress),
            }));
        }
        found
    }

    /// Whether a parent has proven who it is: what comes back is not asked for a proof. Right after the start, what makes
    /// the parent forget waits until it has.
    async fn has_proven(&self, parent: &Parent, invalidates: bool) -> bool {
        let until = monotonic() + self.settings.connect;
        loop {
            if parent.is_heard() {
                return true;
            }
            if !invalidates || !parent.is_fit() || monotonic() >= until {
                return false;
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Introduces a request that passes by to a parent.
    pub(crate) fn introduce_passing(&self, headers: &mut HeaderMap, request: &exchange::Request) {
        let authority = request.head.authority.to_string();
        let whom = Whom::of(request, None);
        let target = request.origin_target();
        let (field, _) = self
            .shared
            .introduction(request.method(), &authority, &target, &whom);
        if let Some(field) = field {
            headers.insert(LARDER_TIER, field);
        }
    }
}
