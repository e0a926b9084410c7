//! `outcome=miss and host=*.shop`: which lines of the log somebody wants to see.
//!
//! ```text
//! any  = all { "or" all }      all = one { "and" one }
//! one  = "not" one | "(" any ")" | field ("=" | "!=" | "<" | "<=" | ">" | ">=") value
//! ```
//!
//! A value is a word or stands in quotes; `*` in it stands for any text. `<` and `>` compare numbers. What a line does not
//! have equals nothing.

use serde_json::Value;

/// The longest filter, in bytes.
const FILTER_MAX: usize = 1024;
/// How deep parentheses and `not` may be nested.
const DEPTH_MAX: usize = 16;

/// The fields that lines have.
const FIELDS: [&str; 41] = [
    "ts",
    "id",
    "node",
    "trace_id",
    "kind",
    "client",
    "site",
    "rule",
    "method",
    "scheme",
    "host",
    "path",
    "protocol",
    "tls",
    "cipher",
    "status",
    "bytes",
    "cached_bytes",
    "outcome",
    "reason",
    "fwd",
    "detail",
    "tier",
    "ttl",
    "age",
    "collapsed",
    "key",
    "coding",
    "slices",
    "content_type",
    "origin",
    "origin_status",
    "origin_requests",
    "origin_bytes",
    "origin_ms",
    "upstream",
    "duration_ms",
    "ttfb_ms",
    "referer",
    "user_agent",
    "sample",
];

/// Which lines are wanted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Filter {
    All,
    Is(&'static str, Compare, String),
    Not(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Compare {
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
}

impl Filter {
    /// Reads a filter; nothing means everything.
    ///
    /// # Errors
    /// A sentence about what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > FILTER_MAX {
            return Err(format!("the filter is longer than {FILTER_MAX} bytes"));
        }
        let tokens = tokens(text)?;
        if tokens.is_empty() {
            return Ok(Self::All);
        }
        let mut parser = Parser { tokens, at: 0 };
        let filter = parser.any(0)?;
        match parser.next() {
            None => Ok(filter),
            Some(token) => Err(format!("{:?} is not expected there", token.text())),
        }
    }

    /// Whether a line is wanted.
    pub(super) fn wants(&self, line: &Value) -> bool {
        match self {
            Self::All => true,
            Self::Not(inner) => !inner.wants(line),
            Self::And(one, other) => one.wants(line) && other.wants(line),
            Self::Or(one, other) => one.wants(line) || other.wants(line),
            Self::Is(field, compare, value) => compare.holds(&line[*field], value),
        }
    }
}

impl Compare {
    fn holds(self, found: &Value, wanted: &str) -> bool {
        match self {
            Self::Equal => equal(found, wanted),
            Self::Unequal => !equal(found, wanted),
            Self::Less | Self::AtMost | Self::More | Self::AtLeast => {
                let Some((found, wanted)) = found.as_f64().zip(wanted.parse::<f64>().ok()) else {
                    return false;
                };
                match self {
                    Self::Less => found < wanted,
                    Self::AtMost => found <= wanted,
                    Self::More => found > wanted,
                    _ => found >= wanted,
                }
            }
        }
    }
}

fn equal(found: &Value, wanted: &str) -> bool {
    match found {
        Value::Null => false,
        Value::String(text) => matches(wanted.as_bytes(), text.as_bytes()),
        other => matches(wanted.as_bytes(), other.to_string().as_bytes()),
    }
}

/// Whether `text` is what `pattern` says, where `*` stands for anything. In time bounded by their product.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    // Where the last `*` is, and how much of the text it stands for.
    let mut star: Option<(usize, usize)> = None;
    while read < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(byte) if *byte == text[read] => {
                at += 1;
                read += 1;
            }
            _ => match &mut star {
                Some((place, taken)) => {
                    *taken += 1;
                    (at, read) = (*place + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Token {
    Word(String),
    Quoted(String),
    Compare(Compare),
    Open,
    Close,
}

impl Token {
    fn text(&self) -> &str {
        match self {
            Self::Word(text) | Self::Quoted(text) => text,
            Self::Compare(_) => "a comparison",
            Self::Open => "(",
            Self::Close => ")",
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    const SIGNS: [(&str, Token); 8] = [
        ("!=", Token::Compare(Compare::Unequal)),
        ("<=", Token::Compare(Compare::AtMost)),
        (">=", Token::Compare(Compare::AtLeast)),
        ("=", Token::Compare(Compare::Equal)),
        ("<", Token::Compare(Compare::Less)),
        (">", Token::Compare(Compare::More)),
        ("(", Token::Open),
        (")", Token::Close),
    ];
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if let Some((sign, token)) = SIGNS.iter().find(|(sign, _)| rest.starts_with(sign)) {
            tokens.push(token.clone());
            rest = &rest[sign.len()..];
        } else if let Some(quoted) = rest.strip_prefix('"') {
            let (value, behind) = quoted
                .split_once('"')
                .ok_or_else(|| "a quote is not closed".to_owned())?;
            tokens.push(Token::Quoted(value.to_owned()));
            rest = behind;
        } else {
            let end = |it: char| it.is_whitespace() || "=!<>()\"".contains(it);
            let end = rest.find(end).unwrap_or(rest.len());
            if end == 0 {
                return Err(format!("{rest:?} cannot be read"));
            }
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        }
        rest = rest.trim_start();
    }
    Ok(tokens)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    /// Goes over a word, if it is there.
    fn skip(&mut self, word: &str) -> bool {
        let is_next = matches!(self.tokens.get(self.at), Some(Token::Word(it)) if it == word);
        self.at += usize::from(is_next);
        is_next
    }

    fn any(&mut self, depth: usize) -> Result<Filter, String> {
        let mut filter = self.all(depth)?;
        while self.skip("or") {
            filter = Filter::Or(Box::new(filter), Box::new(self.all(depth)?));
        }
        Ok(filter)
    }

    fn all(&mut self, depth: usize) -> Result<Filter, String> {
        let mut filter = self.one(depth)?;
        while self.skip("and") {
            filter = Filter::And(Box::new(filter), Box::new(self.one(depth)?));
        }
        Ok(filter)
    }

    fn one(&mut self, depth: usize) -> Result<Filter, String> {
        if depth > DEPTH_MAX {
            return Err("the filter is nested too deeply".to_owned());
        }
        if self.skip("not") {
            return Ok(Filter::Not(Box::new(self.one(depth + 1)?)));
        }
        match self.next() {
            Some(Token::Open) => {
                let inner = self.any(depth + 1)?;
                match self.next() {
                    Some(Token::Close) => Ok(inner),
                    _ => Err("a parenthesis is not closed".to_owned()),
                }
            }
            Some(Token::Word(name)) => self.comparison(&name),
            Some(token) => Err(format!(
                "a field is expected in place of {:?}",
                token.text()
            )),
            None => Err("a field is expected at the end".to_owned()),
        }
    }

    fn comparison(&mut self, name: &str) -> Result<Filter, String> {
        let field = FIELDS.iter().find(|field| **field == name);
        let field = field.ok_or_else(|| {
            format!(
                "there is no field {name:?}; there are {}",
                FIELDS.join(", ")
            )
        })?;
        let Some(Token::Compare(compare)) = self.next() else {
            return Err(format!("{name} is to be followed by =, !=, <, <=, > or >="));
        };
        match self.next() {
            Some(Token::Word(value) | Token::Quoted(value)) => {
                let compares = matches!(compare, Compare::Equal | Compare::Unequal);
                if !compares && value.parse::<f64>().is_err() {
                    return Err(format!("{name} can be compared with numbers only"));
                }
                Ok(Filter::Is(field, compare, value))
            }
            _ => Err(format!("{name} is to be compared with a value")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(filter: &str, expected: bool) {
        let line = serde_json::json!({
            "outcome": "miss", "reason": "set-cookie", "host": "a.b.shop", "status": 200,
            "duration_ms": 12.5, "collapsed": true, "path": "/x y",
        });
        let filter = Filter::parse(filter).unwrap();
        assert_eq!(filter.wants(&line), expected, "{filter:?}");
    }

    #[test]
    #[rustfmt::skip]
    fn lines_are_chosen() {
        check("",                                          true);
        check("outcome=miss and host=*.shop",              true);
        check("outcome = hit or host=*.shop",              true);
        check("outcome=hit and host=*.shop",               false);
        check("outcome=hit or outcome=miss and status=404", false);
        check("(outcome=hit or outcome=miss) and status=200", true);
        check("not outcome=hit",                           true);
        check("not (outcome=miss)",                        false);
        check("status>=200 and status<300",                true);
        check("duration_ms>12.5",                          false);
        check("path=\"/x y\"",                             true);
        check("path=/*",                                   true);
        check("collapsed=true",                            true);
        check("referer=*",                                 false);
        check("referer!=x",                                true);
        check("host>5",                                    false);
    }

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*b*c", "a--b--b-c", true),
            ("a*b*c", "a--b--b-", false),
            ("*.shop", "shop", false),
            ("**", "x", true),
            ("", "x", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                expected,
                "{pattern} {text}"
            );
        }
        let (pattern, text) = ("*a".repeat(300), "a".repeat(5_000) + "b");
        assert!(!matches(pattern.as_bytes(), text.as_bytes()));
    }

    #[test]
    fn what_cannot_be_read_is_one_sentence() {
        for (filter, says) in [
            ("outcom=miss", "there is no field \"outcom\""),
            ("outcome", "is to be followed by"),
            ("outcome=", "is to be compared with a value"),
            ("outcome=a b=c", "is not expected there"),
            ("(outcome=a", "a parenthesis is not closed"),
            ("path=\"a", "a quote is not closed"),
            ("status<many", "numbers only"),
            ("and", "there is no field"),
            ("=", "a field is expected"),
            ("outcome=a and", "a field is expected at the end"),
        ] {
            let error = Filter::parse(filter).unwrap_err();
            assert!(error.contains(says), "{filter}: {error}");
        }
        assert!(Filter::parse(&"(".repeat(100)).is_err());
        assert!(Filter::parse(&"not ".repeat(200)).is_err());
        assert!(Filter::parse(&"x".repeat(FILTER_MAX + 1)).is_err());
    }
}
