//! The verdicts that are checked in.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use crate::options::folder;
use crate::score::{Definitions, Verdict, Verdicts};
use crate::subject::Profile;

/// `expected.tsv`: one line for each test, one column for each profile.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    shipped: Verdicts,
    literal: Verdicts,
}

const HEAD: &str = "id\tshipped\tliteral";

impl Expected {
    pub(crate) fn load() -> Result<Self, String> {
        let path = path();
        let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        if lines.next() != Some(HEAD) {
            return Err(format!("expected.tsv does not start with `{HEAD}`"));
        }
        let mut expected = Self::default();
        for line in lines {
            let [id, shipped, literal] = line.split('\t').collect::<Vec<_>>()[..] else {
                return Err(format!("expected.tsv: not three columns: {line}"));
            };
            expected
                .shipped
                .insert(id.to_owned(), Verdict::parse(shipped)?);
            expected
                .literal
                .insert(id.to_owned(), Verdict::parse(literal)?);
        }
        Ok(expected)
    }

    pub(crate) fn of(&self, profile: Profile) -> &Verdicts {
        match profile {
            Profile::Shipped => &self.shipped,
            Profile::Literal => &self.literal,
        }
    }

    pub(crate) fn accept(&mut self, profile: Profile, verdicts: &Verdicts) {
        match profile {
            Profile::Shipped => self.shipped.clone_from(verdicts),
            Profile::Literal => self.literal.clone_from(verdicts),
        }
    }

    pub(crate) fn save(&self, definitions: &Definitions) -> Result<(), String> {
        let path = path();
        fs::write(&path, self.text(definitions)).map_err(|e| format!("{}: {e}", path.display()))
    }

    fn text(&self, definitions: &Definitions) -> String {
        let verdict = |all: &BTreeMap<String, Verdict>, id: &str| {
            all.get(id).copied().unwrap_or(Verdict::Untested)
        };
        definitions
            .0
            .iter()
            .fold(format!("{HEAD}\n"), |text, definition| {
                let id = &definition.id;
                let (shipped, literal) = (verdict(&self.shipped, id), verdict(&self.literal, id));
                text + &format!("{id}\t{shipped}\t{literal}\n")
            })
    }
}

fn path() -> PathBuf {
    folder().join("expected.tsv")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        let definitions =
            Definitions::parse("id\tkind\tdepends_on\nb\trequired\t-\na\tcheck\tb\n").unwrap();
        let text = "id\tshipped\tliteral\nb\tfail\tpass\na\tdepfail\tyes\n";
        assert_eq!(Expected::parse(text).unwrap().text(&definitions), text);
        assert!(Expected::parse("id\tshipped\n").is_err());
        assert!(Expected::parse("id\tshipped\tliteral\na\tgood\tgood\n").is_err());
    }

    #[test]
    fn the_checked_in_table_has_a_line_for_every_test() {
        let definitions = Definitions::load(&folder().join("definitions.tsv")).unwrap();
        let expected = Expected::load().unwrap();
        let missing: Vec<_> = definitions
            .0
            .iter()
            .filter(|definition| !expected.literal.contains_key(&definition.id))
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
        assert_eq!(expected.literal.len(), definitions.0.len());
    }
}
