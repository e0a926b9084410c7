//! Ranges of a stored response (RFC 9110 §14).

mod multipart;

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};
use http::method::Method;

use crate::fields::{self, EntityTag};
use crate::packed::Fields;
use crate::time::Timestamp;

pub use multipart::{Multipart, Part};

/// Bytes `first..=last` of a representation.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct ByteRange {
    /// The position of the first byte.
    pub first: u64,
    /// The position of the last byte, which is part of the range.
    pub last: u64,
}

impl ByteRange {
    /// How many bytes it has: at least one.
    #[expect(clippy::len_without_is_empty, reason = "a byte range is never empty")]
    pub const fn len(self) -> u64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }

    const fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// What a request for ranges is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RangeAnswer {
    /// The whole response, as if no range had been asked for.
    Whole,
    /// 206 (Partial Content) with `Content-Range`.
    Single(ByteRange),
    /// 206 with `multipart/byteranges`: two ranges or more, in the order they were asked for, none of
    /// which overlaps another.
    Multiple(Vec<ByteRange>),
    /// 416 (Range Not Satisfiable) with [`unsatisfied_range`].
    Unsatisfiable,
}

/// Decides which part of a response of `len` bytes answers a request; at most `most` ranges are served.
///
/// Ranges that overlap, or too many of them, are answered with the whole: together they never have
/// more bytes than it has.
//= https://www.rfc-editor.org/rfc/rfc9110#section-14.2
//# A server that supports range requests MAY ignore or reject a Range header field that contains an
//# invalid ranges-specifier (Section 14.1.1), a ranges-specifier with more than two overlapping
//# ranges, or a set of many small ranges that are not listed in ascending order, since these are
//# indications of either a broken client or a deliberate denial-of-service attack
pub fn answer(
    method: &Method,
    request: &HeaderMap,
    status: StatusCode,
    response: &impl Fields,
    len: u64,
    most: usize,
) -> RangeAnswer {
    //= https://www.rfc-editor.org/rfc/rfc9110#section-14.2
    //# A server MUST ignore a Range header field received with a request method that is unrecognized
    //# or for which range handling is not defined. For this specification, GET is the only method for
    //# which range handling is defined.
    let applicable = *method == Method::GET && status == StatusCode::OK && len > 0;
    if !applicable || !if_range_holds(request, response) {
        return RangeAnswer::Whole;
    }
    let Some(asked) =
        fields::sole(request, header::RANGE).and_then(|value| specifiers(value, most))
    else {
        return RangeAnswer::Whole;
    };
    let ranges: Vec<_> = asked.iter().filter_map(|range| range.within(len)).collect();
    match *ranges {
        [] => RangeAnswer::Unsatisfiable,
        [range] => RangeAnswer::Single(range),
        _ if any_overlap(&ranges) => RangeAnswer::Whole,
        _ => RangeAnswer::Multiple(ranges),
    }
}

/// Evaluates `If-Range` (RFC 9110 §13.1.5), the last step of §13.2.2.
///
//= https://www.rfc-editor.org/rfc/rfc9110#section-13.1.5
//# A recipient of an If-Range header field MUST ignore the Range header field if the If-Range
//# condition evaluates to false.
fn if_range_holds(request: &HeaderMap, response: &impl Fields) -> bool {
    if !request.contains_key(header::IF_RANGE) {
        return true;
    }
    let Some(validator) = fields::sole(request, header::IF_RANGE) else {
        return false;
    };
    //= https://www.rfc-editor.org/rfc/rfc9110#section-13.1.5
    //# A valid entity-tag can be distinguished from a valid HTTP-date by examining the first three
    //# characters for a DQUOTE.
    if validator.iter().take(3).any(|&byte| byte == b'"') {
        let same = EntityTag::parse(validator)
            .zip(EntityTag::of(response))
            .map(|(one, other)| one.strong_eq(other));
        return same.unwrap_or(false);
    }
    is_strong_date(response) && fields::sole(response, header::LAST_MODIFIED) == Some(validator)
}

/// Whether `Last-Modified` is a strong validator: "at least one second" before `Date` (RFC 9110
/// §8.8.2.2).
pub(crate) fn is_strong_date(response: &impl Fields) -> bool {
    // Both dates are in the same form and of the same origin; the century is the same.
    let date = |name| {
        fields::sole(response, name).and_then(|value| fields::http_date(value, Timestamp::EPOCH))
    };
    match (date(header::LAST_MODIFIED), date(header::DATE)) {
        (Some(modified), Some(date)) => modified < date,
        _ => false,
    }
}

/// A `range-spec` of the unit `bytes` (RFC 9110 §14.1.2).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Specifier {
    /// `first-pos "-" [ last-pos ]`
    From { first: u64, last: Option<u64> },
    /// `"-" suffix-length`
    Suffix(u64),
}

impl Specifier {
    //= https://www.rfc-editor.org/rfc/rfc9110#section-14.1.2
    //# In the byte-range syntax, first-pos, last-pos, and suffix-length are expressed as decimal number
    //# of octets. Since there is no predefined limit to the length of content, recipients MUST
    //# anticipate potentially large decimal numerals and prevent parsing errors due to integer
    //# conversion overflows.
    fn parse(spec: &[u8]) -> Option<Self> {
        let dash = spec.iter().position(|&byte| byte == b'-')?;
        let (first, last) = (&spec[..dash], &spec[dash + 1..]);
        if first.is_empty() {
            return fields::decimal(last).map(Self::Suffix);
        }
        let first = fields::decimal(first)?;
        if last.is_empty() {
            return Some(Self::From { first, last: None });
        }
        //= https://www.rfc-editor.org/rfc/rfc9110#section-14.1.1
        //# An int-range is invalid if the last-pos value is present and less than the first-pos.
        let last = fields::decimal(last).filter(|last| *last >= first)?;
        Some(Self::From {
            first,
            last: Some(last),
        })
    }

    /// The bytes it means of a representation of `len` bytes; `None` if it is unsatisfiable.
    fn within(self, len: u64) -> Option<ByteRange> {
        let end = len.checked_sub(1)?;
        match self {
            Self::From { first, last } => (first <= end).then(|| ByteRange {
                first,
                last: last.map_or(end, |last| last.min(end)),
            }),
            Self::Suffix(suffix) => (suffix > 0).then(|| ByteRange {
                first: len.saturating_sub(suffix),
                last: end,
            }),
        }
    }
}

/// The ranges asked for; `None` if there are more than `most`, or one of them is invalid, or they are
/// not of bytes.
pub(crate) fn specifiers(value: &[u8], most: usize) -> Option<Vec<Specifier>> {
    let equals = value.iter().position(|&byte| byte == b'=')?;
    let (unit, set) = (&value[..equals], &value[equals + 1..]);
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    let found: Option<Vec<_>> = fields::members(set)
        .take(most.saturating_add(1))
        .map(Specifier::parse)
        .collect();
    found.filter(|found| !found.is_empty() && found.len() <= most)
}

fn any_overlap(ranges: &[ByteRange]) -> bool {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable_by_key(|range| range.first);
    sorted.windows(2).any(|pair| pair[0].overlaps(pair[1]))
}

/// Whether a request asks for one range, whatever the representation is by now.
pub fn is_unconditional_single(request: &HeaderMap) -> bool {
    let single = fields::sole(request, header::RANGE).is_some_and(|range| !range.contains(&b','));
    single && !request.contains_key(header::IF_RANGE)
}

/// A `Range` that asks for these bytes.
pub fn request(range: ByteRange) -> HeaderValue {
    value(format!("bytes={}-{}", range.first, range.last))
}

/// The `Content-Range` of a part (RFC 9110 §14.4).
pub fn content_range(range: ByteRange, len: u64) -> HeaderValue {
    value(format!("bytes {}-{}/{len}", range.first, range.last))
}

/// The `Content-Range` of a 416 (Range Not Satisfiable).
pub fn unsatisfied_range(len: u64) -> HeaderValue {
    value(format!("bytes */{len}"))
}

#[expect(
    clippy::expect_used,
    reason = "digits and ASCII punctuation are valid in every field value"
)]
fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("a Content-Range is visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::headers;
    use proptest::prelude::*;

    const MOST: usize = 4;

    fn found(request: &[(&str, &str)], response: &[(&str, &str)], len: u64) -> RangeAnswer {
        answer(
            &Method::GET,
            &headers(request),
            StatusCode::OK,
            &headers(response),
            len,
            MOST,
        )
    }

    /// `bytes` of a representation of 10.
    #[track_caller]
    fn check(range: &str, expected: &RangeAnswer) {
        assert_eq!(found(&[("range", range)], &[], 10), *expected, "{range}");
    }

    const fn single(first: u64, last: u64) -> RangeAnswer {
        RangeAnswer::Single(ByteRange { first, last })
    }

    fn multiple(ranges: &[(u64, u64)]) -> RangeAnswer {
        RangeAnswer::Multiple(
            ranges
                .iter()
                .map(|&(first, last)| ByteRange { first, last })
                .collect(),
        )
    }

    #[test]
    fn one_range() {
        check("bytes=0-1", &single(0, 1));
        check("bytes=1-", &single(1, 9));
        check("bytes=-1", &single(9, 9));
        check("bytes=-20", &single(0, 9));
        check("bytes=0-9", &single(0, 9));
        check("bytes=5-20", &single(5, 9));
        check("BYTES=0-1", &single(0, 1));
        check("bytes= 0-1 ", &single(0, 1));
        check("bytes=,0-1,", &single(0, 1));
        check("bytes=0-99999999999999999999999", &single(0, 9));
        check("bytes=-99999999999999999999999", &single(0, 9));
    }

    #[test]
    fn several_ranges_in_the_order_asked_for() {
        check("bytes=0-0,-1", &multiple(&[(0, 0), (9, 9)]));
        check("bytes=6-9, 0-1", &multiple(&[(6, 9), (0, 1)]));
        check("bytes=0-1,2-3", &multiple(&[(0, 1), (2, 3)]));
        check("bytes=0-1,20-", &single(0, 1));
        check(
            "bytes=0-0,2-2,4-4,6-6",
            &multiple(&[(0, 0), (2, 2), (4, 4), (6, 6)]),
        );
    }

    #[test]
    fn too_many_or_overlapping_ranges_get_the_whole() {
        check("bytes=0-0,2-2,4-4,6-6,8-8", &RangeAnswer::Whole);
        check("bytes=0-5,5-9", &RangeAnswer::Whole);
        check("bytes=0-,0-", &RangeAnswer::Whole);
        check("bytes=5-9,0-1,1-2", &RangeAnswer::Whole);
    }

    #[test]
    fn unsatisfiable_ranges() {
        check("bytes=10-", &RangeAnswer::Unsatisfiable);
        check("bytes=10-20,99-", &RangeAnswer::Unsatisfiable);
        check("bytes=-0", &RangeAnswer::Unsatisfiable);
        check(
            "bytes=99999999999999999999999-",
            &RangeAnswer::Unsatisfiable,
        );
        assert_eq!(found(&[("range", "bytes=0-1")], &[], 0), RangeAnswer::Whole);
    }

    #[test]
    fn invalid_ranges_are_ignored() {
        for invalid in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=x",
            "bytes=1",
            "bytes=-",
            "bytes=2-1",
            "bytes=1-x",
            "bytes=--1",
            "bytes=1--2",
            "bytes =0-1",
            "bytes=0 -1",
            "lines=0-1",
            "bytes=0-1,x",
            "bytes=+1-2",
        ] {
            check(invalid, &RangeAnswer::Whole);
        }
        assert_eq!(
            found(&[("range", "bytes=0-1"), ("range", "bytes=2-3")], &[], 10),
            RangeAnswer::Whole
        );
    }

    #[test]
    fn only_a_get_that_finds_a_200_has_ranges() {
        let request = headers(&[("range", "bytes=0-1")]);
        for (method, status) in [
            (Method::HEAD, StatusCode::OK),
            (Method::POST, StatusCode::OK),
            (Method::GET, StatusCode::NOT_FOUND),
            (Method::GET, StatusCode::PARTIAL_CONTENT),
        ] {
            let found = answer(&method, &request, status, &HeaderMap::new(), 10, MOST);
            assert_eq!(found, RangeAnswer::Whole);
        }
    }

    #[test]
    fn if_range_wants_the_very_same() {
        #[track_caller]
        fn check(if_range: &str, response: &[(&str, &str)], same: bool) {
            let request = [("range", "bytes=0-1"), ("if-range", if_range)];
            let expected = if same {
                single(0, 1)
            } else {
                RangeAnswer::Whole
            };
            assert_eq!(
                found(&request, response, 10),
                expected,
                "{if_range} {response:?}"
            );
        }
        let modified = "Wed, 01 Jan 2020 00:00:00 GMT";
        let second_later = "Wed, 01 Jan 2020 00:00:01 GMT";

        check("\"a\"", &[("etag", "\"a\"")], true);
        check("\"a\"", &[("etag", "\"b\"")], false);
        check("\"a\"", &[], false);
        check("W/\"a\"", &[("etag", "W/\"a\"")], false);
        check("W/\"a\"", &[("etag", "\"a\"")], false);
        check(
            modified,
            &[("last-modified", modified), ("date", second_later)],
            true,
        );
        check(
            modified,
            &[("last-modified", modified), ("date", modified)],
            false,
        );
        check(modified, &[("last-modified", modified)], false);
        check(
            second_later,
            &[("last-modified", modified), ("date", second_later)],
            false,
        );
        check("x", &[("etag", "\"a\"")], false);
    }

    #[test]
    fn content_ranges() {
        assert_eq!(
            content_range(
                ByteRange {
                    first: 0,
                    last: 499
                },
                1234
            ),
            "bytes 0-499/1234"
        );
        assert_eq!(unsatisfied_range(1234), "bytes */1234");
    }

    proptest! {
        #[test]
        fn no_more_bytes_than_the_body_has(
            len in 0..1000_u64,
            specs in proptest::collection::vec("[0-9]{0,3}-[0-9]{0,3}", 1..7),
        ) {
            let range = format!("bytes={}", specs.join(","));
            let bytes: u64 = match found(&[("range", &range)], &[], len) {
                RangeAnswer::Whole => len,
                RangeAnswer::Unsatisfiable => 0,
                RangeAnswer::Single(range) => range.len(),
                RangeAnswer::Multiple(ranges) => {
                    prop_assert!((2..=MOST).contains(&ranges.len()));
                    ranges.iter().map(|range| range.len()).sum()
                }
            };
            prop_assert!(bytes <= len);
        }

        #[test]
        fn ranges_reassemble_the_body(
            body in proptest::collection::vec(any::<u8>(), 1..100), cut in any::<prop::sample::Index>()
        ) {
            let len = u64::try_from(body.len()).unwrap();
            let cut = cut.index(body.len());
            let mut assembled: Vec<u8> = Vec::new();
            for range in [format!("bytes=0-{cut}"), format!("bytes={}-", cut + 1)] {
                if let RangeAnswer::Single(part) = found(&[("range", &range)], &[], len) {
                    let first = usize::try_from(part.first).unwrap();
                    let last = usize::try_from(part.last).unwrap();
                    assembled.extend(&body[first..=last]);
                }
            }
            prop_assert_eq!(assembled, body);
        }

        #[test]
        fn no_value_panics(value in "[ -~]{0,40}", len: u64) {
            found(&[("range", &value), ("if-range", &value)], &[("etag", &value)], len);
        }
    }
}
