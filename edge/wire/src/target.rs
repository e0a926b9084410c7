//! The four forms of a request-target (RFC 9112 §3.2).

use http::Method;
use http::uri::Scheme;

use crate::authority::{Authority, check_authority};
use crate::refusal::Refusal;

/// What a request-target says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Path and query, or `*`.
    pub(crate) path: String,
    /// What only the absolute form says.
    pub(crate) absolute: Option<Absolute>,
}

/// The part of an absolute-form target before its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Absolute {
    pub(crate) scheme: Scheme,
    pub(crate) authority: Authority,
}

/// Reads a request-target. `CONNECT`, and with it the authority form, does not come here.
pub(crate) fn parse(method: &Method, target: &str) -> Result<Target, Refusal> {
    if target.starts_with('/') {
        check_path(target)?;
        return Ok(Target {
            path: target.to_owned(),
            absolute: None,
        });
    }
    if target == "*" {
        return asterisk(method);
    }
    absolute(method, target)
}

/// `*` stands for the server as a whole, of which only OPTIONS can ask (RFC 9112 §3.2.4).
fn asterisk(method: &Method) -> Result<Target, Refusal> {
    if *method != Method::OPTIONS {
        return Err(Refusal::Target);
    }
    Ok(Target {
        path: "*".to_owned(),
        absolute: None,
    })
}

fn absolute(method: &Method, target: &str) -> Result<Target, Refusal> {
    let (scheme, rest) = target.split_once("://").ok_or(Refusal::Target)?;
    let scheme = parse_scheme(scheme)?;
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));

    let path = match path.chars().next() {
        Some('/') => path.to_owned(),
        // RFC 9112 §3.2.4: OPTIONS of an absolute URI without a path is that of `*`.
        None if *method == Method::OPTIONS => "*".to_owned(),
        // RFC 9112 §3.2.1: an empty path is sent as `/`.
        _ => format!("/{path}"),
    };
    if path != "*" {
        check_path(&path)?;
    }
    Ok(Target {
        path,
        absolute: Some(Absolute {
            scheme,
            authority: check_authority(authority)?,
        }),
    })
}

fn parse_scheme(scheme: &str) -> Result<Scheme, Refusal> {
    match scheme {
        _ if scheme.eq_ignore_ascii_case("http") => Ok(Scheme::HTTP),
        _ if scheme.eq_ignore_ascii_case("https") => Ok(Scheme::HTTPS),
        _ => Err(Refusal::Target),
    }
}

/// Checks an origin-form target: a path that starts with `/`, and perhaps a query.
///
/// Wider than RFC 3986, because browsers send `|`, `[`, `{`, `^` and others as they are; as wide
/// as what [`http::Uri`] can carry on, which is what browsers do. It is kept as it came, so that
/// the cache key and the origin see the same bytes.
///
/// # Errors
///
/// [`Refusal::Target`] for anything else.
pub fn check_path(path: &str) -> Result<(), Refusal> {
    let (path, query) = path.split_at(path.find('?').unwrap_or(path.len()));
    let visible = |byte| matches!(byte, b'!'..=b'~') && !matches!(byte, b'#' | b'<' | b'>');
    let in_path = |byte| visible(byte) && byte != b'`';
    let in_query = |byte| visible(byte) && byte != b'"';
    if path.starts_with('/') && path.bytes().all(in_path) && query.bytes().all(in_query) {
        Ok(())
    } else {
        Err(Refusal::Target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: Method, target: &str, expected: Result<&str, Refusal>) {
        let found = parse(&method, target).map(|target| match target.absolute {
            Some(absolute) => format!("{} {} {}", absolute.scheme, absolute.authority, target.path),
            None => target.path,
        });
        assert_eq!(found.as_deref(), expected.as_ref().copied(), "{target:?}");
    }

    #[test]
    #[rustfmt::skip]
    fn targets_are_read_in_their_forms() {
        use Method as M;
        check(M::GET,     "/",                   Ok("/"));
        check(M::GET,     "/a?b=c",              Ok("/a?b=c"));
        check(M::GET,     "//a/../%2e%00\\?|[]", Ok("//a/../%2e%00\\?|[]"));
        check(M::OPTIONS, "*",                   Ok("*"));
        check(M::OPTIONS, "/a",                  Ok("/a"));
        check(M::GET,     "http://A.b/c?d",      Ok("http a.b /c?d"));
        check(M::GET,     "HTTPS://a:443",       Ok("https a:443 /"));
        check(M::GET,     "http://a?b",          Ok("http a /?b"));
        check(M::GET,     "http://a?b/c",        Ok("http a /?b/c"));
        check(M::OPTIONS, "http://a",            Ok("http a *"));
        check(M::OPTIONS, "http://a/",           Ok("http a /"));
        check(M::OPTIONS, "http://a?b",          Ok("http a /?b"));
    }

    #[test]
    fn what_is_accepted_is_what_the_rest_of_the_node_can_carry() {
        for byte in 0..=0x7f {
            for prefix in ["/a", "/a?b"] {
                let path = format!("{prefix}{}", char::from(byte));
                let carried = http::uri::PathAndQuery::try_from(path.as_str());
                let kept = carried.is_ok_and(|carried| carried.as_str() == path);
                let expected = kept && byte != 0x7f;
                assert_eq!(check_path(&path).is_ok(), expected, "{path:?}");
            }
        }
    }

    #[test]
    #[rustfmt::skip]
    fn other_targets_are_refused() {
        use Method as M;
        check(M::GET,     "",                Err(Refusal::Target));
        check(M::GET,     "*",               Err(Refusal::Target));
        check(M::GET,     "a",               Err(Refusal::Target));
        check(M::GET,     "a.b:80",          Err(Refusal::Target));
        check(M::GET,     "?a",              Err(Refusal::Target));
        check(M::GET,     "\\a",             Err(Refusal::Target));
        check(M::GET,     "/a#b",            Err(Refusal::Target));
        check(M::GET,     "/a\tb",           Err(Refusal::Target));
        check(M::GET,     "/é",              Err(Refusal::Target));
        check(M::OPTIONS, "*/",              Err(Refusal::Target));
        check(M::OPTIONS, "**",              Err(Refusal::Target));
        check(M::GET,     "ftp://a/",        Err(Refusal::Target));
        check(M::GET,     "://a/",           Err(Refusal::Target));
        check(M::GET,     "http:/a/",        Err(Refusal::Target));
        check(M::GET,     "http:a",          Err(Refusal::Target));
        check(M::GET,     "http://a/#b",     Err(Refusal::Target));
        check(M::GET,     "http:///a",       Err(Refusal::Authority));
        check(M::GET,     "http://",         Err(Refusal::Authority));
        check(M::GET,     "http://u@a/",     Err(Refusal::Authority));
        check(M::GET,     "http://u:p@a/",   Err(Refusal::Authority));
        check(M::GET,     "http://a:x/",     Err(Refusal::Authority));
        check(M::GET,     "http://a#b",      Err(Refusal::Authority));
        check(M::GET,     "http://a\\b/",    Err(Refusal::Authority));
    }
}
