//! What other configurations of the same process have called things.
//!
//! A response is purged by labels that it was given when it was stored, under the sites of then. A purge under other sites
//! names what those would be called now. Should the sites be again what they were, nothing from before the purge may come
//! back: so a purge names what it names by the former sites, too, or rather too much than too little of it.

use std::collections::BTreeSet;

use parking_lot::RwLock;
use purge_api::Scope;

use super::names::parse_url;
use super::{Kind, Purges};
use crate::exchange::split_target;
use crate::sites::Sites;

/// Names of former sites that are remembered; beyond it, a tag of all sites purges everything.
const NAMES_MAX: usize = 4096;

/// What former configurations have called things.
#[derive(Debug, Default)]
pub(super) struct Former(RwLock<Names>);

#[derive(Debug, Default)]
struct Names {
    /// Sites that there were at some time.
    sites: BTreeSet<String>,
    /// Whether URLs were stored under other sites or keys at some time.
    urls: Urls,
}

/// How URLs are called that are purged.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Urls {
    #[default]
    AsNow,
    /// Under other sites, or by other keys.
    Otherwise,
}

impl Purges {
    /// Other sites come into force than these; `urls` says whether they call a URL otherwise.
    pub(crate) fn leave_behind(&self, before: &Sites, urls: Urls) {
        let mut names = self.former.0.write();
        if urls == Urls::Otherwise {
            names.urls = urls;
        }
        for site in before.names() {
            if names.sites.len() < NAMES_MAX {
                names.sites.insert(site.to_owned());
            }
        }
    }

    /// What an order names by former sites.
    pub(super) fn add_former_labels(
        &self,
        scope: &Scope,
        sites: &Sites,
        labels: &mut Vec<storage::purge::Label>,
    ) {
        let names = self.former.0.read();
        match scope {
            Scope::Tag { site: None, .. } if names.sites.len() >= NAMES_MAX => {
                labels.push(self.label(Kind::All, &[]));
            }
            Scope::Tag { site: None, tag } => {
                let known: BTreeSet<&str> = sites.names().collect();
                let gone = names.sites.iter();
                let gone = gone.filter(|name| !known.contains(name.as_str()));
                labels.extend(
                    gone.map(|site| self.label(Kind::Tag, &[site.as_bytes(), tag.as_bytes()])),
                );
            }
            Scope::Url(url) if names.urls == Urls::Otherwise => {
                if let Ok((host, target)) = parse_url(url) {
                    let (path, _) = split_target(&target);
                    labels.push(self.path_label(&host, path));
                }
            }
            _ => {}
        }
    }
}
