//! What is printed: the score, every test that was not passed, and what breaks the gate.

use crate::score::{Definition, Definitions, Kind, Results, Verdict, Verdicts};
use crate::subject::Profile;

/// Counts over all profiles.
#[derive(Debug, Default)]
pub(crate) struct Report {
    passed: usize,
    failed: usize,
}

impl Report {
    /// Prints one run and judges it. `expected` is absent where nothing comparable is checked in.
    pub(crate) fn profile(
        &mut self,
        title: &str,
        profile: Profile,
        definitions: &Definitions,
        results: &Results,
        verdicts: &Verdicts,
        expected: Option<&Verdicts>,
    ) {
        show(&format!("\n== {title}"));
        show("              of   good    not    n-a");
        for kind in [Kind::Required, Kind::Optimal, Kind::Check] {
            show(&score_line(kind, definitions, verdicts));
        }
        show("");
        for (test, verdict) in verdicts_in_order(definitions, verdicts) {
            let broken = gate(profile, test, verdict, expected);
            match &broken {
                Some(_) => self.failed += 1,
                None => self.passed += 1,
            }
            let dull = verdict.is_good() || test.kind == Kind::Check;
            if let Some(reason) = broken {
                show(&format!("{} <-- {reason}", detail(test, verdict, results)));
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

/// Why this verdict breaks the gate, if it does.
fn gate(
    profile: Profile,
    test: &Definition,
    verdict: Verdict,
    expected: Option<&Verdicts>,
) -> Option<String> {
    if profile == Profile::Literal && test.kind == Kind::Required && !verdict.is_good() {
        return Some("a required test".to_owned());
    }
    match expected?.get(&test.id) {
        Some(wanted) if *wanted == verdict => None,
        Some(wanted) => Some(format!("expected: {wanted}")),
        None => Some("not in expected.tsv".to_owned()),
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
    fn check(profile: Profile, kind: &str, verdict: Verdict, wanted: Option<&str>, broken: bool) {
        let text = format!("id\tkind\tdepends_on\nx\t{kind}\t-\n");
        let definitions = Definitions::parse(&text).unwrap();
        let expected =
            wanted.map(|word| Verdicts::from([("x".to_owned(), Verdict::parse(word).unwrap())]));
        let reason = gate(profile, &definitions.0[0], verdict, expected.as_ref());
        assert_eq!(reason.is_some(), broken, "{reason:?}");
    }

    #[test]
    #[rustfmt::skip]
    fn the_gate_wants_what_is_required_and_what_was_expected() {
        use Profile::{Literal, Shipped};
        use Verdict::{Dependency, Fail, NotOptimal, Pass};

        check(Literal, "required", Pass,       Some("pass"),    false);
        check(Literal, "required", Fail,       Some("fail"),    true);
        check(Literal, "required", Dependency, None,            true);
        check(Shipped, "required", Fail,       Some("fail"),    false);
        check(Shipped, "required", Pass,       Some("fail"),    true);
        check(Literal, "optimal",  NotOptimal, Some("opt"),     false);
        check(Literal, "optimal",  Pass,       Some("opt"),     true);
        check(Literal, "optimal",  NotOptimal, None,            false);
    }
}
