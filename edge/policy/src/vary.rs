//! Selecting among responses by `Vary` (RFC 9111 §4.1).

mod cookies;
mod devices;
mod languages;
mod normalise;
mod weighted;

use std::cmp::Reverse;
use std::sync::LazyLock;

use http::header::{self, HeaderMap, HeaderName};
use serde::{Deserialize, Serialize};

use crate::fields;
use crate::framed_hash::FramedHash;
use crate::packed::Fields;
use crate::store::Stored;

pub use devices::{DEVICE_CLASS, DeviceClass};
pub use normalise::{AcceptEncoding, AcceptLanguage, Care, Cookies, UserAgent, VaryRules};
pub(crate) use weighted::Weighted;

/// How many fields a `Vary` may name; a response with more is not stored.
pub const SELECTING_FIELDS_MAX: usize = 32;

/// What tells the variants of a resource apart: a hash of the selecting header fields.
pub type Variant = [u8; 16];

/// What the `Vary` of a response nominates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Nominated {
    /// These fields, sorted and once each; none, if there is no `Vary`.
    Fields(Vec<HeaderName>),
    /// `*`, or something that is not a field name.
    Everything,
    /// More than [`SELECTING_FIELDS_MAX`].
    TooMany,
}

impl Nominated {
    pub(crate) fn by(response: &HeaderMap) -> Self {
        let mut names = Vec::new();
        for member in fields::list(response, header::VARY) {
            match HeaderName::from_bytes(member) {
                Ok(name) if name.as_str() != "*" => names.push(name),
                Ok(_) | Err(_) => return Self::Everything,
            }
        }
        names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        names.dedup();
        if names.len() > SELECTING_FIELDS_MAX {
            return Self::TooMany;
        }
        Self::Fields(names)
    }
}

/// The selecting header fields of a request, normalised: what a request has to match to be answered
/// with the same response.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selecting {
    #[serde(with = "crate::written::names")]
    names: Vec<HeaderName>,
    values: Vec<Option<Vec<u8>>>,
}

impl Selecting {
    /// The fields of these names as `request` has them.
    pub fn new(names: Vec<HeaderName>, request: &HeaderMap, rules: &VaryRules) -> Self {
        let values = names
            .iter()
            .map(|name| rules.normalised(name, request))
            .collect();
        Self { names, values }
    }

    /// The names of the fields; empty if the response does not vary.
    pub fn names(&self) -> &[HeaderName] {
        &self.names
    }

    fn fields(&self) -> impl Iterator<Item = (&HeaderName, Option<&[u8]>)> {
        self.names
            .iter()
            .zip(self.values.iter().map(Option::as_deref))
    }

    /// Whether `request` has the same selecting fields.
    ///
    //= https://www.rfc-editor.org/rfc/rfc9111#section-4.1
    //# When a cache receives a request that can be satisfied by a stored response and that stored
    //# response contains a Vary header field (Section 12.5.5 of [HTTP]), the cache MUST NOT use that
    //# stored response without revalidation unless all the presented request header fields nominated
    //# by that Vary field value match those fields in the original request
    //
    //= https://www.rfc-editor.org/rfc/rfc9111#section-4.1
    //# If (after any normalization that might take place) a header field is absent from a request, it
    //# can only match another request if it is also absent there.
    pub fn matches(&self, request: &HeaderMap, rules: &VaryRules) -> bool {
        self.mismatch(request, rules).is_none()
    }

    /// The first of the selecting fields that `request` has otherwise.
    pub fn mismatch(&self, request: &HeaderMap, rules: &VaryRules) -> Option<&HeaderName> {
        self.mismatches(request, rules).next()
    }

    fn mismatches(
        &self,
        request: &HeaderMap,
        rules: &VaryRules,
    ) -> impl Iterator<Item = &HeaderName> {
        self.fields()
            .filter(|(name, value)| rules.normalised(name, request).as_deref() != *value)
            .map(|(name, _)| name)
    }

    /// What [`variant_of`] says of the request these fields come from.
    pub fn variant(&self) -> Variant {
        variant(self.fields())
    }

    pub(crate) fn weight(&self) -> usize {
        let values: usize = self.values.iter().flatten().map(Vec::len).sum();
        let each = size_of::<HeaderName>() + size_of::<Option<Vec<u8>>>();
        self.names.len() * each + values
    }
}

/// `BLAKE2b`-128 over the selecting fields of a request: requests that match have the same.
pub fn variant_of(names: &[HeaderName], request: &HeaderMap, rules: &VaryRules) -> Variant {
    Selecting::new(names.to_vec(), request, rules).variant()
}

/// Where nothing selects, as most often.
static OF_NOTHING: LazyLock<Variant> = LazyLock::new(|| FramedHash::default().finish());

fn variant<'a>(fields: impl Iterator<Item = (&'a HeaderName, Option<&'a [u8]>)>) -> Variant {
    let mut fields = fields.peekable();
    if fields.peek().is_none() {
        return *OF_NOTHING;
    }
    let mut hash = FramedHash::default();
    for (name, value) in fields {
        hash.part(name.as_str().as_bytes()).optional(value);
    }
    hash.finish()
}

/// The selected response among the stored ones: which of `candidates`, counted from 0.
///
/// Of several the most recent counts, as determined by `Date`, and one without `Vary` only if none
/// of the others fits.
///
//= https://www.rfc-editor.org/rfc/rfc9111#section-4.1
//# When a cache has multiple stored responses for a target URI and one or more omits the Vary header
//# field, the cache SHOULD choose the most recent (see Section 4.2.3) stored response with a valid
//# Vary field value.
//
//= https://www.rfc-editor.org/rfc/rfc9111#section-4
//# When more than one suitable response is stored, a cache MUST use the most recent one (as
//# determined by the Date header field).
pub fn select<'a, F: 'a>(
    candidates: impl Iterator<Item = &'a Stored<F>>,
    request: &HeaderMap,
    rules: &VaryRules,
) -> Option<usize> {
    most_recent(candidates, |stored| {
        stored.selecting.matches(request, rules)
    })
}

/// Where none is selected: the most recent stored response in the one language that the request
/// wants most, if [`AcceptLanguage::Preferred`] allows it and nothing but `Accept-Language` differs.
/// It may be used while it is fresh, and no longer: what its validation says is about another request.
///
//= https://www.rfc-editor.org/rfc/rfc9111#section-4.1
//= type=exception
//= reason=Configured. The section lets a cache choose by quality values among responses that match; an operator who knows that the origin chooses by nothing else may let it choose among all.
//# the cache MUST NOT use that stored response without revalidation unless all the presented request
//# header fields nominated by that Vary field value match those fields in the original request
pub fn select_by_language<'a, F: Fields + 'a>(
    candidates: impl Iterator<Item = &'a Stored<F>>,
    request: &HeaderMap,
    rules: &VaryRules,
) -> Option<usize> {
    if rules.accept_language != AcceptLanguage::Preferred {
        return None;
    }
    let favourite = languages::favourite(request)?;
    most_recent(candidates, |stored| {
        let mut mismatches = stored.selecting.mismatches(request, rules);
        languages::is_in(&stored.headers, &favourite)
            && mismatches.all(|name| *name == header::ACCEPT_LANGUAGE)
    })
}

fn most_recent<'a, F: 'a>(
    candidates: impl Iterator<Item = &'a Stored<F>>,
    suits: impl Fn(&Stored<F>) -> bool,
) -> Option<usize> {
    candidates
        .enumerate()
        .filter(|(_, stored)| suits(stored))
        .min_by_key(|(_, stored)| {
            let varies = !stored.selecting.names().is_empty();
            Reverse((
                varies,
                stored.reception.generated(),
                stored.reception.response_time,
            ))
        })
        .map(|(position, _)| position)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Given, at, headers};

    /// Stores a response to one request and says whether it matches another.
    #[track_caller]
    fn check(vary: &str, original: &[(&str, &str)], presented: &[(&str, &str)], expected: bool) {
        let rules = VaryRules::default();
        let stored = Given::response(&[("cache-control", "max-age=5000"), ("vary", vary)])
            .asked(original)
            .stored();
        let presented = headers(presented);

        assert_eq!(
            stored.selecting.matches(&presented, &rules),
            expected,
            "{vary}"
        );
        let same_variant =
            variant_of(stored.selecting.names(), &presented, &rules) == stored.selecting.variant();
        assert_eq!(same_variant, expected, "variants of {vary}");
    }

    #[test]
    #[rustfmt::skip]
    fn all_nominated_fields_have_to_match() {
        check("Foo", &[("foo", "1")], &[("foo", "1")], true);
        check("Foo", &[("foo", "1")], &[("foo", "2")], false);
        check("Foo", &[],             &[("foo", "1")], false);
        check("Foo", &[("foo", "1")], &[],             false);
        check("Foo", &[],             &[("foo", "")],  false);
        check("Foo", &[("foo", "1"), ("other", "2")], &[("foo", "1"), ("other", "3")], true);
        check("Foo, Bar", &[("foo", "1"), ("bar", "abc")], &[("foo", "1"), ("bar", "abc")], true);
        check("Foo, Bar", &[("foo", "1"), ("bar", "abc")], &[("foo", "2"), ("bar", "abc")], false);
        check("Foo, Bar", &[("foo", "1"), ("bar", "abc")], &[], false);
        check("Foo, Bar, Baz", &[("foo", "1"), ("bar", "abc"), ("baz", "789")], &[("foo", "1"), ("baz", "789"), ("bar", "abc")], true);
        check("Foo, Bar, Baz", &[("foo", "1"), ("bar", "abc"), ("baz", "789")], &[("foo", "1"), ("baz", "789"), ("bar", "abcde")], false);
        check("Foo, Bar, Baz", &[("foo", "1"), ("baz", "789")], &[("foo", "1"), ("baz", "789")], true);
        check("Foo", &[("foo", "1, 2")], &[("foo", "1"), ("foo", "2")], true);
        check("Foo", &[("foo", "1,2")],  &[("foo", " 1, 2 ")], true);
        check("Foo", &[("foo", "a")],    &[("foo", "A")], false);
    }

    #[test]
    fn nominations_are_sorted_and_counted_once() {
        #[track_caller]
        fn check(lines: &[(&str, &str)], expected: &Nominated) {
            assert_eq!(Nominated::by(&headers(lines)), *expected);
        }
        let fields = |names: &[&'static str]| {
            Nominated::Fields(names.iter().copied().map(HeaderName::from_static).collect())
        };
        check(&[], &fields(&[]));
        check(&[("vary", "")], &fields(&[]));
        check(&[("vary", "B, a, b"), ("vary", "A")], &fields(&["a", "b"]));
        check(&[("vary", "a"), ("vary", "*")], &Nominated::Everything);
        check(&[("vary", "a b")], &Nominated::Everything);
    }

    #[test]
    fn the_order_of_vary_does_not_make_a_variant() {
        let given = |vary| {
            Given::response(&[("cache-control", "max-age=5000"), ("vary", vary)])
                .asked(&[("a", "1"), ("b", "2")])
                .stored()
        };
        assert_eq!(given("a, b").selecting, given("B, A").selecting);
        assert_ne!(
            given("a").selecting.variant(),
            given("b").selecting.variant()
        );
    }

    #[test]
    fn the_most_recent_is_selected_and_one_that_varies_before_one_that_does_not() {
        let given = |vary: &str, a: &str, date: u64| {
            let given = Given::response(&[
                ("cache-control", "max-age=5000"),
                ("date", &at(date).http_date()),
            ])
            .asked(&[("a", a)]);
            if vary.is_empty() {
                given
            } else {
                given.and("vary", vary)
            }
            .stored()
        };
        let stored = [
            given("a", "1", 10),
            given("a", "1", 30),
            given("a", "2", 40),
            given("", "", 50),
            given("a", "1", 20),
        ];
        #[track_caller]
        fn check(stored: &[Stored], a: &str, expected: Option<usize>) {
            let found = select(stored.iter(), &headers(&[("a", a)]), &VaryRules::default());
            assert_eq!(found, expected, "a: {a}");
        }
        check(&stored, "1", Some(1));
        check(&stored, "2", Some(2));
        check(&stored, "3", Some(3));
        check(&stored[..3], "3", None);
        check(&[], "1", None);
    }

    #[test]
    #[rustfmt::skip]
    fn a_language_is_selected_by_weight_where_the_operator_says_so() {
        let given = |asked: &str, language: &str| {
            Given::response(&[
                ("cache-control", "max-age=5000"),
                ("vary", "accept-language, x"),
                ("content-language", language),
            ])
            .asked(&[("accept-language", asked), ("x", "1")])
            .stored()
        };
        let stored = [given("en, de", "de"), given("fr", "fr, en"), given("pt", "pt-BR")];
        let preferred = VaryRules {
            accept_language: AcceptLanguage::Preferred,
            ..VaryRules::default()
        };
        let found = |asked: &str, x: &str, rules: &VaryRules| {
            let request = headers(&[("accept-language", asked), ("x", x)]);
            assert_eq!(select(stored.iter(), &request, rules), None, "{asked}");
            select_by_language(stored.iter(), &request, rules)
        };
        assert_eq!(found("fr;q=0.5, de;q=1.0", "1", &preferred), Some(0));
        assert_eq!(found("DE, en;q=0.9",       "1", &preferred), Some(0));
        assert_eq!(found("pt-br, pt;q=0.9",    "1", &preferred), Some(2));
        // Another field differs; or the origin may have something that is wanted as much, or more.
        assert_eq!(found("de, fr;q=0.5",       "2", &preferred), None);
        assert_eq!(found("it, de;q=0.9",       "1", &preferred), None);
        assert_eq!(found("it, de",             "1", &preferred), None);
        assert_eq!(found("de-AT, de;q=0.9",    "1", &preferred), None);
        assert_eq!(found("fr;q=0.5",           "1", &preferred), None);
        assert_eq!(found("de, fr;q=0.5",       "1", &VaryRules::default()), None);
    }
}
