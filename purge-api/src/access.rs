//! Who may do what: tokens, what they open, and how often.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use http::HeaderMap;
use http::header::AUTHORIZATION;
use subtle::ConstantTimeEq as _;

use crate::auth::{Token, bearer};
use crate::bucket::Bucket;
use crate::order::{Order, Scope};

/// The name of the token that may do everything.
const ADMIN: &str = "admin";

/// Something that a token may do.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Permission {
    /// Ask for status, purges and dry runs.
    Read,
    /// Purge URLs.
    Url,
    /// Purge tags.
    Tag,
    /// Purge prefixes.
    Prefix,
    /// Purge hosts.
    Host,
    /// Purge exact keys.
    Key,
    /// Purge everything, or everything of a site.
    All,
    /// Have the node read its configuration again.
    Reload,
}

impl Permission {
    /// All of them.
    pub const EVERY: [Self; 8] = [
        Self::Read,
        Self::Url,
        Self::Tag,
        Self::Prefix,
        Self::Host,
        Self::Key,
        Self::All,
        Self::Reload,
    ];

    /// Its name in configurations and refusals.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Url => "purge:url",
            Self::Tag => "purge:tag",
            Self::Prefix => "purge:prefix",
            Self::Host => "purge:host",
            Self::Key => "purge:key",
            Self::All => "purge:all",
            Self::Reload => "reload",
        }
    }

    const fn of(scope: &Scope) -> Self {
        match scope {
            Scope::All | Scope::Site(_) => Self::All,
            Scope::Host(_) => Self::Host,
            Scope::Url(_) => Self::Url,
            Scope::Prefix(_) => Self::Prefix,
            Scope::Key(_) => Self::Key,
            Scope::Tag { .. } => Self::Tag,
        }
    }
}

/// A token and what it opens.
#[derive(Debug)]
pub struct Grant {
    /// Its name in the audit trail.
    pub name: String,
    token: Token,
    may: BTreeSet<Permission>,
    /// The only sites that it is good for; empty means all.
    sites: Vec<String>,
    bucket: Option<Bucket>,
}

/// Why a token does not open this.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Denied {
    /// It may do other things.
    #[error("the token `{name}` may not do `{}`", .wanted.as_str())]
    Permission {
        /// The token's name.
        name: String,
        /// What it lacks.
        wanted: Permission,
    },
    /// It is good for other sites.
    #[error("the token `{name}` is not good for {what}")]
    Site {
        /// The token's name.
        name: String,
        /// What was asked for.
        what: String,
    },
    /// It was used too often.
    #[error("the token `{name}` may be used again in {} s", .after.as_secs_f64().ceil())]
    Rate {
        /// The token's name.
        name: String,
        /// How long to wait.
        after: Duration,
    },
}

impl Grant {
    /// The token that may do everything, as often as it likes.
    #[must_use]
    pub fn admin(token: Token) -> Self {
        Self {
            name: ADMIN.to_owned(),
            token,
            may: Permission::EVERY.into(),
            sites: Vec::new(),
            bucket: None,
        }
    }

    /// A token for these things, on these sites or on all, so many times a second.
    #[must_use]
    pub fn new(
        name: String,
        token: Token,
        may: impl IntoIterator<Item = Permission>,
        sites: Vec<String>,
        rate: u32,
    ) -> Self {
        Self {
            name,
            token,
            may: may.into_iter().collect(),
            sites,
            bucket: Some(Bucket::new(rate)),
        }
    }

    /// Counts one use.
    ///
    /// # Errors
    /// [`Denied::Rate`] where there were too many.
    pub(crate) fn count(&self, now: Instant) -> Result<(), Denied> {
        let Some(bucket) = &self.bucket else {
            return Ok(());
        };
        bucket.take(now).map_err(|after| Denied::Rate {
            name: self.name.clone(),
            after,
        })
    }

    pub(crate) fn allows(&self, wanted: Permission) -> Result<(), Denied> {
        if self.may.contains(&wanted) {
            return Ok(());
        }
        let name = self.name.clone();
        Err(Denied::Permission { name, wanted })
    }

    /// Whether it may purge what an order names.
    pub(crate) fn permits(&self, order: &Order) -> Result<(), Denied> {
        let mut wanted = order.scopes.iter().map(Permission::of);
        wanted.try_for_each(|wanted| self.allows(wanted))
    }

    /// Narrows what a token for some sites asks of all to its own. `site_of` tells which site answers for a URL,
    /// prefix or host.
    pub(crate) fn narrow(
        &self,
        order: &mut Order,
        site_of: impl Fn(&Scope) -> Option<String>,
    ) -> Result<(), Denied> {
        if self.sites.is_empty() {
            return Ok(());
        }
        let mut narrowed = Vec::new();
        for scope in order.scopes.drain(..) {
            match &scope {
                Scope::All => narrowed.extend(self.sites.iter().cloned().map(Scope::Site)),
                Scope::Tag { site: None, tag } => {
                    narrowed.extend(self.sites.iter().map(|site| Scope::Tag {
                        site: Some(site.clone()),
                        tag: tag.clone(),
                    }));
                }
                _ => {
                    let site = scope.site().cloned().or_else(|| site_of(&scope));
                    if !site.is_some_and(|site| self.sites.contains(&site)) {
                        let what = format!("`{}`", scope.text());
                        let name = self.name.clone();
                        return Err(Denied::Site { name, what });
                    }
                    narrowed.push(scope);
                }
            }
        }
        order.scopes = narrowed;
        Ok(())
    }

    /// Whether it is good for all sites.
    pub(crate) const fn sees_all(&self) -> bool {
        self.sites.is_empty()
    }

    /// Whether it may see what is told of a site.
    pub(crate) fn sees_site(&self, site: &str) -> bool {
        self.sees_all() || self.sites.iter().any(|own| own == site)
    }

    /// Whether it may see a purge: all that it names is of the token's sites.
    pub(crate) fn sees(&self, order: &Order, site_of: impl Fn(&Scope) -> Option<String>) -> bool {
        let own = |scope: &Scope| {
            let site = scope.site().cloned().or_else(|| site_of(scope));
            site.is_some_and(|site| self.sites.contains(&site))
        };
        self.sites.is_empty() || order.scopes.iter().all(own)
    }

    /// Whether it may see what was refused to the token of that name: one that is for some sites, its own only.
    pub(crate) fn sees_refused(&self, by: Option<&str>) -> bool {
        self.sites.is_empty() || by == Some(&self.name)
    }
}

/// All tokens of a node.
#[derive(Debug)]
pub struct Access {
    grants: Vec<Grant>,
}

impl Access {
    /// These tokens.
    #[must_use]
    pub const fn new(grants: Vec<Grant>) -> Self {
        Self { grants }
    }

    /// The grant of the token in `Authorization` (RFC 6750). All tokens are compared, each in constant time.
    pub(crate) fn by_bearer(&self, headers: &HeaderMap) -> Option<&Grant> {
        self.find(bearer(single(headers, AUTHORIZATION.as_str())?)?)
    }

    /// The grant of the token in a field of its own.
    pub(crate) fn by_field(&self, headers: &HeaderMap, field: &str) -> Option<&Grant> {
        self.find(single(headers, field)?)
    }

    fn find(&self, credentials: &[u8]) -> Option<&Grant> {
        let mut found = None;
        for grant in &self.grants {
            let secret = grant.token.secret().as_bytes();
            if bool::from(credentials.ct_eq(secret)) {
                found = Some(grant);
            }
        }
        found
    }
}

/// The value of a field that is there once.
fn single<'a>(headers: &'a HeaderMap, field: &str) -> Option<&'a [u8]> {
    let mut values = headers.get_all(field).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value.as_bytes()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::order::{Mode, Stamp};

    fn token(text: &str) -> Token {
        Token::parse(text).unwrap()
    }

    fn order(scopes: Vec<Scope>) -> Order {
        let stamp = Stamp {
            id: "i".to_owned(),
            by: "b".to_owned(),
            accepted_at: "t".to_owned(),
        };
        Order::new(scopes, Mode::Hard, stamp).unwrap()
    }

    fn tag(site: Option<&str>) -> Scope {
        Scope::Tag {
            site: site.map(str::to_owned),
            tag: "t".to_owned(),
        }
    }

    fn grant(may: &[Permission], sites: &[&str]) -> Grant {
        let sites = sites.iter().map(|&site| site.to_owned()).collect();
        let token = token("0123456789abcdef");
        Grant::new("shop".to_owned(), token, may.iter().copied(), sites, 10)
    }

    #[test]
    fn each_token_opens_its_own() {
        let other = Grant::admin(token("fedcba9876543210"));
        let access = Access::new(vec![grant(&[Permission::Tag], &[]), other]);
        let named = |field: &'static str, text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(field, HeaderValue::from_static(text));
            let grant = access.by_bearer(&headers);
            let grant = grant.or_else(|| access.by_field(&headers, "fastly-key"));
            grant.map(|grant| grant.name.clone())
        };
        assert_eq!(
            named("authorization", "Bearer 0123456789abcdef").as_deref(),
            Some("shop")
        );
        assert_eq!(
            named("fastly-key", "fedcba9876543210").as_deref(),
            Some("admin")
        );
        assert_eq!(named("authorization", "Bearer 0123456789abcdeX"), None);
        assert_eq!(named("authorization", "Bearer"), None);
    }

    #[test]
    fn what_a_token_may_not_do_it_does_not() {
        let grant = grant(&[Permission::Tag], &[]);
        assert!(grant.permits(&order(vec![tag(None)])).is_ok());
        let denied = grant.permits(&order(vec![tag(None), Scope::All]));
        let name = "shop".to_owned();
        let wanted = Permission::All;
        assert_eq!(denied, Err(Denied::Permission { name, wanted }));
    }

    #[test]
    fn a_token_for_some_sites_reaches_no_other() {
        let grant = grant(&Permission::EVERY, &["a", "b"]);
        let site_of = |scope: &Scope| match scope {
            Scope::Host(host) => Some(host.clone()),
            _ => None,
        };
        let mut all = order(vec![Scope::All, tag(None), Scope::Host("a".to_owned())]);
        grant.narrow(&mut all, site_of).unwrap();
        let site = |site: &str| Scope::Site(site.to_owned());
        let narrowed = [site("a"), site("b"), tag(Some("a")), tag(Some("b"))];
        assert_eq!(all.scopes[..4], narrowed);
        assert!(grant.sees(&all, site_of));
        let foreign = [
            Scope::Host("c".to_owned()),
            site("c"),
            tag(Some("c")),
            Scope::Key("00".to_owned()),
        ];
        for scope in foreign {
            let mut foreign = order(vec![scope]);
            assert!(!grant.sees(&foreign, site_of), "{foreign:?}");
            let denied = grant.narrow(&mut foreign, site_of);
            assert!(matches!(denied, Err(Denied::Site { .. })), "{denied:?}");
        }
    }
}
