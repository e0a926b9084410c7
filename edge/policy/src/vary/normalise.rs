//! Selecting header fields in one spelling (RFC 9111 §4.1).

use std::borrow::Cow;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::cookies;
use super::devices::{self, DEVICE_CLASS, DeviceClass};
use super::languages::{languages, one_language};
use super::weighted::{Weighted, weighted};
use crate::fields;

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
    /// What counts of `Cookie`.
    pub cookies: Cookies,
    /// What counts of `User-Agent`.
    pub user_agent: UserAgent,
    /// Fields that do not reach the origin as clients send them, so that they do not count.
    pub unseen: Vec<HeaderName>,
    /// Fields that the node writes for each client: what varies on them is for that client.
    pub own: Vec<HeaderName>,
}

/// What counts of `Cookie`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cookies {
    /// Every byte but whitespace.
    #[default]
    All,
    /// The first cookie of each of these names.
    ///
    /// The origin has to see the same: [`VaryRules::rewrite_cookies`] of the request that is forwarded.
    Only(Vec<String>),
}

/// What counts of `User-Agent`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum UserAgent {
    /// Every byte but whitespace.
    #[default]
    Exact,
    /// Which of these classes of devices it belongs to: the first that fits.
    ///
    /// The origin is told in [`DEVICE_CLASS`], and may vary on that field instead.
    Classes(Vec<DeviceClass>),
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
    /// As in `Normalise`; and where nothing that is stored matches, a response in the one language
    /// that is wanted most will do (`Content-Language`).
    ///
    /// That is more than RFC 9111 §4.1 allows by itself. The operator says that the origin chooses by
    /// nothing but the weights: then it has that language, and would choose it again.
    Preferred,
    /// Which of these languages fits best.
    ///
    /// The origin has to see the same: [`VaryRules::rewrite`] the request that is forwarded.
    Among(Vec<String>),
}

/// What the operator does about a field that responses vary on.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Care {
    /// Nothing: every spelling is a variant.
    None,
    /// It counts as far as it means something.
    Normalised,
    /// It does not count, although the origin chooses by it.
    Ignored,
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
    CookiesOf(&'a [String]),
    ClassOf(&'a [DeviceClass]),
}

impl VaryRules {
    /// The field as it counts in this request; `None` if it is absent.
    pub(crate) fn normalised(&self, name: &HeaderName, request: &HeaderMap) -> Option<Vec<u8>> {
        let rule = self.rule(name);
        if rule == Rule::Ignore {
            return None;
        }
        let name = match rule {
            Rule::ClassOf(classes) if !request.contains_key(header::USER_AGENT) => {
                return Some(devices::class_of(b"", classes).into());
            }
            Rule::ClassOf(_) => &header::USER_AGENT,
            _ => name,
        };
        let mut lines = request.get_all(name).iter();
        let first = lines.next()?.as_bytes();
        let separator = match rule {
            Rule::CookiesOf(_) => &b"; "[..],
            _ => &b", "[..],
        };
        let value = lines.fold(Cow::Borrowed(first), |value, line| {
            Cow::Owned([&value, separator, line.as_bytes()].concat())
        });
        Some(rule.apply(&value)).filter(|value| match rule {
            // Without any of them it is as if there were none at all.
            Rule::CookiesOf(_) => !value.is_empty(),
            _ => true,
        })
    }

    fn rule(&self, name: &HeaderName) -> Rule<'_> {
        if self.ignore.contains(name) || self.unseen.contains(name) {
            return Rule::Ignore;
        }
        if let UserAgent::Classes(classes) = &self.user_agent
            && (*name == header::USER_AGENT || *name == DEVICE_CLASS)
        {
            return Rule::ClassOf(classes);
        }
        if let Cookies::Only(names) = &self.cookies
            && *name == header::COOKIE
        {
            return Rule::CookiesOf(names);
        }
        if *name == header::ACCEPT_ENCODING {
            return match self.accept_encoding {
                AcceptEncoding::Normalise => Rule::Codings,
                AcceptEncoding::Exact => Rule::Exact,
            };
        }
        if *name == header::ACCEPT_LANGUAGE {
            return match &self.accept_language {
                AcceptLanguage::Normalise | AcceptLanguage::Preferred => Rule::Languages,
                AcceptLanguage::Exact => Rule::Exact,
                AcceptLanguage::Among(languages) => Rule::OneLanguageOf(languages),
            };
        }
        Rule::List
    }

    /// Rewrites a request on its way to the origin where a rule makes requests alike that the RFC
    /// tells apart: the origin must not choose by what the cache does not see.
    pub fn rewrite(&self, request: &mut HeaderMap) {
        self.rewrite_language(request);
        if let UserAgent::Classes(_) = self.user_agent {
            let class = self.normalised(&DEVICE_CLASS, request);
            if let Some(class) = class.and_then(|class| HeaderValue::try_from(class).ok()) {
                request.insert(DEVICE_CLASS, class);
            }
        }
    }

    /// As [`Self::rewrite`], for requests that the cache may answer: others keep all their cookies. `keyed` are those
    /// that the key has.
    pub fn rewrite_cookies(&self, request: &mut HeaderMap, keyed: &[String]) {
        let Cookies::Only(names) = &self.cookies else {
            return;
        };
        let lines = request.get_all(header::COOKIE).iter();
        let lines: Vec<&[u8]> = lines.map(|line| line.as_bytes()).collect();
        let kept = cookies::only(&lines.join(&b"; "[..]), names.iter().chain(keyed));
        request.remove(header::COOKIE);
        if let Ok(kept) = HeaderValue::try_from(kept)
            && !kept.is_empty()
        {
            request.insert(header::COOKIE, kept);
        }
    }

    /// Whether one of these fields is written by the node for each client.
    pub(crate) fn tells_clients_apart(&self, names: &[HeaderName]) -> bool {
        names.iter().any(|name| self.own.contains(name))
    }

    /// How a field that a response varies on is treated.
    pub fn care_for(&self, name: &HeaderName) -> Care {
        if self.ignore.contains(name) {
            return Care::Ignored;
        }
        match self.rule(name) {
            Rule::Exact | Rule::List => Care::None,
            Rule::Ignore
            | Rule::Codings
            | Rule::Languages
            | Rule::OneLanguageOf(_)
            | Rule::CookiesOf(_)
            | Rule::ClassOf(_) => Care::Normalised,
        }
    }

    fn rewrite_language(&self, request: &mut HeaderMap) {
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
        let normalised = match self {
            Self::Exact => Some(value.to_vec()),
            Self::Codings => weighted(value).map(codings),
            Self::Languages => weighted(value).map(languages),
            Self::OneLanguageOf(available) => {
                weighted(value).map(|wanted| one_language(&wanted, available))
            }
            Self::CookiesOf(names) => Some(cookies::only(value, names.iter())),
            Self::ClassOf(classes) => Some(devices::class_of(value, classes).into()),
            Self::List | Self::Ignore => None,
        };
        // What cannot be understood is a list of something else.
        normalised.unwrap_or_else(|| list(value))
    }
}

fn list(value: &[u8]) -> Vec<u8> {
    fields::members(value).collect::<Vec<_>>().join(&b","[..])
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
    fn every_field_has_its_rule() {
        let rules = VaryRules {
            ignore: vec![header::USER_AGENT],
            accept_encoding: AcceptEncoding::Exact,
            ..VaryRules::default()
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
