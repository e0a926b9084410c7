//! Souin's API.

use serde::Deserialize;

use super::{Meant, Words};
use crate::order::{Mode, Scope, object};
use crate::problem::Problem;

const ROOT: &str = "/souin-api/souin";

/// What was asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Said {
    /// To purge.
    Purge(Meant),
    /// To tidy up what this cache has none of.
    Nothing,
}

#[derive(Deserialize)]
struct Invalidation {
    #[serde(rename = "type")]
    kind: Kind,
    #[serde(default)]
    selectors: Vec<String>,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    purge: bool,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Uri,
    UriPrefix,
    Origin,
    Group,
}

/// Reads a request; none where it is none of this API.
pub(crate) fn souin(words: &Words<'_>, body: &[u8]) -> Option<Result<Said, Problem>> {
    let rest = words.target.strip_prefix(ROOT)?;
    if !rest.is_empty() && !rest.starts_with('/') {
        return None;
    }
    let rest = rest.trim_start_matches('/');
    Some(match (words.method.as_str(), rest) {
        ("PURGE", "") => tags(words),
        ("PURGE", "flush") => Ok(Said::Purge(Meant::hard(vec![Scope::All]))),
        ("PURGE", "mapping") => Ok(Said::Nothing),
        ("PURGE", key) => one(key),
        ("POST", "") => posted(body),
        _ => Err(Problem::Method),
    })
}

/// The tags in `Surrogate-Key`, with commas between them.
fn tags(words: &Words<'_>) -> Result<Said, Problem> {
    let values = words.headers.get_all("surrogate-key").iter();
    let values = values.filter_map(|value| value.to_str().ok());
    let tags = values.flat_map(|value| value.split(','));
    let tags = tags.map(str::trim).filter(|tag| !tag.is_empty());
    let scopes: Vec<Scope> = tags.map(|tag| words.tag(tag)).collect();
    if scopes.is_empty() {
        return Err(Problem::Invalid("name tags in Surrogate-Key".to_owned()));
    }
    Ok(Said::Purge(Meant::hard(scopes)))
}

/// A key as Souin writes it, `GET-http-www.example.com-/path`, with all variants of that URL.
fn one(key: &str) -> Result<Said, Problem> {
    let url = || {
        let (_method, rest) = key.split_once('-')?;
        let (scheme, rest) = rest.split_once('-')?;
        let (host, path) = rest.split_once("-/")?;
        let http = scheme == "http" || scheme == "https";
        http.then(|| format!("{scheme}://{host}/{path}"))
    };
    let url = url().ok_or_else(|| {
        let why = format!("`{key}` is no key like GET-http-www.example.com-/path");
        Problem::Invalid(why)
    })?;
    Ok(Said::Purge(Meant::hard(vec![Scope::Url(url)])))
}

fn posted(body: &[u8]) -> Result<Said, Problem> {
    let body: Invalidation = object(body)?;
    let url = |selector: &String| {
        if selector.contains("://") {
            selector.clone()
        } else {
            format!("http://{}", selector.trim_start_matches('/'))
        }
    };
    let selectors = body.selectors.iter();
    let scopes: Vec<Scope> = match body.kind {
        Kind::Group => {
            let groups = body.groups.into_iter();
            groups.map(|tag| Scope::Tag { site: None, tag }).collect()
        }
        Kind::Uri => selectors.map(url).map(Scope::Url).collect(),
        Kind::UriPrefix => selectors.map(url).map(Scope::Prefix).collect(),
        Kind::Origin => {
            let host = |selector: &String| {
                let (_, host) = selector.split_once("://").unwrap_or(("", selector));
                Scope::Host(host.trim_end_matches('/').to_owned())
            };
            selectors.map(host).collect()
        }
    };
    let mode = if body.purge { Mode::Hard } else { Mode::Soft };
    Ok(Said::Purge(Meant { scopes, mode }))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Method};

    use super::*;

    fn ask(method: &str, target: &str, keys: &str, body: &str) -> Option<Result<Said, Problem>> {
        let mut headers = HeaderMap::new();
        headers.insert("surrogate-key", HeaderValue::from_str(keys).unwrap());
        let words = Words {
            method: &Method::from_bytes(method.as_bytes()).unwrap(),
            host: "caddy",
            target,
            headers: &headers,
            site: None,
        };
        souin(&words, body.as_bytes())
    }

    fn meant(said: Option<Result<Said, Problem>>) -> Meant {
        match said {
            Some(Ok(Said::Purge(meant))) => meant,
            other => panic!("{other:?}"),
        }
    }

    fn tag(tag: &str) -> Scope {
        Scope::Tag {
            site: None,
            tag: tag.to_owned(),
        }
    }

    #[test]
    fn purges_are_read_as_api_platform_sends_them() {
        let tags = ask("PURGE", "/souin-api/souin", "/books/1, /books", "");
        let hard = Meant::hard(vec![tag("/books/1"), tag("/books")]);
        assert_eq!(meant(tags), hard);
        let flush = ask("PURGE", "/souin-api/souin/flush", "", "");
        assert_eq!(meant(flush), Meant::hard(vec![Scope::All]));
        let mapping = ask("PURGE", "/souin-api/souin/mapping", "", "");
        assert_eq!(mapping, Some(Ok(Said::Nothing)));
        let key = ask("PURGE", "/souin-api/souin/GET-http-e.com-/a/b?c", "", "");
        let url = Scope::Url("http://e.com/a/b?c".to_owned());
        assert_eq!(meant(key), Meant::hard(vec![url]));
    }

    #[test]
    fn invalidations_are_read() {
        let post = |body| meant(ask("POST", "/souin-api/souin", "", body));
        let soft = post(r#"{"type":"group","groups":["a"]}"#);
        assert_eq!((soft.mode, soft.scopes), (Mode::Soft, vec![tag("a")]));
        let uri = r#"{"type":"uri","selectors":["e.com/a"],"purge":true}"#;
        let url = Scope::Url("http://e.com/a".to_owned());
        assert_eq!(post(uri), Meant::hard(vec![url]));
        let prefix = r#"{"type":"uri-prefix","selectors":["e.com/a"],"purge":true}"#;
        let folder = Scope::Prefix("http://e.com/a".to_owned());
        assert_eq!(post(prefix), Meant::hard(vec![folder]));
        let origin = r#"{"type":"origin","selectors":["e.com"],"purge":true}"#;
        let host = Scope::Host("e.com".to_owned());
        assert_eq!(post(origin), Meant::hard(vec![host]));
    }

    #[test]
    fn other_requests_are_refused_or_none_of_it() {
        assert!(ask("PURGE", "/souin-api", "", "").is_none());
        assert!(ask("PURGE", "/souin-api/souine", "", "").is_none());
        for (method, target, body) in [
            ("PURGE", "/souin-api/souin", ""),
            ("PURGE", "/souin-api/souin/.+", ""),
            ("GET", "/souin-api/souin", ""),
            ("POST", "/souin-api/souin", r#"{"type":"other"}"#),
        ] {
            let refused = ask(method, target, "", body).unwrap();
            assert!(refused.is_err(), "{method} {target}");
        }
    }
}
