//! Tests that contradict the standard, that no cache can pass, or that are not passed yet.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// One line for each such test of a suite, with the clause it meets.
#[derive(Debug, Default)]
pub(crate) struct Exceptions(BTreeMap<String, Exception>);

/// Why a test is not asked for.
#[derive(Debug)]
pub(crate) struct Exception {
    clause: String,
    reason: String,
}

const HEAD: &str = "id\tclause\treason";

impl Exceptions {
    pub(crate) fn load(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        Self::parse(&text)
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        if lines.next() != Some(HEAD) {
            return Err(format!("exceptions.tsv does not start with `{HEAD}`"));
        }
        let exceptions = lines.map(|line| {
            let [id, clause, reason] = line.split('\t').collect::<Vec<_>>()[..] else {
                return Err(format!("exceptions.tsv: not three columns: {line}"));
            };
            let (clause, reason) = (clause.to_owned(), reason.to_owned());
            Ok((id.to_owned(), Exception { clause, reason }))
        });
        exceptions.collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn find(&self, id: &str) -> Option<&Exception> {
        self.0.get(id)
    }
}

impl std::fmt::Display for Exception {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.clause, self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::folder;
    use crate::score::{Definitions, Kind};

    #[test]
    fn an_exception_has_a_clause_and_a_reason() {
        let text = "id\tclause\treason\na\tRFC 9111 §5.1\tb\n";
        let exceptions = Exceptions::parse(text).unwrap();
        let shown = exceptions.find("a").map(ToString::to_string);
        assert_eq!(shown.as_deref(), Some("RFC 9111 §5.1: b"));
        assert!(Exceptions::parse("id\tclause\treason\na\tb\n").is_err());
        assert!(Exceptions::parse("id\tclause\n").is_err());
    }

    #[test]
    fn the_checked_in_exceptions_are_tests_that_bind() {
        #[track_caller]
        fn check(folder: &Path, kinds: &[Kind]) {
            let definitions = Definitions::load(&folder.join("definitions.tsv")).unwrap();
            let exceptions = Exceptions::load(&folder.join("exceptions.tsv")).unwrap();
            for id in exceptions.0.keys() {
                let mut tests = definitions.0.iter();
                let known = tests.any(|test| test.id == *id && kinds.contains(&test.kind));
                assert!(known, "{id}");
            }
        }
        check(&folder(), &[Kind::Required]);
        check(&folder().join("current"), &[Kind::Optimal]);
    }
}
