//! `No-Vary-Search` (draft-ietf-httpbis-no-vary-search): the parts of a query that make no difference to a resource.
//!
//! The origin says so with each response. Two queries that are equal without those parts have the same
//! [`SearchVariance::canonical`] form, and may share a stored response.

use std::borrow::Cow;

use http::header::HeaderName;

use crate::packed::Fields;
use crate::structured;

/// The response field.
pub const NO_VARY_SEARCH: HeaderName = HeaderName::from_static("no-vary-search");

/// Names in one field that count; with more, the field says nothing.
pub const NAMES_MAX: usize = 128;
/// Parameters of a query that are compared; one with more is equal only to itself.
pub const PARAMETERS_MAX: usize = 512;

/// Which differences between two queries make none between the responses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchVariance {
    names: Names,
    order: Order,
}

/// Which parameters count.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Names {
    /// All but these, sorted.
    Except(Vec<Vec<u8>>),
    /// None but these, sorted.
    Only(Vec<Vec<u8>>),
}

/// Whether the order of parameters with different names counts.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Order {
    Counts,
    MeansNothing,
}

impl SearchVariance {
    /// What a response says. None where it says nothing, or nothing that can be understood: then every byte of the
    /// query counts.
    pub fn read(response: &impl Fields) -> Option<Self> {
        let says = structured::dictionary(response, &NO_VARY_SEARCH)?;
        let order = match says.get("key-order") {
            None => Order::Counts,
            Some(entry) => match structured::boolean(entry)? {
                true => Order::MeansNothing,
                false => Order::Counts,
            },
        };
        let except = match says.get("except") {
            None => None,
            Some(entry) => Some(structured::inner_strings(entry)?),
        };
        let names = match (says.get("params"), except) {
            (Some(entry), except) => match (structured::boolean(entry), except) {
                (Some(true), except) => Names::Only(names(except.unwrap_or_default())?),
                (Some(false), None) => Names::Except(Vec::new()),
                (Some(false), Some(_)) => return None,
                (None, None) => Names::Except(names(structured::inner_strings(entry)?)?),
                (None, Some(_)) => return None,
            },
            // Only beside `params` does it say what to do with the others.
            (None, Some(_)) => return None,
            (None, None) => Names::Except(Vec::new()),
        };
        let variance = Self { names, order };
        (!variance.is_default()).then_some(variance)
    }

    /// Whether everything counts.
    fn is_default(&self) -> bool {
        self.order == Order::Counts && self.names == Names::Except(Vec::new())
    }

    /// What counts of a query: the same for two queries exactly where they may share a response. None where there
    /// are too many parameters to tell.
    pub fn canonical(&self, query: Option<&str>) -> Option<String> {
        let query = query.unwrap_or_default();
        let mut parameters = Vec::new();
        let all = query.split('&').filter(|it| !it.is_empty());
        for (number, parameter) in all.enumerate() {
            if number == PARAMETERS_MAX {
                return None;
            }
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let (name, value) = (decoded(name), decoded(value));
            if self.counts(&name) {
                parameters.push((name, value));
            }
        }
        if self.order == Order::MeansNothing {
            // Values of one name keep their order.
            parameters.sort_by(|(one, _), (other, _)| one.cmp(other));
        }
        let written: Vec<_> = parameters
            .iter()
            .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
            .collect();
        Some(written.join("&"))
    }

    fn counts(&self, name: &[u8]) -> bool {
        let among = |names: &[Vec<u8>]| names.iter().any(|other| other == name);
        match &self.names {
            Names::Except(names) => !among(names),
            Names::Only(names) => among(names),
        }
    }
}

/// Names as they are compared: decoded as in a query. None if there are too many.
fn names(names: Vec<String>) -> Option<Vec<Vec<u8>>> {
    if names.len() > NAMES_MAX {
        return None;
    }
    let mut names: Vec<_> = names
        .iter()
        .map(|name| decoded(name).into_owned())
        .collect();
    names.sort_unstable();
    names.dedup();
    Some(names)
}

/// A name or value of `application/x-www-form-urlencoded`, decoded.
fn decoded(text: &str) -> Cow<'_, [u8]> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text.as_bytes());
    }
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => match bytes.get(at..at + 2).and_then(octet) {
                Some(octet) => {
                    at += 2;
                    octet
                }
                None => b'%',
            },
            byte => byte,
        });
    }
    Cow::Owned(decoded)
}

fn octet(digits: &[u8]) -> Option<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let value = digit(digits[0])? * 16 + digit(digits[1])?;
    u8::try_from(value).ok()
}

/// The one spelling of a name or value.
fn encoded(bytes: &[u8]) -> String {
    let mut encoded = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._*".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::headers;

    fn read(field: &str) -> Option<SearchVariance> {
        SearchVariance::read(&headers(&[("no-vary-search", field)]))
    }

    #[track_caller]
    fn check(field: &str, one: &str, other: &str, same: bool) {
        let variance = read(field).unwrap();
        let (one, other) = (Some(one), Some(other));
        let equal = variance.canonical(one) == variance.canonical(other);
        assert_eq!(equal, same, "{field}: {one:?} {other:?}");
    }

    #[test]
    #[rustfmt::skip]
    fn queries_are_equal_without_what_makes_no_difference() {
        check(r#"params=("utm")"#,          "a=1&utm=2",   "a=1",          true);
        check(r#"params=("utm")"#,          "a=1&utm=2",   "utm=3&a=1",    true);
        check(r#"params=("utm")"#,          "a=1",         "a=2",          false);
        check(r#"params=("utm")"#,          "a=1&b=2",     "b=2&a=1",      false);
        check(r#"params=("utm" "x")"#,      "x&utm&a",     "a",            true);
        check("key-order",                  "a=1&b=2",     "b=2&a=1",      true);
        check("key-order",                  "a=1&a=2",     "a=2&a=1",      false);
        check("key-order",                  "a=1",         "a=1&b=1",      false);
        check(r#"key-order, params=("c")"#, "c=3&b=2&a=1", "a=1&b=2",      true);
        check("params",                     "a=1",         "b=2&c=3",      true);
        check(r#"params, except=("id")"#,   "id=1&a=2",    "b=3&id=1",     true);
        check(r#"params, except=("id")"#,   "id=1",        "id=2",         false);
        check(r#"params, except=("id")"#,   "id=1",        "",             false);
        // As in a form: the spelling means nothing.
        check(r#"params=("a b")"#,          "a+b=1&c",     "a%20b=2&c=",   true);
        check(r#"params=("%C3%A9")"#,       "%c3%a9=1",    "",             true);
        check(r#"params=("x")"#,            "a=%7e",       "a=~",          true);
        check(r#"params=("x")"#,            "a=%zz",       "a=%25zz",      true);
        check(r#"params=("x")"#,            "a=1&&b=2",    "a=1&b=2",      true);
        check(r#"params=("x")"#,            "a=b=c",       "a=b%3Dc",      true);
        check(r#"params=("x")"#,            "a=1%262",     "a=1&2",        false);
    }

    #[test]
    #[rustfmt::skip]
    fn a_field_that_cannot_be_understood_says_nothing() {
        for field in [
            "", "params=?0", "key-order=?0", "params=1", "params=\"a\"", "params=(a)", "key-order=1",
            r#"except=("a")"#, r#"params=?0, except=("a")"#, r#"params=("a"), except=("b")"#,
            r#"params, except"#, r#"params, except="a""#, "params=(", "PARAMS",
        ] {
            assert_eq!(read(field), None, "{field}");
        }
        assert_eq!(SearchVariance::read(&http::HeaderMap::new()), None);
        // What is not known is not in the way.
        assert_eq!(read("params, other=1"), read("params"));
    }

    #[test]
    fn it_has_limits() {
        let names = |count| {
            (0..count)
                .map(|it| format!("\"{it}\""))
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert!(read(&format!("params=({})", names(NAMES_MAX))).is_some());
        assert!(read(&format!("params=({})", names(NAMES_MAX + 1))).is_none());
        let variance = read("params").unwrap();
        assert!(
            variance
                .canonical(Some(&"a&".repeat(PARAMETERS_MAX)))
                .is_some()
        );
        assert!(
            variance
                .canonical(Some(&"a&".repeat(PARAMETERS_MAX + 1)))
                .is_none()
        );
    }
}
