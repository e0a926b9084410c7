//! Languages (RFC 9110 §12.5.4): in one spelling, and the one that is wanted most.

use std::cmp::Reverse;

use http::header::{self, HeaderMap};

use super::weighted::{FULL_WEIGHT, Weighted, weighted};
use crate::fields;
use crate::packed::Fields;

/// The languages from the most wanted to the least, those of one weight in alphabetical order.
pub(super) fn languages(mut languages: Vec<Weighted>) -> Vec<u8> {
    languages.sort_unstable_by(|one, other| {
        (Reverse(one.weight), &one.item).cmp(&(Reverse(other.weight), &other.item))
    });
    languages.dedup();
    let written: Vec<Vec<u8>> = languages
        .into_iter()
        .map(|Weighted { item, weight }| match weight {
            FULL_WEIGHT => item,
            _ => [&item[..], format!(";q=0.{weight:03}").as_bytes()].concat(),
        })
        .collect();
    written.join(&b","[..])
}

/// The available language that is wanted most; empty if none is.
///
/// A range fits a language that it is equal to or a prefix of, and a language that is a prefix of it
/// (RFC 4647 §3.3.1 and §3.4): `en-GB` is served with `en`, and `en` with `en-GB`.
pub(super) fn one_language(wanted: &[Weighted], available: &[String]) -> Vec<u8> {
    let weight = |language: &[u8]| {
        let fitting = wanted.iter().filter(|range| fits(&range.item, language));
        fitting
            .max_by_key(|range| range.item.len())
            .map_or(0, |range| range.weight)
    };
    available
        .iter()
        .map(|language| language.to_ascii_lowercase().into_bytes())
        .map(|language| (weight(&language), language))
        .filter(|(weight, _)| *weight > 0)
        .rev()
        .max_by_key(|(weight, _)| *weight)
        .map_or_else(Vec::new, |(_, language)| language)
}

fn fits(range: &[u8], language: &[u8]) -> bool {
    let is_prefix = |short: &[u8], long: &[u8]| {
        long.strip_prefix(short)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"-"))
    };
    range == b"*" || is_prefix(range, language) || is_prefix(language, range)
}

/// The one language that a request wants more than any other; `None` where it names none, or several
/// with the same weight.
pub(super) fn favourite(request: &HeaderMap) -> Option<Vec<u8>> {
    let lines = request.get_all(header::ACCEPT_LANGUAGE).iter();
    let lines: Vec<&[u8]> = lines.map(|line| line.as_bytes()).collect();
    let wanted = weighted(&lines.join(&b", "[..]))?;
    let most = wanted.iter().map(|range| range.weight).max()?;
    let mut favourites = wanted.into_iter().filter(|range| range.weight == most);
    let favourite = favourites.next()?;
    let alone = favourites.all(|other| other.item == favourite.item);
    (most > 0 && alone && favourite.item != b"*").then_some(favourite.item)
}

/// Whether a response is in this language, and in no other (RFC 9110 §8.5).
pub(super) fn is_in(response: &impl Fields, language: &[u8]) -> bool {
    let mut languages = fields::list(response, header::CONTENT_LANGUAGE);
    let only = languages.next().filter(|_| languages.next().is_none());
    only.is_some_and(|only| only.eq_ignore_ascii_case(language))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::headers;

    #[test]
    fn a_favourite_is_wanted_more_than_any_other() {
        #[track_caller]
        fn check(accept_language: &str, expected: Option<&str>) {
            let request = headers(&[("accept-language", accept_language)]);
            let found = favourite(&request);
            assert_eq!(
                found.as_deref(),
                expected.map(str::as_bytes),
                "{accept_language}"
            );
        }
        check("de", Some("de"));
        check("fr;q=0.5, de;q=1.0", Some("de"));
        check("de-AT, de;q=0.9, en;q=0.8", Some("de-at"));
        check("fr;q=0.5, *;q=0.1", Some("fr"));
        check("DE, de", Some("de"));
        check("en, de", None);
        check("*", None);
        check("de;q=0", None);
        check("de;q=high", None);
        check("", None);
        assert_eq!(favourite(&HeaderMap::new()), None);
    }

    #[test]
    fn a_response_is_in_one_language_or_in_none() {
        #[track_caller]
        fn check(lines: &[(&str, &str)], expected: bool) {
            assert_eq!(is_in(&headers(lines), b"de"), expected, "{lines:?}");
        }
        check(&[("content-language", "de")], true);
        check(&[("content-language", "DE")], true);
        check(&[("content-language", "de-AT")], false);
        check(&[("content-language", "de, en")], false);
        check(
            &[("content-language", "de"), ("content-language", "en")],
            false,
        );
        check(&[], false);
    }
}
