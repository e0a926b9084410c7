//! Partial content: what is asked for where a part is wanted, and what is stored of a representation
//! that is not there as a whole (RFC 9111 §3.3, §3.4).

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::method::Method;

use crate::conditional::{self, Precondition};
use crate::fields;
use crate::freshen;
use crate::packed::Fields;
use crate::range::{self, ByteRange, RangeAnswer, Specifier};
use crate::settings::Settings;
use crate::slices::{Layout, Strong};
use crate::store::{self, DoNotStore, Exchange, Stored};
use crate::time::Timestamp;

/// Which bytes of its representation a stored response has.
//= https://www.rfc-editor.org/rfc/rfc9111#section-3.3
//# a cache MAY store a response that is not complete (Section 6.1 of [HTTP]) provided that the stored
//# response is recorded as being incomplete. Likewise, a 206 (Partial Content) response MAY be stored
//# as if it were an incomplete 200 (OK) response.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Extent {
    /// All.
    #[default]
    Whole,
    /// These.
    Part(Part),
    /// None by itself: they are stored slice by slice.
    Sliced(Layout),
}

/// Bytes of a representation whose length is known (RFC 9110 §14.4).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which bytes; the last one lies before `complete`.
    pub range: ByteRange,
    /// The length of the whole.
    pub complete: u64,
}

impl Part {
    /// The one part that a 206 has. `None` if it has several, or says nothing that is true of its
    /// content: what cannot be trusted here cannot be stored.
    //= https://www.rfc-editor.org/rfc/rfc9110#section-14.4
    //# The recipient of an invalid Content-Range MUST NOT attempt to recombine the received content
    //# with a stored representation.
    pub fn read(response: &HeaderMap) -> Option<Self> {
        let value = fields::sole(response, header::CONTENT_RANGE)?;
        let (unit, value) = split(value, b' ')?;
        let (range, complete) = split(value, b'/')?;
        let (first, last) = split(range, b'-')?;
        let first = fields::decimal(first)?;
        let last = fields::decimal(last)?;
        let complete = fields::decimal(complete)?;
        let valid = unit.eq_ignore_ascii_case(b"bytes") && first <= last && last < complete;
        let part = Self {
            range: ByteRange { first, last },
            complete,
        };
        let announced = response
            .contains_key(header::CONTENT_LENGTH)
            .then(|| fields::sole(response, header::CONTENT_LENGTH).and_then(fields::decimal));
        let true_length = announced.is_none_or(|length| length == Some(part.range.len()));
        (valid && true_length).then_some(part)
    }

    /// Whether nothing is missing.
    pub const fn is_whole(self) -> bool {
        self.range.len() == self.complete
    }

    /// Whether a range lies within it.
    pub const fn has(self, range: ByteRange) -> bool {
        self.range.first <= range.first && range.last <= self.range.last
    }

    /// The bytes that are missing, if they are in one piece.
    pub fn rest(self) -> Option<ByteRange> {
        let Self { range, complete } = self;
        if range.first == 0 {
            let first = range.last + 1;
            let last = complete.checked_sub(1)?;
            return (first <= last).then_some(ByteRange { first, last });
        }
        let (first, last) = (0, range.first - 1);
        (range.last + 1 == complete).then_some(ByteRange { first, last })
    }
}

fn split(value: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = value.iter().position(|&byte| byte == at)?;
    Some((&value[..place], &value[place + 1..]))
}

/// A `Range` that has these bytes, open at the end of the representation.
pub fn asking(range: ByteRange, complete: u64) -> HeaderValue {
    let ByteRange { first, last } = range;
    if last.saturating_add(1) == complete {
        return value(format!("bytes={first}-"));
    }
    value(format!("bytes={first}-{last}"))
}

#[expect(
    clippy::expect_used,
    reason = "digits and ASCII punctuation are valid in every field value"
)]
fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("a Range is visible ASCII")
}

/// What of a representation nothing is known of is asked for in the name of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// From the beginning of the slice that the client's first range begins in, to the end of the one
    /// that it ends in.
    Aligned(HeaderValue),
    /// The range as the client has it: where it begins is not known yet.
    Verbatim(HeaderValue),
}

impl Opening {
    /// What to ask for in slices of `size` bytes; `None` if the client wants no range, or none that it
    /// would get: at most `most`.
    pub fn new(method: &Method, request: &HeaderMap, size: u64, most: usize) -> Option<Self> {
        if *method != Method::GET || size == 0 {
            return None;
        }
        let wanted = fields::sole(request, header::RANGE)?;
        let aligned = |first: u64| first / size * size;
        Some(match *range::specifiers(wanted, most)? {
            [Specifier::Suffix(0)] => return None,
            [Specifier::Suffix(length)] => Self::Verbatim(value(format!("bytes=-{length}"))),
            [Specifier::From { first, last: None }] => {
                Self::Aligned(value(format!("bytes={}-", aligned(first))))
            }
            [
                Specifier::From {
                    first,
                    last: Some(last),
                },
            ] => Self::between(aligned(first), last, size),
            // The others come from what the first one has told of the representation.
            [Specifier::From { first, .. }, ..] => Self::between(aligned(first), first, size),
            _ => Self::between(0, 0, size),
        })
    }

    /// From `first` to the end of the slice with the byte at `last`.
    fn between(first: u64, last: u64, size: u64) -> Self {
        let end = (last / size).saturating_add(1).saturating_mul(size) - 1;
        Self::Aligned(value(format!("bytes={first}-{end}")))
    }

    /// The value of `Range`.
    pub const fn range(&self) -> &HeaderValue {
        let (Self::Aligned(range) | Self::Verbatim(range)) = self;
        range
    }
}

/// The fields of the 200 that a 206 with this part is a part of.
pub fn as_whole(response: &HeaderMap, part: Part) -> HeaderMap {
    let mut headers = response.clone();
    headers.remove(header::CONTENT_RANGE);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(part.complete));
    headers
}

/// Decides whether a 206 with this part is stored, as the incomplete 200 that it then is.
///
/// # Errors
///
/// The first reason that was found not to store it.
pub fn decide(
    exchange: &Exchange<'_>,
    part: Part,
    settings: &Settings,
) -> Result<Stored, DoNotStore> {
    let response = as_whole(exchange.response, part);
    let exchange = Exchange {
        status: StatusCode::OK,
        response: &response,
        ..*exchange
    };
    store::decide(&exchange, settings)
}

/// Whether a request gets its answer from this part of `response`, the fields of the whole.
//= https://www.rfc-editor.org/rfc/rfc9111#section-3.3
//# A cache MUST NOT use an incomplete response to answer requests unless the response has been made
//# complete, or the request is partial and specifies a range wholly within the incomplete response.
pub fn answers(
    (method, request): (&Method, &HeaderMap),
    response: &impl Fields,
    part: Part,
    received: Timestamp,
) -> bool {
    let status = StatusCode::OK;
    match conditional::evaluate(method, request, status, response, received) {
        Precondition::NotModified | Precondition::Failed => return true,
        Precondition::Proceed if *method == Method::HEAD => return true,
        Precondition::Proceed => {}
    }
    match range::answer(method, request, status, response, part.complete, 1) {
        RangeAnswer::Single(range) => part.has(range),
        RangeAnswer::Unsatisfiable => true,
        RangeAnswer::Whole | RangeAnswer::Multiple(_) => part.is_whole(),
    }
}

/// What a 206 means for the stored response that it was asked for to complete.
#[expect(
    clippy::large_enum_variant,
    reason = "a verdict is taken apart where it is given"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Combined {
    /// Its content belongs to the stored response, whose head is this from now on.
    Updated(Stored),
    /// Its content belongs to the stored response, and must not be stored.
    Unstorable(DoNotStore),
    /// They are not of the same representation, or it is not the part that was asked for.
    Mismatch,
}

/// Whether a response has the strong validator of a stored one.
fn is_same(stored: &impl Fields, response: &HeaderMap) -> bool {
    // A date says nothing of the coding.
    let there = fields::list(stored, header::CONTENT_ENCODING);
    let told = fields::list(response, header::CONTENT_ENCODING);
    Strong::of(stored).is_some_and(|strong| strong.holds(response)) && there.eq(told)
}

/// How many bytes of a response's content come before those that are `wanted` of a stored one, whose
/// head is sent already; `None` if they are not of the same representation (RFC 9111 §3.4).
pub fn bytes_before(
    stored: &impl Fields,
    wanted: Part,
    (status, response): (StatusCode, &HeaderMap),
) -> Option<u64> {
    if !is_same(stored, response) {
        return None;
    }
    match status {
        StatusCode::PARTIAL_CONTENT => (Part::read(response)? == wanted).then_some(0),
        // The origin takes no ranges.
        StatusCode::OK => {
            let announced = response
                .contains_key(header::CONTENT_LENGTH)
                .then(|| fields::sole(response, header::CONTENT_LENGTH).and_then(fields::decimal));
            let same_length = announced.is_none_or(|length| length == Some(wanted.complete));
            same_length.then_some(wanted.range.first)
        }
        _ => None,
    }
}

/// Combines a 206 with the stored response that it is to complete by `wanted`.
pub fn combine(
    stored: &Stored,
    wanted: Part,
    exchange: &Exchange<'_>,
    settings: &Settings,
) -> Combined {
    let same = is_same(&stored.headers, exchange.response);
    let part = Part::read(exchange.response);
    if exchange.status != StatusCode::PARTIAL_CONTENT || !same || part != Some(wanted) {
        return Combined::Mismatch;
    }
    //= https://www.rfc-editor.org/rfc/rfc9111#section-3.4
    //# When combining the new response with one or more stored responses, a cache MUST update the
    //# stored response header fields using the header fields provided in the new response, as per
    //# Section 3.2.
    match freshen::combined(stored, exchange, settings) {
        Ok(stored) => Combined::Updated(stored),
        Err(why) => Combined::Unstorable(why),
    }
}

/// Whether it is worth storing the head that a stored one was updated to by a 206: whether it says something else, or is
/// so much younger that half of the freshness lifetime has passed between them.
///
/// A cache may leave a 206 out of what it stores. One for each slice of a long response says the same a thousand times.
pub fn is_news(stored: &Stored, updated: &Stored) -> bool {
    let passed = updated
        .reception
        .response_time
        .since(stored.reception.response_time);
    stored.status != updated.status
        || stored.selecting != updated.selecting
        || passed >= stored.terms.freshness_lifetime / 2
        || !is_equal_but_for_time(&stored.headers, &updated.headers)
}

fn is_equal_but_for_time(stored: &HeaderMap, updated: &HeaderMap) -> bool {
    let of_time = |name: &HeaderName| [header::DATE, header::EXPIRES].contains(name);
    let others = |headers: &HeaderMap| {
        let names = headers.keys();
        names.filter(|name| !of_time(name)).count()
    };
    let same = |name: &HeaderName| {
        let [old, new] = [stored, updated].map(|headers| headers.get_all(name).iter());
        old.eq(new)
    };
    others(stored) == others(updated) && stored.keys().all(|name| of_time(name) || same(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Given, at, headers, secs};

    const fn part(first: u64, last: u64, complete: u64) -> Part {
        Part {
            range: ByteRange { first, last },
            complete,
        }
    }

    #[test]
    fn a_part_says_what_it_is_of() {
        #[track_caller]
        fn check(lines: &[(&str, &str)], expected: Option<Part>) {
            assert_eq!(Part::read(&headers(lines)), expected, "{lines:?}");
        }
        let good = ("content-range", "bytes 4-9/10");
        check(&[good], Some(part(4, 9, 10)));
        check(&[good, ("content-length", "6")], Some(part(4, 9, 10)));
        check(&[("content-range", "BYTES 0-0/1")], Some(part(0, 0, 1)));
        // RFC 9110 §14.4: invalid, and so is one that is not true of its own content.
        check(&[good, ("content-length", "5")], None);
        check(&[good, ("content-length", "x")], None);
        check(&[good, good], None);
        for bad in [
            "bytes 9-4/10",
            "bytes 4-10/10",
            "bytes 4-9/*",
            "bytes */10",
            "bytes 4-9",
            "lines 4-9/10",
            "bytes=4-9/10",
            "bytes -9/10",
            "",
        ] {
            check(&[("content-range", bad)], None);
        }
        check(&[], None);
    }

    #[test]
    fn the_rest_of_a_part_is_what_comes_before_or_after_it() {
        let rest = |part: Part| part.rest().map(|rest| (rest.first, rest.last));
        assert_eq!(rest(part(0, 4, 10)), Some((5, 9)));
        assert_eq!(rest(part(5, 9, 10)), Some((0, 4)));
        assert_eq!(rest(part(2, 4, 10)), None);
        assert_eq!(rest(part(0, 9, 10)), None);
        assert_eq!(asking(ByteRange { first: 5, last: 9 }, 10), "bytes=5-");
        assert_eq!(asking(ByteRange { first: 0, last: 4 }, 10), "bytes=0-4");
        assert_eq!(
            asking(
                ByteRange {
                    first: 0,
                    last: u64::MAX
                },
                10
            ),
            "bytes=0-18446744073709551615"
        );
    }

    #[test]
    fn the_rest_is_of_the_same_representation_or_none() {
        let stored = headers(&[("etag", "\"a\""), ("content-encoding", "br")]);
        let check = |status, lines: &[(&str, &str)], expected| {
            let status = StatusCode::from_u16(status).unwrap();
            let response = headers(lines);
            let found = bytes_before(&stored, part(4, 9, 10), (status, &response));
            assert_eq!(found, expected, "{status} {lines:?}");
        };
        let (tag, coding) = (("etag", "\"a\""), ("content-encoding", "br"));
        let range = ("content-range", "bytes 4-9/10");
        check(206, &[tag, coding, range], Some(0));
        check(206, &[tag, coding, ("content-range", "bytes 3-9/10")], None);
        check(206, &[tag, coding, ("content-range", "bytes 4-9/11")], None);
        check(206, &[tag, coding], None);
        check(206, &[tag, range], None);
        check(206, &[("etag", "\"b\""), coding, range], None);
        check(206, &[("etag", "W/\"a\""), coding, range], None);
        check(200, &[tag, coding], Some(4));
        check(200, &[tag, coding, ("content-length", "10")], Some(4));
        check(200, &[tag, coding, ("content-length", "11")], None);
        check(200, &[("etag", "\"b\""), coding], None);
        check(412, &[tag, coding], None);
    }

    #[test]
    fn an_opening_is_aligned_to_slices() {
        #[track_caller]
        fn check(range: &str, expected: Option<&str>) {
            let request = headers(&[("range", range)]);
            let found = Opening::new(&Method::GET, &request, 10, 4);
            let found = found.as_ref().map(|it| it.range().to_str().unwrap());
            assert_eq!(found, expected, "{range}");
        }
        check("bytes=0-0", Some("bytes=0-9"));
        check("bytes=9-10", Some("bytes=0-19"));
        check("bytes=15-29", Some("bytes=10-29"));
        check("bytes=15-", Some("bytes=10-"));
        check("bytes=0-", Some("bytes=0-"));
        check("bytes=-5", Some("bytes=-5"));
        check("bytes=12-13,30-", Some("bytes=10-19"));
        check("bytes=-5,12-13", Some("bytes=0-9"));
        check(
            "bytes=3-18446744073709551615",
            Some("bytes=0-18446744073709551614"),
        );
        check("bytes=-0", None);
        check("bytes=1-0", None);
        check("bytes=0-1,2-3,4-5,6-7,8-9", None);
        check("lines=0-1", None);

        let request = headers(&[("range", "bytes=0-1")]);
        assert_eq!(Opening::new(&Method::HEAD, &request, 10, 4), None);
        assert_eq!(Opening::new(&Method::GET, &HeaderMap::new(), 10, 4), None);
        let suffix = headers(&[("range", "bytes=-5")]);
        let suffix = Opening::new(&Method::GET, &suffix, 10, 4);
        assert!(matches!(suffix, Some(Opening::Verbatim(_))));
    }

    #[test]
    fn a_206_is_stored_as_an_incomplete_200() {
        let given = Given::response(&[
            ("cache-control", "max-age=60"),
            ("content-range", "bytes 0-4/10"),
            ("content-length", "5"),
        ])
        .status(206);
        let stored = decide(&given.exchange(), part(0, 4, 10), &Settings::default()).unwrap();
        assert_eq!(stored.status, StatusCode::OK);
        assert_eq!(stored.headers.get("content-length").unwrap(), "10");
        assert!(!stored.headers.contains_key("content-range"));

        let private = Given::response(&[("cache-control", "private")]).status(206);
        let refused = decide(&private.exchange(), part(0, 4, 10), &Settings::default());
        assert_eq!(refused, Err(DoNotStore::Private));
    }

    #[test]
    fn a_part_answers_what_lies_within_it() {
        #[track_caller]
        fn check(asked: &[(&str, &str)], expected: bool) {
            let response = headers(&[("etag", "\"a\"")]);
            let found = answers(
                (&Method::GET, &headers(asked)),
                &response,
                part(2, 6, 10),
                at(0),
            );
            assert_eq!(found, expected, "{asked:?}");
        }
        check(&[("range", "bytes=2-6")], true);
        check(&[("range", "bytes=3-3")], true);
        check(&[("range", "bytes=1-3")], false);
        check(&[("range", "bytes=3-")], false);
        check(&[("range", "bytes=-4")], false);
        check(&[("range", "bytes=3-3,5-5")], false);
        check(&[("range", "bytes=10-")], true);
        check(&[], false);
        check(&[("if-none-match", "\"a\"")], true);
        check(&[("range", "bytes=3-3"), ("if-range", "\"a\"")], true);
        check(&[("range", "bytes=3-3"), ("if-range", "\"b\"")], false);
    }

    #[test]
    fn a_head_is_news_if_it_says_something_else_or_is_much_younger() {
        let lines = [
            ("cache-control", "max-age=60"),
            ("etag", "\"a\""),
            ("x", "1"),
        ];
        let stored = Given::response(&lines).dated().stored();
        let check = |given: Given, expected: bool| {
            assert_eq!(is_news(&stored, &given.stored()), expected);
        };
        let later = |secs| Given::response(&lines).at(at(secs)).dated();
        check(later(0), false);
        check(later(29), false);
        check(later(30), true);
        check(
            later(1).and("expires", "Sun, 22 Nov 2026 04:35:03 GMT"),
            false,
        );
        check(later(1).and("x", "2"), true);
        check(later(1).and("y", "2"), true);
        check(Given::response(&lines[..2]).at(at(1)).dated(), true);
    }

    #[test]
    fn parts_are_combined_by_one_strong_validator() {
        #[track_caller]
        fn found(stored: (&str, &str), status: u16, received: &[(&str, &str)]) -> Combined {
            let stored = Given::response(&[
                ("cache-control", "max-age=60"),
                ("content-length", "10"),
                ("kept", "1"),
                ("replaced", "1"),
            ])
            .and(stored.0, stored.1)
            .stored();
            let given = Given::response(received).status(status).at(at(30));
            combine(
                &stored,
                part(5, 9, 10),
                &given.exchange(),
                &Settings::default(),
            )
        }
        let strong = ("etag", "\"a\"");
        let rest = ("content-range", "bytes 5-9/10");
        let fresh = ("cache-control", "max-age=100");

        let Combined::Updated(updated) =
            found(strong, 206, &[strong, rest, fresh, ("replaced", "2")])
        else {
            panic!("they belong together");
        };
        assert_eq!(updated.headers.get("content-length").unwrap(), "10");
        assert_eq!(updated.headers.get("kept").unwrap(), "1");
        assert_eq!(updated.headers.get("replaced").unwrap(), "2");
        assert!(!updated.headers.contains_key("content-range"));
        assert_eq!(updated.status, StatusCode::OK);
        assert_eq!(updated.reception.current_age(at(31)), secs(1));

        let private = ("cache-control", "private");
        assert_eq!(
            found(strong, 206, &[strong, rest, private]),
            Combined::Unstorable(DoNotStore::Private)
        );
        let weak = ("etag", "W/\"a\"");
        let coded = [strong, rest, ("content-encoding", "gzip")];
        assert_eq!(found(strong, 206, &coded), Combined::Mismatch);
        for (stored, status, received) in [
            (strong, 206, [("etag", "\"b\""), rest]),
            (weak, 206, [weak, rest]),
            (("x", "y"), 206, [("x", "y"), rest]),
            (strong, 206, [("x", "y"), rest]),
            (strong, 200, [strong, rest]),
            (strong, 206, [strong, ("content-range", "bytes 5-9/11")]),
            (strong, 206, [strong, ("content-range", "bytes 4-9/10")]),
            (strong, 206, [strong, ("content-range", "bytes 5-8/10")]),
        ] {
            let found = found(stored, status, &[received[0], received[1], fresh]);
            assert_eq!(
                found,
                Combined::Mismatch,
                "{stored:?} {status} {received:?}"
            );
        }
    }
}
