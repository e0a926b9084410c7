//! Updating stored header fields (RFC 9111 §3.2) after validation (§4.3.4) and from HEAD (§4.3.5).

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName};
use http::method::Method;

use crate::fields::{self, EntityTag, Strength};
use crate::hop_by_hop;
use crate::settings::{SetCookie, Settings};
use crate::store::{self, DoNotStore, Exchange, Stored};

/// What a 304 (Not Modified) means for the stored response that was validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Freshened {
    /// This takes its place.
    Updated(Stored),
    /// This may answer the request that was validated for, and no other: as updated, it must not be
    /// stored. What is stored stays as it was.
    Unstorable {
        /// The updated response.
        stored: Stored,
        /// Why it must not be stored.
        why: DoNotStore,
    },
    /// The 304 is about another response. Ask again, unconditionally.
    Mismatch,
}

/// What a response to HEAD means for a stored response to GET.
#[expect(
    clippy::large_enum_variant,
    reason = "a verdict is taken apart where it is given"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeadVerdict {
    /// This takes its place.
    Updated(Stored),
    /// It is out of date, and has to be validated before it is used again.
    Invalidate,
    /// Nothing: the two are about different things.
    Unrelated,
}

/// Updates `stored` from the 304 that its validation brought.
pub fn freshen(stored: &Stored, exchange: &Exchange<'_>, settings: &Settings) -> Freshened {
    let correspondence = Correspondence::of(&stored.headers, exchange.response);
    if correspondence == Correspondence::None {
        return Freshened::Mismatch;
    }
    let headers = updated(&stored.headers, exchange.response, correspondence, settings);
    let updated = as_if_received(stored, exchange, &headers);
    match store::storable(&updated, settings) {
        Ok(stored) => Freshened::Updated(stored),
        Err(why) => Freshened::Unstorable {
            stored: store::regardless(&updated, settings),
            why,
        },
    }
}

/// Updates `stored` from the response to a HEAD that it could have answered.
pub fn freshen_from_head(
    stored: &Stored,
    exchange: &Exchange<'_>,
    settings: &Settings,
) -> HeadVerdict {
    //= https://www.rfc-editor.org/rfc/rfc9111#section-4.3.5
    //# When a cache makes an inbound HEAD request for a target URI and receives a 200 (OK) response,
    //# the cache SHOULD update or invalidate each of its stored GET responses that could have been
    //# chosen for that request (see Section 4.1).
    let related = *exchange.method == Method::HEAD
        && exchange.status == StatusCode::OK
        && stored.status == StatusCode::OK
        // Another coding is another representation, whose fields say nothing about this one.
        && exchange.response.get(header::CONTENT_ENCODING)
            == stored.headers.get(header::CONTENT_ENCODING)
        && stored.selecting.matches(exchange.request, &settings.vary);
    if !related {
        return HeadVerdict::Unrelated;
    }
    //= https://www.rfc-editor.org/rfc/rfc9111#section-4.3.5
    //# For each of the stored responses that could have been chosen, if the stored response and HEAD
    //# response have matching values for any received validator fields (ETag and Last-Modified) and,
    //# if the HEAD response has a Content-Length header field, the value of Content-Length matches
    //# that of the stored response, the cache SHOULD update the stored response as described below;
    //# otherwise, the cache SHOULD consider the stored response to be stale.
    let same = [header::ETAG, header::LAST_MODIFIED, header::CONTENT_LENGTH]
        .iter()
        .filter(|name| exchange.response.contains_key(*name))
        .all(|name| fields::sole(exchange.response, name) == fields::sole(&stored.headers, name));
    if !same {
        return HeadVerdict::Invalidate;
    }
    let headers = updated(
        &stored.headers,
        exchange.response,
        Correspondence::Full,
        settings,
    );
    match store::storable(&as_if_received(stored, exchange, &headers), settings) {
        Ok(updated) => HeadVerdict::Updated(updated),
        Err(_) => HeadVerdict::Invalidate,
    }
}

/// Updates `stored` from the 206 that is combined with it (RFC 9111 §3.4).
pub(crate) fn combined(
    stored: &Stored,
    exchange: &Exchange<'_>,
    settings: &Settings,
) -> Result<Stored, DoNotStore> {
    let headers = updated(
        &stored.headers,
        exchange.response,
        Correspondence::Full,
        settings,
    );
    store::storable(&as_if_received(stored, exchange, &headers), settings)
}

/// The exchange as it would have been if the origin had sent the whole response again.
fn as_if_received<'a>(
    stored: &Stored,
    exchange: &Exchange<'a>,
    headers: &'a HeaderMap,
) -> Exchange<'a> {
    Exchange {
        status: stored.status,
        response: headers,
        ..*exchange
    }
}

/// How far a 304 and a stored response are about the same representation.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Correspondence {
    /// They are.
    Full,
    /// They are, but the stored entity tag is the weak form of the strong one received.
    WeakTwin,
    /// They are not.
    None,
}

impl Correspondence {
    /// Compares validators (RFC 9111 §4.3.4). There is one stored response to be identified or not:
    /// the one whose validators were sent.
    fn of(stored: &HeaderMap, received: &HeaderMap) -> Self {
        let last_modified = |headers| fields::sole(headers, header::LAST_MODIFIED);
        match (EntityTag::of(stored), EntityTag::of(received)) {
            (Some(stored), Some(received)) => Self::of_tags(stored, received),
            //= https://www.rfc-editor.org/rfc/rfc9111#section-4.3.4
            //# If the new response contains no strong validators but does contain one or more weak
            //# validators, and those validators correspond to one of the initial set's stored
            //# responses, then the most recent of those matching stored responses is identified for
            //# update.
            _ => match (last_modified(stored), last_modified(received)) {
                (Some(stored), Some(received)) if stored == received => Self::Full,
                (Some(_), Some(_)) => Self::None,
                _ if EntityTag::of(received).is_some() => Self::None,
                // Nothing to compare: the 304 answers a condition made from the stored response.
                _ => Self::Full,
            },
        }
    }

    fn of_tags(stored: EntityTag<'_>, received: EntityTag<'_>) -> Self {
        match (stored.strength(), received.strength()) {
            _ if !stored.weak_eq(received) => Self::None,
            //= https://www.rfc-editor.org/rfc/rfc9111#section-4.3.4
            //= type=exception
            //= reason=Origins that compress on the fly weaken the entity tag of a 200, but not of a 304. If-None-Match compares weakly, so the 304 does speak of the stored response; its weak tag is kept.
            //# If none of the initial set contains at least one of the same strong validators, then
            //# the cache MUST NOT use the new response to update any stored responses.
            (Strength::Weak, Strength::Strong) => Self::WeakTwin,
            _ => Self::Full,
        }
    }
}

/// Fields that describe the stored bytes, which a 304 leaves as they are. Ranges are cut from them and
/// digests compared with them.
const OF_THE_CONTENT: [&str; 5] = [
    "content-length",
    "content-encoding",
    "content-range",
    "content-md5",
    "content-digest",
];

/// The stored header fields, updated with those received.
///
//= https://www.rfc-editor.org/rfc/rfc9111#section-3.2
//# When doing so, the cache MUST add each header field in the provided response to the stored
//# response, replacing field values that are already present, with the following exceptions:
fn updated(
    stored: &HeaderMap,
    received: &HeaderMap,
    correspondence: Correspondence,
    settings: &Settings,
) -> HeaderMap {
    let mut received = received.clone();
    //= https://www.rfc-editor.org/rfc/rfc9111#section-3.2
    //# Header fields excepted from storage in Section 3.1,
    hop_by_hop::remove_unstorable(&mut received);
    //= https://www.rfc-editor.org/rfc/rfc9111#section-3.2
    //# Header fields that the cache's stored response depends upon, as described below,
    //
    //= https://www.rfc-editor.org/rfc/rfc9111#section-3.2
    //# The Content-Length header field.
    for name in OF_THE_CONTENT {
        received.remove(name);
    }
    if correspondence == Correspondence::WeakTwin {
        received.remove(header::ETAG);
    }
    // A cookie that comes with a 304 is for whoever asked, and no reason to give up the response.
    if settings.set_cookie != SetCookie::Store {
        received.remove(header::SET_COOKIE);
    }

    let mut headers = stored.clone();
    // The age of the response counts from now, also if it does not say when now is.
    headers.remove(header::DATE);
    replace(&mut headers, received);
    headers
}

/// Replaces all lines of every field that occurs in `fields`.
fn replace(headers: &mut HeaderMap, fields: HeaderMap) {
    let mut current: Option<HeaderName> = None;
    for (name, value) in fields {
        // Further lines of a field come without its name.
        if let Some(name) = name {
            headers.remove(&name);
            current = Some(name);
        }
        headers.extend(current.clone().map(|name| (name, value)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::freshness::LifetimeSource;
    use crate::settings::TargetFields;
    use crate::testing::{Given, at, headers, secs};

    const DATE: &str = "Wed, 01 Jan 2020 00:00:00 GMT";
    const LATER: &str = "Thu, 02 Jan 2020 00:00:00 GMT";

    fn not_modified(lines: &[(&str, &str)]) -> Given {
        Given::response(lines).status(304).at(at(100))
    }

    fn freshened(stored: &Stored, by: &Given) -> Freshened {
        freshen(stored, &by.exchange(), &Settings::default())
    }

    #[track_caller]
    fn updated(stored: &Stored, by: &Given) -> Stored {
        match freshened(stored, by) {
            Freshened::Updated(updated) => updated,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn validators_identify_the_response() {
        #[track_caller]
        fn check(stored: &[(&str, &str)], received: &[(&str, &str)], expected: Correspondence) {
            let found = Correspondence::of(&headers(stored), &headers(received));
            assert_eq!(found, expected, "{stored:?} {received:?}");
        }
        use Correspondence::{Full, None, WeakTwin};
        let strong = ("etag", "\"a\"");
        let weak = ("etag", "W/\"a\"");
        let other = ("etag", "\"b\"");
        let modified = ("last-modified", DATE);

        check(&[strong], &[strong], Full);
        check(&[strong], &[weak], Full);
        check(&[weak], &[weak], Full);
        check(&[weak], &[strong], WeakTwin);
        check(&[strong], &[other], None);
        check(&[weak], &[other], None);
        check(&[strong, modified], &[other, modified], None);
        check(&[modified], &[modified], Full);
        check(&[modified], &[("last-modified", LATER)], None);
        check(&[strong, modified], &[modified], Full);
        check(&[modified], &[strong, modified], Full);
        check(&[modified], &[strong], None);
        check(&[strong], &[modified], Full);
        check(&[strong], &[], Full);
        check(&[modified], &[], Full);
    }

    #[test]
    fn fields_are_added_and_replaced_but_those_of_the_content() {
        let stored = Given::response(&[
            ("cache-control", "max-age=1"),
            ("etag", "\"a\""),
            ("test", "1"),
            ("test", "2"),
            ("kept", "1"),
            ("content-type", "text/plain"),
            ("content-encoding", "a"),
            ("content-length", "36"),
        ])
        .stored();
        let updated = updated(
            &stored,
            &not_modified(&[
                ("cache-control", "max-age=3600"),
                ("etag", "\"a\""),
                ("test", "3"),
                ("new", "1"),
                ("new", "2"),
                ("content-type", "text/html"),
                ("content-encoding", "b"),
                ("content-range", "bytes 0-9/10"),
                ("content-md5", "b"),
                ("content-digest", "b"),
                ("content-length", "10"),
                ("connection", "kept, hop"),
                ("hop", "1"),
                ("keep-alive", "1"),
                ("proxy-authenticate", "1"),
            ]),
        );

        let expected = headers(&[
            ("cache-control", "max-age=3600"),
            ("etag", "\"a\""),
            ("test", "3"),
            ("kept", "1"),
            ("new", "1"),
            ("new", "2"),
            ("content-type", "text/html"),
            ("content-encoding", "a"),
            ("content-length", "36"),
            ("date", &at(100).http_date()),
        ]);
        assert_eq!(updated.headers, expected);
        assert_eq!(updated.status, StatusCode::OK);
        assert_eq!(updated.terms.freshness_lifetime, secs(3600));
    }

    #[test]
    fn it_is_as_old_as_the_304() {
        let stored = Given::response(&[
            ("cache-control", "max-age=60"),
            ("etag", "\"a\""),
            ("age", "50"),
        ])
        .dated()
        .stored();

        let validated = updated(&stored, &not_modified(&[]));
        assert_eq!(validated.reception.current_age(at(100)), secs(0));
        assert_eq!(validated.terms.source, LifetimeSource::MaxAge);

        let by_a_parent = updated(
            &stored,
            &not_modified(&[("age", "7"), ("date", &at(95).http_date())]),
        );
        assert_eq!(by_a_parent.reception.current_age(at(100)), secs(7));
        assert_eq!(by_a_parent.headers["date"], at(95).http_date().as_str());
        assert!(!by_a_parent.headers.contains_key("age"));
    }

    #[test]
    fn a_304_about_another_response_updates_nothing() {
        let stored =
            Given::response(&[("cache-control", "max-age=60"), ("etag", "\"a\"")]).stored();
        assert_eq!(
            freshened(&stored, &not_modified(&[("etag", "\"b\"")])),
            Freshened::Mismatch
        );
    }

    #[test]
    fn the_weak_tag_of_a_compressed_response_is_kept() {
        let stored =
            Given::response(&[("cache-control", "max-age=60"), ("etag", "W/\"a\"")]).stored();
        let updated = updated(&stored, &not_modified(&[("etag", "\"a\""), ("test", "1")]));
        assert_eq!(updated.headers["etag"], "W/\"a\"");
        assert_eq!(updated.headers["test"], "1");
    }

    #[test]
    fn a_304_may_forbid_to_store_what_it_freshens() {
        #[track_caller]
        fn check(by: &Given, expected: DoNotStore) {
            let stored = Given::response(&[
                ("cache-control", "max-age=60"),
                ("etag", "\"a\""),
                ("test", "1"),
            ])
            .stored();
            match freshened(&stored, by) {
                Freshened::Unstorable { stored, why } => {
                    assert_eq!(why, expected);
                    assert_eq!(stored.headers["test"], "1");
                    assert_eq!(stored.headers["date"], at(100).http_date().as_str());
                }
                other => panic!("{other:?}"),
            }
        }
        check(
            &not_modified(&[("cache-control", "no-store")]),
            DoNotStore::NoStore,
        );
        check(
            &not_modified(&[("cache-control", "private")]),
            DoNotStore::Private,
        );
        check(&not_modified(&[("vary", "*")]), DoNotStore::VaryStar);
        check(
            &not_modified(&[]).asked(&[("authorization", "x")]),
            DoNotStore::Authorization,
        );
    }

    #[test]
    fn vary_is_read_anew() {
        let stored = Given::response(&[
            ("cache-control", "max-age=60"),
            ("etag", "\"a\""),
            ("vary", "a"),
        ])
        .asked(&[("a", "1"), ("b", "2")])
        .stored();

        let same = updated(&stored, &not_modified(&[]).asked(&[("a", "1"), ("b", "3")]));
        assert_eq!(same.selecting, stored.selecting);

        let more = updated(
            &stored,
            &not_modified(&[("vary", "a, b")]).asked(&[("a", "1"), ("b", "3")]),
        );
        assert!(more.selecting.matches(
            &headers(&[("a", "1"), ("b", "3")]),
            &Settings::default().vary
        ));
        assert!(
            !more
                .selecting
                .matches(&headers(&[("a", "1")]), &Settings::default().vary)
        );
    }

    #[test]
    fn a_cookie_in_a_304_is_not_shared() {
        let stored =
            Given::response(&[("cache-control", "max-age=60"), ("etag", "\"a\"")]).stored();
        let by = not_modified(&[("set-cookie", "a=1")]);
        for (set_cookie, expected) in [
            (SetCookie::Refuse, false),
            (SetCookie::Strip, false),
            (SetCookie::Store, true),
        ] {
            let settings = Settings {
                set_cookie,
                ..Settings::default()
            };
            match freshen(&stored, &by.exchange(), &settings) {
                Freshened::Updated(updated) => {
                    assert_eq!(updated.headers.contains_key("set-cookie"), expected)
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_targeted_field_outlives_a_304_without_it() {
        let settings = Settings {
            target_fields: TargetFields::Remove,
            ..Settings::default()
        };
        let stored = Given::response(&[
            ("cache-control", "no-store"),
            ("cdn-cache-control", "max-age=60"),
            ("etag", "\"a\""),
        ])
        .stored_under(&settings);
        let by = not_modified(&[("cache-control", "no-store")]);

        let Freshened::Updated(updated) = freshen(&stored, &by.exchange(), &settings) else {
            panic!("not updated");
        };
        assert_eq!(updated.terms.source, LifetimeSource::Targeted);
    }

    #[test]
    fn head_updates_or_invalidates() {
        #[track_caller]
        fn check(received: &Given, expected: Option<HeadVerdict>) {
            let stored = Given::response(&[
                ("cache-control", "max-age=2"),
                ("etag", "\"a\""),
                ("last-modified", DATE),
                ("content-length", "5"),
                ("vary", "a"),
                ("test", "1"),
            ])
            .asked(&[("a", "1")])
            .stored();
            let found = freshen_from_head(&stored, &received.exchange(), &Settings::default());
            match (&found, expected) {
                (HeadVerdict::Updated(updated), None) => {
                    assert_eq!(updated.terms.freshness_lifetime, secs(1000));
                    assert_eq!(updated.headers["test"], "1");
                }
                (found, expected) => assert_eq!(Some(found), expected.as_ref()),
            }
        }
        let head = |lines: &[(&str, &str)]| {
            Given::response(lines)
                .and("cache-control", "max-age=1000")
                .method(Method::HEAD)
                .asked(&[("a", "1")])
                .at(at(100))
        };
        check(&head(&[]), None);
        check(&head(&[("etag", "\"a\""), ("content-length", "5")]), None);
        check(&head(&[("etag", "\"b\"")]), Some(HeadVerdict::Invalidate));
        check(
            &head(&[("last-modified", LATER)]),
            Some(HeadVerdict::Invalidate),
        );
        check(
            &head(&[("content-length", "6")]),
            Some(HeadVerdict::Invalidate),
        );
        check(
            &head(&[("cache-control", "no-store")]),
            Some(HeadVerdict::Invalidate),
        );
        check(&head(&[]).status(410), Some(HeadVerdict::Unrelated));
        check(
            &head(&[]).asked(&[("a", "2")]),
            Some(HeadVerdict::Unrelated),
        );
        check(&head(&[]).method(Method::GET), Some(HeadVerdict::Unrelated));
    }
}
