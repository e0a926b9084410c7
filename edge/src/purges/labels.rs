//! What a response can be purged by, and what an order names: labels of both.

use http::HeaderMap;
use policy::key::{CacheKey, KeyRules, QueryRules};
use policy::packed::Fields;
use purge_api::{Order, Scope};
use storage::purge::{Label, Membership, Sequence};

use super::names::{known_host, known_site, parse_host, parse_key, parse_url};
use super::{PurgeError, Purges, groups, tags};
use crate::exchange::{Request, split_target};
use crate::sites::{Asked, Site, Sites};

/// Path segments that a prefix can name; what lies deeper is purged with them.
pub(crate) const PREFIX_DEPTH_MAX: usize = 32;

/// What a label stands for.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Kind {
    All,
    Site,
    Host,
    Url,
    Prefix,
    Tag,
    Search,
    Key,
}

impl Purges {
    pub(super) fn label(&self, kind: Kind, parts: &[&[u8]]) -> Label {
        self.labeller.label(kind as u8, parts)
    }

    /// What the response to a request can be purged by, and since when.
    pub(crate) fn membership(
        &self,
        born: Sequence,
        request: &Request,
        response: &impl Fields,
    ) -> Membership {
        Membership::new(born, self.labels(request, response))
    }

    /// Everything that the response to a request can be purged by.
    pub(crate) fn labels(&self, request: &Request, response: &impl Fields) -> Vec<Label> {
        let site = &*request.site;
        let authority = &request.head.authority;
        let name = site.name.as_bytes();
        let mut labels = vec![
            self.label(Kind::All, &[]),
            self.label(Kind::Site, &[name]),
            self.label(Kind::Host, &[authority.host.as_bytes()]),
            self.url_label_now(site, &authority.host, &request.head.target),
            self.label(Kind::Key, &[&request.key.hash()]),
        ];
        let (path, _) = split_target(&request.head.target);
        for prefix in prefixes(path) {
            labels.push(self.prefix_label(&authority.host, prefix));
        }
        for tag in tags::tags(response, &site.tag_fields) {
            labels.push(self.label(Kind::Tag, &[name, &tag]));
        }
        for tag in groups::tags(request, response) {
            labels.push(self.label(Kind::Tag, &[name, tag.as_bytes()]));
        }
        if response.has(policy::search::NO_VARY_SEARCH) {
            labels.push(self.search_label(&site.name, &authority.host, path));
        }
        labels
    }

    /// The URL as the site's key rules see it.
    pub(super) fn url_label_now(&self, site: &Site, host: &str, target: &str) -> Label {
        let asked = Asked {
            method: &http::Method::GET,
            path: split_target(target).0,
            headers: &HeaderMap::new(),
        };
        let treatment = site.treatment(&asked, None);
        self.url_label(&site.name, &treatment.key.query, host, target)
    }

    /// A URL as a site names it that makes this of its query, whatever the scheme: fields and cookies in the key make
    /// variants of it.
    pub(super) fn url_label(
        &self,
        site: &str,
        query_rules: &QueryRules,
        host: &str,
        target: &str,
    ) -> Label {
        let (path, query) = split_target(target);
        let rules = KeyRules {
            query: query_rules.clone(),
            ..KeyRules::default()
        };
        let target = policy::key::Target {
            site,
            scheme: "",
            host,
            port: 0,
            path,
            query,
        };
        let key = CacheKey::new(&target, &rules, &HeaderMap::new());
        self.label(Kind::Url, &[&key.hash()])
    }

    /// All queries of a path whose responses say which of them are equal: a purge of one of their URLs does not know
    /// under which of the others a response was stored, and takes them all.
    pub(super) fn search_label(&self, site: &str, host: &str, path: &str) -> Label {
        let parts = [site.as_bytes(), host.as_bytes(), path.as_bytes()];
        self.label(Kind::Search, &parts)
    }

    /// A path with all its queries, and what lies below it.
    pub(super) fn path_label(&self, host: &str, path: &str) -> Label {
        self.prefix_label(host, prefixes(path).last().unwrap_or_default())
    }

    fn prefix_label(&self, host: &str, prefix: &str) -> Label {
        self.label(Kind::Prefix, &[host.as_bytes(), prefix.as_bytes()])
    }

    /// Whether it can be said what an order names.
    pub(super) fn check(&self, order: &Order, sites: &Sites) -> Result<(), PurgeError> {
        let mut labels = Vec::new();
        let mut scopes = order.scopes.iter();
        scopes.try_for_each(|scope| self.add_labels(scope, sites, &mut labels))
    }

    /// What an order names.
    pub(crate) fn labels_of(&self, order: &Order, sites: &Sites) -> Result<Vec<Label>, PurgeError> {
        self.check(order, sites)?;
        Ok(self.all_labels(order, sites, &self.former.names.read()))
    }

    pub(super) fn add_labels(
        &self,
        scope: &Scope,
        sites: &Sites,
        labels: &mut Vec<Label>,
    ) -> Result<(), PurgeError> {
        match scope {
            Scope::All => labels.push(self.label(Kind::All, &[])),
            Scope::Site(site) => {
                known_site(sites, site)?;
                labels.push(self.label(Kind::Site, &[site.as_bytes()]));
            }
            Scope::Host(host) => {
                let host = parse_host(host)?;
                known_host(sites, &host)?;
                labels.push(self.label(Kind::Host, &[host.as_bytes()]));
            }
            Scope::Url(url) => {
                let (host, target) = parse_url(url)?;
                let site = known_host(sites, &host)?;
                labels.push(self.url_label_now(site, &host, &target));
                labels.push(self.search_label(&site.name, &host, split_target(&target).0));
            }
            Scope::Key(key) => {
                let hash = parse_key(key).ok_or_else(|| PurgeError::Key(key.clone()))?;
                labels.push(self.label(Kind::Key, &[&hash]));
            }
            Scope::Prefix(prefix) => {
                let (host, target) = parse_url(prefix)?;
                known_host(sites, &host)?;
                let (path, _) = split_target(&target);
                let path = path.strip_suffix('/').unwrap_or(path);
                if path.split('/').count() > PREFIX_DEPTH_MAX {
                    return Err(PurgeError::Depth(prefix.clone()));
                }
                labels.push(self.prefix_label(&host, path));
            }
            Scope::Tag {
                site: Some(site),
                tag,
            } => {
                known_site(sites, site)?;
                labels.push(self.label(Kind::Tag, &[site.as_bytes(), tag.as_bytes()]));
            }
            Scope::Tag { site: None, tag } => {
                let names = sites.names();
                labels.extend(
                    names.map(|site| self.label(Kind::Tag, &[site.as_bytes(), tag.as_bytes()])),
                );
            }
        }
        Ok(())
    }

    /// What was accepted elsewhere, or under another configuration, may name a site or host that is not served here.
    /// Should that change, nothing from before the purge comes back: rather a host too much goes.
    pub(super) fn label_unserved(&self, scope: &Scope) -> Label {
        match scope {
            Scope::Site(site) => self.label(Kind::Site, &[site.as_bytes()]),
            Scope::Tag {
                site: Some(site),
                tag,
            } => self.label(Kind::Tag, &[site.as_bytes(), tag.as_bytes()]),
            Scope::Host(host) => {
                let host = parse_host(host).unwrap_or_else(|_none| host.to_ascii_lowercase());
                self.label(Kind::Host, &[host.as_bytes()])
            }
            Scope::Url(url) | Scope::Prefix(url) => match parse_url(url) {
                Ok((host, _)) => self.label(Kind::Host, &[host.as_bytes()]),
                Err(_) => self.label(Kind::All, &[]),
            },
            Scope::All | Scope::Key(_) | Scope::Tag { site: None, .. } => {
                self.label(Kind::All, &[])
            }
        }
    }
}

/// A path and the folders above it, without the slash at their ends: `/a/b` has the empty one, `/a` and `/a/b`.
fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    let folders = path.match_indices('/').map(|(at, _)| &path[..at]);
    let own = (!path.ends_with('/')).then_some(path);
    folders.chain(own).take(PREFIX_DEPTH_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_belongs_to_the_folders_above_it() {
        let all = |path| prefixes(path).collect::<Vec<_>>();
        assert_eq!(all("/"), [""]);
        assert_eq!(all("/a"), ["", "/a"]);
        assert_eq!(all("/a/b.js"), ["", "/a", "/a/b.js"]);
        assert_eq!(all("/a/b/"), ["", "/a", "/a/b"]);
        let deep = "/x".repeat(2 * PREFIX_DEPTH_MAX);
        assert_eq!(all(&deep).len(), PREFIX_DEPTH_MAX);
    }
}
