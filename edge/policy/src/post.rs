//! Responses to POST that answer a later GET (RFC 9110 §9.3.3).

use http::StatusCode;
use http::Uri;
use http::header::{self, HeaderMap};
use http::method::Method;

use crate::fields;
use crate::freshness::LifetimeSource;
use crate::invalidation;
use crate::settings::Settings;
use crate::store::{self, DoNotStore, Exchange, Stored};

/// Decides whether a response to a POST for `target`, which is absolute, is stored as what a GET for
/// it would bring. Everything that keeps a response to GET from being stored counts as well.
///
/// What rules say of lifetimes is meant for responses to GET: only the origin can say that what it
/// sends is the resource, and for how long.
///
//= https://www.rfc-editor.org/rfc/rfc9110#section-9.3.3
//# Responses to POST requests are only cacheable when they include explicit freshness information
//# (see Section 4.2.1 of [CACHING]) and a Content-Location header field that has the same value as
//# the POST's target URI (Section 8.7).
///
/// # Errors
///
/// The first reason that was found not to store it.
pub fn decide(
    exchange: &Exchange<'_>,
    target: &Uri,
    settings: &Settings,
) -> Result<Stored, DoNotStore> {
    if *exchange.method != Method::POST || !represents(exchange.response, target) {
        return Err(DoNotStore::Method);
    }
    //= https://www.rfc-editor.org/rfc/rfc9110#section-8.7
    //# If Content-Location is included in a 2xx (Successful) response message and its value refers
    //# (after conversion to absolute form) to a URI that is the same as the target URI, then the
    //# recipient MAY consider the content to be a current representation of that resource at the time
    //# indicated by the message origination date.
    //
    // The other 2xx codes tell what became of the POST, which is nothing that a GET asks.
    if exchange.status != StatusCode::OK {
        return Err(DoNotStore::Status(exchange.status));
    }
    let origin_alone = Settings {
        ttl: None,
        status_ttl: Vec::new(),
        ..settings.clone()
    };
    let stored = store::storable(exchange, &origin_alone)?;
    match stored.terms.source {
        LifetimeSource::Targeted
        | LifetimeSource::SMaxage
        | LifetimeSource::MaxAge
        | LifetimeSource::Expires => Ok(stored),
        LifetimeSource::Rule
        | LifetimeSource::Status
        | LifetimeSource::Heuristic
        | LifetimeSource::None => Err(DoNotStore::NoFreshness),
    }
}

/// Whether the response says that it is a representation of `target`.
fn represents(response: &HeaderMap, target: &Uri) -> bool {
    fields::sole(response, header::CONTENT_LOCATION)
        .and_then(|reference| std::str::from_utf8(reference).ok())
        .is_some_and(|reference| invalidation::refers_to(target, reference))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::TtlOverride;
    use crate::testing::{Given, secs};

    const TARGET: &str = "https://www.example.com/basket?id=1";

    fn given(content_location: &str) -> Given {
        Given::response(&[
            ("cache-control", "max-age=60"),
            ("content-location", content_location),
        ])
        .method(Method::POST)
    }

    #[track_caller]
    fn check(given: &Given, expected: Result<(), DoNotStore>) {
        check_under(given, &Settings::default(), expected);
    }

    #[track_caller]
    fn check_under(given: &Given, settings: &Settings, expected: Result<(), DoNotStore>) {
        let target = Uri::from_static(TARGET);
        let found = decide(&given.exchange(), &target, settings).map(|_| ());
        assert_eq!(found, expected, "{given:?}");
    }

    #[test]
    #[rustfmt::skip]
    fn content_location_has_to_be_the_target_uri() {
        use DoNotStore::Method as No;
        check(&given("/basket?id=1"),                             Ok(()));
        check(&given("basket?id=1"),                              Ok(()));
        check(&given("?id=1"),                                    Ok(()));
        check(&given(""),                                         Ok(()));
        check(&given("https://www.example.com/basket?id=1"),      Ok(()));
        check(&given("HTTPS://WWW.Example.com:443/basket?id=1"),  Ok(()));
        check(&given("/basket"),                                  Err(No));
        check(&given("/basket?id=2"),                             Err(No));
        check(&given("/basket/1"),                                Err(No));
        check(&given("/Basket?id=1"),                             Err(No));
        check(&given("http://www.example.com/basket?id=1"),       Err(No));
        check(&given("//evil.test/basket?id=1"),                  Err(No));
        check(&given("/basket?id=1").and("content-location", ""), Err(No));
        let silent = Given::response(&[("cache-control", "max-age=60")]);
        check(&silent.method(Method::POST),                       Err(No));
    }

    #[test]
    fn freshness_has_to_be_explicit() {
        let given = |name, value| {
            Given::response(&[(name, value), ("content-location", "")])
                .and("etag", "\"a\"")
                .method(Method::POST)
        };
        check(&given("cache-control", "s-maxage=60"), Ok(()));
        check(&given("cdn-cache-control", "max-age=60"), Ok(()));
        check(&given("expires", "Sat, 01 Jan 2050 00:00:00 GMT"), Ok(()));
        let modified = "Wed, 01 Jan 2020 00:00:00 GMT";
        check(
            &given("last-modified", modified),
            Err(DoNotStore::NoFreshness),
        );
        check(
            &given("cache-control", "public"),
            Err(DoNotStore::NoFreshness),
        );
    }

    #[test]
    fn a_rule_for_get_is_no_explicit_freshness() {
        let given =
            Given::response(&[("content-location", ""), ("etag", "\"a\"")]).method(Method::POST);
        for ttl in [
            TtlOverride::Default,
            TtlOverride::Lifetime,
            TtlOverride::Force,
        ] {
            let settings = Settings {
                ttl: Some(ttl(secs(60))),
                ..Settings::default()
            };
            check_under(&given, &settings, Err(DoNotStore::NoFreshness));
        }
    }

    #[test]
    fn it_is_a_200_to_a_post() {
        for status in [201, 202, 203, 204, 301, 303, 400, 404] {
            let refused = DoNotStore::Status(StatusCode::from_u16(status).unwrap());
            check(&given("").status(status), Err(refused));
        }
        for method in [Method::GET, Method::PUT, Method::DELETE, Method::PATCH] {
            check(&given("").method(method), Err(DoNotStore::Method));
        }
    }

    #[test]
    fn what_keeps_a_response_to_get_from_being_stored_counts() {
        check(
            &given("").and("set-cookie", "a=1"),
            Err(DoNotStore::SetCookie),
        );
        check(
            &given("").and("cache-control", "private"),
            Err(DoNotStore::Private),
        );
        check(
            &given("").asked(&[("authorization", "x")]),
            Err(DoNotStore::Authorization),
        );
        check(&given("").and("vary", "*"), Err(DoNotStore::VaryStar));
    }
}
