//! What differs between two configurations, setting by setting, and what of it a running node cannot take.

use std::collections::{HashMap, HashSet};

use crate::effective::{Effective, Holds, SettingsTable};

/// Settings that are looked at when a node starts, and at no other time, by their table. A table without keys is one of
/// which all are.
const AT_START: [(&str, &[&str]); 8] = [
    ("node", &["name", "listen", "threads", "grace", "resolvers"]),
    ("admin", &["listen"]),
    ("fleet", &[]),
    ("memory", &[]),
    ("cache.disk", &[]),
    ("log", &[]),
    ("telemetry", &[]),
    ("limits", &["connections", "followers", "variants"]),
];

/// Tables that are told whole within another one.
const WITHIN: [&str; 3] = ["site.", "node.", "admin."];

/// What differs between two configurations.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Changes {
    /// Sites that are new, by their names.
    pub sites_added: Vec<String>,
    /// Sites that are gone.
    pub sites_removed: Vec<String>,
    /// All other settings that differ, in the order of the file.
    pub settings: Vec<Change>,
}

/// A setting that differs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// Its path: `limits.ranges`, `site.shop.origins`, `site.shop.rule.assets.ttl`. A table that is there in one of both
    /// only is one.
    pub setting: String,
    /// What held before, in TOML or in words; none where there was nothing of the kind.
    pub before: Option<String>,
    /// What holds now.
    pub after: Option<String>,
    /// When a node takes it.
    pub takes: Takes,
}

/// When a node takes a setting.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Takes {
    /// While it runs.
    Running,
    /// When it starts.
    Starting,
}

/// When a node takes a setting of a table.
pub(crate) fn takes(kind: &str, key: &str) -> Takes {
    let rows = AT_START.iter().find(|(table, _)| *table == kind);
    match rows {
        Some((_, keys)) if keys.is_empty() || keys.contains(&key) => Takes::Starting,
        Some(_) | None => Takes::Running,
    }
}

impl Changes {
    /// What is other in `after`.
    #[must_use]
    pub fn between(Effective(before): &Effective, Effective(after): &Effective) -> Self {
        let (old, new) = (by_path(before), by_path(after));
        let mut changes = Self::default();
        for table in after.iter().filter(|table| is_told(table)) {
            match old.get(&*table.path) {
                Some(was) => changes.compare(was, table),
                None => changes.table(table, None, Some("(new)")),
            }
        }
        let gone = before.iter().filter(|table| is_told(table));
        for table in gone.filter(|table| !new.contains_key(&*table.path)) {
            changes.table(table, Some("(there)"), None);
        }
        changes.compare_orders(before, after);
        changes
    }

    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self == &Self::default()
    }

    /// Those that a node takes when it starts.
    pub fn at_start(&self) -> impl Iterator<Item = &Change> {
        let all = self.settings.iter();
        all.filter(|change| change.takes == Takes::Starting)
    }

    fn compare(&mut self, before: &SettingsTable, after: &SettingsTable) {
        let mut keys: Vec<_> = after.settings.iter().map(|it| it.key).collect();
        let gone = before.settings.iter().map(|it| it.key);
        let gone: Vec<_> = gone.filter(|key| !keys.contains(key)).collect();
        keys.extend(gone);
        for key in keys {
            let (was, is) = (value(before, key), value(after, key));
            if was != is {
                self.settings.push(Change {
                    setting: format!("{}.{key}", after.path),
                    before: was.map(str::to_owned),
                    after: is.map(str::to_owned),
                    takes: takes(after.kind, key),
                });
            }
        }
    }

    /// A table that one of both has only.
    fn table(&mut self, table: &SettingsTable, before: Option<&str>, after: Option<&str>) {
        if table.kind == "site" {
            let name = table.path.trim_start_matches("site.").to_owned();
            return match after {
                Some(_) => self.sites_added.push(name),
                None => self.sites_removed.push(name),
            };
        }
        if table.kind == "site.rule" && self.names_site_of(table) {
            return;
        }
        self.settings.push(Change {
            setting: table.path.clone(),
            before: before.map(str::to_owned),
            after: after.map(str::to_owned),
            takes: takes(table.kind, ""),
        });
    }

    /// Whether a rule comes or goes with its site.
    fn names_site_of(&self, rule: &SettingsTable) -> bool {
        let mut sites = self.sites_added.iter().chain(&self.sites_removed);
        sites.any(|site| rule.path.starts_with(&format!("site.{site}.rule.")))
    }

    /// The first rule that matches counts: the same rules in another order are another configuration.
    fn compare_orders(&mut self, before: &[SettingsTable], after: &[SettingsTable]) {
        let (old, new) = (orders(before), orders(after));
        for (site, rules) in &new {
            let Some(was) = old.iter().find(|(name, _)| name == site) else {
                continue;
            };
            let both: HashSet<_> = was.1.iter().filter(|rule| rules.contains(rule)).collect();
            let kept = |all: &[&str]| {
                let kept = all.iter().filter(|rule| both.contains(rule)).copied();
                kept.collect::<Vec<_>>().join(", ")
            };
            let (was, is) = (kept(&was.1), kept(rules));
            if was != is {
                self.settings.push(Change {
                    setting: format!("{site} (their order)"),
                    before: Some(was),
                    after: Some(is),
                    takes: Takes::Running,
                });
            }
        }
    }
}

/// The rules of each site in their order: `site.shop.rule`, and `assets`.
fn orders(tables: &[SettingsTable]) -> Vec<(&str, Vec<&str>)> {
    let mut all: Vec<(&str, Vec<&str>)> = Vec::new();
    for table in tables.iter().filter(|table| table.kind == "site.rule") {
        let Some((site, rule)) = table.path.rsplit_once('.') else {
            continue;
        };
        match all.last_mut().filter(|(last, _)| *last == site) {
            Some((_, rules)) => rules.push(rule),
            None => all.push((site, vec![rule])),
        }
    }
    all
}

fn by_path(tables: &[SettingsTable]) -> HashMap<&str, &SettingsTable> {
    let told = tables.iter().filter(|table| is_told(table));
    told.map(|table| (&*table.path, table)).collect()
}

/// Whether a table is told by itself.
fn is_told(table: &SettingsTable) -> bool {
    let within = WITHIN.iter().any(|outer| table.kind.starts_with(outer));
    table.kind == "site.rule" || !(within || table.kind == "tls.certificates")
}

fn value<'a>(table: &'a SettingsTable, key: &str) -> Option<&'a str> {
    let found = table.settings.iter().find(|it| it.key == key)?;
    Some(match &found.holds {
        Holds::Given(value) => value,
        Holds::Default(value) => value,
        Holds::Means(meant) => meant,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Effective {
        crate::parse("larder.toml", text).unwrap().effective
    }

    fn site(name: &str, more: &str) -> String {
        format!(
            "[[site]]\nname = \"{name}\"\nhosts = [\"{name}.example\"]\norigins = [\"http://o\"]\n{more}"
        )
    }

    fn rule(name: &str, ttl: &str) -> String {
        format!(
            "[[site.rule]]\nname = \"{name}\"\nmatch = {{ path = \"/{name}\" }}\nttl = \"{ttl}\"\n"
        )
    }

    #[track_caller]
    fn check(before: &str, after: &str, expected: &[(&str, Option<&str>, Option<&str>, Takes)]) {
        let changes = Changes::between(&settings(before), &settings(after));
        let found: Vec<_> = changes
            .settings
            .iter()
            .map(|it| {
                let (was, is) = (it.before.as_deref(), it.after.as_deref());
                (it.setting.as_str(), was, is, it.takes)
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_differs_is_told_and_when_it_is_taken() {
        use Takes::{Running, Starting};
        let a = site("a", "");
        check(&a, &a, &[]);
        // A default that is written down is the same.
        check(&a, &format!("[limits]\nranges = 16\n{a}"), &[]);
        check(
            &a,
            &format!("[limits]\nranges = 17\nconnections = 7\n{a}"),
            &[
                ("limits.connections", Some("50000"), Some("7"), Starting),
                ("limits.ranges", Some("16"), Some("17"), Running),
            ],
        );
        check(
            &a,
            &site("a", "request_fields = { remove = [\"x\"] }\n"),
            &[(
                "site.a.request_fields",
                Some("{}"),
                Some("{ remove = [\"x\"] }"),
                Running,
            )],
        );
        let one = site("a", &rule("one", "1h"));
        check(
            &one,
            &site("a", &rule("one", "2h")),
            &[(
                "site.a.rule.one.ttl",
                Some("\"1h\""),
                Some("\"2h\""),
                Running,
            )],
        );
        check(
            &one,
            &a,
            &[("site.a.rule.one", Some("(there)"), None, Running)],
        );
        let both =
            |first: &str, second: &str| site("a", &(rule(first, "1h") + &rule(second, "1h")));
        check(
            &both("one", "two"),
            &both("two", "one"),
            &[(
                "site.a.rule (their order)",
                Some("one, two"),
                Some("two, one"),
                Running,
            )],
        );
    }

    #[test]
    fn sites_come_and_go_with_their_rules() {
        let before = site("a", "") + &site("b", &rule("one", "1h"));
        let after = site("a", "") + &site("c", &rule("two", "1h"));
        let changes = Changes::between(&settings(&before), &settings(&after));
        assert_eq!(changes.sites_added, ["c"]);
        assert_eq!(changes.sites_removed, ["b"]);
        assert!(changes.settings.is_empty(), "{changes:?}");
        assert_eq!(changes.at_start().count(), 0);
    }

    #[test]
    fn every_setting_that_needs_a_restart_is_one() {
        for (table, keys) in AT_START {
            let rows = crate::sections::all()
                .iter()
                .find(|rows| rows.path == table);
            let rows = rows.unwrap_or_else(|| panic!("{table}"));
            for key in keys {
                assert!(rows.has(key), "{table}.{key}");
            }
        }
    }
}
