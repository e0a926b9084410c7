//! What a purge asks for, as clients send it and as it is logged.

use std::time::Duration;

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
/// How long an answer may wait, in milliseconds, and how long it does where the client does not say.
pub(crate) const TIMEOUT_MAX: u64 = 60_000;
const TIMEOUT_DEFAULT: u64 = 10_000;

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
    /// What is stored under one cache key, by its hash in 32 hexadecimal digits.
    Key(String),
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
    /// Who, for the audit trail, as the client says.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub actor: Option<String>,
    /// Who, as the node knows: the name of a token, or a dialect and an address.
    #[serde(default)]
    pub by: String,
    /// When the node accepted it, in RFC 3339.
    pub accepted_at: String,
}

/// Why a body is no purge.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OrderError {
    /// Not JSON.
    #[error("{0}")]
    Syntax(String),
    /// JSON of another form.
    #[error("{0}")]
    Form(String),
    /// Nothing to purge.
    #[error("name at least one of `urls`, `tags`, `prefixes`, `hosts`, `keys`, or `all`")]
    Empty,
    /// Too much in one purge.
    #[error("{0} keys in one purge; {KEYS_MAX} are the most")]
    TooMany(usize),
    /// A key, identifier or note that is too long or empty.
    #[error("`{0}` is empty or too long")]
    Length(&'static str),
    /// A wait that is too long.
    #[error("`timeout_ms` is at most {TIMEOUT_MAX}, not {0}")]
    Timeout(u64),
}

/// What a client sent: a purge, and how it wants to hear of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sent {
    /// The purge.
    pub order: Order,
    /// Whether it is meant, or only asked about.
    pub intent: Intent,
    /// How long the answer may wait, and for what.
    pub patience: Patience,
    /// The site that the client said all of it is of.
    pub site: Option<String>,
}

/// Whether a purge is meant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Intent {
    /// It is.
    Purge,
    /// The client wants to know what it would name.
    DryRun,
}

/// What an answer waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Patience {
    /// The nodes that have applied the purge.
    pub wait: Wait,
    /// Whether what it named is counted, too.
    pub count: Count,
    /// No longer than that.
    pub timeout: Duration,
}

/// The nodes that an answer waits for.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Wait {
    /// None: the purge is durable.
    None,
    /// The node that was asked.
    #[default]
    Local,
    /// All nodes that are known.
    All,
}

/// Whether an answer waits until what was purged is counted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Count {
    /// It tells what is known.
    #[default]
    Later,
    /// It waits.
    Now,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            wait: Wait::default(),
            count: Count::default(),
            timeout: Duration::from_millis(TIMEOUT_DEFAULT),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "JSON is made of truth values"
)]
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
    keys: Vec<String>,
    #[serde(default)]
    all: bool,
    site: Option<String>,
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    wait: Wait,
    #[serde(default)]
    count: bool,
    timeout_ms: Option<u64>,
    reason: Option<String>,
    actor: Option<String>,
}

/// What makes an order of several things to purge.
#[derive(Clone, Debug)]
pub struct Stamp {
    /// The order's identifier.
    pub id: String,
    /// Who gives it.
    pub by: String,
    /// When, in RFC 3339.
    pub accepted_at: String,
}

impl Sent {
    /// Reads the body of a request to purge.
    ///
    /// # Errors
    /// [`OrderError`] where it is none, or asks for too much at once.
    pub fn parse(body: &[u8], stamp: Stamp) -> Result<Self, OrderError> {
        let body: Body = object(body)?;
        let scopes = body.scopes()?;
        check("reason", body.reason.as_ref(), NOTE_MAX)?;
        check("actor", body.actor.as_ref(), NOTE_MAX)?;
        let timeout = body.timeout_ms.unwrap_or(TIMEOUT_DEFAULT);
        if timeout > TIMEOUT_MAX {
            return Err(OrderError::Timeout(timeout));
        }
        let order = Order {
            reason: body.reason,
            actor: body.actor,
            ..Order::new(scopes, body.mode, stamp)?
        };
        Ok(Self {
            order,
            intent: if body.dry_run {
                Intent::DryRun
            } else {
                Intent::Purge
            },
            patience: Patience {
                wait: body.wait,
                count: if body.count { Count::Now } else { Count::Later },
                timeout: Duration::from_millis(timeout),
            },
            site: body.site,
        })
    }
}

impl Order {
    /// The purge in a request's body, given by nobody in particular.
    ///
    /// # Errors
    /// [`OrderError`] where it is none, or asks for too much at once.
    pub fn parse(body: &[u8], id: String, accepted_at: String) -> Result<Self, OrderError> {
        let by = String::new();
        let stamp = Stamp {
            id,
            by,
            accepted_at,
        };
        Sent::parse(body, stamp).map(|sent| sent.order)
    }

    /// An order without a reason.
    ///
    /// # Errors
    /// [`OrderError`] where there is nothing to purge, or too much at once.
    pub fn new(scopes: Vec<Scope>, mode: Mode, stamp: Stamp) -> Result<Self, OrderError> {
        let Stamp {
            id,
            by,
            accepted_at,
        } = stamp;
        check("Idempotency-Key", Some(&id), ID_MAX)?;
        for scope in &scopes {
            if *scope != Scope::All {
                check(scope.word(), Some(scope.text()), KEY_BYTES_MAX)?;
            }
        }
        match scopes.len() {
            0 => return Err(OrderError::Empty),
            count if count > KEYS_MAX => return Err(OrderError::TooMany(count)),
            _ => {}
        }
        Ok(Self {
            id,
            scopes,
            mode,
            reason: None,
            actor: None,
            by,
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

impl Scope {
    /// All kinds by their names.
    pub(crate) const WORDS: [&'static str; 7] =
        ["all", "site", "host", "url", "prefix", "key", "tag"];

    /// Its kind by name.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Site(_) => "site",
            Self::Host(_) => "host",
            Self::Url(_) => "url",
            Self::Prefix(_) => "prefix",
            Self::Key(_) => "key",
            Self::Tag { .. } => "tag",
        }
    }

    /// The site that it names.
    pub(crate) const fn site(&self) -> Option<&String> {
        match self {
            Self::Site(site) => Some(site),
            Self::Tag { site, .. } => site.as_ref(),
            _ => None,
        }
    }

    /// What it names.
    pub(crate) fn text(&self) -> &String {
        static NOTHING: String = String::new();
        match self {
            Self::All => &NOTHING,
            Self::Site(text)
            | Self::Host(text)
            | Self::Url(text)
            | Self::Prefix(text)
            | Self::Key(text)
            | Self::Tag { tag: text, .. } => text,
        }
    }
}

impl Body {
    fn scopes(&self) -> Result<Vec<Scope>, OrderError> {
        let site = &self.site;
        check("site", site.as_ref(), KEY_BYTES_MAX)?;
        let lists = [&self.urls, &self.prefixes, &self.hosts, &self.keys];
        let count = lists.iter().map(|list| list.len()).sum::<usize>() + self.tags.len();
        // Before anything is copied.
        if count > KEYS_MAX {
            return Err(OrderError::TooMany(count));
        }
        let mut scopes = Vec::new();
        scopes.extend(self.urls.iter().cloned().map(Scope::Url));
        scopes.extend(self.prefixes.iter().cloned().map(Scope::Prefix));
        scopes.extend(self.hosts.iter().cloned().map(Scope::Host));
        scopes.extend(self.keys.iter().cloned().map(Scope::Key));
        scopes.extend(self.tags.iter().map(|tag| Scope::Tag {
            site: site.clone(),
            tag: tag.clone(),
        }));
        if self.all {
            scopes.push(site.clone().map_or(Scope::All, Scope::Site));
        }
        Ok(scopes)
    }
}

/// Reads an object of JSON: what is no JSON at all is told from what has another form.
pub(crate) fn object<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, OrderError> {
    let syntax = serde_json::from_slice::<serde::de::IgnoredAny>(body);
    syntax.map_err(|error| OrderError::Syntax(error.to_string()))?;
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(OrderError::Form("an object is expected".to_owned()));
    }
    serde_json::from_slice(body).map_err(|error| OrderError::Form(error.to_string()))
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

    fn parse(body: &str) -> Result<Sent, OrderError> {
        let stamp = Stamp {
            id: "id".to_owned(),
            by: "me".to_owned(),
            accepted_at: "now".to_owned(),
        };
        Sent::parse(body.as_bytes(), stamp)
    }

    #[test]
    fn several_kinds_of_keys_make_one_purge() {
        let sent =
            parse(r#"{"urls":["http://e/a"],"tags":["t"],"site":"s","mode":"soft","all":true}"#);
        let Sent {
            order,
            intent,
            patience,
            site,
        } = sent.unwrap();
        assert_eq!(site.as_deref(), Some("s"));
        let tag = Scope::Tag {
            site: Some("s".to_owned()),
            tag: "t".to_owned(),
        };
        let url = Scope::Url("http://e/a".to_owned());
        assert_eq!(order.scopes, [url, tag, Scope::Site("s".to_owned())]);
        assert_eq!(order.mode, Mode::Soft);
        assert_eq!((intent, patience), (Intent::Purge, Patience::default()));
        assert_eq!(Order::from_log(&order.to_log()), Some(order));
    }

    #[test]
    fn how_the_answer_is_wanted_is_no_part_of_the_purge() {
        let text = r#"{"all":true,"dry_run":true,"wait":"all","count":true,"timeout_ms":50}"#;
        let sent = parse(text).unwrap();
        assert_eq!(sent.intent, Intent::DryRun);
        let patience = Patience {
            wait: Wait::All,
            count: Count::Now,
            timeout: Duration::from_millis(50),
        };
        assert_eq!(sent.patience, patience);
        let long = format!(r#"{{"all":true,"timeout_ms":{}}}"#, TIMEOUT_MAX + 1);
        assert_eq!(parse(&long), Err(OrderError::Timeout(TIMEOUT_MAX + 1)));
    }

    #[test]
    fn what_is_no_purge_says_why() {
        assert_eq!(parse("{}"), Err(OrderError::Empty));
        assert_eq!(parse(r#"{"tags":[""]}"#), Err(OrderError::Length("tag")));
        assert!(
            matches!(parse(r#"{"tag":["a"]}"#), Err(OrderError::Form(why)) if why.contains("tag"))
        );
        assert!(matches!(parse("[1"), Err(OrderError::Syntax(_))));
        assert!(matches!(
            parse(r#"{"tags":["a"],"mode":"softly"}"#),
            Err(OrderError::Form(_))
        ));
        let many = serde_json::json!({ "tags": vec!["t"; KEYS_MAX + 1] });
        assert_eq!(
            parse(&many.to_string()),
            Err(OrderError::TooMany(KEYS_MAX + 1))
        );
        let most = serde_json::json!({ "tags": vec!["t"; KEYS_MAX] });
        assert!(parse(&most.to_string()).is_ok());
    }

    #[test]
    fn a_purge_that_an_older_version_logged_is_understood() {
        let logged = br#"{"id":"x","scopes":["all"],"mode":"hard","accepted_at":"then"}"#;
        assert_eq!(Order::from_log(logged).unwrap().scopes, [Scope::All]);
    }
}
