//! The tier that a node belongs to.

use std::path::PathBuf;
use std::time::Duration;

use super::{Certificate, OriginHost};

/// A node's place between clients and origins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Whether nodes of the tier before may ask it.
    pub role: Role,
    /// Who is asked instead of the origin; none in the tier before the origin.
    pub parents: Vec<Parent>,
    /// The nodes that share the keys, this one among them; none where it has them all.
    pub siblings: Vec<Parent>,
    /// A readable file that holds the key that all nodes of the tiers share; none where certificates prove who they are.
    pub key: Option<PathBuf>,
    /// A readable file of authorities for the certificates of nodes that speak TLS to each other.
    pub ca: Option<PathBuf>,
    /// What the node shows its parents.
    pub certificate: Option<Certificate>,
    /// The way of requests that the cache has no part in.
    pub pass: Pass,
    /// Requests a second that may go to the origin when no parent can be asked.
    pub direct: u32,
    /// How long a connection to a parent may take.
    pub connect_timeout: Duration,
    /// How long a parent may be silent until it counts as gone.
    pub silence: Duration,
    /// The egress pools that connections to parents leave from, in order; none leaves it to the system.
    pub egress: Vec<String>,
}

/// A node's role.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// It faces clients.
    Edge,
    /// It answers edges, and other parents.
    Parent,
}

/// The way of requests that the cache has no part in.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Pass {
    /// To the origin; what invalidates goes through the parents all the same.
    Direct,
    /// Through the parents.
    Parent,
}

/// Where parents are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parent {
    /// At a URL.
    One(ParentUrl),
    /// Where SRV records of this name say (RFC 2782).
    Srv {
        /// The name.
        name: String,
        /// Whether they speak TLS.
        secure: bool,
    },
    /// What a file says: a URL in each line. It is read again when it changes.
    File(PathBuf),
}

/// A parent with its URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentUrl {
    /// What it is called in the hash: a name of its own, or its host and port.
    pub id: String,
    /// Its share of the keys against the others'.
    pub weight: u32,
    /// Whether it speaks TLS.
    pub secure: bool,
    /// Its host.
    pub host: OriginHost,
    /// Its port.
    pub port: u16,
}
