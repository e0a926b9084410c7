//! Whether another configuration calls what is stored otherwise.

use config::{Config, model};

use crate::purges::Urls;

/// What the names of stored URLs depend on: hosts, and the rules of keys.
#[derive(Debug, Eq, PartialEq)]
struct Keys<'a> {
    hosts: &'a [model::HostPattern],
    key: &'a model::Key,
    rules: Vec<(&'a model::Match, &'a model::Key)>,
}

impl<'a> Keys<'a> {
    fn of(site: &'a model::Site) -> Self {
        let rules = site.rules.iter().filter_map(|rule| {
            let key = rule.overrides.key.as_ref()?;
            Some((&rule.matches, key))
        });
        Self {
            hosts: &site.hosts,
            key: &site.caching.key,
            rules: rules.collect(),
        }
    }
}

/// How `after` calls what was stored under `before`.
pub(crate) fn urls(before: &Config, after: &Config) -> Urls {
    let stays = |site: &model::Site| {
        let same = after.sites.iter().find(|it| it.name == site.name);
        same.is_some_and(|same| Keys::of(same) == Keys::of(site))
    };
    match before.sites.iter().all(stays) {
        true => Urls::AsNow,
        false => Urls::Otherwise,
    }
}
