//! From what is said of caching to what the policy is told.

use std::sync::Arc;

use config::model;
use http::{HeaderName, StatusCode};
use policy::coding::{Coding, CodingRules};
use policy::vary::{AcceptEncoding, AcceptLanguage, Cookies, DeviceClass, UserAgent, VaryRules};
use storage::Admission;

use super::site::Unseen;
use crate::egress::Pool;
use crate::sites::{self, Treatment};

pub(super) fn treatment(
    caching: model::Caching,
    unseen: &Unseen,
    egress: Arc<[Arc<Pool>]>,
) -> Treatment {
    let model::Caching {
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
    } = caching;
    let mut treatment = Treatment {
        rule: None,
        cache: sites::UseCache::Allowed,
        settings: policy::settings::Settings {
            client_control: self::client_control(client_control),
            set_cookie: self::set_cookie(set_cookie),
            targets: field_names(targets),
            heuristic: self::heuristic(heuristic),
            stale: stale_defaults(&stale),
            stale_statuses: statuses(&stale.statuses),
            vary: vary_rules(vary, unseen),
            slicing: slicing(slices),
            deception_guard: self::deception_guard(deception_guard),
            codings: coding_rules(codings),
            ..policy::settings::Settings::default()
        },
        key: key_rules(key),
        admission: admission(disk),
        uncacheable,
        egress,
    };
    treatment.settings.keep_codings_apart();
    treatment
}

pub(super) const fn admission(disk: model::DiskAdmission) -> Admission {
    match disk {
        model::DiskAdmission::Always => Admission::Always,
        model::DiskAdmission::Auto => Admission::Auto,
        model::DiskAdmission::Second => Admission::Second,
        model::DiskAdmission::Third => Admission::Third,
        model::DiskAdmission::Never => Admission::Never,
    }
}

pub(super) const fn deception_guard(
    guard: model::DeceptionGuard,
) -> policy::settings::DeceptionGuard {
    match guard {
        model::DeceptionGuard::On => policy::settings::DeceptionGuard::On,
        model::DeceptionGuard::Off => policy::settings::DeceptionGuard::Off,
    }
}

pub(super) const fn client_control(
    control: model::ClientControl,
) -> policy::settings::ClientControl {
    match control {
        model::ClientControl::Ignore => policy::settings::ClientControl::Ignore,
        model::ClientControl::Validate => policy::settings::ClientControl::Validate,
        model::ClientControl::Obey => policy::settings::ClientControl::Obey,
    }
}

pub(super) const fn set_cookie(set_cookie: model::SetCookie) -> policy::settings::SetCookie {
    match set_cookie {
        model::SetCookie::Refuse => policy::settings::SetCookie::Refuse,
        model::SetCookie::Strip => policy::settings::SetCookie::Strip,
        model::SetCookie::Store => policy::settings::SetCookie::Store,
    }
}

pub(super) const fn heuristic(heuristic: model::Heuristic) -> policy::settings::Heuristic {
    match heuristic {
        model::Heuristic::Off => policy::settings::Heuristic::Off,
        model::Heuristic::Fraction { percent, most } => {
            policy::settings::Heuristic::Fraction { percent, most }
        }
    }
}

pub(super) const fn slicing(slices: model::Slices) -> Option<policy::slices::Slicing> {
    match slices {
        model::Slices::Off => None,
        model::Slices::Cut { size, above, ahead } => {
            Some(policy::slices::Slicing { size, above, ahead })
        }
    }
}

pub(super) const fn stale_defaults(stale: &model::Stale) -> policy::settings::StaleDefaults {
    policy::settings::StaleDefaults {
        while_revalidate: stale.while_revalidate,
        if_error: stale.if_error,
    }
}

/// The configuration has checked these.
pub(super) fn statuses(statuses: &[u16]) -> Vec<StatusCode> {
    let codes = statuses.iter();
    codes
        .filter_map(|status| StatusCode::from_u16(*status).ok())
        .collect()
}

pub(super) fn field_names(names: Vec<String>) -> Vec<HeaderName> {
    let names = names.into_iter();
    names
        .filter_map(|name| HeaderName::try_from(name).ok())
        .collect()
}

pub(super) fn key_rules(key: model::Key) -> policy::key::KeyRules {
    let model::Key {
        query,
        query_order,
        headers,
        cookies,
        unkeyed_query,
    } = key;
    let patterns = |patterns: Vec<String>| {
        let patterns = patterns.iter();
        patterns.map(|it| policy::key::Pattern::new(it)).collect()
    };
    policy::key::KeyRules {
        query: policy::key::QueryRules {
            keep: match query {
                model::Query::All => policy::key::Keep::All,
                model::Query::Ignore => policy::key::Keep::Nothing,
                model::Query::Only(only) => policy::key::Keep::Only(patterns(only)),
                model::Query::Except(except) => policy::key::Keep::Except(patterns(except)),
            },
            order: match query_order {
                model::QueryOrder::AsSent => policy::key::Order::AsSent,
                model::QueryOrder::Sorted => policy::key::Order::ByName,
            },
        },
        headers: field_names(headers),
        cookies,
        unkeyed_query: match unkeyed_query {
            model::UnkeyedQuery::Drop => policy::key::UnkeyedQuery::Drop,
            model::UnkeyedQuery::Pass => policy::key::UnkeyedQuery::Pass,
        },
    }
}

pub(super) fn vary_rules(vary: model::Vary, unseen: &Unseen) -> VaryRules {
    let model::Vary {
        ignore,
        accept_encoding,
        accept_language,
        cookies,
        user_agent,
    } = vary;
    VaryRules {
        ignore: field_names(ignore),
        accept_encoding: match accept_encoding {
            model::AcceptEncoding::Normalise => AcceptEncoding::Normalise,
            model::AcceptEncoding::Exact => AcceptEncoding::Exact,
        },
        accept_language: match accept_language {
            model::AcceptLanguage::Normalise => AcceptLanguage::Normalise,
            model::AcceptLanguage::Exact => AcceptLanguage::Exact,
            model::AcceptLanguage::Preferred => AcceptLanguage::Preferred,
            model::AcceptLanguage::Among(tags) => AcceptLanguage::Among(tags),
        },
        cookies: cookies.map_or(Cookies::All, Cookies::Only),
        user_agent: match user_agent {
            model::UserAgent::Exact => UserAgent::Exact,
            model::UserAgent::Classes(classes) => {
                UserAgent::Classes(classes.into_iter().map(device_class).collect())
            }
        },
        unseen: unseen.alike.clone(),
        own: unseen.own.clone(),
    }
}

fn device_class(class: model::DeviceClass) -> DeviceClass {
    let model::DeviceClass { name, words } = class;
    DeviceClass { name, words }
}

pub(super) fn coding_rules(codings: model::Codings) -> CodingRules {
    let model::Codings {
        offer,
        types,
        least,
    } = codings;
    let coding = |coding| match coding {
        model::Coding::Brotli => Coding::Brotli,
        model::Coding::Zstd => Coding::Zstd,
        model::Coding::Gzip => Coding::Gzip,
    };
    CodingRules {
        offered: offer.into_iter().map(coding).collect(),
        types,
        least,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shipped_is_what_the_policy_has_by_default() {
        let text = "[[site]]\norigins = [\"http://127.0.0.1:1\"]\n";
        let mut config = config::parse("larder.toml", text).unwrap();
        let codings = config.sites.remove(0).caching.codings;
        assert_eq!(coding_rules(codings), CodingRules::default());
    }
}
