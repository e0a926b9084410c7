//! Where a parent is.

use std::net::SocketAddr;

use tiered::Member;

use super::Shared;
use crate::origins::Host;

/// Where a parent is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// What it is called in the hash.
    pub id: String,
    pub weight: u32,
    pub secure: bool,
    pub host: Host,
    pub port: u16,
}

impl Place {
    pub(super) fn host_name(&self) -> String {
        match &self.host {
            Host::Name(name) | Host::Service(name) => name.clone(),
            Host::Address(address) => address.to_string(),
            Host::Socket(path) => path.display().to_string(),
        }
    }

    pub(super) fn member(&self) -> Member {
        Member {
            id: self.id.clone(),
            weight: self.weight,
        }
    }

    /// Its addresses, as far as they are known now.
    pub(super) async fn resolve(&self, shared: &Shared) -> Vec<SocketAddr> {
        let port = self.port;
        match &self.host {
            Host::Socket(_) | Host::Service(_) => Vec::new(),
            Host::Address(address) => vec![SocketAddr::new(*address, port)],
            Host::Name(name) => {
                let found = shared
                    .names
                    .resolve(name, shared.clock.instant().into())
                    .await;
                found
                    .into_iter()
                    .map(|address| SocketAddr::new(address, port))
                    .collect()
            }
        }
    }
}
