//! The hosts, URLs and sites that purges name.

use purge_api::{Order, Scope};

use super::PurgeError;
use crate::sites::{Site, Sites};

/// The host that a scope names, in lower case, where it names one.
pub(crate) fn host_of(scope: &Scope) -> Option<String> {
    match scope {
        Scope::Host(host) => parse_host(host).ok(),
        Scope::Url(url) | Scope::Prefix(url) => Some(parse_url(url).ok()?.0),
        Scope::All | Scope::Site(_) | Scope::Key(_) | Scope::Tag { .. } => None,
    }
}

/// The hash of a cache key from its digits.
pub(super) fn parse_key(digits: &str) -> Option<[u8; 16]> {
    let all = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let hash = u128::from_str_radix(digits, 16).ok().filter(|_| all)?;
    Some(hash.to_be_bytes())
}

/// The only site that a purge touches, where there is one.
pub(crate) fn only_site(order: &Order, sites: &Sites) -> Option<String> {
    let mut all = order.scopes.iter().map(|scope| site_of(scope, sites));
    let first = all.next()??;
    all.all(|site| site.as_ref() == Some(&first))
        .then_some(first)
}

/// Whether a purge touches no other site than that one. What is not served here touches nothing here.
pub(crate) fn is_within(order: &Order, site: &str, sites: &Sites) -> bool {
    order.scopes.iter().all(|scope| match scope {
        Scope::All | Scope::Key(_) | Scope::Tag { site: None, .. } => false,
        _ => site_of(scope, sites).is_none_or(|only| only == site),
    })
}

/// The site that a scope is of, where that is one, and served here.
fn site_of(scope: &Scope, sites: &Sites) -> Option<String> {
    let host = match scope {
        Scope::Site(site)
        | Scope::Tag {
            site: Some(site), ..
        } => return Some(site.clone()),
        Scope::All | Scope::Key(_) | Scope::Tag { site: None, .. } => return None,
        Scope::Host(host) => parse_host(host).ok()?,
        Scope::Url(url) | Scope::Prefix(url) => parse_url(url).ok()?.0,
    };
    sites.find(&host).map(|site| site.name.clone())
}

pub(super) fn known_host<'a>(sites: &'a Sites, host: &str) -> Result<&'a Site, PurgeError> {
    let site = sites.find(host);
    site.map(|site| &**site)
        .ok_or_else(|| PurgeError::UnknownHost(host.to_owned()))
}

pub(super) fn known_site(sites: &Sites, name: &str) -> Result<(), PurgeError> {
    if sites.names().any(|known| known == name) {
        return Ok(());
    }
    Err(PurgeError::UnknownHost(name.to_owned()))
}

/// A host in the spelling of keys. As in a URL, the port is none of a purge's business.
pub(super) fn parse_host(host: &str) -> Result<String, PurgeError> {
    let authority = wire::check_authority(host);
    let authority = authority.map_err(|_refused| PurgeError::Host(host.to_owned()))?;
    Ok(authority.host)
}

/// Host and target of an absolute URL. The port is none of a purge's business.
pub(super) fn parse_url(url: &str) -> Result<(String, String), PurgeError> {
    let bad = || PurgeError::Url(url.to_owned());
    let uri: http::Uri = url.parse().map_err(|_invalid| bad())?;
    let http = uri
        .scheme_str()
        .is_some_and(|it| it == "http" || it == "https");
    let authority = uri.authority().filter(|_| http).ok_or_else(bad)?;
    let authority = wire::check_authority(authority.as_str()).map_err(|_refused| bad())?;
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    Ok((authority.host, target.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_to_purge_is_one() {
        for (given, host) in [
            ("WWW.Example.com", "www.example.com"),
            ("e.com:8080", "e.com"),
            ("[2001:DB8::1]:80", "[2001:db8::1]"),
        ] {
            assert_eq!(parse_host(given).unwrap(), host);
        }
        for bad in [
            "",
            "bad host",
            "e.com/a",
            "http://e.com",
            "u@e.com",
            "a,b",
            "::1",
        ] {
            assert!(matches!(parse_host(bad), Err(PurgeError::Host(_))), "{bad}");
        }
    }

    #[test]
    fn a_url_to_purge_is_absolute() {
        let parsed = parse_url("https://WWW.Example.com:8443/a?b").unwrap();
        assert_eq!(parsed, ("www.example.com".to_owned(), "/a?b".to_owned()));
        assert_eq!(parse_url("http://e.com").unwrap().1, "/");
        for bad in [
            "/a",
            "ftp://e.com/",
            "e.com/a",
            "http:///a",
            "http://u@e.com/",
            "",
        ] {
            assert!(parse_url(bad).is_err(), "{bad}");
        }
    }
}
