//! Cloudflare's `purge_cache`.

use bytes::Bytes;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Meant, Words};
use crate::order::{Scope, object};
use crate::problem::Problem;

/// What was asked of a zone, which is a site here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Zone {
    pub(crate) site: String,
    pub(crate) meant: Meant,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(default)]
    files: Vec<File>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    hosts: Vec<String>,
    #[serde(default)]
    prefixes: Vec<String>,
    #[serde(default)]
    purge_everything: bool,
}

/// A URL, with or without the fields that choose one of its variants: all of them go.
#[derive(Deserialize)]
#[serde(untagged)]
enum File {
    Url(String),
    WithFields { url: String },
}

/// Reads a request; none where it is none of this API.
pub(crate) fn cloudflare(words: &Words<'_>, body: &[u8]) -> Option<Result<Zone, Problem>> {
    let (path, _) = words.target.split_once('?').unwrap_or((words.target, ""));
    let zone = path.strip_prefix("/client/v4/zones/")?;
    let site = zone.strip_suffix("/purge_cache")?;
    Some(if matches!(*words.method, Method::POST | Method::DELETE) {
        read(site, body)
    } else {
        Err(Problem::Method)
    })
}

fn read(site: &str, body: &[u8]) -> Result<Zone, Problem> {
    let body: Body = object(body)?;
    let mut scopes = Vec::new();
    scopes.extend(body.files.into_iter().map(|file| {
        Scope::Url(match file {
            File::Url(url) | File::WithFields { url } => url,
        })
    }));
    scopes.extend(body.tags.into_iter().map(|tag| Scope::Tag {
        site: Some(site.to_owned()),
        tag,
    }));
    scopes.extend(body.hosts.into_iter().map(Scope::Host));
    // They come without a scheme.
    scopes.extend(body.prefixes.into_iter().map(|prefix| {
        Scope::Prefix(if prefix.contains("://") {
            prefix
        } else {
            format!("http://{prefix}")
        })
    }));
    if body.purge_everything {
        scopes.push(Scope::Site(site.to_owned()));
    }
    Ok(Zone {
        site: site.to_owned(),
        meant: Meant::hard(scopes),
    })
}

/// The document that tells of success.
pub(crate) fn done(id: &str) -> Value {
    json!({ "success": true, "errors": [], "messages": [], "result": { "id": id } })
}

/// The document that tells of a problem. Its codes are those that clients know for wrong tokens, and for wrong purges.
pub(crate) fn failed(problem: &Problem) -> Bytes {
    let code = match problem {
        Problem::Unauthorised | Problem::Forbidden(_) => 10000,
        Problem::TooOften(_) | Problem::Busy | Problem::Crowded(_) => 10429,
        _ => 1012,
    };
    let error = json!({ "code": code, "message": problem.detail() });
    let document = json!({ "success": false, "errors": [error], "messages": [], "result": null });
    Bytes::from(document.to_string())
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn ask(target: &str, body: &str) -> Option<Result<Zone, Problem>> {
        let words = Words {
            method: &Method::POST,
            host: "api.cloudflare.com",
            target,
            headers: &HeaderMap::new(),
            site: None,
        };
        cloudflare(&words, body.as_bytes())
    }

    #[test]
    fn every_kind_of_purge_is_read() {
        let meant = |body: &str| {
            let zone = ask("/client/v4/zones/shop/purge_cache", body);
            zone.unwrap().unwrap().meant.scopes
        };
        let url = |url: &str| Scope::Url(url.to_owned());
        let files = r#"{"files":["http://e.com/a",{"url":"http://e.com/b","headers":{"A":"b"}}]}"#;
        assert_eq!(meant(files), [url("http://e.com/a"), url("http://e.com/b")]);
        let tag = Scope::Tag {
            site: Some("shop".to_owned()),
            tag: "t".to_owned(),
        };
        assert_eq!(meant(r#"{"tags":["t"]}"#), [tag]);
        let host = Scope::Host("e.com".to_owned());
        assert_eq!(meant(r#"{"hosts":["e.com"]}"#), [host]);
        let prefix = Scope::Prefix("http://e.com/blog".to_owned());
        assert_eq!(meant(r#"{"prefixes":["e.com/blog"]}"#), [prefix]);
        let all = Scope::Site("shop".to_owned());
        assert_eq!(meant(r#"{"purge_everything":true}"#), [all]);
    }

    #[test]
    fn other_requests_are_refused_or_none_of_it() {
        assert!(ask("/client/v4/zones/shop", "{}").is_none());
        assert!(ask("/client/v4/zones", "{}").is_none());
        for body in ["", "[]", r#"{"tags":"t"}"#, r#"{"unknown":1}"#] {
            let refused = ask("/client/v4/zones/shop/purge_cache", body).unwrap();
            assert!(refused.is_err(), "{body}");
        }
    }
}
