//! House rules, executable.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Which crates of the workspace a crate may use. The tests use none: they drive the program.
const MAY_DEPEND_ON: &[(&str, &[&str])] = &[
    ("larder-policy", &[]),
    ("larder-wire", &[]),
    ("larder-config", &[]),
    ("larder-storage", &[]),
    ("larder-tiered", &[]),
    ("larder-purge-api", &["larder-policy", "larder-storage"]),
    (
        "larder",
        &[
            "larder-config",
            "larder-policy",
            "larder-purge-api",
            "larder-storage",
            "larder-tiered",
            "larder-wire",
        ],
    ),
    ("larder-tests", &[]),
    (
        "larder-benches",
        &[
            "larder",
            "larder-config",
            "larder-policy",
            "larder-purge-api",
            "larder-storage",
            "larder-tests",
            "larder-tiered",
            "larder-wire",
        ],
    ),
];

/// Words, and the only places where a source file may hold them.
const ONLY_IN: &[(&[&str], &[&str], &str)] = &[
    (
        &[
            "pingora_core",
            "pingora_proxy",
            "pingora_http",
            "pingora_cache",
        ],
        &["edge/src/pingora/"],
        "Pingora is named in its adapter only",
    ),
    (
        &["config::"],
        &[
            "edge/src/wiring.rs",
            "edge/src/wiring/",
            "edge/src/main.rs",
            "edge/src/cli.rs",
            "edge/src/run.rs",
            "edge/src/in_force.rs",
            "edge/src/reload.rs",
            "edge/src/reload/",
            "edge/src/sites.rs",
            "edge/tests/",
            "config/",
        ],
        "main.rs and reload.rs read the configuration, only wiring.rs takes it apart, and sites.rs has its globs",
    ),
    (
        &["SystemTime::now", "Instant::now"],
        &["edge/src/clock.rs", "tests/", "benches/"],
        "the clock is read in clock.rs only",
    ),
    (
        &["println!(", "print!(", "eprintln!(", "process::exit"],
        &["edge/src/main.rs", "edge/src/cli/", "tests/", "benches/"],
        "only main.rs prints and exits",
    ),
    (
        &["TODO", "FIXME", "unimplemented!", "todo!("],
        &[],
        "nothing is left for later",
    ),
];

#[test]
fn crates_depend_only_on_what_the_table_allows() {
    let allowed: BTreeMap<&str, BTreeSet<&str>> = MAY_DEPEND_ON
        .iter()
        .map(|(name, uses)| (*name, uses.iter().copied().collect()))
        .collect();
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    let ours: BTreeSet<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    assert_eq!(
        ours,
        allowed.keys().copied().collect(),
        "every crate has a line in the table"
    );

    for package in packages {
        let name = package["name"].as_str().expect("a name");
        let dependencies = package["dependencies"].as_array().expect("dependencies");
        for dependency in dependencies.iter().filter_map(|d| d["name"].as_str()) {
            let forbidden = ours.contains(dependency) && !allowed[name].contains(dependency);
            assert!(!forbidden, "{name} must not use {dependency}");
        }
    }
}

#[test]
fn words_stay_where_they_belong() {
    let mut broken = Vec::new();
    for path in sources() {
        let name = path
            .strip_prefix(root())
            .expect("below the root")
            .display()
            .to_string();
        let text = fs::read_to_string(&path).expect("a source file");
        for (words, places, rule) in ONLY_IN {
            if places.iter().any(|place| name.starts_with(place)) {
                continue;
            }
            for (number, line) in code_lines(&text) {
                if words.iter().any(|word| line.contains(word)) {
                    broken.push(format!("{name}:{number}: {rule}"));
                }
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn every_crate_without_unsafe_forbids_it() {
    for folder in [
        "edge/policy",
        "edge/wire",
        "config",
        "tiered",
        "purge-api",
        "storage",
        "tests",
        "benches",
    ] {
        let library = root().join(folder).join("src/lib.rs");
        let text = fs::read_to_string(&library).expect("a library");
        assert!(text.contains("#![forbid(unsafe_code)]"), "{folder}");
    }
}

/// Lines with their numbers, up to the unit tests at the bottom, without comments.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn sources() -> Vec<PathBuf> {
    let mut sources = Vec::new();
    for folder in [
        "edge",
        "storage",
        "tiered",
        "purge-api",
        "config",
        "tests",
        "benches",
    ] {
        collect(&root().join(folder), &mut sources);
    }
    // The words that this file looks for stand in it.
    sources.retain(|path| !path.ends_with("tests/it/tidy.rs"));
    sources
}

fn collect(folder: &Path, sources: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let skipped = ["node_modules", "target", "examples"]
            .iter()
            .any(|name| path.ends_with(name));
        if path.is_dir() && !skipped {
            collect(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push(path);
        }
    }
}

fn metadata() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version=1", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    serde_json::from_slice(&output.stdout).expect("metadata")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests lies in the workspace")
}
