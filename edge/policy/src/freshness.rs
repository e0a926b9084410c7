//! Freshness (RFC 9111 §4.2): how long a response may live, and how old it is.

use std::time::Duration;

use http::StatusCode;
use http::header::{self, HeaderMap};
use serde::{Deserialize, Serialize};

use crate::cache_control::{Directives, Flag, Governing, Scope};
use crate::fields;
use crate::settings::{Heuristic, Settings, TtlOverride};
use crate::store::{Aging, Exchange};
use crate::time::{Timestamp, whole_secs};

/// When and how old a response was received: the data of the age calculation (RFC 9111 §4.2.3).
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reception {
    /// "The value of the clock at the time of the request that resulted in the stored response."
    pub request_time: Timestamp,
    /// "The value of the clock at the time the response was received."
    pub response_time: Timestamp,
    /// The value of `Age`, "or 0, if not available".
    pub age_value: Duration,
    /// The value of `Date`, if there was a valid one.
    pub date_value: Option<Timestamp>,
}

impl Reception {
    /// Reads the ages and dates of a response as it was received.
    pub fn read(exchange: &Exchange<'_>) -> Self {
        let told = Self {
            request_time: exchange.request_time,
            response_time: exchange.response_time,
            age_value: age_value(exchange.response),
            date_value: date(exchange.response, header::DATE, exchange.response_time),
        };
        match exchange.aging {
            Aging::Conservative => told,
            Aging::Told => told.by_this_clock(),
        }
    }

    /// The same with the `Date` that this cache's clock would have shown, where it is later.
    //= https://www.rfc-editor.org/rfc/rfc9111#section-4.2.3
    //# The corrected_age_value MAY be used as the corrected_initial_age.
    fn by_this_clock(self) -> Self {
        let young = Self {
            date_value: None,
            ..self
        };
        let age = young.corrected_initial_age();
        let date_value = self.date_value.map(|date| {
            let too_old = self.response_time.since(date).saturating_sub(age);
            date + too_old
        });
        Self { date_value, ..self }
    }

    /// The current age at `now` (RFC 9111 §4.2.3).
    ///
    /// `Date` has no fractions of a second, so the apparent age has none: otherwise what the origin
    /// sent in the last moments of a second would seem to be up to a second old.
    pub fn current_age(&self, now: Timestamp) -> Duration {
        let resident_time = now.since(self.response_time);
        self.corrected_initial_age().saturating_add(resident_time)
    }

    fn corrected_initial_age(&self) -> Duration {
        let apparent_age = self
            .date_value
            .map_or(Duration::ZERO, |date| self.response_time.since(date));

        //= https://www.rfc-editor.org/rfc/rfc9111#section-4.2.3
        //# A cache MUST interpret this value relative to the time the request was initiated, not the
        //# time that the response was received.
        let response_delay = self.response_time.since(self.request_time);
        let corrected_age_value = self.age_value.saturating_add(response_delay);

        whole_secs(apparent_age).max(corrected_age_value)
    }

    /// When the response was generated, as far as can be known.
    pub(crate) fn generated(&self) -> Timestamp {
        self.date_value.unwrap_or(self.response_time)
    }
}

/// The value of `Age` (RFC 9111 §5.1).
///
/// Parameters are no part of it, but a sender that adds some means the number before them.
///
//= https://www.rfc-editor.org/rfc/rfc9111#section-5.1
//# a cache encountering a message with a list-based Age field value SHOULD use the first member of
//# the field value, discarding subsequent ones.
//
//= https://www.rfc-editor.org/rfc/rfc9111#section-5.1
//# If the field value (after discarding additional members, as per above) is invalid (e.g., it
//# contains something other than a non-negative integer), a cache SHOULD ignore the field.
fn age_value(response: &HeaderMap) -> Duration {
    fields::list(response, header::AGE)
        .next()
        .and_then(|member| fields::split(member, b';').next())
        .and_then(|value| fields::delta_seconds(fields::trim(value)))
        .unwrap_or(Duration::ZERO)
}

/// The value of a field with a single date.
fn date(response: &HeaderMap, name: header::HeaderName, now: Timestamp) -> Option<Timestamp> {
    fields::sole(response, name).and_then(|value| fields::http_date(value, now))
}

/// What the directives of a stored response mean for its reuse, the operator's settings included.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The freshness lifetime (RFC 9111 §4.2.1).
    pub freshness_lifetime: Duration,
    /// Who gave it.
    pub source: LifetimeSource,
    /// When the response has to be validated.
    pub revalidation: Revalidation,
    /// Whether the origin promised not to change it while it is fresh.
    pub mutability: Mutability,
    /// How long after its lifetime it may be sent while it is refreshed (RFC 5861 §3).
    pub stale_while_revalidate: Duration,
    /// How long after its lifetime it may be sent in place of an error (RFC 5861 §4).
    pub stale_if_error: Duration,
}

/// Who gave a freshness lifetime.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LifetimeSource {
    /// A targeted field (RFC 9213).
    Targeted,
    /// `s-maxage`.
    SMaxage,
    /// `max-age`.
    MaxAge,
    /// `Expires`.
    Expires,
    /// A rule of the operator.
    Rule,
    /// The operator, for this status code.
    Status,
    /// A heuristic.
    Heuristic,
    /// Nobody: the lifetime is zero.
    None,
}

impl LifetimeSource {
    /// A token for logs and `Cache-Status`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Targeted => "targeted",
            Self::SMaxage => "s-maxage",
            Self::MaxAge => "max-age",
            Self::Expires => "expires",
            Self::Rule => "rule",
            Self::Status => "status",
            Self::Heuristic => "heuristic",
            Self::None => "none",
        }
    }
}

/// When a response has to be validated.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Revalidation {
    /// Before every use: `no-cache`.
    EveryTime,
    /// Once it is stale, whatever happens: `must-revalidate`, `proxy-revalidate`, `s-maxage`.
    WhenStale,
    /// Once it is stale, unless it may be served stale.
    Relaxed,
}

/// Whether a response may change while it is fresh (RFC 8246).
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mutability {
    /// A client that reloads may see something newer.
    Mutable,
    /// `immutable`: a reload finds the same.
    Immutable,
}

impl Terms {
    /// Whether the response has to be validated before every use.
    pub fn requires_validation(&self) -> bool {
        self.revalidation == Revalidation::EveryTime
    }

    /// The terms of a response with these directives.
    pub(crate) fn new(
        directives: &Directives,
        response: &HeaderMap,
        status: StatusCode,
        reception: &Reception,
        settings: &Settings,
    ) -> Self {
        let lifetime = lifetime(directives, response, status, reception, settings);
        let revalidation = Revalidation::of(directives);
        let windows = StaleWindows::new(directives, revalidation, settings);
        Self {
            freshness_lifetime: lifetime.duration,
            source: lifetime.source,
            revalidation,
            mutability: Mutability::of(directives),
            stale_while_revalidate: windows.while_revalidate,
            stale_if_error: windows.if_error,
        }
    }
}

impl Revalidation {
    fn of(directives: &Directives) -> Self {
        if directives.no_cache == Scope::Everything {
            return Self::EveryTime;
        }
        let when_stale = directives.has(Flag::MustRevalidate)
            || directives.has(Flag::ProxyRevalidate)
            //= https://www.rfc-editor.org/rfc/rfc9111#section-5.2.2.10
            //# The s-maxage directive incorporates the semantics of the proxy-revalidate response
            //# directive (Section 5.2.2.8) for a shared cache.
            || directives.s_maxage.is_some();
        if when_stale {
            Self::WhenStale
        } else {
            Self::Relaxed
        }
    }
}

impl Mutability {
    fn of(directives: &Directives) -> Self {
        if directives.has(Flag::Immutable) {
            Self::Immutable
        } else {
            Self::Mutable
        }
    }
}

struct StaleWindows {
    while_revalidate: Duration,
    if_error: Duration,
}

impl StaleWindows {
    const CLOSED: Self = Self {
        while_revalidate: Duration::ZERO,
        if_error: Duration::ZERO,
    };

    //= https://www.rfc-editor.org/rfc/rfc9111#section-4.2.4
    //# A cache MUST NOT generate a stale response if it is prohibited by an explicit in-protocol
    //# directive (e.g., by a no-cache response directive, a must-revalidate response directive, or an
    //# applicable s-maxage or proxy-revalidate response directive; see Section 5.2.2).
    fn new(directives: &Directives, revalidation: Revalidation, settings: &Settings) -> Self {
        let explicit = Self {
            while_revalidate: directives.stale_while_revalidate.unwrap_or_default(),
            if_error: directives.stale_if_error.unwrap_or_default(),
        };
        let prohibited =
            directives.has(Flag::MustRevalidate) || directives.has(Flag::ProxyRevalidate);
        match revalidation {
            Revalidation::EveryTime => Self::CLOSED,
            Revalidation::WhenStale if prohibited => Self::CLOSED,
            //= https://www.rfc-editor.org/rfc/rfc9111#section-5.2.2.10
            //= type=exception
            //= reason=Who writes stale-while-revalidate or stale-if-error beside s-maxage means it: RFC 5861 defines them as leave to serve stale, and shared caches take it.
            //# A shared cache MUST NOT reuse a stale response with s-maxage to satisfy another request
            //# until it has been successfully validated by the origin, as defined by Section 4.3.
            Revalidation::WhenStale => explicit,
            Revalidation::Relaxed => Self {
                while_revalidate: directives
                    .stale_while_revalidate
                    .unwrap_or(settings.stale.while_revalidate),
                if_error: directives.stale_if_error.unwrap_or(settings.stale.if_error),
            },
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Lifetime {
    duration: Duration,
    source: LifetimeSource,
}

/// The freshness lifetime: the first that applies of a rule in place of the origin, the origin, a
/// rule by default, a heuristic.
fn lifetime(
    directives: &Directives,
    response: &HeaderMap,
    status: StatusCode,
    reception: &Reception,
    settings: &Settings,
) -> Lifetime {
    let rule = Rule::of(status, settings);
    if let Some(rule) = rule.filter(Rule::replaces_the_origin) {
        return rule.lifetime(reception);
    }
    if let Some(explicit) = explicit(directives, response, reception) {
        return explicit;
    }
    if let Some(rule) = rule {
        return rule.lifetime(reception);
    }
    heuristic(directives, response, status, reception, settings.heuristic)
}

/// The rule about the lifetime of a response.
#[derive(Copy, Clone)]
struct Rule {
    ttl: TtlOverride,
    source: LifetimeSource,
}

impl Rule {
    /// The rule for a status. One for all is not meant for errors: an asset's year is not for the
    /// 503 that takes its place.
    fn of(status: StatusCode, settings: &Settings) -> Option<Self> {
        let by_status = settings.status_ttl.iter().find(|(code, _)| *code == status);
        if let Some((_, ttl)) = by_status {
            return Some(Self {
                ttl: *ttl,
                source: LifetimeSource::Status,
            });
        }
        let is_error = status.as_u16() >= 400;
        let ttl = settings.ttl.filter(|_| !is_error)?;
        Some(Self {
            ttl,
            source: LifetimeSource::Rule,
        })
    }

    const fn replaces_the_origin(&self) -> bool {
        match self.ttl {
            TtlOverride::Default(_) => false,
            TtlOverride::Lifetime(_) | TtlOverride::Force(_) => true,
        }
    }

    /// A rule counts from reception, so the age the response has by then is added.
    fn lifetime(self, reception: &Reception) -> Lifetime {
        let (TtlOverride::Default(ttl) | TtlOverride::Lifetime(ttl) | TtlOverride::Force(ttl)) =
            self.ttl;
        Lifetime {
            duration: ttl.saturating_add(reception.corrected_initial_age()),
            source: self.source,
        }
    }
}

/// Whether a rule takes the place of every cache directive.
pub(crate) fn is_forced(status: StatusCode, settings: &Settings) -> bool {
    Rule::of(status, settings).is_some_and(|rule| matches!(rule.ttl, TtlOverride::Force(_)))
}

/// The lifetime that the origin gives (RFC 9111 §4.2.1), "using the first match".
fn explicit(
    directives: &Directives,
    response: &HeaderMap,
    reception: &Reception,
) -> Option<Lifetime> {
    let source = |of_directive| match directives.governed_by {
        Governing::Targeted => LifetimeSource::Targeted,
        Governing::CacheControl => of_directive,
    };
    if let Some(duration) = directives.s_maxage {
        return Some(Lifetime {
            duration,
            source: source(LifetimeSource::SMaxage),
        });
    }
    //= https://www.rfc-editor.org/rfc/rfc9111#section-5.3
    //# If a response includes a Cache-Control header field with the max-age directive (Section
    //# 5.2.2.1), a recipient MUST ignore the Expires header field.
    if let Some(duration) = directives.max_age {
        return Some(Lifetime {
            duration,
            source: source(LifetimeSource::MaxAge),
        });
    }
    expires(directives, response, reception).map(|duration| Lifetime {
        duration,
        source: LifetimeSource::Expires,
    })
}

/// `Expires` minus `Date`, "using the time the message was received if it is not present".
fn expires(
    directives: &Directives,
    response: &HeaderMap,
    reception: &Reception,
) -> Option<Duration> {
    if !has_expires(directives, response) {
        return None;
    }
    //= https://www.rfc-editor.org/rfc/rfc9111#section-5.3
    //# A cache recipient MUST interpret invalid date formats, especially the value "0", as
    //# representing a time in the past (i.e., "already expired").
    let expires =
        date(response, header::EXPIRES, reception.response_time).unwrap_or(Timestamp::EPOCH);
    Some(expires.since(dated(response, reception)))
}

/// When the response was generated, by the clock of who wrote its other dates.
fn dated(response: &HeaderMap, reception: &Reception) -> Timestamp {
    let date = date(response, header::DATE, reception.response_time);
    let date = date.filter(|_| reception.date_value.is_some());
    date.unwrap_or(reception.response_time)
}

/// Whether `Expires` is there and counts.
pub(crate) fn has_expires(directives: &Directives, response: &HeaderMap) -> bool {
    directives.governed_by == Governing::CacheControl && response.contains_key(header::EXPIRES)
}

/// Heuristic freshness (RFC 9111 §4.2.2).
///
//= https://www.rfc-editor.org/rfc/rfc9111#section-4.2.2
//# A cache MUST NOT use heuristics to determine freshness when an explicit expiration time is present
//# in the stored response.
fn heuristic(
    directives: &Directives,
    response: &HeaderMap,
    status: StatusCode,
    reception: &Reception,
    heuristic: Heuristic,
) -> Lifetime {
    let none = Lifetime {
        duration: Duration::ZERO,
        source: LifetimeSource::None,
    };
    let Heuristic::Fraction { percent, most } = heuristic else {
        return none;
    };
    if !is_heuristically_cacheable(status) && !directives.has(Flag::Public) {
        return none;
    }
    let Some(last_modified) = date(response, header::LAST_MODIFIED, reception.response_time) else {
        return none;
    };
    let unchanged = dated(response, reception).since(last_modified);
    let fraction = unchanged / 100 * u32::from(percent);
    Lifetime {
        duration: fraction.min(most),
        source: LifetimeSource::Heuristic,
    }
}

/// The status codes "defined as heuristically cacheable" (RFC 9110 §15.1), without 206, which is not
/// stored.
pub fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Given, at, secs};
    use proptest::prelude::*;

    #[test]
    #[rustfmt::skip]
    fn ages() {
        #[track_caller]
        fn check(what: &str, sent: u64, received: u64, date: Option<u64>, age: u64, now: u64, expected: u64) {
            let reception = Reception {
                request_time: Timestamp::from_unix_millis(sent),
                response_time: Timestamp::from_unix_millis(received),
                age_value: secs(age),
                date_value: date.map(Timestamp::from_unix_secs),
            };
            let found = reception.current_age(Timestamp::from_unix_millis(now));
            assert_eq!(found, Duration::from_millis(expected), "{what}");
        }
        //                                        sent  received       Date  Age      now      age
        check("it sat in this cache",          100_000,  100_000, Some(100),   0, 160_000,  60_000);
        check("a parent held it before",       100_000,  100_000, Some(100),  50, 110_000,  60_000);
        check("Date says more than Age",       100_000,  100_000, Some( 40),  50, 110_000,  70_000);
        check("the origin took its time",      100_000,  104_000, Some(104),   0, 104_000,   4_000);
        check("a slow parent held it",         100_000,  104_000, Some( 60),  50, 105_000,  55_000);
        check("no Date",                       100_000,  100_000,      None,   0, 103_000,   3_000);
        check("the origin's clock is ahead",   100_000,  100_000, Some(200),   0, 103_000,   3_000);
        check("our clock stepped back",        100_000,  100_000, Some(100),   0,  40_000,       0);
        check("it stepped back in the fill",   104_000,  100_000, Some(100),   0, 101_000,   1_000);
        check("sent late in a second",         100_990,  100_999, Some(100),   0, 101_000,      10);
    }

    #[test]
    fn a_told_age_is_what_it_is_whatever_clocks_show() {
        // A `Date` of 40 s ago by this clock, and an `Age` of 10 s.
        let given = Given::response(&[("age", "10"), ("cache-control", "max-age=60")])
            .and("date", &at(0).http_date())
            .at(at(40));
        let age = |aging| {
            let exchange = Exchange {
                aging,
                ..given.exchange()
            };
            Reception::read(&exchange).current_age(at(45))
        };
        assert_eq!(age(Aging::Conservative), secs(45));
        assert_eq!(age(Aging::Told), secs(15));
    }

    #[test]
    fn expires_is_of_the_clock_of_its_date() {
        let given = Given::response(&[])
            .and("date", &at(0).http_date())
            .and("expires", &at(50).http_date())
            .at(at(40));
        let exchange = Exchange {
            aging: Aging::Told,
            ..given.exchange()
        };
        let stored = crate::store::decide(&exchange, &Settings::default()).unwrap();
        assert_eq!(stored.terms.freshness_lifetime, secs(50));
        assert_eq!(stored.reception.current_age(at(41)), secs(1));
    }

    #[test]
    fn age_values() {
        #[track_caller]
        fn check(lines: &[&str], expected: u64) {
            let lines: Vec<_> = lines.iter().map(|value| ("age", *value)).collect();
            assert_eq!(
                age_value(&crate::testing::headers(&lines)),
                secs(expected),
                "{lines:?}"
            );
        }
        check(&[], 0);
        check(&["7200"], 7200);
        check(&["2147483649"], 2_147_483_648);
        check(&["7200, 0"], 7200);
        check(&["0, 7200"], 0);
        check(&["7200", "0"], 7200);
        check(&["0", "7200"], 0);
        check(&["abc"], 0);
        check(&["abc, 7200"], 0);
        check(&["-7200"], 0);
        check(&["7200.0"], 0);
        check(&["7200;foo=bar"], 7200);
        check(&["7200 ; foo=111"], 7200);
    }

    #[test]
    #[rustfmt::skip]
    fn the_first_match_gives_the_lifetime() {
        #[track_caller]
        fn check(cache_control: &str, expires: &str, expected: u64, source: LifetimeSource) {
            let mut given = Given::response(&[]).dated();
            if !cache_control.is_empty() { given = given.and("cache-control", cache_control); }
            if !expires.is_empty() { given = given.and("expires", expires); }
            let terms = given.terms();
            assert_eq!((terms.freshness_lifetime, terms.source), (secs(expected), source), "{cache_control} {expires}");
        }
        use LifetimeSource::{Expires, MaxAge, None, SMaxage};
        let in_a_minute = &at(60).http_date();
        let a_minute_ago = &Timestamp::from_unix_secs(at(0).unix_secs() - 60).http_date();

        check("",                      "",           0, None);
        check("max-age=5",             "",           5, MaxAge);
        check("max-age=5, s-maxage=9", "",           9, SMaxage);
        check("max-age=9, s-maxage=5", "",           5, SMaxage);
        check("max-age=9, s-maxage=x", "",           0, SMaxage);
        check("",                      in_a_minute, 60, Expires);
        check("",                      a_minute_ago, 0, Expires);
        check("",                      "0",          0, Expires);
        check("max-age=5",             a_minute_ago, 5, MaxAge);
        check("max-age=5",             "0",          5, MaxAge);
        check("max-age=0",             in_a_minute,  0, MaxAge);
        check("max-age=x",             in_a_minute,  0, MaxAge);
        check("s-maxage=5",            in_a_minute,  5, SMaxage);
    }

    #[test]
    fn expires_counts_from_date_or_reception() {
        let expires = at(10).http_date();
        #[track_caller]
        fn check(given: Given, expected: u64) {
            assert_eq!(given.terms().freshness_lifetime, secs(expected));
        }
        let given = || Given::response(&[("expires", &expires)]);
        check(given().and("date", &at(0).http_date()), 10);
        check(given().and("date", &at(4).http_date()), 6);
        check(given().and("date", &at(20).http_date()), 0);
        check(given().and("date", "foo"), 10);
        check(given(), 10);
        check(given().and("expires", &at(20).http_date()), 0);
    }

    #[test]
    fn a_heuristic_takes_a_tenth_and_at_most_a_day() {
        #[track_caller]
        fn check(status: u16, cache_control: &str, unchanged_for: u64, expected: u64) {
            let last_modified = Timestamp::from_unix_secs(at(0).unix_secs() - unchanged_for);
            let terms = Given::response(&[("last-modified", &last_modified.http_date())])
                .and("cache-control", cache_control)
                .dated()
                .status(status)
                .terms();
            assert_eq!(
                terms.freshness_lifetime,
                secs(expected),
                "{status} {cache_control}"
            );
        }
        check(200, "x", 1000, 100);
        check(200, "x", 10, 1);
        check(200, "x", 100 * 86_400, 86_400);
        for cacheable in [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501] {
            check(cacheable, "x", 1000, 100);
        }
        for not_cacheable in [201, 202, 302, 403, 500, 502, 503, 504, 599] {
            check(not_cacheable, "x", 1000, 0);
            check(not_cacheable, "public", 1000, 100);
        }
        check(200, "max-age=0", 1000, 0);
        check(200, "no-cache", 1000, 100);
    }

    #[test]
    fn a_heuristic_can_be_off_and_knows_no_future() {
        let mut settings = Settings {
            heuristic: Heuristic::Off,
            ..Settings::default()
        };
        let given = Given::response(&[("last-modified", "Wed, 01 Jan 2020 00:00:00 GMT")]).dated();
        assert_eq!(given.terms_under(&settings).source, LifetimeSource::None);

        settings.heuristic = Heuristic::Fraction {
            percent: 100,
            most: Duration::MAX,
        };
        let from_the_future = Given::response(&[("last-modified", &at(100).http_date())]).dated();
        assert_eq!(
            from_the_future.terms_under(&settings).freshness_lifetime,
            Duration::ZERO
        );
    }

    #[test]
    #[rustfmt::skip]
    fn rules_stand_beside_the_origin() {
        use LifetimeSource::{Heuristic, MaxAge, Rule, Status};
        use TtlOverride::{Default, Force, Lifetime};
        #[track_caller]
        fn check(ttl: Option<TtlOverride>, status: u16, cache_control: &str, expected: u64, source: LifetimeSource) {
            let settings = Settings {
                ttl,
                status_ttl: vec![
                    (StatusCode::NOT_FOUND, Default(secs(7))),
                    (StatusCode::GONE, Lifetime(secs(8))),
                    (StatusCode::GONE, Lifetime(secs(9))),
                    (StatusCode::FOUND, Default(secs(10))),
                ],
                ..Settings::default()
            };
            let terms = Given::response(&[("last-modified", "Wed, 01 Jan 2020 00:00:00 GMT")])
                .and("cache-control", cache_control).dated().status(status).terms_under(&settings);
            assert_eq!((terms.freshness_lifetime, terms.source), (secs(expected), source), "{ttl:?} {status}");
        }
        let day = 86_400;
        check(None,                    200, "x",         day, Heuristic);
        check(None,                    404, "x",           7, Status);
        check(None,                    404, "max-age=5",   5, MaxAge);
        check(None,                    410, "max-age=5",   8, Status);
        check(Some(Default(secs(3))),  200, "x",           3, Rule);
        check(Some(Default(secs(3))),  200, "max-age=5",   5, MaxAge);
        check(Some(Default(secs(3))),  302, "x",          10, Status);
        check(Some(Lifetime(secs(3))), 200, "max-age=5",   3, Rule);
        check(Some(Lifetime(secs(3))), 302, "max-age=5",   5, MaxAge);
        check(Some(Lifetime(secs(3))), 404, "max-age=5",   5, MaxAge);
        check(Some(Lifetime(secs(3))), 500, "max-age=5",   5, MaxAge);
        check(Some(Force(secs(3))),    503, "max-age=5",   5, MaxAge);
    }

    #[test]
    fn a_rule_counts_from_reception() {
        let settings = Settings {
            ttl: Some(TtlOverride::Lifetime(secs(60))),
            ..Settings::default()
        };
        let terms = Given::response(&[("age", "1000")])
            .dated()
            .terms_under(&settings);
        assert_eq!(terms.freshness_lifetime, secs(1060));
    }

    #[test]
    #[rustfmt::skip]
    fn directives_open_and_close_the_stale_windows() {
        #[track_caller]
        fn check(cache_control: &str, revalidation: Revalidation, while_revalidate: u64, if_error: u64) {
            let settings = Settings {
                stale: crate::settings::StaleDefaults { while_revalidate: secs(1), if_error: secs(2) },
                ..Settings::default()
            };
            let terms = Given::response(&[("cache-control", cache_control)]).terms_under(&settings);
            assert_eq!(terms.revalidation, revalidation, "{cache_control}");
            assert_eq!(terms.stale_while_revalidate, secs(while_revalidate), "{cache_control}");
            assert_eq!(terms.stale_if_error, secs(if_error), "{cache_control}");
        }
        use Revalidation::{EveryTime, Relaxed, WhenStale};
        check("max-age=9",                                             Relaxed,   1, 2);
        check("max-age=9, stale-while-revalidate=5, stale-if-error=6", Relaxed,   5, 6);
        check("max-age=9, stale-while-revalidate=0, stale-if-error=x", Relaxed,   0, 0);
        check("s-maxage=9",                                            WhenStale, 0, 0);
        check("s-maxage=9, stale-while-revalidate=5",                  WhenStale, 5, 0);
        check("s-maxage=9, stale-if-error=6",                          WhenStale, 0, 6);
        check("must-revalidate, stale-while-revalidate=5",             WhenStale, 0, 0);
        check("proxy-revalidate, stale-if-error=6",                    WhenStale, 0, 0);
        check("no-cache, stale-while-revalidate=5, stale-if-error=6",  EveryTime, 0, 0);
        check("no-cache=\"a\", max-age=9",                             Relaxed,   1, 2);
    }

    proptest! {
        #[test]
        fn age_never_falls_as_now_grows(
            request_time: u64, response_time: u64, age: u32, date: Option<u32>, now: u64, later: u64
        ) {
            let reception = Reception {
                request_time: Timestamp::from_unix_millis(request_time),
                response_time: Timestamp::from_unix_millis(response_time),
                age_value: secs(age.into()),
                date_value: date.map(u64::from).map(Timestamp::from_unix_secs),
            };
            let now = Timestamp::from_unix_millis(now);
            let later = now + Duration::from_millis(later);
            prop_assert!(reception.current_age(now) <= reception.current_age(later));
        }
    }
}
