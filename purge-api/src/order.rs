//! What a purge asks for, as clients send it and as it is logged.

use serde::{Deserialize, Serialize};

/// Keys of all kinds in one purge.
pub(crate) const KEYS_MAX: usize = 500;
/// Bytes of a purge's body.
pub const BODY_MAX: usize = 256 * 1024;
/// Bytes of one key.
const KEY_BYTES_MAX: usize = 8 * 1024;
/// Bytes of the identifier that makes a purge repeatable.
const ID_MAX: usize = 64;
/// Bytes of who purged, and why.
const NOTE_MAX: usize = 512;

/// How a purge is meant.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// What matches is gone.
    #[default]
    Hard,
    /// What matches is stale: it may be sent where stale responses may, and is refreshed once.
    Soft,
}

/// One thing to purge.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Everything.
    All,
    /// Everything of a site.
    Site(String),
    /// Everything of a host.
    Host(String),
    /// All variants of one absolute URL.
    Url(String),
    /// An absolute URL's path and everything below it, at borders of its segments.
    Prefix(String),
    /// Everything that carries a tag, of one site or of all.
    Tag {
        /// The site; none means all.
        site: Option<String>,
        /// The tag.
        tag: String,
    },
}

/// A purge.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Order {
    /// Chosen by the client, so that it can repeat the request, or by the node.
    pub id: String,
    /// What to purge, at least one thing.
    pub scopes: Vec<Scope>,
    /// How.
    pub mode: Mode,
    /// Why, for the audit trail.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// Who, for the audit trail.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub actor: Option<String>,
    /// When the node accepted it, in RFC 3339.
    pub accepted_at: String,
}

/// A purge that is applied.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Receipt {
    /// What was asked.
    #[serde(flatten)]
    pub order: Order,
    /// Its place in the order of purges.
    pub sequence: u64,
    /// The node that applied it.
    pub node: String,
}

/// Why a body is no purge.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OrderError {
    /// Not JSON, or not of this form.
    #[error("{0}")]
    Json(String),
    /// Nothing to purge.
    #[error("name at least one of `urls`, `tags`, `prefixes`, `hosts`, or `all`")]
    Empty,
    /// Too much in one purge.
    #[error("{0} keys in one purge; {KEYS_MAX} are the most")]
    TooMany(usize),
    /// A key, identifier or note that is too long or empty.
    #[error("`{0}` is empty or too long")]
    Length(&'static str),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(default)]
    urls: Vec<String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    prefixes: Vec<String>,
    #[serde(default)]
    hosts: Vec<String>,
    #[serde(default)]
    all: bool,
    site: Option<String>,
    #[serde(default)]
    mode: Mode,
    reason: Option<String>,
    actor: Option<String>,
}

impl Order {
    /// Reads the body of a request to purge.
    ///
    /// # Errors
    /// [`OrderError`] where it is none, or asks for too much at once.
    pub fn parse(body: &[u8], id: String, accepted_at: String) -> Result<Self, OrderError> {
        let body: Body =
            serde_json::from_slice(body).map_err(|error| OrderError::Json(error.to_string()))?;
        let scopes = body.scopes()?;
        check("Idempotency-Key", Some(&id), ID_MAX)?;
        check("reason", body.reason.as_ref(), NOTE_MAX)?;
        check("actor", body.actor.as_ref(), NOTE_MAX)?;
        Ok(Self {
            id,
            scopes,
            mode: body.mode,
            reason: body.reason,
            actor: body.actor,
            accepted_at,
        })
    }

    /// The purge as it is logged.
    ///
    /// # Panics
    /// Never: an order is strings and lists.
    #[must_use]
    pub fn to_log(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an order is JSON")
    }

    /// A logged purge, if this version understands it.
    #[must_use]
    pub fn from_log(payload: &[u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }
}

impl Body {
    fn scopes(&self) -> Result<Vec<Scope>, OrderError> {
        let site = &self.site;
        let mut scopes = Vec::new();
        let keys = [&self.urls, &self.prefixes, &self.hosts, &self.tags];
        for key in keys.into_iter().flatten() {
            check("key", Some(key), KEY_BYTES_MAX)?;
        }
        scopes.extend(self.urls.iter().cloned().map(Scope::Url));
        scopes.extend(self.prefixes.iter().cloned().map(Scope::Prefix));
        scopes.extend(self.hosts.iter().cloned().map(Scope::Host));
        scopes.extend(self.tags.iter().map(|tag| Scope::Tag {
            site: site.clone(),
            tag: tag.clone(),
        }));
        if self.all {
            scopes.push(site.clone().map_or(Scope::All, Scope::Site));
        }
        match scopes.len() {
            0 => Err(OrderError::Empty),
            count if count > KEYS_MAX => Err(OrderError::TooMany(count)),
            _ => Ok(scopes),
        }
    }
}

fn check(name: &'static str, text: Option<&String>, most: usize) -> Result<(), OrderError> {
    match text {
        Some(text) if text.is_empty() || text.len() > most => Err(OrderError::Length(name)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<Order, OrderError> {
        Order::parse(body.as_bytes(), "id".to_owned(), "now".to_owned())
    }

    #[test]
    fn several_kinds_of_keys_make_one_purge() {
        let order =
            parse(r#"{"urls":["http://e/a"],"tags":["t"],"site":"s","mode":"soft","all":true}"#);
        let order = order.unwrap();
        let tag = Scope::Tag {
            site: Some("s".to_owned()),
            tag: "t".to_owned(),
        };
        let url = Scope::Url("http://e/a".to_owned());
        assert_eq!(order.scopes, [url, tag, Scope::Site("s".to_owned())]);
        assert_eq!(order.mode, Mode::Soft);
        assert_eq!(Order::from_log(&order.to_log()), Some(order));
    }

    #[test]
    fn what_is_no_purge_says_why() {
        assert_eq!(parse("{}"), Err(OrderError::Empty));
        assert_eq!(parse(r#"{"tags":[""]}"#), Err(OrderError::Length("key")));
        assert!(
            matches!(parse(r#"{"tag":["a"]}"#), Err(OrderError::Json(why)) if why.contains("tag"))
        );
        assert!(matches!(parse("[1"), Err(OrderError::Json(_))));
        assert!(matches!(
            parse(r#"{"tags":["a"],"mode":"softly"}"#),
            Err(OrderError::Json(_))
        ));
        let many = serde_json::json!({ "tags": vec!["t"; KEYS_MAX + 1] });
        assert_eq!(
            parse(&many.to_string()),
            Err(OrderError::TooMany(KEYS_MAX + 1))
        );
        let most = serde_json::json!({ "tags": vec!["t"; KEYS_MAX] });
        assert!(parse(&most.to_string()).is_ok());
    }
}
