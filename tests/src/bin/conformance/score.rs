//! From results to verdicts: a test that depends on one that was not passed says nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use serde_json::Value;

/// How much a test binds a cache.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Required,
    Optimal,
    /// A survey of behaviour without a right answer.
    Check,
}

/// What became of one test.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// Passed, of a required or an optimal test.
    Pass,
    /// Not passed, of a required test.
    Fail,
    /// The optimisation is not done.
    NotOptimal,
    Yes,
    No,
    /// A test that it depends on was not passed, so its own result means nothing.
    Dependency,
    /// The situation could not be brought about.
    Setup,
    /// The proxy sent a request to the origin twice.
    Retry,
    /// No answer in the time of the suite's client.
    NoAnswer,
    Untested,
}

#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) id: String,
    pub(crate) kind: Kind,
    depends_on: Vec<String>,
    browser_only: bool,
}

/// The tests in the suite's order.
#[derive(Debug)]
pub(crate) struct Definitions(pub(crate) Vec<Definition>);

/// What the suite's client said of each test.
#[derive(Debug)]
pub(crate) struct Results(BTreeMap<String, Outcome>);

#[derive(Debug)]
enum Outcome {
    Passed,
    Not { error: String, message: String },
}

pub(crate) type Verdicts = BTreeMap<String, Verdict>;

impl Verdict {
    const ALL: [Self; 10] = [
        Self::Pass,
        Self::Fail,
        Self::NotOptimal,
        Self::Yes,
        Self::No,
        Self::Dependency,
        Self::Setup,
        Self::Retry,
        Self::NoAnswer,
        Self::Untested,
    ];

    pub(crate) fn is_good(self) -> bool {
        matches!(self, Self::Pass | Self::Yes)
    }

    /// Whether the test was carried out, but not passed.
    pub(crate) fn is_bad(self) -> bool {
        matches!(self, Self::Fail | Self::NotOptimal | Self::No)
    }

    fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::NotOptimal => "opt",
            Self::Yes => "yes",
            Self::No => "no",
            Self::Dependency => "depfail",
            Self::Setup => "setup",
            Self::Retry => "retry",
            Self::NoAnswer => "harness",
            Self::Untested => "untested",
        }
    }

    pub(crate) fn parse(word: &str) -> Result<Self, String> {
        let verdict = Self::ALL.into_iter().find(|verdict| verdict.word() == word);
        verdict.ok_or_else(|| format!("`{word}` is not a verdict"))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Required => "required",
            Self::Optimal => "optimal",
            Self::Check => "check",
        })
    }
}

impl Definitions {
    /// Reads a table whose first line names its columns: `id`, `kind`, `depends_on`, and
    /// `flags` if there are any.
    pub(crate) fn load(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        Self::parse(&text).map_err(|problem| format!("{}: {problem}", path.display()))
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        let columns: Vec<&str> = lines.next().unwrap_or_default().split('\t').collect();
        let definition = |line: &str| {
            let cells: Vec<&str> = line.split('\t').collect();
            let cell = |name| {
                let place = columns.iter().position(|column| *column == name)?;
                cells.get(place).copied()
            };
            Definition::new(cell("id"), cell("kind"), cell("depends_on"), cell("flags"))
                .ok_or_else(|| format!("not a test: {line}"))
        };
        lines.map(definition).collect::<Result<_, _>>().map(Self)
    }

    /// The verdict of every test that concerns a proxy.
    pub(crate) fn judge(&self, results: &Results) -> Verdicts {
        let mut verdicts = Verdicts::new();
        for definition in &self.0 {
            self.verdict(definition, results, &mut verdicts);
        }
        verdicts.retain(|id, _| self.concerns_a_proxy(id, results));
        verdicts
    }

    fn concerns_a_proxy(&self, id: &str, results: &Results) -> bool {
        let browser_only = self
            .find(id)
            .is_none_or(|definition| definition.browser_only);
        !browser_only || results.0.contains_key(id)
    }

    fn find(&self, id: &str) -> Option<&Definition> {
        self.0.iter().find(|definition| definition.id == id)
    }

    /// Dependencies count recursively, whatever their kind.
    fn verdict(&self, test: &Definition, results: &Results, known: &mut Verdicts) -> Verdict {
        if let Some(verdict) = known.get(&test.id) {
            return *verdict;
        }
        // The suite has no circles; if it had, the test in question would be untested.
        known.insert(test.id.clone(), Verdict::Untested);
        let mut sound = true;
        for id in &test.depends_on {
            let verdict = self
                .find(id)
                .map(|other| self.verdict(other, results, known));
            sound &= verdict.is_some_and(Verdict::is_good);
        }
        let verdict = match results.0.get(&test.id) {
            None => Verdict::Untested,
            Some(_) if !sound => Verdict::Dependency,
            Some(outcome) => outcome.verdict(test.kind),
        };
        known.insert(test.id.clone(), verdict);
        verdict
    }
}

impl Definition {
    fn new(
        id: Option<&str>,
        kind: Option<&str>,
        depends_on: Option<&str>,
        flags: Option<&str>,
    ) -> Option<Self> {
        let kind = match kind? {
            "required" => Kind::Required,
            "optimal" => Kind::Optimal,
            "check" => Kind::Check,
            _ => return None,
        };
        let list = depends_on?
            .split(',')
            .filter(|id| !id.is_empty() && *id != "-");
        Some(Self {
            id: id?.to_owned(),
            kind,
            depends_on: list.map(str::to_owned).collect(),
            browser_only: flags.is_some_and(|all| all.split(',').any(|f| f == "browser_only")),
        })
    }
}

impl Results {
    /// Reads the client's output: an object of ids, each `true` or `[error, message]`.
    pub(crate) fn parse(output: &str) -> Result<Self, String> {
        let all: BTreeMap<String, Value> = serde_json::from_str(output)
            .map_err(|error| format!("the suite's output is not its result: {error}"))?;
        Ok(Self(
            all.into_iter()
                .map(|(id, value)| (id, Outcome::new(&value)))
                .collect(),
        ))
    }

    /// Why a test was not passed.
    pub(crate) fn message(&self, id: &str) -> String {
        match self.0.get(id) {
            None => "not run".to_owned(),
            Some(Outcome::Passed) => String::new(),
            Some(Outcome::Not { error, message }) => {
                format!("{error}: {message}").replace(char::is_control, " ")
            }
        }
    }
}

impl Outcome {
    fn new(value: &Value) -> Self {
        if value == &Value::Bool(true) {
            return Self::Passed;
        }
        let text = |place: usize| value.get(place).and_then(Value::as_str).unwrap_or_default();
        Self::Not {
            error: text(0).to_owned(),
            message: text(1).to_owned(),
        }
    }

    fn verdict(&self, kind: Kind) -> Verdict {
        match (self, kind) {
            (Self::Passed, Kind::Required | Kind::Optimal) => Verdict::Pass,
            (Self::Passed, Kind::Check) => Verdict::Yes,
            (Self::Not { error, message }, kind) => failure(error, message, kind),
        }
    }
}

fn failure(error: &str, message: &str, kind: Kind) -> Verdict {
    match (error, kind) {
        ("Setup", _) if message == "retry" => Verdict::Retry,
        ("Setup", _) => Verdict::Setup,
        ("AbortError", _) => Verdict::NoAnswer,
        (_, Kind::Required) => Verdict::Fail,
        (_, Kind::Optimal) => Verdict::NotOptimal,
        (_, Kind::Check) => Verdict::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFINITIONS: &str = "id\tkind\tdepends_on\tflags\n\
        base\tcheck\t-\t-\n\
        late\trequired\tmiddle\t-\n\
        middle\toptimal\tbase\t-\n\
        browser\trequired\t-\tbrowser_only\n";

    #[track_caller]
    fn check(results: &str, expected: &[(&str, Verdict)]) {
        let definitions = Definitions::parse(DEFINITIONS).unwrap();
        let verdicts = definitions.judge(&Results::parse(results).unwrap());
        let expected = expected
            .iter()
            .map(|(id, verdict)| ((*id).to_owned(), *verdict))
            .collect();
        assert_eq!(verdicts, expected);
    }

    #[test]
    #[rustfmt::skip]
    fn a_verdict_needs_good_verdicts_below_it() {
        use Verdict::{Dependency, Fail, NoAnswer, NotOptimal, Pass, Retry, Setup, Untested, Yes};

        check(r#"{"base": true, "middle": true, "late": true}"#,
              &[("base", Yes), ("middle", Pass), ("late", Pass)]);
        check(r#"{"base": true, "middle": true, "late": ["Assertion", "x"]}"#,
              &[("base", Yes), ("middle", Pass), ("late", Fail)]);
        check(r#"{"base": true, "middle": ["Assertion", "x"], "late": true}"#,
              &[("base", Yes), ("middle", NotOptimal), ("late", Dependency)]);
        check(r#"{"base": ["Setup", "retry"], "middle": true, "late": true}"#,
              &[("base", Retry), ("middle", Dependency), ("late", Dependency)]);
        check(r#"{"base": ["Setup", "x"], "middle": true}"#,
              &[("base", Setup), ("middle", Dependency), ("late", Untested)]);
        check(r#"{"base": ["AbortError", "x"], "middle": true, "late": true, "browser": true}"#,
              &[("base", NoAnswer), ("middle", Dependency), ("late", Dependency), ("browser", Pass)]);
    }

    #[test]
    fn output_that_is_not_a_result_is_refused() {
        assert!(Results::parse("fetch failed").is_err());
        assert!(Definitions::parse("id\tkind\tdepends_on\na\tsilly\t-\n").is_err());
    }
}
