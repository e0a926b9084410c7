//! Invalidating stored responses (RFC 9111 §4.4).

use http::header::{self, HeaderMap};
use http::method::Method;
use http::{StatusCode, Uri};

use crate::request::Semantics;

/// How many URIs one response invalidates: its target, and what `Location` and `Content-Location`
/// name.
pub const TARGETS_MAX: usize = 3;

/// The longest path and query that is resolved, in bytes.
pub const REFERENCE_MAX: usize = 8192;

/// Whether a response to this method with this status invalidates stored responses.
///
//= https://www.rfc-editor.org/rfc/rfc9111#section-4.4
//# A cache MUST invalidate the target URI (Section 7.1 of [HTTP]) when it receives a non-error status
//# code in response to an unsafe request method (including methods whose safety is unknown).
pub fn invalidates(method: &Method, status: StatusCode) -> bool {
    //= https://www.rfc-editor.org/rfc/rfc9111#section-4.4
    //# A "non-error response" is one with a 2xx (Successful) or 3xx (Redirection) status code.
    let non_error = status.is_success() || status.is_redirection();
    non_error && Semantics::of(method) == Semantics::Unsafe
}

/// The URIs to invalidate: `target`, which is absolute, and those of the same origin that the
/// response names in `Location` and `Content-Location`.
///
//= https://www.rfc-editor.org/rfc/rfc9111#section-4.4
//# However, a cache MUST NOT trigger an invalidation under these conditions if the origin (Section
//# 4.3.1 of [HTTP]) of the URI to be invalidated differs from that of the target URI (Section 7.1 of
//# [HTTP]). This helps prevent denial-of-service attacks.
pub fn targets(target: &Uri, response: &HeaderMap) -> Vec<Uri> {
    let mut targets = Vec::with_capacity(TARGETS_MAX);
    targets.push(target.clone());
    for name in [header::LOCATION, header::CONTENT_LOCATION] {
        let named = response
            .get(name)
            .and_then(|value| value.to_str().ok())
            .and_then(|reference| resolve(target, reference))
            .filter(|uri| Origin::of(uri) == Origin::of(target));
        targets.extend(named);
    }
    targets.dedup();
    targets
}

/// Whether a reference in a response for `target`, which is absolute, names `target` itself.
pub(crate) fn refers_to(target: &Uri, reference: &str) -> bool {
    resolve(target, reference).is_some_and(|uri| {
        uri.path_and_query() == target.path_and_query() && Origin::of(&uri) == Origin::of(target)
    })
}

/// An origin (RFC 9110 §4.3.1): scheme, host and port.
#[derive(PartialEq, Eq)]
pub(crate) struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl Origin {
    pub(crate) fn of(uri: &Uri) -> Option<Self> {
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let default = match &*scheme {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        Some(Self {
            host: uri.host()?.trim_end_matches('.').to_ascii_lowercase(),
            port: uri.port_u16().or(default),
            scheme,
        })
    }
}

impl std::fmt::Display for Origin {
    /// With the port in any case.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { scheme, host, port } = self;
        write!(f, "{scheme}://{host}:{}", port.unwrap_or_default())
    }
}

/// Resolves a reference against an absolute URI (RFC 3986 §5.2); fragments are dropped.
fn resolve(base: &Uri, reference: &str) -> Option<Uri> {
    if reference.len() > REFERENCE_MAX {
        return None;
    }
    let reference = reference.trim().split('#').next()?;
    if has_scheme(reference) {
        return with_path_normalised(&reference.parse().ok()?);
    }
    let scheme = base.scheme_str()?;
    if reference.starts_with("//") {
        return with_path_normalised(&format!("{scheme}:{reference}").parse().ok()?);
    }

    let (path, query) = match reference.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (reference, None),
    };
    let path_and_query = match (path, query) {
        ("", None) => base.path_and_query()?.to_string(),
        ("", Some(query)) => format!("{}?{query}", base.path()),
        (path, query) => {
            let path = remove_dot_segments(&merge(base.path(), path));
            query.map_or_else(|| path.clone(), |query| format!("{path}?{query}"))
        }
    };
    Uri::builder()
        .scheme(scheme)
        .authority(base.authority()?.clone())
        .path_and_query(path_and_query)
        .build()
        .ok()
}

/// `scheme = ALPHA *( ALPHA / DIGIT / "+" / "-" / "." )`, followed by a colon.
fn has_scheme(reference: &str) -> bool {
    let Some((scheme, _)) = reference.split_once(':') else {
        return false;
    };
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

fn with_path_normalised(uri: &Uri) -> Option<Uri> {
    let path = remove_dot_segments(uri.path());
    let path_and_query = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    Uri::builder()
        .scheme(uri.scheme()?.clone())
        .authority(uri.authority()?.clone())
        .path_and_query(path_and_query)
        .build()
        .ok()
}

/// RFC 3986 §5.2.3; the base always has an authority.
fn merge(base: &str, path: &str) -> String {
    if path.starts_with('/') {
        return path.to_owned();
    }
    let directory = base.rfind('/').map_or("/", |last| &base[..=last]);
    format!("{directory}{path}")
}

/// RFC 3986 §5.2.4, for a path that starts with a slash.
fn remove_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            segment => kept.push(segment),
        }
        if last && matches!(segment, "." | "..") {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::headers;
    use proptest::prelude::*;

    #[test]
    fn non_error_responses_to_unsafe_methods_invalidate() {
        #[track_caller]
        fn check(method: &str, status: u16, expected: bool) {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(invalidates(&method, status), expected, "{method} {status}");
        }
        for method in ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH"] {
            check(method, 200, true);
            check(method, 204, true);
            check(method, 303, true);
            check(method, 404, false);
            check(method, 500, false);
        }
        for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "QUERY"] {
            check(method, 200, false);
        }
    }

    #[test]
    #[rustfmt::skip]
    fn references_are_resolved_as_the_rfc_shows() {
        #[track_caller]
        fn check(reference: &str, expected: &str) {
            let base = Uri::from_static("http://a/b/c/d;p?q");
            let found = resolve(&base, reference).map(|uri| uri.to_string());
            assert_eq!(found.as_deref(), Some(expected), "{reference}");
        }
        // RFC 3986 §5.4, without fragments.
        check("g",             "http://a/b/c/g");
        check("./g",           "http://a/b/c/g");
        check("g/",            "http://a/b/c/g/");
        check("/g",            "http://a/g");
        check("//g",           "http://g/");
        check("?y",            "http://a/b/c/d;p?y");
        check("g?y",           "http://a/b/c/g?y");
        check("#s",            "http://a/b/c/d;p?q");
        check("g#s",           "http://a/b/c/g");
        check("g?y#s",         "http://a/b/c/g?y");
        check(";x",            "http://a/b/c/;x");
        check("g;x",           "http://a/b/c/g;x");
        check("",              "http://a/b/c/d;p?q");
        check(".",             "http://a/b/c/");
        check("./",            "http://a/b/c/");
        check("..",            "http://a/b/");
        check("../",           "http://a/b/");
        check("../g",          "http://a/b/g");
        check("../..",         "http://a/");
        check("../../",        "http://a/");
        check("../../g",       "http://a/g");
        check("../../../g",    "http://a/g");
        check("../../../../g", "http://a/g");
        check("/./g",          "http://a/g");
        check("/../g",         "http://a/g");
        check("g.",            "http://a/b/c/g.");
        check("..g",           "http://a/b/c/..g");
        check("./../g",        "http://a/b/g");
        check("./g/.",         "http://a/b/c/g/");
        check("g/./h",         "http://a/b/c/g/h");
        check("g/../h",        "http://a/b/c/h");
        check("g;x=1/../y",    "http://a/b/c/y");
        check("g?y/../x",      "http://a/b/c/g?y/../x");
        check("http://x/y/../z?a", "http://x/z?a");
        check("1:2",           "http://a/b/c/1:2");
    }

    #[test]
    fn only_the_same_origin_is_invalidated() {
        #[track_caller]
        fn check(location: &str, expected: &[&str]) {
            let target = Uri::from_static("https://www.example.com/shop/cart?x=1");
            let found = targets(&target, &headers(&[("location", location)]));
            let found: Vec<_> = found.iter().map(Uri::to_string).collect();
            assert_eq!(found[0], "https://www.example.com/shop/cart?x=1");
            assert_eq!(found[1..], *expected, "{location}");
        }
        check("order", &["https://www.example.com/shop/order"]);
        check(
            "https://WWW.example.com:443/order",
            &["https://WWW.example.com:443/order"],
        );
        check(
            "//www.example.com./order",
            &["https://www.example.com./order"],
        );
        check("", &[]);
        check("?x=1", &[]);
        check("http://www.example.com/order", &[]);
        check("https://www.example.com:8443/order", &[]);
        check("https://example.com/order", &[]);
        check("https://www.example.com.evil.test/order", &[]);
        check("//evil.test/order", &[]);
        check("javascript:alert(1)", &[]);
        check("http://[::", &[]);
    }

    #[test]
    fn location_and_content_location_and_no_more() {
        let target = Uri::from_static("http://a/t");
        let response = headers(&[
            ("location", "/l"),
            ("location", "/ignored"),
            ("content-location", "/c"),
            ("link", "</x>"),
        ]);
        let found = targets(&target, &response);
        assert_eq!(found.len(), TARGETS_MAX);
        assert_eq!((found[1].path(), found[2].path()), ("/l", "/c"));
    }

    #[test]
    fn a_reference_may_be_long_but_not_too_long() {
        let target = Uri::from_static("http://a/");
        let longest = "x".repeat(REFERENCE_MAX);
        assert!(resolve(&target, &longest).is_some());
        assert!(resolve(&target, &format!("{longest}x")).is_none());
    }

    proptest! {
        #[test]
        fn no_reference_panics(reference in "[ -~é]{0,40}") {
            let target = Uri::from_static("http://a/b/c?q");
            resolve(&target, &reference);
        }

        #[test]
        fn no_dot_segment_remains(reference in "[a.]{0,3}(/[a.]{0,3}){0,6}") {
            let target = Uri::from_static("http://a/b/c?q");
            if let Some(uri) = resolve(&target, &reference) {
                prop_assert!(uri.path().split('/').all(|segment| segment != "." && segment != ".."));
            }
        }
    }
}
