//! Purges as the plug-ins of other caches and networks send them.
//!
//! Each dialect is read into an [`Order`](crate::Order) by pure functions, and is answered as its clients expect.

mod answer;
mod cloudflare;
mod fastly;
mod pattern;
mod souin;
mod varnish;

use std::net::IpAddr;

use http::{HeaderMap, Method};
use ipnet::IpNet;

use souin::{Said, souin};
pub use varnish::may_purge;
use varnish::varnish;

use crate::order::{Mode, Scope};

/// A way to ask for a purge that somebody else brought up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dialect {
    /// `PURGE` of a URL.
    Purge,
    /// `PURGEKEYS`, and `PURGE` with `xkey` fields.
    Xkey,
    /// `BAN` with the fields of `FOSHttpCache` and Drupal.
    Ban,
    /// `PURGE` with `X-Magento-Tags-Pattern`.
    Magento,
    /// Fastly's API.
    Fastly,
    /// Cloudflare's API.
    Cloudflare,
    /// Souin's API.
    Souin,
}

impl Dialect {
    /// All of them.
    pub const EVERY: [Self; 7] = [
        Self::Purge,
        Self::Xkey,
        Self::Ban,
        Self::Magento,
        Self::Fastly,
        Self::Cloudflare,
        Self::Souin,
    ];

    /// Its name in configurations and the audit trail.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Purge => "purge",
            Self::Xkey => "xkey",
            Self::Ban => "ban",
            Self::Magento => "magento",
            Self::Fastly => "fastly",
            Self::Cloudflare => "cloudflare",
            Self::Souin => "souin",
        }
    }
}

/// Who may speak which dialect. A dialect that nobody may speak is off.
#[derive(Clone, Debug, Default)]
pub struct Dialects {
    from: [Vec<IpNet>; Dialect::EVERY.len()],
}

/// Whether a dialect is spoken with a client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Spoken {
    /// With nobody.
    Off,
    /// With others.
    NotHere,
    /// With this one.
    Here,
}

impl Dialects {
    /// Opens a dialect to clients of these networks, and to nobody else.
    #[must_use]
    pub fn open(mut self, dialect: Dialect, from: Vec<IpNet>) -> Self {
        self.from[dialect as usize] = from;
        self
    }

    pub(crate) fn spoken(&self, dialect: Dialect, client: IpAddr) -> Spoken {
        let client = client.to_canonical();
        match &self.from[dialect as usize][..] {
            [] => Spoken::Off,
            from if from.iter().any(|net| net.contains(&client)) => Spoken::Here,
            _ => Spoken::NotHere,
        }
    }
}

/// What was said in a dialect.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Meant {
    pub(crate) scopes: Vec<Scope>,
    pub(crate) mode: Mode,
}

impl Meant {
    const fn hard(scopes: Vec<Scope>) -> Self {
        Self {
            scopes,
            mode: Mode::Hard,
        }
    }
}

/// A request in a dialect, without its content.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words<'a> {
    pub(crate) method: &'a Method,
    /// The host that it is for, in lower case and without a port.
    pub(crate) host: &'a str,
    /// Path and query.
    pub(crate) target: &'a str,
    pub(crate) headers: &'a HeaderMap,
    /// The site that answers for the host.
    pub(crate) site: Option<&'a str>,
}

impl Words<'_> {
    fn field(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// All values of a field, as one list with spaces.
    fn list(&self, name: &str) -> Option<String> {
        let values = self.headers.get_all(name).iter();
        let values: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
        (!values.is_empty()).then(|| values.join(" "))
    }

    fn tag(&self, tag: impl Into<String>) -> Scope {
        Scope::Tag {
            site: self.site.map(str::to_owned),
            tag: tag.into(),
        }
    }

    /// Everything of the host's site.
    fn everything(&self) -> Scope {
        self.site
            .map_or(Scope::All, |site| Scope::Site(site.to_owned()))
    }

    fn url(&self, host: &str, target: &str) -> String {
        format!("http://{host}{target}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dialect_is_spoken_with_whom_it_is_opened_to() {
        let from = vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        let dialects = Dialects::default().open(Dialect::Ban, from);
        let spoken = |dialect, client: &str| dialects.spoken(dialect, client.parse().unwrap());
        assert_eq!(spoken(Dialect::Ban, "10.1.2.3"), Spoken::Here);
        assert_eq!(spoken(Dialect::Ban, "::ffff:10.1.2.3"), Spoken::Here);
        assert_eq!(spoken(Dialect::Ban, "::1"), Spoken::Here);
        assert_eq!(spoken(Dialect::Ban, "11.1.2.3"), Spoken::NotHere);
        assert_eq!(spoken(Dialect::Purge, "10.1.2.3"), Spoken::Off);
    }
}
