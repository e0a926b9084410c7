//! From a rule to what it changes, and for which requests.

use config::model;
use http::{HeaderName, Method, StatusCode};

use super::caching;
use super::egress::{Pools, chosen};
use super::site::Unseen;
use crate::sites::{self, Matcher, Overrides, Rule};

pub(super) fn rule((number, rule): (usize, model::Rule), unseen: &Unseen, pools: &Pools) -> Rule {
    let model::Rule {
        name,
        matches,
        overrides,
    } = rule;
    let model::Match {
        path,
        methods,
        header,
        status,
    } = matches;
    let method = |method| match method {
        model::Method::Get => Method::GET,
        model::Method::Head => Method::HEAD,
    };
    let statuses = caching::statuses(&status);
    Rule {
        name: name.unwrap_or_else(|| (number + 1).to_string()),
        overrides: rule_overrides(overrides, &statuses, (unseen, pools)),
        matches: Matcher {
            paths: path,
            methods: methods.into_iter().map(method).collect(),
            header: header.and_then(|model::HeaderMatch { name, value }| {
                Some((HeaderName::try_from(name).ok()?, value))
            }),
            statuses,
        },
    }
}

fn rule_overrides(
    overrides: model::Overrides,
    statuses: &[StatusCode],
    (unseen, pools): (&Unseen, &Pools),
) -> Overrides {
    let model::Overrides {
        cache,
        ttl,
        client_control,
        set_cookie,
        stale,
        heuristic,
        disk,
        uncacheable,
        targets,
        key,
        vary,
        slices,
        deception_guard,
        codings,
        egress,
    } = overrides;
    let ttl = ttl.map(|ttl| match ttl {
        model::Ttl::Override(lifetime) => policy::settings::TtlOverride::Lifetime(lifetime),
        model::Ttl::Default(lifetime) => policy::settings::TtlOverride::Default(lifetime),
    });
    Overrides {
        cache: cache.map(|cache| match cache {
            model::UseCache::Allowed => sites::UseCache::Allowed,
            model::UseCache::Never => sites::UseCache::Never,
        }),
        // A lifetime for all is not meant for errors; one for named statuses is meant for just those.
        ttl: ttl.filter(|_| statuses.is_empty()),
        status_ttl: ttl.map_or_else(Vec::new, |ttl| {
            statuses.iter().map(|status| (*status, ttl)).collect()
        }),
        client_control: client_control.map(caching::client_control),
        set_cookie: set_cookie.map(caching::set_cookie),
        stale_statuses: stale
            .as_ref()
            .map(|stale| caching::statuses(&stale.statuses)),
        stale: stale.as_ref().map(caching::stale_defaults),
        heuristic: heuristic.map(caching::heuristic),
        targets: targets.map(caching::field_names),
        vary: vary.map(|vary| caching::vary_rules(vary, unseen)),
        slicing: slices.map(caching::slicing),
        deception_guard: deception_guard.map(caching::deception_guard),
        codings: codings.map(caching::coding_rules),
        egress: (!egress.is_empty()).then(|| chosen(&egress, pools)),
        key: key.map(caching::key_rules),
        admission: disk.map(caching::admission),
        uncacheable,
    }
}
