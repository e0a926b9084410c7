//! The cache key (RFC 9111 §2).

use std::borrow::Cow;

use http::header::{self, HeaderMap, HeaderName};

use crate::fields;
use crate::framed_hash::FramedHash;
use crate::search::SearchVariance;

/// How much of a key is shown in `Cache-Status`, in bytes; the hash covers all of it.
pub const KEY_TEXT_MAX: usize = 512;

/// What a site adds to its cache keys, and what it leaves out of the query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRules {
    /// What becomes of the query.
    pub query: QueryRules,
    /// Request fields that are part of the key.
    pub headers: Vec<HeaderName>,
    /// Cookies that are part of the key, by name.
    pub cookies: Vec<String>,
    /// Whether the origin is sent the parameters that are no part of the key.
    pub unkeyed_query: UnkeyedQuery,
}

/// Whether the origin is sent the parameters that are no part of the key.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum UnkeyedQuery {
    /// It is not: it cannot build from them what others are answered.
    #[default]
    Drop,
    /// It is.
    Pass,
}

impl KeyRules {
    /// The query that the origin is sent for a request that the cache may answer. The order is the
    /// client's.
    pub fn origin_query<'a>(&self, query: Option<&'a str>) -> Option<Cow<'a, str>> {
        let query = query?;
        match (self.unkeyed_query, &self.query.keep) {
            (UnkeyedQuery::Pass, _) | (UnkeyedQuery::Drop, Keep::All) => Some(Cow::Borrowed(query)),
            (UnkeyedQuery::Drop, keep) => {
                let kept = query
                    .split('&')
                    .filter(|parameter| keep.keeps(name_of(parameter)));
                let kept: Vec<&str> = kept.collect();
                (!kept.is_empty()).then(|| Cow::Owned(kept.join("&")))
            }
        }
    }
}

/// What becomes of the query. The default keeps it as it was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryRules {
    /// Which parameters count.
    pub keep: Keep,
    /// Whether their order counts.
    pub order: Order,
}

impl QueryRules {
    /// Whether a parameter, a name or `name=value`, is part of the key.
    pub fn has(&self, parameter: &str) -> bool {
        self.keep.keeps(name_of(parameter))
    }
}

/// Which parameters of a query are part of the key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// All of them.
    #[default]
    All,
    /// None of them: the query is ignored.
    Nothing,
    /// Only those that match a pattern.
    Only(Vec<Pattern>),
    /// All but those that match a pattern.
    Except(Vec<Pattern>),
}

/// Whether the order of parameters counts.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// As they were sent.
    #[default]
    AsSent,
    /// By name; several values of one name keep their order, which may mean something.
    ByName,
}

/// The name of a parameter, or the start of one followed by `*`.
///
/// Names are compared as they were sent: percent-encoding is not decoded, so `%75tm_x` is not `utm_x`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// This name.
    Exact(String),
    /// Every name that starts so.
    Prefix(String),
}

impl Pattern {
    /// Reads a pattern; a `*` means something only at its end.
    pub fn new(pattern: &str) -> Self {
        match pattern.strip_suffix('*') {
            Some(prefix) => Self::Prefix(prefix.to_owned()),
            None => Self::Exact(pattern.to_owned()),
        }
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == name,
            Self::Prefix(prefix) => name.starts_with(prefix.as_str()),
        }
    }
}

/// The target URI of a request, and the site that answers it.
#[derive(Copy, Clone, Debug)]
pub struct Target<'a> {
    /// The name of the site: two sites never share responses.
    pub site: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// The host in lower case, without a trailing dot.
    pub host: &'a str,
    /// The port, also if it is the scheme's default.
    pub port: u16,
    /// The path as it was sent. Nothing is decoded: an origin may tell `%2F` from `/`.
    pub path: &'a str,
    /// The query as it was sent, without the question mark.
    pub query: Option<&'a str>,
}

/// The cache key of a request.
///
/// The method is no part of it: GET and HEAD share responses. A QUERY has its content in it, see
/// [`CacheKey::with_content`], and no other method looks any up.
//= https://www.rfc-editor.org/rfc/rfc9111#section-2
//# The cache key is the information a cache uses to choose a response and is composed from, at a
//# minimum, the request method and target URI used to retrieve the stored response
#[derive(Clone, Debug)]
pub struct CacheKey {
    hash: [u8; 16],
    query: Queried,
}

/// Keys are the same whose hashes are, however their queries were written.
impl PartialEq for CacheKey {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl Eq for CacheKey {}

/// What a key has of the query, for people.
#[derive(Clone, Debug)]
enum Queried {
    /// It as it was sent, where there was one.
    AsSent,
    /// Something else, or nothing.
    As(Option<String>),
}

impl CacheKey {
    /// The key of a request for `target` with these header fields.
    pub fn new(target: &Target<'_>, rules: &KeyRules, request: &HeaderMap) -> Self {
        let query = target.query.and_then(|query| rules.query.apply(query));
        Self::build(target, rules, request, query, Search::AsSent)
    }

    /// The key that all requests share whose queries are equal to the origin (`No-Vary-Search`).
    pub fn searched(
        target: &Target<'_>,
        rules: &KeyRules,
        request: &HeaderMap,
        variance: &SearchVariance,
    ) -> Self {
        let query = target.query.and_then(|query| rules.query.apply(query));
        match variance.canonical(query.as_deref()) {
            Some(query) => {
                let query = Some(Cow::Owned(query));
                Self::build(target, rules, request, query, Search::Canonical)
            }
            None => Self::build(target, rules, request, query, Search::AsSent),
        }
    }

    /// The key of a path, whatever its query: what is known of all its queries is kept under it.
    pub fn of_path(target: &Target<'_>, rules: &KeyRules, request: &HeaderMap) -> Self {
        Self::build(target, rules, request, None, Search::Ignored)
    }

    /// The key of a request with content that says what is asked (RFC 10008 §2.7): beside the content, the fields
    /// that are about it. A request of another epoch has another key.
    #[must_use]
    pub fn with_content(self, about: &[Option<&[u8]>], content: &[u8], epoch: u64) -> Self {
        let mut hash = FramedHash::default();
        hash.part(&self.hash)
            .part(b"QUERY")
            .part(&epoch.to_be_bytes());
        for field in about {
            hash.optional(*field);
        }
        hash.part(content);
        Self {
            hash: hash.finish(),
            query: self.query,
        }
    }

    fn build(
        target: &Target<'_>,
        rules: &KeyRules,
        request: &HeaderMap,
        query: Option<Cow<'_, str>>,
        search: Search,
    ) -> Self {
        let mut hash = FramedHash::default();
        match search {
            Search::AsSent => {}
            Search::Canonical => {
                hash.part(b"search");
            }
            Search::Ignored => {
                hash.part(b"path");
            }
        }
        hash.part(target.site.as_bytes())
            .part(target.scheme.as_bytes())
            .part(target.host.as_bytes())
            .part(&target.port.to_be_bytes())
            .part(target.path.as_bytes())
            .optional(query.as_deref().map(str::as_bytes));
        for name in &rules.headers {
            hash.part(name.as_str().as_bytes())
                .optional(combined(request, name).as_deref());
        }
        for name in &rules.cookies {
            hash.part(name.as_bytes()).optional(cookie(request, name));
        }
        Self {
            hash: hash.finish(),
            query: match query {
                query if query.as_deref() == target.query => Queried::AsSent,
                query => Queried::As(query.map(Cow::into_owned)),
            },
        }
    }

    /// `BLAKE2b`-128 over the length-framed parts of the key.
    pub const fn hash(&self) -> [u8; 16] {
        self.hash
    }

    /// The URI within the key of a request for `target`, shortened to [`KEY_TEXT_MAX`]. It tells
    /// people what was looked up; chosen fields and cookies are not in it, as they may be secrets.
    pub fn text(&self, target: &Target<'_>) -> String {
        match &self.query {
            Queried::AsSent => text(target, target.query),
            Queried::As(query) => text(target, query.as_deref()),
        }
    }
}

/// What stands for the query in a key.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Search {
    /// Itself.
    AsSent,
    /// What counts of it.
    Canonical,
    /// Nothing.
    Ignored,
}

impl QueryRules {
    /// The query that is part of the key; `None` if nothing of it is.
    fn apply<'a>(&self, query: &'a str) -> Option<Cow<'a, str>> {
        if self.keep == Keep::All && self.order == Order::AsSent {
            return Some(Cow::Borrowed(query));
        }
        let mut parameters: Vec<&str> = query
            .split('&')
            .filter(|parameter| self.keep.keeps(name_of(parameter)))
            .collect();
        match self.order {
            Order::AsSent => {}
            Order::ByName => parameters.sort_by_key(|parameter| name_of(parameter)),
        }
        (!parameters.is_empty()).then(|| Cow::Owned(parameters.join("&")))
    }
}

impl Keep {
    fn keeps(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Nothing => false,
            Self::Only(patterns) => patterns.iter().any(|pattern| pattern.matches(name)),
            Self::Except(patterns) => !patterns.iter().any(|pattern| pattern.matches(name)),
        }
    }
}

fn name_of(parameter: &str) -> &str {
    parameter
        .split_once('=')
        .map_or(parameter, |(name, _)| name)
}

/// All lines of a field, joined as RFC 9110 §5.3 allows.
fn combined(request: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let lines: Vec<&[u8]> = request
        .get_all(name)
        .iter()
        .map(|line| line.as_bytes())
        .collect();
    (!lines.is_empty()).then(|| lines.join(&b", "[..]))
}

/// The first cookie of this name (RFC 6265 §4.2).
fn cookie<'a>(request: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    request
        .get_all(header::COOKIE)
        .into_iter()
        .flat_map(|line| line.as_bytes().split(|&byte| byte == b';'))
        .find_map(|pair| {
            fields::trim(pair)
                .strip_prefix(name.as_bytes())?
                .strip_prefix(b"=")
        })
}

fn text(target: &Target<'_>, query: Option<&str>) -> String {
    let Target {
        scheme,
        host,
        port,
        path,
        ..
    } = target;
    let mut text = match (*scheme, port) {
        ("http", 80) | ("https", 443) => format!("{scheme}://{host}{path}"),
        _ => format!("{scheme}://{host}:{port}{path}"),
    };
    if let Some(query) = query {
        text.push('?');
        text.push_str(query);
    }
    let end = (0..=KEY_TEXT_MAX.min(text.len())).rfind(|&end| text.is_char_boundary(end));
    text.truncate(end.unwrap_or_default());
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    const TARGET: Target<'static> = Target {
        site: "shop",
        scheme: "https",
        host: "www.example.com",
        port: 443,
        path: "/a",
        query: None,
    };

    fn key(target: Target<'_>) -> CacheKey {
        CacheKey::new(&target, &KeyRules::default(), &HeaderMap::new())
    }

    #[test]
    #[rustfmt::skip]
    fn the_origin_sees_of_the_query_what_the_key_has() {
        #[track_caller]
        fn check(keep: Keep, unkeyed_query: UnkeyedQuery, query: Option<&str>, expected: Option<&str>) {
            let rules = KeyRules {
                query: QueryRules { keep, order: Order::ByName },
                unkeyed_query,
                ..KeyRules::default()
            };
            assert_eq!(rules.origin_query(query).as_deref(), expected, "{query:?}");
        }
        use UnkeyedQuery::{Drop, Pass};
        let except = || Keep::Except(vec![Pattern::new("utm_*")]);
        check(Keep::All,     Drop, Some("b&a=1"),           Some("b&a=1"));
        check(Keep::All,     Drop, Some(""),                Some(""));
        check(Keep::Nothing, Drop, Some("b&a=1"),           None);
        check(Keep::Nothing, Pass, Some("b&a=1"),           Some("b&a=1"));
        check(except(),      Drop, Some("b&utm_x=1&a=1&b"), Some("b&a=1&b"));
        check(except(),      Drop, Some("utm_x=1"),         None);
        check(except(),      Pass, Some("utm_x=1"),         Some("utm_x=1"));
        check(except(),      Drop, None,                    None);
    }

    #[test]
    fn the_content_of_a_query_counts_and_what_is_said_about_it() {
        let with = |about: Option<&[u8]>, content: &[u8], epoch| {
            key(TARGET).with_content(&[about], content, epoch).hash()
        };
        let json = Some(&b"application/json"[..]);
        let keys = [
            key(TARGET).hash(),
            with(None, b"", 0),
            with(None, b"a", 0),
            with(json, b"a", 0),
            with(json, b"b", 0),
            with(json, b"b", 1),
        ];
        for (at, one) in keys.iter().enumerate() {
            assert!(keys[at + 1..].iter().all(|other| other != one));
        }
        assert_eq!(with(json, b"a", 0), with(json, b"a", 0));
    }

    #[test]
    fn queries_that_are_equal_to_the_origin_share_a_key() {
        let said = crate::testing::headers(&[("no-vary-search", "params=(\"utm\")")]);
        let variance = SearchVariance::read(&said).unwrap();
        let searched = |query| {
            let target = Target { query, ..TARGET };
            CacheKey::searched(&target, &KeyRules::default(), &HeaderMap::new(), &variance)
        };
        assert_eq!(searched(Some("a=1&utm=2")), searched(Some("a=1")));
        assert_eq!(searched(Some("utm=2")), searched(None));
        assert_ne!(searched(Some("a=1")), searched(Some("a=2")));
        // It is never that of one query.
        let exact = |query| key(Target { query, ..TARGET });
        assert_ne!(searched(Some("a=1")).hash(), exact(Some("a=1")).hash());
        assert_ne!(searched(None).hash(), exact(None).hash());
        let path = CacheKey::of_path(&TARGET, &KeyRules::default(), &HeaderMap::new());
        assert_ne!(path.hash(), exact(None).hash());
    }

    #[test]
    fn every_part_of_the_target_counts() {
        let targets = [
            TARGET,
            Target {
                site: "blog",
                ..TARGET
            },
            Target {
                scheme: "http",
                ..TARGET
            },
            Target {
                host: "example.com",
                ..TARGET
            },
            Target {
                port: 8443,
                ..TARGET
            },
            Target {
                path: "/A",
                ..TARGET
            },
            Target {
                path: "/%61",
                ..TARGET
            },
            Target {
                path: "/a/",
                ..TARGET
            },
            Target {
                query: Some(""),
                ..TARGET
            },
            Target {
                query: Some("a=1&b=2"),
                ..TARGET
            },
            Target {
                query: Some("b=2&a=1"),
                ..TARGET
            },
            Target {
                query: Some("a=1&&b=2"),
                ..TARGET
            },
        ];
        for (at, one) in targets.iter().enumerate() {
            for other in &targets[at + 1..] {
                assert_ne!(key(*one).hash(), key(*other).hash(), "{one:?} {other:?}");
            }
        }
        assert_eq!(key(TARGET), key(TARGET));
    }

    #[test]
    fn the_query_is_kept_dropped_and_sorted_by_rules() {
        #[track_caller]
        fn check(keep: Keep, order: Order, query: &str, expected: Option<&str>) {
            let rules = QueryRules { keep, order };
            assert_eq!(rules.apply(query).as_deref(), expected, "{query}");
        }
        let tracking = || ["utm_*", "gclid"].map(Pattern::new).to_vec();

        check(Keep::All, Order::AsSent, "b=2&&a", Some("b=2&&a"));
        check(
            Keep::All,
            Order::ByName,
            "b=2&a=2&a=1&b=1",
            Some("a=2&a=1&b=2&b=1"),
        );
        check(Keep::Nothing, Order::AsSent, "a=1", None);
        check(
            Keep::Except(tracking()),
            Order::AsSent,
            "utm_source=x&b=2&gclid=y&a=1",
            Some("b=2&a=1"),
        );
        check(
            Keep::Except(tracking()),
            Order::AsSent,
            "gclid2=y",
            Some("gclid2=y"),
        );
        check(Keep::Except(tracking()), Order::AsSent, "utm_", None);
        check(
            Keep::Except(tracking()),
            Order::AsSent,
            "%75tm_x=1",
            Some("%75tm_x=1"),
        );
        check(
            Keep::Only(tracking()),
            Order::ByName,
            "utm_b=1&a=1&gclid=",
            Some("gclid=&utm_b=1"),
        );
        check(Keep::Only(Vec::new()), Order::AsSent, "a=1", None);
        check(
            Keep::Only(vec![Pattern::new("*")]),
            Order::AsSent,
            "a=1&b",
            Some("a=1&b"),
        );
    }

    #[test]
    fn chosen_fields_and_cookies_count() {
        #[track_caller]
        fn check(
            one: &[(&'static str, &'static str)],
            other: &[(&'static str, &'static str)],
            same: bool,
        ) {
            let rules = KeyRules {
                headers: vec![HeaderName::from_static("x-country")],
                cookies: vec!["currency".to_owned()],
                ..KeyRules::default()
            };
            let hash = |lines: &[(&'static str, &'static str)]| {
                let mut request = HeaderMap::new();
                for &(name, value) in lines {
                    request.append(name, HeaderValue::from_static(value));
                }
                CacheKey::new(&TARGET, &rules, &request).hash()
            };
            assert_eq!(hash(one) == hash(other), same, "{one:?} {other:?}");
        }
        check(&[], &[("accept", "x"), ("cookie", "session=1")], true);
        check(&[("x-country", "se")], &[], false);
        check(&[("x-country", "")], &[], false);
        check(&[("x-country", "se")], &[("x-country", "no")], false);
        check(
            &[("x-country", "a"), ("x-country", "b")],
            &[("x-country", "a, b")],
            true,
        );
        check(
            &[("cookie", "a=1; currency=SEK; b=2")],
            &[("cookie", "currency=SEK")],
            true,
        );
        check(
            &[("cookie", "currency=SEK")],
            &[("cookie", "currency=NOK")],
            false,
        );
        check(&[("cookie", "currency=")], &[], false);
        check(&[("cookie", "currency2=SEK")], &[], true);
        check(
            &[("cookie", "a=1"), ("cookie", "currency=SEK")],
            &[("cookie", "currency=SEK")],
            true,
        );
    }

    #[test]
    fn the_text_is_a_uri_of_bounded_length() {
        assert_eq!(key(TARGET).text(&TARGET), "https://www.example.com/a");
        let with_port = Target {
            port: 80,
            query: Some("b"),
            ..TARGET
        };
        assert_eq!(
            key(with_port).text(&with_port),
            "https://www.example.com:80/a?b"
        );

        let long = "é".repeat(KEY_TEXT_MAX);
        let long = Target {
            path: &long,
            ..TARGET
        };
        let shown = key(long).text(&long).len();
        assert!((KEY_TEXT_MAX - 1..=KEY_TEXT_MAX).contains(&shown));
    }

    proptest! {
        #[test]
        fn sorting_forgets_the_order_of_names_only(
            mut pairs in proptest::collection::btree_map("[a-z]{1,3}", "[a-z0-9]{0,3}", 1..6)
                .prop_map(|map| map.into_iter().collect::<Vec<_>>()),
            seed: usize,
        ) {
            let rules = QueryRules { keep: Keep::All, order: Order::ByName };
            let query = |pairs: &[(String, String)]| {
                let joined: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
                rules.apply(&joined.join("&")).map(Cow::into_owned)
            };
            let before = query(&pairs);
            let by = seed % pairs.len();
            pairs.rotate_left(by);
            prop_assert_eq!(query(&pairs), before);
        }
    }
}
