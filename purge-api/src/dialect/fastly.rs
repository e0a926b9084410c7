//! Fastly's purge API.

use bytes::Bytes;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Meant, Words};
use crate::order::{Mode, Scope, object};
use crate::problem::Problem;

/// Tags in one call.
const TAGS_MAX: usize = 256;
const SOFT: &str = "fastly-soft-purge";
/// The field with the token.
pub(crate) const KEY: &str = "fastly-key";

/// What was asked of a service, which is a site here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Service {
    /// The site; none where a URL names it.
    pub(crate) site: Option<String>,
    pub(crate) meant: Meant,
    form: Form,
}

/// How the answer is written.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Form {
    /// One identifier.
    One,
    /// One for each of these tags.
    Each(Vec<String>),
}

#[derive(Deserialize)]
struct Keys {
    surrogate_keys: Vec<String>,
}

/// Reads a request; none where it is none of this API.
pub(crate) fn fastly(words: &Words<'_>, body: &[u8]) -> Option<Result<Service, Problem>> {
    let (path, _) = words.target.split_once('?').unwrap_or((words.target, ""));
    let mode = if words.headers.contains_key(SOFT) {
        Mode::Soft
    } else {
        Mode::Hard
    };
    if let Some(url) = words.target.strip_prefix("/purge/") {
        return Some(posted(words.method).map(|()| one_url(url, mode)));
    }
    let (site, rest) = path.strip_prefix("/service/")?.split_once('/')?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let service = |meant, form| Service {
        site: Some(site.to_owned()),
        meant,
        form,
    };
    let tags = |tags: &[String]| Meant {
        scopes: tags.iter().map(|tag| tagged(site, tag)).collect(),
        mode,
    };
    let answer = match rest.split_once('/') {
        None if rest == "purge_all" => {
            let all = Meant::hard(vec![Scope::Site(site.to_owned())]);
            posted(words.method).map(|()| service(all, Form::One))
        }
        None if rest == "purge" => posted(words.method)
            .and_then(|()| listed(words, body))
            .map(|list| service(tags(&list), Form::Each(list))),
        Some(("purge", tag)) => {
            let tag = percent_encoding::percent_decode_str(tag).decode_utf8_lossy();
            posted(words.method).map(|()| service(tags(&[tag.into_owned()]), Form::One))
        }
        _ => return None,
    };
    Some(answer)
}

fn one_url(url: &str, mode: Mode) -> Service {
    let url = percent_encoding::percent_decode_str(url).decode_utf8_lossy();
    let url = if url.starts_with("http://") || url.starts_with("https://") {
        url.into_owned()
    } else {
        format!("http://{url}")
    };
    Service {
        site: None,
        meant: Meant {
            scopes: vec![Scope::Url(url)],
            mode,
        },
        form: Form::One,
    }
}

fn posted(method: &Method) -> Result<(), Problem> {
    // Its own command line purges URLs by POST, and some clients send PUT.
    if matches!(*method, Method::POST | Method::PUT) {
        return Ok(());
    }
    Err(Problem::Method)
}

/// The tags of a call for several: in a field, or in the content.
fn listed(words: &Words<'_>, body: &[u8]) -> Result<Vec<String>, Problem> {
    let list: Vec<String> = match words.list("surrogate-key") {
        Some(list) => list.split_whitespace().map(str::to_owned).collect(),
        None => {
            let keys: Keys = object(body)?;
            keys.surrogate_keys
        }
    };
    if list.len() > TAGS_MAX {
        let why = format!("{} keys in one purge; {TAGS_MAX} are the most", list.len());
        return Err(Problem::Invalid(why));
    }
    Ok(list)
}

fn tagged(site: &str, tag: &str) -> Scope {
    Scope::Tag {
        site: Some(site.to_owned()),
        tag: tag.to_owned(),
    }
}

impl Service {
    /// The document that tells of success.
    pub(crate) fn done(&self, id: &str) -> Value {
        match &self.form {
            Form::One => json!({ "status": "ok", "id": id }),
            Form::Each(tags) => tags
                .iter()
                .enumerate()
                .map(|(number, tag)| (tag.clone(), json!(format!("{id}-{number}"))))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }
}

/// The document that tells of a problem.
pub(crate) fn failed(problem: &Problem) -> Bytes {
    let document = json!({ "msg": problem.title(), "detail": problem.detail() });
    Bytes::from(document.to_string())
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    fn ask(
        target: &str,
        field: Option<(&'static str, &'static str)>,
        body: &str,
    ) -> Option<Result<Service, Problem>> {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = field {
            let name = HeaderName::from_static(name);
            headers.insert(name, HeaderValue::from_static(value));
        }
        let words = Words {
            method: &Method::POST,
            host: "api.fastly.com",
            target,
            headers: &headers,
            site: None,
        };
        fastly(&words, body.as_bytes())
    }

    #[test]
    fn several_tags_are_purged_as_fos_and_the_fastly_libraries_do() {
        let by_body = ask(
            "/service/shop/purge",
            Some(("fastly-soft-purge", "1")),
            r#"{"surrogate_keys":["a","b"]}"#,
        );
        let service = by_body.unwrap().unwrap();
        assert_eq!(service.site.as_deref(), Some("shop"));
        assert_eq!(service.meant.mode, Mode::Soft);
        let both = [tagged("shop", "a"), tagged("shop", "b")];
        assert_eq!(service.meant.scopes, both);
        assert_eq!(service.done("i"), json!({ "a": "i-0", "b": "i-1" }));
        let by_field = ask("/service/shop/purge", Some(("surrogate-key", "a b")), "");
        let service = by_field.unwrap().unwrap();
        assert_eq!(
            (service.meant.mode, service.meant.scopes),
            (Mode::Hard, both.to_vec())
        );
    }

    #[test]
    fn one_tag_one_url_and_everything() {
        let meant = |target| ask(target, None, "").unwrap().unwrap().meant.scopes;
        assert_eq!(meant("/service/shop/purge/a%20b"), [tagged("shop", "a b")]);
        let all = Scope::Site("shop".to_owned());
        assert_eq!(meant("/service/shop/purge_all"), [all]);
        let url = |url: &str| [Scope::Url(url.to_owned())];
        assert_eq!(meant("/purge/www.e.com/a?b"), url("http://www.e.com/a?b"));
        assert_eq!(meant("/purge/https://e.com/"), url("https://e.com/"));
    }

    #[test]
    fn other_requests_are_none_of_it() {
        for target in ["/", "/service/shop", "/service/shop/version", "/services"] {
            assert!(ask(target, None, "").is_none(), "{target}");
        }
        let many = json!({ "surrogate_keys": vec!["t"; TAGS_MAX + 1] }).to_string();
        for body in ["", "{}", &many] {
            let refused = ask("/service/shop/purge", None, body).unwrap();
            assert!(refused.is_err());
        }
    }
}
