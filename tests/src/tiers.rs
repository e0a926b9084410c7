//! Nodes in tiers: parents before an origin, and edges before those.

use std::path::PathBuf;

use tempfile::TempDir;

use crate::node::Node;
use crate::settings::Settings;

/// What the nodes of some tiers share.
#[derive(Debug)]
pub struct Tiers {
    origin: String,
    folder: TempDir,
}

impl Tiers {
    /// What their nodes share.
    pub const SECRET: &str = "a-key-for-the-tests-of-32-chars-x";

    /// Tiers in front of an origin.
    #[must_use]
    pub fn before(origin_url: &str) -> Self {
        let tiers = Self {
            origin: origin_url.to_owned(),
            folder: TempDir::new().expect("a temporary folder"),
        };
        tiers.key("tier.key", Self::SECRET);
        tiers
    }

    /// Where a file is that these nodes share.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file with a key in it.
    pub fn key(&self, name: &str, secret: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, secret).expect("a writable folder");
        path
    }

    fn settings(&self, name: &str) -> Settings {
        self.join(name, Settings::origins(&[&self.origin]))
    }

    /// Settings with the key of these tiers.
    #[must_use]
    pub fn join(&self, name: &str, settings: Settings) -> Settings {
        let key = self.folder.path().join("tier.key");
        settings
            .table("node", &format!("name = \"{name}\""))
            .table("tier", &format!("key_file = {key:?}"))
            // Machines that run tests may be busy for long.
            .table("tier", "silence = \"5s\"")
            .table("tier", "connect_timeout = \"5s\"")
    }

    /// The settings of a parent.
    #[must_use]
    pub fn parent(&self, name: &str) -> Settings {
        self.settings(name).table("tier", "role = \"parent\"")
    }

    /// The settings of an edge, or of a parent's parent's child.
    #[must_use]
    pub fn edge(&self, name: &str, parents: &[&Node]) -> Settings {
        let urls = parents
            .iter()
            .map(|parent| format!("\"http://{}\"", parent.address()));
        let urls: Vec<String> = urls.collect();
        self.settings(name)
            .table("tier", &format!("parents = [{}]", urls.join(", ")))
    }
}
