//! From `[[site]]` to the sites of a node, by host.

use std::collections::HashMap;
use std::sync::Arc;

use config::model;
use http::header::FORWARDED;
use http::{HeaderName, HeaderValue};
use policy::hints::Audience;

use super::alike::Alike;
use super::caching::{field_names, treatment};
use super::egress::Pools;
use super::origin::site_origins;
use super::rule::rule;
use crate::hints::Learning;
use crate::in_force::{Common, InForce};
use crate::metrics::{KnownTallies, Metrics, NO_RULE, Tally};
use crate::origins::edits::{Edits, FieldEdits};
use crate::proxy_status::Telling;
use crate::purges::TagField;
use crate::run::StartError;
use crate::sites::{self, Site, SiteParts, Sites, Treatment};

/// What sites need beside their own configuration.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub metrics: &'a Metrics,
    pub pools: &'a Pools,
    pub common: &'a Arc<Common>,
    /// The configuration before, of which what is known of origins stays.
    pub before: Option<&'a InForce>,
}

/// What sites have in common although each says it for itself.
#[derive(Default)]
struct Shared {
    treatments: Alike<Treatment>,
    tag_fields: Alike<[TagField]>,
}

/// A site as it was, and what it was made of.
#[derive(Clone, Copy)]
pub(super) struct Before<'a> {
    pub site: &'a Site,
    pub model: &'a model::Site,
}

/// The sites of the configuration before, by name.
fn sites_before(before: Option<&InForce>) -> HashMap<&str, Before<'_>> {
    let Some(before) = before else {
        return HashMap::new();
    };
    let models = before.config.sites.iter();
    let models: HashMap<_, _> = models.map(|site| (site.name.as_str(), site)).collect();
    let all = before.sites.all().into_iter().filter_map(|site| {
        let model = models.get(site.name.as_str())?;
        Some((site.name.as_str(), Before { site, model }))
    });
    all.collect()
}

pub(super) fn sites_by_host(
    all: Vec<model::Site>,
    around: Around<'_>,
) -> Result<Sites, StartError> {
    let before = sites_before(around.before);
    let tallies = around.metrics.requests.known();
    let mut shared = Shared::default();
    let mut sites = Sites {
        exact: HashMap::new(),
        below: Vec::new(),
        any: None,
    };
    for mut site in all {
        let hosts = std::mem::take(&mut site.hosts);
        let was = before.get(site.name.as_str()).copied();
        let site = Arc::new(self::site(site, (around, was, &tallies), &mut shared)?);
        for host in hosts {
            let site = Arc::clone(&site);
            match host {
                model::HostPattern::Exact(host) => {
                    sites.exact.insert(host, site);
                }
                model::HostPattern::Below(domain) => sites.below.push((domain, site)),
                model::HostPattern::Any => sites.any = Some(site),
            }
        }
    }
    let longest_first = |(domain, _): &(String, _)| std::cmp::Reverse(domain.len());
    sites.below.sort_by_key(longest_first);
    Ok(sites)
}

fn site(
    site: model::Site,
    (around, before, known): (Around<'_>, Option<Before<'_>>, &KnownTallies),
    shared: &mut Shared,
) -> Result<Site, StartError> {
    let model::Site {
        name,
        hosts: _, // taken before
        origins,
        upstream,
        sharing,
        egress,
        request_fields,
        response_fields,
        caching,
        rules,
        forwarded,
        forwarded_as,
        early_hints,
        learn_hints,
        proxy_status,
        pass_unkeyed,
        tag_fields,
        debug,
    } = site;
    let unkeyed = unkeyed(&pass_unkeyed);
    let unseen = Unseen::new(&unkeyed, forwarded, forwarded_as);
    let mut origins = origins;
    for origin in &mut origins {
        if origin.egress.is_empty() {
            origin.egress.clone_from(&egress);
        }
    }
    let origins = site_origins((&name, around, before), origins, upstream, sharing)?;
    let rules: Vec<_> = rules
        .into_iter()
        .enumerate()
        .map(|it| rule(it, &unseen, around.pools))
        .collect();
    let named = rules.iter().map(|rule| rule.name.as_str());
    let tallies = std::iter::once(NO_RULE).chain(named);
    let tallies = tallies.map(|rule| tally(&name, rule, known)).collect();
    let tag_fields = field_names(tag_fields).into_iter().map(TagField::new);
    let base = treatment(caching, &unseen, Arc::default());
    Ok(Site::new(SiteParts {
        name,
        common: Arc::clone(around.common),
        tallies,
        varied: before.map_or_else(Arc::default, |it| Arc::clone(&it.site.varied)),
        origins,
        edits: Edits {
            request: field_edits(request_fields),
            response: field_edits(response_fields),
        },
        forwarded: match forwarded {
            model::Forwarded::Set => sites::ForwardedFor::Set,
            model::Forwarded::Append => sites::ForwardedFor::Append,
            model::Forwarded::Off => sites::ForwardedFor::Off,
        },
        forwarded_as: match forwarded_as {
            model::ForwardedAs::XForwarded => sites::ForwardedAs::XForwarded,
            model::ForwardedAs::Forwarded => sites::ForwardedAs::Forwarded,
            model::ForwardedAs::Both => sites::ForwardedAs::Both,
        },
        early_hints: match early_hints {
            model::EarlyHints::Forward => Audience::Everybody,
            model::EarlyHints::Http2 => Audience::Http2,
            model::EarlyHints::Off => Audience::Nobody,
        },
        hints: match learn_hints {
            model::LearnHints::Off => Learning::Off,
            model::LearnHints::On => Learning::On,
        },
        telling: match proxy_status {
            model::ProxyStatus::Off => Telling::Off,
            model::ProxyStatus::Errors => Telling::Errors,
            model::ProxyStatus::Full => Telling::Everything,
        },
        unkeyed,
        tag_fields: shared.tag_fields.share(tag_fields.collect::<Vec<_>>()),
        show_key: match debug {
            model::Debug::Off => sites::ShowKey::No,
            model::Debug::CacheKey => sites::ShowKey::Yes,
        },
        base: shared.treatments.share(base),
        rules,
    }))
}

/// Where the requests of a rule are counted: where they were counted before, if they were.
fn tally(site: &str, rule: &str, known: &KnownTallies) -> Arc<Tally> {
    let same = known.get(&(site.into(), rule.into()));
    same.cloned()
        .unwrap_or_else(|| Arc::new(Tally::new(site, rule)))
}

fn field_edits(edits: model::FieldEdits) -> FieldEdits {
    let model::FieldEdits { remove, set, add } = edits;
    let lines = |lines: Vec<(String, String)>| {
        let lines = lines.into_iter().filter_map(|(name, value)| {
            let name = HeaderName::try_from(name).ok()?;
            Some((name, HeaderValue::try_from(value).ok()?))
        });
        lines.collect()
    };
    FieldEdits {
        remove: field_names(remove),
        set: lines(set),
        add: lines(add),
    }
}

fn unkeyed(passed: &[String]) -> Vec<HeaderName> {
    let names = config::UNKEYED.iter().map(|name| (*name).to_owned());
    field_names(names.filter(|name| !passed.contains(name)).collect())
}

/// Fields that the origin does not see as clients send them.
pub(super) struct Unseen {
    /// They are removed, or written from what the key has.
    pub alike: Vec<HeaderName>,
    /// They tell the client.
    pub own: Vec<HeaderName>,
}

impl Unseen {
    fn new(
        unkeyed: &[HeaderName],
        forwarded: model::Forwarded,
        forwarded_as: model::ForwardedAs,
    ) -> Self {
        let x_forwarded_for = HeaderName::from_static("x-forwarded-for");
        let own = match (forwarded, forwarded_as) {
            (model::Forwarded::Off, _) => Vec::new(),
            (_, model::ForwardedAs::XForwarded) => vec![x_forwarded_for.clone()],
            (_, model::ForwardedAs::Forwarded) => vec![FORWARDED],
            (_, model::ForwardedAs::Both) => vec![x_forwarded_for.clone(), FORWARDED],
        };
        let mut alike = unkeyed.to_vec();
        alike.push(x_forwarded_for);
        alike.retain(|name| !own.contains(name));
        Self { alike, own }
    }
}
