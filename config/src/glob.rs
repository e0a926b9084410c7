//! Patterns in which `*` stands for any run of bytes.

/// A pattern in which `*` stands for any number of bytes, also none; everything else stands for itself.
///
/// Matching takes time linear in the text, whatever pattern and text are: a part between two stars is best found as
/// far left as possible, so nothing is ever looked at again.
///
/// ```
/// let glob = larder_config::Glob::new("/assets/*.css");
/// assert!(glob.matches("/assets/themes/dark.css"));
/// assert!(!glob.matches("/assets/dark.js"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    pattern: String,
    parts: Parts,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Parts {
    /// No star: the text is the pattern.
    Exact,
    /// What comes before the first star, between two stars, and after the last.
    Starred {
        prefix: usize,
        between: Vec<Needle>,
        suffix: usize,
    },
}

/// A part that is searched, as Knuth, Morris and Pratt do.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Needle {
    bytes: Vec<u8>,
    /// For each prefix of the needle, the length of the longest border: where to go on after a mismatch.
    borders: Vec<usize>,
}

impl Glob {
    /// The glob that is written `pattern`.
    pub fn new(pattern: &str) -> Self {
        Self {
            pattern: pattern.to_owned(),
            parts: Parts::of(pattern),
        }
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.pattern
    }

    /// Whether all of `text` matches.
    pub fn matches(&self, text: impl AsRef<[u8]>) -> bool {
        let text = text.as_ref();
        let pattern = self.pattern.as_bytes();
        let Parts::Starred {
            prefix,
            between,
            suffix,
        } = &self.parts
        else {
            return text == pattern;
        };

        let (before, after) = (&pattern[..*prefix], &pattern[pattern.len() - suffix..]);
        let Some(mut rest) = text
            .strip_prefix(before)
            .and_then(|rest| rest.strip_suffix(after))
        else {
            return false;
        };
        for needle in between {
            let Some(end) = needle.end_in(rest) else {
                return false;
            };
            rest = &rest[end..];
        }
        true
    }
}

impl Parts {
    fn of(pattern: &str) -> Self {
        let (Some(first), Some(last)) = (pattern.find('*'), pattern.rfind('*')) else {
            return Self::Exact;
        };
        let between = pattern[first..last]
            .split('*')
            .filter(|part| !part.is_empty());
        Self::Starred {
            prefix: first,
            between: between.map(Needle::new).collect(),
            suffix: pattern.len() - last - 1,
        }
    }
}

impl Needle {
    fn new(part: &str) -> Self {
        let bytes = part.as_bytes().to_vec();
        let mut borders = vec![0; bytes.len()];
        let mut matched = 0;
        for at in 1..bytes.len() {
            matched = advance(&bytes, &borders, matched, bytes[at]);
            borders[at] = matched;
        }
        Self { bytes, borders }
    }

    /// Where the first occurrence in `text` ends.
    fn end_in(&self, text: &[u8]) -> Option<usize> {
        let mut matched = 0;
        for (at, byte) in text.iter().enumerate() {
            matched = advance(&self.bytes, &self.borders, matched, *byte);
            if matched == self.bytes.len() {
                return Some(at + 1);
            }
        }
        None
    }
}

/// How much of the needle is matched after `byte`, when `matched` of it were before.
fn advance(needle: &[u8], borders: &[usize], mut matched: usize, byte: u8) -> usize {
    while matched > 0 && needle[matched] != byte {
        matched = borders[matched - 1];
    }
    matched + usize::from(needle[matched] == byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_stands_for_any_run() {
        #[track_caller]
        fn check(pattern: &str, text: &str, expected: bool) {
            assert_eq!(
                Glob::new(pattern).matches(text),
                expected,
                "{pattern} {text}"
            );
        }
        #[rustfmt::skip]
        let rows = [
            ("no star is equality",           "/a",          "/a",               true),
            ("no star is not a prefix",       "/a",          "/ab",              false),
            ("the empty pattern",             "",            "",                 true),
            ("the empty pattern",             "",            "a",                false),
            ("a star alone",                  "*",           "",                 true),
            ("a star alone",                  "*",           "/any/thing",       true),
            ("a prefix",                      "/assets/*",   "/assets/a/b.css",  true),
            ("a prefix, nothing more",        "/assets/*",   "/assets/",         true),
            ("a prefix with its slash",       "/assets/*",   "/assets",          false),
            ("a suffix",                      "*.css",       "/a/b.css",         true),
            ("a suffix",                      "*.css",       "/a/b.css.map",     false),
            ("both",                          "/a*.css",     "/a/b.css",         true),
            ("prefix and suffix don't share", "aba*aba",     "aba",              false),
            ("prefix and suffix don't share", "aba*aba",     "ababa",            false),
            ("prefix and suffix touch",       "aba*aba",     "abaaba",           true),
            ("a part between",                "*/v*/x*",     "/api/v2/xy",       true),
            ("a part between, order counts",  "*b*a*",       "ab",               false),
            ("a part between, not twice used","*ab*ba*",     "aba",              false),
            ("stars side by side",            "a**b",        "ab",               true),
            ("a border is found again",       "*aab*",       "aaab",             true),
            ("case counts",                   "/A*",         "/a",               false),
            ("other signs are themselves",    "/a?[b].*",    "/a?[b].x",         true),
            ("other signs are themselves",    "/a?c",        "/abc",             false),
        ];
        for (_, pattern, text, expected) in rows {
            check(pattern, text, expected);
        }
    }

    #[test]
    fn a_hostile_text_costs_no_more_than_another() {
        // A backtracking matcher would need 65,536 to the power of twenty steps for this.
        let glob = Glob::new(&format!("{}b", "*aaaaaaaaaaaaaaaaaaaaab".repeat(20)));
        assert!(!glob.matches("a".repeat(64 * 1024)));
        assert!(
            !Glob::new(&format!("*{}b*", "a".repeat(32 * 1024))).matches("a".repeat(64 * 1024))
        );
    }

    /// The definition, in exponential time.
    fn defined(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|skip| defined(rest, &text[skip..])),
            Some((byte, rest)) => text.first() == Some(byte) && defined(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn matching_is_as_defined(pattern in "[ab*]{0,9}", text in "[ab]{0,12}") {
            prop_assert_eq!(Glob::new(&pattern).matches(&text), defined(pattern.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn a_text_matches_itself_with_parts_left_out(text in "\\PC{0,20}", star in 0usize..20) {
            let split = text.char_indices().nth(star).map_or(text.len(), |(at, _)| at);
            let pattern = format!("{}*{}", &text[..split], &text[split..]);
            prop_assert!(Glob::new(&pattern).matches(&text));
        }
    }
}
