//! Which site a request is for, and how its rules treat it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, Method, StatusCode};
use parking_lot::RwLock;
use policy::hints::Audience;
use policy::key::KeyRules;
use policy::settings::Settings;
use smallvec::SmallVec;
use storage::Admission;

use crate::egress::Pool;
use crate::hints::Learning;
use crate::in_force::Common;
use crate::metrics::Tally;
use crate::origins::Origins;
use crate::origins::edits::Edits;
use crate::proxy_status::Telling;
use crate::purges::TagField;
use crate::varied::Varied;

/// Combinations of matching rules that are kept ready; beyond it, one is put together for each request.
const TREATMENTS_MAX: usize = 1024;

/// The sites by host.
#[derive(Debug)]
pub(crate) struct Sites {
    pub exact: HashMap<String, Arc<Site>>,
    /// Parent domains (`example.net` for `*.example.net`), longest first.
    pub below: Vec<(String, Arc<Site>)>,
    /// Answers for what no other site answers for.
    pub any: Option<Arc<Site>>,
}

impl Sites {
    /// The site of a host in lower case.
    pub(crate) fn find(&self, host: &str) -> Option<&Arc<Site>> {
        self.exact
            .get(host)
            .or_else(|| {
                let below = self.below.iter().find(|(domain, _)| is_below(host, domain));
                below.map(|(_, site)| site)
            })
            .or(self.any.as_ref())
    }
}

impl Sites {
    /// All sites, each once.
    pub(crate) fn all(&self) -> Vec<&Arc<Site>> {
        let exact = self.exact.values();
        let below = self.below.iter().map(|(_, site)| site);
        let mut all: Vec<_> = exact.chain(below).chain(&self.any).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all.dedup_by(|one, other| Arc::ptr_eq(one, other));
        all
    }

    /// Where requests for sites are counted.
    pub(crate) fn tallies(&self) -> impl Iterator<Item = &Arc<Tally>> {
        self.all().into_iter().flat_map(|site| &site.tallies)
    }

    /// The names of all sites, in their order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let all = self.all().into_iter();
        all.map(|site| site.name.as_str())
    }
}

fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain)
        .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

/// One site.
#[derive(Debug)]
pub(crate) struct Site {
    pub name: String,
    /// What it has in common with the others.
    pub common: Arc<Common>,
    pub origins: Origins,
    /// What is changed of heads.
    pub edits: Edits,
    pub forwarded: ForwardedFor,
    pub forwarded_as: ForwardedAs,
    /// Who is sent early hints.
    pub early_hints: Audience,
    pub hints: Learning,
    pub telling: Telling,
    /// Fields by which a client can make an origin build another response although no part of the key tells: a
    /// stored response built from them would be served to everyone. They do not reach the origin.
    pub unkeyed: Vec<HeaderName>,
    /// Where the origin writes what a response can be purged by.
    pub tag_fields: Arc<[TagField]>,
    pub show_key: ShowKey,
    /// Where no rule says otherwise. Sites that are treated alike share it.
    pub base: Arc<Treatment>,
    pub rules: Vec<Rule>,
    /// Of requests that no rule matches, and then of each rule: the first that matches counts.
    tallies: SmallVec<[Arc<Tally>; 1]>,
    /// Fields that responses were seen to vary on without the operator's care.
    pub varied: Arc<Varied>,
    treatments: RwLock<HashMap<Vec<usize>, Arc<Treatment>>>,
}

/// What origins learn of who the client is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ForwardedFor {
    /// Its address.
    Set,
    /// Its address, and those of the trusted proxies between.
    Append,
    Off,
}

/// In which fields they learn it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ForwardedAs {
    XForwarded,
    Forwarded,
    Both,
}

/// Whether `Cache-Status` tells the cache key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ShowKey {
    No,
    Yes,
}

/// How a request and its response are treated.
#[derive(Clone, Debug)]
pub(crate) struct Treatment {
    /// The first of the site's rules that match.
    pub rule: Option<usize>,
    pub cache: UseCache,
    pub settings: Settings,
    pub key: KeyRules,
    /// At which request for it a response is written to a disk.
    pub admission: Admission,
    /// How long an answer that could not be stored is remembered as such.
    pub uncacheable: Duration,
    /// The pools from which origins are reached; none leaves it to the origin.
    pub egress: Arc<[Arc<Pool>]>,
}

impl PartialEq for Treatment {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            rule,
            cache,
            settings,
            key,
            admission,
            uncacheable,
            egress,
        } = self;
        // Of pools, each is one.
        let mut pools = egress.iter().zip(&*other.egress);
        (rule, cache, admission, uncacheable)
            == (
                &other.rule,
                &other.cache,
                &other.admission,
                &other.uncacheable,
            )
            && (settings, key) == (&other.settings, &other.key)
            && egress.len() == other.egress.len()
            && pools.all(|(one, other)| Arc::ptr_eq(one, other))
    }
}

/// Whether the cache handles it at all.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum UseCache {
    Allowed,
    Never,
}

/// An exception.
#[derive(Debug)]
pub(crate) struct Rule {
    /// In metrics and logs.
    pub name: String,
    pub matches: Matcher,
    pub overrides: Overrides,
}

/// For what a rule is. Empty lists match everything.
#[derive(Debug)]
pub(crate) struct Matcher {
    pub paths: Vec<config::Glob>,
    pub methods: Vec<Method>,
    pub header: Option<(HeaderName, config::Glob)>,
    pub statuses: Vec<StatusCode>,
}

impl Matcher {
    fn matches(&self, asked: &Asked<'_>, status: Option<StatusCode>) -> bool {
        let path = self.paths.is_empty() || self.paths.iter().any(|glob| glob.matches(asked.path));
        let method = self.methods.is_empty() || self.methods.contains(asked.method);
        let header = self.header.as_ref().is_none_or(|(name, glob)| {
            let mut values = asked.headers.get_all(name).iter();
            // In bytes: one that is no text must not hide the rest of the field from a rule.
            values.any(|value| glob.matches(value.as_bytes()))
        });
        let status = self.statuses.is_empty()
            || status.is_some_and(|status| self.statuses.contains(&status));
        path && method && header && status
    }
}

/// What rules look at in a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub method: &'a Method,
    pub path: &'a str,
    pub headers: &'a HeaderMap,
}

/// What a rule decides; the rest is left to later rules and the site.
#[derive(Debug, Default)]
pub(crate) struct Overrides {
    pub cache: Option<UseCache>,
    pub ttl: Option<policy::settings::TtlOverride>,
    /// Lifetimes of responses with these statuses.
    pub status_ttl: Vec<(StatusCode, policy::settings::TtlOverride)>,
    pub client_control: Option<policy::settings::ClientControl>,
    pub set_cookie: Option<policy::settings::SetCookie>,
    pub stale: Option<policy::settings::StaleDefaults>,
    pub stale_statuses: Option<Vec<StatusCode>>,
    pub heuristic: Option<policy::settings::Heuristic>,
    pub targets: Option<Vec<HeaderName>>,
    pub vary: Option<policy::vary::VaryRules>,
    pub deception_guard: Option<policy::settings::DeceptionGuard>,
    pub codings: Option<policy::coding::CodingRules>,
    pub key: Option<KeyRules>,
    pub admission: Option<Admission>,
    pub uncacheable: Option<Duration>,
    pub slicing: Option<Option<policy::slices::Slicing>>,
    pub egress: Option<Arc<[Arc<Pool>]>>,
}

impl Overrides {
    fn apply(&self, treatment: &mut Treatment) {
        let settings = &mut treatment.settings;
        set(&mut treatment.cache, self.cache.as_ref());
        set(&mut treatment.key, self.key.as_ref());
        set(&mut treatment.admission, self.admission.as_ref());
        set(&mut treatment.egress, self.egress.as_ref());
        set(&mut treatment.uncacheable, self.uncacheable.as_ref());
        if self.ttl.is_some() {
            settings.ttl.clone_from(&self.ttl);
        }
        if !self.status_ttl.is_empty() {
            settings.status_ttl.clone_from(&self.status_ttl);
        }
        set(&mut settings.client_control, self.client_control.as_ref());
        set(&mut settings.set_cookie, self.set_cookie.as_ref());
        set(&mut settings.stale, self.stale.as_ref());
        set(&mut settings.stale_statuses, self.stale_statuses.as_ref());
        set(&mut settings.heuristic, self.heuristic.as_ref());
        set(&mut settings.targets, self.targets.as_ref());
        set(&mut settings.vary, self.vary.as_ref());
        set(&mut settings.slicing, self.slicing.as_ref());
        set(&mut settings.deception_guard, self.deception_guard.as_ref());
        set(&mut settings.codings, self.codings.as_ref());
        settings.keep_codings_apart();
    }
}

fn set<T: Clone>(place: &mut T, value: Option<&T>) {
    if let Some(value) = value {
        place.clone_from(value);
    }
}

impl Site {
    pub(crate) fn new(parts: SiteParts) -> Self {
        let SiteParts {
            name,
            common,
            tallies,
            varied,
            origins,
            edits,
            forwarded,
            forwarded_as,
            early_hints,
            hints,
            telling,
            unkeyed,
            tag_fields,
            show_key,
            base,
            rules,
        } = parts;
        Self {
            name,
            common,
            tallies: tallies.into(),
            varied,
            origins,
            edits,
            forwarded,
            forwarded_as,
            early_hints,
            hints,
            telling,
            unkeyed,
            tag_fields,
            show_key,
            base,
            rules,
            treatments: RwLock::default(),
        }
    }

    /// Where requests are counted whose first matching rule this is.
    pub(crate) fn tally(&self, rule: Option<usize>) -> &Arc<Tally> {
        &self.tallies[rule.map_or(0, |rule| rule + 1)]
    }

    /// How a request is treated, and with its `status` a response.
    pub(crate) fn treatment(
        &self,
        asked: &Asked<'_>,
        status: Option<StatusCode>,
    ) -> Arc<Treatment> {
        let numbered = self.rules.iter().enumerate();
        let matching: Vec<usize> = numbered
            .filter(|(_, rule)| rule.matches.matches(asked, status))
            .map(|(number, _)| number)
            .collect();
        if matching.is_empty() {
            return Arc::clone(&self.base);
        }
        if let Some(ready) = self.treatments.read().get(&matching) {
            return Arc::clone(ready);
        }
        let treatment = Arc::new(self.combine(&matching));
        let mut ready = self.treatments.write();
        if ready.len() < TREATMENTS_MAX {
            ready.insert(matching, Arc::clone(&treatment));
        }
        treatment
    }

    /// The first rule that decides something wins, so later ones are applied before it.
    fn combine(&self, matching: &[usize]) -> Treatment {
        let mut treatment = Treatment::clone(&self.base);
        treatment.rule = matching.first().copied();
        for number in matching.iter().rev() {
            self.rules[*number].overrides.apply(&mut treatment);
        }
        treatment
    }
}

/// What a site is made of.
#[derive(Debug)]
pub(crate) struct SiteParts {
    pub name: String,
    pub common: Arc<Common>,
    /// Of requests that no rule matches, and then of each rule.
    pub tallies: Vec<Arc<Tally>>,
    pub varied: Arc<Varied>,
    pub origins: Origins,
    pub edits: Edits,
    pub forwarded: ForwardedFor,
    pub forwarded_as: ForwardedAs,
    pub early_hints: Audience,
    pub hints: Learning,
    pub telling: Telling,
    pub unkeyed: Vec<HeaderName>,
    pub tag_fields: Arc<[TagField]>,
    pub show_key: ShowKey,
    pub base: Arc<Treatment>,
    pub rules: Vec<Rule>,
}
