//! Everything that is wrong with a configuration, told at once and with its place.

use std::fmt;

use crate::raw::Span;

/// Problems that are kept; what goes beyond is counted only.
pub const PROBLEMS_MAX: usize = 100;

/// Characters of a source line that are shown around a problem.
const SHOWN_CHARS: usize = 120;

/// Characters of a value that are shown within a message.
const QUOTED_CHARS: usize = 60;

/// Everything that is wrong with a configuration; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    problems: Vec<Problem>,
    omitted: usize,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What, in lower case and without a full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Where a problem is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The file as a whole.
    File {
        /// Its name.
        file: String,
    },
    /// A place in the file.
    Line {
        /// Its name.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The character in the line, from 1.
        column: usize,
        /// The line's text around the column, printable.
        source: String,
        /// Characters of `source` that come before the place.
        before: usize,
        /// Characters of `source` that are meant, at least 1.
        width: usize,
    },
    /// A flag of the command line.
    Flag {
        /// The flag, as `--listen`.
        flag: &'static str,
    },
}

/// What is wrong with a value, before it is known where the value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Problems {
    /// What was found in the file's text, if anything was: the first [`PROBLEMS_MAX`] in the order of the text.
    pub(crate) fn in_text(file: &str, text: &str, mut found: Vec<(Span, Fault)>) -> Option<Self> {
        let omitted = found.len().saturating_sub(PROBLEMS_MAX);
        found.sort_by_key(|(span, _)| span.start);
        found.truncate(PROBLEMS_MAX);

        let problems = found.into_iter().map(|(span, Fault { message, hint })| {
            let place = Place::in_text(file, text, span);
            Problem {
                place,
                message,
                hint,
            }
        });
        let problems: Vec<_> = problems.collect();
        (!problems.is_empty()).then_some(Self { problems, omitted })
    }

    /// One problem.
    pub(crate) fn one(place: Place, fault: Fault) -> Self {
        let Fault { message, hint } = fault;
        Self {
            problems: vec![Problem {
                place,
                message,
                hint,
            }],
            omitted: 0,
        }
    }

    /// The problems in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.problems.iter()
    }

    /// The same problems at other places.
    pub(crate) fn placed(mut self, place: impl Fn(Place) -> Place) -> Self {
        for problem in &mut self.problems {
            problem.place = place(problem.place.clone());
        }
        self
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problems {
    /// Writes the problems one after the other, with an empty line between them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            problem.fmt(f)?;
        }
        if self.omitted > 0 {
            write!(f, "\n\nand {} more", self.omitted)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl fmt::Display for Problem {
    /// Writes `FILE:LINE:COLUMN: message`, the source line with a caret, and the hint.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)?;
        if let Place::Line {
            source,
            before,
            width,
            ..
        } = &self.place
            && !source.trim().is_empty()
        {
            write!(f, "\n  {source}\n  {:before$}{:^<width$}", "", "")?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file } => f.write_str(file),
            Self::Line {
                file, line, column, ..
            } => write!(f, "{file}:{line}:{column}"),
            Self::Flag { flag } => f.write_str(flag),
        }
    }
}

impl Place {
    /// The place of some bytes of the file's text.
    pub(crate) fn in_text(file: &str, text: &str, span: Span) -> Self {
        let start = floor_char_boundary(text, span.start);
        let end = floor_char_boundary(text, span.end).max(start);
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = text[start..]
            .find('\n')
            .map_or(text.len(), |newline| start + newline);

        let column = text[line_start..start].chars().count();
        let skipped = column.saturating_sub(SHOWN_CHARS / 2);
        let shown = text[line_start..line_end]
            .trim_end_matches('\r')
            .chars()
            .skip(skipped);
        let source: String = shown.take(SHOWN_CHARS).map(printable).collect();

        let before = column - skipped;
        let room = source.chars().count().saturating_sub(before);
        let meant = text[start..end.min(line_end).max(start)]
            .chars()
            .take(SHOWN_CHARS)
            .count();
        Self::Line {
            file: file.to_owned(),
            line: text[..start].bytes().filter(|byte| *byte == b'\n').count() + 1,
            column: column + 1,
            source,
            before,
            width: meant.min(room).max(1),
        }
    }
}

impl Fault {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
        }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// A value of the file within a message: short, and harmless to a terminal.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted: String = text.chars().take(QUOTED_CHARS).map(printable).collect();
    if text.chars().nth(QUOTED_CHARS).is_some() {
        quoted.push('…');
    }
    format!("`{quoted}`")
}

fn printable(c: char) -> char {
    match c {
        '\t' => ' ',
        // Also the marks that turn the direction of writing, which make a line read other than it is.
        c if c.is_control()
            || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}') =>
        {
            '\u{FFFD}'
        }
        c => c,
    }
}

fn floor_char_boundary(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str, meant: &str) -> String {
        let start = text.find(meant).unwrap();
        let span = Span {
            start,
            end: start + meant.len(),
        };
        let place = Place::in_text("larder.toml", text, span);
        Problem {
            place,
            message: "message".to_owned(),
            hint: Some("help".to_owned()),
        }
        .to_string()
    }

    #[test]
    fn a_problem_shows_its_line() {
        assert_eq!(
            problem("[node]\n\nname = \"a b\"\n", "\"a b\""),
            "larder.toml:3:8: message\n  name = \"a b\"\n         ^^^^^\nhint: help"
        );
    }

    #[test]
    fn columns_are_characters() {
        assert!(problem("ä = 1\nö = ß", "ß").starts_with("larder.toml:2:5: "));
    }

    #[test]
    fn a_long_line_is_shown_in_part() {
        let text = format!("{}here{}", "a".repeat(100_000), "b".repeat(100_000));
        let shown = problem(&text, "here");
        assert!(shown.starts_with("larder.toml:1:100001: "));
        assert!(
            shown.lines().all(|line| line.len() <= SHOWN_CHARS + 2),
            "{shown}"
        );
        assert!(shown.contains(&format!("\n  {:60}^^^^\n", "")));
    }

    #[test]
    fn what_would_command_the_terminal_is_replaced() {
        assert!(!problem("a = \"\u{1b}[2J\u{202e}\"", "a").contains(['\u{1b}', '\u{202e}']));
        assert_eq!(quote("\u{1b}[2J"), "`\u{fffd}[2J`");
        assert_eq!(quote(&"x".repeat(61)), format!("`{}…`", "x".repeat(60)));
    }

    #[test]
    fn places_beyond_the_text_are_its_end() {
        for (start, end) in [(0, 0), (3, 1), (9, 9), (1, 99), (usize::MAX, usize::MAX)] {
            assert!(matches!(
                Place::in_text("f", "é\nü", Span { start, end }),
                Place::Line { width: 1.., .. }
            ));
        }
    }

    #[test]
    fn the_hundred_and_first_problem_is_counted_only() {
        let problems = |count| {
            let found = (0..count)
                .rev()
                .map(|start| (Span { start, end: start }, Fault::new("wrong")));
            Problems::in_text("f", &"\n".repeat(count), found.collect())
        };
        assert_eq!(problems(0), None);
        let at_limit = problems(PROBLEMS_MAX).unwrap();
        assert_eq!(
            (at_limit.iter().count(), at_limit.omitted),
            (PROBLEMS_MAX, 0)
        );
        let beyond = problems(PROBLEMS_MAX + 1).unwrap();
        assert_eq!(beyond.iter().count(), PROBLEMS_MAX);
        assert!(beyond.to_string().starts_with("f:1:1: wrong"));
        assert!(beyond.to_string().ends_with("\n\nand 1 more"));
    }
}
