//! An origin's address as Pingora connects to it.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use pingora_core::protocols::tls::CaType;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::utils::tls::{WrappedX509, parse_x509};

use crate::origins::attempts::Candidate;
use crate::origins::{Host, HttpVersion, Timeouts, Transport, Trust};
use crate::tier::Hop;

/// Concurrent requests on one HTTP/2 connection to an origin, where the origin allows as many.
const STREAMS_MAX: usize = 128;

/// What an origin may send on one HTTP/2 stream before the node has read it: a client that does not read holds as much
/// of it in memory, and no more.
const STREAM_WINDOW: u32 = 512 * 1024;
/// The same for all streams of a connection.
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;

/// Authorities in Pingora's form, by the identity of the origin that trusts them.
#[derive(Default)]
pub(crate) struct Authorities {
    ready: RwLock<HashMap<u64, Arc<CaType>>>,
}

impl Authorities {
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

/// The peer behind a candidate. Everything that makes its connections different from others to the same address is in
/// its identity, or the pool would mix them.
pub(crate) fn peer(candidate: &Candidate, timeouts: &Timeouts, trusted: &Authorities) -> HttpPeer {
    let origin = &candidate.origin;
    let mut peer = match &origin.transport {
        Transport::Plain => HttpPeer::new(candidate.address(), false, String::new()),
        Transport::Tls { trust, sni } => {
            // An address stands for itself: it is not sent as SNI, and is verified all the same.
            let name = sni.clone().unwrap_or_else(|| match &origin.host {
                Host::Name(name) => name.clone(),
                Host::Address(address) => address.to_string(),
            });
            let mut peer = HttpPeer::new(candidate.address(), true, name);
            match trust {
                Trust::System => {}
                Trust::Authorities(certificates) => {
                    peer.options.ca = Some(trusted.of(origin.identity, certificates));
                }
                Trust::Anyone => {
                    peer.options.verify_cert = false;
                    peer.options.verify_hostname = false;
                }
            }
            peer
        }
    };
    peer.group_key = origin.identity;
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
    options.connection_timeout = Some(timeouts.connect);
    options.total_connection_timeout = Some(timeouts.connect);
    options.read_timeout = Some(timeouts.first_byte.max(timeouts.between_bytes));
    options.write_timeout = Some(timeouts.between_bytes);
    options.idle_timeout = Some(timeouts.idle);
    peer
}

/// What tells connections to parents from those to origins.
const PARENT: u64 = 0x7061_7265_6e74;

/// A parent, for a request that passes the cache by.
pub(crate) fn parent(hop: &Hop, timeouts: &Timeouts, trusted: &Authorities) -> HttpPeer {
    let mut peer = match &hop.tls {
        None => HttpPeer::new(hop.address, false, String::new()),
        Some((name, authorities)) => {
            let mut peer = HttpPeer::new(hop.address, true, name.clone());
            peer.options.ca = Some(trusted.of(PARENT, authorities));
            peer
        }
    };
    peer.group_key = PARENT;
    let options = &mut peer.options;
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
