//! By which names responses were stored that are still there: the names that sites give URLs depend on their configuration.
//!
//! What a URL is called follows from the site that answers for its host, and from what that site makes of queries on its
//! path. Both change with the configuration, and what is stored keeps its name. So a purge names a URL by everything that
//! it may have been called since the disks began, and [`Names`] remembers what that is.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use policy::key::{Keep, Order, Pattern, QueryRules};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::sites::{Site, Sites};

/// Hosts and namings of them that are remembered, together.
const NAMINGS_MAX: usize = 1 << 20;
/// Bytes of the hash over a site's rules.
const HASH_BYTES: usize = 16;

/// How a site names URLs.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub(super) struct Naming {
    /// The site's name.
    pub site: String,
    /// What it makes of queries, on some path or other: each once.
    pub queries: Vec<Queries>,
    /// A hash of where it makes which of them, where there are several: two namings that are equal name all URLs alike.
    rules: String,
}

/// What becomes of a query, to be kept in a file.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub(super) struct Queries {
    keep: Kept,
    order: Ordered,
}

#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kept {
    All,
    Nothing,
    Only(Vec<String>),
    Except(Vec<String>),
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Ordered {
    AsSent,
    ByName,
}

impl Queries {
    fn of(rules: &QueryRules) -> Self {
        let written = |patterns: &[Pattern]| patterns.iter().map(written).collect();
        Self {
            keep: match &rules.keep {
                Keep::All => Kept::All,
                Keep::Nothing => Kept::Nothing,
                Keep::Only(patterns) => Kept::Only(written(patterns)),
                Keep::Except(patterns) => Kept::Except(written(patterns)),
            },
            order: match rules.order {
                Order::AsSent => Ordered::AsSent,
                Order::ByName => Ordered::ByName,
            },
        }
    }

    /// The rules that were in force.
    pub(super) fn rules(&self) -> QueryRules {
        let read = |patterns: &[String]| patterns.iter().map(|it| Pattern::new(it)).collect();
        QueryRules {
            keep: match &self.keep {
                Kept::All => Keep::All,
                Kept::Nothing => Keep::Nothing,
                Kept::Only(patterns) => Keep::Only(read(patterns)),
                Kept::Except(patterns) => Keep::Except(read(patterns)),
            },
            order: match self.order {
                Ordered::AsSent => Order::AsSent,
                Ordered::ByName => Order::ByName,
            },
        }
    }
}

fn written(pattern: &Pattern) -> String {
    match pattern {
        Pattern::Exact(name) => name.clone(),
        Pattern::Prefix(start) => format!("{start}*"),
    }
}

impl Naming {
    /// How this site names URLs.
    pub(super) fn of(site: &Site) -> Self {
        let base = Queries::of(&site.base.key.query);
        let rules = site.rules.iter().filter_map(|rule| {
            let key = rule.overrides.key.as_ref()?;
            Some((&rule.matches, Queries::of(&key.query)))
        });
        let rules: Vec<_> = rules.collect();
        let mut queries = vec![base];
        for (_, other) in &rules {
            if !queries.contains(other) {
                queries.push(other.clone());
            }
        }
        let rules = match queries.len() {
            1 => String::new(),
            _ => hash(&format!("{rules:?}")),
        };
        Self {
            site: site.name.clone(),
            queries,
            rules,
        }
    }
}

fn hash(text: &str) -> String {
    let digest = Sha256::digest(text);
    let shown = digest.iter().take(HASH_BYTES);
    shown.map(|byte| format!("{byte:02x}")).collect()
}

/// How one configuration names URLs: by patterns of hosts, as they are written in it.
#[derive(Debug)]
pub(super) struct Namings(BTreeMap<String, Arc<Naming>>);

impl Namings {
    pub(super) fn of(sites: &Sites) -> Self {
        let all = sites.all().into_iter();
        let by_site: HashMap<*const Site, Arc<Naming>> = all
            .map(|site| (Arc::as_ptr(site), Arc::new(Naming::of(site))))
            .collect();
        let naming = |site: &Arc<Site>| by_site.get(&Arc::as_ptr(site)).cloned();
        let exact = sites.exact.iter().map(|(host, site)| (host.clone(), site));
        let below = sites.below.iter();
        let below = below.map(|(domain, site)| (format!("*.{domain}"), site));
        let any = sites.any.iter().map(|site| (ANY.to_owned(), site));
        let patterns = exact.chain(below).chain(any);
        Self(
            patterns
                .filter_map(|(pattern, site)| Some((pattern, naming(site)?)))
                .collect(),
        )
    }
}

/// The pattern of all hosts.
const ANY: &str = "*";

/// The patterns that a host is looked up by, in the order in which sites are.
fn patterns(host: &str) -> impl Iterator<Item = String> {
    let dots = host.match_indices('.').filter(|(at, _)| *at > 0);
    let below = dots.map(|(at, _)| format!("*{}", &host[at..]));
    let own = std::iter::once(host.to_owned());
    own.chain(below).chain(std::iter::once(ANY.to_owned()))
}

/// How URLs were named since the disks began.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Names {
    namings: Vec<Naming>,
    hosts: BTreeMap<String, Hosts>,
    /// Whether that is all of them.
    known: Known,
}

/// What names the hosts had that a pattern stands for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Hosts {
    held: Held,
    /// Places in [`Names::namings`].
    namings: Vec<usize>,
}

/// Since when there was a pattern.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Held {
    /// In every configuration: its hosts were never those of a wider one.
    Always,
    Sometimes,
}

/// Whether all names are remembered.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Known {
    #[default]
    All,
    /// There were more than [`NAMINGS_MAX`].
    NotAll,
}

/// What the names under a configuration add to those before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Added {
    Nothing,
    Something,
}

impl Names {
    /// Whether this is all that there was.
    pub(super) const fn known(&self) -> Known {
        self.known
    }

    /// Another configuration is to name URLs from now on.
    pub(super) fn add(&mut self, now: &Namings) -> Added {
        let held = match self.hosts.is_empty() {
            true => Held::Always,
            false => Held::Sometimes,
        };
        let mut added = Added::Nothing;
        for (pattern, hosts) in &mut self.hosts {
            if hosts.held == Held::Always && !now.0.contains_key(pattern) {
                hosts.held = Held::Sometimes;
                added = Added::Something;
            }
        }
        let numbered = self.namings.iter().cloned().enumerate();
        let mut places: HashMap<Naming, usize> = numbered.map(|(at, it)| (it, at)).collect();
        let mut length: usize = self.hosts.values().map(|it| it.namings.len()).sum();
        for (pattern, naming) in &now.0 {
            let place = places.get(&**naming).copied();
            let known = self.hosts.get(pattern).zip(place);
            if known.is_some_and(|(hosts, place)| hosts.namings.contains(&place)) {
                continue;
            }
            if length >= NAMINGS_MAX {
                return self.lose();
            }
            let place = place.unwrap_or_else(|| {
                self.namings.push(Naming::clone(naming));
                let last = self.namings.len() - 1;
                places.insert(Naming::clone(naming), last);
                last
            });
            let hosts = self.hosts.entry(pattern.clone());
            let hosts = hosts.or_insert(Hosts {
                held,
                namings: Vec::new(),
            });
            hosts.namings.push(place);
            length += 1;
            added = Added::Something;
        }
        added
    }

    /// There are too many.
    fn lose(&mut self) -> Added {
        tracing::warn!(
            most = NAMINGS_MAX,
            "sites were configured in more ways than are remembered: until the next start, purges of URLs take all that is below their paths"
        );
        self.known = Known::NotAll;
        Added::Something
    }

    /// How URLs of a host may have been named.
    pub(super) fn of(&self, host: &str) -> Vec<&Naming> {
        let mut found: Vec<&Naming> = Vec::new();
        for pattern in patterns(host) {
            let Some(hosts) = self.hosts.get(&pattern) else {
                continue;
            };
            let namings = hosts.namings.iter();
            found.extend(namings.filter_map(|place| self.namings.get(*place)));
            if hosts.held == Held::Always {
                break;
            }
        }
        found
    }

    /// The names of all sites that there were.
    pub(super) fn sites(&self) -> HashSet<&str> {
        let namings = self.namings.iter();
        namings.map(|naming| naming.site.as_str()).collect()
    }

    /// Whether what was read from a file is whole.
    pub(super) fn is_sound(&self) -> bool {
        let mut places = self.hosts.values().flat_map(|hosts| &hosts.namings);
        places.all(|place| *place < self.namings.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naming(site: &str) -> Arc<Naming> {
        Arc::new(Naming {
            site: site.to_owned(),
            queries: vec![Queries::of(&QueryRules::default())],
            rules: String::new(),
        })
    }

    fn namings(hosts: &[(&str, &str)]) -> Namings {
        let hosts = hosts.iter();
        Namings(
            hosts
                .map(|(pattern, site)| ((*pattern).to_owned(), naming(site)))
                .collect(),
        )
    }

    #[track_caller]
    fn check(names: &Names, host: &str, sites: &[&str]) {
        let found = names.of(host);
        let found: Vec<_> = found.iter().map(|it| it.site.as_str()).collect();
        assert_eq!(found, sites, "{host}");
    }

    #[test]
    fn a_host_is_named_by_whoever_may_have_answered_for_it() {
        let mut names = Names::default();
        let first = namings(&[
            ("*", "all"),
            ("a.example.net", "a"),
            ("*.example.net", "net"),
        ]);
        assert_eq!(names.add(&first), Added::Something);
        assert_eq!(names.add(&first), Added::Nothing);
        check(&names, "a.example.net", &["a"]);
        check(&names, "b.c.example.net", &["net"]);
        check(&names, "example.net", &["all"]);
        // A host that has come was answered for by the wider ones before.
        let more = namings(&[
            ("*", "all"),
            ("a.example.net", "a"),
            ("*.example.net", "net"),
            ("b.example.net", "b"),
        ]);
        assert_eq!(names.add(&more), Added::Something);
        check(&names, "b.example.net", &["b", "net"]);
        check(&names, "a.example.net", &["a"]);
        // One that has gone is answered for by them now.
        assert_eq!(names.add(&namings(&[("*", "all")])), Added::Something);
        check(&names, "a.example.net", &["a", "net", "all"]);
        check(&names, "b.example.net", &["b", "net", "all"]);
        // Another site of the same hosts.
        assert_eq!(names.add(&namings(&[("*", "other")])), Added::Something);
        check(&names, "example.org", &["all", "other"]);
        assert_eq!(
            names.sites(),
            HashSet::from(["all", "a", "b", "net", "other"])
        );
    }

    #[test]
    fn names_are_read_as_they_were_written() {
        let mut names = Names::default();
        names.add(&namings(&[("*", "all"), ("a.example", "a")]));
        let bytes = serde_json::to_vec(&names).unwrap();
        assert_eq!(serde_json::from_slice::<Names>(&bytes).unwrap(), names);
        assert!(names.is_sound());
        names.namings.pop();
        assert!(!names.is_sound());
        let except = Keep::Except(vec![Pattern::new("utm_*"), Pattern::new("id")]);
        for keep in [Keep::All, Keep::Nothing, Keep::Only(Vec::new()), except] {
            for order in [Order::AsSent, Order::ByName] {
                let rules = QueryRules {
                    keep: keep.clone(),
                    order,
                };
                assert_eq!(Queries::of(&rules).rules(), rules);
            }
        }
    }

    #[test]
    fn what_is_remembered_has_a_limit() {
        let mut names = Names::default();
        let places: Vec<usize> = vec![0; NAMINGS_MAX - 1];
        names.add(&namings(&[("*", "all")]));
        names.hosts.insert(
            "full.example".to_owned(),
            Hosts {
                held: Held::Always,
                namings: places,
            },
        );
        assert_eq!(names.add(&namings(&[("*", "all")])), Added::Something);
        assert_eq!(names.known(), Known::All);
        names.add(&namings(&[("*", "another")]));
        assert_eq!(names.known(), Known::NotAll);
    }
}
