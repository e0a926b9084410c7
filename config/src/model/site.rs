//! Sites and their origins.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{Caching, Caps, Certificate, FieldEdits, Proxy, ProxyProtocol, Rule, Sharing};

/// One site: the hosts it answers for, where it comes from, and how it is cached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// A token that names the site in keys, metrics and logs; unique.
    pub name: String,
    /// The hosts it answers for; no host belongs to two sites.
    pub hosts: Vec<HostPattern>,
    /// Where it comes from, at least one, in the order of the file.
    pub origins: Vec<Origin>,
    /// How the origins are asked.
    pub upstream: Upstream,
    /// How they share the requests.
    pub sharing: Sharing,
    /// The pools from which they are reached, in order; none leaves it to the system.
    pub egress: Vec<String>,
    /// What is changed of requests to origins.
    pub request_fields: FieldEdits,
    /// What is changed of their responses.
    pub response_fields: FieldEdits,
    /// How responses are cached where no rule says otherwise.
    pub caching: Caching,
    /// The exceptions, in the order of the file: of the rules that match, the first that has a key decides it.
    pub rules: Vec<Rule>,
    /// What the origin learns of who the client is.
    pub forwarded: Forwarded,
    /// In which fields that is written.
    pub forwarded_as: ForwardedAs,
    /// Who is sent early hints.
    pub early_hints: EarlyHints,
    /// Whether early hints are made of earlier responses.
    pub learn_hints: LearnHints,
    /// What `Proxy-Status` tells.
    pub proxy_status: ProxyStatus,
    /// Request fields that reach the origin although responses may be built from them unseen; lower case.
    pub pass_unkeyed: Vec<String>,
    /// Response fields that carry tags; lower case.
    pub tag_fields: Vec<String>,
    /// What `Cache-Status` tells of the cache key.
    pub debug: Debug,
}

/// Hosts a site answers for; lower case, without a port or trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This host. IPv6 addresses stand in brackets.
    Exact(String),
    /// `*.example.net` is `Below("example.net")`: every host below that domain, at any depth, not the domain itself.
    Below(String),
    /// `*`: whatever no other site answers for.
    Any,
}

impl fmt::Display for HostPattern {
    /// Writes the pattern as in the configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Below(domain) => write!(f, "*.{domain}"),
            Self::Any => f.write_str("*"),
        }
    }
}

/// An origin server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Its name or address.
    pub host: OriginHost,
    /// Its port.
    pub port: u16,
    /// What is spoken below HTTP.
    pub transport: OriginTransport,
    /// Which version of HTTP.
    pub http: OriginHttp,
    /// The `Host` it is sent; `None` leaves the client's.
    pub host_override: Option<String>,
    /// Its share compared with that of the others.
    pub weight: u32,
    /// Whether it takes one.
    pub role: OriginRole,
    /// The most that it is asked at once.
    pub caps: Caps,
    /// The proxy through which it is reached.
    pub proxy: Option<Proxy>,
    /// Whether it is told who the client is before the first byte.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// What the node shows an `https://` origin of itself.
    pub certificate: Option<Certificate>,
    /// The pools from which it is reached, in order; none leaves it to the site.
    pub egress: Vec<String>,
}

impl fmt::Display for Origin {
    /// Writes the origin as its URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let OriginHost::Socket(_) = self.host {
            return write!(f, "unix:{}", self.host);
        }
        if let OriginHost::Service(name) = &self.host {
            let scheme = match self.transport {
                OriginTransport::Plain => "dns+srv",
                OriginTransport::Tls { .. } => "dns+srvs",
            };
            return write!(f, "{scheme}://{name}");
        }
        let scheme = match self.transport {
            OriginTransport::Plain => "http",
            OriginTransport::Tls { .. } => "https",
        };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

/// Whether an origin takes its share of the requests.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum OriginRole {
    /// It does.
    Primary,
    /// It is asked where no primary is up.
    Backup,
}

/// Where an origin is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum OriginHost {
    /// A DNS name, lower case.
    Name(String),
    /// An address, which needs no DNS.
    Address(IpAddr),
    /// A socket in the file system.
    Socket(PathBuf),
    /// The servers that SRV records of this name tell (RFC 2782).
    Service(String),
}

impl fmt::Display for OriginHost {
    /// Writes the host as in a URL: an IPv6 address in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) | Self::Service(name) => f.write_str(name),
            Self::Socket(path) => path.display().fmt(f),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// What an origin speaks below HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginTransport {
    /// TCP: an `http://` origin.
    Plain,
    /// TLS: an `https://` origin.
    Tls {
        /// How its certificate is judged.
        verify: Verify,
        /// The name asked for (SNI) and verified; `None` is the origin's host.
        sni: Option<String>,
    },
}

/// How an origin's certificate is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verify {
    /// By the system's authorities.
    System,
    /// By the authorities in this readable PEM file only.
    Ca(PathBuf),
    /// Not at all.
    Never,
}

/// The version of HTTP an origin is asked in.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum OriginHttp {
    /// HTTP/2 where TLS negotiates it, HTTP/1.1 otherwise.
    Auto,
    /// HTTP/1.1.
    One,
    /// HTTP/2; over TCP with prior knowledge (RFC 9113 §3.3).
    Two,
}

/// How origins are asked.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// To a connection, TLS included.
    pub connect_timeout: Duration,
    /// From the request's last byte to the response's first.
    pub first_byte_timeout: Duration,
    /// Between two reads of a response.
    pub between_bytes_timeout: Duration,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// Attempts after the first that failed.
    pub retries: u32,
    /// What is done with a response in a transfer coding the node does not know.
    pub unknown_transfer_coding: UnknownTransferCoding,
}

/// What is done with a response in an unknown transfer coding.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum UnknownTransferCoding {
    /// It is refused: 502.
    Refuse,
    /// The field is dropped and the body ends with the connection.
    UntilClose,
}

/// What the origin learns of who the client is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Forwarded {
    /// The client's address alone.
    Set,
    /// The client's address, and those of the trusted proxies between it and the node.
    Append,
    /// Nothing.
    Off,
}

/// In which fields an origin is told who the client is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum ForwardedAs {
    /// `X-Forwarded-For` and its like.
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// In all of them.
    Both,
}

/// Who is sent early hints (RFC 8297).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum EarlyHints {
    /// Everybody whose protocol has them.
    Forward,
    /// Clients that speak HTTP/2.
    Http2,
    /// Nobody.
    Off,
}

/// Whether early hints are made of earlier responses.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum LearnHints {
    /// They are not.
    Off,
    /// They are.
    On,
}

/// What `Proxy-Status` tells (RFC 9209).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum ProxyStatus {
    /// Nothing.
    Off,
    /// The kind of an error.
    Errors,
    /// Errors with their details, and where each request went.
    Full,
}

/// What `Cache-Status` tells of the cache key.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Debug {
    /// Nothing.
    Off,
    /// The key, as `key=` (RFC 9211 §2.7).
    CacheKey,
}
