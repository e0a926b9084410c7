//! Who may purge, and how.

use std::path::PathBuf;

use ipnet::IpNet;

/// A further token of the admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminToken {
    /// Its name in the audit trail; unique.
    pub name: String,
    /// A readable file that holds it.
    pub file: PathBuf,
    /// What it opens, at least one thing.
    pub may: Vec<Permission>,
    /// The only sites that it is good for; empty means all.
    pub sites: Vec<String>,
    /// Requests in a second.
    pub rate: u32,
}

/// Something that a token may do.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Ask for status, purges and dry runs.
    Read,
    /// Purge URLs.
    Url,
    /// Purge tags.
    Tag,
    /// Purge prefixes.
    Prefix,
    /// Purge hosts.
    Host,
    /// Purge exact keys.
    Key,
    /// Purge everything.
    All,
    /// Have the node read its configuration again.
    Reload,
}

/// Who may purge as clients of other caches do. A dialect for nobody is off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialects {
    /// `PURGE` of a URL.
    pub purge: Vec<IpNet>,
    /// `PURGEKEYS`, and `PURGE` with `xkey` fields.
    pub xkey: Vec<IpNet>,
    /// `BAN`.
    pub ban: Vec<IpNet>,
    /// `PURGE` with `X-Magento-Tags-Pattern`.
    pub magento: Vec<IpNet>,
    /// Fastly's API.
    pub fastly: Vec<IpNet>,
    /// Cloudflare's API.
    pub cloudflare: Vec<IpNet>,
    /// Souin's API.
    pub souin: Vec<IpNet>,
}
