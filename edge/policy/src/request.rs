//! What a request asks of a cache (RFC 9111 §5.2.1), and whether a cache is asked at all.

use std::time::Duration;

use http::header::{self, HeaderMap};
use http::method::Method;

use crate::cache_control::{self, Directive};
use crate::fields;
use crate::settings::{ClientControl, Settings};

/// How a request begins its way.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Look for a stored response; GET and HEAD, and QUERY with its content (RFC 10008 §2.7).
    Lookup,
    /// Pass it on, store nothing, invalidate nothing.
    Bypass(Bypass),
    /// Pass it on, then invalidate.
    ///
    //= https://www.rfc-editor.org/rfc/rfc9111#section-4
    //# A cache MUST write through requests with methods that are unsafe (Section 9.2.1 of [HTTP]) to
    //# the origin server; i.e., a cache is not allowed to generate a reply to such a request before
    //# having forwarded the request and having received a corresponding response.
    Forward,
}

/// Why the cache is passed by.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Bypass {
    /// A safe method without cacheable responses, or a tunnel.
    Method,
    /// The connection is to become another protocol.
    Upgrade,
    /// `no-store` in the request, where clients are obeyed.
    NoStore,
}

impl Bypass {
    /// A token for logs and `Cache-Status`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Upgrade => "upgrade",
            Self::NoStore => "request-no-store",
        }
    }
}

/// Decides how a request begins its way, by what it was read to ask of a cache under the same settings. Whether a GET
/// with a body is one is for the caller to say.
pub fn plan(
    method: &Method,
    headers: &HeaderMap,
    terms: &RequestTerms,
    settings: &Settings,
) -> Plan {
    match Semantics::of(method) {
        Semantics::Unsafe => Plan::Forward,
        Semantics::Safe => Plan::Bypass(Bypass::Method),
        Semantics::Retrieval if headers.contains_key(header::UPGRADE) => {
            Plan::Bypass(Bypass::Upgrade)
        }
        Semantics::Retrieval => match (settings.client_control, terms.forbids_storing()) {
            (ClientControl::Obey, true) => Plan::Bypass(Bypass::NoStore),
            _ => Plan::Lookup,
        },
    }
}

/// What a method means for a cache.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Semantics {
    /// GET, HEAD and QUERY: responses are stored and reused.
    Retrieval,
    /// Changes nothing, and its responses are not stored.
    Safe,
    /// Changes something, or may: "including methods whose safety is unknown" (RFC 9111 §4.4).
    Unsafe,
}

impl Semantics {
    /// The safe methods of the IANA registry; CONNECT is not safe, but names no resource either.
    pub(crate) fn of(method: &Method) -> Self {
        match method.as_str() {
            "GET" | "HEAD" | "QUERY" => Self::Retrieval,
            "OPTIONS" | "TRACE" | "CONNECT" | "PROPFIND" | "REPORT" | "SEARCH" | "PRI" => {
                Self::Safe
            }
            _ => Self::Unsafe,
        }
    }
}

/// What a request asks of a cache, as far as the settings let it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestTerms {
    max_age: Option<Duration>,
    max_stale: Option<Duration>,
    min_fresh: Option<Duration>,
    flags: u8,
}

#[derive(Copy, Clone)]
#[repr(u8)]
enum Flag {
    NoCache = 1,
    NoStore = 1 << 1,
    OnlyIfCached = 1 << 2,
    Authorization = 1 << 3,
    Range = 1 << 4,
    Preconditions = 1 << 5,
}

impl RequestTerms {
    /// Reads a request.
    pub fn read(method: &Method, headers: &HeaderMap, settings: &Settings) -> Self {
        let mut terms = Self {
            max_age: None,
            max_stale: None,
            min_fresh: None,
            flags: 0,
        };
        terms.read_fields(method, headers);
        for directive in cache_control::directives(headers) {
            terms.add(&directive, settings.client_control);
        }
        terms.read_pragma(headers, settings.client_control);
        terms
    }

    fn read_fields(&mut self, method: &Method, headers: &HeaderMap) {
        // There are fewer fields than names to look up.
        for name in headers.keys() {
            self.set_if(*name == header::AUTHORIZATION, Flag::Authorization);
            let range = *name == header::RANGE && *method == Method::GET;
            self.set_if(range, Flag::Range);
            let conditional = crate::validation::PRECONDITIONS.contains(name);
            self.set_if(conditional, Flag::Preconditions);
        }
    }

    /// Adds a directive. Garbage asks for the most: no age, no staleness, infinite freshness.
    fn add(&mut self, directive: &Directive<'_>, control: ClientControl) {
        let validate = control != ClientControl::Ignore;
        let obey = control == ClientControl::Obey;
        match &*directive.name {
            b"only-if-cached" => self.set_if(true, Flag::OnlyIfCached),
            b"no-cache" => self.set_if(validate, Flag::NoCache),
            b"no-store" => self.set_if(validate, Flag::NoStore),
            b"max-age" if validate => {
                least(&mut self.max_age, directive.seconds_or(Duration::ZERO))
            }
            b"max-stale" if obey => least(&mut self.max_stale, max_stale(directive)),
            b"min-fresh" if obey => {
                let asked = directive.seconds_or(fields::DELTA_SECONDS_MAX);
                self.min_fresh = self.min_fresh.max(Some(asked));
            }
            _ => {}
        }
    }

    /// `Pragma: no-cache` (RFC 9111 §5.4) counts only without `Cache-Control`, which replaced it.
    fn read_pragma(&mut self, headers: &HeaderMap, control: ClientControl) {
        let applies =
            control != ClientControl::Ignore && !headers.contains_key(header::CACHE_CONTROL);
        let no_cache = fields::list(headers, header::PRAGMA)
            .any(|member| member.eq_ignore_ascii_case(b"no-cache"));
        self.set_if(applies && no_cache, Flag::NoCache);
    }

    const fn set_if(&mut self, present: bool, flag: Flag) {
        if present {
            self.flags |= flag as u8;
        }
    }

    const fn has(&self, flag: Flag) -> bool {
        self.flags & flag as u8 != 0
    }

    /// Whether only a stored response is wanted; without one the answer is 504 (RFC 9111 §5.2.1.7).
    pub const fn only_if_cached(&self) -> bool {
        self.has(Flag::OnlyIfCached)
    }

    /// Whether the response must not be stored (RFC 9111 §5.2.1.5).
    pub const fn forbids_storing(&self) -> bool {
        self.has(Flag::NoStore)
    }

    /// Whether the request carries `Authorization` (RFC 9111 §3.5).
    pub const fn is_authorized(&self) -> bool {
        self.has(Flag::Authorization)
    }

    /// Whether the answer is for nobody else, as far as the request tells: it is authorized, or must
    /// not be stored.
    pub const fn is_personal(&self) -> bool {
        self.is_authorized() || self.forbids_storing()
    }

    /// Whether the request is a GET with `Range`; it means nothing for other methods (RFC 9110 §14.2).
    pub const fn has_range(&self) -> bool {
        self.has(Flag::Range)
    }

    /// Whether the request carries preconditions (RFC 9110 §13.1).
    pub const fn has_preconditions(&self) -> bool {
        self.has(Flag::Preconditions)
    }

    pub(crate) const fn no_cache(&self) -> bool {
        self.has(Flag::NoCache)
    }

    pub(crate) const fn max_age(&self) -> Option<Duration> {
        self.max_age
    }

    pub(crate) const fn max_stale(&self) -> Option<Duration> {
        self.max_stale
    }

    pub(crate) const fn min_fresh(&self) -> Option<Duration> {
        self.min_fresh
    }
}

fn least(slot: &mut Option<Duration>, value: Duration) {
    *slot = Some(slot.map_or(value, |earlier| earlier.min(value)));
}

/// RFC 9111 §5.2.1.2: "If no value is assigned to max-stale, then the client will accept a stale
/// response of any age."
fn max_stale(directive: &Directive<'_>) -> Duration {
    match directive.argument {
        None => Duration::MAX,
        Some(_) => directive.seconds_or(Duration::ZERO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for &(name, value) in lines {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    fn settings(client_control: ClientControl) -> Settings {
        Settings {
            client_control,
            ..Settings::default()
        }
    }

    fn read(lines: &[(&'static str, &'static str)], control: ClientControl) -> RequestTerms {
        RequestTerms::read(&Method::GET, &headers(lines), &settings(control))
    }

    #[test]
    fn methods_and_what_becomes_of_them() {
        #[track_caller]
        fn check(
            method: &str,
            lines: &[(&'static str, &'static str)],
            control: ClientControl,
            expected: Plan,
        ) {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let (headers, settings) = (headers(lines), settings(control));
            let terms = RequestTerms::read(&method, &headers, &settings);
            let planned = plan(&method, &headers, &terms, &settings);
            assert_eq!(planned, expected, "{method}");
        }
        use ClientControl::{Ignore, Obey, Validate};
        check("GET", &[], Ignore, Plan::Lookup);
        check("HEAD", &[], Ignore, Plan::Lookup);
        check("OPTIONS", &[], Ignore, Plan::Bypass(Bypass::Method));
        check("PROPFIND", &[], Ignore, Plan::Bypass(Bypass::Method));
        for unsafe_or_unknown in ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH", "get"] {
            check(unsafe_or_unknown, &[], Ignore, Plan::Forward);
        }
        check(
            "GET",
            &[("upgrade", "websocket")],
            Ignore,
            Plan::Bypass(Bypass::Upgrade),
        );
        let no_store = [("cache-control", "no-store")];
        check("GET", &no_store, Ignore, Plan::Lookup);
        check("GET", &no_store, Validate, Plan::Lookup);
        check("GET", &no_store, Obey, Plan::Bypass(Bypass::NoStore));
    }

    #[test]
    fn directives_count_as_far_as_the_client_may_go() {
        let lines = [(
            "cache-control",
            "no-cache, no-store, max-age=5, max-stale=6, min-fresh=7, only-if-cached",
        )];
        let ignored = read(&lines, ClientControl::Ignore);
        assert!(ignored.only_if_cached());
        assert_eq!(
            ignored,
            read(&[("cache-control", "only-if-cached")], ClientControl::Obey)
        );

        let validated = read(&lines, ClientControl::Validate);
        assert!(validated.no_cache() && validated.forbids_storing());
        assert_eq!(validated.max_age(), Some(Duration::from_secs(5)));
        assert_eq!((validated.max_stale(), validated.min_fresh()), (None, None));

        let obeyed = read(&lines, ClientControl::Obey);
        assert_eq!(obeyed.max_stale(), Some(Duration::from_secs(6)));
        assert_eq!(obeyed.min_fresh(), Some(Duration::from_secs(7)));
    }

    #[test]
    fn repeated_and_garbled_directives_ask_for_the_most() {
        let terms = read(
            &[(
                "cache-control",
                "max-age=5, max-age=3, max-stale, max-stale=4, min-fresh=1, min-fresh=2",
            )],
            ClientControl::Obey,
        );
        assert_eq!(terms.max_age(), Some(Duration::from_secs(3)));
        assert_eq!(terms.max_stale(), Some(Duration::from_secs(4)));
        assert_eq!(terms.min_fresh(), Some(Duration::from_secs(2)));

        let garbled = read(
            &[("cache-control", "max-age=x, max-stale=x, min-fresh")],
            ClientControl::Obey,
        );
        assert_eq!(garbled.max_age(), Some(Duration::ZERO));
        assert_eq!(garbled.max_stale(), Some(Duration::ZERO));
        assert_eq!(garbled.min_fresh(), Some(fields::DELTA_SECONDS_MAX));

        let any = read(&[("cache-control", "max-stale")], ClientControl::Obey);
        assert_eq!(any.max_stale(), Some(Duration::MAX));
    }

    #[test]
    fn pragma_counts_without_cache_control() {
        #[track_caller]
        fn check(lines: &[(&'static str, &'static str)], control: ClientControl, no_cache: bool) {
            assert_eq!(read(lines, control).no_cache(), no_cache, "{lines:?}");
        }
        check(&[("pragma", "No-Cache")], ClientControl::Validate, true);
        check(&[("pragma", "foo")], ClientControl::Validate, false);
        check(&[("pragma", "no-cache")], ClientControl::Ignore, false);
        check(
            &[("pragma", "no-cache"), ("cache-control", "x")],
            ClientControl::Obey,
            false,
        );
    }

    #[test]
    fn other_fields_a_cache_looks_at() {
        let terms = read(
            &[
                ("authorization", "x"),
                ("range", "bytes=0-"),
                ("if-match", "*"),
            ],
            ClientControl::Ignore,
        );
        assert!(terms.is_authorized() && terms.has_range() && terms.has_preconditions());

        let plain = read(&[], ClientControl::Obey);
        assert!(!plain.is_authorized() && !plain.has_range() && !plain.has_preconditions());
    }
}
