//! What is printed: the score, every test that was not passed, and what breaks the gate.

use crate::exceptions::Exceptions;
use crate::score::{Definition, Definitions, Kind, Results, Verdict, Verdicts};
use crate::subject::Profile;

/// Counts over all profiles.
#[derive(Debug, Default)]
pub(crate) struct Report {
    passed: usize,
    failed: usize,
}

/// One run of the suite, and what it is judged by.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub(crate) title: String,
    pub(crate) profile: Profile,
    pub(crate) definitions: &'a Definitions,
    pub(crate) results: &'a Results,
    pub(crate) verdicts: &'a Verdicts,
    /// Absent where nothing comparable is checked in.
    pub(crate) expected: Option<&'a Verdicts>,
    pub(crate) exceptions: &'a Exceptions,
    /// Kinds of which every test has to pass with the literal settings.
    pub(crate) gated: &'a [Kind],
}

impl Report {
    /// Prints one run and judges it.
    pub(crate) fn profile(&mut self, run: &Run<'_>) {
        let Run {
            title,
            definitions,
            results,
            verdicts,
            ..
        } = run;
        show(&format!("\n== {title}"));
        show("              of   good    not    n-a");
        for kind in [Kind::Required, Kind::Optimal, Kind::Check] {
            show(&score_line(kind, definitions, verdicts));
        }
        show("");
        for (test, verdict) in verdicts_in_order(definitions, verdicts) {
            let broken = run.gate(test, verdict);
            match &broken {
                Some(_) => self.failed += 1,
                None => self.passed += 1,
            }
            let dull = verdict.is_good() || test.kind == Kind::Check;
            let exception = run.exceptions.find(&test.id);
            if let Some(reason) = broken {
                show(&format!("{} <-- {reason}", detail(test, verdict, results)));
            } else if let Some(exception) = exception.filter(|_| !dull) {
                show(&detail(test, verdict, results));
                show(&format!("         exception, {exception}"));
            } else if !dull {
                show(&detail(test, verdict, results));
            }
        }
    }

    /// Prints the last line and tells the number of failures.
    pub(crate) fn conclude(&self) -> usize {
        show(&format!("\n{} passed, {} failed", self.passed, self.failed));
        self.failed
    }
}

impl Run<'_> {
    /// Why this verdict breaks the gate, if it does.
    fn gate(&self, test: &Definition, verdict: Verdict) -> Option<String> {
        if self.profile == Profile::Literal && self.gated.contains(&test.kind) {
            let excepted = self.exceptions.find(&test.id).is_some();
            match (verdict.is_good(), excepted) {
                (false, false) => return Some(format!("{} and no exception", test.kind)),
                (true, true) => return Some("no longer an exception".to_owned()),
                (true, false) | (false, true) => {}
            }
        }
        match self.expected?.get(&test.id) {
            Some(wanted) if *wanted == verdict => None,
            Some(wanted) => Some(format!("expected: {wanted}")),
            None => Some("not in expected.tsv".to_owned()),
        }
    }
}

fn verdicts_in_order<'a>(
    definitions: &'a Definitions,
    verdicts: &'a Verdicts,
) -> impl Iterator<Item = (&'a Definition, Verdict)> {
    definitions
        .0
        .iter()
        .filter_map(|test| Some((test, *verdicts.get(&test.id)?)))
}

fn score_line(kind: Kind, definitions: &Definitions, verdicts: &Verdicts) -> String {
    let of_kind: Vec<Verdict> = verdicts_in_order(definitions, verdicts)
        .filter(|(test, _)| test.kind == kind)
        .map(|(_, verdict)| verdict)
        .collect();
    let good = of_kind.iter().filter(|verdict| verdict.is_good()).count();
    let bad = of_kind.iter().filter(|verdict| verdict.is_bad()).count();
    let other = of_kind.len() - good - bad;
    format!(
        "{kind:<10} {:>5}  {good:>5}  {bad:>5}  {other:>5}",
        of_kind.len()
    )
}

fn detail(test: &Definition, verdict: Verdict, results: &Results) -> String {
    let Definition { id, kind, .. } = test;
    format!("{verdict:<8} {kind:<9} {id:<50} {}", results.message(id))
}

#[expect(
    clippy::print_stdout,
    reason = "the report is what this program is for"
)]
pub(crate) fn show(line: &str) {
    println!("{line}");
}

#[expect(
    clippy::print_stderr,
    reason = "the last word of a run that could not be made"
)]
pub(crate) fn complain(message: &str) {
    eprintln!("conformance: {message}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(
        profile: Profile,
        (kind, exceptions): (&str, &str),
        verdict: Verdict,
        wanted: Option<&str>,
        broken: bool,
    ) {
        let text = format!("id\tkind\tdepends_on\nx\t{kind}\t-\n");
        let definitions = Definitions::parse(&text).unwrap();
        let exceptions = Exceptions::parse(&format!("id\tclause\treason\n{exceptions}")).unwrap();
        let expected =
            wanted.map(|word| Verdicts::from([("x".to_owned(), Verdict::parse(word).unwrap())]));
        let run = Run {
            title: String::new(),
            profile,
            definitions: &definitions,
            results: &Results::parse("{}").unwrap(),
            verdicts: &Verdicts::new(),
            expected: expected.as_ref(),
            exceptions: &exceptions,
            gated: &[Kind::Required],
        };
        let reason = run.gate(&definitions.0[0], verdict);
        assert_eq!(reason.is_some(), broken, "{reason:?}");
    }

    #[test]
    #[rustfmt::skip]
    fn the_gate_wants_what_is_required_and_what_was_expected() {
        use Profile::{Literal, Shipped};
        use Verdict::{Dependency, Fail, NotOptimal, Pass};

        const REQUIRED: (&str, &str) = ("required", "");
        const OPTIMAL: (&str, &str) = ("optimal", "");
        const EXCEPTED: (&str, &str) = ("required", "x\tRFC 9111\ty\n");
        check(Literal, REQUIRED, Pass,       Some("pass"),    false);
        check(Literal, REQUIRED, Fail,       Some("fail"),    true);
        check(Literal, REQUIRED, Dependency, None,            true);
        check(Literal, EXCEPTED, Fail,       Some("fail"),    false);
        check(Literal, EXCEPTED, Fail,       Some("pass"),    true);
        check(Literal, EXCEPTED, Pass,       Some("pass"),    true);
        check(Shipped, REQUIRED, Fail,       Some("fail"),    false);
        check(Shipped, REQUIRED, Pass,       Some("fail"),    true);
        check(Literal, OPTIMAL,  NotOptimal, Some("opt"),     false);
        check(Literal, OPTIMAL,  Pass,       Some("opt"),     true);
        check(Literal, OPTIMAL,  NotOptimal, None,            false);
    }
}
