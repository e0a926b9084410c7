//! Cache groups (RFC 9875): responses that an origin wants to go together.
//!
//! A group is a string within one origin. What invalidates a response may name groups; every stored response of the
//! same origin in one of them is invalidated then, and this does not cascade (§2.2.1).

use http::Uri;
use http::header::{HeaderMap, HeaderName};
use http::method::Method;

use crate::invalidation::Origin;
use crate::packed::Fields;
use crate::request::Semantics;
use crate::structured;

/// The groups that a response belongs to.
pub const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");
/// The groups that a response to an unsafe request invalidates.
pub const CACHE_GROUP_INVALIDATION: HeaderName =
    HeaderName::from_static("cache-group-invalidation");

/// Groups of one field that count. RFC 9875 §2 and §3 ask for 32 at least.
pub const GROUPS_MAX: usize = 128;
/// Bytes of the name of a group that counts. RFC 9875 §2 and §3 ask for 32 characters at least.
pub const GROUP_BYTES_MAX: usize = 256;

/// The groups that a response belongs to, without what is too long or too many. A field that is no list of strings
/// names none.
pub fn memberships(response: &impl Fields) -> Vec<String> {
    groups(response, &CACHE_GROUPS)
}

/// The groups that a response invalidates.
///
/// The field means something for unsafe methods only (RFC 9875 §3). As for other invalidation, an error changes
/// nothing (RFC 9111 §4.4).
pub fn invalidated(method: &Method, succeeded: bool, response: &HeaderMap) -> Vec<String> {
    if !succeeded || Semantics::of(method) != Semantics::Unsafe {
        return Vec::new();
    }
    groups(response, &CACHE_GROUP_INVALIDATION)
}

fn groups(response: &impl Fields, name: &HeaderName) -> Vec<String> {
    let mut groups = structured::strings(response, name).unwrap_or_default();
    groups.retain(|group| group.len() <= GROUP_BYTES_MAX);
    groups.truncate(GROUPS_MAX);
    groups
}

/// The name of a group beyond its origin: two responses share a group if they have the same origin and the names are
/// the same, character by character (RFC 9875 §2.1). No tag that a field can carry is like it. None where the target
/// is not absolute.
pub fn full_name(target: &Uri, group: &str) -> Option<String> {
    let origin = Origin::of(target)?;
    // Neither an origin nor a structured string has this character.
    Some(format!("{origin}\u{1f}{group}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::headers;

    #[track_caller]
    fn check(lines: &[&str], expected: &[&str]) {
        let lines: Vec<_> = lines.iter().map(|line| ("cache-groups", *line)).collect();
        assert_eq!(memberships(&headers(&lines)), expected, "{lines:?}");
    }

    #[test]
    #[rustfmt::skip]
    fn a_group_is_a_structured_string() {
        // RFC 9875 §2, RFC 9651 §3.1 and §3.3.3
        check(&[],                              &[]);
        check(&[r#""scripts""#],                &["scripts"]);
        check(&[r#""a", "b c" , "a""#],         &["a", "b c", "a"]);
        check(&[r#""a""#, r#""b""#],            &["a", "b"]);
        check(&[r#""a"; x=1, "b";y"#],          &["a", "b"]);
        check(&[r#""a\"b\\c""#],                &["a\"b\\c"]);
        check(&[r#""a, b""#],                   &["a, b"]);
        check(&[r#""A", "a""#],                 &["A", "a"]);
        // No list of strings.
        check(&["a"],                           &[]);
        check(&[r#""a", b"#],                   &[]);
        check(&[r#""a"#],                       &[]);
        check(&[r#"("a" "b")"#],                &[]);
    }

    #[test]
    fn groups_have_limits_above_those_that_are_asked_for() {
        let many: Vec<_> = (0..=GROUPS_MAX)
            .map(|number| format!("\"{number}\""))
            .collect();
        let response = headers(&[("cache-groups", &many.join(", "))]);
        assert_eq!(memberships(&response).len(), GROUPS_MAX);
        let most = "x".repeat(GROUP_BYTES_MAX);
        let value = format!("\"{most}\", \"{most}x\", \"y\"");
        let response = headers(&[("cache-groups", &value)]);
        assert_eq!(memberships(&response), [most.as_str(), "y"]);
    }

    #[test]
    fn only_a_successful_unsafe_request_invalidates() {
        #[track_caller]
        fn check(method: &str, succeeded: bool, expected: &[&str]) {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let response = headers(&[("cache-group-invalidation", "\"a\"")]);
            assert_eq!(
                invalidated(&method, succeeded, &response),
                expected,
                "{method}"
            );
        }
        for method in ["POST", "PUT", "DELETE", "PATCH", "UNKNOWN"] {
            check(method, true, &["a"]);
            check(method, false, &[]);
        }
        for method in ["GET", "HEAD", "OPTIONS", "QUERY"] {
            check(method, true, &[]);
        }
    }

    #[test]
    fn a_group_belongs_to_one_origin() {
        let name = |uri| full_name(&Uri::from_static(uri), "g");
        assert_eq!(name("http://a.example/x"), name("http://A.example:80/y?z"));
        assert_ne!(name("http://a.example/x"), name("https://a.example/x"));
        assert_ne!(name("http://a.example/x"), name("http://b.example/x"));
        assert_ne!(name("http://a.example/x"), name("http://a.example:81/x"));
        assert_eq!(name("/x"), None);
    }
}
