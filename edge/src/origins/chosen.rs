//! By what of a request an origin is chosen, where the site chooses it by the request.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher, Hash};
use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderMap;
use http::header::COOKIE;
use tiered::retry::Replay;
use wire::Framing;
use wire::proxy_protocol::{Announced, Ends};

use super::attempts::Plan;
use super::slots::Queueing;
use crate::downstream::Facts;
use crate::exchange::Request;

/// What the choice of an origin goes by.
#[derive(Clone, Debug)]
pub(crate) enum ChosenBy {
    /// The cache key: each origin has a part of the site.
    CacheKey,
    /// The client's address.
    Client,
    /// A cookie; the client's address where there is none.
    Cookie(String),
}

impl Request {
    /// The same for requests that have the same origin.
    pub(crate) fn chosen_by(&self) -> u64 {
        let client = || hash(self.path.first());
        match &self.site.origins.chosen_by {
            ChosenBy::CacheKey => hash(self.key.hash()),
            ChosenBy::Client => client(),
            ChosenBy::Cookie(name) => cookie(self.headers(), name).map_or_else(client, hash),
        }
    }

    /// What it brings to the choice of its origins when it passes the cache by.
    pub(crate) fn plan(&self) -> Plan {
        let harmless = self.method().is_safe() && self.head.framing == Framing::None;
        Plan {
            key: self.chosen_by(),
            replay: if harmless {
                Replay::Harmless
            } else {
                Replay::Harmful
            },
            queueing: Queueing::Wait,
            announced: self.announced(),
            egress: Arc::clone(&self.treatment.egress),
        }
    }

    /// Who asks, as the PROXY protocol says it: the client, whoever stands before the node.
    fn announced(&self) -> Announced {
        let Facts { client, local, .. } = &*self.facts;
        let from = match self.path.first() {
            Some(address) if *address != client.ip() => SocketAddr::new(*address, 0),
            _ => *client,
        };
        Announced::Of(Ends { from, to: *local })
    }
}

fn hash(what: impl Hash) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(what)
}

/// The value of a cookie (RFC 6265 §4.2).
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let values = headers.get_all(COOKIE).into_iter();
    let mut pairs = values.flat_map(|value| value.as_bytes().split(|&byte| byte == b';'));
    pairs.find_map(|pair| {
        let pair = pair.trim_ascii();
        pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, "xid=1; id=2; idx=3".parse().unwrap());
        assert_eq!(cookie(&headers, "id"), Some(&b"2"[..]));
        assert_eq!(cookie(&headers, "i"), None);
    }
}
