//! A configuration for a test: what every node needs, and what this test adds.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

/// The text of a configuration file in the making.
///
/// A site called `main` for every host, memory of 64 MiB and the JSON log are there already;
/// the addresses and the token file come from the node that is started with it.
#[derive(Clone, Debug)]
pub struct Settings {
    tables: BTreeMap<&'static str, String>,
    site: String,
    more: String,
    listeners: Vec<String>,
}

impl Settings {
    /// One site in front of these origins.
    #[must_use]
    pub fn origins(urls: &[&str]) -> Self {
        let urls: Vec<String> = urls.iter().map(|url| format!("\"{url}\"")).collect();
        let origins = format!("origins = [{}]\n", urls.join(", "));
        Self {
            tables: BTreeMap::from([
                (
                    "node",
                    "name = \"larder\"\nthreads = 2\ngrace = \"5s\"\n".to_owned(),
                ),
                (
                    "memory",
                    "size = \"64MiB\"\nobject_max = \"16MiB\"\n".to_owned(),
                ),
                ("log", "access = \"json\"\n".to_owned()),
            ]),
            site: format!("name = \"main\"\nhosts = [\"*\"]\n{origins}"),
            more: String::new(),
            listeners: Vec::new(),
        }
    }

    /// Adds a line, or replaces the one with the same key, in one of the tables that are not
    /// sites.
    #[must_use]
    pub fn table(mut self, table: &'static str, line: &str) -> Self {
        set(self.tables.entry(table).or_default(), line);
        self
    }

    /// Adds a line, or replaces the one with the same key, in the site.
    #[must_use]
    pub fn site(mut self, line: &str) -> Self {
        set(&mut self.site, line);
        self
    }

    /// Adds a rule to the site: the lines below `[[site.rule]]`.
    #[must_use]
    pub fn rule(mut self, lines: &str) -> Self {
        self.more += &format!("\n[[site.rule]]\n{lines}\n");
        self
    }

    /// Adds text at the end of the file, such as another site.
    #[must_use]
    pub fn append(mut self, text: &str) -> Self {
        self.more += &format!("\n{text}\n");
        self
    }

    /// Adds a volume of this size in the folder of the node, a TOML value. `LARDER_TEST_ENGINE` says what keeps its
    /// bodies, as `engine` does.
    #[must_use]
    pub fn disk(self, size: &str) -> Self {
        self.volume("disk", size)
    }

    /// The same with another path.
    #[must_use]
    pub fn volume(self, path: &str, size: &str) -> Self {
        self.volume_of(&engine(), path, size)
    }

    /// The same with bodies in the log in any case: for what is to be found, or damaged, in its file.
    #[must_use]
    pub fn log_disk(self, size: &str) -> Self {
        self.volume_of("log", "disk", size)
    }

    fn volume_of(self, engine: &str, path: &str, size: &str) -> Self {
        self.append(&format!(
            "[[cache.disk]]\npath = \"{path}\"\nsize = \"{size}\"\nengine = \"{engine}\""
        ))
    }

    /// Adds a listener besides the first: a TOML value.
    #[must_use]
    pub fn listener(mut self, value: &str) -> Self {
        self.listeners.push(value.to_owned());
        self
    }

    /// The file's text.
    #[must_use]
    pub fn text(&self, listen: SocketAddr, admin: SocketAddr, token_file: &Path) -> String {
        let mut tables = self.tables.clone();
        let mut listeners = vec![format!("\"{listen}\"")];
        listeners.extend(self.listeners.iter().cloned());
        set(
            tables.entry("node").or_default(),
            &format!("listen = [{}]", listeners.join(", ")),
        );
        let own = tables.entry("admin").or_default();
        set(own, &format!("listen = \"{admin}\""));
        set(own, &format!("token_file = {token_file:?}"));

        let mut text = String::new();
        for (name, lines) in &tables {
            writeln!(text, "[{name}]\n{lines}").expect("strings grow");
        }
        text + "[[site]]\n" + &self.site + &self.more
    }
}

/// What keeps the bodies of volumes in this run: `LARDER_TEST_ENGINE`, or the log.
#[must_use]
pub fn engine() -> String {
    std::env::var("LARDER_TEST_ENGINE").unwrap_or_else(|_| "log".to_owned())
}

/// Keys are unique in a table, so a second value replaces the first.
fn set(table: &mut String, line: &str) {
    let key = |line: &str| line.split('=').next().map(|key| key.trim().to_owned());
    let kept: Vec<&str> = table
        .lines()
        .filter(|other| key(other) != key(line))
        .collect();
    *table = kept
        .iter()
        .copied()
        .chain([line])
        .fold(String::new(), |all, line| all + line + "\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_value_for_a_key_replaces_the_first() {
        let any = "127.0.0.1:1".parse().unwrap();
        let text = Settings::origins(&["http://127.0.0.1:3"])
            .site("hosts = [\"a.example\"]")
            .table("memory", "size = \"1MiB\"")
            .rule("match = { path = \"/x\" }\nttl = \"1m\"")
            .text(any, any, Path::new("/t"));
        assert_eq!(text.matches("hosts =").count(), 1);
        assert_eq!(text.matches("\nsize =").count(), 1);
        assert!(text.contains("token_file = \"/t\""));
        assert!(text.ends_with("[[site.rule]]\nmatch = { path = \"/x\" }\nttl = \"1m\"\n"));
    }
}
