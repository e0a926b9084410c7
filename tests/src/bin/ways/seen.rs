//! What several runs of a test wrote down on either way, and what they disagree in.

use crate::entries::Entries;

/// What was seen on one way.
#[derive(Debug, Default)]
pub(crate) struct OneWay {
    /// In every run.
    always: Entries,
    /// In any run.
    ever: Entries,
    runs: usize,
}

/// What was seen on both.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) short: OneWay,
    pub(crate) long: OneWay,
}

/// What one way always gives, and the other never does.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Differences<'a> {
    pub(crate) short_only: Vec<&'a str>,
    pub(crate) long_only: Vec<&'a str>,
}

impl OneWay {
    /// Takes another run into account.
    pub(crate) fn add(&mut self, run: Entries) {
        if self.runs == 0 {
            self.always.clone_from(&run);
        } else {
            self.always.retain(|entry| run.contains(entry));
        }
        self.ever.extend(run);
        self.runs += 1;
    }

    fn only<'a>(&'a self, other: &Self) -> Vec<&'a str> {
        let mut only: Vec<&str> = self
            .always
            .iter()
            .filter(|entry| !other.ever.contains(*entry))
            .map(String::as_str)
            .collect();
        only.sort_unstable();
        only
    }
}

impl Seen {
    /// What they disagree in: what is there by chance is there on both ways, or not always on one, once there are runs enough.
    pub(crate) fn differences(&self) -> Differences<'_> {
        Differences {
            short_only: self.short.only(&self.long),
            long_only: self.long.only(&self.short),
        }
    }

    /// How many entries both ways always give.
    pub(crate) fn alike(&self) -> usize {
        self.short.always.intersection(&self.long.always).count()
    }
}

impl Differences<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.short_only.is_empty() && self.long_only.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(words: &str) -> Entries {
        words.split_whitespace().map(str::to_owned).collect()
    }

    #[track_caller]
    fn check(short: &[&str], long: &[&str], expected: (&[&str], &[&str])) {
        let mut seen = Seen::default();
        for run in short {
            seen.short.add(entries(run));
        }
        for run in long {
            seen.long.add(entries(run));
        }
        let differences = seen.differences();
        let told = (&*differences.short_only, &*differences.long_only);
        assert_eq!(told, expected);
    }

    #[test]
    fn a_difference_is_what_one_way_always_gives_and_the_other_never() {
        check(&["a b"], &["b a"], (&[], &[]));
        check(&["a b"], &["a c"], (&["b"], &["c"]));
        check(&["a b", "a b"], &["a c", "a d"], (&["b"], &[]));
        check(&["a b", "a"], &["a", "a"], (&[], &[]));
        check(&["a b", "a b"], &["a", "a b"], (&[], &[]));
        check(&["a"], &[""], (&["a"], &[]));
    }
}
