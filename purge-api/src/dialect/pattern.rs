//! The regular expressions that clients of Varnish send, where they mean something exact.
//!
//! No expression is ever run: what is no list of exact tags, no host and no anchored path is refused, with a reason.

/// Parentheses within parentheses.
const DEPTH_MAX: usize = 8;
/// What stands before and behind a tag within a list.
const BEFORE: [&str; 7] = [
    "(^|,)", "(,|^)", "(^|\\s)", "(\\s|^)", "(^| )", "(?:^|,)", "^",
];
const BEHIND: [&str; 7] = [
    "(,|$)", "($|,)", "(\\s|$)", "($|\\s)", "( |$)", "(?:,|$)", "$",
];

/// Tags, or all of them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Tags {
    All,
    These(Vec<String>),
}

/// What an expression for paths means.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Paths {
    All,
    Exactly(String),
    /// The folder, with a slash at its end, that everything meant is in.
    Below(String),
}

/// Reads a list of tags: words between spaces, commas or bars, or an alternation of exact tags.
pub(crate) fn tags(text: &str) -> Result<Tags, String> {
    let text = text.trim();
    if matches!(text, ".*" | "*") {
        return Ok(Tags::All);
    }
    let mut tags = Vec::new();
    if text.contains('(') || text.contains('^') {
        alternatives(text, 0, &mut tags)?;
    } else {
        let separator = |it: char| it.is_whitespace() || it == ',' || it == '|';
        let words = text.split(separator).filter(|word| !word.is_empty());
        for word in words {
            tags.push(literal(word)?);
        }
    }
    if tags.is_empty() {
        return Err("there is no tag in it".to_owned());
    }
    Ok(Tags::These(tags))
}

/// Reads hosts: none for every host, or `^a$` and `^(a|b)$`.
pub(crate) fn hosts(text: &str) -> Result<Option<Vec<String>>, String> {
    let text = text.trim();
    if matches!(text, ".*" | "") {
        return Ok(None);
    }
    let anchored = text.strip_prefix('^').and_then(|it| it.strip_suffix('$'));
    let Some(inner) = anchored else {
        return Err(format!(
            "`{text}` would match parts of hosts: write `^{text}$`"
        ));
    };
    let mut hosts = Vec::new();
    alternatives(inner, 0, &mut hosts)?;
    Ok(Some(hosts))
}

/// Reads paths: `.*`, `^/exactly$`, `^/folder/.*`.
pub(crate) fn paths(text: &str) -> Result<Paths, String> {
    let text = text.trim();
    if matches!(text, ".*" | "" | "/.*" | "^/.*" | "^/" | "^.*" | "^/.*$") {
        return Ok(Paths::All);
    }
    let Some(path) = text.strip_prefix('^').filter(|it| it.starts_with('/')) else {
        return Err(format!(
            "`{text}` may match anywhere in a URL: begin it with `^/`, or use tags"
        ));
    };
    let (path, ended) = match path.strip_suffix('$') {
        Some(path) if !path.ends_with('\\') => (path, true),
        _ => (path, false),
    };
    match path.strip_suffix(".*") {
        None if ended => Ok(Paths::Exactly(literal(path)?)),
        stripped => {
            let mut folder = literal(stripped.unwrap_or(path))?;
            // Purges know whole segments. Rather too much than too little.
            folder.truncate(folder.rfind('/').map_or(0, |slash| slash + 1));
            Ok(if folder == "/" {
                Paths::All
            } else {
                Paths::Below(folder)
            })
        }
    }
}

/// Reads `a|b|(c|d)` with each of them exact.
fn alternatives(text: &str, depth: usize, found: &mut Vec<String>) -> Result<(), String> {
    if depth > DEPTH_MAX {
        return Err("it has too many parentheses".to_owned());
    }
    for alternative in split(text)? {
        match inner(alternative) {
            Some(inner) => alternatives(inner, depth + 1, found)?,
            None => found.push(literal(alternative)?),
        }
    }
    Ok(())
}

/// What is within the parentheses around an alternative, or between its anchors.
fn inner(text: &str) -> Option<&str> {
    let before = BEFORE.iter().find_map(|it| text.strip_prefix(it));
    if let Some(rest) = before {
        return BEHIND.iter().find_map(|it| rest.strip_suffix(it));
    }
    let inner = text.strip_prefix('(')?.strip_suffix(')')?;
    // `(a)(b)` is no pair of parentheses around all of it.
    let mut depth = 0_i32;
    let mut escaped = false;
    for byte in inner.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            return None;
        }
    }
    Some(inner.strip_prefix("?:").unwrap_or(inner))
}

/// The alternatives outside all parentheses.
fn split(text: &str) -> Result<Vec<&str>, String> {
    let (mut depth, mut start, mut escaped) = (0_i32, 0, false);
    let mut parts = Vec::new();
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'(' => depth += 1,
            b')' => depth -= 1,
            b'|' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
        if depth < 0 {
            break;
        }
    }
    if depth != 0 || escaped {
        return Err(format!("`{text}` is no complete expression"));
    }
    parts.push(&text[start..]);
    Ok(parts)
}

/// A text that stands for itself. A dot does, too: who means any character writes `.*` or the like.
fn literal(text: &str) -> Result<String, String> {
    let refused = || {
        format!(
            "`{text}` is a regular expression: only exact tags, hosts and path prefixes are taken"
        )
    };
    let mut literal = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                // `\d` and the like are classes.
                Some(escaped) if !escaped.is_ascii_alphanumeric() => literal.push(escaped),
                _ => return Err(refused()),
            },
            '.' if matches!(characters.peek(), Some('*' | '+' | '?' | '{')) => {
                return Err(refused());
            }
            '*' | '+' | '?' | '[' | ']' | '{' | '}' | '^' | '$' | '(' | ')' | '|' => {
                return Err(refused());
            }
            other => literal.push(other),
        }
    }
    if literal.is_empty() {
        return Err("an empty alternative matches everything: write `.*`".to_owned());
    }
    Ok(literal)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn these(all: &[&str]) -> Result<Tags, String> {
        Ok(Tags::These(all.iter().map(|&tag| tag.to_owned()).collect()))
    }

    #[test]
    #[rustfmt::skip]
    fn lists_of_exact_tags_are_read() {
        let check = |text: &str, all: &[&str]| assert_eq!(tags(text), these(all), "{text}");
        check("((^|,)cat_p_23(,|$))",                       &["cat_p_23"]);
        check("((^|,)cat_p_23(,|$))|((^|,)cat_c_4(,|$))",   &["cat_p_23", "cat_c_4"]);
        check("(^|,)(mytag|othertag)(,|$)",                 &["mytag", "othertag"]);
        check("(^|,)(a\\-b|c\\.d\\|e)(,|$)",                &["a-b", "c.d|e"]);
        check("(^|\\s)node:1(\\s|$)",                       &["node:1"]);
        check("media:3918 media_list",                      &["media:3918", "media_list"]);
        check("media:3918|node_list",                       &["media:3918", "node_list"]);
        check("a,b",                                        &["a", "b"]);
        check("config:system.site",                         &["config:system.site"]);
        check("^a$",                                        &["a"]);
        assert_eq!(tags(".*"), Ok(Tags::All));
        assert_eq!(tags("*"), Ok(Tags::All));
    }

    #[test]
    fn what_is_not_exact_is_refused() {
        for text in [
            "(^|,)cat_p_.*(,|$)",
            "cat_p_[0-9]+",
            "(^|,)(a|b",
            "((^|,)a(,|$))|",
            "(^|,)(a|)(,|$)",
            "a(b|c)",
            "(a)(b)",
            "^a",
            "\\d(x)",
            "",
            " ",
            "((((((((((a))))))))))",
        ] {
            assert!(tags(text).is_err(), "{text}: {:?}", tags(text));
        }
    }

    #[test]
    fn anchored_paths_are_read() {
        let check = |text: &str, expected: Paths| assert_eq!(paths(text), Ok(expected), "{text}");
        let below = |path: &str| Paths::Below(path.to_owned());
        check(".*", Paths::All);
        check("/.*", Paths::All);
        check("^/", Paths::All);
        check("^/blog/.*", below("/blog/"));
        check("^/blog/", below("/blog/"));
        check("^/blog/a.*$", below("/blog/"));
        check("^/blog", Paths::All);
        check("^/a\\.html$", Paths::Exactly("/a.html".to_owned()));
        check("^/a.html$", Paths::Exactly("/a.html".to_owned()));
        for text in ["/articles/.*", ".*css$", "^/(a|b)", "^/a/[0-9]+", "^/a/.+"] {
            assert!(paths(text).is_err(), "{text}");
        }
    }

    #[test]
    fn hosts_are_whole() {
        let some = |all: &[&str]| Ok(Some(all.iter().map(|&host| host.to_owned()).collect()));
        assert_eq!(hosts(".*"), Ok(None));
        assert_eq!(hosts("^(fos.lo|fos2.lo)$"), some(&["fos.lo", "fos2.lo"]));
        assert_eq!(hosts("^www\\.example\\.com$"), some(&["www.example.com"]));
        for text in ["example.com", "^.*\\.example\\.com$", "^www"] {
            assert!(hosts(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-z(|)^$,.*\\\\ ]{0,40}") {
            drop((tags(&text), paths(&text), hosts(&text)));
        }

        /// Whatever tags a client escapes and joins come out again.
        #[test]
        fn escaped_tags_come_out_again(list in prop::collection::vec("[a-z0-9:._-]{1,12}", 1..8)) {
            let quoted = list.iter().map(|tag| tag.replace('.', "\\.").replace('-', "\\-"));
            let text = format!("(^|,)({})(,|$)", quoted.collect::<Vec<_>>().join("|"));
            prop_assert_eq!(tags(&text), Ok(Tags::These(list)));
        }
    }
}
