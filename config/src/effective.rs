//! The settings in effect, one by one, as they may be shown: without secrets.

use crate::init::{is_header, string};
use crate::raw::{Entry, Says, Value};
use crate::setting::{Rows, Unset};

/// What stands for what nobody is to see.
const HIDDEN: &str = "(not shown)";
/// Tables that hold although the file has none of them.
const ALWAYS: [&str; 5] = ["node", "admin", "memory", "log", "limits"];
/// Settings whose name ends so are secrets. Files with secrets are none.
const SECRETS: [&str; 3] = ["secret", "password", "passphrase"];

/// The settings in effect.
///
/// Two configurations are equal that mean the same, however they are written: this is no part of it.
#[derive(Clone, Debug, Default)]
pub struct Effective(pub Vec<SettingsTable>);

impl PartialEq for Effective {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Effective {}

/// A table of settings.
#[derive(Clone, Debug)]
pub struct SettingsTable {
    /// As it stands in the file, with its name or number where there may be several.
    pub title: String,
    /// The table's path in the reference: `limits`, `site.rule`.
    pub kind: &'static str,
    /// The same with names: `site.shop.rule.assets`.
    pub path: String,
    /// Its settings; of a rule, only those that are given, since it takes the others from its site.
    pub settings: Vec<Shown>,
}

/// A setting.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Its key.
    pub key: &'static str,
    /// What holds.
    pub holds: Holds,
}

/// What holds of a setting.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Holds {
    /// This value was given; in TOML.
    Given(String),
    /// Nothing was given, and this value holds; in TOML.
    Default(&'static str),
    /// Nothing was given, and this is what that means.
    Means(&'static str),
}

/// The settings of a file that was read without a problem.
pub(crate) fn effective(file: &Value) -> Effective {
    let mut tables = Vec::new();
    let headers = crate::sections::all()
        .iter()
        .filter(|rows| is_header(rows.path));
    for rows in headers.filter(|rows| rows.path != RULE) {
        let given = rows.path.split('.').fold(vec![file], |values, key| {
            values
                .into_iter()
                .flat_map(|value| below(value, key))
                .collect()
        });
        if given.is_empty() && ALWAYS.contains(&rows.path) {
            tables.push(all(rows, &[], (rows.place(), rows.path.to_owned())));
        }
        let is_one = !matches!(rows.path, "site" | "cache.disk" | "egress");
        for (number, value) in given.into_iter().enumerate() {
            let entries = entries(value);
            let called = match is_one {
                true => (rows.place(), rows.path.to_owned()),
                false => {
                    let name = name_of(entries, number);
                    let title = format!("{} {name}", rows.place());
                    (title, format!("{}.{name}", rows.path))
                }
            };
            tables.push(all(rows, entries, called));
            if rows.path == "site" {
                tables.extend(rules(value, &name_of(entries, number)));
            }
        }
    }
    Effective(tables)
}

const RULE: &str = "site.rule";

fn rules(site: &Value, site_name: &str) -> Vec<SettingsTable> {
    let rows = crate::sections::all().iter().find(|rows| rows.path == RULE);
    let rules = below(site, "rule").into_iter().enumerate();
    let rules = rules.zip(std::iter::repeat(rows));
    let table = |((number, rule), rows): ((usize, &Value), Option<&Rows>)| {
        let entries = entries(rule);
        let name = name_of(entries, number);
        let title = format!("[[{RULE}]] {name} of {site_name}");
        let path = format!("site.{site_name}.rule.{name}");
        let mut table = all(rows?, entries, (title, path));
        table
            .settings
            .retain(|it| matches!(it.holds, Holds::Given(_)));
        Some(table)
    };
    rules.filter_map(table).collect()
}

fn all(rows: &Rows, entries: &[Entry], (title, path): (String, String)) -> SettingsTable {
    let settings = rows.rows.iter().filter(|row| row.key() != "rule");
    let settings = settings.filter_map(|row| {
        let key = row.key();
        let holds = match (entries.iter().find(|it| it.key == key), row.unset()) {
            (Some(_), _) if is_secret(key) => Holds::Given(HIDDEN.to_owned()),
            (Some(entry), _) => Holds::Given(toml(&entry.value)),
            (None, Unset::Is(value)) => Holds::Default(value),
            (None, Unset::Means { means, .. }) => Holds::Means(means),
            (None, Unset::Required { .. }) => return None,
        };
        Some(Shown { key, holds })
    });
    SettingsTable {
        title,
        kind: rows.path,
        path,
        settings: settings.collect(),
    }
}

fn is_secret(key: &str) -> bool {
    SECRETS.iter().any(|end| key.ends_with(end))
}

fn entries(value: &Value) -> &[Entry] {
    match &value.says {
        Says::Table(entries) => entries,
        _ => &[],
    }
}

/// The tables of a key.
fn below<'v>(value: &'v Value, key: &str) -> Vec<&'v Value> {
    let found = entries(value).iter().find(|it| it.key == key);
    match found.map(|it| (&it.value, &it.value.says)) {
        Some((_, Says::List(values))) => values.iter().collect(),
        Some((value, _)) => vec![value],
        None => Vec::new(),
    }
}

fn name_of(entries: &[Entry], number: usize) -> String {
    let name = entries
        .iter()
        .find(|it| it.key == "name" || it.key == "path");
    match name.map(|it| &it.value.says) {
        Some(Says::Text(name)) => name.clone(),
        _ => (number + 1).to_string(),
    }
}

fn toml(value: &Value) -> String {
    match &value.says {
        Says::Text(text) => string(&without_user(text)),
        Says::Whole(number) => number.to_string(),
        Says::Truth(truth) => truth.to_string(),
        Says::List(values) => {
            let values: Vec<_> = values.iter().map(toml).collect();
            format!("[{}]", values.join(", "))
        }
        Says::Table(entries) => {
            let entry = |it: &Entry| match is_secret(&it.key) {
                true => format!("{} = {}", it.key, string(HIDDEN)),
                false => format!("{} = {}", it.key, toml(&it.value)),
            };
            let entries: Vec<_> = entries.iter().map(entry).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        Says::Other(kind) => (*kind).to_owned(),
    }
}

/// A URL without user and password (RFC 3986 §3.2.1).
fn without_user(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://…{}", &rest[at..]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<SettingsTable> {
        crate::parse("larder.toml", text).unwrap().effective.0
    }

    #[track_caller]
    fn check(tables: &[SettingsTable], title: &str, key: &str, holds: &Holds) {
        let table = tables.iter().find(|it| it.title == title);
        let table = table.unwrap_or_else(|| panic!("{title}: {tables:#?}"));
        let found = table.settings.iter().find(|it| it.key == key);
        assert_eq!(found.map(|it| &it.holds), Some(holds), "{title} {key}");
    }

    fn given(value: &str) -> Holds {
        Holds::Given(value.to_owned())
    }

    #[test]
    fn what_is_given_and_what_is_not_is_told() {
        let tables = shown(
            "[memory]\nsize = \"1GiB\"\n\
             [[site]]\nname = \"a\"\nhosts = [\"a.example\"]\norigins = [{ url = \"http://o\" }]\n\
             stale = { if_error = \"1d\" }\n\
             [[site.rule]]\nmatch = { path = \"/x\" }\nttl = \"1h\"\n\
             [[site]]\nname = \"b\"\nhosts = [\"b.example\"]\norigins = [\"http://p\"]",
        );
        check(&tables, "[memory]", "size", &given("\"1GiB\""));
        check(
            &tables,
            "[[site]] a",
            "stale",
            &given("{ if_error = \"1d\" }"),
        );
        check(
            &tables,
            "[[site]] a",
            "origins",
            &given("[{ url = \"http://o\" }]"),
        );
        check(&tables, "[[site]] b", "hosts", &given("[\"b.example\"]"));
        check(&tables, "[[site.rule]] 1 of a", "ttl", &given("\"1h\""));
        let rule = tables.iter().find(|it| it.title == "[[site.rule]] 1 of a");
        assert_eq!(rule.unwrap().settings.len(), 2);
        let node = tables.iter().find(|it| it.title == "[node]").unwrap();
        assert!(
            node.settings
                .iter()
                .all(|it| !matches!(it.holds, Holds::Given(_)))
        );
        assert!(!tables.iter().any(|it| it.title == "[fleet]"));
    }

    #[test]
    fn no_user_of_a_url_is_shown() {
        for (url, shown) in [
            ("nats://node:secret@nats-1:4222", "nats://…@nats-1:4222"),
            ("nats://n:a@b@nats-1", "nats://…@nats-1"),
            ("http://o/a@b", "http://o/a@b"),
            ("plain", "plain"),
        ] {
            assert_eq!(without_user(url), shown);
        }
        let tables = shown(
            "[node]\nname = \"a\"\n[fleet]\nservers = [\"nats://node:hunter2@nats-1:4222\"]\n\
             [[site]]\nname = \"a\"\nhosts = [\"*\"]\norigins = [\"http://o\"]",
        );
        check(
            &tables,
            "[fleet]",
            "servers",
            &given("[\"nats://…@nats-1:4222\"]"),
        );
        assert!(!format!("{tables:?}").contains("hunter2"));
    }
}
