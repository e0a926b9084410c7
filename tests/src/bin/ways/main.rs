//! Runs every test with whole nodes on both ways of hits, and holds what they wrote down against each other.
//!
//! ```text
//! cargo run -p larder-tests --bin ways -- [OPTIONS]
//!   --short FOLDER  the transcripts of a run that there was (LARDER_TESTS_TRANSCRIPTS=FOLDER)
//!   --long FOLDER   the same of one with LARDER_TESTS_WAY=long
//!   --tests NAMES   compare tests with these words in their names only
//! ```
//!
//! Compared are the answers of nodes to clients, the requests that reach origins, and the lines of access logs, byte for byte
//! but for what tells the moment (`entries`). Frames of HTTP/2 that a test makes and reads by itself are not written down. Tests
//! that let requests race give something else in each run: tests that differ are run again, and what one way gave in every
//! run and the other in none is a difference.

#![forbid(unsafe_code)]

mod entries;
mod seen;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use seen::Seen;
use tempfile::TempDir;

/// How often a test is run until what is left is a difference.
///
/// Of what is there in half of all runs, one in four thousand looks like a difference after six, one in 10^7 after twelve.
const ROUNDS_MAX: usize = 12;
/// Tests that are not compared, and why. They hold on both ways like all others.
const NOT_COMPARED: &[(&str, &str)] = &[
    ("curve.", DRAWN),
    (
        "simulate.a_nodes_log_tells_what_it_and_a_larger_one_do",
        DRAWN,
    ),
    (
        "slices.parallel_reads_of_a_file_that_is_replaced_never_get_two_versions",
        "many clients read along while it changes",
    ),
    (
        "limits.a_client_that_reads_nothing_is_given_up",
        "the kernel says how much it takes before the client is given up, and each way offers it other pieces",
    ),
];
const DRAWN: &str = "among what eviction looks for the least is drawn: no two runs keep the same";
/// So few tests that are run again are named.
const NAMED: usize = 10;
/// How much of an entry is shown.
const SHOWN: usize = 1_500;

#[derive(Debug, Default)]
struct Options {
    short: Option<PathBuf>,
    long: Option<PathBuf>,
    tests: Option<String>,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        while let Some(flag) = args.next() {
            let value = args.next().ok_or_else(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--short" => options.short = Some(value.into()),
                "--long" => options.long = Some(value.into()),
                "--tests" => options.tests = Some(value),
                _ => return Err(format!("{flag} is not an option")),
            }
        }
        Ok(options)
    }
}

/// Which tests are run.
enum Which<'a> {
    /// Those with this in their names.
    With(&'a str),
    /// These.
    Exactly(&'a [String]),
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            complain(&message);
            ExitCode::FAILURE
        }
    }
}

/// Whether no test differs.
fn run() -> Result<bool, String> {
    let options = Options::parse(std::env::args().skip(1))?;
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let words = options.tests.as_deref().unwrap_or_default();
    let all = Which::With(words);
    let first = |way: &str, there: Option<PathBuf>| match there {
        Some(there) => Ok(there),
        None => transcripts(&folder, way, 1, &all).map(|run| run.folder),
    };
    let runs = Runs {
        short: first("short", options.short)?,
        long: first("long", options.long)?,
    };
    let names = runs.tests(words)?;
    let mut compared = Compared::new(names.iter().cloned());
    compared.add(&runs)?;
    for round in 2..=ROUNDS_MAX {
        let left = compared.tests();
        if left.is_empty() {
            break;
        }
        say(&format!("{} tests differ, and are run again", left.len()));
        if left.len() <= NAMED {
            say(&left.join(" "));
        }
        if let Some(runs) = run_again(&folder, round, &left)? {
            compared.add(&runs)?;
        }
    }
    for (test, seen) in &compared.differ {
        tell(test, seen);
    }
    let (passed, failed) = (names.len() - compared.differ.len(), compared.differ.len());
    for (test, why) in NOT_COMPARED {
        say(&format!("not compared: {}: {why}", as_test(test)));
    }
    say(&format!(
        "{} answers, requests and lines are the same on both ways",
        compared.alike
    ));
    say(&format!("{passed} passed, {failed} failed"));
    Ok(failed == 0 && passed > 0)
}

/// Runs these tests on each way; none where that does not count.
fn run_again(folder: &TempDir, round: usize, tests: &[String]) -> Result<Option<Runs>, String> {
    let short = transcripts(folder, "short", round, &Which::Exactly(tests))?;
    let long = transcripts(folder, "long", round, &Which::Exactly(tests))?;
    // Of a test that fails, less is written down than it gives: that would pass for chance.
    if !short.status.success() || !long.status.success() {
        say("one of them failed: this run does not count");
        return Ok(None);
    }
    let runs = Runs {
        short: short.folder,
        long: long.folder,
    };
    let were_run: Vec<String> = runs.tests("")?.iter().map(|file| as_test(file)).collect();
    match tests.iter().find(|test| !were_run.contains(test)) {
        Some(test) => Err(format!("{test} was not run")),
        None => Ok(Some(runs)),
    }
}

/// The transcripts of a run on each way.
struct Runs {
    short: PathBuf,
    long: PathBuf,
}

impl Runs {
    /// The names of their files with these words: `module.test`.
    fn tests(&self, words: &str) -> Result<BTreeSet<String>, String> {
        let mut names = BTreeSet::new();
        for folder in [&self.short, &self.long] {
            let all =
                fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
            let all = all.flatten().map(|entry| entry.file_name());
            let all = all.filter_map(|name| name.into_string().ok());
            names.extend(all.filter(|name| as_test(name).contains(words)));
        }
        names.retain(|name| {
            NOT_COMPARED
                .iter()
                .all(|(other, _)| !name.starts_with(other))
        });
        Ok(names)
    }
}

/// How a test is called whose transcript is in this file.
fn as_test(file: &str) -> String {
    file.replace('.', "::")
}

/// The tests that differ so far.
struct Compared {
    differ: BTreeMap<String, Seen>,
    /// Entries of the others that both ways always give.
    alike: usize,
}

impl Compared {
    fn new(names: impl Iterator<Item = String>) -> Self {
        Self {
            differ: names.map(|name| (name, Seen::default())).collect(),
            alike: 0,
        }
    }

    /// Takes a run on each way into account. Whoever agrees is done.
    fn add(&mut self, runs: &Runs) -> Result<(), String> {
        for (test, mut seen) in std::mem::take(&mut self.differ) {
            seen.short.add(entries::read(&runs.short.join(&test))?);
            seen.long.add(entries::read(&runs.long.join(&test))?);
            if seen.differences().is_empty() {
                self.alike += seen.alike();
            } else {
                self.differ.insert(test, seen);
            }
        }
        Ok(())
    }

    fn tests(&self) -> Vec<String> {
        self.differ.keys().map(|name| as_test(name)).collect()
    }
}

/// What a run wrote down.
struct Transcripts {
    folder: PathBuf,
    status: ExitStatus,
}

/// Runs tests on one way.
fn transcripts(
    folder: &TempDir,
    way: &str,
    round: usize,
    which: &Which<'_>,
) -> Result<Transcripts, String> {
    let path = folder.path().join(format!("{way}-{round}"));
    fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // They wait more than they work.
    let threads = std::thread::available_parallelism().map_or(2, |cores| 2 * cores.get());
    let threads = threads.to_string();
    let mut command = Command::new(cargo);
    command.args([
        "test",
        "--quiet",
        "--locked",
        "-p",
        "larder-tests",
        "--test",
        "it",
        "--",
        "--test-threads",
        &threads,
    ]);
    match which {
        Which::With(words) => command.arg(words),
        Which::Exactly(tests) => command.arg("--exact").args(*tests),
    };
    command
        .env("LARDER_TESTS_WAY", way)
        .env("LARDER_TESTS_TRANSCRIPTS", &path)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let status = command
        .status()
        .map_err(|error| format!("cargo: {error}"))?;
    Ok(Transcripts {
        folder: path,
        status,
    })
}

/// Shows what a test's ways disagree in.
fn tell(test: &str, seen: &Seen) {
    let differences = seen.differences();
    for (way, only) in [
        ("short", &differences.short_only),
        ("long", &differences.long_only),
    ] {
        for entry in only {
            let shown: String = entry.chars().take(SHOWN).collect();
            say(&format!("{test}: the {way} way only\n{shown}\n"));
        }
    }
}

#[expect(clippy::print_stdout, reason = "it is what the program is for")]
fn say(text: &str) {
    println!("{text}");
}

#[expect(
    clippy::print_stderr,
    reason = "the last word of a run that could not be made"
)]
fn complain(message: &str) {
    eprintln!("ways: {message}");
}
