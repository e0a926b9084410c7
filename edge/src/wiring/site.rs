//! From `[[site]]` to the sites of a node, by host.

use std::collections::HashMap;
use std::sync::Arc;

use config::model;
use http::header::FORWARDED;
use http::{HeaderName, HeaderValue};
use policy::hints::Audience;

use super::caching::{field_names, treatment};
use super::egress::Pools;
use super::origin::site_origins;
use super::rule::rule;
use crate::hints::Learning;
use crate::metrics::OriginMetrics;
use crate::origins::edits::{Edits, FieldEdits};
use crate::proxy_status::Telling;
use crate::purges::TagField;
use crate::run::StartError;
use crate::sites::{self, Site, SiteParts, Sites};

/// What sites need beside their own configuration.
pub(super) type Around<'a> = (&'a OriginMetrics, &'a Pools);

pub(super) fn sites_by_host(
    all: Vec<model::Site>,
    around: Around<'_>,
) -> Result<Sites, StartError> {
    let mut sites = Sites {
        exact: HashMap::new(),
        below: Vec::new(),
        any: None,
    };
    for mut site in all {
        let hosts = std::mem::take(&mut site.hosts);
        let site = Arc::new(self::site(site, around)?);
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

fn site(site: model::Site, around: Around<'_>) -> Result<Site, StartError> {
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
    let origins = site_origins((&name, around), origins, upstream, sharing)?;
    Ok(Site::new(SiteParts {
        name,
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
        tag_fields: field_names(tag_fields)
            .into_iter()
            .map(TagField::new)
            .collect(),
        show_key: match debug {
            model::Debug::Off => sites::ShowKey::No,
            model::Debug::CacheKey => sites::ShowKey::Yes,
        },
        base: treatment(caching, &unseen, Arc::default()),
        rules: rules
            .into_iter()
            .enumerate()
            .map(|it| rule(it, &unseen, around.1))
            .collect(),
    }))
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
