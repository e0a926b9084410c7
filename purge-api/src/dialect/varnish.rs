//! What plug-ins send to Varnish: `PURGE`, `PURGEKEYS` and `BAN`, with the fields that became customary.

use http::Method;

use super::pattern::{self, Paths, Tags};
use super::{Dialect, Meant, Words};
use crate::order::{Mode, Scope};

const MAGENTO: &str = "x-magento-tags-pattern";
/// Fields with the tags of a `PURGE` or `PURGEKEYS`, and what they mean.
const XKEY: [(&str, Mode); 3] = [
    ("xkey", Mode::Hard),
    ("xkey-purge", Mode::Hard),
    ("xkey-softpurge", Mode::Soft),
];
/// Fields with the tags of a `BAN`.
const BAN_TAGS: [&str; 6] = [
    "x-cache-tags",
    "cache-tags",
    "purge-cache-tags",
    "x-drupal-cache-tags",
    "cache-tag",
    "surrogate-key",
];
/// The field of a `PURGE` of the plug-in for `WordPress` that says how its path is meant.
const PURGE_METHOD: &str = "x-purge-method";
const SOFT: &str = "fastly-soft-purge";

/// Whether a client's request with this method is a purge in one of the dialects.
#[must_use]
pub fn may_purge(method: &Method) -> bool {
    matches!(method.as_str(), "PURGE" | "PURGEKEYS" | "BAN")
}

/// Which dialect a request with one of these methods is in, and what it says there.
pub(crate) fn varnish(words: &Words<'_>) -> (Dialect, Result<Meant, String>) {
    match words.method.as_str() {
        "BAN" => (Dialect::Ban, ban(words)),
        _ if words.headers.contains_key(MAGENTO) => (Dialect::Magento, magento(words)),
        "PURGEKEYS" => (Dialect::Xkey, xkey(words)),
        _ if XKEY
            .iter()
            .any(|(name, _)| words.headers.contains_key(*name)) =>
        {
            (Dialect::Xkey, xkey(words))
        }
        _ if words.headers.contains_key("fastly-key") => (Dialect::Fastly, purge(words)),
        _ => (Dialect::Purge, purge(words)),
    }
}

/// `PURGE /path`, and `X-Purge-Method: regex`.
fn purge(words: &Words<'_>) -> Result<Meant, String> {
    let mut mode = Mode::Hard;
    if words.headers.contains_key(SOFT) {
        mode = Mode::Soft;
    }
    let scope = match words.field(PURGE_METHOD).unwrap_or("default") {
        "default" | "exact" | "" => url(words, words.target),
        "soft" => {
            mode = Mode::Soft;
            url(words, words.target)
        }
        "regex" => below(
            words,
            words.host,
            pattern::paths(&format!("^{}", words.target))?,
        ),
        other => return Err(format!("X-Purge-Method `{other}` is not known")),
    };
    Ok(Meant {
        scopes: vec![scope],
        mode,
    })
}

fn url(words: &Words<'_>, target: &str) -> Scope {
    Scope::Url(words.url(words.host, target))
}

fn below(words: &Words<'_>, host: &str, paths: Paths) -> Scope {
    match paths {
        Paths::All => Scope::Host(host.to_owned()),
        Paths::Exactly(path) => Scope::Url(words.url(host, &path)),
        Paths::Below(folder) => Scope::Prefix(words.url(host, &folder)),
    }
}

fn magento(words: &Words<'_>) -> Result<Meant, String> {
    let pattern = words.field(MAGENTO).ok_or("the pattern is not text")?;
    Ok(Meant::hard(tagged(words, pattern::tags(pattern)?)))
}

fn tagged(words: &Words<'_>, tags: Tags) -> Vec<Scope> {
    match tags {
        Tags::All => vec![words.everything()],
        Tags::These(tags) => tags.into_iter().map(|tag| words.tag(tag)).collect(),
    }
}

fn xkey(words: &Words<'_>) -> Result<Meant, String> {
    let mut mode = Mode::Soft;
    let mut scopes = Vec::new();
    for (name, meant) in XKEY {
        for tag in words.list(name).unwrap_or_default().split_whitespace() {
            scopes.push(words.tag(tag));
            if meant == Mode::Hard {
                // Of both at once, the stricter one.
                mode = Mode::Hard;
            }
        }
    }
    if scopes.is_empty() {
        return Err("name tags in xkey-purge or xkey-softpurge".to_owned());
    }
    Ok(Meant { scopes, mode })
}

/// `BAN` by tags, or by host and path. What it asks for in several fields at once is purged at least.
fn ban(words: &Words<'_>) -> Result<Meant, String> {
    if let Some(kind) = words.field("x-content-type")
        && kind != ".*"
    {
        return Err(format!(
            "`{kind}`: nothing can be purged by its content type; use tags"
        ));
    }
    if let Some(text) = BAN_TAGS.iter().find_map(|name| words.list(name)) {
        return Ok(Meant::hard(tagged(words, pattern::tags(&text)?)));
    }
    let (host, path) = (words.field("x-host"), words.field("x-url"));
    if host.is_none() && path.is_none() {
        return Err("name what to ban in X-Cache-Tags, X-Url or X-Host".to_owned());
    }
    let paths = pattern::paths(path.unwrap_or(".*"))?;
    let scopes = match pattern::hosts(host.unwrap_or(".*"))? {
        None if paths == Paths::All => vec![words.everything()],
        None => vec![below(words, words.host, paths)],
        Some(hosts) => {
            let hosts = hosts.iter();
            let one = |host: &String| below(words, host, paths.clone());
            hosts.map(one).collect()
        }
    };
    Ok(Meant::hard(scopes))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    const HOST: &str = "www.example.com";

    fn say(
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
    ) -> (Dialect, Result<Meant, String>) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::try_from(*name).unwrap();
            headers.append(name, HeaderValue::try_from(*value).unwrap());
        }
        varnish(&Words {
            method: &Method::from_bytes(method.as_bytes()).unwrap(),
            host: HOST,
            target,
            headers: &headers,
            site: Some("shop"),
        })
    }

    fn tag(tag: &str) -> Scope {
        Scope::Tag {
            site: Some("shop".to_owned()),
            tag: tag.to_owned(),
        }
    }

    fn at(target: &str) -> String {
        format!("http://{HOST}{target}")
    }

    #[track_caller]
    fn means(
        (method, target): (&str, &str),
        fields: &[(&str, &str)],
        dialect: Dialect,
        (mode, scopes): (Mode, Vec<Scope>),
    ) {
        let said = say(method, target, fields);
        assert_eq!(said, (dialect, Ok(Meant { scopes, mode })));
    }

    #[test]
    fn purge_names_a_url_as_wordpress_and_others_send_it() {
        let method = |method| [("X-Purge-Method", method)];
        let hard = |scope| (Mode::Hard, vec![scope]);
        let url = Scope::Url(at("/a?b=c"));
        let purge = Dialect::Purge;
        means(("PURGE", "/a?b=c"), &[], purge, hard(url.clone()));
        means(
            ("PURGE", "/a?b=c"),
            &method("default"),
            purge,
            hard(url.clone()),
        );
        means(
            ("PURGE", "/a?b=c"),
            &method("exact"),
            purge,
            hard(url.clone()),
        );
        let soft = (Mode::Soft, vec![url]);
        means(("PURGE", "/a?b=c"), &method("soft"), purge, soft.clone());
        let fastly = [("Fastly-Soft-Purge", "1"), ("Fastly-Key", "secret")];
        means(("PURGE", "/a?b=c"), &fastly, Dialect::Fastly, soft);
        let all = hard(Scope::Host(HOST.to_owned()));
        means(("PURGE", "/.*"), &method("regex"), purge, all);
        let below = hard(Scope::Prefix(at("/blog/")));
        means(("PURGE", "/blog/.*"), &method("regex"), purge, below);
        assert!(say("PURGE", "/a(b|c)", &method("regex")).1.is_err());
        assert!(say("PURGE", "/a", &method("other")).1.is_err());
    }

    #[test]
    fn tags_are_purged_as_xkey_clients_send_them() {
        let tags = || vec![tag("a"), tag("b")];
        let check = |method: &str, field: &str, mode| {
            let fields = [(field, "a b")];
            means((method, "/"), &fields, Dialect::Xkey, (mode, tags()));
        };
        check("PURGEKEYS", "xkey-softpurge", Mode::Soft);
        check("PURGEKEYS", "xkey-purge", Mode::Hard);
        check("PURGE", "xkey", Mode::Hard);
        check("PURGE", "xkey-softpurge", Mode::Soft);
        let both = [("xkey-softpurge", "b"), ("xkey-purge", "a")];
        let hard = (Mode::Hard, tags());
        means(("PURGEKEYS", "/"), &both, Dialect::Xkey, hard);
        assert!(say("PURGEKEYS", "/", &[]).1.is_err());
        assert!(say("PURGE", "/", &[("xkey", " ")]).1.is_err());
    }

    #[test]
    fn magento_purges_patterns_of_exact_tags() {
        let check = |pattern: &str, scopes: Vec<Scope>| {
            let fields = [("X-Magento-Tags-Pattern", pattern)];
            let expected = (Mode::Hard, scopes);
            means(("PURGE", "/"), &fields, Dialect::Magento, expected);
        };
        check(
            "((^|,)cat_p_23(,|$))|((^|,)cat_c_4(,|$))",
            vec![tag("cat_p_23"), tag("cat_c_4")],
        );
        check(".*", vec![Scope::Site("shop".to_owned())]);
        let half = [("X-Magento-Tags-Pattern", "((^|,)cat_p_23(,")];
        assert!(say("PURGE", "/", &half).1.is_err());
    }

    #[test]
    fn bans_are_read_where_they_are_exact() {
        let any = [("X-Host", ".*"), ("X-Url", ".*"), ("X-Content-Type", ".*")];
        let check = |changed: &[(&str, &str)], scopes: Vec<Scope>| {
            let fields: Vec<_> = any
                .iter()
                .copied()
                .filter(|(name, _)| changed.iter().all(|(other, _)| other != name))
                .chain(changed.iter().copied())
                .collect();
            let expected = (Mode::Hard, scopes);
            means(("BAN", "/"), &fields, Dialect::Ban, expected);
        };
        let tags = [("X-Cache-Tags", "(^|,)(mytag|othertag)(,|$)")];
        check(&tags, vec![tag("mytag"), tag("othertag")]);
        check(
            &[("Cache-Tags", "node:1 node_list")],
            vec![tag("node:1"), tag("node_list")],
        );
        check(&[], vec![Scope::Site("shop".to_owned())]);
        check(
            &[("X-Url", "^/articles/.*")],
            vec![Scope::Prefix(at("/articles/"))],
        );
        let host = |host: &str, path: &str| Scope::Prefix(format!("http://{host}{path}"));
        check(
            &[("X-Url", "^/a/"), ("X-Host", "^(fos.lo|fos2.lo)$")],
            vec![host("fos.lo", "/a/"), host("fos2.lo", "/a/")],
        );
        check(
            &[("X-Host", "^fos\\.lo$")],
            vec![Scope::Host("fos.lo".to_owned())],
        );
        for refused in [
            ("X-Url", "/articles/.*"),
            ("X-Content-Type", "image/png"),
            ("X-Host", "fos.lo"),
            ("X-Cache-Tags", "(^|,)tag.*(,|$)"),
        ] {
            assert!(say("BAN", "/", &[refused]).1.is_err(), "{refused:?}");
        }
        assert!(say("BAN", "/", &[]).1.is_err());
    }
}
