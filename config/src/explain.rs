//! What of a request reaches the origin although it is not in the cache key, and why that is safe or not.

use std::fmt::{self, Write as _};

use crate::model::{
    AcceptEncoding, AcceptLanguage, Caching, Config, Forwarded, ForwardedAs, Key, Match, Query,
    QueryOrder, Rule, Site, UnkeyedQuery, UseCache, UserAgent,
};

/// Explains the cache keys of all sites, and of the rules that change them.
pub fn explain_key(config: &Config) -> String {
    let sites = config.sites.iter().map(explain_site);
    sites.collect::<Vec<_>>().join("\n")
}

fn explain_site(site: &Site) -> String {
    let mut text = format!(
        "site {}: GET and HEAD share a response, QUERY has its content in the key\n",
        site.name
    );
    push(&mut text, &Explained::new(site, &site.caching));
    for (number, rule) in site.rules.iter().enumerate() {
        let title = format!("\n  rule {}, for {}\n", number + 1, scope(&rule.matches));
        match deviation(site, rule) {
            Deviation::None => {}
            Deviation::PassesBy => {
                text.push_str(&title);
                text.push_str(
                    "    passes the cache by: the origin sees everything, and nothing is stored\n",
                );
            }
            Deviation::Otherwise(caching) => {
                text.push_str(&title);
                push(&mut text, &Explained::new(site, &caching));
            }
        }
    }
    text
}

/// What a rule changes about the key.
enum Deviation {
    None,
    PassesBy,
    Otherwise(Box<Caching>),
}

fn deviation(site: &Site, rule: &Rule) -> Deviation {
    let overrides = &rule.overrides;
    if overrides.cache == Some(UseCache::Never) {
        return Deviation::PassesBy;
    }
    if overrides.key.is_none() && overrides.vary.is_none() {
        return Deviation::None;
    }
    let base = &site.caching;
    Deviation::Otherwise(Box::new(Caching {
        key: overrides.key.clone().unwrap_or_else(|| base.key.clone()),
        vary: overrides.vary.clone().unwrap_or_else(|| base.vary.clone()),
        ..base.clone()
    }))
}

fn scope(matches: &Match) -> String {
    let mut parts: Vec<String> = matches
        .path
        .iter()
        .map(|path| path.as_str().to_owned())
        .collect();
    if let Some(header) = &matches.header {
        parts.push(format!("{}: {}", header.name, header.value.as_str()));
    }
    let methods = matches.methods.iter();
    parts.extend(methods.map(|method| format!("{method:?}").to_ascii_uppercase()));
    parts.extend(matches.status.iter().map(ToString::to_string));
    parts.join(", ")
}

/// How far an input that is not in the key can be trusted with what everybody is answered.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// It cannot change what is stored for others.
    Safe,
    /// It can, unless the responses that it changes say so.
    Vary,
    /// It can.
    Unsafe,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Safe => "safe",
            Self::Vary => "vary",
            Self::Unsafe => "UNSAFE",
        })
    }
}

/// Something of a request that reaches the origin.
struct Input {
    verdict: Verdict,
    what: String,
    why: &'static str,
}

/// The explanation of one key.
struct Explained {
    key: String,
    inputs: Vec<Input>,
    withheld: Vec<String>,
}

impl Explained {
    fn new(site: &Site, caching: &Caching) -> Self {
        let mut explained = Self {
            key: key(&caching.key),
            inputs: Vec::new(),
            withheld: Vec::new(),
        };
        explained.query(&caching.key);
        explained.cookies(caching);
        explained.unkeyed(site, &caching.key);
        explained.forwarded(site);
        explained.ignored(caching);
        explained.negotiation(caching);
        explained.rest();
        explained
    }

    fn input(&mut self, verdict: Verdict, what: impl Into<String>, why: &'static str) {
        let what = what.into();
        self.inputs.push(Input { verdict, what, why });
    }

    fn query(&mut self, key: &Key) {
        let what = match &key.query {
            Query::All => return,
            Query::Ignore => "the query".to_owned(),
            Query::Only(names) => format!("parameters other than {}", names.join(", ")),
            Query::Except(names) => format!("parameters {}", names.join(", ")),
        };
        match key.unkeyed_query {
            UnkeyedQuery::Drop => self.withheld.push(what),
            UnkeyedQuery::Pass => self.input(
                Verdict::Unsafe,
                what,
                "the origin must not build from it what it lets caches share; see unkeyed_query",
            ),
        }
    }

    fn cookies(&mut self, caching: &Caching) {
        if caching.vary.ignore.iter().any(|name| name == "cookie") {
            return;
        }
        let safe =
            "safe if responses that depend on it say `Vary: Cookie`, `private` or `no-store`";
        match &caching.vary.cookies {
            None => {
                let why = "safe if responses that depend on it say `Vary: Cookie`, `private` or `no-store`; \
                           see vary.cookies";
                self.input(Verdict::Vary, "Cookie", why);
            }
            Some(names) => {
                let unkeyed = names
                    .iter()
                    .filter(|name| !caching.key.cookies.contains(name));
                for name in unkeyed {
                    self.input(Verdict::Vary, format!("cookie {name}"), safe);
                }
                self.withheld.push("other cookies".to_owned());
            }
        }
    }

    fn unkeyed(&mut self, site: &Site, key: &Key) {
        let passed = site.pass_unkeyed.iter();
        for name in passed.filter(|name| !key.headers.contains(name)) {
            let why = "the client chooses it, and many applications build links from it; add it to key.headers";
            self.input(Verdict::Unsafe, name, why);
        }
        let others = "X-Forwarded-Host, X-HTTP-Method-Override and others of the kind, unless pass_unkeyed or the key has them";
        self.withheld.push(others.to_owned());
    }

    fn forwarded(&mut self, site: &Site) {
        let fields: &[_] = match site.forwarded_as {
            ForwardedAs::XForwarded => &["X-Forwarded-For"],
            ForwardedAs::Forwarded => &["Forwarded"],
            ForwardedAs::Both => &["X-Forwarded-For", "Forwarded"],
        };
        let why = match site.forwarded {
            Forwarded::Off => {
                self.withheld.extend(fields.iter().map(ToString::to_string));
                return;
            }
            Forwarded::Set => "the client's address; responses that `Vary` on it are not stored",
            Forwarded::Append => {
                "the client's address, and those of trusted proxies; responses that `Vary` on it are not stored"
            }
        };
        for name in fields {
            self.input(Verdict::Vary, *name, why);
        }
        if site.forwarded_as != ForwardedAs::Forwarded {
            let scheme = "the scheme, which is in the key";
            self.input(Verdict::Safe, "X-Forwarded-Proto", scheme);
        }
    }

    fn ignored(&mut self, caching: &Caching) {
        let ignored = caching.vary.ignore.iter();
        for name in ignored.filter(|name| !caching.key.headers.contains(name)) {
            let why =
                "vary.ignore: who is first decides what all are answered, whatever `Vary` says";
            self.input(Verdict::Unsafe, name, why);
        }
    }

    fn negotiation(&mut self, caching: &Caching) {
        let vary = &caching.vary;
        let mut input = |name: &str, why| {
            let lower = name.to_ascii_lowercase();
            if !vary.ignore.contains(&lower) && !caching.key.headers.contains(&lower) {
                self.input(Verdict::Vary, name, why);
            }
        };
        input(
            "Accept-Encoding",
            match vary.accept_encoding {
                AcceptEncoding::Normalise => {
                    "where `Vary` names it, by the set of its codings; it makes no variants of what the node converts"
                }
                AcceptEncoding::Exact => {
                    "where `Vary` names it, as sent: every spelling is a variant"
                }
            },
        );
        input(
            "Accept-Language",
            match vary.accept_language {
                AcceptLanguage::Normalise => "where `Vary` names it, by its languages and weights",
                AcceptLanguage::Exact => {
                    "where `Vary` names it, as sent: every spelling is a variant"
                }
                AcceptLanguage::Preferred => {
                    "where `Vary` names it; a response in the language wanted most will do"
                }
                AcceptLanguage::Among(_) => {
                    "as the best of the languages given, which is what the origin sees"
                }
            },
        );
        input(
            "User-Agent",
            match vary.user_agent {
                UserAgent::Exact => {
                    "where `Vary` names it, as sent: every browser is a variant; see vary.user_agent"
                }
                UserAgent::Classes(_) => {
                    "where `Vary` names it or X-Device-Class, by the class; the origin must not look closer"
                }
            },
        );
    }

    fn rest(&mut self) {
        let authorization =
            "answers to it are stored only if they say that they may be shared (RFC 9111 §3.5)";
        self.input(Verdict::Safe, "Authorization", authorization);
        let others = "where `Vary` names it, as sent; the log tells once of each such field";
        self.input(Verdict::Vary, "every other field", others);
        let own = [
            "what `Connection` nominates",
            "conditions and ranges, which the node answers itself",
            "content of GET, which passes the cache by",
        ];
        self.withheld.extend(own.map(str::to_owned));
    }
}

fn key(key: &Key) -> String {
    let mut parts = vec!["site, scheme, host, port, path".to_owned()];
    parts.push(match &key.query {
        Query::All => "query".to_owned(),
        Query::Ignore => "no query".to_owned(),
        Query::Only(names) => format!("parameters {}", names.join(", ")),
        Query::Except(names) => format!("query without {}", names.join(", ")),
    });
    if key.query_order == QueryOrder::Sorted {
        parts.push("in any order".to_owned());
    }
    parts.extend(key.headers.iter().cloned());
    parts.extend(key.cookies.iter().map(|name| format!("cookie {name}")));
    parts.join(", ")
}

fn push(text: &mut String, explained: &Explained) {
    let Explained {
        key,
        inputs,
        withheld,
    } = explained;
    let mut lines =
        format!("    in the key: {key}\n    reaches the origin, and is not in the key:\n");
    for Input { verdict, what, why } in inputs {
        let line = format_args!("      {verdict:<6}  {what:<18}  {why}\n");
        lines.write_fmt(line).expect("strings grow");
    }
    lines.push_str("    does not reach the origin:\n");
    for what in withheld {
        lines.push_str(&format!("      {what}\n"));
    }
    text.push_str(&lines);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(site: &str) -> String {
        let text = format!("[[site]]\nname = \"s\"\norigins = [\"http://a.example\"]\n{site}");
        explain_key(&crate::parse("larder.toml", &text).unwrap())
    }

    /// The inputs with this verdict in the first block.
    #[track_caller]
    fn check(site: &str, verdict: &str, expected: &[&str]) {
        let text = explained(site);
        let first = text.split("rule 1").next().unwrap_or_default();
        let lines = first
            .lines()
            .filter_map(|line| line.trim().strip_prefix(verdict));
        let whats: Vec<_> = lines
            .filter_map(|line| line.trim_start().split("  ").next())
            .collect();
        assert_eq!(whats, expected, "{text}");
    }

    #[test]
    #[rustfmt::skip]
    fn every_unkeyed_input_has_its_verdict() {
        let usual = ["Cookie", "X-Forwarded-For", "Accept-Encoding", "Accept-Language", "User-Agent", "every other field"];
        check("",                                            "vary",   &usual);
        check("",                                            "safe",   &["X-Forwarded-Proto", "Authorization"]);
        check("",                                            "UNSAFE", &[]);
        check("pass_unkeyed = [\"X-Forwarded-Host\"]",       "UNSAFE", &["x-forwarded-host"]);
        check("pass_unkeyed = [\"X-Forwarded-Host\"]\nkey = { headers = [\"X-Forwarded-Host\"] }", "UNSAFE", &[]);
        check("forwarded = \"append\"",                      "vary",   &usual);
        check("forwarded = \"off\"",                         "safe",   &["Authorization"]);
        check("forwarded_as = \"forwarded\"",                "vary",   &["Cookie", "Forwarded", "Accept-Encoding", "Accept-Language", "User-Agent", "every other field"]);
        check("vary = { ignore = [\"User-Agent\", \"Cookie\"] }", "UNSAFE", &["user-agent", "cookie"]);
        check("vary = { ignore = [\"User-Agent\", \"Cookie\"] }", "vary", &["X-Forwarded-For", "Accept-Encoding", "Accept-Language", "every other field"]);
        check("key = { query = \"ignore\" }",                "UNSAFE", &[]);
        check("key = { query = \"ignore\", unkeyed_query = \"pass\" }", "UNSAFE", &["the query"]);
        check("key = { query = { except = [\"utm_*\", \"x\"] }, unkeyed_query = \"pass\" }", "UNSAFE", &["parameters utm_*, x"]);
        check("vary = { cookies = [\"a\", \"b\"] }\nkey = { cookies = [\"b\"] }", "vary",
              &["cookie a", "X-Forwarded-For", "Accept-Encoding", "Accept-Language", "User-Agent", "every other field"]);
    }

    #[test]
    fn a_rule_is_explained_where_it_changes_the_key() {
        let text = explained(
            "[[site.rule]]\nmatch = { path = \"/a/*\" }\nkey = { query = \"ignore\" }\n\
             [[site.rule]]\nmatch = { path = \"/b\" }\nttl = \"1m\"\n\
             [[site.rule]]\nmatch = { header = { name = \"Cookie\", value = \"*s=*\" } }\ncache = false\n",
        );
        assert!(
            text.contains(
                "rule 1, for /a/*\n    in the key: site, scheme, host, port, path, no query\n"
            ),
            "{text}"
        );
        assert!(!text.contains("rule 2"), "{text}");
        assert!(
            text.contains("rule 3, for cookie: *s=*\n    passes the cache by"),
            "{text}"
        );
    }
}
