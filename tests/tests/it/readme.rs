//! The README: its commands work, its files are there, its configuration is one, its figures are the measured ones.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use larder_tests::{Ca, Node, Origin, Reply, run_to_exit};

const TEXT: &str = include_str!("../../../README.md");

fn root() -> &'static Path {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.expect("tests lies in the workspace")
}

/// The blocks of code in a language.
fn blocks(language: &str) -> impl Iterator<Item = &'static str> {
    let fence = format!("```{language}\n");
    let mut rest = TEXT;
    std::iter::from_fn(move || {
        let (_, block) = rest.split_once(&fence)?;
        let (block, after) = block.split_once("```")?;
        rest = after;
        Some(block)
    })
}

fn commands() -> impl Iterator<Item = &'static str> {
    blocks("sh").flat_map(str::lines)
}

#[tokio::test]
async fn the_commands_of_the_program_are_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start(|_| Reply::ok("x")).await;
    let node = Node::before(&origin.url()).await;
    let (admin, token) = (node.admin().to_string(), node.folder().join("admin-token"));
    let there = [
        "--admin",
        &admin,
        "--admin-token-file",
        token.to_str().unwrap(),
    ];
    let mut checked = BTreeSet::new();
    for command in commands() {
        let Some(arguments) = command.strip_prefix("larder ") else {
            continue;
        };
        let arguments = arguments.split(" #").next().unwrap_or_default().trim_end();
        let (arguments, output) = match arguments.split_once(" > ") {
            Some((arguments, file)) => (arguments, Some(file)),
            None => (arguments, None),
        };
        let mut arguments: Vec<_> = arguments.split(' ').collect();
        checked.insert(arguments[0]);
        // What runs would not end: the same flags, or the same file, are read by another command.
        if let ["run", "--config", file] = arguments[..] {
            arguments = vec!["check", file];
        } else if arguments[0] == "run" {
            arguments[0] = "init";
        }
        if ["purge", "explain", "reload", "top"].contains(&arguments[0]) {
            arguments.extend(there);
        }
        let exit = run_to_exit(&arguments, folder.path()).await;
        assert_eq!(exit.code, Some(0), "{command}: {}", exit.stderr);
        if let Some(file) = output {
            fs::write(folder.path().join(file), exit.stdout).unwrap();
        }
    }
    assert_eq!(
        checked,
        BTreeSet::from([
            "check", "explain", "fleet", "init", "purge", "reload", "run", "top"
        ])
    );
}

#[test]
fn the_commands_of_the_workspace_name_what_is_there() {
    for (command, file) in [
        (
            "bash .ci/setup build && cargo run --release -p larder -- demo",
            ".ci/setup",
        ),
        ("bash .ci/run", ".ci/run"),
        ("cargo install --locked --path edge", "edge/Cargo.toml"),
    ] {
        assert!(commands().any(|line| line == command), "{command}");
        assert!(root().join(file).is_file(), "{file}");
    }
}

#[tokio::test]
async fn the_flags_of_the_table_are_those_of_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let help = run_to_exit(&["run", "--help"], folder.path()).await.stdout;
    let flags = |text: &str| -> BTreeSet<String> {
        let words = text.split(|c: char| c.is_whitespace() || c == '`');
        let flags = words.filter(|word| word.starts_with("--"));
        flags.map(str::to_owned).collect()
    };
    let rows = TEXT.lines().filter(|line| line.starts_with("| `--"));
    let mut told: BTreeSet<_> = rows.flat_map(flags).collect();
    told.extend(["--config", "--help"].map(str::to_owned));
    assert_eq!(told, flags(&help));
}

#[tokio::test]
async fn the_configuration_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let pair = Ca::new().sign(&["www.example.com"]);
    for (name, text) in [
        ("fullchain.pem", &pair.certificate),
        ("key.pem", &pair.key),
        ("internal-ca.pem", &pair.certificate),
        ("tier.key", &pair.key),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let mut count = 0;
    for block in blocks("toml") {
        fs::write(folder.path().join("larder.toml"), block).unwrap();
        let exit = run_to_exit(&["check", "larder.toml"], folder.path()).await;
        assert_eq!(exit.code, Some(0), "{}", exit.stderr);
        count += 1;
    }
    assert!(count > 0);
}

#[test]
fn the_files_it_points_to_are_there() {
    let links = TEXT
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let files: Vec<_> = links.filter(|link| !link.contains("://")).collect();
    assert!(files.len() > 4, "{files:?}");
    for file in files {
        assert!(root().join(file).exists(), "{file}");
    }
}

#[test]
fn the_scores_of_the_pinned_suite_are_the_measured_ones() {
    let read = |name: &str| {
        let path = root().join("tests/conformance").join(name);
        fs::read_to_string(path).expect("a table")
    };
    let (definitions, expected) = (read("definitions.tsv"), read("expected.tsv"));
    for (settings, column) in [("shipped", 1), ("literal", 2)] {
        let score = |kind: &str| {
            let tests = definitions.lines().zip(expected.lines());
            let verdicts: Vec<&str> = tests
                .filter(|(definition, _)| definition.split('\t').nth(1) == Some(kind))
                .filter_map(|(_, verdicts)| verdicts.split('\t').nth(column))
                .collect();
            let passed = verdicts
                .iter()
                .filter(|verdict| **verdict == "pass")
                .count();
            format!("{passed} of {}", verdicts.len())
        };
        let (required, optimal) = (score("required"), score("optimal"));
        let row = format!("| npm 0.4.5 (2021) | {settings} | {required} | {optimal} |");
        assert!(TEXT.contains(&row), "{row}");
    }
}
