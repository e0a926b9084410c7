//! What a node tells of its configuration.

use serde::Serialize;

/// What came of a reload: the configuration that is in force now, and in what it differs from the one before.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Reloaded {
    /// The configuration.
    #[serde(flatten)]
    pub configuration: Configuration,
    /// Sites that are new, by name.
    pub sites_added: Vec<String>,
    /// Sites that are gone.
    pub sites_removed: Vec<String>,
    /// Other settings that differ.
    pub changes: Vec<Changed>,
}

/// A setting that differs.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Changed {
    /// Its path.
    pub setting: String,
    /// What held before; none where there was nothing of the kind.
    pub before: Option<String>,
    /// What holds now.
    pub after: Option<String>,
}

/// The configuration in force.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Configuration {
    /// How many the node has had since it was started, this one among them.
    pub generation: u64,
    /// A hash of what it says: the same settings have the same.
    pub hash: String,
    /// When it was taken, in RFC 3339.
    pub since: String,
}
