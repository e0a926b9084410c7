//! Storing responses (RFC 9111 §3): which, and what of them.

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::method::Method;
use serde::{Deserialize, Serialize};

use crate::cache_control::{Directives, Flag, Scope};
use crate::coding::{self, BY_DICTIONARY};
use crate::freshness::{self, LifetimeSource, Reception, Revalidation, Terms};
use crate::hop_by_hop;
use crate::packed::{Fields, Packed};
use crate::request::RequestTerms;
use crate::settings::{SetCookie, Settings};
use crate::time::Timestamp;
use crate::validation;
use crate::vary::{Nominated, Selecting};

/// The size of a request's fields, names and values, up to which any server takes them: half of the
/// least limit in use, of 8 KiB, as proxies on the way add their own.
pub const USUAL_FIELDS_SIZE_MAX: usize = 4096;

/// The number of a request's fields up to which any server takes them; the least limit in use is 100.
pub const USUAL_FIELDS_MAX: usize = 64;

/// A request that was forwarded, and the response to it.
#[derive(Copy, Clone, Debug)]
pub struct Exchange<'a> {
    /// The method of the request.
    pub method: &'a Method,
    /// The header fields of the request as the client sent them.
    pub request: &'a HeaderMap,
    /// The status code of the response.
    pub status: StatusCode,
    /// The header fields of the response as they were received.
    pub response: &'a HeaderMap,
    /// When the request was sent.
    pub request_time: Timestamp,
    /// When the head of the response was received.
    pub response_time: Timestamp,
    /// By what its age is known.
    pub aging: Aging,
}

/// By what the age of a response is known (RFC 9111 §4.2.3).
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Aging {
    /// By `Date`, too: somebody on its way may not have added to its `Age`, and the origin's clock is believed.
    #[default]
    Conservative,
    /// By `Age` alone, which the cache that sent it has reckoned: clocks that differ make it no older.
    Told,
}

/// The head of a stored response, with everything that its reuse depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(serialize = "F: Fields", deserialize = "F: From<HeaderMap>"))]
pub struct Stored<F = HeaderMap> {
    /// Its status code.
    #[serde(with = "crate::written::status")]
    pub status: StatusCode,
    /// Its header fields as they are to be sent: without hop-by-hop fields and those that may not be
    /// stored, without `Age`, always with `Date`.
    #[serde(with = "crate::written::fields")]
    pub headers: F,
    /// When it was received and how old it was.
    pub reception: Reception,
    /// What its directives mean for its reuse.
    pub terms: Terms,
    /// The selecting header fields of the request it answers.
    pub selecting: Selecting,
}

/// A stored response as it is kept: its fields in one piece.
pub type Kept = Stored<Packed>;

impl Kept {
    /// About how many bytes of the heap it occupies.
    pub fn weight(&self) -> usize {
        self.headers.bytes().len() + self.selecting.weight()
    }

    /// It with its fields by their names, as what decides about it has them.
    pub fn unpacked(&self) -> Stored {
        Stored {
            status: self.status,
            headers: self.headers.to_map(),
            reception: self.reception,
            terms: self.terms,
            selecting: self.selecting.clone(),
        }
    }
}

impl Stored {
    /// It as it is kept, with a text behind its fields.
    pub fn packed(self, text: &str) -> Kept {
        Stored {
            status: self.status,
            headers: Packed::new(&self.headers, text),
            reception: self.reception,
            terms: self.terms,
            selecting: self.selecting,
        }
    }

    /// Builds what is stored of a response, whether or not it may be.
    fn new(
        exchange: &Exchange<'_>,
        directives: &Directives,
        selecting: Selecting,
        settings: &Settings,
    ) -> Self {
        let reception = Reception::read(exchange);
        let mut headers = exchange.response.clone();
        remove_withheld(&mut headers, directives, settings);
        coding::vary_on_dictionary(&mut headers);
        set_date(&mut headers, &reception);
        let terms = Terms::new(
            directives,
            exchange.response,
            exchange.status,
            &reception,
            settings,
        );
        Self {
            status: exchange.status,
            headers,
            reception,
            terms,
            selecting,
        }
    }

    /// Whether it can ever be of use: it is fresh, can be validated, or may be served stale because
    /// the origin said so.
    ///
    /// What the operator allows when the origin fails is no reason: otherwise every dynamic page
    /// without a lifetime would be kept.
    fn is_useful(&self, directives: &Directives) -> bool {
        if validation::has_validator(&self.headers) {
            return true;
        }
        let age = self.reception.current_age(self.reception.response_time);
        let fresh = self.terms.freshness_lifetime > age;
        let stale = directives
            .stale_while_revalidate
            .max(directives.stale_if_error)
            .is_some_and(|window| self.terms.freshness_lifetime.saturating_add(window) > age);
        match self.terms.revalidation {
            Revalidation::EveryTime => false,
            Revalidation::WhenStale | Revalidation::Relaxed => fresh || stale,
        }
    }
}

/// Why a response is not stored.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum DoNotStore {
    /// The method is neither GET nor QUERY.
    Method,
    /// Responses with this status code are not stored.
    Status(StatusCode),
    /// `no-store`.
    NoStore,
    /// `private`.
    Private,
    /// `no-store` in the request.
    RequestNoStore,
    /// It sets a cookie.
    SetCookie,
    /// The request carried `Authorization`, and the response does not say that it may be shared.
    Authorization,
    /// `Vary: *`.
    VaryStar,
    /// `Vary` names too many fields.
    VaryLimit,
    /// `Vary` names a field that the node writes by itself for each client.
    VaryClient,
    /// It is coded with a dictionary that the request did not name.
    Dictionary,
    /// Nothing says how long it lives.
    NoFreshness,
    /// It is stale or `no-cache` from the start, and has nothing to be validated with.
    NoValidator,
    /// It is an error, and the request was so unusual that another for the same resource may fare
    /// better.
    RequestError,
    /// Its content is not what the suffix of the path promises.
    Suffix,
    /// The origin may take the path for another one.
    Path,
}

impl DoNotStore {
    /// A token for logs and the `detail` of `Cache-Status`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Status(_) => "status",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::RequestNoStore => "request-no-store",
            Self::SetCookie => "set-cookie",
            Self::Authorization => "authorization",
            Self::VaryStar => "vary-star",
            Self::VaryLimit => "vary-limit",
            Self::VaryClient => "vary-client",
            Self::Dictionary => "dictionary",
            Self::NoFreshness => "no-freshness",
            Self::NoValidator => "no-validator",
            Self::RequestError => "request-error",
            Self::Suffix => "deception-suffix",
            Self::Path => "deception-path",
        }
    }

    /// Whether the reason lies in the request: another one for the same resource may bring a response
    /// that is stored.
    pub const fn is_about_request(self) -> bool {
        match self {
            Self::Method | Self::RequestNoStore | Self::Authorization | Self::RequestError => true,
            // Answers to conditions and ranges of one client.
            Self::Status(status) => matches!(status.as_u16(), 206 | 412 | 416),
            Self::NoStore
            | Self::Private
            | Self::SetCookie
            | Self::VaryStar
            | Self::VaryLimit
            | Self::VaryClient
            | Self::Dictionary
            | Self::NoFreshness
            | Self::NoValidator
            | Self::Suffix
            | Self::Path => false,
        }
    }
}

/// Decides whether a response is stored, and what of it (RFC 9111 §3).
///
/// # Errors
///
/// The first reason that was found not to store it.
pub fn decide(exchange: &Exchange<'_>, settings: &Settings) -> Result<Stored, DoNotStore> {
    //= https://www.rfc-editor.org/rfc/rfc9111#section-3
    //# A cache MUST NOT store a response to a request unless: the request method is understood by the
    //# cache;
    if *exchange.method != Method::GET && exchange.method.as_str() != "QUERY" {
        return Err(DoNotStore::Method);
    }
    storable(exchange, settings)
}

/// As [`decide`], for any method: a HEAD or a 304 brings what a stored GET is updated with, and a POST
/// what takes its place.
pub(crate) fn storable(exchange: &Exchange<'_>, settings: &Settings) -> Result<Stored, DoNotStore> {
    let directives = governing(exchange, settings);
    permitted(exchange, &directives, settings)?;
    let selecting = selecting(exchange, settings)?;

    let stored = Stored::new(exchange, &directives, selecting, settings);
    cacheable(&stored, exchange, &directives)?;
    if stored.is_useful(&directives) {
        return Ok(stored);
    }
    Err(match stored.terms.source {
        LifetimeSource::None => DoNotStore::NoFreshness,
        _ => DoNotStore::NoValidator,
    })
}

/// What would be stored of a response that must not be, for the one request it answers.
pub(crate) fn regardless(exchange: &Exchange<'_>, settings: &Settings) -> Stored {
    let directives = governing(exchange, settings);
    Stored::new(exchange, &directives, Selecting::default(), settings)
}

/// The directives that count: none if a rule takes their place.
fn governing(exchange: &Exchange<'_>, settings: &Settings) -> Directives {
    if freshness::is_forced(exchange.status, settings) {
        return Directives::default();
    }
    Directives::read(exchange.response, settings)
}

/// The prohibitions of RFC 9111 §3.
fn permitted(
    exchange: &Exchange<'_>,
    directives: &Directives,
    settings: &Settings,
) -> Result<(), DoNotStore> {
    permitted_by_status(exchange.status, directives)?;
    permitted_by_directives(exchange.status, directives)?;

    if is_error(exchange.status) && !is_usual(exchange.request) {
        return Err(DoNotStore::RequestError);
    }
    let request = RequestTerms::read(exchange.method, exchange.request, settings);
    //= https://www.rfc-editor.org/rfc/rfc9111#section-5.2.1.5
    //# The no-store request directive indicates that a cache MUST NOT store any part of either this
    //# request or any response to it.
    if request.forbids_storing() {
        return Err(DoNotStore::RequestNoStore);
    }
    //= https://www.rfc-editor.org/rfc/rfc9111#section-3.5
    //# A shared cache MUST NOT use a cached response to a request with an Authorization header field
    //# (Section 11.6.2 of [HTTP]) to satisfy any subsequent request unless the response contains a
    //# Cache-Control field with a response directive (Section 5.2.2) that allows it to be stored by a
    //# shared cache
    if request.is_authorized() && !allows_sharing(directives) {
        return Err(DoNotStore::Authorization);
    }
    permitted_by_cookies(exchange.response, directives, settings.set_cookie)
}

fn is_error(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

/// Whether nothing in the fields of a request, which the key does not tell, is likely to be refused by
/// some server: neither their size, nor their number, nor an octet beyond ASCII. An error that one
/// client can provoke would otherwise be everybody's.
fn is_usual(request: &HeaderMap) -> bool {
    let size: usize = request
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    let is_ascii = |value: &HeaderValue| value.as_bytes().is_ascii();
    size <= USUAL_FIELDS_SIZE_MAX
        && request.len() <= USUAL_FIELDS_MAX
        && request.values().all(is_ascii)
}

/// An origin that lists `Set-Cookie` in `private` or `no-cache` has said what is to become of it.
fn permitted_by_cookies(
    response: &HeaderMap,
    directives: &Directives,
    set_cookie: SetCookie,
) -> Result<(), DoNotStore> {
    let shared = response.contains_key(header::SET_COOKIE)
        && directives
            .withheld_fields()
            .all(|name| *name != header::SET_COOKIE);
    match set_cookie {
        SetCookie::Refuse if shared => Err(DoNotStore::SetCookie),
        SetCookie::Refuse | SetCookie::Strip | SetCookie::Store => Ok(()),
    }
}

fn permitted_by_status(status: StatusCode, directives: &Directives) -> Result<(), DoNotStore> {
    //= https://www.rfc-editor.org/rfc/rfc9111#section-3
    //# the response status code is final (see Section 15 of [HTTP]);
    let refused = status.is_informational()
        || is_never_stored(status)
        //= https://www.rfc-editor.org/rfc/rfc9111#section-3
        //# if the response status code is 206 or 304, or the must-understand cache directive (see
        //# Section 5.2.2.3) is present: the cache understands the response status code;
        || (directives.has(Flag::MustUnderstand) && !is_understood(status));
    if refused {
        return Err(DoNotStore::Status(status));
    }
    Ok(())
}

fn permitted_by_directives(status: StatusCode, directives: &Directives) -> Result<(), DoNotStore> {
    //= https://www.rfc-editor.org/rfc/rfc9111#section-5.2.2.3
    //# When a cache that implements the must-understand directive receives a response that includes
    //# it, the cache SHOULD ignore the no-store directive if it understands and implements the status
    //# code's caching requirements.
    let overridden = directives.has(Flag::MustUnderstand) && is_understood(status);
    //= https://www.rfc-editor.org/rfc/rfc9111#section-5.2.2.5
    //# The no-store response directive indicates that a cache MUST NOT store any part of either the
    //# immediate request or the response and MUST NOT use the response to satisfy any other request.
    if directives.has(Flag::NoStore) && !overridden {
        return Err(DoNotStore::NoStore);
    }
    //= https://www.rfc-editor.org/rfc/rfc9111#section-5.2.2.7
    //# The unqualified private response directive indicates that a shared cache MUST NOT store the
    //# response
    match directives.private {
        Scope::Everything => Err(DoNotStore::Private),
        Scope::Nothing | Scope::Fields(_) => Ok(()),
    }
}

/// RFC 9111 §3.5: "In this specification, the following response directives have such an effect:
/// must-revalidate, public, and s-maxage."
fn allows_sharing(directives: &Directives) -> bool {
    directives.has(Flag::MustRevalidate)
        || directives.has(Flag::Public)
        || directives.s_maxage.is_some()
}

/// The fields of the request that select the response.
fn selecting(exchange: &Exchange<'_>, settings: &Settings) -> Result<Selecting, DoNotStore> {
    match Nominated::by(exchange.response) {
        // What the origin has chosen by, no client tells.
        Nominated::Fields(names) if settings.vary.tells_clients_apart(&names) => {
            Err(DoNotStore::VaryClient)
        }
        Nominated::Fields(mut names) => {
            select_by_coding(&mut names, exchange, settings)?;
            Ok(Selecting::new(names, exchange.request, &settings.vary))
        }
        //= https://www.rfc-editor.org/rfc/rfc9111#section-4.1
        //# A stored response with a Vary header field value containing a member "*" always fails to
        //# match.
        Nominated::Everything => Err(DoNotStore::VaryStar),
        Nominated::TooMany => Err(DoNotStore::VaryLimit),
    }
}

/// Corrects the nominated fields by how the response is coded.
///
/// A response whose coding the cache may change answers every client, whatever it takes: `Accept-Encoding` selects
/// among codings, and those are made on demand. One that is coded with a dictionary answers only who has it: the
/// origin has to say so in `Vary` (RFC 9842 §6.2), and one that forgot must not break other clients.
fn select_by_coding(
    names: &mut Vec<HeaderName>,
    exchange: &Exchange<'_>,
    settings: &Settings,
) -> Result<(), DoNotStore> {
    let rules = &settings.codings;
    if coding::convertible(exchange.status, exchange.response, rules).is_some() {
        names.retain(|name| *name != header::ACCEPT_ENCODING);
    }
    if !coding::needs_dictionary(exchange.response) {
        return Ok(());
    }
    if !BY_DICTIONARY
        .iter()
        .all(|name| exchange.request.contains_key(name))
    {
        return Err(DoNotStore::Dictionary);
    }
    names.extend(BY_DICTIONARY);
    names.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
    names.dedup();
    Ok(())
}

/// The last condition of RFC 9111 §3: something makes the response cacheable.
fn cacheable(
    stored: &Stored,
    exchange: &Exchange<'_>,
    directives: &Directives,
) -> Result<(), DoNotStore> {
    //= https://www.rfc-editor.org/rfc/rfc9111#section-3
    //# the response contains at least one of the following:
    let by_origin = directives.has(Flag::Public)
        || freshness::has_expires(directives, exchange.response)
        || directives.max_age.is_some()
        || directives.s_maxage.is_some()
        || freshness::is_heuristically_cacheable(exchange.status);
    // A rule is the cache extension that allows it.
    let by_rule = matches!(
        stored.terms.source,
        LifetimeSource::Rule | LifetimeSource::Status
    );
    if by_origin || by_rule {
        return Ok(());
    }
    Err(DoNotStore::Status(exchange.status))
}

/// Status codes whose responses are never stored.
///
/// 206 and 304 are answers about something stored elsewhere, 412 and 416 to conditions of one
/// client. For the rest:
///
//= https://www.rfc-editor.org/rfc/rfc6585#section-3
//# Responses with the 428 status code MUST NOT be stored by a cache.
//
//= https://www.rfc-editor.org/rfc/rfc6585#section-4
//# Responses with the 429 status code MUST NOT be stored by a cache.
//
//= https://www.rfc-editor.org/rfc/rfc6585#section-5
//# Responses with the 431 status code MUST NOT be stored by a cache.
//
//= https://www.rfc-editor.org/rfc/rfc6585#section-6
//# Responses with the 511 status code MUST NOT be stored by a cache.
fn is_never_stored(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        206 | 304 | 412 | 416 | 428 | 429 | 431 | 511
    )
}

/// The status codes of RFC 9110 §15, all of whose caching behaviour is implemented here.
fn is_understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200..=205 | 300..=303 | 305 | 307 | 308 | 400..=411 | 413..=415 | 417 | 421 | 422 | 426 | 451 | 500..=505
    )
}

/// Removes what must not be stored, and what is computed anew at every use.
fn remove_withheld(headers: &mut HeaderMap, directives: &Directives, settings: &Settings) {
    hop_by_hop::remove_unstorable(headers);
    //= https://www.rfc-editor.org/rfc/rfc9111#section-5.2.2.7
    //# a shared cache MUST NOT store the listed header fields if they are present in the original
    //# response but MAY store the remainder of the response message without those header fields
    //
    // The fields listed in no-cache are treated alike: without them the rest may be reused.
    for name in directives.withheld_fields() {
        headers.remove(name);
    }
    match settings.set_cookie {
        SetCookie::Store => {}
        SetCookie::Refuse | SetCookie::Strip => {
            headers.remove(header::SET_COOKIE);
        }
    }
    headers.remove(header::AGE);
}

/// Gives a response its `Date`.
///
//= https://www.rfc-editor.org/rfc/rfc9110#section-6.6.1
//# A recipient with a clock that receives a response message without a Date header field MUST record
//# the time it was received and append a corresponding Date header field to the message's header
//# section if it is cached or forwarded downstream.
fn set_date(headers: &mut HeaderMap, reception: &Reception) {
    if reception.date_value.is_some() && headers.contains_key(header::DATE) {
        return;
    }
    if let Ok(date) = HeaderValue::try_from(reception.generated().http_date()) {
        headers.insert(header::DATE, date);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{ClientControl, TtlOverride};
    use crate::testing::{Given, at, secs};
    use proptest::prelude::*;

    #[track_caller]
    fn check(given: &Given, expected: Result<(), DoNotStore>) {
        check_under(given, &Settings::default(), expected);
    }

    #[track_caller]
    fn check_under(given: &Given, settings: &Settings, expected: Result<(), DoNotStore>) {
        let found = decide(&given.exchange(), settings).map(|_| ());
        assert_eq!(found, expected, "{given:?}");
    }

    fn fresh() -> Given {
        Given::response(&[("cache-control", "max-age=60")])
    }

    #[test]
    fn only_responses_to_get_are_stored() {
        check(&fresh(), Ok(()));
        for method in [Method::HEAD, Method::POST, Method::PUT, Method::OPTIONS] {
            check(&fresh().method(method), Err(DoNotStore::Method));
        }
    }

    #[test]
    fn explicit_freshness_makes_any_final_status_cacheable() {
        for status in [
            200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 499, 500, 502, 503, 504,
            599,
        ] {
            check(&fresh().status(status), Ok(()));
            check(
                &Given::response(&[("expires", &at(60).http_date())]).status(status),
                Ok(()),
            );
        }
        for status in [100, 103, 199, 206, 304, 412, 416, 428, 429, 431, 511] {
            let refused = DoNotStore::Status(StatusCode::from_u16(status).unwrap());
            check(&fresh().status(status), Err(refused));
        }
    }

    #[test]
    fn without_freshness_the_status_decides() {
        let given = |status| {
            Given::response(&[("last-modified", "Wed, 01 Jan 2020 00:00:00 GMT")]).status(status)
        };
        for status in [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501] {
            check(&given(status), Ok(()));
        }
        for status in [201, 202, 302, 307, 403, 500, 502, 503, 504, 599] {
            let refused = DoNotStore::Status(StatusCode::from_u16(status).unwrap());
            check(&given(status), Err(refused));
            check(&given(status).and("cache-control", "public"), Ok(()));
        }
    }

    #[test]
    fn what_is_of_no_use_is_not_stored() {
        use DoNotStore::{NoFreshness, NoValidator};
        let given = |cache_control| Given::response(&[("cache-control", cache_control)]);
        let tagged = |cache_control| given(cache_control).and("etag", "\"a\"");

        check(&Given::response(&[]), Err(NoFreshness));
        check(&given("public"), Err(NoFreshness));
        check(&given("max-age=0"), Err(NoValidator));
        check(&given("max-age=3600").and("age", "7200"), Err(NoValidator));
        check(&given("max-age=3600, no-cache"), Err(NoValidator));
        check(&given("max-age=0, stale-while-revalidate=5"), Ok(()));
        check(&given("max-age=0, stale-if-error=5"), Ok(()));
        check(
            &given("max-age=1, stale-if-error=5").and("age", "6"),
            Err(NoValidator),
        );
        for validated in ["x", "max-age=0", "no-cache", "max-age=3600, no-cache"] {
            check(&tagged(validated), Ok(()));
        }
    }

    #[test]
    fn prohibitions() {
        use DoNotStore::{NoStore, Private};
        let given =
            |cache_control| Given::response(&[("cache-control", cache_control), ("etag", "\"a\"")]);

        check(&given("no-store"), Err(NoStore));
        check(&given("No-StOrE, max-age=60"), Err(NoStore));
        check(&given("private, max-age=60"), Err(Private));
        check(&given("private=\"x\", max-age=60"), Ok(()));
        check(&given("private=\"\", max-age=60"), Err(Private));
    }

    #[test]
    fn must_understand_is_about_the_status() {
        let given = |status, cache_control| {
            Given::response(&[("cache-control", cache_control)]).status(status)
        };
        let unknown = Err(DoNotStore::Status(StatusCode::from_u16(599).unwrap()));

        check(
            &given(200, "max-age=3600, no-store, must-understand"),
            Ok(()),
        );
        check(
            &given(200, "max-age=3600, private, must-understand"),
            Err(DoNotStore::Private),
        );
        check(
            &given(599, "max-age=3600, no-store, must-understand"),
            unknown,
        );
        check(&given(599, "max-age=3600, must-understand"), unknown);
        check(&given(599, "max-age=3600"), Ok(()));
    }

    #[test]
    fn authorization_needs_leave_to_be_shared() {
        let given = |cache_control| {
            Given::response(&[("cache-control", cache_control)]).asked(&[("authorization", "x")])
        };
        check(&given("max-age=3600"), Err(DoNotStore::Authorization));
        check(
            &given("max-age=3600, proxy-revalidate"),
            Err(DoNotStore::Authorization),
        );
        check(&given("max-age=3600, public"), Ok(()));
        check(&given("max-age=3600, must-revalidate"), Ok(()));
        check(&given("s-maxage=3600"), Ok(()));
        let by_date =
            Given::response(&[("expires", &at(60).http_date())]).asked(&[("authorization", "x")]);
        check(&by_date, Err(DoNotStore::Authorization));
    }

    #[test]
    fn cookies_are_for_the_operator_to_decide() {
        #[track_caller]
        fn check(set_cookie: SetCookie, expected: Result<usize, DoNotStore>) {
            let settings = Settings {
                set_cookie,
                ..Settings::default()
            };
            let given = fresh().and("set-cookie", "a=1").and("set-cookie", "b=2");
            let found = decide(&given.exchange(), &settings)
                .map(|stored| stored.headers.get_all(header::SET_COOKIE).iter().count());
            assert_eq!(found, expected);
        }
        check(SetCookie::Refuse, Err(DoNotStore::SetCookie));
        check(SetCookie::Strip, Ok(0));
        check(SetCookie::Store, Ok(2));
    }

    #[test]
    fn a_cookie_that_the_origin_withholds_does_no_harm() {
        for directive in ["private=\"set-cookie\"", "no-cache=\"Set-Cookie, x\""] {
            let given = fresh()
                .and("cache-control", directive)
                .and("set-cookie", "a=1");
            let stored = given.stored_under(&Settings::default());
            assert!(!stored.headers.contains_key(header::SET_COOKIE));
        }
    }

    #[test]
    fn a_request_may_forbid_storing_where_clients_are_heard() {
        let given = fresh().asked(&[("cache-control", "no-store")]);
        for (client_control, expected) in [
            (ClientControl::Ignore, Ok(())),
            (ClientControl::Validate, Err(DoNotStore::RequestNoStore)),
            (ClientControl::Obey, Err(DoNotStore::RequestNoStore)),
        ] {
            check_under(
                &given,
                &Settings {
                    client_control,
                    ..Settings::default()
                },
                expected,
            );
        }
    }

    #[test]
    fn an_error_that_the_request_may_have_provoked_is_not_stored() {
        let long = "x".repeat(USUAL_FIELDS_SIZE_MAX - 1);
        let longer = format!("{long}x");
        let names: Vec<_> = (0..=USUAL_FIELDS_MAX).map(|n| format!("a{n}")).collect();
        let many: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
        let refused = Err(DoNotStore::RequestError);
        for status in [400, 404, 405, 413, 414, 500, 501, 503] {
            let given = |asked: &[(&str, &str)]| fresh().status(status).asked(asked);
            check(&given(&[("a", "b")]), Ok(()));
            check(&given(&[("a", &long)]), Ok(()));
            check(&given(&[("a", &longer)]), refused);
            check(&given(&many[1..]), Ok(()));
            check(&given(&many), refused);
            check(&given(&[("a", "caf\u{e9}")]), refused);
        }
        for status in [200, 301, 308] {
            check(&fresh().status(status).asked(&[("a", &longer)]), Ok(()));
        }
    }

    #[test]
    fn what_varies_by_client_is_not_stored() {
        let settings = Settings {
            vary: crate::vary::VaryRules {
                own: vec![HeaderName::from_static("x-forwarded-for")],
                ..Default::default()
            },
            ..Settings::default()
        };
        let given = fresh().and("vary", "accept, X-Forwarded-For");
        check_under(&given, &settings, Err(DoNotStore::VaryClient));
        check(&given, Ok(()));
    }

    #[test]
    fn vary_decides_too() {
        for star in ["*", "*, *", ", *", "*, Foo", "Foo, *"] {
            check(&fresh().and("vary", star), Err(DoNotStore::VaryStar));
        }
        check(
            &fresh().and("vary", "").and("vary", "*"),
            Err(DoNotStore::VaryStar),
        );
        check(&fresh().and("vary", "Foo, bar"), Ok(()));
        check(
            &fresh().and("vary", "not a name"),
            Err(DoNotStore::VaryStar),
        );

        let many: Vec<_> = (0..=crate::vary::SELECTING_FIELDS_MAX)
            .map(|n| format!("x-{n}"))
            .collect();
        check(&fresh().and("vary", &many[1..].join(",")), Ok(()));
        check(
            &fresh().and("vary", &many.join(",")),
            Err(DoNotStore::VaryLimit),
        );
    }

    #[test]
    fn targeted_fields_decide_alone() {
        use DoNotStore::{NoFreshness, NoStore, NoValidator, Private};
        let given = |targeted, cache_control| {
            Given::response(&[
                ("cdn-cache-control", targeted),
                ("cache-control", cache_control),
            ])
            .and("expires", &at(60).http_date())
            .dated()
        };
        check(&given("private", "max-age=10000"), Err(Private));
        check(&given("no-cache", "max-age=10000"), Err(NoFreshness));
        check(&given("no-store", "max-age=10000"), Err(NoStore));
        check(&given("max-age=10000", "no-store"), Ok(()));
        check(&given("max-age=0", "max-age=10000"), Err(NoValidator));
        check(&given("foo", "max-age=10000"), Err(NoFreshness));
        check(&given("max-age=10000, &&&&&", "no-store"), Err(NoStore));
        check(&given("max-age=\"10000\"", "no-store"), Err(NoStore));
    }

    #[test]
    fn rules_allow_what_the_origin_left_open_and_force_what_it_forbade() {
        #[track_caller]
        fn check(ttl: TtlOverride, given: &Given, expected: Result<(), DoNotStore>) {
            check_under(
                given,
                &Settings {
                    ttl: Some(ttl),
                    ..Settings::default()
                },
                expected,
            );
        }
        let minute = secs(60);
        let given = |cache_control| Given::response(&[("cache-control", cache_control)]);

        check(TtlOverride::Default(minute), &Given::response(&[]), Ok(()));
        check(
            TtlOverride::Default(minute),
            &Given::response(&[]).status(302),
            Ok(()),
        );
        check(
            TtlOverride::Default(minute),
            &given("max-age=0"),
            Err(DoNotStore::NoValidator),
        );
        check(TtlOverride::Lifetime(minute), &given("max-age=0"), Ok(()));
        check(
            TtlOverride::Lifetime(minute),
            &given("no-store"),
            Err(DoNotStore::NoStore),
        );
        check(
            TtlOverride::Lifetime(minute),
            &given("private"),
            Err(DoNotStore::Private),
        );
        check(
            TtlOverride::Force(minute),
            &given("private, no-store, no-cache"),
            Ok(()),
        );
        check(
            TtlOverride::Force(minute),
            &given("no-store").and("set-cookie", "a"),
            Err(DoNotStore::SetCookie),
        );
        check(
            TtlOverride::Force(minute),
            &given("no-store").and("vary", "*"),
            Err(DoNotStore::VaryStar),
        );
        check(
            TtlOverride::Force(minute),
            &given("no-store").status(503),
            Err(DoNotStore::NoStore),
        );
        check(
            TtlOverride::Force(minute),
            &given("no-store").asked(&[("authorization", "x")]),
            Err(DoNotStore::Authorization),
        );
    }

    #[test]
    fn the_stored_head_is_ready_to_be_sent() {
        let stored = Given::response(&[
            (
                "cache-control",
                "max-age=60, private=\"p\", no-cache=\"n, Q\"",
            ),
            ("connection", "c"),
            ("c", "1"),
            ("p", "1"),
            ("n", "1"),
            ("q", "1"),
            ("age", "7"),
            ("keep-alive", "x"),
            ("proxy-authenticate", "x"),
            ("test", "1"),
            ("test", "2"),
            ("content-length", "5"),
        ])
        .stored();

        let mut names: Vec<_> = stored
            .headers
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        names.sort_unstable();
        assert_eq!(
            names,
            ["cache-control", "content-length", "date", "test", "test"]
        );
        assert_eq!(stored.reception.age_value, secs(7));
        assert_eq!(stored.headers["date"], at(0).http_date().as_str());
    }

    #[test]
    fn date_is_kept_if_it_is_one() {
        let date = at(400).http_date();
        assert_eq!(
            fresh().and("date", &date).stored().headers["date"],
            date.as_str()
        );

        for unusable in ["foo", "0", ""] {
            let stored = fresh().and("date", unusable).stored();
            assert_eq!(stored.headers["date"], at(0).http_date().as_str());
        }
    }

    #[test]
    fn weight_grows_with_the_head() {
        let light = fresh().stored().packed("").weight();
        let heavy = fresh()
            .and("x", &"y".repeat(1000))
            .and("vary", "a")
            .stored()
            .packed("")
            .weight();
        assert!(heavy > light + 1000);
    }

    #[test]
    fn every_reason_has_its_token() {
        let reasons = [
            DoNotStore::Method,
            DoNotStore::Status(StatusCode::OK),
            DoNotStore::NoStore,
            DoNotStore::Private,
            DoNotStore::RequestNoStore,
            DoNotStore::SetCookie,
            DoNotStore::Authorization,
            DoNotStore::VaryStar,
            DoNotStore::VaryLimit,
            DoNotStore::NoFreshness,
            DoNotStore::NoValidator,
            DoNotStore::VaryClient,
            DoNotStore::RequestError,
            DoNotStore::Suffix,
            DoNotStore::Path,
        ];
        let tokens: std::collections::BTreeSet<_> = reasons.map(DoNotStore::as_str).into();
        assert_eq!(tokens.len(), reasons.len());
        assert_eq!(
            reasons
                .iter()
                .filter(|reason| reason.is_about_request())
                .count(),
            4
        );
    }

    proptest! {
        #[test]
        fn no_store_beats_everything(
            status in 100..1000_u16,
            others in proptest::collection::vec("[a-z-]{1,12}(=[0-9]{1,6}|=\"[a-z]{0,4}\")?", 0..6),
            at in 0..7_usize,
        ) {
            prop_assume!(!others.iter().any(|directive| directive == "must-understand"));
            let mut directives = others;
            directives.insert(at.min(directives.len()), "no-store".to_owned());
            let given = Given::response(&[("cache-control", &directives.join(", ")), ("etag", "\"a\"")])
                .status(status);
            prop_assert!(decide(&given.exchange(), &Settings::default()).is_err());
        }
    }
}
