//! An origin's address as Pingora connects to it.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use pingora_core::protocols::tls::CaType;
use pingora_core::upstreams::peer::{HttpPeer, Tracer};
use pingora_core::utils::tls::{CertKey, WrappedX509, parse_x509};

use super::link::{Lease, Link, ToNode};
use crate::egress;
use crate::origins::attempts::{Candidate, Place};
use crate::origins::{Certificate, Host, HttpVersion, Origin, Timeouts, Transport, Trust};
use crate::tier::Hop;

/// Concurrent requests on one HTTP/2 connection to an origin, where the origin allows as many.
const STREAMS_MAX: usize = 128;

/// What an origin may send on one HTTP/2 stream before the node has read it: a client that does not read holds as much
/// of it in memory, and no more.
const STREAM_WINDOW: u32 = 512 * 1024;
/// The same for all streams of a connection.
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;

/// How long an unused connection is kept where there may be few of them: what has content goes to an origin by a pool of
/// its own, and what one of the two keeps the other cannot use.
const IDLE_OF_FEW: Duration = Duration::from_millis(100);

/// Authorities in Pingora's form, by what tells the connections of the origin that trusts them.
#[derive(Default)]
pub(crate) struct Authorities {
    ready: RwLock<HashMap<u64, Arc<CaType>>>,
    shown: RwLock<HashMap<u64, Arc<CertKey>>>,
}

impl Authorities {
    /// They are made again where they are wanted: those of another configuration may be wanted no more.
    pub(crate) fn clear(&self) {
        self.ready.write().clear();
        self.shown.write().clear();
    }

    /// What an origin, or a parent, is shown of the node.
    fn shown(&self, identity: u64, certificate: &Certificate) -> Arc<CertKey> {
        if let Some(ready) = self.shown.read().get(&identity) {
            return Arc::clone(ready);
        }
        let Certificate { chain, key } = certificate;
        let ready = Arc::new(CertKey::new(chain.clone(), key.clone()));
        let mut shown = self.shown.write();
        shown.insert(identity, Arc::clone(&ready));
        ready
    }

    fn of(&self, identity: u64, certificates: &[Vec<u8>]) -> Arc<CaType> {
        if let Some(ready) = self.ready.read().get(&identity) {
            return Arc::clone(ready);
        }
        let wrapped: Arc<CaType> = certificates
            .iter()
            .map(|der| WrappedX509::new(der.clone(), parse_x509))
            .collect();
        let mut ready = self.ready.write();
        ready.insert(identity, Arc::clone(&wrapped));
        wrapped
    }
}

/// Where a place is for the pool: the same whatever address was tried first, and another one when the name has others.
fn stable(place: &Place) -> (SocketAddr, u64) {
    let mut hasher = DefaultHasher::new();
    let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let address = match place {
        Place::Socket(path) => {
            path.hash(&mut hasher);
            nowhere
        }
        Place::Addresses(addresses) | Place::Server { addresses, .. } => {
            let mut addresses = addresses.clone();
            addresses.sort_unstable();
            addresses.hash(&mut hasher);
            addresses.first().copied().unwrap_or(nowhere)
        }
    };
    (address, hasher.finish())
}

/// What tells a candidate's connections from all others, to the same address as well: or they would be mixed.
pub(super) fn identity(candidate: &Candidate) -> u64 {
    let origin = &candidate.origin;
    let (_, place) = stable(&candidate.place);
    let mut identity = DefaultHasher::new();
    (origin.identity, origin.shown, place).hash(&mut identity);
    origin.addresses.turns().hash(&mut identity);
    for pool in candidate.egress.iter() {
        pool.identity.hash(&mut identity);
    }
    if origin.proxy_protocol.is_some() {
        // A connection that is announced is one client's.
        candidate.announced.hash(&mut identity);
    }
    identity.finish()
}

/// Whether HTTP/1.1 is spoken to an origin, in clear text.
pub(super) fn is_plain(origin: &Origin) -> bool {
    let in_clear = matches!(origin.transport, Transport::Plain);
    in_clear && !matches!(origin.http, HttpVersion::Two)
}

/// How a candidate is reached.
pub(super) fn link(candidate: &Candidate, timeouts: &Timeouts) -> Link {
    Link {
        origin: Arc::clone(&candidate.origin),
        place: candidate.place.clone(),
        announced: candidate.announced,
        egress: Arc::clone(&candidate.egress),
        patience: timeouts.connect,
        lease: Lease::default(),
    }
}

/// How long a connection may take: whoever waits for another one's end, or for a port, does not wait for the origin yet.
pub(super) fn patience(candidate: &Candidate, timeouts: &Timeouts) -> Duration {
    let queued = candidate.origin.slots.connection_patience();
    timeouts.connect + queued + egress::patience(&candidate.egress)
}

/// How long a connection is kept that nobody uses.
pub(super) fn idle_time(origin: &Origin, timeouts: &Timeouts) -> Duration {
    match origin.slots.are_connections_few() {
        true => timeouts.idle.min(IDLE_OF_FEW),
        false => timeouts.idle,
    }
}

/// The peer behind a candidate.
pub(crate) fn peer(candidate: &Candidate, timeouts: &Timeouts, trusted: &Authorities) -> HttpPeer {
    let origin = &candidate.origin;
    let (address, _) = stable(&candidate.place);
    let mut peer = match &origin.transport {
        Transport::Plain => HttpPeer::new(address, false, String::new()),
        Transport::Tls { trust, sni } => {
            // An address stands for itself: it is not sent as SNI, and is verified all the same.
            let name = sni.clone().unwrap_or_else(|| match &origin.host {
                Host::Service(_) => match &candidate.place {
                    Place::Server { name, .. } => name.clone(),
                    Place::Addresses(_) | Place::Socket(_) => String::new(),
                },
                Host::Name(name) => name.clone(),
                Host::Address(address) => address.to_string(),
                Host::Socket(_) => String::new(),
            });
            let mut peer = HttpPeer::new(address, true, name);
            match trust {
                Trust::System => {}
                Trust::Authorities(certificates) => {
                    peer.options.ca = Some(trusted.of(origin.shown, certificates));
                }
                Trust::Anyone => {
                    peer.options.verify_cert = false;
                    peer.options.verify_hostname = false;
                }
            }
            peer
        }
    };
    peer.group_key = identity(candidate);
    let shown = origin.certificate.as_ref();
    peer.client_cert_key = shown.map(|shown| trusted.shown(origin.shown, shown));
    let link = link(candidate, timeouts);
    let lease = link.lease.clone();
    let options = &mut peer.options;
    match (origin.http, &origin.transport) {
        (HttpVersion::One, _) | (HttpVersion::Negotiated, Transport::Plain) => {
            options.set_http_version(1, 1);
        }
        (HttpVersion::Negotiated, Transport::Tls { .. }) => options.set_http_version(2, 1),
        (HttpVersion::Two, _) => options.set_http_version(2, 2),
    }
    options.max_h2_streams = STREAMS_MAX;
    options.h2_stream_window_size = Some(STREAM_WINDOW);
    options.h2_connection_window_size = Some(CONNECTION_WINDOW);
    options.custom_l4 = Some(Arc::new(link));
    options.tracer = Some(Tracer(Box::new(lease)));
    options.total_connection_timeout = Some(patience(candidate, timeouts));
    options.read_timeout = Some(timeouts.first_byte.max(timeouts.between_bytes));
    options.write_timeout = Some(timeouts.between_bytes);
    options.idle_timeout = Some(idle_time(origin, timeouts));
    peer
}

/// What tells connections to parents from those to origins.
const PARENT: u64 = 0x7061_7265_6e74;

/// A parent, for a request that passes the cache by.
pub(crate) fn parent(hop: &Hop, timeouts: &Timeouts, trusted: &Authorities) -> HttpPeer {
    let mut peer = match &hop.tls {
        None => HttpPeer::new(hop.address, false, String::new()),
        Some(tls) => {
            let mut peer = HttpPeer::new(hop.address, true, tls.name.clone());
            peer.options.ca = Some(trusted.of(hop.made, &tls.authorities));
            let shown = tls.certificate.as_deref();
            peer.client_cert_key = shown.map(|shown| trusted.shown(hop.made, shown));
            peer
        }
    };
    let mut identity = DefaultHasher::new();
    (PARENT, hop.made).hash(&mut identity);
    for pool in hop.egress.iter() {
        pool.identity.hash(&mut identity);
    }
    peer.group_key = identity.finish();
    let lease = Lease::default();
    let options = &mut peer.options;
    options.custom_l4 = Some(Arc::new(ToNode {
        address: hop.address,
        egress: Arc::clone(&hop.egress),
        sockets: Arc::clone(&hop.sockets),
        lease: lease.clone(),
    }));
    options.tracer = Some(Tracer(Box::new(lease)));
    options.set_http_version(2, 2);
    options.max_h2_streams = STREAMS_MAX;
    options.h2_stream_window_size = Some(STREAM_WINDOW);
    options.h2_connection_window_size = Some(CONNECTION_WINDOW);
    options.connection_timeout = Some(hop.connect);
    options.total_connection_timeout = Some(hop.connect);
    options.read_timeout = Some(timeouts.first_byte.max(timeouts.between_bytes));
    options.write_timeout = Some(timeouts.between_bytes);
    options.idle_timeout = Some(timeouts.idle);
    peer
}
