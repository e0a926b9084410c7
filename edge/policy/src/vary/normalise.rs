//! Selecting header fields in one spelling (RFC 9111 §4.1).

use std::borrow::Cow;
use std::cmp::Reverse;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::fields;

/// Weights are thousandths: a qvalue has at most three digits (RFC 9110 §12.4.2).
const FULL_WEIGHT: u16 = 1000;

/// How selecting header fields are normalised.
///
/// Two requests match if one can be made the other by changes that mean nothing (RFC 9111 §4.1); the
/// operator may say that more means nothing. Of a field that is not mentioned here, lines are combined
/// and whitespace around commas does not count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VaryRules {
    /// Fields that do not count, whatever `Vary` says.
    pub ignore: Vec<HeaderName>,
    /// What counts of `Accept-Encoding`.
    pub accept_encoding: AcceptEncoding,
    /// What counts of `Accept-Language`.
    pub accept_language: AcceptLanguage,
}

/// What counts of `Accept-Encoding`.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum AcceptEncoding {
    /// The set of codings that are acceptable, without their order and weights: what suits one client
    /// suits every other with the same set.
    #[default]
    Normalise,
    /// Every byte.
    Exact,
}

/// What counts of `Accept-Language`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AcceptLanguage {
    /// The languages and their weights, without case, whitespace, and the order of those of the same
    /// weight.
    #[default]
    Normalise,
    /// Every byte.
    Exact,
    /// Which of these languages fits best.
    ///
    /// The origin has to see the same: [`VaryRules::rewrite`] the request that is forwarded.
    Among(Vec<String>),
}

/// What is done to the value of a field.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Rule<'a> {
    Ignore,
    Exact,
    List,
    Codings,
    Languages,
    OneLanguageOf(&'a [String]),
}

impl VaryRules {
    /// The field as it counts in this request; `None` if it is absent.
    pub(crate) fn normalised(&self, name: &HeaderName, request: &HeaderMap) -> Option<Vec<u8>> {
        let rule = self.rule(name);
        if rule == Rule::Ignore {
            return None;
        }
        let mut lines = request.get_all(name).iter();
        let first = lines.next()?.as_bytes();
        let value = lines.fold(Cow::Borrowed(first), |value, line| {
            Cow::Owned([&value, &b", "[..], line.as_bytes()].concat())
        });
        Some(rule.apply(&value))
    }

    fn rule(&self, name: &HeaderName) -> Rule<'_> {
        if self.ignore.contains(name) {
            return Rule::Ignore;
        }
        if *name == header::ACCEPT_ENCODING {
            return match self.accept_encoding {
                AcceptEncoding::Normalise => Rule::Codings,
                AcceptEncoding::Exact => Rule::Exact,
            };
        }
        if *name == header::ACCEPT_LANGUAGE {
            return match &self.accept_language {
                AcceptLanguage::Normalise => Rule::Languages,
                AcceptLanguage::Exact => Rule::Exact,
                AcceptLanguage::Among(languages) => Rule::OneLanguageOf(languages),
            };
        }
        Rule::List
    }

    /// Rewrites a request on its way to the origin where a rule makes requests alike that the RFC
    /// tells apart: the origin must not choose by what the cache does not see.
    pub fn rewrite(&self, request: &mut HeaderMap) {
        let AcceptLanguage::Among(_) = self.accept_language else {
            return;
        };
        let Some(language) = self.normalised(&header::ACCEPT_LANGUAGE, request) else {
            return;
        };
        request.remove(header::ACCEPT_LANGUAGE);
        if let Ok(value) = HeaderValue::from_bytes(&language)
            && !value.is_empty()
        {
            request.insert(header::ACCEPT_LANGUAGE, value);
        }
    }
}

impl Rule<'_> {
    fn apply(self, value: &[u8]) -> Vec<u8> {
        let weighted = || {
            fields::members(value)
                .map(Weighted::parse)
                .collect::<Option<Vec<_>>>()
        };
        let normalised = match self {
            Self::Exact => Some(value.to_vec()),
            Self::Codings => weighted().map(codings),
            Self::Languages => weighted().map(languages),
            Self::OneLanguageOf(available) => {
                weighted().map(|wanted| one_language(&wanted, available))
            }
            Self::List | Self::Ignore => None,
        };
        // What cannot be understood is a list of something else.
        normalised.unwrap_or_else(|| list(value))
    }
}

fn list(value: &[u8]) -> Vec<u8> {
    fields::members(value).collect::<Vec<_>>().join(&b","[..])
}

/// A member of a list with a weight (RFC 9110 §12.4.2), in lower case.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Weighted {
    pub(crate) item: Vec<u8>,
    pub(crate) weight: u16,
}

impl Weighted {
    /// `None` if there is more to the member than an item and a weight.
    pub(crate) fn parse(member: &[u8]) -> Option<Self> {
        let mut parts =
            fields::split(member, b';').map(|part| fields::trim(part).to_ascii_lowercase());
        let item = parts.next().filter(|item| !item.is_empty())?;
        let weight = match parts.next() {
            None => FULL_WEIGHT,
            Some(parameter) => qvalue(parameter.strip_prefix(b"q=")?)?,
        };
        parts.next().is_none().then_some(Self { item, weight })
    }
}

/// `qvalue = ( "0" [ "." 0*3DIGIT ] ) / ( "1" [ "." 0*3("0") ] )`, in thousandths.
fn qvalue(value: &[u8]) -> Option<u16> {
    let (whole, fraction) = match value {
        [whole, b'.', fraction @ ..] => (*whole, fraction),
        [whole] => (*whole, &[][..]),
        _ => return None,
    };
    if !matches!(whole, b'0' | b'1')
        || fraction.len() > 3
        || !fraction.iter().all(u8::is_ascii_digit)
    {
        return None;
    }
    let thousandths = [100, 10, 1]
        .iter()
        .zip(fraction)
        .map(|(place, digit)| place * u16::from(digit - b'0'))
        .sum::<u16>();
    let weight = u16::from(whole - b'0') * FULL_WEIGHT + thousandths;
    (weight <= FULL_WEIGHT).then_some(weight)
}

/// The set of acceptable codings, sorted.
///
/// What is refused counts where it is not refused anyhow: `identity`, and anything beside `*`.
fn codings(mut codings: Vec<Weighted>) -> Vec<u8> {
    let anything = codings
        .iter()
        .any(|coding| coding.item == b"*" && coding.weight > 0);
    let nothing_else = codings
        .iter()
        .any(|coding| coding.item == b"*" && coding.weight == 0);
    codings.retain(|coding| match (&*coding.item, coding.weight) {
        (b"identity", 0) | (b"*", _) => true,
        (b"identity", _) => nothing_else,
        (_, 0) => anything,
        _ => true,
    });

    let mut names: Vec<Vec<u8>> = codings
        .into_iter()
        .map(|Weighted { item, weight }| {
            // "Recipients SHOULD consider "x-gzip" to be equivalent to "gzip"" (RFC 9110 §8.4.1.3).
            let name = if item == b"x-gzip" {
                b"gzip".to_vec()
            } else {
                item
            };
            if weight == 0 {
                [&name[..], b";q=0"].concat()
            } else {
                name
            }
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names.join(&b","[..])
}

/// The languages from the most wanted to the least, those of one weight in alphabetical order.
fn languages(mut languages: Vec<Weighted>) -> Vec<u8> {
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
fn one_language(wanted: &[Weighted], available: &[String]) -> Vec<u8> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::headers;
    use proptest::prelude::*;

    #[track_caller]
    fn check(rule: Rule<'_>, value: &str, expected: &str) {
        let found = rule.apply(value.as_bytes());
        assert_eq!(String::from_utf8_lossy(&found), expected, "{value}");
    }

    #[test]
    fn lists_lose_their_whitespace() {
        check(Rule::List, " 1, 2\t,3 ", "1,2,3");
        check(Rule::List, r#"a="1, 2" , b"#, r#"a="1, 2",b"#);
        check(Rule::List, "Mozilla/5.0 (X11; rv)", "Mozilla/5.0 (X11; rv)");
        check(Rule::Exact, " 1, 2", " 1, 2");
    }

    #[test]
    fn codings_are_a_set() {
        let rule = Rule::Codings;
        check(rule, "gzip, br", "br,gzip");
        check(rule, "BR;q=0.5,GZip ; q=1.0", "br,gzip");
        check(rule, "gzip, gzip, x-gzip", "gzip");
        check(rule, "gzip, br;q=0", "gzip");
        check(rule, "gzip, identity", "gzip");
        check(rule, "identity;q=0, gzip", "gzip,identity;q=0");
        check(rule, "*, br;q=0", "*,br;q=0");
        check(rule, "*;q=0, identity, gzip", "*;q=0,gzip,identity");
        check(rule, "gzip;q=0", "");
        check(rule, "", "");
        check(rule, "gzip;q=2, br", "gzip;q=2,br");
        check(rule, "gzip;level=9, br", "gzip;level=9,br");
    }

    #[test]
    fn languages_are_sorted_by_weight() {
        let rule = Rule::Languages;
        for same in [
            "en, de",
            "de, en",
            "eN, De",
            " en ,   de",
            "de;q=1.0, en;q=1",
        ] {
            check(rule, same, "de,en");
        }
        check(rule, "fr;q=0.5, de;q=1.0", "de,fr;q=0.500");
        check(
            rule,
            "en-GB, en;q=0.8, *;q=0.01",
            "en-gb,en;q=0.800,*;q=0.010",
        );
        check(rule, "en;q=0.8, de;q=0.9", "de;q=0.900,en;q=0.800");
        check(rule, "en;q=high, de", "en;q=high,de");
    }

    #[test]
    fn one_language_is_chosen() {
        let available: Vec<String> = vec!["en".into(), "de".into(), "pt-BR".into()];
        let rule = Rule::OneLanguageOf(&available);
        check(rule, "de, en", "en");
        check(rule, "de, en;q=0.9", "de");
        check(rule, "de-AT, fr", "de");
        check(rule, "pt", "pt-br");
        check(rule, "fr, *;q=0.1", "en");
        check(rule, "*, en;q=0", "de");
        check(rule, "fr", "");
        check(rule, "eng", "");
    }

    #[test]
    fn weights_are_thousandths() {
        #[track_caller]
        fn check(value: &str, expected: Option<u16>) {
            assert_eq!(qvalue(value.as_bytes()), expected, "{value}");
        }
        check("1", Some(1000));
        check("1.", Some(1000));
        check("1.000", Some(1000));
        check("0", Some(0));
        check("0.5", Some(500));
        check("0.05", Some(50));
        check("0.999", Some(999));
        for garbage in ["", ".5", "2", "1.001", "0.1234", "0,5", "-0", "0.x", "01"] {
            check(garbage, None);
        }
    }

    #[test]
    fn every_field_has_its_rule() {
        let rules = VaryRules {
            ignore: vec![header::USER_AGENT],
            accept_encoding: AcceptEncoding::Exact,
            accept_language: AcceptLanguage::Normalise,
        };
        #[track_caller]
        fn check(rules: &VaryRules, name: &'static str, value: &str, expected: Option<&str>) {
            let request = headers(&[(name, value)]);
            let found = rules.normalised(&HeaderName::from_static(name), &request);
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{name}");
        }
        check(&rules, "user-agent", "x", None);
        check(&rules, "accept-encoding", "br,  gzip", Some("br,  gzip"));
        check(&rules, "accept-language", "b, a", Some("a,b"));
        check(&rules, "accept", "b,  a", Some("b,a"));
        check(
            &VaryRules::default(),
            "accept-encoding",
            "gzip, br",
            Some("br,gzip"),
        );
    }

    #[test]
    fn the_origin_sees_the_language_that_was_chosen() {
        let languages = vec!["en".to_owned(), "de".to_owned()];
        let rules = VaryRules {
            accept_language: AcceptLanguage::Among(languages),
            ..VaryRules::default()
        };
        #[track_caller]
        fn check(rules: &VaryRules, asked: &[(&str, &str)], forwarded: &[(&str, &str)]) {
            let mut request = headers(asked);
            rules.rewrite(&mut request);
            assert_eq!(request, headers(forwarded));
        }
        let other = ("accept-encoding", "gzip,  br;q=0.1");
        let german = ("accept-language", "de-AT, en;q=0.5");
        check(
            &rules,
            &[german, other],
            &[("accept-language", "de"), other],
        );
        check(&rules, &[("accept-language", "fr")], &[]);
        check(&rules, &[other], &[other]);
        check(&VaryRules::default(), &[german], &[german]);
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(value in "[a-z*]{1,3}(;q=0\\.[0-9]{1,3})?(, ?[a-z]{1,3}(; q=1)?){0,4}") {
            for rule in [Rule::List, Rule::Codings, Rule::Languages] {
                let once = rule.apply(value.as_bytes());
                prop_assert_eq!(rule.apply(&once), once);
            }
        }

        #[test]
        fn no_value_panics(value in proptest::collection::vec(any::<u8>(), 0..60)) {
            let available = vec!["en".to_owned(), "de-AT".to_owned()];
            for rule in [
                Rule::Exact,
                Rule::List,
                Rule::Codings,
                Rule::Languages,
                Rule::OneLanguageOf(&available),
            ] {
                rule.apply(&value);
            }
        }
    }
}
