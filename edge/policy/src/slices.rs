//! Representations that are stored in slices: incomplete responses that can be combined (RFC 9111
//! §3.3, §3.4), because all of them have one strong validator and one complete length.

use std::ops::RangeInclusive;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::fields::{self, EntityTag, Strength};
use crate::framed_hash::FramedHash;
use crate::packed::Fields;
use crate::range::{self, ByteRange};

/// How long representations are cut.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Slicing {
    /// The length of a slice in bytes, at least 1. The last one may be shorter.
    pub size: u64,
    /// What the origin sends as a whole is stored in slices if it is longer, in bytes.
    pub above: u64,
    /// How many slices are fetched ahead of the one that is being sent.
    pub ahead: usize,
}

impl Default for Slicing {
    fn default() -> Self {
        Self {
            size: 1024 * 1024,
            above: 8 * 1024 * 1024,
            ahead: 2,
        }
    }
}

/// Where the slices of a representation begin and end.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Layout {
    size: u64,
    complete: u64,
}

impl Layout {
    /// The layout of a representation of `complete` bytes in slices of `size`; `None` if there is
    /// nothing to cut.
    pub const fn new(size: u64, complete: u64) -> Option<Self> {
        if size == 0 || complete == 0 {
            return None;
        }
        Some(Self { size, complete })
    }

    /// The length of a slice in bytes.
    pub const fn size(self) -> u64 {
        self.size
    }

    /// The length of the representation in bytes, at least 1.
    pub const fn complete(self) -> u64 {
        self.complete
    }

    /// How many slices there are.
    pub const fn count(self) -> u64 {
        (self.complete - 1) / self.size + 1
    }

    /// The slice that has the byte at `position`.
    pub const fn slice_of(self, position: u64) -> u64 {
        position / self.size
    }

    /// The bytes of slice `number`; `None` if there is no such slice.
    pub fn range(self, number: u64) -> Option<ByteRange> {
        let first = number.checked_mul(self.size)?;
        let end = self.complete - 1;
        (first <= end).then(|| ByteRange {
            first,
            last: first.saturating_add(self.size - 1).min(end),
        })
    }

    /// The slices that a range touches.
    pub const fn touched(self, range: ByteRange) -> RangeInclusive<u64> {
        self.slice_of(range.first)..=self.slice_of(range.last)
    }

    /// A range slice by slice: which one, and which bytes of the representation of it.
    pub fn cuts(self, range: ByteRange) -> impl Iterator<Item = (u64, ByteRange)> + Send {
        self.touched(range).filter_map(move |number| {
            let slice = self.range(number)?;
            let first = slice.first.max(range.first);
            let last = slice.last.min(range.last);
            Some((number, ByteRange { first, last }))
        })
    }

    /// The key of slice `number`: nothing that one representation is made of can be found for another.
    pub fn key(self, of: &Name<'_>, validator: &Strong, number: u64) -> [u8; 16] {
        let mut hash = FramedHash::default();
        hash.part(b"slice").part(&of.key).part(&of.variant);
        let (kind, value): (&[u8], _) = match validator {
            Strong::Tag(tag) => (b"tag", tag),
            Strong::Modified(date) => (b"modified", date),
        };
        hash.part(kind)
            .part(value.as_bytes())
            .part(of.coding.unwrap_or_default());
        for number in [self.size, self.complete, number] {
            hash.part(&number.to_le_bytes());
        }
        hash.finish()
    }
}

/// What a sliced representation is stored as.
#[derive(Copy, Clone, Debug)]
pub struct Name<'a> {
    /// The hash of the cache key.
    pub key: [u8; 16],
    /// The hash of the selecting fields.
    pub variant: [u8; 16],
    /// Its `Content-Encoding`.
    pub coding: Option<&'a [u8]>,
}

/// A validator that changes whenever the bytes change (RFC 9110 §8.8.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strong {
    /// A strong entity tag.
    Tag(HeaderValue),
    /// A modification date with at least a second between it and the response's own date.
    Modified(HeaderValue),
}

impl Strong {
    /// The strong validator of a response, if it has one.
    ///
    /// An entity tag that is weak says that the bytes may differ, and then the date does not count.
    pub fn of(response: &impl Fields) -> Option<Self> {
        if response.has(header::ETAG) {
            let tag = EntityTag::of(response)?;
            let value = response.first(header::ETAG)?;
            return (tag.strength() == Strength::Strong).then_some(Self::Tag(value));
        }
        //= https://www.rfc-editor.org/rfc/rfc9110#section-8.8.2.2
        //# A Last-Modified time, when used as a validator in a request, is implicitly weak unless it is
        //# possible to deduce that it is strong, using the following rules:
        let value = response.first(header::LAST_MODIFIED)?;
        range::is_strong_date(response).then_some(Self::Modified(value))
    }

    /// Makes a request for a range fail where the representation is another one (RFC 9110 §13.1.1,
    /// §13.1.4): an answer without content, and not the whole of what has taken its place.
    pub fn demand(&self, request: &mut HeaderMap) {
        let (condition, value) = match self {
            Self::Tag(tag) => (header::IF_MATCH, tag),
            Self::Modified(date) => (header::IF_UNMODIFIED_SINCE, date),
        };
        request.insert(condition, value.clone());
    }

    /// Makes a request ask for its range, or for the whole of what has taken its place (RFC 9110
    /// §13.1.5).
    pub fn prefer(&self, request: &mut HeaderMap) {
        let (Self::Tag(value) | Self::Modified(value)) = self;
        request.insert(header::IF_RANGE, value.clone());
    }

    /// Whether a response is of the same representation.
    ///
    //= https://www.rfc-editor.org/rfc/rfc9111#section-3.4
    //# A cache MAY combine these ranges into a single stored response, and reuse that response to
    //# satisfy later requests, if they all share the same strong validator and the cache complies with
    //# the client requirements in Section 15.3.7.3 of [HTTP].
    pub fn holds(&self, response: &HeaderMap) -> bool {
        let same = |name: HeaderName, value: &HeaderValue| {
            fields::sole(response, name) == Some(fields::trim(value.as_bytes()))
        };
        match self {
            Self::Tag(tag) => same(header::ETAG, tag),
            // A tag that was not there before is of something else.
            Self::Modified(date) => {
                same(header::LAST_MODIFIED, date) && !response.contains_key(header::ETAG)
            }
        }
    }
}

/// Whether the origin lets parts of this response be asked for: it says so, and does not take it back.
///
//= https://www.rfc-editor.org/rfc/rfc9110#section-14.3
//# A server that does not support any kind of range request for the target resource MAY send
//# Accept-Ranges: none
pub fn accepts_ranges(response: &HeaderMap) -> bool {
    let mut units = fields::list(response, header::ACCEPT_RANGES);
    units.any(|unit| unit.eq_ignore_ascii_case(b"bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::headers;
    use proptest::prelude::*;

    const MODIFIED: &str = "Wed, 01 Jan 2020 00:00:00 GMT";
    const SECOND_LATER: &str = "Wed, 01 Jan 2020 00:00:01 GMT";

    const fn bytes(first: u64, last: u64) -> ByteRange {
        ByteRange { first, last }
    }

    #[test]
    #[rustfmt::skip]
    fn slices_are_aligned_and_the_last_is_what_is_left() {
        let layout = Layout::new(10, 25).unwrap();
        assert_eq!(layout.count(), 3);
        assert_eq!(layout.range(0), Some(bytes(0, 9)));
        assert_eq!(layout.range(2), Some(bytes(20, 24)));
        assert_eq!(layout.range(3), None);
        assert_eq!(layout.range(u64::MAX), None);
        assert_eq!(layout.touched(bytes(0, 9)),   0..=0);
        assert_eq!(layout.touched(bytes(9, 10)),  0..=1);
        assert_eq!(layout.touched(bytes(24, 24)), 2..=2);
        assert_eq!(Layout::new(10, 30).unwrap().count(), 3);
        let cuts: Vec<_> = layout.cuts(bytes(5, 22)).collect();
        assert_eq!(cuts, [(0, bytes(5, 9)), (1, bytes(10, 19)), (2, bytes(20, 22))]);
        assert_eq!(Layout::new(u64::MAX, u64::MAX).unwrap().range(0), Some(bytes(0, u64::MAX - 1)));
        assert_eq!(Layout::new(10, 0), None);
        assert_eq!(Layout::new(0, 10), None);
    }

    #[track_caller]
    fn check(response: &[(&str, &str)], expected: Option<&str>) {
        let found = Strong::of(&headers(response));
        let found = found
            .as_ref()
            .map(|(Strong::Tag(it) | Strong::Modified(it))| it.to_str().unwrap());
        assert_eq!(found, expected, "{response:?}");
    }

    #[test]
    fn a_strong_validator_is_a_tag_or_an_old_date() {
        let modified = ("last-modified", MODIFIED);
        check(&[], None);
        check(&[("etag", "\"a\"")], Some("\"a\""));
        check(&[("etag", "W/\"a\"")], None);
        check(&[("etag", "a")], None);
        check(&[("etag", "\"a\""), ("etag", "\"b\"")], None);
        check(&[modified, ("date", SECOND_LATER)], Some(MODIFIED));
        check(&[modified, ("date", MODIFIED)], None);
        check(&[modified], None);
        check(
            &[("etag", "W/\"a\""), modified, ("date", SECOND_LATER)],
            None,
        );
        check(
            &[("etag", "\"a\""), modified, ("date", SECOND_LATER)],
            Some("\"a\""),
        );
    }

    #[test]
    fn a_validator_holds_for_its_own_representation_only() {
        let tag = Strong::of(&headers(&[("etag", "\"a\"")])).unwrap();
        assert!(tag.holds(&headers(&[("etag", "\"a\"")])));
        for other in [&[][..], &[("etag", "\"b\"")], &[("etag", "W/\"a\"")]] {
            assert!(!tag.holds(&headers(other)), "{other:?}");
        }
        let date = [("last-modified", MODIFIED), ("date", SECOND_LATER)];
        let date = Strong::of(&headers(&date)).unwrap();
        assert!(date.holds(&headers(&[("last-modified", MODIFIED)])));
        let tagged = [("last-modified", MODIFIED), ("etag", "\"a\"")];
        for other in [&[][..], &[("last-modified", SECOND_LATER)], &tagged] {
            assert!(!date.holds(&headers(other)), "{other:?}");
        }
    }

    #[test]
    fn a_part_is_asked_for_by_the_validator() {
        let tag = Strong::of(&headers(&[("etag", "\"a\"")])).unwrap();
        let date = [("last-modified", MODIFIED), ("date", SECOND_LATER)];
        let date = Strong::of(&headers(&date)).unwrap();
        let asked = |ask: &dyn Fn(&mut HeaderMap)| {
            let mut request = HeaderMap::new();
            ask(&mut request);
            request
        };
        assert_eq!(
            asked(&|it| tag.demand(it)),
            headers(&[("if-match", "\"a\"")])
        );
        assert_eq!(
            asked(&|it| tag.prefer(it)),
            headers(&[("if-range", "\"a\"")])
        );
        assert_eq!(
            asked(&|it| date.demand(it)),
            headers(&[("if-unmodified-since", MODIFIED)])
        );
        assert_eq!(
            asked(&|it| date.prefer(it)),
            headers(&[("if-range", MODIFIED)])
        );
    }

    #[test]
    fn whatever_differs_makes_another_key() {
        let name = Name {
            key: [1; 16],
            variant: [2; 16],
            coding: None,
        };
        let layout = Layout::new(10, 25).unwrap();
        let tag = Strong::Tag(HeaderValue::from_static("\"a\""));
        let keys = [
            layout.key(&name, &tag, 0),
            layout.key(&name, &tag, 1),
            layout.key(&name, &Strong::Tag(HeaderValue::from_static("\"b\"")), 0),
            layout.key(
                &name,
                &Strong::Modified(HeaderValue::from_static("\"a\"")),
                0,
            ),
            layout.key(
                &Name {
                    key: [3; 16],
                    ..name
                },
                &tag,
                0,
            ),
            layout.key(
                &Name {
                    variant: [3; 16],
                    ..name
                },
                &tag,
                0,
            ),
            layout.key(
                &Name {
                    coding: Some(b"gzip"),
                    ..name
                },
                &tag,
                0,
            ),
            Layout::new(11, 25).unwrap().key(&name, &tag, 0),
            Layout::new(10, 26).unwrap().key(&name, &tag, 0),
        ];
        for (at, one) in keys.iter().enumerate() {
            assert!(!keys[at + 1..].contains(one), "{at}");
        }
        assert_eq!(keys[0], layout.key(&name, &tag, 0));
    }

    #[test]
    fn an_origin_says_whether_it_takes_ranges() {
        assert!(accepts_ranges(&headers(&[("accept-ranges", "bytes")])));
        assert!(accepts_ranges(&headers(&[(
            "accept-ranges",
            "other, Bytes"
        )])));
        assert!(!accepts_ranges(&headers(&[("accept-ranges", "none")])));
        assert!(!accepts_ranges(&headers(&[])));
    }

    proptest! {
        #[test]
        fn slices_make_up_the_whole(size in 1..50_u64, complete in 1..500_u64) {
            let layout = Layout::new(size, complete).unwrap();
            let mut next = 0;
            for number in 0..layout.count() {
                let range = layout.range(number).unwrap();
                prop_assert_eq!(range.first, next);
                prop_assert!(range.len() <= size);
                prop_assert_eq!(layout.touched(range), number..=number);
                next = range.last + 1;
            }
            prop_assert_eq!(next, complete);
        }
    }
}
