use super::*;
use crate::testing::{Given, headers};

const HTML: (&str, &str) = ("content-type", "text/html; charset=utf-8");

fn accepting(value: &str) -> HeaderMap {
    headers(&[("accept-encoding", value)])
}

#[track_caller]
fn check(accept: Option<&str>, response: &[(&str, &str)], expected: Choice) {
    let request = accept.map(accepting).unwrap_or_default();
    let response = headers(response);
    let rules = CodingRules::default();
    let choice = choose(&request, StatusCode::OK, &response, &rules);
    assert_eq!(choice, expected, "{accept:?} of {response:?}");
}

const fn to(to: Coding) -> Choice {
    let from = Coding::Identity;
    Choice::Convert { from, to }
}

#[test]
#[rustfmt::skip]
fn a_coding_is_chosen_by_weight_and_then_by_preference() {
    use {Choice as C, Coding as K};
    // RFC 9110 §12.5.3
    check(None,                               &[HTML], C::AsStored);
    check(Some(""),                           &[HTML], C::AsStored);
    check(Some("gzip"),                       &[HTML], to(K::Gzip));
    check(Some("x-gzip"),                     &[HTML], to(K::Gzip));
    check(Some("GZIP"),                       &[HTML], to(K::Gzip));
    check(Some("gzip, deflate, br, zstd"),    &[HTML], to(K::Brotli));
    check(Some("gzip, deflate, zstd"),        &[HTML], to(K::Zstd));
    check(Some("br;q=0.5, gzip;q=0.8"),       &[HTML], to(K::Gzip));
    check(Some("gzip;q=0.5, identity"),       &[HTML], C::AsStored);
    check(Some("gzip;q=0.5, identity;q=0.5"), &[HTML], to(K::Gzip));
    check(Some("gzip;q=0.001"),               &[HTML], to(K::Gzip));
    check(Some("*"),                          &[HTML], to(K::Brotli));
    check(Some("*, br;q=0"),                  &[HTML], to(K::Zstd));
    check(Some("gzip;q=0"),                   &[HTML], C::AsStored);
    check(Some("identity;q=0, gzip;q=0.1"),   &[HTML], to(K::Gzip));
    check(Some("*;q=0"),                      &[HTML], C::AsStored);
    check(Some("*;q=0, gzip"),                &[HTML], to(K::Gzip));
    check(Some("deflate"),                    &[HTML], C::AsStored);
    check(Some("gzip;q=2, br;x=1"),           &[HTML], C::AsStored);
}

#[test]
#[rustfmt::skip]
fn only_what_shrinks_is_coded() {
    use {Choice as C, Coding as K};
    check(Some("gzip"), &[],                                                 C::Alone);
    check(Some("gzip"), &[("content-type", "image/jpeg")],                   C::Alone);
    check(Some("gzip"), &[("content-type", "text/event-stream")],            C::Alone);
    check(Some("gzip"), &[("content-type", "font/woff2")],                   C::Alone);
    check(Some("gzip"), &[("content-type", "application/problem+json")],     to(K::Gzip));
    check(Some("gzip"), &[("content-type", "TEXT/HTML")],                    to(K::Gzip));
    check(Some("gzip"), &[HTML, ("content-length", "1023")],                 C::Alone);
    check(Some("gzip"), &[HTML, ("content-length", "1024")],                 to(K::Gzip));
    check(Some("gzip"), &[HTML, ("content-range", "bytes 0-1/2")],           C::Alone);
    // RFC 9111 §5.2.2.6
    check(Some("gzip"), &[HTML, ("cache-control", "max-age=5, no-transform")], C::Alone);
}

#[test]
#[rustfmt::skip]
fn what_is_coded_stays_so_unless_the_client_cannot_take_it() {
    use {Choice as C, Coding as K};
    let gzip = &[HTML, ("content-encoding", "gzip"), ("content-length", "99")];
    check(Some("gzip, br, zstd"),       gzip, C::AsStored);
    check(Some("br, gzip;q=0.5"),       gzip, C::Convert { from: K::Gzip, to: K::Brotli });
    check(Some("br"),                   gzip, C::Convert { from: K::Gzip, to: K::Brotli });
    check(None,                         gzip, C::Convert { from: K::Gzip, to: K::Identity });
    check(Some("identity"),             gzip, C::Convert { from: K::Gzip, to: K::Identity });
    check(Some("*;q=0"),                gzip, C::AsStored);
    let image = &[("content-type", "image/x"), ("content-encoding", "br")];
    check(Some("gzip"),                 image, C::Convert { from: K::Brotli, to: K::Identity });
    check(Some("br"),                   image, C::AsStored);
    let unknown = &[HTML, ("content-encoding", "dcz")];
    check(Some("gzip"),                 unknown, C::Alone);
    let twice = &[HTML, ("content-encoding", "gzip, br")];
    check(Some("gzip"),                 twice, C::Alone);
    let fixed = &[HTML, ("content-encoding", "gzip"), ("cache-control", "no-transform")];
    check(Some("br"),                   fixed, C::Alone);
}

#[test]
fn a_client_that_wants_no_transformation_gets_none() {
    let request = headers(&[
        ("accept-encoding", "gzip"),
        ("cache-control", "no-transform"),
    ]);
    let rules = CodingRules::default();
    let choice = choose(&request, StatusCode::OK, &headers(&[HTML]), &rules);
    assert_eq!(choice, Choice::AsStored);
}

#[test]
fn nothing_is_chosen_where_nothing_is_offered() {
    let rules = CodingRules {
        offered: Vec::new(),
        ..CodingRules::default()
    };
    let response = headers(&[HTML]);
    let choice = choose(&accepting("gzip"), StatusCode::OK, &response, &rules);
    assert_eq!(choice, Choice::Alone);
}

#[test]
fn another_coding_has_another_head() {
    let mut head = headers(&[
        HTML,
        ("content-length", "5000"),
        ("content-digest", "sha-256=:x:"),
        ("repr-digest", "sha-256=:x:"),
        ("etag", "\"a\""),
        ("last-modified", "x"),
    ]);
    recode(&mut head, Coding::Brotli);
    let expected = [
        HTML,
        ("etag", "W/\"a\""),
        ("last-modified", "x"),
        ("content-encoding", "br"),
    ];
    assert_eq!(head, headers(&expected));
    recode(&mut head, Coding::Identity);
    assert_eq!(head, headers(&expected[..3]));
}

#[test]
fn vary_names_each_field_once() {
    #[track_caller]
    fn check(before: &[&str], after: &[&str]) {
        let lines = |values: &[&str]| {
            let lines: Vec<_> = values.iter().map(|value| ("vary", *value)).collect();
            headers(&lines)
        };
        let mut head = lines(before);
        vary_on(&mut head, &[header::ACCEPT_ENCODING]);
        assert_eq!(head, lines(after));
    }
    check(&[], &["accept-encoding"]);
    check(&["Origin"], &["Origin", "accept-encoding"]);
    check(&["Origin, Accept-Encoding"], &["Origin, Accept-Encoding"]);
    check(&["*"], &["*"]);
}

#[test]
#[rustfmt::skip]
fn an_origin_is_asked_for_what_the_client_takes() {
    #[track_caller]
    fn check(request: &[(&str, &str)], stored: Option<Coding>, expected: Option<&str>) {
        let mut request = headers(request);
        ask(&mut request, stored, &CodingRules::default());
        let asked = request.get(header::ACCEPT_ENCODING).map(|value| value.to_str().unwrap());
        assert_eq!(asked, expected, "{request:?}");
    }
    let accept = |value| ("accept-encoding", value);
    let dictionary = ("available-dictionary", ":pZGm1Av0IEBKARczz7exkNYsZb8LzaMrV7J32a2fFG4=:");
    check(&[],                                        None,                 None);
    check(&[accept("gzip, deflate, br")],             None,                 Some("br, gzip"));
    check(&[accept("br;q=0.1, gzip")],                None,                 Some("br, gzip"));
    check(&[accept("deflate")],                       None,                 Some("identity"));
    check(&[accept("gzip, br")],                      Some(Coding::Gzip),   Some("gzip"));
    check(&[accept("gzip, br")],                      Some(Coding::Identity), Some("identity"));
    check(&[accept("gzip")],                          Some(Coding::Brotli), Some("gzip"));
    // RFC 9842: a dictionary coding is asked for by who has the dictionary.
    check(&[accept("gzip, br, dcb, dcz"), dictionary], None,                Some("br, gzip, dcb, dcz"));
    check(&[accept("gzip, br, dcb, dcz")],            None,                 Some("br, gzip"));
    check(&[accept("*"), dictionary],                 None,                 Some("br, zstd, gzip"));
}

#[test]
fn a_convertible_response_is_not_selected_by_accept_encoding() {
    let fresh = [
        HTML,
        ("cache-control", "max-age=60"),
        ("vary", "Accept-Encoding, Origin"),
    ];
    let stored = Given::response(&fresh).stored();
    assert_eq!(stored.selecting.names(), [header::ORIGIN]);
    // What must not be converted is stored once for each kind of client.
    let fixed = Given::response(&fresh)
        .and("cache-control", "no-transform")
        .stored();
    let both = [header::ACCEPT_ENCODING, header::ORIGIN];
    assert_eq!(fixed.selecting.names(), both);
}

#[test]
fn a_dictionary_coding_is_for_who_has_the_dictionary() {
    use crate::settings::Settings;
    use crate::store::{DoNotStore, decide};
    let response = [
        HTML,
        ("cache-control", "max-age=60"),
        ("content-encoding", "dcz"),
    ];
    let asked = [
        ("accept-encoding", "gzip, dcz"),
        ("available-dictionary", ":aaaa:"),
    ];
    let given = Given::response(&response).asked(&asked);
    let stored = given.stored();
    // RFC 9842 §6.2: the origin ought to have said so itself.
    let both = [header::ACCEPT_ENCODING, AVAILABLE_DICTIONARY];
    assert_eq!(stored.selecting.names(), both);
    let vary: Vec<_> = fields::list(&stored.headers, header::VARY).collect();
    assert_eq!(vary, [&b"accept-encoding"[..], b"available-dictionary"]);
    let matches = |request: &[(&str, &str)]| {
        let rules = Settings::default().vary;
        stored.selecting.matches(&headers(request), &rules)
    };
    assert!(matches(&asked));
    assert!(!matches(&asked[..1]));
    assert!(!matches(&[asked[0], ("available-dictionary", ":bbbb:")]));
    assert!(!matches(&[("accept-encoding", "gzip"), asked[1]]));

    let unasked = Given::response(&response).asked(&asked[..1]);
    let refused = decide(&unasked.exchange(), &Settings::default());
    assert_eq!(refused, Err(DoNotStore::Dictionary));
}
