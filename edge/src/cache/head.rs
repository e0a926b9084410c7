//! What is stored beside a body.

use bytes::BytesMut;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use policy::partial::Extent;
use policy::store::Stored;
use serde::{Deserialize, Serialize};
use storage::Durable;
use storage::purge::{Label, Life, Membership, Sequence};
use tiered::voucher::Born;

use crate::purges::Purges;

/// The format that heads are written down in. What was written in another one is not there.
const FORMAT: u8 = 1;

/// A name that is none of the well-known ones: its text, the shared owner of that, and the allocator's headers.
const NAME_OVERHEAD: usize = 64;

/// What is stored beside a body.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are stored responses, and each is behind one pointer already"
)]
pub(crate) enum Head {
    /// A response that may be reused.
    Stored(Cached),
    /// A slice of one, which has the head.
    Slice(Membership),
    /// A response that is only passed on, and was asked for then.
    PassedOn(Sequence),
}

impl storage::Head for Head {
    fn weight(&self) -> usize {
        match self {
            Self::Stored(cached) => cached.weight(),
            Self::Slice(membership) => membership.weight(),
            Self::PassedOn(_) => 0,
        }
    }

    fn is_part(&self) -> bool {
        matches!(self, Self::Slice(_))
    }
}

/// A head as it is written down.
#[derive(Deserialize, Serialize)]
struct Written<S> {
    stored: S,
    uri: Box<str>,
    born: u64,
    labels: Vec<u64>,
}

impl Durable for Head {
    fn encode(&self) -> Vec<u8> {
        let Self::Stored(Cached {
            stored,
            membership,
            uri,
            extent: Extent::Whole, // what is incomplete is in memory only
        }) = self
        else {
            return Vec::new();
        };
        let labels = membership.labels().iter().map(|label| label.0);
        let written = Written {
            stored,
            uri: uri.clone(),
            // Purges may be forgotten while it is on a disk: what it has outlived so far is written down.
            born: membership.reborn().0,
            labels: labels.collect(),
        };
        let mut bytes = vec![FORMAT];
        match rmp_serde::encode::write(&mut bytes, &written) {
            Ok(()) => bytes,
            // Memory takes everything. Nothing can be read of this.
            Err(_) => Vec::new(),
        }
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (FORMAT, written) = bytes.split_first().map(|(format, rest)| (*format, rest))? else {
            return None;
        };
        let Written {
            stored,
            uri,
            born,
            labels,
        } = rmp_serde::from_slice::<Written<Stored>>(written).ok()?;
        let labels = labels.into_iter().map(Label).collect();
        let membership = Membership::new(Sequence(born), labels);
        Some(Self::kept(stored, membership, Extent::Whole, uri))
    }

    fn outlive(&self, upto: Sequence) {
        if let Some(membership) = self.membership() {
            membership.outlive(upto);
        }
    }

    fn stored_at(&self) -> u64 {
        let stored = self.stored();
        stored.map_or(0, |stored| stored.reception.response_time.unix_secs())
    }
}

/// A response that may be reused, and what it may be purged by.
#[derive(Debug)]
pub(crate) struct Cached {
    pub stored: Stored,
    pub membership: Membership,
    /// Which bytes of the representation its body is.
    pub extent: Extent,
    /// Host and target, for people.
    pub uri: Box<str>,
}

impl Cached {
    fn weight(&self) -> usize {
        let Self {
            stored,
            membership,
            uri,
            extent: _, // owns nothing
        } = self;
        let names = stored.headers.keys().filter(|name| is_own_text(name));
        // Its own size is part of the object's.
        let owned = stored.weight().saturating_sub(size_of::<Stored>());
        owned + names.count() * NAME_OVERHEAD + membership.weight() + uri.len()
    }
}

impl Head {
    /// A head that is kept: in as little memory as it needs.
    pub(crate) fn kept(
        mut stored: Stored,
        membership: Membership,
        extent: Extent,
        uri: Box<str>,
    ) -> Self {
        stored.headers = packed(&stored.headers);
        Self::Stored(Cached {
            stored,
            membership,
            extent,
            uri,
        })
    }

    /// Which bytes of its representation the body of a stored response is.
    pub(crate) const fn extent(&self) -> Extent {
        match self {
            Self::Stored(cached) => cached.extent,
            Self::Slice(_) | Self::PassedOn(_) => Extent::Whole,
        }
    }

    pub(crate) const fn stored(&self) -> Option<&Stored> {
        match self {
            Self::Stored(cached) => Some(&cached.stored),
            Self::Slice(_) | Self::PassedOn(_) => None,
        }
    }

    /// What it may be purged by, where it is kept.
    pub(crate) const fn membership(&self) -> Option<&Membership> {
        match self {
            Self::Stored(cached) => Some(&cached.membership),
            Self::Slice(membership) => Some(membership),
            Self::PassedOn(_) => None,
        }
    }

    /// What another node, which follows the same log of purges, can hold it against them by.
    pub(crate) fn vouch(&self, purges: &Purges) -> Option<Born> {
        match self {
            Self::Stored(cached) => purges.vouch(&cached.membership),
            Self::Slice(membership) => purges.vouch(membership),
            Self::PassedOn(begun) => purges.vouch_passed(*begun),
        }
    }

    /// What is kept, where something is.
    pub(crate) const fn cached(&self) -> Option<&Cached> {
        match self {
            Self::Stored(cached) => Some(cached),
            Self::Slice(_) | Self::PassedOn(_) => None,
        }
    }

    /// What the purges leave of it.
    pub(crate) fn life(&self, purges: &Purges) -> Life {
        match self {
            Self::Stored(cached) => purges.life(&cached.membership),
            Self::Slice(membership) => purges.life(membership),
            Self::PassedOn(_) => Life::Gone,
        }
    }
}

/// The fields with all their values in one allocation, and no room for more. A value by itself costs 48 bytes beside
/// its text, and keeps all that was received with it where it is a part of that.
fn packed(headers: &HeaderMap) -> HeaderMap {
    let mut packed = headers.clone();
    let length = packed.values().map(HeaderValue::len).sum();
    let mut values = BytesMut::with_capacity(length);
    packed
        .values()
        .for_each(|value| values.extend_from_slice(value.as_bytes()));
    let mut values = values.freeze();
    for value in packed.values_mut() {
        let text = values.split_to(value.len());
        if let Ok(text) = HeaderValue::from_maybe_shared(text) {
            *value = text;
        }
    }
    packed
}

/// Whether a name is kept as text: the well-known ones are numbers, whose text is the program's.
fn is_own_text(name: &HeaderName) -> bool {
    let same = HeaderName::from_bytes(name.as_ref());
    !same.is_ok_and(|same| std::ptr::eq(same.as_str(), name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        let mut request = HeaderMap::new();
        request.insert("accept-language", HeaderValue::from_static("de"));
        let mut response = HeaderMap::new();
        for (name, value) in [
            ("cache-control", "max-age=60, stale-while-revalidate=5"),
            ("date", "Thu, 01 Jan 1970 00:16:40 GMT"),
            ("vary", "Accept-Language, X-Absent"),
            ("x-own", "one"),
            ("x-own", "two"),
        ] {
            let name = HeaderName::from_static(name);
            response.append(name, HeaderValue::from_static(value));
        }
        let exchange = policy::store::Exchange {
            method: &http::Method::GET,
            request: &request,
            status: http::StatusCode::OK,
            response: &response,
            request_time: policy::time::Timestamp::from_unix_millis(1_000_100),
            response_time: policy::time::Timestamp::from_unix_millis(1_000_200),
        };
        let stored = policy::store::decide(&exchange, &Default::default()).unwrap();
        let membership = Membership::new(Sequence(7), vec![Label(u64::MAX), Label(0)]);
        Head::kept(
            stored,
            membership,
            Extent::Whole,
            "www.example.com/a".into(),
        )
    }

    #[test]
    fn what_is_written_down_is_read_again() {
        let head = head();
        let bytes = head.encode();
        let read = Head::decode(&bytes).unwrap();
        assert_eq!(read.stored(), head.stored());
        let (Head::Stored(read), Head::Stored(head)) = (&read, &head) else {
            panic!("both are stored");
        };
        assert_eq!(read.membership.born(), Sequence(7));
        assert_eq!(read.membership.labels(), head.membership.labels());
        assert_eq!(read.uri, head.uri);
        assert_eq!(head.stored.headers.get_all("x-own").iter().count(), 2);
    }

    /// If this fails, the format has changed, and [`FORMAT`] must change as well: a volume may be older than the program.
    #[test]
    fn the_format_is_known_by_its_number() {
        let known = (FORMAT, crc(&head().encode()));
        assert_eq!(known, (1, 2_172_458_533_389_001_018));
    }

    fn crc(bytes: &[u8]) -> u64 {
        bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
        })
    }

    #[test]
    fn what_was_not_written_by_this_format_is_not_there() {
        let bytes = head().encode();
        for length in 0..bytes.len() {
            assert!(Head::decode(&bytes[..length]).is_none(), "{length}");
        }
        let mut other = bytes;
        other[0] = FORMAT + 1;
        assert!(Head::decode(&other).is_none());
        assert!(Head::decode(&Head::PassedOn(Sequence(0)).encode()).is_none());
    }

    #[test]
    fn packing_changes_no_field() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-a", "1"), ("date", ""), ("x-a", "22"), ("b", "\u{e4}")] {
            let name = HeaderName::from_static(name);
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        assert_eq!(packed(&headers), headers);
        assert_eq!(packed(&HeaderMap::new()), HeaderMap::new());
    }

    #[test]
    fn only_unknown_names_are_texts() {
        assert!(!is_own_text(&http::header::CACHE_CONTROL));
        assert!(!is_own_text(&HeaderName::from_bytes(b"ETag").unwrap()));
        assert!(is_own_text(&HeaderName::from_static("x-own")));
    }
}
